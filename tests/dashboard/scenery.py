"""A server in the middle of its life: customers, endpoints that work, fail, recover or hang, and messages of a shop. Made through the API.

Used by the tests of the dashboard and by `scripts/screenshots`.
"""

from __future__ import annotations

import dataclasses
import typing

from benchmarks.server import Server
from ringback.cli.demo.events import DESCRIPTIONS, make_event
from tests.acceptance.receiver import Answer, Arrival

# What an endpoint says, by the path of its URL; `/recovering` takes what it refused once.
BODY_503 = b'{"error": "upstream_unavailable", "detail": "billing database is in maintenance until 14:00 UTC"}'
BODY_401 = b'{"message": "signature does not match"}'


class Behaviour:
    """Answers for each path. `healed` makes the failing ones work."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], int] = {}
        self.healed = False

    def __call__(self, arrival: Arrival) -> Answer:
        """What is answered to a request."""
        key = (arrival.path, arrival.headers.get("webhook-id", ""))
        number = self.seen[key] = self.seen.get(key, 0) + 1
        json_type = (("content-type", "application/json"), ("server", "nginx"))
        if arrival.path == "/billing" and not self.healed:
            return Answer(503, headers=(*json_type, ("retry-after", "30")), body=BODY_503)
        if arrival.path == "/legacy" and not self.healed:
            return Answer(401, headers=json_type, body=BODY_401)
        if arrival.path == "/recovering" and number == 1:
            return Answer(500, headers=(("content-type", "text/plain"),), body=b"connection pool exhausted")
        if arrival.path == "/slow":
            return Answer(0)
        return Answer(200, headers=json_type, body=b'{"received": true}')


@dataclasses.dataclass
class Scene:
    """What was made, by name."""

    apps: dict[str, str]
    endpoints: dict[str, str]
    messages: list[str]


CUSTOMERS = (
    ("Acme Logistics", "acme"),
    ("Zoë Müller GmbH", "zoe-mueller"),
    ("東京ストア", "tokyo-store"),
    ("Кав'ярня «Львів»", "lviv-coffee"),
)
ENDPOINTS: tuple[tuple[str, str, str, dict[str, typing.Any]], ...] = (
    ("orders", "/orders", "Order service", {"eventTypes": ["order.created", "payment.captured"]}),
    ("crm", "/crm?team=support", "CRM — Kundenbetreuung", {"eventTypes": ["ticket.updated"], "headers": {"X-Team": "support"}}),
    ("billing", "/billing", "Billing, in maintenance", {"eventTypes": ["payment.captured"], "headers": {"Authorization": "Bearer secret"}}),
    ("warehouse", "/recovering", "Warehouse (倉庫)", {"eventTypes": ["order.created"]}),
    ("legacy", "/legacy", "Old ERP", {"eventTypes": ["ticket.updated"], "throttleRate": 10}),
    ("archive", "/archive", "Everything, for the archive", {"metadata": {"owner": "data-team", "cost-centre": "4711"}}),
)


def furnish(server: Server, receiver_url: str, messages: int = 40) -> Scene:
    """Make customers, endpoints and messages."""
    for name, description in DESCRIPTIONS.items():
        server.make("/event-type", {"name": name, "description": description})
    apps = {uid: server.make("/app", {"name": name, "uid": uid})["id"] for name, uid in CUSTOMERS}
    app = apps["acme"]
    endpoints = {}
    for uid, path, description, more in ENDPOINTS:
        made = server.make(f"/app/{app}/endpoint", {"url": receiver_url + path, "uid": uid, "description": description, **more})
        endpoints[uid] = made["id"]
    off = server.make(
        f"/app/{app}/endpoint", {"url": "https://hooks.example.com/old", "uid": "off", "description": "Retired", "disabled": True}
    )
    endpoints["off"] = off["id"]
    made_messages = []
    for number in range(1, messages + 1):
        event_type, payload = make_event(number, "demo")
        payload.pop("demo")
        body = {"eventType": event_type, "payload": payload, "eventId": f"evt-{number:04}", "tags": ["shop", f"batch-{number // 10}"]}
        made_messages.append(server.make(f"/app/{app}/msg", body)["id"])
    return Scene(apps, endpoints, made_messages)
