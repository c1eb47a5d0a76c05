"""How does one HTTP/1.1 exchange run on a connection? Callbacks on httptools: no task and no future per request.

- The outcome is decided once the response headers are complete; what goes wrong after that only cuts the body. Whoever watches is told
  when the body comes slowly, so that nobody has to wait for it.
- A connection is used again only after a complete, well framed response with no byte after it. Whatever looks odd drops it: a
  response must never be taken for another request's answer.
- Most servers answer the same again and again. An answer that is, byte for byte, the one before on its connection is not parsed again.
- Everything a peer can send without end has a bound: header bytes, interim responses, body bytes, and time.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import Protocol, cast

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec.structs import replace

from ringback.delivery.failure import because
from ringback.delivery.transport import SealedRequest, Watcher
from ringback.model.attempts import ErrorClass, Exchange, Phases
from ringback.policy.heads import HEAD_END, foreign_protocol, head_span, header_value

Done = Callable[[Exchange], None]

# Microseconds per second.
_US = 1_000_000
# Below this, joining head and body costs less than a second entry in the transport's queue; above, copying does.
_JOIN_BYTES = 65_536
_FINAL_STATUS, _LOWEST_STATUS = 200, 100
# Answers up to this size are compared with the one before; each connection remembers one.
_REMEMBERED_BYTES = 2_048
# Bytes on the wire to one of a body: a chunk of a single byte takes six. Extensions of chunks and trailers may go on without end.
_FRAMING = 8
# POLLRDHUP tells that the peer has closed its side even when no byte is waiting.
_READABLE = select.POLLIN | getattr(select, "POLLRDHUP", 0)
# How llhttp words a head whose length headers contradict each other or cannot be read.
_LENGTH_COMPLAINTS = ("Content-Length", "Transfer-Encoding")


class ResponseLimits(msgspec.Struct, frozen=True):
    """How much of a response is taken."""

    # Servers send 0.3 to 8 KiB; nginx and others refuse to proxy more than 4 to 64 KiB. It bounds the number of headers, too.
    head_max_bytes: int = 65_536
    # How much of the response head is kept for the attempt record (see Exchange).
    head_kept_bytes: int = 4_096
    # 100 and 103 come once or twice; nobody needs more.
    interim_max: int = 16
    # The contract's `response_body_max` and `response_body_time`.
    body_max_bytes: int = 20_000
    body_time_s: float = 5.0


class Opening(msgspec.Struct, frozen=True, gc=False):
    """How long it took to open a connection, by phase, and when that was done. -1 = the phase did not happen."""

    dns_us: int
    connect_us: int
    tls_us: int
    opened_s: float


class Owner(Protocol):
    """Who holds the connections of a transport."""

    def first_answer(self, connection: Connection, transport: asyncio.BaseTransport) -> None:
        """The first response on a new connection is in."""
        ...

    def reading(self, connection: Connection) -> None:
        """The response headers are in, somebody watches, and the body is not all there."""
        ...

    def reusable(self, connection: Connection) -> None:
        """The exchange ended well; another may follow on this connection."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        ...

    def stale(self, request: SealedRequest, done: Done, started_s: float, deadline_s: float, watcher: Watcher | None) -> None:
        """A reused connection was found dead before the first byte of the response: the request may start once more on a fresh one."""
        ...


class Connection(asyncio.Protocol):
    """One connection to one origin: one exchange at a time, many after one another."""

    __slots__ = (
        "_body_bytes",
        "_chunked",
        "_chunks",
        "_complete",
        "_done",
        "_interim",
        "_just_read",
        "_keep_alive",
        "_last",
        "_limits",
        "_mangled",
        "_now",
        "_opening",
        "_owner",
        "_parser",
        "_poll",
        "_problem",
        "_raw",
        "_received",
        "_remembered",
        "_request",
        "_sent_s",
        "_started_s",
        "_status",
        "_told",
        "_transport",
        "_watcher",
        "address",
        "closed",
        "deadline_s",
        "idle_since_s",
        "status_s",
        "uses",
    )

    def __init__(self, owner: Owner, limits: ResponseLimits, now: Callable[[], float], address: str) -> None:
        self._owner = owner
        self._limits = limits
        self._now = now
        self.address = address
        self.closed = False
        self._just_read = False
        self.uses = 0
        self.idle_since_s = 0.0
        self.deadline_s = 0.0
        self._transport: asyncio.Transport
        self._poll: Callable[[int], list[tuple[int, int]]]
        self._parser = HttpResponseParser(self)
        # Both a length and chunks: chunks win (RFC 9112 section 6.3), and the connection is dropped afterwards.
        self._parser.set_dangerous_leniencies(lenient_chunked_length=True)
        self._done: Done | None = None
        # Let go of when the outcome is told: both are not needed for as long as a body drips.
        self._request: SealedRequest | None = None
        self._watcher: Watcher | None = None
        self._opening: Opening | None = None
        # The last answer: its bytes, which came in one piece and left the parser between two messages, and what was found in them.
        self._remembered: tuple[bytes, Exchange] | None = None
        self._started_s = self._sent_s = self.status_s = 0.0
        self._problem = ""
        self._forget()

    def _forget(self) -> None:
        """Make room for the next response."""
        self._raw: bytes | bytearray = b""
        self._last = b""
        self._received = 0
        self._status = 0
        self._interim = 0
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._chunked = False
        self._complete = False
        self._keep_alive = False
        self._mangled = False
        self._told = False

    def begin(
        self,
        request: SealedRequest,
        done: Done,
        started_s: float,
        deadline_s: float,
        opening: Opening | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        """Write the request; `done` is called once with the facts, unless `Owner.stale` takes the request back."""
        self._request = request
        self._done = done
        self._watcher = watcher
        self._started_s = started_s
        self.deadline_s = deadline_s
        self._opening = opening
        self.uses += 1
        if len(request.body) < _JOIN_BYTES:
            self._transport.write(request.head + request.body)
        else:
            self._transport.writelines((request.head, request.body))
        self._sent_s = self._now()

    def usable(self) -> bool:
        """May another request be written? Asks the kernel, too: bytes that wait to be read belong to no request of ours.

        Not while the answer before is being handed on: then all that had come was read a moment ago, and asking costs as much as writing.
        """
        poll = self._poll
        if self.closed or not (self._just_read or not poll(0)):
            return False
        return not self._transport.is_closing()

    def early_end(self) -> tuple[ErrorClass, str]:
        """Why the connection is gone although nothing was sent yet."""
        if self._problem:
            return ErrorClass.PROTOCOL, self._problem
        return ErrorClass.RESET, "the server closed the connection before the request was sent"

    def drop(self) -> None:
        """Close at once. `Owner.lost` follows later."""
        self.closed = True
        self._transport.abort()

    def expire(self) -> None:
        """The deadline has passed: the status counts if it is in, otherwise the attempt has failed."""
        if self._status:
            self._conclude(self._now(), cut=True)
        else:
            self._fail(ErrorClass.TIMEOUT, f"no complete response headers within {self.deadline_s - self._started_s:g} s")

    @property
    def slow(self) -> bool:
        """Is nothing but the body of a response still to come, and was whoever watches not told yet?"""
        if not self._told or self._watcher is None or self._done is None:
            return False
        # An answer that came before the request had left us: who has not taken a large request must not hold many of them.
        return not self._transport.get_write_buffer_size()

    def decide(self) -> None:
        """Tell whoever watches what is known so far: it decides, and the body alone is still coming."""
        watcher, self._watcher = self._watcher, None
        self._request = None
        start, end = head_span(self._raw, self._interim)
        if watcher is not None:
            watcher.decided(self._facts(bytes(self._raw[start:end]), self._now(), True))

    def cut(self, detail: str) -> None:
        """End what is in flight and close."""
        if self._done is None:
            self.drop()
        elif self._status:
            self._conclude(self._now(), cut=True)
        else:
            self._fail(ErrorClass.RESET, detail)

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, TLS included."""
        self._transport = cast(asyncio.Transport, transport)
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), _READABLE)
        self._poll = poll.poll

    def data_received(self, data: bytes) -> None:
        """Bytes of a response, or bytes that nobody asked for."""
        if self._done is None:
            self._problem = "the server sent bytes before it was asked"
            self.drop()
            return
        remembered = self._remembered
        if remembered is not None and data == remembered[0] and not self._received:
            self._same_again(remembered[1])
            return
        self._received += len(data)
        self._last = data
        status_was_in = self._status != 0
        if not status_was_in:
            if not self._raw:
                self._raw = data
            else:
                self._raw = bytearray(self._raw) if isinstance(self._raw, bytes) else self._raw
                self._raw += data
        if self._mangled:
            self._await_mangled_head()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            self._refused_by_parser(exc)
            return
        if not status_was_in and len(self._raw) > self._limits.head_max_bytes and not self._head_fits():
            return
        if self._complete:
            # The clock is read once for an answer that came in one piece.
            self._conclude(self._now() if status_was_in else self.status_s)
        elif self._status:
            self._reading_body()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The peer closed, or we did."""
        self.closed = True
        self._owner.lost(self)
        # The parser holds our methods: without this only the cycle collector would free us.
        del self._parser
        if self._done is None:
            return
        if self._status:
            # Without a length the end of the connection is the end of the body.
            self._conclude(self._now(), cut=exc is not None or self._chunked or self._has_length())
        elif isinstance(exc, ssl.SSLError):
            self._fail(ErrorClass.TLS, f"TLS failed: {exc.reason or exc}")
        elif self._received == 0 and self.uses > 1:
            done, self._done = self._done, None
            assert self._request is not None  # it is let go of when an answer begins
            self._owner.stale(self._request, done, self._started_s, self.deadline_s, self._watcher)
        elif self._received == 0:
            self._fail(ErrorClass.RESET, f"the server closed the connection without an answer{because(exc)}")
        else:
            self._fail(ErrorClass.RESET, f"the server closed the connection in the middle of the response headers{because(exc)}")

    # httptools calls these.

    def on_headers_complete(self) -> None:
        """A head is complete: an interim one, or the one that decides."""
        if self._complete:
            return
        status = self._parser.get_status_code()
        if self._is_foreign():
            raise ValueError(self._problem)
        if status >= _FINAL_STATUS:
            self._status = status
            self.status_s = self._now()
            return
        self._interim += 1
        if status < _LOWEST_STATUS:
            self._problem = f"{status:03} is not an HTTP status"
            raise ValueError(self._problem)
        if self._interim > self._limits.interim_max:
            self._problem = f"more than {self._limits.interim_max} interim (1xx) responses"
            raise ValueError(self._problem)

    def on_chunk_header(self) -> None:
        """The body comes in chunks."""
        self._chunked = True

    def on_body(self, data: bytes) -> None:
        """Some of the body, chunk framing removed."""
        if self._complete:
            return
        if self._body_bytes < self._limits.body_max_bytes:
            self._chunks.append(data)
        self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        """A response is complete, interim ones included."""
        if self._status and not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    # How an exchange ends.

    def _refused_by_parser(self, exc: Exception) -> None:
        if self._complete:
            self._keep_alive = False
            self._conclude(self._now())
        elif self._status:
            self._conclude(self._now(), cut=True)
        elif isinstance(exc, HttpParserUpgrade):
            self._fail(ErrorClass.PROTOCOL, "the server switched protocols without being asked")
        elif any(words in str(exc) for words in _LENGTH_COMPLAINTS) and not self._is_foreign():
            self._mangled = True
            self._await_mangled_head()
        else:
            self._fail(ErrorClass.PROTOCOL, f"the answer is not HTTP/1.1: {self._problem or exc}")

    def _is_foreign(self) -> bool:
        """Is the head that is being read one of another protocol? The parser takes several, whose statuses mean other things."""
        protocol = foreign_protocol(self._raw, self._interim)
        self._problem = protocol and f"it begins with {protocol!r}"
        return bool(protocol)

    def _await_mangled_head(self) -> None:
        """A head whose lengths cannot be believed still has a status: it counts once the head is complete, without any body."""
        start, end = head_span(self._raw, self._interim)
        if len(self._raw) > self._limits.head_max_bytes and not self._head_fits():
            return
        # The parser has passed the status line, so the three digits are there.
        status = int(bytes(self._raw[start + 9 : start + 12]))
        if status < _FINAL_STATUS:
            self._fail(ErrorClass.PROTOCOL, f"an interim ({status}) response with a body length")
        elif end > 0:
            self._status = status
            self.status_s = self._now()
            self._conclude(self._now(), cut=True)

    def _head_fits(self) -> bool:
        """Is the head, interim ones included, within the limit? Ends the attempt when it is not."""
        _, end = head_span(self._raw, self._interim)
        if 0 <= end <= self._limits.head_max_bytes:
            return True
        self._fail(ErrorClass.PROTOCOL, f"the response headers are longer than {self._limits.head_max_bytes} bytes")
        return False

    def _reading_body(self) -> None:
        limits = self._limits
        if self._body_bytes >= limits.body_max_bytes or self._received > limits.head_max_bytes + _FRAMING * limits.body_max_bytes:
            self._conclude(self._now(), cut=True)
            return
        self.deadline_s = min(self.deadline_s, self.status_s + limits.body_time_s)
        if self._watcher is not None and not self._told:
            self._told = True
            self._owner.reading(self)

    def _conclude(self, ended_s: float, *, cut: bool = False) -> None:
        """The status is in, and so is as much of the body as there will be."""
        start, end = head_span(self._raw, self._interim)
        head = bytes(self._raw[start:end])
        exchange = self._facts(head, ended_s, cut)
        if self.uses == 1 and not self.closed:
            self._owner.first_answer(self, self._transport)
        keep = not cut and self._may_follow(head, end)
        if keep:
            whole = self._received == len(self._raw) <= _REMEMBERED_BYTES and not self._interim
            self._remembered = (bytes(self._raw), exchange) if whole else None
            self._forget()
        self._end(exchange, keep=keep)

    def _same_again(self, before: Exchange) -> None:
        """The server has answered the same as before."""
        self.status_s = now_s = self._now()
        exchange = replace(
            before,
            reused=True,
            duration_us=int((now_s - self._started_s) * _US),
            phases=self._phases(int((now_s - self._sent_s) * _US), 0),
        )
        # An answer that came before the request had left us ends the connection.
        self._end(exchange, keep=not (self.closed or self._transport.get_write_buffer_size()))

    def _facts(self, head: bytes, ended_s: float, cut: bool) -> Exchange:
        """What is known once the status is in. `cut`: the body is not all there."""
        limit = self._limits.body_max_bytes
        return Exchange(
            status=self._status,
            head=head[: self._limits.head_kept_bytes],
            body=b"".join(self._chunks)[:limit],
            body_truncated=cut or self._body_bytes > limit,
            address=self.address,
            reused=self.uses > 1,
            duration_us=int((self.status_s - self._started_s) * _US),
            phases=self._phases(int((self.status_s - self._sent_s) * _US), int((ended_s - self.status_s) * _US)),
        )

    def _fail(self, error: ErrorClass, detail: str) -> None:
        self._end(
            Exchange(
                status=0,
                error=error,
                detail=detail,
                address=self.address,
                reused=self.uses > 1,
                duration_us=int((self._now() - self._started_s) * _US),
                phases=self._phases(-1, -1),
            ),
            keep=False,
        )

    def _end(self, exchange: Exchange, *, keep: bool) -> None:
        done = self._done
        if done is None:
            return
        self._done = None
        if keep:
            self.idle_since_s = self.status_s
            self._owner.reusable(self)
        else:
            self.drop()
        # Last: it may well send the next request, on this very connection.
        self._just_read = keep
        done(exchange)
        self._just_read = False

    def _may_follow(self, head: bytes, body_at: int) -> bool:
        """Is the connection certain to carry nothing more of this response?"""
        if not self._keep_alive or self.closed:
            return False
        if self._transport.get_write_buffer_size():
            # The answer came before the request had left us.
            return False
        if not self._chunked:
            return self._received == body_at + self._body_bytes
        # The last chunk ends in one empty line; bytes after it, further line ends included, are not of this response.
        tail_is_clean = self._last.endswith(HEAD_END) and not self._last.endswith(HEAD_END + b"\r\n")
        return tail_is_clean and header_value(head, b"content-length") is None

    def _phases(self, wait_us: int, body_us: int) -> Phases:
        opening = self._opening
        if opening is None:
            return Phases(-1, -1, -1, int((self._sent_s - self._started_s) * _US), wait_us, body_us)
        send_us = int((self._sent_s - opening.opened_s) * _US)
        return Phases(opening.dns_us, opening.connect_us, opening.tls_us, send_us, wait_us, body_us)

    def _has_length(self) -> bool:
        start, end = head_span(self._raw, self._interim)
        return header_value(bytes(self._raw[start:end]), b"content-length") is not None
