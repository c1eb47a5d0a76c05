"""How does a stranger's JavaScript run without anybody else noticing? In a few processes that are killed when they do not come to an end.

A call is a script, a JSON document in, and a JSON document out. Processes are started when the first call comes, and end when none has come
for a while, or with this one (`delivery.scripting_worker`). Several quick calls are on their way to a process at once, which saves waiting
for each; those that are not known to be quick (`delivery.scripting_turns`) run alone, and never on all processes at once. When a process is
killed, the call that it was at is to blame, and all behind it are asked again.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec

from ringback.clock import Clock
from ringback.delivery import scripting_worker as wire
from ringback.delivery.scripting_turns import Call, Moment, PayloadKind, Ran, Script, Turns
from ringback.telemetry.events import SCRIPT_STOPPED, SCRIPTS_FAILED, TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# A start takes 0.1 s, and ten times as long on a machine under load.
_START_S: Final = 15.0
# A process that nobody needs gives its 20 MB back.
_IDLE_S: Final = 60.0
# After a start that failed, calls are refused for so long before the next one is tried.
_AGAIN_S: Final = 1.0
# Seconds between two looks at how long calls have been running.
_LOOK_S: Final = 0.25
# So many times its CPU may a call take on the clock, on a machine with much else to do; then its process is killed from here. One that uses
# its CPU is stopped by the engine, or killed by the kernel, long before.
_WALL: Final = 5
# Calls on their way to a process at once: each costs half as much then, and all behind one that kills it must be asked again.
_DEPTH: Final = 8
# Bytes of their documents.
_DEPTH_BYTES: Final = 1024 * 1024
# Scripts that a process keeps with their contexts: some 0.2 MB each.
_KEPT: Final = 64
# At most one line of the log in so many seconds.
_LOG_EVERY_S: Final = 60.0

INSTALL: Final = "pip install 'ringback[transformations]'"
_RETURNED, _THREW, _UNUSABLE, _TIME, _MEMORY, _LOST, _UNAVAILABLE = (
    "returned", "threw", "unusable", "time", "memory", "lost", "unavailable",
)  # fmt: skip
_OUTCOMES: Final = {
    wire.RETURNED: _RETURNED,
    wire.THREW: _THREW,
    wire.UNUSABLE: _UNUSABLE,
    wire.TIME: _TIME,
    wire.MEMORY: _MEMORY,
}
_PAYLOADS: Final[dict[int, PayloadKind]] = {wire.NO_PAYLOAD: "none", wire.SAME: "same", wire.JSON: "json", wire.TEXT: "text"}
# Those after which the script is one that others must be kept from.
_STOPPED: Final = frozenset((_TIME, _MEMORY, _LOST))
_CLOSED: Final = Ran(_UNAVAILABLE, words="the server is stopping")
_MISSING: Final = Ran(_UNAVAILABLE, words=f"the JavaScript engine is not installed on the server ({INSTALL})")
_OFF: Final = Ran(_UNAVAILABLE, words="the server is set to run no transformations (transformation_workers)")


class ScriptSettings(msgspec.Struct, frozen=True):
    """`workers` is how many processes there may be, 0 = none; `cpu_s` how much CPU a call may take, seconds."""

    workers: int = 2
    cpu_s: float = 1.0


class _Process(asyncio.Protocol):
    """One process, seen from its parent."""

    def __init__(self, child: subprocess.Popen[bytes], pool: Scripts) -> None:
        self.child = child
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()
        self._known: OrderedDict[Script, int] = OrderedDict()
        self._numbers = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.flying: deque[Call] = deque()
        self.bytes = 0
        # Since when it is at the first of these.
        self.since_s = 0.0
        self.killed = False
        # Nobody is to blame for its end.
        self.retired = False
        # Nothing more may be sent to it, though its connection is there for a moment still.
        self.ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a socket has both ways

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(OSError("the process has ended before it was ready"))
        self._pool._ended(self)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self.ready.done():
            if len(self._read) < len(wire.READY):
                return
            del self._read[: len(wire.READY)]
            self.ready.set_result(None)
        head = wire.ANSWER.size
        while len(self._read) >= head:
            kind, payload_kind, line, column, cpu_us, size, payload_size, said_size = wire.ANSWER.unpack_from(self._read)
            end = head + size + payload_size + said_size
            if len(self._read) < end:
                return
            with memoryview(self._read) as read:
                body, payload = bytes(read[head : head + size]), bytes(read[head + size : head + size + payload_size])
                said = _lines(bytes(read[end - said_size : end]))
            del self._read[:end]
            outcome = _OUTCOMES[kind]
            if outcome == _RETURNED:
                ran = Ran(outcome, body, payload, _PAYLOADS[payload_kind], "", 0, 0, cpu_us, said)
            else:
                ran = Ran(outcome, b"", b"", "none", self._pool.words(outcome, body), line, column, cpu_us, said)
            self._pool._answered(self, ran)

    def send(self, call: Call, limit_ms: int) -> None:
        """Have it run a call, after those that were sent before."""
        transport = self._transport
        if transport is None:
            raise OSError("the process has no connection")
        script = call.script
        number = self._known.get(script)
        code = b""
        if number is None:
            self._numbers = number = self._numbers + 1
            code = script.code.encode(errors="replace")
            if not call.once:
                if len(self._known) >= _KEPT:
                    transport.write(wire.CALL.pack(self._known.popitem(last=False)[1], 0, 0, 0, 0, 0, 0))
                self._known[script] = number
        else:
            self._known.move_to_end(script)
        flags = (wire.ONCE if call.once and code else 0) | (wire.LISTENING if call.listening else 0)
        flags |= wire.APART.index(script.apart) << wire.APART_SHIFT
        at_ms, seed = (0, 0) if call.moment is None else (call.moment.at_ms, call.moment.seed)
        self.flying.append(call)
        self.bytes += len(call.document)
        head = wire.CALL.pack(number, flags, limit_ms, len(code), len(call.document), at_ms, seed)
        transport.write(b"".join((head, code, call.document)))

    def landed(self) -> Call:
        """The first call has ended."""
        call = self.flying.popleft()
        self.bytes -= len(call.document)
        return call

    def kill(self) -> None:
        """End it at once, whatever it is at."""
        self.killed = True
        self.child.kill()
        self.close()

    def close(self) -> None:
        """Let it end: it reads that nothing more comes."""
        self.ending = True
        if self._transport is not None:
            self._transport.abort()


class Scripts:
    """The processes. Belongs to one event loop."""

    def __init__(self, settings: ScriptSettings, clock: Clock, metrics: Metrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._turns = Turns()
        self._processes: list[_Process] = []
        # All that were started and are not buried.
        self._alive: set[_Process] = set()
        self._starting = 0
        # So many processes may be busy with what is not known to be quick: one is left for the others, if there is more than one.
        self._slow_most = max(settings.workers - 1, 1)
        self._slow_flying = 0
        # With one process: quick calls that come before the next slow one.
        self._owed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None
        self._used_s = 0.0
        self._again_s = 0.0
        self._logged_s = -_LOG_EVERY_S
        self._closed = False
        spec = importlib.util.find_spec("_quickjs")
        # Where the engine is; it is never loaded here.
        self._place = None if spec is None or spec.origin is None else os.path.dirname(spec.origin)

    @property
    def missing(self) -> str | None:
        """Why nothing can run here; None = it can."""
        if self._settings.workers == 0:
            return _OFF.words
        return _MISSING.words if self._place is None else None

    @property
    def processes(self) -> int:
        """How many processes there are."""
        return len(self._processes)

    @property
    def waiting(self) -> int:
        """Calls that have not ended."""
        return self._turns.waiting + sum(len(process.flying) for process in self._processes)

    def crowded(self, script: Script) -> bool:
        """Should a call be made later, because so many of its tenant wait?"""
        return self._turns.crowded(script)

    def run(
        self,
        script: Script,
        document: bytes,
        done: Callable[[Ran], None],
        *,
        once: bool = False,
        listening: bool = False,
        moment: Moment | None = None,
    ) -> None:
        """Run a script on a JSON text (UTF-8); `done` is called exactly once, later. Never raises for what a script does.

        `once`: it will not be called again (somebody tries it). `listening`: what it writes to the console is wanted. With a `moment`, what
        comes of it follows from script, document and moment alone.
        """
        refusal = self._refusal()
        if refusal is not None:
            self._loop.call_soon(self._tell, Call(script, b"", done), refusal)
            return
        self._turns.add(Call(script, document, done, once=once, listening=listening, moment=moment))
        self._pump()

    async def ran(
        self, script: Script, document: bytes, *, once: bool = False, listening: bool = False, moment: Moment | None = None
    ) -> Ran:
        """Run a script and wait for what comes of it: some seconds at the most when its turn has come."""
        future: asyncio.Future[Ran] = self._loop.create_future()

        def done(ran: Ran) -> None:
            if not future.done():
                future.set_result(ran)

        self.run(script, document, done, once=once, listening=listening, moment=moment)
        return await future

    async def close(self) -> None:
        """End all processes; what has not ended is told that it never will."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
        for process in tuple(self._processes):
            process.kill()
        for call in (*self._turns.quick.clear(), *self._turns.slow.clear()):
            self._tell(call, _CLOSED)
        while self._alive or self._tasks:
            # What starts just now ends as well, and what has ended is buried by a task that is still to come.
            await asyncio.wait(self._tasks) if self._tasks else await asyncio.sleep(0.001)

    def words(self, outcome: str, message: bytes) -> str:
        """What is said of a call that gave nothing."""
        if outcome == _TIME:
            return f"it was stopped after {self._settings.cpu_s:g} s of CPU time"
        if outcome == _MEMORY:
            return f"it ran out of memory: {wire.MEMORY_BYTES // (1024 * 1024)} MiB are allowed"
        return message.decode(errors="replace")

    def _refusal(self) -> Ran | None:
        if self._closed:
            return _CLOSED
        if self._settings.workers == 0:
            return _OFF
        if self._place is None:
            return _MISSING
        if self._again_s and self._clock.monotonic_s() < self._again_s:
            return Ran(_UNAVAILABLE, words="the JavaScript engine could not be started; the server's log says why")
        return None

    # -- turns

    def _pump(self) -> None:
        turns = self._turns
        while turns.waiting:
            process = self._idle() if self._may_be_slow() else None
            if process is not None:
                call = turns.slow.next()
                call.slow = True
                self._slow_flying += 1
                self._owed = _DEPTH
            elif turns.quick.size and (process := self._roomy()) is not None:
                call = turns.quick.next()
                call.slow = False
                self._owed -= 1
            else:
                break
            self._used_s = self._clock.monotonic_s()
            if not process.flying:
                process.since_s = self._used_s
            process.send(call, int(self._settings.cpu_s * 1000))
        if (
            (turns.quick.size or self._may_be_slow())
            and len(self._processes) + self._starting < self._settings.workers
            and not self._closed
        ):
            self._starting += 1
            self._begin(self._start())

    def _may_be_slow(self) -> bool:
        """May one of the slow calls run, if a process is idle?"""
        turns = self._turns
        if not turns.slow.size or self._slow_flying >= self._slow_most:
            return False
        return self._settings.workers > 1 or not turns.quick.size or self._owed <= 0

    def _idle(self) -> _Process | None:
        return next((process for process in self._processes if not process.flying and not process.ending), None)

    def _roomy(self) -> _Process | None:
        best = None
        for process in self._processes:
            depth = len(process.flying)
            if process.ending or (depth and (depth >= _DEPTH or process.flying[0].slow or process.bytes >= _DEPTH_BYTES)):
                continue
            if best is None or depth < len(best.flying):
                best = process
        return best

    # -- what becomes of calls

    def _answered(self, process: _Process, ran: Ran) -> None:
        call = process.landed()
        if process.flying:
            process.since_s = self._clock.monotonic_s()
        if self._finish(call, ran) and process.flying:
            # What is behind it may have turned as well: all of that is asked again, each where it belongs now.
            process.retired = True
            process.kill()
        self._pump()

    def _finish(self, call: Call, ran: Ran) -> bool:
        """A call has run. Was it a long one of a script that was thought quick?"""
        if call.slow:
            self._slow_flying -= 1
        turned = self._turns.ran(call, ran.cpu_us, stopped=ran.outcome in _STOPPED)
        self._metrics.script_seconds.observe(ran.cpu_us / 1_000_000)
        self._tell(call, ran)
        return turned

    def _tell(self, call: Call, ran: Ran) -> None:
        counts = self._metrics.scripts
        self._metrics.scripts = {**counts, ran.outcome: counts[ran.outcome] + 1}
        try:
            call.done(ran)
        except Exception as error:
            # A defect of ours in one of them must not reach the others.
            log(TASK_FAILED, failure=error, task="scripts", error=str(error))

    # -- processes

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self) -> None:
        process = None
        try:
            ours, child = await asyncio.to_thread(_spawn, self._place or "")
            process = _Process(child, self)
            self._alive.add(process)
            async with asyncio.timeout(_START_S):
                await self._loop.create_unix_connection(lambda: process, sock=ours)
                await process.ready
        except (OSError, RuntimeError, TimeoutError) as error:
            # RuntimeError: no thread could be started.
            self._starting -= 1
            if process is not None:
                process.kill()
                self._begin(self._bury(process))
            self._failed(str(error) or "it was not ready in time")
            return
        self._starting -= 1
        if self._closed:
            process.kill()
            self._begin(self._bury(process))
            return
        self._again_s = 0.0
        self._processes.append(process)
        self._metrics.script_workers = len(self._processes)
        self._used_s = self._clock.monotonic_s()
        if self._looking is None:
            self._looking = self._loop.call_later(_LOOK_S, self._look)
        self._pump()

    def _failed(self, error: str) -> None:
        """No process could be started: if there is none, nobody waits for one."""
        log(SCRIPTS_FAILED, error=error)
        self._again_s = self._clock.monotonic_s() + _AGAIN_S
        if self._processes or self._starting:
            return
        refusal = Ran(_UNAVAILABLE, words="the JavaScript engine could not be started; the server's log says why")
        for call in (*self._turns.quick.clear(), *self._turns.slow.clear()):
            self._tell(call, refusal)

    def _ended(self, process: _Process) -> None:
        """The connection to a process is gone."""
        if process in self._processes:
            self._processes.remove(process)
            self._metrics.script_workers = len(self._processes)
            self._begin(self._bury(process))

    async def _bury(self, process: _Process) -> None:
        # It ends already, or its connection was lost for another reason. What ends by itself keeps its status.
        process.child.kill()
        status = await asyncio.to_thread(process.child.wait)
        self._alive.discard(process)
        if process.flying and status != 0 and not (self._closed or process.retired):
            call = process.landed()
            timed = process.killed or status == -signal.SIGPROF
            outcome = _TIME if timed else _LOST
            words = self.words(_TIME, b"") if timed else f"the process that ran it has ended ({_ending(status)})"
            cpu_us = int(self._settings.cpu_s * 1_000_000) if timed else 0
            self._note(call, words)
            self._finish(call, Ran(outcome, words=words, cpu_us=cpu_us))
        while process.flying:
            call = process.landed()
            if call.slow:
                self._slow_flying -= 1
            if self._closed:
                self._tell(call, _CLOSED)
            else:
                self._turns.add(call)
        if not self._closed:
            self._pump()

    def _note(self, call: Call, words: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            log(SCRIPT_STOPPED, app_id=call.script.tenant, endpoint_id=call.script.key, why=words)

    def _look(self) -> None:
        """Kill what has been at one call for too long, and end what nobody needs."""
        now_s = self._clock.monotonic_s()
        for process in tuple(self._processes):
            if process.flying and now_s - process.since_s > self._settings.cpu_s * _WALL:
                process.kill()
        if self._processes and not self.waiting and now_s - self._used_s > _IDLE_S:
            for process in tuple(self._processes):
                process.close()
        self._looking = self._loop.call_later(_LOOK_S, self._look) if self._processes or self.waiting else None


def _lines(said: bytes) -> tuple[str, ...]:
    if not said:
        return ()
    try:
        return msgspec.json.decode(said, type=tuple[str, ...])
    except msgspec.DecodeError:
        # The script has changed how text is written; what it wrote is its own affair.
        return ()


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"


def _spawn(place: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a process: our end of its socket, and it. Blocks for a few milliseconds. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(wire.__file__)), place],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # Nothing of ours: the environment may hold secrets.
                env={},
            )
    except OSError:
        ours.close()
        raise
    ours.setblocking(False)
    return ours, child
