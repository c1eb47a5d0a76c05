"""Which tenants are there?"""

from __future__ import annotations

from ringback.model.applications import Organisation
from ringback.store.base import Transaction


def insert(tx: Transaction, organisation: Organisation) -> None:
    """Add an organisation. Its id and name must be free."""
    tx.run(
        "INSERT INTO organisation (id, name, created_at) VALUES (?, ?, ?)", (organisation.id, organisation.name, organisation.created_at)
    )


def ensure(tx: Transaction, organisation: Organisation) -> None:
    """Add an organisation unless there is one of its id."""
    tx.run(
        "INSERT INTO organisation (id, name, created_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (organisation.id, organisation.name, organisation.created_at),
    )


def by_id(tx: Transaction, org_id: str) -> Organisation | None:
    """The organisation of that id."""
    row = tx.row("SELECT id, name, created_at FROM organisation WHERE id = ?", (org_id,))
    return None if row is None else Organisation(*row)


def by_name(tx: Transaction, name: str) -> Organisation | None:
    """The organisation of that name."""
    row = tx.row("SELECT id, name, created_at FROM organisation WHERE name = ?", (name,))
    return None if row is None else Organisation(*row)


def are_alone(tx: Transaction) -> bool:
    """Is there one organisation, so that what the server has is what it has?"""
    return len(tx.rows("SELECT 1 FROM organisation LIMIT 2")) == 1
