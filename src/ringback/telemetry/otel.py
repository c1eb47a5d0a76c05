"""How do spans reach a collector? A bounded queue, a thread that empties it, and a process of its own that speaks OTLP.

The process has the packages of OpenTelemetry, and does what costs time: making protobuf of a span takes some hundred microseconds of
Python, which in a thread of the server would hold the interpreter again and again. The thread only waits for it. Whatever becomes of the
collector, or of the process, spans are lost and counted; nothing else notices.
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import threading
from collections import deque
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.errors import OperatorError
from ringback.telemetry.events import TRACES_LOST, TRACES_RESUMED
from ringback.telemetry.log import log
from ringback.telemetry.otel_process import HEAD, Answer, Target
from ringback.telemetry.spans import Span

INSTALL: Final = "pip install 'ringback[opentelemetry]'"
# Spans that wait, some 1 kB each: a second's worth at full speed. What comes when they are so many is lost.
QUEUE_MAX: Final = 16_384
# Spans in one request: packing so many holds the interpreter for half a millisecond.
_BATCH: Final = 256
# Seconds that a span waits for others at the most.
_EVERY_S: Final = 0.5
# Seconds beyond those for a batch after which the process itself hangs, and is ended. Its start takes 0.5 s, and more under load.
_PATIENCE_S: Final = 10.0
# Seconds before another process is started after one has died; twice as long each time, up to a minute, until one exports: a start costs
# half a second of CPU.
_REST_S: Final = 2.0
_REST_MOST_S: Final = 60.0
# Seconds between two lines of the log about what was lost.
_TOLD_EVERY_S: Final = 60.0
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def require() -> None:
    """Raises OperatorError when the packages that the process needs are not installed. Imports none of them but their parents."""
    for name in _NEEDED:
        try:
            found = importlib.util.find_spec(name) is not None
        except ImportError:
            found = False
        if not found:
            raise OperatorError(
                f"otel_endpoint is set, and {name}, which traces are exported with, is not installed; "
                f"install it ({INSTALL}), or leave otel_endpoint out"
            )


class Exporter:
    """Exports spans to one collector; up to `room` of them wait. `emit` never blocks and may be called by any thread."""

    def __init__(self, target: Target, clock: Clock, room: int = QUEUE_MAX) -> None:
        self._target = target
        self._clock = clock
        self._room = room
        self._queue: deque[Span] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._process: _Process | None = None
        self._rest_s = _REST_S
        self._rest_until_s = 0.0
        self._told_at_s = -_TOLD_EVERY_S
        # Lost, and not told of yet; `failing` until a batch arrives again.
        self._lost = 0
        self._failing = False
        # A daemon, should it hang where nothing can end it.
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process that exports, while there is one."""
        process = self._process
        return None if process is None else process.pid

    def emit(self, span: Span) -> None:
        """Have a span exported, sooner or later, unless too many wait."""
        waiting = len(self._queue)
        if waiting >= self._room:
            self._lost += 1
            return
        self._queue.append(span)
        if waiting == _BATCH:
            self._wake.set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self, within_s: float) -> None:
        """Export what waits, for so long at the most, and end. Blocks."""
        self._stopping = True
        self._wake.set()
        self._thread.join(within_s)
        process = self._process
        if process is not None:
            process.end()

    def _run(self) -> None:
        # An empty batch: the process is there when spans are, and what is wrong with it is known at once.
        self._export([])
        while True:
            batch = self._taken()
            if batch:
                self._export(batch)
            elif self._stopping:
                break
            if len(self._queue) < _BATCH:
                self._tell()
                if not self._stopping:
                    self._wake.wait(_EVERY_S)
                    self._wake.clear()

    def _taken(self) -> list[Span]:
        queue = self._queue
        return [queue.popleft() for _ in range(min(len(queue), _BATCH))]

    def _export(self, batch: list[Span]) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._rest_until_s:
            self._failed(batch, "the process that exports them has died, and is not started again yet")
            return
        try:
            if self._process is None:
                self._process = _Process(self._target)
            error = self._process.export(batch)
        except Exception as failure:
            # It died, hangs, or could not be started: another one may do better. And nothing else may end this thread either.
            if self._process is not None:
                self._process.end()
            self._process = None
            self._rest_until_s = self._clock.monotonic_s() + self._rest_s
            self._rest_s = min(2 * self._rest_s, _REST_MOST_S)
            error = f"the process that exports them failed: {str(failure) or type(failure).__name__}"
        else:
            # An empty batch says nothing of what becomes of one with spans.
            self._rest_s = _REST_S if batch else self._rest_s
        if error:
            self._failed(batch, error)
        elif self._failing:
            self._failing = False
            self._told_at_s = -_TOLD_EVERY_S
            log(TRACES_RESUMED)

    def _failed(self, batch: list[Span], why: str) -> None:
        self._lost += len(batch)
        self._failing = True
        self._tell(why)

    def _tell(self, why: str = "more spans are made than can be exported") -> None:
        now_s = self._clock.monotonic_s()
        if self._lost and now_s - self._told_at_s >= _TOLD_EVERY_S:
            self._told_at_s = now_s
            lost, self._lost = self._lost, 0
            log(TRACES_LOST, lost=lost, why=why)


class _Process:
    """The process, seen from the thread. Everything here blocks, and raises OSError or EOFError when it is of no more use."""

    def __init__(self, target: Target) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        ours.settimeout(target.timeout_s + _PATIENCE_S)
        with theirs:
            # -P: nothing is imported that lies where the server was started.
            command = (sys.executable, "-P", "-m", "ringback.telemetry.otel_process")
            self._child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=theirs.fileno())
        self.pid = self._child.pid
        self._say(msgspec.msgpack.encode(target))

    def export(self, batch: list[Span]) -> str:
        """Have a batch exported; why that failed, "" if it did not."""
        self._say(msgspec.msgpack.encode(batch))
        (size,) = HEAD.unpack(self._heard(HEAD.size))
        return msgspec.msgpack.decode(self._heard(size), type=Answer).error

    def end(self) -> None:
        """End it at once. May be called by another thread, whose call of `export` then fails."""
        with contextlib.suppress(OSError):
            self._child.kill()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._child.wait()
        self._socket.close()

    def _say(self, frame: bytes) -> None:
        self._socket.sendall(HEAD.pack(len(frame)) + frame)

    def _heard(self, size: int) -> bytes:
        heard = b""
        while len(heard) < size:
            piece = self._socket.recv(size - len(heard))
            if not piece:
                raise EOFError("it has ended")
            heard += piece
        return heard
