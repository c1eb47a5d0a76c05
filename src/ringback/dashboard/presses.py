"""Was this button pressed twice? The second of two equal forms from one rendering of a page waits for the first, and moves where it moves.

Each rendering gives its forms a token of its own, so that equal bytes within a moment are one press too many, and never two wishes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

from ringback.clock import Clock
from ringback.dashboard.visits import Moved, Reply

# How long a press is remembered after it was answered: a double click takes half a second, going back to a page on purpose longer.
_REMEMBERED_S: Final = 2.0
# Presses remembered; the oldest are forgotten early, which costs nothing but this protection.
_MOST: Final = 256


class Presses:
    """The presses of the last moments, of all sessions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._going: dict[bytes, asyncio.Future[Moved | None]] = {}
        self._answered: dict[bytes, tuple[float, Moved]] = {}

    async def act(self, session: bytes, path: str, form: str, act: Callable[[], Awaitable[Reply]]) -> tuple[Reply, bool]:
        """The reply of `act`, and whether it was called for this press. What showed a page instead of moving on is done again."""
        press = hashlib.sha256(b"\0".join((session, path.encode(), form.encode("latin-1")))).digest()
        moved = await self._earlier(press)
        if moved is not None:
            return moved, False
        going = self._going[press] = asyncio.get_running_loop().create_future()
        moved = None
        try:
            reply = await act()
            if isinstance(reply, Moved):
                moved = reply
                while len(self._answered) >= _MOST:
                    del self._answered[next(iter(self._answered))]
                self._answered[press] = (self._clock.monotonic_s(), moved)
            return reply, True
        finally:
            del self._going[press]
            going.set_result(moved)

    async def _earlier(self, press: bytes) -> Moved | None:
        while (going := self._going.get(press)) is not None:
            moved = await asyncio.shield(going)
            if moved is not None:
                return moved
        at_s, moved = self._answered.get(press, (0.0, None))
        return moved if moved is not None and self._clock.monotonic_s() - at_s < _REMEMBERED_S else None
