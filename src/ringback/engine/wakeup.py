"""When is something due next? One timer for all endpoints or applications, and one entry for each that waits."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from ringback.clock import SECOND_US

# Wall time may be set back or forth under us: look again at least so often, seconds.
_LOOK_S: Final = 60.0
# Timers ring up to a millisecond early: a little later is never too early.
_LATE_S: Final = 0.001


class Alarms:
    """Calls `ring(name, at_us)` when a time has come on the clock that `now_us` reads, never before; `rung` after each round.

    `at_us` is the time that was set, for whoever asks whether that is what it waits for: another look at the clock may see it set back.

    Belongs to one event loop. An alarm that is no longer wanted rings all the same.
    """

    __slots__ = ("_at_us", "_cancelled", "_heap", "_loop", "_now_us", "_ring", "_rung", "_timer")

    def __init__(self, now_us: Callable[[], int], ring: Callable[[str, int], None], rung: Callable[[], None]) -> None:
        self._now_us = now_us
        self._ring = ring
        self._rung = rung
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[int, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._at_us = 0
        self._cancelled = False

    def set(self, at_us: int, name: str) -> None:
        """Ring for this name (an endpoint, an application) at a time, microseconds."""
        if self._cancelled:
            return
        heapq.heappush(self._heap, (at_us, name))
        if self._timer is None or at_us < self._at_us:
            self._arm()

    def cancel(self) -> None:
        """Ring no more, whatever is set from now on."""
        self._cancelled = True
        self._heap.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._at_us = self._heap[0][0]
            delay_s = max(self._at_us - self._now_us(), 0) / SECOND_US
            self._timer = self._loop.call_later(min(delay_s + _LATE_S, _LOOK_S), self._look)

    def _look(self) -> None:
        self._timer = None
        now_us = self._now_us()
        while self._heap and self._heap[0][0] <= now_us:
            at_us, name = heapq.heappop(self._heap)
            self._ring(name, at_us)
        self._arm()
        self._rung()
