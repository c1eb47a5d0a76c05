"""Sums over time as figures, charts and strips."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringback.clock import SECOND_US
from ringback.dashboard import health
from ringback.dashboard.charts import STRIP_CELLS, Series, chart, strip
from ringback.model.trends import Cell, Codes, Latency, Worst
from ringback.services.trends import Overview

NOW = 1_795_626_900_000_000
STEP = 300 * SECOND_US


def cell(n: int = 0, **counts: Any) -> Cell:
    plain = Cell(NOW + n * STEP, 0, 0, 0, 0, 0, 0, Codes(), None)
    return msgspec.structs.replace(plain, **counts)


def overview(total: Cell, worst: list[Worst] | None = None, **more: Any) -> Overview:
    found = Overview(NOW, NOW + STEP, STEP, [total], total, worst or [], [], None, None)
    return msgspec.structs.replace(found, **more)


def failing(success: int, fail: int, *, disabled: bool = False) -> Worst:
    return Worst("ep_1", None, "Billing", disabled, "app_1", "Acme", success, fail)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (overview(cell()), "Nothing happened in the last hour."),
        (overview(cell(accepted=3, success=9)), "100 % of 9 attempts delivered in the last hour."),
        (
            overview(cell(success=60, fail=40), [failing(1, 40), failing(95, 1), failing(0, 9, disabled=True)]),
            "60.0 % of 100 attempts delivered in the last hour; 1 endpoint is failing.",
        ),
        (
            overview(cell(success=1), backlog=1200, oldest_due_us=NOW - 90 * SECOND_US),
            "100 % of 1 attempt delivered in the last hour; 1,200 deliveries wait, the oldest due for 1 min 30 s.",
        ),
        (overview(cell(success=1), backlog=1200, oldest_due_us=NOW + SECOND_US), "100 % of 1 attempt delivered in the last hour."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_everything_stands_is_one_sentence(seen: Overview, expected: str) -> None:
    assert health.sentence(seen, "1h", NOW) == expected


def test_figures_have_a_number_and_a_note() -> None:
    total = cell(accepted=7_200, deliveries=14_400, success=9_999, fail=1, latency=Latency(3_600, 12_000, 1_500_000))
    assert [(f.name, f.value, f.note) for f in health.figures(total, 3_600)] == [
        ("Messages", "7.2 k", "2 a second"),
        ("Delivered", "99.99 %", "1 attempt failed"),
        ("Latency, p95", "12 ms", "p50 3.6 ms, p99 1.5 s"),
    ]
    assert [(f.value, f.note) for f in health.figures(cell(accepted=3, unmatched=2), 3_600)] == [
        ("3", "2 called no endpoint"),
        ("–", "no attempt yet"),
        ("–", ""),
    ]


def test_a_backlog_says_how_late_it_is() -> None:
    assert health.backlog_figure(0, None, NOW).note == "nothing is unfinished"
    assert health.backlog_figure(5, NOW - 60 * SECOND_US, NOW).note == "the oldest has been due for 1 min"
    assert health.backlog_figure(5, NOW + 60 * SECOND_US, NOW).note == "the next is due in 1 min"
    assert health.backlog_figure(10_000, 0, NOW, most=10_000).value == "10 k+"


def test_charts_have_at_most_four_lines_and_a_table_that_adds_up() -> None:
    cells = [cell(n, accepted=n, success=n, fail=1, codes=Codes(success=n, server_error=1)) for n in range(200)]
    for drawn in health.charts(cells):
        assert len(drawn.series) <= 4 and len(drawn.plot.times) == 200
        assert all(len(values) == 200 for values in drawn.plot.values)
        assert len(drawn.rows) <= 48
    attempts = next(c for c in health.charts(cells) if c.title == "Attempts")
    assert sum(int(row.values[0].replace(",", "")) for row in attempts.rows) == sum(range(200))
    assert [series.now for series in attempts.series] == ["20 k", "200"]


def test_a_chart_has_gaps_where_nothing_is_known() -> None:
    drawn = health.latency_chart([cell(0), cell(1, latency=Latency(1000, 2000, 3000))], [NOW, NOW + STEP])
    assert drawn.plot.values[1] == [None, 2.0]
    assert [row.values for row in drawn.rows] == [["1.0 ms", "2.0 ms", "3.0 ms"], ["–", "–", "–"]]


def test_a_fifth_line_is_not_drawn() -> None:
    assert len(chart("x", [NOW], [Series(str(n), "1", [n]) for n in range(6)]).series) == 4


def test_the_strip_shows_volume_as_height_and_success_as_colour() -> None:
    outcomes = [(0, 0)] * (STRIP_CELLS - 4) + [(100, 0), (9, 1), (1, 9), (50, 50)]
    seen = strip(NOW, outcomes)
    assert len(seen.cells) == STRIP_CELLS and seen.words == "220 attempts in the last 24 hours, 72.7 % delivered"
    assert [c.look for c in seen.cells[-4:]] == ["ok", "some", "bad", "bad"]
    assert [c.height for c in seen.cells[-5:]] == [3, 40, 11, 11, 40]
    assert all(c.y + c.height == seen.height and c.x + c.width <= seen.width for c in seen.cells)
    assert "10 attempts, 90.0 % delivered" in seen.cells[-3].words
    assert strip(NOW, [(0, 0)] * STRIP_CELLS).words == "Nothing was sent in the last 24 hours"


def test_endpoints_that_fail_are_told_from_those_that_hardly_do() -> None:
    rows = health.worst_rows([failing(0, 9), failing(95, 5), failing(999, 1), failing(0, 9, disabled=True)])
    assert [row.badge.word for row in rows] == ["failing", "failing now and then", "well", "disabled"]
    assert rows[0].href == "/dashboard/apps/app_1/endpoints/ep_1" and rows[1].rate == "95.0 %"


def test_a_span_that_nobody_offers_is_a_day() -> None:
    assert health.span_of("99y") == "24h" and health.span_of("7d") == "7d"
