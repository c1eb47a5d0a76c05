"""Whose turn is it? Takes deliveries from the intake and from the store, and puts them on the wire in fair turns.

Each endpoint has a lane. Lanes with something to send and leave to send it stand in a ring and are served one delivery a turn. What does
not fit into memory stays in the database, and a lane that has something due there claims it in order when it has room. What is due later
costs one entry per endpoint in a heap of alarms, however many deliveries it stands for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.delivery.seal import seal
from ringback.delivery.transport import Transport
from ringback.engine.flights import GONE, UNSENDABLE, Flight
from ringback.engine.lanes import LOW_MARK, OVERHEAD, Lane, LanePlan, size_of
from ringback.engine.limiter import Limiter
from ringback.engine.recorder import Recorder, masked
from ringback.engine.turns import Ring
from ringback.engine.wakeup import Alarms
from ringback.errors import RingbackError
from ringback.ids import IdMaker
from ringback.model.attempts import Exchange
from ringback.model.deliveries import Claim, Delivery
from ringback.model.messages import Message
from ringback.policy.outcome import Outcome, judge
from ringback.policy.retry import RetryPolicy
from ringback.services.directory import Directory, Entry
from ringback.store.base import Bounds, Record, Store
from ringback.store.operations import deliveries
from ringback.telemetry.events import ENDPOINT_DISABLED, TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# A claim is leased for twice the longest attempt (30 s and its body), and longer while it waits its turn.
LEASE_US: Final = 70 * SECOND_US
# Turns in one go: at 30 to 40 us each they hold the loop for some 2 ms.
_TURNS: Final = 64
# How long an endpoint that gives no answer at all is left alone between two attempts: its retries may be a second late (contract, 6.5).
_LEFT_ALONE_US: Final = 800_000
# Endpoints that fail, or never answered, count as so many: a thousand of them take the loop for half a millisecond, then others have it.
_OTHER_TURN: Final = 8
# Deliveries claimed in one look: 3 ms of the writer's time.
_CLAIM_MAX: Final = 256
# Payload bytes after which a claim is large enough: nobody knows their sizes before.
_CLAIM_BYTES: Final = 1024 * 1024
# Rows removed in one write when an endpoint is stopped: about 2 ms.
_DROP_ROWS: Final = 500
# Seconds until something that the store could not do is tried again.
_AGAIN_S: Final = 0.5
# Claims at once; more wait for their turn, so that what they find is known before the next are made.
_CLAIMS: Final = 8
# How long a lane rests whose endpoint is being disabled: the commit takes some milliseconds.
_DISABLING_US: Final = SECOND_US
# How long a lane rests whose endpoint cannot be prepared, a defect of ours.
_REST_US: Final = 60 * SECOND_US

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
        draw: Callable[[], float],
        metrics: Metrics,
        prepare: Callable[[Entry, str, int], LanePlan | None],
        retry_after_max_s: float,
        told: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self._store = store
        self._transport = transport
        self._directory = directory
        self._clock = clock
        self._limiter = limiter
        self._prepare = prepare
        self._retry_after_max_s = retry_after_max_s
        # Hears of each attempt once it is recorded.
        self._told = told
        self._metrics = metrics
        self._ids = make_id
        self._recorder = Recorder(store, clock, make_id, policy, draw, metrics, self._settled, self._pump)
        self._loop = asyncio.get_running_loop()
        self._land = self.landed
        self._lanes: dict[str, Lane] = {}
        self._by_app: dict[str, set[Lane]] = {}
        self._ring = Ring()
        self._alarms = Alarms(clock, self._rings, self._pump)
        self._tasks: set[asyncio.Task[None]] = set()
        self._claims = asyncio.Semaphore(_CLAIMS)
        # Bytes of what is reserved, waiting or on the wire.
        self._held = 0
        self._pumping = False
        self._running = False
        self._closed = False
        directory.watch(self._changed)

    # -- services.ports.Handoff

    def reserve(self, endpoint_id: str, app_id: str, size: int) -> bool:
        """May the next delivery be handed over in memory? See `Handoff.reserve`."""
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._lane(endpoint_id, app_id)
        if self._running and lane.has_room() and self._held + size <= _HELD_MAX:
            lane.reserved += 1
            self._held += size + OVERHEAD
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
        self._held -= size + OVERHEAD

    def spilled(self, endpoint_id: str) -> None:
        """A delivery went to the database instead."""
        lane = self._lanes[endpoint_id]
        lane.spilling -= 1
        self._has_stored(lane)

    def wake(self, endpoint_id: str, app_id: str, due_at: int) -> None:
        """Something is due in the database, now or later."""
        lane = self._lane(endpoint_id, app_id)
        if due_at <= self._clock.now_us():
            self._has_stored(lane)
        elif lane.next_due is None or due_at < lane.next_due:
            lane.next_due = due_at
            self._alarms.set(due_at, endpoint_id)

    def in_flight(self, endpoint_id: str) -> int:
        """Attempts of this endpoint on the wire."""
        lane = self._lanes.get(endpoint_id)
        return 0 if lane is None else lane.flying

    # -- life

    def start(self, unfinished: Sequence[tuple[str, str, int]]) -> None:
        """Begin, with what an earlier run left unfinished: endpoint, application, and when its first delivery is due."""
        self._running = True
        for endpoint_id, app_id, due_at in unfinished:
            self.wake(endpoint_id, app_id, due_at)

    async def drain(self, deadline_s: float) -> None:
        """Send nothing new, and wait until what is on the wire has landed and is recorded, or until the deadline."""
        self._running = False
        end = self._clock.monotonic_s() + deadline_s
        while (self._limiter.flying or self._recorder.unrecorded) and self._clock.monotonic_s() < end:
            await asyncio.sleep(0.005)
        # What is still on the wire will be repeated by the next run: its end, when the transport closes, is no failure of the endpoint.
        self._closed = True
        self._alarms.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def running(self) -> bool:
        """Is dispatch going on?"""
        return self._running and not self._recorder.paused

    @property
    def flying(self) -> int:
        """Attempts on the wire."""
        return self._limiter.flying

    @property
    def lanes(self) -> int:
        """Endpoints that memory knows of."""
        return len(self._lanes)

    @property
    def held_bytes(self) -> int:
        """Bytes of deliveries in memory: reserved, waiting or on the wire."""
        return self._held

    def tidy(self) -> None:
        """Renew the leases of what waits in memory, and forget endpoints that have nothing to do. To be called every `LEASE_US` / 3."""
        until = self._clock.now_us() + LEASE_US
        self._recorder.renew(until)
        for lane in list(self._lanes.values()):
            if lane.waiting:
                self._store.renew((c.delivery for c in (*lane.first, *lane.retries)), until)
            elif lane.idle:
                del self._lanes[lane.endpoint_id]
                lanes = self._by_app[lane.app_id]
                lanes.discard(lane)
                if not lanes:
                    del self._by_app[lane.app_id]

    def oldest_due(self) -> int:
        """When the most overdue delivery was due, microseconds since 1970; 0 when none is."""
        now_us = self._clock.now_us()
        dues = [queue[0].delivery.due_at for lane in self._lanes.values() for queue in (lane.first, lane.retries) if queue]
        return min((due for due in dues if due < now_us), default=0)

    # -- turns

    def _lane(self, endpoint_id: str, app_id: str) -> Lane:
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._lanes[endpoint_id] = Lane(endpoint_id, app_id)
            self._by_app.setdefault(app_id, set()).add(lane)
        return lane

    def _pump(self) -> None:
        """Give the lanes in the ring their turns, but hold the loop for no more than so many: the rest follows in its next round."""
        served = 0
        while served < _TURNS and self._running and self._recorder.ready:
            # Those who waited for a place come first, or those who have one would take it again and again.
            lane = self._limiter.called() if self._limiter.starving else None
            if lane is None:
                lane = self._ring.next()
                if lane is None:
                    return
            served += 1 if lane.proven else _OTHER_TURN
            if self._serve(lane):
                self._ring.join(lane)
        if served >= _TURNS:
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
        if not (lane.first or lane.retries) or lane.loading or lane.stopped:
            return False
        now_us = self._clock.now_us()
        if lane.paused_until > now_us:
            return False
        if not self._limiter.allows(lane):
            return False
        plan = lane.plan
        if plan is None or plan.entry.stale or plan.valid_until <= now_us:
            plan = self._plan(lane, now_us)
            if plan is None:
                return False
        claim = lane.take()
        self._attempt(lane, plan, claim, now_us)
        if lane.stored and not lane.claiming and lane.waiting < LOW_MARK:
            self._claim(lane)
        return bool(lane.first or lane.retries)

    def _attempt(self, lane: Lane, plan: LanePlan, claim: Claim, now_us: int) -> None:
        message = claim.message
        place = self._limiter.start(lane)
        if message.payload is None:
            self._loop.call_soon(Flight(self._land, lane, claim, plan, b"", now_us, place).landed, GONE)
            return
        try:
            request = seal(
                plan.plan,
                message_id=message.id.encode(),
                now_s=now_us // SECOND_US,
                body=message.payload,
                content_type=message.content_type.encode(),
                sequence=claim.delivery.sequence,
                headers=message.headers,
            )
            self._transport.send(request, Flight(self._land, lane, claim, plan, request.head, now_us, place).landed)
        except Exception as error:
            # A defect of ours in one request must not stop the turns of all others.
            log(TASK_FAILED, failure=error, task="dispatch", error=str(error))
            self._loop.call_soon(Flight(self._land, lane, claim, plan, b"", now_us, place).landed, UNSENDABLE)

    def landed(self, lane: Lane, flight: Flight, exchange: Exchange) -> None:
        """An attempt has ended: judge it, have it recorded, and give others their turn."""
        if self._closed:
            return
        limiter = self._limiter
        limiter.end(lane, flight.place)
        self._held -= size_of(flight.claim)
        now_us = self._clock.now_us()
        outcome = judge(exchange, now_us)
        if outcome.success:
            limiter.succeeded(lane)
            self._metrics.delivery_seconds.observe((now_us - flight.claim.delivery.due_at) / SECOND_US)
        else:
            self._failed(lane, outcome, now_us)
        plan = flight.plan
        head = masked(flight.head, plan.sensitive) if plan.sensitive and flight.head else flight.head
        self._recorder.record(lane, flight.claim, plan, head, flight.started_at, exchange, outcome)
        if lane.first or lane.retries:
            self._ring.join(lane)
        self._pump()
        if lane.stored and not lane.claiming:
            self._claim(lane)

    def _failed(self, lane: Lane, outcome: Outcome, now_us: int) -> None:
        if outcome.slow_down:
            self._limiter.struggled(lane)
        if outcome.disables:
            # Nothing more goes out while this is being recorded.
            self._pause(lane, now_us + _DISABLING_US)
        elif outcome.overloaded and outcome.retry_after_s is not None:
            # The endpoint's other deliveries wait for the same instant.
            self._pause(lane, now_us + int(min(outcome.retry_after_s, self._retry_after_max_s) * SECOND_US))
        elif outcome.unanswered and self._limiter.silent(lane):
            self._pause(lane, now_us + _LEFT_ALONE_US)

    def _pause(self, lane: Lane, until_us: int) -> None:
        lane.paused_until = until_us
        self._alarms.set(until_us, lane.endpoint_id)

    def _settled(self, lane: Lane, record: Record) -> None:
        self._told(record)
        if record.disables is not None:
            log(ENDPOINT_DISABLED, app_id=lane.app_id, endpoint_id=lane.endpoint_id, cause=record.disables.cause)
            self._directory.changed(lane.app_id)
        if record.ends_pair:
            self._forget(lane.withdraw(record.delivery.message_id))
        if record.next_due_at is not None:
            self.wake(lane.endpoint_id, lane.app_id, record.next_due_at)

    # -- configuration

    def _plan(self, lane: Lane, now_us: int) -> LanePlan | None:
        entry = self._directory.known_by_id(lane.app_id)
        if entry is None:
            lane.loading = True
            self._spawn(self._load(lane))
            return None
        return self._use(lane, entry, now_us)

    async def _load(self, lane: Lane) -> None:
        try:
            entry = await self._entry(lane.app_id)
        finally:
            lane.loading = False
        if self._use(lane, entry, self._clock.now_us()) is not None and lane.waiting:
            self._ring.join(lane)
            self._pump()

    async def _entry(self, app_id: str) -> Entry | None:
        while True:
            try:
                return await self._directory.find_by_id(app_id)
            except RingbackError:
                await asyncio.sleep(_AGAIN_S)

    def _use(self, lane: Lane, entry: Entry | None, now_us: int) -> LanePlan | None:
        lane.plan = None
        try:
            lane.plan = None if entry is None else self._prepare(entry, lane.endpoint_id, now_us)
        except Exception as error:
            # A defect of ours in one endpoint must not stop the turns of all others.
            log(TASK_FAILED, failure=error, task="dispatch", error=str(error))
            self._pause(lane, now_us + _REST_US)
            return None
        if lane.plan is None:
            self._stop(lane)
        return lane.plan

    def _changed(self, app_id: str) -> None:
        lanes = [lane for lane in self._by_app.get(app_id, ()) if not lane.idle]
        if lanes and not self._closed:
            self._spawn(self._look_again(app_id, lanes))

    async def _look_again(self, app_id: str, lanes: list[Lane]) -> None:
        entry = await self._entry(app_id)
        for lane in lanes:
            # Not one that was forgotten meanwhile: another may have taken its place.
            if self._lanes.get(lane.endpoint_id) is lane:
                self._use(lane, entry, self._clock.now_us())

    def _stop(self, lane: Lane) -> None:
        """The endpoint was disabled or deleted: what is left of its deliveries ends now."""
        if not lane.stopped:
            lane.stopped = True
            self._forget(lane.drain())
            # Should it be enabled again meanwhile, what is published from now on counts: messages have ids above this one.
            self._spawn(self._clear(lane, self._ids.make(ids.MESSAGE, self._clock.now_us())))

    def _forget(self, claims: list[Claim]) -> None:
        self._held -= sum(map(size_of, claims))
        self._store.release(c.delivery for c in claims)

    # -- the database

    def _has_stored(self, lane: Lane) -> None:
        lane.stored = True
        lane.woken += 1
        if not lane.claiming and lane.waiting < LOW_MARK:
            self._claim(lane)

    def _claim(self, lane: Lane) -> None:
        if self._running and not lane.stopped and lane.paused_until <= self._clock.now_us() and lane.waiting < LOW_MARK:
            lane.claiming = True
            self._spawn(self._claim_some(lane))

    async def _claim_some(self, lane: Lane) -> None:
        try:
            async with self._claims:
                woken = lane.woken
                found = await self._store.claim(lane.endpoint_id, self._bounds(), self._clock.now_us(), LEASE_US)
        except RingbackError:
            await asyncio.sleep(_AGAIN_S)
            lane.claiming = False
            self._has_stored(lane)
            return
        lane.claiming = False
        if lane.stopped:
            self._store.release(c.delivery for c in found.claims)
            return
        for claim in found.claims:
            lane.put(claim)
            self._held += size_of(claim)
        due = found.next_due_at
        if due is None or due > self._clock.now_us():
            if lane.woken == woken:
                lane.stored = False
            if due is not None and (lane.next_due is None or due < lane.next_due):
                lane.next_due = due
                self._alarms.set(due, lane.endpoint_id)
        if lane.waiting:
            self._ring.join(lane)
        self._pump()
        if lane.stored and not lane.claiming and not lane.waiting:
            self._claim(lane)

    def _bounds(self) -> Bounds:
        """How much to claim at once: one delivery when memory is nearly taken, so that every lane goes on all the same."""
        return Bounds(_CLAIM_MAX if self._held < _HELD_MAX // 2 else 1, _CLAIM_BYTES)

    async def _clear(self, lane: Lane, before: str) -> None:
        """Remove the live deliveries of a disabled or deleted endpoint, then let the lane start anew should the endpoint come back."""
        while True:
            try:
                removed = await self._store.write(lambda tx: deliveries.drop(tx, lane.endpoint_id, _DROP_ROWS, before))
            except RingbackError:
                await asyncio.sleep(_AGAIN_S)
                continue
            self._metrics.backlog -= removed
            if removed < _DROP_ROWS:
                break
        lane.stopped = False
        lane.next_due = None
        # Whatever came while the lane was stopped lies in the database.
        self._has_stored(lane)

    # -- alarms

    def _rings(self, endpoint_id: str) -> None:
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            return
        if lane.next_due is not None and lane.next_due <= self._clock.now_us():
            lane.next_due = None
            self._has_stored(lane)
        if lane.waiting:
            self._ring.join(lane)
        elif lane.stored and not lane.claiming:
            self._claim(lane)

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)  # type: ignore[arg-type]  # always one of the coroutines above
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(TASK_FAILED, failure=error, task="dispatch", error=str(error))
