"""What does the platform tell its owner? Operational events as they arrive, judged by the published schemas and by their signatures."""

from __future__ import annotations

import collections
import json
import pathlib
import typing

import jsonschema_rs
import svix.webhooks
from svix.api import Svix
from svix.models import OperationalWebhookEndpointIn, OperationalWebhookEndpointOut

from tests.acceptance.receiver import Arrival, Receiver, verify
from tests.waiting import wait_until

VECTORS: typing.Final = pathlib.Path(__file__).parent.parent / "vectors" / "operational_events.json"


def _strict(schema: typing.Any, *, whole: bool) -> typing.Any:
    """A schema of OpenAPI 3.0 as one of JSON Schema; with `whole` every object has all fields that are known of it, and no other."""
    if isinstance(schema, list):
        return [_strict(item, whole=whole) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # What a task has found out is told under the names of the task, too.
    inner = {name: _strict(value, whole=whole and name != "anyOf") for name, value in schema.items() if name != "nullable"}
    if whole and "properties" in schema:
        inner |= {"required": sorted(schema["properties"]), "additionalProperties": False}
    return {"anyOf": [inner, {"type": "null"}]} if schema.get("nullable") else inner


class Schemas:
    """The schemas of all events, by name."""

    def __init__(self) -> None:
        document = json.loads(VECTORS.read_text("utf-8"))
        self.names: dict[str, str] = document["events"]
        loose = {"ApplicationStatsOut", "AggregatedEventTypes"}
        schemas = {name: _strict(schema, whole=name not in loose) for name, schema in document["components"]["schemas"].items()}
        self._validators = {
            event: jsonschema_rs.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})
            for event, name in self.names.items()
        }

    def check(self, body: typing.Any) -> None:
        """Raises AssertionError when a body is not what the schema of its event says."""
        problems = [f"{error.instance_path}: {error.message}" for error in self._validators[body["type"]].iter_errors(body)]
        assert not problems, (problems, body)


class News:
    """An operational endpoint of a server, and what has arrived there; each arrival is judged when it is looked at."""

    def __init__(self, client: Svix, receiver: Receiver, path: str = "/news", events: list[str] | None = None) -> None:
        self.receiver = receiver
        self.path = path
        self.schemas = Schemas()
        self.endpoint: OperationalWebhookEndpointOut = client.operational_webhook.endpoint.create(
            OperationalWebhookEndpointIn(url=receiver.url + path, event_types=events)
        )
        self.secret = client.operational_webhook.endpoint.get_secret(self.endpoint.id).key

    def bodies(self) -> list[typing.Any]:
        """What was told, each message once, in the order in which it was told."""
        first: dict[str, Arrival] = {}
        for arrival in self.receiver.at(self.path):
            first.setdefault(arrival.id, arrival)
        for arrival in first.values():
            verify(arrival, self.secret)
            svix.webhooks.Webhook(self.secret).verify(arrival.body, arrival.headers)
            self.schemas.check(json.loads(arrival.body))
        in_order = sorted(first.values(), key=lambda arrival: int(arrival.headers["ringback-sequence"]))
        return [json.loads(arrival.body) for arrival in in_order]

    def types(self) -> list[str]:
        """The names of the events that were told, in order."""
        return [body["type"] for body in self.bodies()]

    def counted(self) -> collections.Counter[str]:
        """How often each event was told."""
        return collections.Counter(self.types())

    def told(self, event: str, times: int = 1) -> list[typing.Any]:
        """The data of an event, once it was told so often."""
        wait_until(lambda: self.counted()[event] >= times, what=f"{times} x {event}; told: {self.types()}")
        return [body["data"] for body in self.bodies() if body["type"] == event]
