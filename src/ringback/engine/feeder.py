"""When is which sink fed? One batch of each is on its way at a time; a sink that hangs or fails holds up none of the others.

Sinks with something to do have a time in a heap; what is due waits in a queue for a place, and is done by a short task: there are so many
places for those whose last batch was accepted, and so many for the others, so that no number of failing ones takes the places of those that
work. One that worked and hangs now gives its place back after a moment. However many are due at once, the loop goes through them in slices.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.delivery.transport import Transport
from ringback.engine import batches
from ringback.engine.batches import Ready, Rest
from ringback.engine.feeding_turns import Places, Slow, Turn
from ringback.engine.sink_requests import Runs, SinkRequests, SinkStyle
from ringback.errors import RingbackError, StoreFailure
from ringback.ids import IdMaker
from ringback.model.attempts import ErrorClass, Exchange
from ringback.model.streams import Sink, SinkType
from ringback.policy import streams as policy
from ringback.policy.otlp import partial_success
from ringback.policy.outcome import Outcome, judge
from ringback.policy.retry import RetryPolicy
from ringback.store.base import Store
from ringback.store.operations import sinks
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.events import SINK_DISABLED, SINK_EVENTS_MISSED, SINK_PARTLY_REJECTED, TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Batches on the wire at once, of sinks that work and of sinks that fail: each may have a few megabytes in memory, while it is made.
_PLACES: Final = 64
# Sinks that the loop looks at before others have their turn: a millisecond at the most.
_SLICE: Final = 256
# Seconds until something that the store could not do is tried again.
_AGAIN_S: Final = 0.5
# How long a sink rests that cannot be fed, a defect of ours.
_REST_US: Final = 60 * SECOND_US
# How long a batch waits whose code gave more than there is room for, while receivers take long.
_NO_ROOM_US: Final = SECOND_US
# Entries of the heap that are no longer true and need not be cleared away yet: a few dozen kilobytes.
_STALE_MAX: Final = 1_000
# Seconds between two lines of the log about what the receiver of a sink rejects: it may say something else of each batch.
_REMARK_EVERY_S: Final = 60.0
# Seconds between two looks at the clock when nothing is due: it may be set.
_LOOK_EVERY_S: Final = 30.0


class FeedPolicy(msgspec.Struct, frozen=True):
    """How failures are retried, after how long without a success a sink is disabled (microseconds), and how requests are made."""

    retry: RetryPolicy
    disable_after_us: int
    style: SinkStyle


class _Flight:
    """One request on the wire. `whole`: its outcome is known when the response has come to its end, and not before."""

    def __init__(self, *, whole: bool) -> None:
        self.landed: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self._whole = whole

    def decided(self, exchange: Exchange) -> None:
        """The outcome is known; the rest of the response may still be read."""
        if not self._whole:
            self.ended(exchange)

    def ended(self, exchange: Exchange) -> None:
        """The response has come to its end."""
        if not self.landed.done():
            self.landed.set_result(exchange)


class Feeder:
    """Feeds the sinks that are called, from `run` on. Belongs to one event loop. `draw` gives a random number in [0, 1)."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        transport: Transport,
        clock: Clock,
        make_id: IdMaker,
        feed_policy: FeedPolicy,
        draw: Callable[[], float],
        metrics: Metrics,
        scripts: Runs | None = None,
    ) -> None:
        self._store = store
        self._vault = vault
        self._transport = transport
        self._clock = clock
        self._ids = make_id
        self._policy = feed_policy
        self._draw = draw
        self._metrics = metrics
        self._of_stream: defaultdict[str, set[str]] = defaultdict(set)
        self._stream_of: dict[str, str] = {}
        # When each sink is to be looked at (microseconds since 1970), and the same in order, with entries that are no longer true.
        self._when: dict[str, int] = {}
        self._due: list[tuple[int, str]] = []
        self._busy: set[str] = set()
        # Those that were told something while they were busy.
        self._again: set[str] = set()
        # Those whose last batch failed: they wait for their time, whatever is appended.
        self._failing: set[str] = set()
        # Up to where nothing in its stream is wanted by a sink.
        self._passed: dict[str, int] = {}
        # When the log was told last what the receiver of a sink rejects.
        self._remarked: dict[str, float] = {}
        # Streams with something new that their sinks were not told yet.
        self._grown: set[str] = set()
        self._requests = SinkRequests(scripts, clock, feed_policy.style)
        # Those that are due and wait for a place, and those that have one: sinks that work and sinks that fail.
        self._places = self._all_free()
        self._slow = Slow()
        self._woken = asyncio.Event()
        self._landed = asyncio.Event()
        self._closed = False

    def appended(self, stream_id: str) -> None:
        """Something new is durable in this stream. Costs the same for one sink and for ten thousand."""
        if stream_id in self._of_stream:
            self._grown.add(stream_id)
            self._woken.set()

    def changed(self, stream_id: str, sink_id: str) -> None:
        """This sink may have to be fed otherwise than before."""
        self._know(stream_id, sink_id)
        self._passed.pop(sink_id, None)
        self._look_at(sink_id, 0)

    def gone(self, stream_id: str) -> None:
        """This stream was deleted: its sinks are looked at once more, and forgotten by that."""
        for sink_id in self._of_stream.get(stream_id, ()):
            self._look_at(sink_id, 0)

    async def run(self) -> None:
        """Until cancelled."""
        self._busy.clear()
        self._places, self._slow = self._all_free(), Slow()
        for number, (sink_id, stream_id, next_at) in enumerate(await self._all()):
            self._know(stream_id, sink_id)
            if next_at is not None:
                self._failing.add(sink_id)
            self._look_at(sink_id, next_at or 0)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            while True:
                self._woken.clear()
                await self._tell()
                now_us = self._clock.now_us()
                more = self._queue(now_us)
                self._begin(group)
                if more:
                    await asyncio.sleep(0)
                    continue
                wait_s = (self._due[0][0] - now_us) / SECOND_US if self._due and not self._closed else _LOOK_EVERY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(max(wait_s, 0.0), _LOOK_EVERY_S)):
                        await self._woken.wait()

    async def _tell(self) -> None:
        """Have the sinks of streams that have grown looked at."""
        # What grows meanwhile has its turn later: somebody who appends all the time must not keep us here.
        grown, self._grown = self._grown, set()
        for stream_id in grown:
            sinks_of_one = list(self._of_stream.get(stream_id, ()))
            for begin in range(0, len(sinks_of_one), _SLICE):
                for sink_id in sinks_of_one[begin : begin + _SLICE]:
                    if sink_id not in self._failing or sink_id in self._busy:
                        self._look_at(sink_id, 0)
                await asyncio.sleep(0)

    def _queue(self, now_us: int) -> bool:
        """Let a slice of what is due wait for places; whether there is more."""
        for _ in range(_SLICE):
            if self._closed or not self._due or self._due[0][0] > now_us:
                return False
            at_us, sink_id = heapq.heappop(self._due)
            if self._when.get(sink_id) == at_us and sink_id not in self._busy:
                del self._when[sink_id]
                self._busy.add(sink_id)
                self._places[sink_id in self._failing].line.add(self._stream_of.get(sink_id, ""), sink_id)
        return True

    def _all_free(self) -> dict[bool, Places]:
        return {False: Places(_PLACES, share=True), True: Places(_PLACES, share=False)}

    def _begin(self, group: asyncio.TaskGroup) -> None:
        """Give free places to those that wait, in their order."""
        for failing, places in self._places.items():
            while (found := places.next()) is not None:
                stream_id, sink_id = found
                turn = Turn(stream_id, partial(self._vacate, places, stream_id), self._slow, patient=failing)
                group.create_task(self._turn(sink_id, turn))

    def _vacate(self, places: Places, stream_id: str) -> None:
        places.leave(stream_id)
        if places.line:
            self._woken.set()

    async def drain(self, within_s: float) -> None:
        """Begin nothing any more, and wait for what is on the wire; what is cut then is sent again, under the same id."""
        self._closed = True
        for places in self._places.values():
            self._busy.difference_update(places.line.empty())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._busy:
                    self._landed.clear()
                    await self._landed.wait()

    async def _all(self) -> list[tuple[str, str, int | None]]:
        while True:
            try:
                return await self._store.read(sinks.all_fed)
            except StoreFailure:
                await asyncio.sleep(_AGAIN_S)

    def _know(self, stream_id: str, sink_id: str) -> None:
        self._stream_of[sink_id] = stream_id
        self._of_stream[stream_id].add(sink_id)

    def _forget(self, sink_id: str) -> None:
        """It is not to be called: whoever changes that says so."""
        stream_id = self._stream_of.pop(sink_id, None)
        if stream_id is not None:
            self._of_stream[stream_id].discard(sink_id)
            if not self._of_stream[stream_id]:
                del self._of_stream[stream_id]
        self._failing.discard(sink_id)
        self._passed.pop(sink_id, None)
        self._remarked.pop(sink_id, None)

    def _look_at(self, sink_id: str, at_us: int) -> None:
        if sink_id in self._busy:
            self._again.add(sink_id)
            return
        known = self._when.get(sink_id)
        if known is None or at_us < known:
            self._when[sink_id] = at_us
            heapq.heappush(self._due, (at_us, sink_id))
            if len(self._due) > 2 * len(self._when) + _STALE_MAX:
                self._due = [(at_us, sink_id) for sink_id, at_us in self._when.items()]
                heapq.heapify(self._due)
            self._woken.set()

    async def _turn(self, sink_id: str, turn: Turn) -> None:
        """Feed a sink once, and have it come again when there is more to do."""
        again_us: int | None = None
        try:
            # What is told from here on may not be in what is looked at.
            self._again.discard(sink_id)
            again_us = await self._feed(sink_id, turn)
        except RingbackError:
            # The store has told the log what ails it.
            again_us = self._clock.now_us() + int(_AGAIN_S * SECOND_US)
        except Exception as error:
            log(TASK_FAILED, failure=error, task="sinks", error=str(error))
            again_us = self._clock.now_us() + _REST_US
        finally:
            turn.end()
            self._busy.discard(sink_id)
            self._landed.set()
        if sink_id in self._again:
            self._again.discard(sink_id)
            again_us = 0
        if again_us is not None:
            self._look_at(sink_id, again_us)

    async def _feed(self, sink_id: str, turn: Turn) -> int | None:
        """Send the next batch of a sink, if there is one; when to look again, microseconds since 1970 (None: when it is told something)."""
        now_us, passed = self._clock.now_us(), self._passed.get(sink_id, 0)
        found = await self._store.read(lambda tx: batches.look(tx, self._vault, sink_id, passed, now_us))
        if found is None:
            if sink_id not in self._again:
                self._forget(sink_id)
            return None
        if isinstance(found, Rest):
            return await self._rest(found)
        sink = await self._decided(found)
        if sink is None:
            return 0
        exchange = await self._sent(sink, found, turn)
        if exchange is None:
            return self._clock.now_us() + _NO_ROOM_US
        now_us = self._clock.now_us()
        outcome = judge(exchange, now_us)
        remark = partial_success(exchange.body) if sink.type is SinkType.OTEL_TRACING and outcome.success else ""
        settings = self._policy
        follows = policy.after(sink, outcome, settings.retry, settings.disable_after_us, self._draw(), now_us, remark=remark)
        await self._settled(sink, follows)
        self._count(found, outcome)
        if remark and remark != sink.progress.failure:
            self._remark(sink, remark)
        if follows.progress.attempts:
            self._failing.add(sink_id)
            return follows.progress.next_at
        self._failing.discard(sink_id)
        return 0

    def _remark(self, sink: Sink, remark: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._remarked.get(sink.id, -_REMARK_EVERY_S) >= _REMARK_EVERY_S:
            self._remarked[sink.id] = now_s
            log(SINK_PARTLY_REJECTED, stream_id=sink.stream_id, sink_id=sink.id, why=remark)

    def _count(self, ready: Ready, outcome: Outcome) -> None:
        metrics, word = self._metrics, "accepted" if outcome.success else "cancelled" if outcome.cancelled else "failed"
        metrics.sink_batches = {**metrics.sink_batches, word: metrics.sink_batches[word] + 1}
        metrics.sink_events += ready.count if outcome.success else 0

    async def _rest(self, rest: Rest) -> int | None:
        if rest.store is not None:
            if await self._store.write(lambda tx: batches.store(tx, self._vault, rest)) and rest.missed:
                log(SINK_EVENTS_MISSED, stream_id=rest.sink.stream_id, sink_id=rest.sink.id, count=rest.missed)
            self._failing.discard(rest.sink.id)
            return 0
        self._passed[rest.sink.id] = rest.passed
        return rest.until

    async def _decided(self, ready: Ready) -> Sink | None:
        """The sink with the batch that is to be sent, durably; None when somebody changed it meanwhile."""
        if ready.decided is not None:
            return ready.sink
        batch_id = self._ids.make(ids.BATCH, self._clock.now_us())
        return await self._store.write(lambda tx: batches.decide(tx, self._vault, ready, batch_id))

    async def _sent(self, sink: Sink, ready: Ready, turn: Turn) -> Exchange | None:
        """What came of one attempt; None = nothing was sent, and it is no attempt. The transport ends each within its own deadlines."""
        made = await self._requests.made(sink, ready, turn)
        if isinstance(made, Exchange):
            # What runs scripts is ended with the server.
            return None if self._closed and made.error is ErrorClass.INTERNAL else made
        size = len(made.body) if made.body is ready.body else len(made.body) + len(ready.body)
        if not turn.may_have(size):
            # Its code gives the same again when there is room.
            return None
        flight = _Flight(whole=sink.type is SinkType.OTEL_TRACING)
        self._transport.send(made, flight.ended, flight)
        await turn.wait(flight.landed, size)
        return flight.landed.result()

    async def _settled(self, sink: Sink, follows: policy.After) -> None:
        """Keep what follows from an attempt, however long the store takes: sending without being able to remember it would repeat it."""
        while True:
            try:
                disabled = await self._store.write(lambda tx: batches.settle(tx, self._vault, sink, follows, self._clock.now_us()))
            except StoreFailure:
                await asyncio.sleep(_AGAIN_S)
                continue
            if disabled:
                log(SINK_DISABLED, stream_id=sink.stream_id, sink_id=sink.id, why=follows.disabled)
            return
