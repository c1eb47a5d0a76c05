"""A source that is quiet for longer than its habit is noticed, once; one that merely rests is not."""

from __future__ import annotations

import pytest

from ringback.policy.sources_silence import habit
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.signing import NOW_S, event, signed

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def sent(running: Running, path: str, at_s: float) -> None:
    running.clock.set(at_s)
    body = event(int(at_s * 10))
    assert running.ask(path, body, signed(body, at_s=int(at_s))).status == 200


def silent(running: Running, at_s: float) -> list[str]:
    running.clock.set(at_s)
    return [source.id for source in running.run(running.known.silent())]


def listed(running: Running, at_s: float) -> list[tuple[str, int]]:
    running.clock.set(at_s)
    running.run(running.known.note())
    return [(found.source.id, found.silent_us // 1_000_000) for found in running.run(running.received.silent(WHO))]


def test_a_steady_source_that_stops_is_noticed_once_and_again_after_it_came_back(running: Running) -> None:
    source = running.made()
    for number in range(20):
        sent(running, path_of(source), NOW_S + number * 10 * MINUTE_S)
    last_s = NOW_S + 190 * MINUTE_S
    assert silent(running, last_s + 29 * MINUTE_S) == []
    assert silent(running, last_s + 31 * MINUTE_S) == [source.id]
    assert silent(running, last_s + 60 * MINUTE_S) == []
    assert listed(running, last_s + 60 * MINUTE_S) == [(source.id, HOUR_S)]
    sent(running, path_of(source), last_s + 61 * MINUTE_S)
    assert listed(running, last_s + 62 * MINUTE_S) == []
    # An hour's gap is its habit now.
    assert silent(running, last_s + (61 + 170) * MINUTE_S) == []
    assert silent(running, last_s + (61 + 184) * MINUTE_S) == [source.id]


def test_a_source_that_comes_in_bursts_is_not_missed_between_them(running: Running) -> None:
    source = running.made()
    for day in range(3):
        for number in range(50):
            sent(running, path_of(source), NOW_S + day * DAY_S + number)
    last_s = NOW_S + 2 * DAY_S + 49
    assert silent(running, last_s + 2 * DAY_S) == []
    assert silent(running, last_s + 3 * DAY_S) == [source.id]


def test_an_owner_may_say_how_long_a_source_may_be_quiet_even_before_its_first_event(running: Running) -> None:
    source = running.made(silenceS=HOUR_S)
    running.made(name="without a habit")
    assert silent(running, NOW_S + HOUR_S - 1) == []
    assert silent(running, NOW_S + HOUR_S + 1) == [source.id]
    sent(running, path_of(source), NOW_S + HOUR_S + 2)
    assert silent(running, NOW_S + 2 * HOUR_S + 3) == [source.id]


def test_a_source_that_was_disabled_is_not_missed(running: Running) -> None:
    source = running.made(silenceS=HOUR_S)
    running.changed(source, disabled=True, silence_s=HOUR_S)
    assert silent(running, NOW_S + DAY_S) == []
    assert listed(running, NOW_S + DAY_S) == []


def test_habits_survive_a_restart(running: Running) -> None:
    source = running.made()
    for number in range(3):
        sent(running, path_of(source), NOW_S + number * HOUR_S)
    running.run(running.known.note())
    running.forget_sources()
    assert silent(running, NOW_S + 2 * HOUR_S + 2 * HOUR_S) == []
    assert silent(running, NOW_S + 2 * HOUR_S + 4 * HOUR_S) == [source.id]


@pytest.mark.parametrize(
    ("former", "gap", "expected"),
    [(None, 5, 5), (10, 100, 100), (800, 80, 790), (800, 800, 800), (8, 1_000_000, 1_000_000), (100, -50, 100), (None, -5, 0)],
)
def test_the_longest_gap_is_the_habit_and_fades(former: int | None, gap: int, expected: int) -> None:
    assert habit(former, gap, gap) == expected
