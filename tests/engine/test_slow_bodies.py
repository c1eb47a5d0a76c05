from __future__ import annotations

import asyncio
from pathlib import Path

from tests.engine.world import FAILED, OK, SECOND_US, Sent, World, answer, in_world
from tests.waiting import passed, until, until_async


def begins(exchange):
    """Each request is answered with these headers at once, and with a body that is still to come."""

    def decide(sent: Sent):
        sent.begins_to_answer(exchange)
        return None

    return decide


def test_a_response_that_drips_holds_no_place_and_its_attempt_is_recorded_at_its_end():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(100):
            await world.publish("a", b"x" * 10_000)
        began = 0
        while began < 100:
            # No more than a lane may have at once are waiting for their headers.
            fresh = world.transport.sent[began:]
            assert len(fresh) <= 64
            for sent in fresh:
                sent.begins_to_answer(OK)
            began += len(fresh)
            await passed(0)
        assert world.dispatcher.flying == world.dispatcher.in_flight(world.endpoint_ids["a"]) == 0
        assert world.dispatcher.held_bytes == 0, "a payload that has arrived is held no longer"
        assert {sent.watcher.claim.message.payload for sent in world.transport.sent} == {None}
        assert await world.count("SELECT COUNT(*) FROM attempt") == 0
        world.transport.land(answer(200, x_whole="yes"))
        await world.settled()
        assert await world.rows("SELECT COUNT(*), COUNT(DISTINCT message_id), MIN(status), MAX(status) FROM attempt") == [(100, 100, 0, 0)]
        assert await world.count("SELECT COUNT(*) FROM attempt WHERE CAST(response_head AS TEXT) LIKE '%whole%'") == 100
        assert world.metrics.backlog == 0

    in_world(story)


def test_a_retry_is_counted_from_the_outcome_and_is_made_after_the_record():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.publish("a")
        (first,) = await world.sent(1)
        first.begins_to_answer(FAILED)
        decided_at = world.clock.now_us()
        await passed(0.6)
        assert len(world.transport.sent) == 1, "no retry before the attempt is recorded"
        world.transport.decide = lambda sent: OK
        first.answers(FAILED)
        await world.settled()
        ((started_at, next_due_at),) = await world.rows("SELECT started_at, next_due_at FROM attempt WHERE number = 1")
        assert next_due_at - started_at >= 300_000
        assert next_due_at <= decided_at + 300_000
        assert await world.rows("SELECT number, status FROM attempt ORDER BY id") == [(1, 2), (2, 0)]

    in_world(story, schedule_s=(0.3,))


def test_a_retry_after_holds_from_the_headers_on():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = begins(answer(503, retry_after="30"))
        await world.publish("a")
        await world.sent(1)
        for _ in range(5):
            await world.publish("a")
        await passed(0.1)
        assert len(world.transport.sent) == 1
        world.transport.land(answer(503, retry_after="30"))

    in_world(story)


def test_an_outcome_that_disables_its_endpoint_holds_from_the_headers_on():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = begins(answer(410))
        await world.publish("a")
        await world.sent(1)
        await world.publish("a")
        world.transport.land(answer(410))
        await until_async(lambda: world.count("SELECT COUNT(*) FROM endpoint WHERE disabled = 1"))
        await world.settled()
        assert len(world.transport.sent) == 1

    in_world(story)


def test_a_lane_whose_response_is_still_read_is_not_forgotten():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = begins(OK)
        await world.publish("a")
        await world.sent(1)
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 1
        world.transport.land(OK)
        await world.settled()
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 0

    in_world(story)


def test_a_drain_waits_for_a_response_that_drips_so_that_it_is_not_asked_for_again(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        world.transport.decide = begins(OK)
        await world.publish("a")
        await world.sent(1)
        draining = asyncio.ensure_future(world.dispatcher.drain(10.0))
        await passed(0.05)
        assert not draining.done()
        world.transport.land(OK)
        await draining
        await world.end()
        await world.begin()
        await world.settled()
        assert not world.transport.sent
        assert await world.rows("SELECT status FROM attempt") == [(0,)]
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_the_time_of_a_delivery_ends_with_its_outcome():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = begins(OK)
        message = await world.publish("a")
        await world.sent(1)
        await until(lambda: world.metrics.delivery_seconds.sum > 0)
        counted_s = world.metrics.delivery_seconds.sum
        await passed(0.2)
        world.transport.land(OK)
        await world.settled()
        assert world.metrics.delivery_seconds.sum == counted_s
        assert counted_s <= (world.clock.now_us() - message.created_at) / SECOND_US - 0.2

    in_world(story)
