"""The operations on destinations: endpoints that are no webhooks. Polling endpoints are built; each other type says that it is not.

Source: HTTP contract, sections 15 and 18. A type that is built leaves `UNBUILT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.messages import cursor_shape
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.errors import FieldProblem, InvalidField, Refused
from ringback.model.applications import Capability
from ringback.model.polling import PollingEndpoint, PollingStatus
from ringback.policy.polling import iterator_of
from ringback.policy.validation import Problem, Rule
from ringback.services.polling import Created, Driven, Polling, PollingEndpointIn, PollingEndpointPatch

DestinationType: TypeAlias = Literal["pollingEndpoint", "fifoEndpoint", Driven]
POLLING: Final = "pollingEndpoint"
UNBUILT: Final[frozenset[str]] = frozenset(get_args(DestinationType)) - {POLLING}

_LIST: Final = "/api/v1/app/{app_id}/destination"
_ONE: Final = _LIST + "/{destination_id}"


def _built(value: str) -> Sequence[Problem]:
    if value not in UNBUILT:
        return ()
    return [((), f"destinations of type {value!r} are not built; those of type {POLLING!r} are, or create an endpoint instead")]


class DestinationIn(PollingEndpointIn, frozen=True, kw_only=True, rename="camel"):
    """A whole destination. A polling endpoint has no `config`; what is given of one is not kept."""

    type: DestinationType
    config: dict[str, Any] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {**PollingEndpointIn.RULES, "type": _built}


class DestinationPatch(PollingEndpointPatch, frozen=True, kw_only=True, rename="camel"):
    """What to change of a destination; its type stays what it is."""

    type: DestinationType | UnsetType = UNSET
    config: dict[str, Any] | None = None


class DestinationOut(msgspec.Struct, frozen=True, rename="camel"):
    """A destination as clients see it. `currentIterator` of a polling endpoint is where its first reader begins."""

    id: str
    uid: str | None
    status: PollingStatus
    current_iterator: str
    failure_reason: None
    created_at: Timestamp
    updated_at: Timestamp
    batch_size: int
    max_wait_secs: int
    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    next_retry_at: None
    metadata: dict[str, str]
    type: Literal["pollingEndpoint"]
    config: dict[str, str]


class ListResponseDestinationOut(ListOut[DestinationOut], frozen=True, rename="camel"):
    """One page of destinations."""


class DestinationTransformationOut(msgspec.Struct, frozen=True):
    """The transformation of a destination: a polling endpoint has none."""

    code: str | None
    enabled: bool


class DestinationTransformIn(msgspec.Struct, frozen=True, kw_only=True):
    """Another transformation, or none."""

    code: str | None = None


DESTINATION_IN: Final = Body(DestinationIn)
DESTINATION_PATCH: Final = Body(DestinationPatch)
TRANSFORM_IN: Final = Body(DestinationTransformIn)


def shown(endpoint: PollingEndpoint) -> DestinationOut:
    """A polling endpoint as clients see it."""
    return DestinationOut(
        id=endpoint.id,
        uid=endpoint.uid,
        status=endpoint.status,
        current_iterator=iterator_of(endpoint.id, endpoint.start),
        failure_reason=None,
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
        batch_size=endpoint.batch_size,
        max_wait_secs=endpoint.max_wait_s,
        event_types=endpoint.event_types,
        channels=endpoint.channels,
        next_retry_at=None,
        metadata=endpoint.metadata,
        type="pollingEndpoint",
        config={},
    )


def _is_cursor(text: str) -> bool:
    # Those that complete an auto-config subscription have the id of an endpoint.
    return any(cursor_shape(prefix)(text) for prefix in (ids.POLLING_ENDPOINT, ids.ENDPOINT))


def polling_in(wanted: DestinationIn) -> PollingEndpointIn:
    """What a destination says of the polling endpoint that it is."""
    return PollingEndpointIn(**{name: getattr(wanted, name) for name in PollingEndpointIn.__struct_fields__})


def _made(created: Created) -> Answer:
    return answer(201 if created.new else 200, shown(created.endpoint))


def _refs(call: Call) -> tuple[str, str]:
    return call.params["app_id"], call.params["destination_id"]


class _Handlers:
    def __init__(self, polling: Polling) -> None:
        self._polling = polling

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, _is_cursor, descending=True)
        page = await self._polling.page(call.who, call.params["app_id"], walk)
        return answer(200, listing(page, lambda endpoint: endpoint.id, shown))

    async def create(self, call: Call) -> Answer:
        wanted = polling_in(call.parsed(DESTINATION_IN))
        return _made(await self._polling.create(call.who, call.params["app_id"], wanted, also=call.keeping(_made)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._polling.get(call.who, *_refs(call))))

    async def upsert(self, call: Call) -> Answer:
        return _made(await self._polling.upsert(call.who, *_refs(call), polling_in(call.parsed(DESTINATION_IN))))

    async def patch(self, call: Call) -> Answer:
        asked = call.parsed(DESTINATION_PATCH)
        if asked.type not in (UNSET, POLLING):
            message = f"a destination keeps its type, which is {POLLING!r}; leave it out, or create another destination"
            raise InvalidField(FieldProblem(("body", "type"), message))
        change = PollingEndpointPatch(**{name: getattr(asked, name) for name in PollingEndpointPatch.__struct_fields__})
        return answer(200, shown(await self._polling.patch(call.who, *_refs(call), change)))

    async def delete(self, call: Call) -> Answer:
        await self._polling.delete(call.who, *_refs(call))
        return NO_CONTENT

    async def transformation(self, call: Call) -> Answer:
        await self._polling.get(call.who, *_refs(call))
        return answer(200, DestinationTransformationOut(None, False))

    async def rotate_secret(self, call: Call) -> Answer:
        await self._polling.get(call.who, *_refs(call))
        raise Refused("not_http_sink", "a polling endpoint signs nothing and has no secret; what reads it is its poller key")

    async def transform(self, call: Call) -> Answer:
        asked = call.parsed(TRANSFORM_IN)
        await self._polling.get(call.who, *_refs(call))
        if asked.code is not None:
            raise Refused("not_http_sink", "a polling endpoint hands out messages as they were accepted, and transforms nothing")
        return answer(200, {})


def routes(polling: Polling) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(polling)
    bodies: dict[Handler, Body[Any]] = {
        h.create: DESTINATION_IN,
        h.upsert: DESTINATION_IN,
        h.patch: DESTINATION_PATCH,
        h.transform: TRANSFORM_IN,
    }
    declared: list[tuple[str, str, str, Handler, Mapping[int, Any]]] = [
        ("GET", _LIST, "List destinations", h.list, {200: ListResponseDestinationOut}),
        ("POST", _LIST, "Create a destination: a polling endpoint", h.create, {201: DestinationOut}),
        ("GET", _ONE, "Get a destination", h.get, {200: DestinationOut}),
        ("PUT", _ONE, "Replace or create a destination", h.upsert, {200: DestinationOut, 201: DestinationOut}),
        ("PATCH", _ONE, "Change fields of a destination", h.patch, {200: DestinationOut}),
        ("DELETE", _ONE, "Delete a destination", h.delete, {204: None}),
        ("POST", _ONE + "/secret/rotate", "Rotate the secret of a destination: a polling endpoint has none", h.rotate_secret, {}),
        ("GET", _ONE + "/transformation", "Get the transformation of a destination", h.transformation, {200: DestinationTransformationOut}),
        ("PATCH", _ONE + "/transformation", "Change the transformation of a destination: it has none", h.transform, {200: dict[str, str]}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.APPLICATION,
            body=bodies.get(handler),
            query=(LIMIT, ITERATOR, ORDER) if handler == h.list else (),
            answers=answers,
            needs=None if method == "GET" else Capability.MANAGE_ENDPOINT,
            refusals=(409,) if handler in (h.create, h.upsert, h.patch) else (),
        )
        for method, path, summary, handler, answers in declared
    ]
