"""What does a provider hear when the disk is full, or turns read-only? 5xx until its event is durable, so that it comes again."""

from __future__ import annotations

import asyncio
import itertools
import socket

from benchmarks import server
from tests.acceptance.disk import DISK_MIB, Disk
from tests.acceptance.provider import Provider, event_id, events_of, make_source, request
from tests.acceptance.receiver import OK, Receiver
from tests.acceptance.serving import Serve
from tests.acceptance.test_full_disk import SETTINGS
from tests.waiting import wait_until

# Chooses the ordinary route; see tests/gateway/test_doors.py.
ORDINARY = "expect: 100-continue\r\n"


def send(running: server.Server, path: str, number: int, more: str = "") -> int:
    """Send one event; the status of its answer."""
    with socket.create_connection((running.host, running.port), timeout=20) as connection:
        connection.sendall(request(path, number, more="connection: close\r\n" + more))
        lines = connection.makefile("rb").read().split(b"\r\n")
    return int(next(line for line in lines if line.startswith(b"HTTP/1.1") and b" 100 " not in line).split()[1])


def _opened(running: server.Server, receiver: Receiver) -> tuple[str, str, str]:
    app_id: str = running.make("/app", {"name": "disk"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    return (app_id, *make_source(running, app_id))


def test_on_a_full_disk_nothing_is_acknowledged_and_all_of_it_comes_in_later(disk: Disk, serve_there: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: OK
    running = serve_there(disk.database, settings=SETTINGS)
    app_id, source_id, path = _opened(running, receiver)
    assert send(running, path, 1) == 200
    disk.fill()
    statuses = {number: send(running, path, number, ORDINARY if number % 2 else "") for number in range(2, 200)}
    refused = {number for number, status in statuses.items() if status != 200}
    assert refused, "the disk is full, yet everything was acknowledged"
    assert {statuses[number] for number in refused} <= {500, 503}
    disk.free()
    wait_until(lambda: send(running, path, 1000) == 200, what="events are taken again")
    provider = Provider(path, unknown=set(refused))
    asyncio.run(provider.send(running.port, iter(()), 4))
    assert not provider.refused
    stored = [event["providerEventId"] for event in events_of(running, app_id, source_id)]
    assert sorted(stored) == sorted(event_id(number) for number in (*range(1, 200), 1000))
    wait_until(lambda: len(receiver.ids()) == len(stored), what="what was acknowledged is delivered")


def test_below_the_free_disk_that_was_set_providers_are_told_to_come_again(disk: Disk, serve_there: Serve, receiver: Receiver) -> None:
    running = serve_there(disk.database, settings=SETTINGS | {"min_free_disk": f"{DISK_MIB // 3}MiB"})
    _, _, path = _opened(running, receiver)
    assert send(running, path, 1) == 200
    disk.leave(DISK_MIB // 4)
    numbers = itertools.count(2)
    wait_until(lambda: send(running, path, next(numbers)) != 200, what="the server notices that the disk runs full")
    assert [send(running, path, next(numbers), more) for more in ("", ORDINARY)] == [503, 503]
    disk.free()
    wait_until(lambda: send(running, path, next(numbers)) == 200, what="events are taken again")


def test_on_a_disk_that_turns_read_only_nothing_is_acknowledged(disk: Disk, serve_there: Serve, receiver: Receiver) -> None:
    running = serve_there(disk.database, settings=SETTINGS)
    app_id, source_id, path = _opened(running, receiver)
    assert send(running, path, 1) == 200
    disk.fail()
    statuses = [send(running, path, number, ORDINARY if number % 2 else "") for number in range(2, 22)]
    assert all(500 <= status < 600 for status in statuses), statuses
    running.stop()
    disk.repair()
    running = serve_there(disk.database, settings=SETTINGS, port=running.port)
    assert send(running, path, 2) == 200
    assert [event["providerEventId"] for event in events_of(running, app_id, source_id)] == ["evt_1", "evt_2"]
