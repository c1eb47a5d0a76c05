"""Which lists are read because their source was called? Calls that say only that something changed have the list of changes read soon."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from ringback.clock import SECOND_US, Clock
from ringback.store.base import Store
from ringback.store.operations import reconciliations

# How long after a call its list is read, microseconds: calls of the same moment have it read once.
SOON_US: Final = SECOND_US


class CalledLists:
    """Hears of calls, and has lists read for them. Belongs to one event loop.

    `called` is looked into by the receiver: for each source whose calls have its list read, what to call when one came.
    """

    def __init__(self, store: Store, clock: Clock, called: dict[str, Callable[[], None]]) -> None:
        self._store = store
        self._clock = clock
        self._called = called
        # Sources that were called since `hear`; None before the first one: of what was called before the start nobody knows.
        self._heard: set[str] | None = None
        self._woken: Callable[[], None] = lambda: None

    def watch(self, woken: Callable[[], None]) -> None:
        """Have somebody told when a source was called."""
        self._woken = woken

    async def hear(self) -> None:
        """Have the lists of those read that were called, and be told of calls from now on. Raises StoreFailure: then it is tried again."""
        known = await self._store.read(reconciliations.called_ones)
        if self._heard is None:
            self._heard = set(known)
        if self._heard:
            heard, now_us = frozenset(self._heard), self._clock.now_us()
            await self._store.write(lambda tx: reconciliations.call(tx, heard, now_us, now_us + SOON_US))
            self._heard -= heard
        for source_id in self._called.keys() - known:
            del self._called[source_id]
        for source_id in known - self._called.keys():
            self._called[source_id] = partial(self._came, source_id)

    def _came(self, source_id: str) -> None:
        if self._heard is not None and source_id not in self._heard:
            self._heard.add(source_id)
            self._woken()
