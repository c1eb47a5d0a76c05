"""How fast can messages be published, and how long does each take? A load tool in a process of its own.

It costs next to nothing, so that the two cores are left to what is measured (`benchmarks.autocannon` is one that others know).

Closed loop: every connection has one request in flight, always. Open loop (`--rate`): requests leave at a fixed rate, whatever the
server does; one that finds no idle connection waits, and its wait counts. Each payload carries the moment it left, for the sink to read.

Run as `python -m benchmarks.load URL ...`: prints one JSON object with what happened. Exits 1 when nothing was accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import resource
import sys
import typing
import urllib.parse

import uvloop

from benchmarks.wire import HEAD_END, SENT_AT, content_length, now_ns, percentiles, stamp

# Longest time for the answers that are still out when the load ends, seconds.
GRACE_S = 15.0

# Digits of the running number inside an idempotency key: the key is then as long as the `auto_<uuid>` of the SDKs.
KEY_DIGITS = 28
# Digits of an ordering key.
ORDERING_DIGITS = 6


class Requests:
    """Makes the bytes of the next request; everything but the moment and the key is prepared."""

    def __init__(self, url: str, *, token: str, size: int, bare: bool, key_prefix: str, ordering_keys: int = 0) -> None:
        parts = urllib.parse.urlsplit(url)
        filler = size - len(b'{"type":"order.paid","data":{' + SENT_AT + b',"text":""}}') - len(stamp(0))
        before = b'{"type":"order.paid","data":{' + SENT_AT
        after = b',"text":"' + b"x" * filler + b'"}}'
        if not bare:
            before = b'"eventType":"order.paid","payload":' + before
            after += b"}"
            before = b'",' + before if ordering_keys else b"{" + before
        opening = b'{"orderingKey":"k' if ordering_keys else b""
        length = len(opening) + (ORDERING_DIGITS if ordering_keys else 0) + len(before) + len(stamp(0)) + len(after)
        head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\naccept: application/json\r\n"
        if token:
            head += f"authorization: Bearer {token}\r\n"
        head += f"content-length: {length}\r\n"
        self._key_prefix = key_prefix.encode()
        self._ordering_keys = ordering_keys
        if ordering_keys:
            self._head = head.encode() + b"\r\n" + opening
            self._before = before
        elif key_prefix:
            self._head = head.encode() + b"idempotency-key: auto_"
            self._before = HEAD_END + before
        else:
            self._head = head.encode() + b"\r\n" + before
            self._before = b""
        self._after = after
        self._number = 0

    def next(self, moment_ns: int) -> bytes:
        """The bytes of one more request."""
        if self._ordering_keys:
            self._number += 1
            key = b"%0*d" % (ORDERING_DIGITS, self._number % self._ordering_keys)
            return b"%b%b%b%b%b" % (self._head, key, self._before, stamp(moment_ns), self._after)
        if not self._key_prefix:
            return b"%b%b%b" % (self._head, stamp(moment_ns), self._after)
        self._number += 1
        key = b"%b%0*d" % (self._key_prefix, KEY_DIGITS, self._number)
        return b"%b%b%b%b%b" % (self._head, key, self._before, stamp(moment_ns), self._after)


class Load:
    """One run: what is sent, and what came back."""

    def __init__(self, requests: Requests, until_ns: int, limit: int) -> None:
        self.requests = requests
        self.until_ns = until_ns
        self.limit = limit
        self.sent = 0
        self.statuses: collections.Counter[int] = collections.Counter()
        self.took_ns: list[int] = []
        self.lost = 0
        self.in_flight = 0
        self.last_answer_ns = 0
        self.idle: collections.deque[Connection] = collections.deque()
        self.waiting: collections.deque[int] = collections.deque()
        self.open_loop = False
        self.all_answered = asyncio.Event()

    def over(self, moment_ns: int) -> bool:
        """Whether no further request may leave."""
        return moment_ns >= self.until_ns or self.sent >= self.limit

    def answered(self, connection: Connection, status: int, moment_ns: int) -> None:
        """Book an answer, and give the connection its next request."""
        self.statuses[status] += 1
        self.took_ns.append(moment_ns - connection.sent_ns)
        self.last_answer_ns = moment_ns
        self.in_flight -= 1
        if self.waiting:
            connection.send(self.waiting.popleft())
        elif self.open_loop:
            self.idle.append(connection)
        elif not self.over(moment_ns):
            connection.send(moment_ns)
        if not self.in_flight and self.over(moment_ns):
            self.all_answered.set()


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    __slots__ = ("buffer", "load", "sent_ns", "transport")

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.sent_ns = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = typing.cast("asyncio.Transport", transport)

    def send(self, moment_ns: int) -> None:
        """Send one request; `moment_ns` is when it was due."""
        load = self.load
        load.sent += 1
        load.in_flight += 1
        self.sent_ns = moment_ns
        self.transport.write(load.requests.next(moment_ns))

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        head_end = buffer.find(HEAD_END)
        if head_end < 0 or len(buffer) < head_end + 4 + content_length(buffer, 0, head_end):
            self.buffer = buffer
            return
        self.buffer = b""
        moment = now_ns()
        status = int(buffer[9:12])
        self.load.answered(self, status, moment)

    def connection_lost(self, exc: Exception | None) -> None:
        load = self.load
        if self in load.idle:
            load.idle.remove(self)
        elif self.sent_ns and not load.all_answered.is_set():
            load.lost += 1
            load.in_flight -= 1


async def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Open the connections, send, wait for the answers, and say what happened."""
    loop = asyncio.get_running_loop()
    parts = urllib.parse.urlsplit(arguments.url)
    requests = Requests(
        arguments.url,
        token=arguments.token,
        size=arguments.size,
        bare=arguments.bare,
        key_prefix=arguments.key_prefix,
        ordering_keys=arguments.ordering_keys,
    )
    load = Load(requests, 0, arguments.requests or sys.maxsize)
    connections = []
    for _ in range(arguments.connections):
        _, connection = await loop.create_connection(lambda: Connection(load), parts.hostname, parts.port)
        connections.append(connection)
    started = now_ns()
    load.until_ns = started + int(arguments.seconds * 1e9)
    if arguments.rate:
        load.open_loop = True
        load.idle.extend(connections)
        await _send_at_rate(load, arguments.rate, started)
    else:
        for connection in connections:
            if not load.over(now_ns()):
                connection.send(now_ns())
    if load.in_flight or load.waiting:
        try:
            async with asyncio.timeout(arguments.seconds + GRACE_S):
                await load.all_answered.wait()
        except TimeoutError:
            pass  # what was not answered shows in the figures
    load.all_answered.set()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    elapsed = max(load.last_answer_ns - started, 1) / 1e9
    answers = sum(load.statuses.values())
    return {
        "sent": load.sent,
        "answers": answers,
        "accepted": load.statuses[202] + (load.statuses[200] if arguments.bare else 0),
        "statuses": {str(status): count for status, count in load.statuses.items()},
        "lost": load.lost + load.in_flight,
        "first_ns": started,
        "seconds": elapsed,
        "rate": answers / elapsed,
        "cpu_us": (usage.ru_utime + usage.ru_stime) * 1e6 / max(answers, 1),
        **percentiles(load.took_ns),
    }


async def _send_at_rate(load: Load, rate: float, started_ns: int) -> None:
    """Send request number i at `started_ns` + i / rate, until the time is over."""
    interval_ns = 1e9 / rate
    number = 0
    while True:
        due_ns = started_ns + int(number * interval_ns)
        if load.over(due_ns):
            load.until_ns = min(load.until_ns, now_ns())
            return
        ahead_ns = due_ns - now_ns()
        if ahead_ns > 0:
            await asyncio.sleep(ahead_ns / 1e9)
        number += 1
        if load.idle:
            load.idle.popleft().send(now_ns())
        else:
            load.waiting.append(due_ns)


def main() -> None:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="where to POST")
    parser.add_argument("--token", default="", help="bearer token")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="stop sending after this long")
    parser.add_argument("--requests", type=int, default=0, help="stop sending after this many; 0: only the time counts")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second (open loop); 0: closed loop")
    parser.add_argument("--size", type=int, default=500, help="bytes of the delivered payload")
    parser.add_argument("--bare", action="store_true", help="send the payload alone, as a delivery looks: for measuring the sink itself")
    parser.add_argument("--ordering-keys", type=int, default=0, help="name one of so many ordering keys in each message")
    parser.add_argument("--key-prefix", default="", help="send an idempotency-key that begins so with every request")
    result = uvloop.run(run(parser.parse_args()))
    print(json.dumps(result))
    sys.exit(0 if result["accepted"] else 1)


if __name__ == "__main__":
    main()
