"""Who looks whether what is awaited has come? A runner that is told when something came, and knows the next deadline."""

from __future__ import annotations

import asyncio
from typing import Final

from ringback.clock import SECOND_US, Clock
from ringback.errors import RingbackError
from ringback.services.expectations import Expectations

# Seconds between two looks: what comes meanwhile is looked at together.
_PAUSE_S: Final = 0.05
# Seconds before a store that failed is tried again.
_RETRY_S: Final = 1.0
# Seconds between two rounds of forgetting what ended long ago.
_PURGE_EVERY_S: Final = 600.0


class ExpectationRunner:
    """Looks for ever. Belongs to one event loop."""

    def __init__(self, expectations: Expectations, clock: Clock) -> None:
        self._expectations = expectations
        self._clock = clock
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._expectations.watch(self._woken.set)
        purge_at_s = self._clock.monotonic_s() + _PURGE_EVERY_S
        loaded = False
        while True:
            try:
                # Cleared first: what comes while we look is not missed.
                self._woken.clear()
                if not loaded:
                    await self._expectations.load()
                    loaded = True
                await self._expectations.look()
                if self._clock.monotonic_s() >= purge_at_s:
                    purge_at_s = self._clock.monotonic_s() + _PURGE_EVERY_S
                    while await self._expectations.forget():
                        await asyncio.sleep(_PAUSE_S)
            except RingbackError:
                # The store has told the log what ails it.
                await asyncio.sleep(_RETRY_S)
                continue
            await asyncio.sleep(_PAUSE_S)
            await self._wait(purge_at_s)

    async def _wait(self, purge_at_s: float) -> None:
        left_s = purge_at_s - self._clock.monotonic_s()
        deadline = self._expectations.next_deadline()
        if deadline is not None:
            left_s = min(left_s, (deadline - self._clock.now_us()) / SECOND_US)
        try:
            await asyncio.wait_for(self._woken.wait(), max(left_s, _PAUSE_S))
        except TimeoutError:
            return
