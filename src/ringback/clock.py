"""What time is it? The only module that reads a clock.

Wall time is integer microseconds since 1970 UTC (`now_us`): due times and everything stored. Waits use `monotonic_s`, which never
jumps. Code below the doors takes `now_us` as an argument, so that a test can say what time it is.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

# Microseconds in a second: the unit of every stored time.
SECOND_US = 1_000_000


class Clock(Protocol):
    """Tells wall time and monotonic time."""

    def now_us(self) -> int:
        """Wall time, microseconds since 1970 UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes backwards; only differences mean anything."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now_us(self) -> int:
        """Wall time, microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    # No method of ours around it: it is read several times for each delivery.
    monotonic_s = staticmethod(time.monotonic)


def to_datetime(at_us: int) -> datetime:
    """The aware UTC time of `at_us` microseconds since 1970."""
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).replace(microsecond=at_us % SECOND_US)


def to_us(at: datetime) -> int:
    """Microseconds since 1970 of an aware time. Raises ValueError for a naive one."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone; give an aware time")
    delta = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * SECOND_US + delta.microseconds


class _Second:
    """The second that was written last, and its text, in one pair: threads may replace it, and none sees half of it."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written = (-1, "")


_LAST = _Second()


def rfc3339(at_us: int) -> str:
    """The time as `2024-01-02T03:04:05.123456Z`: UTC, microseconds, always with its zone."""
    second, us = divmod(at_us, SECOND_US)
    # Most times of a moment share their second.
    written, text = _LAST.written
    if second != written:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        _LAST.written = (second, text)
    return f"{text}{us:06}Z"
