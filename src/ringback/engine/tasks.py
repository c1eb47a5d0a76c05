"""Who does the background tasks? One runner that goes from task to task, a step each, so that none waits for another to end."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from ringback.clock import Clock
from ringback.errors import Unavailable
from ringback.services.tasks import Tasks
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.tracing import Tracing

# Seconds between two steps: a step holds the event loop for some 3 ms, and this leaves more than half of it to others.
_PAUSE_S: Final = 0.005
# Seconds before a store that failed is tried again.
_RETRY_S: Final = 1.0
# Seconds between two looks for tasks that are past their retention: an hour.
_PURGE_EVERY_S: Final = 3_600.0
# Rows removed at a time: 1 to 2 ms.
_PURGED: Final = 200


class TaskRunner:
    """Does tasks for ever. `history_us` is how long finished ones are kept, microseconds."""

    def __init__(self, tasks: Tasks, clock: Clock, history_us: int, tracing: Tracing | None = None) -> None:
        self._tasks = tasks
        self._clock = clock
        self._history_us = history_us
        self._tracing = tracing
        self._begun = asyncio.Event()

    async def run(self) -> None:
        """Go on with what an earlier run left, then with what is asked for, until cancelled."""
        self._tasks.watch(self._begun.set)
        purge_at_s = self._clock.monotonic_s()
        while True:
            try:
                # Cleared first: a task that begins while we look is not missed.
                self._begun.clear()
                if await self._round():
                    continue
                if self._clock.monotonic_s() >= purge_at_s:
                    purge_at_s = self._clock.monotonic_s() + _PURGE_EVERY_S
                    await self._purge()
            except Unavailable:
                # The store has told the log what ails it; nothing of the step was done.
                await asyncio.sleep(_RETRY_S)
                continue
            await self._wait(purge_at_s - self._clock.monotonic_s())

    async def _round(self) -> bool:
        """One step of each running task; False when there is none."""
        running = await self._tasks.running()
        for task_id in running:
            try:
                with self._span(task_id):
                    await self._tasks.advance(task_id)
            except Unavailable:
                raise
            except Exception as error:
                # A defect of ours must not be met again and again.
                log(TASK_FAILED, failure=error, task=task_id, error=str(error))
                await self._tasks.give_up(task_id, "a defect of this server; its log has the details")
            await asyncio.sleep(_PAUSE_S)
        return bool(running)

    def _span(self, task_id: str) -> AbstractContextManager[None]:
        """Around one step, where traces are made: all steps of a task are one trace."""
        return nullcontext() if self._tracing is None else self._tracing.doing("task", {"ringback.task.id": task_id}, task_id)

    async def _purge(self) -> None:
        before_us = self._clock.now_us() - self._history_us
        while await self._tasks.purge(before_us, _PURGED) >= 1:
            await asyncio.sleep(_PAUSE_S)

    async def _wait(self, longest_s: float) -> None:
        try:
            await asyncio.wait_for(self._begun.wait(), max(longest_s, _PAUSE_S))
        except TimeoutError:
            pass
