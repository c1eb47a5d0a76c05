"""Which endpoints have deliveries that are due and not on the wire, and what do these wait for? A look at memory, for people."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from ringback.engine.lanes import Lane
from ringback.services.ports import Held, Pending, Standing

# Lanes in one look: each costs a third of a microsecond, and the loop must not be held for milliseconds.
_MOST: Final = 10_000


def pending_of(lanes: Iterable[Lane], org_id: str, now_us: int, rests_now_us: int, most: int) -> list[Pending]:
    """What waits, the longest first: of this organisation, and of lanes whose application memory does not know yet."""
    found = [
        _pending(lane, rests_now_us)
        for lane in islice(lanes, _MOST)
        if (lane.waiting or lane.stored or lane.starved or lane.queued)
        and (lane.plan is None or lane.plan.entry.application.org_id == org_id)
    ]
    found.sort(key=lambda pending: pending.due_at or now_us)
    return found[:most]


def standing_of(lane: Lane, rests_now_us: int) -> Standing:
    """How an endpoint is treated now."""
    left_us = 0 if lane.resting is None else max(lane.rest_ends - rests_now_us, 0)
    return Standing(lane.limit, lane.resting, left_us, lane.guarded is not None and lane.guarded.breaker.is_half_open(rests_now_us))


def _pending(lane: Lane, rests_now_us: int) -> Pending:
    dues = [queue[0].delivery.due_at for queue in lane.queues if queue]
    standing = standing_of(lane, rests_now_us)
    return Pending(lane.endpoint_id, min(dues, default=0), lane.flying, standing, _why(lane, standing.left_us))


def _why(lane: Lane, left_us: int) -> Held:
    if lane.queued:
        return Held.APPLICATION_RATE
    if left_us:
        return Held.REST
    if lane.flying >= lane.limit:
        return Held.LIMIT
    return Held.PLACE if lane.starved else Held.TURN
