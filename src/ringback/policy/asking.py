"""How is a provider's API asked, whatever for? Requests made of templates, and what may be said of any answer. Pure.

An answer is a stranger's text: whatever it holds, reading it raises `Unreadable` and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from ringback import __version__
from ringback.clock import SECOND_US, to_us
from ringback.policy.urls import UrlParts

# Headers that say how a request is read.
FRAMING: Final = frozenset({"host", "connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
# What a provider may make us wait at the most, seconds: a day.
MAX_RETRY_AFTER_S: Final = 86_400.0

# Seconds of the first rest after a failure, and of the longest: an outage is over in minutes, a wrong credential needs a person.
_FIRST_REST_S: Final = 30.0
_LONGEST_REST_S: Final = 3_600.0
# Numbers above this are milliseconds: as seconds they would be in the year 5138.
_MILLISECONDS: Final = 100_000_000_000
# Longer than any header that a provider asks for.
_MAX_HEADER: Final = 4_096
_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
_HEADER_NAME: Final = re.compile(r"[a-z0-9_-]{1,100}")


class Unreadable(ValueError):
    """The answer is not what it should be; the text says how, and holds nothing secret."""


class Request(msgspec.Struct, frozen=True):
    """A request to an API. It holds the credential: it belongs on the wire and nowhere else."""

    place: UrlParts
    head: bytes
    body: bytes


def request_to(method: str, place: UrlParts, target: str, fields: Mapping[str, str], body: bytes = b"") -> Request:
    """A request with these headers (names in lower case), and those that every one has."""
    every = {"host": place.authority, "user-agent": f"ringback/{__version__}", "accept": "application/json", **fields}
    every["content-length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items())]
    return Request(place, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body)


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with what is known put in; the rest stays as it is."""
    return _PARAMETER.sub(lambda match: values.get(match[1], match[0]), template)


def names_in(template: str) -> set[str]:
    """The parameters that a template asks for."""
    return set(_PARAMETER.findall(template))


def is_path(path: str, *, query: bool = False) -> bool:
    """May a template of a path look so? With `query` it may have one."""
    foreign = set(" #\\") if query else set(" ?#\\")
    return path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable() and not set(path) & foreign


def is_header(name: str, value: str) -> bool:
    """Can this stand in the head of a request? The name is in lower case."""
    return bool(_HEADER_NAME.fullmatch(name)) and len(value) <= _MAX_HEADER and value.isascii() and value.isprintable()


def are_headers(fields: Mapping[str, str]) -> bool:
    """Can these stand in the head of a request?"""
    return all(is_header(name.lower(), value) for name, value in fields.items())


def rest_s(failures: int, retry_after_s: float | None) -> float:
    """Seconds of rest after so many failures in a row; what the provider asks for, if that is longer."""
    own = min(_FIRST_REST_S * 2.0 ** min(failures - 1, 16), _LONGEST_REST_S)
    return own if retry_after_s is None else max(own, min(retry_after_s, MAX_RETRY_AFTER_S))


def time_of(value: object) -> int | None:
    """The time that a value of a provider's JSON tells: RFC 3339, or seconds or milliseconds since 1970; None where it tells none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            seconds = value / 1_000 if value > _MILLISECONDS else value
            return int(seconds * SECOND_US)
        return to_us(msgspec.convert(value, datetime)) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None
