"""Is an event lost or run twice when the server dies between its commit and the acknowledgement? SIGKILL under load, again and again."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import time

from benchmarks.server import Server
from tests.acceptance.provider import Provider, event_id, events_of, make_source, request
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# How often the server is killed at least; it goes on until an event was committed and not acknowledged.
ROUNDS = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "25"))
# The seed of the moments of death: the same for every run, so that a failure comes again; another one explores.
SEED = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))
# Latest moment of death after the provider has begun, seconds: the median round then dies in full flight.
LATEST_DEATH_S = 0.35
# When no such event was seen within so many seconds, the test has shown nothing and fails.
PATIENCE_S = 240.0
CONNECTIONS = 32


async def _send_until_killed(running: Server, provider: Provider, numbers: itertools.count[int], death_s: float) -> None:
    asyncio.get_running_loop().call_later(death_s, running.process.send_signal, signal.SIGKILL)
    await provider.send(running.port, numbers, CONNECTIONS)


def test_every_event_of_a_provider_is_one_message_and_one_run_however_often_the_server_is_killed(
    serve: Serve, receiver: Receiver, tmp_path: pathlib.Path
) -> None:
    moments, numbers = random.Random(SEED), itertools.count(1)
    running = serve()
    app_id = running.make("/app", {"name": "crash"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    source_id, path = make_source(running, app_id)
    provider, committed_unacknowledged = Provider(path), set[str]()

    until_s, rounds = time.monotonic() + PATIENCE_S, 0
    while rounds < ROUNDS or not committed_unacknowledged:
        if rounds < ROUNDS:
            # A thousand rounds take longer: patience begins behind them.
            until_s = time.monotonic() + PATIENCE_S
        assert time.monotonic() < until_s, f"{rounds} kills, and never one between a commit and its acknowledgement"
        asyncio.run(_send_until_killed(running, provider, numbers, moments.uniform(0.0, LATEST_DEATH_S)))
        assert running.process.wait(10) == -signal.SIGKILL
        running = serve(port=running.port)
        rounds += 1
        if rounds % 5 == 0 or rounds >= ROUNDS:
            stored = {event["providerEventId"] for event in events_of(running, app_id, source_id)}
            found = [number for number in provider.unknown if event_id(number) in stored]
            committed_unacknowledged |= {event_id(number) for number in found}
            # The provider never heard of these: it sends them again, and is told that they were taken.
            assert [_send_once(running, path, number) for number in found] == [200] * len(found)
    asyncio.run(provider.send(running.port, iter(()), CONNECTIONS))

    print(f"{rounds} kills, {len(provider.acknowledged)} events, {len(committed_unacknowledged)} committed and not acknowledged")
    # Each retry, also of what was committed already, was answered 2xx.
    assert not provider.refused and not provider.unknown
    assert len(provider.acknowledged) > ROUNDS, "hardly anything was sent: the test shows nothing"
    stored_ids = [event["providerEventId"] for event in events_of(running, app_id, source_id)]
    assert len(stored_ids) == len(set(stored_ids)), "an event became two messages"
    assert {event_id(number) for number in provider.acknowledged} == set(stored_ids)
    assert committed_unacknowledged <= set(stored_ids)

    wait_until(lambda: len(receiver.ids()) >= len(stored_ids), what="every event is delivered", within_s=60)
    runs: dict[int, set[str]] = {}
    for arrival in receiver.arrivals:
        runs.setdefault(json.loads(arrival.body)["number"], set()).add(arrival.id)
    assert {number: found for number, found in runs.items() if len(found) != 1} == {}, "an event ran under two ids"
    assert set(runs) == provider.acknowledged
    wait_until(lambda: _successes(running, app_id), what="every delivery is recorded", within_s=60)
    assert running.stop() == 0
    with sqlite3.connect(tmp_path / "ringback.db") as database:
        # A success that was not recorded before a kill is had again, under the same id; recorded it is once.
        counts = database.execute("SELECT COUNT(*), COUNT(DISTINCT message_id) FROM attempt WHERE status = 0").fetchone()
        assert counts == (len(stored_ids), len(stored_ids))
        assert database.execute("SELECT COUNT(*) FROM message").fetchone() == (len(stored_ids),)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


def _send_once(running: Server, path: str, number: int) -> int:
    with socket.create_connection((running.host, running.port), timeout=20) as connection:
        connection.sendall(request(path, number, more="connection: close\r\n"))
        return int(connection.makefile("rb").readline().split()[1])


def _successes(running: Server, app_id: str) -> bool:
    """Is no message of the application on its way any more?"""
    endpoint_id = running.call("GET", f"/app/{app_id}/endpoint")[1]["data"][0]["id"]
    stats = running.call("GET", f"/app/{app_id}/endpoint/{endpoint_id}/stats")[1]
    return stats["pending"] + stats["sending"] == 0
