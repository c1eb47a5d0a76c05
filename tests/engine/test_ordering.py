from __future__ import annotations

import json
from collections import defaultdict

import msgspec

from ringback.model.applications import TokenKind
from ringback.model.deliveries import Trigger
from ringback.model.ordering import Ordered, Ordering, WhenHeadDies
from ringback.services.dead_letters import DeadLetters, Picked
from ringback.services.tokens import Principal
from ringback.store.operations import deliveries, lanes
from tests.engine.world import FAILED, OK, Sent, World, answer, in_world
from tests.waiting import until, until_async

WHOLE = Ordering(Ordered.ENDPOINT)
BY_KEY = Ordering(Ordered.KEY)
BY_PATH = Ordering(Ordered.KEY, key_path="customer.id")
OWNER = Principal(TokenKind.ORG, "org_1", None, "tok_1")
SKIPPING = Ordering(Ordered.KEY, when_head_dies=WhenHeadDies.SKIP)


def sequences(sent: list[Sent]) -> list[int]:
    return [one.sequence for one in sent]


async def idle(world: World) -> None:
    """Nothing on the wire, nothing to be recorded."""
    endpoint_ids = list(world.endpoint_ids.values())
    await until(lambda: not world.dispatcher.flying and not any(map(world.store.leased, endpoint_ids)), 20, "an idle engine")


async def reorder(world: World, name: str, ordering: Ordering | None) -> None:
    """Change the ordering of an endpoint, as the API does."""
    endpoint_id = world.endpoint_ids[name]
    now_us = world.clock.now_us()
    await world.store.write(lambda tx: lanes.change(tx, endpoint_id, world.app_id, now_us))
    await world.change(name, ordering=ordering)
    world.dispatcher.rearrange(endpoint_id, world.app_id)


async def reordered(world: World) -> None:
    async def done() -> bool:
        return not await world.count("SELECT COUNT(*) FROM lane_change")

    await until_async(done, 20, "all sorted anew")


def test_an_endpoint_in_order_gets_one_at_a_time_in_the_order_of_sequence():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        await world.ready()
        together: list[int] = []

        def decide(sent: Sent) -> None:
            together.append(world.dispatcher.in_flight(world.endpoint_ids["a"]))

        world.transport.decide = decide
        posts = [world.post("a") for _ in range(20)]
        for post in posts:
            await post
        for number in range(1, 21):
            await world.sent(number)
            assert len(world.transport.flying) == 1
            world.transport.land(OK)
        await world.settled()
        assert sequences(world.transport.sent) == list(range(1, 21))
        assert set(together) == {1}

    in_world(story)


def test_a_failed_head_is_retried_before_anything_behind_it():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        failures = {2: 2, 5: 1}

        def decide(sent: Sent):
            if failures.get(sent.sequence, 0):
                failures[sent.sequence] -= 1
                return FAILED
            return OK

        world.transport.decide = decide
        for _ in range(6):
            await world.publish("a")
        await world.settled()
        assert sequences(world.transport.sent) == [1, 2, 2, 2, 3, 4, 5, 5, 6]

    in_world(story)


def test_a_failing_key_holds_up_its_own_lane_alone():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=BY_PATH)
        await world.endpoint("b")
        broken = True

        def decide(sent: Sent):
            return FAILED if broken and b'"bad"' in sent.request.body else OK

        world.transport.decide = decide
        keys: dict[int, str] = {}
        for number in range(30):
            key = ("bad", "good", "fine")[number % 3]
            keys[number + 1] = key
            await world.publish("all", json.dumps({"customer": {"id": key}}).encode())
        await until(lambda: len({s.sequence for s in world.transport.to("a") if keys[s.sequence] != "bad"}) == 20, 20, "the others")
        assert {s.sequence for s in world.transport.to("a") if keys[s.sequence] == "bad"} == {1}
        assert len(world.transport.to("b")) >= 30
        broken = False
        await world.settled()
        arrived: dict[str, list[int]] = defaultdict(list)
        for sent in world.transport.to("a"):
            if sent.sequence not in arrived[keys[sent.sequence]]:
                arrived[keys[sent.sequence]].append(sent.sequence)
        assert {key: found == sorted(found) for key, found in arrived.items()} == {"bad": True, "good": True, "fine": True}

    in_world(story, schedule_s=(0.05,) * 200)


def test_a_message_without_a_key_waits_for_nobody():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=BY_KEY)
        world.transport.decide = lambda sent: None
        for key in ("k", "k", None, None):
            await world.publish("a", ordering_key=key)
        await world.sent(3)
        assert sorted(sequences(world.transport.flying)) == [1, 3, 4]

    in_world(story)


def test_a_dead_head_blocks_its_lane_until_it_is_discarded():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=BY_KEY)
        world.transport.decide = lambda sent: FAILED if sent.sequence == 1 else OK
        for key in ("k", "k", "other"):
            await world.publish("a", ordering_key=key)
        await until_async(lambda: _count(world, "lane_block", 1), 20, "a blocked lane")
        await idle(world)
        assert {1, 3} == set(sequences(world.transport.sent))
        await world.publish("a", ordering_key="k")
        await idle(world)
        assert {1, 3} == set(sequences(world.transport.sent))
        letters = DeadLetters(world.store, world.clock, world.dispatcher)
        await letters.discard(OWNER, None, Picked(), dry_run=False)
        await world.settled()
        assert sequences(world.transport.sent)[-2:] == [2, 4]
        assert await world.count("SELECT COUNT(*) FROM lane_block_count") == 0

    in_world(story, schedule_s=(0.01,))


async def _count(world: World, table: str, number: int) -> bool:
    return await world.count(f"SELECT COUNT(*) FROM {table}") == number


def test_a_blocked_lane_goes_on_when_a_replay_of_its_head_succeeds_and_not_before():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        working = False
        world.transport.decide = lambda sent: OK if working else FAILED
        for _ in range(3):
            await world.publish("a")
        await until_async(lambda: _count(world, "lane_block", 1), 20, "a blocked lane")
        letters, who = DeadLetters(world.store, world.clock, world.dispatcher), OWNER
        await letters.replay(who, None, Picked(), dry_run=False)
        await world.sent(3)
        await idle(world)
        assert sequences(world.transport.sent) == [1, 1, 1]
        working = True
        await letters.replay(who, None, Picked(), dry_run=False)
        await world.settled()
        assert sequences(world.transport.sent) == [1, 1, 1, 1, 2, 3]

    in_world(story, schedule_s=(0.01,))


def test_a_lane_that_skips_goes_on_behind_a_dead_head():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=SKIPPING)
        world.transport.decide = lambda sent: FAILED if sent.sequence == 1 else OK
        for _ in range(3):
            await world.publish("a", ordering_key="k")
        await world.settled()
        assert sequences(world.transport.sent) == [1, 1, 2, 3]
        assert await world.count("SELECT COUNT(*) FROM dead_letter") == 1

    in_world(story, schedule_s=(0.01,))


def test_a_head_is_given_up_after_as_many_failures_as_the_endpoint_says():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=msgspec.structs.replace(SKIPPING, skip_after=2))
        world.transport.decide = lambda sent: FAILED if sent.sequence == 1 else OK
        for _ in range(2):
            await world.publish("a", ordering_key="k")
        await world.settled()
        assert sequences(world.transport.sent) == [1, 1, 2]

    in_world(story, schedule_s=(0.01,) * 9)


def test_what_can_never_be_sent_blocks_nobody():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: None
        first = await world.publish("a")
        gone = await world.publish("a")
        await world.publish("a")
        await world.store.write(lambda tx: tx.run("UPDATE message SET payload = NULL WHERE id = ?", (gone.id,)))
        await world.sent(1)
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert sequences(world.transport.sent) == [1, 3]
        assert first.id == world.transport.sent[0].message_id

    in_world(story)


def test_a_resend_by_hand_goes_beside_its_lane():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: None
        await world.publish("a")
        second = await world.publish("a")
        await world.publish("a")
        await world.sent(1)
        await world.resend("a", second)
        await world.sent(2)
        assert sequences(world.transport.flying) == [1, 2]
        world.transport.land(OK)
        await world.sent(3)
        # The second has arrived by hand, so the third is next.
        assert sequences(world.transport.flying) == [3]
        world.transport.land(OK)
        await world.settled()

    in_world(story)


def test_a_failed_resend_leaves_the_lane_as_it_was():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: None
        await world.publish("a")
        second = await world.publish("a")
        await world.sent(1)
        await world.resend("a", second)
        await world.sent(2)
        by_hand = world.transport.flying.pop()
        by_hand.answers(FAILED)
        await until_async(lambda: _count(world, "attempt", 1), 20, "the attempt by hand")
        assert sequences(world.transport.flying) == [1]
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert sequences(world.transport.sent) == [1, 2, 2]

    in_world(story)


def test_the_order_holds_over_a_restart(tmp_path):
    async def story(world: World) -> None:
        await world.begin(decide=lambda sent: None)
        await world.make_app()
        await world.endpoint("a", ordering=BY_KEY)
        for number in range(12):
            await world.publish("a", ordering_key=f"k{number % 3}")
        await world.sent(3)
        assert sorted(sequences(world.transport.flying)) == [1, 2, 3]
        await world.end()
        await world.begin()
        await world.settled()
        for key in range(3):
            assert [n for n in sequences(world.transport.sent) if (n - 1) % 3 == key] == [key + 1, key + 4, key + 7, key + 10]
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_of_each_key_memory_holds_the_head_alone():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=BY_KEY)
        world.transport.decide = lambda sent: None
        for number in range(3_000):
            world.post("a", ordering_key=f"k{number % 5}") if number else await world.publish("a", ordering_key="k0")
        await until_async(lambda: _count(world, "delivery", 3_000), 30, "all accepted")
        await world.sent(5)
        await until(lambda: world.dispatcher.held_bytes < 5 * 1_000, 20, "heads alone in memory")
        assert len(world.transport.sent) == 5

    in_world(story)


def test_messages_whose_time_was_chosen_are_in_order_of_when_they_are_due():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: None
        now_us = world.clock.now_us()
        later = await world.publish("a", deliver_at=now_us + 900_000)
        sooner = await world.publish("a", deliver_at=now_us + 500_000)
        at_once = await world.publish("a")
        for number, message in enumerate((at_once, sooner, later), 1):
            await world.sent(number)
            assert world.transport.flying[0].message_id == message.id
            if number < 3:
                await until_async(lambda number=number: _deliveries(world, number + 1), 20, "the next one due")
            world.transport.land(OK)
        await world.settled_with_deferred()

    in_world(story)


async def _deliveries(world: World, last: int) -> bool:
    return await world.count("SELECT last FROM endpoint_sequence") >= last


def test_a_rate_and_an_order_hold_together():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE, throttle_rate=50)
        await world.ready()
        for post in [world.post("a") for _ in range(30)]:
            await post
        await world.settled()
        assert sequences(world.transport.sent) == list(range(1, 31))

    in_world(story)


def test_an_endpoint_that_is_disabled_and_enabled_again_goes_on_with_what_comes_then():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=BY_KEY)
        world.transport.decide = lambda sent: None
        for _ in range(5):
            await world.publish("a", ordering_key="k")
        await world.sent(1)
        await world.change("a", disabled=True)
        await until_async(lambda: _count(world, "delivery", 0), 20, "nothing left")
        world.transport.decide = lambda sent: OK
        world.transport.land(answer(500))
        await idle(world)
        await world.change("a", disabled=False)
        await world.ready()
        for _ in range(3):
            await world.publish("a", ordering_key="k")
        await world.settled()
        assert sequences(world.transport.sent) == [1, 6, 7, 8]

    in_world(story)


def test_what_waits_is_sorted_anew_when_an_order_is_asked_for():
    async def story(world: World) -> None:
        world.per_endpoint = 2
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(12):
            await world.publish("a", ordering_key="k")
        await world.sent(8)
        flying = sequences(world.transport.flying)
        await reorder(world, "a", WHOLE)
        await world.publish("all", ordering_key="k")
        world.transport.decide = lambda sent: OK
        landed, world.transport.flying = world.transport.flying, []
        for sent in landed:
            sent.answers(FAILED)
        await world.settled()
        await reordered(world)
        behind = sequences(world.transport.sent)[len(flying) :]
        assert behind == list(range(1, 14))

    in_world(story, schedule_s=(0.01, 0.01))


def test_what_waits_is_sorted_into_the_lanes_of_another_key_and_out_of_all_lanes():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: None
        for number in range(6):
            await world.publish("a", json.dumps({"customer": {"id": number % 2}}).encode())
        await world.sent(1)
        await reorder(world, "a", BY_PATH)
        world.transport.land(answer(404))
        await until(lambda: len(world.transport.flying) == 2, 20, "a head of each key")
        assert sorted(sequences(world.transport.flying)) == [1, 2]
        await reorder(world, "a", None)
        world.transport.land(answer(404))
        await until(lambda: len(world.transport.flying) == 6, 20, "all at once")
        world.transport.land(OK)
        await world.settled()
        await reordered(world)

    in_world(story, schedule_s=(0.01, 0.01))


def test_a_change_that_a_crash_interrupts_is_gone_on_from(tmp_path):
    async def story(world: World) -> None:
        await world.begin(decide=lambda sent: None)
        await world.make_app()
        endpoint_id = await world.endpoint("a")
        for _ in range(4):
            await world.publish("a")
        await world.sent(4)
        await world.store.write(lambda tx: lanes.change(tx, endpoint_id, world.app_id, world.clock.now_us()))
        await world.change("a", ordering=WHOLE)
        await world.end()
        await world.begin(decide=lambda sent: None)
        for number in range(1, 5):
            await world.sent(number)
            assert sequences(world.transport.flying) == [number]
            world.transport.land(OK)
        await world.settled()
        await reordered(world)
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_lanes_that_are_blocked_go_on_when_the_endpoint_skips_from_now_on():
    async def story(world: World) -> None:
        endpoint_id = await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: FAILED if sent.sequence == 1 else OK
        for _ in range(3):
            await world.publish("a")
        await until_async(lambda: _count(world, "lane_block", 1), 20, "a blocked lane")
        await reorder(world, "a", msgspec.structs.replace(WHOLE, when_head_dies=WhenHeadDies.SKIP))
        await world.settled()
        await reordered(world)
        assert sequences(world.transport.sent) == [1, 1, 2, 3]
        assert await world.store.read(lambda tx: lanes.count_blocked(tx, endpoint_id)) == 0

    in_world(story, schedule_s=(0.01,))


def test_an_attempt_says_that_it_waited_for_those_before_it():
    async def story(world: World) -> None:
        await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: FAILED if len(world.transport.sent) == 1 else OK
        for _ in range(2):
            await world.publish("a")
        await world.settled()
        assert await world.rows("SELECT sequence, number, wait FROM attempt ORDER BY seq") == [(1, 1, None), (1, 2, None), (2, 1, "order")]

    in_world(story, schedule_s=(0.3,))


def test_a_drop_of_a_head_lets_the_next_have_its_turn():
    async def story(world: World) -> None:
        endpoint_id = await world.endpoint("a", ordering=WHOLE)
        world.transport.decide = lambda sent: None
        first = await world.publish("a")
        second = await world.publish("a")
        await world.sent(1)
        await world.store.write(lambda tx: deliveries.drop(tx, endpoint_id, 10, second.id))
        (row,) = await world.rows("SELECT message_id, due_at, trigger FROM delivery")
        assert row == (second.id, second.created_at, Trigger.SCHEDULED)
        assert first.id < second.id

    in_world(story)
