"""What might a payload look like that fits a schema? One value, made from what the schema says, for people to look at.

It is an illustration: what cannot be made by simple means (patterns, `not`, `if`) is left as a plain value of the type. Nothing is fetched;
references lead within the schema itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

# As deep as an example is of use; a schema that leads to itself ends here.
_DEPTH_MAX: Final = 12
# Values in one sample: some screens.
_VALUES_MAX: Final = 400
# A text of its least length is only made up to so many characters.
_CHARS_MAX: Final = 200
# A value for each `format` (JSON Schema, validation, 7.3) that events use.
_FORMATS: Final[Mapping[str, str]] = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "email": "jane@example.com",
    "idn-email": "jane@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uri-reference": "/path",
    "uuid": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
}


def sample_of(schema: Any) -> Any:
    """A value that a schema describes; None where it says nothing."""
    return _Sampler(schema).value(schema, 0)


class _Sampler:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = _VALUES_MAX

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > _DEPTH_MAX or self._left < 0:
            return None
        for keyword in ("const", "example", "default"):
            if keyword in schema:
                return schema[keyword]
        for keyword in ("examples", "enum"):
            if isinstance(schema.get(keyword), list) and schema[keyword]:
                return schema[keyword][0]
        if isinstance(schema.get("$ref"), str):
            return self.value(self._referenced(schema["$ref"]), depth + 1)
        return self._made(schema, depth)

    def _made(self, schema: Mapping[str, Any], depth: int) -> Any:
        parts = _schemas(schema.get("allOf"))
        for keyword in ("oneOf", "anyOf"):
            parts += _schemas(schema.get(keyword))[:1]
        kind = _kind(schema)
        if kind is None and not parts:
            return None
        made = [self.value(part, depth + 1) for part in parts]
        if kind == "object" or (kind is None and any(isinstance(value, dict) for value in made)):
            merged: dict[str, Any] = {}
            for value in (*made, self._object(schema, depth)):
                merged |= value if isinstance(value, dict) else {}
            return merged
        if kind is None:
            return made[0]
        if kind == "array":
            return self._array(schema, depth)
        return _plain(kind, schema)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        return {name: self.value(inner, depth + 1) for name, inner in properties.items()} if isinstance(properties, dict) else {}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        items = schema.get("items")
        if isinstance(items, list):
            return [self.value(item, depth + 1) for item in items]
        return [self.value(items, depth + 1)] if isinstance(items, dict) else []

    def _referenced(self, reference: str) -> Any:
        """What a reference within the schema leads to (RFC 6901); None for any other."""
        if not reference.startswith("#"):
            return None
        found = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                return None
            found = found[name]
        return found


def _schemas(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _kind(schema: Mapping[str, Any]) -> str | None:
    """The type that a value is to have."""
    kind = schema.get("type")
    if isinstance(kind, Sequence) and not isinstance(kind, str):
        kind = next((name for name in kind if name != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else None


def _plain(kind: str, schema: Mapping[str, Any]) -> Any:
    if kind == "boolean":
        return True
    if kind == "integer":
        return int(_number(schema, 1))
    if kind == "number":
        return _number(schema, 1.5)
    if kind == "string":
        text = _FORMATS.get(str(schema.get("format")), "text")
        least = schema.get("minLength", 0)
        return text.ljust(min(int(least), _CHARS_MAX), "x") if isinstance(least, int | float) else text
    return None


def _number(schema: Mapping[str, Any], otherwise: float) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int | float) and otherwise < low:
        return low
    if isinstance(high, int | float) and otherwise > high:
        return high
    return otherwise
