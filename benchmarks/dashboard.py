"""How heavy is each page of the dashboard, and how long does it take, at a million messages? Over HTTP, as a browser asks for it.

Run as `scripts/bench dashboard`. The history is that of `scripts/bench lists` (`--keep DIRECTORY` keeps it, or uses the one that is there).
Times are those of the page alone, compressed, on one connection; the weight is what somebody downloads who comes for the first time:
the page and all that it loads.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import pathlib
import re
import statistics
import sys
import tempfile
import time

import httpx

from benchmarks import lists, machine, server

# Compressed, with styles, scripts and pictures: a second on a slow phone. Thousands of bytes.
WEIGHT_KB = 150.0
# What a person does not notice, milliseconds of the server's processor: of the overview, the page that everybody begins with. Not of the
# clock, which on a busy machine tells how busy it is.
OVERVIEW_MS = 30.0
# Calls for each page: enough for a 99th percentile that is not the worst call alone.
CALLS = 100
# Calls before: templates are compiled, and pages of the database come from the disk.
WARM_UP = 3


@dataclasses.dataclass(frozen=True)
class Stop:
    """One page, what it may take of the processor, and whether it needs the index of searches."""

    name: str
    path: str
    goal_ms: float | None = None
    search: bool = False


@dataclasses.dataclass
class Seen:
    """What was measured of a page: milliseconds of each call, processor time of the server for one, thousands of bytes."""

    times_ms: list[float]
    cpu_ms: float
    page_kb: float
    weight_kb: float

    def figures(self) -> dict[str, float]:
        """The row of the table."""
        ranked = sorted(self.times_ms)
        p99_ms = ranked[min(int(len(ranked) * 0.99), len(ranked) - 1)]
        times = {"p50_ms": statistics.median(ranked), "p99_ms": p99_ms, "cpu_ms": self.cpu_ms}
        return times | {"page_kb": self.page_kb, "weight_kb": self.weight_kb}


def main(arguments: list[str]) -> None:
    """Fill, look at each page, print the table. Exits with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench dashboard", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=lists.MESSAGES, help="size of the history")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls for each page")
    parser.add_argument("--keep", metavar="DIRECTORY", help="keep the history there, or use the one that is there")
    parser.add_argument("--without-search", action="store_true", help="without an index, which takes minutes to make; nor its pages")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("only", nargs="*", help="pages whose names begin so; without any, all")
    chosen = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(chosen.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="ringback-dashboard-")))
        database = lists.history(directory, chosen.messages, stack)
        running = server.start(database, {"search": "false"} if chosen.without_search else {})
        stack.callback(running.stop)
        if not chosen.without_search:
            lists.wait_indexed(running)
        described = machine.describe(directory) | {"history": lists.size_of(database)}
        client = stack.enter_context(httpx.Client(base_url=f"{running.url}/dashboard", trust_env=False, timeout=60))
        _log_in(client, running)
        stops = [stop for stop in stops_of(running) if not (stop.search and chosen.without_search)]
        stops = [stop for stop in stops if not chosen.only or stop.name.startswith(tuple(chosen.only))]
        seen = {stop.name: measured(client, running, stop, chosen.calls) for stop in stops}
    for name, text in described.items():
        print(f"{name:<12}  {text}")
    missed = _print(stops, seen)
    if chosen.json:
        report = {"machine": described, "pages": {name: one.figures() for name, one in seen.items()}}
        pathlib.Path(chosen.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(1 if missed else 0)


def _log_in(client: httpx.Client, running: server.Server) -> None:
    found = re.search(r'name="token" value="([^"]+)"', client.get("/login").text)
    assert found is not None, "the login has a form"
    answer = client.post("/login", data={"token": found[1], "secret": running.token}, headers={"origin": running.url})
    assert answer.status_code == 303, f"the login answered {answer.status_code}"


def stops_of(running: server.Server) -> list[Stop]:
    """Every page that shows what there is much of."""
    app = running.call("GET", "/app/big")[1]["id"]
    endpoint = running.call("GET", "/app/big/endpoint/flaky")[1]["id"]
    message = running.call("GET", "/app/big/msg?limit=1")[1]["data"][0]["id"]
    dead = running.call("GET", "/dead-letter?limit=1")[1]["data"][0]
    here = f"/apps/{app}"
    return [
        Stop("overview", "/", OVERVIEW_MS),
        *(Stop(f"overview, {span}", f"/?span={span}") for span in ("1h", "7d", "30d")),
        Stop("applications", "/apps"),
        Stop("application", here),
        Stop("endpoints", f"{here}/endpoints"),
        Stop("endpoint", f"{here}/endpoints/{endpoint}"),
        Stop("attempts", f"{here}/endpoints/{endpoint}/attempts?status=failed"),
        Stop("messages", f"{here}/messages"),
        Stop("messages, failed", f"{here}/messages?status=failed"),
        Stop("messages, rare word", f"{here}/messages?q=ord_123456", search=True),
        Stop("messages, common word", f"{here}/messages?q=customer", search=True),
        Stop("search, common word", "/search?q=customer", search=True),
        Stop("message", f"{here}/messages/{message}"),
        Stop("message, dead", f"/apps/{dead['appId']}/messages/{dead['msgId']}"),
        Stop("live", f"{here}/messages/live"),
        Stop("dead letters", "/dead-letters"),
        Stop("dead letters, list", "/dead-letters/list"),
        Stop("sources", "/sources"),
        Stop("quarantine", "/quarantine"),
        Stop("event types", "/event-types"),
        Stop("event type", "/event-types/order.paid"),
        Stop("tokens", "/tokens"),
        Stop("operational", "/operational"),
        Stop("tasks", "/tasks"),
        Stop("queue", "/queue"),
        Stop("settings", "/settings"),
        Stop("audit", "/audit"),
        Stop("palette", "/palette?q=order"),
    ]


def measured(client: httpx.Client, running: server.Server, stop: Stop, times: int) -> Seen:
    """Look at a page again and again."""
    for _ in range(WARM_UP):
        answer = client.get(stop.path)
        assert answer.status_code == 200, f"{stop.path} answered {answer.status_code}"
    assets = sum(_weight(client, running, name) for name in set(re.findall(r'"(/dashboard/static/[^"]+)"', answer.text)))
    before_s, found = running.cpu_s(), []
    for _ in range(times):
        began = time.perf_counter()
        client.get(stop.path)
        found.append((time.perf_counter() - began) * 1e3)
    cpu_ms = (running.cpu_s() - before_s) / times * 1e3
    page = int(answer.headers["content-length"])
    return Seen(found, cpu_ms, page / 1e3, (page + assets) / 1e3)


def _weight(client: httpx.Client, running: server.Server, name: str) -> int:
    return int(client.get(f"{running.url}{name}").headers["content-length"])


def _print(stops: list[Stop], seen: dict[str, Seen]) -> int:
    """The table; how many pages missed a goal."""
    width = max((len(stop.name) for stop in stops), default=0)
    print(f"\n{'page':<{width}}  {'p50':>9}  {'p99':>9}  {'CPU':>9}  {'page':>8}  {'with all':>8}")
    missed = 0
    for stop in stops:
        row = seen[stop.name].figures()
        met = row["weight_kb"] <= WEIGHT_KB and (stop.goal_ms is None or row["cpu_ms"] <= stop.goal_ms)
        missed += not met
        times = f"{row['p50_ms']:>6.1f} ms  {row['p99_ms']:>6.1f} ms  {row['cpu_ms']:>6.1f} ms"
        weights = f"{row['page_kb']:>5.1f} kB  {row['weight_kb']:>5.1f} kB"
        goal = "" if stop.goal_ms is None else f"  goal: CPU {stop.goal_ms:.0f} ms"
        print(f"{stop.name:<{width}}  {times}  {weights}{goal}{'' if met else '  NOT MET'}")
    print(f"\ngoal of all: {WEIGHT_KB:.0f} kB with all that a page loads; {len(stops) - missed} of {len(stops)} pages within their goals")
    return missed
