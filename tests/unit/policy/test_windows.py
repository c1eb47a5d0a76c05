"""Source: HTTP contract, sections 1.6 and 1.7."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringback import ids
from ringback.policy.paging import cut
from ringback.policy.windows import LOOK_BACK_US, Ask, between, windowed

NOW_US = 1_800_000_000_000_000
MINUTE_US = 60_000_000
DAY_US = 86_400_000_000

ages = st.integers(0, 200 * 24 * 60)


def made(ages_min: list[int]) -> list[str]:
    """Ids of that many minutes ago, each with a random part in the middle."""
    return sorted({"msg_" + ids.encode(ids.decode(ids.start_id("msg_", NOW_US - age * MINUTE_US)) + (1 << 119)) for age in ages_min})


def read(rows: list[str], ask: Ask) -> tuple[list[str], bool]:
    walk = windowed("msg_", ask, NOW_US)
    inside = [row for row in rows if walk.above < row < walk.below]
    page = cut((inside if walk.direction == "ASC" else inside[::-1])[: walk.fetch], walk)
    return page.items, page.done


@given(st.lists(ages), st.integers(1, 5), st.none() | ages, st.none() | ages)
def test_pages_walked_forwards_are_the_whole_window_newest_first(ages_min, limit, before, after):
    rows = made(ages_min)
    before_us = None if before is None else NOW_US - before * MINUTE_US
    after_us = None if after is None else NOW_US - after * MINUTE_US
    cursor, found = None, []
    # A plain iterator reads newest to oldest: begin behind the newest row there could be.
    cursor = ids.end_id("msg_", NOW_US)
    while True:
        items, done = read(rows, Ask(limit, cursor, False, before_us, after_us))
        found += items
        if done:
            break
        cursor = items[-1]
    low = after_us if after_us is not None else (NOW_US if before_us is None else before_us) - LOOK_BACK_US
    if after_us is not None and before_us is not None:
        low = max(low, before_us - LOOK_BACK_US)
    high = NOW_US + MINUTE_US if before_us is None else before_us
    if before_us is None and after_us is not None:
        high = min(high, after_us + LOOK_BACK_US)
    if before_us is None and after_us is None and len(found) > limit:
        # Each page looks back from its own cursor.
        assert found == [row for row in reversed(rows) if row in found]
        return
    assert found == [row for row in reversed(rows) if low <= ids.created_us(row) < high]


@given(st.lists(ages, min_size=1), st.integers(1, 5), st.data())
def test_a_cursor_backwards_gives_the_rows_just_before_it_in_display_order(ages_min, limit, data):
    rows = [row for row in made(ages_min) if ids.created_us(row) >= NOW_US - LOOK_BACK_US]
    if not rows:
        return
    at = data.draw(st.integers(0, len(rows) - 1))
    items, done = read(rows, Ask(limit, rows[at], True))
    assert items == rows[at + 1 : at + 1 + limit][::-1]
    assert done == (at + 1 + limit >= len(rows))


def test_after_alone_reads_the_oldest_rows_first_and_shows_the_newest_first():
    rows = made([50, 40, 30, 20, 10])
    assert read(rows, Ask(2, after_us=NOW_US - 40 * MINUTE_US)) == ([rows[2], rows[1]], False)
    assert read(rows, Ask(2, cursor=rows[2], backwards=True, after_us=NOW_US - 40 * MINUTE_US)) == ([rows[4], rows[3]], True)


def test_before_and_after_together_look_back_ninety_days_from_before():
    rows = made([n * 24 * 60 for n in (10, 50, 99, 101, 120)])
    both = Ask(50, before_us=NOW_US - 10 * DAY_US, after_us=NOW_US - 150 * DAY_US)
    assert read(rows, both) == ([row for row in reversed(rows) if 10 < (NOW_US - ids.created_us(row)) / DAY_US <= 100], True)


def test_rows_later_than_in_an_hour_are_never_shown():
    rows = made([-59, -61])
    assert read(rows, Ask(50)) == ([rows[0]], True)


def test_times_that_no_id_can_have_are_bounds_like_any_other():
    rows = made([1])
    far = 253_402_300_799_000_000
    assert read(rows, Ask(50, before_us=far)) == ([], True)
    assert read(rows, Ask(50, after_us=far)) == ([], True)
    assert read(rows, Ask(50, after_us=-far)) == ([], True)
    assert read(rows, Ask(50, before_us=far, after_us=NOW_US - DAY_US)) == ([], True)
    assert read(rows, Ask(50, before_us=0)) == ([], True)


def test_a_window_narrows_a_walk_to_what_was_made_in_it():
    rows = made([30, 20, 10])
    walk = between("msg_", windowed("msg_", Ask(50), NOW_US), NOW_US - 20 * MINUTE_US, NOW_US - 10 * MINUTE_US)
    assert [row for row in rows if walk.above < row < walk.below] == [rows[1]]
