"""Who is told when something goes wrong? Operational endpoints: made, looked at with what they got last, switched off and on, deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Action, Badge, Empty, Fact, Head, Link, Pager, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, problems_of
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.pages.endpoints import (
    AttemptRow,
    attempt_row,
    said_of,
    secrets_of,
    shown_url,
    title_of,
    url_parts,
    wants_of,
    why_off,
)
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, counted, moment
from ringback.errors import Conflict, InvalidField, NotFound, Refused
from ringback.model.endpoints import Endpoint
from ringback.model.operational import CATALOGUE
from ringback.policy.paging import Page
from ringback.policy.windows import Ask
from ringback.services.attempts import AttemptFilter
from ringback.services.endpoints import EndpointIn, EndpointPatch
from ringback.services.operational_endpoints import OperationalEndpointIn, OperationalEndpointUpsertIn
from ringback.signing.secret import shown as shown_secret

_SECTION: Final = "operational"
_TRAIL: Final = (Link("Operational webhooks", f"{BASE}/operational"),)
_ON: Final = Badge("ok", "enabled")
_OFF: Final = Badge("off", "disabled")
# Deliveries on the page of one: the last minutes of a bad day.
_RECENT: Final = 20
_FIELDS: Final = ("url", "description", "throttleRate", "secret")


class Row(msgspec.Struct, frozen=True):
    """One line of the list."""

    id: str
    href: str
    host: str
    path: str
    description: str
    wants: str
    badge: Badge
    created: Moment


class ListView(msgspec.Struct, frozen=True):
    """A page of the list."""

    rows: Sequence[Row]
    pager: Pager
    empty: Empty


class EventChoice(msgspec.Struct, frozen=True):
    """One operational event that can be ticked."""

    name: str
    told: str
    chosen: bool


class FormView(msgspec.Struct, frozen=True):
    """The form of a new one, or of one that is changed (`new` false: its secret is on its page), with what was written into it."""

    action: str
    new: bool
    values: Mapping[str, str]
    problems: Mapping[str, str]
    events: Sequence[EventChoice]
    cancel: str


class OneView(msgspec.Struct, frozen=True):
    """One operational endpoint. `secret` is shown only where somebody asked for it."""

    href: str
    off: str
    facts: Sequence[Fact]
    attempts: Sequence[AttemptRow]
    empty: Empty
    secrets: str
    secret: str


def href_of(endpoint: Endpoint) -> str:
    """The page of an operational endpoint."""
    return f"{BASE}/operational/{endpoint.id}"


def row_of(endpoint: Endpoint, now_us: int) -> Row:
    """One of them as a line."""
    host, path = url_parts(endpoint.url)
    return Row(
        endpoint.id,
        href_of(endpoint),
        host,
        path,
        endpoint.description,
        wants_of(endpoint).replace("all event types", "all but message.attempt.log"),
        _OFF if endpoint.disabled else _ON,
        moment(endpoint.created_at, now_us),
    )


def events_of(chosen: Sequence[str]) -> list[EventChoice]:
    """All operational events to tick."""
    return [EventChoice(event.name, event.told.replace("`", ""), event.name in chosen) for event in CATALOGUE]


def values_of(endpoint: Endpoint) -> dict[str, str]:
    """What the form holds for one of them."""
    rate = "" if endpoint.throttle_rate is None else str(endpoint.throttle_rate)
    return {"url": endpoint.url, "description": endpoint.description, "throttleRate": rate, "secret": ""}


def asked_of(values: Mapping[str, str], chosen: Sequence[str]) -> dict[str, Any]:
    """What a form asks for, under the names of the API, but for the secret."""
    return {
        "url": values["url"].strip(),
        "description": values["description"].strip(),
        "eventTypes": list(chosen) or None,
        "throttleRate": values["throttleRate"].strip() or None,
    }


def facts_of(endpoint: Endpoint, now_us: int) -> list[Fact]:
    """What is known of one of them."""
    names = "all but message.attempt.log" if endpoint.event_types is None else ", ".join(sorted(endpoint.event_types))
    return [
        Fact("URL", shown_url(endpoint.url), copy=True, mono=True),
        Fact("Id", endpoint.id, copy=True, mono=True),
        Fact("Events", names),
        Fact("Rate", "unlimited" if endpoint.throttle_rate is None else f"{counted(endpoint.throttle_rate, 'attempt')} a second"),
        Fact("Created", "", moment=moment(endpoint.created_at, now_us)),
        Fact("Changed", "", moment=moment(endpoint.updated_at, now_us)),
    ]


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        at = visit.text("at")
        walk, _ = walk_of(at, lambda key: ids.is_id(ids.ENDPOINT, key))
        try:
            page = await self._services.listeners.page(visit.who, await self._services.operational.application(visit.who), walk)
        except NotFound:
            page = Page([], True)
        rows = [row_of(endpoint, visit.now_us) for endpoint in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        new = Action("New operational endpoint", f"{BASE}/operational/new", "primary", panel=False)
        empty = Empty(
            "Nobody is told yet",
            "An operational endpoint gets a signed webhook when an endpoint is disabled, a message runs out of attempts, or a background "
            "task ends.",
            action=new,
        )
        head = Head("Operational webhooks", "What this platform tells you: sent, signed and retried like any message.", actions=(new,))
        return Shown("operational/list.html", ListView(rows, pager(page, first, last, at, "/operational"), empty), head)

    async def new(self, visit: Visit) -> Reply:
        return self._form(None, dict.fromkeys(_FIELDS, ""), (), {})

    def _form(self, endpoint: Endpoint | None, values: Mapping[str, str], chosen: Sequence[str], problems: Mapping[str, str]) -> Reply:
        if endpoint is None:
            here = action = f"{BASE}/operational"
            head = Head("New operational endpoint", "Where you want to hear what happens on this platform.", _TRAIL)
        else:
            here = href_of(endpoint)
            action = f"{here}/edit"
            head = Head("Edit operational endpoint", trail=(*_TRAIL, Link(title_of(endpoint), here)))
        view = FormView(action, endpoint is None, values, problems, events_of(chosen), here)
        return Shown("operational/form.html", view, head, 422 if problems else 200)

    async def edit(self, visit: Visit) -> Reply:
        endpoint = await self._services.listeners.get(visit.who, *await self._refs(visit))
        return self._form(endpoint, values_of(endpoint), endpoint.event_types or (), {})

    async def save(self, visit: Visit) -> Reply:
        app_id, endpoint_id = await self._refs(visit)
        former = await self._services.listeners.get(visit.who, app_id, endpoint_id)
        values, chosen = {name: visit.field(name) for name in _FIELDS}, tuple(visit.form.get("eventTypes", ()))
        try:
            wanted = checked(OperationalEndpointUpsertIn, asked_of(values, chosen))
            patch = EndpointPatch(
                url=wanted.url, description=wanted.description, event_types=wanted.event_types, throttle_rate=wanted.throttle_rate
            )
            endpoint = await self._services.listeners.patch(visit.who, app_id, endpoint_id, patch)
        except (Wrong, InvalidField) as error:
            return self._form(former, values, chosen, problems_of(error))
        change = Change("endpoint.updated", endpoint.id, detail=f"operational: {title_of(endpoint)}")
        return Moved(href_of(endpoint), Notice("Saved. It holds for what happens from now on."), change)

    async def create(self, visit: Visit) -> Reply:
        services = self._services
        values, chosen = {name: visit.field(name) for name in _FIELDS}, tuple(visit.form.get("eventTypes", ()))
        asked = asked_of(values, chosen) | {"secret": values["secret"].strip() or None}
        try:
            wanted = EndpointIn(**msgspec.structs.asdict(checked(OperationalEndpointIn, asked)))
            made = await services.listeners.create(visit.who, await services.operational.made(visit.who), wanted)
        except (Wrong, InvalidField) as error:
            problems = problems_of(error)
            return self._form(None, values, chosen, problems)
        except (Conflict, Refused) as error:
            return self._form(None, values, chosen, {"": str(error)})
        endpoint = made.endpoint
        change = Change("endpoint.created", endpoint.id, detail=f"operational: {title_of(endpoint)}")
        return Moved(href_of(endpoint), Notice("The operational endpoint was created."), change)

    async def _refs(self, visit: Visit) -> tuple[str, str]:
        return await self._services.operational.application(visit.who), visit.params["endpoint_id"]

    async def show(self, visit: Visit) -> Reply:
        return await self._shown(visit)

    async def _shown(self, visit: Visit, secret: str = "") -> Shown:
        services, (app_id, endpoint_id) = self._services, await self._refs(visit)
        endpoint = await services.listeners.get(visit.who, app_id, endpoint_id)
        page = await services.attempts.by_endpoint(
            visit.who, app_id, endpoint_id, Ask(_RECENT), AttemptFilter(), content=False, with_message=False
        )
        recent = [item.attempt for item in page.items]
        here = href_of(endpoint)
        view = OneView(
            here,
            why_off(endpoint, visit.now_us),
            facts_of(endpoint, visit.now_us),
            [attempt_row(attempt, visit.now_us) for attempt in recent],
            Empty("Nothing was told yet", "What happens from now on, and is wanted, is sent here within a second."),
            secrets_of(endpoint, visit.now_us),
            secret,
        )
        turn = Action("Enable", f"{here}/enable", post=True) if endpoint.disabled else Action("Disable", f"{here}/disable")
        sentence = said_of(endpoint, recent)
        actions = (Action("Delete", f"{here}/delete", "danger"), turn, Action("Edit", f"{here}/edit", panel=False))
        return Shown("operational/show.html", view, Head(title_of(endpoint), sentence, _TRAIL, actions, _OFF if endpoint.disabled else _ON))

    async def reveal(self, visit: Visit) -> Reply:
        endpoint = await self._services.listeners.get(visit.who, *await self._refs(visit))
        page = await self._shown(visit, shown_secret(endpoint.secrets[0].text))
        return msgspec.structs.replace(page, change=Change("secret.revealed", endpoint.id))

    async def ask_disable(self, visit: Visit) -> Reply:
        return await self._ask(visit, "disable", ["It is told nothing until it is enabled; what happens meanwhile is not told later."])

    async def ask_delete(self, visit: Visit) -> Reply:
        return await self._ask(visit, "delete", ["It is told nothing more.", "This cannot be taken back."])

    async def _ask(self, visit: Visit, act: str, effects: Sequence[str]) -> Reply:
        endpoint = await self._services.listeners.get(visit.who, *await self._refs(visit))
        here, word = href_of(endpoint), act.capitalize()
        view = AskView(f"{here}/{act}", effects, f"{word} endpoint", here)
        return Shown("ask.html", view, Head(f"{word} this endpoint?", title_of(endpoint), (*_TRAIL, Link(title_of(endpoint), here))))

    async def disable(self, visit: Visit) -> Reply:
        return await self._turn(visit, off=True)

    async def enable(self, visit: Visit) -> Reply:
        return await self._turn(visit, off=False)

    async def _turn(self, visit: Visit, *, off: bool) -> Reply:
        endpoint = await self._services.listeners.patch(visit.who, *await self._refs(visit), EndpointPatch(disabled=off))
        word = "disabled" if off else "enabled"
        change = Change(f"endpoint.{word}", endpoint.id, detail=f"operational: {title_of(endpoint)}")
        return Moved(href_of(endpoint), Notice(f"The operational endpoint was {word}."), change)

    async def delete(self, visit: Visit) -> Reply:
        app_id, endpoint_id = await self._refs(visit)
        endpoint = await self._services.listeners.get(visit.who, app_id, endpoint_id)
        await self._services.listeners.delete(visit.who, app_id, endpoint_id)
        change = Change("endpoint.deleted", endpoint.id, detail=f"operational: {title_of(endpoint)}")
        return Moved(f"{BASE}/operational", Notice(f"{title_of(endpoint)} was deleted."), change)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/operational/{endpoint_id}"
    return [
        Route("GET", "/operational", pages.index, _SECTION),
        Route("POST", "/operational", pages.create, _SECTION),
        Route("GET", "/operational/new", pages.new, _SECTION),
        Route("GET", one, pages.show, _SECTION),
        Route("GET", f"{one}/edit", pages.edit, _SECTION),
        Route("POST", f"{one}/edit", pages.save, _SECTION),
        Route("POST", f"{one}/secret", pages.reveal, _SECTION),
        Route("GET", f"{one}/disable", pages.ask_disable, _SECTION),
        Route("POST", f"{one}/disable", pages.disable, _SECTION),
        Route("POST", f"{one}/enable", pages.enable, _SECTION),
        Route("GET", f"{one}/delete", pages.ask_delete, _SECTION),
        Route("POST", f"{one}/delete", pages.delete, _SECTION),
    ]
