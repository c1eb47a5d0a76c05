"""What does a circuit breaker hold, for how long, and what closes it?"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from ringback.model.attempts import ErrorClass, Exchange, WaitCause
from ringback.model.endpoints import DisableCause, DisabledBy
from ringback.model.messages import Message
from ringback.policy.breaker import BreakerPolicy
from ringback.services.ports import Held
from tests.engine.test_disabling import why
from tests.engine.test_rates import obeys, posts
from tests.engine.world import FAILED, OK, SECOND_US, Sent, World, answer, in_world
from tests.waiting import passed, until, until_async

# Half of at least four attempts; the rest is longer than any test.
LONG = BreakerPolicy(0.5, 4, 60 * SECOND_US, 60 * SECOND_US)
# A rest that a test can wait for.
SHORT = BreakerPolicy(0.5, 4, 60 * SECOND_US, SECOND_US // 2)
PROXY = Exchange(0, error=ErrorClass.PROXY, detail="the proxy is down")


def run(story: Callable[[World], Awaitable[None]], breaker: BreakerPolicy = LONG, **more: object) -> None:
    """Run a story in a world with circuit breakers, where a message has one attempt."""
    in_world(story, **{"schedule_s": (), "breaker": breaker} | more)


async def attempted(world: World, *exchanges: Exchange, name: str = "a") -> Message:
    """One message after another, each answered so; the last one."""
    for exchange in exchanges:
        before = await world.count("SELECT COUNT(*) FROM attempt")
        world.transport.decide = lambda sent, exchange=exchange: exchange
        message = await world.publish(name)
        await until_async(lambda before=before: _more(world, before))
    return message


async def _more(world: World, before: int) -> bool:
    return await world.count("SELECT COUNT(*) FROM attempt") > before


def cause(world: World, name: str = "a") -> WaitCause | None:
    return world.dispatcher.standing(world.endpoint_ids[name]).cause


def left_s(world: World) -> float:
    return world.dispatcher.standing(world.endpoint_ids["a"]).left_us / SECOND_US


async def opened(world: World) -> Message:
    """Endpoint `a` has an open breaker; the last message that failed."""
    await world.endpoint("a")
    message = await attempted(world, FAILED, FAILED, FAILED, FAILED)
    assert cause(world) is WaitCause.BREAKER
    return message


@pytest.mark.parametrize("before", [(OK, FAILED, FAILED), (OK, OK, OK, OK, FAILED, FAILED, FAILED)], ids=len)
def test_it_opens_when_so_many_attempts_were_made_and_so_large_a_share_failed_and_not_before(before):
    async def story(world: World) -> None:
        await world.endpoint("a")
        await attempted(world, *before)
        assert cause(world) is None
        await attempted(world, FAILED)
        assert cause(world) is WaitCause.BREAKER
        assert 55 < left_s(world) <= 60
        assert world.metrics.breaker_changes == {"opened": 1, "reopened": 0, "closed": 0}
        assert world.metrics.breakers_open == 1

    run(story)


def test_without_it_nothing_is_held_and_nothing_remembered():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await attempted(world, *[FAILED] * 40)
        assert cause(world) is None
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 0

    in_world(story, schedule_s=())


def test_it_holds_its_own_endpoint_alone_and_what_waits_costs_no_attempt_and_says_why_it_waited():
    async def story(world: World) -> None:
        await opened(world)
        await world.endpoint("b")
        world.transport.decide = lambda sent: OK
        held = await posts(world, "a", 3)
        await attempted(world, OK, OK, name="b")
        assert len(world.transport.to("a")) == 4
        assert await world.rows("SELECT state, attempts FROM delivery") == [("waiting", 0)] * 3
        await world.settled()
        assert sorted(sent.message_id for sent in world.transport.to("a")[4:]) == sorted(message.id for message in held)
        assert await world.rows("SELECT DISTINCT number, wait FROM attempt WHERE message_id = ?", held[0].id) == [(1, "breaker")]

    run(story, SHORT)


def test_after_the_rest_one_attempt_is_made_and_its_failure_lets_it_rest_for_longer():
    async def story(world: World) -> None:
        await opened(world)
        world.transport.decide = lambda sent: None
        await posts(world, "a", 20)
        await world.sent(5)
        await passed(0.3)
        assert len(world.transport.sent) == 5
        world.transport.land(FAILED)
        await until(lambda: cause(world) is WaitCause.BREAKER)
        assert 0.6 < left_s(world) <= 1
        await world.sent(6)
        world.transport.land(FAILED)
        await until(lambda: cause(world) is WaitCause.BREAKER)
        assert 1.2 < left_s(world) <= 2
        assert len(world.transport.sent) == 6
        assert world.metrics.breaker_changes == {"opened": 1, "reopened": 2, "closed": 0}
        assert world.metrics.breakers_open == 1

    run(story, SHORT)


def test_a_success_after_the_rest_closes_it_and_the_limit_grows_with_each():
    async def story(world: World) -> None:
        await opened(world)
        world.transport.decide = lambda sent: None
        await posts(world, "a", 20)
        await world.sent(5)
        for more, limit in ((1, 2), (2, 4), (4, 8)):
            await until(lambda more=more: len(world.transport.flying) == more)
            world.transport.land(OK)
            assert world.dispatcher.standing(world.endpoint_ids["a"]).limit == limit
        assert (cause(world), world.metrics.breakers_open) == (None, 0)
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        # Counted anew: what failed before is over.
        await attempted(world, FAILED, FAILED, FAILED)
        assert cause(world) is None

    run(story, SHORT)


def test_once_it_has_rested_it_is_told_that_one_attempt_decides():
    async def story(world: World) -> None:
        def deciding() -> bool:
            return world.dispatcher.standing(world.endpoint_ids["a"]).deciding

        await opened(world)
        assert (deciding(), world.dispatcher.half_open()) == (False, 0)
        world.transport.decide = lambda sent: None
        await world.publish("a")
        await world.sent(5)
        assert (cause(world), deciding(), world.dispatcher.half_open()) == (None, True, 1)
        await world.publish("a")
        (pending,) = world.dispatcher.pending("org_1", 10)
        assert (pending.why, pending.standing.deciding) == (Held.LIMIT, True)
        world.transport.land(FAILED)
        assert (cause(world), deciding(), world.dispatcher.half_open()) == (WaitCause.BREAKER, False, 0)
        await world.sent(6)
        assert (deciding(), world.dispatcher.half_open()) == (True, 1)
        world.transport.land(OK)
        assert (deciding(), world.dispatcher.half_open()) == (False, 0)

    run(story, SHORT)


def test_an_attempt_after_the_rest_that_asked_nobody_leaves_the_decision_to_the_next():
    async def story(world: World) -> None:
        await opened(world)
        world.transport.decide = lambda sent: PROXY if len(world.transport.sent) == 5 else None
        await posts(world, "a", 5)
        await world.sent(6)
        await passed(0.1)
        assert len(world.transport.sent) == 6
        assert world.metrics.breaker_changes["reopened"] == 0
        world.transport.land(OK)
        await until(lambda: world.metrics.breakers_open == 0)

    run(story, SHORT)


def test_what_was_on_the_wire_when_it_opened_neither_closes_nor_lengthens_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await posts(world, "a", 9)
        await world.sent(8)
        flying, world.transport.flying = world.transport.flying, []
        for sent in flying[:4]:
            sent.answers(FAILED)
        assert cause(world) is WaitCause.BREAKER
        for sent in flying[4:6]:
            sent.answers(OK)
        assert (cause(world), world.dispatcher.standing(world.endpoint_ids["a"]).limit) == (WaitCause.BREAKER, 1)
        await until(lambda: cause(world) is None)
        # Two of those before have not landed: whether the endpoint works is asked afterwards.
        flying[6].answers(FAILED)
        await passed(0.1)
        assert (len(world.transport.sent), world.metrics.breaker_changes["reopened"]) == (8, 0)
        flying[7].answers(OK)
        await world.sent(9)
        assert world.metrics.breakers_open == 1
        world.transport.land(OK)
        assert world.metrics.breakers_open == 0

    run(story, SHORT)


def test_an_attempt_by_hand_passes_an_open_one_and_its_success_closes_it():
    async def story(world: World) -> None:
        message = await opened(world)
        held = await world.publish("a")
        world.transport.decide = lambda sent: FAILED
        await world.resend("a", message)
        await world.sent(5)
        await until_async(lambda: _more(world, 4))
        assert (cause(world), world.metrics.breaker_changes["reopened"]) == (WaitCause.BREAKER, 0)
        world.transport.decide = lambda sent: OK
        await world.resend("a", message)
        await world.settled()
        assert [sent.message_id for sent in world.transport.sent[4:]] == [message.id, message.id, held.id]
        assert (cause(world), world.metrics.breakers_open) == (None, 0)

    run(story)


def test_a_success_by_hand_closes_it_beside_attempts_that_hang_since_before():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        messages = await posts(world, "a", 8)
        await world.sent(8)
        flying, world.transport.flying = world.transport.flying, []
        for sent in flying[:4]:
            sent.answers(FAILED)
        assert cause(world) is WaitCause.BREAKER
        world.transport.decide = lambda sent: OK
        await world.resend("a", messages[0])
        await until(lambda: world.metrics.breakers_open == 0)
        assert cause(world) is None

    run(story)


def test_a_pause_that_an_endpoint_asked_for_holds_beside_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await attempted(world, FAILED, FAILED, FAILED, answer(503, retry_after="20"))
        assert cause(world) is WaitCause.BREAKER
        world.transport.decide = lambda sent: OK
        await world.resend("a", message)
        await until(lambda: world.metrics.breakers_open == 0)
        assert cause(world) is WaitCause.PAUSED
        assert 10 < left_s(world) <= 20

    run(story)


def test_a_pause_that_is_longer_holds_instead_of_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await attempted(world, FAILED, FAILED, FAILED, answer(503, retry_after="3000"))
        assert cause(world) is WaitCause.PAUSED
        assert left_s(world) > 2_900
        assert world.metrics.breakers_open == 1

    run(story)


def test_rates_hold_when_it_is_closed():
    async def story(world: World) -> None:
        await world.endpoint("a", throttle_rate=10)
        await attempted(world, FAILED, FAILED, FAILED, FAILED)
        world.transport.decide = lambda sent: OK
        await posts(world, "a", 30)
        await world.settled()
        assert len(world.transport.sent) == 34
        assert obeys([sent.at_us for sent in world.transport.sent], 10)

    run(story, SHORT)


def test_another_configuration_of_the_endpoint_closes_it_and_what_the_old_one_still_brings_says_nothing():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        world.transport.decide = lambda sent: None
        messages = await posts(world, "a", 8)
        await world.sent(8)
        flying, world.transport.flying = world.transport.flying, []
        for sent in flying[:4]:
            sent.answers(FAILED)
        world.transport.decide = lambda sent: OK
        await world.publish("a")
        await world.change("b", url="http://elsewhere-b/")
        await passed(0.1)
        assert cause(world) is WaitCause.BREAKER
        await world.change("a", url="http://elsewhere-a/")
        await until(lambda: cause(world) is None)
        # It gets something at the new URL before the old ones land.
        await world.resend("a", messages[0])
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE trigger = 1"))
        for sent in flying[4:]:
            sent.answers(FAILED)
        await world.settled()
        assert len(world.transport.to("elsewhere-a")) == 2
        assert (cause(world), world.metrics.breaker_changes) == (None, {"opened": 1, "reopened": 0, "closed": 1})

    run(story)


def test_it_is_closed_after_a_restart(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await opened(world)
        held = await world.publish("a")
        await world.end()
        await world.begin(decide=lambda sent: OK)
        await world.settled()
        assert [sent.message_id for sent in world.transport.sent] == [held.id]
        await world.end()

    run(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_what_is_of_no_use_any_more_is_forgotten():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await attempted(world, OK)
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 1, "it counts within its window"
        world.clock.later_s += 61
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 0
        await attempted(world, FAILED, FAILED, FAILED, FAILED)
        await until(lambda: cause(world) is None)
        world.dispatcher.tidy()
        assert (world.dispatcher.lanes, world.metrics.breakers_open) == (1, 1), "the next failure opens it for longer"
        world.clock.later_s += 61
        world.dispatcher.tidy()
        assert (world.dispatcher.lanes, world.metrics.breakers_open) == (0, 0)

    run(story, SHORT)


def test_an_endpoint_that_is_disabled_has_none_any_more():
    async def story(world: World) -> None:
        await opened(world)
        await world.change("a", disabled=True)
        await until(lambda: world.dispatcher.tidy() or not world.metrics.breakers_open)
        assert cause(world) is None

    run(story)


def test_an_endpoint_whose_breaker_does_not_close_for_days_is_disabled_although_no_message_runs_out_of_attempts():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        before_us = world.clock.now_us()
        await posts(world, "a", 4)
        await until(lambda: cause(world) is WaitCause.BREAKER)
        await world.sent(5)
        await until(lambda: world.metrics.breaker_changes["reopened"] == 1)
        world.clock.step_s = 121 * 3_600
        await until_async(lambda: world.count("SELECT COUNT(*) FROM endpoint WHERE disabled = 1"))
        disabling = await why(world)
        assert disabling is not None
        assert (disabling.by, disabling.cause) == (DisabledBy.AUTOMATIC, DisableCause.FAILING)
        assert "circuit breaker" in disabling.detail and "120 h" in disabling.detail
        assert disabling.fail_since is not None and before_us <= disabling.fail_since < before_us + 60 * SECOND_US
        assert await world.count("SELECT COUNT(*) FROM dead_letter") == 0

    run(story, SHORT, schedule_s=(0.01,) * 50)


def test_its_opening_and_its_closing_are_told_once_with_the_share_that_failed(caplog: pytest.LogCaptureFixture):
    def decide(world: World, sent: Sent) -> Exchange:
        return FAILED if len(world.transport.sent) <= 6 else OK

    async def story(world: World) -> None:
        await world.endpoint("a")
        await attempted(world, OK, FAILED, FAILED, FAILED)
        world.transport.decide = partial(decide, world)
        await posts(world, "a", 4)
        await world.settled()

    with caplog.at_level(logging.INFO, "ringback"):
        run(story, SHORT)
    told = [(record.message, record.__dict__["fields"]) for record in caplog.records if record.message.startswith("breaker.")]
    assert [name for name, _ in told] == ["breaker.opened", "breaker.closed"]
    assert (told[0][1]["share"], told[0][1]["rest_s"]) == (0.75, 0.5)
    assert told[1][1]["cause"] == "success"
