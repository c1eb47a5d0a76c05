"""The operations on destinations: endpoints that are no webhooks. No kind of them is built yet, and each operation says so.

Source: HTTP contract, section 18. A kind that is built will be an endpoint with another transport, and leave `UNBUILT`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.messages import cursor_shape
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import Answer, Call, Handler, Operation, answer
from ringback.errors import NotFound
from ringback.model.applications import Capability
from ringback.policy.paging import Page
from ringback.policy.validation import Problem, Rule
from ringback.services.applications import Applications

DestinationType: TypeAlias = Literal[
    "pollingEndpoint",
    "azureBlobStorage",
    "otelTracing",
    "fifoEndpoint",
    "amazonS3",
    "googleCloudStorage",
    "googleCloudPubSub",
    "sqs",
    "sns",
    "bigQuery",
    "clickhouse",
    "eventBridge",
    "snowflake",
    "rabbitMq",
    "redshift",
    "postgres",
    "elasticSearch",
]
UNBUILT: Final[frozenset[str]] = frozenset(get_args(DestinationType))

_LIST: Final = "/api/v1/app/{app_id}/destination"
_ONE: Final = _LIST + "/{destination_id}"


def _built(value: str) -> Sequence[Problem]:
    if value not in UNBUILT:
        return ()
    return [((), f"destinations of type {value!r} are not built, nor are those of any other type yet; create an endpoint instead")]


class DestinationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A destination. What its type asks for stands in `config`."""

    type: DestinationType
    config: dict[str, Any] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"type": _built}


class DestinationOut(msgspec.Struct, frozen=True, rename="camel"):
    """A destination as clients see it."""

    id: str
    type: DestinationType
    config: dict[str, Any]


class ListResponseDestinationOut(ListOut[DestinationOut], frozen=True, rename="camel"):
    """One page of destinations."""


DESTINATION_IN: Final = Body(DestinationIn)


class _Handlers:
    def __init__(self, applications: Applications) -> None:
        self._applications = applications

    async def list(self, call: Call) -> Answer:
        walk_of(call.query, cursor_shape(ids.ENDPOINT), descending=True)
        await self._applications.get(call.who, call.params["app_id"])
        nothing: Page[DestinationOut] = Page([], True)
        return answer(200, listing(nothing, lambda destination: destination.id, lambda destination: destination))

    async def make(self, call: Call) -> Answer:
        await self._applications.get(call.who, call.params["app_id"])
        call.parsed(DESTINATION_IN)
        raise NotFound

    async def one(self, call: Call) -> Answer:
        await self._applications.get(call.who, call.params["app_id"])
        raise NotFound


def routes(applications: Applications) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(applications)
    declared: list[tuple[str, str, str, Handler, Mapping[int, Any]]] = [
        ("GET", _LIST, "List destinations: there are none yet", h.list, {200: ListResponseDestinationOut}),
        ("POST", _LIST, "Create a destination: refused, as no type is built", h.make, {201: DestinationOut}),
        ("GET", _ONE, "Get a destination", h.one, {200: DestinationOut}),
        ("PUT", _ONE, "Replace or create a destination: refused, as no type is built", h.make, {200: DestinationOut, 201: DestinationOut}),
        ("PATCH", _ONE, "Change fields of a destination", h.one, {200: DestinationOut}),
        ("DELETE", _ONE, "Delete a destination", h.one, {204: None}),
        ("POST", _ONE + "/secret/rotate", "Rotate the secret of a destination", h.one, {200: dict[str, str]}),
        ("GET", _ONE + "/transformation", "Get the transformation of a destination", h.one, {200: dict[str, Any]}),
        ("PATCH", _ONE + "/transformation", "Change the transformation of a destination", h.one, {200: dict[str, Any]}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.APPLICATION,
            body=DESTINATION_IN if handler == h.make else None,
            query=(LIMIT, ITERATOR, ORDER) if handler == h.list else (),
            answers=answers,
            needs=None if method == "GET" else Capability.MANAGE_ENDPOINT,
        )
        for method, path, summary, handler, answers in declared
    ]
