from __future__ import annotations

import pytest


def detail(response):
    assert response.status_code == 422, response.text
    return [(problem["loc"], problem["msg"], problem["type"]) for problem in response.json()["detail"]]


def test_a_new_event_type_is_shown_whole(api):
    body = {
        "name": "order.paid",
        "description": "An order was paid",
        "archived": False,
        "deprecated": True,
        "schemas": {"1": {"type": "object", "properties": {"id": {"type": "string"}}}},
        "groupName": "order",
        "featureFlags": ["beta"],
        "payloadValidation": "warn",
    }
    made = api.made("/event-type", body)
    assert made.pop("createdAt") == made.pop("updatedAt")
    assert made == {**body, "featureFlag": "beta"}
    assert api.get("/event-type/order.paid").json()["schemas"] == body["schemas"]


def test_every_wrong_field_of_a_new_event_type_is_named(api):
    body = {"name": "a b", "archived": 1, "schemas": {"1": {"type": "strin"}, "2": 5}, "groupName": "", "featureFlags": []}
    assert detail(api.post("/event-type", body)) == [
        (["body", "description"], "the field is missing; it is required", "value_error.jsondecode"),
        (["body", "archived"], "Expected `bool`, got `int`", "value_error.jsondecode"),
        (
            ["body", "schemas", "1", "type"],
            "must be one of array, boolean, integer, null, number, object, string, not a string",
            "value_error",
        ),
        (["body", "schemas", "2"], "a JSON Schema is an object, true or false, not a number", "value_error"),
        (["body", "groupName"], "Expected `str` of length >= 1", "value_error"),
        (["body", "featureFlags"], "the list is empty; give at least one, or null for no condition", "value_error"),
        (["body", "name"], "'a b' is not allowed; use letters, digits, '-', '_' and '.'", "value_error"),
    ]


def test_a_live_name_is_taken_and_an_archived_one_comes_back(api):
    api.made("/event-type", {"name": "a", "description": "1"})
    taken = api.post("/event-type", {"name": "a", "description": "2"})
    message = "An event type named 'a' exists already; update it instead"
    assert (taken.status_code, taken.json()) == (409, {"code": "event_type_exists", "detail": message})
    assert api.delete("/event-type/a").status_code == 204
    assert api.get("/event-type/a").json()["archived"] is True
    back = api.made("/event-type", {"name": "a", "description": "3"})
    assert (back["archived"], back["description"]) == (False, "3")


def test_expunging_removes_the_row(api):
    api.made("/event-type", {"name": "a", "description": ""})
    assert api.delete("/event-type/a?expunge=true").status_code == 204
    assert api.get("/event-type/a").status_code == 404
    assert api.delete("/event-type/a").json() == {"code": "not_found", "detail": "Entity not found"}
    assert api.delete("/event-type/a?expunge=1").status_code == 400


def test_an_upsert_creates_then_replaces(api):
    first = api.put("/event-type/a", {"description": "1", "featureFlag": "beta"})
    second = api.put("/event-type/a", {"description": "2"})
    assert (first.status_code, first.json()["featureFlags"]) == (201, ["beta"])
    assert (second.status_code, second.json()["featureFlags"], second.json()["featureFlag"]) == (200, None, None)
    assert second.json()["createdAt"] == first.json()["createdAt"]


def test_an_upsert_refuses_a_wrong_name_and_a_missing_description(api):
    message = "'a b' is not allowed; use letters, digits, '-', '_' and '.'"
    assert detail(api.put("/event-type/a%20b", {"description": ""})) == [(["path", "event_type_name"], message, "value_error")]
    assert detail(api.put("/event-type/a", {})) == [
        (["body", "description"], "the field is missing; it is required", "value_error.jsondecode")
    ]


def test_a_patch_changes_what_it_names_and_null_unsets(api):
    api.made("/event-type", {"name": "a", "description": "1", "groupName": "g", "schemas": {"1": True}})
    patched = api.patch("/event-type/a", {"schemas": None, "deprecated": True, "featureFlag": "x"}).json()
    assert (patched["schemas"], patched["deprecated"], patched["groupName"], patched["featureFlags"]) == (None, True, "g", ["x"])
    assert detail(api.patch("/event-type/a", {"description": None})) == [
        (["body", "description"], "Expected `str`, got `null`", "value_error.jsondecode")
    ]
    assert api.patch("/event-type/nope", {}).status_code == 404


@pytest.fixture
def catalogue(api):
    for name in ("b", "a", "c", "old"):
        api.made("/event-type", {"name": name, "description": "", "schemas": {"1": {}}, "archived": name == "old"})


def names(response):
    return [event_type["name"] for event_type in response.json()["data"]]


def test_a_list_runs_by_name_either_way(api, catalogue):
    assert names(api.get("/event-type")) == ["a", "b", "c"]
    assert names(api.get("/event-type?order=descending")) == ["c", "b", "a"]
    assert names(api.get("/event-type?include_archived=true")) == ["a", "b", "c", "old"]
    assert api.get("/event-type?include_archived=maybe").status_code == 400


def test_a_name_is_the_cursor(api, catalogue):
    page = api.get("/event-type?limit=2").json()
    assert (page["iterator"], page["prevIterator"], page["done"]) == ("b", "-a", False)
    assert names(api.get("/event-type?iterator=b")) == ["c"]
    assert names(api.get("/event-type?iterator=-c&limit=1")) == ["b"]
    assert detail(api.get("/event-type?iterator=a%20b"))[0][0] == ["query", "iterator"]


def test_a_list_shows_schemas_only_when_asked(api, catalogue):
    assert api.get("/event-type").json()["data"][0]["schemas"] is None
    assert api.get("/event-type?with_content=true").json()["data"][0]["schemas"] == {"1": {}}


def test_what_is_behind_a_flag_is_hidden_from_an_application_token(api):
    app_id = api.made("/app", {"name": "a"})["id"]
    api.made("/event-type", {"name": "open", "description": ""})
    api.made("/event-type", {"name": "beta", "description": "", "featureFlags": ["beta"]})
    _, token = api.run(api.tokens.create(app_id=app_id))
    assert names(api.get("/event-type", token=token)) == ["open"]
    assert api.get("/event-type/beta", token=token).status_code == 404
    assert api.get("/event-type/beta").status_code == 200
    forbidden = api.post("/event-type", {"name": "x", "description": ""}, token=token)
    assert (forbidden.status_code, forbidden.json()["code"]) == (403, "insufficient access")
