"""Which index of searches belongs to this database, and what must it forget?"""

from __future__ import annotations

from ringback.store.base import Transaction


def key(tx: Transaction) -> str | None:
    """The key of the index that what is forgotten is logged for; None = nothing is logged."""
    row = tx.row("SELECT key FROM search_switch")
    return None if row is None else str(row[0])


def newest(tx: Transaction) -> int:
    """The number of the newest message: so many there are at the most."""
    row = tx.row("SELECT COALESCE(MAX(seq), 0) FROM message")
    return 0 if row is None else int(row[0])


def switch_on(tx: Transaction, name: str) -> str:
    """From now on what is forgotten is logged, for a new index of this key. Returns the key."""
    tx.run("INSERT INTO search_switch (one, key) VALUES (1, ?)", (name,))
    return name


def switch_off(tx: Transaction) -> None:
    """There is no index: nothing need be logged."""
    tx.run("DELETE FROM search_switch")
    tx.run("DELETE FROM search_gone")


def clear(tx: Transaction, until: int) -> None:
    """The index has forgotten what was logged up to this number."""
    tx.run("DELETE FROM search_gone WHERE n <= ?", (until,))
