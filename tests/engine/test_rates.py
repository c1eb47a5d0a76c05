from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.messages import Message
from tests.engine.world import FAILED, OK, SECOND_US, Sent, World, answer, in_world
from tests.waiting import passed, until, until_async


def obeys(times: list[int], rate: int) -> bool:
    """Does no stretch of time hold more than the rate allows, beside one burst of as many?"""
    return all(
        (last - first + 1 - rate) * SECOND_US <= rate * (end - start + 1_000)
        for first, start in enumerate(times)
        for last, end in enumerate(times[first:], first)
    )


async def posts(world: World, event_type: str, number: int) -> list[Message]:
    await world.ready()
    return list(await asyncio.gather(*(world.post(event_type) for _ in range(number))))


def test_an_endpoint_gets_its_rate_at_once_and_then_one_after_another_in_order_and_nothing_is_lost():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=20)
        await posts(world, "a", 45)
        await world.settled()
        sent = world.transport.sent
        assert [one.sequence for one in sent] == list(range(1, 46))
        assert obeys([one.at_us for one in sent], 20)
        assert sent[-1].at_us - sent[0].at_us >= 1.2 * SECOND_US
        # Waiting for the rate is no failure, and costs no attempt.
        assert await world.rows("SELECT DISTINCT number, status FROM attempt") == [(1, 0)]

    in_world(story)


def test_the_attempts_of_an_application_obey_its_rate_together_and_its_endpoints_share_it_evenly():
    async def story(world: World) -> None:
        await world.limit(20)
        for name in ("a", "b", "c"):
            await world.endpoint(name)
        await posts(world, "a", 60)
        await world.sent(20)
        # The rate of this second is used up by the first: from here the others come in turn.
        await asyncio.gather(posts(world, "b", 10), posts(world, "c", 10))
        await until(lambda: len(world.transport.to("b")) == len(world.transport.to("c")) == 10)
        assert obeys([one.at_us for one in world.transport.sent], 20)
        hosts = [one.host for one in world.transport.sent]
        while hosts[-1] == "a":
            hosts.pop()
        shared = hosts[hosts.index("b") :]
        for upto in range(3, len(shared)):
            counts = Counter(shared[:upto])
            assert max(counts.values()) - min(counts[name] for name in "abc") <= 2, shared
        for name in "abc":
            assert [one.sequence for one in world.transport.to(name)] == sorted(one.sequence for one in world.transport.to(name))

    in_world(story)


def test_of_two_rates_the_stricter_holds():
    async def story(world: World) -> None:
        await world.limit(30)
        await world.endpoint("slow", throttle_rate=5)
        await world.endpoint("fast", throttle_rate=1_000)
        await posts(world, "all", 45)
        await until(lambda: len(world.transport.to("fast")) == 45)
        assert obeys([one.at_us for one in world.transport.to("slow")], 5)
        assert obeys([one.at_us for one in world.transport.sent], 30)

    in_world(story)


def test_retries_and_attempts_by_hand_count_as_well():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=10)
        world.transport.decide = lambda sent: FAILED if len(world.transport.sent) <= 10 else OK
        first = await posts(world, "a", 10)
        await until_async(lambda: world.count("SELECT COUNT(*) / 10 FROM attempt"))
        for message in first[:5]:
            await world.resend("a", message)
        await world.settled()
        assert len(world.transport.sent) >= 15
        assert obeys([one.at_us for one in world.transport.sent], 10)
        assert await world.count("SELECT COUNT(*) FROM attempt WHERE trigger = 1") == 5

    in_world(story, schedule_s=(0.05,) * 3)


def test_what_waits_for_a_rate_holds_no_place_and_delays_nobody_else():
    async def story(world: World) -> None:
        await world.endpoint("throttled", throttle_rate=1)
        await world.endpoint("other")
        await world.endpoint("hung")
        world.transport.decide = lambda sent: None if sent.host == "hung" else OK
        await posts(world, "throttled", 200)
        await posts(world, "other", 200)
        await until(lambda: len(world.transport.to("other")) == 200)
        assert len(world.transport.to("throttled")) <= 3
        assert world.dispatcher.flying == 0
        assert world.dispatcher.in_flight(world.endpoint_ids["throttled"]) == 0

    # As many places as one lane may have at the most: were one of them held, it would be missed.
    in_world(story, total=16)


def test_nothing_turns_while_all_that_is_left_waits_for_a_rate():
    async def story(world: World) -> None:
        await world.limit(5)
        for n in range(20):
            await world.endpoint(f"e{n}")
        await world.endpoint("own", throttle_rate=1)
        await posts(world, "all", 30)
        await world.sent(5)
        await asyncio.sleep(0)
        reads, sent = world.clock.reads, len(world.transport.sent)
        await passed(1.0)
        made = len(world.transport.sent) - sent
        assert 3 <= made <= 6
        # A handful of looks at the clock for each attempt, and none for the six hundred that wait.
        assert world.clock.reads - reads <= 40 * (made + 1)

    in_world(story)


def test_a_change_of_rate_holds_at_once():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=1)
        await posts(world, "a", 60)
        await world.sent(1)
        changed_at = world.clock.now_us()
        await world.change("a", throttle_rate=40)
        await world.sent(30)
        assert obeys([one.at_us for one in world.transport.sent if one.at_us > changed_at], 40)
        await world.change("a", throttle_rate=None)
        await world.settled()
        assert [one.sequence for one in world.transport.sent] == list(range(1, 61))

    in_world(story)


def test_a_change_of_the_applications_rate_holds_at_once_for_all_that_wait():
    async def story(world: World) -> None:
        await world.limit(1)
        for n in range(5):
            await world.endpoint(f"e{n}")
        await posts(world, "all", 4)
        await world.sent(1)
        await world.limit(None)
        await world.settled()
        assert len(world.transport.sent) == 20
        await world.limit(2)
        await posts(world, "all", 1)
        times = [one.at_us for one in (await world.sent(23))[20:]]
        assert obeys(times, 2)

    in_world(story)


def test_an_endpoint_that_is_disabled_while_it_waits_for_a_rate_holds_up_no_other():
    async def story(world: World) -> None:
        await world.limit(10)
        await world.endpoint("a")
        await world.endpoint("b")
        await posts(world, "all", 20)
        await world.sent(10)
        await world.change("a", disabled=True)
        await world.settled()
        assert len(world.transport.to("b")) == 20
        assert len(world.transport.to("a")) < 20

    in_world(story)


def test_what_waits_for_a_rate_survives_a_restart_in_order(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a", throttle_rate=20)
        await posts(world, "a", 50)
        sent = await world.sent(20)
        await until_async(lambda: world.count("SELECT COUNT(*) / 20 FROM attempt"))
        await world.end(drain_s=1.0)
        sent = list(world.transport.sent)
        await world.begin()
        await world.settled()
        sent += world.transport.sent
        assert [one.sequence for one in sent] == list(range(1, 51))
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_more_than_memory_takes_waits_in_the_database_and_leaves_it_at_the_rate_in_order():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=1_000)
        await posts(world, "a", 2_500)
        await world.settled()
        sent = world.transport.sent
        assert [one.sequence for one in sent] == list(range(1, 2_501))
        times = [one.at_us for one in sent]
        assert (times[-1] - times[0]) * 1_000 >= (2_500 - 1_000 - 1) * SECOND_US

    in_world(story)


def test_a_lane_is_not_forgotten_before_its_rate_has_recovered():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=2)
        await posts(world, "a", 2)
        await world.settled()
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 1

        def forgotten() -> bool:
            world.dispatcher.tidy()
            return world.dispatcher.lanes == 0

        await until(forgotten)

    in_world(story)


def test_a_rate_and_a_retry_after_hold_both():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=4)
        world.transport.decide = lambda sent: answer(503, retry_after="0.8") if len(world.transport.sent) == 1 else OK
        await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt"))
        await posts(world, "a", 8)
        await world.settled()
        first, *others = [one.at_us for one in world.transport.sent]
        assert min(others) - first >= 0.8 * SECOND_US
        assert obeys([first, *others], 4)

    in_world(story)


changes = st.one_of(
    st.tuples(st.just("post"), st.sampled_from(["a", "b", "all"]), st.integers(1, 20)),
    st.tuples(st.just("own"), st.sampled_from(["a", "b"]), st.sampled_from([None, 30, 200, 65_535])),
    st.tuples(st.just("shared"), st.just(""), st.sampled_from([None, 40, 300, 65_535])),
    st.tuples(st.just("land"), st.booleans(), st.integers(1, 20)),
    st.tuples(st.just("turn"), st.just(""), st.integers(1, 20)),
    st.tuples(st.just("tidy"), st.just(""), st.just(0)),
)


@settings(max_examples=25)
@given(st.lists(changes, max_size=15))
def test_whatever_the_rates_are_changed_to_everything_is_delivered_once_and_nothing_is_held(steps):
    async def story(world: World) -> None:
        expected: Counter[str] = Counter()
        delivered: Counter[str] = Counter()
        for name in ("a", "b"):
            await world.endpoint(name)
        await world.ready()
        world.transport.decide = lambda sent: None

        def land(sent: Sent, ok: bool) -> None:
            if ok:
                delivered[f"{sent.host} {sent.message_id}"] += 1
            sent.answers(OK if ok else FAILED)

        for what, which, number in steps:
            match what:
                case "post":
                    for message in await posts(world, which, number):
                        expected.update(f"{host} {message.id}" for host in (("a", "b") if which == "all" else (which,)))
                case "own":
                    await world.change(which, throttle_rate=number)
                case "shared":
                    await world.limit(number)
                case "land":
                    for _ in range(min(number, len(world.transport.flying))):
                        land(world.transport.flying.pop(0), which)
                case "turn":
                    for _ in range(number):
                        await asyncio.sleep(0)
                case "tidy":
                    world.dispatcher.tidy()

        def rest(sent: Sent):
            delivered[f"{sent.host} {sent.message_id}"] += 1
            return OK

        world.transport.decide = rest
        while world.transport.flying:
            land(world.transport.flying.pop(0), True)
        await world.settled()
        assert delivered == expected
        assert world.dispatcher.held_bytes == 0

    in_world(story, schedule_s=(0.001,) * 50)
