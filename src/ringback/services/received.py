"""What did a source take in, and which one has fallen silent? Reading what was received, for those who look after sources."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.errors import NotFound
from ringback.model.arrivals import DUPLICATE, SUPERSEDED
from ringback.model.messages import Received
from ringback.model.sources import Activity, Source
from ringback.policy.paging import Page, Walk
from ringback.policy.sources_silence import silence
from ringback.services.sources import Sources
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import arrivals, received, sources
from ringback.store.operations.endpoints import Sealer

# How often something may come again until nobody counts any more.
AGAIN_MAX: Final = 500
# Sources looked at in one read: a millisecond of opening what is sealed.
_SLICE: Final = 50


class Silent(msgspec.Struct, frozen=True):
    """A source that has been quiet for longer than it may be."""

    source: Source
    activity: Activity
    silent_us: int


class Traced(msgspec.Struct, frozen=True):
    """Where a message came from. `source` is None once it is deleted.

    `again` is how often the journal has its event coming again, and `superseded` how many older events it has that this one superseded.
    """

    event: Received
    source: Source | None
    again: int
    superseded: int


class ReceivedEvents:
    """The events of sources; each verb sees those of its caller's sources alone."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, of: Sources) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._sources = of

    async def page(self, who: Principal, app_ref: str | None, source_ref: str, walk: Walk, flag: str | None) -> Page[Received]:
        """One page of a source's events, those with a flag if one is given. Raises NotFound."""

        def query(tx: Transaction) -> Page[Received]:
            source = self._sources.find(tx, who, app_ref, source_ref)
            return received.listed(tx, source.app_id, source.id, walk, flag)

        return await self._store.read(query)

    async def get(self, who: Principal, app_ref: str | None, source_ref: str, message_id: str) -> tuple[Source, Received]:
        """One event of a source, with the source. Raises NotFound."""

        def query(tx: Transaction) -> tuple[Source, Received]:
            source = self._sources.find(tx, who, app_ref, source_ref)
            found = received.get(tx, source.app_id, source.id, message_id)
            if found is None:
                raise NotFound
            return source, found

        return await self._store.read(query)

    async def trace(self, who: Principal, app_id: str, message_id: str) -> Traced | None:
        """Where a message of an application, which the caller has looked up, came from; None of one that no source took in."""

        def query(tx: Transaction) -> Traced | None:
            event = received.of_message(tx, app_id, message_id)
            if event is None:
                return None
            source = sources.by_ref(tx, self._vault, who.org_id, event.origin.source_id)
            return Traced(event, source, *(arrivals.of_message(tx, message_id, outcome, AGAIN_MAX) for outcome in (DUPLICATE, SUPERSEDED)))

        return await self._store.read(query)

    async def silent(self, who: Principal) -> list[Silent]:
        """The organisation's sources that are quiet for longer than they may be, by id."""
        found: list[Silent] = []
        after: str | None = ""
        while after is not None:
            more, after = await self._store.read(lambda tx, at=after: self._silent(tx, who, at))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            found += more
        return found

    def _silent(self, tx: Transaction, who: Principal, after: str) -> tuple[list[Silent], str | None]:
        listed = sources.live(tx, self._vault, after, _SLICE)
        found = []
        for source in listed:
            activity = sources.activity(tx, source.id)
            silent_us = silence(source, activity, self._clock.now_us())
            if source.org_id == who.org_id and silent_us is not None:
                found.append(Silent(source, activity, silent_us))
        return found, listed[-1].id if len(listed) == _SLICE else None
