"""A source that is compared with its provider, as its owner sees it."""

from __future__ import annotations

import typing

from benchmarks.server import Server
from tests.acceptance.provider import SECRET, events_of
from tests.acceptance.provider_api import CREDENTIAL, Asked, ProviderApi, Said
from tests.waiting import wait_until

# Makes an API that answers so, and ends with the test.
Play = typing.Callable[[typing.Callable[[Asked], Said]], ProviderApi]


class Watched:
    """A source of a running server, and the API of its provider."""

    def __init__(self, running: Server, api: ProviderApi, kind: str = "stripe", **wanted: typing.Any) -> None:
        self.running, self.api = running, api
        self.app_id = running.make("/app", {"name": "shop"})["id"]
        made = running.make(f"/app/{self.app_id}/source", {"name": kind, "type": kind, "secrets": [SECRET], **wanted})
        self.source_id, self.url = made["id"], made["ingestUrl"]
        self.called = "/" + self.url.split("/", 3)[3]
        self.path = f"/app/{self.app_id}/source/{self.source_id}/reconciliation"

    def put(self, **wanted: typing.Any) -> tuple[int, typing.Any]:
        """Have it compared."""
        return self.running.call("PUT", self.path, {"credential": CREDENTIAL, "baseUrl": self.api.url, **wanted})

    def run(self) -> dict[str, typing.Any]:
        """Have it compared now; the run, once it has ended."""
        began = (self.state["last"] or {"beganAt": ""})["beganAt"]
        self.running.make(f"{self.path}/run", {})
        wait_until(lambda: (self.state["last"] or {"beganAt": ""})["beganAt"] > began, what="the run ends")
        return typing.cast(dict[str, typing.Any], self.state["last"])

    @property
    def state(self) -> dict[str, typing.Any]:
        status, answer = self.running.call("GET", self.path)
        assert status == 200, answer
        return typing.cast(dict[str, typing.Any], answer)

    def ran(self) -> dict[str, typing.Any]:
        """The first run, once it has ended."""
        wait_until(lambda: self.state["last"] is not None or self.state["failures"], what="a run ends, or fails")
        assert self.state["last"] is not None, self.state
        return typing.cast(dict[str, typing.Any], self.state["last"])

    def failed(self) -> dict[str, typing.Any]:
        """How it stands, once it has failed."""
        wait_until(lambda: self.state["failures"] > 0, what="it fails")
        return self.state

    @property
    def events(self) -> list[dict[str, typing.Any]]:
        return events_of(self.running, self.app_id, self.source_id)

    @property
    def names(self) -> list[str]:
        return sorted(event["providerEventId"] for event in self.events)
