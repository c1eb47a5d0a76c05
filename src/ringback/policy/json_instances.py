"""Does this body fit the schema? JSON Schema checks that fetch nothing, and end: no pattern can run for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

# Checks hold the event loop: a body of this size takes up to four milliseconds. A larger one fits no schema, or whoever wanted to get
# around a schema would only have to add blanks.
MAX_CHECKED_BYTES: Final = 1024 * 1024
# A compiled pattern of so many bytes is a schema that was meant to hurt.
_MAX_PATTERN_BYTES: Final = 1 << 20

# Gives the first problem as a sentence, None when the body fits.
Validate: TypeAlias = Callable[[bytes], "str | None"]


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri}: a schema may not refer to anything outside itself")


def compile_schema(schema: Any) -> Validate:
    """What checks bodies against a schema. Raises ValueError for one that cannot be compiled."""
    # Loaded only where a schema is used: it is a part of the server, not of receiving in an application.
    import jsonschema_rs

    options = jsonschema_rs.RegexOptions(size_limit=_MAX_PATTERN_BYTES)
    try:
        validator = jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=options)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise ValueError(f"the schema cannot be used: {error}") from None
    return lambda body: _problem(validator, body)


def _problem(validator: Any, body: bytes) -> str | None:
    if len(body) > MAX_CHECKED_BYTES:
        return f"the body has {len(body)} bytes; at most {MAX_CHECKED_BYTES} can be checked against a schema"
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    found = next(iter(validator.iter_errors(document)), None)
    if found is None:
        return None
    where = "/".join(str(step) for step in found.instance_path)
    # The library's own sentence repeats the value, which may be anything.
    return f"at /{where}: the value breaks the rule {'/'.join(str(step) for step in found.schema_path) or 'of the schema'}"
