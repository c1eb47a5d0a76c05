"""The examples of the receiver library run as they are, each as a process of its own, called as the provider calls it."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import subprocess
import sys
import typing

import pytest

from benchmarks.server import ROOT, free_port
from ringback.receiver.testing import SignedRequest, sign
from tests.receiver.serving import Answer, Running
from tests.waiting import wait_until


class Program(typing.NamedTuple):
    """An example that runs."""

    running: Running
    output: pathlib.Path
    inbox: pathlib.Path

    def send(self, request: SignedRequest) -> Answer:
        return self.running.call("POST", request.target, request.headers, request.body)

    def printed(self) -> str:
        return self.output.read_text("utf-8")


class Run(typing.Protocol):
    def __call__(self, name: str, **environment: str) -> Program: ...


@pytest.fixture
def run(tmp_path: pathlib.Path) -> typing.Iterator[Run]:
    processes = list[subprocess.Popen[bytes]]()

    def start(name: str, **environment: str) -> Program:
        port, output, inbox = free_port(), tmp_path / "output", tmp_path / "inbox.db"
        with output.open("wb") as sink:
            settings = {"PATH": os.environ["PATH"], "PORT": str(port), "INBOX": str(inbox), "PYTHONPATH": str(ROOT / "src")}
            command = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
            processes.append(subprocess.Popen(command, stdout=sink, stderr=sink, env=settings | environment, cwd=tmp_path))
        running = Running(port, lambda: None)

        def answers() -> bool:
            assert processes[-1].poll() is None, output.read_text("utf-8")
            try:
                return running.call("GET", "/").status > 0
            except OSError:
                return False

        wait_until(answers, what="the example serves")
        return Program(running, output, inbox)

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def test_fastapi_stores_acknowledges_and_runs(run: Run) -> None:
    program = run("receiver_fastapi", STRIPE_SECRET="whsec_example")
    for number, kind in ((1, "invoice.paid"), (1, "invoice.paid"), (2, "invoice.voided")):
        body = {"id": f"evt_{number}", "type": kind, "data": {"object": {"id": f"in_{number}"}}}
        assert program.send(sign("stripe", "whsec_example", body, url="http://h/webhooks/stripe")).status == 200
    wait_until(lambda: "invoice.voided: nothing to do" in program.printed(), what="both ran")
    wait_until(lambda: "paid: in_1, attempt 1" in program.printed(), what="both ran")
    assert program.printed().count("paid: in_1") == 1
    assert program.running.call("GET", "/dead-letters").body == b"[]"
    assert program.send(sign("stripe", "whsec_other", {"id": "evt_3"}, url="http://h/webhooks/stripe")).status == 401


def test_flask_answers_in_twiml(run: Run) -> None:
    program = run("receiver_flask", TWILIO_TOKEN="token", PUBLIC_URL="https://shop.example/webhooks/twilio")
    request = sign("twilio", "token", b"From=%2B4312345&CallSid=CA1", url="https://shop.example/webhooks/twilio")
    for _ in range(2):
        answer = program.send(request)
        assert (answer.status, answer.body) == (200, b"<Response><Say>Hello 2345</Say></Response>")
        assert answer.headers["content-type"].startswith("text/xml")
    assert program.printed().count("call from +4312345") == 1


def test_django_marks_an_event_in_the_transaction_of_its_work(run: Run) -> None:
    program = run("receiver_django", GITHUB_SECRET="secret")

    def push(body: dict[str, str], delivery: str) -> int:
        request = sign("github", "secret", body, event_id=delivery, event_type="push", url="http://h/webhooks/github")
        return program.send(request).status

    assert [push({"ref": "refs/heads/main"}, "d-1") for _ in range(2)] == [200, 200]
    assert [push({"no": "ref"}, "d-2") for _ in range(2)] == [500, 500]
    assert program.printed().count("pushed: refs/heads/main") == 1
    with sqlite3.connect(program.inbox) as connection:
        assert connection.execute("SELECT ref FROM pushed").fetchall() == [("refs/heads/main",)]
        assert connection.execute("SELECT event_id FROM inbox").fetchall() == [("d-1",)]
    connection.close()
