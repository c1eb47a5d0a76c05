"""Which third parties act for an application? Their keys are tokens (`store.operations.tokens`)."""

from __future__ import annotations

import msgspec

from ringback.model.integrations import Integration
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction

_COLUMNS = "id, app_id, name, feature_flags, created_at, updated_at"


def insert(tx: Transaction, integration: Integration) -> None:
    """Add an integration."""
    tx.run(
        f"INSERT INTO integration ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (
            integration.id,
            integration.app_id,
            integration.name,
            _text(integration),
            integration.created_at,
            integration.updated_at,
        ),
    )


def replace(tx: Transaction, integration: Integration) -> None:
    """Store what an integration is now."""
    tx.run(
        "UPDATE integration SET name = ?, feature_flags = ?, updated_at = ? WHERE id = ?",
        (integration.name, _text(integration), integration.updated_at, integration.id),
    )


def by_id(tx: Transaction, app_id: str, integration_id: str) -> Integration | None:
    """The integration of that id, if it is of that application."""
    row = tx.row(f"SELECT {_COLUMNS} FROM integration WHERE id = ? AND app_id = ?", (integration_id, app_id))
    return None if row is None else _integration(row)


def page(tx: Transaction, app_id: str, walk: Walk) -> list[Integration]:
    """The integrations of an application that a walk reads, and one more."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM integration WHERE app_id = ? AND id > ? AND id < ? ORDER BY id {walk.direction} LIMIT ?",
        (app_id, walk.above, walk.below, walk.fetch),
    )
    return [_integration(row) for row in rows]


def delete(tx: Transaction, integration_id: str) -> None:
    """Remove an integration; its key is another row."""
    tx.run("DELETE FROM integration WHERE id = ?", (integration_id,))


def _text(integration: Integration) -> str | None:
    return msgspec.json.encode(integration.feature_flags).decode() if integration.feature_flags else None


def _integration(row: Row) -> Integration:
    identifier, app_id, name, flags, created_at, updated_at = row
    held = () if flags is None else msgspec.json.decode(flags, type=tuple[str, ...])
    return Integration(identifier, app_id, name, held, created_at, updated_at)
