"""Does this body fit the schema? JSON Schema checks that fetch nothing, and end: no pattern can run for long."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, TypeAlias

import msgspec

# Checks hold the event loop: a body of this size takes up to four milliseconds. A larger one fits no schema, or whoever wanted to get
# around a schema would only have to add blanks.
MAX_CHECKED_BYTES: Final = 1024 * 1024
# A compiled pattern of so many bytes is a schema that was meant to hurt.
_MAX_PATTERN_BYTES: Final = 1 << 20

# Problems told of one body: more help nobody, and each costs as much as the first.
MAX_MISFITS: Final = 20

# Gives the first problem as a sentence, None when the body fits.
Validate: TypeAlias = Callable[[bytes], "str | None"]


class Misfit(msgspec.Struct, frozen=True):
    """One place in a body that breaks a rule of the schema: the steps to it (list positions as `[0]`), and which rule.

    `missing`: it is a field that must be there.
    """

    where: tuple[str, ...]
    rule: str
    missing: bool = False


# Gives what does not fit, at most `MAX_MISFITS`; nothing when the body fits.
Fit: TypeAlias = Callable[[bytes], "list[Misfit]"]


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri}: a schema may not refer to anything outside itself")


def compile_schema(schema: Any) -> Validate:
    """What checks bodies against a schema. Raises ValueError for one that cannot be compiled."""
    validator = _validator(schema)
    return lambda body: _problem(validator, body)


def compile_draft7(schema: Any) -> Fit:
    """What checks bodies against a schema that is of draft 7 unless it says otherwise. Raises ValueError as `compile_schema` does."""
    validator = _validator(schema, draft7=not (isinstance(schema, dict) and "$schema" in schema))
    return lambda body: _misfits(validator, body)


def _validator(schema: Any, *, draft7: bool = False) -> Any:
    # Loaded only where a schema is used: it is a part of the server, not of receiving in an application.
    import jsonschema_rs

    options = jsonschema_rs.RegexOptions(size_limit=_MAX_PATTERN_BYTES)
    make = jsonschema_rs.Draft7Validator if draft7 else jsonschema_rs.validator_for
    try:
        return make(schema, retriever=_refuse, pattern_options=options)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise ValueError(f"the schema cannot be used: {error}") from None


def _misfits(validator: Any, body: bytes) -> list[Misfit]:
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return [Misfit((), "of JSON")]
    return [_misfit(found) for found in islice(validator.iter_errors(document), MAX_MISFITS)]


def _misfit(found: Any) -> Misfit:
    where = tuple(f"[{step}]" if isinstance(step, int) else str(step) for step in found.instance_path)
    # A name that the schema itself says; what the body says is never repeated.
    missing = getattr(found.kind, "property", None)
    return Misfit(where, _rule(found)) if missing is None else Misfit((*where, str(missing)), _rule(found), True)


def _rule(found: Any) -> str:
    return "/".join(str(step) for step in found.schema_path) or "of the schema"


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
    return f"at /{where}: the value breaks the rule {_rule(found)}"
