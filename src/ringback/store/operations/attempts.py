"""What was tried? Reading the history of attempts."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback import ids
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import AttemptStatus
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations import blocks, trends
from ringback.store.operations.messages import MessageFilter
from ringback.store.operations.walks import one_of

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

    def labels(self) -> list[blocks.Labels]:
        """What blocks say of attempts that fit: one of each of these."""
        outcomes = [] if self.statuses is None and self.code_class is None else [blocks.outcome_labels(self.statuses, self.code_class)]
        return [*self.message.labels(), *outcomes]


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
    join, condition, parameters = chosen.sql()

    def read(near: Walk, limit: int) -> list[Row]:
        return tx.rows(
            f"SELECT {_COLUMNS if content else _COLUMNS_WITHOUT_BODIES} FROM attempt a{join} "
            f"WHERE a.endpoint_id = ? AND a.id > ? AND a.id < ?{condition} ORDER BY a.id {walk.direction} LIMIT ?",
            (endpoint_id, near.above, near.below, *parameters, limit),
        )

    rows, stopped_at = blocks.collect(tx, blocks.ATTEMPTS, endpoint_id, chosen.labels(), walk, read)
    return cut([attempt_of(row) for row in rows], walk, stopped_at)


def took_last(tx: Transaction, endpoint_id: str) -> bool:
    """Did the newest attempt to an endpoint succeed?"""
    row = tx.row("SELECT status FROM attempt WHERE endpoint_id = ? ORDER BY id DESC LIMIT 1", (endpoint_id,))
    return row is not None and row[0] == AttemptStatus.SUCCESS


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


def sent_body(tx: Transaction, attempt: Attempt, now_us: int) -> bytes | None:
    """The body of the request where a transformation had changed the payload; None from when the payload that it was made of is gone."""
    row = tx.row(
        "SELECT b.body FROM attempt_body b JOIN message m ON m.app_id = ? AND m.id = b.message_id "
        "WHERE b.message_id = ? AND b.attempt_id = ? AND m.payload IS NOT NULL AND m.expires_at > ?",
        (attempt.app_id, attempt.message_id, attempt.id, now_us),
    )
    return None if row is None else bytes(row[0])


def expunge(tx: Transaction, attempt: Attempt) -> None:
    """Forget what the endpoint answered, and what was sent in place of the payload; the attempt stays."""
    tx.run("DELETE FROM attempt_body WHERE message_id = ? AND attempt_id = ?", (attempt.message_id, attempt.id))
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
