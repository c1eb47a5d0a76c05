"""How does a person read a number, a time, a length of time or an id? Pure; the words of the whole dashboard come from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US, rfc3339, to_datetime

# The lengths of a minute, an hour and a day in seconds.
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400
# Nothing that happened within so many seconds needs a number.
_NOW_S: Final = 2
# Times further away than this many days are told by their date.
_DATE_DAYS: Final = 30
# Bytes in a kilobyte, as disks and networks count.
_KILO: Final = 1_000
# From ten units up a decimal place says nothing.
_PLAIN_FROM: Final = 10
# Characters of an id that tell it from its neighbours: its prefix and its end.
_ID_TAIL: Final = 6


class Moment(msgspec.Struct, frozen=True):
    """A time as a page shows it: `iso` for machines, `words` relative to now, `utc` exactly."""

    iso: str
    words: str
    utc: str


def moment(at_us: int, now_us: int) -> Moment:
    """A time as seen at `now_us`."""
    return Moment(rfc3339(at_us), relative(at_us, now_us), utc(at_us))


def utc(at_us: int) -> str:
    """`2026-11-25 16:44:12.123 UTC`."""
    return f"{to_datetime(at_us):%Y-%m-%d %H:%M:%S}.{at_us % SECOND_US // 1000:03} UTC"


def relative(at_us: int, now_us: int) -> str:
    """`4 min ago`, `in 4 min 10 s`, `now`; a date for what is a month away or more."""
    seconds = abs(at_us - now_us) // SECOND_US
    if seconds < _NOW_S:
        return "now"
    if seconds >= _DATE_DAYS * _DAY_S:
        return f"{to_datetime(at_us):%Y-%m-%d}"
    return f"in {duration(seconds)}" if at_us > now_us else f"{duration(seconds, parts=1)} ago"


def duration(seconds: float, parts: int = 2) -> str:
    """A length of time in at most `parts` units: `4 min 10 s`, `2 d 3 h`; below a second in milliseconds."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _PLAIN_FROM and seconds != int(seconds):
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    rest = int(seconds)
    words: list[str] = []
    for unit, size in (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count} {unit}")
        elif words:
            break
        if len(words) == parts:
            break
    return " ".join(words)


def milliseconds(us: int) -> str:
    """A latency: `0.4 ms`, `38 ms`, `1.2 s`."""
    if us < 0:
        return "–"
    if us < _PLAIN_FROM * 1000:
        return f"{us / 1000:.1f} ms"
    return f"{us / 1000:.0f} ms" if us < SECOND_US else duration(us / SECOND_US)


def count(number: int) -> str:
    """A number with its thousands apart: `1,284`."""
    return f"{number:,}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 delivery`, `1,284 deliveries`; `many` when it is not `one` and an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def bounded(number: int, most: int, one: str, many: str | None = None) -> str:
    """As `counted`, of a count that stopped at `most`: `10,000 or more deliveries`."""
    return f"{most:,} or more {many or one + 's'}" if number >= most else counted(number, one, many)


def short(number: float) -> str:
    """A number for a narrow place: `950`, `1.3 k`, `12 M`."""
    value, unit = float(number), ""
    for larger in ("k", "M", "G"):
        if value < _KILO:
            break
        value, unit = value / _KILO, f" {larger}"
    return f"{value:.1f}{unit}" if 0 < value < _PLAIN_FROM and value != int(value) else f"{value:.0f}{unit}"


def size(number: int) -> str:
    """Bytes: `485 B`, `1.2 kB`, `20 MB`."""
    return f"{number} B" if number < _KILO else f"{short(number)}B"


def percent(part: int, whole: int) -> str:
    """A share: `99.98 %`; never `100 %` while something is missing, and never `0 %` while there is something."""
    if whole <= 0:
        return "–"
    if part in (0, whole):
        return "100 %" if part else "0 %"
    share = part * 100 / whole
    # Rounded towards the middle, so that a rare failure is not rounded away.
    text = f"{min(max(share, 0.01), 99.99):.2f}" if share > 99 or share < 1 else f"{share:.1f}"
    return f"{text} %"


def short_id(identifier: str) -> str:
    """An id for a narrow column: its prefix and its last characters. What is short already stays."""
    prefix, mark, rest = identifier.partition("_")
    if not mark or len(rest) <= _ID_TAIL * 2:
        return identifier
    return f"{prefix}_…{rest[-_ID_TAIL:]}"


def wanted(event_types: Sequence[str] | None, channels: Sequence[str] | None) -> str:
    """What somebody wants to get of these types and on these channels; None = any."""
    types = "all event types" if event_types is None else listed(sorted(event_types))
    return types if channels is None else f"{types}, on {listed(sorted(channels))}"


def listed(names: list[str], most: int = 3) -> str:
    """`a, b and c`; longer lists end in `and 4 more`."""
    shown, rest = names[:most], len(names) - most
    if rest > 0:
        return f"{', '.join(shown)} and {rest} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""
