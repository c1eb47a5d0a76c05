"""How is a stranger's JavaScript run? By a process that does nothing else: it reads calls from a socket, and answers on it.

It is started as a file (`python -I -S`), without the site's packages and without our own, so it imports the standard library and the engine
alone; its environment is empty. What the engine cannot stop by itself, the kernel does: a timer of CPU time that kills the process, and
limits on memory and files. `delivery.scripting` is its parent, and asks again what was behind a call that killed it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import struct
import sys
import time
from typing import Any, Final, NamedTuple

# The number of the script, flags, milliseconds of CPU that the call may take, the sizes of its code (0: it is known) and of the document;
# the time that the script sees (milliseconds since 1970, 0 = the clock's), and what its chance begins with when that is given.
CALL: Final = struct.Struct("!IBIIIQQ")
# The kind of answer, the kind of its payload, line and column of an error (0 = unknown), microseconds of CPU, and the sizes of what
# follows: a document or words, the payload, and what was said to the console.
ANSWER: Final = struct.Struct("!BBIIIIII")
READY: Final = b"ready"
# Flags of a call: the script is not called again; what it says to the console is wanted.
ONCE: Final = 1
LISTENING: Final = 2
# The other bits of the flags say which member of what the handler returns stands apart, as a place in this list. Where it is not the first,
# the handler gets a batch of events; with the last it is not called at all, and only whether there is one is asked.
APART: Final = ("payload", "data", "spans", "nothing")
APART_SHIFT: Final = 2
# Kinds of answers.
RETURNED: Final = 0
THREW: Final = 1
UNUSABLE: Final = 2
TIME: Final = 3
MEMORY: Final = 4

# Kinds of payloads: there is none, it came back unchanged (and is not sent back), it is JSON, it is a text and no JSON.
NO_PAYLOAD: Final = 0
SAME: Final = 1
JSON: Final = 2
TEXT: Final = 3
_PAYLOADS: Final = {"r": NO_PAYLOAD, "s": SAME, "j": JSON, "x": TEXT}

# What one script may have in memory, and what it may return (contract, 9).
MEMORY_BYTES: Final = 64 * 1024 * 1024
RESULT_BYTES: Final = 2 * 1024 * 1024
# Address space of the process: the interpreter and the engine take some 40 MB, a document and its result in several forms ten times 2 MiB.
_ADDRESSES: Final = 400 * 1024 * 1024
# Files that it may have open: its socket, and some that the interpreter opens for a moment.
_FILES: Final = 16
# The depth of calls that the engine takes on its stack, of the 8 MiB that a process has.
_STACK_BYTES: Final = 1024 * 1024
# Grace of the kernel's timer: the engine's own comes first, because it costs no process.
_GRACE_S: Final = 0.1
# What a call may leave in memory. Beyond that its script begins anew, so that many scripts that hoard cannot starve each other.
_HOARD_BYTES: Final = 8 * 1024 * 1024
# Resident memory at which the process ends and another one takes its place.
_FULL_BYTES: Final = 160 * 1024 * 1024
# Characters of an error's message: enough for any that is meant for people.
_WORDS: Final = 2_000
# Half a character, as JSON.stringify writes it: what is left of an emoji when a text is cut in it. Many parsers take it for no JSON.
_HALF: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}")
_PAGE: Final = resource.getpagesize()
# The first place of an error's stack that is in the script: functions of the prelude have names that begin with `ringback$`.
_AT: Final = re.compile(r"^ *at (?!ringback\$)(?:.* \()?<input>:(\d+)(?::(\d+))?", re.MULTILINE)

# Made before the script's own code runs, so that nothing it does to the built-in objects reaches what is used here. It gives the function
# that turns a text into a text by way of the handler.
_PRELUDE: Final = """
(() => {
  "use strict";
  const {parse, stringify} = JSON, text = String, {apply} = Reflect;
  const {toWellFormed, slice} = String.prototype, {join} = Array.prototype;
  const most = 50, longest = 1000;
  const short = (value, length) => apply(toWellFormed, apply(slice, text(value), [0, length]), []);
  let said = [], listening = false;
  const shown = (value) => {
    try { return typeof value === "object" ? stringify(value) ?? text(value) : text(value); } catch { return "?"; }
  };
  const say = (...values) => {
    if (!listening || said.length >= most) return;
    let line = "";
    for (let i = 0; i < values.length; i++) line += (i ? " " : "") + shown(values[i]);
    said[said.length] = short(line, longest);
  };
  globalThis.console = {log: say, info: say, warn: say, error: say, debug: say, trace: say};
  // Of an event: what its text says when that is JSON, else the text.
  const ringback$read = (payload) => {
    try { return parse(payload); } catch { return payload; }
  };
  const ringback$run = (handler, document, apart) => {
    const given = parse(document), before = stringify(given[apart]);
    if (apart !== "payload")
      for (let i = 0; i < given.events.length; i++) given.events[i].payload = ringback$read(given.events[i].payload);
    const result = handler(given);
    if (result === undefined || result === null || typeof result !== "object")
      return ["u", "", "handler returned " + (result === null ? "null" : typeof result) + "; it must return an object"];
    if (typeof result.then === "function")
      return ["u", "", "handler returned a promise; it must return the object itself, and cannot be async"];
    const {[apart]: payload, ...rest} = result, written = stringify(rest), body = stringify(payload);
    if (typeof written !== "string") return ["u", "", "handler returned what cannot be written as JSON"];
    if (body === undefined) return ["r", written, ""];
    if (body === before) return ["s", written, ""];
    return [typeof payload === "string" ? "x" : "j", written, body];
  };
  const ringback$guarded = (handler, document, hears, apart) => {
    let found;
    listening = hears;
    said = [];
    try {
      found = ringback$run(handler, document, apart);
    } catch (error) {
      let words, stack = "";
      try { words = short(error, 4000); } catch { words = "an error that cannot be shown"; }
      try { stack = short(error.stack, 4000); } catch { }
      found = ["t", stack, words];
    }
    // Joined and not added: the binding cannot take a long text that was put together by `+`. What may hold anything comes last.
    return apply(join, [found[0], listening ? stringify(said) : "", found[1], found[2]], ["\\u001f"]);
  };
  return ringback$guarded;
})()
"""

# Gives time and chance that are the same whenever a call is made again: %d are milliseconds since 1970, and two halves of a seed. Chance is
# the generator sfc32 (Doty-Humphrey, public domain).
_PINNED: Final = """
((at, a, b) => {
  "use strict";
  const Real = Date, {construct} = Reflect, {defineProperty} = Object;
  const ringback$Date = function (...given) {
    return new.target ? construct(Real, given.length ? given : [at], new.target) : new Real(at).toString();
  };
  ringback$Date.now = () => at;
  ringback$Date.parse = Real.parse;
  ringback$Date.UTC = Real.UTC;
  ringback$Date.prototype = Real.prototype;
  defineProperty(Real.prototype, "constructor", {value: ringback$Date});
  defineProperty(globalThis, "Date", {value: ringback$Date});
  let c = 1, d = 1;
  const next = () => {
    const sum = ((a + b) | 0) + d | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  defineProperty(Math, "random", {value: () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992});
  defineProperty(globalThis, "performance", {value: {now: () => 0}});
})(%d, %d, %d)
"""
_HALF_SEED: Final = 0xFFFFFFFF


class _Script:
    """One transformation with a context of its own."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.context: Any = None
        self.handler: Any = None
        self.guarded: Any = None

    def begin(self, engine: Any, limit_s: float, at_ms: int, seed: int) -> None:
        """Make the context and have it read the code, unless that was done. Raises what the engine raises."""
        if self.context is not None:
            return
        context = engine.Context()
        context.set_memory_limit(MEMORY_BYTES)
        context.set_max_stack_size(_STACK_BYTES)
        context.set_time_limit(limit_s)
        guarded = context.eval(_PRELUDE)
        if at_ms:
            context.eval(_PINNED % (at_ms, seed >> 32, seed & _HALF_SEED))
        context.eval(self.code)
        self.handler = context.eval("typeof handler === 'function' ? handler : undefined")
        self.context, self.guarded = context, guarded

    def end(self) -> None:
        """Let go of the context; the next call begins anew."""
        self.handler = self.guarded = self.context = None


def _words(error: str) -> tuple[str, int, int]:
    """The message of an error without its stack, and where in the script it was raised."""
    message, at, stack = error.partition("\n    at ")
    where = _AT.search(f"at {stack}") if at else None
    line, column = (0, 0) if where is None else (int(where[1]), int(where[2] or 0))
    # Of what is thrown and is no error, the engine says that it has no stack.
    return message.removesuffix("\nundefined").strip()[:_WORDS], line, column


def _kind(message: str) -> int:
    if message.startswith("InternalError: interrupted"):
        return TIME
    return MEMORY if message.startswith("InternalError: out of memory") else THREW


class Resident:
    """How much memory this process has, bytes; on other systems than Linux the most that it ever had."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/self/statm", os.O_RDONLY)
        except OSError:
            self._file = -1

    def now(self) -> int:
        """As of now; takes some microseconds."""
        if self._file < 0:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(os.pread(self._file, 64, 0).split()[1]) * _PAGE


class Worker:
    """Runs calls, one after the other."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._scripts: dict[int, _Script] = {}
        self._memory = Resident()
        self._resident = self._memory.now()

    @property
    def full(self) -> bool:
        """Has this process so much in memory that another one should take its place?"""
        return self._resident > _FULL_BYTES

    def called(
        self, number: int, flags: int, limit_s: float, code: bytes, document: bytes, at_ms: int = 0, seed: int = 0
    ) -> tuple[bytes, ...]:
        """Run one call: the head of the answer, and what follows it. One that has a time of its own has a context of its own, too."""
        started = time.process_time()
        script = self._scripts.get(number) if not code else _Script(code.decode())
        if script is None:
            raise SystemExit("a call of a script that was never sent")
        self._scripts[number] = script
        answer = self._run(script, flags, limit_s, started, document, at_ms, seed)
        took_us = int((time.process_time() - started) * 1_000_000)
        before, self._resident = self._resident, self._memory.now()
        if flags & ONCE:
            del self._scripts[number]
            script.end()
        elif at_ms or answer.kind in (TIME, MEMORY) or self._resident - before > _HOARD_BYTES:
            # Of another time, cut off half-way, or with much in memory: nothing of that is to be met by the next call.
            script.end()
            self._resident = self._memory.now()
        sizes = (len(answer.body), len(answer.payload), len(answer.said))
        head = ANSWER.pack(answer.kind, answer.payload_kind, answer.line, answer.column, took_us, *sizes)
        return head, answer.body, answer.payload, answer.said

    def forget(self, number: int) -> None:
        """A script is not called any more."""
        self._scripts.pop(number, None)

    def _run(self, script: _Script, flags: int, limit_s: float, started: float, document: bytes, at_ms: int, seed: int) -> _Answer:
        apart = APART[flags >> APART_SHIFT]
        try:
            script.begin(self._engine, limit_s, at_ms, seed)
            if script.handler is None:
                given = "webhook" if apart == APART[0] else "input"
                return _Answer(UNUSABLE, f"the code defines no function handler({given})".encode())
            if apart == APART[-1]:
                return _Answer(RETURNED, b"{}")
            # Counted anew by each call into the engine.
            script.context.set_time_limit(max(limit_s - (time.process_time() - started), 0.001))
            answer = script.guarded(script.handler, document.decode(), bool(flags & LISTENING), apart)
        except MemoryError:
            return _Answer(MEMORY)
        except (self._engine.JSException, self._engine.StackOverflow) as error:
            script.end()
            return _failure(str(error))
        except Exception as error:
            # Something that the binding cannot take, brought about by the script: no reason to lose this process.
            script.end()
            return _Answer(UNUSABLE, _bytes(f"the engine gave no result that can be read: {error}"[:_WORDS]))
        # JSON has no such character in it. What a script throws may, or be cut by a NUL; then less is said of it.
        head, said, found, last = [*str(answer).split("\x1f", 3), "", "", ""][:4]
        if head == "t":
            return _failure(f"{last}\n{found}", _bytes(said))
        if head == "u":
            return _Answer(UNUSABLE, _bytes(last), said=_bytes(said))
        body, payload = _whole(_bytes(found)), _bytes(last)
        if payload:
            payload = _whole(payload)
        if head == "x" and payload[:1] == b'"':
            # As JSON until here: the binding ends a text at its first NUL.
            payload = _bytes(json.loads(payload))
        size = len(body) + len(payload)
        if size > RESULT_BYTES:
            words = f"handler returned {size} bytes as JSON; at most {RESULT_BYTES} are allowed"
            return _Answer(UNUSABLE, words.encode(), said=_bytes(said))
        return _Answer(RETURNED, body, payload, _PAYLOADS.get(head, NO_PAYLOAD), said=_bytes(said))


class _Answer(NamedTuple):
    """What came of a call, as it is sent back."""

    kind: int
    body: bytes = b""
    payload: bytes = b""
    payload_kind: int = NO_PAYLOAD
    line: int = 0
    column: int = 0
    said: bytes = b""


def _failure(error: str, said: bytes = b"") -> _Answer:
    message, line, column = _words(error)
    return _Answer(_kind(message), _bytes(message), line=line, column=column, said=said)


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _whole(written: bytes) -> bytes:
    """JSON without halves of characters."""
    return _HALF.sub(rb"\1\\ufffd", written) if b"\\ud" in written else written


def _limit() -> None:
    """Take from this process what it does not need."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    # Signals for a whole group of processes (Control-C, a service manager) are for the parent, which still wants answers; its end is ours.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _send(*parts: bytes) -> None:
    data = memoryview(b"".join(parts))
    while data:
        data = data[os.write(0, data) :]


def main(place: str) -> None:
    """Serve until the socket ends. `place` is the directory that the engine is in."""
    sys.path.append(place)
    # The module that `quickjs` wraps: that one starts a thread when it is imported.
    import _quickjs

    _limit()
    worker = Worker(_quickjs)
    _send(READY)
    with open(0, "rb", closefd=False) as calls:
        while len(head := calls.read(CALL.size)) == CALL.size:
            number, flags, limit_ms, code_size, document_size, at_ms, seed = CALL.unpack(head)
            code, document = calls.read(code_size), calls.read(document_size)
            if limit_ms == 0:
                worker.forget(number)
                continue
            limit_s = limit_ms / 1000
            # Nobody handles this signal: whatever the engine is in the middle of, it ends the process.
            signal.setitimer(signal.ITIMER_PROF, limit_s + _GRACE_S)
            answer = worker.called(number, flags, limit_s, code, document, at_ms, seed)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(*answer)
            if worker.full:
                return


if __name__ == "__main__":
    main(sys.argv[1])
