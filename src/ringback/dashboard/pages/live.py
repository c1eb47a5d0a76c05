"""What is happening? Messages and attempts of an application as they come, in the browser within a moment; paused and filtered there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US, rfc3339, to_datetime
from ringback.dashboard.answers import BEAT_S
from ringback.dashboard.components import BASE, CANCELLED, DEAD, DELIVERED, FAILED, Badge, Choice, Head, Link, Tab, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.pages.endpoints import title_of
from ringback.dashboard.pages.messages import command_of, tabs_of
from ringback.dashboard.visits import Reply, Route, Shown, Streamed, Visit
from ringback.dashboard.words import counted, duration, milliseconds
from ringback.services.directory import Entry
from ringback.services.feed import Happening, Slice, Watched

_SECTION: Final = "messages"
_ACCEPTED: Final = Badge("wait", "accepted")
_BADGES: Final = {"accepted": _ACCEPTED, "delivered": DELIVERED, "failed": FAILED, "dead": DEAD, "cancelled": CANCELLED}
_KINDS: Final = (("", "everything"), ("accepted", "accepted messages"), ("attempts", "attempts"), ("trouble", "failures"))
_KINDS_OF: Final = {"accepted": ("accepted",), "attempts": ("delivered", "failed", "dead", "cancelled"), "trouble": ("failed", "dead")}


class LiveRow(msgspec.Struct, frozen=True):
    """One line of the tail."""

    iso: str
    clock: str
    badge: Badge
    href: str
    event_type: str
    message_id: str
    endpoint: str
    detail: str


class SliceView(msgspec.Struct, frozen=True):
    """A slice of the tail: its lines, and how many more there were."""

    rows: Sequence[LiveRow]
    seen: int


class LiveView(msgspec.Struct, frozen=True):
    """The page of the tail."""

    here: str
    events: str
    tabs: Sequence[Tab]
    kinds: Sequence[Choice]
    event_type: str
    command: str


def row_of(happening: Happening, endpoints: Entry) -> LiveRow:
    """A happening as a line."""
    h = happening
    message = f"{BASE}/apps/{h.app_id}/messages/{h.message_id}"
    endpoint = endpoints.endpoints.get(h.endpoint_id)
    return LiveRow(
        rfc3339(h.at),
        f"{to_datetime(h.at):%H:%M:%S}.{h.at % SECOND_US // 1000:03}",
        _BADGES[h.kind],
        f"{message}/attempts/{h.attempt_id}" if h.attempt_id else message,
        h.event_type,
        h.message_id,
        h.endpoint_id if endpoint is None and h.endpoint_id else "" if endpoint is None else title_of(endpoint),
        detail_of(h),
    )


def detail_of(happening: Happening) -> str:
    """What there is to say about it, in a few words."""
    h = happening
    if h.kind == "accepted":
        return "goes nowhere" if not h.matched else f"for {counted(h.matched, 'endpoint')}"
    answer = str(h.code) if h.code else h.error.replace("_", " ")
    words = f"{answer} in {milliseconds(h.duration_us)}"
    if h.kind == "failed" and h.next_at is not None:
        words += f", again in {duration(max(h.next_at - h.at, 0) / SECOND_US)}"
    return f"{words}, attempt {h.number}" if h.number > 1 else words


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, visit: Visit) -> Reply:
        entry = await self._services.directory.find(visit.who.org_id, visit.params["app_id"])
        application = entry.application
        here = f"{BASE}/apps/{application.id}/messages/live"
        view = LiveView(
            here,
            f"{here}/events",
            tabs_of(application.id, "live"),
            choices(_KINDS, visit.text("kind")),
            visit.text("type"),
            command_of(self._services.url(), application.id),
        )
        trail = (Link(application.name, f"{BASE}/apps/{application.id}"),)
        return Shown("live/show.html", view, Head("Messages", trail=trail), app=application)

    async def events(self, visit: Visit) -> Reply:
        app_id = visit.params["app_id"]
        entry = await self._services.directory.find(visit.who.org_id, app_id)
        watched = Watched(
            visit.who.org_id, lambda _: True, entry.application.id, visit.texts("type"), _KINDS_OF.get(visit.text("kind"), ())
        )

        # Before the answer begins: who finds no room is told so.
        self._services.feed.admit(visit.who.org_id)

        async def views() -> AsyncIterator[SliceView | None]:
            async for piece in self._services.feed.watch(watched, BEAT_S):
                yield None if piece is None else await self._slice(visit, piece)

        return Streamed("live/rows.html", views)

    async def _slice(self, visit: Visit, piece: Slice) -> SliceView:
        # Looked up anew, in memory: an endpoint may have been made since.
        entry = await self._services.directory.find(visit.who.org_id, visit.params["app_id"])
        return SliceView([row_of(happening, entry) for happening in piece.shown], piece.seen)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/apps/{app_id}/messages/live", pages.show, _SECTION),
        Route("GET", "/apps/{app_id}/messages/live/events", pages.events, _SECTION, quiet=True),
    ]
