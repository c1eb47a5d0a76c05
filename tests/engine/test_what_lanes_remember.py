from __future__ import annotations

import collections

import pytest

from ringback.model.attempts import Exchange
from tests.engine.world import FAILED, OK, SECOND_US, Sent, SteppedClock, World, answer, in_world
from tests.waiting import passed, until_async

DISABLED = "SELECT COUNT(*) FROM endpoint WHERE disabled = 1"


async def matched(world: World) -> tuple[str, ...]:
    """The endpoints that a new message would be for."""
    entry = await world.directory.find_by_id(world.app_id)
    assert entry is not None
    return entry.match("a", None)


async def nobody_is_matched(world: World) -> bool:
    return not await matched(world)


def test_an_endpoint_that_is_enabled_again_may_disable_itself_again():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: answer(410)
        for _ in range(3):
            await world.publish("a")
            await until_async(lambda: world.count(DISABLED))
            await until_async(lambda: nobody_is_matched(world), what="new messages are for nobody")
            await world.settled()
            await world.change("a", disabled=False)
            assert await matched(world) == (world.endpoint_ids["a"],)

    in_world(story)


def test_a_wait_that_an_endpoint_asked_for_holds_although_nothing_is_left_to_send():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: answer(503, retry_after="3600")
        await world.publish("a")
        await world.sent(1)
        await world.settled()
        world.transport.decide = lambda sent: OK
        world.dispatcher.tidy()
        await world.publish("a")
        await passed(0.3)
        assert len(world.transport.sent) == 1, "what is new was sent, although the endpoint asked for an hour"

    in_world(story, schedule_s=())


class Trembling(SteppedClock):
    """A clock that is set back by a few milliseconds between one look and the next, and forth again."""

    def now_us(self) -> int:
        self.step_s = -0.005 if self.reads % 2 else 0.0
        return super().now_us()


@pytest.mark.parametrize("deferred", [False, True])
def test_what_is_due_rings_although_the_clock_is_set_back_between_two_looks(deferred: bool) -> None:
    async def story(world: World) -> None:
        await world.endpoint("a")
        attempts = collections.Counter[str]()

        def at_the_fourth(sent: Sent) -> Exchange:
            attempts[sent.message_id] += 1
            return OK if attempts[sent.message_id] == 4 else FAILED

        world.transport.decide = at_the_fourth
        for _ in range(20):
            due_at = world.clock.now_us() + SECOND_US // 5 if deferred else None
            await world.publish("a", deliver_at=due_at)
        await world.settled_with_deferred()
        assert len(world.transport.sent) == 80

    in_world(story, clock=Trembling(), schedule_s=(0.02, 0.03, 0.05))
