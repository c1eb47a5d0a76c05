"""Which endpoints does this application have, right now? A cache in front of the store, for those who must know without waiting.

One server has the database, so what changed is known here at once: `changed` is called when the commit is durable, and everyone who still
holds the former entry sees that it is stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ringback.errors import NotFound
from ringback.model.applications import Application
from ringback.model.endpoints import Endpoint
from ringback.model.polling import PollingEndpoint
from ringback.model.transformations import Transformation
from ringback.policy.fanout import matched, wants
from ringback.policy.filters import Filter, Subject, compiled
from ringback.policy.ordering import Document, lane_of
from ringback.store.base import Store
from ringback.store.operations import directory
from ringback.store.operations.endpoints import Sealer

# Applications remembered: some 5 kB each with a few endpoints, so 25 MB at the most.
_REMEMBERED: Final = 5_000
# Event types remembered per application; they come from strangers' requests, so there must be an end.
_EVENT_TYPES: Final = 1_000


class Entry:
    """One application with its live endpoints and those that are polled, as of a moment; `stale` from the moment that it changed."""

    __slots__ = ("_matches", "_polled", "application", "endpoints", "filters", "ordered", "stale", "transformations")

    def __init__(
        self,
        application: Application,
        endpoints: Sequence[Endpoint],
        polled: Sequence[PollingEndpoint] = (),
        transformations: Mapping[str, Transformation] = MappingProxyType({}),
    ) -> None:
        self.application = application
        self._polled = polled
        self.endpoints = {e.id: e for e in endpoints}
        # Has any of them its deliveries in an order?
        self.ordered = any(e.ordering is not None for e in endpoints)
        # Of those that ask something of payloads, by id: compiled once, empty for nearly everybody.
        self.filters: dict[str, Filter] = {e.id: compiled(e.payload_filter) for e in endpoints if e.payload_filter is not None}
        # Those that are on, by endpoint.
        self.transformations = transformations
        self.stale = False
        self._matches: dict[str, tuple[str, ...]] = {}

    def match(self, event_type: str, channels: Sequence[str] | None) -> tuple[str, ...]:
        """The ids of the endpoints that receive such a message, if its payload fits what they ask of it (`fitting`)."""
        if channels is not None:
            return matched(self.endpoints.values(), event_type, channels)
        found = self._matches.get(event_type)
        if found is None:
            if len(self._matches) >= _EVENT_TYPES:
                self._matches.clear()
            found = self._matches[event_type] = matched(self.endpoints.values(), event_type, None)
        return found

    def fitting(self, endpoint_ids: Sequence[str], subject: Subject | None) -> tuple[str, ...]:
        """Those of these endpoints whose filters a message fits; None, one whose payload is gone, fits no filter.

        Takes a few microseconds for each condition, and 2 ms at the most for a filter. Needs no loop.
        """
        asked = self.filters
        return tuple(e for e in endpoint_ids if e not in asked or (subject is not None and asked[e].fits(subject)))

    def filtered(self, endpoint_ids: Sequence[str]) -> int:
        """How many of these endpoints ask something of payloads."""
        return sum(endpoint_id in self.filters for endpoint_id in endpoint_ids)

    def lanes(self, endpoint_ids: Sequence[str], key: str | None, payload: bytes | None) -> dict[str, str] | None:
        """The lanes of a message at endpoints where it is in order with others; its payload is None when it is no JSON."""
        found: dict[str, str] = {}
        document = None if payload is None else Document(payload)
        for endpoint_id in endpoint_ids:
            endpoint = self.endpoints.get(endpoint_id)
            lane = None if endpoint is None else lane_of(endpoint.ordering, key, document)
            if lane is not None:
                found[endpoint_id] = lane
        return found or None

    def wanted(self, event_type: str, channels: Sequence[str] | None) -> bool:
        """Does anybody get such a message, by delivery or by polling?"""
        return bool(self.match(event_type, channels)) or any(wants(polled, event_type, channels) for polled in self._polled)


class Directory:
    """Applications with their endpoints, by id and by uid."""

    def __init__(self, store: Store, vault: Sealer) -> None:
        self._store = store
        self._vault = vault
        self._by_ref: dict[tuple[str, str], Entry] = {}
        self._by_id: dict[str, Entry] = {}
        self._changes = 0
        self._watchers: list[Callable[[str], None]] = []

    def watch(self, changed: Callable[[str], None]) -> None:
        """Have somebody told the id of each application that changes."""
        self._watchers.append(changed)

    def known(self, org_id: str, ref: str) -> Entry | None:
        """The entry of an application by id or uid, if it is remembered. Never blocks."""
        return self._by_ref.get((org_id, ref))

    def known_by_id(self, app_id: str) -> Entry | None:
        """The entry of an application by id, if it is remembered. Never blocks."""
        return self._by_id.get(app_id)

    async def find(self, org_id: str, ref: str) -> Entry:
        """The entry of an application by id or uid. Raises NotFound, StoreFailure."""
        entry = self._by_ref.get((org_id, ref)) or await self._load(org_id, ref)
        if entry is None:
            raise NotFound
        self._by_ref[(org_id, ref)] = entry
        return entry

    async def find_by_id(self, app_id: str) -> Entry | None:
        """The entry of a live application, or None when it was deleted. Raises StoreFailure."""
        return self._by_id.get(app_id) or await self._load(None, app_id)

    def changed(self, app_id: str) -> None:
        """The application or one of its endpoints was changed or deleted, durably."""
        self._changes += 1
        self._forget(app_id)
        for watcher in self._watchers:
            watcher(app_id)

    def _forget(self, app_id: str) -> None:
        entry = self._by_id.pop(app_id, None)
        if entry is not None:
            entry.stale = True
            org_id = entry.application.org_id
            self._by_ref.pop((org_id, app_id), None)
            if entry.application.uid is not None:
                self._by_ref.pop((org_id, entry.application.uid), None)

    async def _load(self, org_id: str | None, ref: str) -> Entry | None:
        while True:
            changes = self._changes
            loaded = await self._store.read(lambda tx: directory.load(tx, self._vault, org_id, ref))
            if changes == self._changes:
                break
        if loaded is None:
            return None
        entry = self._by_id.get(loaded[0].id)
        if entry is None:
            if len(self._by_id) >= _REMEMBERED:
                self._forget(next(iter(self._by_id)))
            entry = self._by_id[loaded[0].id] = Entry(*loaded)
        return entry
