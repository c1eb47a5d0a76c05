"""What does a batch add to the counts of its minutes? Gathered in memory, then written with a row for each endpoint, not for each attempt.

At full speed this costs a delivery some tenths of a microsecond: columns that a batch does not touch are neither bound nor added.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from functools import partial
from operator import itemgetter
from typing import Any, Final

from ringback.model.attempts import ErrorClass
from ringback.model.deliveries import AttemptStatus
from ringback.policy.latency import BOUNDS_US, BUCKETS
from ringback.store.base import Acceptance, Record
from ringback.store.operations import trends
from ringback.store.operations.trends import CODE_LANES, CODES_AT, COLUMNS, LANE_BITS, LATENCY_AT, MINUTE_US
from ringback.store.sqlite.connection import SqliteTransaction

# Rows that move on in one batch: at some 12 us each they hold the loop for 1 to 2 ms.
_SLICE: Final = 100
# Organisations of applications that are remembered, some 200 bytes each.
_REMEMBERED: Final = 10_000

_SUCCESS: Final = COLUMNS.index("success")
_OUTCOMES: Final[dict[int, int]] = {
    AttemptStatus.SUCCESS: _SUCCESS,
    AttemptStatus.FAIL: COLUMNS.index("fail"),
    AttemptStatus.CANCELED: COLUMNS.index("canceled"),
}
_SLOW: Final = frozenset((ErrorClass.TIMEOUT, ErrorClass.CONNECT_TIMEOUT))
_bucket: Final = partial(bisect_left, BOUNDS_US)
# What the second counter of a column counts by.
_HIGH: Final = 1 << LANE_BITS


def _lane(name: str) -> tuple[int, int]:
    """The column that counts attempts with such an answer, and what one of them adds to it."""
    place, second = divmod(CODE_LANES.index(name), 2)
    return CODES_AT + place, _HIGH if second else 1


_OK_AT, _OK = _lane("success")
_DONE: Final = AttemptStatus.SUCCESS.value
# By the first digit of a status code.
_CLASSES: Final = tuple(_lane(name) for name in ("none", "informational", "success", "redirect", "client_error", "server_error"))
# Those that count twice have both their counters in one column.
_TOO_MANY: Final = _lane("client_error")[0], _lane("client_error")[1] + _lane("too_many")[1]
_TIMEOUT: Final = _lane("none")[0], _lane("none")[1] + _lane("timeout")[1]
# The status by which an endpoint says that it gets too many requests (RFC 6585, 4).
_TOO_MANY_CODE: Final = 429

# Which columns a row touches: a bit for each eight buckets of latencies (a factor of ten in time), and one for all that is no success. Each
# of the 64 combinations has its statement: mostly a row is an outcome, a code and four columns of latencies.
_GROUP_BITS: Final = 3
_GROUPS: Final = BUCKETS >> _GROUP_BITS
_MORE: Final = 1 << _GROUPS
# Where a row in the making keeps its bits: behind the columns.
_TOUCHED: Final = len(COLUMNS)
_WIDTH: Final = _TOUCHED + 1


def _places(touched: int) -> tuple[int, ...]:
    """The columns that a row with these bits binds and adds."""
    places = (*_OUTCOMES.values(), *range(CODES_AT, LATENCY_AT)) if touched & _MORE else (_SUCCESS, _OK_AT)
    columns = 1 << _GROUP_BITS - 1
    groups = [group for group in range(_GROUPS) if touched >> group & 1]
    return (*places, *(LATENCY_AT + group * columns + n for group in groups for n in range(columns)))


def _statement(touched: int) -> str:
    names = [COLUMNS[place] for place in _places(touched)]
    return (
        f"INSERT INTO trend_recent (at, org_id, app_id, endpoint_id, {', '.join(names)}) VALUES (?, ?, ?, ?{', ?' * len(names)}) "
        f"ON CONFLICT (at, org_id, app_id, endpoint_id) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in names)}"
    )


# A statement, and what picks its values, for each combination of bits.
_STATEMENTS: Final = tuple(_statement(touched) for touched in range(2 * _MORE))
_VALUES: Final = tuple(itemgetter(*_places(touched)) for touched in range(2 * _MORE))

_ACCEPTED: Final = (
    "INSERT INTO trend_recent (at, org_id, app_id, endpoint_id, accepted, deliveries, unmatched) VALUES (?, ?, ?, '', ?, ?, ?) "
    "ON CONFLICT (at, org_id, app_id, endpoint_id) DO UPDATE SET accepted = accepted + excluded.accepted, "
    "deliveries = deliveries + excluded.deliveries, unmatched = unmatched + excluded.unmatched"
)


class Rollups:
    """Writes counts beside what they count, in the same transaction. Belongs to one writer."""

    def __init__(self) -> None:
        self._orgs: dict[str, str] = {}
        # The newest minute that was seen, and the one before which all rows have moved on.
        self._newest = 0
        self._moved = 0

    def accepted(self, tx: SqliteTransaction, acceptances: Iterable[Acceptance]) -> None:
        """Count messages that were written, and their deliveries."""
        counts: dict[tuple[str, int], list[int]] = {}
        app_id, minute, count = "", 0, [0, 0, 0]
        for acceptance in acceptances:
            message = acceptance.message
            at = message.created_at // MINUTE_US
            # Mostly it is the application and the minute of the last one.
            if at != minute or message.app_id != app_id:
                app_id, minute = message.app_id, at
                count = counts.setdefault((app_id, minute), [0, 0, 0])
            count[0] += 1
            if targets := len(acceptance.targets):
                count[1] += targets
            elif message.deliver_at is None:
                # One that waits for its time has its endpoints found, and counted, when it has come (store.operations.deferred).
                count[2] += 1
        tx.executemany(_ACCEPTED, [(minute, self._org(tx, app_id), app_id, *count) for (app_id, minute), count in counts.items()])

    def recorded(self, tx: SqliteTransaction, records: Iterable[Record]) -> None:
        """Count attempts that were written."""
        counts: dict[tuple[str, str, int], tuple[list[int], list[int], list[int]]] = {}
        endpoint_id, minute = "", 0
        count, done, answered = list[int](), list[int](), list[int]()
        for record in records:
            a = record.attempt
            at = a.started_at // MINUTE_US
            # Mostly it is the endpoint and the minute of the last one.
            if at != minute or a.endpoint_id != endpoint_id:
                endpoint_id, minute = a.endpoint_id, at
                key = (endpoint_id, a.app_id, at)
                known = counts.get(key)
                count, done, answered = counts[key] = known or ([0] * _WIDTH, [], [])
            if a.status == _DONE and 200 <= a.code < 300:
                done.append(a.duration_us)
                continue
            place, one = _failure(a.code, a.error)
            count[_OUTCOMES[a.status]] += 1
            count[place] += one
            count[_TOUCHED] |= _MORE
            if a.code or a.error in _SLOW:
                answered.append(a.duration_us)
        rows: dict[int, list[tuple[Any, ...]]] = {}
        for (endpoint_id, app_id, minute), (count, done, answered) in counts.items():
            if minute > self._newest:
                self._newest = minute
            count[_SUCCESS] += len(done)
            count[_OK_AT] += len(done) * _OK
            _count_latencies(count, done + answered)
            touched = count[_TOUCHED]
            rows.setdefault(touched, []).append((minute, self._org(tx, app_id), app_id, endpoint_id, *_VALUES[touched](count)))
        for touched, some in rows.items():
            tx.executemany(_STATEMENTS[touched], some)

    def move(self, tx: SqliteTransaction) -> None:
        """Take one step in moving on the rows of minutes that are over. To be called once in a batch."""
        # Attempts of an older minute may still come, up to half a minute late: their rows move with those of this one.
        before = self._newest
        if before > self._moved and trends.move(tx, before, _SLICE) < _SLICE:
            # Should this batch be undone, they move a minute later.
            self._moved = before

    def _org(self, tx: SqliteTransaction, app_id: str) -> str:
        org_id = self._orgs.get(app_id)
        if org_id is None:
            if len(self._orgs) >= _REMEMBERED:
                self._orgs.clear()
            row = tx.row("SELECT org_id FROM application WHERE id = ?", (app_id,))
            org_id = self._orgs[app_id] = "" if row is None else str(row[0])
        return org_id


def _count_latencies(count: list[int], durations_us: list[int]) -> None:
    """Count durations in their buckets."""
    for bucket, number in Counter(map(_bucket, durations_us)).items():
        count[LATENCY_AT + (bucket >> 1)] += number * (_HIGH if bucket & 1 else 1)
        count[_TOUCHED] |= 1 << (bucket >> _GROUP_BITS)


def _failure(code: int, error: str | None) -> tuple[int, int]:
    """The column that counts such an answer, and what one adds to it. A code beyond 599 counts with those of the server's errors."""
    if code == 0:
        return _TIMEOUT if error in _SLOW else _CLASSES[0]
    return _TOO_MANY if code == _TOO_MANY_CODE else _CLASSES[min(code // 100, len(_CLASSES) - 1)]
