from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.json_instances import compile_draft7
from ringback.policy.openapi_events import MAX_VALUES, Described, webhooks_of

SOURCE = "https://spec.openapis.org/oas/v3.1.0"


def hooked(schema: Any, *, version: str = "3.1.0", **components: Any) -> Any:
    """The schema of the one webhook of a document."""
    (hook,) = webhooks_of(document({"order.paid": posted(schema)}, version=version, schemas=components))
    return hook.schema


def posted(schema: Any, **more: Any) -> Any:
    return {"post": {"requestBody": {"content": {"application/json": {"schema": schema, **more}}}}}


def document(hooks: Any, *, version: str = "3.1.0", key: str = "webhooks", **components: Any) -> Any:
    return {"openapi": version, key: hooks, "components": components}


def refused(document: Any) -> str:
    with pytest.raises(ValueError, match=r"^") as problem:
        webhooks_of(document)
    return str(problem.value)


def test_a_webhook_is_described_by_its_operation() -> None:
    operation = {
        "operationId": "ignored",
        "summary": "In short",
        "description": "An order was paid",
        "deprecated": True,
        "x-svix-group-name": "order",
        "x-svix-feature-flags": ["beta"],
        "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
    }
    assert webhooks_of(document({"order.paid": {"description": "of the path", "post": operation}})) == [
        Described("order.paid", "An order was paid", {"type": "object"}, True, "order", ["beta"])
    ]


def test_what_the_operation_does_not_say_its_path_does_and_a_summary_is_better_than_nothing() -> None:
    hooks = {
        "a": {"description": "of the path", "x-svix-group-name": "g", "post": {}},
        "b": {"post": {"summary": "In short"}},
        "c": {"put": {}},
        "d": {},
    }
    found = webhooks_of(document(hooks))
    assert [(hook.name, hook.description, hook.group_name, hook.schema) for hook in found] == [
        ("a", "of the path", "g", None),
        ("b", "In short", None, None),
        ("c", "", None, None),
        ("d", "", None, None),
    ]


@pytest.mark.parametrize("key", ["webhooks", "x-webhooks"])
def test_webhooks_stand_at_the_top_under_either_key(key: str) -> None:
    assert [hook.name for hook in webhooks_of(document({"b": {}, "a": {}}, key=key, version="3.0.3"))] == ["b", "a"]


def test_the_operation_id_is_the_name_where_the_key_is_none() -> None:
    (hook,) = webhooks_of(document({"Order paid!": {"post": {"operationId": "orderPaid"}}}))
    assert hook.name == "orderPaid"
    nameless = "webhook 'Order paid!': neither its key nor its operationId is a name of letters, digits, '-', '_' and '.'"
    assert refused(document({"Order paid!": {"post": {"operationId": "order paid"}}})) == nameless
    assert refused(document({"a": {}, "!": {"post": {"operationId": "a"}}})) == "two webhooks are named 'a'"


def test_references_are_put_in_place_wherever_they_may_stand() -> None:
    components = {
        "schemas": {
            "Order": {"type": "object", "properties": {"lines": {"type": "array", "items": {"$ref": "#/components/schemas/Line~1x"}}}}
        },
        "requestBodies": {"Paid": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}},
        "pathItems": {"Paid": {"post": {"requestBody": {"$ref": "#/components/requestBodies/Paid"}}}},
    }
    components["schemas"]["Line/x"] = {"type": "integer"}
    (hook,) = webhooks_of(document({"order.paid": {"$ref": "#/components/pathItems/Paid"}}, **components))
    assert hook.schema == {"type": "object", "properties": {"lines": {"type": "array", "items": {"type": "integer"}}}}


def test_a_reference_in_an_example_is_no_reference() -> None:
    schema = {"type": "object", "example": {"$ref": "#/nowhere"}, "enum": [{"$ref": "x"}], "properties": {"$ref": {"type": "string"}}}
    assert hooked(schema) == schema


@pytest.mark.parametrize(
    ("keyword", "content"),
    [
        ("allOf", [{"$ref": "#/components/schemas/X"}]),
        ("items", [{"$ref": "#/components/schemas/X"}]),
        ("patternProperties", {"^a": {"$ref": "#/components/schemas/X"}}),
        ("additionalProperties", {"$ref": "#/components/schemas/X"}),
        ("not", {"$ref": "#/components/schemas/X"}),
        ("$defs", {"a": {"$ref": "#/components/schemas/X"}}),
        ("dependencies", {"a": {"$ref": "#/components/schemas/X"}}),
    ],
)
def test_every_place_of_a_schema_is_looked_at(keyword: str, content: Any) -> None:
    expected = json.loads(json.dumps(content).replace('{"$ref": "#/components/schemas/X"}', '{"type": "string"}'))
    assert hooked({keyword: content}, X={"type": "string"}) == {keyword: expected}


def test_what_stands_beside_a_reference_counts_since_3_1() -> None:
    beside = {"$ref": "#/components/schemas/X", "description": "mine", "maxLength": 3}
    assert hooked(beside, X={"type": "string"}) == {"allOf": [{"type": "string"}], "maxLength": 3, "description": "mine"}
    told = {"$ref": "#/components/schemas/X", "description": "mine"}
    assert hooked(told, X={"type": "string", "description": "its own"}) == {"type": "string", "description": "mine"}
    assert hooked(beside, version="3.0.3", X={"type": "string"}) == {"type": "string"}


def test_a_circle_becomes_a_definition_of_the_schema_itself() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}, "value": {"type": "integer"}}}
    schema = hooked({"$ref": "#/components/schemas/Node"}, Node=node)
    inside = {"type": "object", "properties": {"next": {"$ref": "#/definitions/Node"}, "value": {"type": "integer"}}}
    assert schema == {**inside, "definitions": {"Node": inside}}
    fits = compile_draft7(schema)
    assert fits(b'{"next": {"next": {"value": 1}}}') == []
    assert [misfit.where for misfit in fits(b'{"next": {"next": {"value": "x"}}}')] == [("next", "next", "value")]


def test_circles_through_several_schemas_end_too() -> None:
    def leads(*names: str) -> Any:
        return {"properties": {name.lower(): {"$ref": f"#/components/schemas/{name}"} for name in names}}

    schema = hooked(leads("A", "B"), A=leads("B", "C"), B=leads("A"), C=leads("A", "C"))
    fits = compile_draft7(schema)
    assert fits(json.dumps({"a": {"c": {"c": {"a": {"b": {}}}}}}).encode()) == []
    assert set(schema["definitions"]) == {"A", "B", "C"}


def test_definitions_of_the_same_last_name_are_told_apart() -> None:
    hook = posted({"properties": {"x": {"$ref": "#/components/schemas/N"}, "y": {"$ref": "#/other/N"}}})
    whole = document({"a": hook}, schemas={"N": {"title": "one", "not": {"$ref": "#/components/schemas/N"}}})
    whole["other"] = {"N": {"title": "two", "not": {"$ref": "#/other/N"}}}
    (found,) = webhooks_of(whole)
    assert {name: schema["title"] for name, schema in found.schema["definitions"].items()} == {"N": "one", "N2": "two"}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            {"$ref": "https://evil.example/x.json"},
            "'https://evil.example/x.json' is outside the document, and nothing is fetched; put it into the components",
        ),
        ({"$ref": "other.yaml#/X"}, "'other.yaml#/X' is outside the document, and nothing is fetched; put it into the components"),
        ({"$ref": "#/components/schemas/Nobody"}, "'#/components/schemas/Nobody' leads nowhere"),
        ({"$ref": "#/components/schemas/Self"}, "'#/components/schemas/Self' refers to nothing but itself"),
        ({"$ref": "#/components/schemas/Ping"}, "'#/components/schemas/Pong' refers to nothing but itself"),
        ({"properties": {"a": "text"}}, "a schema is an object, not str"),
    ],
)
def test_references_that_lead_nowhere_are_refused(schema: Any, problem: str) -> None:
    schemas = {
        "Self": {"$ref": "#/components/schemas/Self"},
        "Ping": {"$ref": "#/components/schemas/Pong"},
        "Pong": {"$ref": "#/components/schemas/Ping"},
    }
    assert refused(document({"a": posted(schema)}, schemas=schemas)) == f"webhook 'a': {problem}"


def test_a_tree_that_grows_without_end_is_cut() -> None:
    schemas = {
        f"L{level}": {"properties": {name: {"$ref": f"#/components/schemas/L{level + 1}"} for name in "abcdefghij"}} for level in range(10)
    }
    schemas["L10"] = {"type": "string"}
    problem = f"webhook 'a': its schemas hold more than {MAX_VALUES} values once references are resolved"
    assert refused(document({"a": posted({"$ref": "#/components/schemas/L0"})}, schemas=schemas)) == problem


def test_a_chain_that_nests_without_end_is_cut() -> None:
    schemas = {f"L{level}": {"not": {"$ref": f"#/components/schemas/L{level + 1}"}} for level in range(500)}
    schemas["L500"] = {}
    problem = "webhook 'a': its schema is nested deeper than 64 levels once references are resolved"
    assert refused(document({"a": posted({"$ref": "#/components/schemas/L0"})}, schemas=schemas)) == problem


def test_the_words_of_3_0_become_those_of_draft_7() -> None:
    schema = {
        "properties": {
            "a": {"type": "string", "nullable": True, "enum": ["x"]},
            "b": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False},
            "c": {"nullable": True},
            "d": {"type": "string", "nullable": False},
        }
    }
    assert hooked(schema, version="3.0.3") == {
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", None]},
            "b": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
            "c": {},
            "d": {"type": "string"},
        }
    }
    newer = {"properties": {"a": {"type": ["string", "null"]}, "b": {"exclusiveMinimum": 0}}}
    assert hooked(newer) == newer


def test_examples_are_kept_those_beside_the_schema_too() -> None:
    def schema_of(schema: Any, **media: Any) -> Any:
        components = {"examples": {"Two": {"value": {"id": 2}}}}
        (hook,) = webhooks_of(document({"a": posted(schema, **media)}, **components))
        return hook.schema

    assert schema_of({"example": {"id": 1}}) == {"example": {"id": 1}}
    assert schema_of({}, example={"id": 1}) == {"examples": [{"id": 1}]}
    named = {"one": {"value": {"id": 1}}, "two": {"$ref": "#/components/examples/Two"}, "far": {"externalValue": "https://x"}}
    assert schema_of({}, examples=named) == {"examples": [{"id": 1}, {"id": 2}]}
    # What stands beside the schema comes first: https://spec.openapis.org/oas/v3.1.0#media-type-object ("SHALL override").
    assert schema_of({"examples": [{"id": 3}]}, example={"id": 1}) == {"examples": [{"id": 1}, {"id": 3}]}
    assert schema_of({"example": {"id": 3}}, examples=named) == {"example": {"id": 3}, "examples": [{"id": 1}, {"id": 2}]}


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (
            {"text/plain": {"schema": {"title": "text"}}, "application/json; charset=utf-8": {"schema": {"title": "json"}}},
            {"title": "json"},
        ),
        ({"text/plain": {"schema": {"title": "text"}}, "application/vnd.a+json": {"schema": {"title": "json"}}}, {"title": "json"}),
        ({"text/plain": {"schema": {"title": "text"}}}, {"title": "text"}),
        ({}, None),
        ({"application/json": {}}, {}),
    ],
)
def test_json_is_preferred_among_the_bodies(content: Any, kept: Any) -> None:
    (hook,) = webhooks_of(document({"a": {"post": {"requestBody": {"content": content}}}}))
    assert hook.schema == kept


@pytest.mark.parametrize(
    ("whole", "problem"),
    [
        ({}, "`openapi` must be a text like 3.0.3 or 3.1.0, and is missing"),
        ({"swagger": "2.0"}, "`openapi` must be a text like 3.0.3 or 3.1.0, and is missing"),
        ({"openapi": "2.0"}, "`openapi` must be a text like 3.0.3 or 3.1.0, and is '2.0'"),
        ({"openapi": 3.1, "webhooks": {}}, "`openapi` must be a text like 3.0.3 or 3.1.0, and is the number 3.1: put it in quotes"),
        ({"openapi": ["3.1.0"]}, "`openapi` must be a text like 3.0.3 or 3.1.0, and is ['3.1.0']"),
        ({"openapi": "3.1.0", "paths": {}}, "there is neither `webhooks` nor `x-webhooks` at the top; nothing else is read"),
        ({"openapi": "3.1.0", "webhooks": []}, "`webhooks` must be an object"),
        ({"openapi": "3.1.0", "webhooks": {"a": 1}}, "webhook 'a': an object is wanted, not int"),
        ({"openapi": "3.1.0", "webhooks": {"a": {"post": {"description": 1}}}}, "webhook 'a': description must be text"),
    ],
)
def test_what_is_no_such_document_is_refused(whole: Any, problem: str) -> None:
    assert refused(whole) == problem


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["$ref", "post", "requestBody", "content", "application/json", "schema", "properties", "items", "allOf", "examples"]
            ),
            inner | st.sampled_from(["#/webhooks/a", "#", "#/webhooks", "#/webhooks/a/post", "http://x"]),
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c d"]), anything, max_size=3))
def test_any_webhooks_are_read_or_refused_in_one_family(hooks: Any) -> None:
    with contextlib.suppress(ValueError):
        json.dumps([hook.schema for hook in webhooks_of({"openapi": "3.1.0", "webhooks": hooks})])
