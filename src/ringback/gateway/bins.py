"""What happens to a request below `/in/`? It is kept, and answered: by the bin itself, or by the program that listens for its token.

Anybody may send anything here. So everything is bounded (size, rate, memory, time), and what is wrong with a request is never our 5xx;
502 and 504 speak of the listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from ringback.clock import Clock
from ringback.errors import PayloadTooLarge, Refused, RingbackError, Unavailable
from ringback.gateway.app import Memory
from ringback.gateway.listen import PATHS, Listening
from ringback.gateway.viewer import Page, Viewer
from ringback.model.quarantine import CapturedRequest
from ringback.policy.addresses import Network
from ringback.policy.bins import Allowance, Header, has_body, is_relay, token_in
from ringback.policy.sources_arrival import remote_address
from ringback.services.bins import Bins
from ringback.services.relay import Relay, event_message
from ringback.telemetry.events import REQUEST_FAILED
from ringback.telemetry.log import log

# The contract's bound, and what one answer may take on its way out.
MAX_BODY_BYTES: Final = 2 * 1024 * 1024
# As for all other bodies; an answer gets as long to be read.
BODY_TIMEOUT_S: Final = 30.0
# Bins whose rate is remembered; whoever uses more at once meets the rate of all.
_REMEMBERED: Final = 10_000
# Memory for requests and answers that are on their way: eight of each at their largest, and no more of what the API needs.
_MEMORY_BYTES: Final = 32 * 1024 * 1024
# Building more base64 than this holds the loop for half a millisecond.
_OFF_LOOP_BYTES: Final = 131_072
# An answer leaves in such pieces, so that its memory is held as long as the sender does not read.
_PIECE_BYTES: Final = 65_536
# Seconds between two looks for what is past its time, which is counted in days, and between two slices of it.
_FORGET_EVERY_S, _PAUSE_S = 600.0, 0.02
_JSON: Final = (b"content-type", b"application/json")
_CLOSE: Final = (b"connection", b"close")


class _ClientGone(Exception):
    """There is nobody to answer."""


class _TooOften(Refused):
    """More requests, or bytes, than may come in a second."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("rate_limited", "too many requests come to bins; try again", 429)
        self.retry_after_s = math.ceil(wait_s)


class Answer(msgspec.Struct, frozen=True):
    """What goes back."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


class Share:
    """A part of the memory for all bodies: strangers may take this much of it, and no more."""

    def __init__(self, memory: Memory, most_bytes: int = _MEMORY_BYTES) -> None:
        self._memory = memory
        self._free = most_bytes

    def take(self, size: int) -> None:
        """Set memory aside. Raises Refused (429), or Unavailable when there is too little for anybody."""
        if size > self._free:
            raise Refused("rate_limited", "too many requests to bins are on their way; try again", 429)
        self._memory.take(size)
        self._free -= size

    def give_back(self, size: int) -> None:
        """Memory set aside is free again."""
        self._free += size
        self._memory.give_back(size)


class RateLimits(msgspec.Struct, frozen=True):
    """How often bins may be written to. A fraction of what the writer and a disk take, so that messages hardly notice."""

    # Providers send bursts, and people try load tests: as many at once as five seconds bring.
    one_per_s: float = 50.0
    one_at_once: float = 250.0
    all_per_s: float = 200.0
    all_at_once: float = 1_000.0
    # All that may be kept can be written anew in eight seconds, and then no faster.
    bytes_per_s: float = 8e6
    bytes_at_once: float = 64e6


class Rates:
    """How much of that is left."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._all = Allowance(limits.all_per_s, limits.all_at_once)
        self._bytes = Allowance(limits.bytes_per_s, limits.bytes_at_once)
        self._each: dict[str, Allowance] = {}

    def wait_s(self, token: str, now_s: float) -> float:
        """0.0 when a request may come in now, else the seconds until one may."""
        allowance = self._each.pop(token, None)
        if allowance is None:
            if len(self._each) >= _REMEMBERED:
                del self._each[next(iter(self._each))]
            allowance = Allowance(self._limits.one_per_s, self._limits.one_at_once)
        # Put at the end: those that are used least are forgotten first.
        self._each[token] = allowance
        return allowance.take(now_s) or self._all.take(now_s)

    def wait_for_bytes_s(self, size: int, now_s: float) -> float:
        """0.0 when so many bytes may be kept now, else the seconds until they may."""
        return self._bytes.take(now_s, size)


class BinDoor:
    """The door for bins, their viewer and the relay's socket, as an ASGI application before all others."""

    def __init__(
        self,
        bins: Bins,
        relay: Relay,
        memory: Memory,
        clock: Clock,
        behind: ASGIApp,
        trusted: Sequence[Network] = (),
        limits: RateLimits | None = None,
    ) -> None:
        self._bins = bins
        self._relay = relay
        self._memory = Share(memory)
        self._clock = clock
        self._behind = behind
        self._trusted = tuple(trusted)
        self._rates = Rates(limits or RateLimits())
        self._listening = Listening(relay)
        self._viewer = Viewer(bins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one socket."""
        path = _path(scope)
        if scope["type"] == "websocket" and path in PATHS:
            await self._listening(scope, receive, send)
        elif scope["type"] != "http" or not (path.startswith((b"/in/", b"/view/")) or path in PATHS):
            await self._behind(scope, receive, send)
        else:
            # Otherwise there is nobody to answer any more.
            with contextlib.suppress(_ClientGone):
                await self._answer(scope, path, receive, send)

    async def _answer(self, scope: Scope, path: bytes, receive: Receive, send: Send) -> None:
        if path.startswith(b"/in/"):
            await self._in(scope, path, receive, send)
        elif path.startswith(b"/view/"):
            await self._view(scope, path, send)
        else:
            upgrade = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
            await _send(send, _problem(Refused("upgrade_required", "a websocket is spoken here; use svix listen", 426), upgrade), scope)

    async def _view(self, scope: Scope, path: bytes, send: Send) -> None:
        try:
            page: Page = await self._viewer.page(scope["method"], path, scope["query_string"])
            answer = Answer(page.status, page.headers, page.body)
        except Exception as error:
            answer = _problem(_told(error, scope))
        await _send(send, answer, scope)

    async def _in(self, scope: Scope, path: bytes, receive: Receive, send: Send) -> None:
        token = token_in(path)
        try:
            if token is None:
                raise Refused("not_found", "no such bin: a token has 10 to 64 characters of 0-9 A-Z a-z, a relay's c_ before it", 404)
            wait_s = self._rates.wait_s(token, self._clock.monotonic_s())
            if wait_s:
                raise _TooOften(wait_s)
            await self._take(token, scope, path, receive, send)
        except _ClientGone:
            raise
        except Exception as error:
            await _send(send, _problem(_told(error, scope)), scope)

    async def _take(self, token: str, scope: Scope, path: bytes, receive: Receive, send: Send) -> None:
        """Read a request, keep it, answer it."""
        taken = _Taken(self._memory)
        try:
            body = await self._read(dict(scope["headers"]).get(b"content-length", b""), receive, taken)
            wait_s = self._rates.wait_for_bytes_s(len(body), self._clock.monotonic_s())
            if wait_s:
                raise _TooOften(wait_s)
            request = self._request(scope, path, body)
            if not is_relay(token):
                item_id = await self._bins.keep(token, request, 200)
                await _send(send, Answer(200, (_JSON,), msgspec.json.encode({"id": item_id})), scope)
                return
            item_id = await self._bins.keep(token, request, None)
            answer = await self._relayed(token, item_id, request, taken)
            del request, body
            await _send(send, answer, scope)
        finally:
            taken.give_back()
        # Told last: the sender need not wait for the disk again, and the request is kept in any case.
        with contextlib.suppress(RingbackError):
            await self._bins.answered(item_id, answer.status)

    async def _relayed(self, token: str, item_id: str, request: CapturedRequest, taken: _Taken) -> Answer:
        """What the listener says to a request."""
        large = len(request.body or b"") > _OFF_LOOP_BYTES
        message = await asyncio.to_thread(event_message, item_id, request) if large else event_message(item_id, request)
        try:
            relayed = await self._relay.ask(token, item_id, message)
            taken.more(len(relayed.body))
        except RingbackError as error:
            return _problem(error)
        return Answer(relayed.status, relayed.headers, relayed.body)

    def _request(self, scope: Scope, path: bytes, body: bytes) -> CapturedRequest:
        headers = tuple(scope["headers"])
        peer = scope["client"][0] if scope.get("client") else ""
        address = remote_address(peer, [value for name, value in headers if name == b"x-forwarded-for"], self._trusted)
        query = scope["query_string"]
        return CapturedRequest(scope["method"], path + b"?" + query if query else path, str(address or peer), headers, body)

    async def _read(self, announced: bytes, receive: Receive, taken: _Taken) -> bytes:
        """The whole body. Raises PayloadTooLarge, Refused (too slow, or too many at once), Unavailable."""
        if announced.isdigit() and (len(announced) > 15 or int(announced) > MAX_BODY_BYTES):
            raise _too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientGone
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        raise _too_large()
                    taken.more(len(chunk))
                    chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise Refused("request_timeout", f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s", 408) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class _Taken:
    """The memory that one request holds."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._bytes = 0

    def more(self, size: int) -> None:
        self._share.take(size)
        self._bytes += size

    def give_back(self) -> None:
        self._share.give_back(self._bytes)
        self._bytes = 0


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"a request to a bin may have {MAX_BODY_BYTES} bytes; send less")


def _told(error: Exception, scope: Scope) -> RingbackError:
    """The error that a stranger is told; the log is told of our own."""
    if isinstance(error, RingbackError) and error.status != 500:
        return error
    log(REQUEST_FAILED, failure=error, request_id="", method=scope["method"], path="a bin", error=type(error).__name__)
    return RingbackError("the server failed to answer; its log says why")


def _problem(error: RingbackError, more: tuple[Header, ...] = ()) -> Answer:
    headers: tuple[Header, ...] = (_JSON, *more)
    if isinstance(error, _TooOften | Unavailable):
        headers += ((b"retry-after", b"%d" % error.retry_after_s),)
    elif error.status == 429:
        headers += ((b"retry-after", b"1"),)
    if error.status in (408, 413) or isinstance(error, Unavailable):
        # What is left of the body will not be read.
        headers += (_CLOSE,)
    return Answer(error.status, headers, msgspec.json.encode({"code": error.code, "detail": str(error)}))


def _path(scope: Scope) -> bytes:
    raw: bytes = scope.get("raw_path") or b""
    return raw or str(scope.get("path", "")).encode("utf-8", "surrogatepass")


async def _send(send: Send, answer: Answer, scope: Scope) -> None:
    """Send an answer in pieces: each waits until the one before has left. A sender that does not read is given up."""
    headers = list(answer.headers)
    if has_body(answer.status):
        headers.append((b"content-length", b"%d" % len(answer.body)))
    body = b"" if scope["method"] == "HEAD" else answer.body
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            for start in range(0, len(body) - _PIECE_BYTES, _PIECE_BYTES):
                await send({"type": "http.response.body", "body": body[start : start + _PIECE_BYTES], "more_body": True})
            rest = (len(body) - 1) // _PIECE_BYTES * _PIECE_BYTES if body else 0
            await send({"type": "http.response.body", "body": body[rest:]})
    except TimeoutError:
        raise _ClientGone from None


class BinUpkeep:
    """Forgets what is past its time."""

    def __init__(self, bins: Bins) -> None:
        self._bins = bins

    async def run(self) -> None:
        """Until cancelled. A store that fails is tried again."""
        while True:
            # The store has told the log what ails it.
            with contextlib.suppress(RingbackError):
                while await self._bins.forget():
                    await asyncio.sleep(_PAUSE_S)
            await asyncio.sleep(_FORGET_EVERY_S)
