"""How are load tool and sink driven from a benchmark? Each is a process of its own, so that neither disturbs what it measures."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import pathlib
import subprocess
import sys
import threading
import time
import typing

from benchmarks.server import ROOT, Server

# Longest time for what was accepted to arrive after the load ended, seconds; what is missing then is reported as lost.
ARRIVE_S = 60.0

# Pause between two looks at the sink's count, seconds: seldom enough to cost it nothing.
LOOK_S = 0.05

# Time for the last attempts to be recorded after they arrived, seconds, so that their cost is counted: many group commits long.
RECORD_S = 0.5

Figures = dict[str, typing.Any]


class Sink:
    """A running sink."""

    def __init__(self, chain: pathlib.Path | None = None, key: pathlib.Path | None = None) -> None:
        tls = [] if chain is None else ["--tls-chain", str(chain), "--tls-key", str(key)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sink", *tls], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self.port: int = ports["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.tls_url = f"https://127.0.0.1:{ports['tls_port']}" if tls else ""
        self._control = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def _ask(self, method: str, path: str) -> typing.Any:
        try:
            self._control.request(method, path)
            return json.loads(self._control.getresponse().read())
        except (OSError, http.client.HTTPException) as exc:
            raise RuntimeError(f"the sink is gone (exit code {self._process.poll()})") from exc

    def stats(self, prefix: str) -> Figures:
        """The figures of the paths that begin with `prefix`."""
        found: Figures = self._ask("GET", f"/stats?{prefix}")
        return found

    def count(self, prefix: str) -> int:
        """How many requests arrived at the paths that begin with `prefix`."""
        found: int = self._ask("GET", f"/count?{prefix}")
        return found

    def reset(self) -> None:
        """Forget all arrivals."""
        self._ask("POST", "/reset")

    def wait(self, prefix: str, count: int) -> bool:
        """Wait until `count` requests have arrived; False when they have not within `ARRIVE_S` without progress for a sixth of it."""
        arrived, changed = self.count(prefix), time.monotonic()
        deadline = changed + ARRIVE_S
        while arrived < count:
            time.sleep(LOOK_S)
            now, before = time.monotonic(), arrived
            arrived = self.count(prefix)
            changed = now if arrived > before else changed
            if now > deadline or now - changed > ARRIVE_S / 6:
                return False
        return True

    def close(self) -> None:
        """End the process."""
        self._control.close()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@contextlib.contextmanager
def floor(database: pathlib.Path, target: str) -> typing.Iterator[Server]:
    """A running floor (`benchmarks.floor`) that delivers to `target`; measured like a server."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.floor", str(database), target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        port = json.loads(process.stdout.readline())["port"]
        yield Server(process, "127.0.0.1", port, database, database.with_suffix(".log"), "")
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def load(url: str, **options: object) -> Figures:
    """Run the load tool against `url`; options as on its command line (`True` is a flag). Raises RuntimeError when nothing was accepted."""
    arguments = []
    for name, value in options.items():
        if value is not None and value is not False:
            arguments.append(f"--{name.replace('_', '-')}")
            if value is not True:
                arguments.append(str(value))
    done = subprocess.run([sys.executable, "-m", "benchmarks.load", url, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the load tool failed on {url}: {done.stdout}{done.stderr[-2000:]}")
    figures: Figures = json.loads(done.stdout)
    return figures


@dataclasses.dataclass(frozen=True)
class Burst:
    """What one run of the load tool through the server showed. `cpu_us` is per delivery, of the server alone."""

    accepted: int
    delivered: int
    cpu_us: float
    rate: float
    peak_rss_mb: float
    lost: int
    arrival: Figures
    load: Figures


def published(url: str, token: str, **options: object) -> Figures:
    """Publish with the load tool; options are its own."""
    return load(url, token=token, **options)


def burst(
    server: Server,
    sink: Sink,
    app_id: str,
    path: str,
    *,
    fan_out: int = 1,
    publish: typing.Callable[..., Figures] = published,
    **options: object,
) -> Burst:
    """Publish to `app_id`, wait until all is delivered to the sink's `path`, and tell what that cost.

    `publish(url, token, **options)` is the tool that does it, and gives what happened as `load` does.
    """
    sink.reset()
    before = server.cpu_s()
    with watch_rss(server) as peak:
        sent = publish(f"{server.url}/api/v1/app/{app_id}/msg", server.token, **options)
        sink.wait(path, sent["accepted"] * fan_out)
    time.sleep(RECORD_S)
    spent = server.cpu_s() - before
    arrival = sink.stats(path)
    delivered = int(arrival["count"])
    seconds = max(arrival["last_ns"] - sent["first_ns"], 1) / 1e9
    return Burst(
        accepted=sent["accepted"],
        delivered=delivered,
        cpu_us=spent * 1e6 / max(delivered, 1),
        rate=delivered / seconds,
        peak_rss_mb=max(peak),
        lost=max(sent["accepted"] * fan_out - delivered, 0) + sent["lost"],
        arrival=arrival,
        load=sent,
    )


@contextlib.contextmanager
def watch_rss(server: Server) -> typing.Iterator[list[float]]:
    """Look at the server's memory ten times a second while the block runs; the list fills with what was seen, in MB."""
    seen = [server.rss_mb()]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            seen.append(server.rss_mb())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def endpoint(server: Server, url: str, *, name: str = "bench") -> str:
    """Make an application with one endpoint at `url`; returns the id of the application."""
    app_id: str = server.make("/app", {"name": name})["id"]
    server.make(f"/app/{app_id}/endpoint", {"url": url})
    return app_id
