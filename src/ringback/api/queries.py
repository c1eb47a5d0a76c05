"""What does the query string ask for? Lenient where clients differ, and exact in what is wrong.

What cannot be read as its type at all is a `generic_error` (400); what can be read and breaks a rule is a list of fields (422).
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import parse_qsl

import msgspec

from ringback.clock import to_us
from ringback.errors import FieldProblem, InvalidField, Refused

# A query longer than this is no honest list of filters, and every parameter costs memory.
MAX_PARAMETERS = 1_000


class Query:
    """The parameters of one request; unknown ones are ignored."""

    __slots__ = ("_pairs",)

    def __init__(self, raw: bytes) -> None:
        try:
            self._pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
        except ValueError as error:
            raise Refused("generic_error", f"the query string cannot be read: {error}") from None

    def text(self, name: str) -> str | None:
        """The value as it is, the last one given; None when absent or empty."""
        for key, value in reversed(self._pairs):
            if key == name:
                return value or None
        return None

    def flag(self, name: str, default: bool) -> bool:
        """`true` or `false`. Raises Refused for anything else."""
        value = self.text(name)
        if value is None:
            return default
        if value not in ("true", "false"):
            raise Refused("generic_error", f"query parameter {name}: {value!r} is not a boolean; use true or false")
        return value == "true"

    def number(self, name: str) -> int | None:
        """A whole number in decimal digits. Raises Refused for anything else."""
        value = self.text(name)
        if value is None:
            return None
        if not value.removeprefix("-").isascii() or not value.removeprefix("-").isdigit():
            raise Refused("generic_error", f"query parameter {name}: {value[:40]!r} is not a whole number")
        # Twenty digits are more than 64 bits hold, and too many for everything; Python would read any number of them, slowly.
        return int(value[:20])

    def instant(self, name: str) -> int | None:
        """An RFC 3339 time with its zone, as microseconds since 1970. Raises Refused for anything else."""
        value = self.text(name)
        if value is None:
            return None
        # An unescaped plus sign of an offset arrives as a blank; the blank between date and time is at position 10.
        text = value[:11] + value[11:].replace(" ", "+")
        try:
            return to_us(msgspec.convert(text, datetime))
        except ValueError:
            raise Refused(
                "generic_error", f"query parameter {name}: {value[:80]!r} is not an RFC 3339 time; write 2024-01-02T03:04:05Z"
            ) from None

    def choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        """One of some words. Raises Refused for anything else."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise Refused("generic_error", f"query parameter {name}: {value[:80]!r} is not one of {', '.join(allowed)}")
        return value

    def words(self, name: str) -> tuple[str, ...] | None:
        """A list in any of its spellings: `a,b`, repeated, `name[]=`, `name[0]=`. Duplicates collapse; None when absent."""
        found: dict[str, None] = {}
        for key, value in self._pairs:
            if key == name or (key.startswith(name + "[") and key.endswith("]")):
                found.update((word, None) for word in value.split(",") if word)
        return tuple(found) or None

    def invalid(self, name: str, message: str) -> InvalidField:
        """The error for a parameter that can be read and breaks a rule."""
        return InvalidField(FieldProblem(("query", name), message))
