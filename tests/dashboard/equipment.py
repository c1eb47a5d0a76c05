"""What the pages beside messages and endpoints need: dead letters, sources, requests in quarantine, and so on. Made through the API.

Used by the tests of the dashboard and by `scripts/screenshots`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import time
import typing

import httpx

from benchmarks.server import Server
from tests.waiting import wait_until

STRIPE_SECRET = "whsec_what_stripe_shows"


@dataclasses.dataclass
class Equipment:
    """What was made, by name."""

    yard: str
    given_up: str
    task: str
    service: str
    stripe: str
    stripe_url: str
    refused: str
    event_type: str
    operational: str
    depot: str


# An event type with two schemas: the newest has no example, so that one is made from it.
INVOICE: dict[str, typing.Any] = {
    "1": {"type": "object", "examples": [{"invoice": "in_1"}]},
    "2": {
        "type": "object",
        "properties": {
            "invoice": {"type": "string", "examples": ["in_4711"]},
            "total": {"type": "number", "minimum": 10},
            "issuedAt": {"type": "string", "format": "date-time"},
        },
    },
}


def stripe_event(number: int, kind: str = "charge.succeeded") -> bytes:
    """The body of an event as Stripe would send it."""
    return json.dumps(
        {"id": f"evt_{number}", "type": kind, "data": {"object": {"amount": 4200, "name": "Zoë"}}}, ensure_ascii=False
    ).encode()


def stripe_signature(body: bytes, secret: str = STRIPE_SECRET, at_s: float | None = None) -> str:
    """The header that Stripe would send with a body."""
    at = int(time.time() if at_s is None else at_s)
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


def call_source(url: str, body: bytes, signature: str | None, **headers: str) -> int:
    """Call a source as a provider does: the status of its answer."""
    sent = {"content-type": "application/json", "user-agent": "Stripe/1.0", **headers}
    if signature is not None:
        sent["stripe-signature"] = signature
    return httpx.post(url, content=body, headers=sent, trust_env=False, timeout=30).status_code


def quarantined(server: Server, app: str, source: str) -> list[dict[str, typing.Any]]:
    """What a source has in quarantine, the newest first."""
    found: list[dict[str, typing.Any]] = server.call("GET", f"/app/{app}/source/{source}/quarantine?limit=250")[1]["data"]
    return found


def noted(server: Server, app: str, source: str) -> list[dict[str, typing.Any]]:
    """What the journal of a source has, the newest first."""
    found: list[dict[str, typing.Any]] = server.call("GET", f"/app/{app}/source/{source}/arrival")[1]["data"]
    return found


def equip(server: Server, receiver_url: str) -> Equipment:
    """Make all of it."""
    yard = server.make("/app", {"name": "Dead Letter Office", "uid": "office"})["id"]
    given_up = server.make(f"/app/{yard}/endpoint", {"url": f"{receiver_url}/given-up", "description": "Wants no second attempt"})["id"]
    for number in range(3):
        server.make(f"/app/{yard}/msg", {"eventType": "payment.captured", "payload": {"number": number}})
    polled = {"type": "pollingEndpoint", "uid": "night-shift", "channels": ["eu", "us"]}
    depot = server.make("/app", {"name": "Parcel depot", "uid": "depot"})["id"]
    sink = server.make(f"/app/{depot}/destination", polled)["id"]
    for number in range(5):
        server.make(f"/app/{depot}/msg", {"eventType": "parcel.lost", "payload": {"number": number}, "channels": ["eu"]})
    assert len(server.call("GET", f"/app/{depot}/poller/{sink}/consumer/ledger?limit=2")[1]["data"]) == 2
    assert (
        len(server.call("GET", f"/app/{depot}/polling-endpoint/{sink}/consumer/printer?limit=4&lease_duration_ms=86400000")[1]["data"]) == 4
    )
    stream = server.make("/stream", {"name": "Parcels, all depots", "uid": "parcels"})["id"]
    for name, where in (("scanner", f"{receiver_url}/inbound"), ("broken-scale", f"{receiver_url}/given-up")):
        wanted = {"type": "http", "uid": name, "config": {"url": where}, "eventTypes": ["parcel.weighed"]}
        server.make(f"/stream/{stream}/sink", wanted)
    server.make(f"/stream/{stream}/sink", {"type": "poller", "uid": "archive"})
    server.make(f"/stream/{stream}/events", {"events": [{"eventType": "parcel.weighed", "payload": "{}"}] * 3})
    sinks = f"/stream/{stream}/sink"
    wait_until(
        lambda: (
            [sink["status"] for sink in server.call("GET", sinks)[1]["data"]] == ["enabled", "retrying", "enabled"]
            and len({sink["currentIterator"] for sink in server.call("GET", sinks)[1]["data"]}) == 3
        ),
        what="one sink is fed, one fails",
    )
    task = server.make("/stats/usage/app", {"since": "2026-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"})["id"]

    service = server.make("/app", {"name": "Payments service", "uid": "service"})["id"]
    server.make(f"/app/{service}/endpoint", {"url": f"{receiver_url}/inbound", "description": "Takes what Stripe sends"})
    wanted = {"name": "Stripe, live", "type": "stripe", "secrets": [STRIPE_SECRET], "uid": "stripe-live", "route": "webhooks/stripe"}
    stripe = server.make(f"/app/{service}/source", wanted)
    for number in range(4):
        body = stripe_event(number, "invoice.paid" if number % 2 else "charge.succeeded")
        assert call_source(stripe["ingestUrl"], body, stripe_signature(body)) == 200
    # One comes again, and somebody looks at the URL with a browser.
    assert call_source(stripe["ingestUrl"], body, stripe_signature(body)) == 200
    assert httpx.get(f"{stripe['ingestUrl']}?access_token=hidden", trust_env=False).status_code == 405
    body = stripe_event(90)
    # A newline was added on its way; and one that somebody else signed.
    assert call_source(stripe["ingestUrl"], body + b"\n", stripe_signature(body), authorization="Bearer strangers-token") == 401
    assert call_source(stripe["ingestUrl"], body, stripe_signature(body, "whsec_another")) == 401
    refused = quarantined(server, service, stripe["id"])[-1]["id"]
    wait_until(lambda: len(noted(server, service, stripe["id"])) == 2, what="the journal is written")
    wait_until(lambda: len(server.call("GET", f"/app/{yard}/dead-letter")[1]["data"]) == 3, what="dead letters")
    wait_until(lambda: server.call("GET", f"/background-task/{task}")[1]["status"] == "finished", what="the task ends")

    issued = {"name": "invoice.issued", "description": "An invoice was sent to a customer", "groupName": "invoice", "schemas": INVOICE}
    server.make("/event-type", issued)
    wanted = {"url": f"{receiver_url}/operations", "description": "The people on call"}
    told = server.make("/operational-webhook/endpoint", wanted)["id"]
    gone = server.make(f"/app/{service}/endpoint", {"url": f"{receiver_url}/short-lived"})["id"]
    server.call("DELETE", f"/app/{service}/endpoint/{gone}")
    wait_until(lambda: server.call("GET", "/search?q=tag:none")[1].get("lag") == 0, what="all messages are indexed")
    return Equipment(yard, given_up, task, service, stripe["id"], stripe["ingestUrl"], refused, issued["name"], told, depot)
