"""What is there to read, change and delete? One of everything on a running server, and what each POST of the API can be asked for."""

from __future__ import annotations

import datetime
import hmac
import json
import re
import typing
import urllib.parse

from tests.acceptance.receiver import FAILED, OK, Arrival, Receiver
from tests.acceptance.receiver import Answer as Said
from tests.api.live import Live
from tests.waiting import wait_until

APPLICATIONS: typing.Final = "/api/v1/app"
APPLICATION: typing.Final = APPLICATIONS + "/{app_id}"
OPERATIONAL: typing.Final = "/api/v1/operational-webhook/endpoint"
INGEST: typing.Final = "/ingest/api/v1/source"
STREAM: typing.Final = "/api/v1/stream/{stream_id}"
SINK: typing.Final = STREAM + "/sink/{sink_id}"
STREAM_AUTH: typing.Final = "/api/v1/auth/stream/{stream_id}"
CODE: typing.Final = "function handler(webhook) { return webhook; }"
# Lets through what the messages here are.
_FILTER: typing.Final = {"filter": {"number": {"$exist": True}}}
# Deliveries of the world fail once and for all.
SETTINGS: typing.Final = {"retry_schedule": "[]", "bins": "true"}
_SECRET: typing.Final = "a secret of the provider"
# A path of the receiver that always fails.
_FAILING: typing.Final = "/failing"
_PARAMETER: typing.Final = re.compile(r"\{(\w+)\}")
_SINCE: typing.Final = {"since": (datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)).isoformat()}


def _decide(arrival: Arrival) -> Said:
    return FAILED if arrival.path == _FAILING else OK


class Everything:
    """One of everything, on a server with `SETTINGS`. `app` is the application of what belongs to one, `event_type` that of messages."""

    def __init__(self, live: Live, receiver: Receiver) -> None:
        self.live = live
        self.receiver = receiver
        receiver.decide = _decide
        self._ids: dict[str, str] = {}
        self._targets: dict[str, str] = {}
        self.event_type = self.stands_for("event_type_name", self.make("/api/v1/event-type")["name"])
        self.app = self.stands_for("app_id", self.make(APPLICATIONS)["id"])
        self.stands_for("connector_id", self.make("/api/v1/connector")["id"])
        self.stands_for("integ_id", self.make(f"{APPLICATION}/integration")["id"])
        self.stands_for("autoconfig_id", self.make(f"{APPLICATION}/autoconfig")["id"])
        self.stands_for("task_id", live.put("/stats/usage/event-types").json()["id"])
        self.stands_for(f"{OPERATIONAL}/{{endpoint_id}}", self.make(OPERATIONAL)["id"])
        self.stands_for("sink_id", self.stands_for("destination_id", self.make(f"{APPLICATION}/destination")["id"]))
        self.stands_for("consumer_id", "worker")
        self.stands_for("token_id", "key_" + "0" * 27)
        self._streaming()
        self._deliveries()
        leasing = self.path(f"{APPLICATION}/polling-endpoint/{{sink_id}}/consumer/{{consumer_id}}")
        assert live.get(leasing).json()["data"], "there is something to commit"
        self._receives(f"{APPLICATION}/source")
        self._receives(INGEST)
        # Another application loses its payloads.
        self.stands_for(f"{APPLICATION}/msg/expunge-all-contents app_id", live.app())
        self.stands_for(f"{INGEST}/{{source_id}}/endpoint/{{endpoint_id}}", self.make(f"{INGEST}/{{source_id}}/endpoint")["id"])

    def stands_for(self, name: str, identifier: str) -> str:
        """From now on this is what stands for a parameter: everywhere, at the end of one path, or (path, blank, name) in one path."""
        self._ids[name] = identifier
        return identifier

    def _streaming(self) -> None:
        """A stream with events, a sink that has got them, and one that can be asked for them."""
        self.stands_for("name", self.make("/api/v1/stream/event-type")["name"])
        self.stands_for("stream_id", self.make("/api/v1/stream")["id"])
        called = self.stands_for(SINK, self.make(f"{STREAM}/sink")["id"])
        asked = self.live.made(self.path(f"{STREAM}/sink"), {"type": "poller", "uid": self.live.name("asked")})["id"]
        self.stands_for(f"{SINK}/events sink_id", asked)
        self.stands_for(f"{STREAM_AUTH}/sink/{{sink_id}}", asked)
        nowhere = self.path(SINK, sink_id=called)
        start = self.live.get(nowhere).json()["currentIterator"]
        self.make(f"{STREAM}/events")
        wait_until(lambda: self.live.get(nowhere).json()["currentIterator"] != start, what="an accepted batch")

    def _deliveries(self) -> None:
        """A message that arrived at one endpoint, and died on its way to another."""
        failing = self.live.made(f"/app/{self.app}/endpoint", {"url": self.receiver.url + _FAILING})["id"]
        endpoint = self.stands_for("endpoint_id", self.make(f"{APPLICATION}/endpoint")["id"])
        message = self.stands_for("msg_id", self.make(f"{APPLICATION}/msg")["id"])

        def attempts() -> list[str]:
            return [attempt["id"] for attempt in self.live.get(f"/app/{self.app}/attempt/endpoint/{endpoint}").json()["data"]]

        def dead() -> list[str]:
            return [letter["id"] for letter in self.live.get(f"/app/{self.app}/dead-letter?endpoint_id={failing}").json()["data"]]

        self.stands_for("attempt_id", wait_until(attempts, what=f"an attempt of {message}")[0])
        self.stands_for("dead_letter_id", wait_until(dead, what="a dead letter")[0])

    def _receives(self, sources: str) -> None:
        """A source with an event that was believed and one that was not."""
        made = self.make(sources)
        one = f"{sources}/{{source_id}}"
        self.stands_for(one, made["id"])
        self._targets[sources] = urllib.parse.urlsplit(made["ingestUrl"]).path
        event = json.dumps({"number": self.live.name()}).encode()
        signature = "sha256=" + hmac.digest(_SECRET.encode(), event, "sha256").hex()
        assert self.live.post(self._targets[sources], event, token="", headers={"x-hub-signature-256": signature}).status_code == 200
        events = wait_until(lambda: self.live.get(f"{self.path(one)}/event").json()["data"], what="the event")
        self.stands_for(f"{one}/event/{{msg_id}}", events[0]["id"])
        self.stands_for(f"{one}/expectation/{{expectation_id}}", self.make(f"{one}/expectation")["id"])
        self.doubt(sources)

    def doubt(self, sources: str) -> None:
        """Have a source take something into quarantine, which is then what stands for its parameter."""
        event = json.dumps({"number": self.live.name()}).encode()
        assert self.live.post(self._targets[sources], event, token="").status_code == 401
        one = f"{sources}/{{source_id}}"

        def kept() -> str | None:
            items = self.live.get(f"{self.path(one)}/quarantine?order=descending&limit=1").json()["data"]
            return items[0]["id"] if items and items[0]["id"] != self._ids.get(f"{one}/quarantine/{{quarantine_id}}") else None

        self.stands_for(f"{one}/quarantine/{{quarantine_id}}", wait_until(kept, what="what was not believed"))

    def id(self, template: str, name: str) -> str:
        """What stands for a parameter in the path of an operation."""
        whole = template[: template.index(f"{{{name}}}")] + f"{{{name}}}"
        return self._ids.get(f"{template} {name}") or self._ids.get(whole) or self._ids[name]

    def path(self, template: str, **others: str) -> str:
        """The path of an operation, with an id that exists for each parameter that is not among `others`."""
        return _PARAMETER.sub(lambda found: others.get(found[1]) or self.id(template, found[1]), template)

    def post(self, template: str) -> tuple[str, typing.Any]:
        """A path and a body of a POST that can succeed now, with names that nothing has yet; body None = it takes none."""
        body = POSTS[template](self)
        return self.path(template), body

    def make(self, template: str) -> typing.Any:
        """What a POST makes or answers."""
        return self.live.made(*self.post(template))


# Makes a body; what must be there first, it makes too.
Making = typing.Callable[[Everything], typing.Any]


def _nothing(there: Everything) -> None:
    return None


def _empty(there: Everything) -> dict[str, typing.Any]:
    return {}


def _expectation(there: Everything) -> dict[str, typing.Any]:
    deadline = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)).isoformat()
    return {"uid": there.live.name("awaited"), "match": {"eventId": "never"}, "deadline": deadline}


def _subscribed(sources: str) -> Making:
    """Asks for the renewal of a subscription whose provider is there."""

    def making(there: Everything) -> dict[str, typing.Any]:
        own = {"base": there.receiver.url, "path": "/renew", "auth": {"x-key": "{credential}"}}
        answer = there.live.client.put(
            there.path(f"{sources}/{{source_id}}") + "/subscription",
            json={"renewal": own, "credential": "secret"},
            headers={"authorization": f"Bearer {there.live.server.token}"},
        )
        assert answer.status_code in (200, 201), answer.text
        return {}

    return making


def _reconciled(sources: str) -> Making:
    """Asks for a run of a source whose provider is there, and lists nothing."""

    def making(there: Everything) -> dict[str, typing.Any]:
        parameters = {"owner": "acme", "repo": "shop", "hook": "1"}
        wanted = {"credential": "secret", "baseUrl": there.receiver.url, "parameters": parameters}
        answer = there.live.client.put(
            there.path(f"{sources}/{{source_id}}") + "/reconciliation",
            json=wanted,
            headers={"authorization": f"Bearer {there.live.server.token}"},
        )
        assert answer.status_code in (200, 201), answer.text
        return {}

    return making


def _endpoint(there: Everything) -> dict[str, typing.Any]:
    return {"url": f"{there.receiver.url}/{there.live.name('hook')}"}


def _connector(there: Everything) -> dict[str, typing.Any]:
    return {"name": there.live.name("template"), "transformation": CODE}


def _dry_run(there: Everything) -> dict[str, typing.Any]:
    return {"dryRun": True}


def _release(sources: str) -> Making:
    def made(there: Everything) -> dict[str, typing.Any]:
        there.doubt(sources)
        return {"verify": False}

    return made


def _fresh(sources: str) -> Making:
    def made(there: Everything) -> None:
        # The URL of one source changes three times in two days at the most.
        there.stands_for(f"{sources}/{{source_id}}/token/rotate source_id", there.make(sources)["id"])

    return made


def _message(there: Everything) -> dict[str, typing.Any]:
    return {"eventType": there.event_type, "payload": {"number": there.live.name()}}


def _events(there: Everything) -> dict[str, typing.Any]:
    return {"events": [{"eventType": "order.paid", "payload": there.live.name("payload")}]}


def _sink(there: Everything) -> dict[str, typing.Any]:
    return {"type": "http", "uid": there.live.name("sink"), "config": _endpoint(there)}


# Every POST of the API that can succeed, by its path.
POSTS: typing.Final[dict[str, Making]] = {
    "/api/v1/event-type": lambda there: {
        "name": there.live.name("order"),
        "description": "",
        "schemas": {"1": {"type": "object", "examples": [{"a": 1}]}},
    },
    "/api/v1/app": lambda there: {"name": "Shop", "uid": there.live.name("shop")},
    "/api/v1/connector": _connector,
    "/api/v1/stream": lambda there: {"name": "Orders", "uid": there.live.name("stream")},
    "/api/v1/stream/event-type": lambda there: {"name": there.live.name("kind")},
    "/api/v1/stream/{stream_id}/events": _events,
    "/api/v1/stream/{stream_id}/sink": _sink,
    "/api/v1/stream/{stream_id}/sink/{sink_id}/secret/rotate": _empty,
    "/api/v1/stream/{stream_id}/sink/{sink_id}/transformation/try": lambda there: {
        "code": CODE,
        "events": [{"eventType": "a", "payload": "1"}],
    },
    "/api/v1/auth/stream-portal-access/{stream_id}": _empty,
    "/api/v1/auth/stream/{stream_id}/expire-all": lambda there: {"sessionIds": [there.live.name("session")]},
    "/api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token/rotate": _empty,
    "/api/v1/operational-webhook/endpoint": _endpoint,
    "/api/v1/operational-webhook/endpoint/{endpoint_id}/secret/rotate": _empty,
    "/api/v1/environment/export": _nothing,
    "/api/v1/environment/import": lambda there: {"connectors": [_connector(there)]},
    "/api/v1/event-type/import/openapi": lambda there: {"spec": {"openapi": "3.1.0", "webhooks": {there.live.name("hook"): {"post": {}}}}},
    "/api/v1/stats/usage/app": lambda there: {**_SINCE, "until": datetime.datetime.now(datetime.UTC).isoformat()},
    "/api/v1/dead-letter/replay": _dry_run,
    "/api/v1/dead-letter/discard": _dry_run,
    "/api/v1/auth/app-portal-access/{app_id}": _empty,
    "/api/v1/auth/dashboard-access/{app_id}": _nothing,
    "/api/v1/auth/app/{app_id}/expire-all": lambda there: {"sessionIds": [there.live.name("session")]},
    "/api/v1/app/{app_id}/integration": lambda there: {"name": there.live.name("integration")},
    "/api/v1/app/{app_id}/integration/{integ_id}/key/rotate": _nothing,
    "/api/v1/app/{app_id}/autoconfig": _empty,
    "/api/v1/app/{app_id}/autoconfig/{autoconfig_id}/rotate": _empty,
    "/api/v1/app/{app_id}/destination": lambda there: {"type": "pollingEndpoint", "uid": there.live.name("sink")},
    "/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}/seek": lambda there: {"after": _SINCE["since"]},
    "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}/commit": lambda there: {"offset": 1},
    "/api/v1/auth/app/{app_id}/poller/{sink_id}/token/rotate": _empty,
    "/api/v1/app/{app_id}/endpoint": _endpoint,
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate": _empty,
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example": lambda there: {"eventType": "svix.ping"},
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/filter/try": lambda there: _FILTER,
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation/try": lambda there: {"code": CODE, "payload": {"a": 1}},
    "/api/v1/app/{app_id}/destination/{destination_id}/filter/try": lambda there: _FILTER,
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover": lambda there: _SINCE,
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing": lambda there: _SINCE,
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay": lambda there: _SINCE,
    "/api/v1/app/{app_id}/msg": _message,
    "/api/v1/app/{app_id}/msg/precheck/active": lambda there: {"eventType": there.event_type},
    "/api/v1/app/{app_id}/msg/bulk-expunge": lambda there: {"ids": ["nothing"]},
    "/api/v1/app/{app_id}/msg/expunge-all-contents": _nothing,
    "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend": _nothing,
    "/api/v1/app/{app_id}/dead-letter/replay": _dry_run,
    "/api/v1/app/{app_id}/dead-letter/discard": _dry_run,
    "/api/v1/app/{app_id}/source": lambda there: {"name": "own", "type": "github", "secrets": [_SECRET]},
    "/api/v1/app/{app_id}/source/{source_id}/token/rotate": _fresh(f"{APPLICATION}/source"),
    "/api/v1/app/{app_id}/source/{source_id}/secret/rotate": lambda there: {"secret": there.live.name("secret")},
    "/api/v1/app/{app_id}/source/{source_id}/expectation": _expectation,
    "/api/v1/app/{app_id}/source/{source_id}/reconciliation/run": _reconciled(f"{APPLICATION}/source"),
    "/api/v1/app/{app_id}/source/{source_id}/subscription/renew": _subscribed(f"{APPLICATION}/source"),
    "/api/v1/app/{app_id}/source/{source_id}/quarantine/release": lambda there: {"reason": "nothing"},
    "/api/v1/app/{app_id}/source/{source_id}/quarantine/{quarantine_id}/release": _release(f"{APPLICATION}/source"),
    "/api/v1/background-task/{task_id}/cancel": _nothing,
    "/api/v1/privacy/erase": lambda there: {"subject": "nobody@example.com", "dryRun": True},
    "/ingest/api/v1/source": lambda there: {"name": "door", "type": "github", "config": {"secret": _SECRET}},
    "/ingest/api/v1/source/{source_id}/token/rotate": _fresh(INGEST),
    "/ingest/api/v1/source/{source_id}/dashboard": _empty,
    "/ingest/api/v1/source/{source_id}/endpoint": _endpoint,
    "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/secret/rotate": _empty,
    "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter/try": lambda there: _FILTER,
    "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation/try": lambda there: {"code": CODE, "payload": {"a": 1}},
    "/ingest/api/v1/source/{source_id}/expectation": _expectation,
    "/ingest/api/v1/source/{source_id}/reconciliation/run": _reconciled(INGEST),
    "/ingest/api/v1/source/{source_id}/subscription/renew": _subscribed(INGEST),
    "/ingest/api/v1/source/{source_id}/quarantine/release": lambda there: {"reason": "nothing"},
    "/ingest/api/v1/source/{source_id}/quarantine/{quarantine_id}/release": _release(INGEST),
}
