from __future__ import annotations

from tests.engine.world import FAILED, World, in_world


def test_a_message_is_delivered_recorded_and_gone_from_the_live_rows():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        (sent,) = world.transport.sent
        assert sent.message_id == message.id
        assert sent.request.body == b'{"a":1}'
        assert sent.sequence == 1
        assert await world.rows("SELECT status, code, number, message_id FROM attempt") == [(0, 200, 1, message.id)]
        assert world.metrics.backlog == 0

    in_world(story)


def test_failures_are_retried_on_schedule_never_early_and_then_become_a_dead_letter():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        await world.publish("a")
        await world.settled()
        times = [sent.at_us for sent in world.transport.sent]
        assert len(times) == 4
        for before, after, delay_s in zip(times[:-1], times[1:], world.schedule_s, strict=True):
            assert after - before >= delay_s * 1_000_000
        assert await world.rows("SELECT number, status FROM attempt ORDER BY number") == [(1, 2), (2, 2), (3, 2), (4, 2)]
        assert await world.rows("SELECT cause, attempts, org_id FROM dead_letter") == [("http_500", 4, "org_1")]
        assert world.metrics.backlog == 0

    in_world(story)
