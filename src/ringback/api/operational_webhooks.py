"""The operations on operational endpoints: where the platform tells its owner what happens."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Alias, Body
from ringback.api.endpoints import EndpointHeadersOut, EndpointSecretOut, is_cursor
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.errors import NotFound
from ringback.model.endpoints import Endpoint
from ringback.policy.paging import Page
from ringback.policy.validation import is_sensitive
from ringback.services.endpoints import Created, EndpointHeadersIn, EndpointIn, Endpoints, EndpointSecretRotateIn, EndpointUpsertIn
from ringback.services.operational_endpoints import OperationalEndpointIn, OperationalEndpoints, OperationalEndpointUpsertIn
from ringback.signing.secret import shown as shown_secret

_LIST: Final = "/api/v1/operational-webhook/endpoint"
_ONE: Final = _LIST + "/{endpoint_id}"
# Older clients know these fields by other names.
_ALIASES: Final = {"rateLimit": Alias("throttleRate"), "filterTypes": Alias("eventTypes")}
ENDPOINT_IN: Final = Body(OperationalEndpointIn, _ALIASES)
ENDPOINT_UPSERT_IN: Final = Body(OperationalEndpointUpsertIn, _ALIASES)
ROTATE_IN: Final = Body(EndpointSecretRotateIn)
HEADERS_IN: Final = Body(EndpointHeadersIn)


class OperationalWebhookEndpointOut(msgspec.Struct, frozen=True, rename="camel"):
    """An operational endpoint as clients see it."""

    id: str
    url: str
    description: str
    uid: str | None
    disabled: bool
    event_types: tuple[str, ...] | None
    filter_types: tuple[str, ...] | None
    metadata: dict[str, str]
    throttle_rate: int | None
    rate_limit: int | None
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseOperationalWebhookEndpointOut(ListOut[OperationalWebhookEndpointOut], frozen=True, rename="camel"):
    """One page of operational endpoints."""


def shown(endpoint: Endpoint) -> OperationalWebhookEndpointOut:
    """The endpoint as clients see it."""
    return OperationalWebhookEndpointOut(
        id=endpoint.id,
        url=endpoint.url,
        description=endpoint.description,
        uid=endpoint.uid,
        disabled=endpoint.disabled,
        event_types=endpoint.event_types,
        filter_types=endpoint.event_types,
        metadata=endpoint.metadata,
        throttle_rate=endpoint.throttle_rate,
        rate_limit=endpoint.throttle_rate,
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
    )


class _Handlers:
    """Operational endpoints are those of an application that nobody sees."""

    def __init__(self, operational: OperationalEndpoints, endpoints: Endpoints) -> None:
        self._operational = operational
        self._endpoints = endpoints

    async def _refs(self, call: Call) -> tuple[str, str]:
        return await self._operational.application(call.who), call.params["endpoint_id"]

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=True)
        try:
            page = await self._endpoints.page(call.who, await self._operational.application(call.who), walk)
        except NotFound:
            page = Page([], True)
        return answer(200, listing(page, lambda endpoint: endpoint.id, shown))

    async def create(self, call: Call) -> Answer:
        wanted = EndpointIn(**msgspec.structs.asdict(call.parsed(ENDPOINT_IN)))
        return _made(await self._endpoints.create(call.who, await self._operational.made(call.who), wanted, also=call.keeping(_made)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._endpoints.get(call.who, *await self._refs(call))))

    async def upsert(self, call: Call) -> Answer:
        wanted = EndpointUpsertIn(**msgspec.structs.asdict(call.parsed(ENDPOINT_UPSERT_IN)))
        app_id = await self._operational.made(call.who)
        # 200 also when it creates: so the contract says.
        return answer(200, shown((await self._endpoints.upsert(call.who, app_id, call.params["endpoint_id"], wanted)).endpoint))

    async def delete(self, call: Call) -> Answer:
        await self._endpoints.delete(call.who, *await self._refs(call))
        return NO_CONTENT

    async def get_secret(self, call: Call) -> Answer:
        return _secret(await self._endpoints.get(call.who, *await self._refs(call)))

    async def rotate_secret(self, call: Call) -> Answer:
        wanted = call.parsed(ROTATE_IN)
        return _secret(await self._endpoints.rotate(call.who, *await self._refs(call), wanted, also=call.keeping(_secret)))

    async def get_headers(self, call: Call) -> Answer:
        headers = (await self._endpoints.get(call.who, *await self._refs(call))).headers
        hidden = [name for name in headers if is_sensitive(name)]
        return answer(200, EndpointHeadersOut({name: headers[name] for name in headers if name not in hidden}, hidden))

    async def set_headers(self, call: Call) -> Answer:
        await self._endpoints.set_headers(call.who, *await self._refs(call), call.parsed(HEADERS_IN).headers)
        return NO_CONTENT


def _made(created: Created) -> Answer:
    return answer(201, shown(created.endpoint))


def _secret(endpoint: Endpoint) -> Answer:
    return answer(200, EndpointSecretOut(shown_secret(endpoint.secrets[0].text)))


def routes(operational: OperationalEndpoints, endpoints: Endpoints) -> list[Operation]:
    """The operations of this module. `endpoints` takes the names of operational events for event types."""
    h = _Handlers(operational, endpoints)
    out, page = OperationalWebhookEndpointOut, ListResponseOperationalWebhookEndpointOut
    declared: list[tuple[str, str, str, Any, Body[Any] | None, dict[int, Any]]] = [
        ("GET", _LIST, "List operational endpoints", h.list, None, {200: page}),
        ("POST", _LIST, "Create an operational endpoint", h.create, ENDPOINT_IN, {201: out}),
        ("GET", _ONE, "Get an operational endpoint", h.get, None, {200: out}),
        ("PUT", _ONE, "Replace or create an operational endpoint", h.upsert, ENDPOINT_UPSERT_IN, {200: out}),
        ("DELETE", _ONE, "Delete an operational endpoint", h.delete, None, {204: None}),
        ("GET", _ONE + "/secret", "Get the secret of an operational endpoint", h.get_secret, None, {200: EndpointSecretOut}),
        (
            "POST",
            _ONE + "/secret/rotate",
            "Rotate the secret of an operational endpoint",
            h.rotate_secret,
            ROTATE_IN,
            {200: EndpointSecretOut},
        ),
        ("GET", _ONE + "/headers", "Get the headers of an operational endpoint", h.get_headers, None, {200: EndpointHeadersOut}),
        ("PUT", _ONE + "/headers", "Replace the headers of an operational endpoint", h.set_headers, HEADERS_IN, {204: None}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.ORGANISATION,
            body=body,
            query=(LIMIT, ITERATOR, ORDER) if handler == h.list else (),
            answers=answers,
        )
        for method, path, summary, handler, body, answers in declared
    ]
