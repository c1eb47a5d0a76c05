"""What does a provider hear when the database cannot be written, and there is a spool? That its event is kept: and it comes in, once."""

from __future__ import annotations

import signal
import typing

from benchmarks import server
from tests.acceptance.disk import Disk
from tests.acceptance.provider import event_id, events_of, make_source
from tests.acceptance.receiver import OK, Receiver
from tests.acceptance.serving import Serve
from tests.acceptance.test_full_disk import SETTINGS
from tests.acceptance.test_receiving_full_disk import ORDINARY, send
from tests.waiting import wait_until


def _opened(running: server.Server, receiver: Receiver, **wanted: typing.Any) -> tuple[str, str, str]:
    app_id: str = running.make("/app", {"name": "spool"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    return (app_id, *make_source(running, app_id, **wanted))


def _number(running: server.Server, name: str) -> float:
    import http.client

    connection = http.client.HTTPConnection(running.host, running.port, timeout=20)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def test_on_a_full_disk_events_are_acknowledged_and_come_in_once_when_there_is_room(
    disk: Disk, serve_there: Serve, receiver: Receiver
) -> None:
    receiver.decide = lambda arrival: OK
    spool = serve_there.directory / "spool"
    settings = SETTINGS | {"spool_path": str(spool)}
    running = serve_there(disk.database, settings=settings)
    app_id, source_id, path = _opened(running, receiver)
    assert send(running, path, 1) == 200
    disk.fill()
    for number in range(2, 120):
        assert send(running, path, number, ORDINARY if number % 2 else "") == 200
    held = list(spool.glob("*.spool"))
    assert held, "the disk is full, yet nothing is in the spool"
    assert not any(b"evt_" in file.read_bytes() for file in held)
    assert running.call("POST", f"/app/{app_id}/msg", {"eventType": "a", "payload": {"text": "x" * 4000}})[0] >= 500
    running.stop(signal.SIGKILL)
    disk.free()
    running = serve_there(disk.database, settings=settings, port=running.port)
    wait_until(lambda: not list(spool.glob("*.spool")), what="the spool is empty")
    stored = events_of(running, app_id, source_id)
    assert sorted(event["providerEventId"] for event in stored) == sorted(event_id(number) for number in range(1, 120))
    wait_until(lambda: len(receiver.ids()) == len(stored), what="what was acknowledged is delivered")
