from __future__ import annotations

import asyncio
from email.utils import format_datetime

from ringback.clock import to_datetime
from tests.engine.world import FAILED, OK, SECOND_US, World, answer, in_world
from tests.waiting import passed, until, until_async

RETRYING = "SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"


def test_two_failures_and_a_success_are_three_attempts_numbered_from_one_each_planned_on_schedule_with_its_jitter():
    async def story(world: World) -> None:
        await world.endpoint("a")
        answers = iter([FAILED, FAILED, OK])
        world.transport.decide = lambda sent: next(answers)
        await world.publish("a")
        await world.settled()
        rows = await world.rows("SELECT number, status, trigger, started_at, next_due_at FROM attempt ORDER BY id")
        assert [row[:3] for row in rows] == [(1, 2, 0), (2, 2, 0), (3, 0, 0)]
        for base_s, before, after in zip((0.1, 0.2), rows[:2], rows[1:], strict=True):
            started_at, next_due_at = before[3:]
            # Half of a fifth more, from when the answer was there.
            assert started_at + base_s * 1.1 * SECOND_US <= next_due_at <= after[3] <= next_due_at + SECOND_US

    in_world(story, schedule_s=(0.1, 0.2, 30.0), draw=lambda: 0.5)


def test_an_empty_schedule_is_one_attempt():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: answer(503, retry_after="0.05")
        await world.publish("a")
        await world.settled()
        await passed(0.2)
        assert len(world.transport.sent) == 1
        assert await world.rows("SELECT cause, attempts FROM dead_letter") == [("http_503", 1)]

    in_world(story, schedule_s=())


def test_a_schedule_may_be_long_and_nothing_follows_its_end():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        await world.publish("a")
        await world.settled()
        assert await world.rows("SELECT number FROM attempt ORDER BY id") == [(number,) for number in range(1, 42)]
        assert await world.rows("SELECT attempts FROM dead_letter") == [(41,)]
        await passed(0.1)
        assert len(world.transport.sent) == 41

    in_world(story, schedule_s=(0.002,) * 40)


def test_a_failed_attempt_by_hand_takes_nothing_from_the_schedule_and_adds_nothing_to_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        message = await world.publish("a")
        for made in (1, 2, 3):
            await until_async(lambda made=made: world.count(f"SELECT COUNT(*) >= {made} FROM attempt WHERE trigger = 0"))
            await world.resend("a", message)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM dead_letter"))
        await world.settled()
        assert await world.rows("SELECT number FROM attempt WHERE trigger = 0 ORDER BY id") == [(1,), (2,), (3,)]
        assert await world.count("SELECT COUNT(*) FROM attempt WHERE trigger = 1") == 3
        assert await world.rows("SELECT attempts FROM dead_letter") == [(3,)]

    in_world(story, schedule_s=(0.3, 0.3))


def test_two_attempts_by_hand_at_the_same_instant_are_two():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        await asyncio.gather(world.resend("a", message), world.resend("a", message))
        await until(lambda: len(world.transport.sent) == 3)
        await world.settled()
        assert await world.rows("SELECT trigger, status, sequence FROM attempt ORDER BY id") == [(0, 0, 1), (1, 0, 1), (1, 0, 1)]

    in_world(story)


def test_an_attempt_by_hand_that_succeeds_ends_a_first_attempt_that_still_waits():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=2)
        world.transport.decide = lambda sent: OK
        await world.ready()
        messages = await asyncio.gather(*(world.post("a") for _ in range(5)))
        # The last one waits for its rate; four first attempts leave for one by hand.
        await world.resend("a", messages[-1])
        await world.settled()
        sent = [one.message_id for one in world.transport.sent]
        assert set(sent) == {message.id for message in messages}
        assert await world.count("SELECT COUNT(*) FROM attempt WHERE status = 0") == len(sent)
        assert await world.rows("SELECT trigger FROM attempt WHERE message_id = ?", messages[-1].id) in ([(1,)], [(0,), (1,)])

    in_world(story)


def test_a_retry_after_is_obeyed_as_a_date_and_up_to_its_cap():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        date = format_datetime(to_datetime(world.clock.now_us() + 2 * SECOND_US), usegmt=True)
        first = {"a": answer(503, retry_after=date), "b": answer(429, retry_after="86400")}
        world.transport.decide = lambda sent: first.pop(sent.host, OK)
        await world.publish("all")
        await world.settled()
        for host, least_s in (("a", 0.9), ("b", 1.5)):
            before, after = world.transport.to(host)
            assert after.at_us - before.at_us >= least_s * SECOND_US
        rows = await world.rows("SELECT next_cause, next_due_at - started_at FROM attempt WHERE status = 2 AND code = 429")
        assert rows[0][0] == "retry_after"
        # The cap holds, for the message and for the others of its endpoint.
        assert 1.5 * SECOND_US <= rows[0][1] <= 2.5 * SECOND_US

    in_world(story, schedule_s=(0.01,), retry_after_max_s=1.5)


def test_deleting_an_endpoint_while_an_attempt_is_on_the_wire_leaves_the_attempt_and_no_retry():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.publish("a")
        await world.sent(1)
        await world.store.write(lambda tx: tx.run("UPDATE endpoint SET deleted_at = 1"))
        world.directory.changed(world.app_id)
        await until_async(lambda: world.count("SELECT (SELECT COUNT(*) FROM delivery) = 0"))
        world.transport.land(FAILED)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt"))
        await passed(0.1)
        assert len(world.transport.sent) == 1
        assert await world.count(RETRYING) == 0
        assert await world.count("SELECT COUNT(*) FROM dead_letter") == 0

    in_world(story, schedule_s=(0.01,))


def test_an_endpoint_that_is_switched_off_and_on_gets_its_retries_of_later_messages_only():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        early = await world.publish("a")
        await until_async(lambda: world.count(RETRYING))
        await world.change("a", disabled=True)
        await until_async(lambda: world.count("SELECT (SELECT COUNT(*) FROM delivery) = 0"))
        await world.change("a", disabled=False)
        late = await world.publish("a")
        await until_async(lambda: world.count(RETRYING))
        world.transport.decide = lambda sent: OK
        await world.settled()
        assert [sent.message_id for sent in world.transport.sent] == [early.id, late.id, late.id]

    in_world(story, schedule_s=(0.4,))
