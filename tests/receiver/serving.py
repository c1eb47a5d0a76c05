"""How does a test call a receiver over the wire? Real servers on threads of the test, and a client that says exactly what it means."""

from __future__ import annotations

import dataclasses
import http.client
import http.server
import socket
import socketserver
import threading
import typing
import wsgiref.simple_server
from collections.abc import Mapping

import uvicorn
import werkzeug.serving

from tests.waiting import wait_until

# Seconds for one answer: far above what any takes, so that a receiver that hangs fails its test.
ANSWER_S = 20.0


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Running:
    """A server on a port of this machine."""

    port: int
    close: typing.Callable[[], None]

    def call(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | typing.Iterable[bytes] | None = None
    ) -> Answer:
        """One request on a connection of its own; a body that is no bytes is sent in chunks, without a length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            chunked = body is not None and not isinstance(body, bytes)
            more = {"transfer-encoding": "chunked"} if chunked else {}
            connection.request(method, target, body, dict(headers or {}) | more, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        finally:
            connection.close()

    def begin(self, head: str, body: bytes = b"") -> int:
        """Send the beginning of a request and no more: the status of what is answered to that."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode() + body)
            answer = b""
            while b"\r\n" not in answer:
                piece = connection.recv(1_000)
                assert piece, "the server closed the connection without an answer"
                answer += piece
        return int(answer.split(b" ", 2)[1])


def serve_asgi(app: typing.Any) -> Running:
    """The application under uvicorn."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), what="uvicorn serves")
    assert server.started
    port: int = server.servers[0].sockets[0].getsockname()[1]

    def close() -> None:
        server.should_exit = True
        thread.join(ANSWER_S)

    return Running(port, close)


def _served(server: http.server.HTTPServer) -> Running:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(ANSWER_S)

    return Running(server.server_port, close)


def serve_werkzeug(app: typing.Any) -> Running:
    """The application under Flask's own server, which takes chunked bodies apart."""

    class Quiet(werkzeug.serving.WSGIRequestHandler):
        def log(self, *args: object, **named: object) -> None:
            pass

    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    return _served(server)


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class _Threads(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


def serve_wsgi(app: typing.Any) -> Running:
    """The application under the standard library's server, a thread for each request."""
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, _Threads, _Quiet)
    return _served(server)
