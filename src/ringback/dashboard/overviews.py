"""How is an organisation or an application doing? What happened in a span, as a page shows it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.dashboard.charts import Chart
from ringback.dashboard.components import Choice, address
from ringback.dashboard.health import SPANS, Figure, WorstRow, backlog_figure, charts, figures, spans, worst_rows
from ringback.services.trends import Overview

# Seconds between two looks of a page that is looked at: an overview is no stopwatch.
REFRESH_S: Final = 10


class OverviewView(msgspec.Struct, frozen=True):
    """What happened in a span, in figures, charts and a list of what fails."""

    here: str
    refresh_s: int
    spans: Sequence[Choice]
    figures: Sequence[Figure]
    charts: Sequence[Chart]
    worst: Sequence[WorstRow]
    quiet: str


def view_of(seen: Overview, span: str, path: str, now_us: int) -> OverviewView:
    """An overview of an organisation or an application."""
    shown = figures(seen.total, SPANS[span])
    if seen.backlog is not None:
        shown.append(backlog_figure(seen.backlog, seen.oldest_due_us, now_us))
    worst = worst_rows(seen.most_failures)
    return OverviewView(
        address(path, span=span),
        REFRESH_S,
        spans(span),
        shown,
        charts(seen.cells),
        worst,
        "" if worst else "No endpoint failed.",
    )
