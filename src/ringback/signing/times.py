"""When does the signature say it was made? The ways in which providers write a time, read strictly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

# 10^20 ns is the year 5138: longer numbers are no times, and would cost time to parse.
_MAX_DIGITS: Final = 20
# An RFC 3339 time with nanoseconds and offset has 35 characters; an HTTP date 29.
_MAX_TEXT: Final = 40
# datetime keeps microseconds: 6 digits of a fraction.
_FRACTION_DIGITS: Final = 6


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise ValueError("not a number of decimal digits")
    return int(text)


def _milliseconds(text: bytes) -> float:
    return _number(text) / 1_000


def _seconds_or_milliseconds(text: bytes) -> float:
    number = _number(text)
    # 10^11 s is the year 5138, 10^11 ms was in 1973: no webhook is of either.
    return number / 1_000 if number >= 100_000_000_000 else number


def _nanoseconds(text: bytes) -> float:
    return _number(text) / 1_000_000_000


def _iso(text: bytes) -> float:
    if len(text) > _MAX_TEXT:
        raise ValueError("too long for a time")
    plain = text.decode("ascii")
    head, dot, tail = plain.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        plain = f"{head}.{tail[:digits][:_FRACTION_DIGITS]:0<6}{tail[digits:]}"
    at = datetime.fromisoformat(plain)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _http_date(text: bytes) -> float:
    # Only for the few who write times so: the package costs more to import than all the rest of verification.
    from email.utils import parsedate_to_datetime

    if len(text) > _MAX_TEXT:
        raise ValueError("too long for a time")
    return parsedate_to_datetime(text.decode("ascii")).timestamp()


_READERS: Final[dict[str, Callable[[bytes], float]]] = {
    "s": _number,
    "ms": _milliseconds,
    # Where the provider does not say which.
    "s_or_ms": _seconds_or_milliseconds,
    "ns": _nanoseconds,
    "iso": _iso,
    "http": _http_date,
}


def reader(unit: str) -> Callable[[bytes], float]:
    """A function from text to seconds since 1970, for times written in `unit`: s, ms, s_or_ms, ns, iso or http.

    It raises ValueError, and OverflowError for dates that no calendar has.
    """
    return _READERS[unit]
