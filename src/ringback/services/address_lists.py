"""From which addresses does a provider send, by its own word? Lists that are fetched, and kept while they cannot be read anew."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import msgspec

from ringback.clock import Clock
from ringback.errors import Unavailable
from ringback.policy.address_lists import Networks, read_networks
from ringback.services.published import Kept
from ringback.telemetry.events import ADDRESSES_UNREAD
from ringback.telemetry.log import log

# Providers announce new addresses days ahead.
_FRESH_S: Final = 3_600.0
# A list that cannot be had is not asked for with each request.
_FAILED_S: Final = 30.0
# A list that no request asked for in so long belongs to no source any more.
_FORGOTTEN_S: Final = 86_400.0
# A list that is used, and cannot be read anew, is noted as in use so often (daily): what is not used for a month is forgotten.
_NOTED_S: Final = 86_400.0
_KIND: Final = "addresses"
# Lists remembered, of up to ten thousand networks each: there are a few providers that publish one.
_REMEMBERED: Final = 200


class Documents(Protocol):
    """What fetches published documents: over TLS, through the guard, following nothing."""

    async def document(self, url: str) -> bytes | None:
        """The document at a URL; None when it cannot be had."""
        ...


class _List(msgspec.Struct):
    """One list: its networks (None: it could never be read), and when it was read, is to be read again, and was used last (monotonic).

    `looked`: what was kept from before the start was looked for. `noted_s` is when it was last noted as in use.
    """

    networks: Networks | None = None
    read_s: float = 0.0
    again_s: float = 0.0
    used_s: float = 0.0
    looked: bool = False
    noted_s: float = 0.0


class Read(msgspec.Struct, frozen=True):
    """How a list stands: its URL without what may be a credential, how many networks are in it, and how long ago it was read, seconds.

    `networks` and `age_s` are None for one that could never be read, or that no request has asked for yet.
    """

    url: str
    networks: int | None
    age_s: float | None


class AddressLists:
    """The lists of all sources. Belongs to one event loop."""

    def __init__(self, documents: Documents, clock: Clock, kept: Kept) -> None:
        self._documents = documents
        self._kept = kept
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

    def states(self, urls: tuple[str, ...]) -> list[Read]:
        """How these lists stand."""
        return [self._state(url) for url in urls]

    def _state(self, url: str) -> Read:
        known, shown = self._lists.get(url), _without_query(url)
        if known is None or known.networks is None:
            return Read(shown, None, None)
        return Read(shown, len(known.networks), self._clock.monotonic_s() - known.read_s)

    async def _first(self, url: str) -> _List:
        known = self._lists.get(url)
        if known is None:
            if len(self._lists) >= _REMEMBERED:
                del self._lists[min(self._lists, key=lambda other: self._lists[other].used_s)]
            known = self._lists[url] = _List(used_s=self._clock.monotonic_s())
        if known.again_s <= self._clock.monotonic_s() or url in self._running:
            running = self._running.get(url)
            if running is None:
                running = self._running[url] = asyncio.ensure_future(self._begin(url, known))
                running.add_done_callback(lambda _: self._running.pop(url, None))
            await asyncio.shield(running)
        return known

    async def _begin(self, url: str, known: _List) -> None:
        """A list that is not in memory: as it was kept, however old that is, and else as it is published now."""
        if not known.looked:
            known.looked = True
            document = await self._kept.find(_KIND, url)
            if document is not None:
                try:
                    known.networks = await asyncio.to_thread(_read, document.body, "")
                except ValueError:
                    # Of another version, perhaps: it is fetched anew.
                    known.networks = None
                else:
                    now_s = known.noted_s = self._clock.monotonic_s()
                    known.read_s = now_s - document.age_s
                    # Whoever asked is answered by what was kept; `refresh` reads it anew when it is due.
                    known.again_s = known.read_s + _FRESH_S
                    return
        await self._read(url, known)

    async def _read(self, url: str, known: _List) -> None:
        where, _, path = url.partition("#")
        body = await self._documents.document(where)
        now_s = self._clock.monotonic_s()
        try:
            if body is None:
                raise ValueError("it could not be fetched")
            # Some thousand networks take some milliseconds to read.
            networks = await asyncio.to_thread(read_networks, body, path)
            known.networks = Networks(networks)
            known.read_s, known.again_s, known.noted_s = now_s, now_s + _FRESH_S, now_s
            await self._kept.keep(_KIND, url, "\n".join(map(str, networks)).encode())
        except ValueError as error:
            known.again_s = now_s + _FAILED_S
            log(ADDRESSES_UNREAD, url=_without_query(where), error=str(error), kept=0 if known.networks is None else len(known.networks))
            if known.networks is not None and known.noted_s + _NOTED_S < now_s:
                known.noted_s = now_s
                await self._kept.used(_KIND, url)


def _without_query(url: str) -> str:
    """A query may hold a credential of the owner."""
    where, hash_, path = url.partition("#")
    return where.partition("?")[0] + hash_ + path


def _read(body: bytes, path: str) -> Networks:
    return Networks(read_networks(body, path))
