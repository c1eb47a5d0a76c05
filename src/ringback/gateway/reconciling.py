"""Who compares sources with their providers? A runner that does what is due, some at a time, so that none waits for a slow one."""

from __future__ import annotations

import asyncio
from typing import Final

from ringback.clock import SECOND_US, Clock
from ringback.errors import RingbackError
from ringback.services.reconciler import Reconciler
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log

# Steps at once: each may hold an answer of some megabytes. A provider that hangs has one of them for half a minute, between ever longer
# rests.
_AT_ONCE: Final = 8
# Seconds between two looks when nothing is due: what is counted is not older than that.
_LOOK_EVERY_S: Final = 30.0
# Seconds before a store that failed is tried again.
_RETRY_S: Final = 1.0
_NOT_OURS: Final = "a defect of this server; its log has the details"


class ReconciliationRunner:
    """Does steps for ever. Belongs to one event loop."""

    def __init__(self, reconciler: Reconciler, clock: Clock) -> None:
        self._reconciler = reconciler
        self._clock = clock
        self._woken = asyncio.Event()
        self._busy: set[str] = set()

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._busy.clear()
        async with asyncio.TaskGroup() as group:
            while True:
                # Cleared first: what becomes due while we look is not missed.
                self._woken.clear()
                try:
                    due, next_at = await self._reconciler.due(_AT_ONCE + len(self._busy))
                except RingbackError:
                    await asyncio.sleep(_RETRY_S)
                    continue
                for source_id in due:
                    if source_id not in self._busy and len(self._busy) < _AT_ONCE:
                        self._busy.add(source_id)
                        group.create_task(self._step(source_id))
                wait_s = _LOOK_EVERY_S if next_at is None else (next_at - self._clock.now_us()) / SECOND_US
                try:
                    await asyncio.wait_for(self._woken.wait(), min(max(wait_s, 0.01), _LOOK_EVERY_S))
                except TimeoutError:
                    continue

    async def _step(self, source_id: str) -> None:
        try:
            await self._reconciler.step(source_id)
        except RingbackError:
            # The store has told the log what ails it; the page is read again.
            await asyncio.sleep(_RETRY_S)
        except Exception as error:
            log(TASK_FAILED, failure=error, task=f"reconciliation of {source_id}", error=str(error))
            await self._give_up(source_id)
        finally:
            self._busy.discard(source_id)
            self._woken.set()

    async def _give_up(self, source_id: str) -> None:
        try:
            await self._reconciler.give_up(source_id, _NOT_OURS)
        except RingbackError:
            await asyncio.sleep(_RETRY_S)
