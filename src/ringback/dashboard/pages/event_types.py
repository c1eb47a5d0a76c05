"""What kinds of things can happen? The catalogue of event types: the list, and one of them with its schemas and examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback.dashboard.components import (
    BASE,
    Action,
    Badge,
    Choice,
    Empty,
    Fact,
    Head,
    Link,
    Pager,
    Tab,
    address,
    choices,
    pager,
    walk_of,
)
from ringback.dashboard.desk import Services
from ringback.dashboard.payloads import PayloadView, payload_view
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, moment
from ringback.model.event_types import EventType
from ringback.policy import validation
from ringback.policy.json_schemas import newest
from ringback.policy.paging import HIGHEST, LOWEST, Walk
from ringback.policy.samples import sample_of

_SECTION: Final = "event_types"
LIVE: Final = Badge("ok", "live")
DEPRECATED: Final = Badge("retry", "deprecated")
ARCHIVED: Final = Badge("off", "archived")
# Examples of a schema that a page shows; who writes more has a document elsewhere.
_EXAMPLES: Final = 5
_SHOWN: Final = (("", "live"), ("all", "live and archived"))
_VALIDATIONS: Final = {
    None: "as the server is set",
    "off": "payloads are not compared",
    "warn": "what does not fit is counted",
    "reject": "what does not fit is refused",
}


class TypeRow(msgspec.Struct, frozen=True):
    """One line of the list."""

    name: str
    href: str
    description: str
    group: str
    schemas: str
    badge: Badge
    changed: Moment


class ListView(msgspec.Struct, frozen=True):
    """A page of the catalogue."""

    here: str
    q: str
    shown: Sequence[Choice]
    filtered: bool
    rows: Sequence[TypeRow]
    pager: Pager
    empty: Empty


class Example(msgspec.Struct, frozen=True):
    """What a payload looks like. `origin` says where it is from."""

    text: str
    origin: str


class TypeView(msgspec.Struct, frozen=True):
    """One event type. `versions` are its schemas; the one that is shown is `schema`."""

    href: str
    description: str
    facts: Sequence[Fact]
    versions: Sequence[Tab]
    schema: PayloadView | None
    schema_here: str
    raw: bool
    examples: Sequence[Example]
    empty: Empty


def href_of(name: str) -> str:
    """The page of an event type."""
    return f"{BASE}/event-types/{name}"


def badge_of(event_type: EventType) -> Badge:
    """How an event type stands."""
    return ARCHIVED if event_type.archived else DEPRECATED if event_type.deprecated else LIVE


def row_of(event_type: EventType, now_us: int) -> TypeRow:
    """An event type as a line."""
    return TypeRow(
        event_type.name,
        href_of(event_type.name),
        event_type.description,
        event_type.group_name or "",
        ", ".join(sorted_versions(event_type)),
        badge_of(event_type),
        moment(event_type.updated_at, now_us),
    )


def sorted_versions(event_type: EventType) -> list[str]:
    """The versions of its schema, the newest first."""
    left = dict(event_type.schemas or {})
    versions = []
    while left:
        top = newest(left)
        version = next(name for name, schema in left.items() if schema is top)
        versions.append(version)
        del left[version]
    return versions


def beginning(walk: Walk, prefix: str) -> Walk:
    """The same walk, among the names that begin so."""
    if not prefix:
        return walk
    # Names are compared by their bytes, and the first of those that begin so is the prefix itself.
    before = prefix[:-1] + chr(max(ord(prefix[-1]) - 1, 0)) + HIGHEST
    above = before if walk.above == LOWEST else walk.above
    return msgspec.structs.replace(walk, above=above, below=prefix + HIGHEST if walk.below == HIGHEST else walk.below)


def examples_of(schema: Any) -> list[Example]:
    """The examples that a schema holds; without any, one that is made from it."""
    known = schema if isinstance(schema, dict) else {}
    written = known.get("examples") or ([known["example"]] if "example" in known else [])
    if written:
        return [Example(pretty(value), "from the schema") for value in written[:_EXAMPLES]]
    made = sample_of(schema)
    return [] if made in (None, {}) else [Example(pretty(made), "made up from the schema")]


def pretty(value: Any) -> str:
    """JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def facts_of(event_type: EventType, now_us: int) -> list[Fact]:
    """What is known of an event type."""
    return [
        Fact("Name", event_type.name, copy=True, mono=True),
        Fact("Group", event_type.group_name or "none"),
        Fact("Validation", _VALIDATIONS[event_type.payload_validation]),
        *([Fact("Feature flags", ", ".join(event_type.feature_flags))] if event_type.feature_flags else []),
        Fact("Created", "", moment=moment(event_type.created_at, now_us)),
        Fact("Changed", "", moment=moment(event_type.updated_at, now_us)),
    ]


def sentence_of(event_type: EventType) -> str:
    """How an event type stands, in a sentence."""
    if event_type.archived:
        return "It is archived: it can no longer be chosen for endpoints; those that chose it still get it."
    if event_type.deprecated:
        return "It is deprecated: it is delivered as ever, and customers see that they should not begin with it."
    return ""


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        at, q, shown = visit.text("at"), visit.text("q"), visit.text("show")
        walk, _ = walk_of(at, lambda key: not validation.name(key), descending=False)
        page = await self._services.event_types.page(visit.who, beginning(walk, q), archived=shown == "all")
        rows = [row_of(event_type, visit.now_us) for event_type in page.items]
        first, last = (rows[0].name, rows[-1].name) if rows else (None, None)
        new = Action("New event type", f"{BASE}/new-event-type", "primary", panel=False)
        take = Action("Import", f"{BASE}/import-event-types", panel=False)
        view = ListView(
            f"{BASE}/event-types",
            q,
            choices(_SHOWN, shown),
            bool(q or shown),
            rows,
            pager(page, first, last, at, "/event-types", q=q, show=shown),
            self._empty(bool(q or shown), new),
        )
        head = Head("Event types", "The kinds of things that can happen: what customers choose from.", actions=(take, new))
        return Shown("event_types/list.html", view, head)

    def _empty(self, filtered: bool, new: Action) -> Empty:
        if filtered:
            return Empty("No such event type", "Names are found by their beginning; archived ones when they are shown too.")
        command = (
            f"curl -X POST {self._services.url()}/api/v1/event-type -H 'authorization: Bearer TOKEN' "
            '-d \'{"name": "order.created", "description": "An order was placed"}\''
        )
        return Empty(
            "No event type yet",
            "Messages can be sent without any. With a catalogue customers see what they can choose, and payloads can be compared with "
            "schemas. An OpenAPI document brings all of its webhooks at once.",
            command,
            new,
        )

    async def show(self, visit: Visit) -> Reply:
        services = self._services
        event_type = await services.event_types.get(visit.who, visit.params["name"])
        here, raw = href_of(event_type.name), visit.text("view") == "raw"
        versions = sorted_versions(event_type)
        asked = visit.text("version")
        version = asked if asked in versions else next(iter(versions), "")
        schema = None if event_type.schemas is None or not version else event_type.schemas[version]
        edit = Action("Edit", f"{here}/edit", panel=False)
        empty = Empty("No schema", "With one, payloads can be compared with it, and customers see what they will get.", action=edit)
        view = TypeView(
            here,
            event_type.description,
            facts_of(event_type, visit.now_us),
            [Tab(f"Version {name}", f"{here}?version={name}", name == version) for name in versions],
            payload_view(pretty(schema).encode(), "JSON Schema") if version else None,
            address(f"/event-types/{event_type.name}", version=version),
            raw,
            examples_of(schema) if version else [],
            empty,
        )
        return Shown("event_types/show.html", view, self._head(visit, event_type, edit))

    def _head(self, visit: Visit, event_type: EventType, edit: Action) -> Head:
        here, app_id = href_of(event_type.name), visit.remembered_app
        actions = [Action("Restore", f"{here}/restore", post=True) if event_type.archived else Action("Archive", f"{here}/archive"), edit]
        if self._services.search.on:
            actions.append(Action("Messages", address("/search", q=f"type:{event_type.name}"), panel=False))
        if app_id is not None and not event_type.archived:
            actions.append(Action("Send one", address(f"/apps/{app_id}/send", type=event_type.name), "primary"))
        trail = (Link("Event types", f"{BASE}/event-types"),)
        return Head(event_type.name, sentence_of(event_type), trail, tuple(actions), badge_of(event_type))


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/event-types", pages.index, _SECTION),
        Route("GET", "/event-types/{name}", pages.show, _SECTION),
    ]
