"""How does a test see that something does not happen? By looking for a while."""

from __future__ import annotations

import threading
import time
import typing

# Pause between two looks, seconds: short beside what is watched for, long beside the cost of a look.
LOOK_S = 0.01


def stays_true(condition: typing.Callable[[], bool], what: str, for_s: float) -> None:
    """Look for `for_s` seconds that a condition never ends. Raises AssertionError."""
    until = time.monotonic() + for_s
    pause = threading.Event()
    while time.monotonic() < until:
        assert condition(), what
        pause.wait(LOOK_S)
