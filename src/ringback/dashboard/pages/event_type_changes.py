"""How does the catalogue change? Event types are written, archived and brought back, and taken from an OpenAPI document after a look."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.dashboard.components import BASE, Badge, Choice, Fact, Head, Link, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, lines, problems_of
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.pages.event_types import href_of, pretty, sorted_versions
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import counted, listed
from ringback.errors import InvalidField, Refused
from ringback.model.event_types import EventType
from ringback.services.event_type_imports import EventTypeImportOpenApiIn, Imported, read_document
from ringback.services.event_types import EventTypeIn, EventTypePatch

_SECTION: Final = "event_types"
_TRAIL: Final = (Link("Event types", f"{BASE}/event-types"),)
_FIELDS: Final = ("name", "description", "groupName", "featureFlags", "payloadValidation", "version", "schema")
_VALIDATIONS: Final = (
    ("", "as the server is set"),
    ("off", "do not compare"),
    ("warn", "accept, and count those that do not fit"),
    ("reject", "refuse those that do not fit"),
)
# The version of a first schema, as an import gives it.
_FIRST: Final = "1"
# Changes that a preview shows one by one.
_SHOWN: Final = 250
_NOTHING: Final = "paste a document: an OpenAPI description with webhooks, as JSON or YAML"
_NEW: Final = Badge("ok", "new")
_CHANGED: Final = Badge("retry", "changed")
_BACK: Final = Badge("wait", "brought back")
_ARCHIVED: Final = Badge("off", "archived")


class FormView(msgspec.Struct, frozen=True):
    """The form of an event type, with what was written into it."""

    action: str
    values: Mapping[str, str]
    problems: Mapping[str, str]
    deprecated: bool
    validations: Sequence[Choice]
    versions: Sequence[str]
    submit: str
    cancel: str
    new: bool


class ChangeRow(msgspec.Struct, frozen=True):
    """What an import would do to one event type."""

    name: str
    href: str | None
    badge: Badge
    what: str


class ImportView(msgspec.Struct, frozen=True):
    """The document, and what importing it would change. `asked`: it was read, and nothing is wrong with it."""

    action: str
    document: str
    replace_all: bool
    problem: str
    asked: bool
    rows: Sequence[ChangeRow]
    more: int
    facts: Sequence[Fact]
    submit: str
    cancel: str


def values_of(event_type: EventType) -> dict[str, str]:
    """What the form holds for an event type: its newest schema."""
    version = next(iter(sorted_versions(event_type)), "")
    return {
        "name": event_type.name,
        "description": event_type.description,
        "groupName": event_type.group_name or "",
        "featureFlags": ", ".join(event_type.feature_flags or ()),
        "payloadValidation": event_type.payload_validation or "",
        "version": version or _FIRST,
        "schema": pretty((event_type.schemas or {})[version]) if version else "",
    }


def wanted_of(values: Mapping[str, str], deprecated: bool, former: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a form asks for, under the names of the API. Raises Wrong."""
    version, text = values["version"].strip() or _FIRST, values["schema"].strip()
    schemas = dict(former or {})
    if text:
        try:
            schemas[version] = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Wrong({"schema": f"this is no JSON: {error}"}) from None
    else:
        schemas.pop(version, None)
    return {
        "description": values["description"].strip(),
        "deprecated": deprecated,
        "schemas": schemas or None,
        "groupName": values["groupName"].strip() or None,
        "featureFlags": lines(values["featureFlags"]) or None,
        "payloadValidation": values["payloadValidation"] or None,
    }


def differences(before: EventType, after: EventType) -> str:
    """What of an event type changes, in words."""
    words = {
        "description": "description",
        "schemas": "schema",
        "deprecated": "deprecated" if after.deprecated else "no longer deprecated",
        "group_name": "group",
        "feature_flags": "feature flags",
    }
    changed = [word for name, word in words.items() if getattr(before, name) != getattr(after, name)]
    return listed(changed, len(words)) or "nothing else"


def change_row(former: EventType | None, after: EventType) -> ChangeRow:
    """A line of the preview for what is written."""
    if former is None:
        return ChangeRow(after.name, None, _NEW, after.description)
    badge = _BACK if former.archived else _CHANGED
    return ChangeRow(after.name, href_of(after.name), badge, differences(former, after))


def _problems(error: Wrong | InvalidField) -> dict[str, str]:
    found = problems_of(error)
    if "schemas" in found:
        found["schema"] = found.pop("schemas")
    return found


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    # -- one event type

    async def new(self, visit: Visit) -> Reply:
        values = dict.fromkeys(_FIELDS, "") | {"name": visit.text("name"), "version": _FIRST}
        return self._form(None, values, False, {})

    async def create(self, visit: Visit) -> Reply:
        values, deprecated = _written(visit)
        try:
            wanted = checked(EventTypeIn, {"name": values["name"].strip(), **wanted_of(values, deprecated, None)})
            made = await self._services.event_types.create(visit.who, wanted)
        except (Wrong, InvalidField) as error:
            return self._form(None, values, deprecated, _problems(error))
        except Refused as error:
            return self._form(None, values, deprecated, {"name": str(error)})
        name = made.event_type.name
        return Moved(href_of(name), Notice(f"{name} was created."), Change("event_type.created", name))

    async def edit(self, visit: Visit) -> Reply:
        event_type = await self._services.event_types.get(visit.who, visit.params["name"])
        return self._form(event_type, values_of(event_type), event_type.deprecated, {})

    async def save(self, visit: Visit) -> Reply:
        former = await self._services.event_types.get(visit.who, visit.params["name"])
        values, deprecated = _written(visit)
        try:
            change = checked(EventTypePatch, wanted_of(values, deprecated, former.schemas))
            after = await self._services.event_types.patch(visit.who, former.name, change)
        except (Wrong, InvalidField) as error:
            return self._form(former, values, deprecated, _problems(error))
        if after == former:
            return Moved(href_of(former.name), Notice("Nothing was changed."))
        detail = differences(former, after)
        return Moved(href_of(former.name), Notice("Saved."), Change("event_type.updated", former.name, detail=detail))

    def _form(self, former: EventType | None, values: Mapping[str, str], deprecated: bool, problems: Mapping[str, str]) -> Reply:
        here = f"{BASE}/event-types" if former is None else href_of(former.name)
        view = FormView(
            here if former is None else f"{here}/edit",
            values,
            problems,
            deprecated,
            choices(_VALIDATIONS, values["payloadValidation"]),
            [] if former is None else sorted_versions(former),
            "Create event type" if former is None else "Save",
            here,
            former is None,
        )
        if former is None:
            head = Head("New event type", "A kind of thing that can happen.", _TRAIL)
        else:
            head = Head(f"Edit {former.name}", trail=(*_TRAIL, Link(former.name, here)))
        return Shown("event_types/form.html", view, head, 422 if problems else 200)

    async def ask_archive(self, visit: Visit) -> Reply:
        event_type = await self._services.event_types.get(visit.who, visit.params["name"])
        here = href_of(event_type.name)
        effects = [
            "It can no longer be chosen for endpoints, and customers no longer see it.",
            "Endpoints that chose it still get it, and messages of this type are accepted as before.",
            "It can be restored.",
        ]
        view = AskView(f"{here}/archive", effects, "Archive event type", here)
        return Shown("ask.html", view, Head(f"Archive {event_type.name}?", trail=(*_TRAIL, Link(event_type.name, here))))

    async def archive(self, visit: Visit) -> Reply:
        return await self._turn(visit, archived=True)

    async def restore(self, visit: Visit) -> Reply:
        return await self._turn(visit, archived=False)

    async def _turn(self, visit: Visit, *, archived: bool) -> Reply:
        event_type = await self._services.event_types.patch(visit.who, visit.params["name"], EventTypePatch(archived=archived))
        word = "archived" if archived else "restored"
        return Moved(href_of(event_type.name), Notice(f"{event_type.name} was {word}."), Change(f"event_type.{word}", event_type.name))

    # -- many at once

    async def import_form(self, visit: Visit) -> Reply:
        return self._import_page("", False)

    async def take_in(self, visit: Visit) -> Reply:
        """Show what would change; with `do=import`, do it."""
        document, replace_all = visit.field("document"), bool(visit.field("replaceAll"))
        if not document.strip():
            return self._import_page(document, replace_all, problem=_NOTHING)
        asked = EventTypeImportOpenApiIn(spec_raw=document, replace_all=replace_all)
        try:
            # Off the loop, as in the API: a large document takes seconds.
            wanted = await asyncio.to_thread(read_document, asked)
            if visit.field("do") == "import":
                return await self._carry_out(visit, wanted, replace_all)
            planned = await self._services.event_type_imports.plan(visit.who, wanted, replace_all=replace_all)
        except (Refused, InvalidField) as error:
            text = str(error) if isinstance(error, Refused) else "; ".join(_problems(error).values())
            return self._import_page(document, replace_all, problem=text)
        return await self._preview(visit, document, replace_all, wanted, planned)

    async def _carry_out(self, visit: Visit, wanted: list[EventTypeIn], replace_all: bool) -> Reply:
        done = await self._services.event_type_imports.carry_out(visit.who, wanted, replace_all=replace_all)
        if not done.written and not done.archived:
            return Moved(f"{BASE}/event-types", Notice("All of them were as the document describes them; nothing was changed."))
        words = f"{counted(len(done.written), 'event type was', 'event types were')} written"
        if done.archived:
            words += f", {counted(len(done.archived), 'was', 'were')} archived"
        names = [event_type.name for event_type in done.written] + done.archived
        change = Change("event_type.imported", "openapi", detail=f"{words}: {listed(names, 9)}")
        return Moved(f"{BASE}/event-types", Notice(f"{words}."), change)

    async def _preview(self, visit: Visit, document: str, replace_all: bool, wanted: Sequence[EventTypeIn], planned: Imported) -> Reply:
        changes = len(planned.written) + len(planned.archived)
        former = await self._services.event_type_imports.former(visit.who, [event_type.name for event_type in planned.written[:_SHOWN]])
        rows = [change_row(former.get(event_type.name), event_type) for event_type in planned.written[:_SHOWN]]
        gone = planned.archived[: _SHOWN - len(rows)]
        rows += [ChangeRow(name, href_of(name), _ARCHIVED, "the document does not have it") for name in gone]
        facts = [
            Fact("In the document", counted(len(wanted), "event type")),
            Fact("Written", str(len(planned.written))),
            Fact("Left as they are", str(len(wanted) - len(planned.written))),
            Fact("Archived", str(len(planned.archived))),
        ]
        return self._import_page(document, replace_all, rows=rows, more=changes - len(rows), facts=facts)

    def _import_page(
        self,
        document: str,
        replace_all: bool,
        *,
        problem: str = "",
        rows: Sequence[ChangeRow] = (),
        more: int = 0,
        facts: Sequence[Fact] = (),
    ) -> Reply:
        submit = f"Import {counted(len(rows) + more, 'change')}" if rows else ""
        here = f"{BASE}/import-event-types"
        view = ImportView(here, document, replace_all, problem, bool(facts), rows, more, facts, submit, f"{BASE}/event-types")
        head = Head("Import event types", "Each webhook of an OpenAPI document becomes an event type with its schema.", _TRAIL)
        return Shown("event_types/import.html", view, head, 422 if problem else 200)


def _written(visit: Visit) -> tuple[dict[str, str], bool]:
    return {name: visit.field(name) for name in _FIELDS}, bool(visit.field("deprecated"))


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/event-types/{name}"
    # What makes event types stands beside them: below, any word may be the name of one.
    return [
        Route("GET", "/new-event-type", pages.new, _SECTION),
        Route("POST", "/event-types", pages.create, _SECTION),
        Route("GET", "/import-event-types", pages.import_form, _SECTION),
        Route("POST", "/import-event-types", pages.take_in, _SECTION),
        Route("GET", f"{one}/edit", pages.edit, _SECTION),
        Route("POST", f"{one}/edit", pages.save, _SECTION),
        Route("GET", f"{one}/archive", pages.ask_archive, _SECTION),
        Route("POST", f"{one}/archive", pages.archive, _SECTION),
        Route("POST", f"{one}/restore", pages.restore, _SECTION),
    ]
