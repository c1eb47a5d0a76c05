from __future__ import annotations

import asyncio
import gc
import random
import resource
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.errors import StoreFailure
from ringback.store.base import Bounds
from tests.engine.world import FAILED, OK, Sent, World, in_world
from tests.waiting import passed, until, until_async

LARGE = b'{"a":"' + b"x" * 1_000_000 + b'"}'


def no_full(pages: int):
    """Let the database have at most so many pages."""
    return lambda tx: tx.rows(f"PRAGMA max_page_count = {pages}")


async def makes_room(world: World) -> bool:
    """Let the database grow again; False when that stood in one commit with what did not fit."""
    try:
        await world.store.write(no_full(1_000_000_000))
    except StoreFailure:
        return False
    return True


def file_url(path: Path) -> str:
    return f"sqlite:////{path}/ringback.db"


def test_what_does_not_fit_into_memory_goes_through_the_database_in_order():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.ready()
        await asyncio.gather(*(world.post("a", LARGE) for _ in range(60)))
        assert world.dispatcher.held_bytes < 34 * 1024 * 1024
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert [sent.sequence for sent in world.transport.sent] == list(range(1, 61))
        assert world.dispatcher.held_bytes == 0

    in_world(story)


def test_what_comes_one_after_another_to_an_endpoint_that_hangs_does_not_fill_memory():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(60):
            await world.publish("a", LARGE)
        await passed(0.1)
        assert world.dispatcher.held_bytes < 34 * 1024 * 1024
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert [sent.sequence for sent in world.transport.sent] == list(range(1, 61))
        assert world.dispatcher.held_bytes == 0

    in_world(story)


def test_a_queue_that_is_full_goes_on_through_the_database_in_order():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.ready()
        await asyncio.gather(*(world.post("a") for _ in range(3_000)))
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        # More comes while the backlog is worked off.
        for _ in range(200):
            await world.publish("a")
        await world.settled()
        sequences = [sent.sequence for sent in world.transport.sent]
        assert sorted(sequences) == list(range(1, 3_201))
        assert sequences == sorted(sequences)

    in_world(story)


def test_a_backlog_of_many_large_messages_is_taken_into_memory_a_little_at_a_time(tmp_path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        for n in range(20):
            await world.endpoint(f"e{n}")
        world.transport.decide = lambda sent: None
        await world.ready()
        for _ in range(12):
            await asyncio.gather(*(world.post(f"e{n}", LARGE) for n in range(20)))
        await world.end()
        await world.begin()
        world.transport.decide = lambda sent: None
        await until(lambda: len(world.transport.sent) >= 20)
        await world.store.write(lambda tx: None)
        assert world.dispatcher.held_bytes < 48 * 1024 * 1024
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        by_host = Counter(sent.host for sent in world.transport.sent)
        assert set(by_host.values()) == {12}
        await world.end()

    in_world(story, url=file_url(tmp_path), begin=False)


def test_a_hundred_thousand_parked_retries_cost_no_memory_and_no_time_at_the_start(tmp_path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        endpoint_id = await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        due_at = world.clock.now_us() + 3_600_000_000
        row = "INSERT INTO delivery VALUES (?, ?, ?, 0, ?, ?, 1, 'retrying', 0, NULL)"
        for start in range(0, 100_000, 2_000):
            await world.store.write(
                lambda tx, start=start: tx.run_many(
                    row, [(endpoint_id, due_at + n, message.id, world.app_id, n) for n in range(start, start + 2_000)]
                )
            )
        await world.end()
        gc.collect()
        objects = len(gc.get_objects())
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started_s = world.clock.monotonic_s()
        await world.begin()
        assert world.clock.monotonic_s() - started_s < 2.0
        assert world.dispatcher.lanes == 1
        assert world.dispatcher.held_bytes == 0
        gc.collect()
        assert len(gc.get_objects()) - objects < 5_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 16 * 1024
        world.transport.decide = lambda sent: OK
        await world.publish("a")
        await until(lambda: len(world.transport.sent) == 1)
        await world.end()

    in_world(story, url=file_url(tmp_path), begin=False)


def test_what_a_drain_cuts_is_no_failure_and_is_repeated_at_the_next_start(tmp_path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        messages = [await world.publish("a") for _ in range(12)]
        await world.sent(8)
        await world.end(drain_s=0.05)
        await world.begin()
        assert await world.count("SELECT COUNT(*) FROM attempt") == 0
        await world.settled()
        assert [sent.message_id for sent in world.transport.sent] == [message.id for message in messages]
        assert await world.rows("SELECT DISTINCT number, status FROM attempt") == [(1, 0)]
        await world.end()

    in_world(story, url=file_url(tmp_path), begin=False)


def test_a_drain_waits_for_what_is_on_the_wire_and_sends_nothing_new():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(20):
            await world.publish("a")
        await world.sent(8)
        world.transport.decide = lambda sent: OK
        draining = asyncio.ensure_future(world.dispatcher.drain(10.0))
        late = world.post("a")
        await asyncio.sleep(0)
        world.transport.land(OK)
        await draining
        await late
        assert len(world.transport.sent) == 8
        assert await world.count("SELECT COUNT(*) FROM attempt") == 8
        assert await world.count("SELECT COUNT(*) FROM delivery") == 13

    in_world(story)


def test_stopping_while_claims_are_made_loses_nothing(tmp_path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        for n in range(30):
            await world.endpoint(f"e{n}")
        world.transport.decide = lambda sent: None
        await world.ready()
        await asyncio.gather(*(world.post("all") for _ in range(40)))
        await world.end()
        for _ in range(5):
            # The claims of all lanes are asked for, and cut.
            await world.begin()
            await asyncio.sleep(0)
            await world.end()
        await world.begin()
        await world.settled()
        assert len(world.transport.sent) == 30 * 40
        await world.end()

    in_world(story, url=file_url(tmp_path), begin=False)


def test_when_attempts_cannot_be_recorded_dispatch_pauses_without_a_storm_and_then_goes_on_without_repeating(tmp_path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        for n in range(5):
            await world.endpoint(f"b{n}")
        world.transport.decide = lambda sent: None
        await world.ready()
        await asyncio.gather(*(world.post("all", b"x" * 500) for _ in range(200)))
        (pages,) = (await world.rows("PRAGMA page_count"))[0]
        await world.store.write(no_full(pages))
        big = OK.__class__(200, head=b"HTTP/1.1 200 OK\r\n\r\n", body=b"x" * 60_000)
        world.transport.decide = lambda sent: big
        world.transport.land(big)
        await until(lambda: not world.dispatcher.running)
        sent = len(world.transport.sent)
        # Several rounds of trying again.
        await passed(1.6)
        world.dispatcher.tidy()
        assert not world.dispatcher.running
        assert len(world.transport.sent) - sent <= 300, "no more than what was on its way"
        on_the_way = len(world.transport.sent)
        await passed(0.6)
        assert len(world.transport.sent) == on_the_way
        world.transport.decide = lambda sent: OK
        await until_async(lambda: makes_room(world), what="there is room again")
        await world.settled()
        assert world.dispatcher.running
        ids = Counter((sent.host, sent.message_id) for sent in world.transport.sent)
        assert set(ids.values()) == {1}
        assert len(ids) == 1_200
        await world.end()

    in_world(story, url=file_url(tmp_path), begin=False)


def test_a_drain_waits_for_what_could_not_be_recorded():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.publish("a")
        await world.settled()
        (pages,) = (await world.rows("PRAGMA page_count"))[0]
        big = OK.__class__(200, head=b"HTTP/1.1 200 OK\r\n\r\n", body=b"x" * 200_000)
        world.transport.decide = lambda sent: None
        await world.publish("a")
        await world.sent(2)
        await world.store.write(no_full(pages))
        world.transport.land(big)
        await until(lambda: not world.dispatcher.running)
        draining = asyncio.ensure_future(world.dispatcher.drain(10.0))
        await asyncio.sleep(0)
        await until_async(lambda: makes_room(world), what="there is room again")
        await draining
        assert await world.count("SELECT COUNT(*) FROM attempt") == 2

    in_world(story)


def test_a_store_that_fails_claims_is_asked_again():
    async def story(world: World) -> None:
        endpoint_id = await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        await world.store.write(lambda tx: tx.run("ALTER TABLE delivery RENAME TO elsewhere"))
        world.dispatcher.wake(endpoint_id, world.app_id, 1)
        await passed(0.3)
        await world.store.write(lambda tx: tx.run("ALTER TABLE elsewhere RENAME TO delivery"))
        world.transport.decide = lambda sent: OK
        await world.settled()
        assert len(world.transport.sent) == 2

    in_world(story, schedule_s=(0.2,))


step = st.one_of(
    st.tuples(st.just("post"), st.sampled_from(["a", "b", "all"]), st.integers(1, 30)),
    st.tuples(st.just("land"), st.sampled_from(["ok", "fail"]), st.integers(1, 40)),
    st.tuples(st.just("turn"), st.just(""), st.integers(1, 20)),
    st.tuples(st.just("wake"), st.sampled_from(["a", "b"]), st.just(0)),
    st.tuples(st.just("tidy"), st.just(""), st.just(0)),
    st.tuples(st.just("large"), st.sampled_from(["a", "b"]), st.integers(1, 3)),
    st.tuples(st.just("refused"), st.sampled_from(["a", "all"]), st.just(0)),
    st.tuples(st.just("settle"), st.just(""), st.just(0)),
)


@settings(max_examples=40)
@given(st.lists(step, max_size=25))
def test_any_interleaving_delivers_everything_exactly_once_and_forgets_nothing(steps):
    async def story(world: World) -> None:
        expected: Counter[tuple[str, str]] = Counter()
        succeeded: Counter[tuple[str, str]] = Counter()
        for name in ("a", "b"):
            await world.endpoint(name)
        await world.ready()
        world.transport.decide = lambda sent: None

        def land(sent: Sent, ok: bool) -> None:
            if ok:
                succeeded[(sent.host, sent.message_id)] += 1
            sent.answers(OK if ok else FAILED)

        posts: list[tuple[str, asyncio.Future]] = []
        for what, which, number in steps:
            match what:
                case "post":
                    posts += [(which, world.post(which)) for _ in range(number)]
                case "large":
                    posts += [(which, world.post(which, LARGE * 4)) for _ in range(number)]
                case "refused":
                    posts += [(which, world.post(which, event_id="same")) for _ in range(2)]
                case "land":
                    for _ in range(min(number, len(world.transport.flying))):
                        land(world.transport.flying.pop(0), which == "ok")
                case "turn":
                    for _ in range(number):
                        await asyncio.sleep(0)
                case "wake":
                    world.dispatcher.wake(world.endpoint_ids[which], world.app_id, world.clock.now_us())
                case "tidy":
                    world.dispatcher.tidy()
                case "settle":
                    await asyncio.gather(*(future for _, future in posts), return_exceptions=True)
        results = await asyncio.gather(*(future for _, future in posts), return_exceptions=True)
        for (which, _), result in zip(posts, results, strict=True):
            if not isinstance(result, Exception):
                expected.update((host, result.id) for host in (("a", "b") if which == "all" else (which,)))

        def rest(sent: Sent):
            succeeded[(sent.host, sent.message_id)] += 1
            return OK

        world.transport.decide = rest
        while world.transport.flying:
            land(world.transport.flying.pop(0), True)
        await world.settled()
        assert succeeded == expected
        assert world.dispatcher.held_bytes == 0
        assert world.metrics.backlog == 0

        def forgotten() -> bool:
            world.dispatcher.tidy()
            return world.dispatcher.lanes == 0

        await until(forgotten)

    in_world(story, schedule_s=(0.001,) * 50)


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), st.integers(0, 30), st.booleans()), min_size=1, max_size=4),
    st.integers(0, 1 << 30),
)
def test_every_accepted_message_survives_any_restarts(tmp_path_factory, rounds, seed):
    chance = random.Random(seed)
    path = tmp_path_factory.mktemp("restarts")

    async def story(world: World) -> None:
        accepted: set[tuple[str, str]] = set()
        succeeded: set[tuple[str, str]] = set()

        def decide(sent: Sent):
            roll = chance.random()
            if roll < 0.3:
                return None
            if roll < 0.6:
                return FAILED
            return deliver(sent)

        def deliver(sent: Sent):
            succeeded.add((sent.host, sent.message_id))
            return OK

        await world.begin()
        await world.make_app()
        for name in ("a", "b"):
            await world.endpoint(name)
        await world.end()
        for posts, turns, landings, drained in rounds:
            await world.begin(decide=decide)
            await world.ready()
            futures = [(which, world.post(which)) for _ in range(posts) for which in (chance.choice(["a", "b", "all"]),)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(min(landings, len(world.transport.flying))):
                world.transport.flying.pop(chance.randrange(len(world.transport.flying))).answers(FAILED)
            # What was acknowledged before the end counts, and what is acknowledged while it ends.
            await world.end(drain_s=0.02 if drained else 0.0)
            for which, future in futures:
                if future.done() and future.exception() is None:
                    accepted.update((host, future.result().id) for host in (("a", "b") if which == "all" else (which,)))
        await world.begin(decide=deliver)
        await world.settled()
        assert accepted <= succeeded
        await world.end()

    in_world(story, url=file_url(path), begin=False, schedule_s=(0.001,) * 60)


def test_a_lane_that_waits_in_the_database_is_not_overtaken_by_a_claim_in_the_same_commit():
    async def story(world: World) -> None:
        endpoint_id = await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.ready()
        claims = []
        for _ in range(20):
            posts = [world.post("a") for _ in range(5)]
            claims.append(asyncio.ensure_future(world.store.claim(endpoint_id, Bounds(10, 1 << 20), world.clock.now_us(), 1)))
            await asyncio.gather(*posts)
        assert [c.claims for c in await asyncio.gather(*claims)] == [[]] * 20
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert [sent.sequence for sent in world.transport.sent] == list(range(1, 101))

    in_world(story)
