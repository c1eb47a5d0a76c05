"""What does the engine do beside its turns? Short pieces of work that wait for the store; none is lost sight of."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log


class Work:
    """Runs pieces of work on the running loop until `end`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a piece of work. What it raises is logged as a defect of ours."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Cut whatever still runs, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(TASK_FAILED, failure=error, task="dispatch", error=str(error))
