"""Is every operational event told, and told once, when the server is killed? SIGKILL right after the answer, and at random moments."""

from __future__ import annotations

import collections
import datetime
import itertools
import os
import random
import signal
import sqlite3
import threading
import typing

from svix.api import Svix, SvixOptions
from svix.models import ApplicationIn, EndpointIn, MessageIn, RecoverIn

from benchmarks.server import Server
from tests.acceptance.news import News
from tests.acceptance.receiver import FAILED, OK, Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# How often the server is killed in each test.
ROUNDS: typing.Final = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "50")) // 5
# The seed of the moments of death: a failure comes again; another one explores.
SEED: typing.Final = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))
# Latest moment of death after the messages of a round were sent, seconds: most of their attempts are made in that time.
LATEST_DEATH_S: typing.Final = 0.4
# Messages in a round.
MESSAGES: typing.Final = 12
SETTINGS: typing.Final = {"retry_schedule": "20ms,20ms,20ms,20ms,20ms"}


def _client(server: Server) -> Svix:
    return Svix(server.token, SvixOptions(server_url=server.url))


def _make(server: Server, receiver: Receiver) -> tuple[str, str]:
    """An application whose endpoint fails, while operational endpoints work; the ids of both."""
    receiver.decide = lambda arrival: FAILED if arrival.path == "/hooks" else OK
    client = _client(server)
    app = client.application.create(ApplicationIn(name="Shop", uid="shop"))
    return app.id, client.endpoint.create(app.id, EndpointIn(url=f"{receiver.url}/hooks")).id


def test_a_change_that_was_acknowledged_is_told_though_the_server_died_right_after(serve: Serve, receiver: Receiver) -> None:
    server = serve(settings=SETTINGS)
    news = News(_client(server), receiver)
    app_id, endpoint_id = _make(server, receiver)
    path = f"/app/{app_id}/endpoint/{endpoint_id}"
    for number in range(ROUNDS):
        status, _ = server.call("PATCH", path, {"description": f"change {number}"})
        server.process.send_signal(signal.SIGKILL)
        assert status == 200
        server.process.wait(10)
        server = serve(settings=SETTINGS, port=server.port)
    server.call("DELETE", path)
    news.told("endpoint.deleted")
    assert news.types() == ["endpoint.created", *["endpoint.updated"] * ROUNDS, "endpoint.deleted"]


def test_what_becomes_of_deliveries_is_told_once_however_often_the_server_is_killed(serve: Serve, receiver: Receiver) -> None:
    server = serve(settings=SETTINGS)
    news = News(_client(server), receiver, events=["message.attempt.failing", "message.attempt.exhausted"])
    log = News(_client(server), receiver, path="/log", events=["message.attempt.log"])
    app_id, _ = _make(server, receiver)
    moments, numbers, sent = random.Random(SEED), itertools.count(1), set[str]()
    for _ in range(ROUNDS):
        for _ in range(MESSAGES):
            number = next(numbers)
            sent.add(server.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"number": number}})["id"])
        threading.Timer(moments.uniform(0.0, LATEST_DEATH_S), server.process.send_signal, [signal.SIGKILL]).start()
        server.process.wait(10)
        server = serve(settings=SETTINGS, port=server.port)

    news.told("message.attempt.exhausted", len(sent))
    for event in ("message.attempt.failing", "message.attempt.exhausted"):
        assert collections.Counter(data["msgId"] for data in news.told(event)) == dict.fromkeys(sent, 1)

    def told() -> list[str]:
        return [item["attemptId"] for data in log.told("message.attempt.log") for item in data]

    made = _attempts(server, app_id)
    wait_until(lambda: len(told()) >= len(made), what=f"{len(made)} attempts are told")
    assert collections.Counter(told()) == dict.fromkeys(made, 1)


def _attempts(server: Server, app_id: str) -> set[str]:
    with sqlite3.connect(server.database) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM attempt WHERE app_id = ?", (app_id,))}


def test_the_end_of_a_task_is_told_once_though_the_server_died_in_the_middle_of_it(serve: Serve, receiver: Receiver) -> None:
    settings = {"retry_schedule": "[]"}
    server = serve(settings=settings)
    news = News(_client(server), receiver, events=["background_task.finished"])
    app_id, endpoint_id = _make(server, receiver)
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    client = _client(server)
    # Enough for several steps of the task, of 40 messages each.
    total = 200
    for number in range(total):
        client.message.create(app_id, MessageIn(event_type="order.paid", payload={"number": number}))
    wait_until(lambda: client.endpoint.get_stats(app_id, endpoint_id).fail == total, what="all have failed")
    arrived = len(receiver.at("/hooks"))
    task = client.endpoint.recover(app_id, endpoint_id, RecoverIn(since=began))
    wait_until(lambda: len(receiver.at("/hooks")) > arrived, what="the task has begun")
    server.stop(signal.SIGKILL)
    server = serve(settings=settings, port=server.port)
    (finished,) = news.told("background_task.finished")
    assert (finished["taskId"], finished["data"]["messages_sent"]) == (task.id, total)
    server.stop(signal.SIGKILL)
    serve(settings=settings, port=server.port)
    assert news.counted() == {"background_task.finished": 1}
