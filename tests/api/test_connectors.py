from __future__ import annotations

from typing import Any, get_args

import pytest

from ringback.api import connectors
from ringback.api.app import Settings, build
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.model.connectors import ConnectorKind
from ringback.services.connectors import Connectors
from ringback.services.tokens import DEFAULT_ORG_ID, Grant

NOT_FOUND = {"code": "not_found", "detail": "Entity not found"}
CODE = "function handler(webhook) { return webhook; }"


@pytest.fixture
def offer(api: Any) -> Any:
    api.app = build(api.services, api.reader, Settings(), more=connectors.routes(Connectors(api.store, SystemClock(), IdMaker())))
    return api


def made(api: Any, **more: Any) -> Any:
    return api.made("/connector", {"name": "Slack", "transformation": CODE, **more})


def granted(api: Any, *flags: str) -> str:
    """A token of an application with these feature flags."""
    app_id = api.made("/app", {"name": "Shop"})["id"]

    async def grant() -> str:
        return str((await api.store.write(lambda tx: api.tokens.grant(tx, DEFAULT_ORG_ID, Grant(app_id, feature_flags=flags))))[1])

    return str(api.run(grant()))


def test_a_connector_is_shown_whole(offer: Any) -> None:
    body = {
        "name": "Slack",
        "uid": "slack",
        "logo": "https://x.example/slack.png",
        "description": "Posts to a channel",
        "kind": "Slack",
        "instructions": "Make an incoming webhook.",
        "allowedEventTypes": ["order.paid"],
        "transformation": CODE,
        "featureFlags": ["beta"],
        "productType": "Stream",
    }
    connector = made(offer, **body)
    assert connector["createdAt"] == connector["updatedAt"] == connector["transformationUpdatedAt"]
    assert {name: connector[name] for name in body} == body
    assert (connector["orgId"], connector["id"][:7]) == (DEFAULT_ORG_ID, "trtmpl_")
    assert offer.get("/connector/slack").json() == offer.get(f"/connector/{connector['id']}").json() == connector


def test_what_is_left_out_has_its_default(offer: Any) -> None:
    connector = made(offer, featureFlags=[])
    shown = {name: connector[name] for name in ("uid", "logo", "description", "kind", "instructions", "allowedEventTypes", "featureFlags")}
    assert shown == {
        "uid": None,
        "logo": None,
        "description": "",
        "kind": "Custom",
        "instructions": "",
        "allowedEventTypes": None,
        "featureFlags": None,
    }
    assert connector["productType"] == "Dispatch"


def test_every_wrong_field_of_a_connector_is_named(offer: Any) -> None:
    body = {
        "uid": "trtmpl_x",
        "logo": "javascript:alert(1)",
        "kind": "Fax",
        "transformation": "short",
        "allowedEventTypes": [],
        "productType": "Poll",
    }
    response = offer.post("/connector", body)
    assert response.status_code == 422
    assert [(problem["loc"], problem["msg"]) for problem in response.json()["detail"]] == [
        (["body", "transformation"], "Expected `str` of length >= 10"),
        (["body", "name"], "the field is missing; it is required"),
        (["body", "logo"], "a logo is a URL that begins with https://, http:// or data:image/"),
        (["body", "kind"], f"'Fax' is not one of {', '.join(sorted(get_args(ConnectorKind)))}"),
        (["body", "allowedEventTypes"], "the list is empty; give at least one, or null for no condition"),
        (["body", "uid"], "'trtmpl_x' begins with 'trtmpl_', as the ids made by the server do; choose another uid"),
        (["body", "productType"], "'Poll' is not one of Dispatch, Stream"),
    ]
    long = offer.post("/connector", {"name": "a", "transformation": "x" * 51_201})
    assert long.json()["detail"] == [{"loc": ["body", "transformation"], "msg": "Expected `str` of length <= 51200", "type": "value_error"}]


def test_a_uid_is_taken_until_its_connector_is_deleted(offer: Any) -> None:
    made(offer, uid="slack")
    clash = offer.post("/connector", {"name": "b", "transformation": CODE, "uid": "slack"})
    message = "A connector with the uid 'slack' exists already; choose another uid, or update that one"
    assert (clash.status_code, clash.json()) == (409, {"code": "conflict", "detail": message})
    assert offer.delete("/connector/slack").status_code == 204
    assert made(offer, uid="slack")["uid"] == "slack"


def test_an_upsert_makes_a_connector_of_the_uid_in_the_path_then_replaces_it(offer: Any) -> None:
    first = offer.put("/connector/slack", {"transformation": CODE, "name": "Slack", "description": "x"})
    second = offer.put("/connector/slack", {"transformation": CODE})
    assert (first.status_code, first.json()["uid"], second.status_code) == (201, "slack", 200)
    assert (second.json()["id"], second.json()["name"], second.json()["description"]) == (first.json()["id"], "", "")
    fresh = offer.put("/connector/trtmpl_" + "0" * 27, {"transformation": CODE})
    assert (fresh.status_code, fresh.json()["uid"]) == (201, None)


def test_the_time_of_the_code_moves_with_the_code_alone(offer: Any) -> None:
    connector = made(offer, uid="slack", logo="https://x.example/a.png", productType="Stream")
    named = offer.patch("/connector/slack", {"name": "Other", "logo": None}).json()
    assert (named["name"], named["logo"]) == ("Other", None)
    assert named["updatedAt"] > connector["updatedAt"]
    assert named["transformationUpdatedAt"] == connector["transformationUpdatedAt"]
    coded = offer.patch("/connector/slack", {"transformation": CODE + "//"}).json()
    assert coded["transformationUpdatedAt"] == coded["updatedAt"] > named["updatedAt"]
    assert coded["productType"] == "Stream"
    refused = offer.patch("/connector/slack", {"name": None})
    assert refused.json() == {"detail": [{"loc": ["body", "name"], "msg": "Expected `str`, got `null`", "type": "value_error.jsondecode"}]}


def test_a_list_runs_from_the_oldest_and_is_filtered_by_product(offer: Any) -> None:
    ids = [made(offer, productType=product)["id"] for product in ("Dispatch", "Stream", "Dispatch")]
    assert [item["id"] for item in offer.get("/connector").json()["data"]] == ids
    assert [item["id"] for item in offer.get("/connector?order=descending").json()["data"]] == ids[::-1]
    assert [item["id"] for item in offer.get("/connector?product_type=Stream").json()["data"]] == [ids[1]]
    page = offer.get("/connector?limit=2").json()
    assert (page["done"], [item["id"] for item in offer.get(f"/connector?iterator={page['iterator']}").json()["data"]]) == (False, ids[2:])
    wrong = offer.get("/connector?product_type=Poll")
    detail = "query parameter product_type: 'Poll' is not one of Dispatch, Stream"
    assert (wrong.status_code, wrong.json()) == (400, {"code": "generic_error", "detail": detail})


def test_a_connector_behind_a_flag_is_seen_by_holders_of_the_flag(offer: Any) -> None:
    for uid, flags in (("open", None), ("beta", ["beta", "gamma"]), ("delta", ["delta"])):
        made(offer, uid=uid, featureFlags=flags)
    seen = {flags: granted(offer, *flags) for flags in ((), ("beta",), ("x", "delta"))}
    listed = {flags: [item["uid"] for item in offer.get("/connector", token=token).json()["data"]] for flags, token in seen.items()}
    assert listed == {(): ["open"], ("beta",): ["open", "beta"], ("x", "delta"): ["open", "delta"]}
    hidden = offer.get("/connector/beta", token=seen[()])
    assert (hidden.status_code, hidden.json()) == (404, NOT_FOUND)
    assert offer.get("/connector/beta", token=seen[("beta",)]).status_code == 200
    assert offer.post("/connector", {"name": "a", "transformation": CODE}, token=seen[()]).status_code == 403


def test_what_does_not_exist_is_not_found(offer: Any) -> None:
    for response in (offer.get("/connector/nobody"), offer.patch("/connector/nobody", {}), offer.delete("/connector/nobody")):
        assert (response.status_code, response.json()) == (404, NOT_FOUND)
