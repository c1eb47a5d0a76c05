"""What came and made no message? The journal's rows, of which only the newest of each source and outcome are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.model.arrivals import OUTCOMES, Arrival
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Transaction
from ringback.store.operations.walks import one_of

_arrivals: Final = msgspec.json.Decoder(Arrival)


def add(tx: Transaction, arrivals: Sequence[Arrival], kept: int) -> tuple[int, int]:
    """Write these down, and let go of the oldest of their sources and outcomes beyond `kept` of each; how many of both.

    Those of sources that are gone are left out, and so are those that are written already.
    """
    source_ids = list(dict.fromkeys(a.source_id for a in arrivals))
    live = {row[0] for row in tx.rows(f"SELECT id FROM source WHERE id IN {one_of(source_ids)} AND deleted_at IS NULL", source_ids)}
    arrivals = [a for a in arrivals if a.source_id in live]
    tx.run_many(
        "INSERT INTO arrival (id, source_id, outcome, message_id, facts) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        [(a.id, a.source_id, a.outcome, a.message_id, msgspec.json.encode(a).decode()) for a in arrivals],
    )
    removed = 0
    for source_id, outcome in dict.fromkeys((a.source_id, a.outcome) for a in arrivals):
        old = tx.rows(
            "SELECT id FROM arrival WHERE source_id = ? AND outcome = ? ORDER BY id DESC LIMIT -1 OFFSET ?", (source_id, outcome, kept)
        )
        tx.run_many("DELETE FROM arrival WHERE id = ?", old)
        removed += len(old)
    return len(arrivals), removed


def count(tx: Transaction) -> int:
    """How many rows there are, of all sources."""
    row = tx.row("SELECT COUNT(*) FROM arrival")
    return 0 if row is None else int(row[0])


def drop_oldest(tx: Transaction, limit: int) -> int:
    """Forget so many of the oldest of all sources; how many."""
    old = tx.rows("SELECT id FROM arrival ORDER BY id LIMIT ?", (limit,))
    tx.run_many("DELETE FROM arrival WHERE id = ?", old)
    return len(old)


def listed(tx: Transaction, source_id: str, walk: Walk, outcome: str | None, message_id: str | None) -> Page[Arrival]:
    """One page of a source's journal, of one outcome and of one message if they are given. Looks at no more rows than a source may have."""
    outcomes = OUTCOMES if outcome is None else (outcome,)
    # Of one message there are few: its index is the way, and the plus keeps the database off the other one.
    own, mine = ("source_id = ?", ()) if message_id is None else ("message_id = ? AND +source_id = ?", (message_id,))
    rows = tx.rows(
        f"SELECT facts FROM arrival WHERE {own} AND {'' if message_id is None else '+'}outcome IN {one_of(outcomes)} "
        f"AND id > ? AND id < ? ORDER BY id {walk.direction} LIMIT ?",
        (*mine, source_id, *outcomes, walk.above, walk.below, walk.fetch),
    )
    return cut([_arrivals.decode(row[0]) for row in rows], walk)


def of_message(tx: Transaction, message_id: str, outcome: str, most: int) -> int:
    """How many entries of this outcome the journal has that this message stands for, at most `most`."""
    row = tx.row("SELECT COUNT(*) FROM (SELECT 1 FROM arrival WHERE message_id = ? AND +outcome = ? LIMIT ?)", (message_id, outcome, most))
    return 0 if row is None else int(row[0])


def purge(tx: Transaction, before_us: int, limit: int) -> int:
    """Forget what came before a time; how many rows."""
    old = tx.rows("SELECT id FROM arrival WHERE id < ? ORDER BY id LIMIT ?", (ids.start_id(ids.ARRIVAL, before_us), limit))
    tx.run_many("DELETE FROM arrival WHERE id = ?", old)
    return len(old)


def purge_of(tx: Transaction, source_id: str, before_us: int, limit: int) -> int:
    """Forget what came from a source before a time; how many rows."""
    removed = 0
    for outcome in OUTCOMES:
        old = tx.rows(
            "SELECT id FROM arrival WHERE source_id = ? AND outcome = ? AND id < ? ORDER BY id LIMIT ?",
            (source_id, outcome, ids.start_id(ids.ARRIVAL, before_us), limit - removed),
        )
        tx.run_many("DELETE FROM arrival WHERE id = ?", old)
        removed += len(old)
    return removed


def purge_source(tx: Transaction, source_id: str, limit: int) -> int:
    """Forget some of a deleted source's; how many rows."""
    old = tx.rows("SELECT id FROM arrival WHERE source_id = ? LIMIT ?", (source_id, limit))
    tx.run_many("DELETE FROM arrival WHERE id = ?", old)
    return len(old)
