"""A customer's endpoint: verifies every signature, and fails now and then, as customers' endpoints do."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Sequence

from ringback.cli.demo.tally import Tally
from ringback.clock import SECOND_US, SystemClock
from ringback.errors import VerificationError
from ringback.signing.headers import Headers
from ringback.signing.secret import CheckingKey
from ringback.signing.standard import Verifier

# Bytes of request head and body: far above what the demo sends, so that a defect shows as an error and not as memory.
_HEAD_MAX = 64 * 1024
_BODY_MAX = 1024 * 1024


class Fate(enum.Enum):
    """What becomes of an attempt, and what is answered."""

    TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
    BROKEN = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 25\r\n\r\ndatabase is not reachable"
    BUSY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\nbusy"
    HANGING = b""
    CLOSING = b"\x00"


def fate_of(sequence: int, failures: int) -> Fate:
    """Most events are taken at once; each way to fail has its share, and every event is taken in the end."""
    if failures == 0:
        # Shares of first attempts: 5% broken, 2.5% cut off, and every eight seconds or so one that hangs until the sender gives up.
        if sequence % 20 == 3:
            return Fate.BROKEN
        if sequence % 40 == 14:
            return Fate.CLOSING
        if sequence % 200 == 111:
            return Fate.HANGING
    # 1% are refused twice. No Retry-After: it would hold back all others too, as it should, and hide how fast they are.
    if failures < 2 and sequence % 100 == 47:
        return Fate.BUSY
    return Fate.TAKEN


class Receiver:
    """An HTTP server on one loopback address. `keys` are those of the endpoint, set once it exists."""

    def __init__(self, tally: Tally, run: str) -> None:
        self._tally = tally
        self._run = run
        self._clock = SystemClock()
        self._verifier: Verifier | None = None
        self._server: asyncio.Server | None = None

    async def start(self, host: str) -> int:
        """Listen on a free port of `host`; the port."""
        self._server = await asyncio.start_server(self._serve, host, 0, limit=_HEAD_MAX)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def trust(self, keys: Sequence[CheckingKey]) -> None:
        """From now on believe what these keys signed, and nothing else."""
        self._verifier = Verifier(keys)

    def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, asyncio.CancelledError):
            # The sender left, between requests or within one; or the demo ends, and nothing waits for this task.
            pass
        finally:
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read and answer one request; whether the connection is to be kept."""
        head = await reader.readuntil(b"\r\n\r\n")
        fields = [line.split(b":", 1) for line in head.split(b"\r\n")[1:-2]]
        headers = Headers([(name, value.strip()) for name, value in fields])
        length = int(headers.one(b"content-length") or 0)
        if length > _BODY_MAX:
            return False
        fate = self._judge(headers, await reader.readexactly(length))
        if fate is Fate.CLOSING:
            return False
        if fate is Fate.HANGING:
            # Until the sender gives up and closes.
            await reader.read(1)
            return False
        writer.write(fate.value)
        await writer.drain()
        return True

    def _judge(self, headers: Headers, body: bytes) -> Fate:
        try:
            if self._verifier is None:
                return Fate.BUSY
            self._verifier.verify(headers, body, now_s=self._clock.now_us() // SECOND_US)
        except VerificationError:
            self._tally.bad_signatures += 1
            return Fate.BROKEN
        mark = json.loads(body).get("demo", {})
        if mark.get("run") != self._run:
            # Left over from an earlier demo: done with now.
            return Fate.TAKEN
        sequence = int(mark["sequence"])
        fate = fate_of(sequence, self._tally.arrived(sequence, self._clock.monotonic_s()))
        if fate is Fate.TAKEN:
            self._tally.taken(sequence)
        else:
            self._tally.failed(sequence)
        return fate
