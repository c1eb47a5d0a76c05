from __future__ import annotations

import json
from typing import Any

import pytest

from ringback.api import connectors, environments
from ringback.api.app import Settings, build
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.services.connectors import Connectors
from ringback.services.environments import Environments

CODE = "function handler(webhook) { return webhook; }"
OTHER_CODE = CODE + " // other"


def opened(api: Any) -> Any:
    templates = Connectors(api.store, SystemClock(), IdMaker())
    more = [
        *connectors.routes(templates),
        *environments.routes(Environments(api.store, api.services.event_types, templates), SystemClock()),
    ]
    api.app = build(api.services, api.reader, Settings(), more=more)
    return api


@pytest.fixture
def here(api: Any) -> Any:
    return opened(api)


@pytest.fixture
def there(here: Any) -> str:
    """The token of another organisation."""
    return str(here.run(here.tokens.create("elsewhere"))[1])


def exported(api: Any, **parts: Any) -> Any:
    response = api.post("/environment/export", **parts)
    assert response.status_code == 200, response.text
    return response.json()


def imported(api: Any, environment: Any, **parts: Any) -> None:
    response = api.post("/environment/import", environment, **parts)
    assert (response.status_code, response.content) == (204, b""), response.text


def filled(api: Any) -> None:
    api.made("/event-type", {"name": "b.paid", "description": "B", "schemas": {"1": {"type": "object"}}, "featureFlags": ["beta"]})
    api.made("/event-type", {"name": "a.old", "description": "A", "archived": True, "deprecated": True, "groupName": "a"})
    api.made("/event-type", {"name": "c", "description": "C", "payloadValidation": "warn"})
    api.made("/connector", {"name": "Slack", "kind": "Slack", "transformation": CODE, "uid": "slack", "productType": "Stream"})
    for _ in range(2):
        api.made("/connector", {"name": "Twin", "transformation": CODE, "allowedEventTypes": ["c"]})
    api.put("/connector/nameless", {"transformation": CODE})


def test_an_export_holds_everything_archived_types_too(here: Any) -> None:
    filled(here)
    document = exported(here)
    assert set(document) == {"version", "createdAt", "eventTypes", "settings", "connectors"}
    assert (document["version"], document["settings"], document["createdAt"][-1]) == (1, None, "Z")
    assert [(item["name"], item["archived"]) for item in document["eventTypes"]] == [("a.old", True), ("b.paid", False), ("c", False)]
    assert document["eventTypes"][1] == here.get("/event-type/b.paid").json()
    assert [item["uid"] for item in document["connectors"]] == ["slack", None, None, "nameless"]
    assert document["connectors"][0] == here.get("/connector/slack").json()


def test_an_empty_environment_is_exported_too(here: Any) -> None:
    document = exported(here)
    assert (document["eventTypes"], document["settings"], document["connectors"]) == ([], None, [])


def test_an_export_imported_where_it_came_from_changes_nothing(here: Any) -> None:
    filled(here)
    imported(here, {"settings": {"colour": "blue"}})
    before = exported(here)
    for _ in range(2):
        imported(here, before)
    after = exported(here)
    assert {**after, "createdAt": ""} == {**before, "createdAt": ""}


def test_an_export_imported_elsewhere_makes_the_same_catalogue_once(here: Any, there: str) -> None:
    filled(here)
    imported(here, {"settings": {"colour": "blue", "switches": [1, {"a": None}]}})
    document = exported(here)
    for _ in range(2):
        imported(here, document, token=there)
    moved = exported(here, token=there)

    def bare(items: Any) -> Any:
        changing = ("id", "orgId", "createdAt", "updatedAt", "transformationUpdatedAt")
        return [{name: value for name, value in item.items() if name not in changing} for item in items]

    assert bare(moved["eventTypes"]) == bare(document["eventTypes"])
    assert bare(moved["connectors"]) == bare(document["connectors"])
    assert moved["settings"] == document["settings"]
    assert {item["orgId"] for item in moved["connectors"]}.isdisjoint({item["orgId"] for item in document["connectors"]})


def test_an_import_overwrites_by_name_and_deletes_nothing(here: Any) -> None:
    filled(here)
    before = exported(here)
    imported(
        here,
        {
            "eventTypes": [{"name": "c", "description": "changed", "archived": True}, {"name": "new", "description": ""}],
            "connectors": [
                {"name": "Renamed", "uid": "slack", "transformation": OTHER_CODE},
                {"name": "Twin", "transformation": OTHER_CODE},
                {"name": "Slack", "kind": "Zapier", "transformation": CODE},
            ],
        },
    )
    after = exported(here)
    assert [item["name"] for item in after["eventTypes"]] == ["a.old", "b.paid", "c", "new"]
    changed = here.get("/event-type/c").json()
    assert (changed["description"], changed["archived"], changed["payloadValidation"]) == ("changed", True, None)
    assert after["eventTypes"][:2] == before["eventTypes"][:2]
    slack = here.get("/connector/slack").json()
    assert (slack["name"], slack["kind"], slack["productType"], slack["transformation"]) == ("Renamed", "Custom", "Stream", OTHER_CODE)
    twins = [item["transformation"] for item in after["connectors"] if item["name"] == "Twin"]
    assert twins == [OTHER_CODE, CODE], "one connector in the document overwrites one here"
    assert len(after["connectors"]) == len(before["connectors"]) + 1


def test_a_connector_without_a_uid_finds_the_one_of_its_name_and_kind_and_leaves_it_its_uid(here: Any) -> None:
    here.made("/connector", {"name": "Slack", "kind": "Slack", "transformation": CODE, "uid": "slack"})
    imported(here, {"connectors": [{"name": "Slack", "kind": "Slack", "transformation": OTHER_CODE}]})
    (only,) = exported(here)["connectors"]
    assert (only["uid"], only["transformation"]) == ("slack", OTHER_CODE)


def test_a_later_entry_of_the_same_uid_overwrites_the_earlier_one(here: Any) -> None:
    imported(here, {"connectors": [{"name": name, "uid": "one", "transformation": CODE} for name in ("First", "Second")]})
    assert [(item["uid"], item["name"]) for item in exported(here)["connectors"]] == [("one", "Second")]


def test_a_thousand_connectors_of_one_name_find_theirs_again(here: Any) -> None:
    # Each entry looks for the first of its name that is still free: asked of the database anew for each, ten thousand take minutes.
    many = [{"name": "T", "transformation": f"{number:010}"} for number in range(1_000)]
    imported(here, {"connectors": many})
    before = exported(here)["connectors"]
    imported(here, {"connectors": many})
    assert exported(here)["connectors"] == before
    assert [item["transformation"] for item in before] == [item["transformation"] for item in many]


def test_what_an_import_leaves_out_stays(here: Any) -> None:
    filled(here)
    imported(here, {"settings": {"colour": "blue"}})
    before = exported(here)
    for nothing in ({}, {"eventTypes": None, "settings": None, "connectors": None}, {"eventTypes": [], "connectors": []}, None):
        imported(here, nothing)
    assert {**exported(here), "createdAt": before["createdAt"]} == before
    imported(here, {"settings": {}})
    assert exported(here)["settings"] == {}


def test_an_import_with_anything_wrong_changes_nothing(here: Any) -> None:
    body = {
        "eventTypes": [{"name": "fine", "description": ""}, {"name": "a b", "description": "", "schemas": {"1": {"type": "strin"}}}],
        "settings": {"colour": "red"},
        "connectors": [{"name": "x", "transformation": CODE, "uid": "trtmpl_x"}],
    }
    response = here.post("/environment/import", body)
    assert response.status_code == 422
    assert response.json()["detail"] == [
        {
            "loc": ["body", "eventTypes", "[1]", "schemas", "1", "type"],
            "msg": "must be one of array, boolean, integer, null, number, object, string, not a string",
            "type": "value_error",
        },
        {
            "loc": ["body", "eventTypes", "[1]", "name"],
            "msg": "'a b' is not allowed; use letters, digits, '-', '_' and '.'",
            "type": "value_error",
        },
        {
            "loc": ["body", "connectors", "[0]", "uid"],
            "msg": "'trtmpl_x' begins with 'trtmpl_', as the ids made by the server do; choose another uid",
            "type": "value_error",
        },
    ]
    empty = exported(here)
    assert (empty["eventTypes"], empty["settings"], empty["connectors"]) == ([], None, [])


def test_what_is_no_environment_is_refused(here: Any) -> None:
    response = here.post("/environment/import", {"eventTypes": {}, "settings": [], "connectors": [{"name": "x"}]})
    assert [(problem["loc"], problem["msg"]) for problem in response.json()["detail"]] == [
        (["body", "eventTypes"], "Expected `array | null`, got `object`"),
        (["body", "settings"], "Expected `object | null`, got `array`"),
        (["body", "connectors", "[0]", "transformation"], "the field is missing; it is required"),
    ]


def test_an_environment_is_the_organisations_alone(here: Any) -> None:
    app_id = here.made("/app", {"name": "a"})["id"]
    _, token = here.run(here.tokens.create(app_id=app_id))
    for path in ("/environment/export", "/environment/import"):
        assert here.post(path, token=token).json()["code"] == "insufficient access"


def test_a_repeated_import_has_its_effect_once(here: Any) -> None:
    key = {"idempotency-key": "once"}
    imported(here, {"eventTypes": [{"name": "a", "description": "1"}]}, headers=key)
    here.patch("/event-type/a", {"description": "2"})
    imported(here, {"eventTypes": [{"name": "a", "description": "1"}]}, headers=key)
    assert here.get("/event-type/a").json()["description"] == "2"


def test_an_export_is_a_document_that_can_be_kept(here: Any) -> None:
    filled(here)
    text = json.dumps(exported(here))
    imported(here, text.encode())
    assert len(exported(here)["connectors"]) == 4
