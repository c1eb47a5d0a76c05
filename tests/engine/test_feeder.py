"""How are sinks fed? One batch of each at a time, kept before it is sent; whatever its owner, the store or the server does meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringback.delivery.scripting_turns import Moment, Ran, Script
from ringback.engine.batches import MAX_BYTES
from ringback.engine.feeder import Feeder, FeedPolicy
from ringback.engine.sink_requests import SinkStyle
from ringback.errors import StoreFailure
from ringback.ids import IdMaker
from ringback.model.endpoints import EndpointSecret
from ringback.model.streams import Batch, Progress, Sink, SinkStatus, SinkType, Stream, Target
from ringback.model.transformations import Transformation
from ringback.policy.retry import RetryPolicy
from ringback.store.base import Transaction
from ringback.store.opening import open_store
from ringback.store.operations import sinks, streams, transformations
from ringback.store.operations.streams import NewEvent
from ringback.store.vault import Vault
from ringback.telemetry.prometheus import Metrics
from tests.engine.world import FAILED, OK, SECOND_US, SECRET, ScriptedTransport, Sent, SteppedClock
from tests.waiting import until

STREAM = "strm_1"
VAULT = Vault(b"k" * 32)
HOUR_US = 3_600 * SECOND_US


class FailingStore:
    """A store whose writes fail while `failing`, as those of a full disk do."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failing = False
        self.refused = 0

    def read(self, query: Callable[[Transaction], Any]) -> Awaitable[Any]:
        return self._store.read(query)

    def write(self, operation: Callable[[Transaction], Any], *, grows: bool = False) -> Awaitable[Any]:
        if self.failing:
            self.refused += 1
            refused = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreFailure("no room"))
            return refused
        return self._store.write(operation, grows=grows)


class Queue:
    """Scripts whose turn comes when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Script, Moment | None, Callable[[Ran], None]]] = []

    def run(self, script: Script, document: bytes, done: Callable[[Ran], None], *, moment: Moment | None = None) -> None:
        self.waiting.append((script, moment, done))

    def return_(self, ran: Ran) -> None:
        """What the first of them comes to."""
        self.waiting.pop(0)[2](ran)


class Feeding:
    """A stream, its sinks, and a feeder between them and a transport that does what the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = SteppedClock()
        self.disable_after_us = 120 * HOUR_US
        self.schedule_s: tuple[float, ...] = (0.05, 0.05)
        self.scripts = Queue()

    async def begin(self) -> None:
        self.real = await open_store(f"sqlite:////{self.path}/ringback.db", self.clock)
        self.store = FailingStore(self.real)
        self.transport = ScriptedTransport(self.clock)
        self.metrics = Metrics(self.clock.now_us())
        policy = FeedPolicy(RetryPolicy(self.schedule_s, overload_min_s=0.0), self.disable_after_us, SinkStyle("standard"))
        feeder = Feeder(self.store, VAULT, self.transport, self.clock, IdMaker(), policy, lambda: 0.0, self.metrics, self.scripts)  # type: ignore[arg-type]  # only reads and writes are asked of it
        self.feeder = feeder
        self._running = asyncio.get_running_loop().create_task(feeder.run())

    async def end(self) -> None:
        await self.feeder.drain(0.0)
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.transport.close()
        await self.real.close()

    async def stream(self, stream_id: str = STREAM) -> None:
        await self.real.write(lambda tx: streams.insert(tx, Stream(stream_id, "org_1", None, "S", "", {}, 1, 1)))

    async def transform(self, sink_id: str = "sink_1", code: str | None = "function handler() {}") -> None:
        kept = Transformation(code, code is not None, None, 1)
        await self.real.write(lambda tx: transformations.put(tx, VAULT, sink_id, kept))
        self.feeder.changed(STREAM, sink_id)

    async def sink(self, sink_id: str = "sink_1", **fields: Any) -> None:
        target = Target(f"http://{sink_id.replace('_', '-')}.example/", {}, (EndpointSecret(SECRET),))
        parts: dict[str, Any] = {
            "id": sink_id, "stream_id": STREAM, "uid": None, "type": SinkType.HTTP, "target": target, "status": SinkStatus.ENABLED,
            "event_types": None, "channels": None, "metadata": {}, "batch_size": 2, "max_wait_s": 0, "progress": Progress(0),
            "created_at": 1, "updated_at": 1,
        }  # fmt: skip
        made = Sink(**(parts | fields))
        await self.real.write(lambda tx: sinks.insert(tx, VAULT, made))
        self.feeder.changed(made.stream_id, sink_id)

    async def change(self, sink_id: str = "sink_1", **fields: Any) -> None:
        found = await self.found(sink_id)
        await self.real.write(lambda tx: sinks.replace(tx, VAULT, msgspec.structs.replace(found, **fields)))
        self.feeder.changed(STREAM, sink_id)

    async def append(self, *payloads: str, kind: str = "t", stream_id: str = STREAM) -> None:
        events = [NewEvent(kind, payload.encode()) for payload in payloads]
        await self.real.write(lambda tx: streams.append(tx, stream_id, events, self.clock.now_us()))
        self.feeder.appended(stream_id)

    async def found(self, sink_id: str = "sink_1") -> Sink:
        found = await self.real.read(lambda tx: sinks.by_id(tx, VAULT, sink_id))
        assert found is not None
        return found

    async def sent(self, count: int) -> list[Sent]:
        await until(lambda: len(self.transport.sent) >= count, what=f"{count} requests")
        return self.transport.sent

    async def at(self, position: int, sink_id: str = "sink_1") -> Sink:
        """The sink, once it is there and nothing is on its way."""
        while (sink := await self.found(sink_id)).progress != Progress(position):
            await asyncio.sleep(0)
        return sink


def texts(sent: Sent) -> list[str]:
    return [event["payload"] for event in json.loads(sent.request.body)]


Story = Callable[[Feeding], Awaitable[None]]


@pytest.fixture
def feed(tmp_path: Path) -> Callable[..., None]:
    """Runs a story with a stream whose sinks are fed."""

    def run(story: Story, **settings: Any) -> None:
        async def told() -> None:
            feeding = Feeding(tmp_path)
            for name, value in settings.items():
                setattr(feeding, name, value)
            await feeding.begin()
            await feeding.stream()
            try:
                async with asyncio.timeout(30):
                    await story(feeding)
            finally:
                await feeding.end()

        asyncio.run(told())

    return run


def test_one_batch_of_a_sink_is_on_its_way_at_a_time_and_is_kept_before(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1", "2", "3")
        (first,) = await feeding.sent(1)
        assert (await feeding.found()).progress == Progress(0, Batch(first.message_id, 2, 2))
        await feeding.append("4")
        assert len(feeding.transport.sent) == 1
        feeding.transport.decide = lambda sent: OK
        feeding.transport.land(OK)
        await feeding.at(4)
        assert [texts(sent) for sent in feeding.transport.sent] == [["1", "2"], ["3", "4"]]
        await until(lambda: feeding.metrics.sink_events == 4, what="all is counted")
        assert feeding.metrics.sink_batches == {"accepted": 2, "failed": 0, "cancelled": 0}

    feed(story)


def test_a_restart_sends_the_same_batch_under_its_id_though_more_has_come(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink(batch_size=5)
        await feeding.append("1")
        (first,) = await feeding.sent(1)
        await feeding.append("2")
        # What was on the wire is cut, and nobody heard what came of it.
        feeding.transport.flying.clear()
        await feeding.end()
        await feeding.begin()
        await feeding.at(2)
        assert [(sent.message_id == first.message_id, texts(sent)) for sent in feeding.transport.sent] == [(True, ["1"]), (False, ["2"])]

    feed(story)


def test_what_cannot_be_recorded_is_not_sent_again_until_it_can(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1")
        await feeding.sent(1)
        feeding.store.failing = True
        feeding.transport.land(OK)
        await until(lambda: feeding.store.refused >= 2, what="it is tried again")
        assert len(feeding.transport.sent) == 1
        feeding.store.failing = False
        await feeding.at(1)
        assert len(feeding.transport.sent) == 1

    feed(story)


def test_what_was_decided_keeps_its_content_whatever_filters_say_later(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink(event_types=("t",))
        events = [NewEvent(kind, text) for kind, text in (("t", b"1"), ("other", b"x"), ("t", b"2"))]
        await feeding.real.write(lambda tx: streams.append(tx, STREAM, events, 1))
        feeding.feeder.appended(STREAM)
        await feeding.sent(1)
        await feeding.change(event_types=("other",))
        feeding.transport.land(FAILED)
        first, second = await feeding.sent(2)
        assert (texts(second), second.message_id) == (["1", "2"], first.message_id)
        feeding.transport.decide = lambda sent: OK
        feeding.transport.land(OK)
        await feeding.append("3")
        await feeding.append("4", kind="other")
        _, _, third = await feeding.sent(3)
        assert texts(third) == ["4"]

    feed(story)


def test_what_retention_took_from_a_batch_makes_it_another_one(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1", "2")
        (first,) = await feeding.sent(1)
        await feeding.real.write(lambda tx: streams.purge_events(tx, STREAM, feeding.clock.now_us() + 1, 1))
        feeding.transport.land(FAILED)
        _, second = await feeding.sent(2)
        assert (texts(second), second.message_id != first.message_id) == (["2"], True)

    feed(story)


def test_what_retention_takes_from_a_batch_is_no_success(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1", "2")
        await feeding.sent(1)
        feeding.transport.land(FAILED)
        await feeding.sent(2)
        since = (await feeding.found()).progress.failing_since
        await feeding.real.write(lambda tx: streams.purge_events(tx, STREAM, feeding.clock.now_us() + 1, 2))
        feeding.transport.land(FAILED)
        await feeding.append("3")
        _, _, third = await feeding.sent(3)
        assert (texts(third), (await feeding.found()).progress.failing_since) == (["3"], since)
        assert since is not None

    feed(story)


def test_what_retention_took_before_a_sink_got_there_is_counted_and_told(
    feed: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.sink(status=SinkStatus.PAUSED)
        await feeding.append("1", "2", "3")
        await feeding.real.write(lambda tx: streams.purge_events(tx, STREAM, feeding.clock.now_us() + 1, 2))
        await feeding.change(status=SinkStatus.ENABLED)
        (sent,) = await feeding.sent(1)
        assert texts(sent) == ["3"]
        await until(lambda: feeding.metrics.sink_events == 1, what="it is accepted")
        assert (await feeding.found()).progress == Progress(3, missed=2)
        # Who wants nothing of what went has missed nothing.
        await feeding.sink("sink_2", progress=Progress(3), event_types=("none",))
        await feeding.append("4")
        await until(lambda: feeding.feeder._passed.get("sink_2") == 4, what="it is looked at")
        await feeding.real.write(lambda tx: streams.purge_events(tx, STREAM, feeding.clock.now_us() + 1, 2))
        await feeding.append("5")
        await until(lambda: feeding.feeder._passed.get("sink_2") == 5, what="it is looked at again")
        assert (await feeding.found("sink_2")).progress.missed == 0

    with caplog.at_level(logging.WARNING, "ringback"):
        feed(story)
    told = [record.fields for record in caplog.records if record.message == "sink.events_missed"]  # type: ignore[attr-defined]  # every line of ours has them
    assert told == [{"stream_id": STREAM, "sink_id": "sink_1", "count": 2}]


@pytest.mark.parametrize("max_wait_s", [0, 300])
def test_a_clock_that_is_set_back_holds_up_no_batch(feed: Callable[..., None], max_wait_s: int) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.clock.step_s = 3_600
        await feeding.append("1")
        feeding.clock.step_s = 0
        # Times never go backwards in a stream: the next events have that of the first one.
        await feeding.sink(max_wait_s=max_wait_s, batch_size=5)
        await feeding.append("2")
        (first, *_) = await feeding.sent(1)
        assert texts(first)[0] == "1"
        await feeding.at(2)

    feed(story)


def test_sinks_of_a_stream_that_is_gone_are_remembered_no_more(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: FAILED if sent.host == "sink-bad.example" else OK
        await feeding.sink()
        await feeding.sink("sink_bad")
        await feeding.append("1")
        await feeding.at(1)
        await until(lambda: "sink_bad" in feeding.feeder._failing, what="one has failed")
        await feeding.real.write(lambda tx: streams.delete(tx, STREAM, 1))
        feeding.feeder.gone(STREAM)
        await until(lambda: not feeding.feeder._stream_of and not feeding.feeder._of_stream, what="nobody is left")
        assert not feeding.feeder._failing

    feed(story, schedule_s=(3_600.0,))


@pytest.mark.parametrize("held", [SinkStatus.PAUSED, SinkStatus.DISABLED])
def test_a_batch_that_arrives_while_its_sink_is_held_counts(feed: Callable[..., None], held: SinkStatus) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1", "2", "3")
        await feeding.sent(1)
        await feeding.change(status=held)
        feeding.transport.land(OK)
        sink = await feeding.at(2)
        assert (sink.status, len(feeding.transport.sent)) == (held, 1)
        feeding.transport.decide = lambda sent: OK
        await feeding.change(status=SinkStatus.ENABLED)
        await feeding.at(3)
        assert [texts(sent) for sent in feeding.transport.sent] == [["1", "2"], ["3"]]

    feed(story)


def test_an_outcome_of_what_is_no_longer_on_its_way_changes_nothing(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1")
        await feeding.sent(1)
        # It asks by itself from now on.
        await feeding.real.write(lambda tx: sinks.go_on(tx, "sink_1", Progress(0)))
        await feeding.change(type=SinkType.POLLER, target=None)
        feeding.transport.land(OK)
        await feeding.sink("sink_2")
        await feeding.sent(2)
        feeding.transport.land(OK)
        await feeding.at(1, "sink_2")
        assert (await feeding.found()).progress == Progress(0)

    feed(story)


def test_a_batch_that_arrives_while_its_sink_was_made_one_that_asks_counts(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1", "2", "3")
        await feeding.sent(1)
        called = await feeding.found()
        await feeding.change(type=SinkType.POLLER, target=None)
        feeding.transport.land(FAILED)
        await until(lambda: not feeding.feeder._busy, what="the outcome is known")
        sink = await feeding.found()
        assert (sink.progress, sink.retrying) == (called.progress, False)
        await feeding.change(type=SinkType.HTTP, target=called.target)
        first, second = await feeding.sent(2)
        assert second.message_id == first.message_id
        await feeding.change(type=SinkType.POLLER, target=None)
        feeding.transport.land(OK)
        await feeding.at(2)

    feed(story)


def test_a_sink_is_disabled_once_it_accepted_nothing_for_too_long(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: FAILED
        await feeding.sink()
        await feeding.append("1")
        await feeding.sent(2)
        feeding.clock.step_s = 121 * 3_600
        feeding.feeder.changed(STREAM, "sink_1")
        while (sink := await feeding.found()).status is not SinkStatus.DISABLED:
            await asyncio.sleep(0)
        already = len(feeding.transport.sent)
        await feeding.append("2")
        await feeding.sink("sink_2", progress=Progress(2))
        assert len(feeding.transport.sent) == already and sink.progress.batch is not None

    feed(story)


def test_an_early_outcome_is_enough_and_the_end_of_the_response_is_not_waited_for(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1")
        (sent,) = await feeding.sent(1)
        sent.begins_to_answer(OK)
        await feeding.at(1)
        feeding.transport.land(FAILED)
        assert (await feeding.found()).progress == Progress(1)

    feed(story)


def test_a_batch_is_bounded_in_bytes(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.sink(batch_size=1_000)
        await feeding.append(*["x" * (MAX_BYTES // 2)] * 5, "y" * (MAX_BYTES + 1))
        await feeding.at(6)
        assert [len(texts(sent)) for sent in feeding.transport.sent] == [2, 2, 1, 1]

    feed(story)


def test_failing_sinks_take_no_place_of_those_that_work(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: FAILED if sent.host.startswith("sink-bad") else OK
        for number in range(100):
            await feeding.sink(f"sink_bad{number}")
        await feeding.append("1")
        await until(lambda: len({sent.host for sent in feeding.transport.sent}) == 100, what="all have failed once")
        # Their retries hang: more than there are places for.
        feeding.transport.decide = lambda sent: None if sent.host.startswith("sink-bad") else OK
        await until(lambda: len(feeding.transport.flying) >= 64, what="the retries hang")
        await feeding.sink("sink_good")
        await feeding.at(1, "sink_good")
        assert len(feeding.transport.flying) == 64

    feed(story, schedule_s=(0.05,) * 1_000)


def test_sinks_that_worked_and_hang_now_hold_up_none_of_the_others(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        # More than there are places for, and none of them has failed yet.
        feeding.transport.decide = lambda sent: None if sent.host.startswith("sink-bad") else OK
        for number in range(150):
            await feeding.sink(f"sink_bad{number}")
        await feeding.append("1")
        await feeding.sink("sink_good")
        await feeding.at(1, "sink_good")
        assert len(feeding.transport.flying) <= 150

    feed(story)


def test_a_stream_with_many_sinks_holds_up_no_other_stream(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None if sent.host.startswith("sink-many") else OK
        await feeding.real.write(lambda tx: streams.insert(tx, Stream("strm_2", "org_1", None, "S", "", {}, 1, 1)))
        for number in range(400):
            await feeding.sink(f"sink_many{number}")
        await feeding.append("1")
        await feeding.sent(1)
        await feeding.real.write(lambda tx: streams.append(tx, "strm_2", [NewEvent("t", b"1")], 1))
        await feeding.sink("sink_other", stream_id="strm_2")
        await feeding.at(1, "sink_other")
        assert len(feeding.transport.sent) < 400

    feed(story)


def test_what_waits_for_a_place_is_not_begun_while_draining(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        for number in range(300):
            await feeding.sink(f"sink_{number}")
        await feeding.append("1")
        await feeding.sent(1)
        draining = asyncio.get_running_loop().create_task(feeding.feeder.drain(20))
        await asyncio.sleep(0)
        feeding.transport.decide = lambda sent: OK
        feeding.transport.land(OK)
        await draining
        assert len(feeding.transport.sent) < 300

    feed(story)


def test_a_sink_that_waits_for_company_is_told_of_a_thousand_events_and_remembers_one_time(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.sink(batch_size=1_000, max_wait_s=300)
        await feeding.append("0")
        for _ in range(1_500):
            # It is told to look, and sees that the batch is not full.
            feeding.feeder.appended(STREAM)
            while not feeding.feeder._when.get("sink_1"):
                await asyncio.sleep(0)
        assert len(feeding.feeder._due) <= 1_003
        assert feeding.transport.sent == []
        await feeding.append(*map(str, range(1, 1_000)))
        await feeding.at(1_000)
        assert [len(texts(sent)) for sent in feeding.transport.sent] == [1_000]

    feed(story)


def test_draining_waits_for_what_is_on_the_wire_and_begins_nothing(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None
        await feeding.sink()
        await feeding.append("1", "2", "3")
        await feeding.sent(1)
        draining = asyncio.get_running_loop().create_task(feeding.feeder.drain(20))
        await asyncio.sleep(0)
        assert not draining.done()
        feeding.transport.land(OK)
        await draining
        assert (await feeding.found()).progress == Progress(2)
        assert len(feeding.transport.sent) == 1

    feed(story)


RETURNED = Ran("returned", b"{}", b'["changed"]', "json")


def test_code_of_many_sinks_that_waits_for_its_turn_holds_up_none_of_the_others(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        # More than there are places for.
        for number in range(100):
            await feeding.sink(f"sink_{number}a")
            await feeding.transform(f"sink_{number}a")
        await feeding.append("1")
        await feeding.sink("sink_plain")
        await feeding.at(1, "sink_plain")
        assert {sent.host for sent in feeding.transport.sent} == {"sink-plain.example"}

    feed(story)


def test_sinks_of_one_stream_that_hang_leave_places_to_those_of_others(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        feeding.transport.decide = lambda sent: None if sent.host.startswith("sink-bad") else OK
        for number in range(80):
            await feeding.sink(f"sink_bad{number}")
        await feeding.append("1")
        await feeding.sent(32)
        await feeding.stream("strm_2")
        await feeding.sink("sink_good", stream_id="strm_2")
        await feeding.append("1", stream_id="strm_2")
        await feeding.sent(33)
        # Nobody's patience was over: it needed none of those places.
        assert feeding.transport.sent[32].host == "sink-good.example"

    feed(story)


def test_a_batch_that_is_tried_again_runs_what_its_code_is_then_at_its_own_moment(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        scripts = feeding.scripts
        await feeding.sink()
        await feeding.transform(code="function handler() { first }")
        await feeding.append("1")
        await until(lambda: len(scripts.waiting) == 1)
        moment = scripts.waiting[0][1]
        scripts.return_(Ran("threw", words="Error: no", line=3, column=4))
        await until(lambda: "sink_1" in feeding.feeder._failing, what="it has failed")
        assert (await feeding.found()).progress.failure == "the transformation failed: Error: no (line 3, column 4)"
        await feeding.transform(code="function handler() { second }")
        await until(lambda: len(scripts.waiting) == 1)
        script, again, _ = scripts.waiting[0]
        assert (script.code, script.tenant, again) == ("function handler() { second }", STREAM, moment)
        scripts.return_(RETURNED)
        await feeding.at(1)
        assert [sent.request.body for sent in feeding.transport.sent] == [b'["changed"]']

    feed(story)


def test_code_that_is_cut_because_the_server_stops_is_no_failure(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.sink()
        await feeding.transform()
        await feeding.append("1")
        await until(lambda: len(feeding.scripts.waiting) == 1)
        await feeding.feeder.drain(0.0)
        feeding.scripts.return_(Ran("unavailable", words="the server is stopping"))
        await until(lambda: not feeding.feeder._busy, what="nothing is under way")
        progress = (await feeding.found()).progress
        assert (progress.attempts, progress.failure) == (0, None) and progress.batch is not None

    feed(story)


def test_a_batch_that_its_code_lets_go_is_done_with_and_counted_as_that(feed: Callable[..., None]) -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.sink()
        await feeding.transform()
        await feeding.append("1")
        await until(lambda: len(feeding.scripts.waiting) == 1)
        feeding.scripts.return_(Ran("returned", b'{"cancel":true}'))
        await feeding.at(1)
        await until(lambda: feeding.metrics.sink_batches == {"accepted": 0, "failed": 0, "cancelled": 1}, what="it is counted")
        assert feeding.transport.sent == [] and feeding.metrics.sink_events == 0

    feed(story)


def test_a_receiver_that_says_something_else_of_each_batch_does_not_fill_the_log(
    feed: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(feeding: Feeding) -> None:
        await feeding.sink(type=SinkType.OTEL_TRACING, batch_size=1)
        await feeding.transform()
        times = '"startTime":"2024-01-01","endTime":"2024-01-01"'
        for number in range(1, 6):
            said = msgspec.structs.replace(OK, body=b'{"partialSuccess":{"rejectedSpans":%d}}' % number)
            feeding.transport.decide = lambda sent, said=said: said  # type: ignore[misc]  # each says something else
            await feeding.append("1")
            await until(lambda: len(feeding.scripts.waiting) == 1)
            if number == 4:
                # All that is said of the third was said: a sink has one batch at a time.
                feeding.clock.later_s += 61.0
            feeding.scripts.return_(Ran("returned", b"{}", f'[{{"name":"a",{times}}}]'.encode(), "json"))
            while (progress := (await feeding.found()).progress).position < number:
                await asyncio.sleep(0)
            assert progress.failure is not None and f"rejected {number} span" in progress.failure

    with caplog.at_level(logging.WARNING, "ringback"):
        feed(story)
    told = [record.fields["why"] for record in caplog.records if record.message == "sink.partly_rejected"]  # type: ignore[attr-defined]  # every line of ours has them
    assert told == ["the receiver rejected 1 span of the last batch", "the receiver rejected 4 spans of the last batch"]
