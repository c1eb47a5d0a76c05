from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.rate import Bucket, at_rate, filled, full, is_full, taken, wait_us

SECOND_US = 1_000_000
rates = st.integers(1, 65_535)
gaps = st.lists(st.integers(0, 3 * SECOND_US), max_size=60)


def test_a_rested_bucket_gives_its_rate_at_once_and_then_one_after_another_evenly():
    bucket = full(5, 0)
    for _ in range(5):
        assert wait_us(bucket, 0) == 0
        bucket = taken(bucket, 0)
    now_us = 0
    for _ in range(10):
        assert wait_us(bucket, now_us) == 200_000
        now_us += 200_000
        bucket = taken(bucket, now_us)


@given(rates, gaps)
def test_in_no_stretch_of_time_are_there_more_than_the_rate_allows_beside_one_burst(rate, gaps):
    bucket, now_us, times = full(rate, 0), 0, []
    for gap_us in gaps:
        # As greedy as can be: each is taken the moment that there is one, or a while later.
        now_us += max(gap_us if gap_us % 2 else 0, wait_us(bucket, now_us))
        bucket = taken(bucket, now_us)
        times.append(now_us)
    for first, start_us in enumerate(times):
        for last, end_us in enumerate(times[first:], first):
            # In whole numbers: each token beyond the burst took a whole one's time to come.
            assert (last - first + 1 - rate) * SECOND_US <= rate * (end_us - start_us)


@given(rates, gaps)
def test_a_wait_is_no_longer_than_it_must_be(rate, gaps):
    bucket, now_us = full(rate, 0), 0
    for gap_us in gaps:
        now_us += gap_us // 1_000
        needed_us = wait_us(bucket, now_us)
        if needed_us:
            assert wait_us(bucket, now_us + needed_us - 1) > 0
            assert wait_us(bucket, now_us + needed_us) == 0
            assert needed_us <= -(-SECOND_US // rate)
            now_us += needed_us
        bucket = taken(bucket, now_us)


@given(rates, gaps)
def test_looking_changes_nothing(rate, looks):
    bucket = taken(full(rate, 0), 0)
    looked_at, now_us = bucket, 0
    for gap_us in looks:
        now_us += gap_us
        looked_at = filled(looked_at, now_us)
    assert looked_at == filled(bucket, now_us)


@given(rates, rates, st.integers(0, 2 * SECOND_US), st.integers(0, 40))
def test_a_change_of_rate_gives_no_burst_and_holds_at_once(old, new, rested_us, used):
    bucket = full(old, 0)
    for _ in range(min(used, old)):
        bucket = taken(bucket, 0)
    held = filled(bucket, rested_us).contents
    changed = at_rate(bucket, new, rested_us)
    assert changed.contents == min(held, new * SECOND_US)
    assert wait_us(Bucket(new, 0, rested_us), rested_us) == -(-SECOND_US // new)


@given(rates, st.integers(1, 10 * SECOND_US))
def test_a_clock_that_goes_back_neither_gives_nor_takes(rate, back_us):
    bucket = taken(full(rate, 20 * SECOND_US), 20 * SECOND_US)
    back = filled(bucket, 20 * SECOND_US - back_us)
    assert back.contents == bucket.contents
    assert is_full(back, 20 * SECOND_US - back_us + SECOND_US)


@given(rates)
def test_a_bucket_is_full_again_a_second_after_all_was_taken_and_not_before(rate):
    bucket = Bucket(rate, 0, 0)
    assert not is_full(bucket, SECOND_US - 1)
    assert is_full(bucket, SECOND_US)
