"""Which delivery is the next of its lane? One of each is due; those behind it are parked, where no claim looks, until it is their turn.

What is parked has a due time that is `PARKED` higher than the one it had, so it is found again by that, sorts behind all that is due, and
goes back to it when its turn comes. A lane whose head is a dead letter may be blocked (`lane_block`): then none of it is due.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringback.model.deliveries import Delivery
from ringback.store.base import Transaction
from ringback.store.operations.walks import one_of

# 2^60 microseconds: no time that a clock shows. The triggers of migration 0026 have it as a number.
PARKED: Final = 1 << 60
# A due time without what parking adds to it, as SQL to be formatted with the name of the column.
UNPARKED: Final = f"%s %% {PARKED}"

# A delivery of one message that counts as retrying, to be looked for by endpoint and message: left to itself SQLite walks all of its
# endpoint's wherever a column is asked for that the index has not.
RETRYING: Final = "delivery INDEXED BY delivery_by_message"

_KEY: Final = "endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = 0"
_FIRST: Final = (
    "SELECT due_at, message_id, app_id, sequence, attempts FROM delivery WHERE endpoint_id = ? AND lane = ? ORDER BY sequence LIMIT 1"
)
# Endpoint and lane, twice.
_HELD: Final = (
    "SELECT 1 FROM lane_block WHERE endpoint_id = ? AND lane = ? "
    "UNION ALL SELECT 1 FROM lane_change WHERE endpoint_id = ? AND released = 0 LIMIT 1"
)


class Block(msgspec.Struct, frozen=True):
    """A lane that waits for somebody: the delivery that died at its head, and since when (microseconds since 1970)."""

    lane: str
    message_id: str
    sequence: int
    blocked_at: int
    dead_letter_id: str


class Moved(msgspec.Struct, frozen=True):
    """What a step of sorting deliveries anew did; the next one begins behind `position`, None = there is none."""

    rows: int
    position: tuple[int, str] | None


class Woken(msgspec.Struct, frozen=True):
    """What a step along the lanes of an endpoint did: how many it looked at, and the last; None = it came to the end."""

    lanes: int
    position: str | None


def said_of(tx: Transaction, app_id: str, message_id: str) -> tuple[str | None, bytes | None]:
    """What tells the lane of a message: the key that it names, and its payload, None where that is gone or no JSON."""
    row = tx.row("SELECT ordering_key, payload, raw FROM message WHERE app_id = ? AND id = ?", (app_id, message_id))
    return (None, None) if row is None else (row[0], None if row[2] else row[1])


def is_busy(tx: Transaction, endpoint_id: str, lane: str) -> bool:
    """Must a new delivery of this lane wait for its turn?"""
    pair = (endpoint_id, lane)
    return (
        tx.row("SELECT 1 FROM delivery WHERE endpoint_id = ? AND lane = ? LIMIT 1", pair) is not None
        or tx.row(_HELD, (*pair, endpoint_id)) is not None
    )


def promote(tx: Transaction, endpoint_id: str, lane: str) -> Delivery | None:
    """Let the first of a lane have its turn; None when it has it already, must not have it, or there is none."""
    row = tx.row(_FIRST, (endpoint_id, lane))
    if row is None or row[0] < PARKED or tx.row(_HELD, (endpoint_id, lane, endpoint_id)) is not None:
        return None
    parked_at, message_id, app_id, sequence, attempts = row
    tx.run(f"UPDATE delivery SET due_at = due_at - {PARKED} WHERE {_KEY}", (endpoint_id, parked_at, message_id))
    return Delivery(endpoint_id, message_id, app_id, parked_at - PARKED, sequence, attempts, lane=lane)


def block(tx: Transaction, endpoint_id: str, lane: str, message_id: str, sequence: int, now_us: int) -> None:
    """The head of a lane is dead, and nothing behind it is sent until somebody has dealt with it."""
    tx.run(
        "INSERT INTO lane_block (endpoint_id, lane, message_id, sequence, blocked_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (endpoint_id, lane, message_id, sequence, now_us),
    )


def block_by(tx: Transaction, endpoint_id: str, message_id: str) -> str | None:
    """The lane that the dead letter of a message blocks at an endpoint; None = it blocks none."""
    row = tx.row("SELECT lane FROM lane_block WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id))
    return None if row is None else str(row[0])


def count_all_blocked(tx: Transaction) -> int:
    """How many lanes are blocked, of all endpoints."""
    row = tx.row("SELECT SUM(lanes) FROM lane_block_count")
    return 0 if row is None or row[0] is None else int(row[0])


def blocked_of(tx: Transaction, endpoint_id: str, limit: int) -> list[Block]:
    """The lanes of an endpoint that are blocked, the longest blocked first, at most so many."""
    rows = tx.rows(
        "SELECT b.lane, b.message_id, b.sequence, b.blocked_at, d.id FROM lane_block b "
        "JOIN dead_letter d ON d.endpoint_id = b.endpoint_id AND d.message_id = b.message_id "
        "WHERE b.endpoint_id = ? ORDER BY b.blocked_at LIMIT ?",
        (endpoint_id, limit),
    )
    return [Block(*row) for row in rows]


def count_blocked(tx: Transaction, endpoint_id: str) -> int:
    """How many lanes of an endpoint are blocked."""
    row = tx.row("SELECT lanes FROM lane_block_count WHERE endpoint_id = ?", (endpoint_id,))
    return 0 if row is None else int(row[0])


def blocked_by(tx: Transaction, dead_letter_ids: Sequence[str]) -> frozenset[tuple[str, str]]:
    """The endpoints, with their applications, that have a lane which one of these dead letters (a few hundred at most) blocks."""
    if tx.row("SELECT 1 FROM lane_block LIMIT 1") is None:
        return frozenset()
    rows = tx.rows(
        "SELECT DISTINCT d.endpoint_id, d.app_id FROM dead_letter d CROSS JOIN lane_block b "
        f"ON b.endpoint_id = d.endpoint_id AND b.message_id = d.message_id WHERE d.id IN {one_of(dead_letter_ids)}",
        dead_letter_ids,
    )
    return frozenset((row[0], row[1]) for row in rows)


# -- another ordering


def change(tx: Transaction, endpoint_id: str, app_id: str, now_us: int, *, sorted_already: bool = False) -> None:
    """What waits is to be sorted anew: until that is done, what comes in is parked.

    `sorted_already`: all is in the lane that it is to be in, and only what is blocked may have to go on.
    """
    tx.run(
        "INSERT INTO lane_change (endpoint_id, app_id, changed_at, released) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (endpoint_id) DO UPDATE SET changed_at = excluded.changed_at, released = MIN(released, excluded.released)",
        (endpoint_id, app_id, now_us, int(sorted_already)),
    )


def changes(tx: Transaction) -> list[tuple[str, str]]:
    """Endpoints, with their applications, whose deliveries are still to be sorted anew."""
    return [(row[0], row[1]) for row in tx.rows("SELECT endpoint_id, app_id FROM lane_change")]


def change_of(tx: Transaction, endpoint_id: str) -> tuple[int, bool] | None:
    """When the ordering of an endpoint was changed, and whether all is sorted and only to be let go; None = nothing is to be done."""
    row = tx.row("SELECT changed_at, released FROM lane_change WHERE endpoint_id = ?", (endpoint_id,))
    return None if row is None else (int(row[0]), bool(row[1]))


def unblock(tx: Transaction, endpoint_id: str, limit: int) -> int:
    """Let blocked lanes go on, whatever became of their heads, at most so many; how many."""
    found = tx.rows("SELECT endpoint_id, lane FROM lane_block WHERE endpoint_id = ? LIMIT ?", (endpoint_id, limit))
    tx.run_many("DELETE FROM lane_block WHERE endpoint_id = ? AND lane = ?", found)
    return len(found)


def sort(
    tx: Transaction, endpoint_id: str, after: tuple[int, str], limit: int, lane_of: Callable[[str | None, bytes | None], str | None]
) -> Moved:
    """Put some deliveries of an endpoint into the lanes they are to be in now, those of a lane parked.

    `lane_of` hears what is `said_of` their messages. Nothing of the endpoint may be on the wire.
    """
    rows = tx.rows(
        "SELECT d.due_at, d.message_id, d.lane, m.ordering_key, m.payload, m.raw FROM delivery d "
        "LEFT JOIN message m ON m.app_id = d.app_id AND m.id = d.message_id "
        "WHERE d.endpoint_id = ? AND (d.due_at, d.message_id) > (?, ?) AND d.trigger = 0 ORDER BY d.due_at, d.message_id LIMIT ?",
        (endpoint_id, *after, limit),
    )
    for due_at, message_id, former, key, payload, raw in rows:
        lane = lane_of(key, None if raw else payload)
        first_at = due_at % PARKED
        wanted_at = first_at if lane is None else first_at + PARKED
        if lane != former or wanted_at != due_at:
            tx.run(f"UPDATE delivery SET lane = ?, due_at = ? WHERE {_KEY}", (lane, wanted_at, endpoint_id, due_at, message_id))
    return Moved(len(rows), (rows[-1][0], rows[-1][1]) if len(rows) == limit else None)


def sorted_out(tx: Transaction, endpoint_id: str, changed_at: int) -> None:
    """All is in its lane: what comes in from now on finds the lanes as they are."""
    tx.run("UPDATE lane_change SET released = 1 WHERE endpoint_id = ? AND changed_at = ?", (endpoint_id, changed_at))


def let_go(tx: Transaction, endpoint_id: str, after: str | None, limit: int) -> Woken:
    """Let the first of each lane have its turn, of so many lanes behind `after` (None = from the first one on)."""
    looked = 0
    while looked < limit:
        condition, values = ("", (endpoint_id,)) if after is None else (" AND lane > ?", (endpoint_id, after))
        row = tx.row(
            f"SELECT lane FROM delivery WHERE endpoint_id = ? AND lane IS NOT NULL{condition} ORDER BY lane, sequence LIMIT 1", values
        )
        if row is None:
            return Woken(looked, None)
        after = str(row[0])
        promote(tx, endpoint_id, after)
        looked += 1
    return Woken(looked, after)


def changed(tx: Transaction, endpoint_id: str, changed_at: int) -> bool:
    """The change is over, unless another one came after it; is it?"""
    tx.run("DELETE FROM lane_change WHERE endpoint_id = ? AND changed_at = ? AND released = 1", (endpoint_id, changed_at))
    return change_of(tx, endpoint_id) is None
