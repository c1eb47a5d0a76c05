"""Is this a JSON Schema? The shape that draft 7 asks of each keyword, checked without a validator: nothing is compiled or fetched.

Source: https://json-schema.org/draft-07/schema
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ringback.policy.validation import Problem

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})

# Dates are the longest numbers that anybody uses as versions.
_VERSION_DIGITS = 20

_Check = Callable[[Any], Sequence[Problem]]


def schemas(value: Mapping[str, Any]) -> Sequence[Problem]:
    """The rule for a map of versions to JSON Schemas."""
    return _map_of(schema)(value)


def newest(versions: Mapping[str, Any]) -> Any:
    """The schema of the highest numbered version, None when there is none; versions that are no numbers come before all numbers."""
    return versions[max(versions, key=_rank)] if versions else None


def _rank(version: str) -> tuple[bool, int, str]:
    # More digits than any version has are a name: reading them as a number would take long.
    numbered = version.isascii() and version.isdigit() and len(version) <= _VERSION_DIGITS
    return numbered, int(version) if numbered else 0, version


def schema(value: Any) -> Sequence[Problem]:
    """The rule for one JSON Schema: an object whose known keywords have the right shape, or a boolean. Unknown keywords are annotations."""
    if isinstance(value, bool):
        return ()
    if not isinstance(value, dict):
        return [((), f"a JSON Schema is an object, true or false, not {_kind(value)}")]
    problems: list[Problem] = []
    for keyword, content in value.items():
        check = _KEYWORDS.get(keyword)
        if check is not None:
            problems += [((keyword, *where), message) for where, message in check(content)]
    return problems


def _kind(value: Any) -> str:
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    return names.get(type(value), "null")


def _is(shape: Callable[[Any], bool], wanted: str) -> _Check:
    def check(value: Any) -> Sequence[Problem]:
        return () if shape(value) else [((), f"must be {wanted}, not {_kind(value)}")]

    return check


def _list_of(check: _Check, *, least: int) -> _Check:
    def check_list(value: Any) -> Sequence[Problem]:
        if not isinstance(value, list) or len(value) < least:
            return [((), f"must be an array of at least {least}, not {_kind(value)}")]
        return [((f"[{index}]", *where), message) for index, item in enumerate(value) for where, message in check(item)]

    return check_list


def _map_of(check: _Check) -> _Check:
    def check_map(value: Any) -> Sequence[Problem]:
        if not isinstance(value, dict):
            return [((), f"must be an object, not {_kind(value)}")]
        return [((key, *where), message) for key, item in value.items() for where, message in check(item)]

    return check_map


def _either(first: type, check: _Check, otherwise: _Check) -> _Check:
    def check_either(value: Any) -> Sequence[Problem]:
        return check(value) if isinstance(value, first) else otherwise(value)

    return check_either


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and float(value).is_integer()


_text = _is(lambda value: isinstance(value, str), "a string")
_flag = _is(lambda value: isinstance(value, bool), "a boolean")
_number = _is(_is_number, "a number")
_count = _is(_is_count, "a whole number from 0 up")
_type = _is(lambda value: isinstance(value, str) and value in _TYPES, f"one of {', '.join(sorted(_TYPES))}")
_schema_list = _list_of(schema, least=1)

_KEYWORDS: Mapping[str, _Check] = {
    **dict.fromkeys(("$id", "$schema", "$ref", "$comment", "title", "description", "pattern", "format", "contentMediaType"), _text),
    **dict.fromkeys(("contentEncoding",), _text),
    **dict.fromkeys(("readOnly", "uniqueItems"), _flag),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"), _number),
    "multipleOf": _is(lambda value: _is_number(value) and value > 0, "a number above 0"),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), _count),
    **dict.fromkeys(("additionalItems", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not"), schema),
    **dict.fromkeys(("definitions", "properties", "patternProperties"), _map_of(schema)),
    **dict.fromkeys(("allOf", "anyOf", "oneOf"), _schema_list),
    "items": _either(list, _schema_list, schema),
    "required": _list_of(_text, least=0),
    "examples": _list_of(lambda value: (), least=0),
    "enum": _list_of(lambda value: (), least=0),
    "type": _either(list, _list_of(_type, least=1), _type),
    "dependencies": _map_of(_either(list, _list_of(_text, least=0), schema)),
}
