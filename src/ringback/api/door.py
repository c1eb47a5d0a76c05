"""The hot door: POST of a message, answered on the connection itself; every other request goes the ordinary way, through ASGI.

A subclass of uvicorn's protocol, so that everything else about HTTP is uvicorn's. A request is hot when it is of the one route, its token
and its application are known in memory, and nothing before it on the connection is unanswered. It then has a `HotCycle` where others have
uvicorn's own cycle, so that pipelining and shutdown treat both alike. The ordinary route (`api.publish`) answers the same, byte for byte.

Bounds that uvicorn lacks are here, for all requests: the size of the head, and how long head, body and idle connections may take.
Source: uvicorn 0.54, `protocols/http/httptools_impl.py`; the version is pinned, and a test asserts the names that are used.
"""

from __future__ import annotations

from typing import Any, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ringback.api.doorway import Doorway
from ringback.api.heads import is_host, refusal
from ringback.api.hot_cycle import HotCycle
from ringback.api.problems import Problem
from ringback.api.routing import OFF_LOOP_BYTES
from ringback.errors import RingbackError
from ringback.model.applications import TokenKind
from ringback.services.idempotency import digest
from ringback.services.tokens import Principal

# All of a request's head: twice what nginx and Apache allow by default (8 KiB a line, 32 KiB in all), for long tokens and query strings.
MAX_HEAD_BYTES: Final = 65_536
# What nginx allows for a request line, and Apache: longer URLs are attacks.
MAX_URL_BYTES: Final = 8_192
# From the first byte of a head to its last, and from connecting to the first byte, seconds.
HEAD_TIMEOUT_S: Final = 15.0
# As for ordinary requests (`api.intake`).
BODY_TIMEOUT_S: Final = 30.0
# Between requests, seconds; longer than the idle limit of common clients, so that it is they who close.
IDLE_TIMEOUT_S: Final = 75.0

# Digits of a length that the hot way looks at: bodies of ten megabytes and more are none of its own.
_MAX_DIGITS: Final = 7
# Headers that ask for more than the hot way has.
_COLD: Final = frozenset({b"expect", b"origin", b"upgrade", b"transfer-encoding"})
_JSON: Final = b"content-type: application/json\r\ncontent-length: "
_ID: Final = b"\r\nx-request-id: "
_CLOSE: Final = b"\r\nconnection: close"
_END: Final = b"\r\n\r\n"
# Elsewhere no owner publishes.
_API: Final = b"/api/"
_NEVER: Final = float("inf")
# What somebody hears who does not speak HTTP: status, code, detail.
_INVALID: Final = (400, "bad_request", "the request is not valid HTTP/1.1")


class _Refused(Exception):
    """A head that is too large; stops the parser."""


class HotDoor(HttpToolsProtocol):
    """One connection. `doorway` is set on the subclass that `protocol_class` makes."""

    doorway: Doorway
    # uvicorn's own kind of cycle, or ours.
    cycle: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What a class has is found six times as slowly.
        self.way = self.doorway
        # Large bodies are read on a thread, by the ordinary route.
        self._most = min(self.way.reader.max_body_bytes, OFF_LOOP_BYTES)
        self.deadline = self.loop.time() + HEAD_TIMEOUT_S
        self._head_bytes = 0
        self._in_head = True
        self._in_body = False
        # A `HotCycle`, or another door's that looks like one.
        self._hot: Any = None
        # Whose answer is next; `cycle` is the request that came last.
        self._answering: Any = None
        self._refusal: tuple[int, str, str] | None = None
        self._dated: tuple[Any, bytes] = (None, b"")
        # The token that came last, if it never ends, how many had been revoked by then, and whose it is: clients mostly send the same.
        self._believed: tuple[bytes, int, Principal | None] = (b"", 0, None)
        # The host that was called last, if a hot request may call it: clients mostly call the same one. This is none.
        self._host = b"/"

    # -- bytes in

    def data_received(self, data: bytes) -> None:
        """Feed the parser; answer what is not HTTP, and heads that are too large or never end."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and data.find(_END, 0, MAX_HEAD_BYTES) < 0:
                self._refuse(431, "headers_too_large", f"the head of a request may have {MAX_HEAD_BYTES} bytes")
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or _INVALID))

    def _stay(self, rest: bytes) -> None:
        """Nothing here speaks another protocol: read the request once more as if it had not asked, or its body would be lost."""
        if self.parser.get_method() == b"CONNECT":
            self._refuse(*_INVALID)
            return
        kept = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(line + kept + b"\r\n" + rest)

    def on_message_begin(self) -> None:
        """A head begins."""
        self.url = b""
        self.headers = []
        self._head_bytes = 1
        self._in_head = True
        self.deadline = self.loop.time() + HEAD_TIMEOUT_S

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        self.url += url
        if len(self.url) > MAX_URL_BYTES:
            self._stop(414, "uri_too_long", f"a URL may have {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, whole. Trailers come here too, after the body, and are dropped: nobody reads them, and there may be any number."""
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: is it a hot request?"""
        if self.parser.should_upgrade():
            # The parser stops here, and `_stay` reads it once more, or another door takes it.
            self._look_at_head()
            return
        self._in_head = False
        self._in_body = True
        self._hot = None
        cycle = self.cycle
        if (cycle is None or cycle.response_complete) and self.parser.get_method() == b"POST":
            url = self.url
            hot = self._hot_cycle(url) if url.startswith(_API) else self._provider_cycle()
            if hot is not None:
                self.deadline = self.loop.time() + BODY_TIMEOUT_S
                self._hot = self._answering = self.cycle = hot
                return
        self._look_at_head()
        # Bodies of ordinary requests have their own deadline, in `api.intake`.
        self.deadline = float("inf")
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.headers += headers
        self.expect_100_continue = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        super().on_headers_complete()

    def _look_at_head(self) -> None:
        if found := refusal(self.headers, self.parser.get_http_version()):
            # Nothing of this request is read, and an earlier one keeps its answer.
            self._in_body = False
            self._stop(*found)

    def _may_be_hot(self, host: bytes | None) -> bool:
        """May a request be hot whose host is not the last one of this connection, or which asks that this goes on? Not in HTTP/1.0.

        There a connection goes on only where the answer says so.
        """
        if host is None or not (host == self._host or is_host(host)) or self.parser.get_http_version() != "1.1":
            return False
        self._host = host
        return True

    def _provider_cycle(self) -> Any:
        """The cycle of a hot request that is none of the API's; the door for providers has some."""
        return None

    def _hot_cycle(self, url: bytes) -> Any:
        way = self.way
        route = way.route(url)
        if route is None:
            return None
        headers = dict(self.headers)
        if len(headers) < len(self.headers) or not _COLD.isdisjoint(headers):
            return None
        host = headers.get(b"host")
        if (host != self._host or b"connection" in headers) and not self._may_be_hot(host):
            return None
        authorization = headers.get(b"authorization")
        length = headers.get(b"content-length")
        if authorization is None or length is None or len(length) > _MAX_DIGITS or int(length) > self._most:
            return None
        believed, epoch, principal = self._believed
        if authorization != believed or epoch != way.tokens.epoch or principal is None:
            principal = way.tokens.known(authorization)
            if principal is None or principal.kind is not TokenKind.ORG:
                return None
            if principal.expires_at is None and not principal.signed:
                self._believed = (authorization, way.tokens.epoch, principal)
        entry = way.publisher.directory.known(principal.org_id, route.app_ref)
        if entry is None:
            return None
        request_id = headers.get(b"svix-req-id")
        if not request_id:
            draw = way.draw
            request_id = b"%016x" % draw(64)
        elif len(request_id) > 128 or not request_id.isascii() or not request_id.decode().isprintable():
            return None
        key = headers.get(b"idempotency-key")
        if key:
            key = digest(principal.token_id, key, "POST", route.target)
        return way.cycle(self, route, principal, entry, key or None, request_id, self.parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        hot = self._hot
        if hot is None:
            super().on_body(body)
            return
        if hot.answered:
            return
        size = len(body)
        try:
            self.way.reader.take(size)
        except RingbackError as error:
            hot.keep_alive = False
            hot.refuse(error)
            return
        # No more than was announced, which is little enough: the parser sees to that.
        hot.size += size
        hot.chunks.append(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self._in_head:
            # The request asks for another protocol; see `_stay`.
            return
        self._in_body = False
        hot = self._hot
        if hot is None:
            super().on_message_complete()
            return
        self.deadline = _NEVER
        if not hot.answered:
            hot.run()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn always closes
        """The client says no more. Whole requests that wait for their answers get them, and the connection ends after the last one."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or self._in_body or getattr(cycle, "response_started", False):
            return None
        cycle.keep_alive = False
        return True

    # -- bytes out

    def answer(self, cycle: HotCycle, status: int, body: bytes, problem: Problem | None) -> None:
        """Write a hot answer, the same bytes as uvicorn would for the ordinary route."""
        headers = self.server_state.default_headers
        known, dated = self._dated
        if headers is not known:
            dated = b"".join(b"%b: %b\r\n" % header for header in headers)
            self._dated = (headers, dated)
        extra = b""
        if problem is not None:
            extra = b"".join(b"%b: %b\r\n" % header for header in problem.headers)
            if extra.find(b"connection: close") >= 0:
                cycle.keep_alive = False
        end = _END if cycle.keep_alive or extra.find(b"connection: close") >= 0 else _CLOSE + _END
        parts = (STATUS_LINE[status], dated, extra, _JSON, len(body), _ID, cycle.request_id, end, body)
        self.transport.write(b"%b%b%b%b%d%b%b%b%b" % parts)
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request of this connection; without a timer of its own, `sweep` closes it when none comes."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._in_head or self.cycle.response_complete:
            self.deadline = self.loop.time() + IDLE_TIMEOUT_S
        # Not before the last pipelined request is begun, or a client that never reads would queue up requests without end.
        if self.flow.read_paused and not self.pipeline:
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone; what was accepted goes on without it."""
        hot = self._hot
        if hot is not None and not hot.answered and not hot.running:
            # Its body will never be whole.
            self.way.reader.give_back(hot.size)
        if (answering := self._answering) is not None and not answering.response_complete:
            # uvicorn tells the request that came last alone, and this one would write to a connection that is no more.
            answering.disconnected = True
            answering.message_event.set()
        super().connection_lost(exc)

    # -- refusals

    def expire(self, now_s: float) -> None:
        """Close the connection if its deadline has passed."""
        if now_s < self.deadline:
            return
        self.deadline = float("inf")
        hot = self._hot
        if hot is not None and not hot.answered and not self._in_head:
            self._refuse(408, "request_timeout", f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s")
        elif self._in_head and self._head_bytes:
            self._refuse(408, "request_timeout", f"the head did not arrive within {HEAD_TIMEOUT_S:.0f} s")
        else:
            self.transport.close()

    def _stop(self, status: int, code: str, detail: str) -> None:
        self._refusal = (status, code, detail)
        raise _Refused(detail)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer for the connection as a whole, and close it: what follows on it cannot be read."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
            if not self._in_body:
                # An earlier request is still being answered: its answer goes first, and the connection ends after it.
                self.flow.pause_reading()
                return
            # It is the request being read that is broken: whoever waits for its body hears that the client has gone.
            cycle.disconnected = True
            cycle.message_event.set()
        if self._in_body and cycle is not None and (self.pipeline or cycle.response_complete or getattr(cycle, "response_started", False)):
            # Others' answers are due first, or its own has begun: nothing may be said in between.
            self.transport.close()
            return
        body = msgspec.json.encode({"code": code, "detail": detail})
        head = b"".join((STATUS_LINE[status], _JSON, b"%d" % len(body), _CLOSE, _END))
        self.transport.write(head + body)
        self.transport.close()


def protocol_class(way: Doorway) -> type[HotDoor]:
    """The protocol of one server."""
    return type("Door", (HotDoor,), {"doorway": way})
