"""What does the API promise? Its OpenAPI document, made from the operations themselves and from the types that parse and answer."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from ringback import __version__
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import Answer, Call, Operation, Parameter

# OpenAPI 3.1 takes JSON Schema as it is.
_OPENAPI = "3.1.0"
_REF = "#/components/schemas/{name}"
_REFUSAL = "#/components/responses/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_JSON = "application/json"
# Fields whose value must be nobody else's.
_UNIQUE: Final = frozenset({"uid", "event_id"})
# How operations refuse (contract, 1.5). Every one of these is JSON, a list of fields with 422 and else a code and a sentence.
_REFUSALS: Final = {
    400: "The request cannot be read, or may not be carried out as it is",
    401: "No token, or one that is unknown, expired or revoked",
    403: "The token may not do this",
    404: "There is no such entity, or it belongs to somebody else",
    408: "The body came too slowly",
    409: "A unique name is taken, or the entity is in another state",
    413: "The body is too large",
    422: "Fields that are wrong",
    500: "A fault of the server",
    501: "A part of the API that this version does not have",
    503: "The server cannot do it now; try again after `Retry-After` seconds",
}


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
        _complete(components[body.shape.__name__], body)
    refusals = {_name_of(status): _refusal(status, meaning) for status, meaning in _REFUSALS.items()}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, of_shape)
    return {
        "openapi": _OPENAPI,
        "info": {"title": "Ringback", "version": __version__},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": refusals,
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


def _complete(schema: dict[str, Any], body: Body[Any]) -> None:
    """Add what the type alone does not say: fields that must hold an object, and older names of fields."""
    for declared in msgspec.structs.fields(body.shape):
        if declared.name in body.objects:
            schema["properties"][declared.encode_name] = {"type": "object"}
    for name, alias in body.aliases.items():
        field: dict[str, Any] = copy.deepcopy(schema["properties"][alias.field])
        if alias.single:
            field = {"anyOf": [_items(field), {"type": "null"}]}
        older = f"An older name of `{alias.field}`, which wins"
        if alias.field in schema["required"]:
            # Either of the two will do; and where both are given nobody looks at this one.
            schema["required"].remove(alias.field)
            schema["anyOf"] = [{"required": [alias.field]}, {"required": [name], "properties": {name: field}}]
            field = {}
        schema["properties"][name] = {**field, "deprecated": True, "description": older}


def _items(field: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of the items of a list that may be null."""
    lists = [choice for choice in field["anyOf"] if choice.get("type") == "array"]
    return copy.deepcopy(lists[0]["items"])


def _operation(operation: Operation, of_shape: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "operationId": f"{operation.method.lower()}{re.sub(r'[^A-Za-z0-9]+', '-', operation.path.removeprefix('/api')).rstrip('-')}",
        "summary": operation.summary,
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in _PARAMETER.findall(operation.path)),
            *(_query(parameter) for parameter in operation.query),
        ],
        "responses": {
            **{str(status): {"$ref": _REFUSAL.format(name=_name_of(status))} for status in refusals_of(operation)},
            **{str(status): _response(operation, status, shape, of_shape) for status, shape in operation.answers.items()},
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


def _query(parameter: Parameter) -> dict[str, Any]:
    # A parameter without a value is as good as absent, whatever its type.
    return {
        "name": parameter.name,
        "in": "query",
        "schema": parameter.schema,
        "allowEmptyValue": True,
        "description": parameter.meaning,
    }


def refusals_of(operation: Operation) -> list[int]:
    """The statuses with which an operation may refuse a request."""
    return sorted({*_shared_refusals(operation), *operation.refusals})


def _shared_refusals(operation: Operation) -> Iterator[int]:
    yield from (400, 500, 503)
    if operation.access is not Access.OPEN:
        yield from (401, 403)
    if _PARAMETER.search(operation.path):
        yield 404
    if operation.body is not None:
        yield from (408, 413)
        if _UNIQUE.intersection(operation.body.shape.__struct_fields__):
            yield 409
    if operation.body is not None or operation.query:
        yield 422


def _name_of(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


def _refusal(status: int, meaning: str) -> dict[str, Any]:
    shape = HttpValidationError if status == 422 else HttpError
    return {"description": meaning, "content": {_JSON: {"schema": {"$ref": _REF.format(name=shape.__name__)}}}}


def _response(operation: Operation, status: int, shape: Any, of_shape: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    if shape is None:
        return {"description": "Done; there is nothing to say"}
    description = "Success" if status < 300 else HTTPStatus(status).phrase
    return {"description": description, "content": {operation.media_type: {"schema": of_shape[repr(shape)]}}}
