"""Where does something rare lie? Rows of a scope lie in blocks of 32 neighbours, by id, and each block says which labels occur in it.

So a list with a filter looks only at blocks that hold what it looks for: at some 32 rows for each row that it finds. Writing a row
costs nothing but a look at what its block is known to hold already, unless it is the first there with some label
(`store.sqlite.noting`). What is older than the first block of a scope is in none, and is walked row by row.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.model.deliveries import AttemptStatus
from ringback.policy.paging import HIGHEST, Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations.walks import bounded, one_of

# Rows in a block, or a few more where ids come out of order: a row that is found costs a look at each, some 2 us; a label in every block
# costs a write for 32 rows.
SIZE: Final = 32
# Rows that one request may look at: 10 to 25 ms of a reader, and enough for the largest page of what occurs once a block.
EXAMINED_MAX: Final = 12_000
# Blocks whose place is read at once.
_AT_ONCE: Final = 64

# Where a label occurs, and where the block ends in which that is.
_STARTS: Final = (
    "SELECT b.start, COALESCE((SELECT n.start FROM {table} n WHERE n.scope = b.scope AND n.label = '' AND n.start > b.start "
    "ORDER BY n.start LIMIT 1), ?) FROM {table} b WHERE b.scope = ? AND b.label = ? AND b.start {than} ? "
    f"ORDER BY b.start {{way}} LIMIT {_AT_ONCE}"
)

# Alternatives: a row has one of these labels.
Labels = Sequence[str]


class Blocks(msgspec.Struct, frozen=True):
    """The blocks of one kind of rows: their table, and where those rows are (`key` is indexed behind `scope`)."""

    table: str
    rows: str
    scope: str
    key: str = "id"


MESSAGES: Final = Blocks("message_block", "message", "app_id")
ATTEMPTS: Final = Blocks("attempt_block", "attempt", "endpoint_id")
PAIRS: Final = Blocks("pair_block", "attempt", "endpoint_id", "message_id")
# By the column that a scope is in. Only letters that are not discarded are listed, and have an index.
DEAD_LETTERS: Final = {
    column: Blocks("dead_letter_block", "dead_letter", f"state = 'dead' AND {column}") for column in ("org_id", "app_id", "endpoint_id")
}


def event_type_label(name: str) -> str:
    """The label of rows of this event type."""
    return "e" + name


def channel_label(name: str) -> str:
    """The label of rows on this channel."""
    return "c" + name


def tag_label(name: str) -> str:
    """The label of rows with this tag."""
    return "t" + name


def message_labels(event_type: str, channels: Iterable[str] | None, tags: Iterable[str] | None) -> tuple[str, ...]:
    """The labels of a message."""
    if channels is None and tags is None:
        return ("e" + event_type,)
    return ("e" + event_type, *map(channel_label, channels or ()), *map(tag_label, tags or ()))


def cause_label(cause: str) -> str:
    """The label of dead letters of this cause."""
    return "x" + cause


def letter_labels(event_type: str, cause: str) -> tuple[str, str]:
    """The labels of a dead letter."""
    return event_type_label(event_type), cause_label(cause)


def pair_label(status: int) -> str:
    """The label of messages that had an attempt with this outcome."""
    return str(int(status))


def outcome_label(status: int, code: int) -> str:
    """The label of an attempt with this outcome and HTTP status."""
    return f"{int(status)}/{code // 100}"


def outcome_labels(statuses: Iterable[int] | None, code_class: int | None) -> Labels:
    """The labels of attempts with one of these outcomes and a code in this hundred; None = any."""
    hundreds = range(10) if code_class is None else (code_class // 100,)
    return [
        outcome_label(status, hundred * 100)
        for status in (statuses if statuses is not None else (AttemptStatus.SUCCESS, AttemptStatus.FAIL, AttemptStatus.CANCELED))
        for hundred in hundreds
    ]


def collect(
    tx: Transaction, blocks: Blocks, scope: str, wanted: Sequence[Labels], walk: Walk, read: Callable[[Walk, int], list[Row]]
) -> tuple[list[Row], str | None]:
    """The first `walk.fetch` rows of a walk that `read` finds, looking only where a label of each of `wanted` occurs.

    `read` answers the rows of a part of the walk that fit, in its order, at most so many. The second result is the last id that was
    looked at, if that was not the whole walk: where to go on.
    """
    if not wanted:
        return read(walk, walk.fetch), None
    rows: list[Row] = []
    looked = 0
    for near, known in _parts(tx, blocks, scope, wanted, walk):
        if looked >= EXAMINED_MAX:
            return rows, near.below if walk.direction == "DESC" else near.above
        stopped_at = None
        if known:
            looked += SIZE
        else:
            near, stopped_at = bounded(tx, near, blocks.rows, blocks.scope, scope, key=blocks.key, most=EXAMINED_MAX - looked)
        rows += read(near, walk.fetch - len(rows))
        if len(rows) >= walk.fetch:
            return rows, None
        if stopped_at is not None:
            return rows, stopped_at
    return rows, None


def _parts(tx: Transaction, blocks: Blocks, scope: str, wanted: Sequence[Labels], walk: Walk) -> Iterator[tuple[Walk, bool]]:
    """The parts of a walk, in its order, that may hold a label of each of `wanted`; False: nobody knows, it is older than all blocks."""
    row = tx.row(f"SELECT start FROM {blocks.table} WHERE scope = ? AND label = '' ORDER BY start LIMIT 1", (scope,))
    first = HIGHEST if row is None else str(row[0])
    older = _within(walk, walk.above, first)
    if walk.direction == "ASC" and older is not None:
        yield older, False
    for start, end in _places(tx, blocks, scope, wanted[0], walk, first):
        if all(_occurs(tx, blocks, scope, labels, start, end) for labels in wanted[1:]):
            near = _within(walk, _previous(start), end)
            if near is not None:
                yield near, True
    if walk.direction == "DESC" and older is not None:
        yield older, False


def _within(walk: Walk, above: str, below: str) -> Walk | None:
    """The part of a walk between two ids."""
    above, below = max(above, walk.above), min(below, walk.below)
    return msgspec.structs.replace(walk, above=above, below=below) if above < below else None


def _places(tx: Transaction, blocks: Blocks, scope: str, labels: Labels, walk: Walk, first: str) -> Iterator[tuple[str, str]]:
    """Where these labels occur, in the order of a walk: from an id (inclusive) to one (exclusive). No two overlap."""
    if walk.direction == "DESC":
        reached = HIGHEST
        for start, end in heapq.merge(*(_down(tx, blocks, scope, label, walk.below) for label in labels), reverse=True):
            if start < first:
                # Late rows of an age without blocks, which is walked as it is.
                return
            if start < reached:
                yield start, min(end, reached)
                reached = start
            if start <= walk.above:
                return
    else:
        begin = _begin(tx, blocks, scope, walk.above) or first
        reached = ""
        for start, end in heapq.merge(*(_up(tx, blocks, scope, label, begin) for label in labels)):
            if start >= walk.below:
                return
            if start >= reached:
                yield start, end
                reached = end


def _down(tx: Transaction, blocks: Blocks, scope: str, label: str, below: str) -> Iterator[tuple[str, str]]:
    sql = _STARTS.format(table=blocks.table, than="<", way="DESC")
    while rows := tx.rows(sql, (HIGHEST, scope, label, below)):
        yield from ((row[0], row[1]) for row in rows)
        below = rows[-1][0]


def _up(tx: Transaction, blocks: Blocks, scope: str, label: str, begin: str) -> Iterator[tuple[str, str]]:
    rows = tx.rows(_STARTS.format(table=blocks.table, than=">=", way="ASC"), (HIGHEST, scope, label, begin))
    sql = _STARTS.format(table=blocks.table, than=">", way="ASC")
    while rows:
        yield from ((row[0], row[1]) for row in rows)
        rows = tx.rows(sql, (HIGHEST, scope, label, rows[-1][0]))


def _begin(tx: Transaction, blocks: Blocks, scope: str, key: str) -> str | None:
    """Where the block begins that holds this id."""
    row = tx.row(
        f"SELECT start FROM {blocks.table} WHERE scope = ? AND label = '' AND start <= ? ORDER BY start DESC LIMIT 1", (scope, key)
    )
    return None if row is None else str(row[0])


def _occurs(tx: Transaction, blocks: Blocks, scope: str, labels: Labels, start: str, end: str) -> bool:
    """Does one of these labels occur in the block that ends at `end`? A label of another late row may be older than `start`."""
    begin = _begin(tx, blocks, scope, start) or start
    return (
        tx.row(
            f"SELECT 1 FROM {blocks.table} WHERE scope = ? AND label IN {one_of(labels)} AND start >= ? AND start < ? LIMIT 1",
            (scope, *labels, begin, end),
        )
        is not None
    )


def _previous(key: str) -> str:
    """The id right before this one."""
    at = ids.ALPHABET.find(key[-1])
    if at > 0:
        return key[:-1] + ids.ALPHABET[at - 1]
    prefix = key[: key.rfind("_") + 1]
    return prefix + ids.encode(ids.decode(key) - 1)


# -- letting go

# What a walk through all blocks has reached: a scope and a label of it.
Place = tuple[str, str]
# Where such a walk begins.
START: Final[Place] = ("", "")


def purge(tx: Transaction, kind: Blocks, before: str, limit: int, after: Place) -> tuple[int, Place | None]:
    """Remove what is said of blocks whose rows all have ids below `before`, from `after` on, in a look at `limit` labels or rows.

    How many, and where to go on (None = done).
    """
    removed = looked = 0
    scope, label = after
    end = _oldest_kept(tx, kind, scope, before)
    while looked + removed < limit:
        # Of a scope without anything old nothing else is looked at.
        condition, values = ("scope > ?", [scope]) if end is None else ("(scope, label) > (?, ?)", [scope, label])
        following = tx.row(f"SELECT scope, label FROM {kind.table} WHERE {condition} ORDER BY scope, label LIMIT 1", values)
        if following is None:
            return removed, None
        if following[0] != scope:
            end = _oldest_kept(tx, kind, following[0], before)
        before_this = scope, label
        scope, label = following
        looked += 1
        if end is not None:
            old = tx.rows(
                f"SELECT scope, label, start FROM {kind.table} WHERE scope = ? AND label = ? AND start < ? ORDER BY start LIMIT ?",
                (scope, label, end, limit),
            )
            tx.run_many(f"DELETE FROM {kind.table} WHERE scope = ? AND label = ? AND start = ?", old)
            removed += len(old)
            if len(old) == limit:
                return removed, before_this
    return removed, (scope, label)


def _oldest_kept(tx: Transaction, kind: Blocks, scope: str, before: str) -> str | None:
    """Where the last block begins that may hold ids below `before`; None when there is no older one."""
    begin = _begin(tx, kind, scope, before)
    older = tx.row(f"SELECT 1 FROM {kind.table} WHERE scope = ? AND label = '' AND start < ? LIMIT 1", (scope, begin or ""))
    return None if older is None else begin


def purge_scope(tx: Transaction, scope: str, limit: int) -> int:
    """Remove what is said of the blocks of an application or endpoint, at most `limit` rows; how many."""
    removed = 0
    for table in sorted({kind.table for kind in (MESSAGES, ATTEMPTS, PAIRS, *DEAD_LETTERS.values())}):
        rows = tx.rows(f"SELECT scope, label, start FROM {table} WHERE scope = ? LIMIT ?", (scope, limit - removed))
        tx.run_many(f"DELETE FROM {table} WHERE scope = ? AND label = ? AND start = ?", rows)
        removed += len(rows)
    return removed
