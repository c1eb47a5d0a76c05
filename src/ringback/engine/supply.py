"""What does a lane get from the database, and when? What is due is claimed in order when the lane has room; what is due later rings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.engine.lanes import LOW_MARK, Lane, size_of
from ringback.engine.roster import Roster
from ringback.engine.wakeup import Alarms
from ringback.engine.work import Work
from ringback.errors import RingbackError
from ringback.ids import IdMaker
from ringback.model.deliveries import Claim, Delivery, Trigger
from ringback.store.base import Bounds, Store
from ringback.store.operations import deliveries
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# A claim is leased for twice the longest attempt (30 s and its body), and longer while it waits its turn.
LEASE_US: Final = 70 * SECOND_US
# Deliveries claimed in one look: 3 ms of the writer's time.
_CLAIM_MAX: Final = 256
# Payload bytes after which a claim is large enough: nobody knows their sizes before.
_CLAIM_BYTES: Final = 1024 * 1024
# Rows removed in one write when an endpoint is stopped: about 2 ms.
_DROP_ROWS: Final = 500
# Seconds until something that the store could not do is tried again.
_AGAIN_S: Final = 0.5
# Seconds until a claim that ran into a defect is made again, and told again.
_AFTER_DEFECT_S: Final = 3.0
# Urgent deliveries of one lane in memory: who asks for more by hand is no person, and they wait behind others.
_URGENT_MAX: Final = 16
# Claims at once; more wait for their turn, so that what they find is known before the next are made.
_CLAIMS: Final = 8


class Supply:
    """Claims for lanes. `held_max` is how many bytes memory should hold.

    `filled(lane)` is called when a lane has got something, or might have; `rung` after alarms.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make_id: IdMaker,
        metrics: Metrics,
        roster: Roster,
        work: Work,
        held_max: int,
        filled: Callable[[Lane], None],
        rung: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._metrics = metrics
        self._roster = roster
        self._work = work
        self._held_max = held_max
        self._filled = filled
        self._alarms = Alarms(clock.now_us, self._rings, rung)
        self._turns = asyncio.Semaphore(_CLAIMS)
        self.running = False

    def wake(self, lane: Lane, due_at: int) -> None:
        """Something of this lane is due in the database, now or later."""
        if due_at <= self._clock.now_us():
            self.has_stored(lane)
        else:
            self._later(lane, due_at)

    def has_stored(self, lane: Lane) -> None:
        """Something is due in the database."""
        lane.stored = True
        lane.woken += 1
        if not lane.claiming:
            self.claim(lane)

    def claim(self, lane: Lane) -> None:
        """Fetch what is due, if the lane may have it now. It must not be fetching already."""
        if self.running and not lane.stopped and lane.resting is None and lane.waiting < (LOW_MARK if self._is_roomy() else 1):
            lane.claiming = True
            self._work.begin(self._claim(lane))

    def hurry(self, lane: Lane, delivery: Delivery) -> None:
        """Fetch this one, which somebody asked for by hand: it comes before all others, even while the lane rests."""
        if self.running:
            # The lane is not to be forgotten meanwhile.
            lane.reserved += 1
            self._work.begin(self._hurry(lane, delivery))

    def stop(self, lane: Lane) -> None:
        """The endpoint was disabled or deleted: what is left of its deliveries ends now."""
        if not lane.stopped:
            lane.stopped = True
            self.forget(lane.drain())
            # Should it be enabled again meanwhile, what is published from now on counts: messages have ids above this one.
            self._work.begin(self._clear(lane, self._ids.make(ids.MESSAGE, self._clock.now_us())))

    def hold(self, lane: Lane) -> None:
        """Take nothing in and send nothing until `resume`: what waits in memory goes back to the database."""
        lane.stopped = True
        self.forget(lane.drain())

    def resume(self, lane: Lane) -> None:
        """Go on, with whatever the database has now."""
        lane.stopped = False
        lane.next_due = None
        self.has_stored(lane)

    def follow(self, lane: Lane, claims: list[Claim]) -> None:
        """These, leased already, have their turn because those before them in their lanes are finished."""
        if lane.stopped or not self.running:
            self._store.release(c.delivery for c in claims)
            return
        self._take_in(lane, claims, lane.put)

    def forget(self, claims: list[Claim]) -> None:
        """These, taken out of a queue, are nobody's any more."""
        self._roster.held -= sum(map(size_of, claims))
        self._store.release(c.delivery for c in claims)

    def renew(self) -> None:
        """Hold the leases of what waits in memory."""
        until = self._clock.now_us() + LEASE_US
        for lane in self._roster.lanes.values():
            if lane.waiting:
                self._store.renew((c.delivery for queue in lane.queues for c in queue), until)

    def cancel(self) -> None:
        """Ring no more."""
        self.running = False
        self._alarms.cancel()

    def _later(self, lane: Lane, due_at: int) -> None:
        if lane.next_due is None or due_at < lane.next_due:
            lane.next_due = due_at
            self._alarms.set(due_at, lane.endpoint_id)

    async def _claim(self, lane: Lane) -> None:
        try:
            async with self._turns:
                woken = lane.woken
                found = await self._store.claim(lane.endpoint_id, self._bounds(), self._clock.now_us(), LEASE_US)
        except Exception as error:
            # A lane that waited for this claim for ever would send nothing more.
            if isinstance(error, RingbackError):
                await asyncio.sleep(_AGAIN_S)
            else:
                # A defect of ours, or a spoilt row.
                log(TASK_FAILED, failure=error, task="claim", error=str(error))
                await asyncio.sleep(_AFTER_DEFECT_S)
            lane.claiming = False
            self.has_stored(lane)
            return
        lane.claiming = False
        if lane.stopped:
            self._store.release(c.delivery for c in found.claims)
            return
        due = found.next_due_at
        if due is None or due > self._clock.now_us():
            if lane.woken == woken:
                lane.stored = False
            if due is not None:
                self._later(lane, due)
        self._take_in(lane, found.claims, lane.put)
        if lane.stored and not lane.claiming and not lane.waiting:
            self.claim(lane)

    async def _hurry(self, lane: Lane, delivery: Delivery) -> None:
        claim = None
        try:
            async with self._turns:
                if len(lane.urgent) < (_URGENT_MAX if self._is_roomy() else 1):
                    claim = await self._store.claim_one(delivery, self._clock.now_us(), LEASE_US)
                    if claim is None and lane.hasten(delivery):
                        # What fetched all that is due has found it first.
                        self._filled(lane)
        except Exception as error:
            if not isinstance(error, RingbackError):
                log(TASK_FAILED, failure=error, task="claim", error=str(error))
        finally:
            lane.reserved -= 1
        if claim is not None and lane.stopped:
            self._store.release([delivery])
        elif claim is not None:
            self._take_in(lane, [claim], lane.urgent.append)
        # It may have brought its scheduled attempt into the database; and if it is still there itself, it has its turn with all others.
        self.has_stored(lane)

    def _take_in(self, lane: Lane, claims: Sequence[Claim], put: Callable[[Claim], None]) -> None:
        for claim in claims:
            put(claim)
            self._roster.held += size_of(claim)
        self._filled(lane)

    def _is_roomy(self) -> bool:
        """May lanes have several deliveries in memory? Else one each, so that every lane goes on all the same."""
        return self._roster.held < self._held_max // 2

    def _bounds(self) -> Bounds:
        """How much to claim at once."""
        return Bounds(_CLAIM_MAX if self._is_roomy() else 1, _CLAIM_BYTES)

    async def _clear(self, lane: Lane, before: str) -> None:
        """Remove the live deliveries of a disabled or deleted endpoint, then let the lane start anew should the endpoint come back."""
        while True:
            try:
                dropped = await self._store.write(lambda tx: deliveries.dropped(tx, lane.endpoint_id, _DROP_ROWS, before))
            except RingbackError:
                await asyncio.sleep(_AGAIN_S)
                continue
            self._metrics.backlog -= dropped.count(Trigger.SCHEDULED)
            if len(dropped) < _DROP_ROWS:
                break
        # Whatever came while the lane was stopped lies in the database.
        self.resume(lane)

    def _rings(self, endpoint_id: str, at_us: int) -> None:
        lane = self._roster.lanes.get(endpoint_id)
        if lane is not None and lane.next_due is not None and lane.next_due <= at_us:
            lane.next_due = None
            self.has_stored(lane)
