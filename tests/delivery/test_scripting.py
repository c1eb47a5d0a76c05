"""Is a stranger's JavaScript run, bounded, and kept from everybody else? With real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import typing
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest
import uvloop

from ringback.clock import SystemClock
from ringback.delivery.scripting import Scripts, ScriptSettings
from ringback.delivery.scripting_turns import Call, Ran, Script, Turns
from ringback.telemetry.prometheus import Metrics
from tests.waiting import until

# Seconds for one test: bombs take a second of CPU each, on a machine with much else to do.
LIMIT_S = 120.0
# CPU of a call in most tests: a bomb has to last that long.
CPU_S = 0.3
Run = Callable[[Coroutine[typing.Any, typing.Any, None]], None]
IDENTITY = "function handler(webhook) { return webhook; }"
# What the engine cannot stop by itself: one long call of native code, a loop of them, and one that runs when the error is shown.
KILLED = {
    "join": 'function handler() { return new Array(5e8).join(""); }',
    "replaceAll": 'function handler() { const s = "a".repeat(4e6); while (true) s.replaceAll("a", "b"); }',
    "thrown": "throw {toString() { while (true) {} }};",
}
# What is stopped, by what stops it.
STOPPED = {
    "loop": ("time", "function handler() { while (true) {} }"),
    "caught loop": ("time", "function handler() { try { while (true) {} } catch { while (true) {} } finally { while (true) {} } }"),
    "loop at the top": ("time", "while (true) {}"),
    "regex": ("time", 'function handler() { return /^(a+)+$/.test("a".repeat(40) + "b"); }'),
    "shown error": ("time", "function handler() { throw {toString() { while (true) {} }}; }"),
    "getter": ("time", "function handler() { return {get payload() { while (true) {} }}; }"),
    "proxy": ("time", "function handler(w) { return new Proxy(w, {ownKeys() { while (true) {} }}); }"),
    "toJSON": ("time", "function handler(w) { w.toJSON = () => { while (true) {} }; return w; }"),
    "memory": ("memory", "function handler() { const a = []; while (true) a.push(new Array(1000).fill(1)); }"),
    "long text": ("memory", 'function handler() { return "x".repeat(1 << 29); }'),
    "buffer": ("memory", "function handler() { return new ArrayBuffer(1e9); }"),
}
# What only fails, with what is said.
FAILS = {
    "null": ("threw", "function handler(w) {\n  return w.a.b;\n}", "TypeError: cannot read property 'b' of undefined", 2),
    "syntax": ("threw", "let a = 1;\nlet b = = 2;", "SyntaxError: unexpected token in expression: '='", 2),
    "at the top": ("threw", '\n\nthrow new Error("begun");', "Error: begun", 3),
    "a text": ("threw", 'function handler() { throw "no"; }', "no", 0),
    "recursion": ("threw", "function handler(w) { return handler(w) + 1; }", "RangeError: Maximum call stack size exceeded", 1),
    "bigint": ("threw", "function handler(w) { w.n = 1n; return w; }", "TypeError: BigInt are forbidden in JSON.stringify", 0),
    "circle": ("threw", "function handler(w) { w.w = w; return w; }", "TypeError: circular reference", 0),
    "proxy": ("threw", 'function handler(w) { return new Proxy(w, {get() { throw new TypeError("trap"); }}); }', "TypeError: trap", 1),
    "block": ("threw", "function handler() { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); }", "cannot block", 1),
    "hostile words": ("threw", 'String.prototype.slice = () => { throw 1; }; function handler() { throw new Error("q"); }', "Error: q", 1),
    "unshowable": ("threw", "function handler() { throw {toString() { throw 1; }}; }", "an error that cannot be shown", 0),
    "async": ("unusable", "async function handler(w) { return w; }", "a promise; it must return the object itself", 0),
    "nothing": ("unusable", "function handler(w) { w.a = 1; }", "handler returned undefined; it must return an object", 0),
    "null result": ("unusable", "function handler() { return null; }", "handler returned null; it must return an object", 0),
    "a number": ("unusable", "function handler() { return 5; }", "handler returned number; it must return an object", 0),
    "a function": ("unusable", "function handler() { return () => 1; }", "handler returned function; it must return an object", 0),
    "no JSON": ("unusable", "function handler(w) { w.toJSON = () => undefined; return w; }", "cannot be written as JSON", 0),
    "cut stack": ("threw", 'function handler() { const e = new Error("q"); e.stack = "a\\0b\\x1fc"; throw e; }', "", 0),
    "no handler": ("unusable", "const handler = 5;", "the code defines no function handler(webhook)", 0),
    "empty": ("unusable", "// nothing at all", "the code defines no function handler(webhook)", 0),
    "3 MB": ("unusable", 'function handler(w) { w.payload = "x".repeat(3e6); return w; }', "at most 2097152 are allowed", 0),
}


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    loops = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}

    def runner(story: Coroutine[typing.Any, typing.Any, None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT_S):
                await story

        with asyncio.Runner(loop_factory=loops[request.param]) as loop:
            loop.run(limited())

    return runner


@pytest.fixture
def run_once() -> Run:
    def runner(story: Coroutine[typing.Any, typing.Any, None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT_S):
                await story

        asyncio.run(limited())

    return runner


class Later(SystemClock):
    """The machine's clock, and what has passed besides."""

    by_s = 0.0

    def monotonic_s(self) -> float:  # type: ignore[override]  # the machine's has no self
        return super().monotonic_s() + self.by_s


class Pool(Scripts):
    """The processes, and what a test asks of them."""

    def __init__(self, **settings: typing.Any) -> None:
        self.metrics = Metrics(0)
        self.clock = Later()
        super().__init__(ScriptSettings(**({"cpu_s": CPU_S} | settings)), self.clock, self.metrics)

    async def of(self, code: str, payload: typing.Any = None, *, key: str = "ep_1", tenant: str = "app_1", **how: typing.Any) -> Ran:
        """Run code on a webhook."""
        document = json.dumps({"payload": {"a": 1} if payload is None else payload}).encode()
        return await self.ran(Script(key, tenant, code), document, **how)


@contextlib.asynccontextmanager
async def pool(**settings: typing.Any) -> AsyncIterator[Pool]:
    opened = Pool(**settings)
    try:
        yield opened
    finally:
        await opened.close()
        assert not children(), "a process was left behind"


def children() -> list[int]:
    """Processes of ours that run scripts."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{os.getpid()}\n" in status.read_text() and b"scripting_worker" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def test_a_script_gets_a_document_and_gives_one(run: Run) -> None:
    async def story() -> None:
        async with pool() as scripts:
            ran = await scripts.of("function handler(w) { w.payload.b = w.payload.a + 1; return w; }")
            assert (ran.outcome, ran.document, ran.payload, ran.payload_kind) == ("returned", b"{}", b'{"a":1,"b":2}', "json")
            same = await scripts.of("const handler = (w) => ({...w, more: 'ü\\u0000'});", key="ep_2")
            assert (json.loads(same.document), same.payload, same.payload_kind) == ({"more": "ü\0"}, b"", "same")
            text = await scripts.of("function handler() { return {payload: 'a\\u001fb\\u0000ü\\ud83d'}; }", key="ep_3")
            assert (text.document, text.payload, text.payload_kind) == (b"{}", "a\x1fb\0ü\ufffd".encode(), "text")
            assert (await scripts.of("function handler() { return {a: 1}; }", key="ep_4")).payload_kind == "none"
            assert scripts.metrics.scripts["returned"] == 4 and scripts.metrics.script_workers == scripts.processes == 1

    run(story())


def test_nothing_runs_before_the_first_call(run: Run) -> None:
    async def story() -> None:
        async with pool() as scripts:
            assert scripts.processes == 0 and not children()
            await scripts.of(IDENTITY)
            assert len(children()) == 1

    run(story())


@pytest.mark.parametrize("name", FAILS)
def test_what_fails_says_why_and_where(run_once: Run, name: str) -> None:
    outcome, code, words, line = FAILS[name]

    async def story() -> None:
        async with pool() as scripts:
            ran = await scripts.of(code)
            assert (ran.outcome, ran.line) == (outcome, line), ran
            assert words in ran.words and not ran.document
            # The process is none the worse for it.
            assert (await scripts.of(IDENTITY, key="ep_2")).outcome == "returned" and scripts.metrics.scripts["lost"] == 0

    run_once(story())


@pytest.mark.parametrize("name", STOPPED)
def test_what_takes_too_much_is_stopped(run_once: Run, name: str) -> None:
    outcome, code = STOPPED[name]
    # Memory is used up sooner than this, and later than in most tests.
    limits = {"cpu_s": 10.0} if outcome == "memory" else {}

    async def story() -> None:
        async with pool(**limits) as scripts:
            ran = await scripts.of(code)
            said = {"time": f"it was stopped after {CPU_S} s of CPU time", "memory": "it ran out of memory: 64 MiB are allowed"}
            assert (ran.outcome, ran.words) == (outcome, said[outcome])
            assert (await scripts.of(IDENTITY, key="ep_2")).outcome == "returned"

    run_once(story())


@pytest.mark.parametrize("name", KILLED)
def test_what_cannot_be_stopped_is_killed(run: Run, name: str) -> None:
    async def story() -> None:
        async with pool() as scripts:
            ran = await scripts.of(KILLED[name])
            assert (ran.outcome, ran.words) == ("time", f"it was stopped after {CPU_S} s of CPU time")
            assert (await scripts.of(IDENTITY, key="ep_2")).outcome == "returned"

    run(story())


def test_calls_behind_one_that_is_killed_are_asked_again(run: Run) -> None:
    # Quick until it meets a certain payload, so that others are on their way to the same process when it does.
    turns = "function handler(w) { if (w.payload.bomb) new Array(5e8).join(''); return {n: w.payload.n}; }"

    async def story() -> None:
        async with pool(workers=1) as scripts:
            for key in ("turns", "good"):
                assert (await scripts.of(turns, key=key)).outcome == "returned"
            before = children()
            calls = [scripts.of(turns, {"bomb": 1}, key="turns"), *(scripts.of(turns, {"n": n}, key="good") for n in range(20))]
            bomb, *others = await asyncio.gather(*calls)
            assert bomb.outcome == "time"
            assert [ran.document for ran in others] == [f'{{"n":{n}}}'.encode() for n in range(20)]
            assert children() != before

    run(story())


def test_a_process_that_is_killed_by_somebody_else_loses_one_call(run: Run) -> None:
    async def story() -> None:
        async with pool(workers=1, cpu_s=20.0) as scripts:
            await scripts.of(IDENTITY)
            call = asyncio.ensure_future(scripts.of("function handler() { while (true) {} }", key="ep_2"))
            await until(lambda: scripts.waiting == 1)
            os.kill(children()[0], signal.SIGKILL)
            ran = await call
            assert (ran.outcome, ran.words) == ("lost", "the process that ran it has ended (signal 9)")
            assert (await scripts.of(IDENTITY)).outcome == "returned"

    run(story())


def test_quick_scripts_do_not_wait_for_slow_ones(run: Run) -> None:
    async def story() -> None:
        async with pool(cpu_s=1.0) as scripts:
            assert (await scripts.of(IDENTITY, key="good")).outcome == "returned"
            code = "function handler() { while (true) {} }"
            bombs = [asyncio.ensure_future(scripts.of(code, key=f"bad_{n}", tenant="hostile")) for n in range(6)]
            # Six seconds of CPU are asked for before; none of these waits for them.
            for _ in range(50):
                assert (await scripts.of(IDENTITY, key="good")).outcome == "returned"
            assert sum(bomb.done() for bomb in bombs) <= 1
            for bomb in bombs:
                bomb.cancel()

    run(story())


def test_many_scripts_that_turn_slow_at_once_hold_others_up_once(run: Run) -> None:
    turns = "function handler(w) { while (w.payload.bomb); return w; }"

    async def story() -> None:
        async with pool(workers=2, cpu_s=1.0) as scripts:
            for n in range(30):
                assert (await scripts.of(turns, key=f"bad_{n}", tenant="hostile")).outcome == "returned"
            assert (await scripts.of(IDENTITY, key="good")).outcome == "returned"
            bombs = [asyncio.ensure_future(scripts.of(turns, {"bomb": 1}, key=f"bad_{n}", tenant="hostile")) for n in range(30)]
            for _ in range(50):
                assert (await scripts.of(IDENTITY, key="good")).outcome == "returned"
            # One at most of each process, and what the slow ones were at meanwhile.
            assert sum(bomb.done() for bomb in bombs) <= 4
            assert scripts.metrics.scripts["lost"] == 0
            for bomb in bombs:
                bomb.cancel()

    run(story())


def test_a_tenant_whose_script_turned_slow_is_quick_again_in_the_end() -> None:
    turns = Turns()
    turned, neighbour, other = (
        Call(Script(key, tenant, IDENTITY), b"", lambda ran: None) for key, tenant in (("a", "app_1"), ("b", "app_1"), ("c", "app_2"))
    )
    for call in (turned, neighbour, other):
        turns.ran(call, 50, stopped=False)
        turns.add(call)
    assert turns.quick.size == 3
    assert turns.ran(turned, 1_000_000, stopped=True) and (turns.quick.size, turns.slow.size) == (1, 2)
    assert turns.quick.next() is other
    for _ in range(15):
        turns.ran(neighbour, 50, stopped=False)
    assert (turns.quick.size, turns.slow.size) == (0, 2)
    turns.ran(neighbour, 50, stopped=False)
    assert turns.quick.next() is neighbour and turns.slow.next() is turned
    # One that is known to be slow says nothing of the others.
    turns.add(neighbour)
    assert not turns.ran(turned, 1_000_000, stopped=True) and turns.quick.size == 1


def test_a_tenant_with_many_calls_among_the_slow_ones_makes_no_more_of_them() -> None:
    turns = Turns()
    quick = Script("quick", "app_1", IDENTITY)
    turns.ran(Call(quick, b"", lambda ran: None), 50, stopped=False)
    new, others = Script("new", "app_1", IDENTITY), Script("new", "app_2", IDENTITY)
    for n in range(256):
        assert not turns.crowded(new)
        turns.add(Call(Script(f"bad_{n}", "app_1", IDENTITY), b"", lambda ran: None))
    assert [turns.crowded(script) for script in (new, quick, others)] == [True, False, False]
    turns.slow.next()
    assert not turns.crowded(new)


def test_what_is_tried_is_never_taken_for_quick(run_once: Run) -> None:
    async def story() -> None:
        async with pool(workers=2, cpu_s=1.0) as scripts:
            for _ in range(3):
                assert (await scripts.of(IDENTITY, key="try:ep_1", once=True)).outcome == "returned"
            assert (await scripts.of(IDENTITY, key="good")).outcome == "returned"
            loop = "function handler() { while (true) {} }"
            bombs = [asyncio.ensure_future(scripts.of(loop, key="try:ep_1", once=True)) for _ in range(6)]
            for _ in range(50):
                assert (await scripts.of(IDENTITY, key="good")).outcome == "returned"
            assert sum(bomb.done() for bomb in bombs) <= 1
            for bomb in bombs:
                bomb.cancel()

    run_once(story())


def test_tenants_take_turns_among_the_slow_ones(run_once: Run) -> None:
    async def story() -> None:
        async with pool(workers=1) as scripts:
            ended: list[str] = []

            async def call(key: str, tenant: str) -> None:
                await scripts.of("function handler() { while (true) {} }", key=key, tenant=tenant)
                ended.append(tenant)

            calls = [call(f"bad_{n}", "hostile") for n in range(3)] + [call("other", "patient")]
            await asyncio.gather(*calls)
            assert ended.index("patient") == 1

    run_once(story())


def test_scripts_of_different_owners_never_meet(run: Run) -> None:
    leave = "globalThis.left = (globalThis.left || 0) + 1; Object.prototype.poison = 'yes';"

    async def story() -> None:
        async with pool(workers=1) as scripts:
            counting = leave + "function handler(w) { return {left: left++, poison: ({}).poison}; }"
            first = [json.loads((await scripts.of(counting, key="ep_1")).document) for _ in range(2)]
            assert first == [{"left": 1, "poison": "yes"}, {"left": 2, "poison": "yes"}]
            other = "function handler() { return {left: typeof left, poison: String(({}).poison)}; }"
            assert json.loads((await scripts.of(other, key="ep_2", tenant="app_2")).document) == {
                "left": "undefined",
                "poison": "undefined",
            }
            # Nor do those of another endpoint with the very same code.
            assert json.loads((await scripts.of(counting, key="ep_3")).document)["left"] == 1

    run(story())


def test_scripts_have_nothing_but_the_language_and_a_console(run: Run) -> None:
    names = [
        "std",
        "os",
        "fetch",
        "require",
        "process",
        "setTimeout",
        "Worker",
        "print",
        "load",
        "scriptArgs",
        "bjson",
        "Deno",
        "XMLHttpRequest",
    ]

    async def story() -> None:
        async with pool() as scripts:
            code = f"function handler() {{ return {{{', '.join(f'{name}: typeof {name}' for name in names)}, date: typeof Date.now()}}; }}"
            found = json.loads((await scripts.of(code)).document)
            assert found == dict.fromkeys(names, "undefined") | {"date": "number"}
            code = "function handler(w) { return import('os').then(() => w); }"
            assert (await scripts.of(code, key="ep_2")).outcome == "unusable"

    run(story())


def test_a_process_has_no_environment_and_few_files(run: Run) -> None:
    async def story() -> None:
        async with pool() as scripts:
            await scripts.of(IDENTITY)
            (pid,) = children()
            process = pathlib.Path(f"/proc/{pid}")
            assert (process / "environ").read_bytes() == b""
            limits = (process / "limits").read_text()
            assert "Max open files            16 " in limits and "Max core file size        0 " in limits
            opened = [os.readlink(link) for link in (process / "fd").iterdir()]
            assert not [
                name for name in opened if name not in ("/dev/null", "/proc/self/statm") and "statm" not in name and "socket" not in name
            ]

    run(story())


def test_what_is_written_to_the_console_is_heard_by_who_listens(run: Run) -> None:
    code = 'function handler(w) { console.log("seen", w.payload, undefined, 1n); console.error("x".repeat(5000)); return w; }'

    async def story() -> None:
        async with pool() as scripts:
            said = (await scripts.of(code, listening=True, once=True)).said
            assert said[0] == 'seen {"a":1} undefined 1' and len(said[1]) == 1000
            assert (await scripts.of(code)).said == ()
            many = "function handler(w) { for (let i = 0; i < 1e5; i++) console.log(i); return w; }"
            assert len((await scripts.of(many, listening=True, key="ep_2")).said) == 50

    run(story())


def test_scripts_that_hoard_begin_anew_and_starve_nobody(run_once: Run) -> None:
    hoard = "globalThis.kept = []; function handler(w) { kept.push(new Uint8Array(4e7).fill(1)); return {kept: kept.length}; }"

    async def story() -> None:
        async with pool(workers=1, cpu_s=1.0) as scripts:
            for n in range(12):
                assert json.loads((await scripts.of(hoard, key=f"ep_{n % 6}")).document) == {"kept": 1}
            assert (await scripts.of(IDENTITY, key="good")).outcome == "returned"

    run_once(story())


def test_more_scripts_than_a_process_keeps_are_read_again(run_once: Run) -> None:
    async def story() -> None:
        async with pool(workers=1) as scripts:
            for turn in range(2):
                for n in range(80):
                    ran = await scripts.of(f"let n = 0; function handler() {{ return {{n: n++, own: {n}}}; }}", key=f"ep_{n}")
                    assert json.loads(ran.document)["own"] == n, turn

    run_once(story())


def test_half_a_character_becomes_the_sign_for_one_that_is_missing(run_once: Run) -> None:
    code = r"""function handler() { return {cut: "a\ud83d", low: "\udca9b", whole: "\ud83d\udca9", text: "\\ud800 \\\ud800"}; }"""

    async def story() -> None:
        async with pool() as scripts:
            found = json.loads((await scripts.of(code)).document)
            assert found == {"cut": "a\ufffd", "low": "\ufffdb", "whole": "\U0001f4a9", "text": "\\ud800 \\\ufffd"}

    run_once(story())


def test_what_a_script_does_to_the_language_reaches_only_itself(run_once: Run) -> None:
    spoilt = (
        "String.prototype.toJSON = () => 5; Array.prototype.join = () => { throw 1; }; JSON.stringify = JSON.parse = () => 'x';"
        "Object.prototype.payload = 'left'; Object.defineProperty(Array.prototype, '0', {set() { throw 1; }});"
        "function handler() { console.log('a'); return {payload: 'text'}; }"
    )

    async def story() -> None:
        async with pool(workers=1) as scripts:
            ran = await scripts.of(spoilt, listening=True)
            assert ran.outcome in ("returned", "threw") and scripts.metrics.scripts["lost"] == 0
            assert (await scripts.of(IDENTITY, key="ep_2")).outcome == "returned" and len(children()) == 1

    run_once(story())


def test_large_documents_pass_both_ways(run: Run) -> None:
    async def story() -> None:
        async with pool() as scripts:
            text = "ä" * 900_000
            ran = await scripts.of("function handler(w) { w.payload.b = 1; return w; }", {"text": text})
            assert json.loads(ran.payload) == {"text": text, "b": 1}

    run(story())


def test_without_an_engine_or_with_no_process_allowed_everything_is_refused(run: Run) -> None:
    async def story() -> None:
        async with pool(workers=0) as scripts:
            assert scripts.missing == "the server is set to run no transformations (transformation_workers)"
            ran = await scripts.of(IDENTITY)
            assert (ran.outcome, ran.words) == ("unavailable", scripts.missing)

    run(story())


def test_a_call_that_comes_when_an_idle_process_ends_is_run_by_the_next(run: Run) -> None:
    async def story() -> None:
        async with pool(workers=1) as scripts:
            assert (await scripts.of(IDENTITY)).outcome == "returned"
            before = children()
            scripts.clock.by_s += 3_600.0
            scripts._look()
            # Its connection ends with the next turn of the loop only.
            assert (await scripts.of(IDENTITY)).outcome == "returned"
            assert children() != before

    run(story())


def test_closing_answers_what_waits(run: Run) -> None:
    async def story() -> None:
        async with pool(cpu_s=20.0) as scripts:
            calls = [asyncio.ensure_future(scripts.of("function handler() { while (true) {} }", key=f"ep_{n}")) for n in range(4)]
            await until(lambda: scripts.waiting == 4 and scripts.processes)
            await scripts.close()
            assert [(await call).outcome for call in calls] == ["unavailable"] * 4
            assert (await scripts.of(IDENTITY)).words == "the server is stopping"

    run(story())
