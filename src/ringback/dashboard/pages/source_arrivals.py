"""What came from a source and made no message? Its journal of duplicates, handshakes and requests turned away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.dashboard.components import Choice, Empty, Head, Pager, address, choices, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.pages.sources import refs_of, trail_of
from ringback.dashboard.source_arrivals import OUTCOMES, ArrivalRow, arrival_row
from ringback.dashboard.visits import Reply, Route, Shown, Visit

_SECTION: Final = "sources"


class ArrivalsView(msgspec.Struct, frozen=True):
    """The journal, the newest first. `message` is the message whose duplicates alone are shown, "" = all."""

    here: str
    rows: Sequence[ArrivalRow]
    pager: Pager
    empty: Empty
    outcomes: Sequence[Choice]
    message: str


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        at, wanted, message = visit.text("at"), visit.text("outcome"), visit.text("message")
        outcome = wanted if wanted in dict(OUTCOMES) else ""
        source = await self._services.source_views.named(visit.who, visit.params["source_id"])
        walk, _ = walk_of(at, lambda key: ids.is_id(ids.ARRIVAL, key))
        page = await self._services.arrivals.page(visit.who, *refs_of(source), walk, outcome or None, message or None)
        rows = [arrival_row(source, entry, visit.now_us) for entry in page.items]
        first, last = (page.items[0].id, page.items[-1].id) if rows else (None, None)
        path = f"/sources/{source.id}/arrivals"
        view = ArrivalsView(
            address(path),
            rows,
            pager(page, first, last, at, path, outcome=outcome, message=message),
            _empty(outcome or message),
            choices(OUTCOMES, outcome),
            message,
        )
        sentence = f"Requests of {source.name} that made no message: duplicates, handshakes, and what was turned away."
        return Shown("sources/arrivals.html", view, Head("Journal", sentence, trail_of(source)))


def _empty(filtered: str) -> Empty:
    if filtered:
        return Empty("No such request", "Nothing fits the filter.")
    return Empty("Nothing yet", "An event that comes twice, and what a provider asks before it sends, are shown here some seconds later.")


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    return [Route("GET", "/sources/{source_id}/arrivals", _Pages(services).index, _SECTION)]
