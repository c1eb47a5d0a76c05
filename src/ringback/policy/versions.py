"""Which of two versions of one thing is the newer? Texts that providers write, turned into bytes that sort as the versions do.

There are four kinds: numbers (of any size, with decimals or an exponent), times with an offset, times without one, and days. Two kinds are
never compared: nobody knows whether 7 is older than a day.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

_NUMBER: Final = re.compile(r"([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?[0-9]{1,8}))?", re.ASCII)
_TIME: Final = re.compile(
    r"([0-9]{4}-?[0-9]{2}-?[0-9]{2})[Tt ]([0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,]([0-9]+))?)?)?)(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.ASCII,
)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
# Added to exponents, so that they are never below zero: those of eight digits, and of a text of some hundred characters.
_EXPONENT_ZERO: Final = 1 << 30
# In front of a number: below zero, zero, above.
_BELOW: Final = b"\x01"
_ZERO: Final = b"\x02"
_ABOVE: Final = b"\x03"
# Sorts above every digit, also of a number below zero, whose digits are turned round.
_END: Final = b"\xff"
_TURNED: Final = bytes(255 - byte for byte in range(256))
# Seconds in a day. Times count from the day before the first one, so that an offset never leads below zero.
_DAY_S: Final = 86_400
_MINUTE: Final = timedelta(minutes=1)


class Version(msgspec.Struct, frozen=True, gc=False):
    """One version: `kind` is number, time, local or day; of one kind, `place` sorts as bytes as the versions do."""

    kind: str
    place: bytes


def version_of(text: str) -> Version | None:
    """The version that a text writes; None where it writes none that can be compared."""
    number = _NUMBER.fullmatch(text)
    if number is not None:
        sign, whole, rest, bare, exponent = number.groups()
        return Version("number", _number(sign, whole or "", rest or bare or "", int(exponent or 0)))
    if _DAY.fullmatch(text):
        day = _day(text)
        return None if day is None else Version("day", day.to_bytes(4, "big"))
    time = _TIME.fullmatch(text)
    return None if time is None else _time(*time.groups())


def _number(sign: str, whole: str, rest: str, exponent: int) -> bytes:
    """0.DIGITS times ten to the power: that power first, then the digits."""
    digits = (whole + rest).lstrip("0")
    power = len(whole) + exponent - (len(whole + rest) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return _ZERO
    size = (power + _EXPONENT_ZERO).to_bytes(4, "big") + digits.encode()
    # Of two numbers below zero the larger size is the smaller one; the end makes the shorter of two the larger.
    return _BELOW + size.translate(_TURNED) + _END if sign == "-" else _ABOVE + size


def _day(text: str) -> int | None:
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        return None


def _time(day: str, clock: str, fraction: str | None, offset: str | None) -> Version | None:
    """Seconds and what is behind the comma, of any length. A leap second, and an hour 24, are no times here."""
    ordinal = _day(day)
    if ordinal is None:
        return None
    try:
        at = datetime.fromisoformat(f"2000-01-01T{clock.partition('.')[0].partition(',')[0]}{(offset or '').upper()}")
    except ValueError:
        return None
    seconds = (ordinal + 1) * _DAY_S + at.hour * 3_600 + at.minute * 60 + at.second
    ahead = at.utcoffset()
    if ahead is not None:
        seconds -= ahead // _MINUTE * 60
    place = seconds.to_bytes(6, "big") + (fraction or "").rstrip("0").encode()
    return Version("local" if ahead is None else "time", place)
