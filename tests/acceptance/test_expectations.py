"""Events that must come by a deadline: met by the first one that fits, or missed and told."""

from __future__ import annotations

import datetime
import json
import signal
import sqlite3
import typing

import pytest

from benchmarks.server import Server
from tests.acceptance.provider import event_id, events_of, make_source, send
from tests.acceptance.provider_api import CREDENTIAL, ProviderApi, StripeList
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until


def at(seconds: float) -> str:
    """A time so many seconds from now."""
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)).isoformat()


class Awaited:
    """A source, and what is awaited of it."""

    def __init__(self, running: Server, **wanted: typing.Any) -> None:
        self.running = running
        self.app_id = running.make("/app", {"name": "shop"})["id"]
        self.source_id, self.path = make_source(running, self.app_id, **wanted)
        self.at = f"/app/{self.app_id}/source/{self.source_id}/expectation"

    def expect(self, match: dict[str, typing.Any], deadline_s: float = 3_600, **more: typing.Any) -> str:
        """Await an event; the id of the expectation."""
        return str(self.running.make(self.at, {"match": match, "deadline": at(deadline_s), **more})["id"])

    def of(self, expectation_id: str) -> dict[str, typing.Any]:
        status, answer = self.running.call("GET", f"{self.at}/{expectation_id}")
        assert status == 200, answer
        return typing.cast(dict[str, typing.Any], answer)

    def ended(self, expectation_id: str) -> tuple[str, str | None]:
        """How it ended, and with which message."""
        wait_until(lambda: self.of(expectation_id)["state"] != "open", what="it ends")
        found = self.of(expectation_id)
        return found["state"], found["messageId"]

    def send(self, number: int) -> str:
        """Have the provider send an event; the id of its message."""
        assert send(self.running, self.path, number) == 200
        return next(e["id"] for e in events_of(self.running, self.app_id, self.source_id) if e["providerEventId"] == event_id(number))


def test_an_expectation_is_met_by_the_first_event_that_has_all_it_asks_for(shared: Shared) -> None:
    awaited = Awaited(shared())
    by_path = awaited.expect({"at": "json:number", "equals": 12})
    by_id = awaited.expect({"eventId": event_id(13), "eventType": "charge.succeeded"})
    by_header = awaited.expect({"at": "header:content-type", "equals": "text/plain"})
    other = awaited.expect({"at": "json:number", "equals": 12, "eventType": "charge.failed"})
    awaited.send(11)
    second, third = awaited.send(12), awaited.send(13)
    assert awaited.ended(by_path) == ("met", second)
    assert awaited.ended(by_id) == ("met", third)
    assert {awaited.of(left)["state"] for left in (other, by_header)} == {"open"}
    assert [item["id"] for item in awaited.running.call("GET", f"{awaited.at}?state=met")[1]["data"]] == [by_id, by_path]


def test_what_came_before_its_expectation_counts_from_since_on_alone(shared: Shared) -> None:
    awaited = Awaited(shared())
    early = awaited.send(1)
    patient = awaited.expect({"eventType": "charge.succeeded"}, since=at(-60), uid="patient")
    strict = awaited.expect({"eventType": "charge.succeeded"})
    assert awaited.ended("patient") == ("met", early) and awaited.of(patient)["uid"] == "patient"
    assert awaited.of(strict)["state"] == "open"
    late = awaited.send(2)
    assert awaited.ended(strict) == ("met", late)


def test_what_is_not_verified_meets_nothing(shared: Shared) -> None:
    awaited = Awaited(shared(), verify="observe", secrets=["whsec_another"])
    expected = awaited.expect({"eventId": event_id(1)})
    marked = awaited.expect({"eventId": event_id(2)})
    awaited.send(1)
    awaited.running.call(
        "PUT", f"/app/{awaited.app_id}/source/{awaited.source_id}", {"name": "s", "type": "stripe", "secrets": ["whsec_test"]}
    )
    second = awaited.send(2)
    assert awaited.ended(marked) == ("met", second)
    assert awaited.of(expected)["state"] == "open"


def test_what_has_not_come_by_its_deadline_is_missed_and_told_once(shared: Shared, receiver: Receiver) -> None:
    running = shared()
    running.make("/operational-webhook/endpoint", {"url": f"{receiver.url}/ops", "eventTypes": ["source.expectation.missed"]})
    awaited = Awaited(running)
    expected = awaited.expect({"eventId": event_id(5), "at": "json:number", "equals": 5}, 0.4, uid="order-5")
    kept = awaited.expect({"eventId": event_id(6)}, 0.4)
    message_id = awaited.send(6)
    assert awaited.ended(expected) == ("missed", None)
    assert awaited.ended(kept) == ("met", message_id)
    assert awaited.of(expected)["endedAt"] == awaited.of(expected)["deadline"]
    wait_until(lambda: receiver.arrivals, what="the owner is told")
    told = [json.loads(arrival.body) for arrival in receiver.arrivals]
    assert told == [
        {
            "type": "source.expectation.missed",
            "data": {
                "appId": awaited.app_id,
                "sourceId": awaited.source_id,
                "sourceUid": None,
                "expectationId": expected,
                "expectationUid": "order-5",
                "deadline": awaited.of(expected)["deadline"],
                "match": {"eventId": event_id(5), "at": "json:number", "equals": "5"},
            },
        }
    ]
    # Too late: it is taken in, and the expectation stays missed.
    awaited.send(5)
    assert awaited.of(expected)["state"] == "missed"


def test_an_event_found_at_the_provider_meets_an_expectation(shared: Shared) -> None:
    awaited, api = Awaited(shared()), ProviderApi(StripeList(3))
    expected = awaited.expect({"at": "json:data.object.id", "equals": "ch_evt_2"})
    path = f"/app/{awaited.app_id}/source/{awaited.source_id}/reconciliation"
    assert awaited.running.call("PUT", path, {"credential": CREDENTIAL, "baseUrl": api.url})[0] == 201
    assert awaited.ended(expected)[0] == "met"
    api.close()


def test_a_server_that_was_killed_knows_what_is_awaited_and_what_came_meanwhile(serve: Serve) -> None:
    running = serve()
    awaited = Awaited(running)
    soon, met, open_ = (
        awaited.expect({"eventId": event_id(1)}, 0.3),
        awaited.expect({"eventId": event_id(2)}),
        awaited.expect({"eventId": "no"}),
    )
    awaited.send(2)
    running.stop(signal.SIGKILL)
    # As if it had died between the commit of the event and the look at it.
    with sqlite3.connect(running.database) as database:
        database.execute("UPDATE expectation SET state = 'open', ended_at = NULL, message_id = NULL")
    database.close()
    awaited.running = serve(port=running.port)
    assert awaited.ended(soon) == ("missed", None)
    assert awaited.ended(met)[0] == "met"
    assert awaited.of(open_)["state"] == "open"


def test_an_expectation_is_withdrawn_and_its_uid_is_free_again(shared: Shared) -> None:
    awaited = Awaited(shared())
    wanted = {"match": {"eventId": event_id(1)}, "deadline": at(60), "uid": "one"}
    awaited.running.make(awaited.at, wanted)
    status, problem = awaited.running.call("POST", awaited.at, wanted)
    assert (status, problem["code"]) == (409, "conflict")
    assert awaited.running.call("DELETE", f"{awaited.at}/one")[0] == 204
    assert awaited.running.call("GET", f"{awaited.at}/one")[0] == 404
    again = awaited.running.make(awaited.at, wanted)["id"]
    assert awaited.ended(again if awaited.send(1) else "")[0] == "met"


def test_the_same_request_awaits_an_event_once(shared: Shared) -> None:
    awaited = Awaited(shared())
    wanted, key = {"match": {"eventId": "x"}, "deadline": at(60)}, {"idempotency-key": "k1"}
    first = awaited.running.call("POST", awaited.at, wanted, key)
    assert first[0] == 201 and awaited.running.call("POST", awaited.at, wanted, key) == first
    assert len(awaited.running.call("GET", awaited.at)[1]["data"]) == 1


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ({"match": {}}, ["body", "match"]),
        ({"match": {"at": "json:id"}}, ["body", "match", "equals"]),
        ({"match": {"equals": "x"}}, ["body", "match", "at"]),
        ({"match": {"at": "body", "equals": "x"}}, ["body", "match", "at"]),
        ({"deadline": at(-1)}, ["body", "deadline"]),
        ({"deadline": at(91 * 86_400)}, ["body", "deadline"]),
        ({"since": at(86_400)}, ["body", "since"]),
        ({"since": at(-8 * 86_400)}, ["body", "since"]),
        ({"uid": "exp_mine"}, ["body", "uid"]),
        ({"deadline": "soon"}, ["body", "deadline"]),
    ],
)
def test_what_cannot_be_awaited_is_refused_with_the_field(shared: Shared, wanted: dict[str, typing.Any], where: list[str]) -> None:
    awaited = Awaited(shared())
    status, problem = awaited.running.call("POST", awaited.at, {"match": {"eventId": "x"}, "deadline": at(60), **wanted})
    assert status == 422, problem
    assert where in [detail["loc"] for detail in problem["detail"]], problem
