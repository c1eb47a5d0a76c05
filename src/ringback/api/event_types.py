"""The operations on event types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Alias, Body
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.errors import FieldProblem, InvalidField
from ringback.model.event_types import EventType, PayloadValidation
from ringback.policy import validation
from ringback.services.event_types import Created, EventTypeIn, EventTypePatch, EventTypes, EventTypeUpsertIn

# Older clients send a single flag.
_ALIASES = {"featureFlag": Alias("featureFlags", single=True)}
EVENT_TYPE_IN = Body(EventTypeIn, _ALIASES)
EVENT_TYPE_UPSERT_IN = Body(EventTypeUpsertIn, _ALIASES)
EVENT_TYPE_PATCH = Body(EventTypePatch, _ALIASES)

_LIST = "/api/v1/event-type"
_ONE = _LIST + "/{event_type_name}"
_FLAG = {"type": "boolean", "default": False}


class EventTypeOut(msgspec.Struct, frozen=True, rename="camel"):
    """An event type as clients see it."""

    name: str
    description: str
    archived: bool
    deprecated: bool
    schemas: dict[str, Any] | None
    group_name: str | None
    feature_flags: tuple[str, ...] | None
    feature_flag: str | None
    payload_validation: PayloadValidation | None
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseEventTypeOut(ListOut[EventTypeOut], frozen=True, rename="camel"):
    """One page of event types."""


def shown(event_type: EventType, *, with_schemas: bool = True) -> EventTypeOut:
    """The event type as clients see it."""
    return EventTypeOut(
        name=event_type.name,
        description=event_type.description,
        archived=event_type.archived,
        deprecated=event_type.deprecated,
        schemas=event_type.schemas if with_schemas else None,
        group_name=event_type.group_name,
        feature_flags=event_type.feature_flags,
        feature_flag=event_type.feature_flags[0] if event_type.feature_flags else None,
        payload_validation=event_type.payload_validation,
        created_at=rfc3339(event_type.created_at),
        updated_at=rfc3339(event_type.updated_at),
    )


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of event types, which is a name?"""
    return not validation.name(text)


class _Handlers:
    def __init__(self, event_types: EventTypes) -> None:
        self._event_types = event_types

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=False)
        with_schemas = call.query.flag("with_content", False)
        page = await self._event_types.page(call.who, walk, archived=call.query.flag("include_archived", False))
        return answer(200, listing(page, lambda event_type: event_type.name, lambda item: shown(item, with_schemas=with_schemas)))

    async def create(self, call: Call) -> Answer:
        wanted = call.parsed(EVENT_TYPE_IN)
        return _created(await self._event_types.create(call.who, wanted, also=call.keeping(_created)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._event_types.get(call.who, call.params["event_type_name"])))

    async def upsert(self, call: Call) -> Answer:
        wanted = call.parsed(EVENT_TYPE_UPSERT_IN)
        name = call.params["event_type_name"]
        problems = validation.name(name)
        if problems:
            raise InvalidField(*(FieldProblem(("path", "event_type_name"), message) for _, message in problems))
        return _created(await self._event_types.upsert(call.who, name, wanted))

    async def patch(self, call: Call) -> Answer:
        return answer(200, shown(await self._event_types.patch(call.who, call.params["event_type_name"], call.parsed(EVENT_TYPE_PATCH))))

    async def delete(self, call: Call) -> Answer:
        await self._event_types.delete(call.who, call.params["event_type_name"], expunge=call.query.flag("expunge", False))
        return NO_CONTENT


def _created(created: Created) -> Answer:
    return answer(201 if created.new else 200, shown(created.event_type))


def routes(event_types: EventTypes) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(event_types)
    listed = (
        LIMIT,
        ITERATOR,
        ORDER,
        Parameter("include_archived", _FLAG, "List archived event types too"),
        Parameter("with_content", _FLAG, "Show the schemas"),
    )
    expunge = (Parameter("expunge", _FLAG, "Remove it altogether instead of archiving it"),)
    org, app = Access.ORGANISATION, Access.APPLICATION
    declared: list[tuple[str, str, str, Handler, Access, Body[Any] | None, tuple[Parameter, ...], Mapping[int, Any]]] = [
        ("GET", _LIST, "List event types", h.list, app, None, listed, {200: ListResponseEventTypeOut}),
        ("POST", _LIST, "Create an event type", h.create, org, EVENT_TYPE_IN, (), {201: EventTypeOut}),
        ("GET", _ONE, "Get an event type", h.get, app, None, (), {200: EventTypeOut}),
        ("PUT", _ONE, "Replace or create an event type", h.upsert, org, EVENT_TYPE_UPSERT_IN, (), {200: EventTypeOut, 201: EventTypeOut}),
        ("PATCH", _ONE, "Change fields of an event type", h.patch, org, EVENT_TYPE_PATCH, (), {200: EventTypeOut}),
        ("DELETE", _ONE, "Archive or remove an event type", h.delete, org, None, expunge, {204: None}),
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
            refusals=(409,) if handler == h.create else (),
        )
        for method, path, summary, handler, access, body, query, answers in declared
    ]
