"""What must be done now and then for sources? Counts are written down, silence is noticed, what is past its time is forgotten.

And those that send by themselves send, when they are due.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringback.errors import RingbackError
from ringback.services.address_lists import AddressLists
from ringback.services.arrivals import Journal
from ringback.services.gateway import SourceDirectory
from ringback.services.published import Published
from ringback.services.schedules import Schedules

# Counts and the journal may lose a few seconds by a crash; no event does.
NOTE_EVERY_S: Final = 5.0
# Silence is counted in tens of minutes, windows in days.
_SWEEP_EVERY: Final = 12
# Seconds until a store that failed is asked again.
_AGAIN_S: Final = 1.0
# Seconds between two slices: leaves most of the writer to others.
_PAUSE_S: Final = 0.02


class Upkeep:
    """Looks after sources for ever."""

    def __init__(self, sources: SourceDirectory, journal: Journal, lists: AddressLists, published: Published) -> None:
        self._sources = sources
        self._journal = journal
        self._lists = lists
        self._published = published
        self._noting = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled. A store that fails is tried again."""
        turn = 0
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            turn += 1
            try:
                await self.note()
                if turn % _SWEEP_EVERY == 0:
                    await self._sources.silent()
                    await self._lists.refresh()
                    while await self._sources.forget() + await self._published.forget():
                        await asyncio.sleep(_PAUSE_S)
            except RingbackError:
                # The store has told the log what ails it.
                continue

    async def note(self) -> None:
        """Write down what came since the last time. Raises StoreFailure."""
        # Two at once would take the same entries off the list.
        async with self._noting:
            await self._sources.note()
            await self._journal.write()

    async def close(self) -> None:
        """Write down what is left, if the store lets us."""
        try:
            await self.note()
        except RingbackError:
            # The store has told the log what ails it.
            return


class Timetable:
    """Has sources that send by themselves send, for ever."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    async def run(self) -> None:
        """Until cancelled. A store that fails is tried again."""
        while True:
            try:
                wait_s = await self._schedules.step()
            except RingbackError:
                # The store has told the log what ails it.
                wait_s = _AGAIN_S
            await self._schedules.wait(wait_s)
