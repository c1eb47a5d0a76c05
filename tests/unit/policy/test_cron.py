"""When is a schedule due? Compared with a reference that tries minute after minute and knows nothing of how we count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringback.policy.cron import parse

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


def minute_of(text: str) -> int:
    return int((datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH).total_seconds()) // 60


def written(minute: int | None) -> str | None:
    return None if minute is None else f"{EPOCH + timedelta(minutes=minute):%Y-%m-%dT%H:%M}"


def fits(part: str, value: int, low: int, high: int) -> bool:
    """Is a value among those of one part of a field, in numbers?"""
    stem, _, step = part.partition("/")
    first, _, last = stem.partition("-")
    begin = low if stem == "*" else int(first)
    end = high if stem == "*" or (step and not last) else int(last or first)
    return begin <= value <= end and (value - begin) % int(step or 1) == 0


class Reference:
    """Which values of each field are due, found by asking for each of them; and nothing else is known."""

    def __init__(self, text: str) -> None:
        fields = text.lower().split()
        for names, index, base in ((MONTHS, 3, 1), (WEEKDAYS, 4, 0)):
            for number, name in enumerate(names, base):
                fields[index] = fields[index].replace(name, str(number))

        def values(index: int) -> set[int]:
            low, high = BOUNDS[index]
            return {value for value in range(low, high + 1) if any(fits(part, value, low, high) for part in fields[index].split(","))}

        self.minutes, self.hours, self.days, self.months = (values(index) for index in range(4))
        # A star is Sunday to Saturday; 7 is Sunday.
        parts = fields[4].split(",")
        named = {day for day in range(8) if any(fits(part, day, 0, 6 if part[0] == "*" else 7) for part in parts)}
        self.weekdays = {day % 7 for day in named}
        self.restricted = not fields[2].startswith("*") and not fields[4].startswith("*")

    def is_due(self, at: datetime) -> bool:
        if at.minute not in self.minutes or at.hour not in self.hours or at.month not in self.months:
            return False
        day, weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return (day or weekday) if self.restricted else (day and weekday)


@st.composite
def parts(draw: st.DrawFn, index: int) -> str:
    low, high = BOUNDS[index]
    kind = draw(st.sampled_from(["*", "*/", "a", "a", "a-b", "a-b/", "a/"]))
    step = f"/{draw(st.integers(1, 7 if index == 4 else high - low + 1))}" if kind.endswith("/") else ""
    if kind.startswith("*"):
        return f"*{step}"
    first = draw(st.integers(low, high))
    if "-" not in kind:
        return f"{first}{step}"
    return f"{first}-{draw(st.integers(first, high))}{step}"


def fields(index: int, most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(parts(index), min_size=1, max_size=most).map(",".join)


schedules = st.tuples(*(fields(index) for index in range(5))).map(" ".join)


@settings(max_examples=80, deadline=None)
@given(schedules, st.integers(minute_of("1999-12-25T00:00"), minute_of("2104-03-02T00:00")))
@example("0 0 29 2 *", minute_of("2096-02-29T00:00"))
@example("59 23 31 12 *", minute_of("2099-12-31T23:58"))
@example("0 0 13 * 5", minute_of("2026-11-12T00:00"))
@example("* * * * 7", minute_of("2026-11-28T23:59"))
def test_within_two_days_the_next_and_the_last_due_minute_are_those_of_the_reference(text: str, minute: int) -> None:
    try:
        schedule = parse(text)
    except ValueError as error:
        assert "never due" in str(error)
        return
    two_days, at, reference = 2_880, EPOCH + timedelta(minutes=minute), Reference(text)
    after = next((minute + n for n in range(1, two_days) if reference.is_due(at + timedelta(minutes=n))), None)
    until = next((minute - n for n in range(two_days) if reference.is_due(at - timedelta(minutes=n))), None)
    found_after, found_until = schedule.after(minute), schedule.until(minute)
    if after is not None or (found_after is not None and found_after < minute + two_days):
        assert written(found_after) == written(after)
    if until is not None or (found_until is not None and found_until > minute - two_days):
        assert written(found_until) == written(until)


@settings(max_examples=50, deadline=None)
@given(schedules, st.integers(minute_of("1999-12-25T00:00"), minute_of("2104-03-02T00:00")))
def test_what_is_due_next_is_due_and_nothing_lies_between_it_and_what_was_due_last(text: str, minute: int) -> None:
    try:
        schedule = parse(text)
    except ValueError:
        return
    after = schedule.after(minute)
    reference = Reference(text)
    assert after is not None and after > minute and reference.is_due(EPOCH + timedelta(minutes=after))
    assert schedule.until(after) == after
    until = schedule.until(minute)
    assert until is None or (until <= minute and reference.is_due(EPOCH + timedelta(minutes=until)))
    assert schedule.until(after - 1) == until
    if until is not None:
        assert schedule.after(until) == after


@pytest.mark.parametrize(
    ("text", "at", "due"),
    [
        ("*/15 9-17 * * mon-fri", "2026-11-27T17:45", "2026-11-30T09:00"),
        ("0 0 1,15 * *", "2026-11-26T12:00", "2026-12-01T00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00", "2104-02-29T00:00"),
        ("0 0 29 2 */7", "2026-01-01T00:00", "2032-02-29T00:00"),
        ("30 4 1 * 0", "2026-11-26T00:00", "2026-11-29T04:30"),
        ("30 4 */2 * 0", "2026-11-26T00:00", "2026-11-29T04:30"),
        ("5/20 * * * *", "2026-11-26T00:46", "2026-11-26T01:05"),
        ("0 0 * * 5/2", "2026-11-28T00:00", "2026-11-29T00:00"),
        ("0 12 * JAN,Jul *", "2026-11-26T00:00", "2027-01-01T12:00"),
        ("0 0 * * fri-sun", "2026-11-28T00:00", "2026-11-29T00:00"),
        ("0 0 * * 7", "2026-11-26T00:00", "2026-11-29T00:00"),
        ("\t0  0 * * 0 ", "2026-11-26T00:00", "2026-11-29T00:00"),
    ],
)
def test_a_schedule_is_due_when_crontab_says_so(text: str, at: str, due: str) -> None:
    assert written(parse(text).after(minute_of(at))) == due


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("60 * * * *", "minute: 60 is out of bounds in '60'; it takes 0 to 59"),
        ("* 24 * * *", "hour: 24 is out of bounds"),
        ("* * 0 * *", "day of month: 0 is out of bounds in '0'; it takes 1 to 31"),
        ("* * * 13 *", "month: 13 is out of bounds"),
        ("* * * * 8", "day of week: 8 is out of bounds"),
        ("* * * foo *", "month: 'foo' is no value in 'foo'; it takes 1 to 12 or jan, feb"),
        ("* * * * mo", "day of week: 'mo' is no value in 'mo'; it takes 0 to 7 or sun, mon"),
        ("mon * * * *", "minute: 'mon' is no value"),
        ("9-5 * * * *", "minute: the range 9-5 ends before it begins"),
        ("1,,2 * * * *", "minute: a value is missing in ''"),
        ("* 1- * * *", "hour: a value is missing in '1-'"),
        ("*/0 * * * *", "minute: '0' is no step; use 1 to 60"),
        ("*/90 * * * *", "minute: '90' is no step; use 1 to 60"),
        ("*/ * * * *", "minute: '' is no step"),
        ("*-5 * * * *", "minute: '*' is no value in '*-5'"),
        ("\u0661 * * * *", "minute: '\u0661' is no value"),
        ("* * * *", "the schedule has 4 fields; write five: minute, hour, day of month, month, day of week"),
        ("0 * * * * *", "the schedule has 6 fields; write five"),
        ("@daily", "write @daily as 0 0 * * *"),
        ("", "the schedule has 0 fields"),
        ("0 0 30 2 *", "the schedule is never due: no month of field 4, '2', has a day '30' (field 3)"),
        ("0 0 31 4,6,9,11 *", "never due"),
        ("1," * 300, "at most 500"),
    ],
)
def test_what_is_no_schedule_is_told_by_field(text: str, told: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    assert told in str(error.value)


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("0159*/-,adefjnor \t@?#LW")) | st.text(max_size=30))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        assert str(error)
