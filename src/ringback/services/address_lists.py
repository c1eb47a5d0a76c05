"""From which addresses does a provider send, by its own word? Lists that are fetched, and kept while they cannot be read anew."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import msgspec

from ringback.clock import Clock
from ringback.errors import Unavailable
from ringback.policy.address_lists import Networks, read_networks
from ringback.telemetry.events import ADDRESSES_UNREAD
from ringback.telemetry.log import log

# Providers announce new addresses days ahead.
_FRESH_S: Final = 3_600.0
# A list that cannot be had is not asked for with each request.
_FAILED_S: Final = 30.0
# A list that no request asked for in so long belongs to no source any more.
_FORGOTTEN_S: Final = 86_400.0
# Lists remembered, of up to ten thousand networks each: there are a few providers that publish one.
_REMEMBERED: Final = 200


class Documents(Protocol):
    """What fetches published documents: over TLS, through the guard, following nothing."""

    async def document(self, url: str) -> bytes | None:
        """The document at a URL; None when it cannot be had."""
        ...


class _List(msgspec.Struct):
    """One list: its networks (None: it could never be read), and when it is to be read again, and was used last (monotonic)."""

    networks: Networks | None = None
    again_s: float = 0.0
    used_s: float = 0.0


class AddressLists:
    """The lists of all sources. Belongs to one event loop."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._lists: dict[str, _List] = {}
        self._running: dict[str, asyncio.Future[None]] = {}

    async def networks(self, urls: tuple[str, ...]) -> list[Networks]:
        """The networks of all these lists, as they were read last. Raises Unavailable when one of them could never be read."""
        found: list[Networks] = []
        for url in urls:
            known = self._lists.get(url)
            if known is None or known.networks is None:
                known = await self._first(url)
            if known.networks is None:
                raise Unavailable("the list of addresses that may send could not be read")
            known.used_s = self._clock.monotonic_s()
            found.append(known.networks)
        return found

    async def refresh(self) -> None:
        """Read anew what is due. To be called every minute; a list that cannot be read stays as it was."""
        now_s = self._clock.monotonic_s()
        for url, known in list(self._lists.items()):
            if known.used_s + _FORGOTTEN_S < now_s:
                del self._lists[url]
            elif known.again_s <= now_s:
                await self._read(url, known)

    async def _first(self, url: str) -> _List:
        known = self._lists.get(url)
        if known is None:
            if len(self._lists) >= _REMEMBERED:
                del self._lists[min(self._lists, key=lambda other: self._lists[other].used_s)]
            known = self._lists[url] = _List(used_s=self._clock.monotonic_s())
        if known.again_s <= self._clock.monotonic_s() or url in self._running:
            running = self._running.get(url)
            if running is None:
                running = self._running[url] = asyncio.ensure_future(self._read(url, known))
                running.add_done_callback(lambda _: self._running.pop(url, None))
            await asyncio.shield(running)
        return known

    async def _read(self, url: str, known: _List) -> None:
        where, _, path = url.partition("#")
        body = await self._documents.document(where)
        try:
            if body is None:
                raise ValueError("it could not be fetched")
            # Some thousand networks take some milliseconds to read.
            known.networks = await asyncio.to_thread(_read, body, path)
            known.again_s = self._clock.monotonic_s() + _FRESH_S
        except ValueError as error:
            known.again_s = self._clock.monotonic_s() + _FAILED_S
            # A query may hold a credential of the owner.
            log(ADDRESSES_UNREAD, url=where.partition("?")[0], error=str(error), kept=0 if known.networks is None else len(known.networks))


def _read(body: bytes, path: str) -> Networks:
    return Networks(read_networks(body, path))
