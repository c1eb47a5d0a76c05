"""What came and made no message? A journal: noted in memory while requests are answered, written down every few seconds, read by owners."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from ringback import ids
from ringback.clock import Clock
from ringback.ids import IdMaker
from ringback.model.arrivals import Arrival
from ringback.model.messages import Origin, Remote
from ringback.model.sources import Source
from ringback.policy.paging import Page, Walk
from ringback.policy.sources import shown_target
from ringback.services.sources import Sources
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import arrivals
from ringback.telemetry.prometheus import Metrics

# Rows written or dropped in one transaction: some milliseconds of the writer.
_SLICE: Final = 100
# Characters kept of what a stranger wrote: ids and event types of providers are shorter, and so is nearly every URL.
_TEXT_MAX: Final = 200
_TARGET_MAX: Final = 500


class JournalBounds(msgspec.Struct, frozen=True):
    """How much is kept: of one source and outcome between two writes, of all in memory, of one source and outcome, and in all.

    Ten requests a second show what a flood is made of; a row has some 800 bytes, so that all of them are 80 MB.
    """

    noted: int = 50
    held: int = 2_000
    kept: int = 500
    in_all: int = 100_000


class Came(msgspec.Struct, frozen=True, gc=False):
    """A request, as far as it is noted. `url` may be the whole of it, or its path and query."""

    method: bytes
    url: bytes
    body_bytes: int
    remote: Remote | None


class _Heap:
    """What was noted of one source and outcome since the last time that it was written down."""

    __slots__ = ("noted", "unkept")

    def __init__(self) -> None:
        self.noted: list[Arrival] = []
        self.unkept = 0


class Journal:
    """Notes what came. Belongs to one event loop; what was not written down yet is lost with the process, unlike any event."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker, metrics: Metrics, bounds: JournalBounds | None = None) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._metrics = metrics
        self._bounds = JournalBounds() if bounds is None else bounds
        self._heaps: dict[tuple[str, str], _Heap] = {}
        self._held = 0
        # Noted, and taken out of the heaps to be written.
        self._waiting: list[Arrival] = []
        # Rows in the store; None until somebody has counted.
        self._rows: int | None = None

    def note(
        self,
        source: Source,
        outcome: str,
        came: Came,
        status: int,
        *,
        what: str = "",
        settled: bool = True,
        message_id: str | None = None,
        origin: Origin | None = None,
        came_at: int | None = None,
    ) -> None:
        """Note a request and what it was answered, unless there are too many of its kind. Raises nothing, waits for nothing."""
        heap = self._heaps.get((source.id, outcome))
        if heap is None:
            heap = self._heaps[source.id, outcome] = _Heap()
        elif len(heap.noted) >= self._bounds.noted or self._held >= self._bounds.held:
            heap.unkept += 1
            self._dropped("sampled", 1)
            return
        self._held += 1
        heap.noted.append(
            Arrival(
                self._ids.make(ids.ARRIVAL, self._clock.now_us()),
                source.id,
                outcome,
                came.method.decode("latin-1")[:_TEXT_MAX],
                _short(shown_target(source, came.url), _TARGET_MAX),
                came.body_bytes,
                status,
                came.remote,
                what,
                settled,
                message_id,
                *((None, None, None) if origin is None else (_cut(origin.event_id), _cut(origin.event_type), origin.redelivery)),
                came_at=came_at,
            )
        )

    async def write(self) -> None:
        """Write down what was noted since the last time. Raises StoreFailure: then it is kept, within the bounds, for the next time."""
        self._gather()
        if not self._waiting:
            return
        if self._rows is None:
            self._rows = await self._store.read(arrivals.count)
        kept = self._bounds.kept
        while self._waiting:
            some = self._waiting[:_SLICE]
            added, displaced = await self._store.write(lambda tx, some=some: arrivals.add(tx, some, kept))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            self._rows += added - displaced
            self._dropped("displaced", displaced)
            del self._waiting[: len(some)]
        if self._rows > self._bounds.in_all:
            # Some may have gone with their sources, or with time.
            self._rows = await self._store.read(arrivals.count)
        while (over := self._rows - self._bounds.in_all) > 0:
            dropped = await self._store.write(lambda tx, over=over: arrivals.drop_oldest(tx, min(over, _SLICE)))  # type: ignore[misc]  # as above
            self._rows -= dropped or over
            self._dropped("displaced", dropped)

    def _gather(self) -> None:
        heaps, self._heaps, self._held = self._heaps, {}, 0
        for heap in heaps.values():
            if heap.unkept:
                heap.noted[-1] = replace(heap.noted[-1], unkept=heap.unkept)
            self._waiting += heap.noted
        self._waiting.sort(key=lambda arrival: arrival.id)
        over = max(len(self._waiting) - self._bounds.held, 0)
        del self._waiting[:over]
        self._dropped("unwritten", over)

    def _dropped(self, reason: str, count: int) -> None:
        """So many have no entry, or none any more, for one of `JOURNAL_DROPS`."""
        if count:
            dropped = self._metrics.journal_dropped
            self._metrics.journal_dropped = {**dropped, reason: dropped[reason] + count}


class Arrivals:
    """Reads the journal; each verb sees the sources of its caller alone."""

    def __init__(self, store: Store, of: Sources) -> None:
        self._store = store
        self._sources = of

    async def page(
        self, who: Principal, app_ref: str | None, source_ref: str, walk: Walk, outcome: str | None = None, message_id: str | None = None
    ) -> Page[Arrival]:
        """One page of a source's journal, of one outcome, or of what came again of one message, if they are given. Raises NotFound."""

        def query(tx: Transaction) -> Page[Arrival]:
            return arrivals.listed(tx, self._sources.find(tx, who, app_ref, source_ref).id, walk, outcome, message_id)

        return await self._store.read(query)


def _cut(text: str | None) -> str | None:
    return None if text is None else _short(text, _TEXT_MAX)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
