"""Which sources have something to ask their provider now? The same for all kinds of steps, whatever the clock does meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ringback.clock import Clock
from ringback.store.base import Store, Transaction
from ringback.store.operations import provider_steps
from ringback.store.operations.provider_steps import Table

T = TypeVar("T")


class Steps:
    """Looks for what is due in one table. Belongs to one event loop.

    `longest_us` is the longest wait that a step may have been given, microseconds, where there is one: a longer one was written by a clock
    that was set back since.
    """

    def __init__(self, store: Store, clock: Clock, table: Table, longest_us: int | None = None) -> None:
        self._store = store
        self._clock = clock
        self._table = table
        self._longest_us = longest_us
        self._looked_us = 0

    async def due(self, limit: int, overall: Callable[[Transaction], T]) -> tuple[list[str], int | None, T]:
        """The sources whose next step is due, when the next one after those is, and how all stand. Raises StoreFailure."""
        table, now_us = self._table, self._clock.now_us()
        back_us = self._looked_us - now_us
        if back_us > 0:
            # The clock was set back: what waits would wait for as much longer.
            await self._store.write(lambda tx: provider_steps.earlier(tx, table, now_us, back_us))
        self._looked_us = now_us
        never_us = None if self._longest_us is None else now_us + self._longest_us

        def query(tx: Transaction) -> tuple[list[str], int | None, T]:
            return provider_steps.due(tx, table, now_us, never_us, limit), provider_steps.next_at(tx, table, now_us), overall(tx)

        return await self._store.read(query)
