"""What do tests of streams share? A stream on a server, and what came of its events."""

from __future__ import annotations

import json
import typing

from benchmarks.server import Server
from tests.acceptance.receiver import Arrival


class Desk:
    """A stream on a server."""

    def __init__(self, running: Server) -> None:
        self.running = running
        self.stream = running.make("/stream", {"name": "Orders"})["id"]

    def sink(self, **wanted: typing.Any) -> str:
        """The id of a new sink."""
        return str(self.running.make(f"/stream/{self.stream}/sink", wanted)["id"])

    def called(self, url: str, **wanted: typing.Any) -> str:
        """The id of a new sink that is called."""
        return self.sink(type="http", config={"url": url}, **wanted)

    def append(self, *payloads: object, kind: str = "order.paid", **more: typing.Any) -> None:
        """Add events of one type."""
        given = [{"eventType": kind, "payload": str(payload), **more} for payload in payloads]
        status, answer = self.running.call("POST", f"/stream/{self.stream}/events", {"events": given})
        assert (status, answer) == (202, {})

    def shown(self, sink: str) -> dict[str, typing.Any]:
        """What is told of a sink."""
        return dict(self.running.call("GET", f"/stream/{self.stream}/sink/{sink}")[1])

    def change(self, sink: str, **change: typing.Any) -> None:
        """Change a sink that is called."""
        status, answer = self.running.call("PATCH", f"/stream/{self.stream}/sink/{sink}", {"type": "http", **change})
        assert status == 200, answer

    def transform(self, sink: str, code: str | None) -> None:
        """Have a sink transform its batches, or not."""
        answer = self.running.call("PATCH", f"/stream/{self.stream}/sink/{sink}/transformation", {"code": code})
        assert answer == (200, {})

    def read(self, sink: str, **query: typing.Any) -> dict[str, typing.Any]:
        """An answer to somebody who asks."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return dict(self.running.call("GET", f"/stream/{self.stream}/sink/{sink}/events?{text}")[1])


def payloads(arrival: Arrival) -> list[str]:
    """The texts of the events in a batch."""
    return [event["payload"] for event in json.loads(arrival.body)]


def all_of(arrivals: typing.Iterable[Arrival]) -> list[str]:
    """The texts of all events, batch by batch."""
    return [payload for arrival in arrivals for payload in payloads(arrival)]
