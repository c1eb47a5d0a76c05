"""Calls that never came: found in the list of the provider, and taken in once, whatever happens meanwhile."""

from __future__ import annotations

import typing

from benchmarks.server import Server
from tests.acceptance.provider import SECRET, events_of
from tests.acceptance.provider_api import CREDENTIAL, ProviderApi, StripeList
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Shared
from tests.waiting import wait_until


class Watched:
    """A source of a running server, and the API of its provider."""

    def __init__(self, running: Server, api: ProviderApi, kind: str = "stripe", **wanted: typing.Any) -> None:
        self.running, self.api = running, api
        self.app_id = running.make("/app", {"name": "shop"})["id"]
        made = running.make(f"/app/{self.app_id}/source", {"name": kind, "type": kind, "secrets": [SECRET], **wanted})
        self.source_id, self.url = made["id"], made["ingestUrl"]
        self.path = f"/app/{self.app_id}/source/{self.source_id}"

    def put(self, **wanted: typing.Any) -> dict[str, typing.Any]:
        """Have it compared."""
        status, answer = self.running.call(
            "PUT", f"{self.path}/reconciliation", {"credential": CREDENTIAL, "baseUrl": self.api.url, **wanted}
        )
        assert status in (200, 201), answer
        return typing.cast(dict[str, typing.Any], answer)

    @property
    def state(self) -> dict[str, typing.Any]:
        status, answer = self.running.call("GET", f"{self.path}/reconciliation")
        assert status == 200, answer
        return typing.cast(dict[str, typing.Any], answer)

    def ran(self) -> dict[str, typing.Any]:
        """The last run, once there is one."""
        wait_until(lambda: self.state["last"] is not None or self.state["failures"], what="a run ends, or fails")
        assert self.state["last"] is not None, self.state
        return typing.cast(dict[str, typing.Any], self.state["last"])

    @property
    def events(self) -> list[dict[str, typing.Any]]:
        return events_of(self.running, self.app_id, self.source_id)


def test_what_the_provider_lists_and_never_sent_is_taken_in_once_and_delivered_with_a_mark(shared: Shared, receiver: Receiver) -> None:
    running, api = shared(), ProviderApi(StripeList(7))
    watched = Watched(running, api)
    running.make(f"/app/{watched.app_id}/endpoint", {"url": f"{receiver.url}/in"})
    watched.put()
    last = watched.ran()
    assert (last["lookedAt"], last["missing"], last["added"], last["pages"]) == (7, 7, 7, 3)
    assert {event["providerEventId"] for event in watched.events} == {f"evt_{n}" for n in range(1, 8)}
    assert {tuple(event["flags"]) for event in watched.events} == {("reconciled",)}
    wait_until(lambda: len(receiver.arrivals) == 7, what="all are delivered")
    assert {arrival.headers["ringback-reconciled"] for arrival in receiver.arrivals} == {"true"}
    api.close()
