"""Does this body fit the schema? JSON Schema checks that fetch nothing, and end: no pattern can run for long."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

import msgspec

# A larger body fits no schema, or whoever wanted to get around a schema would only have to add blanks.
MAX_CHECKED_BYTES: Final = 1024 * 1024
# Bytes of the schema times bytes of the body: every rule may look at every value, and so much looking takes up to a millisecond.
_QUICK: Final = 4 * 1024 * 1024
# With references a schema of some lines can ask for more work than anybody has time for, and counted repetitions (`a{900}`) make a short
# pattern a large machine.
_ENDLESS: Final = re.compile(rb'"\$(?:ref|dynamicRef|recursiveRef)"|\{\d')
# A compiled pattern of so many bytes is a schema that was meant to hurt.
_MAX_PATTERN_BYTES: Final = 1 << 20

# Problems told of one body: more help nobody, and each costs as much as the first.
MAX_MISFITS: Final = 20


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


class QuickLook:
    """Says at once of most bodies that they fit; of the others nothing, since it may take longer than the event loop has."""

    __slots__ = ("_is_valid", "_most_bytes", "text")

    def __init__(self, schema: Any) -> None:
        """Raises ValueError for a schema that cannot be compiled."""
        self.text = msgspec.json.encode(schema)
        self._is_valid = _validator(schema).is_valid
        self._most_bytes = 0 if _ENDLESS.search(self.text) else _QUICK // len(self.text)

    def doubtful(self, payloads: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those that do not surely fit."""
        if sum(map(len, payloads)) > self._most_bytes:
            return tuple(payloads)
        return tuple(payload for payload in payloads if not self._surely_fits(payload))

    def _surely_fits(self, payload: bytes) -> bool:
        try:
            return bool(self._is_valid(msgspec.json.decode(payload)))
        except (ValueError, RecursionError):
            return False


def compile_draft7(schema: Any) -> Fit:
    """What checks bodies against a schema, of draft 7 unless it says otherwise. Raises ValueError for one that cannot be compiled."""
    validator = _validator(schema, draft7=not (isinstance(schema, dict) and "$schema" in schema))
    return lambda body: _misfits(validator, body)


def compile_newest(schema: Any) -> Fit:
    """As `compile_draft7`, for a schema that is of the newest draft unless it says otherwise."""
    validator = _validator(schema)
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
