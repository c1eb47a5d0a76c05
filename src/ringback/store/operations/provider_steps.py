"""When is the next step of each source due? All tables of such steps have these columns."""

from __future__ import annotations

from typing import Final, Literal

from ringback.store.base import Transaction

# Steps of one source in a table: a topic of a hub each.
MAX_STEPS: Final = 50
# The tables of steps, each with `source_id` and an index on `next_at`.
Table = Literal["reconciliation", "subscription"]


def due(tx: Transaction, table: Table, now_us: int, never_us: int | None, limit: int) -> list[str]:
    """The sources whose next step is due, the longest first; also those that are to wait until `never_us` or longer, as none is."""
    # A source may have several steps that are due, so many at the most.
    first = f"SELECT source_id, next_at FROM {table} WHERE next_at <= ? ORDER BY next_at LIMIT ?"
    sources = f"SELECT source_id FROM ({first}) GROUP BY source_id ORDER BY MIN(next_at) LIMIT ?"
    rows = tx.rows(sources, (now_us, limit * MAX_STEPS, limit))
    if never_us is not None:
        rows += tx.rows(f"SELECT source_id FROM {table} WHERE next_at >= ? ORDER BY next_at LIMIT ?", (never_us, limit))
    return [row[0] for row in rows][:limit]


def earlier(tx: Transaction, table: Table, now_us: int, by_us: int) -> None:
    """Let all steps that wait wait for so much less, but none be due before now."""
    tx.run(f"UPDATE {table} SET next_at = MAX(next_at - ?, ?) WHERE next_at > ?", (by_us, now_us, now_us))


def next_at(tx: Transaction, table: Table, after_us: int) -> int | None:
    """When the next step after this time is due."""
    row = tx.row(f"SELECT MIN(next_at) FROM {table} WHERE next_at > ?", (after_us,))
    return None if row is None else row[0]
