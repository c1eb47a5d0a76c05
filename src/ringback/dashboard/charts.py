"""How do numbers look over time? Charts with a table behind them, and the strip of an endpoint's last day. Pure.

Zero-based, at most four series, named beside their colours; what a chart shows is also a table, for people and machines that see none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from ringback.clock import SECOND_US, to_datetime
from ringback.dashboard.words import count, counted, milliseconds, percent

# The colours of series; the style sheet has them.
Colour = Literal["1", "ok", "retry", "dead", "wait"]
Unit = Literal["count", "ms"]
# More lines than this cannot be told apart.
_SERIES_MAX: Final = 4
# Rows of the table behind a chart: points are joined until there are no more.
_ROWS_MAX: Final = 48
# The strip: so many cells of a quarter of an hour make a day. Cells and gaps are in the units of its picture.
STRIP_CELLS: Final = 96
CELL_S: Final = 900
_CELL_WIDTH: Final = 10
_GAP: Final = 2
_STRIP_HEIGHT: Final = 40
# A cell with anything in it is seen: its least height. One without is a line on the ground.
_LEAST: Final = 8
_GROUND: Final = 3
# Of a cell's attempts, the share of failures from which it counts as bad.
_BAD_FROM: Final = 0.5


class Series(msgspec.Struct, frozen=True):
    """One line: a value for each time, None where there is none. `now` is what stands beside its name."""

    name: str
    colour: Colour
    values: Sequence[float | None]
    now: str = ""


class Plot(msgspec.Struct, frozen=True):
    """What the script draws: times in seconds since 1970, and a row of values for each series."""

    times: Sequence[int]
    values: Sequence[Sequence[float | None]]
    colours: Sequence[Colour]
    names: Sequence[str]
    unit: Unit


class Row(msgspec.Struct, frozen=True):
    """One row of the table behind a chart."""

    time: str
    values: Sequence[str]


class Chart(msgspec.Struct, frozen=True):
    """A chart with its table."""

    title: str
    series: Sequence[Series]
    plot: Plot
    rows: Sequence[Row]


class Cell(msgspec.Struct, frozen=True):
    """One quarter of an hour of the strip: where it stands, how high, how it went, and in words."""

    x: int
    y: int
    width: int
    height: int
    look: Literal["none", "ok", "some", "bad"]
    words: str


class Strip(msgspec.Struct, frozen=True):
    """An endpoint's last day. `words` says it in a sentence."""

    cells: Sequence[Cell]
    width: int
    height: int
    words: str
    begins: str
    ends: str


def chart(
    title: str, times_us: Sequence[int], series: Sequence[Series], unit: Unit = "count", *, join: Callable[[Sequence[float]], float] = sum
) -> Chart:
    """A chart of at most four series over these times; `join` makes one value of several, for the table."""
    series = series[:_SERIES_MAX]
    times = [at // SECOND_US for at in times_us]
    plot = Plot(times, [s.values for s in series], [s.colour for s in series], [s.name for s in series], unit)
    step = max(1, -(-len(times) // _ROWS_MAX))
    show = count_of if unit == "count" else ms_of
    rows = []
    for at in range(0, len(times), step):
        pieces = [[value for value in s.values[at : at + step] if value is not None] for s in series]
        rows.append(Row(f"{to_datetime(times_us[at]):%d %b %H:%M}", [show(join(piece)) if piece else "–" for piece in pieces]))
    return Chart(title, series, plot, rows[::-1])


def count_of(value: float) -> str:
    """A number of things."""
    return count(round(value))


def ms_of(value: float) -> str:
    """A length of time given in milliseconds."""
    return milliseconds(round(value * 1000))


class StripWords(msgspec.Struct, frozen=True):
    """What a strip tells of: what is counted, what became of the good ones, and what stands where there was nothing."""

    one: str = "attempt"
    good: str = "delivered"
    nothing: str = "nothing sent"
    quiet: str = "Nothing was sent in the last 24 hours"


SENT: Final = StripWords()


def strip(begins_us: int, outcomes: Sequence[tuple[int, int]], said: StripWords = SENT) -> Strip:
    """The strip of the quarters of an hour from `begins_us` on, each with its successes and failures."""
    most = max((ok + failed for ok, failed in outcomes), default=0)
    cells = []
    for n, (ok, failed) in enumerate(outcomes):
        at_us = begins_us + n * CELL_S * SECOND_US
        whole = ok + failed
        height = _GROUND if not whole else _LEAST + (_STRIP_HEIGHT - _LEAST) * whole // most
        when = f"{to_datetime(at_us):%H:%M} UTC"
        words = f"{when}: {said.nothing}" if not whole else f"{when}: {counted(whole, said.one)}, {percent(ok, whole)} {said.good}"
        look: Literal["none", "ok", "some", "bad"] = "none"
        if whole:
            look = "ok" if not failed else "bad" if failed >= whole * _BAD_FROM else "some"
        cells.append(Cell(n * _CELL_WIDTH, _STRIP_HEIGHT - height, _CELL_WIDTH - _GAP, height, look, words))
    ok, failed = sum(o for o, _ in outcomes), sum(f for _, f in outcomes)
    sentence = (
        f"{counted(ok + failed, said.one)} in the last 24 hours, {percent(ok, ok + failed)} {said.good}" if ok + failed else said.quiet
    )
    return Strip(
        cells,
        len(outcomes) * _CELL_WIDTH - _GAP,
        _STRIP_HEIGHT,
        sentence,
        # A time of the day would be the same at both ends.
        "24 h ago",
        "now",
    )
