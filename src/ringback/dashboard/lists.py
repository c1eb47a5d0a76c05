"""Which lists can a view be saved of, and which filters do they know? Whatever else stands in an address is no view. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote, urlencode

import msgspec

from ringback.dashboard.components import BASE, Head
from ringback.dashboard.visits import fields
from ringback.dashboard.words import short_id
from ringback.errors import NotFound
from ringback.model.applications import Application
from ringback.model.dashboard import SavedView
from ringback.services.saved_views import NAME_CHARS

# What people need no more of an id than its end for.
_ID: Final = re.compile(r"[a-z]+_[0-9A-Za-z]{22,27}")
# Filters whose values say little alone.
_WORDS: Final[Mapping[str, str]] = {"within": "last {}", "since": "since {}", "until": "until {}", "answer": "answered {}"}


class List(msgspec.Struct, frozen=True):
    """A list at a path below the dashboard, and the fields of its filters in the order in which an address has them.

    `values` are those of fields that take no other ones: a list ignores others, and would show all under the name of a view.
    """

    path: str
    title: str
    fields: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]] = {}


_STATUSES: Final = ("failed", "retrying", "waiting", "delivered", "cancelled")
_FLAGS: Final = ("unverified", "old_secret", "conflict", "schema", "released", "spooled", "unversioned", "reconciled", "would_refuse")
_OUTCOMES: Final = ("duplicate", "handshake", "ignored", "rejected", "signal", "superseded", "spooled")
_TASKS: Final = {
    "status": ("running", "finished", "failed"),
    "kind": (
        *("endpoint.recover", "endpoint.replay", "endpoint.bulk-replay", "application.purge_content", "application.stats"),
        *("event-type.aggregate", "dead-letter.replay", "dead-letter.discard", "privacy.find", "privacy.erase"),
    ),
}
LISTS: Final = (
    List(
        "/apps/{app_id}/messages",
        "Messages",
        ("q", "type", "status", "within", "tag", "channel"),
        {"status": _STATUSES, "within": ("15m", "1h", "24h", "7d")},
    ),
    List("/apps/{app_id}/messages/live", "Live messages", ("kind", "type"), {"kind": ("accepted", "attempts", "trouble")}),
    List(
        "/apps/{app_id}/endpoints/{endpoint_id}/attempts",
        "Attempts",
        ("status", "answer", "type"),
        {"status": ("ok", "failed", "cancelled"), "answer": ("200", "300", "400", "500", "0")},
    ),
    List("/search", "Search messages", ("q",)),
    List("/dead-letters", "Dead letters, summed up", ("app",)),
    List("/dead-letters/list", "Dead letters", ("app", "cause", "type", "endpoint", "since", "until")),
    List("/sources", "Sources", ("q",)),
    List("/sources/{source_id}/events", "Events of a source", ("flag",), {"flag": _FLAGS}),
    List("/sources/{source_id}/arrivals", "Journal of a source", ("outcome",), {"outcome": _OUTCOMES}),
    List("/sources/{source_id}/expectations", "Awaited events", ("state",), {"state": ("open", "met", "missed")}),
    List("/quarantine/list", "Quarantine", ("source", "reason")),
    List("/event-types", "Event types", ("q", "show"), {"show": ("all",)}),
    List("/tasks", "Background tasks", ("status", "kind"), _TASKS),
    List("/audit", "Audit log", ("object",)),
)
_PATTERNS: Final = tuple((re.compile(re.sub(r"\{\w+\}", "[^/]+", one.path)), one) for one in LISTS)


class ViewLink(msgspec.Struct, frozen=True):
    """A saved view on its list. `current`: it is what is shown now."""

    name: str
    href: str
    delete: str
    current: bool


class Bar(msgspec.Struct, frozen=True):
    """The saved views of a list, and what could be saved now: `to` under a `name` to begin with ("" = nothing)."""

    links: Sequence[ViewLink]
    to: str
    name: str
    most: int = NAME_CHARS


def list_at(path: str) -> List | None:
    """The list at a path, as people read it."""
    if any(segment in (".", "..") for segment in path.split("/")):
        return None
    return next((one for pattern, one in _PATTERNS if pattern.fullmatch(path)), None)


def chosen_at(found: List, query: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The filters in a query that a list knows, in its order, less those that choose nothing."""
    return [(name, value) for name, value in _given(found, query) if value in found.values.get(name, (value,))]


def _given(found: List, query: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    for name in found.fields:
        for value in dict.fromkeys(text.strip() for text in query.get(name, ())):
            if value:
                yield name, value


def address_of(path: str, chosen: Sequence[tuple[str, str]]) -> str:
    """The address of a list below the dashboard, written in the one way in which views are kept."""
    return f"{quote(path)}?{urlencode(chosen)}" if chosen else quote(path)


def address_in(text: str) -> str | None:
    """The address of a list in what a form holds; None: it leads elsewhere, chooses nothing, or with what the list does not know."""
    path, _, raw = text.partition("?")
    path = unquote(path.removeprefix(BASE), errors="replace")
    found = list_at(path) if text.startswith(f"{BASE}/") else None
    try:
        query = fields(raw)
    except NotFound:
        return None
    if found is None or not query.keys() <= set(found.fields):
        return None
    chosen = chosen_at(found, query)
    return address_of(path, chosen) if chosen and chosen == list(_given(found, query)) else None


def list_of(view: SavedView) -> List | None:
    """The list that a view leads to; None: this version has no such list, or no such filters."""
    return list_at(unquote(view.address.partition("?")[0])) if address_in(BASE + view.address) == view.address else None


def bar_of(views: Sequence[SavedView], path: str, query: Mapping[str, Sequence[str]], head: Head, app: Application | None) -> Bar | None:
    """What stands beside the filters of the page at a path, which may have the uid of its application; None: it is no list."""
    if app is not None and path.startswith("/apps/"):
        path = "/".join((f"/apps/{app.id}", *path.split("/")[3:]))
    found = list_at(path)
    if found is None:
        return None
    chosen, place = chosen_at(found, query), quote(path)
    here = address_of(path, chosen)
    links = [
        ViewLink(view.name, BASE + view.address, delete_of(view), view.address == here)
        for view in views
        if view.address.partition("?")[0] == place and list_of(view) is not None
    ]
    if not chosen or any(link.current for link in links):
        return Bar(links, "", "")
    return Bar(links, BASE + here, name_of(head, chosen, app))


def delete_of(view: SavedView) -> str:
    """Where a view is deleted."""
    return f"{BASE}/saved-views/{view.id}/delete"


def name_of(head: Head, chosen: Sequence[tuple[str, str]], app: Application | None) -> str:
    """A name to begin with: the list, whose it is, and what was chosen."""
    whose = f" of {head.trail[-1].label}" if head.trail else ""
    names = {} if app is None else {app.id: app.name, app.uid: app.name}
    words = (
        _WORDS.get(name, "{}").format(names.get(value) or (short_id(value) if _ID.fullmatch(value) else value)) for name, value in chosen
    )
    return f"{head.title}{whose}: {', '.join(words)}"[:NAME_CHARS].strip()
