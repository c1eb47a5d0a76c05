"""Who compares payloads with schemas where that may take long? A process of its own, that can be ended when it does not come to an end.

It is started when first needed, does one comparison after the other, and ends when nothing has come for a while, or with its parent.
Threads would not do: the library holds the interpreter while it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import IO, Final, TypeAlias

import msgspec

from ringback.errors import Unavailable
from ringback.policy.json_instances import Fit, Misfit, compile_draft7, compile_newest

# A start takes 0.2 s, and ten times as long on a machine under load.
_START_S: Final = 10.0
# A comparison takes up to 0.1 s, but there are schemas that double their work with every line.
_PATIENCE_S: Final = 2.0
# A process that nobody needs gives its 25 MB back.
_IDLE_S: Final = 60.0
# Compiled schemas that the process keeps.
_COMPILED: Final = 64
_READY: Final = b"ready"
_Pipes: TypeAlias = tuple[asyncio.StreamWriter, asyncio.StreamReader]
# Is the schema of draft 7 unless it says otherwise; the sizes of schema and body.
_HEAD: Final = struct.Struct("!?II")
_SIZE: Final = struct.Struct("!I")


class Compared(msgspec.Struct, frozen=True):
    """What the process answers: what does not fit, or why the schema cannot be used."""

    misfits: list[Misfit] = []
    unusable: str | None = None


class Checker:
    """The process, seen from its parent. Belongs to one event loop."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def compare(self, schema: bytes, body: bytes, *, draft7: bool = True) -> Compared:
        """Compare a body with a schema, both JSON. Raises Unavailable when there is no answer in time.

        A schema that names no draft is of draft 7, or else of the newest one.
        """
        async with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            try:
                process = await self._started()
                async with asyncio.timeout(_PATIENCE_S):
                    answer = await _asked(process, _HEAD.pack(draft7, len(schema), len(body)) + schema + body)
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                await self._end()
                raise Unavailable("the payload could not be compared with the schema of its event type in time; try again") from None
            except BaseException:
                # Cancelled half-way: the next answer would be that of this question.
                self._kill()
                raise
            self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._kill)
        return msgspec.msgpack.decode(answer, type=Compared)

    async def close(self) -> None:
        """End the process, if it runs."""
        if self._idle is not None:
            self._idle.cancel()
        await self._end()

    async def _started(self) -> _Pipes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            async with asyncio.timeout(_START_S):
                await _pipes(process)[1].readexactly(len(_READY))
        return _pipes(process)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _end(self) -> None:
        process = self._process
        self._kill()
        if process is not None:
            await process.wait()


def _pipes(process: asyncio.subprocess.Process) -> _Pipes:
    if process.stdin is None or process.stdout is None:
        raise OSError("the process has no pipes")
    return process.stdin, process.stdout


async def _asked(pipes: _Pipes, question: bytes) -> bytes:
    pipes[0].write(question)
    await pipes[0].drain()
    (size,) = _SIZE.unpack(await pipes[1].readexactly(_SIZE.size))
    return await pipes[1].readexactly(size)


def _questions(pipe: IO[bytes]) -> Iterator[tuple[bool, bytes, bytes]]:
    while len(head := pipe.read(_HEAD.size)) == _HEAD.size:
        draft7, schema_size, body_size = _HEAD.unpack(head)
        yield draft7, pipe.read(schema_size), pipe.read(body_size)


def answers(pipe: IO[bytes], say: Callable[[bytes], None]) -> None:
    """Answer the questions that come through a pipe, until it ends."""
    compiled: dict[tuple[bool, bytes], Fit | str] = {}
    for draft7, schema, body in _questions(pipe):
        fit = compiled.get((draft7, schema))
        if fit is None:
            if len(compiled) >= _COMPILED:
                compiled.clear()
            try:
                fit = (compile_draft7 if draft7 else compile_newest)(msgspec.json.decode(schema))
            except ValueError as error:
                fit = str(error)
            compiled[draft7, schema] = fit
        compared = Compared(unusable=fit) if isinstance(fit, str) else Compared(fit(body))
        answer = msgspec.msgpack.encode(compared)
        say(_SIZE.pack(len(answer)) + answer)


def _main() -> None:
    # Control-C in a terminal goes to all of its processes; this one ends when its parent does, by the end of the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def say(answer: bytes) -> None:
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()

    say(_READY)
    answers(sys.stdin.buffer, say)


if __name__ == "__main__":
    _main()
