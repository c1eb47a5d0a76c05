"""Which keys do providers publish? Fetched through the guarded client, remembered for a while; a failed fetch is remembered too.

Where a key may come from was decided before: by the provider's own hosts, or by the owner of the source, whose addresses the guard checks.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ringback import __version__
from ringback.clock import Clock
from ringback.delivery.transport import Origin, SealedRequest, Transport
from ringback.model.attempts import Exchange
from ringback.policy.urls import split_url
from ringback.services.published import Kept
from ringback.signing.fetched import KeyRef, KeyUnavailable

# Providers rotate their keys weeks ahead, and revoke them in emergencies: ten minutes is how long a revoked one may be believed.
_FRESH_S: Final = 600.0
# A provider whose keys cannot be had is not asked with each request.
_FAILED_S: Final = 10.0
# A set that lacks a key is fetched anew, for the provider may have added it; but only so often, for anybody can name keys.
_AGAIN_S: Final = 30.0
# Fetches at once: providers have a few keys, and strangers can name addresses on their hosts.
_AT_ONCE: Final = 16
# Larger ones are fetched anew after a restart: the largest set that is known has half of it.
_STORED_MAX_BYTES: Final = 64 * 1024
_KIND: Final = "key"
# Keys remembered, some kilobytes each: as many as there are sources of different providers, with room for rotation.
_REMEMBERED: Final = 1_000


class _Kept(msgspec.Struct, frozen=True):
    """What a provider published, and when it was fetched (monotonic)."""

    body: bytes
    fetched_s: float


class FetchedKeys:
    """`services.receiving.Keys` over the delivery client. Belongs to one event loop."""

    def __init__(self, transport: Transport, clock: Clock, stored: Kept) -> None:
        self._transport = transport
        self._clock = clock
        self._stored = stored
        self._kept: dict[str, _Kept] = {}
        self._failed: dict[str, float] = {}
        self._running: dict[str, asyncio.Future[_Kept | None]] = {}
        # Keys that were looked for among those kept from before the start.
        self._looked: set[str] = set()

    def key(self, ref: KeyRef) -> bytes:
        """The key, if it was fetched lately. Raises KeyUnavailable."""
        kept, now_s = self._kept.get(ref.url), self._clock.monotonic_s()
        if kept is None or kept.fetched_s + _FRESH_S <= now_s:
            raise KeyUnavailable(ref)
        # Whether the set really has the key is for the verifier to say.
        if ref.form == "jwks" and ref.key_id.encode("utf-8", "surrogatepass") not in kept.body and kept.fetched_s + _AGAIN_S <= now_s:
            raise KeyUnavailable(ref)
        return kept.body

    async def fetch(self, ref: KeyRef) -> None:
        """Get a key; several that ask for the same one wait together. Raises KeyUnavailable."""
        if not ref.url.startswith("https://") or self._failed.get(ref.url, 0.0) > self._clock.monotonic_s():
            raise KeyUnavailable(ref)
        running = self._running.get(ref.url)
        if running is None:
            if len(self._running) >= _AT_ONCE:
                raise KeyUnavailable(ref)
            running = self._running[ref.url] = asyncio.ensure_future(self._published(ref.url))
            running.add_done_callback(lambda _: self._running.pop(ref.url, None))
        kept = await asyncio.shield(running)
        if kept is None:
            self._forget_some(self._failed)
            self._failed[ref.url] = self._clock.monotonic_s() + _FAILED_S
            raise KeyUnavailable(ref)
        self._forget_some(self._kept)
        self._kept[ref.url] = kept

    async def _published(self, url: str) -> _Kept | None:
        """A key as it was kept by the server that ran before, if it is fresh enough to be believed; else as it is published now."""
        if url not in self._looked:
            if len(self._looked) >= _REMEMBERED:
                self._looked.clear()
            self._looked.add(url)
            stored = await self._stored.find(_KIND, url)
            if stored is not None and stored.age_s < _FRESH_S:
                return _Kept(stored.body, self._clock.monotonic_s() - stored.age_s)
        body = await self._get(url)
        if body is None:
            return None
        if len(body) <= _STORED_MAX_BYTES:
            await self._stored.keep(_KIND, url, body)
        return _Kept(body, self._clock.monotonic_s())

    async def document(self, url: str) -> bytes | None:
        """The document at a URL, over TLS; None when it cannot be had."""
        return await self._get(url) if url.startswith("https://") else None

    async def visit(self, url: str) -> bool:
        """GET a URL; was it answered 2xx?"""
        return await self._get(url) is not None

    async def _get(self, url: str) -> bytes | None:
        done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        try:
            parts = split_url(url)
        except ValueError:
            return None
        head = (
            f"GET {parts.target} HTTP/1.1\r\nhost: {parts.authority}\r\nuser-agent: ringback/{__version__}\r\naccept: */*\r\n"
            "content-length: 0\r\n\r\n"
        )
        request = SealedRequest(Origin(parts.tls, parts.host, parts.port), head.encode(), b"")
        self._transport.send(request, lambda exchange: None if done.cancelled() else done.set_result(exchange))
        exchange = await done
        return exchange.body if exchange.status // 100 == 2 and not exchange.body_truncated else None

    @staticmethod
    def _forget_some(remembered: dict[str, float] | dict[str, _Kept]) -> None:
        if len(remembered) >= _REMEMBERED:
            remembered.pop(next(iter(remembered)))
