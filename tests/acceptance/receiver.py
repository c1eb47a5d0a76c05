"""What arrives at an endpoint? A receiver in a thread of the test, which keeps every request and answers as the test says.

It reads HTTP strictly enough to be a judge: a request without exact framing fails the test that asks for the arrivals.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http
import threading
import time
import typing

import standardwebhooks


@dataclasses.dataclass(frozen=True)
class Arrival:
    """One request as it came over the wire. Header names are in lower case; `at_s` is monotonic; `connection` numbers the connections."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float
    connection: int

    @property
    def id(self) -> str:
        """The id of the message."""
        return self.headers["webhook-id"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the receiver says, `after_s` seconds after the request came; `status` 0 = nothing, ever.

    The body follows the headers after another `body_after_s` seconds.
    """

    status: int = 200
    after_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    body_after_s: float = 0.0

    def head(self) -> bytes:
        """The bytes of the answer before its body."""
        lines = [
            f"HTTP/1.1 {self.status} {http.HTTPStatus(self.status).phrase}",
            *(f"{name}: {value}" for name, value in self.headers),
            f"content-length: {len(self.body)}",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"


OK = Answer()
FAILED = Answer(500)
SILENCE = Answer(0)

Decide = typing.Callable[[Arrival], Answer]


class Receiver:
    """Serves until closed. `decide` is called in the receiver's thread and may be replaced at any time."""

    def __init__(self, decide: Decide | None = None) -> None:
        self.decide: Decide = decide or (lambda arrival: OK)
        self.arrivals: list[Arrival] = []
        self.accepted: list[Arrival] = []
        self.problems: list[str] = []
        self.connections = 0
        self.port = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10), "the receiver did not start"

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def ids(self) -> set[str]:
        """The ids of the messages that were answered 2xx."""
        return {arrival.id for arrival in list(self.accepted)}

    def at(self, path: str) -> list[Arrival]:
        """The arrivals at one path, in order."""
        return [arrival for arrival in list(self.arrivals) if arrival.path == path]

    def close(self) -> None:
        """Stop serving and cut every connection. Raises AssertionError when anything came that was no proper request."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        assert not self.problems, self.problems

    def _run(self) -> None:
        # Python's own loop, whatever the suite runs on: the receiver is not what is tested.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._over.wait()
        server.close()


class _Connection(asyncio.Protocol):
    """One connection to the receiver; requests are answered in order."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.buffer = b""
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.receiver.connections += 1
        self.number = self.receiver.connections
        self.transport = typing.cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            try:
                method, path, headers = _parse_head(self.buffer[:end])
                length = int(headers.get("content-length", "0"))
            except ValueError as problem:
                self.receiver.problems.append(f"{problem}: {self.buffer[:end]!r}")
                self.transport.abort()
                return
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self._answer(Arrival(method, path, headers, body, time.monotonic(), self.number))

    def _answer(self, arrival: Arrival) -> None:
        answer = self.receiver.decide(arrival)
        self.receiver.arrivals.append(arrival)
        if answer.status:
            self.receiver._loop.call_later(answer.after_s, self._write, arrival, answer)

    def _write(self, arrival: Arrival, answer: Answer) -> None:
        if self.transport.is_closing():
            return
        if answer.body_after_s:
            self.transport.write(answer.head())
            self.receiver._loop.call_later(answer.body_after_s, self._write_body, answer.body)
        else:
            self.transport.write(answer.head() + answer.body)
        if 200 <= answer.status < 300:
            self.receiver.accepted.append(arrival)

    def _write_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(body)


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    request_line, *lines = head.decode("latin-1").split("\r\n")
    method, path, version = request_line.split(" ")
    if version != "HTTP/1.1":
        raise ValueError(f"version {version}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip() or name.lower() in headers:
            raise ValueError(f"header line {line!r}")
        headers[name.lower()] = value.strip()
    return method, path, headers


def verify(arrival: Arrival, secret: str) -> None:
    """Check the signature with the reference library of Standard Webhooks. Raises its WebhookVerificationError."""
    standardwebhooks.Webhook(secret).verify(arrival.body, arrival.headers)
