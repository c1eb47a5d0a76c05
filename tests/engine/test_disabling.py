from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ringback.engine.health import CLEARED, NOTHING, Health
from ringback.model.endpoints import DisableCause, DisabledBy, Disabling
from ringback.store.operations import endpoints
from tests.engine.world import FAILED, OK, SECOND_US, World, answer, in_world
from tests.waiting import until_async

HOUR_S = 3_600.0
DISABLED = "SELECT COUNT(*) FROM endpoint WHERE disabled = 1"


async def why(world: World, name: str = "a") -> Disabling | None:
    """Why the endpoint is disabled, as every reader sees it."""
    found = await world.store.read(lambda tx: endpoints.by_ref(tx, world.vault, world.app_id, world.endpoint_ids[name]))
    assert found is not None
    assert found.disabled == (found.disabling is not None)
    return found.disabling


async def failing_since(world: World, name: str = "a") -> int | None:
    return await world.store.read(lambda tx: endpoints.first_failure_at(tx, world.endpoint_ids[name]))


async def runs_out(world: World, event_type: str = "a") -> None:
    """A message has all its attempts, and every one fails."""
    world.transport.decide = lambda sent: FAILED
    dead = await world.count("SELECT COUNT(*) FROM dead_letter")
    await world.publish(event_type)
    await until_async(lambda: world.count(f"SELECT COUNT(*) > {dead} FROM dead_letter"))


def test_an_endpoint_whose_messages_run_out_of_attempts_for_longer_than_is_allowed_is_disabled():
    async def story(world: World) -> None:
        await world.endpoint("a")
        before_us = world.clock.now_us()
        await runs_out(world)
        since = await failing_since(world)
        assert since is not None
        assert before_us <= since <= world.clock.now_us()
        world.clock.step_s = 119 * HOUR_S
        await runs_out(world)
        assert await failing_since(world) == since, "the first failure counts, not the last"
        assert await why(world) is None
        world.clock.step_s = 120 * HOUR_S + 60
        await runs_out(world)
        await until_async(lambda: world.count(DISABLED))
        disabling = await why(world)
        assert disabling is not None
        assert (disabling.by, disabling.cause, disabling.fail_since) == (DisabledBy.AUTOMATIC, DisableCause.FAILING, since)
        assert disabling.at >= since + 120 * 3_600 * SECOND_US
        assert "120 h" in disabling.detail
        assert await failing_since(world) is None

    in_world(story, schedule_s=(0.01,))


def test_a_success_in_between_begins_the_days_anew_however_long_ago_the_first_failure_was():
    async def story(world: World) -> None:
        await world.endpoint("a")
        for day in range(0, 40, 4):
            world.clock.step_s = day * 24 * HOUR_S
            await runs_out(world)
            assert await failing_since(world) is not None
            world.transport.decide = lambda sent: OK
            await world.publish("a")
            await world.settled()
            assert await failing_since(world) is None
        assert await why(world) is None

    in_world(story, schedule_s=())


def test_a_single_failure_never_disables():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await runs_out(world)
        world.clock.step_s = 365 * 24 * HOUR_S
        # What is still to come may well succeed.
        world.transport.decide = lambda sent: OK
        await world.publish("a")
        await world.settled()
        assert await why(world) is None

    in_world(story, schedule_s=())


def test_attempts_by_hand_do_not_count_and_their_success_clears():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await runs_out(world)
        (message_id,) = (await world.rows("SELECT message_id FROM dead_letter"))[0]
        message = next(m for m in [await _message(world, message_id)])
        since = await failing_since(world)
        world.clock.step_s = 121 * HOUR_S
        await world.resend("a", message)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE trigger = 1"))
        assert await failing_since(world) == since
        assert await why(world) is None
        world.transport.decide = lambda sent: OK
        await world.resend("a", message)
        await world.settled()
        assert await failing_since(world) is None
        await runs_out(world)
        assert await why(world) is None

    in_world(story, schedule_s=())


async def _message(world: World, message_id: str):
    from ringback.store.operations import messages

    found = await world.store.read(lambda tx: messages.find(tx, world.app_id, message_id, world.clock.now_us()))
    assert found is not None
    return found


def test_each_endpoint_has_days_of_its_own():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        await runs_out(world)
        world.clock.step_s = 121 * HOUR_S
        await runs_out(world, "b")
        assert await failing_since(world, "b") is not None
        assert await why(world, "a") is await why(world, "b") is None

    in_world(story, schedule_s=())


def test_the_first_failure_and_the_reason_survive_restarts(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        await world.endpoint("b")
        await runs_out(world)
        since = await failing_since(world)
        await world.end()
        await world.begin()
        world.clock.step_s = 121 * HOUR_S
        await runs_out(world)
        await until_async(lambda: world.count(DISABLED))
        await world.end()
        await world.begin()
        disabling = await why(world)
        assert disabling is not None
        assert disabling.fail_since == since
        # A success that comes after a restart clears, too.
        await runs_out(world, "b")
        await world.end()
        await world.begin()
        world.transport.decide = lambda sent: OK
        await world.publish("b")
        await world.settled()
        assert await failing_since(world, "b") is None
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False, schedule_s=())


def test_one_that_was_disabled_for_failing_has_days_again_when_it_is_enabled():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await runs_out(world)
        world.clock.step_s = 121 * HOUR_S
        await runs_out(world)
        await until_async(lambda: world.count(DISABLED))
        await world.settled()
        await world.change("a", disabled=False)
        assert await why(world) is None
        await runs_out(world)
        assert await why(world) is None
        world.clock.step_s = 243 * HOUR_S
        await runs_out(world)
        await until_async(lambda: world.count(DISABLED))

    in_world(story, schedule_s=())


def test_what_is_our_own_doing_is_no_failure_of_the_endpoint():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.publish("a")
        await world.sent(1)
        await world.store.write(lambda tx: tx.run("UPDATE message SET payload = NULL"))
        world.transport.land(FAILED)
        await world.settled()
        assert await world.rows("SELECT cause FROM dead_letter") == [("payload_gone",)]
        assert await failing_since(world) is None

    in_world(story, schedule_s=(0.05, 0.05))


@pytest.mark.parametrize(
    ("said", "cause", "attempt"),
    [
        (answer(410), DisableCause.GONE, (2, 410)),
        (answer(500, webhook_delivery="disable"), DisableCause.ASKED, (2, 500)),
        (answer(404, Webhook_Delivery="Disable"), DisableCause.ASKED, (2, 404)),
        (answer(200, webhook_delivery="disable"), DisableCause.ASKED, (0, 200)),
    ],
)
def test_an_answer_may_disable_its_endpoint_at_once_and_once(said, cause, attempt, caplog):
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(20):
            await world.publish("a")
        await world.sent(8)
        # All that is on the wire says the same.
        world.transport.land(said)
        await until_async(lambda: world.count(DISABLED))
        await world.settled()
        assert len(world.transport.sent) == 8
        disabling = await why(world)
        assert disabling is not None
        assert (disabling.by, disabling.cause, disabling.fail_since) == (DisabledBy.AUTOMATIC, cause, None)
        assert ("410" in disabling.detail) == (cause is DisableCause.GONE)
        assert ("asked to be disabled" in disabling.detail) == (cause is DisableCause.ASKED)
        assert await world.rows("SELECT DISTINCT status, code FROM attempt") == [attempt]

    with caplog.at_level(logging.WARNING):
        in_world(story)
    assert [record.getMessage() for record in caplog.records if "endpoint.disabled" in record.getMessage()] != []
    assert len([record for record in caplog.records if "endpoint.disabled" in record.getMessage()]) == 1


def test_an_answer_that_disables_a_failing_endpoint_tells_since_when_it_failed():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await runs_out(world)
        since = await failing_since(world)
        world.transport.decide = lambda sent: answer(410)
        await world.publish("a")
        await until_async(lambda: world.count(DISABLED))
        disabling = await why(world)
        assert disabling is not None
        assert disabling.fail_since == since
        assert await failing_since(world) is None

    in_world(story, schedule_s=())


def test_abort_message_ends_a_delivery_as_one_that_has_run_out_and_says_that_it_was_asked_for():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: answer(500, webhook_delivery="abort-message")
        await world.publish("a")
        await world.settled()
        assert len(world.transport.sent) == 1
        ((cause, detail, attempts),) = await world.rows("SELECT cause, detail, attempts FROM dead_letter")
        assert (cause, attempts) == ("aborted", 1)
        assert "answered 500" in detail
        assert "no more attempts of this message" in detail
        assert await world.rows("SELECT status, next_due_at, next_cause FROM attempt") == [(2, None, None)]
        # The endpoint is well: it has decided.
        assert await failing_since(world) is None
        assert world.metrics.backlog == 0

    in_world(story)


def test_abort_message_in_answer_to_an_attempt_by_hand_ends_the_schedule_beside_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        message = await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        world.transport.decide = lambda sent: answer(500, webhook_delivery="abort-message")
        await world.resend("a", message)
        await world.settled()
        assert await world.rows("SELECT message_id, cause, attempts FROM dead_letter") == [(message.id, "aborted", 1)]

    in_world(story, schedule_s=(30.0, 30.0))


def test_abort_message_of_something_that_was_delivered_before_leaves_no_dead_letter():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        world.transport.decide = lambda sent: answer(500, webhook_delivery="abort-message")
        await world.resend("a", message)
        await world.settled()
        assert await world.count("SELECT COUNT(*) FROM attempt") == 2
        assert await world.count("SELECT COUNT(*) FROM dead_letter") == 0

    in_world(story)


def test_what_disables_an_endpoint_for_its_circuit_breaker_lets_its_days_begin_anew():
    health = Health(120 * 3_600 * SECOND_US)
    health.start([("ep_1", 1)])
    assert health.tried("ep_1", 1, 120 * 3_600 * SECOND_US) == NOTHING
    change = health.tried("ep_1", 1, 121 * 3_600 * SECOND_US)
    assert change.disables is not None
    assert (change.first_failure_at, health.failing) == (CLEARED, {})
