"""How does everything stand? The first page: what is going on, and what needs somebody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import BASE, Action, Empty, Head
from ringback.dashboard.desk import Services
from ringback.dashboard.pages.applications import ApplicationRow, row_of
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.policy.paging import Walk
from ringback.services.applications import Without

# Applications on the first page: the newest.
_APPS: Final = 8


class OverviewView(msgspec.Struct, frozen=True):
    """The first page."""

    apps: Sequence[ApplicationRow]
    more: bool
    empty: Empty


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, visit: Visit) -> Reply:
        services = self._services
        page = await services.applications.page(visit.who, Walk(_APPS, descending=True), Without())
        empty = Empty(
            "Nothing here yet",
            "First comes an application: one customer of yours, with endpoints that get messages. Make one here, or through the API.",
            f"curl -X POST {services.url()}/api/v1/app -H 'authorization: Bearer TOKEN' -d '{{\"name\": \"My first customer\"}}'",
            Action("New application", f"{BASE}/apps/new", "primary"),
        )
        view = OverviewView([row_of(application, visit.now_us) for application in page.items], not page.done, empty)
        return Shown("overview/show.html", view, Head("Overview"))


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    return [Route("GET", "/", _Pages(services).show, "overview")]
