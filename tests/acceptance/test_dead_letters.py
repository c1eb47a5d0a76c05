"""What becomes of a delivery with no attempts left? It waits in the list of dead letters until a person replays or discards it."""

from __future__ import annotations

import typing

from benchmarks.server import Server
from tests.acceptance.receiver import FAILED, OK, Answer, Receiver
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until


class Undeliverable:
    """An application whose endpoint fails for good, with dead letters of two event types."""

    def __init__(self, serve: Serve | Shared, receiver: Receiver) -> None:
        receiver.decide = lambda arrival: Answer(503) if b"ticket" in arrival.body else FAILED
        self.receiver = receiver
        self.server: Server = serve(settings={"retry_schedule": "50ms"})
        self.app_id: str = self.server.make("/app", {"name": "letters"})["id"]
        self.endpoint_id: str = self.server.make(f"/app/{self.app_id}/endpoint", {"url": f"{receiver.url}/in"})["id"]
        self.orders = {self.send("order.paid") for _ in range(3)}
        self.tickets = {self.send("ticket.opened") for _ in range(2)}
        wait_until(lambda: len(self.letters()) == 5, what="five dead letters are listed")

    def send(self, event_type: str) -> str:
        """Publish one message; returns its id."""
        sent: str = self.server.make(f"/app/{self.app_id}/msg", {"eventType": event_type, "payload": {"type": event_type}})["id"]
        return sent

    def letters(self, query: str = "", whose: str = "app") -> list[dict[str, typing.Any]]:
        """The dead letters of the application, or (`whose` "org") of all."""
        prefix = f"/app/{self.app_id}" if whose == "app" else ""
        status, listed = self.server.call("GET", f"{prefix}/dead-letter?{query}")
        assert status == 200, listed
        found: list[dict[str, typing.Any]] = listed["data"]
        return found

    def act(self, verb: str, **selection: object) -> tuple[int, typing.Any]:
        """Replay or discard a selection."""
        return self.server.call("POST", f"/app/{self.app_id}/dead-letter/{verb}", selection)


def test_they_are_listed_with_their_cause_and_by_every_filter(shared: Shared, receiver: Receiver) -> None:
    world = Undeliverable(shared, receiver)
    letters = world.letters()
    assert {letter["msgId"] for letter in letters} == world.orders | world.tickets
    assert [letter["id"] for letter in letters] == sorted((letter["id"] for letter in letters), reverse=True)
    assert {(letter["attempts"], letter["endpointId"]) for letter in letters} == {(2, world.endpoint_id)}
    assert {letter["msgId"] for letter in world.letters("cause=http_503")} == world.tickets
    assert {letter["msgId"] for letter in world.letters("event_types=order.paid")} == world.orders
    assert len(world.letters(f"endpoint_id={world.endpoint_id}")) == 5
    assert world.letters("until=2020-01-01T00:00:00Z") == []
    assert len(world.letters("since=2020-01-01T00:00:00Z")) == 5
    assert {letter["msgId"] for letter in world.letters(whose="org")} == world.orders | world.tickets


def test_a_dry_run_counts_and_changes_nothing(shared: Shared, receiver: Receiver) -> None:
    world = Undeliverable(shared, receiver)
    arrived = len(receiver.arrivals)
    status, counted = world.act("replay", eventTypes=["order.paid"], dryRun=True)
    assert (status, counted["count"]) == (200, 3)
    assert len(world.letters()) == 5
    assert len(receiver.arrivals) == arrived


def test_replayed_ones_are_attempted_again_and_leave_the_list_when_they_arrive(shared: Shared, receiver: Receiver) -> None:
    world = Undeliverable(shared, receiver)
    receiver.decide = lambda arrival: OK
    status, done = world.act("replay", eventTypes=["order.paid"])
    assert (status, done["count"]) == (202, 3)
    wait_until(lambda: receiver.ids() == world.orders, what="the replayed messages arrive")
    wait_until(lambda: {letter["msgId"] for letter in world.letters()} == world.tickets, what="the delivered ones leave the list")


def test_a_replay_that_fails_is_a_dead_letter_again(shared: Shared, receiver: Receiver) -> None:
    world = Undeliverable(shared, receiver)
    arrived = len(receiver.arrivals)
    world.act("replay", eventTypes=["ticket.opened"])
    wait_until(lambda: len(receiver.arrivals) > arrived, what="the replay is attempted")
    wait_until(lambda: len(world.letters()) == 5, what="the failed replays are listed again")


def test_discarded_ones_are_gone_for_good(shared: Shared, receiver: Receiver) -> None:
    world = Undeliverable(shared, receiver)
    chosen = [letter["id"] for letter in world.letters("event_types=ticket.opened")]
    status, done = world.act("discard", ids=chosen)
    assert (status, done["count"]) == (202, 2)
    wait_until(lambda: {letter["msgId"] for letter in world.letters()} == world.orders, what="the discarded ones leave the list")
    assert world.act("replay", ids=chosen, dryRun=True)[1]["count"] == 0


def test_they_survive_a_restart(serve: Serve, receiver: Receiver) -> None:
    world = Undeliverable(serve, receiver)
    before = world.letters()
    assert world.server.stop() == 0
    world.server = serve(port=world.server.port)
    assert world.letters() == before
