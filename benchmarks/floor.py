"""What does the promise cost at the least? A message is accepted, committed, answered, signed, delivered and recorded, nothing else.

No token is looked up, no endpoint matched, no address checked, nothing is retried, counted, limited, searched or shown: what a server costs
beyond this is what it does for its users. Being built of the same libraries (httptools, uvloop, msgspec, SQLite), it is slow and fast with
the machine, so that a figure beside it says more than microseconds do.

Run as `python -m benchmarks.floor DATABASE TARGET`: prints one JSON line with its port, and serves until its standard input closes.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import hashlib
import hmac
import json
import os
import pathlib
import sys
import threading
import time
import typing
import urllib.parse

import apsw
import httptools
import msgspec
import uvloop

# Connections to the target: as many as the load tool has to us, so that none waits for another.
CONNECTIONS = 64
KEY = b"0123456789abcdef01234567"

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE message (id TEXT PRIMARY KEY, event_type TEXT NOT NULL, payload BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE delivery (message_id TEXT PRIMARY KEY, due INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE attempt (id INTEGER PRIMARY KEY, message_id TEXT NOT NULL, at INTEGER NOT NULL, took_us INTEGER NOT NULL, status INTEGER);
"""


class Published(msgspec.Struct, gc=False, rename="camel"):
    """The body of a publish request."""

    event_type: str
    payload: msgspec.Raw


class Message(msgspec.Struct, gc=False):
    """One message on its way."""

    id: str
    event_type: str
    payload: bytes
    at_us: int
    caller: Door
    sent_ns: int = 0
    status: int = 0
    took_us: int = 0


class Store:
    """Commits what waits, in a thread of its own: messages, then whatever came while the disk was busy."""

    def __init__(self, database: pathlib.Path, loop: asyncio.AbstractEventLoop, committed: typing.Callable[[list[Message]], None]) -> None:
        self._connection = apsw.Connection(str(database))
        self._connection.execute(SCHEMA).fetchall()
        self._loop = loop
        self._committed = committed
        self._something = threading.Event()
        self.accepted: list[Message] = []
        self.recorded: list[Message] = []
        threading.Thread(target=self._run, daemon=True).start()

    def wake(self) -> None:
        """There is something to commit."""
        self._something.set()

    def _run(self) -> None:
        execute, many = self._connection.execute, self._connection.executemany
        while True:
            self._something.wait()
            self._something.clear()
            accepted, self.accepted = self.accepted, []
            recorded, self.recorded = self.recorded, []
            execute("BEGIN IMMEDIATE")
            many("INSERT INTO message VALUES (?, ?, ?, ?)", [(m.id, m.event_type, m.payload, m.at_us) for m in accepted])
            many("INSERT INTO delivery VALUES (?, ?)", [(m.id, m.at_us) for m in accepted])
            many(
                "INSERT INTO attempt (message_id, at, took_us, status) VALUES (?, ?, ?, ?)",
                [(m.id, m.sent_ns // 1_000, m.took_us, m.status) for m in recorded],
            )
            many("DELETE FROM delivery WHERE message_id = ?", [(m.id,) for m in recorded])
            execute("COMMIT")
            if accepted:
                self._loop.call_soon_threadsafe(self._committed, accepted)


class Line(asyncio.Protocol):
    """One keep-alive connection to the target."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._message: Message

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = typing.cast("asyncio.Transport", transport)

    def send(self, message: Message, wire: bytes) -> None:
        """Send one signed request."""
        self._message = message
        message.sent_ns = time.time_ns()
        self._transport.write(wire)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        message = self._message
        message.status = self._parser.get_status_code()
        message.took_us = (time.time_ns() - message.sent_ns) // 1_000
        self._sender.arrived(self, message)


class Sender:
    """Signs and sends what was committed."""

    def __init__(self, target: urllib.parse.SplitResult, arrived: typing.Callable[[Message], None]) -> None:
        self._head = f"POST {target.path} HTTP/1.1\r\nhost: {target.netloc}\r\ncontent-type: application/json\r\n".encode()
        self._key = hmac.new(KEY, digestmod=hashlib.sha256)
        self._arrived = arrived
        self.idle: collections.deque[Line] = collections.deque()
        self._waiting: collections.deque[Message] = collections.deque()

    def take(self, message: Message) -> None:
        """Send a message, as soon as there is a connection for it."""
        if self.idle:
            self.idle.popleft().send(message, self._sealed(message))
        else:
            self._waiting.append(message)

    def arrived(self, line: Line, message: Message) -> None:
        """The target has answered."""
        self._arrived(message)
        if self._waiting:
            following = self._waiting.popleft()
            line.send(following, self._sealed(following))
        else:
            self.idle.append(line)

    def _sealed(self, message: Message) -> bytes:
        identity, payload, now = message.id.encode(), message.payload, b"%d" % time.time()
        mac = self._key.copy()
        mac.update(b"%b.%b.%b" % (identity, now, payload))
        signature = base64.b64encode(mac.digest())
        return b"%bwebhook-id: %b\r\nwebhook-timestamp: %b\r\nwebhook-signature: v1,%b\r\ncontent-length: %d\r\n\r\n%b" % (
            self._head,
            identity,
            now,
            signature,
            len(payload),
            payload,
        )


class Door(asyncio.Protocol):
    """One keep-alive connection of a publisher."""

    def __init__(self, accept: typing.Callable[[Message], None]) -> None:
        self._accept = accept
        self._parser = httptools.HttpRequestParser(self)
        self._decoder = msgspec.json.Decoder(Published)
        self._body: list[bytes] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = typing.cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        wanted = self._decoder.decode(body)
        self._accept(Message("msg_" + os.urandom(16).hex(), wanted.event_type, bytes(wanted.payload), time.time_ns() // 1_000, self))

    def answer(self, message: Message) -> None:
        """Say that the message is committed."""
        body = b'{"id":"%b","eventType":"%b","payload":%b}' % (message.id.encode(), message.event_type.encode(), message.payload)
        self._transport.write(
            b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )


async def serve(database: pathlib.Path, target: urllib.parse.SplitResult) -> None:
    """Serve until standard input closes."""
    loop = asyncio.get_running_loop()

    def committed(messages: list[Message]) -> None:
        for message in messages:
            message.caller.answer(message)
            sender.take(message)

    def accept(message: Message) -> None:
        store.accepted.append(message)
        store.wake()

    def arrived(message: Message) -> None:
        store.recorded.append(message)
        store.wake()

    store = Store(database, loop, committed)
    sender = Sender(target, arrived)
    for _ in range(CONNECTIONS):
        _, line = await loop.create_connection(lambda: Line(sender), target.hostname, target.port)
        sender.idle.append(line)
    server = await loop.create_server(lambda: Door(accept), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(pathlib.Path(sys.argv[1]), urllib.parse.urlsplit(sys.argv[2])))
