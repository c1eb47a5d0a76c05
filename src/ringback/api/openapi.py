"""What does the API promise? Its OpenAPI document, made from the operations themselves and from the types that parse and answer."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ringback import __version__
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import Answer, Call, Operation

# OpenAPI 3.1 takes JSON Schema as it is.
_OPENAPI = "3.1.0"
_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_JSON = "application/json"


class HttpError(msgspec.Struct, frozen=True):
    """What went wrong: a word for programs, a sentence for people."""

    code: str
    detail: str


class ValidationProblem(msgspec.Struct, frozen=True):
    """One field that is wrong: where, what, and of which kind."""

    loc: list[str]
    msg: str
    type: str


class HttpValidationError(msgspec.Struct, frozen=True):
    """All fields that are wrong."""

    detail: list[ValidationProblem]


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    bodies = _distinct_bodies(operations)
    answered = [shape for operation in operations for shape in operation.answers.values() if shape is not None]
    wanted: list[Any] = [HttpError, HttpValidationError, *bodies, *answered]
    # One shape once, in an order that does not depend on how the operations came.
    unique = sorted({repr(shape): shape for shape in wanted}.values(), key=repr)
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    of_shape = {repr(shape): schema for shape, schema in zip(unique, schemas, strict=True)}
    for body in bodies.values():
        _add_aliases(components[body.shape.__name__], body)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, of_shape)
    return {
        "openapi": _OPENAPI,
        "info": {"title": "Ringback", "version": __version__},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def operation_for(operations: Sequence[Operation]) -> Operation:
    """The operation that serves the document of these operations, and of itself."""
    encoded: list[bytes] = []

    async def serve(call: Call) -> Answer:
        # Made when first asked for, and never again: a server that nobody asks should not pay for it at start.
        if not encoded:
            encoded.append(msgspec.json.encode(document([*operations, itself])))
        return Answer(200, encoded[0])

    itself = Operation(
        method="GET",
        path="/api/v1/openapi.json",
        summary="This document",
        handler=serve,
        access=Access.OPEN,
        answers={200: dict[str, Any]},
    )
    return itself


def _distinct_bodies(operations: Sequence[Operation]) -> Mapping[Any, Body[Any]]:
    return {operation.body.shape: operation.body for operation in operations if operation.body is not None}


def _add_aliases(schema: dict[str, Any], body: Body[Any]) -> None:
    for name, alias in body.aliases.items():
        field = copy.deepcopy(schema["properties"][alias.field])
        if alias.single:
            field = {"type": ["string", "null"]}
        schema["properties"][name] = {**field, "deprecated": True, "description": f"An older name of `{alias.field}`, which wins"}


def _operation(operation: Operation, of_shape: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}{re.sub(r'[^A-Za-z0-9]+', '-', operation.path.removeprefix('/api')).rstrip('-')}",
        "summary": operation.summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _PARAMETER.findall(operation.path)),
            *({"name": p.name, "in": "query", "schema": p.schema, "description": p.meaning} for p in operation.query),
        ],
        "responses": {
            **{str(status): _response(shape, of_shape) for status, shape in operation.answers.items()},
            "422": {
                "description": "Fields that are wrong",
                "content": {_JSON: {"schema": {"$ref": _REF.format(name="HttpValidationError")}}},
            },
            "default": {"description": "Any other error", "content": {_JSON: {"schema": {"$ref": _REF.format(name="HttpError")}}}},
        },
    }
    if operation.method == "POST":
        key = {"name": "idempotency-key", "in": "header", "schema": {"type": "string"}}
        shown["parameters"].append({**key, "description": "Requests with the same key have their effect once"})
    if operation.body is not None:
        content = {_JSON: {"schema": of_shape[repr(operation.body.shape)]}}
        shown["requestBody"] = {"required": not operation.body.optional, "content": content}
    if operation.access is Access.OPEN:
        shown["security"] = []
    return shown


def _response(shape: Any, of_shape: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    if shape is None:
        return {"description": "Done; there is nothing to say"}
    content_type = "text/plain" if shape is str else _JSON
    return {"description": "Success", "content": {content_type: {"schema": of_shape[repr(shape)]}}}
