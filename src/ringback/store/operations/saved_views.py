"""Which views have the people of an organisation saved?"""

from __future__ import annotations

from ringback.model.dashboard import SavedView
from ringback.store.base import Row, Transaction

_COLUMNS = "id, org_id, name, address"


def insert(tx: Transaction, view: SavedView) -> None:
    """Add a view; its name must be free."""
    tx.run(f"INSERT INTO saved_view ({_COLUMNS}) VALUES (?, ?, ?, ?)", (view.id, view.org_id, view.name, view.address))


def all_of(tx: Transaction, org_id: str) -> list[SavedView]:
    """All views of an organisation, by the bytes of their names."""
    return [_view(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM saved_view WHERE org_id = ? ORDER BY name", (org_id,))]


def by_id(tx: Transaction, org_id: str, view_id: str) -> SavedView | None:
    """One view of an organisation."""
    row = tx.row(f"SELECT {_COLUMNS} FROM saved_view WHERE id = ? AND org_id = ?", (view_id, org_id))
    return None if row is None else _view(row)


def delete(tx: Transaction, view_id: str) -> None:
    """Remove a view."""
    tx.run("DELETE FROM saved_view WHERE id = ?", (view_id,))


def _view(row: Row) -> SavedView:
    identifier, org_id, name, address = row
    return SavedView(identifier, org_id, name, address)
