"""How fast is each list, with each of its filters, at a million messages and three million attempts? Over HTTP, against a real server.

Run as `scripts/bench lists`. The history is filled first, which takes two to three minutes (`--messages` makes it smaller, `--keep
DIRECTORY` keeps it for the next run). Every row is one list with one filter, or one search, called again and again on one connection.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import http.client
import json
import pathlib
import socket
import statistics
import sys
import tempfile
import time
import typing
import urllib.parse

import apsw

from benchmarks import filling, machine, server
from ringback import clock

# What a person does not notice, milliseconds, at the 99th percentile.
GOAL_MS = 30.0
# The same for a search by words.
SEARCH_MS = 200.0
# Calls for each row: enough for a 99th percentile that is not the worst call alone.
CALLS = 200
# Calls before: a page that was never read comes from the disk.
WARM_UP = 3
# Messages by default.
MESSAGES = 1_000_000
# Endpoints of an application that lists by message must look through, and applications besides.
WIDE, APPLICATIONS = 1_000, 3_000


@dataclasses.dataclass(frozen=True)
class Call:
    """One row: a list with a filter."""

    name: str
    path: str
    query: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    goal_ms: float = GOAL_MS


def main(arguments: list[str]) -> None:
    """Fill, call, print the table. Exits with 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench lists", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=MESSAGES, help="size of the history")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls for each row")
    parser.add_argument("--keep", metavar="DIRECTORY", help="keep the history there, or use the one that is there")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("only", nargs="*", help="rows whose names begin so; without any, all")
    chosen = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(chosen.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="ringback-lists-")))
        database = history(directory, chosen.messages, stack)
        running = server.start(database)
        stack.callback(running.stop)
        indexing_s = wait_indexed(running)
        described = machine.describe(directory) | {"history": size_of(database), "start": f"{running.start_s:.1f} s"}
        described["index"] = f"{pathlib.Path(f'{database}.search').stat().st_size >> 20:,} MiB, {indexing_s:.0f} s until all was indexed"
        rows = [call for call in calls(database) if not chosen.only or call.name.startswith(tuple(chosen.only))]
        found = {call.name: measured(running, call, chosen.calls) for call in rows}
    for name, text in described.items():
        print(f"{name:<12}  {text}")
    missed = _print(rows, found) if rows else 0
    if chosen.json:
        report = {"machine": described, "rows": {call.name: _figures(found[call.name]) for call in rows}}
        pathlib.Path(chosen.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(1 if missed else 0)


def history(directory: pathlib.Path, messages: int, stack: contextlib.ExitStack) -> pathlib.Path:
    """The database in a directory, filled when there is none; what is left to be attempted hangs for as long as the stack is open."""
    database = directory / "ringback.db"
    # What is kept hangs again at the same place: refused at another, it would be tried again all the time.
    place = directory / "port"
    sink = stack.enter_context(contextlib.closing(_silent(int(place.read_text()) if place.exists() else 0)))
    if not database.exists():
        directory.mkdir(parents=True, exist_ok=True)
        place.write_text(str(sink.getsockname()[1]))
        _say(f"filling {database} with {messages:,} messages ...")
        filled = filling.fill(database, messages, f"http://127.0.0.1:{sink.getsockname()[1]}")
        counts = f"{filled.messages:,} messages, {filled.attempts:,} attempts, {filled.live:,} live, {filled.dead:,} dead"
        _say(f"  {counts}: {filled.seconds:.0f} s")
        _add_wide(database)
    return database


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def wait_indexed(running: server.Server) -> float:
    """Wait until all messages can be searched; seconds that it took."""
    began = time.monotonic()
    while (answer := running.call("GET", "/search?q=tag:none"))[0] != 200 or answer[1]["lag"]:
        time.sleep(0.5)
        if int(time.monotonic() - began) % 20 == 0:
            _say(f"  {answer[1].get('lag', 'all')} messages are not indexed yet")
            time.sleep(0.5)
    return time.monotonic() - began


def _silent(port: int) -> socket.socket:
    """A server that takes connections and never answers: what the history left waiting to be attempted hangs there."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(64)
    return listening


def _add_wide(database: pathlib.Path) -> None:
    """An application with many endpoints, and many applications with none."""
    running = server.start(database)
    try:
        wide = running.make("/app", {"name": "wide", "uid": "wide"})["id"]
        for number in range(WIDE):
            # A type that nothing is published with: they cost the others nothing.
            running.make(f"/app/{wide}/endpoint", {"url": "http://127.0.0.1:9/", "uid": f"w{number}", "eventTypes": [filling.ABSENT]})
        for number in range(APPLICATIONS):
            running.make("/app", {"name": f"empty {number}"})
        running.make(f"/app/{wide}/msg", {"eventType": filling.RARE, "payload": {}})
    finally:
        running.stop()


def calls(database: pathlib.Path) -> list[Call]:
    """All rows, for what is in this history."""
    with contextlib.closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        newest_us, oldest_us = next(iter(connection.execute("SELECT MAX(created_at), MIN(created_at) FROM message")))
        (message,) = next(iter(connection.execute("SELECT message_id FROM attempt WHERE seq = (SELECT MAX(seq) / 2 FROM attempt)")))
        (owner,) = next(iter(connection.execute("SELECT app_id FROM message WHERE id = ?", (message,))))
    middle = clock.rfc3339((newest_us + oldest_us) // 2)
    types = {name: {"event_types": name} for name in ("order.paid", filling.LEGACY, filling.RARE, filling.ABSENT)}
    types["30 types"] = {"event_types": ",".join(name for name in filling.TYPES if name.startswith("thing."))}
    channels = {f"channel {name}": {"channel": name} for name in (*filling.CHANNELS, "canary", "none")}
    tags = {f"tag {name}": {"tag": name} for name in (*filling.TAGS, "customer-77", "special", "none")}
    of_messages = {"": {}, "before": {"before": middle}, "after": {"after": middle}, **types, **channels, **tags}
    statuses = {f"status {status}": {"status": status} for status in (0, 2, 4)}
    classes = {f"code {code}": {"status_code_class": code} for code in (0, 100, 200, 300, 400, 500)}
    rows = [Call(f"messages {name}".strip(), "/app/big/msg", query) for name, query in of_messages.items()]
    rows += [Call("messages, 250", "/app/big/msg", {"limit": 250, "tag": "vip"}), Call("messages small", "/app/small1/msg", {"tag": "vip"})]
    for place in ("steady", "flaky", "down"):
        path = f"/app/big/attempt/endpoint/{place}"
        rows += [Call(f"attempts {place} {name}".strip(), path, query) for name, query in {**of_messages, **statuses, **classes}.items()]
    all_statuses = {f"status {status}": {"status": status} for status in range(5)}
    for place in ("steady", "flaky", "down", "asleep"):
        path = f"/app/big/endpoint/{place}/msg"
        rows += [Call(f"attempted {place} {name}".strip(), path, query) for name, query in {**of_messages, **all_statuses}.items()]
    rows += [Call(f"attempted gone {name}", "/app/middle/endpoint/gone/msg", query) for name, query in all_statuses.items()]
    one = f"/app/{owner}"
    of_one = {"": {}, **statuses, **classes, "tag": {"tag": "vip"}, "channel": {"channel": "eu"}, "type": {"event_types": "order.paid"}}
    rows += [Call(f"attempts of a message {name}".strip(), f"{one}/attempt/msg/{message}", query) for name, query in of_one.items()]
    rows.append(Call("destinations", f"{one}/msg/{message}/endpoint"))
    rows += [Call(f"{name}, {WIDE:,} endpoints", f"/app/wide/{path}") for name, path in _of_wide(database).items()]
    return [*rows, *_other_calls(middle)]


def _of_wide(database: pathlib.Path) -> dict[str, str]:
    """Lists of a message of the application with many endpoints."""
    with contextlib.closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        sql = "SELECT m.id FROM message m JOIN application a ON a.id = m.app_id WHERE a.uid = 'wide' LIMIT 1"
        (message,) = next(iter(connection.execute(sql)))
    return {"attempts of a message": f"attempt/msg/{message}", "destinations": f"msg/{message}/endpoint"}


def _other_calls(middle: str) -> list[Call]:
    letters = {
        "": {}, "since": {"since": middle}, "until": {"until": middle}, "rare type": {"event_types": filling.RARE},
        "legacy type": {"event_types": filling.LEGACY}, "absent type": {"event_types": filling.ABSENT}, "cause 302": {"cause": "http_302"},
        "cause timeout": {"cause": "timeout"}, "absent cause": {"cause": "tls"},
    }  # fmt: skip
    rows = [Call(f"dead letters {name}".strip(), "/dead-letter", query) for name, query in letters.items()]
    rows += [Call(f"dead letters of middle {name}".strip(), "/app/middle/dead-letter", query) for name, query in letters.items()]
    without = ("exclude_apps_with_no_endpoints", "exclude_apps_with_disabled_endpoints", "exclude_apps_with_svix_play_endpoints")
    rows += [Call("applications", "/app"), *(Call(f"applications {name[13:]}", "/app", {name: "true"}) for name in without)]
    rows += [Call("endpoints", "/app/wide/endpoint"), Call("event types", "/event-type")]
    rows += [Call("event types archived", "/event-type", {"include_archived": "true"})]
    rows += [Call(f"tasks {name}".strip(), "/background-task", query) for name, query in (("", {}), ("status", {"status": "failed"}))]
    rows += [Call("stats of a month", "/app/big/endpoint/steady/stats")]
    return [*rows, *_searches()]


def _searches() -> list[Call]:
    texts = {
        "rare word": "ord_123456", "e-mail": "c777@example.com", "common word": "customer", "absent word": "quetzalcoatl",
        "beginning": "ord_1234*", "short beginning": "c*", "two common words": "order total",
        "words that never meet": "ord_123456 ord_654321", "type and tag": "type:order.paid tag:vip", "rare tag": "tag:special",
        "type of a group": "type:thing.* example", "excluded": "example -tag:batch", "failed": "status:failed tag:vip",
        "retrying": "status:retrying example", "never failed": "status:canceled tag:special", "id": "id:none",
    }  # fmt: skip
    rows = [Call(f"search {name}", "/search", {"q": text}, SEARCH_MS) for name, text in texts.items()]
    rows += [Call(f"search of big {name}", "/app/big/search", {"q": text}, SEARCH_MS) for name, text in texts.items()]
    return [*rows, Call("search of small common word", "/app/small1/search", {"q": "customer"}, SEARCH_MS)]


def measured(running: server.Server, call: Call, times: int) -> list[float]:
    """Milliseconds of each call."""
    connection = http.client.HTTPConnection(running.host, running.port, timeout=30)
    path = f"/api/v1{call.path}?{urllib.parse.urlencode(call.query)}"
    headers = {"authorization": f"Bearer {running.token}"}
    found = []
    try:
        for number in range(WARM_UP + times):
            began = time.perf_counter()
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
            took_ms = (time.perf_counter() - began) * 1e3
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}: {text[:300]!r}")
            if number >= WARM_UP:
                found.append(took_ms)
    finally:
        connection.close()
    return found


def _figures(samples: list[float]) -> dict[str, float]:
    ranked = sorted(samples)
    return {"p50_ms": statistics.median(ranked), "p99_ms": ranked[min(int(len(ranked) * 0.99), len(ranked) - 1)], "max_ms": ranked[-1]}


def _print(rows: list[Call], found: dict[str, list[float]]) -> int:
    """The table; how many rows missed their goal."""
    width = max(len(call.name) for call in rows)
    print(f"\n{'list':<{width}}  {'p50':>8}  {'p99':>8}  {'goal':>6}")
    verdicts: collections.Counter[bool] = collections.Counter()
    for call in rows:
        figures = _figures(found[call.name])
        met = figures["p99_ms"] <= call.goal_ms
        verdicts[met] += 1
        times = f"{figures['p50_ms']:>5.1f} ms  {figures['p99_ms']:>5.1f} ms  {call.goal_ms:>3.0f} ms"
        print(f"{call.name:<{width}}  {times}{'' if met else '  NOT MET'}")
    print(f"\n{verdicts[True]} of {len(rows)} within their goals")
    return verdicts[False]


def size_of(database: pathlib.Path) -> str:
    """How much is in a history, in words."""
    with contextlib.closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        tables = ("message", "attempt", "delivery")
        counts = {table: next(iter(connection.execute(f"SELECT COUNT(*) FROM {table}")))[0] for table in tables}
    size = f"{database.stat().st_size >> 20:,} MiB"
    return f"{counts['message']:,} messages, {counts['attempt']:,} attempts, {counts['delivery']:,} live, {size}"
