"""What happened when, in sums? Rows of counts by minute and hour, for each endpoint, application and organisation.

Commits write the counts of the last minutes to `trend_recent`, a row for each endpoint and minute (`store.sqlite.rollups`). Once a minute
is over its rows move on: they are added to the rows of minutes and hours of the endpoint, its application and its organisation. So a commit
pays for one row for each endpoint, whoever looks at the whole reads one row for each minute or hour, and the sum of both tables is right at
every moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from ringback.model.trends import Cell, Codes, Latency, Worst
from ringback.policy.latency import BUCKETS, percentiles_us
from ringback.store.base import Row, Transaction

# Microseconds in a minute, and minutes in an hour.
MINUTE_US: Final = 60_000_000
HOUR: Final = 60

# Two counters share a column, 31 bits each: two thousand million attempts in an hour, and a half of the columns to bind and to store.
LANE_BITS: Final = 31
_LANE: Final = (1 << LANE_BITS) - 1
# The counters of `codes_N`, as the fields of `Codes`, the one in the low bits first.
CODE_LANES: Final = ("success", "redirect", "client_error", "too_many", "none", "timeout", "server_error", "informational")
_PLAIN: Final = ("accepted", "deliveries", "unmatched", "success", "fail", "canceled")
_PACKED: Final = (*(f"codes_{n}" for n in range(len(CODE_LANES) // 2)), *(f"latency_{n}" for n in range(BUCKETS // 2)))
COLUMNS: Final = (*_PLAIN, *_PACKED)
# Where the first counter of codes, and of latencies, stands among the columns.
CODES_AT: Final = len(_PLAIN)
LATENCY_AT: Final = CODES_AT + len(CODE_LANES) // 2

_SUMS: Final = ", ".join(
    (*(f"SUM({name})" for name in _PLAIN), *(f"SUM({name} & {_LANE}), SUM({name} >> {LANE_BITS})" for name in _PACKED)),
)
_NAMES: Final = ", ".join(COLUMNS)
# What an endpoint that fails did in its whole span, by the hour; and what others add to the row of such a span.
_FAILED: Final = (
    "INSERT INTO trend_failing (org_id, unit, at, endpoint_id, app_id, success, fail) "
    "SELECT org_id, ?, ?, scope, app_id, SUM(success), SUM(fail) FROM trend_hour WHERE scope = ? AND at >= ? AND at < ? GROUP BY scope "
    "ON CONFLICT (org_id, unit, at, endpoint_id) DO UPDATE SET success = excluded.success, fail = excluded.fail"
)
_FAILED_MINUTE: Final = (
    "INSERT INTO trend_failing (org_id, unit, at, endpoint_id, app_id, success, fail) VALUES (?, 1, ?, ?, ?, ?, ?) "
    "ON CONFLICT (org_id, unit, at, endpoint_id) DO UPDATE SET success = success + excluded.success, fail = fail + excluded.fail"
)
_WORKED: Final = "UPDATE trend_failing SET success = success + ? WHERE org_id = ? AND unit = ? AND at = ? AND endpoint_id = ?"
_ADD: Final = ", ".join(f"{name} = {name} + excluded.{name}" for name in COLUMNS)
_UP_TO: Final = "(at, org_id, app_id, endpoint_id) <= (?, ?, ?, ?)"


def _move(table: str, per: int, scope: str, app_id: str) -> str:
    """Adds rows of `trend_recent` to those of another table and a wider scope. Sums of packed columns add both their counters."""
    return (
        f"INSERT INTO {table} (scope, at, org_id, app_id, {_NAMES}) "
        f"SELECT {scope}, at / {per}, org_id, {app_id}, {', '.join(f'SUM({name})' for name in COLUMNS)} FROM trend_recent "
        f"WHERE {_UP_TO} AND {scope} > '' GROUP BY {scope}, at / {per}, org_id, {app_id} ON CONFLICT (scope, at) DO UPDATE SET {_ADD}"
    )


_MOVES: Final = tuple(
    _move(table, per, scope, app_id)
    for table, per in (("trend_minute", 1), ("trend_hour", HOUR))
    for scope, app_id in (("endpoint_id", "app_id"), ("app_id", "''"), ("org_id", "''"))
)
# Counters in a row of _SUMS: packed columns hold two.
_WIDTH: Final = len(_PLAIN) + 2 * len(_PACKED)
# Where latencies begin in a row of _SUMS.
_LATENCIES: Final = len(_PLAIN) + len(CODE_LANES)
# The percentiles of `Latency`.
_SHARES: Final = (0.5, 0.95, 0.99)
# Endpoints that are looked up at once to rank them.
_CANDIDATES: Final = 100
# Spans, in minutes, by which endpoints that fail are kept for lists of the worst, and how many of them one list may look at (of the
# longest, any number): a day is at most five rows for each endpoint that failed in it.
_LONG_UNITS: Final = (HOUR, 6 * HOUR)
UNITS: Final = (1, *_LONG_UNITS)
_UNITS_MAX: Final = 12


class Scope(msgspec.Struct, frozen=True):
    """Whose sums: an organisation's, or (with more ids) its application's or endpoint's. Its maker has checked the tenant."""

    org_id: str
    app_id: str | None = None
    endpoint_id: str | None = None

    @property
    def key(self) -> str:
        """The id whose rows these are."""
        return self.endpoint_id or self.app_id or self.org_id

    def recent(self) -> tuple[str, list[str]]:
        """A condition on rows of `trend_recent`, with its parameters."""
        condition, values = "org_id = ?", [self.org_id]
        for column, value in (("app_id", self.app_id), ("endpoint_id", self.endpoint_id)):
            if value is not None:
                condition += f" AND {column} = ?"
                values.append(value)
        return condition, values


def of_endpoint(tx: Transaction, endpoint_id: str) -> Scope:
    """The scope of an endpoint, deleted or not."""
    row = tx.row("SELECT a.org_id, a.id FROM endpoint e JOIN application a ON a.id = e.app_id WHERE e.id = ?", (endpoint_id,))
    return Scope("", "", endpoint_id) if row is None else Scope(row[0], row[1], endpoint_id)


class Sums:
    """Sums over spans of time that can be added up; `cell` makes them readable."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[int] = (0,) * _WIDTH) -> None:
        self.values = values

    def __add__(self, other: Sums) -> Sums:
        return Sums([a + b for a, b in zip(self.values, other.values, strict=True)])

    def cell(self, at_us: int) -> Cell:
        """The sums as those of the span that begins at `at_us`."""
        accepted, deliveries, unmatched, success, fail, canceled = self.values[:CODES_AT]
        lanes, times = self.values[CODES_AT:_LATENCIES], self.values[_LATENCIES:]
        latency = Latency(*percentiles_us(times, _SHARES)) if any(times) else None
        codes = Codes(**dict(zip(CODE_LANES, lanes, strict=True)))
        return Cell(at_us, accepted, deliveries, unmatched, success, fail, canceled, codes, latency)


def series(tx: Transaction, scope: Scope, first: int, end: int, step: int) -> dict[int, Sums]:
    """Sums for each `step` minutes that anything happened in, by their first minute, from minute `first` to `end` (exclusive).

    All three are whole hours when `step` is. Costs a look at one row a minute, or a row an hour then.
    """
    per = HOUR if step % HOUR == 0 else 1
    table = "trend_minute" if per == 1 else "trend_hour"
    rows = tx.rows(
        f"SELECT at / ?, {_SUMS} FROM {table} WHERE scope = ? AND at >= ? AND at < ? GROUP BY 1",
        (step // per, scope.key, first // per, end // per),
    )
    found = {row[0] * step: Sums(row[1:]) for row in rows}
    for minute, row in _recent(tx, scope, first, end, _SUMS):
        at = minute // step * step
        found[at] = found.get(at, Sums()) + Sums(row)
    return found


def outcomes(tx: Transaction, scope: Scope, first: int, end: int) -> tuple[int, int, int]:
    """Attempts that succeeded, failed and were cancelled from minute `first` to `end` (exclusive): hours, with minutes at both ends."""
    wanted = "COALESCE(SUM(success), 0), COALESCE(SUM(fail), 0), COALESCE(SUM(canceled), 0)"
    hours = -(-first // HOUR), end // HOUR
    spans = [("trend_minute", first, end)]
    if hours[0] < hours[1]:
        spans = [("trend_minute", first, hours[0] * HOUR), ("trend_hour", *hours), ("trend_minute", hours[1] * HOUR, end)]
    rows = [
        tx.row(f"SELECT {wanted} FROM {table} WHERE scope = ? AND at >= ? AND at < ?", (scope.key, since, until))
        for table, since, until in spans
        if since < until
    ]
    rows += [row for _, row in _recent(tx, scope, first, end, wanted)]
    success, fail, canceled = (sum(column) for column in zip((0, 0, 0), *(row for row in rows if row is not None), strict=True))
    return success, fail, canceled


def _recent(tx: Transaction, scope: Scope, first: int, end: int, wanted: str) -> Iterator[tuple[int, Row]]:
    """What has not moved on yet, minute by minute."""
    condition, values = scope.recent()
    minute = first - 1
    while (row := tx.row("SELECT at FROM trend_recent WHERE at > ? AND at < ? ORDER BY at LIMIT 1", (minute, end))) is not None:
        minute = row[0]
        sums = tx.row(f"SELECT COUNT(*), {wanted} FROM trend_recent WHERE at = ? AND {condition}", (minute, *values))
        if sums is not None and sums[0]:
            yield minute, sums[1:]


# -- the worst


def worst(tx: Transaction, scope: Scope, first: int, end: int, most: int) -> tuple[list[Worst], list[Worst]]:
    """The live endpoints with the most failures in the minutes from `first` to `end`, and those with the least share of successes.

    Longer spans are widened to whole hours, or quarters of a day (UNITS). Costs a look at one row for each of these and each endpoint that
    failed in it.
    """
    unit = next((unit for unit in UNITS if end - first <= unit * _UNITS_MAX), UNITS[-1])
    first, end = first // unit * unit, -(-end // unit) * unit
    failing = _failing(tx, scope, unit, first, end)

    def ranked(share: bool) -> list[Worst]:
        # What is known of its failing units is the least that an endpoint's share can be, so none beyond the last one found is below it.
        def rank(success: int, fail: int, key: str) -> tuple[float, int, str]:
            return success / (success + fail) if share else 0, -fail, key

        order = sorted((rank(*counts, key), key) for key, counts in failing.items())
        found: list[tuple[tuple[float, int, str], Worst]] = []
        for start in range(0, len(order), _CANDIDATES):
            if len(found) == most and found[-1][0] < order[start][0]:
                break
            keys = [key for _, key in order[start : start + _CANDIDATES]]
            successes = _successes(tx, scope.org_id, keys, first, end)
            described = _described(tx, {key: (successes[key], failing[key][1]) for key in keys})
            found += [(rank(known.success, known.fail, known.endpoint_id), known) for known in described]
            found = sorted(found, key=lambda pair: pair[0])[:most]
        return [known for _, known in found]

    return ranked(share=False), ranked(share=True)


def _failing(tx: Transaction, scope: Scope, unit: int, first: int, end: int) -> dict[str, tuple[int, int]]:
    """Failures of each endpoint that has any, and successes in its units with a failure."""
    condition, values = scope.recent()
    rows = tx.rows(
        f"SELECT endpoint_id, SUM(success), SUM(fail) FROM trend_failing WHERE {condition} AND unit = ? AND at >= ? AND at < ? GROUP BY 1",
        (*values, unit, first // unit, end // unit),
    )
    rows += tx.rows(
        f"SELECT endpoint_id, SUM(success), SUM(fail) FROM trend_recent WHERE {condition} AND at >= ? AND at < ? AND fail > 0 GROUP BY 1",
        (*values, first, end),
    )
    found: dict[str, tuple[int, int]] = {}
    for endpoint_id, success, fail in rows:
        before = found.get(endpoint_id, (0, 0))
        found[endpoint_id] = before[0] + success, before[1] + fail
    return found


def _successes(tx: Transaction, org_id: str, keys: list[str], first: int, end: int) -> dict[str, int]:
    """All successes of some endpoints."""
    marks = ", ".join("?" * len(keys))
    hourly = first % HOUR == 0 and end % HOUR == 0
    table, per = ("trend_hour", HOUR) if hourly else ("trend_minute", 1)
    rows = tx.rows(
        f"SELECT scope, SUM(success) FROM {table} WHERE scope IN ({marks}) AND at >= ? AND at < ? GROUP BY 1",
        (*keys, first // per, end // per),
    )
    rows += tx.rows(
        "SELECT endpoint_id, SUM(success) FROM trend_recent "
        f"WHERE at >= ? AND at < ? AND org_id = ? AND endpoint_id IN ({marks}) GROUP BY 1",
        (first, end, org_id, *keys),
    )
    found = dict.fromkeys(keys, 0)
    for endpoint_id, success in rows:
        found[endpoint_id] += success
    return found


def _described(tx: Transaction, sums: dict[str, tuple[int, int]]) -> list[Worst]:
    marks = ", ".join("?" * len(sums))
    rows = tx.rows(
        "SELECT e.id, e.uid, e.description, e.disabled, a.id, a.name FROM endpoint e JOIN application a ON a.id = e.app_id "
        f"WHERE e.id IN ({marks}) AND e.deleted_at IS NULL AND a.deleted_at IS NULL",
        list(sums),
    )
    return [
        Worst(endpoint_id, uid, description, bool(disabled), app_id, name, *sums[endpoint_id])
        for endpoint_id, uid, description, disabled, app_id, name in rows
    ]


# -- moving on


def move(tx: Transaction, before: int, limit: int) -> int:
    """Add rows of minutes before `before` to those of minutes and hours, and remove them: at most `limit`; how many."""
    rows = tx.rows(
        "SELECT at, org_id, app_id, endpoint_id, success, fail FROM trend_recent WHERE at < ? "
        "ORDER BY at, org_id, app_id, endpoint_id LIMIT ?",
        (before, limit),
    )
    if not rows:
        return 0
    last = rows[-1][:4]
    for statement in _MOVES:
        tx.run(statement, last)
    _note_failing(tx, rows)
    tx.run(f"DELETE FROM trend_recent WHERE {_UP_TO}", last)
    return len(rows)


def _note_failing(tx: Transaction, rows: Sequence[Row]) -> None:
    """Keep, for lists of the worst, what rows of minutes that were just added say of endpoints that fail."""
    failed: list[tuple[Any, ...]] = []
    failed_minutes: list[tuple[Any, ...]] = []
    worked: list[tuple[Any, ...]] = []
    for at, org_id, app_id, endpoint_id, success, fail in rows:
        if fail:
            failed_minutes.append((org_id, at, endpoint_id, app_id, success, fail))
            failed += [(unit, at // unit, endpoint_id, at // unit * unit // HOUR, (at // unit + 1) * unit // HOUR) for unit in _LONG_UNITS]
        elif success:
            worked += [(success, org_id, unit, at // unit, endpoint_id) for unit in _LONG_UNITS]
    tx.run_many(_FAILED_MINUTE, failed_minutes)
    # In this order: the hours that the other statement adds up hold what these add already.
    tx.run_many(_WORKED, worked)
    tx.run_many(_FAILED, failed)


# -- letting go


def purge(tx: Transaction, before_us: int, limit: int, after: str) -> tuple[int, str | None]:
    """Remove rows before that time, of the scope behind `after` ("" = the first); how many, and behind which to go on (None = done)."""
    before = before_us // MINUTE_US
    row = tx.row(
        "SELECT MIN(scope) FROM (SELECT * FROM (SELECT scope FROM trend_minute WHERE scope > ? ORDER BY scope LIMIT 1) m "
        "UNION ALL SELECT * FROM (SELECT scope FROM trend_hour WHERE scope > ? ORDER BY scope LIMIT 1) h) s",
        (after, after),
    )
    if row is None or row[0] is None:
        return 0, None
    scope, removed = str(row[0]), 0
    for table, end in (("trend_minute", before), ("trend_hour", before // HOUR)):
        old = tx.rows(f"SELECT scope, at FROM {table} WHERE scope = ? AND at < ? ORDER BY at LIMIT ?", (scope, end, limit - removed))
        tx.run_many(f"DELETE FROM {table} WHERE scope = ? AND at = ?", old)
        removed += len(old)
    for unit in UNITS:
        # Of an organisation; other scopes have none.
        old = tx.rows(
            "SELECT org_id, unit, at, endpoint_id FROM trend_failing WHERE org_id = ? AND unit = ? AND at < ? ORDER BY at LIMIT ?",
            (scope, unit, before // unit, limit - removed),
        )
        tx.run_many("DELETE FROM trend_failing WHERE org_id = ? AND unit = ? AND at = ? AND endpoint_id = ?", old)
        removed += len(old)
    return removed, after if removed == limit else scope


def purge_scope(tx: Transaction, scope: str, limit: int) -> int:
    """Remove rows of an endpoint or application, at most `limit`; how many. Lists of the worst show no deleted endpoints: theirs stay."""
    removed = 0
    for table in ("trend_minute", "trend_hour"):
        found = tx.rows(f"SELECT scope, at FROM {table} WHERE scope = ? LIMIT ?", (scope, limit - removed))
        tx.run_many(f"DELETE FROM {table} WHERE scope = ? AND at = ?", found)
        removed += len(found)
    return removed
