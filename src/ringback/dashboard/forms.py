"""What did a person write into a form? Bodies read within bounds, and values checked by the same rules as those of the API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
from starlette.types import Receive

from ringback.dashboard.problems import TooMuch
from ringback.errors import InvalidField

T = TypeVar("T", bound=msgspec.Struct)

# A payload that somebody pastes into a form to try it out; and all that a login form can hold.
FORM_MAX_BYTES: Final = 1024 * 1024
LOGIN_MAX_BYTES: Final = 8 * 1024
_BOUND: Final = re.compile(r"`(int|str)[^`]*`(?: of length)? (>=|<=) (\d+)")
# As for all other requests: nobody's form takes longer.
_BODY_TIMEOUT_S: Final = 30.0


class Memory(Protocol):
    """What bounds the memory of all bodies together."""

    def take(self, size: int) -> None:
        """Set memory aside. Raises Unavailable when there is too little."""
        ...

    def give_back(self, size: int) -> None:
        """Memory set aside is free again."""
        ...


class FormReader:
    """Reads the bodies of forms."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive, *, known: bool) -> str:
        """The body as text; `known`: somebody is logged in. Raises TooMuch, Unavailable."""
        most = FORM_MAX_BYTES if known else LOGIN_MAX_BYTES
        taken = 0
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise TooMuch("the form broke off")
                    chunk = message.get("body", b"")
                    if taken + len(chunk) > most:
                        raise TooMuch(f"the form holds more than {most} bytes; send larger payloads through the API")
                    self._memory.take(len(chunk))
                    taken += len(chunk)
                    chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise TooMuch(f"the form did not arrive within {_BODY_TIMEOUT_S:.0f} s") from None
        finally:
            self._memory.give_back(taken)
        return b"".join(chunks).decode("latin-1")


class Wrong(Exception):
    """A form that cannot be taken as it is: what is wrong with which field ("" = with none in particular)."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


def checked(shape: type[T], values: Mapping[str, Any]) -> T:
    """The values (by their names on the wire) as a struct of a service. Raises Wrong with every problem there is."""
    problems: dict[str, str] = {}
    rules = getattr(shape, "RULES", {})
    taken: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        if field.encode_name not in values:
            continue
        try:
            taken[field.name] = value = msgspec.convert(values[field.encode_name], field.type, strict=False)
        except msgspec.ValidationError as error:
            problems[field.encode_name] = in_words(str(error).split(" - at ")[0])
            continue
        rule = rules.get(field.name)
        if rule is not None and value is not None and value is not msgspec.UNSET:
            found = [message for _, message in rule(value)]
            if found:
                problems[field.encode_name] = "; ".join(found)
    if problems:
        raise Wrong(problems)
    return shape(**taken)


def in_words(problem: str) -> str:
    """What the parser of values says, for people."""
    match = _BOUND.search(problem)
    if match is None:
        return "write a whole number" if "int" in problem else problem
    kind, sign, bound = match.groups()
    if kind == "int":
        return f"write a number of at {'least' if sign == '>=' else 'most'} {bound}"
    if sign == ">=":
        return "this is needed" if bound == "1" else f"write at least {bound} characters"
    return f"write at most {bound} characters"


def problems_of(error: Wrong | InvalidField) -> dict[str, str]:
    """What a form or a service found wrong, by field."""
    return dict((wrong_of(error) if isinstance(error, InvalidField) else error).problems)


def wrong_of(error: InvalidField) -> Wrong:
    """What a service found wrong, by field."""
    return Wrong({problem.loc[1] if len(problem.loc) > 1 else "": problem.msg for problem in error.problems})


def lines(text: str) -> list[str]:
    """What stands on the lines of a text area, or between commas; each once."""
    return list(dict.fromkeys(part.strip() for part in text.replace(",", "\n").splitlines() if part.strip()))


def pairs(text: str, mark: str) -> dict[str, str]:
    """`name: value` on each line of a text area. Raises Wrong for a line without `mark`."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, given, value = line.partition(mark)
        if not given:
            raise Wrong({"": f"{line.strip()[:80]!r} holds no {mark!r}: write one name{mark} value on each line"})
        found[name.strip()] = value.strip()
    return found
