"""From a provider to an endpoint: redeliveries of what failed, batches whose items fail alone, and a server that is told to stop."""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import signal
import socket
import typing
import urllib.parse

from benchmarks.server import Server
from tests.acceptance.provider import SECRET, Provider, event_id, events_of, make_source
from tests.acceptance.receiver import FAILED, OK, Arrival, Receiver
from tests.acceptance.serving import Serve, Shared
from tests.api.fuzz_client import read_answers
from tests.waiting import wait_until

SOON_DEAD = {"retry_schedule": "50ms"}


def call(running: Server, url: str, body: bytes, headers: dict[str, str]) -> int:
    parts = urllib.parse.urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", "host: ringback", f"content-length: {len(body)}", *(f"{n}: {v}" for n, v in headers.items())]
    with socket.create_connection((running.host, running.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        (answer,) = read_answers(connection, 1, 20.0).answers
    return answer.status


def dead_letters(running: Server, app_id: str) -> list[dict[str, typing.Any]]:
    found: list[dict[str, typing.Any]] = running.call("GET", f"/app/{app_id}/dead-letter")[1]["data"]
    return found


def test_a_redelivery_of_a_failed_event_is_run_again_and_of_one_that_went_well_is_not(shared: Shared, receiver: Receiver) -> None:
    """GitHub keeps the id of a delivery when a person asks it to deliver again."""
    running = shared(SOON_DEAD)
    app_id = running.make("/app", {"name": "github"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    made = running.make(f"/app/{app_id}/source", {"name": "github", "type": "github", "secrets": [SECRET]})
    body = b'{"action":"opened"}'
    signature = "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex()
    headers = {"x-hub-signature-256": signature, "x-github-delivery": "guid-1", "x-github-event": "issues"}

    receiver.decide = lambda arrival: FAILED
    assert call(running, made["ingestUrl"], body, headers) == 200
    wait_until(lambda: dead_letters(running, app_id), what="the event is a dead letter")
    tried = len(receiver.arrivals)
    receiver.decide = lambda arrival: OK
    assert call(running, made["ingestUrl"], body, headers) == 200
    wait_until(lambda: receiver.accepted, what="the redelivery runs the event again")
    assert {arrival.id for arrival in receiver.arrivals} == {receiver.arrivals[0].id}
    wait_until(lambda: not dead_letters(running, app_id), what="the dead letter is gone")
    assert len(events_of(running, app_id, made["id"])) == 1

    assert call(running, made["ingestUrl"], body, headers) == 200
    assert call(running, made["ingestUrl"], body, {**headers, "x-github-delivery": "guid-2"}) == 200
    wait_until(lambda: len(receiver.ids()) == 2, what="another event is delivered")
    assert len(receiver.arrivals) == tried + 2


def test_the_items_of_a_batch_fail_and_come_again_alone(shared: Shared, receiver: Receiver) -> None:
    running = shared(SOON_DEAD)
    app_id = running.make("/app", {"name": "hubspot"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    made = running.make(f"/app/{app_id}/source", {"name": "hubspot", "type": "hubspot", "verify": "none"})

    def refuses_the_second(arrival: Arrival) -> typing.Any:
        return FAILED if json.loads(arrival.body)["eventId"] == 2 else OK

    receiver.decide = refuses_the_second
    batch = json.dumps([{"eventId": number, "subscriptionType": "contact.creation"} for number in (1, 2, 3)]).encode()
    assert call(running, made["ingestUrl"], batch, {}) == 200
    (letter,) = wait_until(lambda: dead_letters(running, app_id), what="the second item is a dead letter")
    wait_until(lambda: len(receiver.ids()) == 2, what="the others are delivered")
    events = events_of(running, app_id, made["id"])
    assert [event["providerEventId"] for event in events] == ["1", "2", "3"]
    assert letter["msgId"] == events[1]["id"]
    # The provider sends all of it again: only what failed is run again.
    receiver.decide = lambda arrival: OK
    before = len(receiver.arrivals)
    assert call(running, made["ingestUrl"], batch, {}) == 200
    wait_until(lambda: len(receiver.ids()) == 3, what="the second item is delivered")
    assert len(receiver.arrivals) == before + 1


def test_a_server_that_stops_loses_nothing_that_it_acknowledged(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    app_id = running.make("/app", {"name": "drain"})["id"]
    source_id, path = make_source(running, app_id)
    provider, numbers = Provider(path), itertools.count(1)

    async def until_stopped() -> None:
        asyncio.get_running_loop().call_later(0.5, running.process.send_signal, signal.SIGTERM)
        await provider.send(running.port, numbers, 16)

    for _ in range(3):
        asyncio.run(until_stopped())
        assert running.process.wait(20) == 0
        running = serve(port=running.port)
    assert {status for _, status in provider.refused} <= {503}
    stored = [event["providerEventId"] for event in events_of(running, app_id, source_id)]
    assert {event_id(number) for number in provider.acknowledged} <= set(stored)
    assert len(stored) == len(set(stored)) and len(provider.acknowledged) > 10
    asyncio.run(provider.send(running.port, iter(()), 4))
    assert not provider.unknown
