"""When is a schedule due? Five fields as in crontab(5), in UTC, by the minute. Pure.

Source: crontab(5) of Vixie cron, https://man.archlinux.org/man/crontab.5; `a/n`, from a to the end, is of cronie and of most libraries.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Final

import msgspec

from ringback.policy.validation import Problem

# Minutes in a day.
_DAY: Final = 1_440
# Longer than sixty numbers with commas between, and the four other fields.
_MAX_CHARS: Final = 500
# 29 February on a given weekday comes after 40 years at the latest, around the year 2100.
_YEARS: Final = 41
# Days since 1970 to those that Python counts.
_EPOCH: Final = date(1970, 1, 1).toordinal()
# Beyond the last year of Python's calendar is no due minute.
_LAST_DAY: Final = date.max.toordinal() - _EPOCH
_FIRST_DAY: Final = date.min.toordinal() - _EPOCH
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_NONE: Final[Mapping[str, int]] = {}
_MONTHS: Final = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6, "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_WEEKDAYS: Final = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}


class _Field(msgspec.Struct, frozen=True):
    """One of the five fields: its name in messages, its bounds, and the names that numbers may have."""

    name: str
    first: int
    last: int
    names: Mapping[str, int] = _NONE


# The bounds of crontab(5); Sunday is 0 and 7.
_WEEKDAY: Final = _Field("day of week", 0, 7, _WEEKDAYS)
# As above.
_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _WEEKDAY,
)


class Schedule(msgspec.Struct, frozen=True):
    """A schedule that was understood: which values of each field are due; Sunday is 0.

    `either`: both kinds of days are restricted, so that a day which fits one of them is due; else it must fit both.
    """

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def after(self, minute: int) -> int | None:
        """The first due minute after `minute`; both are minutes since 1970. None: it is never due again."""
        day, (hour, now) = minute // _DAY, divmod(minute % _DAY, 60)
        if self._fits(day):
            if hour in self.hours and self.minutes[-1] > now:
                return minute - now + next(at for at in self.minutes if at > now)
            if self.hours[-1] > hour:
                return day * _DAY + next(h for h in self.hours if h > hour) * 60 + self.minutes[0]
        following = next(self._days(day + 1, 1), None)
        return None if following is None else following * _DAY + self.hours[0] * 60 + self.minutes[0]

    def until(self, minute: int) -> int | None:
        """The last due minute that is not after `minute`; both are minutes since 1970. None: there was none."""
        day, (hour, now) = minute // _DAY, divmod(minute % _DAY, 60)
        if self._fits(day):
            if hour in self.hours and self.minutes[0] <= now:
                return minute - now + next(at for at in reversed(self.minutes) if at <= now)
            if self.hours[0] < hour:
                return day * _DAY + next(h for h in reversed(self.hours) if h < hour) * 60 + self.minutes[-1]
        former = next(self._days(day - 1, -1), None)
        return None if former is None else former * _DAY + self.hours[-1] * 60 + self.minutes[-1]

    def _fits(self, day: int) -> bool:
        on = date.fromordinal(day + _EPOCH)
        return on.month in self.months and self._day_fits(on)

    def _day_fits(self, on: date) -> bool:
        by_date, by_weekday = on.day in self.days, on.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.either else by_date and by_weekday

    def _days(self, day: int, step: int) -> Iterator[int]:
        """Due days from `day` on, forwards or backwards, for as long as one may have to be looked for."""
        left = _YEARS * 366
        while left > 0 and _FIRST_DAY <= day <= _LAST_DAY:
            on = date.fromordinal(day + _EPOCH)
            if on.month not in self.months:
                # To the next month, or the one before: most schedules that are seldom due have but one.
                skipped = calendar.monthrange(on.year, on.month)[1] - on.day + 1 if step > 0 else on.day
                day, left = day + step * skipped, left - skipped
                continue
            if self._day_fits(on):
                yield day
            day, left = day + step, left - 1


def parse(text: str) -> Schedule:
    """The schedule that a text describes. Raises ValueError, which names the field and says what may stand there."""
    if len(text) > _MAX_CHARS:
        raise ValueError(f"the schedule has {len(text)} characters; at most {_MAX_CHARS} are read")
    parts = text.split()
    if len(parts) != len(_FIELDS):
        hint = "; write @daily as 0 0 * * *, and the like" if text.strip().startswith("@") else ""
        raise ValueError(f"the schedule has {len(parts)} fields; write five: minute, hour, day of month, month, day of week{hint}")
    minutes, hours, days, months, weekdays = (_values(field, part) for field, part in zip(_FIELDS, parts, strict=True))
    schedule = Schedule(
        tuple(sorted(minutes)),
        tuple(sorted(hours)),
        frozenset(days),
        frozenset(months),
        frozenset(day % 7 for day in weekdays),
        # As in crontab(5): a field that begins with * does not restrict, whatever its step.
        not parts[2].startswith("*") and not parts[4].startswith("*"),
    )
    if schedule.after(0) is None:
        raise ValueError(f"the schedule is never due: no month of field 4, {parts[3]!r}, has a day {parts[2]!r} (field 3)")
    return schedule


def _values(field: _Field, text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        found.update(_part(field, part))
    return found


def _part(field: _Field, text: str) -> range:
    """The values of one part of a list: `*`, a value or a range, and perhaps a step."""
    stem, slash, step = text.partition("/")
    first, dash, last = stem.partition("-")
    if stem == "*":
        # 7 is another name for Sunday, and no day of its own.
        low, high = field.first, 6 if field is _WEEKDAY else field.last
    else:
        low = _value(field, first, text)
        high = _end(field, last, low, text) if dash else field.last if slash else low
    if low > high:
        raise _wrong(field, text, f"the range {stem} ends before it begins")
    return range(low, high + 1, _step(field, step, text) if slash else 1)


def _end(field: _Field, written: str, low: int, text: str) -> int:
    value = _value(field, written, text)
    # "fri-sun": behind other days, Sunday is the seventh.
    return 7 if field is _WEEKDAY and written.lower() == "sun" and low > 0 else value


def _value(field: _Field, written: str, text: str) -> int:
    named = field.names.get(written.lower())
    if named is not None:
        return named
    if _NUMBER.fullmatch(written) is None:
        raise _wrong(field, text, f"{written!r} is no value" if written else "a value is missing")
    value = int(written)
    if not field.first <= value <= field.last:
        raise _wrong(field, text, f"{value} is out of bounds")
    return value


def _step(field: _Field, written: str, text: str) -> int:
    most = 7 if field is _WEEKDAY else field.last - field.first + 1
    if _NUMBER.fullmatch(written) is None or not 1 <= int(written) <= most:
        raise _wrong(field, text, f"{written!r} is no step; use 1 to {most}, within the field")
    return int(written)


def _wrong(field: _Field, text: str, what: str) -> ValueError:
    names = f" or {', '.join(field.names)}" if field.names else ""
    allowed = f"{field.first} to {field.last}{names}, *, ranges (a-b), steps (*/n) and lists with commas"
    return ValueError(f"{field.name}: {what} in {text!r}; it takes {allowed}")


def schedule(value: str) -> Sequence[Problem]:
    """The rule for schedules."""
    try:
        parse(value)
    except ValueError as error:
        return [((), str(error))]
    return ()
