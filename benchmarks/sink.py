"""Where do the deliveries of a benchmark arrive? An HTTP/1.1 keep-alive server that does as little as possible, in a process of its own.

The path says what happens: `/ok/TAG` answers 200, `/fail/TAG` answers 500, `/hang/TAG` never answers. Arrivals are counted per path.
`GET /stats?/ok/TAG` gives the figures of all paths that begin so, `GET /count?/ok/TAG` the number alone, `POST /reset` forgets everything.

Run as `python -m benchmarks.sink [--tls-chain FILE --tls-key FILE]`: prints one JSON line with its ports, and serves until its standard
input closes.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import json
import ssl
import sys
import typing

import uvloop

from benchmarks.wire import HEAD_END, content_length, now_ns, percentiles, read_stamp

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
FAIL = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
HANG = b""


class Tally:
    """What arrived at one path."""

    __slots__ = ("answer", "count", "first_ns", "ids", "last_ns", "took_ns")

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.count = 0
        self.first_ns = 0
        self.last_ns = 0
        self.ids: set[bytes] = set()
        self.took_ns = array.array("q")


class Tallies:
    """What arrived, by path."""

    def __init__(self) -> None:
        self.by_path: dict[bytes, Tally] = {}

    def open(self, path: bytes) -> Tally:
        """The tally of a path seen for the first time."""
        answer = HANG if path.startswith(b"/hang") else FAIL if path.startswith(b"/fail") else OK
        tally = self.by_path[path] = Tally(answer)
        return tally

    def stats(self, prefix: bytes) -> dict[str, object]:
        """The figures of all paths that begin with `prefix`."""
        chosen = [tally for path, tally in self.by_path.items() if path.startswith(prefix)]
        took = [nanoseconds for tally in chosen for nanoseconds in tally.took_ns]
        return {
            "count": sum(tally.count for tally in chosen),
            "distinct": sum(len(tally.ids) for tally in chosen),
            "first_ns": min((tally.first_ns for tally in chosen), default=0),
            "last_ns": max((tally.last_ns for tally in chosen), default=0),
            **percentiles(took),
        }

    def count(self, prefix: bytes) -> int:
        """How many requests arrived at the paths that begin with `prefix`."""
        return sum(tally.count for path, tally in self.by_path.items() if path.startswith(prefix))


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    __slots__ = ("buffer", "tallies", "transport")

    def __init__(self, tallies: Tallies) -> None:
        self.tallies = tallies
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = typing.cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        start = 0
        answers = []
        while True:
            head_end = buffer.find(HEAD_END, start)
            if head_end < 0:
                break
            body = head_end + 4
            end = body + content_length(buffer, start, head_end)
            if end > len(buffer):
                break
            answers.append(self._take(buffer, start, body, end))
            start = end
        self.buffer = buffer[start:] if start else buffer
        if answers:
            self.transport.write(answers[0] if len(answers) == 1 else b"".join(answers))

    def _take(self, buffer: bytes, start: int, body: int, end: int) -> bytes:
        moment = now_ns()
        path = buffer[buffer.index(b" ", start) + 1 : buffer.index(b" HTTP", start)]
        tally = self.tallies.by_path.get(path)
        if tally is None:
            if not path.startswith((b"/ok", b"/fail", b"/hang")):
                return self._control(path)
            tally = self.tallies.open(path)
        if not tally.count:
            tally.first_ns = moment
        tally.count += 1
        tally.last_ns = moment
        at = buffer.find(b"webhook-id: ", start, body)
        if at >= 0:
            tally.ids.add(buffer[at + 12 : buffer.index(b"\r", at)])
        sent = read_stamp(buffer, body, end)
        if sent is not None:
            tally.took_ns.append(moment - sent)
        return tally.answer

    def _control(self, path: bytes) -> bytes:
        command, _, prefix = path.partition(b"?")
        answer: object
        if command == b"/stats":
            answer = self.tallies.stats(prefix)
        elif command == b"/count":
            answer = self.tallies.count(prefix)
        elif command == b"/reset":
            self.tallies.by_path.clear()
            answer = "forgotten"
        else:
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
        text = json.dumps(answer).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)


async def serve(tls: ssl.SSLContext | None) -> None:
    """Serve until standard input closes, so that a sink never outlives the benchmark that started it."""
    loop = asyncio.get_running_loop()
    tallies = Tallies()
    plain = await loop.create_server(lambda: Connection(tallies), "127.0.0.1", 0, backlog=1024)
    ports = {"port": plain.sockets[0].getsockname()[1]}
    if tls is not None:
        secure = await loop.create_server(lambda: Connection(tallies), "127.0.0.1", 0, ssl=tls, backlog=1024)
        ports["tls_port"] = secure.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tls-chain", help="certificate chain; a second port then speaks TLS")
    parser.add_argument("--tls-key", help="private key of the certificate")
    arguments = parser.parse_args()
    tls = None
    if arguments.tls_chain:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.tls_chain, arguments.tls_key)
    uvloop.run(serve(tls))


if __name__ == "__main__":
    main()
