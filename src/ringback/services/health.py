"""Is this server well? It is when its store reads and commits, and its dispatcher runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from ringback.clock import Clock
from ringback.errors import RingbackError
from ringback.store.base import Store
from ringback.store.operations import probe

# A store that takes longer than this to answer a trivial question is of no use to anybody; probes commonly give up after 5 s.
_DEADLINE_S = 3.0
# An answer holds for so long: anybody may ask, and each look is a write.
_HOLDS_S = 0.5


class Report(msgspec.Struct, frozen=True):
    """What works: the store reads and commits, the dispatcher takes work."""

    database: bool
    queue: bool

    @property
    def well(self) -> bool:
        """Does everything work?"""
        return self.database and self.queue


class Keeping(Protocol):
    """A spool, as far as it says how things stand."""

    @property
    def stuck(self) -> bool:
        """Does something wait in it that the database did not take the last time, some seconds ago at most?"""
        ...

    async def problem(self) -> str | None:
        """Why nothing more could be kept, as a sentence; None: it could. Tries it."""
        ...


class Readiness(msgspec.Struct, frozen=True):
    """Which requests are wanted: `all` of them, and those of providers alone, which a spool may take in (None: there is none).

    `spool` says why that could take nothing now (None: it could).
    """

    all: bool
    receiving: bool | None
    spool: str | None = None


class Health:
    """Looks for itself. `dispatching` and `ready` say whether deliveries run, and whether requests are wanted (not while draining).

    `spool` is where events of providers are kept that the database cannot take; None: there is none.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        dispatching: Callable[[], bool] = lambda: True,
        ready: Callable[[], bool] = lambda: True,
        spool: Keeping | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._looking = asyncio.Lock()
        # Whether the store works, and whether it also takes what piles up.
        self._works = self._takes = False
        self._known_until_s = 0.0
        self._problem: str | None = None
        self._problem_until_s = 0.0
        self._dispatching = dispatching
        self._ready = ready
        self._spool = spool

    async def report(self) -> Report:
        """How it stands, found out by a read and a write. Never raises for a store that fails."""
        async with self._looking:
            if self._known_until_s <= self._clock.monotonic_s():
                self._works, self._takes = await self._look()
                self._known_until_s = self._clock.monotonic_s() + _HOLDS_S
        return Report(self._works, self._dispatching())

    async def _look(self) -> tuple[bool, bool]:
        """Can the store be read and written, and also by what piles up, as messages do?"""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self._store.read(lambda tx: tx.row("SELECT 1 FROM organisation LIMIT 1"))
                try:
                    await self._store.write(probe.touch, grows=True)
                except RingbackError:
                    await self._store.write(probe.touch)
                    return True, False
        except (RingbackError, TimeoutError):
            return False, False
        return True, True

    async def ready(self) -> Readiness:
        """Which requests should this server be sent?"""
        found = await self.report() if self._ready() else Report(database=False, queue=False)
        # On a disk that is nearly full, what is there is still delivered, and nothing new is taken in.
        well = found.well and self._takes
        spool = self._spool
        if spool is None:
            return Readiness(well, None)
        # Where there is room for the one and not for the other: what waits in the spool has tried.
        well = well and not spool.stuck
        problem = await self._spool_problem(spool)
        return Readiness(well, well or (found.queue and problem is None), problem)

    async def _spool_problem(self, spool: Keeping) -> str | None:
        """What is wrong with the spool: known before it is needed, and over again when it is mended, though nobody sends anything."""
        async with self._looking:
            if self._problem_until_s <= self._clock.monotonic_s():
                try:
                    async with asyncio.timeout(_DEADLINE_S):
                        self._problem = await spool.problem()
                except TimeoutError:
                    self._problem = f"the spool gives no answer within {_DEADLINE_S:g} s"
                self._problem_until_s = self._clock.monotonic_s() + _HOLDS_S
            return self._problem
