"""Which events does an OpenAPI document describe? Its webhooks, with their schemas as JSON Schema of draft 7.

References are put in place of, never fetched: what they lead to must be in the document. Where they run in circles, the schema gets
`definitions` of its own. All of it is bounded: a small document can describe a very large tree.
Source: https://spec.openapis.org/oas/v3.1.0 and v3.0.3, with the keys `x-webhooks` and `x-svix-*` of the HTTP contract (3.3)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from ringback.policy import validation

# Values of all schemas together, once references are resolved; some 10 MB.
MAX_VALUES: Final = 200_000
# As deep as a request may be nested; a schema is two levels for each level of what it describes.
MAX_DEPTH: Final = 64
_METHODS: Final = ("post", "put", "patch", "get", "delete", "options", "head", "trace")
# Keywords whose values are schemas, lists of schemas, maps to schemas.
_SCHEMAS: Final = frozenset(
    ("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then", "unevaluatedItems")
) | {"unevaluatedProperties", "contentSchema"}
_SCHEMA_LISTS: Final = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))
_SCHEMA_MAPS: Final = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
# Beside a reference they only describe; they stand in place of those of what it leads to.
_ANNOTATIONS: Final = frozenset(
    ("default", "deprecated", "description", "example", "examples", "externalDocs", "readOnly", "summary", "title", "writeOnly", "xml")
)
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]")


class Described(msgspec.Struct, frozen=True):
    """One webhook of a document. `schema` is None where it has no body; nothing here has been checked against our own rules."""

    name: str
    description: str
    schema: Any
    deprecated: bool
    group_name: Any
    feature_flags: Any


def webhooks_of(document: Mapping[str, Any]) -> list[Described]:
    """The webhooks of a document, in its order. Raises ValueError with what is wrong."""
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith("3."):
        raise ValueError(f"`openapi` must be a text like 3.0.3 or 3.1.0, and is {_told(version)}")
    found: dict[str, Any] = {}
    for key in ("webhooks", "x-webhooks"):
        hooks = document.get(key)
        if hooks is not None and not isinstance(hooks, dict):
            raise ValueError(f"`{key}` must be an object")
        for name, item in (hooks or {}).items():
            found.setdefault(name, item)
    if "webhooks" not in document and "x-webhooks" not in document:
        raise ValueError("there is neither `webhooks` nor `x-webhooks` at the top; nothing else is read")
    reader = _Reader(document, is_draft4=version.startswith("3.0"))
    described = [_described(reader, name, item) for name, item in found.items()]
    names = [hook.name for hook in described]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise ValueError(f"two webhooks are named {twice!r}")
    return described


def _described(reader: _Reader, key: str, item: Any) -> Described:
    place = f"webhook {key[:80]!r}"
    path = reader.resolved(item, place)
    method = next((method for method in _METHODS if method in path), None)
    operation = reader.resolved(path[method], place) if method is not None else {}
    said = {**path, **operation}
    return Described(
        name=_name(key, operation.get("operationId"), place),
        description=_text(said.get("description") or said.get("summary") or "", f"{place}: description"),
        schema=_body_schema(reader, operation, place),
        deprecated=said.get("deprecated") is True,
        group_name=said.get("x-svix-group-name"),
        feature_flags=said.get("x-svix-feature-flags"),
    )


def _name(key: str, operation_id: Any, place: str) -> str:
    if not validation.name(key):
        return key
    if isinstance(operation_id, str) and not validation.name(operation_id):
        return operation_id
    raise ValueError(f"{place}: neither its key nor its operationId is a name of letters, digits, '-', '_' and '.'")


def _told(version: Any) -> str:
    if version is None:
        return "missing"
    # `openapi: 3.1` in YAML.
    return f"the number {version}: put it in quotes" if isinstance(version, float) else repr(version)[:80]


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place} must be text")
    return value


def _body_schema(reader: _Reader, operation: Mapping[str, Any], place: str) -> Any:
    if operation.get("requestBody") is None:
        return None
    content = reader.resolved(operation["requestBody"], place).get("content")
    if not isinstance(content, dict) or not content:
        return None
    kinds = [str(kind) for kind in content]
    chosen = next((kind for kind in kinds if kind.lower().split(";")[0].strip() == "application/json"), None)
    chosen = chosen or next((kind for kind in kinds if "json" in kind.lower()), kinds[0])
    media = reader.resolved(content[chosen], place)
    schema = reader.schema(media.get("schema", {}), place)
    examples = _examples(reader, media, place)
    if examples and isinstance(schema, dict):
        own = schema.get("examples")
        # Those of the body stand in place of those of its schema (OpenAPI 3.1, Media Type Object), which are kept behind them.
        schema["examples"] = [*examples, *(own if isinstance(own, list) else ())]
    return schema


def _examples(reader: _Reader, media: Mapping[str, Any], place: str) -> list[Any]:
    """The examples that stand beside a schema."""
    if "example" in media:
        return [reader.copied(media["example"], place, 0)]
    named = media.get("examples")
    if not isinstance(named, dict):
        return []
    found = [reader.resolved(example, place) for example in named.values()]
    return [reader.copied(example["value"], place, 0) for example in found if "value" in example]


class _Reader:
    """Resolves the references of one document. `is_draft4`: its schemas are those of OpenAPI 3.0."""

    def __init__(self, document: Mapping[str, Any], *, is_draft4: bool) -> None:
        self._document = document
        self._is_draft4 = is_draft4
        self._left = MAX_VALUES
        # Of the schema that is being read: references on the way down, and the names of those that came round again.
        self._way: list[str] = []
        self._circles: dict[str, str] = {}

    def resolved(self, value: Any, place: str) -> Mapping[str, Any]:
        """An object of the document, or the one that it refers to. Raises ValueError when it is none."""
        seen: set[str] = set()
        while isinstance(value, dict) and isinstance(value.get("$ref"), str):
            reference = value["$ref"]
            if reference in seen:
                raise ValueError(f"{place}: {reference[:200]!r} refers to nothing but itself")
            seen.add(reference)
            value = self._found(reference, place)
        if not isinstance(value, dict):
            raise ValueError(f"{place}: an object is wanted, not {type(value).__name__}")
        return value

    def schema(self, value: Any, place: str) -> Any:
        """A schema without references into the document."""
        self._way, self._circles = [], {}
        read = self._schema(value, place, 0)
        definitions: dict[str, Any] = {}
        while missing := [reference for reference, name in self._circles.items() if name not in definitions]:
            for reference in missing:
                self._way = [reference]
                target = self._found(reference, place)
                if isinstance(target, dict) and "$ref" in target:
                    target = self.resolved(target, place)
                definitions[self._circles[reference]] = self._schema(target, place, 1)
        if definitions:
            read = {**read, "definitions": {**read.get("definitions", {}), **definitions}}
        return read

    def copied(self, value: Any, place: str, depth: int) -> Any:
        """A value as it stands, counted."""
        self._count(place, depth)
        if isinstance(value, dict):
            return {str(key): self.copied(item, place, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.copied(item, place, depth + 1) for item in value]
        return value

    def _count(self, place: str, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"{place}: its schemas hold more than {MAX_VALUES} values once references are resolved")
        if depth > MAX_DEPTH:
            raise ValueError(f"{place}: its schema is nested deeper than {MAX_DEPTH} levels once references are resolved")

    def _schema(self, value: Any, place: str, depth: int) -> Any:
        self._count(place, depth)
        if isinstance(value, bool):
            return value
        if not isinstance(value, dict):
            raise ValueError(f"{place}: a schema is an object, not {type(value).__name__}")
        if isinstance(value.get("$ref"), str):
            return self._referred(value, place, depth)
        read = {str(keyword): self._member(str(keyword), content, place, depth + 1) for keyword, content in value.items()}
        return _draft7(read) if self._is_draft4 else read

    def _member(self, keyword: str, content: Any, place: str, depth: int) -> Any:
        if keyword in _SCHEMA_LISTS and isinstance(content, list):
            return [self._schema(item, place, depth) for item in content]
        if keyword in _SCHEMA_MAPS and isinstance(content, dict):
            return {str(name): self._schema(item, place, depth) for name, item in content.items()}
        if keyword == "dependencies" and isinstance(content, dict):
            # Each is a schema, or a list of names.
            return {
                str(name): self.copied(v, place, depth) if isinstance(v, list) else self._schema(v, place, depth)
                for name, v in content.items()
            }
        if keyword in _SCHEMAS:
            return self._schema(content, place, depth)
        return self.copied(content, place, depth)

    def _referred(self, value: Mapping[str, Any], place: str, depth: int) -> Any:
        reference = value["$ref"]
        if reference in self._way:
            return {"$ref": f"#/definitions/{self._circles.setdefault(reference, self._definition(reference))}"}
        self._way.append(reference)
        target = self._schema(self._found(reference, place), place, depth)
        self._way.pop()
        beside = {keyword: content for keyword, content in value.items() if keyword != "$ref"}
        if self._is_draft4 or not beside:
            # There, whatever stands beside a reference is ignored.
            return target
        told = {keyword: self.copied(content, place, depth) for keyword, content in beside.items() if keyword in _ANNOTATIONS}
        ruled = {str(k): self._member(str(k), content, place, depth + 1) for k, content in beside.items() if k not in _ANNOTATIONS}
        if ruled or not isinstance(target, dict) or "$ref" in target:
            return {"allOf": [target], **ruled, **told}
        return {**target, **told}

    def _definition(self, reference: str) -> str:
        name = wanted = _NOT_IN_A_NAME.sub("_", unquote(reference).rpartition("/")[2]) or "root"
        number = 2
        while name in self._circles.values():
            name, number = f"{wanted}{number}", number + 1
        return name

    def _found(self, reference: str, place: str) -> Any:
        if not reference.startswith("#"):
            raise ValueError(f"{place}: {reference[:200]!r} is outside the document, and nothing is fetched; put it into the components")
        found: Any = self._document
        for step in unquote(reference[1:]).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and len(key) < 10 and int(key) < len(found):
                found = found[int(key)]
            else:
                raise ValueError(f"{place}: {reference[:200]!r} leads nowhere")
        return found


def _draft7(schema: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI 3.0 says in its own words, said in those of draft 7."""
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        given = schema.get(exclusive)
        if isinstance(given, bool):
            del schema[exclusive]
            if given and bound in schema:
                schema[exclusive] = schema.pop(bound)
    # Without a type beside it, it says nothing.
    if schema.pop("nullable", False) is True and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        values: Sequence[Any] | Any = schema.get("enum")
        if isinstance(values, list) and None not in values:
            schema["enum"] = [*values, None]
    return schema
