"""Can somebody rely on a stream? Its sinks get every event, in order and in batches, however often they, or the server, fail."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import json
import os
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import typing

import httpx
import pytest

from tests.acceptance.receiver import FAILED, OK, SILENCE, Answer, Arrival, Receiver, verify
from tests.acceptance.serving import QUICK_RETRIES, Serve, Shared
from tests.acceptance.streaming import Desk, all_of, payloads
from tests.waiting import wait_until

GUIDE: typing.Final = pathlib.Path(__file__).parents[2] / "docs/how-to/feed-streams.md"
# How often the server is killed, the seed of these moments, and the latest of them after the first answer, seconds.
ROUNDS: typing.Final = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "50")) // 4
SEED: typing.Final = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))
LATEST_DEATH_S: typing.Final = 0.35
# Code that would send something else each time, if it could.
CHANCE: typing.Final = """function handler(input) {
  return {data: input.events.map(({payload}) => ({payload, chance: Math.random(), at: Date.now()}))};
}"""
# Who appends at the same time.
CLIENTS: typing.Final = 6
# Batches that a client appends in one life of the server: the sinks must be done with all of them in time, however fast the machine.
MOST: typing.Final = 8


@pytest.fixture
def desk(shared: Shared) -> Desk:
    return Desk(shared(QUICK_RETRIES))


def numbers(begin: int, end: int) -> list[str]:
    return [str(number) for number in range(begin, end)]


def test_batches_have_the_size_that_was_asked_for_and_keep_the_order(desk: Desk, receiver: Receiver) -> None:
    desk.called(receiver.url, batchSize=4)
    desk.append(*numbers(0, 10))
    wait_until(lambda: len(all_of(receiver.accepted)) == 10, what="all events")
    assert [payloads(arrival) for arrival in receiver.accepted] == [numbers(0, 4), numbers(4, 8), numbers(8, 10)]
    assert [arrival.headers["ringback-sequence"] for arrival in receiver.accepted] == ["1", "5", "9"]
    assert len(receiver.ids()) == 3


def test_a_batch_waits_for_its_time_unless_it_is_full(desk: Desk, receiver: Receiver) -> None:
    patient = desk.called(f"{receiver.url}/patient", batchSize=3, maxWaitSecs=300)
    hasty = desk.called(f"{receiver.url}/hasty", batchSize=100, maxWaitSecs=1)
    desk.append("0", "1")
    first = wait_until(lambda: receiver.at("/hasty"), what="a second is over")
    assert payloads(first[0]) == ["0", "1"]
    assert receiver.at("/patient") == []
    desk.append("2", "3")
    wait_until(lambda: receiver.at("/patient"), what="the batch is full")
    assert [payloads(arrival) for arrival in receiver.at("/patient")] == [["0", "1", "2"]]
    wait_until(lambda: len(receiver.at("/hasty")) == 2, what="the next second is over")
    assert all_of(receiver.at("/hasty")) == numbers(0, 4)
    assert desk.shown(patient)["currentIterator"] != desk.shown(hasty)["currentIterator"]


def test_sinks_get_the_types_and_channels_that_they_want(desk: Desk, receiver: Receiver) -> None:
    desk.called(f"{receiver.url}/types", eventTypes=["b"])
    desk.called(f"{receiver.url}/channels", channels=["eu", "us"])
    poller = desk.sink(type="poller", eventTypes=["a", "b"], channels=["us"])
    desk.append("1", kind="a")
    desk.append("2", kind="b", channels=["us", "asia"])
    desk.append("3", kind="c", channels=["eu"])
    desk.append("4", kind="b")
    wait_until(lambda: len(all_of(receiver.accepted)) == 4, what="all that is wanted")
    assert all_of(receiver.at("/types")) == ["2", "4"]
    assert all_of(receiver.at("/channels")) == ["2", "3"]
    answer = desk.read(poller)
    assert ([event["payload"] for event in answer["data"]], answer["done"]) == (["2"], True)


def test_a_batch_that_fails_comes_again_under_its_id_before_what_follows(desk: Desk, receiver: Receiver) -> None:
    failures = itertools.repeat(FAILED, 2)
    receiver.decide = lambda arrival: next(failures, OK)
    sink = desk.called(receiver.url, batchSize=2)
    desk.append("0", "1")
    retrying = wait_until(lambda: (shown := desk.shown(sink))["status"] == "retrying" and shown, what="a failure")
    assert retrying["failureReason"] == "the endpoint answered 500 Internal Server Error" and retrying["nextRetryAt"]
    desk.append("2", "3")
    wait_until(lambda: len(receiver.accepted) == 2, what="all events")
    assert [payloads(arrival) for arrival in receiver.arrivals] == [["0", "1"]] * 3 + [["2", "3"]]
    assert [len({arrival.id for arrival in receiver.arrivals[:3]}), len(receiver.ids())] == [1, 2]
    healed = wait_until(lambda: (shown := desk.shown(sink))["status"] == "enabled" and shown, what="it works again")
    assert (healed["failureReason"], healed["nextRetryAt"]) == (None, None)


def test_what_is_held_goes_on_where_it_was(desk: Desk, receiver: Receiver) -> None:
    sink = desk.called(receiver.url)
    desk.append("0")
    wait_until(lambda: len(receiver.accepted) == 1, what="the first event")
    for held in ("paused", "disabled"):
        desk.change(sink, status=held)
        already = len(receiver.at("/"))
        desk.append(held)
        # Another sink has it by then: this one would have, too.
        other = f"/{held}"
        desk.called(receiver.url + other)
        desk.append("seen")
        wait_until(lambda: receiver.at(other), what="another sink is fed")  # noqa: B023 - it is waited for within the turn
        assert len(receiver.at("/")) == already
        assert desk.shown(sink)["status"] == held
        desk.change(sink, status="enabled")
        wait_until(lambda: all_of(receiver.at("/"))[-2:] == [held, "seen"], what="it goes on")  # noqa: B023 - as above


def test_a_sink_that_hangs_holds_up_none_of_the_others(serve: Serve, receiver: Receiver) -> None:
    desk = Desk(serve(settings={"request_timeout": "20s"}))
    receiver.decide = lambda arrival: SILENCE if arrival.path == "/hangs" else OK
    for _ in range(20):
        desk.called(f"{receiver.url}/hangs")
    desk.append("0")
    wait_until(lambda: len(receiver.at("/hangs")) == 20, what="they hang")
    desk.called(f"{receiver.url}/works")
    for number in numbers(1, 4):
        desk.append(number)
        wait_until(lambda: all_of(receiver.at("/works"))[-1:] == [number], what=number)  # noqa: B023 - it is waited for within the turn
    assert len(receiver.at("/hangs")) == 20, "one batch of a sink is on its way at a time"


def test_a_sink_that_accepts_nothing_for_too_long_is_disabled_and_can_be_enabled(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"endpoint_failure_disable_after": "1m"})
    desk = Desk(running)
    receiver.decide = lambda arrival: FAILED
    sink = desk.called(receiver.url)
    desk.append("0")
    wait_until(lambda: desk.shown(sink)["status"] == "retrying", what="it fails")
    running.stop()
    with sqlite3.connect(running.database) as database:
        # Two minutes pass.
        database.execute("UPDATE stream_sink SET failing_since = failing_since - 120000000")
    database.close()
    desk.running = serve(port=running.port, settings={"endpoint_failure_disable_after": "1m"})
    disabled = wait_until(lambda: (shown := desk.shown(sink))["status"] == "disabled" and shown, what="it is given up")
    assert "no batch was accepted since" in disabled["failureReason"] and disabled["nextRetryAt"] is None
    wait_until(lambda: '"event": "sink.disabled"' in desk.running.log.read_text(), what="the log tells of it")
    receiver.decide = lambda arrival: OK
    desk.append("1")
    desk.change(sink, status="enabled")
    wait_until(lambda: all_of(receiver.accepted) == ["0", "1"], what="nothing was passed over")
    assert len({arrival.id for arrival in receiver.arrivals if payloads(arrival)[0] == "0"}) == 1


@pytest.mark.parametrize("answer", [Answer(410), Answer(500, headers=(("webhook-delivery", "disable"),))])
def test_a_sink_that_asks_to_be_disabled_is(desk: Desk, receiver: Receiver, answer: Answer) -> None:
    receiver.decide = lambda arrival: answer
    sink = desk.called(receiver.url)
    desk.append("0")
    shown = wait_until(lambda: (shown := desk.shown(sink))["status"] == "disabled" and shown, what="it is disabled")
    assert str(answer.status) in shown["failureReason"] and len(receiver.arrivals) == 1


def test_former_secrets_sign_until_their_grace_is_over(desk: Desk, receiver: Receiver) -> None:
    sink = desk.called(receiver.url)
    at = f"/stream/{desk.stream}/sink/{sink}/secret"
    former = desk.running.call("GET", at)[1]["key"]
    for grace_s, both in ((60, True), (0, False)):
        key = desk.running.call("POST", f"{at}/rotate", {"gracePeriodSeconds": grace_s})[1]["key"]
        already = len(receiver.arrivals)
        desk.append("0")
        arrival = wait_until(lambda: receiver.arrivals[already:], what="a batch")[0]  # noqa: B023 - it is waited for within the turn
        verify(arrival, key)
        # The first former one signs on for a minute; the one without grace was dropped at once.
        assert len(arrival.headers["webhook-signature"].split()) == 2
        if both:
            verify(arrival, former)


def test_destinations_that_must_not_be_reached_are_not(serve: Serve, receiver: Receiver) -> None:
    desk = Desk(serve(settings={"whitelist_subnets": ""}))
    sink = desk.called(receiver.url)
    desk.append("0")
    shown = wait_until(lambda: (shown := desk.shown(sink))["status"] == "retrying" and shown, what="it is blocked")
    assert "blocked" in shown["failureReason"] and receiver.arrivals == []


def test_a_disk_without_room_takes_no_events(serve: Serve) -> None:
    running = serve()
    desk = Desk(running)
    poller = desk.sink(type="poller")
    running.stop()
    desk.running = serve(port=running.port, settings={"min_free_disk": "1024GiB"})
    status, answer = desk.running.call("POST", f"/stream/{desk.stream}/events", {"events": [{"eventType": "a", "payload": "0"}]})
    assert (status, answer["code"]) == (503, "unavailable")
    assert desk.read(poller)["data"] == []


def test_a_stream_keeps_what_is_not_too_old_and_numbers_go_on(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"history_retention": "1m"})
    desk = Desk(running)
    poller = desk.sink(type="poller")
    desk.append("0", "1")
    running.stop()
    with sqlite3.connect(running.database) as database:
        # Two minutes pass.
        database.execute("UPDATE stream_event SET created_at = created_at - 120000000")
    database.close()
    desk.running = serve(port=running.port, settings={"history_retention": "1m"})
    wait_until(lambda: desk.read(poller)["data"] == [], what="the old events are gone")
    desk.called(receiver.url)
    desk.append("2")
    assert [event["payload"] for event in desk.read(poller)["data"]] == ["2"]
    assert all_of(wait_until(lambda: receiver.accepted, what="the new event")) == ["2"]


def test_the_programs_of_the_guide_run(serve: Serve, receiver: Receiver, tmp_path: pathlib.Path) -> None:
    running = serve()
    known = {"SERVER_URL": running.url, "RINGBACK_TOKEN": running.token, "SINK_URL": receiver.url}

    def run(program: str) -> str:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=os.environ | known, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    append, call, trace, ask = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert run(append) == ""
    secret = run(call.replace("max_wait_secs=5", "max_wait_secs=0")).strip()
    known["SINK"] = running.make("/stream/orders/sink", {"type": "poller"})["id"]
    known["POLLER_KEY"] = running.call("GET", f"/auth/stream/orders/sink/{known['SINK']}/poller/token")[1]["token"]
    assert run(ask) == ""
    assert run(append) == ""
    (arrival,) = wait_until(lambda: receiver.accepted, what="the batch")
    verify(arrival, secret)
    assert (arrival.headers["x-team"], payloads(arrival)) == ("ledger", ['{"number": 1}', '{"number": 1}'])
    assert run(ask).splitlines() == ['order.paid {"number": 1}', 'order.sent {"number": 1}']
    known |= {"OTLP_URL": f"{receiver.url}/v1/traces", "OTLP_KEY": "s3cret"}
    assert run(trace) == ""
    paid = {"order": "o1", "startTime": "2024-01-02T03:04:05Z", "endTime": "2024-01-02T03:04:06Z"}
    event = {"eventType": "order.paid", "payload": json.dumps(paid)}
    assert running.call("POST", "/stream/orders/events", {"events": [event]})[0] == 202
    (arrival,) = wait_until(lambda: receiver.at("/v1/traces"), what="the span")
    (span,) = json.loads(arrival.body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (arrival.headers["api-key"], span["name"]) == ("s3cret", "order.paid")


class Doubtful:
    """Answers 500 to the first attempt of one batch in twelve or fifteen (of five, of four events), 200 to all else."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, arrival: Arrival) -> Answer:
        first = arrival.id not in self.seen
        self.seen.add(arrival.id)
        return FAILED if first and int(arrival.headers["ringback-sequence"]) % 60 == 0 else OK


class Appending:
    """Clients that append batches of numbered events, each its own, one after the other, until the server dies or they have sent `MOST`."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, int] = collections.defaultdict(int)
        self.clients = [httpx.Client(trust_env=False, timeout=20) for _ in range(CLIENTS)]

    def until_killed(self, desk: Desk, death_s: float) -> None:
        """Append with all clients; the server dies so many seconds after its first answer."""
        process = desk.running.process
        answered = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            appending = [pool.submit(self._append, desk, client, answered) for client in range(CLIENTS)]
            assert answered.wait(20), "no event was taken"
            threading.Timer(death_s, process.send_signal, (signal.SIGKILL,)).start()
            for done in appending:
                done.result()
        assert process.wait(10) == -signal.SIGKILL

    def _append(self, desk: Desk, client: int, answered: threading.Event) -> None:
        """Append until there is no answer; what had none is repeated first, with the key that it had."""
        for _ in range(MOST):
            number = self.acknowledged[client]
            given = [{"eventType": "counted", "payload": f"{client}:{number}:{part}"} for part in range(3)]
            headers = {"authorization": f"Bearer {desk.running.token}", "idempotency-key": f"{client}-{number}"}
            url = f"{desk.running.url}/api/v1/stream/{desk.stream}/events"
            try:
                answer = self.clients[client].post(url, json={"events": given}, headers=headers)
            except httpx.TransportError:
                return
            assert answer.status_code == 202, answer.text
            self.acknowledged[client] = number + 1
            answered.set()


def test_nothing_is_skipped_and_what_comes_twice_has_its_id_however_often_the_server_is_killed(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = Doubtful()
    moments, appending = random.Random(SEED), Appending()
    running = serve()
    desk = Desk(running)
    desk.called(receiver.url, batchSize=5)
    desk.transform(desk.called(f"{receiver.url}/changed", batchSize=4), CHANCE)
    poller = desk.sink(type="poller")
    for _ in range(ROUNDS):
        appending.until_killed(desk, moments.uniform(0.0, LATEST_DEATH_S))
        desk.running = running = serve(port=running.port)
    kept = _kept(desk, poller)
    wanted = {
        f"{client}:{number}:{part}" for client, count in appending.acknowledged.items() for number in range(count) for part in range(3)
    }
    assert len(wanted) > ROUNDS, "hardly anything was appended: the test shows nothing"
    assert not wanted - set(kept), "acknowledged events are kept"
    assert len(kept) == len(set(kept)), "a request that is repeated with its key appends once"
    for path in ("/", "/changed"):
        _told_once_and_in_order(receiver, path, kept)


def _told_once_and_in_order(receiver: Receiver, path: str, kept: list[str]) -> None:
    """Judge what came to a sink."""

    def accepted() -> list[Arrival]:
        return [arrival for arrival in list(receiver.accepted) if arrival.path == path]

    wait_until(lambda: len(dict.fromkeys(all_of(accepted()))) == len(kept), within_s=60, what=f"the sink at {path} has all of it")
    by_id: dict[str, set[bytes]] = collections.defaultdict(set)
    for arrival in receiver.at(path):
        by_id[arrival.id].add(arrival.body)
    assert {batch: bodies for batch, bodies in by_id.items() if len(bodies) != 1} == {}, "one id stands for one content"
    assert all_of({arrival.id: arrival for arrival in accepted()}.values()) == kept, "in order, each once but for repetitions"


def _kept(desk: Desk, poller: str) -> list[str]:
    """All events of the stream, in order, page by page; those of one request stand together."""
    found: list[str] = []
    answer: dict[str, typing.Any] = desk.read(poller, limit=200)
    while True:
        found += [event["payload"] for event in answer["data"]]
        if answer["done"]:
            break
        answer = desk.read(poller, limit=200, iterator=answer["iterator"])
    for start in range(0, len(found), 3):
        client, number, _ = found[start].split(":")
        assert found[start : start + 3] == [f"{client}:{number}:{part}" for part in range(3)], "events of one call are atomic and in order"
    return found
