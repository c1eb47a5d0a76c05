"""What becomes of requests that were not believed? They are kept, bounded, and a person looks at them, drops them or lets them in."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import NotFound, Unavailable
from ringback.ids import IdMaker, start_id
from ringback.model.quarantine import CapturedRequest, Quarantined
from ringback.policy.paging import Page, Walk, cut
from ringback.services.sources import Sources
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import quarantine
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.quarantine import Header as Header
from ringback.store.operations.quarantine import Heap as Heap

PREFIX: Final = ids.QUARANTINED
# Of one source: days of a provider's retries, and a bound on what strangers can make us keep.
MAX_ROWS: Final = 1_000
MAX_BYTES: Final = 32 * 1024 * 1024
# A larger body is not kept: it could push out everything else.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
# Requests forgotten in one transaction: large ones free many pages.
_SLICE: Final = 50


class Quarantine:
    """The requests in quarantine; each verb sees those of its caller's sources alone."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, make_id: IdMaker, sources: Sources) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._sources = sources

    async def keep(self, source_id: str, reason: str, detail: str, request: CapturedRequest, *, whole: bool = False) -> None:
        """Keep a request, without a large body unless `whole` says that its sender is to believe it taken.

        Raises StoreFailure, and for such a one Unavailable when there is no room.
        """
        size = len(request.body or b"")
        if size > MAX_BODY_BYTES and not whole:
            request = msgspec.structs.replace(request, body=None)

        def operation(tx: Transaction) -> bool:
            now_us = self._clock.now_us()
            item = Quarantined(self._ids.make(PREFIX, now_us), source_id, now_us, reason, detail, size, request)
            return quarantine.insert(tx, self._vault, item, MAX_ROWS, MAX_BYTES, acknowledged=whole)

        if not await self._store.write(operation) and whole:
            raise Unavailable("the quarantine is full of requests that were taken; release or drop some")

    async def get(self, who: Principal, app_ref: str | None, source_ref: str, item_id: str) -> Quarantined:
        """One request. Raises NotFound."""

        def query(tx: Transaction) -> Quarantined:
            item = quarantine.get(tx, self._vault, self._sources.find(tx, who, app_ref, source_ref).id, item_id)
            if item is None:
                raise NotFound
            return item

        return await self._store.read(query)

    async def page(self, who: Principal, app_ref: str | None, source_ref: str, walk: Walk, reason: str | None) -> Page[Quarantined]:
        """One page of a source's requests, the newest first. Raises NotFound."""

        def query(tx: Transaction) -> list[Quarantined]:
            return quarantine.page(tx, self._vault, self._sources.find(tx, who, app_ref, source_ref).id, walk, reason)

        return cut(await self._store.read(query), walk)

    async def listed(self, who: Principal, walk: Walk, source_id: str | None, reason: str | None) -> Page[Header]:
        """One page of the requests of the whole organisation, or of one source (by its id), without what they hold; the newest first."""
        return await self._store.read(lambda tx: quarantine.listed(tx, who.org_id, walk, source_id, reason))

    async def heaps(self, who: Principal) -> list[Heap]:
        """How many requests are kept in the organisation, by source and reason, the most first."""
        return await self._store.read(lambda tx: quarantine.heaps(tx, who.org_id))

    async def drop_many(self, who: Principal, app_ref: str | None, source_ref: str, reason: str | None, until_us: int) -> int:
        """Forget the requests of a source, of one reason if it is given, that came before a time; how many. Raises NotFound."""

        def operation(tx: Transaction) -> int:
            source_id = self._sources.find(tx, who, app_ref, source_ref).id
            return quarantine.drop(tx, source_id, reason, start_id(PREFIX, until_us), _SLICE)

        dropped = 0
        while (more := await self._store.write(operation)) > 0:
            dropped += more
        return dropped

    async def drop(self, who: Principal, app_ref: str | None, source_ref: str, item_id: str) -> None:
        """Forget a request. Raises NotFound."""

        def operation(tx: Transaction) -> None:
            if not quarantine.delete(tx, self._sources.find(tx, who, app_ref, source_ref).id, item_id):
                raise NotFound

        await self._store.write(operation)

    async def forget(self, source_id: str, item_id: str) -> None:
        """Forget a request that was let in."""
        await self._store.write(lambda tx: quarantine.delete(tx, source_id, item_id))
