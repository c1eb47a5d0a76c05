"""Acknowledge when it is done: the provider waits for one endpoint's own answer, and what is not done in time is done once all the same."""

from __future__ import annotations

import json
import pathlib
import socket
import threading
import time
import typing
import urllib.request

import pytest

from benchmarks.server import Server
from tests.acceptance.provider import events_of, make_source, request
from tests.acceptance.receiver import FAILED, Answer, Arrival, Receiver
from tests.acceptance.serving import Serve, Shared
from tests.api.fuzz_client import Answer as Heard
from tests.api.fuzz_client import read_answers
from tests.waiting import wait_until

TWIML = Answer(
    body=b'<?xml version="1.0"?><Response><Say>Hello</Say></Response>',
    headers=(("content-type", "text/xml; charset=utf-8"), ("x-slack-no-retry", "1"), ("set-cookie", "a=b"), ("server", "theirs")),
)
# Two attempts at once and a dead letter; or retries that are far away.
SOON_DEAD, FAR = {"retry_schedule": "50ms"}, {"retry_schedule": "1h"}
DEADLINE_S = 1.0


class Scene:
    """A source that waits for an endpoint."""

    def __init__(self, running: Server, receiver: Receiver, wanted: dict[str, typing.Any]) -> None:
        self.running = running
        self.receiver = receiver
        self.app_id = running.make("/app", {"name": "processed"})["id"]
        self.endpoint_id = running.make(f"/app/{self.app_id}/endpoint", {"url": f"{receiver.url}/in", "uid": "answers"})["id"]
        given = {"processedBy": "answers", "deadlineS": DEADLINE_S, **wanted}
        self.source_id, self.path = make_source(running, self.app_id, **given)

    def send(self, number: int) -> Heard:
        with socket.create_connection((self.running.host, self.running.port), timeout=20) as connection:
            connection.sendall(request(self.path, number))
            (answer,) = read_answers(connection, 1, 20.0).answers
            return answer

    def change_endpoint(self, **changed: typing.Any) -> None:
        wanted = {"url": f"{self.receiver.url}/in", "uid": "answers", **changed}
        assert self.running.call("PUT", f"/app/{self.app_id}/endpoint/{self.endpoint_id}", wanted)[0] == 200

    def dead_letters(self) -> list[dict[str, typing.Any]]:
        found: list[dict[str, typing.Any]] = self.running.call("GET", f"/app/{self.app_id}/dead-letter")[1]["data"]
        return found


Begin = typing.Callable[..., Scene]


@pytest.fixture
def begin(shared: Shared, receiver: Receiver) -> Begin:
    def opened(settings: dict[str, str] | None = None, **wanted: typing.Any) -> Scene:
        return Scene(shared(settings), receiver, wanted)

    return opened


class Gate:
    """Holds the endpoint's answers back until it is opened."""

    def __init__(self, receiver: Receiver) -> None:
        self.open = threading.Event()
        self.waiting: list[Arrival] = []
        receiver.decide = self

    def __call__(self, arrival: Arrival) -> Answer:
        self.waiting.append(arrival)
        return TWIML if self.open.is_set() else Answer(0)


def test_the_endpoints_own_answer_is_given_to_the_provider(begin: Begin, receiver: Receiver) -> None:
    scene = begin()
    receiver.decide = lambda arrival: TWIML
    answer = scene.send(1)
    assert (answer.status, answer.body) == (200, TWIML.body)
    assert answer.header("content-type") == "text/xml; charset=utf-8"
    assert answer.header("x-slack-no-retry") == "1"
    assert answer.header("set-cookie") is None and answer.header("server") is None
    # The same event again is answered the same, and run no second time.
    assert comparable(scene.send(1)) == comparable(answer)
    assert len(receiver.arrivals) == 1


def test_an_answer_that_is_not_kept_whole_is_not_given_in_part(begin: Begin, receiver: Receiver) -> None:
    scene = begin()
    long = b"<Response>%b</Response>" % (b"<Say>Hello</Say>" * 2_000)
    receiver.decide = lambda arrival: Answer(body=long, headers=(("content-type", "text/xml"),))
    for _ in range(2):
        answer = scene.send(1)
        assert (answer.status, answer.body, answer.header("content-type")) == (200, b"{}", "application/json")
    assert len(receiver.arrivals) == 1


def test_a_header_of_which_only_a_part_is_kept_is_not_given(begin: Begin, receiver: Receiver) -> None:
    scene = begin()
    receiver.decide = lambda arrival: Answer(body=b"<Response/>", headers=(("x-long", "a" * 3_900), ("x-half", "b" * 500)))
    answer = scene.send(1)
    assert (answer.status, answer.body) == (200, b"<Response/>")
    assert (answer.header("x-long"), answer.header("x-half")) == ("a" * 3_900, None)


def comparable(answer: Heard) -> tuple[int, list[tuple[str, str]], bytes]:
    return answer.status, [header for header in answer.headers if header[0] != "date"], answer.body


def test_a_source_may_have_an_answer_of_its_own_once_the_endpoint_has_taken_the_event(begin: Begin, receiver: Receiver) -> None:
    scene = begin(answer={"status": 202, "body": "[accepted]"})
    receiver.decide = lambda arrival: TWIML
    answer = scene.send(1)
    assert (answer.status, answer.body) == (202, b"[accepted]")
    assert len(receiver.arrivals) == 1


def test_past_the_deadline_the_provider_comes_again_and_joins_the_run_in_progress(begin: Begin, receiver: Receiver) -> None:
    scene = begin(FAR)
    receiver.decide = lambda arrival: Answer(200, after_s=2.5, body=b"done")
    began = time.monotonic()
    first = scene.send(1)
    assert (first.status, first.header("retry-after")) == (503, "1")
    assert DEADLINE_S <= time.monotonic() - began < 2.4, "the answer came neither at the deadline nor before the endpoint's"
    # It is durable: what was answered 503 is an event all the same.
    assert len(events_of(scene.running, scene.app_id, scene.source_id)) == 1
    answers = [first]
    while answers[-1].status == 503:
        answers.append(scene.send(1))
    assert (answers[-1].status, answers[-1].body) == (200, b"done")
    assert len(receiver.arrivals) == 1, "the endpoint ran twice"
    assert len(events_of(scene.running, scene.app_id, scene.source_id)) == 1


def test_a_passed_deadline_is_told_in_the_log_and_counted_and_a_failure_is_not(
    serve: Serve, receiver: Receiver, tmp_path: pathlib.Path
) -> None:
    failing = Scene(serve(settings=SOON_DEAD), receiver, {"deadlineS": 20})
    receiver.decide = lambda arrival: FAILED
    assert failing.send(1).status == 503
    assert deadlines(failing, tmp_path) == (0, [])
    slow = Scene(failing.running, receiver, {"deadlineS": 0.3})
    receiver.decide = Gate(receiver)
    assert slow.send(1).status == 503
    count, (line,) = deadlines(slow, tmp_path)
    (event,) = events_of(slow.running, slow.app_id, slow.source_id)
    assert count == 1
    assert (line["source_id"], line["message_id"]) == (slow.source_id, event["id"])
    assert line["waited_s"] >= 0.3


def deadlines(scene: Scene, directory: pathlib.Path) -> tuple[float, list[dict[str, typing.Any]]]:
    """How many deadlines passed, by the metrics and by the log."""
    with urllib.request.urlopen(f"{scene.running.url}/metrics") as answer:
        text = answer.read().decode()
    (count,) = [float(line.split(" ")[1]) for line in text.splitlines() if line.startswith("ringback_source_deadlines_passed_total ")]
    lines = (directory / "server.log").read_text().splitlines()
    return count, [json.loads(line) for line in lines if "source.deadline_passed" in line]


def test_twenty_impatient_providers_wait_for_one_run(begin: Begin, receiver: Receiver) -> None:
    scene = begin(FAR, deadlineS=10)
    receiver.decide = lambda arrival: Answer(200, after_s=0.5, body=b"done")
    answers: list[Heard] = []
    threads = [threading.Thread(target=lambda: answers.append(scene.send(1))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"done")} and len(answers) == 20
    assert len(receiver.arrivals) == 1


def test_a_failed_event_is_answered_503_and_run_again_when_it_comes_again(begin: Begin, receiver: Receiver) -> None:
    scene = begin(SOON_DEAD)
    receiver.decide = lambda arrival: FAILED
    assert scene.send(1).status == 503
    wait_until(scene.dead_letters, what="it is a dead letter")
    receiver.decide = lambda arrival: TWIML
    answer = scene.send(1)
    assert (answer.status, answer.body) == (200, TWIML.body)
    assert [arrival.id for arrival in receiver.arrivals] == [receiver.arrivals[0].id] * 3, "another message was made of it"
    assert scene.dead_letters() == []


def test_an_event_that_rests_between_two_attempts_is_run_at_once_when_it_comes_again(begin: Begin, receiver: Receiver) -> None:
    scene = begin(FAR)
    receiver.decide = lambda arrival: FAILED
    assert scene.send(1).status == 503
    receiver.decide = lambda arrival: TWIML
    answer = scene.send(1)
    assert (answer.status, answer.body) == (200, TWIML.body)
    assert [arrival.id for arrival in receiver.arrivals] == [receiver.arrivals[0].id] * 2
    # What the schedule had planned is over: nothing runs a third time.
    stats = scene.running.call("GET", f"/app/{scene.app_id}/endpoint/{scene.endpoint_id}/stats")[1]
    assert (stats["pending"], stats["sending"], stats["success"]) == (0, 0, 1)


def test_a_source_may_leave_failed_events_alone(begin: Begin, receiver: Receiver) -> None:
    scene = begin(SOON_DEAD, deduplication={"onFailed": "ignore"}, deadlineS=0.3)
    receiver.decide = lambda arrival: FAILED
    assert scene.send(1).status == 503
    wait_until(scene.dead_letters, what="it is a dead letter")
    receiver.decide = lambda arrival: TWIML
    assert scene.send(1).status == 503
    assert len(receiver.arrivals) == 2 and len(scene.dead_letters()) == 1


def test_what_a_person_discarded_is_acknowledged(begin: Begin, receiver: Receiver) -> None:
    scene = begin(SOON_DEAD)
    receiver.decide = lambda arrival: FAILED
    assert scene.send(1).status == 503
    (letter,) = wait_until(scene.dead_letters, what="it is a dead letter")
    assert scene.running.call("POST", f"/app/{scene.app_id}/dead-letter/discard", {"ids": [letter["id"]]})[0] == 202
    assert scene.send(1).status == 200
    assert len(receiver.arrivals) == 2


def test_events_that_the_endpoint_does_not_want_are_acknowledged_at_once(begin: Begin, receiver: Receiver) -> None:
    scene = begin(FAR, deadlineS=20)
    scene.running.make("/event-type", {"name": "invoice.paid", "description": ""})
    scene.change_endpoint(eventTypes=["invoice.paid"])
    answer = scene.send(1)
    assert (answer.status, answer.body) == (200, b"{}")
    assert receiver.arrivals == []
    # Neither is it waited for when the endpoint wants them from now on: it never had this one.
    scene.change_endpoint()
    assert scene.send(1).status == 200


def test_without_its_endpoint_a_source_acknowledges_nothing(begin: Begin, receiver: Receiver) -> None:
    scene = begin(processedBy="nobody")
    assert scene.send(1).status == 503
    assert len(events_of(scene.running, scene.app_id, scene.source_id)) == 1


def test_a_provider_that_hangs_up_after_its_request_was_received_all_the_same(begin: Begin, receiver: Receiver) -> None:
    scene = begin(FAR, deadlineS=20)
    gate = Gate(receiver)
    with socket.create_connection((scene.running.host, scene.running.port), timeout=20) as connection:
        connection.sendall(request(scene.path, 1))
        wait_until(lambda: gate.waiting, what="the endpoint is asked")
    assert len(events_of(scene.running, scene.app_id, scene.source_id)) == 1
    with socket.create_connection((scene.running.host, scene.running.port), timeout=20) as connection:
        connection.sendall(request(scene.path, 2)[:-1])
    assert len(events_of(scene.running, scene.app_id, scene.source_id)) == 1
