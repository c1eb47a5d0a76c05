"""Whose endpoints are these? Applications: their list, one of them, and what can be changed about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Action, Empty, Fact, Head, Link, Pager, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, pairs
from ringback.dashboard.health import DEFAULT_SPAN, SPANS
from ringback.dashboard.overviews import OverviewView, view_of
from ringback.dashboard.pages.endpoints import EndpointRow, endpoint_rows
from ringback.dashboard.polled import POLLED_MAX, PolledRow, polled_rows
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, bounded, count, counted, listed, moment
from ringback.errors import Conflict
from ringback.model.applications import Application
from ringback.model.endpoints import Endpoint
from ringback.services.applications import ApplicationIn, ApplicationPatch, Without
from ringback.services.previews import MOST, Extent

_SECTION: Final = "applications"


class ApplicationRow(msgspec.Struct, frozen=True):
    """One line of the list."""

    name: str
    id: str
    uid: str
    href: str
    created: Moment


class ListView(msgspec.Struct, frozen=True):
    """The list of applications."""

    rows: Sequence[ApplicationRow]
    pager: Pager
    empty: Empty


class ApplicationView(msgspec.Struct, frozen=True):
    """One application: its facts, its endpoints, and those that are polled."""

    seen: OverviewView
    facts: Sequence[Fact]
    metadata: Sequence[Fact]
    endpoints: Sequence[EndpointRow]
    polled: Sequence[PolledRow]
    empty: Empty


class FormView(msgspec.Struct, frozen=True):
    """The form of an application, with what was written into it."""

    action: str
    values: dict[str, str]
    problems: dict[str, str]
    submit: str
    cancel: str


class DeleteView(msgspec.Struct, frozen=True):
    """What deleting would do."""

    action: str
    effects: Sequence[str]
    name: str
    cancel: str
    problem: str = ""


def row_of(application: Application, now_us: int) -> ApplicationRow:
    """An application in the list."""
    return ApplicationRow(
        application.name, application.id, application.uid or "", f"{BASE}/apps/{application.id}", moment(application.created_at, now_us)
    )


def sentence_of(endpoints: Sequence[Endpoint], polled: int = 0) -> str:
    """How an application stands, in a sentence; `polled` counts its polling endpoints."""
    off = sum(endpoint.disabled for endpoint in endpoints)
    if polled and off == len(endpoints):
        return f"Its messages wait for those who ask: {counted(polled, 'polling endpoint')}, and no other that is enabled."
    if not endpoints:
        return "It has no endpoint yet: its messages are stored and go nowhere."
    if off == len(endpoints):
        return f"{'Its endpoint is' if off == 1 else f'All {off} endpoints are'} disabled: messages are stored and go nowhere."
    return f"{counted(len(endpoints), 'endpoint')}{f', {count(off)} of them disabled' if off else ''}."


def effects_of(extent: Extent) -> list[str]:
    """What deleting an application does, in sentences."""
    effects = ["Its API and portal tokens stop working at once, and its uid becomes free."]
    if extent.endpoints:
        effects.append(f"{counted(extent.endpoints, 'endpoint')} will get nothing more.")
    if extent.unfinished:
        effects.append(f"{bounded(extent.unfinished, MOST, 'delivery', 'deliveries')} under way or waiting will never be made.")
    if extent.dead:
        effects.append(f"{bounded(extent.dead, MOST, 'dead letter')} can no longer be replayed.")
    if extent.messages:
        effects.append(f"{bounded(extent.messages, MOST, 'message')} with their attempts will be purged in the background.")
    return effects


def values_of(application: Application) -> dict[str, str]:
    """What the form holds for an application."""
    return {
        "name": application.name,
        "uid": application.uid or "",
        "throttleRate": "" if application.throttle_rate is None else str(application.throttle_rate),
        "metadata": "\n".join(f"{name}: {value}" for name, value in application.metadata.items()),
    }


def wanted_of(values: dict[str, str]) -> dict[str, Any]:
    """What a form asks for, under the names of the API. Raises Wrong."""
    rate = values["throttleRate"].strip()
    try:
        metadata = pairs(values["metadata"], ":")
    except Wrong as error:
        raise Wrong({"metadata": error.problems[""]}) from None
    return {
        "name": values["name"].strip(),
        "uid": values["uid"].strip() or None,
        "throttleRate": rate or None,
        "metadata": metadata,
    }


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        at = visit.text("at")
        walk, _ = walk_of(at, lambda key: ids.is_id(ids.APPLICATION, key))
        page = await self._services.applications.page(visit.who, walk, Without())
        rows = [row_of(application, visit.now_us) for application in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        command = (
            f"curl -X POST {self._services.url()}/api/v1/app -H 'authorization: Bearer TOKEN' -d '{{\"name\": \"My first customer\"}}'"
        )
        new = Action("New application", f"{BASE}/apps/new", "primary")
        empty = Empty(
            "No application yet", "An application is one customer of yours: it has endpoints, and messages are sent to it.", command, new
        )
        view = ListView(rows, pager(page, first, last, at, "/apps"), empty)
        return Shown(
            "applications/list.html", view, Head("Applications", "One for each customer whose endpoints get messages.", actions=(new,))
        )

    async def show(self, visit: Visit) -> Reply:
        entry = await self._services.directory.find(visit.who.org_id, visit.params["app_id"])
        application, endpoints = entry.application, list(entry.endpoints.values())
        here = f"{BASE}/apps/{application.id}"
        facts = [
            Fact("Id", application.id, copy=True, mono=True),
            *([Fact("Uid", application.uid, copy=True, mono=True)] if application.uid else []),
            Fact("Rate", "unlimited" if application.throttle_rate is None else f"{counted(application.throttle_rate, 'attempt')} a second"),
            Fact("Created", "", moment=moment(application.created_at, visit.now_us)),
            Fact("Changed", "", moment=moment(application.updated_at, visit.now_us)),
        ]
        new = Action("New endpoint", f"{here}/endpoints/new", "primary", panel=False)
        portal = Action("End portal tokens", f"{here}/portal-tokens")
        actions = (Action("Delete", f"{here}/delete", "danger"), portal, Action("Edit", f"{here}/edit"), new)
        polled = await self._services.pollers.overview(visit.who, application.id, POLLED_MAX)
        fate = "wait for those who poll them" if polled else "go nowhere until it has one"
        empty = Empty("No endpoint yet", f"Messages of this application are stored, and {fate}.", action=new)
        span = DEFAULT_SPAN
        overview = await self._services.trends.overview(visit.who, app=application.id, since_us=visit.now_us - SPANS[span] * SECOND_US)
        view = ApplicationView(
            view_of(overview, span, f"/apps/{application.id}", visit.now_us),
            facts,
            [Fact(name, value) for name, value in application.metadata.items()],
            endpoint_rows(endpoints, await self._services.trends.failing(visit.who, application.id), visit.now_us),
            polled_rows(polled, visit.now_us),
            empty,
        )
        head = Head(
            application.name, sentence_of(endpoints, len(polled)), (Link("Applications", f"{BASE}/apps"),), actions, id=application.id
        )
        return Shown("applications/show.html", view, head, app=application)

    async def new(self, visit: Visit) -> Reply:
        return self._form(visit, None, {"name": visit.text("name"), "uid": "", "throttleRate": "", "metadata": ""}, {})

    async def create(self, visit: Visit) -> Reply:
        values = {name: visit.field(name) for name in ("name", "uid", "throttleRate", "metadata")}
        try:
            made = await self._services.applications.create(visit.who, checked(ApplicationIn, wanted_of(values)))
        except Wrong as error:
            return self._form(visit, None, values, dict(error.problems))
        except Conflict as error:
            return self._form(visit, None, values, {"uid": str(error)})
        application = made.application
        change = Change("application.created", application.id, application.id, application.name)
        return Moved(f"{BASE}/apps/{application.id}", Notice(f"{application.name} was created."), change)

    async def edit(self, visit: Visit) -> Reply:
        application = await self._services.applications.get(visit.who, visit.params["app_id"])
        return self._form(visit, application, values_of(application), {})

    async def save(self, visit: Visit) -> Reply:
        former = await self._services.applications.get(visit.who, visit.params["app_id"])
        values = {name: visit.field(name) for name in ("name", "uid", "throttleRate", "metadata")}
        try:
            application = await self._services.applications.patch(visit.who, former.id, checked(ApplicationPatch, wanted_of(values)))
        except Wrong as error:
            return self._form(visit, former, values, dict(error.problems))
        except Conflict as error:
            return self._form(visit, former, values, {"uid": str(error)})
        before, after = values_of(former), values_of(application)
        changed = [name for name in after if before[name] != after[name]]
        notice = Notice(f"{application.name} was saved." if changed else "Nothing was changed.")
        change = Change("application.updated", application.id, application.id, listed(changed, 9)) if changed else None
        return Moved(f"{BASE}/apps/{application.id}", notice, change)

    def _form(self, visit: Visit, application: Application | None, values: dict[str, str], problems: dict[str, str]) -> Reply:
        status = 422 if problems else 200
        if application is None:
            view = FormView(f"{BASE}/apps", values, problems, "Create application", f"{BASE}/apps")
            head = Head("New application", "A customer whose endpoints get messages.", (Link("Applications", f"{BASE}/apps"),))
            return Shown("applications/form.html", view, head, status)
        here = f"{BASE}/apps/{application.id}"
        view = FormView(f"{here}/edit", values, problems, "Save", here)
        return Shown("applications/form.html", view, Head(f"Edit {application.name}", trail=_trail(application)), status, app=application)

    async def ask_delete(self, visit: Visit) -> Reply:
        return await self._delete_form(visit, "")

    async def _delete_form(self, visit: Visit, problem: str) -> Reply:
        application = await self._services.applications.get(visit.who, visit.params["app_id"])
        extent = await self._services.previews.application(visit.who, application.id)
        here = f"{BASE}/apps/{application.id}"
        view = DeleteView(f"{here}/delete", effects_of(extent), application.name, here, problem)
        head = Head(f"Delete {application.name}", "This cannot be taken back.", _trail(application))
        return Shown("applications/delete.html", view, head, 422 if problem else 200, app=application)

    async def delete(self, visit: Visit) -> Reply:
        application = await self._services.applications.get(visit.who, visit.params["app_id"])
        if visit.field("name").strip() != application.name.strip():
            return await self._delete_form(visit, "The name does not match; nothing was deleted.")
        await self._services.applications.delete(visit.who, application.id)
        change = Change("application.deleted", application.id, application.id, application.name)
        return Moved(f"{BASE}/apps", Notice(f"{application.name} was deleted."), change)


def _trail(application: Application) -> tuple[Link, ...]:
    return Link("Applications", f"{BASE}/apps"), Link(application.name, f"{BASE}/apps/{application.id}")


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/apps", pages.index, _SECTION),
        Route("POST", "/apps", pages.create, _SECTION),
        Route("GET", "/apps/new", pages.new, _SECTION),
        Route("GET", "/apps/{app_id}", pages.show, _SECTION),
        Route("GET", "/apps/{app_id}/edit", pages.edit, _SECTION),
        Route("POST", "/apps/{app_id}/edit", pages.save, _SECTION),
        Route("GET", "/apps/{app_id}/delete", pages.ask_delete, _SECTION),
        Route("POST", "/apps/{app_id}/delete", pages.delete, _SECTION),
    ]
