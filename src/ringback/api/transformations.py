"""The operations on the transformations of endpoints, of applications and of ingest sources."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.services.sources import Sources
from ringback.services.transformations import TransformationPatch, Transformations

PATCH: Final = Body(TransformationPatch)

_ENDPOINT: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation"
_INGEST: Final = "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation"


class TransformationOut(msgspec.Struct, frozen=True, rename="camel"):
    """The transformation of an endpoint; `updatedAt` is null until something was written."""

    code: str | None
    enabled: bool
    variables: dict[str, str] | None
    updated_at: Timestamp | None


def routes(transformations: Transformations, sources: Sources) -> list[Operation]:
    """The operations of this module."""

    async def of_application(call: Call) -> str:
        return call.params["app_id"]

    async def of_source(call: Call) -> str:
        return (await sources.get(call.who, None, call.params["source_id"])).app_id

    return [
        *_pair(transformations, _ENDPOINT, "an endpoint", of_application, Access.APPLICATION),
        *_pair(transformations, _INGEST, "an endpoint of a source", of_source, Access.ORGANISATION),
    ]


def _pair(
    transformations: Transformations, path: str, whose: str, app_of: Callable[[Call], Awaitable[str]], access: Access
) -> list[Operation]:
    async def get(call: Call) -> Answer:
        found = await transformations.get(call.who, await app_of(call), call.params["endpoint_id"])
        changed_at = None if found.updated_at is None else rfc3339(found.updated_at)
        return answer(200, TransformationOut(found.code, found.enabled, found.variables, changed_at))

    async def patch(call: Call) -> Answer:
        await transformations.patch(call.who, await app_of(call), call.params["endpoint_id"], call.parsed(PATCH))
        return NO_CONTENT

    return [
        Operation(
            method="GET",
            path=path,
            summary=f"Get the transformation of {whose}",
            handler=get,
            access=access,
            answers={200: TransformationOut},
        ),
        Operation(
            method="PATCH",
            path=path,
            summary=f"Change the transformation of {whose}",
            handler=patch,
            access=access,
            body=PATCH,
            answers={204: None},
            needs=Capability.MANAGE_TRANSFORMATIONS if access is Access.APPLICATION else None,
            refusals=(501,),
        ),
    ]
