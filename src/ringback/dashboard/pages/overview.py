"""How does everything stand? The first page: what is going on, and what needs somebody."""

from __future__ import annotations

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Action, Empty, Head
from ringback.dashboard.desk import Services
from ringback.dashboard.health import SPANS, sentence, span_of
from ringback.dashboard.overviews import view_of
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.policy.paging import Walk
from ringback.services.applications import Without


class StartView(msgspec.Struct, frozen=True):
    """What a server shows that has nothing yet."""

    empty: Empty


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, visit: Visit) -> Reply:
        services, span = self._services, span_of(visit.text("span"))
        page = await services.applications.page(visit.who, Walk(1, descending=True), Without())
        if not page.items:
            empty = Empty(
                "Nothing here yet",
                "First comes an application: one customer of yours, with endpoints that get messages. Make one here, or through the API.",
                f"curl -X POST {services.url()}/api/v1/app -H 'authorization: Bearer TOKEN' -d '{{\"name\": \"My first customer\"}}'",
                Action("New application", f"{BASE}/apps/new", "primary"),
            )
            return Shown("overview/start.html", StartView(empty), Head("Overview"))
        seen = await services.trends.overview(visit.who, since_us=visit.now_us - SPANS[span] * SECOND_US)
        alerts = Action("What needs attention", f"{BASE}/alerts", panel=False)
        head = Head("Overview", sentence(seen, span, visit.now_us), actions=(alerts,), answers=True)
        return Shown("overview/show.html", view_of(seen, span, "/", visit.now_us), head)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    return [Route("GET", "/", _Pages(services).show, "overview")]
