from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.attempts import ErrorClass, Exchange
from ringback.policy.breaker import CLOSED, LONGEST, SLICES, Breaker, BreakerPolicy, after, counts, is_stale
from ringback.policy.outcome import judge

SECOND_US = 1_000_000
POLICY = BreakerPolicy(0.5, 4, 60 * SECOND_US, 30 * SECOND_US)
policies = st.builds(
    BreakerPolicy,
    st.sampled_from((0.001, 0.1, 0.5, 0.9, 1.0)),
    st.integers(1, 6),
    st.integers(1, 90).map(lambda s: s * SECOND_US),
    st.integers(1, 60).map(lambda s: s * SECOND_US),
)
# Gaps between attempts, microseconds, and whether they succeed.
stories = st.lists(st.tuples(st.integers(0, 20 * SECOND_US), st.booleans()), max_size=80)


def said(answers: str, policy: BreakerPolicy = POLICY, breaker: Breaker = CLOSED, now_us: int = 0) -> Breaker:
    """The breaker after these attempts at one moment: `.` succeeds, `x` fails."""
    for letter in answers:
        breaker = after(policy, breaker, letter == ".", now_us)
    return breaker


@pytest.mark.parametrize(
    ("answers", "opens"),
    [
        ("xxx", False),
        ("xxxx", True),
        (".x.x", True),
        ("...x", False),
        ("....xxx", False),
        ("....xxxx", True),
        ("xxx.", False),
        ("xxx.x", True),
    ],
)
def test_it_opens_with_a_failure_once_enough_were_made_and_so_large_a_share_failed(answers, opens):
    assert bool(said(answers).openings) is opens


def test_attempts_that_lie_further_back_than_the_window_do_not_count():
    assert not said("x", breaker=said("xxx"), now_us=60 * SECOND_US).openings
    assert said("x", breaker=said("xxx"), now_us=49 * SECOND_US).openings


def test_each_opening_without_a_recovery_rests_twice_as_long_up_to_a_bound_and_a_success_begins_anew():
    breaker, rests = said("xxxx"), []
    for _ in range(70):
        rests.append(breaker.until_us)
        # Before the rest is over a failure says nothing new.
        assert said("x", breaker=breaker, now_us=breaker.until_us - 1) == breaker
        breaker = said("x", breaker=breaker, now_us=breaker.until_us)
    lengths = [(end - begin) // POLICY.rest_us for begin, end in zip([0, *rests], rests, strict=False)]
    assert lengths == [1, 2, 4] + [LONGEST] * 67
    assert said(".", breaker=breaker) == CLOSED


@given(policies, stories)
def test_it_opens_exactly_when_the_attempts_of_the_window_say_so(policy, story):
    breaker, now_us, known = CLOSED, 1_000 * SECOND_US, []
    for gap_us, success in story:
        now_us += gap_us
        before, breaker = breaker, after(policy, breaker, success, now_us)
        assert len(breaker.made) == len(breaker.failed) == SLICES
        if before.openings:
            again = not success and now_us >= before.until_us
            assert breaker.openings == (0 if success else before.openings + again)
            known.clear()
            continue
        known.append((now_us, success))
        oldest = now_us * SLICES // policy.window_us - SLICES + 1
        seen = [ok for at_us, ok in known if at_us * SLICES // policy.window_us >= oldest]
        failed = seen.count(False)
        opens = not success and len(seen) >= policy.least and failed >= policy.share * len(seen)
        assert bool(breaker.openings) is opens
        assert sum(breaker.made) == len(seen) and sum(breaker.failed) == failed
        # What counts is younger than the window, and whatever is younger than five sixths of it counts.
        assert all(now_us - at_us < policy.window_us for at_us, _ in known[-len(seen) :])
        assert sum(now_us - at_us < policy.window_us * (SLICES - 1) // SLICES for at_us, _ in known) <= len(seen)
        assert not opens or breaker.until_us == now_us + policy.rest_us


@given(policies, stories, st.integers(0, 10_000 * SECOND_US))
def test_what_is_forgotten_as_stale_would_have_changed_nothing_that_follows_unless_it_was_open(policy, story, later_us):
    breaker, now_us = CLOSED, 0
    for gap_us, success in story:
        now_us += gap_us
        breaker = after(policy, breaker, success, now_us)
    now_us += later_us
    if is_stale(policy, breaker, now_us):
        if breaker.openings:
            assert now_us >= breaker.until_us + policy.window_us
        else:
            assert after(policy, breaker, False, now_us) == after(policy, CLOSED, False, now_us)


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        (Exchange(200, head=b"HTTP/1.1 200 OK\r\n\r\n"), True),
        (Exchange(500, head=b"HTTP/1.1 500 No\r\n\r\n"), True),
        (Exchange(404, head=b"HTTP/1.1 404 No\r\n\r\n"), True),
        (Exchange(400, head=b"HTTP/1.1 400 No\r\nwebhook-delivery: abort-message\r\n\r\n"), False),
        *(
            (Exchange(0, error=error, detail="said"), error in (
                ErrorClass.DNS, ErrorClass.REFUSED, ErrorClass.UNREACHABLE, ErrorClass.CONNECT_TIMEOUT, ErrorClass.TLS, ErrorClass.TIMEOUT,
                ErrorClass.RESET, ErrorClass.PROTOCOL,
            ))
            for error in ErrorClass
        ),
    ],
    ids=str,
)  # fmt: skip
def test_only_what_an_endpoint_did_itself_counts(exchange, expected):
    assert counts(judge(exchange, 0)) is expected
