from __future__ import annotations

from bisect import bisect_left
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.latency import BOUNDS_US, BUCKETS, RATIO, percentiles_us

# From the first bound to a bucket beyond the last.
times = st.integers(1_000, 60_000_000)


def counted(durations_us: list[int]) -> list[int]:
    counts = [0] * BUCKETS
    for duration_us in durations_us:
        counts[bisect_left(BOUNDS_US, duration_us)] += 1
    return counts


@given(st.lists(times, min_size=1, max_size=300), st.sampled_from((0.5, 0.95, 0.99)))
def test_a_percentile_is_off_by_no_more_than_a_sixth(durations_us, share):
    exact = sorted(durations_us)[ceil(share * len(durations_us)) - 1]
    found = percentiles_us(counted(durations_us), [share])[0]
    assert abs(found - exact) <= (RATIO**0.5 - 1) * exact + 1


@given(st.lists(times, max_size=50), st.lists(times, max_size=50))
def test_counts_of_two_spans_add_up_to_those_of_both(first, second):
    both = [a + b for a, b in zip(counted(first), counted(second), strict=True)]
    assert both == counted(first + second)


def test_the_shortest_and_the_longest_times_have_buckets_too():
    assert percentiles_us(counted([1]), [0.5, 0.99])[1] <= 1_000
    assert percentiles_us(counted([3_600_000_000]), [0.5])[0] > BOUNDS_US[-1]
