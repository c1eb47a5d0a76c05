"""Destinations by the API of a running server: polling endpoints are built, and every other type says that it is not."""

from __future__ import annotations

import typing

import pytest

from tests.api.live import Live, opened

NOT_FOUND = (404, {"code": "not_found", "detail": "Entity not found"})
# Of every client's list: a type that is built leaves it, and is tested by what it does.
UNBUILT = [
    "azureBlobStorage",
    "otelTracing",
    "fifoEndpoint",
    "amazonS3",
    "googleCloudStorage",
    "googleCloudPubSub",
    "sqs",
    "sns",
    "bigQuery",
    "clickhouse",
    "eventBridge",
    "snowflake",
    "rabbitMq",
    "redshift",
    "postgres",
    "elasticSearch",
]
POLLING = {"type": "pollingEndpoint"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("destinations"))


@pytest.fixture
def base(live: Live) -> str:
    return f"/app/{live.app()}/destination"


def told(response: typing.Any) -> tuple[int, typing.Any]:
    return response.status_code, response.json()


@pytest.mark.parametrize("kind", UNBUILT)
def test_a_type_that_is_not_built_is_refused_by_name(live: Live, base: str, kind: str) -> None:
    message = f"destinations of type {kind!r} are not built; those of type 'pollingEndpoint' are, or create an endpoint instead"
    for response in (
        live.post(base, {"type": kind, "config": {"url": "https://a.example"}}),
        live.put(f"{base}/mine", {"type": kind}),
    ):
        assert told(response) == (422, {"detail": [{"loc": ["body", "type"], "msg": message, "type": "value_error"}]})


def test_a_type_that_nobody_knows_is_refused(live: Live, base: str) -> None:
    message = f"'fax' is not one of {', '.join(sorted([*UNBUILT, 'pollingEndpoint']))}"
    assert told(live.post(base, {"type": "fax"})) == (
        422,
        {"detail": [{"loc": ["body", "type"], "msg": message, "type": "value_error"}]},
    )
    assert live.post(base, {}).json()["detail"][0]["msg"] == "the field is missing; it is required"


def test_a_polling_endpoint_is_made_as_it_was_wanted(live: Live, base: str) -> None:
    made = live.post(base, POLLING)
    assert made.status_code == 201
    shown = made.json()
    assert shown["id"].startswith("poll_") and len(shown["id"]) == 32
    assert {
        name: shown[name] for name in ("uid", "status", "batchSize", "maxWaitSecs", "eventTypes", "channels", "metadata", "config")
    } == {
        "uid": None,
        "status": "enabled",
        "batchSize": 100,
        "maxWaitSecs": 0,
        "eventTypes": None,
        "channels": None,
        "metadata": {},
        "config": {},
    }
    assert (shown["type"], shown["failureReason"], shown["nextRetryAt"]) == ("pollingEndpoint", None, None)
    assert shown["currentIterator"] and shown["createdAt"] == shown["updatedAt"]
    name = live.name("order")
    live.made("/event-type", {"name": name, "description": ""})
    whole = {
        "uid": "mine",
        "status": "paused",
        "batchSize": 7,
        "maxWaitSecs": 3,
        "eventTypes": [name],
        "channels": ["eu", "us"],
        "metadata": {"a": "b"},
    }
    other = live.made(base, {**POLLING, **whole, "config": {}})
    assert {field: other[field] for field in whole} == whole
    assert live.get(f"{base}/mine").json() == other == live.get(f"{base}/{other['id']}").json()


def test_empty_lists_ask_for_everything(live: Live, base: str) -> None:
    made = live.made(base, {**POLLING, "eventTypes": [], "channels": []})
    assert (made["eventTypes"], made["channels"]) == (None, None)


def test_event_types_must_be_known(live: Live, base: str) -> None:
    message = "no live event type is named 'never.heard'; create it first, or leave it out"
    expected = (422, {"detail": [{"loc": ["body", "eventTypes"], "msg": message, "type": "value_error"}]})
    assert told(live.post(base, {**POLLING, "eventTypes": ["never.heard"]})) == expected
    live.made(base, {**POLLING, "uid": "a"})
    assert told(live.patch(f"{base}/a", {"eventTypes": ["never.heard"]})) == expected


def test_a_uid_is_taken_once(live: Live, base: str) -> None:
    live.made(base, {**POLLING, "uid": "a"})
    live.made(base, {**POLLING, "uid": "b"})
    taken = (409, {"code": "conflict", "detail": "A destination with the uid 'a' exists already; choose another uid, or update that one"})
    assert told(live.post(base, {**POLLING, "uid": "a"})) == taken
    assert told(live.patch(f"{base}/b", {"uid": "a"})) == taken
    assert told(live.put(f"{base}/b", {**POLLING, "uid": "a"})) == taken
    assert live.patch(f"{base}/a", {"uid": "a"}).status_code == 200
    assert live.delete(f"{base}/a").status_code == 204
    assert live.patch(f"{base}/b", {"uid": "a"}).json()["uid"] == "a"


def test_a_replacement_replaces_all_and_makes_what_is_not_there(live: Live, base: str) -> None:
    first = live.put(f"{base}/mine", {**POLLING, "channels": ["eu"], "metadata": {"a": "b"}})
    assert (first.status_code, first.json()["uid"]) == (201, "mine")
    again = live.put(f"{base}/mine", POLLING)
    assert again.status_code == 200
    assert (again.json()["id"], again.json()["uid"], again.json()["channels"], again.json()["metadata"]) == (
        first.json()["id"],
        "mine",
        None,
        {},
    )
    assert again.json()["updatedAt"] > first.json()["updatedAt"]
    unknown = live.put(f"{base}/poll_{'0' * 27}", POLLING)
    assert (unknown.status_code, unknown.json()["uid"]) == (201, None)
    assert live.put(f"{base}/a b", POLLING).status_code == 422


def test_a_patch_changes_what_it_names(live: Live, base: str) -> None:
    made = live.made(base, {**POLLING, "uid": "a", "channels": ["eu"], "metadata": {"a": "b"}, "batchSize": 5})
    changed = live.patch(f"{base}/a", {"type": "pollingEndpoint", "status": "disabled", "channels": None, "maxWaitSecs": 2}).json()
    assert changed == {**made, "status": "disabled", "channels": None, "maxWaitSecs": 2, "updatedAt": changed["updatedAt"]}
    message = "a destination keeps its type, which is 'pollingEndpoint'; leave it out, or create another destination"
    assert told(live.patch(f"{base}/a", {"type": "sqs"})) == (
        422,
        {"detail": [{"loc": ["body", "type"], "msg": message, "type": "value_error"}]},
    )
    assert live.patch(f"{base}/a", {"status": "retrying"}).status_code == 422


def test_destinations_are_listed_newest_first(live: Live, base: str) -> None:
    made = [live.made(base, POLLING)["id"] for _ in range(3)]
    page = live.get(f"{base}?limit=2").json()
    assert ([item["id"] for item in page["data"]], page["done"]) == ([made[2], made[1]], False)
    rest = live.get(f"{base}?limit=2&iterator={page['iterator']}").json()
    assert ([item["id"] for item in rest["data"]], rest["done"]) == ([made[0]], True)
    assert [item["id"] for item in live.get(f"{base}?order=ascending").json()["data"]] == made
    assert live.get("/app/nobody/destination").status_code == 404


def test_a_deleted_destination_is_gone_for_everybody(live: Live, base: str) -> None:
    sink = live.made(base, POLLING)["id"]
    app = base.split("/")[2]
    key = live.get(f"/auth/app/{app}/poller/{sink}/token").json()["token"]
    assert live.get(f"/app/{app}/poller/{sink}", token=key).status_code == 200
    assert live.delete(f"{base}/{sink}").status_code == 204
    assert told(live.get(f"{base}/{sink}")) == told(live.delete(f"{base}/{sink}")) == NOT_FOUND
    assert told(live.get(f"/app/{app}/poller/{sink}")) == NOT_FOUND
    assert live.get(f"/app/{app}/poller/{sink}", token=key).status_code == 401
    assert live.get(base).json()["data"] == []


def test_a_polling_endpoint_has_no_secret_and_transforms_nothing(live: Live, base: str) -> None:
    live.made(base, {**POLLING, "uid": "a"})
    assert told(live.post(f"{base}/a/secret/rotate", {})) == (
        400,
        {"code": "not_http_sink", "detail": "a polling endpoint signs nothing and has no secret; what reads it is its poller key"},
    )
    assert told(live.get(f"{base}/a/transformation")) == (200, {"code": None, "enabled": False})
    assert told(live.patch(f"{base}/a/transformation", {"code": None})) == (200, {})
    assert told(live.patch(f"{base}/a/transformation", {"code": "function handler(webhook) { return webhook; }"})) == (
        400,
        {"code": "not_http_sink", "detail": "a polling endpoint hands out messages as they were accepted, and transforms nothing"},
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/secret/rotate"),
        ("GET", "/transformation"),
        ("PATCH", "/transformation"),
    ],
)
def test_what_is_not_there_is_not_found(live: Live, base: str, method: str, path: str) -> None:
    body = None if method in ("GET", "DELETE") else {}
    assert told(live.call(method, f"{base}/mine{path}", body)) == NOT_FOUND
    elsewhere = live.made(f"/app/{live.app()}/destination", POLLING)["id"]
    assert told(live.call(method, f"{base}/{elsewhere}{path}", body)) == NOT_FOUND


def test_an_applications_token_needs_the_capability_to_change_destinations(live: Live, base: str) -> None:
    app = base.split("/")[2]
    sink = live.made(base, POLLING)["id"]
    reader, manager = live.portal_token(app, capabilities=["ViewBase"]), live.portal_token(app)
    assert live.get(f"{base}/{sink}", token=reader).status_code == 200
    assert live.patch(f"{base}/{sink}", {"status": "paused"}, token=reader).status_code == 403
    assert live.patch(f"{base}/{sink}", {"status": "paused"}, token=manager).status_code == 200
    assert live.post(base, POLLING, token=manager).status_code == 201
    assert live.get(base, token=live.portal_token(live.app())).status_code == 404


def test_a_repeated_request_makes_one_destination(live: Live, base: str) -> None:
    answers = [live.post(base, POLLING, headers={"idempotency-key": "once"}) for _ in range(2)]
    assert told(answers[0]) == told(answers[1])
    assert len(live.get(base).json()["data"]) == 1
