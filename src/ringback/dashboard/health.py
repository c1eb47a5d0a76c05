"""How do sums over time look as figures, charts and lists? Pure: what `services.trends` answers, as what pages show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.charts import Chart, Colour, Series, chart
from ringback.dashboard.components import BASE, Badge, Choice, choices
from ringback.dashboard.words import count, counted, duration, milliseconds, percent, short
from ringback.model.trends import Cell, Latency
from ringback.services.trends import BACKLOG_MAX, EndpointTrend, Overview, Worst

# Spans that pages offer, by their word in the address; seconds.
SPANS: Final = {"1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
_SPAN_WORDS: Final = (
    ("1h", "last hour"),
    ("6h", "last 6 hours"),
    ("24h", "last 24 hours"),
    ("7d", "last 7 days"),
    ("30d", "last 30 days"),
)
DEFAULT_SPAN: Final = "24h"
WELL: Final = Badge("ok", "well")
ENABLED: Final = Badge("ok", "enabled")
DISABLED: Final = Badge("off", "disabled")
# Shares of success from which things are well, and from which they are not quite.
_WELL_FROM: Final = 0.99
_SO_SO_FROM: Final = 0.9
# A delivery that was due so many seconds ago is late: retries are at most a second late where there is room.
_LATE_S: Final = 5


class Figure(msgspec.Struct, frozen=True):
    """One number with its name, and what there is to say about it."""

    name: str
    value: str
    note: str = ""


class WorstRow(msgspec.Struct, frozen=True):
    """One line of the list of endpoints that fail."""

    name: str
    href: str
    app: str
    badge: Badge
    failed: str
    rate: str


def span_of(text: str) -> str:
    """The span that an address asks for."""
    return text if text in SPANS else DEFAULT_SPAN


def spans(chosen: str) -> list[Choice]:
    """The spans to choose from."""
    return choices(_SPAN_WORDS, chosen)


def words_of_span(span: str) -> str:
    """A span in words."""
    return dict(_SPAN_WORDS)[span]


def figures(total: Cell, span_s: float) -> list[Figure]:
    """What an organisation or application did: messages, success, latency."""
    judged = total.success + total.fail
    rate = total.accepted / span_s
    return [
        Figure("Messages", short(total.accepted), f"{short(rate)} a second" if rate >= 1 else _unmatched(total)),
        Figure("Delivered", percent(total.success, judged), _failed(total)),
        latency_figure(total),
    ]


def _failed(total: Cell) -> str:
    if not total.success + total.fail:
        return "no attempt yet"
    return f"{counted(total.fail, 'attempt')} failed" if total.fail else "no attempt failed"


def latency_figure(total: Cell) -> Figure:
    """How fast endpoints answer: what 95 of 100 attempts stay below."""
    if total.latency is None:
        return Figure("Latency, p95", "–")
    return Figure(
        "Latency, p95",
        milliseconds(total.latency.p95_us),
        f"p50 {milliseconds(total.latency.p50_us)}, p99 {milliseconds(total.latency.p99_us)}",
    )


def _unmatched(total: Cell) -> str:
    return f"{count(total.unmatched)} called no endpoint" if total.unmatched else f"{counted(total.deliveries, 'delivery', 'deliveries')}"


def backlog_figure(backlog: int, oldest_due_us: int | None, now_us: int, *, most: int | None = None) -> Figure:
    """What is unfinished, and how late the oldest of it is."""
    number = short(backlog) + ("+" if most is not None and backlog >= most else "")
    late_s = 0.0 if not oldest_due_us else (now_us - oldest_due_us) / SECOND_US
    if not backlog:
        return Figure("Waiting", "0", "nothing is unfinished")
    if late_s > _LATE_S:
        return Figure("Waiting", number, f"the oldest has been due for {duration(late_s)}")
    if oldest_due_us and oldest_due_us > now_us:
        return Figure("Waiting", number, f"the next is due in {duration(max((oldest_due_us - now_us) / SECOND_US, 1))}")
    return Figure("Waiting", number, "none is late")


def charts(cells: Sequence[Cell], *, messages: bool = True) -> list[Chart]:
    """What happened over time: messages (not of a single endpoint), attempts, latency, answers."""
    times = [cell.at_us for cell in cells]
    total = _Total(cells)
    drawn = []
    if messages:
        series = [Series("accepted", "1", [c.accepted for c in cells], total.words(lambda c: c.accepted))]
        if any(c.unmatched for c in cells):
            series.append(Series("called no endpoint", "retry", [c.unmatched for c in cells], total.words(lambda c: c.unmatched)))
        drawn.append(chart("Messages", times, series))
    drawn.append(
        chart(
            "Attempts",
            times,
            [
                Series("delivered", "ok", [c.success for c in cells], total.words(lambda c: c.success)),
                Series("failed", "dead", [c.fail for c in cells], total.words(lambda c: c.fail)),
            ],
        )
    )
    drawn.append(latency_chart(cells, times))
    drawn.append(
        chart(
            "Answers",
            times,
            [
                Series("2xx", "ok", [c.codes.success for c in cells], total.words(lambda c: c.codes.success)),
                Series("3xx, 4xx", "retry", [c.codes.redirect + c.codes.client_error for c in cells], total.words(_refused)),
                Series("5xx", "dead", [c.codes.server_error for c in cells], total.words(lambda c: c.codes.server_error)),
                Series("none", "wait", [c.codes.none for c in cells], total.words(lambda c: c.codes.none)),
            ],
        )
    )
    return drawn


def latency_chart(cells: Sequence[Cell], times: Sequence[int]) -> Chart:
    """How fast attempts were answered."""
    known = [c.latency for c in cells if c.latency is not None]

    def line(name: str, colour: Colour, of: Callable[[Latency], int]) -> Series:
        values = [None if c.latency is None else of(c.latency) / 1000 for c in cells]
        return Series(name, colour, values, milliseconds(of(known[-1])) if known else "")

    lines = [
        line("p50", "ok", lambda found: found.p50_us),
        line("p95", "retry", lambda found: found.p95_us),
        line("p99", "dead", lambda found: found.p99_us),
    ]
    return chart("Latency", times, lines, "ms", join=max)


class _Total:
    def __init__(self, cells: Sequence[Cell]) -> None:
        self._cells = cells

    def words(self, of: Callable[[Cell], int]) -> str:
        return short(sum(of(cell) for cell in self._cells))


def _refused(cell: Cell) -> int:
    return cell.codes.redirect + cell.codes.client_error


def worst_rows(worst: Sequence[Worst]) -> list[WorstRow]:
    """The endpoints that failed, as lines."""
    return [
        WorstRow(
            one.description or one.endpoint_uid or one.endpoint_id,
            f"{BASE}/apps/{one.app_id}/endpoints/{one.endpoint_id}",
            one.app_name,
            failure_badge(one),
            count(one.fail),
            percent(one.success, one.success + one.fail),
        )
        for one in worst
    ]


def failure_badge(one: Worst, well: Badge = WELL) -> Badge:
    """How an endpoint that had failures stands; `well` where they were few."""
    if one.disabled:
        return DISABLED
    rate = one.success_rate
    if rate >= _WELL_FROM:
        return well
    return Badge("retry", "failing now and then") if rate >= _SO_SO_FROM or one.took_last else Badge("dead", "failing")


def sentence(seen: Overview, span: str, now_us: int) -> str:
    """How everything stands, in one sentence."""
    total = seen.total
    judged = total.success + total.fail
    if not judged and not total.accepted:
        return f"Nothing happened in the {words_of_span(span)}."
    failing = sum(not one.disabled and one.success_rate < _SO_SO_FROM for one in seen.most_failures)
    parts = [f"{percent(total.success, judged)} of {counted(judged, 'attempt')} delivered in the {words_of_span(span)}"]
    if failing:
        parts.append(f"{counted(failing, 'endpoint is', 'endpoints are')} failing")
    late_s = (now_us - seen.oldest_due_us) / SECOND_US if seen.backlog and seen.oldest_due_us else 0.0
    if late_s > _LATE_S:
        parts.append(f"{counted(seen.backlog or 0, 'delivery waits', 'deliveries wait')}, the oldest due for {duration(late_s)}")
    return "; ".join(parts) + "."


def endpoint_figures(trend: EndpointTrend, now_us: int) -> list[Figure]:
    """How one endpoint does."""
    total = trend.total
    judged = total.success + total.fail
    return [
        Figure("Delivered", percent(total.success, judged), _failed(total)),
        latency_figure(total),
        backlog_figure(trend.backlog, trend.oldest_due_us, now_us, most=BACKLOG_MAX),
        Figure("On the wire", count(trend.in_flight), "attempts right now"),
    ]
