"""The operations on streams: on themselves, on the events in them, on the types of those, and on the tokens that reach one stream.

Source: HTTP contract, sections 4.2, 4.4 and 11.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.authentication import AppPortalAccessOut
from ringback.api.bodies import Body
from ringback.api.event_types import is_cursor as is_name
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.errors import FieldProblem, InvalidField
from ringback.model.streams import Stream, StreamEventType
from ringback.policy import validation
from ringback.services import stream_event_types
from ringback.services.stream_event_types import StreamEventTypeIn, StreamEventTypePatch, StreamEventTypes
from ringback.services.stream_portal import StreamPortal, StreamPortalAccessIn, StreamTokenExpireIn
from ringback.services.streams import Created, CreateStreamEventsIn, EventIn, StreamIn, StreamPatch, Streams

_LIST: Final = "/api/v1/stream"
_ONE: Final = _LIST + "/{stream_id}"
_TYPES: Final = _LIST + "/event-type"
_TYPE: Final = _TYPES + "/{name}"
_AUTH: Final = "/api/v1/auth"
_FLAG: Final = {"type": "boolean", "default": False}
ARCHIVED: Final = Parameter("include_archived", _FLAG, "List archived event types too")
EXPUNGE: Final = Parameter("expunge", _FLAG, "Remove it altogether instead of archiving it")

STREAM_IN: Final = Body(StreamIn)
STREAM_PATCH: Final = Body(StreamPatch)
EVENTS_IN: Final = Body(CreateStreamEventsIn, inner={"stream": STREAM_IN}, inner_lists={"events": Body(EventIn)})
TYPE_IN: Final = Body(StreamEventTypeIn)
TYPE_PATCH: Final = Body(StreamEventTypePatch)
ACCESS_IN: Final = Body(StreamPortalAccessIn)
EXPIRE_IN: Final = Body(StreamTokenExpireIn)


class StreamOut(msgspec.Struct, frozen=True, rename="camel"):
    """A stream as clients see it."""

    id: str
    uid: str | None
    name: str
    description: str
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseStreamOut(ListOut[StreamOut], frozen=True, rename="camel"):
    """One page of streams."""


class CreateStreamEventsOut(msgspec.Struct, frozen=True):
    """The events are kept: there is nothing more to say."""


class StreamEventTypeOut(msgspec.Struct, frozen=True, rename="camel"):
    """An event type of streams as clients see it."""

    name: str
    description: str | None
    feature_flags: tuple[str, ...] | None
    deprecated: bool
    archived: bool
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseStreamEventTypeOut(ListOut[StreamEventTypeOut], frozen=True, rename="camel"):
    """One page of event types of streams."""


def shown(stream: Stream) -> StreamOut:
    """The stream as clients see it."""
    created_at, updated_at = rfc3339(stream.created_at), rfc3339(stream.updated_at)
    return StreamOut(stream.id, stream.uid, stream.name, stream.description, stream.metadata, created_at, updated_at)


def shown_type(kind: StreamEventType) -> StreamEventTypeOut:
    """The event type as clients see it."""
    created_at, updated_at = rfc3339(kind.created_at), rfc3339(kind.updated_at)
    return StreamEventTypeOut(kind.name, kind.description, kind.feature_flags, kind.deprecated, kind.archived, created_at, updated_at)


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of streams?"""
    return ids.is_short_id(ids.STREAM, text)


def _made(created: Created) -> Answer:
    return answer(201 if created.new else 200, shown(created.stream))


def _made_type(created: stream_event_types.Created) -> Answer:
    return answer(201 if created.new else 200, shown_type(created.event_type))


def _appended(nothing: None) -> Answer:
    return answer(202, CreateStreamEventsOut())


class _Handlers:
    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def list(self, call: Call) -> Answer:
        page = await self._streams.page(call.who, walk_of(call.query, is_cursor, descending=False))
        return answer(200, listing(page, lambda stream: stream.id, shown))

    async def create(self, call: Call) -> Answer:
        return _made(await self._streams.create(call.who, call.parsed(STREAM_IN), also=call.keeping(_made)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._streams.get(call.who, call.params["stream_id"])))

    async def upsert(self, call: Call) -> Answer:
        return _made(await self._streams.upsert(call.who, call.params["stream_id"], call.parsed(STREAM_IN)))

    async def patch(self, call: Call) -> Answer:
        return answer(200, shown(await self._streams.patch(call.who, call.params["stream_id"], call.parsed(STREAM_PATCH))))

    async def delete(self, call: Call) -> Answer:
        await self._streams.delete(call.who, call.params["stream_id"])
        return NO_CONTENT

    async def append(self, call: Call) -> Answer:
        wanted = call.parsed(EVENTS_IN)
        await self._streams.append(call.who, call.params["stream_id"], wanted, also=call.keeping(_appended))
        return _appended(None)


class _TypeHandlers:
    def __init__(self, types: StreamEventTypes) -> None:
        self._types = types

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_name, descending=False)
        page = await self._types.page(call.who, walk, archived=call.query.flag("include_archived", False))
        return answer(200, listing(page, lambda kind: kind.name, shown_type))

    async def create(self, call: Call) -> Answer:
        return _made_type(await self._types.create(call.who, call.parsed(TYPE_IN), also=call.keeping(_made_type)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown_type(await self._types.get(call.who, call.params["name"])))

    async def upsert(self, call: Call) -> Answer:
        name = call.params["name"]
        problems = validation.name(name)
        if problems:
            raise InvalidField(*(FieldProblem(("path", "name"), message) for _, message in problems))
        return _made_type(await self._types.upsert(call.who, name, call.parsed(TYPE_IN)))

    async def patch(self, call: Call) -> Answer:
        return answer(200, shown_type(await self._types.patch(call.who, call.params["name"], call.parsed(TYPE_PATCH))))

    async def delete(self, call: Call) -> Answer:
        await self._types.delete(call.who, call.params["name"], expunge=call.query.flag("expunge", False))
        return NO_CONTENT


class _PortalHandlers:
    def __init__(self, portal: StreamPortal, page_url: Callable[[str], str]) -> None:
        self._portal = portal
        self._page_url = page_url

    async def access(self, call: Call) -> Answer:
        wanted = call.parsed(ACCESS_IN)
        return self._out(await self._portal.admit(call.who, call.params["stream_id"], wanted, also=call.keeping(self._out)))

    def _out(self, token: str) -> Answer:
        return answer(200, AppPortalAccessOut(self._page_url(token), token))

    async def logout(self, call: Call) -> Answer:
        await self._portal.leave(call.who)
        return NO_CONTENT

    async def expire_all(self, call: Call) -> Answer:
        await self._portal.expire_all(call.who, call.params["stream_id"], call.parsed(EXPIRE_IN))
        return NO_CONTENT


# Method, path, summary, handler, access, body, query, answers.
_Declared = tuple[str, str, str, Handler, Access, Body[Any] | None, tuple[Parameter, ...], Mapping[int, Any]]


def routes(streams: Streams, types: StreamEventTypes, portal: StreamPortal, page_url: Callable[[str], str]) -> list[Operation]:
    """The operations of this module. `page_url` makes the URL of the portal for a token."""
    declared = [*_of_streams(_Handlers(streams)), *_of_types(_TypeHandlers(types)), *_of_tokens(_PortalHandlers(portal, page_url))]
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
            refusals=(409,) if body in (EVENTS_IN, TYPE_IN) and method == "POST" else (),
        )
        for method, path, summary, handler, access, body, query, answers in declared
    ]


def _of_streams(h: _Handlers) -> list[_Declared]:
    org = Access.ORGANISATION
    pages = (LIMIT, ITERATOR, ORDER)
    return [
        ("GET", _LIST, "List streams", h.list, org, None, pages, {200: ListResponseStreamOut}),
        ("POST", _LIST, "Create a stream", h.create, org, STREAM_IN, (), {201: StreamOut}),
        ("GET", _ONE, "Get a stream", h.get, Access.STREAM, None, (), {200: StreamOut}),
        ("PUT", _ONE, "Replace or create a stream", h.upsert, org, STREAM_IN, (), {200: StreamOut, 201: StreamOut}),
        ("PATCH", _ONE, "Change fields of a stream", h.patch, org, STREAM_PATCH, (), {200: StreamOut}),
        ("DELETE", _ONE, "Delete a stream", h.delete, org, None, (), {204: None}),
        ("POST", _ONE + "/events", "Append events to a stream", h.append, org, EVENTS_IN, (), {202: CreateStreamEventsOut}),
    ]


def _of_types(h: _TypeHandlers) -> list[_Declared]:
    org, stream = Access.ORGANISATION, Access.STREAM
    pages = (LIMIT, ITERATOR, ORDER, ARCHIVED)
    out = {200: StreamEventTypeOut}
    return [
        ("GET", _TYPES, "List event types of streams", h.list, stream, None, pages, {200: ListResponseStreamEventTypeOut}),
        ("POST", _TYPES, "Create an event type of streams", h.create, org, TYPE_IN, (), {201: StreamEventTypeOut}),
        ("GET", _TYPE, "Get an event type of streams", h.get, stream, None, (), out),
        ("PUT", _TYPE, "Replace or create an event type of streams", h.upsert, org, TYPE_IN, (), {**out, 201: StreamEventTypeOut}),
        ("PATCH", _TYPE, "Change fields of an event type of streams", h.patch, org, TYPE_PATCH, (), out),
        ("DELETE", _TYPE, "Archive or remove an event type of streams", h.delete, org, None, (EXPUNGE,), {204: None}),
    ]


def _of_tokens(h: _PortalHandlers) -> list[_Declared]:
    org = Access.ORGANISATION
    access, expire = f"{_AUTH}/stream-portal-access/{{stream_id}}", f"{_AUTH}/stream/{{stream_id}}/expire-all"
    logout = "End the stream's token that this is sent with"
    return [
        ("POST", access, "Make a portal token of a stream", h.access, org, ACCESS_IN, (), {200: AppPortalAccessOut}),
        ("POST", f"{_AUTH}/stream-logout", logout, h.logout, Access.STREAM_PORTAL, None, (), {204: None}),
        ("POST", expire, "End the portal tokens of a stream", h.expire_all, org, EXPIRE_IN, (), {204: None}),
    ]
