"""Which tenants are there?"""

from __future__ import annotations

from typing import Final

from ringback.model.applications import Organisation
from ringback.store.base import Transaction

_COLUMNS: Final = "id, name, created_at, receive_rate"


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
    row = tx.row(f"SELECT {_COLUMNS} FROM organisation WHERE id = ?", (org_id,))
    return None if row is None else Organisation(*row)


def by_name(tx: Transaction, name: str) -> Organisation | None:
    """The organisation of that name."""
    row = tx.row(f"SELECT {_COLUMNS} FROM organisation WHERE name = ?", (name,))
    return None if row is None else Organisation(*row)


def are_alone(tx: Transaction) -> bool:
    """Is there one organisation, so that what the server has is what it has?"""
    return len(tx.rows("SELECT 1 FROM organisation LIMIT 2")) == 1


def page(tx: Transaction, after: str, limit: int) -> list[Organisation]:
    """Organisations in order of their ids, which is that of their making."""
    return [Organisation(*row) for row in tx.rows(f"SELECT {_COLUMNS} FROM organisation WHERE id > ? ORDER BY id LIMIT ?", (after, limit))]


def receive_rate(tx: Transaction, org_id: str) -> int | None:
    """How many requests a second the sources of an organisation may take in; see `Organisation`."""
    row = tx.row("SELECT receive_rate FROM organisation WHERE id = ?", (org_id,))
    return None if row is None else row[0]


def set_receive_rate(tx: Transaction, org_id: str, rate: int | None) -> None:
    """Let the sources of an organisation take in so many requests a second; see `Organisation`."""
    tx.run("UPDATE organisation SET receive_rate = ? WHERE id = ?", (rate, org_id))
