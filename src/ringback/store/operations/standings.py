"""How does each message stand with each endpoint? Their pairs, listed by message or by endpoint, by what became of them.

Each status has a source that lists candidates in the order of messages, and touches little else; what a page shows is then decided by the
attempts and live deliveries of each candidate alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations import blocks, deferred
from ringback.store.operations.lanes import PARKED, UNPARKED
from ringback.store.operations.messages import MessageFilter, by_ids, cut_to_size
from ringback.store.operations.walks import beyond, one_of

# Candidates read at a time while looking for those that fit: each costs 5 to 10 us.
_AT_ONCE: Final = 250
# Candidates that one request looks at: 20 to 40 ms of a reader. Then the answer says where to go on.
_EXAMINED_MAX: Final = 5_000
# An id tells time to 4 ms: a message was accepted so much later than its id says, at the most.
_SLOT_US: Final = 4_000
# So much before its own clock may a message be that was just accepted: the clock may have been set back. Beyond lie retries by the million.
_AHEAD_US: Final = 60_000_000
# When a delivery `d` is due, whether or not it has its turn.
_DUE: Final = UNPARKED % "d.due_at"


class Pair(msgspec.Struct, frozen=True):
    """How a message stands with an endpoint: `key` is the id of the one that a list walks over. `next_at` is when the next retry is due."""

    key: str
    status: AttemptStatus
    next_at: int | None


class Reading(msgspec.Struct, frozen=True):
    """How messages are read beside attempts: with payloads or not; and whether the endpoint is live, so that its retries will be made."""

    now_us: int
    content: bool
    live: bool


# The ids of messages that may fit, in the order of a walk, at most so many.
_Source = Callable[[Walk, int], list[str]]


def standing(best: int, last: int, next_at: int | None) -> AttemptStatus:
    """The status of a pair whose `best` and `last` attempts ended so; `next_at` is when a retry is due."""
    if best == AttemptStatus.SUCCESS:
        return AttemptStatus.SUCCESS
    if next_at is not None:
        return AttemptStatus.SENDING
    return AttemptStatus.CANCELED if last == AttemptStatus.CANCELED else AttemptStatus.FAIL


def _pair(key: str, best: int, last: int, next_at: int | None) -> Pair:
    status = standing(best, last, next_at)
    return Pair(key, status, next_at if status == AttemptStatus.SENDING else None)


def attempted(
    tx: Transaction, app_id: str, endpoint_id: str, walk: Walk, statuses: Sequence[int] | None, chosen: MessageFilter, read: Reading
) -> Page[tuple[Message, Pair]]:
    """One page of the messages attempted to an endpoint, with how they stand: all, or those that succeeded, failed or were cancelled."""
    if statuses is not None and AttemptStatus.FAIL in statuses:
        return _examined(
            tx, app_id, walk, chosen, read, _given_up(tx, endpoint_id, read), lambda found: _pairs(tx, endpoint_id, found, statuses, read)
        )
    condition, parameters = chosen.sql()
    # The application as a value: of attempts nothing is read but the index then.
    join = "JOIN message m ON m.app_id = ? AND m.id = a.message_id " if chosen else ""
    values = (app_id, endpoint_id) if chosen else (endpoint_id,)
    sql = (
        f"SELECT a.message_id FROM attempt a {join}WHERE a.endpoint_id = ? AND a.message_id > ? AND a.message_id < ?{condition} "
        f"GROUP BY a.message_id ORDER BY a.message_id {walk.direction} LIMIT ?"
    )
    pairs: dict[str, Pair] = {}

    def fitting(near: Walk, limit: int) -> list[Row]:
        found: list[Pair] = []
        while len(found) < limit:
            keys = [row[0] for row in tx.rows(sql, (*values, near.above, near.below, *parameters, limit))]
            messages = by_ids(tx, app_id, keys, MessageFilter(), read.now_us, content=False)
            found += _pairs(tx, endpoint_id, [key for key in keys if key in messages], statuses, read)
            if len(keys) < limit:
                break
            near = beyond(near, keys[-1])
        pairs.update((pair.key, pair) for pair in found)
        return [(pair.key,) for pair in found]

    wanted = chosen.labels() if statuses is None else [*chosen.labels(), [blocks.pair_label(status) for status in statuses]]
    rows, stopped_at = blocks.collect(tx, blocks.PAIRS, endpoint_id, wanted, walk, fitting)
    return _with_messages(tx, app_id, [pairs[row[0]] for row in rows], walk, stopped_at, read)


def unfinished(
    tx: Transaction, app_id: str, endpoint_id: str, walk: Walk, status: AttemptStatus, chosen: MessageFilter, read: Reading
) -> Page[tuple[Message, Pair]]:
    """One page of the messages that wait for their first attempt to a live endpoint (PENDING), or for a retry (SENDING).

    Messages that wait for their time are listed with the first kind, if they would go to the endpoint as it is now.
    """
    if status == AttemptStatus.SENDING:
        return _examined(tx, app_id, walk, chosen, read, _retrying(tx, endpoint_id), lambda found: _retried(tx, endpoint_id, found))

    def unattempted(found: list[str]) -> list[Pair]:
        # A manual attempt may have come before the first scheduled one: then the pair has a standing already.
        marks = one_of(found)
        sql = f"SELECT message_id FROM attempt WHERE endpoint_id = ? AND message_id IN {marks} GROUP BY message_id"
        attempted = {row[0] for row in tx.rows(sql, (endpoint_id, *found))}
        return [Pair(key, status, None) for key in found if key not in attempted]

    return _examined(tx, app_id, walk, chosen, read, _waiting(tx, app_id, endpoint_id, read.now_us), unattempted)


def destinations(tx: Transaction, app_id: str, message_id: str, walk: Walk) -> Page[Pair]:
    """One page of the endpoints, deleted ones too, that a message was attempted to."""
    rows = tx.rows(
        "SELECT e.id, (SELECT MIN(a.status) FROM attempt a WHERE a.endpoint_id = e.id AND a.message_id = ?), "
        "(SELECT l.status FROM attempt l WHERE l.endpoint_id = e.id AND l.message_id = ? ORDER BY l.id DESC LIMIT 1), "
        f"(SELECT MIN({_DUE}) FROM delivery d WHERE d.endpoint_id = e.id AND d.message_id = ? AND d.state = 'retrying' "
        "AND d.trigger = 0), e.disabled = 0 AND e.deleted_at IS NULL FROM endpoint e WHERE e.app_id = ? AND e.id > ? AND e.id < ? "
        "AND EXISTS (SELECT 1 FROM attempt x WHERE x.endpoint_id = e.id AND x.message_id = ?) "
        f"ORDER BY e.id {walk.direction} LIMIT ?",
        (message_id, message_id, message_id, app_id, walk.above, walk.below, message_id, walk.fetch),
    )
    return cut([_pair(endpoint_id, best, last, next_at if live else None) for endpoint_id, best, last, next_at, live in rows], walk)


def of_message(tx: Transaction, message: Message) -> set[AttemptStatus]:
    """How a message stands with the endpoints of its application, deleted ones too. Costs a look at each endpoint."""
    due_at = message.created_at if message.deliver_at is None else message.deliver_at
    key = message.id
    rows = tx.rows(
        "SELECT (SELECT MIN(a.status) FROM attempt a WHERE a.endpoint_id = e.id AND a.message_id = ?), "
        "(SELECT l.status FROM attempt l WHERE l.endpoint_id = e.id AND l.message_id = ? ORDER BY l.id DESC LIMIT 1), "
        f"(SELECT MIN({_DUE}) FROM delivery d WHERE d.endpoint_id = e.id AND d.message_id = ? AND d.state = 'retrying' "
        "AND d.trigger = 0), "
        "EXISTS (SELECT 1 FROM delivery w WHERE w.endpoint_id = e.id AND w.due_at IN (?, ?) AND w.message_id = ? AND w.state = 'waiting'), "
        "e.disabled = 0 AND e.deleted_at IS NULL FROM endpoint e WHERE e.app_id = ?",
        (key, key, key, due_at, due_at + PARKED, key, message.app_id),
    )
    found = {standing(best, last, next_at if live else None) for best, last, next_at, _, live in rows if best is not None}
    if any(best is None and waits and live for best, _, _, waits, live in rows) or deferred.is_waiting(
        tx, message.app_id, key, message.deliver_at
    ):
        found.add(AttemptStatus.PENDING)
    return found


# -- pages


def _examined(
    tx: Transaction,
    app_id: str,
    walk: Walk,
    chosen: MessageFilter,
    read: Reading,
    source: _Source,
    decide: Callable[[list[str]], list[Pair]],
) -> Page[tuple[Message, Pair]]:
    """The page of those candidates of a source that fit the filter, and that `decide` lets through."""
    near, step, looked = walk, walk.fetch, 0
    found: list[Pair] = []
    while looked < _EXAMINED_MAX:
        keys = source(near, step)
        messages = by_ids(tx, app_id, keys, chosen, read.now_us, content=False)
        fitting = [key for key in keys if key in messages]
        found += decide(fitting) if fitting else []
        if len(keys) < step or len(found) > walk.limit:
            return _with_messages(tx, app_id, found, walk, None, read)
        near, step, looked = beyond(near, keys[-1]), _AT_ONCE, looked + step
    return _with_messages(tx, app_id, found, walk, keys[-1], read)


def _with_messages(
    tx: Transaction, app_id: str, pairs: list[Pair], walk: Walk, stopped_at: str | None, read: Reading
) -> Page[tuple[Message, Pair]]:
    """The page that pairs, read by `walk`, make, with their messages."""
    by_key = {pair.key: pair for pair in pairs[: walk.fetch]}
    page = cut_to_size(tx, app_id, list(by_key), walk, stopped_at) if read.content else cut(list(by_key), walk, stopped_at)
    messages = by_ids(tx, app_id, page.items, MessageFilter(), read.now_us, content=read.content)
    return Page([(messages[key], by_key[key]) for key in page.items], page.done, page.stopped_at)


def _pairs(tx: Transaction, endpoint_id: str, keys: list[str], statuses: Sequence[int] | None, read: Reading) -> list[Pair]:
    """How messages that were attempted stand with an endpoint, those that stand in one of these ways."""
    if not keys:
        return []
    rows = tx.rows(
        "SELECT a.message_id, MIN(a.status), "
        "(SELECT l.status FROM attempt l WHERE l.endpoint_id = ? AND l.message_id = a.message_id ORDER BY l.id DESC LIMIT 1), "
        f"(SELECT MIN({_DUE}) FROM delivery d WHERE d.endpoint_id = ? AND d.message_id = a.message_id AND d.state = 'retrying' "
        f"AND d.trigger = 0) FROM attempt a WHERE a.endpoint_id = ? AND a.message_id IN {one_of(keys)} GROUP BY a.message_id",
        (endpoint_id, endpoint_id, endpoint_id, *keys),
    )
    found = {row[0]: _pair(row[0], row[1], row[2], row[3] if read.live else None) for row in rows}
    return [found[key] for key in keys if key in found and (statuses is None or found[key].status in statuses)]


def _retried(tx: Transaction, endpoint_id: str, keys: list[str]) -> list[Pair]:
    """Messages that wait for a retry, and when it is due."""
    rows = tx.rows(
        f"SELECT d.message_id, MIN({_DUE}) FROM delivery d WHERE d.endpoint_id = ? AND d.message_id IN {one_of(keys)} "
        "AND d.state = 'retrying' AND d.trigger = 0 GROUP BY d.message_id",
        (endpoint_id, *keys),
    )
    due_at: dict[str, int] = dict(rows)
    return [Pair(key, AttemptStatus.SENDING, due_at[key]) for key in keys]


# -- sources


def _given_up(tx: Transaction, endpoint_id: str, read: Reading) -> _Source:
    """Messages that nobody attempts any more; those of an endpoint that is off wait for retries in vain."""
    retrying = _retrying(tx, endpoint_id)

    def source(near: Walk, limit: int) -> list[str]:
        rows = tx.rows(
            "SELECT message_id FROM given_up WHERE endpoint_id = ? AND message_id > ? AND message_id < ? "
            f"ORDER BY message_id {near.direction} LIMIT ?",
            (endpoint_id, near.above, near.below, limit),
        )
        found = {row[0] for row in rows}
        if not read.live:
            found.update(retrying(near, limit))
        return _first(found, near, limit)

    return source


def _retrying(tx: Transaction, endpoint_id: str) -> _Source:
    """Messages that wait for a retry."""

    def source(near: Walk, limit: int) -> list[str]:
        rows = tx.rows(
            "SELECT message_id FROM delivery WHERE endpoint_id = ? AND message_id > ? AND message_id < ? AND state = 'retrying' "
            f"AND trigger = 0 ORDER BY message_id {near.direction} LIMIT ?",
            (endpoint_id, near.above, near.below, limit),
        )
        return [row[0] for row in rows]

    return source


def _waiting(tx: Transaction, app_id: str, endpoint_id: str, now_us: int) -> _Source:
    """Messages that wait for their first attempt.

    Most are due when they were accepted, no earlier than those before them: the key has them in the order of messages. Others have an
    index by message (`deferred`), and those that wait for their time are in a table of their own.
    """

    def source(near: Walk, limit: int) -> list[str]:
        span = _accepted(tx, app_id, near, now_us)
        sql = (
            "SELECT message_id FROM delivery WHERE endpoint_id = ? AND due_at >= ? AND due_at <= ? AND message_id > ? AND message_id < ? "
            f"AND state = 'waiting' AND trigger = 0 AND deferred = 0 ORDER BY due_at {near.direction}, message_id {near.direction} LIMIT ?"
        )
        rows = tx.rows(sql, (endpoint_id, *span, near.above, near.below, limit))
        # Those that wait for others of their lane lie apart, in the same order.
        rows += tx.rows(sql, (endpoint_id, *(at + PARKED for at in span), near.above, near.below, limit))
        rows += tx.rows(
            "SELECT message_id FROM delivery WHERE endpoint_id = ? AND message_id > ? AND message_id < ? AND deferred = 1 "
            f"AND state = 'waiting' AND trigger = 0 ORDER BY message_id {near.direction} LIMIT ?",
            (endpoint_id, near.above, near.below, limit),
        )
        later = deferred.listed(tx, app_id, endpoint_id, near.above, near.below, near.direction, limit)
        return _first({row[0] for row in rows} | {message_id for message_id, _ in later}, near, limit)

    return source


def _first(keys: set[str], near: Walk, limit: int) -> list[str]:
    return sorted(keys, reverse=near.direction == "DESC")[:limit]


def _accepted(tx: Transaction, app_id: str, near: Walk, now_us: int) -> tuple[int, int]:
    """Between which times the messages between two ids were accepted, of those that are due in that order."""
    # None of these was accepted before a message with a lower id, and none later than its own id says.
    before = tx.row("SELECT created_at FROM message WHERE app_id = ? AND id <= ? ORDER BY id DESC LIMIT 1", (app_id, near.above))
    last_us = ids.created_us(near.below) + _SLOT_US if ids.is_id(ids.MESSAGE, near.below) else now_us + _AHEAD_US
    return 0 if before is None else before[0], min(last_us, now_us + _AHEAD_US)
