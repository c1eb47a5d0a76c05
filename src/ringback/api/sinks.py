"""The operations on the sinks of streams: on themselves, on what they are sent with, and on the events that some are asked for.

Source: HTTP contract, sections 4.3, 4.4 and 11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.endpoints import ROTATE_IN, EndpointHeadersOut, EndpointSecretOut, shown_headers
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, limit_of, listing, walk_of
from ringback.api.pollers import AFTER, ApiTokenOut, rotated_key, shown_key
from ringback.api.pollers import ITERATOR as PLACE
from ringback.api.pollers import ROTATE_IN as ROTATE_KEY_IN
from ringback.api.routing import NO_CONTENT, OFF_LOOP_BYTES, Answer, Call, Handler, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.streams import Sink, SinkStatus, SinkType
from ringback.policy.streams import iterator_of
from ringback.services.sink_reading import Asked, Read, SinkReading
from ringback.services.sinks import (
    Created,
    SinkConfigIn,
    SinkConfigPatch,
    SinkHeadersPatchIn,
    Sinks,
    StreamSinkIn,
    StreamSinkPatch,
    signing_target_of,
    target_of,
)
from ringback.signing.secret import shown as shown_secret

_LIST: Final = "/api/v1/stream/{stream_id}/sink"
_ONE: Final = _LIST + "/{sink_id}"
_TOKEN: Final = "/api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token"

SINK_IN: Final = Body(StreamSinkIn, inner={"config": Body(SinkConfigIn)})
SINK_PATCH: Final = Body(StreamSinkPatch, inner={"config": Body(SinkConfigPatch)})
HEADERS_PATCH_IN: Final = Body(SinkHeadersPatchIn)


class SinkConfigOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a sink is that is called; a poller has nothing to show."""

    url: str | UnsetType = UNSET
    headers: EndpointHeadersOut | UnsetType = UNSET


class StreamSinkOut(msgspec.Struct, frozen=True, rename="camel"):
    """A sink as clients see it. `currentIterator` is behind the last batch that was accepted; of a poller it is where it begins.

    `missedEvents` were taken by retention before the sink got to them.
    """

    id: str
    uid: str | None
    type: SinkType
    config: SinkConfigOut
    status: Literal["enabled", "paused", "disabled", "retrying"]
    current_iterator: str
    failure_reason: str | None
    next_retry_at: Timestamp | None
    missed_events: int
    batch_size: int
    max_wait_secs: int
    event_types: tuple[str, ...]
    channels: tuple[str, ...]
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseStreamSinkOut(ListOut[StreamSinkOut], frozen=True, rename="camel"):
    """One page of sinks."""


class EventOut(msgspec.Struct, frozen=True, rename="camel"):
    """An event as it is read."""

    event_type: str
    payload: str
    timestamp: Timestamp


class EventStreamOut(msgspec.Struct, frozen=True):
    """Events, the oldest first. `iterator` goes on behind them; `done`: there is nothing more now."""

    data: list[EventOut]
    iterator: str
    done: bool


def shown(sink: Sink) -> StreamSinkOut:
    """The sink as clients see it."""
    config, progress = SinkConfigOut(), sink.progress
    if sink.target is not None:
        config = SinkConfigOut(sink.target.url, shown_headers(sink.target.headers))
    retry_at = progress.next_at if sink.status is SinkStatus.ENABLED else None
    return StreamSinkOut(
        id=sink.id,
        uid=sink.uid,
        type=sink.type,
        config=config,
        status="retrying" if sink.retrying else sink.status.value,
        current_iterator=iterator_of(sink.id, progress.position),
        failure_reason=progress.failure,
        next_retry_at=None if retry_at is None else rfc3339(retry_at),
        missed_events=progress.missed,
        batch_size=sink.batch_size,
        max_wait_secs=sink.max_wait_s,
        event_types=sink.event_types or (),
        channels=sink.channels or (),
        metadata=sink.metadata,
        created_at=rfc3339(sink.created_at),
        updated_at=rfc3339(sink.updated_at),
    )


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of sinks?"""
    return ids.is_short_id(ids.SINK, text)


def _made(created: Created) -> Answer:
    return answer(201 if created.new else 200, shown(created.sink))


def _secret(sink: Sink) -> Answer:
    return answer(200, EndpointSecretOut(shown_secret(signing_target_of(sink).secrets[0].text)))


def _events(read: Read) -> Answer:
    data = [EventOut(event.event_type, event.payload, rfc3339(event.created_at)) for event in read.events]
    return answer(200, EventStreamOut(data, read.iterator, read.done))


def _refs(call: Call) -> tuple[str, str]:
    return call.params["stream_id"], call.params["sink_id"]


class _Handlers:
    def __init__(self, sinks: Sinks, reading: SinkReading) -> None:
        self._sinks = sinks
        self._reading = reading

    async def list(self, call: Call) -> Answer:
        page = await self._sinks.page(call.who, call.params["stream_id"], walk_of(call.query, is_cursor, descending=True))
        return answer(200, listing(page, lambda sink: sink.id, shown))

    async def create(self, call: Call) -> Answer:
        wanted = call.parsed(SINK_IN)
        return _made(await self._sinks.create(call.who, call.params["stream_id"], wanted, also=call.keeping(_made)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._sinks.get(call.who, *_refs(call))))

    async def upsert(self, call: Call) -> Answer:
        return _made(await self._sinks.upsert(call.who, *_refs(call), call.parsed(SINK_IN)))

    async def patch(self, call: Call) -> Answer:
        return answer(200, shown(await self._sinks.patch(call.who, *_refs(call), call.parsed(SINK_PATCH))))

    async def delete(self, call: Call) -> Answer:
        await self._sinks.delete(call.who, *_refs(call))
        return NO_CONTENT

    async def events(self, call: Call) -> Answer:
        asked = Asked(limit_of(call.query), call.query.text("iterator"), call.query.instant("after"))
        read = await self._reading.read(call.who, *_refs(call), asked)
        large = sum(len(event.payload) for event in read.events) > OFF_LOOP_BYTES
        return await asyncio.to_thread(_events, read) if large else _events(read)

    async def headers(self, call: Call) -> Answer:
        return answer(200, shown_headers(target_of(await self._sinks.get(call.who, *_refs(call))).headers))

    async def patch_headers(self, call: Call) -> Answer:
        sink = await self._sinks.patch_headers(call.who, *_refs(call), call.parsed(HEADERS_PATCH_IN))
        return answer(200, shown_headers(target_of(sink).headers))

    async def secret(self, call: Call) -> Answer:
        return _secret(await self._sinks.get(call.who, *_refs(call)))

    async def rotate_secret(self, call: Call) -> Answer:
        return _secret(await self._sinks.rotate(call.who, *_refs(call), call.parsed(ROTATE_IN), also=call.keeping(_secret)))

    async def key(self, call: Call) -> Answer:
        return shown_key(200, await self._reading.key(call.who, *_refs(call)))

    async def rotate_key(self, call: Call) -> Answer:
        wanted = call.parsed(ROTATE_KEY_IN)
        return rotated_key(await self._reading.rotate_key(call.who, *_refs(call), wanted, also=call.keeping(rotated_key)))


def routes(sinks: Sinks, reading: SinkReading) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(sinks, reading)
    stream, org = Access.STREAM, Access.ORGANISATION
    out, headers, secret = {200: StreamSinkOut}, {200: EndpointHeadersOut}, {200: EndpointSecretOut}
    pages, read = (LIMIT, ITERATOR, ORDER), (LIMIT, PLACE, AFTER)
    declared: list[tuple[str, str, str, Handler, Access, Body[Any] | None, tuple[Parameter, ...], Mapping[int, Any]]] = [
        ("GET", _LIST, "List sinks", h.list, stream, None, pages, {200: ListResponseStreamSinkOut}),
        ("POST", _LIST, "Create a sink", h.create, stream, SINK_IN, (), {201: StreamSinkOut}),
        ("GET", _ONE, "Get a sink", h.get, stream, None, (), out),
        ("PUT", _ONE, "Replace or create a sink", h.upsert, stream, SINK_IN, (), {**out, 201: StreamSinkOut}),
        ("PATCH", _ONE, "Change fields of a sink", h.patch, stream, SINK_PATCH, (), out),
        ("DELETE", _ONE, "Delete a sink", h.delete, stream, None, (), {204: None}),
        ("GET", _ONE + "/events", "Read the events of a poller sink", h.events, Access.SINK_POLLER, None, read, {200: EventStreamOut}),
        ("GET", _ONE + "/headers", "Get the headers of a sink", h.headers, stream, None, (), headers),
        ("PATCH", _ONE + "/headers", "Change headers of a sink", h.patch_headers, stream, HEADERS_PATCH_IN, (), headers),
        ("GET", _ONE + "/secret", "Get the secret of a sink", h.secret, stream, None, (), secret),
        ("POST", _ONE + "/secret/rotate", "Rotate the secret of a sink", h.rotate_secret, stream, ROTATE_IN, (), secret),
        ("GET", _TOKEN, "Get the key of a poller sink", h.key, org, None, (), {200: ApiTokenOut}),
        ("POST", _TOKEN + "/rotate", "Give a poller sink another key", h.rotate_key, org, ROTATE_KEY_IN, (), {201: ApiTokenOut}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=access,
            body=body,
            query=query,
            answers=answers,
        )
        for method, path, summary, handler, access, body, query, answers in declared
    ]
