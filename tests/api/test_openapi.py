"""The published specification is what the server does."""

from __future__ import annotations

import re

import pytest

from ringback.api.contract import contract_operations


@pytest.fixture
def document(api):
    return api.get("/openapi.json", token=None).json()


def operations(document):
    return {(method.upper(), path): operation for path, item in document["paths"].items() for method, operation in item.items()}


def referenced(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from referenced(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from referenced(inner)


def test_every_reference_leads_somewhere(document):
    names = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in document["components"][kind]}
    assert set(referenced(document)) <= names
    assert document["openapi"].startswith("3.1")


def test_operation_ids_are_unique(document):
    found = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(found)) == len(found)


def test_every_parameter_of_a_path_is_declared(document):
    for (_, path), operation in operations(document).items():
        declared = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path))


def test_every_operation_of_the_document_is_built_and_every_other_of_the_contract_answers_501(api, document):
    built = operations(document)
    for method, path in contract_operations():
        response = (
            api.call(method, re.sub(r"\{\w+\}", "x", path).removeprefix("/api/v1"), token=None) if path.startswith("/api/v1") else None
        )
        if response is not None:
            assert (response.status_code == 501) == ((method, path) not in built), (method, path)


def test_the_schemas_are_those_that_parse(document):
    schemas = document["components"]["schemas"]
    assert schemas["ApplicationIn"]["required"] == ["name"]
    assert schemas["ApplicationPatch"].get("required", []) == []
    assert schemas["EndpointIn"]["required"] == ["url"]
    assert sorted(schemas["EventTypeIn"]["required"]) == ["description", "name"]
    assert schemas["EndpointIn"]["properties"]["rateLimit"]["deprecated"] is True
    assert operations(document)[("POST", "/api/v1/app")]["requestBody"]["required"] is True
    assert operations(document)[("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate")]["requestBody"]["required"] is False


def test_answers_have_the_fields_that_the_schemas_require(api, document):
    api.made("/app", {"name": "a", "uid": "a"})
    api.made("/event-type", {"name": "a", "description": ""})
    api.made("/app/a/endpoint", {"url": "https://a.example/", "uid": "e"})
    answers = {
        "ApplicationOut": api.get("/app/a"),
        "ListResponseApplicationOut": api.get("/app"),
        "EndpointOut": api.get("/app/a/endpoint/e"),
        "EndpointSecretOut": api.get("/app/a/endpoint/e/secret"),
        "EndpointHeadersOut": api.get("/app/a/endpoint/e/headers"),
        "EventTypeOut": api.get("/event-type/a"),
    }
    for name, response in answers.items():
        schema = document["components"]["schemas"][name]
        assert set(schema["required"]) <= set(response.json()) <= set(schema["properties"]), name
