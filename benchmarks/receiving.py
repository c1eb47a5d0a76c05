"""What does it cost to receive? Stripe-signed events of 1 kB, durable, on 64 connections; p99 of the acknowledgement at a fixed rate.

Run as `python -m benchmarks.receiving`: rows with and without an endpoint behind the source, interleaved with the load tool's own rate into
a bare sink. `--load URL` is the load tool itself, in a process of its own.

The share of the load tool's own rate is given twice: for autocannon, which others know, and for one that costs next to nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import typing
import urllib.parse

import uvloop

from benchmarks import autocannon, certificates, peers, server, tools
from benchmarks.load import GRACE_S, Connection, Load
from benchmarks.wire import now_ns, percentiles, stamp

SECRET = "whsec_benchmark"
# Bytes of one event.
SIZE = 1_024
CONNECTIONS = 64
# Requests per second of the paced row.
RATE = 500
# The targets: microseconds of CPU for each event, percent of the load tool's own rate, milliseconds of the p99.
CPU_US, SHARE, P99_MS = 90.0, 25.0, 15.0


class SignedEvents:
    """Makes the bytes of the next event: an id of its own, signed as Stripe or as GitHub does."""

    def __init__(self, url: str, provider: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._stripe = provider == "stripe"
        self._head = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
            f"accept: */*\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {SIZE}\r\n"
        ).encode()
        before = b'{"id":"evt_'
        after = b'","object":"event","type":"charge.succeeded","data":{"object":{"sent_ns":'
        filler = SIZE - len(before) - len(after) - 2 * len(stamp(0)) - len(b',"text":""}}}')
        self._before, self._after = before, after
        self._end = b',"text":"' + b"x" * filler + b'"}}}'
        self._number = 0

    def next(self, moment_ns: int) -> bytes:
        """The bytes of one more request."""
        self._number += 1
        body = b"%b%b%b%b%b" % (self._before, stamp(self._number), self._after, stamp(moment_ns), self._end)
        if not self._stripe:
            signature = hmac.digest(SECRET.encode(), body, "sha256").hex().encode()
            delivery = b"x-github-event: push\r\nx-github-delivery: %d\r\n" % self._number
            return b"%b%bx-hub-signature-256: sha256=%b\r\n\r\n%b" % (self._head, delivery, signature, body)
        at = b"%d" % time.time()
        signature = hmac.digest(SECRET.encode(), at + b"." + body, "sha256").hex().encode()
        return b"%bstripe-signature: t=%b,v1=%b\r\n\r\n%b" % (self._head, at, signature, body)


async def load(url: str, seconds: float, rate: float, provider: str) -> dict[str, typing.Any]:
    """Send events and say what happened; as `benchmarks.load.run`."""
    loop = asyncio.get_running_loop()
    parts = urllib.parse.urlsplit(url)
    events = SignedEvents(url, provider)
    # Ids of their own for each run: the numbers begin at the moment.
    events._number = now_ns() % 10**15
    run = Load(typing.cast("typing.Any", events), 0, sys.maxsize)
    connections = []
    for _ in range(CONNECTIONS):
        _, connection = await loop.create_connection(lambda: Connection(run), parts.hostname, parts.port)
        connections.append(connection)
    started = now_ns()
    run.until_ns = started + int(seconds * 1e9)
    if rate:
        run.open_loop = True
        run.idle.extend(connections)
        await _paced(run, rate, started)
    else:
        for connection in connections:
            connection.send(now_ns())
    if run.in_flight or run.waiting:
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                await run.all_answered.wait()
        except TimeoutError:
            pass  # what was not answered shows in the figures
    elapsed = max(run.last_answer_ns - started, 1) / 1e9
    answers = sum(run.statuses.values())
    statuses = {str(status): count for status, count in run.statuses.items()}
    return {"answers": answers, "statuses": statuses, "rate": answers / elapsed, **percentiles(run.took_ns)}


async def _paced(run: Load, rate: float, started_ns: int) -> None:
    number = 0
    while True:
        due_ns = started_ns + int(number * 1e9 / rate)
        if run.over(due_ns):
            run.until_ns = min(run.until_ns, now_ns())
            return
        ahead_ns = due_ns - now_ns()
        if ahead_ns > 0:
            await asyncio.sleep(ahead_ns / 1e9)
        number += 1
        if run.idle:
            run.idle.popleft().send(now_ns())
        else:
            run.waiting.append(due_ns)


def _tool(url: str, seconds: float, rate: float = 0.0, provider: str = "stripe") -> dict[str, typing.Any]:
    command = [sys.executable, "-m", "benchmarks.receiving", "--load", url, "--seconds", str(seconds), "--rate", str(rate)]
    command += ["--provider", provider]
    done = subprocess.run(command, capture_output=True, text=True, cwd=server.ROOT, check=True)
    found: dict[str, typing.Any] = json.loads(done.stdout)
    return found


def _checked(run: dict[str, typing.Any], name: str) -> dict[str, typing.Any]:
    """The run; says so when something was refused, as its figures are then worth nothing."""
    if set(run["statuses"]) != {"200"}:
        print(f"  WARNING, {name}: answers {run['statuses']}", file=sys.stderr)
    return run


def _source(running: server.Server, url: str | None, provider: str = "stripe") -> str:
    """A source, with an endpoint behind it if a URL is given; the URL that events go to."""
    app = running.make("/app", {"name": "receiving"})["id"]
    if url is not None:
        running.make(f"/app/{app}/endpoint", {"url": url})
    made = running.make(f"/app/{app}/source", {"name": provider, "type": provider, "secrets": [SECRET]})
    return str(made["ingestUrl"])


def measure(seconds: float, rounds: int, directory: pathlib.Path) -> dict[str, list[float]]:
    """All rows, interleaved: name to samples."""
    found: dict[str, list[float]] = {}
    installed = autocannon.installed()
    if not installed:
        print(autocannon.HOW_TO_INSTALL, file=sys.stderr)
    made = certificates.make(directory)
    sink = tools.Sink(made.chain, made.key)
    running = server.start(directory / "ringback.db")
    try:
        alone, behind = _source(running, None), _source(running, f"{sink.url}/ok/received")
        _tool(alone, 0.5)
        _tool(behind, 0.5)
        for _ in range(rounds):
            ceiling = _tool(f"{sink.url}/ok/ceiling", seconds)["rate"]
            known = autocannon.load(f"{sink.url}/ok/ceiling", "stripe", seconds=seconds, secret=SECRET)["rate"] if installed else 0.0
            if known:
                found.setdefault("autocannon alone, requests/s", []).append(known)
            for name, url in (("alone", alone), ("endpoint", behind)):
                before = running.cpu_s()
                run = _tool(url, seconds)
                if name == "endpoint":
                    time.sleep(0.5)
                spent_us = (running.cpu_s() - before) * 1e6 / max(run["answers"], 1)
                _checked(run, name)
                found.setdefault(f"{name}: CPU, us", []).append(spent_us)
                found.setdefault(f"{name}: events/s", []).append(run["rate"])
                found.setdefault(f"{name}: % of what the lightest client makes", []).append(100 * run["rate"] / ceiling)
                if known:
                    run = _checked(autocannon.load(url, "stripe", seconds=seconds, secret=SECRET), name)
                    found.setdefault(f"{name}: % of what autocannon makes", []).append(100 * run["rate"] / known)
            paced = _tool(alone, seconds, RATE)
            found.setdefault(f"alone: p99 at {RATE}/s, ms", []).append(paced["p99_ms"])
    finally:
        running.stop()
        sink.close()
    return found


def beside(seconds: float, rounds: int, directory: pathlib.Path) -> dict[str, list[float]]:
    """Ours and Debian's `webhook` at the same job, in turn: GitHub's HMAC is checked, and 200 answered. Ours is durable by then."""
    found: dict[str, list[float]] = {}
    running = server.start(directory / "beside.db")
    try:
        with peers.webhook(SECRET, directory) as other:
            contenders: list[tuple[str, str, typing.Callable[[], float]]] = [
                ("GitHub's HMAC, durable", _source(running, None, "github"), running.cpu_s)
            ]
            if other is None:
                print(f"webhook (Debian): {peers.HOW_TO_INSTALL}")
            else:
                contenders.append(("webhook (Debian), nothing kept", other.url, other.cpu_s))
            for _, url, _ in contenders:
                _tool(url, 0.5, provider="github")
            for _ in range(rounds):
                for name, url, cpu_s in contenders:
                    before = cpu_s()
                    run = _tool(url, seconds, provider="github")
                    found.setdefault(f"{name}: CPU, us", []).append((cpu_s() - before) * 1e6 / max(run["answers"], 1))
                    found.setdefault(f"{name}: events/s", []).append(run["rate"])
                    _checked(run, name)
    finally:
        running.stop()
    return found


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--load", metavar="URL", help="be the load tool")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--provider", choices=["stripe", "github"], default="stripe", help="how the load tool signs")
    arguments = parser.parse_args()
    if arguments.load:
        print(json.dumps(uvloop.run(load(arguments.load, arguments.seconds, arguments.rate, arguments.provider))))
        return
    with tempfile.TemporaryDirectory(prefix="ringback-receiving-") as name:
        found = measure(arguments.seconds, arguments.rounds, pathlib.Path(name))
        found |= beside(arguments.seconds, arguments.rounds, pathlib.Path(name))
    for row, samples in found.items():
        print(f"{row:<45} {statistics.median(samples):>10.1f}   ({min(samples):.1f} - {max(samples):.1f})")
    print(f"targets for a source alone: {CPU_US:.0f} us, {SHARE:.0f} %, {P99_MS:.0f} ms")


if __name__ == "__main__":
    main()
