from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.outcome import Outcome
from ringback.policy.retry import RetryPolicy, next_delay

DEFAULT = RetryPolicy((5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 72000.0))
FAILED = Outcome(False, "http_500")


def next_delay_s(policy: RetryPolicy, made: int, outcome: Outcome, draw: float) -> float | None:
    delay = next_delay(policy, made, outcome, draw)
    return None if delay is None else delay.seconds


schedules = st.lists(st.floats(0.001, 1e6), max_size=12).map(tuple)
draws = st.floats(0, 1, exclude_max=True)


def test_the_default_schedule_is_ten_attempts_in_71_6_hours():
    delays = [next_delay_s(DEFAULT, made, FAILED, 0.0) for made in range(1, 11)]
    assert delays[-1] is None
    assert sum(delay for delay in delays if delay is not None) / 3600 == pytest.approx(71.6, abs=0.05)


@given(schedules, st.integers(1, 14), draws)
def test_a_delay_is_never_less_than_its_base_and_at_most_a_fifth_more(schedule_s, made, draw):
    delay = next_delay_s(RetryPolicy(schedule_s), made, FAILED, draw)
    if made > len(schedule_s):
        assert delay is None
    else:
        assert delay is not None
        assert schedule_s[made - 1] <= delay <= schedule_s[made - 1] * 1.2


def test_an_empty_schedule_is_one_attempt():
    assert next_delay_s(RetryPolicy(()), 1, Outcome(False, "http_503", retry_after_s=5.0), 0.5) is None


@pytest.mark.parametrize("outcome", [Outcome(False, "http_410", disables=True), Outcome(False, "http_500", aborts=True)])
def test_nothing_follows_when_the_endpoint_wants_no_more(outcome):
    assert next_delay_s(DEFAULT, 1, outcome, 0.0) is None


@pytest.mark.parametrize(("asked_s", "delay_s"), [(1.0, 5.0), (60.0, 60.0), (0.5, 5.0), (1e9, 3600.0)])
def test_retry_after_lengthens_a_delay_up_to_its_cap(asked_s, delay_s):
    assert next_delay_s(DEFAULT, 1, Outcome(False, "http_503", retry_after_s=asked_s), 0.0) == delay_s


def test_retry_after_shortens_no_delay_and_adds_no_attempt():
    asked = Outcome(False, "http_503", retry_after_s=10.0)
    assert next_delay_s(DEFAULT, 2, asked, 0.0) == 300.0
    assert next_delay_s(DEFAULT, 10, asked, 0.0) is None


@pytest.mark.parametrize(
    ("outcome", "delay_s"),
    [
        (Outcome(False, "timeout", timed_out=True), 60.0),
        (Outcome(False, "http_429", overloaded=True), 60.0),
        (Outcome(False, "http_429", overloaded=True, retry_after_s=7.0), 7.0),
        (Outcome(False, "http_503", overloaded=True), 5.0),
    ],
)
def test_a_timeout_or_a_429_without_retry_after_waits_a_minute_at_least(outcome, delay_s):
    assert next_delay_s(DEFAULT, 1, outcome, 0.0) == delay_s
    assert (next_delay_s(DEFAULT, 2, outcome, 0.0) or 0) >= 300.0


@pytest.mark.parametrize(
    ("made", "outcome", "cause"),
    [
        (1, FAILED, "schedule"),
        (1, Outcome(False, "http_503", retry_after_s=60.0), "retry_after"),
        (2, Outcome(False, "http_503", retry_after_s=60.0), "schedule"),
        (1, Outcome(False, "timeout", timed_out=True), "overload"),
        (2, Outcome(False, "timeout", timed_out=True), "schedule"),
        (1, Outcome(False, "http_429", overloaded=True), "overload"),
        (1, Outcome(False, "http_429", overloaded=True, retry_after_s=6.0), "retry_after"),
    ],
)
def test_a_delay_says_what_decided_it(made, outcome, cause):
    delay = next_delay(DEFAULT, made, outcome, 0.0)
    assert delay is not None
    assert delay.cause == cause
