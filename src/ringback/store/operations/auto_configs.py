"""Which auto-config subscriptions are there? Their tokens are in `store.operations.tokens`; secrets are sealed."""

from __future__ import annotations

from ringback.model.auto_configs import AutoConfig
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS = "id, app_id, endpoint_id, secret, created_at, updated_at"


def insert(tx: Transaction, vault: Sealer, subscription: AutoConfig) -> None:
    """Add a subscription."""
    s = subscription
    tx.run(
        f"INSERT INTO auto_config ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (s.id, s.app_id, s.endpoint_id, vault.seal(s.secret.encode()), s.created_at, s.updated_at),
    )


def replace(tx: Transaction, vault: Sealer, subscription: AutoConfig) -> None:
    """Store the secret that a subscription has now."""
    tx.run(
        "UPDATE auto_config SET secret = ?, updated_at = ? WHERE id = ?",
        (vault.seal(subscription.secret.encode()), subscription.updated_at, subscription.id),
    )


def by_id(tx: Transaction, vault: Sealer, app_id: str, subscription_id: str) -> AutoConfig | None:
    """The subscription of that id, if it is of that application."""
    return _found(vault, tx.row(f"SELECT {_COLUMNS} FROM auto_config WHERE id = ? AND app_id = ?", (subscription_id, app_id)))


def by_endpoint(tx: Transaction, vault: Sealer, app_id: str, endpoint_id: str) -> AutoConfig | None:
    """The subscription that makes that endpoint, if it is of that application."""
    return _found(vault, tx.row(f"SELECT {_COLUMNS} FROM auto_config WHERE endpoint_id = ? AND app_id = ?", (endpoint_id, app_id)))


def endpoint_of(tx: Transaction, subscription_id: str) -> str | None:
    """The id of the endpoint that a subscription makes."""
    row = tx.row("SELECT endpoint_id FROM auto_config WHERE id = ?", (subscription_id,))
    return None if row is None else str(row[0])


def delete(tx: Transaction, subscription_id: str) -> None:
    """Remove a subscription; its token and its endpoint are other rows."""
    tx.run("DELETE FROM auto_config WHERE id = ?", (subscription_id,))


def _found(vault: Sealer, row: Row | None) -> AutoConfig | None:
    if row is None:
        return None
    identifier, app_id, endpoint_id, secret, created_at, updated_at = row
    return AutoConfig(identifier, app_id, endpoint_id, vault.open(secret).decode(), created_at, updated_at)
