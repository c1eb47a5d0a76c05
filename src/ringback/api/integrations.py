"""The operations on integrations, the third parties that act for an application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.messages import cursor_shape
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.model.integrations import Integration
from ringback.services.integrations import IntegrationIn, Integrations, manager

INTEGRATION_IN: Final = Body(IntegrationIn)

_LIST: Final = "/api/v1/app/{app_id}/integration"
_ONE: Final = _LIST + "/{integ_id}"


class IntegrationOut(msgspec.Struct, frozen=True, rename="camel"):
    """An integration as clients see it; its key is shown only when it is made."""

    id: str
    name: str
    feature_flags: tuple[str, ...]
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseIntegrationOut(ListOut[IntegrationOut], frozen=True, rename="camel"):
    """One page of integrations."""


class IntegrationKeyOut(msgspec.Struct, frozen=True):
    """The key of an integration, this once."""

    key: str


def shown(integration: Integration) -> IntegrationOut:
    """The integration as clients see it."""
    return IntegrationOut(
        id=integration.id,
        name=integration.name,
        feature_flags=integration.feature_flags,
        created_at=rfc3339(integration.created_at),
        updated_at=rfc3339(integration.updated_at),
    )


def _made(integration: Integration) -> Answer:
    return answer(201, shown(integration))


def _key(text: str) -> Answer:
    return answer(200, IntegrationKeyOut(text))


def _refs(call: Call) -> tuple[str, str]:
    return call.params["app_id"], call.params["integ_id"]


class _Handlers:
    def __init__(self, integrations: Integrations) -> None:
        self._integrations = integrations

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, cursor_shape(ids.INTEGRATION), descending=True)
        page = await self._integrations.page(call.who, call.params["app_id"], walk)
        return answer(200, listing(page, lambda integration: integration.id, shown))

    async def create(self, call: Call) -> Answer:
        # Before the body is looked at: what one may comes first.
        manager(call.who)
        wanted = call.parsed(INTEGRATION_IN)
        return _made(await self._integrations.create(call.who, call.params["app_id"], wanted, also=call.keeping(_made)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._integrations.get(call.who, *_refs(call))))

    async def update(self, call: Call) -> Answer:
        manager(call.who)
        return answer(200, shown(await self._integrations.update(call.who, *_refs(call), call.parsed(INTEGRATION_IN))))

    async def delete(self, call: Call) -> Answer:
        await self._integrations.delete(call.who, *_refs(call))
        return NO_CONTENT

    async def rotate_key(self, call: Call) -> Answer:
        return _key(await self._integrations.rotate_key(call.who, *_refs(call), also=call.keeping(_key)))


def routes(integrations: Integrations) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(integrations)
    declared: list[tuple[str, str, str, Handler, Body[Any] | None, Mapping[int, Any]]] = [
        ("GET", _LIST, "List integrations", h.list, None, {200: ListResponseIntegrationOut}),
        ("POST", _LIST, "Create an integration", h.create, INTEGRATION_IN, {201: IntegrationOut}),
        ("GET", _ONE, "Get an integration", h.get, None, {200: IntegrationOut}),
        ("PUT", _ONE, "Replace an integration", h.update, INTEGRATION_IN, {200: IntegrationOut}),
        ("DELETE", _ONE, "Delete an integration, and its key", h.delete, None, {204: None}),
        ("POST", _ONE + "/key/rotate", "Give an integration its first key, or another", h.rotate_key, None, {200: IntegrationKeyOut}),
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
            needs=None if method == "GET" else Capability.MANAGE_ENDPOINT,
        )
        for method, path, summary, handler, body, answers in declared
    ]
