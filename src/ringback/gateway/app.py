"""The door for providers as an ASGI application: what is called at a source's path is answered here, everything else by whoever is behind.

Strangers learn nothing here: an unknown source, one that is off and a wrong token look the same, and so do all reasons for not believing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from ringback.clock import Clock
from ringback.errors import Unavailable
from ringback.model.messages import Remote
from ringback.model.quarantine import (
    CLIENT_CERTIFICATE,
    HEADER_REQUIRED,
    METHOD_NOT_ALLOWED,
    ORGANISATION_RATE_LIMITED,
    RATE_LIMITED,
    TOO_LARGE_BODY,
    TOO_SLOW_BODY,
)
from ringback.policy.addresses import Address, Network
from ringback.policy.sources_arrival import called, is_allowed, is_trusted, missing_header, remote_address, unproven
from ringback.services.address_lists import AddressLists
from ringback.services.arrivals import Came
from ringback.services.gateway import Ready, SourceDirectory, is_ours
from ringback.services.judging import Refusal
from ringback.services.receiving import Receiver
from ringback.services.replies import TOO_LARGE, TOO_SLOW, UNKNOWN, Header, Reply
from ringback.signing.handshake import answer_handshake
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from ringback.signing.verdict import IP_DENIED
from ringback.telemetry.prometheus import Metrics

# As for all other requests: a body of the default limit takes 17 s at 1 Mbit/s.
BODY_TIMEOUT_S: Final = 30.0
# Methods that are only ever questions.
_ASKING: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_JSON: Final = (b"content-type", b"application/json")


class Memory(Protocol):
    """What bounds the memory of all bodies together."""

    def take(self, size: int) -> None:
        """Set memory aside. Raises Unavailable when there is too little."""
        ...

    def give_back(self, size: int) -> None:
        """Memory set aside is free again."""
        ...


class _ClientGone(Exception):
    """There is nobody to answer."""


class _TooLarge(Exception):
    """The body is over the limit of its source."""


class Gateway:
    """Answers what providers send, and hands on what is not meant for a source."""

    def __init__(
        self,
        receiver: Receiver,
        sources: SourceDirectory,
        memory: Memory,
        clock: Clock,
        behind: ASGIApp,
        place: Place,
        lists: AddressLists,
        metrics: Metrics,
    ) -> None:
        self._receiver = receiver
        self._sources = sources
        self._memory = memory
        self._clock = clock
        self._behind = behind
        self._place = place
        self._lists = lists
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = _path(scope)
        if scope["type"] != "http" or not is_ours(path):
            await self._behind(scope, receive, send)
            return
        began_s = self._clock.monotonic_s()
        try:
            reply = await self._reply(scope, path, receive)
        except _ClientGone:
            return
        except Exception as error:
            reply = self._receiver.failure(error)
        if reply.status < 300:
            self._metrics.source_ack_seconds.observe(self._clock.monotonic_s() - began_s)
        await _send(send, reply, without_body=scope["method"] == "HEAD")

    async def _reply(self, scope: Scope, path: bytes, receive: Receive) -> Reply:
        ready = await self._sources.find(path)
        if ready is None:
            return UNKNOWN
        headers = Headers(scope["headers"], lowered=True)
        method = scope["method"].encode("latin-1")
        peer = scope["client"][0] if scope.get("client") else ""
        url = self._place.url(str(scope["scheme"]).encode(), path, scope["query_string"], dict(headers.fields), peer, ready)
        request = InboundRequest(headers, b"", method, url)
        address = self._place.sender(peer, headers)
        remote = Remote(peer, None if address is None or str(address) == peer else str(address))
        early = self._early(ready, request, remote) or await self._unwelcome(ready, address)
        if isinstance(early, Reply):
            return early
        taken = 0
        try:
            chunks: list[bytes] = []
            async with asyncio.timeout(BODY_TIMEOUT_S):
                taken = await self._read(ready.source.rules.max_body_bytes, headers, receive, chunks)
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            request = InboundRequest(headers, body, method, request.url)
            now = await self._sources.current(ready, path)
            if now is None:
                return UNKNOWN
            # It was changed while the body arrived: a secret that was taken away counts no more.
            ready = now
            if early is not None:
                return await self._receiver.refuse(ready, early, request, remote)
            return await self._receiver.answer(ready, request, remote)
        except _TooLarge:
            return self._turned_away(ready, TOO_LARGE_BODY, request, remote, TOO_LARGE)
        except TimeoutError:
            return self._turned_away(ready, TOO_SLOW_BODY, request, remote, TOO_SLOW)
        finally:
            self._memory.give_back(taken)

    def _turned_away(self, ready: Ready, reason: str, request: InboundRequest, remote: Remote, reply: Reply) -> Reply:
        self._receiver.turned_away(ready, reason, Came(request.method, request.url, 0, remote), reply.status)
        return reply

    async def _unwelcome(self, ready: Ready, address: Address | None) -> Refusal | None:
        """Does it come from elsewhere than its source allows? Raises Unavailable when that cannot be told."""
        rules = ready.source.rules
        if not rules.allowed_ips_from:
            allowed = is_allowed(address, ready.allowed)
        elif ready.allowed and is_allowed(address, ready.allowed):
            allowed = True
        else:
            try:
                allowed = is_allowed(address, await self._lists.networks(rules.allowed_ips_from))
            except Unavailable:
                if rules.allowed_ips_unknown != "allow":
                    raise
                allowed = True
        return None if allowed else Refusal(IP_DENIED, "the address that sent this is not in the source's list", 403)

    def _early(self, ready: Ready, request: InboundRequest, remote: Remote) -> Reply | Refusal | None:
        """What can be said before the body is read; a Refusal is kept with its body."""
        rules = ready.source.rules
        if request.method.decode("latin-1") not in rules.methods and not self._asks(ready, request):
            methods = ", ".join(rules.methods).encode()
            told = b'{"code":"method_not_allowed","detail":"this method is not allowed here; use %b"}' % methods
            reply = Reply(405, (_JSON, (b"allow", methods)), told)
            return self._turned_away(ready, METHOD_NOT_ALLOWED, request, remote, reply)
        # Its own rate first: what that refuses takes nothing from the other sources.
        for bucket, reason in ((ready.bucket, RATE_LIMITED), (ready.shared, ORGANISATION_RATE_LIMITED)):
            if bucket is not None and (wait_s := bucket.take(self._clock.monotonic_s())):
                retry = (b"retry-after", str(math.ceil(wait_s)).encode())
                reply = Reply(429, (_JSON, retry), b'{"code":"rate_limited","detail":"Too many requests"}')
                return self._turned_away(ready, reason, request, remote, reply)
        if rules.client_certificate:
            name = unproven(request.headers.fields, rules.client_certificate)
            if name is not None or not is_trusted(remote.peer, self._place.trusted):
                text = f"the header {name} is not there once, with the wanted value" if name else "no trusted proxy sent this"
                return Refusal(CLIENT_CERTIFICATE, text, 403)
        if rules.required_headers:
            name = missing_header(dict(request.headers.fields), rules.required_headers)
            if name is not None:
                text = f"the header {name} is missing, or has another value than the source asks for"
                return Refusal(HEADER_REQUIRED, text, 415 if name.lower() == "content-type" else 401)
        return None

    @staticmethod
    def _asks(ready: Ready, request: InboundRequest) -> bool:
        """Is this a question that the source answers? Questions have no body that matters."""
        if request.method not in _ASKING or not ready.handshakes:
            return False
        return answer_handshake(ready.handshakes, request, ready.knowledge, verified=False) is not None

    async def _read(self, most: int, headers: Headers, receive: Receive, chunks: list[bytes]) -> int:
        announced = dict(headers.fields).get(b"content-length", b"")
        if announced.isdigit() and (len(announced) > 15 or int(announced) > most):
            raise _TooLarge
        taken = 0
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _ClientGone
                chunk = message.get("body", b"")
                if taken + len(chunk) > most:
                    raise _TooLarge
                self._memory.take(len(chunk))
                taken += len(chunk)
                chunks.append(chunk)
                more = message.get("more_body", False)
        except BaseException:
            self._memory.give_back(taken)
            raise
        return taken


class Place:
    """Where this server stands: its public URL, and the proxies in front of it whose word counts."""

    def __init__(self, trusted: Sequence[Network] = (), public_url: str | None = None) -> None:
        self.trusted = tuple(trusted)
        self._public_url = None if public_url is None else public_url.rstrip("/").encode()

    def sender(self, peer: str, headers: Headers) -> Address | None:
        """Who sent the request, as far as trusted proxies say."""
        return remote_address(peer, headers.all(b"x-forwarded-for"), self.trusted)

    def url(self, scheme: bytes, path: bytes, query: bytes, named: Mapping[bytes, bytes], peer: str, ready: Ready) -> bytes:
        """The URL that the sender called, as far as anybody here knows it."""
        rest = b"?" + query if query else b""
        if ready.source.verification.url is not None:
            return ready.source.verification.url.encode() + rest
        if self._public_url is not None:
            return self._public_url + path + rest
        scheme, host = called(scheme, named, peer, self.trusted)
        return scheme + b"://" + host + path + rest


def _path(scope: Scope) -> bytes:
    raw: bytes = scope.get("raw_path") or b""
    if raw:
        return raw
    return str(scope.get("path", "")).encode("utf-8", "surrogatepass")


async def _send(send: Send, reply: Reply, *, without_body: bool) -> None:
    headers: list[Header] = list(reply.headers)
    if reply.status != 204:
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if without_body or reply.status == 204 else reply.body})
