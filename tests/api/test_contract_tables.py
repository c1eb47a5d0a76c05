"""Tables of the contract, row by row, against a whole server: older names of fields, older paths, and the parameters of lists."""

from __future__ import annotations

import typing

import pytest

from ringback.api.contract import contract_operations
from tests.api.live import Live, error, opened, problems

URL = "https://a.example"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("tables"), {"public_url": "https://hooks.own.example", "bins": "true"})


@pytest.fixture(scope="module")
def event_type(live: Live) -> str:
    return str(live.made("/event-type", {"name": "paid", "description": ""})["name"])


# -- section 1.3: what clients of the first series say and read

OLD_NAMES = [
    # noun, field, its older name, a value, what both hold then
    ("app", "throttleRate", "rateLimit", 7, 7),
    ("endpoint", "throttleRate", "rateLimit", 7, 7),
    ("endpoint", "eventTypes", "filterTypes", ["paid"], ["paid"]),
    ("event-type", "featureFlags", "featureFlag", "beta", ["beta"]),
    ("ingest", "throttleRate", "rateLimit", 7, 7),
]


class Noun:
    """How a thing is made, replaced and changed, with what it cannot do without."""

    def __init__(self, live: Live, noun: str) -> None:
        self.live = live
        self.name = live.name("thing")
        self.path = {
            "app": "/app",
            "endpoint": f"/app/{live.app()}/endpoint",
            "event-type": "/event-type",
            "ingest": "/ingest/api/v1/source/"
            + (live.made("/ingest/api/v1/source", {"name": "any", "type": "generic-webhook"})["id"] if noun == "ingest" else "")
            + "/endpoint",
        }[noun]
        self.needed = {"app": {"name": "A"}, "event-type": {"description": ""}}.get(noun, {"url": URL})
        self.key = "name" if noun == "event-type" else "uid"
        self.can_patch = noun != "ingest"

    def made(self, **fields: typing.Any) -> typing.Any:
        """By POST."""
        return self.live.made(self.path, {**self.needed, self.key: self.name, **fields})

    def put(self, **fields: typing.Any) -> typing.Any:
        """By PUT."""
        response = self.live.put(f"{self.path}/{self.name}", {**self.needed, **fields})
        assert response.status_code in (200, 201), response.text
        return response.json()

    def patched(self, **fields: typing.Any) -> typing.Any:
        """By PATCH."""
        response = self.live.patch(f"{self.path}/{self.name}", fields)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.mark.parametrize(("noun", "field", "old", "value", "held"), OLD_NAMES)
def test_an_older_name_is_taken_and_given_back(
    live: Live, event_type: str, noun: str, field: str, old: str, value: typing.Any, held: typing.Any
) -> None:
    thing = Noun(live, noun)
    # An ingest endpoint has no event types; nothing else is known by one name only.
    shown = {old: value, field: held}
    assert shown.items() <= thing.made(**{old: value}).items()
    assert (thing.put()[field], thing.put()[old]) == (None, None)
    assert shown.items() <= thing.put(**{old: value}).items()
    if thing.can_patch:
        assert (thing.patched(**{old: None})[field], thing.patched()[old]) == (None, None)
        assert shown.items() <= thing.patched(**{old: value}).items()


@pytest.mark.parametrize(("noun", "field", "old", "value", "held"), OLD_NAMES)
def test_the_newer_name_wins(live: Live, event_type: str, noun: str, field: str, old: str, value: typing.Any, held: typing.Any) -> None:
    other = {"throttleRate": 9, "eventTypes": ["other"], "featureFlags": ["gamma"]}[field]
    if field == "eventTypes" and live.get("/event-type/other").status_code == 404:
        live.made("/event-type", {"name": "other", "description": ""})
    thing = Noun(live, noun)
    assert thing.made(**{old: value, field: other})[field] == other
    assert thing.put(**{field: other, old: value})[field] == other
    if thing.can_patch:
        assert thing.patched(**{old: value, field: other})[field] == other


@pytest.mark.parametrize(("noun", "field", "old", "value", "held"), OLD_NAMES)
def test_an_older_name_must_be_right_even_where_the_newer_one_wins(
    live: Live, event_type: str, noun: str, field: str, old: str, value: typing.Any, held: typing.Any
) -> None:
    thing = Noun(live, noun)
    assert thing.made()[field] is None
    wrong = live.put(f"{thing.path}/{thing.name}", {**thing.needed, old: {}, field: None})
    assert [where for where, _ in problems(wrong)] == [["body", old]]


def test_an_older_name_is_taken_inside_another_body_too(live: Live) -> None:
    def rate(name: str) -> typing.Any:
        return live.get(f"/app/{name}").json()["throttleRate"]

    shop = {"name": "Shop", "rateLimit": 7}
    for headers in ({}, {"expect": "100-continue"}):
        name = live.name("new")
        body = {"eventType": "a", "payload": {}, "application": {**shop, "uid": name}}
        live.made(f"/app/{name}/msg", body, headers=headers)
        assert rate(name) == 7
    name = live.name("new")
    live.made(f"/auth/app-portal-access/{name}", {"application": {**shop, "uid": name}})
    assert rate(name) == 7
    wrong = live.post(f"/app/{name}/msg", {"eventType": "a", "payload": {}, "application": {**shop, "rateLimit": 0}})
    assert problems(wrong) == [(["body", "application", "rateLimit"], "Expected `int` >= 1")]
    kind = live.name("kind")
    assert live.post("/environment/import", {"eventTypes": [{"name": kind, "description": "", "featureFlag": "beta"}]}).status_code == 204
    assert live.get(f"/event-type/{kind}").json()["featureFlags"] == ["beta"]


def test_an_endpoint_has_a_version(live: Live) -> None:
    thing = Noun(live, "endpoint")
    assert thing.made()["version"] == 1
    assert thing.put(version=3)["version"] == 3
    assert thing.put()["version"] == 1
    assert thing.patched(version=2)["version"] == 2
    assert live.patch(f"{thing.path}/{thing.name}", {"version": 0}).status_code == 422


@pytest.mark.parametrize("headers", [{}, {"expect": "100-continue"}])
def test_a_message_may_call_its_payload_data(live: Live, headers: dict[str, str]) -> None:
    path = f"/app/{live.app()}/msg"
    assert live.made(path, {"eventType": "a", "data": {"x": 1}}, headers=headers)["payload"] == {"x": 1}
    assert live.made(path, {"eventType": "a", "data": {"x": 1}, "payload": {"y": 2}}, headers=headers)["payload"] == {"y": 2}


# -- section 15: further routes


def test_health_is_told_in_both_ways(live: Live) -> None:
    for method in ("GET", "HEAD"):
        ping = live.call(method, "/health/ping", token="")
        assert (ping.status_code, ping.content) == (204, b"")
        assert live.call(method, "/health", token="").status_code == 200
    parts = live.get("/health", token="").json()
    assert parts == {part: {"status": "ok"} for part in ("database", "queue", "cache")}


def test_the_former_way_into_the_portal(live: Live) -> None:
    app = live.app()
    entered = live.made(f"/auth/dashboard-access/{app}")
    assert entered["url"] == f"https://hooks.own.example/portal/#key={entered['token']}"
    assert live.get("/auth/whoami", token=entered["token"]).json()["appId"] == app
    assert error(live.post("/auth/dashboard-access/nobody")) == (404, "not_found", "Entity not found")


def test_the_former_lists_of_attempts(live: Live) -> None:
    app = live.app()
    endpoint = live.made(f"/app/{app}/endpoint", {"url": URL, "uid": "e"})["id"]
    message = live.made(f"/app/{app}/msg", {"eventType": "a", "payload": {}, "eventId": "m"})["id"]
    for path in (f"/msg/{message}/attempt", f"/msg/m/attempt?endpoint_id={endpoint}", "/msg/m/endpoint/e/attempt"):
        assert set(live.get(f"/app/{app}{path}").json()) == {"data", "iterator", "prevIterator", "done"}
    assert live.get(f"/app/{app}/msg/m/endpoint/nobody/attempt").status_code == 404


def test_whoami_names_the_source_of_a_permission(live: Live) -> None:
    me = live.get("/auth/whoami").json()
    assert (me["permissionSource"], me["appId"], me["envId"][:4]) == ("RegionalAuthToken", None, "org_")
    assert error(live.get("/auth/whoami", token="nobody")) == (401, "authentication_failed", "Invalid token")


def test_nothing_of_the_contract_is_missing(live: Live) -> None:
    paths = live.get("/openapi.json").json()["paths"]
    assert [(method, path) for method, path in contract_operations() if method.lower() not in paths.get(path, {})] == []


def test_the_numbers_of_the_server(live: Live) -> None:
    assert live.client.get("/metrics").headers["content-type"].startswith("text/plain")


# -- sections 3.1 to 4.1: every parameter of every list

_PAGE = {"limit", "iterator"}
_ORDERED = _PAGE | {"order"}
_WINDOW = _PAGE | {"before", "after"}
_MESSAGES = {"channel", "tag", "event_types"}
LISTS = {
    "/api/v1/app": _ORDERED
    | {"exclude_apps_with_no_endpoints", "exclude_apps_with_disabled_endpoints", "exclude_apps_with_svix_play_endpoints"},
    "/api/v1/app/{app_id}/endpoint": _ORDERED,
    "/api/v1/app/{app_id}/integration": _ORDERED,
    "/api/v1/event-type": _ORDERED | {"include_archived", "with_content"},
    "/api/v1/connector": _ORDERED | {"product_type"},
    "/api/v1/background-task": _ORDERED | {"status", "task"},
    "/api/v1/app/{app_id}/msg": _WINDOW | _MESSAGES | {"with_content"},
    "/api/v1/app/{app_id}/msg/{msg_id}/endpoint": _PAGE,
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg": _WINDOW | _MESSAGES | {"status", "with_content", "expanded_statuses"},
    "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}": _WINDOW
    | _MESSAGES
    | {"status", "status_code_class", "with_content", "with_msg", "expanded_statuses"},
    "/api/v1/app/{app_id}/attempt/msg/{msg_id}": _WINDOW
    | _MESSAGES
    | {"status", "status_code_class", "endpoint_id", "with_content", "expanded_statuses"},
    "/ingest/api/v1/source": _ORDERED,
    "/ingest/api/v1/source/{source_id}/endpoint": _ORDERED,
}
# A value of each that no list takes, and how it is refused.
WRONG = {
    "limit": ("0", 422),
    "iterator": ("what?", 422),
    "order": ("sideways", 400),
    "before": ("soon", 400),
    "after": ("soon", 400),
    "status": ("maybe", 400),
    "task": ("maybe", 400),
    "status_code_class": ("250", 422),
    "endpoint_id": ("nobody", 404),
    "product_type": ("maybe", 400),
    **dict.fromkeys(("include_archived", "with_content", "with_msg", "expanded_statuses"), ("maybe", 400)),
    **{name: ("maybe", 400) for name in LISTS["/api/v1/app"] if name.startswith("exclude_")},
}


class Filled:
    """One of everything that is listed."""

    def __init__(self, live: Live) -> None:
        app = live.app()
        self.ids = {
            "app_id": app,
            "endpoint_id": live.made(f"/app/{app}/endpoint", {"url": URL})["id"],
            "msg_id": live.made(f"/app/{app}/msg", {"eventType": "a", "payload": {}})["id"],
            "source_id": live.made("/ingest/api/v1/source", {"name": "any", "type": "generic-webhook"})["id"],
        }

    def path(self, template: str) -> str:
        """A path of the table, with ids in place."""
        return template.format_map(self.ids)


@pytest.fixture(scope="module")
def filled(live: Live) -> Filled:
    return Filled(live)


@pytest.mark.parametrize("template", LISTS)
def test_every_parameter_of_a_list_is_declared_and_looked_at(live: Live, filled: Filled, template: str) -> None:
    path = filled.path(template)
    declared = live.get("/openapi.json").json()["paths"][template]["get"]["parameters"]
    assert {parameter["name"] for parameter in declared if parameter["in"] == "query"} == LISTS[template]
    assert live.get(path).status_code == 200
    for name in LISTS[template] & WRONG.keys():
        value, status = WRONG[name]
        assert live.get(f"{path}?{name}={value}").status_code == status, name
    assert live.get(f"{path}?unknown=1").status_code == 200


def test_what_narrows_is_honoured_in_every_spelling(live: Live, filled: Filled) -> None:
    path = filled.path("/api/v1/app/{app_id}/msg")
    for name in ("b", "c"):
        live.made(filled.path("/app/{app_id}/msg"), {"eventType": name, "payload": {}, "channels": [name], "tags": [name]})

    def kinds(query: str) -> list[str]:
        return sorted(item["eventType"] for item in live.get(f"{path}?{query}").json()["data"])

    assert kinds("event_types=a,b") == kinds("event_types=a&event_types=b") == kinds("event_types[]=a&event_types[1]=b") == ["a", "b"]
    assert (kinds("channel=b"), kinds("tag=c"), kinds("channel=b&tag=c")) == (["b"], ["c"], [])


def test_applications_whose_endpoints_are_all_bins_can_be_left_out(live: Live) -> None:
    def made(*urls: str) -> str:
        app = live.app()
        for url in urls:
            live.made(f"/app/{app}/endpoint", {"url": url})
        return app

    bins = {
        made("https://api.play.svix.com/in/0123456789/"),
        made("https://hooks.own.example/in/c_0123456789/", "https://play.svix.com/in/c_0123456789/"),
    }
    others = {made("https://hooks.own.example/in/c_0123456789/", URL), made()}
    listed = {item["id"] for item in live.get("/app?limit=250&exclude_apps_with_svix_play_endpoints=true").json()["data"]}
    assert (bins & listed, others - listed) == (set(), set())
