"""A sample is what a schema describes, and ends however the schema goes on."""

from __future__ import annotations

import typing

import jsonschema_rs
import msgspec
import pytest

from ringback.policy.samples import sample_of

ORDER: dict[str, typing.Any] = {
    "type": "object",
    "required": ["id", "total", "items"],
    "properties": {
        "id": {"type": "string", "minLength": 8},
        "total": {"type": "number", "minimum": 10},
        "share": {"type": "number", "maximum": 1},
        "count": {"type": "integer", "minimum": 3},
        "currency": {"enum": ["EUR", "USD"]},
        "kind": {"const": "order"},
        "at": {"type": "string", "format": "date-time"},
        "mail": {"type": "string", "format": "email"},
        "note": {"type": ["null", "string"]},
        "paid": {"type": "boolean"},
        "items": {"type": "array", "items": {"$ref": "#/definitions/item"}},
        "pair": {"type": "array", "items": [{"type": "integer"}, {"type": "string"}]},
    },
    "definitions": {
        "item": {"allOf": [{"properties": {"sku": {"type": "string"}}}, {"type": "object", "properties": {"n": {"default": 2}}}]}
    },
}


def test_a_sample_fits_the_schema_that_it_is_made_from() -> None:
    sample = sample_of(ORDER)
    jsonschema_rs.Draft7Validator(ORDER).validate(sample)
    assert set(sample) == set(ORDER["properties"])
    assert sample["currency"] == "EUR" and sample["kind"] == "order" and sample["items"] == [{"sku": "text", "n": 2}]


@pytest.mark.parametrize(
    ("schema", "sample"),
    [
        (True, None),
        ({}, None),
        ("no schema", None),
        ({"type": "object"}, {}),
        ({"examples": [{"a": 1}]}, {"a": 1}),
        ({"example": 7}, 7),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "anyOf": [{"properties": {"b": {"const": 2}}}]}, {"b": 2, "a": None}),
        ({"$ref": "#/definitions/a~1b", "definitions": {"a/b": {"const": "here"}}}, "here"),
        ({"$ref": "https://example.com/other.json"}, None),
        ({"$ref": "#/nowhere/at/all"}, None),
        ({"type": "string", "minLength": 10**9}, "text".ljust(200, "x")),
        ({"type": [], "properties": []}, None),
    ],
)
def test_a_sample_is_as_plain_as_the_schema(schema: typing.Any, sample: typing.Any) -> None:
    assert sample_of(schema) == sample


def test_a_schema_that_leads_to_itself_ends() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}}
    assert len(msgspec.json.encode(sample_of(tree))) < 20_000
    assert sample_of({"$ref": "#"}) is None
    assert sample_of({"allOf": [{"$ref": "#"}] * 50}) is None
