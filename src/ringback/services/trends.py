"""How is it going? Throughput, success, latency and the worst endpoints over a span of time, for an overview and for one endpoint.

    trends = Trends(store, clock, handoff, metrics)
    seen = await trends.overview(who, since_us=now_us - 86_400_000_000, step_us=300_000_000)
    for cell in seen.cells: ...                       # `model.trends.Cell`: one for each step, also where nothing happened
    seen.total.success_rate, seen.total.latency       # the whole span as one cell; None = nothing to tell
    seen.most_failures, seen.least_success            # `model.trends.Worst`, at most ten each

All times are microseconds since 1970, all answers frozen. Attempts count in the minute they began, at the commit that records them;
messages in the minute they were accepted. The sums lie by minute and hour, so an answer costs some rows, never the history itself. Sums are
kept as long as history is (`history_retention`); expunged content changes none of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.errors import NotFound, Refused
from ringback.model.applications import TokenKind
from ringback.model.trends import Cell
from ringback.model.trends import Codes as Codes
from ringback.model.trends import Latency as Latency
from ringback.model.trends import Worst as Worst
from ringback.services.applications import find
from ringback.services.attempts import find_endpoint
from ringback.services.ports import Handoff
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import attempts, deliveries, organisations, trends
from ringback.store.operations.trends import MINUTE_US, Scope, Sums
from ringback.telemetry.prometheus import Metrics

# Microseconds in an hour and in a day.
_HOUR_US: Final = 60 * MINUTE_US
_DAY_US: Final = 24 * _HOUR_US
# Widths of a cell that a span nobody chose a step for may get: what a clock or a calendar shows.
_STEPS_US: Final = (
    *(n * MINUTE_US for n in (1, 5, 15)),
    *(n * _HOUR_US for n in (1, 6)),
    _DAY_US,
)
# Cells that such a span has at most: a chart's width, 100 to 200 points.
_CELLS: Final = 150
# Cells in one answer at most: each costs some 50 us to sum up.
CELLS_MAX: Final = 1_500
# A step that is no whole number of hours is summed up from minutes: so many of them, a week, take some 20 ms of a reader.
MINUTES_MAX: Final = 7 * 24 * 60
# Endpoints in a list of the worst.
WORST: Final = 10
# Endpoints of an application that are looked through for failures: more than any list shows at once.
FAILING_MAX: Final = 250
# How far back failures still say how an endpoint stands: an hour.
_FAILING_US: Final = 60 * MINUTE_US
# Deliveries of one endpoint that are counted: 1 to 2 ms of a reader.
BACKLOG_MAX: Final = 10_000


class Overview(msgspec.Struct, frozen=True):
    """What happened from `since_us` to `until_us` in an organisation or application, in cells of `step_us`.

    `most_failures` are the live endpoints that failed most often, `least_success` those with the least share of successes, the worst first;
    in spans over 12 minutes they are counted by whole hours, over 12 hours by quarters of a day. `backlog` is how many deliveries are
    unfinished, `oldest_due_us` when the most overdue of them was due, 0 = none is; both are None where the server does not know them apart
    from those of others (several organisations, or a single application).
    """

    since_us: int
    until_us: int
    step_us: int
    cells: list[Cell]
    total: Cell
    most_failures: list[Worst]
    least_success: list[Worst]
    backlog: int | None
    oldest_due_us: int | None


class EndpointTrend(msgspec.Struct, frozen=True):
    """What happened from `since_us` to `until_us` at an endpoint, in cells of `step_us`: a health strip, latency, status codes.

    `in_flight` attempts are on the wire now. `backlog` counts its unfinished deliveries, up to BACKLOG_MAX, which then means that or more;
    `oldest_due_us` is when the first of them is or was due, None without any.
    """

    endpoint_id: str
    since_us: int
    until_us: int
    step_us: int
    cells: list[Cell]
    total: Cell
    in_flight: int
    backlog: int
    oldest_due_us: int | None


class _Window(msgspec.Struct, frozen=True):
    """A span of whole steps."""

    since_us: int
    until_us: int
    step_us: int

    @property
    def minutes(self) -> tuple[int, int, int]:
        return self.since_us // MINUTE_US, self.until_us // MINUTE_US, self.step_us // MINUTE_US

    def cells(self, tx: Transaction, scope: Scope) -> tuple[list[Cell], Cell]:
        """A cell for each step, and one for all of them."""
        nothing = Sums()
        sums = trends.series(tx, scope, *self.minutes)
        cells = [sums.get(at_us // MINUTE_US, nothing).cell(at_us) for at_us in range(self.since_us, self.until_us, self.step_us)]
        return cells, sum(sums.values(), nothing).cell(self.since_us)


class Trends:
    """The sums of every organisation; each verb sees those that its caller may reach.

    `since_us` defaults to 24 hours before `until_us`, and that to now. `step_us` is a whole number of minutes, chosen when None; the span
    is widened to whole steps (of UTC), so the first and the last cell are whole too. Refused with `invalid_range`: no or too many steps in
    the span (CELLS_MAX), steps of minutes over more than a week.
    """

    def __init__(self, store: Store, clock: Clock, handoff: Handoff, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._handoff = handoff
        self._metrics = metrics

    async def overview(
        self,
        who: Principal,
        *,
        app: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
        step_us: int | None = None,
    ) -> Overview:
        """What happens in the organisation of an org token, or in one application (id or uid). Raises NotFound and Refused.

        The token of an application sees that application, whether `app` is given or not.
        """
        window = _window(self._clock.now_us(), since_us, until_us, step_us)
        first, end, _ = window.minutes

        def query(tx: Transaction) -> tuple[list[Cell], Cell, list[Worst], list[Worst], bool]:
            scope = _scope(tx, who, app)
            alone = scope.app_id is None and organisations.are_alone(tx)
            return *window.cells(tx, scope), *trends.worst(tx, scope, first, end, WORST), alone

        cells, total, most_failures, least_success, alone = await self._store.read(query)
        backlog, oldest_due_us = (max(self._metrics.backlog, 0), self._metrics.oldest_due_us) if alone else (None, None)
        return Overview(
            window.since_us, window.until_us, window.step_us, cells, total, most_failures, least_success, backlog, oldest_due_us
        )

    async def failing(self, who: Principal, app: str) -> dict[str, Worst]:
        """The live endpoints of an application (id or uid) that failed in this hour or the one before, by id. Raises NotFound.

        Whether they still do is in `took_last`. Those with the least success if there are more than FAILING_MAX.
        """
        now_us = self._clock.now_us()
        first, end = (now_us - _FAILING_US) // MINUTE_US, now_us // MINUTE_US + 1

        def query(tx: Transaction) -> list[Worst]:
            worst = trends.worst(tx, _scope(tx, who, app), first, end, FAILING_MAX)[1]
            return [msgspec.structs.replace(one, took_last=attempts.took_last(tx, one.endpoint_id)) for one in worst]

        return {one.endpoint_id: one for one in await self._store.read(query)}

    async def endpoint(
        self,
        who: Principal,
        app: str,
        endpoint: str,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
        step_us: int | None = None,
    ) -> EndpointTrend:
        """What happens at one endpoint (ids or uids). Raises NotFound and Refused.

        A strip of the last day with a cell for each quarter of an hour: `step_us=15 * 60_000_000`, and no more.
        """
        window = _window(self._clock.now_us(), since_us, until_us, step_us)

        def query(tx: Transaction) -> EndpointTrend:
            application = find(tx, who, app)
            endpoint_id = find_endpoint(tx, application.id, endpoint).id
            cells, total = window.cells(tx, Scope(application.org_id, application.id, endpoint_id))
            waiting = deliveries.backlog(tx, endpoint_id, BACKLOG_MAX)
            return EndpointTrend(endpoint_id, window.since_us, window.until_us, window.step_us, cells, total, 0, *waiting)

        found = await self._store.read(query)
        return msgspec.structs.replace(found, in_flight=self._handoff.in_flight(found.endpoint_id))


def _scope(tx: Transaction, who: Principal, app: str | None) -> Scope:
    if app is not None:
        return Scope(who.org_id, find(tx, who, app).id)
    if who.kind is TokenKind.ORG:
        return Scope(who.org_id)
    if who.app_id is None:
        raise NotFound
    return Scope(who.org_id, find(tx, who, who.app_id).id)


def _window(now_us: int, since_us: int | None, until_us: int | None, step_us: int | None) -> _Window:
    until_us = now_us if until_us is None else until_us
    since_us = until_us - _DAY_US if since_us is None else since_us
    if not 0 <= since_us < until_us:
        raise Refused("invalid_range", "since must lie before until; widen the span")
    step_us = _step(until_us - since_us) if step_us is None else step_us
    if step_us <= 0 or step_us % MINUTE_US:
        raise Refused("invalid_range", f"a step of {step_us} us is no whole number of minutes; give one, or leave it out")
    window = _Window(since_us // step_us * step_us, -(-until_us // step_us) * step_us, step_us)
    first, end, step = window.minutes
    if (end - first) // step > CELLS_MAX:
        raise Refused("invalid_range", f"the span has more than {CELLS_MAX} steps; choose a longer step, or a shorter span")
    if step % trends.HOUR and end - first > MINUTES_MAX:
        raise Refused("invalid_range", "a span of more than a week needs a step of whole hours; choose one, or leave it out")
    return window


def _step(span_us: int) -> int:
    fitting = [step_us for step_us in _STEPS_US if span_us <= step_us * _CELLS]
    return fitting[0] if fitting else _DAY_US
