"""Versions sort as what they say: numbers exactly, times by their instant, and nothing with what is of another kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.versions import version_of

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False) | st.integers().map(Decimal)
WRITTEN = NUMBERS.flatmap(lambda number: st.sampled_from([str(number), f"{number:f}", f"{number:E}"]).map(lambda text: (number, text)))
TIMES = st.datetimes(
    min_value=datetime.fromisoformat("0002-01-01"),
    max_value=datetime.fromisoformat("9998-12-31"),
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


@given(WRITTEN, WRITTEN)
def test_numbers_sort_as_numbers_however_they_are_written(one: tuple[Decimal, str], other: tuple[Decimal, str]) -> None:
    if len(one[1]) > 512 or len(other[1]) > 512:
        return
    first, second = version_of(one[1]), version_of(other[1])
    assert first is not None and second is not None
    assert first.kind == second.kind == "number"
    assert (first.place < second.place) == (one[0] < other[0])
    assert (first.place == second.place) == (one[0] == other[0])


@given(TIMES, TIMES)
def test_times_sort_by_their_instant_whatever_their_offset(one: datetime, other: datetime) -> None:
    first, second = version_of(one.isoformat()), version_of(other.isoformat())
    assert first is not None and second is not None
    assert first.kind == second.kind == "time"
    assert (first.place < second.place) == (one < other)
    assert (first.place == second.place) == (one == other)
    assert version_of(one.astimezone(UTC).strftime("%Y%m%dT%H%M%S,%fZ").rjust(23, "0")) == first


def test_fractions_of_a_second_are_compared_to_their_last_digit() -> None:
    earlier, later = (version_of(f"2026-11-26T10:00:00.12345678901{last}Z") for last in (1, 2))
    assert earlier is not None and later is not None
    assert earlier.place < later.place


@pytest.mark.parametrize(
    ("text", "kind"),
    [("7", "number"), ("-.5e3", "number"), ("20261126", "number"), ("2026-11-26", "day"), ("2026-11-26T10:00", "local"),
     ("2026-11-26 10:00:00.5", "local"), ("2026-11-26t10z", "time"), ("20261126T100000+0530", "time")],
)  # fmt: skip
def test_each_text_has_one_kind(text: str, kind: str) -> None:
    version = version_of(text)
    assert version is not None
    assert version.kind == kind


@pytest.mark.parametrize(
    "text",
    ["", " 7", "7 ", "v7", "1.2.3", "1_000", "0x10", "٣", "nan", "inf", "1e999999999", ".", "e5", "true", "2026-13-01", "2026-02-30",
     "2026-11-26T25:00Z", "2026-11-26T23:59:60Z", "Thu, 26 Nov 2026 10:00:00 GMT", "2026-W48-4"],
)  # fmt: skip
def test_what_is_no_version_is_none(text: str) -> None:
    assert version_of(text) is None


@given(st.text(max_size=512))
def test_no_text_raises(text: str) -> None:
    version = version_of(text)
    assert version is None or version.place
