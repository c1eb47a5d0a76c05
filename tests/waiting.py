"""How does a test wait? For a condition, with a deadline; never for a length of time. The only place in the tests that may sleep."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Seconds. Far above what any condition takes on a busy machine with two cores; a test that reaches it has failed.
DEADLINE_S = 20.0
# Seconds between two looks: short beside anything that is waited for, long beside what a look costs.
_LOOK_EVERY_S = 0.005


async def until(condition: Callable[[], T], within_s: float = DEADLINE_S, what: str = "") -> T:
    """The first truthy value of `condition`, asked again and again while the loop runs. Raises AssertionError at the deadline."""
    deadline_s = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what or condition}; last value {value!r}"
        await asyncio.sleep(_LOOK_EVERY_S)


async def until_async(condition: Callable[[], Awaitable[T]], within_s: float = DEADLINE_S, what: str = "") -> T:
    """As `until`, for a condition that must itself be awaited."""
    deadline_s = time.monotonic() + within_s
    while True:
        value = await condition()
        if value:
            return value
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what or condition}; last value {value!r}"
        await asyncio.sleep(_LOOK_EVERY_S)


def wait_until(condition: Callable[[], T], within_s: float = DEADLINE_S, what: str = "") -> T:
    """As `until`, blocking the thread: for tests that watch another process."""
    deadline_s = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what or condition}; last value {value!r}"
        time.sleep(_LOOK_EVERY_S)


async def passed(seconds: float) -> None:
    """So much time, for tests of what must NOT happen in it."""
    await asyncio.sleep(seconds)
