from __future__ import annotations

import base64
import json
import typing

import httpx
import pytest
import standardwebhooks

from tests.acceptance.receiver import Receiver
from tests.api.live import Live, arrived, error, opened, problems

NOT_FOUND = (404, "not_found", "Entity not found")
MISSING = "/autoconfig/autocfg_" + "0" * 27


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("auto-config"))


@pytest.fixture
def app(live: Live) -> str:
    return live.app()


def offered(live: Live, app: str, **more: typing.Any) -> dict[str, typing.Any]:
    """A new subscription, its text read as clients read it."""
    return read(live.made(f"/app/{app}/autoconfig", more))


def read(offer: typing.Any) -> dict[str, typing.Any]:
    assert set(offer) == {"id", "createdAt", "token"}
    assert offer["token"].startswith("auto_v1_")
    return offer | json.loads(base64.b64decode(offer["token"].removeprefix("auto_v1_")))


def subscribed(live: Live, offer: dict[str, typing.Any], endpoint: typing.Any, token: str | None = None) -> httpx.Response:
    """What the holder of a text does."""
    path = f"/app/{offer['aid']}/endpoint/{offer['eid']}/auto-config"
    return live.put(path, {"endpoint": endpoint}, token=offer["tok"] if token is None else token)


def test_the_text_says_where_and_how_to_subscribe(live: Live, app: str) -> None:
    offer = offered(live, app)
    assert offer["id"].startswith("autocfg_")
    assert (offer["aid"], offer["surl"]) == (app, live.server.url)
    assert offer["eid"].startswith("ep_") and offer["esec"].startswith("whsec_")
    assert live.get(f"/app/{app}/endpoint").json()["data"] == [], "there is no endpoint before the customer subscribes"
    pending = live.get(f"/app/{app}/autoconfig/{offer['id']}").json()
    assert pending == {
        "id": offer["id"],
        "createdAt": offer["createdAt"],
        "tokenCensored": "auto_v1_…",
        "endpId": None,
        "destId": None,
        "status": "pending",
    }


def test_subscribing_makes_the_endpoint_that_signs_with_the_secret_of_the_text(live: Live, app: str) -> None:
    offer = offered(live, app)
    receiver = Receiver()
    made = subscribed(live, offer, {"url": receiver.url + "/hook", "uid": "mine", "headers": {"x-shop": "1"}, "metadata": {"a": "b"}})
    assert made.status_code == 200
    endpoint = made.json()
    assert (endpoint["id"], endpoint["uid"], endpoint["metadata"]) == (offer["eid"], "mine", {"a": "b"})
    assert live.get(f"/app/{app}/endpoint/mine/secret").json() == {"key": offer["esec"]}
    active = live.get(f"/app/{app}/autoconfig/{offer['id']}").json()
    assert (active["status"], active["endpId"]) == ("active", offer["eid"])
    live.made(f"/app/{app}/msg", {"eventType": "a", "payload": {}})
    (arrival,) = arrived(receiver, "/hook")
    receiver.close()
    standardwebhooks.Webhook(offer["esec"]).verify(arrival.body, arrival.headers)
    assert arrival.headers["x-shop"] == "1"


def test_subscribing_again_replaces_the_endpoint_but_not_its_secret_and_headers(live: Live, app: str) -> None:
    offer = offered(live, app)
    subscribed(live, offer, {"url": "https://a.example", "description": "first", "headers": {"x-shop": "1"}})
    again = live.put(f"/app/{app}/autoconfig/{offer['id']}/endpoint", {"url": "https://b.example"}, token=offer["tok"])
    assert (again.status_code, again.json()["url"], again.json()["description"]) == (200, "https://b.example/", "")
    assert live.get(f"/app/{app}/endpoint/{offer['eid']}/headers").json()["headers"] == {"x-shop": "1"}
    assert live.get(f"/app/{app}/endpoint/{offer['eid']}/secret").json()["key"] == offer["esec"]
    subscribed(live, offer, {"url": "https://b.example", "headers": {}})
    assert live.get(f"/app/{app}/endpoint/{offer['eid']}/headers").json()["headers"] == {}


def test_the_token_in_the_text_is_good_for_nothing_else(live: Live, app: str) -> None:
    offer, other = offered(live, app), offered(live, app)
    alone = "This token completes an auto-config subscription, and is good for nothing else"
    for path in (f"/app/{app}", f"/app/{app}/endpoint", f"/app/{app}/autoconfig/{offer['id']}", "/auth/whoami", "/event-type", "/app"):
        assert error(live.get(path, token=offer["tok"])) == (403, "insufficient access", alone)
    assert error(live.post(f"/app/{app}/autoconfig/{offer['id']}/rotate", token=offer["tok"])) == (403, "insufficient access", alone)
    foreign = subscribed(live, other, {"url": "https://a.example"}, token=offer["tok"])
    assert error(foreign) == (403, "insufficient access", "This token completes another auto-config subscription")
    elsewhere = {**offer, "aid": live.app()}
    assert error(subscribed(live, elsewhere, {"url": "https://a.example"})) == NOT_FOUND


def test_every_wrong_field_of_a_subscription_is_named_where_it_stands(live: Live, app: str) -> None:
    offer = offered(live, app)
    assert problems(subscribed(live, offer, {"url": "nowhere", "disabled": 1})) == [
        (["body", "endpoint", "url"], "the URL must start with http:// or https://"),
        (["body", "endpoint", "disabled"], "Expected `bool`, got `int`"),
    ]
    secret = "the secret is the one in the text of the subscription; leave it out, or rotate the subscription"
    assert problems(subscribed(live, offer, {"url": "https://a.example", "secret": offer["esec"]})) == [
        (["body", "endpoint", "secret"], secret)
    ]
    unknown = "no live event type is named 'never.heard'; create it first, or leave it out"
    assert problems(subscribed(live, offer, {"url": "https://a.example", "eventTypes": ["never.heard"]})) == [
        (["body", "endpoint", "eventTypes"], unknown)
    ]
    path = f"/app/{app}/endpoint/{offer['eid']}/auto-config"
    assert problems(live.put(path, {}, token=offer["tok"])) == [(["body", "endpoint"], "the field is missing; it is required")]
    assert problems(
        live.put(path, {"sink": {"type": "poller", "config": {"uid": "poll_no", "channels": ["a/b"]}}}, token=offer["tok"])
    ) == [
        (["body", "sink", "config", "uid"], "'poll_no' begins with 'poll_', as the ids made by the server do; choose another uid"),
        (["body", "sink", "config", "channels", "[0]"], "'a/b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'"),
    ]
    both = {"endpoint": {"url": "https://a.example"}, "sink": {"type": "poller"}}
    assert problems(live.put(path, both, token=offer["tok"])) == [(["body", "sink"], "give either an `endpoint` or a `sink`")]
    direct = live.put(f"/app/{app}/autoconfig/{offer['id']}/endpoint", {}, token=offer["tok"])
    assert problems(direct) == [(["body", "url"], "the field is missing; it is required")]


def test_a_rotation_kills_the_token_at_once_and_the_former_secret_signs_for_its_grace(live: Live, app: str) -> None:
    first = offered(live, app)
    subscribed(live, first, {"url": "https://a.example"})
    second = read(live.made(f"/app/{app}/autoconfig/{first['id']}/rotate"))
    assert (second["id"], second["eid"], second["createdAt"]) == (first["id"], first["eid"], first["createdAt"])
    assert second["esec"] != first["esec"] and second["tok"] != first["tok"]
    assert live.get(f"/app/{app}/endpoint/{first['eid']}/secret").json()["key"] == second["esec"]
    assert error(subscribed(live, first, {"url": "https://b.example"})) == (401, "authentication_failed", "Invalid token")
    assert subscribed(live, second, {"url": "https://b.example"}).status_code == 200


def test_a_rotation_takes_a_secret_and_a_grace(live: Live, app: str) -> None:
    offer = offered(live, app)
    key = "whsec_" + base64.b64encode(b"k" * 24).decode()
    path = f"/app/{app}/autoconfig/{offer['id']}/rotate"
    rotated = read(live.made(path, {"signingSecret": {"key": key, "gracePeriodSeconds": 0}}))
    assert rotated["esec"] == key, "before the customer subscribes, the next endpoint begins with the given secret"
    assert subscribed(live, rotated, {"url": "https://a.example"}).status_code == 200
    assert live.get(f"/app/{app}/endpoint/{offer['eid']}/secret").json()["key"] == key
    wrong = live.post(path, {"signingSecret": {"key": "whsec_short"}})
    assert [loc for loc, _ in problems(wrong)] == [["body", "signingSecret", "key"]]
    assert [loc for loc, _ in problems(live.post(path, {"signingSecret": {"gracePeriodSeconds": -1}}))] == [
        ["body", "signingSecret", "gracePeriodSeconds"]
    ]


def test_a_deleted_subscription_leaves_its_endpoint_and_a_dead_token(live: Live, app: str) -> None:
    offer = offered(live, app)
    subscribed(live, offer, {"url": "https://a.example"})
    assert live.delete(f"/app/{app}/autoconfig/{offer['id']}").status_code == 204
    assert subscribed(live, offer, {"url": "https://b.example"}).status_code == 401
    assert live.get(f"/app/{app}/endpoint/{offer['eid']}").json()["url"] == "https://a.example/"
    assert error(live.get(f"/app/{app}/autoconfig/{offer['id']}")) == NOT_FOUND
    assert error(subscribed(live, offer, {"url": "https://b.example"}, token=live.server.token)) == NOT_FOUND


def test_a_deleted_endpoint_does_not_come_back(live: Live, app: str) -> None:
    offer = offered(live, app)
    subscribed(live, offer, {"url": "https://a.example"})
    live.delete(f"/app/{app}/endpoint/{offer['eid']}")
    detail = "The endpoint of this subscription was deleted; ask for another subscription"
    assert error(subscribed(live, offer, {"url": "https://a.example"})) == (404, "not_found", detail)


def test_what_does_not_exist_is_not_found(live: Live, app: str) -> None:
    ordinary = live.made(f"/app/{app}/endpoint", {"url": "https://a.example"})["id"]
    for response in (
        live.get(f"/app/{app}{MISSING}"),
        live.delete(f"/app/{app}{MISSING}"),
        live.post(f"/app/{app}{MISSING}/rotate"),
        live.put(f"/app/{app}{MISSING}/endpoint", {"url": "https://a.example"}),
        live.put(f"/app/{app}/endpoint/{ordinary}/auto-config", {"endpoint": {"url": "https://a.example"}}),
        live.post("/app/nobody/autoconfig"),
    ):
        assert error(response) == NOT_FOUND


def test_a_token_hands_on_only_the_flags_that_it_holds(live: Live, app: str) -> None:
    name = live.name("beta")
    live.made("/event-type", {"name": name, "description": "", "featureFlags": ["beta"]})
    holder, outsider = live.portal_token(app, featureFlags=["beta", "more"]), live.portal_token(app)
    wanted = {"url": "https://a.example", "eventTypes": [name]}
    refused = live.post(f"/app/{app}/autoconfig", {"featureFlags": ["beta"]}, token=outsider)
    message = "this token does not hold 'beta'; it can hand on only what it holds"
    assert problems(refused) == [(["body", "featureFlags"], message)]
    inherits = read(live.made(f"/app/{app}/autoconfig", {}, token=holder))
    assert subscribed(live, inherits, wanted).status_code == 200
    narrowed = read(live.made(f"/app/{app}/autoconfig", {"featureFlags": ["more"]}, token=holder))
    unknown = f"no live event type is named {name!r}; create it first, or leave it out"
    assert problems(subscribed(live, narrowed, wanted)) == [(["body", "endpoint", "eventTypes"], unknown)]
    again = read(live.made(f"/app/{app}/autoconfig/{inherits['id']}/rotate"))
    assert subscribed(live, again, wanted).status_code == 200, "a rotation keeps the flags"


def test_a_portal_token_needs_the_capability_to_offer_endpoints(live: Live, app: str) -> None:
    offer = offered(live, app)
    reader = live.portal_token(app, capabilities=["ViewBase"])
    detail = "This token may not do that: it lacks the capability ManageEndpoint"
    for response in (
        live.post(f"/app/{app}/autoconfig", {}, token=reader),
        live.post(f"/app/{app}/autoconfig/{offer['id']}/rotate", {}, token=reader),
        live.delete(f"/app/{app}/autoconfig/{offer['id']}", token=reader),
        subscribed(live, offer, {"url": "https://a.example"}, token=reader),
    ):
        assert error(response) == (403, "insufficient access", detail)


def test_expiring_portal_tokens_leaves_the_text_alone(live: Live, app: str) -> None:
    offer = offered(live, app)
    assert live.post(f"/auth/app/{app}/expire-all", {}).status_code == 204
    assert subscribed(live, offer, {"url": "https://a.example"}).status_code == 200


def test_a_repeated_request_gives_the_same_text(live: Live, app: str) -> None:
    headers = {"idempotency-key": "once"}
    offers = [live.made(f"/app/{app}/autoconfig", {}, headers=headers) for _ in range(2)]
    assert offers[0] == offers[1]
    texts = {live.made(f"/app/{app}/autoconfig/{offers[0]['id']}/rotate", {}, headers=headers)["token"] for _ in range(2)}
    assert len(texts) == 1


def test_the_document_describes_the_subscription(live: Live) -> None:
    document = live.get("/openapi.json", token="").json()
    assert document["components"]["schemas"]["SubscribeIn"]["properties"].keys() == {"endpoint", "sink"}


def test_a_subscription_is_completed_with_a_polling_endpoint_and_its_token_reads_that(live: Live, app: str) -> None:
    offer, other = offered(live, app), offered(live, app)
    path = f"/app/{app}/endpoint/{offer['eid']}/auto-config"
    made = live.put(path, {"sink": {"type": "poller", "config": {"uid": "mine", "channels": ["eu"]}}}, token=offer["tok"])
    assert made.status_code == 200
    shown = made.json()
    assert (shown["id"], shown["uid"], shown["channels"], shown["disabled"]) == (offer["eid"], "mine", ["eu"], False)
    assert shown["url"] == f"{live.server.url}/api/v1/app/{app}/polling-endpoint/{offer['eid']}"
    seen = live.get(f"/app/{app}/autoconfig/{offer['id']}").json()
    assert (seen["status"], seen["endpId"], seen["destId"]) == ("active", None, offer["eid"])
    assert live.get(f"/app/{app}/endpoint").json()["data"] == []
    page = live.get(f"/app/{app}/destination").json()
    assert [item["id"] for item in page["data"]] == [offer["eid"]]
    assert live.get(f"/app/{app}/destination?iterator={page['iterator']}").json()["data"] == []
    message = live.made(f"/app/{app}/msg", {"eventType": "a", "payload": {}, "channels": ["eu"]})["id"]
    leasing = f"/app/{app}/polling-endpoint/{offer['eid']}/consumer/c"
    assert error(live.get(leasing, token=other["tok"])) == NOT_FOUND
    (item,) = live.get(leasing, token=offer["tok"]).json()["data"]
    assert item["id"] == message
    assert live.post(f"{leasing}/commit", {"offset": item["offset"]}, token=offer["tok"]).status_code == 204
    assert live.get(f"/app/{app}/destination/mine", token=offer["tok"]).status_code == 403
    # The same again replaces it; it cannot become one that is called.
    again = live.put(f"/app/{app}/autoconfig/{offer['id']}/destination", {"type": "pollingEndpoint", "uid": "mine"}, token=offer["tok"])
    assert (again.status_code, again.json()["id"], again.json()["channels"]) == (200, offer["eid"], None)
    polled = "This subscription was completed with a polling endpoint; ask for another subscription"
    assert error(subscribed(live, offer, {"url": "https://a.example"})) == (409, "conflict", polled)
    assert live.delete(f"/app/{app}/destination/mine").status_code == 204
    gone = "The polling endpoint of this subscription was deleted; ask for another subscription"
    assert error(live.put(path, {"sink": {"type": "poller"}}, token=offer["tok"])) == (404, "not_found", gone)
    assert subscribed(live, other, {"url": "https://a.example"}).status_code == 200
    called = "This subscription was completed with an endpoint that is called; ask for another subscription"
    there = f"/app/{app}/autoconfig/{other['id']}/destination"
    assert error(live.put(there, {"type": "pollingEndpoint"}, token=other["tok"])) == (409, "conflict", called)
