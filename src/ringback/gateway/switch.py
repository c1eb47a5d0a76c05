"""When does a connection change from HTTP to a websocket? For the relay's path alone; every other request to change stays HTTP.

Laid over the hot doors' protocol, whose names it uses.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import Any, Final
from urllib.parse import urlsplit

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ringback.gateway.listen import PATHS, Sockets
from ringback.services.relay import Timing

# Sockets open at once: each costs some 50 kB, and a team has some ten.
MAX_SOCKETS: Final = 512
# What a handshake needs of a request; all else of its head is not read again.
_NEEDED: Final = frozenset(
    (b"host", b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol", b"origin")
)
# Longer values than `websockets` reads; no honest one comes near.
_MAX_VALUE_BYTES: Final = 4_096
_BODY: Final = frozenset((b"content-length", b"transfer-encoding"))


class SwitchingDoor(HttpToolsProtocol):
    """One connection. Stands above the hot doors; `sockets` is set on the subclass that is made."""

    sockets: Sockets
    cycle: Any
    deadline: float

    def _stay(self, rest: bytes) -> None:
        """The request asks for another protocol: it gets it, if it is the relay's."""
        if self._is_relays():
            self._switch(rest)
        else:
            super()._stay(rest)  # type: ignore[misc]  # of the door below

    def _is_relays(self) -> bool:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            # An earlier request on this connection waits for its answer.
            return False
        if self.url.partition(b"?")[0] not in PATHS or self.parser.get_method() != b"GET" or self.parser.get_http_version() != "1.1":
            return False
        named = dict(self.headers)
        return named.get(b"upgrade", b"").lower() == b"websocket" and named.keys().isdisjoint(_BODY)

    def _switch(self, rest: bytes) -> None:
        needed = [(name, value) for name, value in self.headers if name in _NEEDED]
        if not _is_same_site(dict(needed)):
            self._refuse_socket(403, b'{"code":"insufficient access","detail":"A page of another site may not listen"}')
        elif any(len(value) > _MAX_VALUE_BYTES for _, value in needed):
            self._refuse_socket(431, b'{"code":"headers_too_large","detail":"A header of the handshake is too long"}')
        elif self.sockets.open >= MAX_SOCKETS:
            self._refuse_socket(503, b'{"code":"unavailable","detail":"Too many listeners are connected"}')
        else:
            head = b"".join((b"GET ", self.url, b" HTTP/1.1\r\n", *(b"%b: %b\r\n" % header for header in needed), b"\r\n"))
            self.sockets.open += 1
            # The first one loads what is needed, off the loop: it takes longer than others would like to wait.
            self.transport.pause_reading()
            self.deadline = float("inf")
            loading = self.loop.run_in_executor(None, importlib.import_module, "ringback.gateway.sockets")
            loading.add_done_callback(lambda done: self._switched(done, head + rest))

    def _switched(self, loading: asyncio.Future[Any], data: bytes) -> None:
        if loading.exception() is not None or self.transport.is_closing():
            self.sockets.open -= 1
            self.transport.close()
            return
        socket = loading.result().make_socket(self.config, self.server_state, self.app_state, self.sockets)
        self.connections.discard(self)
        socket.connection_made(self.transport)
        self.transport.set_protocol(socket)
        self.transport.resume_reading()
        socket.data_received(data)

    def _refuse_socket(self, status: int, body: bytes) -> None:
        head = (STATUS_LINE[status], b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body))
        self.transport.write(b"".join((*head, body)))
        self.transport.close()


def _is_same_site(named: dict[bytes, bytes]) -> bool:
    """Programs send no origin. Browsers do, and a page that somebody happens to look at must not listen in their name."""
    origin = named.get(b"origin")
    if origin is None:
        return True
    return urlsplit(origin).netloc.lower() == named.get(b"host", b"").lower() != b""


def switching_class(door: type[HttpToolsProtocol], timing: Timing) -> type[HttpToolsProtocol]:
    """The protocol of one server: websockets for the relay over other doors."""
    return type("Door", (SwitchingDoor, door), {"sockets": Sockets(timing)})
