"""How does a hostile client talk? In bytes: what it sends need not be HTTP, and what it gets is read strictly."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import socket
import time
import typing

from benchmarks import server

# Longest time for an answer or the end of the connection, seconds: a request that gets neither within it is the failure looked for.
PATIENCE_S = 5.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer. Header names are in lower case, in the order they came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for found, value in self.headers if found == name), None)

    def json(self) -> typing.Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Talk:
    """What a connection gave: the answers, and whether the server closed it."""

    answers: tuple[Answer, ...]
    closed: bool


class Target:
    """A server with an application, talked to in bytes."""

    def __init__(self, running: server.Server) -> None:
        self.server = running
        self.app_id: str = running.make("/app", {"name": "target", "uid": "target"})["id"]
        self.path = f"/api/v1/app/{self.app_id}/msg"

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection((self.server.host, self.server.port), timeout=PATIENCE_S)

    def request(
        self,
        body: bytes = b"",
        *,
        method: str = "POST",
        path: str = "",
        headers: typing.Sequence[tuple[str, str]] = (),
        token: str | None = None,
    ) -> bytes:
        """The bytes of a well-formed request (to publish, unless `path` says otherwise); `token` "" leaves the authorization out."""
        chosen = self.server.token if token is None else token
        lines = [f"{method} {path or self.path} HTTP/1.1", "host: ringback"]
        if chosen:
            lines.append(f"authorization: Bearer {chosen}")
        if body or method == "POST":
            lines.append(f"content-length: {len(body)}")
        lines.extend(f"{name}: {value}" for name, value in headers)
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def talk(self, *chunks: bytes, answers: int = 1, half_close: bool = False, patience_s: float = PATIENCE_S) -> Talk:
        """Send, then read until so many answers have come or the server closes. Raises AssertionError when neither happens in time."""
        with self.connect() as connection:
            for chunk in chunks:
                try:
                    connection.sendall(chunk)
                except OSError:
                    break  # the server has had enough: what it said before is still to be read
            if half_close:
                try:
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # already closed by the server
            return read_answers(connection, answers, patience_s)

    def ask(self, body: bytes, **options: typing.Any) -> Answer:
        """Send one well-formed request and return its answer."""
        (answer,) = self.talk(self.request(body, **options)).answers
        return answer


def read_answers(connection: socket.socket, count: int, patience_s: float) -> Talk:
    """Read from a connection until `count` answers have come or it is closed. Raises AssertionError when neither happens in time."""
    until = time.monotonic() + patience_s
    received = b""
    while True:
        answers = parse(received)
        if len(answers) >= count:
            return Talk(tuple(answers), closed=False)
        connection.settimeout(max(until - time.monotonic(), 0.001))
        try:
            data = connection.recv(65536)
        except TimeoutError:
            raise AssertionError(f"neither {count} answers nor the end within {patience_s} s, only {received[:200]!r}") from None
        except OSError:
            data = b""
        if not data:
            return Talk(tuple(answers), closed=True)
        received += data


def parse(received: bytes) -> list[Answer]:
    """The complete final answers in what was received; interim ones (1xx) are skipped. Raises AssertionError on what is no answer."""
    answers = []
    while (end := received.find(b"\r\n\r\n")) >= 0:
        status_line, *lines = received[:end].decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        assert version == "HTTP/1.1", f"no answer: {received[:100]!r}"
        status = int(rest[:3])
        headers = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        received = received[end + 4 :]
        if 100 <= status < 200:
            continue
        lengths = {value for name, value in headers if name == "content-length"}
        assert len(lengths) == 1 or status == 204, f"{status} without exactly one content-length: {headers}"
        length = int(lengths.pop()) if lengths else 0
        if len(received) < length:
            break
        answers.append(Answer(status, headers, received[:length]))
        received = received[length:]
    return answers


def assert_error_shape(answer: Answer) -> None:
    """Check that an error has the shape of the contract: JSON, `code` and `detail`, or for a 422 the list of failing fields."""
    assert 400 <= answer.status < 500, answer
    assert answer.header("content-type") == "application/json", answer
    content = answer.json()
    if answer.status == 422:
        assert set(content) == {"detail"} and content["detail"], answer
        for problem in content["detail"]:
            assert set(problem) == {"loc", "msg", "type"}, answer
            assert all(isinstance(part, str) for part in (*problem["loc"], problem["msg"], problem["type"])), answer
            assert problem["loc"][0] in ("body", "query", "path"), answer
    else:
        assert set(content) == {"code", "detail"}, answer
        assert all(isinstance(text, str) and text for text in content.values()), answer


def serving(directory: pathlib.Path) -> typing.Iterator[Target]:
    """A server of its own for a test module."""
    running = server.start(directory / "ringback.db", {"log_level": "error"})
    try:
        yield Target(running)
        assert running.process.poll() is None, running.log_tail()
    finally:
        running.stop()
