"""How is a websocket spoken on a connection of this server? uvicorn's protocol, with the bounds that strangers make necessary.

Loaded when the first socket connects: `websockets` costs memory that servers without a relay need not spend.
Source: uvicorn 0.54, `protocols/websockets/websockets_sansio_impl.py`; the version is pinned, and a test asserts the names that are used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from ringback.gateway.listen import DRAIN, Sockets
from ringback.policy.bins import Allowance

# An answer of two MiB in base64, and its headers.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
# Clients send whole messages; browsers cut them at 64 KiB and more. Pieces without content cost us memory and the sender nothing.
_MAX_FRAGMENTS: Final = 1_024
# A frame costs some ten microseconds, and an empty one six bytes of the sender. Answers come at a hundred a second, pings at one.
_FRAMES_PER_S: Final = 500.0
# So much is parsed before frames are counted again: six hundred empty ones.
_SLICE: Final = 4_096
# Codes of RFC 6455, 7.4.1.
_POLICY, _TOO_BIG = 1008, 1009
# Codes of errors, as docs/reference/errors.md has them; of all that a request can be wrong in, one.
_CODES: Final[Mapping[int, str]] = {403: "insufficient access", 426: "upgrade_required", 431: "headers_too_large", 500: "server_error"}
# What a peer gets to answer our close when the server ends, seconds; clients do so in a round trip.
_LAST_CLOSE_S: Final = 1.0


def make_socket(config: Config, state: ServerState, app_state: dict[str, Any], sockets: Sockets) -> BoundedSocket:
    """The protocol of one connection, which has asked for a websocket."""
    # The server's own configuration has websockets off for all other paths; these are read here alone.
    config.ws_max_size = MAX_MESSAGE_BYTES
    config.ws_ping_interval = sockets.timing.ping_s
    config.ws_ping_timeout = sockets.timing.pong_s
    # It would cost 60 KiB a socket, and no client of the relay asks for it.
    config.ws_per_message_deflate = False
    return BoundedSocket(config, state, app_state, sockets)


class _Handshake(ServerProtocol):
    """The protocol's rules. What it refuses is told as every error of this server is."""

    def reject(self, status: int, text: str) -> Response:
        """The answer to a handshake that fails."""
        body = msgspec.json.encode({"code": _CODES.get(status, "bad_request"), "detail": text.partition("\n")[0]})
        fields = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        return Response(int(status), HTTPStatus(status).phrase, Headers(fields), body)


class BoundedSocket(WebSocketsSansIOProtocol):
    """One socket. What a peer can send without end, or leave unread, has a bound."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], sockets: Sockets) -> None:
        super().__init__(config, server_state, app_state)
        self.conn = _Handshake(max_size=MAX_MESSAGE_BYTES, logger=logging.getLogger("uvicorn.error"))
        self._frames = Allowance(_FRAMES_PER_S, _FRAMES_PER_S)
        self._sockets = sockets
        self.close_timeout = sockets.timing.close_s

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and its place free."""
        self._sockets.open -= 1
        super().connection_lost(exc)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Nobody serves this socket any more: a peer that reads nothing must not keep its place."""
        super().on_task_complete(task)
        self.loop.call_later(self.close_timeout, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Parse, as long as frames do not come faster than anybody needs."""
        for start in range(0, len(data), _SLICE):
            super().data_received(data[start : start + _SLICE])
            if self.conn.handshake_exc is not None and not self.transport.is_closing():
                # uvicorn answers a handshake that is wrong, and forgets one that cannot be read.
                self.conn.send_response(self.conn.reject(400, f"Failed to open a WebSocket connection: {self.conn.handshake_exc}."))
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
            if self.transport.is_closing():
                return

    def handle_events(self) -> None:
        """Count the frames, then do what they ask."""
        now_s = self.loop.time()
        for event in self.conn.events:
            if isinstance(event, Frame) and self._frames.take(now_s):
                self._fail(_POLICY, "too many frames")
                return
        super().handle_events()

    def handle_cont(self, event: Frame) -> None:
        """One more piece of a message."""
        if self.close_sent:
            return
        if len(self.frames) >= _MAX_FRAGMENTS:
            self._fail(_TOO_BIG, "a message in too many pieces")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping, unless the peer does not read: only the latest one needs an answer (RFC 6455, 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def keepalive_timeout(self) -> None:
        """Nobody answers: do not wait until what was written is read, or the token would never be free."""
        super().keepalive_timeout()
        self.transport.abort()

    def shutdown(self) -> None:
        """The server ends: whoever serves the socket says so, once what waits for the peer has been answered."""
        if self.handshake_complete and not self.close_sent and not self.disconnected:
            self.close_timeout = _LAST_CLOSE_S
            # A message between two parts of ours, which ASGI does not know.
            self.queue.put_nowait(cast(Any, {"type": DRAIN}))
        else:
            super().shutdown()

    def _fail(self, code: int, reason: str) -> None:
        self.conn.fail(code, reason)
        self.conn.events_received()
        self.handle_parser_exception()
