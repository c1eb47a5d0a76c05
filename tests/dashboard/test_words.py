"""Numbers and times as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.api.trail import ACTIONS
from ringback.clock import SECOND_US
from ringback.dashboard import words
from ringback.dashboard.pages.audit import WORDS

NOW = 1_795_626_964_123_456


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "now"),
        (1, "now"),
        (-1, "now"),
        (5, "5 s ago"),
        (250, "4 min ago"),
        (-250, "in 4 min 10 s"),
        (7_200, "2 h ago"),
        (200_000, "2 d ago"),
    ],
)
def test_times_are_told_relative_to_now(seconds: int, expected: str) -> None:
    assert words.relative(NOW - seconds * SECOND_US, NOW) == expected


def test_times_a_month_away_are_dates() -> None:
    assert words.relative(NOW - 40 * 86_400 * SECOND_US, NOW) == "2026-10-16"


def test_a_moment_has_its_exact_time_in_utc() -> None:
    moment = words.moment(NOW, NOW)
    assert (moment.iso, moment.utc) == ("2026-11-25T17:16:04.123456Z", "2026-11-25 17:16:04.123 UTC")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.004, "4 ms"),
        (2.14, "2.1 s"),
        (2, "2 s"),
        (12.9, "12 s"),
        (250, "4 min 10 s"),
        (3_600, "1 h"),
        (3_660, "1 h 1 min"),
        (90_061, "1 d 1 h"),
    ],
)
def test_lengths_of_time_have_at_most_two_units(seconds: float, expected: str) -> None:
    assert words.duration(seconds) == expected


@given(st.floats(0, 1e9))
def test_every_length_of_time_has_words(seconds: float) -> None:
    assert words.duration(seconds)


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(0, 0, "–"), (0, 9, "0 %"), (9, 9, "100 %"), (999_999, 1_000_000, "99.99 %"), (1, 1_000_000, "0.01 %"), (1, 2, "50.0 %")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part: int, whole: int, expected: str) -> None:
    assert words.percent(part, whole) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 B"), (485, "485 B"), (1_234, "1.2 kB"), (20_000, "20 kB"), (5_300_000, "5.3 MB"), (7_000_000_000, "7 GB")],
)
def test_sizes_have_a_unit(number: int, expected: str) -> None:
    assert words.size(number) == expected


def test_numbers_agree_with_their_nouns() -> None:
    assert words.counted(1, "delivery", "deliveries") == "1 delivery"
    assert words.counted(1284, "delivery", "deliveries") == "1,284 deliveries"
    assert words.bounded(10_000, 10_000, "message") == "10,000 or more messages"


def test_long_lists_are_cut() -> None:
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert words.listed([]) == ""


def test_ids_are_shortened_to_what_tells_them_apart() -> None:
    assert words.short_id("msg_3MblyTuzcHNzB2ljWNs5zul993g") == "msg_…ul993g"
    assert words.short_id("order-17") == "order-17"


def test_every_action_of_the_api_has_words_in_the_audit_log() -> None:
    assert {action for action in ACTIONS.values() if action not in WORDS} == set()
