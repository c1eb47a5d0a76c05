"""The operations on payload filters: of the endpoints of applications and of ingest sources, and of polling endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.model.endpoints import Endpoint
from ringback.model.polling import PollingEndpoint
from ringback.services.filters import Document, Example, PayloadFilterIn, PayloadFilters, PayloadFilterTryIn, Trial
from ringback.services.sources import Sources

FILTER_IN: Final = Body(PayloadFilterIn)
TRY_IN: Final = Body(PayloadFilterTryIn)

_ENDPOINT: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/filter"
_DESTINATION: Final = "/api/v1/app/{app_id}/destination/{destination_id}/filter"
_INGEST: Final = "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter"


class PayloadFilterOut(msgspec.Struct, frozen=True, rename="camel"):
    """The filter of an endpoint; null = messages are sent to it whatever their payloads are."""

    filter: Document | None


class PayloadFilterPassedOut(msgspec.Struct, frozen=True, rename="camel"):
    """A message that fits the filter."""

    msg_id: str
    event_type: str
    created_at: Timestamp


class PayloadFilterFailedOut(msgspec.Struct, frozen=True, rename="camel"):
    """A message that does not fit the filter. `failing` is the first member of the filter that it does not fit."""

    msg_id: str
    event_type: str
    created_at: Timestamp
    failing: Document


class PayloadFilterTryOut(msgspec.Struct, frozen=True, rename="camel"):
    """What the filter would have done to the last messages that the endpoint wants by event type and channels.

    `gone` counts messages whose payload is not there any more. The examples are the newest.
    """

    passed: int
    failed: int
    gone: int
    passed_examples: list[PayloadFilterPassedOut]
    failed_examples: list[PayloadFilterFailedOut]


def shown(trial: Trial) -> PayloadFilterTryOut:
    """A trial as clients see it."""
    return PayloadFilterTryOut(
        trial.passed,
        trial.failed,
        trial.gone,
        [PayloadFilterPassedOut(*_head(example)) for example in trial.passing],
        [PayloadFilterFailedOut(*_head(example), msgspec.json.decode(example.failing or "{}")) for example in trial.failing],
    )


def _head(example: Example) -> tuple[str, str, str]:
    return example.message.id, example.message.event_type, rfc3339(example.message.created_at)


def routes(of_endpoints: PayloadFilters[Endpoint], of_pollers: PayloadFilters[PollingEndpoint], sources: Sources) -> list[Operation]:
    """The operations of this module."""

    async def of_application(call: Call) -> tuple[str, str]:
        return call.params["app_id"], call.params["endpoint_id"]

    async def of_destination(call: Call) -> tuple[str, str]:
        return call.params["app_id"], call.params["destination_id"]

    async def of_source(call: Call) -> tuple[str, str]:
        return (await sources.get(call.who, None, call.params["source_id"])).app_id, call.params["endpoint_id"]

    return [
        *_four(of_endpoints, _ENDPOINT, "an endpoint", of_application, Access.APPLICATION),
        *_four(of_pollers, _DESTINATION, "a polling endpoint", of_destination, Access.APPLICATION),
        *_four(of_endpoints, _INGEST, "an endpoint of a source", of_source, Access.ORGANISATION),
    ]


def _four(
    filters: PayloadFilters[Any], path: str, whose: str, refs: Callable[[Call], Awaitable[tuple[str, str]]], access: Access
) -> list[Operation]:
    async def get(call: Call) -> Answer:
        return answer(200, PayloadFilterOut(await filters.get(call.who, *await refs(call))))

    async def put(call: Call) -> Answer:
        wanted = call.parsed(FILTER_IN).filter
        await filters.set(call.who, *await refs(call), wanted)
        return answer(200, PayloadFilterOut(wanted))

    async def delete(call: Call) -> Answer:
        await filters.set(call.who, *await refs(call), None)
        return NO_CONTENT

    async def attempt(call: Call) -> Answer:
        wanted = call.parsed(TRY_IN)
        return answer(200, shown(await filters.tried(call.who, *await refs(call), wanted)))

    needs = Capability.MANAGE_ENDPOINT if access is Access.APPLICATION else None
    kept = {200: PayloadFilterOut}
    return [
        Operation(
            method="GET",
            path=path,
            summary=f"Get the payload filter of {whose}",
            handler=get,
            access=access,
            answers=kept,
        ),
        Operation(
            method="PUT",
            path=path,
            summary=f"Set the payload filter of {whose}",
            handler=put,
            access=access,
            body=FILTER_IN,
            answers=kept,
            needs=needs,
        ),
        Operation(
            method="DELETE",
            path=path,
            summary=f"Remove the payload filter of {whose}",
            handler=delete,
            access=access,
            answers={204: None},
            needs=needs,
        ),
        Operation(
            method="POST",
            path=f"{path}/try",
            summary=f"Try a payload filter for {whose} on its last messages",
            handler=attempt,
            access=access,
            body=TRY_IN,
            answers={200: PayloadFilterTryOut},
            needs=needs,
        ),
    ]
