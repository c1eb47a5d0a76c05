"""Events that must come by a deadline: met by the first one that fits, or missed and told."""

from __future__ import annotations

import datetime
import signal
import typing

from benchmarks.server import Server
from tests.acceptance.provider import event_id, events_of, make_source, send
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

    def send(self, number: int) -> str:
        """Have the provider send an event; the id of its message."""
        assert send(self.running, self.path, number) == 200
        return next(e["id"] for e in events_of(self.running, self.app_id, self.source_id) if e["providerEventId"] == event_id(number))


def test_an_expectation_is_met_by_the_first_event_that_has_all_it_asks_for(shared: Shared) -> None:
    awaited = Awaited(shared())
    by_path = awaited.expect({"at": "json:number", "equals": 12})
    by_id = awaited.expect({"eventId": event_id(13), "eventType": "charge.succeeded"})
    other = awaited.expect({"at": "json:number", "equals": 12, "eventType": "charge.failed"})
    first = awaited.send(11)
    second = awaited.send(12)
    third = awaited.send(13)
    any_type = awaited.expect({"eventType": "charge.succeeded"}, since=at(-60))
    for expectation_id, message_id in ((by_path, second), (by_id, third), (any_type, first)):
        wait_until(lambda it=expectation_id: awaited.of(it)["state"] != "open", what="it is met")  # type: ignore[misc]
        assert (awaited.of(expectation_id)["state"], awaited.of(expectation_id)["messageId"]) == ("met", message_id)
    assert awaited.of(other)["state"] == "open"
