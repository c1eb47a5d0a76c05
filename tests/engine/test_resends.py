from __future__ import annotations

import asyncio

from tests.engine.test_rates import obeys, posts
from tests.engine.world import FAILED, OK, Sent, World, answer, in_world
from tests.waiting import passed, until, until_async


def of(sent: list[Sent], message_id: str) -> list[Sent]:
    return [one for one in sent if one.message_id == message_id]


def test_an_attempt_by_hand_does_not_wait_for_a_pause_that_the_endpoint_asked_for():
    async def story(world: World) -> None:
        world.transport.decide = lambda sent: answer(503, retry_after="3000")
        await world.endpoint("a")
        message = await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        await world.publish("a")
        assert len(world.transport.sent) == 1
        world.transport.decide = lambda sent: OK
        await world.resend("a", message)
        (_, by_hand) = await world.sent(2)
        assert by_hand.message_id == message.id
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE trigger = 1 AND status = 0"))
        # It has ended the retry; what was published meanwhile waits out the pause.
        assert await world.rows("SELECT state FROM delivery") == [("waiting",)]
        assert len(world.transport.sent) == 2

    in_world(story, schedule_s=(0.01,))


def test_an_attempt_by_hand_is_made_before_a_backlog_and_beside_attempts_that_hang():
    async def story(world: World) -> None:
        world.transport.decide = lambda sent: None
        await world.endpoint("a")
        # More than memory holds of one endpoint, so that much of it lies in the database.
        messages = await posts(world, "a", 2_000)
        await until(lambda: world.transport.flying)
        hanging = len(world.transport.sent)
        await world.resend("a", messages[1_500])
        await until(lambda: len(world.transport.sent) == hanging + 1)
        assert world.transport.sent[-1].message_id == messages[1_500].id

    in_world(story)


def test_attempts_by_hand_are_bounded_and_each_is_made_once_and_no_other_lost():
    async def story(world: World) -> None:
        world.transport.decide = lambda sent: None
        await world.endpoint("a")
        messages = await posts(world, "a", 60)
        await until(lambda: world.transport.flying)
        hanging = len(world.transport.sent)
        await asyncio.gather(*(world.resend("a", message) for message in messages[20:]))
        await until(lambda: len(world.transport.sent) > hanging)
        await passed(0.1)
        assert len(world.transport.sent) <= hanging + 4
        world.transport.decide = lambda sent: FAILED
        world.transport.land(FAILED)
        await world.settled()
        assert await world.rows("SELECT trigger, COUNT(DISTINCT message_id), COUNT(*) FROM attempt GROUP BY trigger") == [
            (0, 60, 120),
            (1, 40, 40),
        ]

    in_world(story, schedule_s=(0.01,))


def test_an_attempt_by_hand_keeps_the_rate_and_has_the_next_token():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=4)
        messages = await posts(world, "a", 12)
        await world.sent(4)
        await world.resend("a", messages[0])
        sent = await world.sent(6)
        assert messages[0].id in (sent[4].message_id, sent[5].message_id)
        await world.settled()
        assert obeys([one.at_us for one in world.transport.sent], 4)

    in_world(story)


def test_an_attempt_by_hand_reaches_an_endpoint_that_memory_knows_nothing_of():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 0
        await world.resend("a", message)
        await world.settled()
        assert len(of(world.transport.sent, message.id)) == 2

    in_world(story)


def test_attempts_by_hand_to_an_endpoint_that_was_disabled_meanwhile_end():
    async def story(world: World) -> None:
        world.transport.decide = lambda sent: None
        await world.endpoint("a")
        message = await world.publish("a")
        await world.sent(1)
        await world.change("a", disabled=True)
        await world.resend("a", message)
        world.transport.land(OK)
        await world.settled()
        assert len(world.transport.sent) == 1
        assert world.dispatcher.held_bytes == 0

    in_world(story)


def test_an_attempt_by_hand_whose_rate_is_used_up_waits_for_a_token_and_not_for_a_pause():
    async def story(world: World) -> None:
        world.transport.decide = lambda sent: answer(503, retry_after="3000")
        await world.endpoint("a", throttle_rate=2)
        message = await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        for _ in range(4):
            await world.resend("a", message)
        sent = await world.sent(5, 5.0)
        assert obeys([one.at_us for one in sent], 2)

    in_world(story, schedule_s=(0.01,))


def test_an_attempt_by_hand_in_a_pause_has_the_next_place_where_others_have_all_of_them():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        await world.endpoint("c")
        await world.publish("c")
        await world.sent(1)
        world.transport.decide = lambda sent: answer(503, retry_after="3000")
        message = await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        world.transport.decide = lambda sent: None
        await world.publish("b")
        await world.publish("c")
        await until(lambda: len(world.transport.flying) == 2)
        world.transport.decide = lambda sent: OK
        await world.resend("a", message)
        await passed(0.1)
        assert len(world.transport.to("a")) == 1
        world.transport.flying.pop(0).answers(OK)
        await until(lambda: len(world.transport.to("a")) == 2, 5.0)

    in_world(story, schedule_s=(0.01,), total=2)


def test_attempts_by_hand_of_large_messages_wait_in_the_database_when_memory_is_half_full():
    async def story(world: World) -> None:
        await world.endpoint("a")
        hanging = [await world.endpoint(name) and name for name in "bcd"]
        large = b'"%s"' % (b"x" * 1024 * 1024)
        messages = [await world.publish("a", large) for _ in range(30)]
        await world.settled()
        world.transport.decide = lambda sent: None
        for message in messages:
            for name in hanging:
                await world.resend(name, message)
        await until(lambda: len(world.transport.flying) == 3 * 12)
        await passed(0.1)
        assert world.dispatcher.held_bytes < 48 * 1024 * 1024
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert world.dispatcher.held_bytes == 0
        assert await world.count("SELECT COUNT(*) FROM attempt WHERE trigger = 1 AND status = 0") == 90

    in_world(story)


def test_attempts_by_hand_that_follow_each_other_are_made_at_once_whoever_fetches_them():
    async def story(world: World) -> None:
        world.transport.decide = lambda sent: None
        await world.endpoint("a")
        messages = await posts(world, "a", 12)
        await until(lambda: len(world.transport.flying) == 8)
        for number, message in enumerate(messages[8:], 1):
            # All that is due is fetched in the same commit, before the one that is wanted.
            adding = asyncio.ensure_future(world.resend("a", message))
            await asyncio.sleep(0)
            world.dispatcher.wake(world.endpoint_ids["a"], world.app_id, 0)
            await adding
            await until(lambda number=number: len(world.transport.flying) == 8 + number, 5.0)
            assert world.transport.sent[-1].message_id == message.id

    in_world(story)
