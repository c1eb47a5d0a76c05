"""What needs a person now? Everything in trouble on one page, each line with the way to where it is mended."""

from __future__ import annotations

from typing import Final

from ringback.dashboard.alerts import (
    AlertRow,
    AlertsView,
    comparison_row,
    endpoint_rows,
    heap_row,
    letter_row,
    missed_row,
    renewal_row,
    sentence_of,
    server_rows,
    sink_row,
    source_rows,
    task_row,
    urgent_first,
)
from ringback.dashboard.components import Empty, Head, address
from ringback.dashboard.desk import Services
from ringback.dashboard.pages.tasks import KIND_WORDS, badge_of
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.model.tasks import TaskStatus
from ringback.policy.paging import Walk
from ringback.services.alerts import ALERTS_MAX

_SECTION: Final = "alerts"
# Seconds between two looks of a page that is looked at.
_REFRESH_S: Final = 10
# The newest sources that are looked at for silence and old secrets: each has to be unsealed.
_SOURCES: Final = 250
_EMPTY: Final = Empty(
    "Nothing needs attention",
    "Endpoints that fail or were disabled, lanes that wait, dead letters, requests in quarantine, sources that are silent, subscriptions "
    "that cannot be renewed, sinks and tasks that failed, and a full disk stand here as soon as there are some.",
)


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        services, now_us = self._services, visit.now_us
        found = await services.alerts.found(visit.who)
        seen = await services.source_views.page(visit.who, Walk(_SOURCES, descending=True))
        sources = await services.source_views.by_ids(visit.who, [heap.source_id for heap in found.heaps])
        names = {source.id: source.name for source in sources.values()}
        rows: list[AlertRow] = [
            *server_rows(services.server.process(visit.who)),
            *endpoint_rows(found, now_us),
            *(letter_row(group, found, now_us) for group in found.letters),
            *(heap_row(heap, names, now_us) for heap in found.heaps),
            *(missed_row(one, now_us) for one in found.missed),
            *(renewal_row(one, now_us) for one in found.renewals),
            *(comparison_row(one, now_us) for one in found.comparisons),
            *source_rows(seen.items, now_us),
            *(sink_row(one, now_us) for one in found.sinks),
            *await self._tasks(visit),
        ]
        rows = urgent_first(rows)
        more = [
            *([f"There is more: of each kind the {ALERTS_MAX} most urgent are shown."] if found.more else []),
            *(["So many endpoints are in trouble that not all of them were looked at."] if found.overlooked else []),
            *([f"Only the newest {_SOURCES} sources were looked at for silence."] if not seen.done else []),
        ]
        view = AlertsView(address("/alerts"), _REFRESH_S, rows, " ".join(more), _EMPTY)
        return Shown("alerts/list.html", view, Head("Alerts", sentence_of(rows), answers=True))

    async def _tasks(self, visit: Visit) -> list[AlertRow]:
        page = await self._services.tasks.page(visit.who, Walk(ALERTS_MAX, descending=True), TaskStatus.FAILED, None)
        failed = [task for task in page.items if badge_of(task).kind == "dead"]
        return [task_row(task, KIND_WORDS[task.kind], visit.now_us) for task in failed]


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    return [Route("GET", "/alerts", _Pages(services).index, _SECTION)]
