from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.clock import SystemClock, rfc3339, to_datetime, to_us

moments = st.integers(0, 253_402_300_799_999_999)


@given(moments)
def test_a_time_is_shown_as_rfc3339_in_utc_with_microseconds(at_us):
    """https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""
    text = rfc3339(at_us)
    assert text.endswith("Z")
    assert len(text) == len("2024-01-02T03:04:05.123456Z")
    assert to_us(datetime.fromisoformat(text)) == at_us


def test_known_times():
    assert rfc3339(1_704_164_645_123_456) == "2024-01-02T03:04:05.123456Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(951_782_400_000_000) == "2000-02-29T00:00:00.000000Z"


@given(moments)
def test_microseconds_and_datetimes_are_the_same_times(at_us):
    assert to_us(to_datetime(at_us)) == at_us
    assert to_datetime(at_us).tzinfo is UTC


def test_a_time_of_any_zone_is_the_same_instant():
    at = datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert to_us(at) == to_us(at.astimezone(UTC))


def test_a_naive_time_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        to_us(datetime(2024, 1, 2, tzinfo=UTC).replace(tzinfo=None))


def test_the_machine_knows_both_times():
    clock = SystemClock()
    assert abs(clock.now_us() - to_us(datetime.now(UTC))) < 60_000_000
    assert clock.monotonic_s() <= clock.monotonic_s()
