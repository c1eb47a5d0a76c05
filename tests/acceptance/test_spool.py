"""What does a provider hear when the database cannot be written, and there is a spool? That its event is kept: and it comes in, once."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import pathlib
import random
import re
import signal
import sqlite3
import typing

from benchmarks import server
from tests.acceptance.disk import Disk
from tests.acceptance.provider import Provider, event_id, events_of, make_source
from tests.acceptance.receiver import OK, Receiver
from tests.acceptance.serving import Serve
from tests.acceptance.test_full_disk import SETTINGS
from tests.acceptance.test_receiving_full_disk import ORDINARY, send
from tests.dashboard.conftest import BASE, Person
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until

# How often the server is killed while the disk is full and the spool grows, and then again while the spool is brought in.
ROUNDS = max(int(os.environ.get("RINGBACK_CRASH_ROUNDS", "20")) // 20, 1)
# Latest moments of a death, seconds after the clients have begun, and after a start that finds a spool.
LATEST_DEATH_S = 0.7
LATEST_DRAIN_DEATH_S = 0.3
CONNECTIONS = 8
# The seed of the moments: the same for every run, so that a failure comes again.
SEED = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))


def _opened(running: server.Server, receiver: Receiver, **wanted: typing.Any) -> tuple[str, str, str]:
    app_id: str = running.make("/app", {"name": "spool"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    return (app_id, *make_source(running, app_id, **wanted))


def _number(running: server.Server, name: str) -> float:
    """What a metric says now."""
    connection = http.client.HTTPConnection(running.host, running.port, timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def _files(spool: pathlib.Path) -> list[pathlib.Path]:
    return list(spool.glob("*.spool"))


def test_on_a_full_disk_events_are_acknowledged_and_come_in_once_when_there_is_room(
    disk: Disk, serve_there: Serve, receiver: Receiver
) -> None:
    receiver.decide = lambda arrival: OK
    spool = serve_there.directory / "spool"
    running = serve_there(disk.database, settings=SETTINGS | {"spool_path": str(spool)})
    app_id, source_id, path = _opened(running, receiver)
    _, waiting = make_source(running, app_id, name="waits", processedBy="nobody")
    assert send(running, path, 1) == 200
    person = Person(f"{running.url}{BASE}").log_in()
    assert running.call("GET", "/ready") == (200, {"ready": True, "receiving": True})

    disk.fill()
    for number in range(2, 120):
        assert send(running, path, number, ORDINARY if number % 2 else "") == 200
    held = _files(spool)
    assert held, "the disk is full, yet nothing is in the spool"
    assert not any(b"evt_" in file.read_bytes() for file in held)
    assert running.call("POST", f"/app/{app_id}/msg", {"eventType": "a", "payload": {"text": "x" * 4000}})[0] >= 500
    assert send(running, waiting, 500) == 503
    wait_until(lambda: running.call("GET", "/ready") == (503, {"ready": False, "receiving": True}), what="it says that it cannot publish")
    assert running.call("GET", "/ready?for=receiving")[0] == 200
    assert _number(running, "ringback_spooled_events") >= len(held)
    assert re.search(r"\d+ requests? of (a )?providers? waits? in the spool", plain(person.get("/queue")))
    person.close()
    status, refused = running.call("POST", "/privacy/erase", {"subject": "evt_5", "dryRun": True})
    assert status == 503 and "wait in the spool" in refused["detail"]
    assert _number(running, "ringback_spooled_bytes") == sum(file.stat().st_size for file in _files(spool))

    disk.free()
    wait_until(lambda: not _files(spool), what="the spool is brought in")
    wait_until(lambda: _number(running, "ringback_spooled_events") == 0, what="it is counted")
    # What was found out half a second ago may be told still.
    wait_until(lambda: running.call("GET", "/ready") == (200, {"ready": True, "receiving": True}), what="it wants requests again")
    spool.rename(spool.with_name("away"))
    why = {"ready": True, "receiving": True, "spool": "the spool cannot be written: No such file or directory"}
    wait_until(lambda: running.call("GET", "/ready?for=receiving") == (200, why), what="it says what is wrong before the spool is needed")
    spool.with_name("away").rename(spool)
    stored = events_of(running, app_id, source_id)
    assert sorted(event["providerEventId"] for event in stored) == sorted(event_id(number) for number in range(1, 120))
    spooled = [event for event in stored if "spooled" in event["flags"]]
    assert len(spooled) >= len(held)
    wait_until(lambda: len(receiver.ids()) == len(stored), what="what was acknowledged is delivered")
    assert "spool.began" in running.log.read_text()
    wait_until(lambda: "spool.drained" in running.log.read_text(), what="the log tells that all came in")


def test_what_was_acknowledged_into_the_spool_is_there_once_after_kills(disk: Disk, serve_there: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: OK
    moments = random.Random(SEED)
    spool = serve_there.directory / "spool"
    settings = SETTINGS | {"spool_path": str(spool)}
    running = serve_there(disk.database, settings=settings)
    _, _, path = _opened(running, receiver)
    provider, numbers, most = Provider(path), itertools.count(1), 0

    async def until_killed(death_s: float) -> None:
        asyncio.get_running_loop().call_later(death_s, running.process.send_signal, signal.SIGKILL)
        await provider.send(running.port, numbers, CONNECTIONS)

    for _ in range(ROUNDS):
        disk.fill()
        asyncio.run(until_killed(moments.uniform(0.2, LATEST_DEATH_S)))
        assert running.process.wait(10) == -signal.SIGKILL
        most = max(most, len(_files(spool)))
        disk.free()
        running = serve_there(disk.database, settings=settings, port=running.port)
        asyncio.run(until_killed(moments.uniform(0.0, LATEST_DRAIN_DEATH_S)))
        assert running.process.wait(10) == -signal.SIGKILL
        running = serve_there(disk.database, settings=settings, port=running.port)
    asyncio.run(provider.send(running.port, iter(()), CONNECTIONS))
    wait_until(lambda: not _files(spool), what="the spool is brought in")
    assert not provider.unknown and not provider.refused
    assert running.stop() == 0
    with sqlite3.connect(disk.database) as database:
        events = [row[0] for row in database.execute("SELECT origin ->> 'event_id' FROM message WHERE origin IS NOT NULL")]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    assert most > 1, "the spool held next to nothing: the test shows nothing"
    assert not list(spool.glob("*.damaged"))
    assert set(events) == {event_id(number) for number in provider.acknowledged}
    assert len(events) == len(set(events)), "an event became two messages"


def test_on_a_disk_that_turns_read_only_events_wait_for_the_restart(disk: Disk, serve_there: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: OK
    settings = SETTINGS | {"spool_path": str(serve_there.directory / "spool")}
    running = serve_there(disk.database, settings=settings)
    app_id, source_id, path = _opened(running, receiver, orderingKeyAt=["json:type"])
    assert send(running, path, 1) == 200
    disk.fail()
    assert [send(running, path, number, ORDINARY if number % 2 else "") for number in range(2, 12)] == [200] * 10
    running.stop(signal.SIGKILL)
    disk.repair()
    running = serve_there(disk.database, settings=settings, port=running.port)
    assert send(running, path, 12) == 200
    wait_until(lambda: len(events_of(running, app_id, source_id)) == 12, what="the spool is brought in")
    assert [event["providerEventId"] for event in events_of(running, app_id, source_id)] == [event_id(number) for number in range(1, 13)]
