"""What is past its time? Retention, in slices of a few milliseconds inside the group commits, so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from ringback import ids
from ringback.clock import Clock
from ringback.errors import RingbackError
from ringback.store.base import Store, Transaction
from ringback.store.operations import arrivals, blocks, deliveries, polling, polls, retention, sinks, streams, trends
from ringback.store.operations.blocks import Blocks, Place
from ringback.store.operations.directory import START
from ringback.telemetry.events import RETENTION_SWEPT
from ringback.telemetry.log import log

T = TypeVar("T")

# Rows in a slice: 1 to 2 ms.
_SLICE: Final = 200
# Seconds between two slices: leaves nine tenths of the writer to others, and removes twice what comes in at full speed.
_PAUSE_S: Final = 0.01
# Seconds between two sweeps; an expired payload is never shown even before it is swept, so minutes do no harm.
SWEEP_EVERY_S: Final = 60.0
# The same for what lies in the order of endpoints, not of time: all of it must be walked, and what is past its time shows nowhere.
BESIDE_EVERY_S: Final = 3_600.0


class Sweeper:
    """Sweeps the store for ever. `history_us` is how long history is kept, microseconds.

    `wake(endpoint_id, app_id, now_us)` is called for endpoints whose lanes go on, because the letters that blocked them are gone.
    """

    def __init__(
        self, store: Store, clock: Clock, history_us: int, wake: Callable[[str, str, int], None] = lambda endpoint_id, app_id, due_at: None
    ) -> None:
        self._store = store
        self._wake = wake
        self._clock = clock
        self._history_us = history_us

    async def run(self) -> None:
        """Sweep every minute until cancelled. A store that fails is tried again a minute later."""
        # Keys lie in the order of a hash, so all of them must be walked, and a stream that is deleted may have a hundred million events:
        # that takes long, and must not hold up the rest.
        await asyncio.gather(
            self._for_ever(self.sweep, SWEEP_EVERY_S),
            self._for_ever(self.sweep_keys, SWEEP_EVERY_S),
            self._for_ever(self.sweep_streams, SWEEP_EVERY_S),
            self._for_ever(self.sweep_beside, BESIDE_EVERY_S),
        )

    async def _for_ever(self, sweep: Callable[[], Awaitable[int]], every_s: float) -> None:
        while True:
            try:
                if rows := await sweep():
                    log(RETENTION_SWEPT, rows=rows)
            except RingbackError:
                # The store has told the log what ails it.
                pass
            await asyncio.sleep(every_s)

    async def sweep_keys(self) -> int:
        """Remove idempotency keys that have expired; how many."""
        now_us = self._clock.now_us()
        return await self._walk(b"", lambda tx, after: retention.purge_idempotency(tx, now_us, _SLICE, after))

    async def sweep(self) -> int:
        """Remove all else that is past its time now, but for streams; how many rows."""
        now_us = self._clock.now_us()
        before_us = now_us - self._history_us
        removed = await self._all(lambda tx: retention.expire_payloads(tx, now_us, _SLICE))
        spared = await self._spared(before_us)
        removed += await self._walk(0, lambda tx, after: retention.purge_messages(tx, before_us, _SLICE, after, spared))
        removed += await self._walk(0, lambda tx, after: retention.purge_attempts(tx, before_us, _SLICE, after, spared))
        freed: set[tuple[str, str]] = set()
        removed += await self._all(lambda tx: retention.purge_dead_letters(tx, before_us, _SLICE, freed))
        for endpoint_id, app_id in freed:
            self._wake(endpoint_id, app_id, now_us)
        removed += await self._all(lambda tx: arrivals.purge(tx, before_us, _SLICE))
        removed += await self._all(lambda tx: retention.purge_application(tx, _SLICE))
        removed += await self._all(lambda tx: polling.purge(tx, _SLICE))
        removed += await self._all(lambda tx: retention.purge_deleted_endpoints(tx, before_us, _SLICE))
        return removed + await self._abandoned()

    async def _spared(self, before_us: int) -> retention.Spared:
        """Messages that are old and not finished: a retry, or what waits for its turn, may be due after more time than history is kept."""
        spared = retention.up_to(before_us)
        place = START if await self._store.read(lambda tx: retention.is_anything_old(tx, before_us)) else None
        while place is not None:
            spared, place = await self._store.read(partial(retention.sparing, spared=spared, after=place))
        return spared

    async def sweep_streams(self) -> int:
        """Remove events of streams that are past their time, and what was deleted of streams and sinks; how many rows."""
        # What is past its time goes first: a large stream that was deleted takes hours, and nobody sees it any more.
        removed = await self._old_events(self._clock.now_us() - self._history_us)
        removed += await self._all(lambda tx: sinks.purge(tx, _SLICE))
        return removed + await self._all(lambda tx: streams.purge(tx, _SLICE))

    async def sweep_beside(self) -> int:
        """Remove what is kept beside history and is past its time; how many rows."""
        before_us = self._clock.now_us() - self._history_us
        removed = await self._walk("", lambda tx, after: trends.purge(tx, before_us, _SLICE, after))
        removed += await self._walk("", lambda tx, after: retention.purge_given_up(tx, before_us, _SLICE, after))
        removed += await self._walk("", lambda tx, after: retention.purge_tokens(tx, before_us, _SLICE, after))
        removed += await self._walk("", lambda tx, after: polls.purge_released(tx, before_us, _SLICE, after))
        for kind, prefix in (
            (blocks.MESSAGES, ids.MESSAGE),
            (blocks.ATTEMPTS, ids.ATTEMPT),
            (blocks.PAIRS, ids.MESSAGE),
            (blocks.DEAD_LETTERS["org_id"], ids.DEAD_LETTER),
        ):
            before = ids.start_id(prefix, before_us)
            removed += await self._walk(blocks.START, partial(_purge_blocks, kind, before))
        return removed

    async def _all(self, purge: Callable[[Transaction], int]) -> int:
        total = 0
        while removed := await self._store.write(purge):
            total += removed
            await asyncio.sleep(_PAUSE_S)
        return total

    async def _walk(self, start: T, purge: Callable[[Transaction, T], tuple[int, T | None]]) -> int:
        total = 0
        after: T | None = start
        while after is not None:
            at = after
            removed, after = await self._store.write(lambda tx, at=at: purge(tx, at))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            total += removed
            await asyncio.sleep(_PAUSE_S)
        return total

    async def _old_events(self, before_us: int) -> int:
        """Events of streams: only those streams are written to whose first event is past its time."""
        total, stream_id = 0, await self._store.read(lambda tx: streams.next_old(tx, before_us, ""))
        while stream_id is not None:
            at = stream_id
            total += await self._all(lambda tx, at=at: streams.purge_events(tx, at, before_us, _SLICE))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            stream_id = await self._store.read(lambda tx, at=at: streams.next_old(tx, before_us, at))  # type: ignore[misc]  # as above
        return total

    async def _abandoned(self) -> int:
        """Deliveries of endpoints that are off: the dispatcher drops those it meets, and after a crash some may be left."""
        total = 0
        found = await self._store.read(lambda tx: retention.next_abandoned(tx, ""))
        before = ""
        while found is not None:
            after, nobody = found
            if nobody:
                total += await self._all(lambda tx, before=before: _drop_abandoned(tx, before))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            found = await self._store.read(lambda tx, after=after: retention.next_abandoned(tx, after))  # type: ignore[misc]  # as above
            before = after
        return total


def _purge_blocks(kind: Blocks, before: str, tx: Transaction, after: Place) -> tuple[int, Place | None]:
    return blocks.purge(tx, kind, before, _SLICE, after)


def _drop_abandoned(tx: Transaction, before: str) -> int:
    """Drop some deliveries of the first endpoint behind `before`, if nobody makes them: it may have been enabled again a moment ago."""
    found = retention.next_abandoned(tx, before)
    return deliveries.drop(tx, found[0], _SLICE) if found is not None and found[1] else 0
