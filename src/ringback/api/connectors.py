"""The operations on connectors, the templates that customers choose from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.messages import cursor_shape
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.connectors import Connector, ConnectorKind, ConnectorProduct
from ringback.services.connectors import ConnectorIn, ConnectorPatch, Connectors, ConnectorUpsertIn, Created

CONNECTOR_IN: Final = Body(ConnectorIn)
CONNECTOR_UPSERT_IN: Final = Body(ConnectorUpsertIn)
CONNECTOR_PATCH: Final = Body(ConnectorPatch)

_LIST: Final = "/api/v1/connector"
_ONE: Final = _LIST + "/{connector_id}"
_PRODUCTS: Final[tuple[str, ...]] = get_args(ConnectorProduct)


class ConnectorOut(msgspec.Struct, frozen=True, rename="camel"):
    """A connector as clients see it."""

    id: str
    org_id: str
    uid: str | None
    kind: ConnectorKind
    name: str
    logo: str | None
    description: str
    instructions: str
    allowed_event_types: tuple[str, ...] | None
    transformation: str
    feature_flags: tuple[str, ...] | None
    product_type: ConnectorProduct
    created_at: Timestamp
    updated_at: Timestamp
    transformation_updated_at: Timestamp


class ListResponseConnectorOut(ListOut[ConnectorOut], frozen=True, rename="camel"):
    """One page of connectors."""


def shown(connector: Connector) -> ConnectorOut:
    """The connector as clients see it."""
    fields: dict[str, Any] = msgspec.structs.asdict(connector)
    times = {name: rfc3339(value) for name, value in fields.items() if name.endswith("_at")}
    return ConnectorOut(**{**fields, **times})


class _Handlers:
    def __init__(self, connectors: Connectors) -> None:
        self._connectors = connectors

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, cursor_shape(ids.CONNECTOR), descending=False)
        page = await self._connectors.page(call.who, walk, call.query.choice("product_type", _PRODUCTS))
        return answer(200, listing(page, lambda connector: connector.id, shown))

    async def create(self, call: Call) -> Answer:
        return _created(await self._connectors.create(call.who, call.parsed(CONNECTOR_IN), also=call.keeping(_created)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._connectors.get(call.who, call.params["connector_id"])))

    async def upsert(self, call: Call) -> Answer:
        return _created(await self._connectors.upsert(call.who, call.params["connector_id"], call.parsed(CONNECTOR_UPSERT_IN)))

    async def patch(self, call: Call) -> Answer:
        return answer(200, shown(await self._connectors.patch(call.who, call.params["connector_id"], call.parsed(CONNECTOR_PATCH))))

    async def delete(self, call: Call) -> Answer:
        await self._connectors.delete(call.who, call.params["connector_id"])
        return NO_CONTENT


def _created(created: Created) -> Answer:
    return answer(201 if created.new else 200, shown(created.connector))


def routes(connectors: Connectors) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(connectors)
    product = Parameter("product_type", {"type": "string", "enum": list(_PRODUCTS)}, "Only connectors of this product")
    declared: list[tuple[str, str, str, Handler, Body[Any] | None, Mapping[int, Any]]] = [
        ("GET", _LIST, "List connectors", h.list, None, {200: ListResponseConnectorOut}),
        ("POST", _LIST, "Create a connector", h.create, CONNECTOR_IN, {201: ConnectorOut}),
        ("GET", _ONE, "Get a connector", h.get, None, {200: ConnectorOut}),
        ("PUT", _ONE, "Replace or create a connector", h.upsert, CONNECTOR_UPSERT_IN, {200: ConnectorOut, 201: ConnectorOut}),
        ("PATCH", _ONE, "Change fields of a connector", h.patch, CONNECTOR_PATCH, {200: ConnectorOut}),
        ("DELETE", _ONE, "Delete a connector", h.delete, None, {204: None}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.APPLICATION if method == "GET" else Access.ORGANISATION,
            body=body,
            query=(LIMIT, ITERATOR, ORDER, product) if handler == h.list else (),
            answers=answers,
        )
        for method, path, summary, handler, body, answers in declared
    ]
