"""How does a test wait? For a condition, looking again and again until a deadline."""

from __future__ import annotations

import threading
import time
import typing

# Pause between two looks, seconds: short beside every deadline, long beside the cost of a look.
LOOK_S = 0.01

Found = typing.TypeVar("Found")


def wait_until(condition: typing.Callable[[], Found], what: str, deadline_s: float = 15.0) -> Found:
    """Return the first true value of `condition`. Raises AssertionError, saying what did not happen, after `deadline_s` seconds."""
    until = time.monotonic() + deadline_s
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline_s:.1f} s: {what}; last look: {found!r}")
        pause.wait(LOOK_S)


def stays_true(condition: typing.Callable[[], bool], what: str, for_s: float) -> None:
    """Look for `for_s` seconds that a condition never ends. Raises AssertionError."""
    until = time.monotonic() + for_s
    pause = threading.Event()
    while time.monotonic() < until:
        assert condition(), what
        pause.wait(LOOK_S)
