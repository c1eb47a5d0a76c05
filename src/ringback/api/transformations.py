"""The operations on the transformations of endpoints, of applications and of ingest sources."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.render import readable
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.policy.transforming import Transformed
from ringback.services.sources import Sources
from ringback.services.transformations import TransformationPatch, Transformations, TransformationTrial, TransformationTryIn
from ringback.services.trials import Judged

PATCH: Final = Body(TransformationPatch)
TRY_IN: Final = Body(TransformationTryIn)

_ENDPOINT: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation"
_INGEST: Final = "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation"


class TransformationOut(msgspec.Struct, frozen=True, rename="camel"):
    """The transformation of an endpoint; `updatedAt` is null until something was written."""

    code: str | None
    enabled: bool
    variables: dict[str, str] | None
    updated_at: Timestamp | None


class TransformedRequestOut(msgspec.Struct, frozen=True, rename="camel"):
    """A request as a transformation makes it, before it is signed. `payload` is its body as text, in base64 when it is none."""

    method: Literal["POST", "PUT", "PATCH"]
    url: str
    headers: dict[str, str]
    content_type: str
    payload: str


class TransformationErrorOut(msgspec.Struct, frozen=True, rename="camel"):
    """Why a transformation failed, and at which line and column of its code (null: unknown)."""

    message: str
    line: int | None
    column: int | None


class TransformationTryOut(msgspec.Struct, frozen=True, rename="camel"):
    """What a transformation would make of a message; nothing was sent.

    `msgId` is null when a payload was given. `request` is null unless the outcome is `sent`, `error` unless it is `failed`. `console` has
    the lines that the code wrote to its console.
    """

    outcome: Literal["sent", "cancelled", "failed"]
    msg_id: str | None
    event_type: str
    request: TransformedRequestOut | None
    error: TransformationErrorOut | None
    console: tuple[str, ...]
    cpu_ms: float


def request_out(wanted: Transformed) -> TransformedRequestOut:
    """What would be sent, as clients see it."""
    return TransformedRequestOut(wanted.method, wanted.url, dict(wanted.headers), wanted.content_type, readable(wanted.body))  # type: ignore[arg-type]  # the policy has checked that it is one of these


def error_out(judged: Judged) -> TransformationErrorOut | None:
    """Why code failed, as clients see it; None where it has not."""
    return TransformationErrorOut(judged.error, judged.line or None, judged.column or None) if judged.outcome == "failed" else None


def shown(trial: TransformationTrial) -> TransformationTryOut:
    """A trial as clients see it."""
    j = trial.judged
    request = None if j.request is None else request_out(j.request)
    return TransformationTryOut(j.outcome, trial.message_id, trial.event_type, request, error_out(j), j.said, j.cpu_us / 1000)


def routes(transformations: Transformations, sources: Sources) -> list[Operation]:
    """The operations of this module."""

    async def of_application(call: Call) -> str:
        return call.params["app_id"]

    async def of_source(call: Call) -> str:
        return (await sources.get(call.who, None, call.params["source_id"])).app_id

    return [
        *_three(transformations, _ENDPOINT, "an endpoint", of_application),
        # A portal token of a source is one of the application that the source has to itself.
        *_three(transformations, _INGEST, "an endpoint of a source", of_source),
    ]


def _three(transformations: Transformations, path: str, whose: str, app_of: Callable[[Call], Awaitable[str]]) -> list[Operation]:
    async def get(call: Call) -> Answer:
        found = await transformations.get(call.who, await app_of(call), call.params["endpoint_id"])
        changed_at = None if found.updated_at is None else rfc3339(found.updated_at)
        return answer(200, TransformationOut(found.code, found.enabled, found.variables, changed_at))

    async def patch(call: Call) -> Answer:
        await transformations.patch(call.who, await app_of(call), call.params["endpoint_id"], call.parsed(PATCH))
        return NO_CONTENT

    async def attempt(call: Call) -> Answer:
        trial = await transformations.tried(call.who, await app_of(call), call.params["endpoint_id"], call.parsed(TRY_IN))
        return answer(200, shown(trial))

    return [
        Operation(
            method="GET",
            path=path,
            summary=f"Get the transformation of {whose}",
            handler=get,
            access=Access.APPLICATION,
            answers={200: TransformationOut},
        ),
        Operation(
            method="PATCH",
            path=path,
            summary=f"Change the transformation of {whose}",
            handler=patch,
            access=Access.APPLICATION,
            body=PATCH,
            answers={204: None},
            needs=Capability.MANAGE_TRANSFORMATIONS,
            refusals=(501,),
        ),
        Operation(
            method="POST",
            path=f"{path}/try",
            summary=f"Try a transformation for {whose} on a message",
            handler=attempt,
            access=Access.APPLICATION,
            body=TRY_IN,
            answers={200: TransformationTryOut},
            needs=Capability.MANAGE_TRANSFORMATIONS,
            refusals=(400, 501),
        ),
    ]
