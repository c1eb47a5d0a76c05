"""How many requests may endpoints have on the wire at once, and for how long is one left alone that gives no answer?"""

from __future__ import annotations

from collections import deque

import pytest

from ringback.engine.lanes import SILENT, Group, Lane
from ringback.engine.limiter import Limiter
from ringback.model.attempts import ErrorClass, Exchange, WaitCause
from tests.engine.world import SECOND_US, World, in_world
from tests.waiting import until


def taken(limiter: Limiter, count: int, *, proven: bool = False) -> list[int]:
    """What so many lanes get, of which each takes all that it may have, one after another."""
    lanes = [Lane(f"ep_{n}", Group("app_1"), 64 if proven else limiter.first) for n in range(count)]
    for lane in lanes:
        lane.proven = proven
        while limiter.allows(lane):
            limiter.start(lane)
    return [lane.flying for lane in lanes]


def test_few_endpoints_that_never_answered_may_have_several_requests_at_once():
    assert taken(Limiter(2048, 64), 10) == [8] * 10


def test_many_endpoints_that_never_answered_have_one_each_before_all_places_are_taken():
    got = taken(Limiter(2048, 64), 250)
    assert min(got) >= 1
    assert sum(got) <= 1024


def test_an_endpoint_that_answered_well_may_have_many():
    assert taken(Limiter(2048, 64), 3, proven=True) == [64, 64, 64]


@pytest.mark.parametrize("total", [1, 2, 3, 16, 17])
def test_half_of_the_places_and_no_more_are_for_those_that_never_answered_however_few_there_are(total):
    assert sum(taken(Limiter(total, 64), 100)) == max(total // 2, 1)


def test_an_endpoint_that_nobody_knows_does_not_wait_behind_all_that_hang_nor_they_behind_all_others():
    limiter = Limiter(4, 64)
    flying = deque((lane, limiter.start(lane)) for lane in (_lane(), _lane()))
    hanging, new = [_lane(unanswered=SILENT) for _ in range(20)], [_lane() for _ in range(3)]
    for lane in (*hanging, *new):
        assert not limiter.allows(lane)
    called = []
    for _ in range(23):
        limiter.end(*flying.popleft())
        lane = limiter.called()
        assert lane is not None and limiter.allows(lane)
        called.append(lane)
        flying.append((lane, limiter.start(lane)))
    assert [called.index(lane) for lane in new] == [0, 2, 4]
    assert [lane for lane in called if lane not in new] == hanging
    assert limiter.starving == 0


def _lane(unanswered: int = SILENT - 1) -> Lane:
    lane = Lane("ep_1", Group("app_1"), 8)
    lane.unanswered = unanswered
    return lane


@pytest.mark.parametrize(
    ("error", "waited_s", "least_s", "most_s"),
    [
        (ErrorClass.REFUSED, 0.0, 0.0, 0.8),
        (ErrorClass.DNS, 0.0, 0.0, 0.8),
        (ErrorClass.DNS, 4.0, 4.0, 5.0),
        (ErrorClass.TIMEOUT, 30.0, 4.0, 5.0),
    ],
)
def test_an_endpoint_without_an_answer_is_left_alone_for_longer_if_it_kept_us_waiting(error, waited_s, least_s, most_s):
    async def story(world: World) -> None:
        endpoint_id = await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.publish("a")
        await world.sent(1)
        world.clock.step_s = waited_s
        world.transport.land(Exchange(0, error=error, detail="nobody there"))
        standing = await until(lambda: _resting(world, endpoint_id))
        assert standing.cause is WaitCause.PAUSED
        assert least_s * SECOND_US < standing.left_us <= most_s * SECOND_US

    in_world(story, schedule_s=())


def _resting(world: World, endpoint_id: str):
    standing = world.dispatcher.standing(endpoint_id)
    return standing if standing.cause is not None else None
