"""Which endpoints are left alone because most of their attempts fail? The circuit breakers of lanes; there are none unless they are wanted.

An open one lets its lane rest like any other reason to wait, so nothing that waits fails or costs an attempt. After the rest the lane may
have one attempt at once: that one decides, and after a success the limit grows from there.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringback.clock import SECOND_US
from ringback.engine.flights import Flight
from ringback.engine.lanes import Guarded, Lane, LanePlan
from ringback.engine.rests import Rests
from ringback.model.attempts import WaitCause
from ringback.model.deliveries import Trigger
from ringback.policy.breaker import CLOSED, Breaker, BreakerPolicy, after, counts, is_stale
from ringback.policy.outcome import Outcome
from ringback.telemetry.events import BREAKER_CLOSED, BREAKER_OPENED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics


class Breakers:
    """The circuit breakers of all lanes."""

    def __init__(self, policy: BreakerPolicy, rests: Rests, metrics: Metrics) -> None:
        self._policy = policy
        self._rests = rests
        self._metrics = metrics

    def heard(self, lane: Lane, flight: Flight, outcome: Outcome) -> None:
        """An attempt has ended; its place is free, and the lane's limit has followed from it."""
        if counts(outcome) and self._is_of_now(lane, flight.plan):
            guarded = lane.guarded
            if guarded is None:
                guarded = lane.guarded = Guarded(_configuration(flight.plan, lane), CLOSED)
            # What began before the opening has no say any more; of attempts by hand, which pass it, nobody knows when they began.
            by_hand = outcome.success and flight.claim.delivery.trigger is Trigger.MANUAL
            if guarded.clear or not guarded.breaker.openings or by_hand:
                self._change(lane, guarded, after(self._policy, guarded.breaker, outcome.success, self._rests.now_us()), flight.ended_at)
        guarded = lane.guarded
        if guarded is not None and guarded.breaker.openings:
            guarded.clear = guarded.clear or not lane.flying
            lane.limit = 1

    def look(self, lane: Lane) -> None:
        """The configuration of a lane was read: what is known of its endpoint is not known of another one."""
        guarded = lane.guarded
        if guarded is None or lane.plan is None:
            return
        now = _configuration(lane.plan, lane)
        if guarded.configuration == now:
            guarded.configuration = now
        else:
            self._drop(lane, guarded, "changed")

    def tidy(self, lanes: Iterable[Lane]) -> None:
        """Forget what is of no use any more, and the breakers of endpoints that are disabled or deleted."""
        now_us = self._rests.now_us()
        for lane in lanes:
            guarded = lane.guarded
            if guarded is None:
                continue
            if lane.plan is None:
                self._drop(lane, guarded, "changed")
            elif lane.resting is None and is_stale(self._policy, guarded.breaker, now_us):
                self._drop(lane, guarded, "forgotten")

    def half_open(self, lanes: Iterable[Lane]) -> int:
        """How many of these have rested, and wait for one attempt to decide."""
        if not self._metrics.breakers_open:
            return 0
        now_us = self._rests.now_us()
        return sum(lane.guarded is not None and lane.guarded.breaker.is_half_open(now_us) for lane in lanes)

    def _is_of_now(self, lane: Lane, plan: LanePlan) -> bool:
        """Was the attempt made by the configuration that the endpoint has now?"""
        self.look(lane)
        current = lane.plan
        return current is not None and (plan is current or _configuration(plan, lane) == _configuration(current, lane))

    def _change(self, lane: Lane, guarded: Guarded, breaker: Breaker, ended_at: int) -> None:
        before, guarded.breaker = guarded.breaker, breaker
        if breaker.openings > before.openings:
            self._opened(lane, guarded, ended_at)
        elif before.openings and not breaker.openings:
            self._closed(lane, "success")

    def _opened(self, lane: Lane, guarded: Guarded, ended_at: int) -> None:
        breaker = guarded.breaker
        guarded.clear = False
        lane.proven = False
        self._rests.rest(lane, breaker.until_us, WaitCause.BREAKER)
        if breaker.openings > 1:
            self._count("reopened")
            return
        guarded.opened_at = ended_at
        self._count("opened")
        self._metrics.breakers_open += 1
        rest_s = self._policy.rest_us / SECOND_US
        log(BREAKER_OPENED, app_id=lane.app_id, endpoint_id=lane.endpoint_id, share=round(breaker.share, 3), rest_s=rest_s)

    def _closed(self, lane: Lane, cause: str) -> None:
        self._count("closed")
        self._metrics.breakers_open -= 1
        self._rests.close(lane)
        log(BREAKER_CLOSED, app_id=lane.app_id, endpoint_id=lane.endpoint_id, cause=cause)

    def _count(self, change: str) -> None:
        counts = self._metrics.breaker_changes
        self._metrics.breaker_changes = counts | {change: counts[change] + 1}

    def _drop(self, lane: Lane, guarded: Guarded, cause: str) -> None:
        lane.guarded = None
        if guarded.breaker.openings:
            self._closed(lane, cause)


def _configuration(plan: LanePlan, lane: Lane) -> object:
    """What an endpoint was set up as."""
    return plan.entry.endpoints.get(lane.endpoint_id), plan.entry.transformations.get(lane.endpoint_id)
