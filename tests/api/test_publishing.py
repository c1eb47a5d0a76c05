"""What publishing offers besides the message itself: a look ahead, examples, labels, retention, and forgetting."""

from __future__ import annotations

import json
import sqlite3
import typing

import httpx
import pytest

from tests.acceptance.receiver import Answer, Receiver
from tests.api.live import Live, arrived, error, opened, problems
from tests.waiting import wait_until

NOT_FOUND = (404, "not_found", "Entity not found")
HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("publishing"), {"retry_schedule": "1h"})


@pytest.fixture(scope="module")
def receiver() -> typing.Iterator[Receiver]:
    opened_receiver = Receiver(lambda arrival: Answer(500 if "fails" in arrival.path else 200))
    yield opened_receiver
    opened_receiver.close()


class Shop:
    """An application whose endpoints are paths of the receiver."""

    def __init__(self, live: Live, receiver: Receiver) -> None:
        self.live = live
        self.receiver = receiver
        self.app = live.app()

    def endpoint(self, path: str, **more: typing.Any) -> str:
        """The id of a new endpoint."""
        return str(self.live.made(f"/app/{self.app}/endpoint", {"url": self.receiver.url + path, **more})["id"])

    def send(self, event_type: str = "order.paid", payload: typing.Any = None, **more: typing.Any) -> str:
        """The id of a new message."""
        body = {"eventType": event_type, "payload": payload if payload is not None else {"a": 1}, **more}
        return str(self.live.made(f"/app/{self.app}/msg", body)["id"])

    def example(self, endpoint: str, event_type: str, **more: typing.Any) -> httpx.Response:
        """Ask for an example."""
        return self.live.post(f"/app/{self.app}/endpoint/{endpoint}/send-example", {"eventType": event_type, **more})

    def active(self, event_type: str, **more: typing.Any) -> bool:
        """Would anybody get such a message?"""
        return bool(self.live.made(f"/app/{self.app}/msg/precheck/active", {"eventType": event_type, **more})["active"])


@pytest.fixture
def shop(live: Live, receiver: Receiver) -> Shop:
    return Shop(live, receiver)


def event_type(live: Live, schemas: typing.Any) -> str:
    """The name of a new event type."""
    return str(live.made("/event-type", {"name": live.name("type"), "description": "", "schemas": schemas})["name"])


# -- precheck


def test_a_precheck_says_whether_an_enabled_endpoint_wants_such_a_message(live: Live, shop: Shop) -> None:
    name = event_type(live, None)
    assert shop.active("anything") is False
    endpoint = shop.endpoint("/precheck", eventTypes=[name], channels=["eu"])
    assert shop.active(name) is False, "a message without channels does not reach an endpoint with channels"
    assert shop.active(name, channels=["us", "eu"]) is True
    assert shop.active(name, channels=["us"]) is False
    assert shop.active("anything", channels=["eu"]) is False
    live.patch(f"/app/{shop.app}/endpoint/{endpoint}", {"disabled": True})
    assert shop.active(name, channels=["eu"]) is False


def test_a_wrong_precheck_is_refused(live: Live, shop: Shop) -> None:
    path = f"/app/{shop.app}/msg/precheck/active"
    assert problems(live.post(path, {"eventType": "a b", "channels": []})) == [
        (["body", "eventType"], "'a b' is not allowed; use letters, digits, '-', '_' and '.'"),
        (["body", "channels"], "Expected `array` of length >= 1"),
    ]
    assert error(live.post("/app/nobody/msg/precheck/active", {"eventType": "a"})) == NOT_FOUND
    token = live.portal_token(shop.app)
    assert live.post(path, {"eventType": "a"}, token=token).status_code == 403


# -- send-example


def test_a_ping_needs_no_event_type_and_reaches_one_endpoint_whatever_it_filters(live: Live, shop: Shop) -> None:
    name = event_type(live, None)
    endpoint = shop.endpoint("/ping", eventTypes=[name], channels=["eu"], uid="pinged")
    shop.endpoint("/other")
    sent = shop.example("pinged", "svix.ping")
    assert (sent.status_code, sent.json()["payload"], sent.json()["eventType"]) == (202, {"success": True}, "svix.ping")
    (arrival,) = arrived(shop.receiver, "/ping")
    assert (arrival.id, json.loads(arrival.body)) == (sent.json()["id"], {"success": True})
    assert arrival.headers["webhook-signature"].startswith("v1,")
    shop.example(endpoint, "svix.ping")
    arrived(shop.receiver, "/ping", 2)
    assert shop.receiver.at("/other") == []


def test_the_example_comes_from_the_highest_numbered_schema(live: Live, shop: Shop) -> None:
    name = event_type(
        live,
        {
            "v1": {"examples": [{"from": "a name"}]},
            "2": {"examples": [{"from": "two"}]},
            "10": {"examples": [{"from": "ten"}, {"from": "ten", "second": True}], "example": {"from": "example"}},
        },
    )
    endpoint = shop.endpoint("/examples")
    assert shop.example(endpoint, name).json()["payload"] == {"from": "ten"}
    assert shop.example(endpoint, name, exampleIndex=1).json()["payload"] == {"from": "ten", "second": True}
    detail = f"event type {name!r} has 2 examples, counted from 0; there is no 2"
    assert error(shop.example(endpoint, name, exampleIndex=2)) == (400, "invalid_scheme", detail)
    arrived(shop.receiver, "/examples", 2)


def test_a_single_example_serves_without_a_list_and_its_index_is_ignored(live: Live, shop: Shop) -> None:
    name = event_type(live, {"1": {"type": "object", "examples": [], "example": {"one": 1}}})
    assert shop.example(shop.endpoint("/single"), name, exampleIndex=5).json()["payload"] == {"one": 1}


@pytest.mark.parametrize("schemas", [None, {}, {"1": True}, {"1": {"type": "object"}}, {"1": {"example": {}}, "2": {}}])
def test_a_type_without_an_example_is_refused(live: Live, shop: Shop, schemas: typing.Any) -> None:
    name = event_type(live, schemas)
    detail = f"event type {name!r} has no example; add `examples` or `example` to its newest schema"
    assert error(shop.example(shop.endpoint("/none"), name)) == (400, "invalid_scheme", detail)


def test_an_example_that_is_no_object_is_refused(live: Live, shop: Shop) -> None:
    name = event_type(live, {"1": {"example": [1]}})
    detail = f"the example of event type {name!r} is no JSON object, as every payload is; correct its schema"
    assert error(shop.example(shop.endpoint("/list"), name)) == (400, "invalid_scheme", detail)


def test_an_example_of_or_for_what_is_not_there_is_refused(live: Live, shop: Shop) -> None:
    endpoint = shop.endpoint("/there")
    assert error(shop.example(endpoint, "never.heard")) == NOT_FOUND
    assert error(shop.example("nobody", "svix.ping")) == NOT_FOUND
    assert error(live.post(f"/app/nobody/endpoint/{endpoint}/send-example", {"eventType": "svix.ping"})) == NOT_FOUND
    assert problems(shop.example(endpoint, "svix.ping", exampleIndex=-1)) == [(["body", "exampleIndex"], "Expected `int` >= 0")]
    assert (
        live.post(
            f"/app/{shop.app}/endpoint/{endpoint}/send-example", {"eventType": "svix.ping"}, token=live.portal_token(shop.app)
        ).status_code
        == 403
    )


def test_a_disabled_endpoint_gets_no_example(live: Live, shop: Shop) -> None:
    endpoint = shop.endpoint("/disabled", disabled=True)
    sent = shop.example(endpoint, "svix.ping")
    assert sent.status_code == 202
    live.patch(f"/app/{shop.app}/endpoint/{endpoint}", {"disabled": False})
    marker = shop.example(endpoint, "svix.ping").json()["id"]
    assert [arrival.id for arrival in arrived(shop.receiver, "/disabled")] == [marker]


def test_a_repeated_request_sends_one_example(live: Live, shop: Shop) -> None:
    endpoint = shop.endpoint("/repeated")
    path, headers = f"/app/{shop.app}/endpoint/{endpoint}/send-example", {"idempotency-key": "once"}
    first, second = (live.post(path, {"eventType": "svix.ping"}, headers=headers) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert len(live.get(f"/app/{shop.app}/msg").json()["data"]) == 1


# -- bulk-expunge


def test_many_payloads_are_forgotten_at_once_by_id_or_event_id(live: Live, shop: Shop) -> None:
    plain, named, kept = shop.send(), shop.send(eventId="order-1"), shop.send()
    foreign = Shop(live, shop.receiver).send()
    asked = [plain, "order-1", foreign, "never", plain]
    for _ in range(2):
        answer = live.post(f"/app/{shop.app}/msg/bulk-expunge", {"ids": asked})
        assert answer.json() == {"results": {plain: "expunged", "order-1": "expunged", foreign: "not-found", "never": "not-found"}}
    shown = {item["id"]: item["payload"] for item in live.get(f"/app/{shop.app}/msg").json()["data"]}
    assert shown == {plain: {"expired": True}, named: {"expired": True}, kept: {"a": 1}}


def test_more_payloads_than_one_step_takes_are_all_forgotten(live: Live, shop: Shop) -> None:
    ids = [shop.send() for _ in range(120)]
    results = live.made(f"/app/{shop.app}/msg/bulk-expunge", {"ids": ids})["results"]
    assert results == dict.fromkeys(ids, "expunged")
    assert live.made(f"/app/{shop.app}/msg/bulk-expunge") == {"results": {}}


def test_a_wrong_list_to_forget_is_refused(live: Live, shop: Shop) -> None:
    path = f"/app/{shop.app}/msg/bulk-expunge"
    assert problems(live.post(path, {"ids": ["fine", "a b"]})) == [
        (["body", "ids", "[1]"], "'a b' is not allowed; use letters, digits, '-', '_' and '.'")
    ]
    assert problems(live.post(path, {"ids": [f"m{number}" for number in range(1_001)]})) == [
        (["body", "ids"], "Expected `array` of length <= 1000")
    ]
    assert error(live.post("/app/nobody/msg/bulk-expunge", {"ids": ["a"]})) == NOT_FOUND


# -- attempt statistics


def test_attempts_are_counted_by_outcome(live: Live, shop: Shop) -> None:
    good, bad = shop.endpoint("/counted"), shop.endpoint("/fails")
    for _ in range(3):
        shop.send()
    path = f"/app/{shop.app}/endpoint/{{}}/attempt-stats"

    def counted(endpoint: str) -> typing.Any:
        return live.get(path.format(endpoint)).json()

    wait_until(lambda: counted(good)["success"] == 3 and counted(bad)["fail"] == 3, what="three attempts each are counted")
    assert counted(good) == {"success": 3, "fail": 0, "canceled": 0}
    assert counted(bad) == {"success": 0, "fail": 3, "canceled": 0}
    window = "?since=2024-01-01T00:00:00Z&until=2024-01-20T00:00:00Z"
    assert live.get(path.format(good) + window).json() == {"success": 0, "fail": 0, "canceled": 0}


def test_a_wrong_window_of_statistics_is_refused(live: Live, shop: Shop) -> None:
    path = f"/app/{shop.app}/endpoint/{shop.endpoint('/window')}/attempt-stats"
    future = "until is in the future; give a time that has passed, or leave it out"
    assert error(live.get(path + "?until=2199-01-01T00:00:00Z")) == (400, "invalid_range", future)
    wide = "since must lie before until, by at most 28 days; narrow the window"
    assert error(live.get(path + "?since=2024-01-01T00:00:00Z")) == (400, "invalid_range", wide)
    unreadable = "query parameter since: 'soon' is not an RFC 3339 time; write 2024-01-02T03:04:05Z"
    assert error(live.get(path + "?since=soon")) == (400, "generic_error", unreadable)
    assert error(live.get(f"/app/{shop.app}/endpoint/nobody/attempt-stats")) == NOT_FOUND


# -- tags


def test_a_tag_narrows_every_list_of_messages_and_attempts(live: Live, shop: Shop) -> None:
    endpoint = shop.endpoint("/tagged")
    tagged, other = shop.send(tags=["a/b", "eu"]), shop.send(tags=["eu"])
    arrived(shop.receiver, "/tagged", 2)
    app, tag = f"/app/{shop.app}", "?tag=a/b"

    def ids_in(path: str, key: str = "id") -> list[str]:
        return [item[key] for item in live.get(app + path).json()["data"]]

    wait_until(lambda: len(ids_in(f"/attempt/endpoint/{endpoint}")) == 2, what="both attempts are listed")
    assert ids_in("/msg" + tag) == [tagged]
    assert ids_in("/msg?tag=eu") == [other, tagged]
    assert ids_in(f"/endpoint/{endpoint}/msg" + tag) == [tagged]
    assert ids_in(f"/attempt/endpoint/{endpoint}" + tag, "msgId") == [tagged]
    assert ids_in(f"/attempt/msg/{tagged}" + tag, "msgId") == [tagged]
    assert ids_in(f"/attempt/msg/{other}" + tag) == []
    assert live.get(f"{app}/msg/{tagged}").json()["tags"] == ["a/b", "eu"]


def test_a_tag_chooses_what_is_replayed(live: Live, shop: Shop) -> None:
    endpoint = shop.endpoint("/replayed")
    tagged = shop.send(tags=["again"])
    shop.send()
    arrived(shop.receiver, "/replayed", 2)
    since = live.get(f"/app/{shop.app}/msg/{tagged}").json()["timestamp"]
    live.made(f"/app/{shop.app}/endpoint/{endpoint}/bulk-replay", {"since": since, "tag": "again"})
    again = arrived(shop.receiver, "/replayed", 3)
    assert again[2].id == tagged


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (["a b"], (["body", "tags", "[0]"], "'a b' is not allowed; use letters, digits and any of - _ . / \\ #")),
        (["a", "a"], (["body", "tags", "[1]"], "'a' stands in the list twice; give it once")),
        (list("abcdef"), (["body", "tags"], "Expected `array` of length <= 5")),
    ],
)
def test_wrong_tags_are_refused(live: Live, shop: Shop, tags: list[str], said: typing.Any) -> None:
    assert problems(live.post(f"/app/{shop.app}/msg", {"eventType": "a", "payload": {}, "tags": tags})) == [said]


# -- retention of one payload


@pytest.mark.parametrize(
    ("given", "hours"),
    [({}, 90 * 24), ({"payloadRetentionPeriod": 2}, 48), ({"payloadRetentionHours": 1}, 1), ({"payloadRetentionHours": 2160}, 2160)],
)
def test_a_message_says_how_long_its_payload_is_kept(live: Live, shop: Shop, given: dict[str, int], hours: int) -> None:
    message_id = shop.send(**given)
    with sqlite3.connect(f"file:{live.server.database}?mode=ro", uri=True) as connection:
        (life_us,) = connection.execute("SELECT expires_at - created_at FROM message WHERE id = ?", (message_id,)).fetchone()
        queued = connection.execute("SELECT COUNT(*) FROM payload_expiry WHERE message_id = ?", (message_id,)).fetchone()[0]
    assert life_us == hours * HOUR_US
    assert queued == (hours != 90 * 24), "a life of its own must be found by the sweeper"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"payloadRetentionPeriod": 1, "payloadRetentionHours": 1},
            (["body", "payloadRetentionHours"], "give payloadRetentionHours or payloadRetentionPeriod, not both"),
        ),
        ({"payloadRetentionPeriod": 91}, (["body", "payloadRetentionPeriod"], "Expected `int` <= 90")),
        ({"payloadRetentionHours": 0}, (["body", "payloadRetentionHours"], "Expected `int` >= 1")),
    ],
)
def test_a_wrong_retention_is_refused(live: Live, shop: Shop, given: dict[str, int], said: typing.Any) -> None:
    assert problems(live.post(f"/app/{shop.app}/msg", {"eventType": "a", "payload": {}, **given})) == [said]


# -- an application that comes with its first message


def test_a_message_brings_its_application_along(live: Live) -> None:
    uid = live.name("shop")
    body = {"eventType": "a", "payload": {}, "application": {"name": "Shop", "uid": uid, "metadata": {"plan": "pro"}}}
    first = live.post(f"/app/{uid}/msg", body)
    body["application"] = {"name": "Ignored", "uid": "other"}
    second = live.post(f"/app/{uid}/msg", body)
    assert (first.status_code, second.status_code) == (202, 202)
    application = live.get(f"/app/{uid}").json()
    assert (application["name"], application["metadata"]) == ("Shop", {"plan": "pro"})
    assert len(live.get(f"/app/{uid}/msg").json()["data"]) == 2


def test_an_application_that_does_not_fit_the_path_is_refused(live: Live) -> None:
    uid = live.name("shop")
    path, body = f"/app/{uid}/msg", {"eventType": "a", "payload": {}}
    assert error(live.post(path, body)) == NOT_FOUND
    assert live.post(path, {**body, "application": {"name": "Shop"}}).json()["detail"] == [
        {
            "loc": ["body", "application", "uid"],
            "msg": f"the uid is required here, and must be {uid!r}",
            "type": "application_uid_missing",
        }
    ]
    assert live.post(path, {**body, "application": {"name": "Shop", "uid": "x"}}).json()["detail"] == [
        {"loc": ["body", "application", "uid"], "msg": f"'x' must equal {uid!r} of the path", "type": "application_uid_mismatch"}
    ]
    assert live.get(f"/app/{uid}").status_code == 404
