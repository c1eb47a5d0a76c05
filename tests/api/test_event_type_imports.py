from __future__ import annotations

import json
from typing import Any

import pytest

from ringback.api import event_type_imports
from ringback.api.app import Settings, build
from ringback.clock import SystemClock
from ringback.services.event_type_imports import EventTypeImports

PATH = "/event-type/import/openapi"
# Of the shape of the examples in the specification: https://spec.openapis.org/oas/v3.1.0
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "Shop", "version": "1"},
    "webhooks": {
        "order.paid": {
            "post": {
                "description": "An order was paid",
                "x-svix-group-name": "order",
                "x-svix-feature-flags": ["beta"],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}, "example": {"id": "a"}}}
                },
            }
        },
        "order.lost": {"post": {"summary": "An order was lost", "deprecated": True}},
    },
    "components": {
        "schemas": {"Order": {"type": "object", "properties": {"id": {"$ref": "#/components/schemas/Id"}}}, "Id": {"type": "string"}}
    },
}
ORDER = {"type": "object", "properties": {"id": {"type": "string"}}, "examples": [{"id": "a"}]}
YAML = """
openapi: 3.0.3
x-webhooks:
  order.paid: &paid
    post:
      description: |
        An order was paid
      requestBody:
        content:
          application/json:
            schema: {type: string, nullable: true}
  order.paid.again: *paid
"""


@pytest.fixture
def catalogue(api: Any) -> Any:
    imports = EventTypeImports(api.store, SystemClock(), api.services.event_types)
    api.app = build(api.services, api.reader, Settings(), more=event_type_imports.routes(imports))
    return api


def imported(api: Any, **body: Any) -> Any:
    response = api.post(PATH, body)
    assert response.status_code == 200, response.text
    assert set(response.json()) == {"data"}
    return response.json()["data"]


def names(api: Any, query: str = "") -> list[str]:
    return [item["name"] for item in api.get("/event-type" + query).json()["data"]]


def test_the_webhooks_of_a_document_become_event_types(catalogue: Any) -> None:
    assert imported(catalogue, spec=SPEC) == {"modified": ["order.paid", "order.lost"], "to_modify": None}
    paid = catalogue.get("/event-type/order.paid").json()
    shown = {name: paid[name] for name in ("description", "schemas", "groupName", "featureFlags", "deprecated", "archived")}
    assert shown == {
        "description": "An order was paid",
        "schemas": {"1": ORDER},
        "groupName": "order",
        "featureFlags": ["beta"],
        "deprecated": False,
        "archived": False,
    }
    lost = catalogue.get("/event-type/order.lost").json()
    assert (lost["description"], lost["deprecated"], lost["schemas"]) == ("An order was lost", True, None)


def test_a_document_is_taken_as_text_too(catalogue: Any) -> None:
    assert imported(catalogue, specRaw=YAML)["modified"] == ["order.paid", "order.paid.again"]
    paid = catalogue.get("/event-type/order.paid").json()
    assert (paid["description"], paid["schemas"]) == ("An order was paid\n", {"1": {"type": ["string", "null"]}})
    assert imported(catalogue, specRaw=json.dumps(SPEC))["modified"] == ["order.paid", "order.lost"]
    assert catalogue.get("/event-type/order.paid").json()["schemas"] == {"1": ORDER}


def test_importing_again_changes_nothing(catalogue: Any) -> None:
    imported(catalogue, spec=SPEC)
    before = catalogue.get("/event-type?with_content=true").json()
    assert imported(catalogue, spec=SPEC, replaceAll=True) == {"modified": [], "to_modify": None}
    assert catalogue.get("/event-type?with_content=true").json() == before


def test_a_dry_run_tells_all_and_changes_nothing(catalogue: Any) -> None:
    catalogue.made("/event-type", {"name": "order.lost", "description": "An order was lost", "deprecated": True})
    catalogue.made("/event-type", {"name": "other", "description": ""})
    assert imported(catalogue, spec=SPEC, dryRun=True, replaceAll=True) == {
        "modified": ["order.paid", "other"],
        "to_modify": [
            {
                "name": "order.paid",
                "description": "An order was paid",
                "schemas": {"1": ORDER},
                "deprecated": False,
                "groupName": "order",
                "featureFlags": ["beta"],
            }
        ],
    }
    assert names(catalogue, "?include_archived=true") == ["order.lost", "other"]
    assert catalogue.get("/event-type/other").json()["archived"] is False


def test_what_a_document_lacks_stays_unless_all_is_replaced(catalogue: Any) -> None:
    catalogue.made("/event-type", {"name": "other", "description": ""})
    catalogue.made("/event-type", {"name": "long.gone", "description": "", "archived": True})
    imported(catalogue, spec=SPEC)
    assert names(catalogue) == ["order.lost", "order.paid", "other"]
    assert imported(catalogue, spec=SPEC, replaceAll=True) == {"modified": ["other"], "to_modify": None}
    assert names(catalogue) == ["order.lost", "order.paid"]
    assert catalogue.get("/event-type/other").json()["archived"] is True


def test_an_archived_type_in_the_document_comes_back_and_keeps_what_it_does_not_speak_of(catalogue: Any) -> None:
    body = {"name": "order.paid", "description": "", "archived": True, "payloadValidation": "off", "schemas": {"9": {}}}
    made = catalogue.made("/event-type", body)
    imported(catalogue, spec=SPEC)
    paid = catalogue.get("/event-type/order.paid").json()
    assert (paid["archived"], paid["payloadValidation"], paid["schemas"]) == (False, "off", {"1": ORDER})
    assert (paid["createdAt"], paid["updatedAt"] > made["updatedAt"]) == (made["createdAt"], True)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({}, "neither of spec and specRaw; give exactly one"),
        ({"spec": SPEC, "specRaw": YAML}, "both of spec and specRaw; give exactly one"),
        ({"spec": None, "specRaw": None}, "neither of spec and specRaw; give exactly one"),
        ({"specRaw": "a: [1"}, "the document cannot be imported: not YAML: while parsing a flow sequence"),
        ({"specRaw": '{"openapi": '}, "the document cannot be imported: "),
        ({"specRaw": "just text"}, "the document cannot be imported: an OpenAPI document is an object"),
        ({"specRaw": ""}, "the document cannot be imported: an OpenAPI document is an object"),
        ({"spec": {}}, "the document cannot be imported: `openapi` must be a text like 3.0.3 or 3.1.0, and is missing"),
        (
            {"spec": {"openapi": "3.1.0", "webhooks": {"a": {"post": {"x-svix-group-name": "b c"}}}}},
            "the document cannot be imported: webhook 'a': groupName: 'b c' is not allowed; use letters, digits, '-', '_' and '.'",
        ),
        (
            {"spec": {"openapi": "3.1.0", "webhooks": {"a": {"post": {"x-svix-feature-flags": "beta"}}}}},
            "the document cannot be imported: webhook 'a': Expected `array | null`, got `str` - at `$.featureFlags`",
        ),
        (
            {
                "spec": {
                    "openapi": "3.1.0",
                    "webhooks": {
                        "a": {
                            "post": {"requestBody": {"content": {"application/json": {"schema": {"properties": {"b": {"type": "fax"}}}}}}}
                        }
                    },
                }
            },
            "the document cannot be imported: webhook 'a': schemas/1/properties/b/type: must be one of array, boolean, integer, null, "
            "number, object, string, not a string",
        ),
    ],
)
def test_a_document_that_cannot_be_imported_is_refused_with_its_fault(catalogue: Any, body: Any, detail: str) -> None:
    response = catalogue.post(PATH, body)
    answer = response.json()
    assert (response.status_code, answer["code"], set(answer)) == (400, "invalid_spec", {"code", "detail"})
    assert answer["detail"].startswith(detail)
    assert names(catalogue) == []


def test_a_request_of_the_wrong_shape_is_refused(catalogue: Any) -> None:
    response = catalogue.post(PATH, {"spec": [], "specRaw": 1, "dryRun": "yes", "replaceAll": None})
    assert (response.status_code, response.json()["detail"]) == (
        422,
        [
            {"loc": ["body", "dryRun"], "msg": "Expected `bool`, got `str`", "type": "value_error.jsondecode"},
            {"loc": ["body", "replaceAll"], "msg": "Expected `bool`, got `null`", "type": "value_error.jsondecode"},
            {"loc": ["body", "spec"], "msg": "Expected `object | null`, got `array`", "type": "value_error.jsondecode"},
            {"loc": ["body", "specRaw"], "msg": "Expected `str | null`, got `int`", "type": "value_error.jsondecode"},
        ],
    )


def test_a_fault_in_one_webhook_keeps_all_out(catalogue: Any) -> None:
    spec = json.loads(json.dumps(SPEC))
    spec["webhooks"]["z"] = {"post": {"x-svix-group-name": 5}}
    assert catalogue.post(PATH, {"spec": spec}).status_code == 400
    assert names(catalogue) == []


def test_importing_is_the_organisations_alone(catalogue: Any) -> None:
    app_id = catalogue.made("/app", {"name": "a"})["id"]
    _, token = catalogue.run(catalogue.tokens.create(app_id=app_id))
    assert catalogue.post(PATH, {"spec": SPEC}, token=token).json()["code"] == "insufficient access"
