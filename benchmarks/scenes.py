"""How is each figure measured? A scene sets the stage for several rows and plays its variants in turn, so that drift hits all alike."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import time
import typing

from benchmarks import autocannon, backlog, certificates, machine, server, tools
from benchmarks.targets import Samples, allowance_ms

# Endpoints of the fan-out row.
FAN_OUT = 10
# Ordering keys of the messages of a run.
ORDERING_KEYS: typing.Final = 1_000

# Messages queued behind the hung endpoint, and deliveries queued behind names that do not resolve.
QUEUED = 10_000

# Endpoints whose names hang.
NAMES = 1_000

# Rate at which the healthy neighbour is served while others hang, messages per second: enough samples for a p99 within seconds.
NEIGHBOUR_RATE = 200

# Where the silent name server listens: an address of its own, so that a resolver of the machine is not in the way.
SILENT_RESOLVER = "127.9.9.53"

# Time for a started server to come to rest before its idle memory is read, seconds.
SETTLE_S = 1.5


@dataclasses.dataclass
class Stage:
    """What all scenes share: the sink, a directory on the disk under test, and how long to measure."""

    sink: tools.Sink
    directory: pathlib.Path
    certificates: certificates.Certificates
    rounds: int
    seconds: float
    backlog: int
    say: typing.Callable[[str], None]
    samples: Samples = dataclasses.field(default_factory=dict)

    def note(self, row: str, value: float) -> None:
        """Keep one sample of a row."""
        self.samples.setdefault(row, []).append(value)

    def database(self, name: str) -> pathlib.Path:
        """A new, empty place for a database."""
        place = self.directory / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place / "ringback.db"


@contextlib.contextmanager
def _running(
    database: pathlib.Path, settings: dict[str, str] | None = None, wrapper: typing.Sequence[str] = ()
) -> typing.Iterator[server.Server]:
    running = server.start(database, settings, wrapper=wrapper)
    try:
        yield running
    finally:
        running.stop()


def throughput(stage: Stage) -> None:
    """Closed loop with 64 connections: plain, with idempotency keys, over HTTPS, fanned out; and the ceiling of the tools."""
    sink = stage.sink
    settings = {"SSL_CERT_FILE": str(stage.certificates.authority)}
    with (
        _running(stage.database("throughput"), settings) as running,
        tools.floor(stage.database("floor"), f"{sink.url}/ok/floor") as floor,
    ):
        plain = tools.endpoint(running, f"{sink.url}/ok/plain")
        secure = tools.endpoint(running, f"{sink.tls_url}/ok/secure")
        fan = running.make("/app", {"name": "fan"})["id"]
        for number in range(FAN_OUT):
            running.make(f"/app/{fan}/endpoint", {"url": f"{sink.url}/ok/fan/{number}"})
        tools.burst(floor, sink, "floor", "/ok/floor", seconds=0.5)
        for app, path in ((plain, "/ok/plain"), (secure, "/ok/secure"), (fan, "/ok/fan")):
            _checked(stage, tools.burst(running, sink, app, path, fan_out=FAN_OUT if app == fan else 1, seconds=0.5), "warm-up")
        known = autocannon.installed()
        if not known:
            stage.say(f"  without the rows of autocannon: {autocannon.HOW_TO_INSTALL}")
        for number in range(stage.rounds):
            if known:
                _share(stage, running, plain)
            sink.reset()
            ceiling = tools.load(f"{sink.url}/ok/ceiling", bare=True, seconds=stage.seconds)["rate"]
            least = _checked(stage, tools.burst(floor, sink, "floor", "/ok/floor", seconds=stage.seconds), "floor")
            one = _checked(stage, tools.burst(running, sink, plain, "/ok/plain", seconds=stage.seconds), "plain")
            keyed = tools.burst(running, sink, plain, "/ok/plain", seconds=stage.seconds, key_prefix=f"{os.getpid()}{number}x")
            _checked(stage, keyed, "idempotency-key")
            tls = _checked(stage, tools.burst(running, sink, secure, "/ok/secure", seconds=stage.seconds), "HTTPS")
            ten = tools.burst(running, sink, fan, "/ok/fan", fan_out=FAN_OUT, seconds=stage.seconds / 2)
            _checked(stage, ten, "fan-out")
            stage.note("ceiling", ceiling)
            stage.note("floor", least.cpu_us)
            stage.note("floor-rate", least.rate)
            stage.note("cpu", one.cpu_us)
            stage.note("cpu-floor", one.cpu_us / least.cpu_us)
            stage.note("cpu-key", keyed.cpu_us)
            stage.note("https", tls.cpu_us)
            stage.note("rate", one.rate)
            stage.note("rate-share-least", 100 * one.rate / ceiling)
            stage.note("rate-key", keyed.rate)
            stage.note("ack-p99", one.load["p99_ms"])
            stage.note("fanout-rate", ten.rate)
            stage.note("fanout", ten.rate / one.rate)
            stage.note("rss-load", max(run.peak_rss_mb for run in (one, keyed, tls, ten)))


def _share(stage: Stage, running: server.Server, app: str) -> None:
    """What a load tool that others know makes by itself, and through the server."""
    stage.sink.reset()
    alone = autocannon.load(f"{stage.sink.url}/ok/ceiling", "payload", seconds=stage.seconds)["rate"]
    through = tools.burst(running, stage.sink, app, "/ok/plain", publish=autocannon.published, seconds=stage.seconds)
    _checked(stage, through, "autocannon")
    stage.note("ceiling-known", alone)
    stage.note("rate-known", through.rate)
    stage.note("rate-share", 100 * through.rate / alone)


def ordered(stage: Stage) -> None:
    """Closed loop with 64 connections and 1,000 ordering keys: to an endpoint in no order, and to one in order by key."""
    sink = stage.sink
    with _running(stage.database("ordered")) as running:
        found = {}
        for mode in ("none", "key"):
            app_id = tools.endpoint(running, f"{sink.url}/ok/{mode}")
            (endpoint,) = running.call("GET", f"/app/{app_id}/endpoint")[1]["data"]
            running.call("PUT", f"/app/{app_id}/endpoint/{endpoint['id']}/ordering", {"mode": mode})
            found[mode] = app_id
            tools.burst(running, sink, app_id, f"/ok/{mode}", seconds=0.5, ordering_keys=ORDERING_KEYS)
        for _ in range(stage.rounds):
            runs = {
                mode: _checked(
                    stage, tools.burst(running, sink, app_id, f"/ok/{mode}", seconds=stage.seconds, ordering_keys=ORDERING_KEYS), mode
                )
                for mode, app_id in found.items()
            }
            stage.note("ordered-base", runs["none"].rate)
            stage.note("ordered-rate", runs["key"].rate)
            stage.note("ordered", 100 * runs["key"].rate / runs["none"].rate)
            stage.note("ordered-cpu", runs["key"].cpu_us)


def _checked(stage: Stage, burst: tools.Burst, what: str) -> tools.Burst:
    """Say so when a run lost something: its figures are then worth nothing."""
    refused = {status: count for status, count in burst.load["statuses"].items() if status != "202"}
    if burst.lost or refused:
        stage.say(f"  WARNING, {what}: {burst.lost} of {burst.accepted} accepted did not arrive, other answers {refused}")
    return burst


def latency(stage: Stage) -> None:
    """Publish to arrival at fixed rates."""
    sink = stage.sink
    with _running(stage.database("latency")) as running:
        app = tools.endpoint(running, f"{sink.url}/ok/paced")
        _checked(stage, tools.burst(running, sink, app, "/ok/paced", seconds=0.5), "warm-up")
        for _ in range(stage.rounds):
            sink.reset()
            tools.load(f"{sink.url}/ok/floor", bare=True, rate=100, seconds=stage.seconds)
            stage.note("latency-floor", sink.stats("/ok/floor")["p99_ms"])
            stage.note("latency-sync", machine.sync_ms(stage.directory, pause_s=0.01)[-3])
            slow = _checked(stage, tools.burst(running, sink, app, "/ok/paced", rate=100, seconds=stage.seconds * 2), "100/s")
            fast = _checked(stage, tools.burst(running, sink, app, "/ok/paced", rate=500, seconds=stage.seconds), "500/s")
            stage.note("latency-p50", slow.arrival["p50_ms"])
            stage.note("latency-p99", slow.arrival["p99_ms"])
            stage.note("latency-500-p50", fast.arrival["p50_ms"])
            stage.note("latency-500-p99", fast.arrival["p99_ms"])


def backlog_behind(stage: Stage) -> None:
    """The rate of one endpoint with nothing else in the database, with retries parked, and with work due behind a hung endpoint."""
    sink = stage.sink
    places = {
        "empty": _prepared(stage, "empty", "/ok/none", 0.0, ""),
        "finished": _prepared(stage, "finished", "/fail/finished", 6 * 3600.0, "retrying", finished=True),
        "parked": _prepared(stage, "parked", "/fail/parked", 6 * 3600.0, "retrying"),
        "due": _prepared(stage, "due", "/hang/due", -1.0, "waiting"),
    }
    for _ in range(stage.rounds):
        rates, idle, peak = {}, {}, {}
        for name, (database, app) in places.items():
            with _running(database) as running:
                if name != "finished":
                    stage.note(f"start-{name}", running.start_s)
                time.sleep(SETTLE_S)
                idle[name] = running.rss_mb()
                _checked(stage, tools.burst(running, sink, app, "/ok/neighbour", seconds=0.5), f"warm-up, {name}")
                run = _checked(stage, tools.burst(running, sink, app, "/ok/neighbour", seconds=stage.seconds), name)
            rates[name], peak[name] = run.rate, run.peak_rss_mb
        stage.note("backlog-base", rates["empty"])
        stage.note("backlog-parked", 100 * (1 - rates["parked"] / rates["empty"]))
        stage.note("backlog-due", 100 * (1 - rates["due"] / rates["empty"]))
        stage.note("rss-idle", idle["empty"])
        stage.note("rss-history", idle["finished"] - idle["empty"])
        stage.note("rss-parked", idle["parked"] - idle["finished"])
        stage.note("rss-due", peak["due"] - peak["empty"])


def _prepared(stage: Stage, name: str, path: str, due_in_s: float, state: str, finished: bool = False) -> tuple[pathlib.Path, str]:
    """A database with a healthy endpoint, and (with a `state`) a backlog behind another; and the id of the healthy application.

    `finished`: the backlog has been worked off, its messages are left.
    """
    database = stage.database(name)
    with _running(database) as running:
        healthy = tools.endpoint(running, f"{stage.sink.url}/ok/neighbour")
        if not state:
            return database, healthy
        other = running.make("/app", {"name": "backlog"})["id"]
        endpoint_id = running.make(f"/app/{other}/endpoint", {"url": f"{stage.sink.url}{path}"})["id"]
        tools.load(f"{running.url}/api/v1/app/{other}/msg", token=running.token, requests=1, connections=1)
        backlog.wait_unfinished(database, endpoint_id, 1)
        stage.sink.wait(path, 1)
        time.sleep(tools.RECORD_S)
    stage.say(f"  writing {stage.backlog:,} deliveries behind {path}")
    backlog.fill(database, endpoint_id, stage.backlog, due_in_s=due_in_s, state=state)
    if finished:
        backlog.finish(database, endpoint_id)
    return database, healthy


def hung(stage: Stage) -> None:
    """The p99 of one endpoint while another hangs with a queue behind it."""

    def queue(running: server.Server) -> None:
        app = tools.endpoint(running, f"{stage.sink.url}/hang/queue")
        tools.load(f"{running.url}/api/v1/app/{app}/msg", token=running.token, requests=QUEUED, seconds=60)

    _beside(stage, "hung", queue, ())


def dns(stage: Stage) -> None:
    """The p99 of one endpoint while a thousand others have names that no name server answers for. Needs root for a resolver of its own."""
    if os.geteuid() != 0:
        stage.say("  skipped: giving the server a resolver of its own needs root")
        return
    configuration = stage.directory / "resolv.conf"
    configuration.write_text(f"nameserver {SILENT_RESOLVER}\n")
    script = f'mount --make-rprivate / && mount --bind "{configuration}" /etc/resolv.conf && exec "$@"'
    wrapper = ("unshare", "-m", "sh", "-c", script, "sh")

    def queue(running: server.Server) -> None:
        app = running.make("/app", {"name": "names"})["id"]
        for number in range(NAMES):
            running.make(f"/app/{app}/endpoint", {"url": f"http://hook-{number}.example.com/in"})
        messages = QUEUED // NAMES
        tools.load(f"{running.url}/api/v1/app/{app}/msg", token=running.token, requests=messages, connections=2, seconds=60)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((SILENT_RESOLVER, 53))
        _beside(stage, "dns", queue, wrapper)


def _beside(stage: Stage, row: str, queue: typing.Callable[[server.Server], None], wrapper: typing.Sequence[str]) -> None:
    """Measure a healthy endpoint on a fresh server, alone and after `queue` has filled it, in turn."""
    for _ in range(stage.rounds):
        found = {}
        for filled in (False, True):
            with _running(stage.database(row), wrapper=wrapper) as running:
                app = tools.endpoint(running, f"{stage.sink.url}/ok/beside")
                if filled:
                    queue(running)
                _checked(stage, tools.burst(running, stage.sink, app, "/ok/beside", rate=NEIGHBOUR_RATE, seconds=0.5), "warm-up")
                run = tools.burst(running, stage.sink, app, "/ok/beside", rate=NEIGHBOUR_RATE, seconds=stage.seconds * 2)
                _checked(stage, run, row)
            found[filled] = run.arrival.get("p99_ms", float("inf"))
        move = found[True] - found[False]
        stage.note(f"{row}-base", found[False])
        stage.note(f"{row}-move", move)
        stage.note(row, 100 * move / allowance_ms(found[False]))


SCENES: typing.Final[dict[str, typing.Callable[[Stage], None]]] = {
    "throughput": throughput,
    "ordered": ordered,
    "latency": latency,
    "backlog": backlog_behind,
    "hung": hung,
    "dns": dns,
}
