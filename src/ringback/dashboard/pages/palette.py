"""Where do I find it? What the palette (Ctrl-K) shows for what was typed, the same as a page, and the menu of applications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ringback.dashboard.components import BASE, Head, Link, address
from ringback.dashboard.desk import Services
from ringback.dashboard.lists import list_of
from ringback.dashboard.pages.event_types import beginning, href_of
from ringback.dashboard.rail import SECTIONS
from ringback.dashboard.visits import Reply, Route, Section, Shown, Visit
from ringback.dashboard.words import short_id
from ringback.model.dashboard import SavedView
from ringback.policy.paging import Walk
from ringback.services.applications import Without
from ringback.services.finding import Found

# Applications that the menu and the palette look through: names beyond are found by their list.
_APPS: Final = 200
# Results of one kind: a screen of them in all.
_EACH: Final = 6
_KINDS: Final = {
    "application": "Application",
    "endpoint": "Endpoint",
    "message": "Message",
    "attempt": "Attempt",
    "dead_letter": "Dead letter",
}


class Result(msgspec.Struct, frozen=True):
    """One line of the palette."""

    name: str
    kind: str
    href: str
    icon: str
    mono: bool = False


class FoundView(msgspec.Struct, frozen=True):
    """What was found for what was typed. `nothing`: no page, action or thing is called so."""

    typed: str
    results: Sequence[Result]
    nothing: bool


class SwitcherView(msgspec.Struct, frozen=True):
    """The applications of the menu."""

    apps: Sequence[Link]
    more: bool


def fits(name: str, typed: str) -> bool:
    """Does every word that was typed stand in the name?"""
    lowered = name.lower()
    return all(word in lowered for word in typed.lower().split())


def results_of_sections(sections: Sequence[Section], typed: str, app_id: str | None) -> list[Result]:
    """The pages whose names fit."""
    return [Result(s.label, "Page", s.href(app_id), s.icon) for s in sections if fits(s.label, typed)]


def results_of_actions(typed: str, app_id: str | None) -> list[Result]:
    """What can be done from anywhere."""
    actions = [
        ("New application", f"{BASE}/apps/new", "applications"),
        ("New source", f"{BASE}/sources/new", "sources"),
        ("New event type", f"{BASE}/new-event-type", "event_types"),
        ("Import event types", f"{BASE}/import-event-types", "event_types"),
        ("New token", f"{BASE}/tokens/new", "tokens"),
        ("New operational endpoint", f"{BASE}/operational/new", "live"),
        ("Check a signature", f"{BASE}/doctor", "quarantine"),
        ("Customers' portal", f"{BASE}/settings/portal", "settings"),
        ("All saved views", f"{BASE}/saved-views", "views"),
    ]
    if app_id is not None:
        actions.append(("New endpoint", f"{BASE}/apps/{app_id}/endpoints/new", "endpoints"))
        actions.append(("Send message", f"{BASE}/apps/{app_id}/send", "messages"))
    return [Result(name, "Action", href, icon) for name, href, icon in actions if typed and fits(name, typed)]


def results_of_views(views: Sequence[SavedView], typed: str) -> list[Result]:
    """The saved views whose names fit."""
    found = [view for view in views if fits(view.name, typed) and list_of(view) is not None]
    return [Result(view.name, "Saved view", BASE + view.address, "views") for view in found[:_EACH]]


def result_of_found(found: Found) -> Result:
    """The line of something that was found by its id or name."""
    href = {
        "application": f"{BASE}/apps/{found.app_id}",
        "endpoint": f"{BASE}/apps/{found.app_id}/endpoints/{found.id}",
        "message": f"{BASE}/apps/{found.app_id}/messages/{found.id}",
        "attempt": f"{BASE}/apps/{found.app_id}/messages/{found.message_id}/attempts/{found.id}",
        "dead_letter": f"{BASE}/apps/{found.app_id}/messages/{found.message_id}",
    }[found.kind]
    icon: Literal["applications", "endpoints", "messages"] = (
        "applications" if found.kind == "application" else "endpoints" if found.kind == "endpoint" else "messages"
    )
    return Result(found.name or short_id(found.id), _KINDS[found.kind], href, icon, mono=not found.name)


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def _found(self, visit: Visit) -> FoundView:
        typed = visit.text("q")
        app_id = visit.remembered_app
        results: list[Result] = []
        if typed:
            exact = await self._services.finder.by_id(visit.who, typed, app_id, visit.now_us)
            if exact is not None:
                results.append(result_of_found(exact))
        results += results_of_sections(SECTIONS, typed, app_id)
        results += results_of_views(await self._services.saved_views.all(visit.who), typed)
        results += results_of_actions(typed, app_id)
        if typed:
            results += [result_of_found(found) for found in await self._services.finder.by_name(visit.who, typed, app_id, _EACH)]
            results += await self._event_types(visit, typed)
        nothing = not results
        if typed and self._services.search.on:
            results.append(Result(f"Search messages for “{typed}”", "Action", address("/search", q=typed), "search"))
        return FoundView(typed, results, nothing)

    async def _event_types(self, visit: Visit, typed: str) -> list[Result]:
        """Event types whose names begin so; archived ones too."""
        page = await self._services.event_types.page(visit.who, beginning(Walk(_EACH, descending=False), typed), archived=True)
        return [Result(one.name, "Event type", href_of(one.name), "event_types", mono=True) for one in page.items]

    async def palette(self, visit: Visit) -> Reply:
        return Shown("palette/results.html", await self._found(visit), Head("Search"))

    async def find(self, visit: Visit) -> Reply:
        return Shown("palette/find.html", await self._found(visit), Head("Search", "Type the name of a page, an id, or a part of a name."))

    async def switcher(self, visit: Visit) -> Reply:
        page = await self._services.applications.page(visit.who, Walk(_APPS, descending=True), Without())
        inside = visit.text("here").partition("/apps/")[2].partition("/")[2].partition("/")[0]
        # From a list of one application to the same list of another; from a single thing to the application itself.
        rest = f"/{inside}" if inside in ("endpoints", "messages") else ""
        apps = [Link(app.name, f"{BASE}/apps/{app.id}{rest}") for app in page.items]
        return Shown("palette/switcher.html", SwitcherView(apps, not page.done), Head("Applications"))


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/palette", pages.palette),
        Route("GET", "/find", pages.find),
        Route("GET", "/switcher", pages.switcher),
    ]
