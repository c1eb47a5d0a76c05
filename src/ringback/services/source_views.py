"""How do sources do? All of an organisation with what came from them lately, for those who look after them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.clock import Clock
from ringback.errors import NotFound
from ringback.model.sources import Activity, Source
from ringback.model.sources import Traffic as Traffic
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.sources_silence import silence
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import organisations, quarantine, source_traffic, sources
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.quarantine import Heap as Heap
from ringback.store.operations.source_traffic import DAY as DAY
from ringback.store.operations.source_traffic import QUARTER_US as QUARTER_US


class Seen(msgspec.Struct, frozen=True):
    """A source and what came from it: in the last 24 hours (`day`), and ever. `silent_us`: it is quiet for longer than it may be."""

    source: Source
    activity: Activity
    silent_us: int | None
    day: Traffic


class Watched(msgspec.Struct, frozen=True):
    """One source looked at closely: `cells` are the quarters of the last day, from `begins_us` on; `heaps` what it has in quarantine.

    `refusals` are the reasons for which requests were refused in that day, `shared_rate` the requests a second that all sources of the
    organisation may take in together; None: as many as come.
    """

    seen: Seen
    cells: list[Traffic]
    begins_us: int
    heaps: list[Heap]
    refusals: dict[str, int]
    shared_rate: int | None


class SourceViews:
    """Looks at the sources of every organisation; each verb sees those of its caller alone. Counts are true to within some seconds.

    `receive_rate` is that of organisations without their own.
    """

    def __init__(self, store: Store, vault: Sealer, clock: Clock, receive_rate: int | None = None) -> None:
        self._receive_rate = receive_rate
        self._store = store
        self._vault = vault
        self._clock = clock

    async def page(self, who: Principal, walk: Walk, text: str = "") -> Page[Seen]:
        """One page of the sources of the organisation and of all its applications; with a text in their names, if one is given."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> Page[Seen]:
            page = cut(sources.of_organisation(tx, self._vault, who.org_id, walk, text), walk)
            days = source_traffic.sums(tx, [source.id for source in page.items], now_us // QUARTER_US - DAY + 1)
            seen = [self._seen(tx, source, days.get(source.id, Traffic()), now_us) for source in page.items]
            return Page(seen, page.done, page.stopped_at)

        return await self._store.read(query)

    async def named(self, who: Principal, ref: str) -> Source:
        """The source of that id or uid, of whichever application. Raises NotFound."""
        return await self._store.read(lambda tx: self._find(tx, who, ref))

    async def by_ids(self, who: Principal, source_ids: Sequence[str]) -> dict[str, Source]:
        """Those of these sources (at most a few hundred) that are the caller's, and still there."""
        wanted = list(dict.fromkeys(source_ids))

        def query(tx: Transaction) -> dict[str, Source]:
            found = (sources.by_ref(tx, self._vault, who.org_id, source_id) for source_id in wanted)
            return {source.id: source for source in found if source is not None}

        return await self._store.read(query) if wanted else {}

    async def watch(self, who: Principal, ref: str) -> Watched:
        """One source with its last day. Raises NotFound."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> Watched:
            source = self._find(tx, who, ref)
            first = now_us // QUARTER_US - DAY + 1
            cells = source_traffic.cells(tx, source.id, first, DAY)
            seen = self._seen(tx, source, source_traffic.whole(cells), now_us)
            rate = organisations.receive_rate(tx, who.org_id)
            return Watched(
                seen,
                cells,
                first * QUARTER_US,
                quarantine.heaps(tx, who.org_id, source.id),
                source_traffic.refusals(tx, source.id, first),
                (self._receive_rate if rate is None else rate) or None,
            )

        return await self._store.read(query)

    def _find(self, tx: Transaction, who: Principal, ref: str) -> Source:
        source = sources.by_ref(tx, self._vault, who.org_id, ref)
        if source is None or who.app_id not in (None, source.app_id):
            raise NotFound
        return source

    @staticmethod
    def _seen(tx: Transaction, source: Source, day: Traffic, now_us: int) -> Seen:
        activity = sources.activity(tx, source.id)
        return Seen(source, activity, silence(source, activity, now_us), day)
