"""What happens when the disk is full, or turns read-only? Publish says so, nothing storms, and all goes on when the trouble is over."""

from __future__ import annotations

import os
import subprocess
import sys
import typing

import pytest

from benchmarks import server
from tests.acceptance.disk import DISK_MIB, Disk
from tests.acceptance.receiver import FAILED, OK, Receiver
from tests.acceptance.serving import Serve
from tests.acceptance.watching import stays_true
from tests.waiting import wait_until

# Messages whose retries fall due while the disk is full.
PENDING = 30

# How long the full disk is watched, seconds: several rounds of the retry schedule below.
WATCH_S = 3.0

# Requests per pending message that are allowed while recording fails: one to find out, one in flight beside it, one after a pause.
BOUND = 3

# Commits until the disk takes no more.
FILL_A_DATABASE = """
import errno, sys, apsw
from ringback.store.sqlite.connection import open_writer
try:
    connection = open_writer(sys.argv[1])
    connection.execute("CREATE TABLE IF NOT EXISTS filling (value BLOB)")
    while True:
        connection.execute("INSERT INTO filling VALUES (zeroblob(300))")
except apsw.FullError:
    print("full")
except OSError as error:
    print("full" if error.errno == errno.ENOSPC else error)
"""

SETTINGS = {"min_free_disk": "0B", "retry_schedule": "500ms,500ms,500ms,500ms,500ms,500ms,500ms,500ms"}


def _publish(running: server.Server, app_id: str, number: int) -> tuple[int, typing.Any]:
    return running.call("POST", f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"number": number, "text": "x" * 4000}})


def _with_endpoint(running: server.Server, receiver: Receiver) -> str:
    app_id: str = running.make("/app", {"name": "disk"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    return app_id


def _is_refusal(status: int, answer: typing.Any) -> bool:
    return 500 <= status < 600 and set(answer) == {"code", "detail"}


def test_a_full_disk_refuses_messages_storms_nobody_and_recovers(disk: Disk, serve_there: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: FAILED
    running = serve_there(disk.database, settings=SETTINGS)
    app_id = _with_endpoint(running, receiver)
    pending = {_publish(running, app_id, number)[1]["id"] for number in range(PENDING)}
    wait_until(lambda: len(receiver.arrivals) >= PENDING, what="every message was tried once")

    disk.fill()
    receiver.decide = lambda arrival: OK
    answers = [_publish(running, app_id, 1000 + number) for number in range(40)]
    refused = [answer for answer in answers if answer[0] != 202]
    assert refused, "the disk is full, yet everything was accepted"
    assert all(_is_refusal(*answer) for answer in refused), refused
    # What is left in the log of the database takes a few pages more; an empty commit would succeed for ever.
    wait_until(lambda: running.call("GET", "/health")[1]["database"] == {"status": "error"}, what="it says that the database takes nothing")
    assert running.call("GET", "/health")[0] == 500
    assert running.call("GET", "/ready")[0] == 503
    assert running.call("GET", "/health/ping")[0] == 204, "the process itself is well: nobody should end it"
    accepted = {answer[1]["id"] for answer in answers if answer[0] == 202}
    before = len(receiver.arrivals)
    stays_true(
        lambda: len(receiver.arrivals) - before <= BOUND * (PENDING + len(accepted)),
        "a full disk became a storm of duplicates",
        WATCH_S,
    )
    assert running.process.poll() is None, running.log_tail()

    disk.free()
    wait_until(lambda: _publish(running, app_id, 2000)[0] == 202, what="messages are accepted again")
    wait_until(lambda: [running.call("GET", path)[0] for path in ("/health", "/ready")] == [200, 200], what="it says that it is well")
    wait_until(lambda: not ((pending | accepted) - receiver.ids()), what="what was acknowledged is delivered")
    arrived = len(wait_until(lambda: _settled(running, app_id, receiver), what="every delivery is recorded"))
    stays_true(lambda: len(receiver.arrivals) == arrived, "something is repeated although it was delivered", 1.5)


@pytest.mark.parametrize("room_kib", [0, 12, 30, 300, 560, 1000])
def test_a_disk_that_fills_up_never_ends_the_process_that_writes(disk: Disk, room_kib: int) -> None:
    assert os.statvfs(disk.place).f_frsize < 4096, "only small blocks leave holes in what SQLite maps into memory"
    disk.fill()
    os.truncate(disk.filler, disk.filler.stat().st_size - room_kib * 1024)
    os.sync()

    ended = subprocess.run(
        [sys.executable, "-c", FILL_A_DATABASE, str(disk.database)], capture_output=True, text=True, check=False, timeout=60
    )

    assert ended.returncode == 0, ended
    assert ended.stdout.split() == ["full"], ended


def test_a_file_system_that_sets_no_blocks_aside_is_used_all_the_same(disk: Disk, serve_there: Serve) -> None:
    disk.unmount()
    # Without extents, as ext3 has it, fallocate is not supported.
    assert disk.make("-b", "1024", "-O", "^extents,^64bit,^metadata_csum") == ""

    running = serve_there(disk.database, settings=SETTINGS)

    assert running.call("POST", "/app", {"name": "kept"})[0] == 201


def _settled(running: server.Server, app_id: str, receiver: Receiver) -> list[object]:
    """The arrivals, once none of the messages is waiting for another attempt."""
    status, listed = running.call("GET", f"/app/{app_id}/msg?limit=250")
    assert status == 200
    for message in listed["data"]:
        status, attempts = running.call("GET", f"/app/{app_id}/attempt/msg/{message['id']}")
        if status != 200 or not any(attempt["status"] == 0 for attempt in attempts["data"]):
            return []
    return list(receiver.arrivals)


def test_below_the_free_disk_that_was_set_messages_are_refused_and_deliveries_go_on(
    disk: Disk, serve_there: Serve, receiver: Receiver
) -> None:
    receiver.decide = lambda arrival: FAILED
    running = serve_there(disk.database, settings=SETTINGS | {"min_free_disk": f"{DISK_MIB // 3}MiB"})
    app_id = _with_endpoint(running, receiver)
    pending = {_publish(running, app_id, number)[1]["id"] for number in range(PENDING)}
    wait_until(lambda: len(receiver.arrivals) >= PENDING, what="every message was tried once")

    disk.leave(DISK_MIB // 4)
    wait_until(lambda: _publish(running, app_id, 1)[0] != 202, what="the server notices that the disk runs full")
    status, answer = _publish(running, app_id, 2)
    assert (status, answer["code"]) == (503, "unavailable")
    wait_until(lambda: running.call("GET", "/ready")[0] == 503, what="it says that it wants no messages")
    assert running.call("GET", "/health")[0] == 200, "it delivers: nobody should end it"
    receiver.decide = lambda arrival: OK
    wait_until(lambda: not (pending - receiver.ids()), what="deliveries go on")

    disk.free()
    wait_until(lambda: _publish(running, app_id, 3)[0] == 202, what="messages are accepted again")
    wait_until(lambda: running.call("GET", "/ready")[0] == 200, what="it says that it wants them")


def test_a_disk_that_turns_read_only_refuses_messages_storms_nobody_and_recovers_after_a_restart(
    disk: Disk, serve_there: Serve, receiver: Receiver
) -> None:
    receiver.decide = lambda arrival: FAILED
    running = serve_there(disk.database, settings=SETTINGS)
    app_id = _with_endpoint(running, receiver)
    pending = {_publish(running, app_id, number)[1]["id"] for number in range(PENDING)}
    wait_until(lambda: len(receiver.arrivals) >= PENDING, what="every message was tried once")

    disk.fail()
    receiver.decide = lambda arrival: OK
    before = len(receiver.arrivals)
    for number in range(20):
        answer = _publish(running, app_id, 1000 + number)
        assert _is_refusal(*answer), answer
    stays_true(lambda: len(receiver.arrivals) - before <= BOUND * PENDING, "a read-only disk became a storm of duplicates", WATCH_S)
    running.stop()

    disk.repair()
    running = serve_there(disk.database, settings=SETTINGS, port=running.port)
    assert _publish(running, app_id, 2000)[0] == 202
    wait_until(lambda: not (pending - receiver.ids()), what="what was acknowledged is delivered")


def test_a_server_whose_database_cannot_be_written_refuses_to_start_and_says_why(disk: Disk, serve_there: Serve) -> None:
    running = serve_there(disk.database)
    assert running.stop() == 0
    disk.fail()
    with pytest.raises(server.StartFailed) as refusal:
        serve_there(disk.database)
    assert str(disk.database) in str(refusal.value) or "read-only" in str(refusal.value).lower()
    assert "Traceback" not in str(refusal.value)
