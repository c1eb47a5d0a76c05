"""What was tried? Reading the history of attempts, and how each message stands with each endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations import deferred, trends
from ringback.store.operations.messages import MessageFilter, by_ids, cut_to_size
from ringback.store.operations.walks import EXAMINED_MAX, beyond, bounded, one_of

_HEAD: Final = (
    "a.id, a.app_id, a.endpoint_id, a.message_id, a.url, a.number, a.status, a.trigger, a.code, a.started_at, a.duration_us, a.error, "
    "a.detail, a.address, a.phases"
)
# Behind the sequence number: what it waited for before, and what came after.
_TAIL: Final = "a.sequence, a.wait, a.next_due_at, a.next_cause"
_COLUMNS: Final = f"{_HEAD}, a.response, a.response_head, a.request_head, {_TAIL}"
# Where they stand in a row: their six numbers are stored as one text.
_PHASES_AT: Final = 14
# Response bodies may be 20 kB each: a list without content leaves them where they are.
_COLUMNS_WITHOUT_BODIES: Final = f"{_HEAD}, x'', x'', x'', {_TAIL}"
# CROSS keeps the order of the join: each endpoint of the application (deleted ones too), then its attempts of one message.
_OF_APPLICATION: Final = "endpoint e CROSS JOIN attempt a ON a.endpoint_id = e.id"
# The id as a mere value: ordered by it, SQLite would rather walk all attempts of an endpoint than search for those of one message.
_ID_ALONE: Final = "(a.id || '')"
# Ids are made when an attempt has ended, at most 35 s after it began; a minute either way also covers a clock that was set meanwhile.
_SKEW_US: Final = 60_000_000
# Pairs read at a time while looking for those of one status.
_PAIRS_AT_ONCE: Final = 500
# So many times in one request, and the answer says where to go on: some 40 ms.
_STEPS_MAX: Final = 20
# A limit that is none: it makes SQL keep the order of an inner query.
_ALL: Final = 1 << 62
# Attempts that a list of messages examines in one request, by what the index of attempts says, or also by their messages: 20 to 40 ms.
_STATUSES_EXAMINED: Final = 50_000
_WITH_MESSAGES_EXAMINED: Final = 10_000


class AttemptFilter(msgspec.Struct, frozen=True):
    """Which attempts a list shows: of these statuses, with an HTTP status in this hundred, of these messages. None = no condition."""

    statuses: tuple[int, ...] | None = None
    code_class: int | None = None
    message: MessageFilter = MessageFilter()

    def __bool__(self) -> bool:
        return self.statuses is not None or self.code_class is not None or bool(self.message)

    def sql(self) -> tuple[str, str, list[Any]]:
        """A join with the message (`m`) if it is needed, conditions on the attempt `a`, their parameters."""
        join, condition, parameters = "", "", list[Any]()
        if self.statuses is not None:
            condition += f" AND a.status IN {one_of(self.statuses)}"
            parameters += self.statuses
        if self.code_class is not None:
            condition += " AND a.code >= ? AND a.code < ?"
            parameters += (self.code_class, self.code_class + 100)
        if self.message:
            join = " JOIN message m ON m.app_id = a.app_id AND m.id = a.message_id"
            more, values = self.message.sql()
            condition += more
            parameters += values
        return join, condition, parameters


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


class Counts(msgspec.Struct, frozen=True):
    """Attempts by outcome."""

    success: int
    fail: int
    canceled: int


def attempt_of(row: Row) -> Attempt:
    """The attempt in a row of the columns above."""
    values = list(row)
    values[_PHASES_AT] = Phases(*map(int, row[_PHASES_AT].split()))
    return Attempt(*values)


def get(tx: Transaction, app_id: str, message_id: str, attempt_id: str) -> Attempt | None:
    """One attempt to deliver a message of an application."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM {_OF_APPLICATION} WHERE e.app_id = ? AND a.message_id = ? AND a.id = ?", (app_id, message_id, attempt_id)
    )
    return None if row is None else attempt_of(row)


def by_endpoint(tx: Transaction, endpoint_id: str, walk: Walk, chosen: AttemptFilter, *, content: bool) -> Page[Attempt]:
    """One page of the attempts to an endpoint."""
    stopped_at = None
    if chosen:
        most = _WITH_MESSAGES_EXAMINED if chosen.message else EXAMINED_MAX
        walk, stopped_at = bounded(tx, walk, "attempt", "endpoint_id", endpoint_id, most=most)
    join, condition, parameters = chosen.sql()
    rows = tx.rows(
        f"SELECT {_COLUMNS if content else _COLUMNS_WITHOUT_BODIES} FROM attempt a{join} "
        f"WHERE a.endpoint_id = ? AND a.id > ? AND a.id < ?{condition} ORDER BY a.id {walk.direction} LIMIT ?",
        (endpoint_id, walk.above, walk.below, *parameters, walk.fetch),
    )
    return cut([attempt_of(row) for row in rows], walk, stopped_at)


def by_message(
    tx: Transaction, app_id: str, message_id: str, walk: Walk, chosen: AttemptFilter, *, endpoint_id: str | None, content: bool
) -> Page[Attempt]:
    """One page of the attempts to deliver a message, to all endpoints of its application or to one."""
    join, condition, parameters = chosen.sql()
    if endpoint_id is None:
        source, scope, value = _OF_APPLICATION, "e.app_id = ?", app_id
    else:
        source, scope, value = "attempt a", "a.endpoint_id = ?", endpoint_id
    rows = tx.rows(
        f"SELECT {_COLUMNS if content else _COLUMNS_WITHOUT_BODIES} FROM {source}{join} "
        f"WHERE {scope} AND a.message_id = ? AND {_ID_ALONE} > ? AND {_ID_ALONE} < ?{condition} ORDER BY a.id {walk.direction} LIMIT ?",
        (value, message_id, walk.above, walk.below, *parameters, walk.fetch),
    )
    return cut([attempt_of(row) for row in rows], walk)


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
    """One page of the messages attempted to an endpoint, with how they stand; a filtered walk takes them by the hundred."""
    near, stopped_at = walk, None
    filtered = statuses is not None or bool(chosen)
    if filtered:
        most = _WITH_MESSAGES_EXAMINED if chosen else _STATUSES_EXAMINED
        near, stopped_at = bounded(tx, walk, "attempt", "endpoint_id", endpoint_id, key="message_id", most=most)
    step = walk.fetch
    found: list[Pair] = []
    for _ in range(_STEPS_MAX):
        pairs = _pairs(tx, endpoint_id, near, statuses, step, read.live)
        fitting = [p for p in pairs if statuses is None or p.status in statuses]
        messages = by_ids(tx, app_id, [p.key for p in fitting], chosen, read.now_us, content=False)
        found += [p for p in fitting if p.key in messages]
        if len(pairs) < step or len(found) > walk.limit:
            return _with_messages(tx, app_id, found, walk, stopped_at, read)
        near = beyond(near, pairs[-1].key)
        step = _PAIRS_AT_ONCE
    return _with_messages(tx, app_id, found, walk, pairs[-1].key, read)


def _with_messages(
    tx: Transaction, app_id: str, pairs: list[Pair], walk: Walk, stopped_at: str | None, read: Reading
) -> Page[tuple[Message, Pair]]:
    """The page that pairs, read by `walk`, make, with their messages."""
    by_key = {pair.key: pair for pair in pairs[: walk.fetch]}
    page = cut_to_size(tx, app_id, list(by_key), walk, stopped_at) if read.content else cut(list(by_key), walk, stopped_at)
    messages = by_ids(tx, app_id, page.items, MessageFilter(), read.now_us, content=read.content)
    return Page([(messages[key], by_key[key]) for key in page.items], page.done, page.stopped_at)


def _pairs(tx: Transaction, endpoint_id: str, walk: Walk, statuses: Sequence[int] | None, limit: int, live: bool) -> list[Pair]:
    """The next pairs that may have one of the statuses: the index tells those with a success from the others."""
    having = ""
    if statuses is not None:
        having = (
            "" if len(statuses) > 1 else " HAVING MIN(a.status) = 0" if AttemptStatus.SUCCESS in statuses else " HAVING MIN(a.status) > 0"
        )
    rows = tx.rows(
        "SELECT a.message_id, MIN(a.status), "
        "(SELECT l.status FROM attempt l WHERE l.endpoint_id = ? AND l.message_id = a.message_id ORDER BY l.id DESC LIMIT 1), "
        "(SELECT MIN(d.due_at) FROM delivery d WHERE d.endpoint_id = ? AND d.message_id = a.message_id AND d.state = 'retrying' "
        "AND d.trigger = 0) FROM attempt a WHERE a.endpoint_id = ? AND a.message_id > ? AND a.message_id < ? "
        f"GROUP BY a.message_id{having} ORDER BY a.message_id {walk.direction} LIMIT ?",
        (endpoint_id, endpoint_id, endpoint_id, walk.above, walk.below, limit),
    )
    return [_pair(message_id, best, last, next_at if live else None) for message_id, best, last, next_at in rows]


def unfinished(
    tx: Transaction, app_id: str, endpoint_id: str, walk: Walk, status: AttemptStatus, chosen: MessageFilter, read: Reading
) -> Page[tuple[Message, Pair]]:
    """One page of the messages that wait for their first attempt to a live endpoint (PENDING), or for a retry (SENDING).

    Looks at all live deliveries of the endpoint, for each step: they lie in the order in which they are due. So do the messages that wait
    for their time: those that would go to the endpoint as it is now are listed with the first kind.
    """
    waiting = status == AttemptStatus.PENDING
    # Mostly the order of due times is nearly that of messages: read so, the first rows fill the sorter, and the others are passed over.
    sql = (
        "SELECT message_id, due_at FROM (SELECT message_id, due_at FROM delivery WHERE endpoint_id = ? AND state = ? AND trigger = 0 "
        f"AND message_id > ? AND message_id < ? ORDER BY due_at {walk.direction} LIMIT ?) d ORDER BY message_id {walk.direction} LIMIT ?"
    )
    state = "waiting" if waiting else "retrying"
    near, step = walk, walk.fetch
    found: list[Pair] = []
    for _ in range(_STEPS_MAX):
        due = [(row[0], row[1]) for row in tx.rows(sql, (endpoint_id, state, near.above, near.below, _ALL, step))]
        if waiting:
            # The ids of both kinds are in one order.
            due += deferred.listed(tx, app_id, endpoint_id, near.above, near.below, near.direction, step)
            due = sorted(due, reverse=near.direction == "DESC")[:step]
        messages = by_ids(tx, app_id, [message_id for message_id, _ in due], chosen, read.now_us, content=False)
        for message_id, due_at in due:
            # A manual attempt may have come before the first scheduled one: then the pair has a standing already.
            if message_id in messages and not (waiting and _was_attempted(tx, endpoint_id, message_id)):
                found.append(Pair(message_id, status, None if waiting else due_at))
        if len(due) < step or len(found) > walk.limit:
            return _with_messages(tx, app_id, found, walk, None, read)
        near = beyond(near, due[-1][0])
        step = _PAIRS_AT_ONCE
    return _with_messages(tx, app_id, found, walk, due[-1][0], read)


def _was_attempted(tx: Transaction, endpoint_id: str, message_id: str) -> bool:
    return tx.row("SELECT 1 FROM attempt WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id)) is not None


def destinations(tx: Transaction, app_id: str, message_id: str, walk: Walk) -> Page[Pair]:
    """One page of the endpoints, deleted ones too, that a message was attempted to."""
    rows = tx.rows(
        "SELECT e.id, (SELECT MIN(a.status) FROM attempt a WHERE a.endpoint_id = e.id AND a.message_id = ?), "
        "(SELECT l.status FROM attempt l WHERE l.endpoint_id = e.id AND l.message_id = ? ORDER BY l.id DESC LIMIT 1), "
        "(SELECT MIN(d.due_at) FROM delivery d WHERE d.endpoint_id = e.id AND d.message_id = ? AND d.state = 'retrying' "
        "AND d.trigger = 0), e.disabled = 0 AND e.deleted_at IS NULL FROM endpoint e WHERE e.app_id = ? AND e.id > ? AND e.id < ? "
        "AND EXISTS (SELECT 1 FROM attempt x WHERE x.endpoint_id = e.id AND x.message_id = ?) "
        f"ORDER BY e.id {walk.direction} LIMIT ?",
        (message_id, message_id, message_id, app_id, walk.above, walk.below, message_id, walk.fetch),
    )
    return cut([_pair(endpoint_id, best, last, next_at if live else None) for endpoint_id, best, last, next_at, live in rows], walk)


def expunge(tx: Transaction, attempt: Attempt) -> None:
    """Forget what the endpoint answered; the attempt stays."""
    tx.run(
        "UPDATE attempt SET response = NULL, response_head = x'' WHERE endpoint_id = ? AND message_id = ? AND id = ?",
        (attempt.endpoint_id, attempt.message_id, attempt.id),
    )


def counts(tx: Transaction, endpoint_id: str, since_us: int, until_us: int) -> Counts:
    """Attempts begun in [since, until): whole minutes from their sums, the edges one by one."""
    first, end = -(-since_us // trends.MINUTE_US), until_us // trends.MINUTE_US
    if first >= end:
        return Counts(*_counted(tx, endpoint_id, since_us, until_us))
    whole = trends.outcomes(tx, trends.of_endpoint(tx, endpoint_id), first, end)
    head = _counted(tx, endpoint_id, since_us, first * trends.MINUTE_US)
    tail = _counted(tx, endpoint_id, end * trends.MINUTE_US, until_us)
    return Counts(*(sum(parts) for parts in zip(whole, head, tail, strict=True)))


def _counted(tx: Transaction, endpoint_id: str, since_us: int, until_us: int) -> tuple[int, int, int]:
    if since_us >= until_us:
        return 0, 0, 0
    rows = tx.rows(
        "SELECT status, COUNT(*) FROM attempt WHERE endpoint_id = ? AND id > ? AND id < ? AND started_at >= ? AND started_at < ? "
        "GROUP BY status",
        (endpoint_id, ids.start_id(ids.ATTEMPT, since_us - _SKEW_US), ids.end_id(ids.ATTEMPT, until_us + _SKEW_US), since_us, until_us),
    )
    by_status: dict[int, int] = {status: number for status, number in rows}
    return by_status.get(AttemptStatus.SUCCESS, 0), by_status.get(AttemptStatus.FAIL, 0), by_status.get(AttemptStatus.CANCELED, 0)
