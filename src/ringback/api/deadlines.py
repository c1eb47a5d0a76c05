"""Which connections have had their time? Looks after the deadlines of all of them, once a second: cheaper than a timer for each."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ringback.api.door import HotDoor

# How often deadlines are looked at, seconds: they are counted in tens of seconds.
SWEEP_S: Final = 1.0


class Sweeper:
    """Closes connections whose deadline has passed, from when it is made until `stop`."""

    def __init__(self, connections: set[Any]) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for connection in list(self._connections):
            if isinstance(connection, HotDoor):
                connection.expire(now_s)
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()
