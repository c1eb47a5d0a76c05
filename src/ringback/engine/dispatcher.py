"""Whose turn is it? Takes deliveries from the intake and from the store, and puts them on the wire in fair turns.

Each endpoint has a lane. Lanes with something to send and leave to send it stand in a ring and are served one delivery a turn. What does
not fit into memory stays in the database, and a lane that has something due there claims it in order when it has room (`supply`). A lane
that must wait for a time, because its rate is used up (`throttle`) or its endpoint asked for it, is out of the ring until then (`rests`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ringback.clock import SECOND_US, Clock
from ringback.delivery.seal import seal
from ringback.delivery.transport import Transport
from ringback.engine.breakers import Breakers
from ringback.engine.configuration import Configuration, Prepare
from ringback.engine.deferred import Deferred
from ringback.engine.flights import GONE, UNREADABLE, UNSENDABLE, ChangedFlight, Flight
from ringback.engine.health import Health
from ringback.engine.lanes import OVERHEAD, Lane, LanePlan, size_of
from ringback.engine.limiter import Limiter
from ringback.engine.pending import pending_of, standing_of
from ringback.engine.recorder import Recorder, masked
from ringback.engine.rests import Rests
from ringback.engine.roster import Roster
from ringback.engine.sorting import Sorting
from ringback.engine.supply import LEASE_US as LEASE_US
from ringback.engine.supply import Supply
from ringback.engine.throttle import Throttle
from ringback.engine.transforming import Runs, Transforming
from ringback.engine.turns import Ring
from ringback.engine.work import Work
from ringback.ids import IdMaker
from ringback.model.attempts import Exchange, WaitCause
from ringback.model.deliveries import Claim, Delivery, Trigger
from ringback.model.messages import Message
from ringback.policy.breaker import BreakerPolicy
from ringback.policy.outcome import Outcome, judge
from ringback.policy.retry import RetryPolicy
from ringback.services.directory import Directory
from ringback.services.ports import Pending, Standing
from ringback.store.base import Record, Store
from ringback.store.operations.directory import Unfinished
from ringback.telemetry.active import within
from ringback.telemetry.events import ENDPOINT_DISABLED, MESSAGE_UNREADABLE, TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics
from ringback.telemetry.spans import SpanIds
from ringback.telemetry.tracing import Tracing, ids_of

# Turns in one go: at 30 to 40 us each they hold the loop for some 2 ms.
_TURNS: Final = 64
# How long an endpoint that gives no answer at all is left alone between two attempts. One that refuses at once costs little to ask, and its
# retries may be a second late (contract, 6.5).
_LEFT_ALONE_US: Final = 800_000
# One that keeps us waiting for longer than that holds a place each time. And a name that did not resolve is remembered for as long
# (`ResolverSettings.keep_failure_s`): asking sooner finds out nothing and costs an attempt.
_LEFT_ALONE_LONG_US: Final = 5 * SECOND_US
# Endpoints that fail, or never answered, count as so many: a thousand of them take the loop for half a millisecond, then others have it.
_OTHER_TURN: Final = 8
# A lane whose script would wait behind many others of its application asks again after so long.
_CROWDED_US: Final = 2 * SECOND_US
# How long a lane rests whose endpoint is being disabled: the commit takes some milliseconds.
_DISABLING_US: Final = SECOND_US
# An attempt that begins so soon after it was due began at once.
_AT_ONCE_US: Final = 10_000
# So soon, it waited for commits and turns on a busy machine, and for nothing that a reader should hear of.
_SOON_US: Final = 100_000
# So soon, one whose time was chosen is as punctual as was promised.
_ON_TIME_US: Final = SECOND_US

# Bytes of deliveries in memory at once; what does not fit waits in the database. A quarter of the memory budget at full load.
_HELD_MAX: Final = 32 * 1024 * 1024


class Dispatcher:
    """`services.ports.Handoff`, and all that follows from it. Belongs to one event loop."""

    def __init__(
        self,
        *,
        store: Store,
        transport: Transport,
        directory: Directory,
        clock: Clock,
        make_id: IdMaker,
        policy: RetryPolicy,
        limiter: Limiter,
        health: Health,
        draw: Callable[[], float],
        metrics: Metrics,
        prepare: Prepare,
        told: Callable[[Record], None] = lambda record: None,
        scripts: Runs | None = None,
        tracing: Tracing | None = None,
        breaker: BreakerPolicy | None = None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._directory = directory
        self._clock = clock
        self._limiter = limiter
        self._health = health
        self._retry_after_max_s = policy.retry_after_max_s
        # Hears of each attempt once it is recorded.
        self._told = told
        self._metrics = metrics
        self._tracing = tracing
        self._loop = asyncio.get_running_loop()
        self._ring = Ring()
        self._roster = roster = Roster(limiter.first)
        self._lanes = roster.lanes
        self._work = work = Work()
        self._recorder = Recorder(store, make_id, policy, health, draw, metrics, self._settled, self._followed, self._pump)
        self._rests = Rests(clock, roster, self._rested, lambda group: self._throttle.look(group), self._pump)
        self._throttle = Throttle(self._rests)
        self._breakers = None if breaker is None else Breakers(breaker, self._rests, metrics)
        self._supply = Supply(store, clock, make_id, metrics, roster, work, _HELD_MAX, self._filled, self._pump)
        self._configuration = Configuration(directory, clock, roster, self._rests, work, prepare, self._supply.stop, self._replanned)
        self._sorting = Sorting(store, directory, roster, work, self._supply)
        self._deferred = Deferred(store, directory, clock, metrics, work, self.wake)
        self._transforming = Transforming(scripts, transport, clock, self.landed, tracing)
        # Attempts whose outcome is known, while their response is still being read.
        self._reading = 0
        self._pumping = False
        self._running = False
        self._closed = False
        self._started_at = 0

    # -- services.ports.Handoff

    def reserve(self, endpoint_id: str, app_id: str, size: int) -> bool:
        """May the next delivery be handed over in memory? See `Handoff.reserve`."""
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._roster.lane(endpoint_id, app_id)
        if self._running and lane.has_room() and self._roster.held + size <= _HELD_MAX:
            lane.reserved += 1
            self._roster.held += size + OVERHEAD
            return True
        lane.spilling += 1
        return False

    def hand_over(self, message: Message, deliveries: Sequence[Delivery]) -> None:
        """Attempt reserved deliveries; see `Handoff.hand_over`."""
        for delivery in deliveries:
            lane = self._lanes[delivery.endpoint_id]
            lane.reserved -= 1
            lane.first.append(Claim(delivery, message))
            self._ring.join(lane)
        # Once for all messages of a commit.
        self._pump_soon()

    def unreserve(self, endpoint_id: str, size: int) -> None:
        """A reserved delivery was not committed."""
        self._lanes[endpoint_id].reserved -= 1
        self._roster.held -= size + OVERHEAD

    def spilled(self, endpoint_id: str) -> None:
        """A delivery went to the database instead."""
        lane = self._lanes[endpoint_id]
        lane.spilling -= 1
        lane.spilled += 1
        self._supply.has_stored(lane)

    def wake(self, endpoint_id: str, app_id: str, due_at: int) -> None:
        """Something is due in the database, now or later."""
        self._supply.wake(self._roster.lane(endpoint_id, app_id), due_at)

    def hurry(self, delivery: Delivery) -> None:
        """Somebody asked by hand for what is in the database; see `Handoff.hurry`."""
        self._supply.hurry(self._roster.lane(delivery.endpoint_id, delivery.app_id), delivery)

    def defer(self, app_id: str, deliver_at: int) -> None:
        """A message of this application has its endpoints found at that time."""
        self._deferred.add(app_id, deliver_at)

    def rearrange(self, endpoint_id: str, app_id: str) -> None:
        """The ordering of an endpoint was changed."""
        self._sorting.begin(endpoint_id, app_id)

    def in_flight(self, endpoint_id: str) -> int:
        """Attempts of this endpoint on the wire."""
        lane = self._lanes.get(endpoint_id)
        return 0 if lane is None else lane.flying

    # -- life

    def standing(self, endpoint_id: str) -> Standing:
        """See `services.ports.Standings`."""
        lane = self._lanes.get(endpoint_id)
        return Standing() if lane is None else standing_of(lane, self._rests.now_us())

    def pending(self, org_id: str, most: int) -> list[Pending]:
        """See `services.ports.Standings`."""
        return pending_of(self._lanes.values(), org_id, self._clock.now_us(), self._rests.now_us(), most)

    def start(self, unfinished: Unfinished) -> None:
        """Begin, with what an earlier run left unfinished."""
        self._running = self._supply.running = True
        self._started_at = self._clock.now_us()
        self._health.start(unfinished.failing)
        for endpoint_id, app_id in unfinished.rearranged:
            # Before anything of it is claimed.
            self._sorting.begin(endpoint_id, app_id, at_once=True)
        for endpoint_id, app_id, due_at in unfinished.deliveries:
            self.wake(endpoint_id, app_id, due_at)
        for app_id, deliver_at in unfinished.deferred:
            self.defer(app_id, deliver_at)

    async def drain(self, deadline_s: float) -> None:
        """Send nothing new, and wait until what is on the wire has landed and is recorded, or until the deadline."""
        self._running = self._supply.running = False
        end = self._clock.monotonic_s() + deadline_s
        while (self.flying or self._reading or self._recorder.unrecorded) and self._clock.monotonic_s() < end:
            await asyncio.sleep(0.005)
        # What is still on the wire will be repeated by the next run: its end, when the transport closes, is no failure of the endpoint.
        self._closed = self._transforming.closed = True
        self._configuration.close()
        self._supply.cancel()
        self._rests.cancel()
        self._deferred.cancel()
        await self._work.end()

    @property
    def running(self) -> bool:
        """Is dispatch going on?"""
        return self._running and not self._recorder.paused

    @property
    def flying(self) -> int:
        """Attempts on the wire whose outcome is not known yet."""
        return self._limiter.flying

    @property
    def lanes(self) -> int:
        """Endpoints that memory knows of."""
        return len(self._lanes)

    @property
    def held_bytes(self) -> int:
        """Bytes of deliveries in memory: reserved, waiting or on the wire."""
        return self._roster.held

    def tidy(self) -> None:
        """Renew the leases of what waits in memory, and forget endpoints that have nothing to do. To be called every `LEASE_US` / 3."""
        until_us = self._clock.now_us() + LEASE_US
        self._recorder.renew(until_us)
        self._store.renew(self._transforming.begun, until_us)
        self._supply.renew()
        if self._breakers is not None:
            self._breakers.tidy(self._lanes.values())
        self._roster.forget_idle(self._throttle.rested)

    def oldest_due(self) -> int:
        """When the most overdue delivery was due, microseconds since 1970; 0 when none is."""
        return self._roster.oldest_due(self._clock.now_us())

    def half_open(self) -> int:
        """How many circuit breakers have rested, and wait for one attempt to decide."""
        return 0 if self._breakers is None else self._breakers.half_open(self._lanes.values())

    # -- turns

    def _pump(self) -> None:
        """Give the lanes in the ring their turns, but hold the loop for no more than so many: the rest follows in its next round."""
        if not (self._running and self._recorder.ready):
            return
        served = 0
        ring, limiter, throttle = self._ring, self._limiter, self._throttle
        while served < _TURNS:
            # Those who waited for a place come first, or those who have one would take it again and again.
            lane = limiter.called() if limiter.starving else None
            if lane is None and throttle.due:
                lane = throttle.called()
            if lane is None:
                lane = ring.next()
                if lane is None:
                    return
            served += 1 if lane.proven else _OTHER_TURN
            while self._serve(lane):
                if served >= _TURNS or ring.size or limiter.starving or throttle.due:
                    ring.join(lane)
                    break
                # Nobody else wants a turn.
                served += 1 if lane.proven else _OTHER_TURN
        self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._pumping = False
        self._pump()

    def _serve(self, lane: Lane) -> bool:
        """Give a lane one turn; does it want another?"""
        if not (lane.first or lane.retries or lane.urgent) or lane.loading or lane.stopped:
            return False
        urgent = lane.urgent and lane.resting is not WaitCause.THROTTLE and self._limiter.spares(lane)
        if not urgent and (lane.resting is not None or not self._limiter.allows(lane)):
            return False
        now_us = self._clock.now_us()
        plan = lane.plan
        if plan is None or plan.entry.stale or plan.valid_until <= now_us:
            plan = self._configuration.plan(lane, now_us)
            if plan is None:
                return False
        if plan.changes is not None and self._transforming.crowded(plan.changes):
            self._rest(lane, _CROWDED_US)
            return False
        if plan.rates is not None and not self._throttle.allows(lane, plan.rates):
            return False
        self._attempt(lane, plan, lane.take(), now_us)
        if lane.stored and not lane.claiming:
            self._supply.claim(lane)
        return bool(lane.first or lane.retries or lane.urgent)

    def _attempt(self, lane: Lane, plan: LanePlan, claim: Claim, now_us: int) -> None:
        if self._tracing is not None:
            claim = self._tracing.departing(claim)
        message, delivery = claim.message, claim.delivery
        due_at = delivery.due_at
        wait = None
        # What is looked at closer is late, waits for a rest, a restart or its time, or is no first attempt.
        if due_at != message.created_at or now_us - due_at > _SOON_US or lane.rested_until >= due_at or due_at < self._started_at:
            wait = self._why(lane, claim, now_us)
        place = self._limiter.start(lane)
        if message.payload is None:
            gone = GONE
            if claim.unreadable is not None:
                gone = UNREADABLE
                with within(self._span(message)):
                    why = claim.unreadable
                    log(MESSAGE_UNREADABLE, app_id=message.app_id, message_id=message.id, endpoint_id=lane.endpoint_id, why=why)
            self._loop.call_soon(self.landed, lane, Flight(self, lane, claim, plan, b"", now_us, place, wait), gone)
            return
        try:
            if plan.changes is not None:
                self._transforming.begin(lane, ChangedFlight(self, lane, claim, plan, b"", now_us, place, wait), plan.changes)
                return
            request = seal(
                plan.plan,
                message_id=message.id.encode(),
                now_s=now_us // SECOND_US,
                body=message.payload,
                content_type=message.content_type.encode(),
                sequence=delivery.sequence,
                headers=message.headers,
            )
            flight = Flight(self, lane, claim, plan, request.head, now_us, place, wait)
            self._transport.send(request, partial(self.landed, lane, flight), flight)
        except Exception as error:
            # A defect of ours in one request must not stop the turns of all others.
            log(TASK_FAILED, failure=error, task="dispatch", error=str(error))
            self._loop.call_soon(self.landed, lane, Flight(self, lane, claim, plan, b"", now_us, place, wait), UNSENDABLE)

    def _why(self, lane: Lane, claim: Claim, now_us: int) -> str | None:
        """What an attempt that begins now has waited for since it was due; None = it has not."""
        delivery = claim.delivery
        late_us = now_us - delivery.due_at
        if late_us > _AT_ONCE_US and lane.rested_until >= delivery.due_at:
            return lane.rested
        if delivery.due_at < self._started_at:
            return WaitCause.RESTART
        first = delivery.attempts == 0 and delivery.trigger is Trigger.SCHEDULED
        if first and delivery.due_at != claim.message.created_at and late_us <= _ON_TIME_US:
            return WaitCause.DELIVER_AT
        if late_us <= _SOON_US:
            return None
        return WaitCause.BACKLOG if delivery.lane is None else WaitCause.ORDER

    def decided(self, lane: Lane, flight: Flight, exchange: Exchange) -> None:
        """The outcome is known: the next attempt may begin, while the rest of this response is still being read."""
        if self._closed:
            return
        flight.outcome = self._judge(lane, flight, exchange)
        flight.unload()
        lane.reading += 1
        self._reading += 1
        self._go_on(lane)

    def landed(self, lane: Lane, flight: Flight, exchange: Exchange) -> None:
        """An attempt has ended: judge it, have it recorded, and give others their turn."""
        if self._closed:
            return
        outcome = flight.outcome
        if outcome is None:
            outcome = self._judge(lane, flight, exchange)
            now_us = flight.ended_at
        else:
            lane.reading -= 1
            self._reading -= 1
            now_us = self._clock.now_us()
        plan = flight.plan
        head = masked(flight.head, plan.sensitive) if plan.sensitive and flight.head else flight.head
        self._recorder.record(lane, flight, head, exchange, outcome, now_us)
        self._go_on(lane)

    def _judge(self, lane: Lane, flight: Flight, exchange: Exchange) -> Outcome:
        """What came of an attempt; its place is free."""
        limiter = self._limiter
        limiter.end(lane, flight.place)
        self._roster.held -= size_of(flight.claim)
        flight.ended_at = now_us = self._clock.now_us()
        outcome = judge(exchange, now_us)
        if outcome.success:
            limiter.succeeded(lane)
            self._metrics.delivery_seconds.observe((now_us - flight.claim.delivery.due_at) / SECOND_US)
        else:
            self._failed(lane, outcome, now_us - flight.started_at)
        if self._breakers is not None:
            self._breakers.heard(lane, flight, outcome)
        if outcome.disables:
            # Nothing more goes out while this is being recorded.
            self._rest(lane, _DISABLING_US)
        return outcome

    def _go_on(self, lane: Lane) -> None:
        ring = self._ring
        if lane.urgent or ((lane.first or lane.retries) and lane.resting is None):
            ring.join(lane)
        if ring.size or self._limiter.starving or self._throttle.due:
            self._pump()
        if lane.stored and not lane.claiming:
            self._supply.claim(lane)

    def _failed(self, lane: Lane, outcome: Outcome, took_us: int) -> None:
        if outcome.ends:
            # Nobody was asked: thousands of erased messages in a row are no reason to leave the endpoint alone.
            return
        if outcome.slow_down:
            self._limiter.struggled(lane)
        if outcome.overloaded and outcome.retry_after_s is not None:
            # The endpoint's other deliveries wait for the same instant.
            self._rest(lane, int(min(outcome.retry_after_s, self._retry_after_max_s) * SECOND_US))
        elif outcome.unanswered and self._limiter.silent(lane):
            self._rest(lane, _LEFT_ALONE_US if took_us < _LEFT_ALONE_US else _LEFT_ALONE_LONG_US)

    def _rest(self, lane: Lane, for_us: int) -> None:
        self._rests.rest(lane, self._rests.now_us() + for_us, WaitCause.PAUSED)

    def _settled(self, lane: Lane, record: Record) -> None:
        told = self._told
        told(record)
        if record.disables is not None and not lane.disabled:
            # Once, although others were on the wire that say the same.
            lane.disabled = True
            with within(self._span(record.message)):
                log(ENDPOINT_DISABLED, app_id=lane.app_id, endpoint_id=lane.endpoint_id, cause=record.disables.cause)
            self._directory.changed(lane.app_id)
        if record.ends_pair or (record.dead is not None and record.delivery.trigger is not Trigger.SCHEDULED):
            self._supply.forget(lane.withdraw(record.delivery.message_id))
            if lane.plan is not None and lane.plan.ordering is not None:
                # A lane may go on that waited for this one.
                self._supply.has_stored(self._roster.lane(lane.endpoint_id, lane.app_id))
        if record.next_due_at is not None:
            self.wake(lane.endpoint_id, lane.app_id, record.next_due_at)

    def _span(self, message: Message | None) -> SpanIds | None:
        """The span of an attempt of this message, where traces are made."""
        return None if self._tracing is None or message is None else ids_of(message)

    def _followed(self, lane: Lane, claims: list[Claim]) -> None:
        self._supply.follow(self._roster.lane(lane.endpoint_id, lane.app_id), claims)

    # -- what the others tell

    def _filled(self, lane: Lane) -> None:
        """The lane has got something from the database."""
        if lane.waiting:
            self._ring.join(lane)
        self._pump()

    def _rested(self, lane: Lane) -> None:
        """The rest of a lane is over; a pump follows."""
        if lane.waiting:
            self._ring.join(lane)
        elif lane.stored and not lane.claiming:
            self._supply.claim(lane)

    def _replanned(self, lane: Lane) -> None:
        """The configuration of a lane was read anew: it is on; whatever rate it waited for may be another one."""
        if self._throttle.released(lane):
            self._rests.end(lane)
        if self._breakers is not None:
            self._breakers.look(lane)
        self._filled(lane)
