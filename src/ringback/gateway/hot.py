"""The hot door for providers: a POST to a source that is known in memory is answered on the connection itself.

Laid over the other hot door's protocol, which stands on uvicorn's: a request that is not plain (another method, a list of addresses, a
rate, a coding of the transfer) goes the ordinary way, through `gateway.app`, which answers the same, byte for byte.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ringback.errors import RingbackError, Unavailable
from ringback.gateway.app import BODY_TIMEOUT_S, Memory, Place
from ringback.model.messages import Message
from ringback.model.quarantine import TOO_LARGE_BODY, TOO_SLOW_BODY
from ringback.services.directory import Entry
from ringback.services.gateway import Ready, SourceDirectory, is_ours
from ringback.services.receiving import TOO_LARGE, TOO_SLOW, Receiver, Reply, canned, unavailable
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest

# Headers that change how a request is read or answered, or where it comes from: such requests are answered the ordinary way.
_COLD: Final = frozenset((b"expect", b"transfer-encoding", b"upgrade", b"content-encoding", b"x-forwarded-for", b"forwarded"))
# More headers than this, or a longer length than ten digits say, are looked at by the ordinary way, which refuses them.
_MAX_HEADERS: Final = 100
_MAX_DIGITS: Final = 9
_CLOSE: Final = (b"connection", b"close")


class Inbound(msgspec.Struct, frozen=True):
    """What all connections of one server share."""

    receiver: Receiver
    sources: SourceDirectory
    memory: Memory
    place: Place


class _NoEvent:
    """Nobody waits for a hot request's body: it is taken as it comes."""

    __slots__ = ()

    def set(self) -> None:
        """Nothing."""


_NO_EVENT: Final = _NoEvent()


class InboundCycle:
    """One hot request: its body while it arrives, its answer when its event is durable. Has what uvicorn expects of a cycle."""

    __slots__ = (
        "answered", "chunks", "disconnected", "door", "entry", "headers", "keep_alive", "message_event", "ready", "response_complete",
        "running", "size", "url",
    )  # fmt: skip

    def __init__(self, door: InboundDoor, ready: Ready, headers: Headers, url: bytes, keep_alive: bool) -> None:
        self.door = door
        self.ready = ready
        self.headers = headers
        self.url = url
        self.keep_alive = keep_alive
        self.entry: Entry | None = None
        self.message_event = _NO_EVENT
        self.response_complete = False
        self.disconnected = False
        self.running = False
        self.answered = False
        self.chunks: list[bytes] = []
        self.size = 0

    def run(self) -> None:
        """The body is complete: judge it, and have its event stored."""
        self.running = True
        receiver = self.door.inbound.receiver
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        request = InboundRequest(self.headers, body, b"POST", self.url)
        entry = self.entry = receiver.entry(self.ready)
        taken = None if entry is None or self.ready.stale else receiver.decided(self.ready, request)
        if taken is None or entry is None or len(taken.events) != 1:
            self.door.loop.create_task(self._receive(request))
            return
        try:
            receiver.begin(self.ready, entry, taken.events[0], self)
        except RingbackError as error:
            self.refused(error)

    async def _receive(self, request: InboundRequest) -> None:
        """What is no plain event goes through the receiver as the ordinary route does."""
        self._answer(await self.door.inbound.receiver.answer(self.ready, request, self.door.peer))

    def accepted(self, message: Message) -> None:
        """The event is durable."""
        self.door.inbound.receiver.new(self.ready, message)
        self._answer(canned(self.ready))

    def repeated(self, message_id: str) -> None:
        """The event was durable before."""
        if self.entry is not None:
            self.door.inbound.receiver.again(self.ready, self.entry, message_id)
        self._answer(canned(self.ready))

    def refused(self, error: Exception) -> None:
        """Nothing was kept."""
        self.refuse(error if isinstance(error, RingbackError) else Unavailable("the event could not be stored"))

    def refuse(self, error: RingbackError) -> None:
        """Answer that it shall come again."""
        self._answer(unavailable(error))

    def too_large(self) -> None:
        """Answer that the body is larger than the source takes."""
        self.ready.rejected(TOO_LARGE_BODY)
        self._answer(TOO_LARGE)

    def too_slow(self) -> None:
        """Answer that the body did not arrive in time."""
        self.ready.rejected(TOO_SLOW_BODY)
        self._answer(TOO_SLOW)

    def _answer(self, reply: Reply) -> None:
        self.answered = True
        self.door.inbound.memory.give_back(self.size)
        self.chunks.clear()
        if not self.disconnected:
            self.door.reply(self, reply)


class InboundDoor(HttpToolsProtocol):
    """One connection. Stands above the other hot door, whose names it uses; `inbound` is set on the subclass that is made."""

    inbound: Inbound
    cycle: Any
    deadline: float
    _hot: Any
    _in_head: bool
    _in_body: bool
    _dated: tuple[Any, bytes]

    @property
    def peer(self) -> str:
        """The address of the other end."""
        return self.client[0] if self.client else ""

    def on_headers_complete(self) -> None:
        """The head is whole: is it a hot request of a provider?"""
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and self.parser.get_method() == b"POST" and not self.parser.should_upgrade():
            path, _, query = self.url.partition(b"?")
            if is_ours(path):
                hot = self._inbound_cycle(path, query)
                if hot is not None:
                    self._in_head = False
                    self._in_body = True
                    self.deadline = self.loop.time() + BODY_TIMEOUT_S
                    self._hot = self.cycle = hot
                    return
        super().on_headers_complete()

    def _inbound_cycle(self, path: bytes, query: bytes) -> InboundCycle | None:
        ready = self.inbound.sources.known(path)
        if ready is None or not ready.plain or b"#" in query or len(self.headers) > _MAX_HEADERS:
            return None
        named = dict(self.headers)
        length = named.get(b"content-length")
        if (
            length is None
            or len(length) > _MAX_DIGITS
            or int(length) > ready.source.rules.max_body_bytes
            or not named.keys().isdisjoint(_COLD)
        ):
            return None
        url = self.inbound.place.url(b"https" if self.scheme == "https" else b"http", path, query, named, self.peer, ready)
        return InboundCycle(self, ready, Headers(self.headers, lowered=True), url, self.parser.should_keep_alive())

    def expire(self, now_s: float) -> None:
        """Close the connection if its deadline has passed; a body of ours that never ends is answered as on the ordinary route."""
        hot = self._hot
        if type(hot) is InboundCycle and not hot.answered and not self._in_head and now_s >= self.deadline:
            self.deadline = float("inf")
            hot.keep_alive = False
            hot.too_slow()
            return
        super().expire(now_s)  # type: ignore[misc]  # the other hot door's

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        hot = self._hot
        if type(hot) is not InboundCycle:
            super().on_body(body)
            return
        if hot.answered:
            return
        try:
            self.inbound.memory.take(len(body))
        except RingbackError as error:
            hot.keep_alive = False
            hot.refuse(error)
            return
        hot.size += len(body)
        if hot.size > hot.ready.source.rules.max_body_bytes:
            hot.keep_alive = False
            hot.too_large()
            return
        hot.chunks.append(body)

    def reply(self, cycle: InboundCycle, reply: Reply) -> None:
        """Write an answer, the same bytes as uvicorn would for the ordinary route."""
        headers = self.server_state.default_headers
        if headers is not self._dated[0]:
            self._dated = (headers, b"".join(b"%b: %b\r\n" % header for header in headers))
        extra = b"".join([b"%b: %b\r\n" % header for header in reply.headers])
        if _CLOSE in reply.headers:
            cycle.keep_alive = False
            end = b"\r\n"
        else:
            end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        length = b"" if reply.status == 204 else b"content-length: %d\r\n" % len(reply.body)
        self.transport.write(b"".join((STATUS_LINE[reply.status], self._dated[1], extra, length, end, reply.body)))
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def inbound_class(door: type[HttpToolsProtocol], inbound: Inbound) -> type[HttpToolsProtocol]:
    """The protocol of one server: the hot door for providers over another one."""
    return type("Door", (InboundDoor, door), {"inbound": inbound})
