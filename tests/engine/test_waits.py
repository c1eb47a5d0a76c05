from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

from ringback.model.messages import Message
from ringback.policy.paging import Walk
from ringback.store.operations import attempts
from ringback.store.operations.attempts import AttemptFilter
from tests.engine.world import FAILED, OK, SECOND_US, TIMEOUT, World, answer, in_world
from tests.waiting import passed, until, until_async


async def attempts_of(world: World, message: Message):
    """The attempts of a message as every reader sees them, the oldest first."""

    def query(tx):
        return attempts.by_message(
            tx, world.app_id, message.id, Walk(50, descending=False), AttemptFilter(), endpoint_id=None, content=False
        )

    return (await world.store.read(query)).items


async def waits(world: World) -> list[str | None]:
    return [row[0] for row in await world.rows("SELECT wait FROM attempt ORDER BY id")]


def test_an_attempt_that_begins_at_once_waited_for_nothing():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        (attempt,) = await attempts_of(world, message)
        assert (attempt.wait, attempt.next_due_at, attempt.next_cause) == (None, None, None)

    in_world(story)


def test_what_waits_for_its_rate_says_so():
    async def story(world: World) -> None:
        await world.endpoint("own", throttle_rate=4)
        await world.ready()
        await asyncio.gather(*(world.post("own") for _ in range(8)))
        await world.settled()
        assert (await waits(world))[4:] == ["throttle"] * 4
        await world.endpoint("shared")
        await world.limit(4)
        await passed(1.1)
        await world.ready()
        await asyncio.gather(*(world.post("shared") for _ in range(8)))
        await world.settled()
        assert (await waits(world))[12:] == ["throttle"] * 4

    in_world(story)


def test_what_waits_because_a_neighbour_was_told_to_come_back_later_says_so():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: answer(503, retry_after="0.5") if len(world.transport.sent) == 1 else OK
        refused = await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt"))
        waiting = await world.publish("a")
        await world.settled()
        first, _ = await attempts_of(world, refused)
        assert (first.next_cause, first.next_due_at is not None) == ("retry_after", True)
        assert first.next_due_at >= first.started_at + 0.5 * SECOND_US
        (other,) = await attempts_of(world, waiting)
        assert other.wait == "paused"

    in_world(story)


def test_what_waits_for_a_place_says_that_others_were_before_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(9):
            await world.publish("a")
        await world.sent(8)
        await passed(0.2)
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert (await waits(world))[8] == "backlog"

    in_world(story)


def test_what_an_earlier_run_left_says_so(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.publish("a")
        await world.end()
        await world.begin()
        await world.settled()
        assert await waits(world) == ["restart"]
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_each_failure_tells_when_the_next_attempt_is_due_and_what_decided_that():
    async def story(world: World) -> None:
        await world.endpoint("a")
        answers = iter([FAILED, answer(429, retry_after="0.4"), TIMEOUT, FAILED])
        world.transport.decide = lambda sent: next(answers)
        message = await world.publish("a")
        await world.settled()
        made = await attempts_of(world, message)
        assert [attempt.next_cause for attempt in made] == ["schedule", "retry_after", "schedule", None]
        for before, after in pairwise(made):
            assert before.next_due_at is not None
            assert before.next_due_at <= after.started_at <= before.next_due_at + SECOND_US
        assert made[-1].next_due_at is None

    in_world(story)


def test_a_failure_by_hand_plans_nothing():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        world.transport.decide = lambda sent: FAILED
        await world.resend("a", message)
        await until(lambda: len(world.transport.sent) == 2)
        await world.settled()
        assert [(a.wait, a.next_due_at, a.next_cause) for a in await attempts_of(world, message)] == [(None, None, None)] * 2

    in_world(story)
