"""Who indexes messages for searches? A follower that reads what was committed, a slice at a time, and only while nobody is disturbed.

It takes a quarter of one processor when the server has little to do and a fiftieth when it is busy, so a burst is indexed after it. It
stops while the disk is nearly full, and whatever breaks in it is tried again later, without anybody else noticing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ringback.clock import Clock
from ringback.errors import RingbackError
from ringback.store.base import SearchIndex, SearchProgress, Store
from ringback.store.operations import search_log
from ringback.telemetry.events import SEARCH_FAILED, SEARCH_PAUSED, SEARCH_RECOVERED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Seconds between two looks when all is indexed: so long a new message may wait until it is found.
_IDLE_S: Final = 1.0
# Messages accepted a second above which the server counts as busy: a tenth of what it can take on a slow core.
_BUSY_PER_S: Final = 200.0
# So many times as long as a step took, nothing is done after it: a quarter of a processor, or a fiftieth of one.
_REST: Final = 3.0
_REST_BUSY: Final = 49.0
# Longest rest: with a step of 10 ms a busy server's index gains 400 messages a second all the same.
_REST_MAX_S: Final = 0.5
# Turns after which what was forgotten is scrubbed out of the file even if there is more to index: half a minute of a busy server.
_TIDY_EVERY: Final = 64
# Seconds before it is tried again after the first failure, and at the most; each one doubles them.
_AGAIN_S: Final = 1.0
_AGAIN_MAX_S: Final = 300.0
# Seconds between two looks at a disk that is nearly full.
_ROOM_EVERY_S: Final = 10.0


class Indexer:
    """Indexes for ever. `room` tells free bytes of the disk and how many must stay free; `most_bytes` bounds the index."""

    def __init__(
        self, index: SearchIndex, store: Store, clock: Clock, metrics: Metrics, room: Callable[[], tuple[int, int]], most_bytes: int
    ) -> None:
        self._index = index
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._room = room
        self._most_bytes = most_bytes
        self._turns = 0
        self._failures = 0
        self._paused = False
        self._accepted = 0
        self._looked_s = clock.monotonic_s()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await asyncio.sleep(await self.turn())

    async def turn(self) -> float:
        """One step, if there is room for it; how many seconds to rest then."""
        if not self._has_room():
            return _ROOM_EVERY_S
        started_s = self._clock.monotonic_s()
        try:
            progress = await self._index.step()
            if progress.cleared is not None:
                until = progress.cleared
                await self._store.write(lambda tx: search_log.clear(tx, until))
            self._tell(progress)
            self._turns += 1
            at_rest = progress.lag == 0 and not progress.removed
            tidied = (at_rest or self._turns % _TIDY_EVERY == 0) and await self._index.tidy(self._most_bytes)
        except RingbackError as error:
            if self._failures == 0:
                log(SEARCH_FAILED, error=str(error))
            self._failures += 1
            return float(min(_AGAIN_S * 2 ** min(self._failures - 1, 16), _AGAIN_MAX_S))
        if self._failures:
            self._failures = 0
            log(SEARCH_RECOVERED)
        if at_rest and not tidied:
            return _IDLE_S
        took_s = self._clock.monotonic_s() - started_s
        return min(took_s * (_REST_BUSY if self._is_busy() else _REST), _REST_MAX_S)

    def _tell(self, progress: SearchProgress) -> None:
        metrics = self._metrics
        metrics.search_lag = progress.lag
        metrics.search_behind_since_us = progress.behind_since_us or 0
        metrics.search_bytes = progress.size_bytes

    def _is_busy(self) -> bool:
        """Is the server busy, by what it accepted since the last look?"""
        now_s, accepted = self._clock.monotonic_s(), self._metrics.messages_accepted
        rate = (accepted - self._accepted) / max(now_s - self._looked_s, 0.001)
        self._looked_s, self._accepted = now_s, accepted
        return rate > _BUSY_PER_S

    def _has_room(self) -> bool:
        try:
            free, least = self._room()
        except OSError:
            # The place of the files is gone, which the store tells.
            return False
        if free < least:
            if not self._paused:
                log(SEARCH_PAUSED, free_bytes=free, least_bytes=least)
            self._paused = True
            return False
        self._paused = False
        return True
