"""The hot door for providers: a POST to a source that is known in memory is answered on the connection itself.

Laid over the other hot door's protocol, which stands on uvicorn's: a request that is not plain (another method, a list of addresses, a
rate, a coding of the transfer) goes the ordinary way, through `gateway.app`, which answers the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ringback.errors import RingbackError, Unavailable
from ringback.gateway.app import Memory, Place
from ringback.model.arrivals import DUPLICATE, SUPERSEDED
from ringback.model.messages import Message, Remote
from ringback.model.quarantine import TOO_SLOW_BODY
from ringback.services.arrivals import Came
from ringback.services.beside import LARGE_BYTES
from ringback.services.directory import Entry
from ringback.services.gateway import Ready, SourceDirectory, is_ours
from ringback.services.intake import NewMessage
from ringback.services.receiving import Receiver
from ringback.services.replies import OK, TOO_SLOW, UNKNOWN, Reply, canned, unavailable
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from ringback.store.base import Superseded
from ringback.telemetry.prometheus import Metrics

# Headers that change how a request is read or answered, or where it comes from: such requests are answered the ordinary way.
_COLD: Final = frozenset((b"expect", b"transfer-encoding", b"upgrade", b"content-encoding", b"x-forwarded-for", b"forwarded"))
# More headers than this, or a length of more digits, are looked at by the ordinary way, which refuses them.
_MAX_HEADERS: Final = 100
_MAX_DIGITS: Final = 9
_CLOSE: Final = (b"connection", b"close")
_NOBODY: Final = Remote("")


def _rest(reply: Reply, end: bytes = b"\r\n") -> bytes:
    """An answer from behind its date; `end` ends its head."""
    length = b"" if reply.status == 204 else b"content-length: %d\r\n" % len(reply.body)
    return b"".join((*[b"%b: %b\r\n" % header for header in reply.headers], length, end, reply.body))


# What nearly every request is answered, without its date.
_OK_LINE: Final = STATUS_LINE[OK.status]
_OK_REST: Final = _rest(OK)


class Inbound(msgspec.Struct, frozen=True):
    """What all connections of one server share."""

    receiver: Receiver
    sources: SourceDirectory
    memory: Memory
    place: Place
    metrics: Metrics
    # Makes a hot request of a door and what is known of it: `InboundCycle`, or one that is traced.
    cycle: Callable[..., Any]


class _NoEvent:
    """Nobody waits for a hot request's body: it is taken as it comes."""

    __slots__ = ()

    def set(self) -> None:
        """Nothing."""


_NO_EVENT: Final = _NoEvent()


class InboundCycle:
    """One hot request: its body while it arrives, its answer when its event is durable. Has what uvicorn expects of a cycle."""

    __slots__ = (
        "answered",
        "began_s",
        "chunks",
        "disconnected",
        "door",
        "entry",
        "event",
        "headers",
        "keep_alive",
        "ready",
        "response_complete",
        "running",
        "size",
        "url",
    )
    message_event = _NO_EVENT
    # Set once it is judged, before anybody looks.
    event: NewMessage | None

    def __init__(self, door: InboundDoor, ready: Ready, headers: Headers, keep_alive: bool) -> None:
        self.door = door
        self.ready = ready
        self.headers = headers
        self.keep_alive = keep_alive
        self.chunks: list[bytes] = []
        self.size = 0
        self.answered = self.running = self.disconnected = self.response_complete = False
        self.entry: Entry | None = None
        # The connection may have read the next one when this one is answered.
        self.url = door.url
        self.began_s = door.loop.time()

    def run(self) -> None:
        """The body is complete: judge it, and have its event stored."""
        self.running = True
        door, ready = self.door, self.ready
        receiver = door.shared.receiver
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        entry = self.entry = receiver.entry(ready)
        if entry is not None and not ready.stale and self.size <= LARGE_BYTES:
            request = InboundRequest(self.headers, body, b"POST", door.public_url(ready) if ready.needs_url else b"")
            event = self.event = receiver.decided(ready, request, door.remote)
            if event is not None:
                try:
                    receiver.begin(ready, entry, event, self)
                except RingbackError as error:
                    self.refused(error)
                return
        path = door.url.partition(b"?")[0]
        door.loop.create_task(self._receive(InboundRequest(self.headers, body, b"POST", door.public_url(ready)), path))

    async def _receive(self, request: InboundRequest, path: bytes) -> None:
        """What is no plain event goes through the receiver as the ordinary route does."""
        inbound = self.door.shared
        try:
            ready = await inbound.sources.current(self.ready, path)
        except RingbackError as error:
            self.refused(error)
            return
        self._answer(UNKNOWN if ready is None else await inbound.receiver.answer(ready, request, self.door.remote))

    def accepted(self, message: Message) -> None:
        """The event is durable."""
        ready = self.ready
        self.door.shared.receiver.new(ready, message)
        ready.taken_bytes += self.size
        self._answer(canned(ready))

    def repeated(self, message_id: str) -> None:
        """The event was durable before."""
        if self.entry is not None:
            self.door.shared.receiver.again(self.ready, self.entry, message_id)
        self._stands(DUPLICATE, message_id)

    def _stands(self, outcome: str, message_id: str) -> None:
        """The event made no message: that one stands for it."""
        ready, reply = self.ready, canned(self.ready)
        if self.event is not None:
            self.door.shared.receiver.stands(ready, self.event, self._came(), reply.status, outcome, message_id)
        ready.weighed(outcome, self.size)
        self._answer(reply)

    def _came(self) -> Came:
        return Came(b"POST", self.url, self.size, self.door.remote)

    def refused(self, error: Exception) -> None:
        """Nothing was kept."""
        if isinstance(error, Superseded):
            self.door.shared.receiver.older(self.ready)
            self._stands(SUPERSEDED, error.by)
            return
        if self.event is not None and self.door.shared.receiver.sets_aside(self.ready, error):
            self.door.loop.create_task(self._set_aside(self.event, error))
            return
        self.refuse(error if isinstance(error, RingbackError) else Unavailable("the event could not be stored"))

    async def _set_aside(self, event: NewMessage, error: Exception) -> None:
        receiver = self.door.shared.receiver
        try:
            await receiver.set_aside(self.ready, [event], self._came(), error)
        except Exception as failure:
            # The provider waits for an answer, whatever the cause is.
            self._answer(receiver.failure(failure))
            return
        self.ready.taken_bytes += self.size
        self._answer(canned(self.ready))

    def refuse(self, error: RingbackError) -> None:
        """Answer that it shall come again."""
        self._answer(unavailable(error))

    def too_slow(self) -> None:
        """Answer that the body did not arrive in time."""
        self.door.shared.receiver.turned_away(self.ready, TOO_SLOW_BODY, self._came(), TOO_SLOW.status)
        self._answer(TOO_SLOW)

    def _answer(self, reply: Reply) -> None:
        self.answered = True
        self.door.shared.memory.give_back(self.size)
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
    _host: bytes
    _may_be_hot: Callable[[bytes | None], bool]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The last URL that was called, and what was found there: a provider calls the same one again and again.
        self._called = b""
        self._found: tuple[Ready, int] | None = None
        # Who calls; known once the first URL is.
        self.remote = _NOBODY
        # What a class has is found six times as slowly.
        self.shared = self.inbound

    @property
    def peer(self) -> str:
        """The address of the other end."""
        return self.client[0] if self.client else ""

    def public_url(self, ready: Ready) -> bytes:
        """The URL of the request being read, as its sender called it."""
        path, _, query = self.url.partition(b"?")
        scheme = b"https" if self.scheme == "https" else b"http"
        return self.shared.place.url(scheme, path, query, dict(self.headers), self.peer, ready)

    def _provider_cycle(self) -> Any:
        """The cycle of the request whose head is whole, if it is a hot one of a provider."""
        ready = self._ready()
        return None if ready is None else self._inbound_cycle(ready)

    def _ready(self) -> Ready | None:
        """The source that is called, if it is remembered and its requests are plain."""
        url = self.url
        sources = self.shared.sources
        found = self._found
        if found is None or url != self._called:
            # What is not remembered yet may be so next time.
            path = url.partition(b"?")[0]
            found = self._found = sources.remembered(path) if is_ours(path) and url.find(b"#") < 0 else None
            self._called = url
            self.remote = Remote(self.peer)
            if found is None:
                return None
        if not sources.holds(found):
            self._found = None
            return None
        ready = found[0]
        return ready if ready.plain else None

    def _inbound_cycle(self, ready: Ready) -> Any:
        headers = self.headers
        named = dict(headers)
        length = named.get(b"content-length")
        if (
            length is None
            or len(headers) > _MAX_HEADERS
            or len(length) > _MAX_DIGITS
            or int(length) > ready.source.rules.max_body_bytes
            or not _COLD.isdisjoint(named)
            # Others may come twice; of two hosts nobody knows which one was called, and the ordinary way refuses them.
            or (len(named) < len(headers) and sum(name == b"host" for name, _ in headers) > 1)
        ):
            return None
        host = named.get(b"host")
        if (host != self._host or b"connection" in named) and not self._may_be_hot(host):
            return None
        shared = ready.shared
        if shared is not None and shared.take(self.loop.time()):
            # The ordinary way takes once more, in vain, and says so.
            return None
        return self.shared.cycle(self, ready, Headers.indexed(headers, named), self.parser.should_keep_alive())

    def expire(self, now_s: float) -> None:
        """Close the connection if its deadline has passed; a body of ours that never ends is answered as on the ordinary route."""
        hot = self._hot
        if isinstance(hot, InboundCycle) and not hot.answered and not self._in_head and now_s >= self.deadline:
            self.deadline = float("inf")
            hot.keep_alive = False
            hot.too_slow()
            return
        super().expire(now_s)  # type: ignore[misc]  # the other hot door's

    def reply(self, cycle: InboundCycle, reply: Reply) -> None:
        """Write an answer, the same bytes as uvicorn would for the ordinary route."""
        headers = self.server_state.default_headers
        if headers is not self._dated[0]:
            self._dated = (headers, b"".join(b"%b: %b\r\n" % header for header in headers))
        if reply is OK and cycle.keep_alive:
            self.transport.write(_OK_LINE + self._dated[1] + _OK_REST)
        else:
            self.transport.write(self._written(cycle, reply))
        if reply.status < 300:
            self.shared.metrics.source_ack_seconds.observe(self.loop.time() - cycle.began_s)
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _written(self, cycle: InboundCycle, reply: Reply) -> bytes:
        end = b"\r\n"
        if _CLOSE in reply.headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            end = b"connection: close\r\n\r\n"
        return STATUS_LINE[reply.status] + self._dated[1] + _rest(reply, end)


def inbound_class(door: type[HttpToolsProtocol], inbound: Inbound) -> type[HttpToolsProtocol]:
    """The protocol of one server: the hot door for providers over another one."""
    return type("Door", (InboundDoor, door), {"inbound": inbound})
