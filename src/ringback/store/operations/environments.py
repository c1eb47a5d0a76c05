"""Which settings of an organisation travel with its catalogue? An object of which the look of the portal alone is read."""

from __future__ import annotations

from typing import Any

import msgspec

from ringback.store.base import Transaction


def settings_of(tx: Transaction, org_id: str) -> dict[str, Any] | None:
    """The settings that were imported last, None when none ever were."""
    row = tx.row("SELECT settings FROM environment WHERE org_id = ?", (org_id,))
    return None if row is None else msgspec.json.decode(row[0], type=dict[str, Any])


def put_settings(tx: Transaction, org_id: str, settings: dict[str, Any]) -> None:
    """Replace the settings."""
    tx.run(
        "INSERT INTO environment (org_id, settings) VALUES (?, ?) ON CONFLICT (org_id) DO UPDATE SET settings = excluded.settings",
        (org_id, msgspec.json.encode(settings).decode()),
    )
