"""The operations on endpoints, their secrets and their headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Alias, Body
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.model.endpoints import Endpoint
from ringback.policy.validation import is_sensitive
from ringback.services.endpoints import (
    Created,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    Endpoints,
    EndpointSecretRotateIn,
    EndpointUpsertIn,
)
from ringback.signing.secret import shown as shown_secret

# Older clients know these fields by other names.
_ALIASES = {"rateLimit": Alias("throttleRate"), "filterTypes": Alias("eventTypes")}
ENDPOINT_IN = Body(EndpointIn, _ALIASES)
ENDPOINT_UPSERT_IN = Body(EndpointUpsertIn, _ALIASES)
ENDPOINT_PATCH = Body(EndpointPatch, _ALIASES)
ROTATE_IN = Body(EndpointSecretRotateIn)
HEADERS_IN = Body(EndpointHeadersIn)
HEADERS_PATCH_IN = Body(EndpointHeadersPatchIn)

_LIST = "/api/v1/app/{app_id}/endpoint"
_ONE = _LIST + "/{endpoint_id}"


class EndpointOut(msgspec.Struct, frozen=True, rename="camel"):
    """An endpoint as clients see it."""

    id: str
    url: str
    description: str
    uid: str | None
    disabled: bool
    event_types: tuple[str, ...] | None
    filter_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    metadata: dict[str, str]
    throttle_rate: int | None
    rate_limit: int | None
    version: int
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseEndpointOut(ListOut[EndpointOut], frozen=True, rename="camel"):
    """One page of endpoints."""


class EndpointSecretOut(msgspec.Struct, frozen=True):
    """What checks the signatures of an endpoint: the secret, or of an ed25519 pair the public half."""

    key: str


class EndpointHeadersOut(msgspec.Struct, frozen=True):
    """The headers added to deliveries; of the `sensitive` ones the names alone."""

    headers: dict[str, str]
    sensitive: list[str]


def shown(endpoint: Endpoint) -> EndpointOut:
    """The endpoint as clients see it."""
    return EndpointOut(
        id=endpoint.id,
        url=endpoint.url,
        description=endpoint.description,
        uid=endpoint.uid,
        disabled=endpoint.disabled,
        event_types=endpoint.event_types,
        filter_types=endpoint.event_types,
        channels=endpoint.channels,
        metadata=endpoint.metadata,
        throttle_rate=endpoint.throttle_rate,
        rate_limit=endpoint.throttle_rate,
        version=endpoint.version,
        created_at=rfc3339(endpoint.created_at),
        updated_at=rfc3339(endpoint.updated_at),
    )


def shown_headers(headers: Mapping[str, str]) -> EndpointHeadersOut:
    """Added headers as clients see them."""
    hidden = [name for name in headers if is_sensitive(name)]
    return EndpointHeadersOut({name: headers[name] for name in headers if name not in hidden}, hidden)


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of endpoints?"""
    return ids.is_id(ids.ENDPOINT, text)


class _Handlers:
    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=True)
        page = await self._endpoints.page(call.who, call.params["app_id"], walk)
        return answer(200, listing(page, lambda endpoint: endpoint.id, shown))

    async def create(self, call: Call) -> Answer:
        wanted = call.parsed(ENDPOINT_IN)
        return _created(await self._endpoints.create(call.who, call.params["app_id"], wanted, also=call.keeping(_created)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._endpoints.get(call.who, *_refs(call))))

    async def upsert(self, call: Call) -> Answer:
        return _created(await self._endpoints.upsert(call.who, *_refs(call), call.parsed(ENDPOINT_UPSERT_IN)))

    async def patch(self, call: Call) -> Answer:
        return answer(200, shown(await self._endpoints.patch(call.who, *_refs(call), call.parsed(ENDPOINT_PATCH))))

    async def delete(self, call: Call) -> Answer:
        await self._endpoints.delete(call.who, *_refs(call))
        return NO_CONTENT

    async def get_secret(self, call: Call) -> Answer:
        return _secret(await self._endpoints.get(call.who, *_refs(call)))

    async def rotate_secret(self, call: Call) -> Answer:
        wanted = call.parsed(ROTATE_IN)
        return _secret(await self._endpoints.rotate(call.who, *_refs(call), wanted, also=call.keeping(_secret)))

    async def get_headers(self, call: Call) -> Answer:
        return answer(200, shown_headers((await self._endpoints.get(call.who, *_refs(call))).headers))

    async def set_headers(self, call: Call) -> Answer:
        await self._endpoints.set_headers(call.who, *_refs(call), call.parsed(HEADERS_IN).headers)
        return NO_CONTENT

    async def patch_headers(self, call: Call) -> Answer:
        await self._endpoints.patch_headers(call.who, *_refs(call), call.parsed(HEADERS_PATCH_IN))
        return NO_CONTENT


def _refs(call: Call) -> tuple[str, str]:
    return call.params["app_id"], call.params["endpoint_id"]


def _created(created: Created) -> Answer:
    return answer(201 if created.new else 200, shown(created.endpoint))


def _secret(endpoint: Endpoint) -> Answer:
    return answer(200, EndpointSecretOut(shown_secret(endpoint.secrets[0].text)))


def _needed(method: str, path: str) -> Capability | None:
    if "/secret" in path:
        return Capability.VIEW_ENDPOINT_SECRET if method == "GET" else Capability.MANAGE_ENDPOINT_SECRET
    return None if method == "GET" else Capability.MANAGE_ENDPOINT


def routes(endpoints: Endpoints) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(endpoints)
    declared: list[tuple[str, str, str, Handler, Body[Any] | None, Mapping[int, Any]]] = [
        ("GET", _LIST, "List endpoints", h.list, None, {200: ListResponseEndpointOut}),
        ("POST", _LIST, "Create an endpoint", h.create, ENDPOINT_IN, {201: EndpointOut}),
        ("GET", _ONE, "Get an endpoint", h.get, None, {200: EndpointOut}),
        ("PUT", _ONE, "Replace or create an endpoint", h.upsert, ENDPOINT_UPSERT_IN, {200: EndpointOut, 201: EndpointOut}),
        ("PATCH", _ONE, "Change fields of an endpoint", h.patch, ENDPOINT_PATCH, {200: EndpointOut}),
        ("DELETE", _ONE, "Delete an endpoint", h.delete, None, {204: None}),
        ("GET", _ONE + "/secret", "Get the secret of an endpoint", h.get_secret, None, {200: EndpointSecretOut}),
        ("POST", _ONE + "/secret/rotate", "Rotate the secret of an endpoint", h.rotate_secret, ROTATE_IN, {200: EndpointSecretOut}),
        ("GET", _ONE + "/headers", "Get the headers of an endpoint", h.get_headers, None, {200: EndpointHeadersOut}),
        ("PUT", _ONE + "/headers", "Replace the headers of an endpoint", h.set_headers, HEADERS_IN, {204: None}),
        ("PATCH", _ONE + "/headers", "Change headers of an endpoint", h.patch_headers, HEADERS_PATCH_IN, {204: None}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.APPLICATION,
            body=body,
            query=(LIMIT, ITERATOR, ORDER) if handler == h.list else (),
            answers=answers,
            needs=_needed(method, path),
        )
        for method, path, summary, handler, body, answers in declared
    ]
