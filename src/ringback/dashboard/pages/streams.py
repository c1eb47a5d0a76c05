"""Which streams are there, and how far is each of their sinks? Where it stands, what waits for it, and why it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Badge, Empty, Head, Link, Pager, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.pages.endpoints import shown_url
from ringback.dashboard.pages.sink_transformation import path_of
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, count, counted, moment, wanted
from ringback.model.streams import Sink, SinkStatus, Stream
from ringback.services.sinks import OVERVIEW_MAX, Overview

_SECTION: Final = "streams"
_RETRYING: Final = Badge("retry", "retrying")
_BADGES: Final = {
    SinkStatus.ENABLED: Badge("ok", "enabled"),
    SinkStatus.PAUSED: Badge("wait", "paused"),
    SinkStatus.DISABLED: Badge("off", "disabled"),
}
_ABOUT: Final = (
    "A stream is a log of events, and its sinks get them in order and in batches. It is made by the API, with its first events too."
)


class SinkRow(msgspec.Struct, frozen=True):
    """One sink.

    `place`: how far it is; `reason`: why its last batch was not accepted, "" = it was; `retry`: when that is sent again; `code`: where one
    sees what makes of its events what it gets.
    """

    id: str
    name: str
    where: str
    wants: str
    badge: Badge
    place: str
    reason: str
    retry: Moment | None
    code: Link | None


class StreamRow(msgspec.Struct, frozen=True):
    """One stream with its sinks."""

    id: str
    name: str
    uid: str
    events: str
    made: Moment
    sinks: Sequence[SinkRow]
    more: str


class StreamsView(msgspec.Struct, frozen=True):
    """A page of streams."""

    rows: Sequence[StreamRow]
    pager: Pager
    empty: Empty


def place_of(stream: Stream, sink: Sink) -> str:
    """How far a sink is, in words. Whoever asks keeps that to itself."""
    position = sink.progress.position
    if sink.target is None:
        return f"began behind event {count(position)}" if position else "begins with the first event"
    behind = stream.last_seq - position
    rest = f"{counted(behind, 'event')} behind" if behind > 0 else "nothing waits"
    gone = f"; {counted(sink.progress.missed, 'event')} gone before it got there" if sink.progress.missed else ""
    return f"event {count(position)}, {rest}{gone}"


def sink_row(stream: Stream, sink: Sink, now_us: int, *, transforms: bool) -> SinkRow:
    """A sink as a line. `transforms`: its code is on."""
    waits = sink.retrying and sink.progress.next_at is not None
    return SinkRow(
        sink.id,
        sink.uid or "",
        "asks for its events" if sink.target is None else shown_url(sink.target.url),
        wanted(sink.event_types, sink.channels),
        _RETRYING if sink.retrying else _BADGES[sink.status],
        place_of(stream, sink),
        sink.progress.failure or "",
        moment(sink.progress.next_at or 0, now_us) if waits else None,
        None if sink.target is None else Link("Transformed by its code" if transforms else "Transform", f"{BASE}{path_of(sink)}"),
    )


def stream_row(overview: Overview, now_us: int) -> StreamRow:
    """A stream as a part of the page."""
    stream = overview.stream
    return StreamRow(
        stream.id,
        stream.name,
        stream.uid or "",
        counted(stream.last_seq, "event"),
        moment(stream.created_at, now_us),
        [sink_row(stream, sink, now_us, transforms=sink.id in overview.transformed) for sink in overview.sinks],
        f"Only the newest {OVERVIEW_MAX} sinks are shown." if overview.more else "",
    )


def _is_key(text: str) -> bool:
    return ids.is_short_id(ids.STREAM, text)


class _Pages:
    def __init__(self, services: Services) -> None:
        self._s = services

    async def index(self, visit: Visit) -> Reply:
        at = visit.text("at")
        walk, _ = walk_of(at, _is_key)
        page = await self._s.sinks.overviews(visit.who, walk)
        keys = [overview.stream.id for overview in page.items]
        pages = pager(page, keys[0] if keys else None, keys[-1] if keys else None, at, "/streams")
        made = f"""curl -X POST {self._s.url()}/api/v1/stream -H 'authorization: Bearer TOKEN' -d '{{"name": "Orders", "uid": "orders"}}'"""
        empty = Empty("No streams yet", _ABOUT, made)
        view = StreamsView([stream_row(overview, visit.now_us) for overview in page.items], pages, empty)
        sentence = "Logs of events; their sinks get them in order and in batches, or ask for them."
        return Shown("streams/list.html", view, Head("Streams", sentence))


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    return [Route("GET", "/streams", _Pages(services).index, _SECTION)]
