"""Who asks providers for sources? A runner that does what is due, some at a time, so that none waits for a slow one."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from ringback.clock import SECOND_US, Clock
from ringback.errors import RingbackError
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.tracing import Tracing

# Steps at once: each may hold an answer of some megabytes. A provider that hangs has one of them for half a minute, between ever longer
# rests.
_AT_ONCE: Final = 8
# Seconds between two looks when nothing is due: what is counted is not older than that.
_LOOK_EVERY_S: Final = 30.0
# Seconds before a store that failed is tried again, and before a step is whose outcome could not be kept time and again: its provider is
# asked each time.
_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0
_NOT_OURS: Final = "a defect of this server; its log has the details"


class Work(Protocol):
    """Steps that are due now and then, at most one at a time for each source."""

    async def due(self, limit: int) -> tuple[list[str], int | None]:
        """The sources whose next step is due, and when the next one after those is. Raises StoreFailure."""
        ...

    async def step(self, source_id: str) -> None:
        """Do the next step of a source. Raises Unavailable when it could not be kept."""
        ...

    async def give_up(self, source_id: str, detail: str) -> None:
        """A step ran into a defect of ours: let it rest. Raises Unavailable."""
        ...


class ProviderRunner:
    """Does the steps of one kind of work, whose `name` stands in the log, for ever. Belongs to one event loop."""

    def __init__(self, work: Work, name: str, clock: Clock, tracing: Tracing | None = None) -> None:
        self._work = work
        self._name = name
        self._clock = clock
        self._tracing = tracing
        self._woken = asyncio.Event()
        self._busy: set[str] = set()
        # How often in a row the outcome of a source's step could not be kept.
        self._unkept: dict[str, int] = {}

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
                    due, next_at = await self._work.due(_AT_ONCE + len(self._busy))
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
            with self._span(source_id):
                await self._work.step(source_id)
            self._unkept.pop(source_id, None)
        except RingbackError:
            # The store has told the log what ails it; the page is read again.
            times = self._unkept[source_id] = self._unkept.get(source_id, 0) + 1
            await asyncio.sleep(min(_RETRY_S * 2 ** min(times - 1, 9), _LONGEST_RETRY_S))
        except Exception as error:
            log(TASK_FAILED, failure=error, task=f"{self._name} of {source_id}", error=str(error))
            await self._give_up(source_id)
        finally:
            self._busy.discard(source_id)
            self._woken.set()

    def _span(self, source_id: str) -> AbstractContextManager[None]:
        """Around one step, where traces are made."""
        return nullcontext() if self._tracing is None else self._tracing.doing(self._name, {"ringback.source.id": source_id})

    async def _give_up(self, source_id: str) -> None:
        try:
            await self._work.give_up(source_id, _NOT_OURS)
        except RingbackError:
            await asyncio.sleep(_RETRY_S)
