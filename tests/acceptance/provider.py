"""How does a provider send? Signed events on many connections at full speed, and again whatever was not acknowledged."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import itertools
import socket
import time
import typing
import urllib.parse

from benchmarks.server import Server
from tests.acceptance.publishing import ANSWER_S, read_answer

SECRET = "whsec_test"


def event_id(number: int) -> str:
    """What the provider calls an event."""
    return f"evt_{number}"


def body_of(number: int) -> bytes:
    """An event of Stripe; the same bytes each time that it is sent."""
    return b'{"id":"%b","type":"charge.succeeded","number":%d,"text":"%b"}' % (event_id(number).encode(), number, b"x" * (number % 300))


def request(path: str, number: int, *, more: str = "") -> bytes:
    """The bytes that send an event, signed at this moment. `more` are further header lines, each ended by CR LF."""
    body, at = body_of(number), int(time.time())
    signature = hmac.digest(SECRET.encode(), b"%d.%b" % (at, body), "sha256").hex()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: ringback\r\ncontent-type: application/json\r\nstripe-signature: t={at},v1={signature}\r\n"
        f"content-length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


def send(running: Server, path: str, number: int) -> int:
    """Send one event; the status that it was answered."""
    with socket.create_connection((running.host, running.port), timeout=ANSWER_S) as connection:
        connection.sendall(request(path, number, more="connection: close\r\n"))
        head = connection.makefile("rb").read()
    return int(head.split(b" ", 2)[1])


def make_source(running: Server, app_id: str, **wanted: typing.Any) -> tuple[str, str]:
    """A Stripe source: its id, and the path that its provider calls."""
    made = running.make(f"/app/{app_id}/source", {"name": "stripe", "type": "stripe", "secrets": [SECRET], **wanted})
    return made["id"], urllib.parse.urlsplit(made["ingestUrl"]).path


def events_of(running: Server, app_id: str, source_id: str) -> list[dict[str, typing.Any]]:
    """All events that were taken from a source."""
    found: list[dict[str, typing.Any]] = []
    at = ""
    while True:
        status, page = running.call("GET", f"/app/{app_id}/source/{source_id}/event?limit=250&order=ascending{at}")
        assert status == 200, page
        found += page["data"]
        if page["done"]:
            return found
        at = f"&iterator={page['iterator']}"


@dataclasses.dataclass
class Provider:
    """What became of every event. `unknown` holds those that were sent and not acknowledged: they are sent again."""

    path: str
    acknowledged: set[int] = dataclasses.field(default_factory=set)
    unknown: set[int] = dataclasses.field(default_factory=set)
    refused: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    async def send(self, port: int, numbers: typing.Iterator[int], connections: int) -> None:
        """Send events, those first that were not acknowledged, until they run out or every connection is cut."""
        todo = itertools.chain(sorted(self.unknown), numbers)

        async def one_connection() -> None:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            try:
                for number in todo:
                    self.unknown.add(number)
                    writer.write(request(self.path, number))
                    async with asyncio.timeout(ANSWER_S):
                        status, _, _ = await read_answer(reader)
                    if 200 <= status < 300:
                        self.unknown.discard(number)
                        self.acknowledged.add(number)
                    else:
                        self.refused.append((number, status))
            except (OSError, asyncio.IncompleteReadError):
                pass  # the connection was cut: the event is sent again
            finally:
                writer.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(one_connection())
