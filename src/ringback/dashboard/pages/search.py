"""Which messages say that? The search through all applications of the organisation, as a page of its own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.dashboard.components import BASE, Empty, Head
from ringback.dashboard.desk import Services
from ringback.dashboard.searches import Chosen, SearchView, Written, help_lines, look_for, nothing_found
from ringback.dashboard.visits import Reply, Route, Shown, Visit


class PageView(msgspec.Struct, frozen=True):
    """The search box, what was typed into it, and what was found."""

    here: str
    q: str
    search_on: bool
    help: Sequence[Written]
    found: SearchView | None
    empty: Empty


def routes(services: Services) -> list[Route]:
    """The pages of this module."""

    async def index(visit: Visit) -> Reply:
        q = visit.text("q")
        found = await look_for(services, visit, Chosen(q), None, "/search", q=q) if q else None
        on = services.search.on
        empty = Empty("What do you look for?", "Words of a payload, or properties of a message such as tag:vip or status:failed.")
        view = PageView(f"{BASE}/search", q, on, help_lines(), found, empty if on else nothing_found(on=False, done=True))
        head = Head("Search messages", "In all applications, by what their payloads say. Ids and names are found with Ctrl-K.")
        return Shown("messages/search.html", view, head, 422 if found is not None and found.problem else 200)

    return [Route("GET", "/search", index, "messages")]
