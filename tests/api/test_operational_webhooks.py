from __future__ import annotations

import base64
import json
import secrets
from typing import Any

import pytest

from ringback.api import messages as messages_api
from ringback.api import operational_webhooks as operational_api
from ringback.api import tasks as tasks_api
from ringback.api.app import Settings, build
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.model.applications import TokenKind
from ringback.model.operational import EVENTS
from ringback.services.endpoints import Endpoints
from ringback.services.messages import Messages
from ringback.services.operational import Operational
from ringback.services.operational_endpoints import OperationalEndpoints
from ringback.services.tasks import Tasks
from ringback.services.tokens import DEFAULT_ORG_ID, Principal
from ringback.telemetry.prometheus import Metrics
from tests.api.history import Wakes

URL = "https://ops.example/in"
HMAC = "whsec_" + base64.b64encode(b"k" * 24).decode()
AT = "/operational-webhook/endpoint"
WHO = Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "key_test")
EMPTY = "the list is empty; give at least one, or null for no condition"
NO_LIST = "Expected `array | null`, got `str`"
NOT_FOUND = {"code": "not_found", "detail": "Entity not found"}


class Platform:
    """The API with operational endpoints, and what it has told so far."""

    def __init__(self, api: Any) -> None:
        self.api = api
        clock, make_id = SystemClock(), IdMaker()
        self.news = Operational(clock, make_id, Metrics(0))
        parts = (api.store, api.vault, clock, make_id, api.directory, secrets.token_bytes)
        own = Endpoints(*parts, told=self.news.listener_changed, checks_types=False)
        self.owner = OperationalEndpoints(api.store, clock, make_id, self.news)
        ordinary = Endpoints(*parts, told=self.news.endpoint_changed)
        self.tasks = Tasks(api.store, clock, make_id, Wakes(), self.news.task_ended)
        more = [
            *operational_api.routes(self.owner, own),
            *messages_api.routes(Messages(api.store, clock)),
            *tasks_api.routes(self.tasks),
        ]
        services = type(api.services)(
            **{name: getattr(api.services, name) for name in api.services.__struct_fields__} | {"endpoints": ordinary}
        )
        api.app = build(services, api.reader, Settings(), more=more)

    def hidden(self) -> str:
        """The application that owns operational endpoints."""
        return str(self.api.run(self.owner.application(WHO)))

    def told(self) -> list[Any]:
        """What was told, the oldest first, as the messages of that application are read."""
        return [message["payload"] for message in reversed(self.api.get(f"/app/{self.hidden()}/msg").json()["data"])]


@pytest.fixture
def platform(api: Any) -> Platform:
    return Platform(api)


def detail(response: Any) -> list[tuple[list[str], str, str]]:
    assert response.status_code == 422, response.text
    return [(problem["loc"], problem["msg"], problem["type"]) for problem in response.json()["detail"]]


# -- the operations


def test_a_new_operational_endpoint_is_shown_whole(api: Any, platform: Platform) -> None:
    body = {
        "url": "HTTPS://Ops.EXAMPLE:443",
        "description": "pager",
        "uid": "pager",
        "disabled": True,
        "eventTypes": ["endpoint.disabled", "message.attempt.log"],
        "metadata": {"team": "x"},
        "throttleRate": 9,
        "secret": HMAC,
        "headers": {"X-Team": "x"},
    }
    made = api.made(AT, body)
    assert api.get(AT + "/pager").json() == api.get(f"{AT}/{made['id']}").json() == made
    assert made.pop("id").startswith("ep_")
    assert made.pop("createdAt") == made.pop("updatedAt")
    assert (body.pop("secret"), body.pop("headers")) == (HMAC, {"X-Team": "x"})
    assert made == {**body, "url": "https://ops.example/", "filterTypes": body["eventTypes"], "rateLimit": 9}
    assert api.get(AT + "/pager/secret").json() == {"key": HMAC}
    assert api.get(AT + "/pager/headers").json() == {"headers": {"X-Team": "x"}, "sensitive": []}


def test_a_new_one_needs_only_a_url_and_hears_everything(api: Any, platform: Platform) -> None:
    made = api.made(AT, {"url": URL})
    assert {name: made[name] for name in ("description", "disabled", "eventTypes", "uid", "throttleRate", "metadata")} == {
        "description": "",
        "disabled": False,
        "eventTypes": None,
        "uid": None,
        "throttleRate": None,
        "metadata": {},
    }
    assert api.get(f"{AT}/{made['id']}/secret").json()["key"].startswith("whsec_")


def test_every_wrong_field_is_named(api: Any, platform: Platform) -> None:
    body = {
        "url": "ftp://ops.example",
        "description": "bell\x07",
        "uid": "ep_mine",
        "eventTypes": ["endpoint.created", "order.paid"],
        "metadata": {"n": 1},
        "throttleRate": 0,
        "disabled": None,
        "secret": "whsec_dG9vIHNob3J0",
        "headers": {"Content-Length": "5"},
    }
    found = detail(api.post(AT, body))
    assert [(loc, kind) for loc, _, kind in found] == [
        (["body", "url"], "value_error"),
        (["body", "description"], "value_error"),
        (["body", "uid"], "value_error"),
        (["body", "disabled"], "value_error.jsondecode"),
        (["body", "eventTypes", "[1]"], "value_error"),
        (["body", "metadata", "n"], "value_error.jsondecode"),
        (["body", "throttleRate"], "value_error"),
        (["body", "secret"], "value_error"),
        (["body", "headers", "Content-Length"], "value_error"),
    ]
    assert dict((tuple(loc), text) for loc, text, _ in found)["body", "eventTypes", "[1]"] == (
        f"'order.paid' is no operational event; use one of {', '.join(EVENTS)}"
    )


@pytest.mark.parametrize("send", ["post", "put"])
@pytest.mark.parametrize(
    ("body", "where", "text", "kind"),
    [
        (b"", ["body", "url"], "the field is missing; it is required", "value_error.jsondecode"),
        ({"url": URL, "eventTypes": []}, ["body", "eventTypes"], EMPTY, "value_error"),
        (
            {"url": URL, "eventTypes": ["endpoint.created"] * 2},
            ["body", "eventTypes", "[1]"],
            "'endpoint.created' stands in the list twice; give it once",
            "value_error",
        ),
        ({"url": URL, "eventTypes": "endpoint.created"}, ["body", "eventTypes"], NO_LIST, "value_error.jsondecode"),
    ],
)
def test_a_wrong_body_is_explained(api: Any, platform: Platform, send: str, body: Any, where: list[str], text: str, kind: str) -> None:
    path = AT if send == "post" else AT + "/pager"
    assert detail(getattr(api, send)(path, body)) == [(where, text, kind)]
    assert api.get(AT).json()["data"] == []


def test_event_types_of_the_organisation_are_not_operational_events(api: Any, platform: Platform) -> None:
    api.made("/event-type", {"name": "order.paid", "description": ""})
    assert api.post(AT, {"url": URL, "eventTypes": ["order.paid"]}).status_code == 422
    for name in EVENTS:
        assert api.made(AT, {"url": URL, "eventTypes": [name]})["eventTypes"] == [name]


def test_channels_are_no_field_of_it(api: Any, platform: Platform) -> None:
    assert "channels" not in api.made(AT, {"url": URL, "channels": ["eu"]})


def test_the_list_of_an_organisation_that_never_had_one_is_empty(api: Any, platform: Platform) -> None:
    assert api.get(AT).json() == {"data": [], "iterator": None, "prevIterator": None, "done": True}


def test_they_are_listed_newest_first_in_pages(api: Any, platform: Platform) -> None:
    made = [api.made(AT, {"url": URL})["id"] for _ in range(3)]
    first = api.get(AT + "?limit=2").json()
    assert [endpoint["id"] for endpoint in first["data"]] == [made[2], made[1]]
    assert (first["iterator"], first["prevIterator"], first["done"]) == (made[1], "-" + made[2], False)
    second = api.get(f"{AT}?limit=2&iterator={first['iterator']}").json()
    assert ([endpoint["id"] for endpoint in second["data"]], second["done"]) == ([made[0]], True)
    assert [endpoint["id"] for endpoint in api.get(AT + "?order=ascending").json()["data"]] == made


def test_a_wrong_page_is_explained(api: Any, platform: Platform) -> None:
    assert api.get(AT + "?limit=abc").json()["code"] == "generic_error"
    assert [loc for loc, _, _ in detail(api.get(AT + "?limit=251"))] == [["query", "limit"]]
    assert [loc for loc, _, _ in detail(api.get(AT + "?iterator=app_1"))] == [["query", "iterator"]]


def test_a_replacement_answers_200_also_when_it_creates_and_leaves_secret_and_headers(api: Any, platform: Platform) -> None:
    created = api.put(AT + "/pager", {"url": URL, "eventTypes": ["endpoint.deleted"]})
    assert (created.status_code, created.json()["uid"], created.json()["eventTypes"]) == (200, "pager", ["endpoint.deleted"])
    secret = api.get(AT + "/pager/secret").json()
    api.put(AT + "/pager/headers", {"headers": {"X-A": "1"}})
    replaced = api.put(AT + "/pager", {"url": "https://ops.example/other"})
    assert (replaced.status_code, replaced.json()["id"], replaced.json()["uid"]) == (200, created.json()["id"], "pager")
    assert (replaced.json()["eventTypes"], replaced.json()["url"]) == (None, "https://ops.example/other")
    assert api.get(AT + "/pager/secret").json() == secret
    assert api.get(AT + "/pager/headers").json()["headers"] == {"X-A": "1"}


def test_headers_are_replaced_and_credentials_never_shown(api: Any, platform: Platform) -> None:
    api.put(AT + "/pager", {"url": URL})
    assert api.put(AT + "/pager/headers", {"headers": {"Authorization": "Bearer s3cret", "X-A": "1"}}).status_code == 204
    assert api.get(AT + "/pager/headers").json() == {"headers": {"X-A": "1"}, "sensitive": ["Authorization"]}
    message = "the header 'webhook-id' belongs to the delivery itself and cannot be set"
    assert detail(api.put(AT + "/pager/headers", {"headers": {"webhook-id": "1"}})) == [
        (["body", "headers", "webhook-id"], message, "value_error")
    ]
    assert detail(api.put(AT + "/pager/headers", {})) == [
        (["body", "headers"], "the field is missing; it is required", "value_error.jsondecode")
    ]
    assert api.call("PATCH", AT + "/pager/headers", {}).status_code == 405


def test_a_rotation_answers_the_new_key(api: Any, platform: Platform) -> None:
    api.put(AT + "/pager", {"url": URL})
    former = api.get(AT + "/pager/secret").json()
    rotated = api.post(AT + "/pager/secret/rotate")
    assert (rotated.status_code, rotated.json()) == (200, api.get(AT + "/pager/secret").json())
    assert rotated.json() != former
    assert api.post(AT + "/pager/secret/rotate", {"key": HMAC, "gracePeriodSeconds": 0}).json() == {"key": HMAC}
    found = detail(api.post(AT + "/pager/secret/rotate", {"key": "whpk_AAAA", "gracePeriodSeconds": 604801}))
    assert [loc for loc, _, _ in found] == [["body", "key"], ["body", "gracePeriodSeconds"]]


def test_a_repeated_request_with_the_same_key_makes_one(api: Any, platform: Platform) -> None:
    answers = [api.post(AT, {"url": URL}, headers={"idempotency-key": "one"}) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert len(api.get(AT).json()["data"]) == 1


def test_a_uid_belongs_to_one_of_them(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL, "uid": "pager"})
    clash = api.post(AT, {"url": URL, "uid": "pager"})
    text = "An endpoint with the uid 'pager' exists already; choose another uid, or update that one"
    assert (clash.status_code, clash.json()) == (409, {"code": "conflict", "detail": text})
    assert api.delete(AT + "/pager").status_code == 204
    assert api.get(AT + "/pager").json() == NOT_FOUND
    api.made(AT, {"url": URL, "uid": "pager"})


@pytest.mark.parametrize("made", [False, True], ids=["never any", "another one"])
def test_what_is_not_there_is_not_found(api: Any, platform: Platform, made: bool) -> None:
    if made:
        api.made(AT, {"url": URL})
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/secret", None),
        ("POST", "/secret/rotate", {}),
        ("GET", "/headers", None),
        ("PUT", "/headers", {"headers": {}}),
    ):
        response = api.call(method, f"{AT}/nope{path}", body)
        assert (response.status_code, response.json()) == (404, NOT_FOUND), path


def test_they_belong_to_the_organisation_alone(api: Any, platform: Platform) -> None:
    made = api.made(AT, {"url": URL, "uid": "pager"})
    app_id = api.made("/app", {"name": "Shop", "uid": "shop"})["id"]
    _, portal = api.run(api.tokens.create(app_id=app_id))
    _, other = api.run(api.tokens.create("Another"))
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/pager"), ("PUT", "/pager"), ("DELETE", "/pager"), ("GET", "/pager/secret")):
        assert api.call(method, AT + path, {"url": URL}, token=portal).status_code == 403, path
    assert api.get(AT, token=other).json()["data"] == []
    assert api.get(f"{AT}/{made['id']}", token=other).json() == NOT_FOUND
    assert api.get(f"/app/shop/endpoint/{made['id']}").json() == NOT_FOUND


def test_their_application_is_in_no_list_and_there_is_one(api: Any, platform: Platform) -> None:
    for _ in range(2):
        api.made(AT, {"url": URL})
    assert api.get("/app").json()["data"] == []
    assert api.run(api.store.read(lambda tx: tx.rows("SELECT operational, hidden FROM application"))) == [(1, 1)]


def test_a_new_one_is_made_where_the_application_was_deleted(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL})
    assert api.delete(f"/app/{platform.hidden()}").status_code == 204
    assert api.get(AT).json()["data"] == []
    api.made(AT, {"url": URL})
    assert len(api.get(AT).json()["data"]) == 1


# -- what is told


def test_each_change_of_an_endpoint_is_stored_for_those_who_listen(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL})
    app_id = api.made("/app", {"name": "Shop", "uid": "shop"})["id"]
    endpoint = api.made("/app/shop/endpoint", {"url": URL, "uid": "till"})
    about = {"appId": app_id, "appUid": "shop", "endpointId": endpoint["id"], "endpointUid": "till"}
    assert platform.told() == [{"type": "endpoint.created", "data": about}]
    till = "/app/shop/endpoint/till"
    assert api.put("/app/shop/endpoint/other", {"url": URL}).status_code == 201
    for method, path, body in (
        ("PATCH", till, {}),
        ("PUT", till, {"url": URL, "uid": "till"}),
        ("PATCH", till, {"disabled": True}),
        ("PATCH", till, {"disabled": True}),
        ("PUT", till, {"url": URL, "uid": "till"}),
        ("PUT", till + "/headers", {"headers": {"A": "b"}}),
        ("PATCH", till + "/headers", {"headers": {"A": None}}),
        ("POST", till + "/secret/rotate", None),
        ("DELETE", till, None),
    ):
        assert api.call(method, path, body).status_code < 300, path
    assert [event["type"] for event in platform.told()[2:]] == [
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.disabled",
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.enabled",
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.updated",
        "endpoint.deleted",
    ]
    assert [event["data"] for event in platform.told()[2:] if event["type"] == "endpoint.disabled"] == [
        about | {"failSince": None, "trigger": "manual"}
    ]


def test_a_change_that_is_refused_is_not_told(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL})
    api.made("/app", {"name": "Shop", "uid": "shop"})
    api.made("/app/shop/endpoint", {"url": URL, "uid": "till"})
    assert api.post("/app/shop/endpoint", {"url": URL, "uid": "till"}).status_code == 409
    assert api.patch("/app/shop/endpoint/till", {"url": "ftp://x"}).status_code == 422
    assert api.delete("/app/shop/endpoint/nope").status_code == 404
    assert [event["type"] for event in platform.told()] == ["endpoint.created"]


def test_changes_of_operational_endpoints_are_not_told(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL})
    api.put(AT + "/pager", {"url": URL})
    api.post(AT + "/pager/secret/rotate")
    api.delete(AT + "/pager")
    assert platform.told() == []


def test_a_disabled_operational_endpoint_hears_nothing(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL, "disabled": True})
    api.made("/app", {"name": "Shop", "uid": "shop"})
    api.made("/app/shop/endpoint", {"url": URL})
    assert platform.told() == []


def test_an_event_of_one_organisation_is_not_told_to_another(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL})
    _, other = api.run(api.tokens.create("Another"))
    app_id = api.post("/app", {"name": "Theirs"}, token=other).json()["id"]
    assert api.post(f"/app/{app_id}/endpoint", {"url": URL}, token=other).status_code == 201
    assert platform.told() == []


def test_the_place_of_an_event_in_the_sequence_of_its_endpoint_is_that_of_its_cause(api: Any, platform: Platform) -> None:
    made = [api.made(AT, {"url": URL})["id"] for _ in range(2)]
    api.made("/app", {"name": "Shop", "uid": "shop"})
    for number in range(3):
        api.made("/app/shop/endpoint", {"url": URL, "uid": f"e{number}"})
    for endpoint_id in made:
        rows = api.run(
            api.store.read(
                lambda tx, endpoint_id=endpoint_id: tx.rows(
                    "SELECT d.sequence, m.payload FROM delivery d JOIN message m ON m.app_id = d.app_id AND m.id = d.message_id "
                    "WHERE d.endpoint_id = ? ORDER BY d.sequence",
                    (endpoint_id,),
                )
            )
        )
        assert [(sequence, json.loads(payload)["data"]["endpointUid"]) for sequence, payload in rows] == [(1, "e0"), (2, "e1"), (3, "e2")]


def test_a_task_that_is_cancelled_or_given_up_is_told_as_failed_and_once(api: Any, platform: Platform) -> None:
    api.made(AT, {"url": URL, "eventTypes": ["background_task.finished"]})
    api.made("/app", {"name": "Shop", "uid": "shop"})
    purge = api.post("/app/shop/msg/expunge-all-contents").json()["id"]
    usage = api.call("PUT", "/stats/usage/event-types").json()["id"]
    assert platform.told() == []
    for _ in range(2):
        assert api.post(f"/background-task/{purge}/cancel").status_code == 200
        api.run(platform.tasks.give_up(usage, "a defect"))
    assert [event["data"] for event in platform.told()] == [
        {
            "taskId": purge,
            "task": "application.purge_content",
            "status": "failed",
            "data": {"messagesPurged": 0, "messages_purged": 0, "error": "cancelled"},
        },
        {"taskId": usage, "task": "event-type.aggregate", "status": "failed", "data": {"error": "a defect", "event_types": []}},
    ]
