from __future__ import annotations

from typing import Any

import pytest

from ringback.api import authentication, integrations
from ringback.api.app import Settings, build
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.services.integrations import Integrations
from ringback.services.portal import Portal
from tests.api.conftest import TOKEN

NOT_FOUND = {"code": "not_found", "detail": "Entity not found"}
INVALID = {"code": "authentication_failed", "detail": "Invalid token"}


@pytest.fixture
def shop(api: Any) -> Any:
    clock = SystemClock()
    more = [
        *integrations.routes(Integrations(api.store, clock, IdMaker(), api.tokens)),
        *authentication.routes(Portal(api.store, api.tokens), api.services.applications, lambda token: f"http://x/#key={token}"),
    ]
    api.app = build(api.services, api.reader, Settings(), more=more)
    api.made("/app", {"name": "Shop", "uid": "shop"})
    return api


def made(api: Any, name: str = "Zapier", **more: Any) -> Any:
    return api.made("/app/shop/integration", {"name": name, **more})


def key_of(api: Any, integration: Any, **parts: Any) -> str:
    response = api.post(f"/app/shop/integration/{integration['id']}/key/rotate", **parts)
    assert response.status_code == 200, response.text
    return str(response.json()["key"])


def test_an_integration_is_shown_without_a_key(shop: Any) -> None:
    integration = made(shop, featureFlags=["beta"])
    assert integration["id"].startswith("integ_")
    assert integration.pop("createdAt") == integration.pop("updatedAt")
    assert integration == {"id": integration["id"], "name": "Zapier", "featureFlags": ["beta"]}
    assert made(shop, "plain")["featureFlags"] == []
    assert shop.get(f"/app/shop/integration/{integration['id']}").json()["name"] == "Zapier"


def test_every_wrong_field_of_an_integration_is_named(shop: Any) -> None:
    response = shop.post("/app/shop/integration", {"name": "", "featureFlags": ["a", "a", "b c"]})
    assert (response.status_code, response.json()["detail"]) == (
        422,
        [
            {"loc": ["body", "name"], "msg": "Expected `str` of length >= 1", "type": "value_error"},
            {"loc": ["body", "featureFlags", "[1]"], "msg": "'a' stands in the list twice; give it once", "type": "value_error"},
            {
                "loc": ["body", "featureFlags", "[2]"],
                "msg": "'b c' is not allowed; use letters, digits, '-', '_' and '.'",
                "type": "value_error",
            },
        ],
    )
    many = shop.post("/app/shop/integration", {"name": "a", "featureFlags": [f"f{number}" for number in range(26)]})
    assert many.json()["detail"] == [{"loc": ["body", "featureFlags"], "msg": "Expected `array` of length <= 25", "type": "value_error"}]


def test_what_does_not_exist_is_not_found(shop: Any) -> None:
    missing = "/app/shop/integration/integ_" + "0" * 27
    for response in (
        shop.get(missing),
        shop.put(missing, {"name": "a"}),
        shop.delete(missing),
        shop.post(missing + "/key/rotate"),
        shop.get("/app/nobody/integration"),
        shop.post("/app/nobody/integration", {"name": "a"}),
    ):
        assert (response.status_code, response.json()) == (404, NOT_FOUND)


def test_an_integration_of_another_application_is_not_found(shop: Any) -> None:
    integration = made(shop)
    shop.made("/app", {"name": "Other", "uid": "other"})
    assert shop.get(f"/app/other/integration/{integration['id']}").status_code == 404
    assert shop.delete(f"/app/other/integration/{integration['id']}").status_code == 404


def test_a_list_shows_the_newest_first_and_turns_round(shop: Any) -> None:
    ids = [made(shop, name)["id"] for name in "abc"]
    page = shop.get("/app/shop/integration?limit=2").json()
    assert ([item["id"] for item in page["data"]], page["done"]) == (ids[:0:-1], False)
    rest = shop.get(f"/app/shop/integration?iterator={page['iterator']}").json()
    assert ([item["id"] for item in rest["data"]], rest["done"]) == (ids[:1], True)
    assert [item["id"] for item in shop.get("/app/shop/integration?order=ascending").json()["data"]] == ids
    wrong = shop.get("/app/shop/integration?iterator=app_" + "0" * 27)
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["query", "iterator"])


def test_an_update_replaces_all_and_an_equal_one_changes_nothing(shop: Any) -> None:
    integration = made(shop, featureFlags=["beta"])
    path = f"/app/shop/integration/{integration['id']}"
    assert shop.put(path, {"name": "Zapier", "featureFlags": ["beta"]}).json() == integration
    changed = shop.put(path, {"name": "Make"}).json()
    assert (changed["name"], changed["featureFlags"]) == ("Make", [])
    assert changed["updatedAt"] > integration["updatedAt"]


def test_the_key_acts_for_the_application_with_the_flags_of_the_integration(shop: Any) -> None:
    integration = made(shop, featureFlags=["beta"])
    for name, flags in (("open", None), ("beta", ["beta"]), ("gamma", ["gamma"])):
        shop.made("/event-type", {"name": name, "description": "", "featureFlags": flags})
    key = key_of(shop, integration)
    assert key.startswith("sk_integ_")
    assert [item["name"] for item in shop.get("/event-type", token=key).json()["data"]] == ["beta", "open"]
    made_by_key = shop.post("/app/shop/endpoint", {"url": "https://a.example"}, token=key)
    assert made_by_key.status_code == 201
    assert shop.get(f"/app/shop/endpoint/{made_by_key.json()['id']}/secret", token=key).status_code == 200
    assert shop.get("/app", token=key).status_code == 403
    shop.put(f"/app/shop/integration/{integration['id']}", {"name": "Zapier", "featureFlags": ["gamma"]})
    assert [item["name"] for item in shop.get("/event-type", token=key).json()["data"]] == ["gamma", "open"]


def test_the_key_may_not_manage_integrations(shop: Any) -> None:
    integration = made(shop)
    key = key_of(shop, integration)
    path = f"/app/shop/integration/{integration['id']}"
    detail = "The key of an integration may not manage integrations; use an org token, or one of the application"
    for response in (
        shop.post("/app/shop/integration", {"name": "more"}, token=key),
        # Who may not is told so, whatever the body says.
        shop.post("/app/shop/integration", {"name": 5}, token=key),
        shop.put(path, {}, token=key),
        shop.put(path, {"name": "other", "featureFlags": ["all"]}, token=key),
        shop.delete(path, token=key),
        shop.post(path + "/key/rotate", token=key),
    ):
        assert (response.status_code, response.json()) == (403, {"code": "insufficient access", "detail": detail})
    assert shop.get(path, token=key).status_code == 200


def test_a_rotation_kills_the_former_key_at_once(shop: Any) -> None:
    integration = made(shop)
    first = key_of(shop, integration)
    assert shop.get("/app/shop", token=first).status_code == 200
    second = key_of(shop, integration)
    dead = shop.get("/app/shop", token=first)
    assert (dead.status_code, dead.json()) == (401, INVALID)
    assert shop.get("/app/shop", token=second).status_code == 200


def test_a_repeated_rotation_gives_the_same_key(shop: Any) -> None:
    integration = made(shop)
    keys = {key_of(shop, integration, headers={"idempotency-key": "once"}) for _ in range(2)}
    assert len(keys) == 1


def test_deleting_an_integration_kills_its_key(shop: Any) -> None:
    integration = made(shop)
    key = key_of(shop, integration)
    assert shop.delete(f"/app/shop/integration/{integration['id']}").status_code == 204
    assert shop.get("/app/shop", token=key).status_code == 401
    assert shop.get(f"/app/shop/integration/{integration['id']}").status_code == 404


def test_expiring_portal_tokens_leaves_the_key_alone(shop: Any) -> None:
    key = key_of(shop, made(shop))
    assert shop.post("/auth/app/shop/expire-all", {}).status_code == 204
    assert shop.get("/app/shop", token=key).status_code == 200


def test_a_portal_token_needs_the_capability_to_manage_integrations(shop: Any) -> None:
    token = shop.post("/auth/app-portal-access/shop", {"capabilities": ["ViewBase"]}).json()["token"]
    assert shop.get("/app/shop/integration", token=token).status_code == 200
    refused = shop.post("/app/shop/integration", {"name": "a"}, token=token)
    detail = "This token may not do that: it lacks the capability ManageEndpoint"
    assert (refused.status_code, refused.json()) == (403, {"code": "insufficient access", "detail": detail})
    allowed = shop.post("/auth/app-portal-access/shop", {"capabilities": ["ManageEndpoint"]}).json()["token"]
    assert shop.post("/app/shop/integration", {"name": "a"}, token=allowed).status_code == 201
    assert shop.get("/app/shop/integration", token=TOKEN).json()["data"][0]["name"] == "a"
