"""Does a program that uses the receiver library get everything once, from a real server, and though it is killed?"""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import typing
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.server import ROOT, environment, free_port
from ringback.receiver.testing import sign
from tests.acceptance.serving import Serve
from tests.receiver import program
from tests.receiver.serving import Running, serve_asgi
from tests.waiting import wait_until

# Times that the program is killed, and the latest moment of that after it began to be called, seconds: in full flight, mostly.
KILLS = 4
LATEST_DEATH_S = 0.5


class Journal:
    """What the handlers of a program have written down."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def lines(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        return [line.split(" ", 4) for line in self.path.read_text("utf-8").splitlines()]

    def ids(self) -> list[str]:
        return [line[0] for line in self.lines()]


def test_what_a_server_delivers_arrives_verified_once_and_in_a_rotation_with_either_secret(serve: Serve, tmp_path: pathlib.Path) -> None:
    old, new = ("whsec_" + b64encode(letter * 24).decode() for letter in (b"o", b"n"))
    journals = {name: Journal(tmp_path / name) for name in ("behind", "ahead")}
    # One program was told of the new secret before the rotation, the other not yet.
    apps = {"behind": (old,), "ahead": (new, old)}
    receivers = {
        name: serve_asgi(program.application(str(tmp_path / f"{name}.db"), "stored", journals[name].path, *apps[name])) for name in apps
    }
    running = serve()
    app_id = running.make("/app", {"name": "library"})["id"]
    endpoints = [
        running.make(f"/app/{app_id}/endpoint", {"url": f"http://127.0.0.1:{receiver.port}/in", "secret": old})["id"]
        for receiver in receivers.values()
    ]

    def send(number: int) -> str:
        payload = {"type": "order.paid", "number": number, "name": "Zoë"}
        sent: str = running.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": payload})["id"]
        for journal in journals.values():
            wait_until(lambda journal=journal: sent in journal.ids(), what="it arrived")  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        return sent

    first = send(1)
    for endpoint_id in endpoints:
        assert running.call("POST", f"/app/{app_id}/endpoint/{endpoint_id}/secret/rotate", {"key": new})[0] == 200
    second = send(2)
    for endpoint_id in endpoints:
        # The same message again: it carries the same id, and is a duplicate.
        assert running.call("POST", f"/app/{app_id}/msg/{second}/endpoint/{endpoint_id}/resend", {})[0] == 202
    attempts = f"/app/{app_id}/attempt/msg/{second}"
    wait_until(lambda: len(running.call("GET", attempts)[1]["data"]) == 4, what="both were sent it twice")
    assert {attempt["responseStatusCode"] for attempt in running.call("GET", attempts)[1]["data"]} == {200}
    third = send(3)
    for name, journal in journals.items():
        lines = sorted(journal.lines(), key=lambda line: int(line[3]))
        assert [line[0] for line in lines] == [first, second, third]
        assert [line[3] for line in lines] == ["1", "2", "3"]
        assert [line[2] for line in lines] == (["1", "0", "0"] if name == "ahead" else ["0", "0", "0"])
        # Byte for byte as the application published it.
        assert lines[0][4] == json.dumps({"type": "order.paid", "number": 1, "name": "Zoë"})
    for receiver in receivers.values():
        receiver.close()


class Programs:
    """One program at a time, which is killed and started again over the same file."""

    def __init__(self, directory: pathlib.Path, mode: str) -> None:
        self.journal = Journal(directory / "journal")
        self._inbox, self._mode, self._log = directory / "inbox.db", mode, directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.running = Running(0, lambda: None)

    def start(self) -> None:
        port = free_port()
        self.running = Running(port, lambda: None)
        command = [sys.executable, "-m", "tests.receiver.program", str(port), str(self._inbox), self._mode, str(self.journal.path)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment({}), stdout=log, stderr=log)
        wait_until(self._answers, what="the program serves")

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log.read_text("utf-8")
        try:
            return self.running.call("GET", "/").status > 0
        except OSError:
            return False

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait(10) == -signal.SIGKILL

    def send(self, event_id: str, kind: str) -> int:
        made = sign("ringback", program.SECRET, {"type": kind}, event_id=event_id)
        return self.running.call("POST", "/in", made.headers, made.body).status

    def queued(self) -> list[str]:
        """The ids of the events that are not known to be done."""
        with contextlib.closing(sqlite3.connect(f"file:{self._inbox}?mode=ro", uri=True)) as database:
            return [row[0] for row in database.execute("SELECT event_id FROM queued_event ORDER BY id")]

    def mend(self) -> None:
        """What hangs goes through from now on."""
        self.journal.path.with_suffix(".mended").touch()

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


@pytest.fixture
def programs(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> typing.Iterator[Programs]:
    made = Programs(tmp_path, request.param)
    made.start()
    yield made
    made.end()


@pytest.mark.parametrize("programs", ["stored"], indirect=True)
def test_an_event_that_was_acknowledged_runs_though_its_process_was_killed(programs: Programs) -> None:
    assert programs.send("msg_quick", "order.paid") == 200
    assert programs.send("msg_hung", "hang") == 200
    wait_until(lambda: len(programs.journal.ids()) == 2 and programs.queued() == ["msg_hung"], what="one is done, the other hangs")
    programs.kill()
    programs.mend()
    programs.start()
    wait_until(lambda: programs.journal.ids().count("msg_hung") == 2, what="it ran again after its lease")
    assert programs.journal.ids().count("msg_quick") == 1
    # The provider never heard of some answers, and sends again.
    assert [programs.send(event_id, "hang" if event_id == "msg_hung" else "order.paid") for event_id in ("msg_hung", "msg_quick")] == [
        200,
        200,
    ]
    assert sorted(programs.journal.ids()) == ["msg_hung", "msg_hung", "msg_quick"]
    assert [line[1] for line in programs.journal.lines() if line[0] == "msg_hung"] == ["1", "2"]


@pytest.mark.parametrize("programs", ["processed"], indirect=True)
def test_an_event_whose_process_was_killed_while_it_ran_runs_when_its_lease_has_ended(programs: Programs) -> None:
    with ThreadPoolExecutor(1) as pool:
        unanswered = pool.submit(programs.send, "msg_hung", "hang")
        wait_until(lambda: programs.journal.ids() == ["msg_hung"], what="it runs")
        assert programs.send("msg_hung", "hang") == 503
        programs.kill()
        with pytest.raises((OSError, http.client.HTTPException)):
            unanswered.result(20)
    programs.mend()
    programs.start()
    wait_until(lambda: programs.send("msg_hung", "hang") == 200, what="the lease ended, and the provider's retry runs")
    assert programs.send("msg_hung", "hang") == 200
    assert programs.journal.ids() == ["msg_hung", "msg_hung"]


@pytest.mark.parametrize("programs", ["stored"], indirect=True)
def test_no_acknowledged_event_is_lost_and_few_run_twice_however_often_the_program_is_killed(programs: Programs) -> None:
    moments, numbers = random.Random(1), itertools.count()
    acknowledged, unknown = set[str](), list[str]()
    for _ in range(KILLS):
        killer = threading.Timer(moments.uniform(0.1, LATEST_DEATH_S), programs.kill)
        killer.start()
        with ThreadPoolExecutor(4) as pool:
            for sent, refused in pool.map(functools.partial(_send_until_killed, programs, numbers), range(4)):
                acknowledged |= sent
                unknown += refused
        killer.join(20)
        programs.start()
    assert acknowledged
    # Who was not answered sends again: some of these are on disk, and are duplicates.
    assert {programs.send(event_id, "order.paid") for event_id in unknown} <= {200}
    everything = acknowledged | set(unknown)
    wait_until(lambda: everything <= set(programs.journal.ids()), what="all ran", within_s=60)
    # A kill can catch no more than what runs at the moment: the worker runs four at a time.
    assert len(programs.journal.ids()) - len(everything) <= KILLS * 4


def _send_until_killed(programs: Programs, numbers: typing.Iterator[int], _: int) -> tuple[set[str], list[str]]:
    sent = set[str]()
    while True:
        event_id = f"msg_{next(numbers)}"
        try:
            assert programs.send(event_id, "order.paid") == 200
        except (OSError, http.client.HTTPException):
            return sent, [event_id]
        sent.add(event_id)
