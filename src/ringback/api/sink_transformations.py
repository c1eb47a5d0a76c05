"""The operations on the transformations of sinks.

Source: HTTP contract, sections 4.3, 9 and 11; trying one is an addition.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import OFF_LOOP_BYTES, Answer, Call, Operation, answer
from ringback.api.transformations import TransformationErrorOut, TransformedRequestOut, error_out, request_out
from ringback.services.sink_transformations import SinkTransformations, SinkTransformationTrial, SinkTransformationTryIn, SinkTransformIn
from ringback.services.streams import EventIn

_PATH: Final = "/api/v1/stream/{stream_id}/sink/{sink_id}/transformation"

TRANSFORM_IN: Final = Body(SinkTransformIn)
TRY_IN: Final = Body(SinkTransformationTryIn, inner_lists={"events": Body(EventIn)})


class SinkTransformationOut(msgspec.Struct, frozen=True):
    """The transformation of a sink."""

    code: str | None
    enabled: bool


class SinkTransformationTryOut(msgspec.Struct, frozen=True, rename="camel"):
    """What a transformation would make of a batch of so many events; nothing was sent.

    `request` is null unless the outcome is `sent`, `error` unless it is `failed`. `console` has the lines that the code wrote to its
    console.
    """

    outcome: Literal["sent", "cancelled", "failed"]
    events: int
    request: TransformedRequestOut | None
    error: TransformationErrorOut | None
    console: tuple[str, ...]
    cpu_ms: float


def shown(trial: SinkTransformationTrial) -> SinkTransformationTryOut:
    """A trial as clients see it."""
    j = trial.judged
    request = None if j.request is None else request_out(j.request)
    return SinkTransformationTryOut(j.outcome, trial.events, request, error_out(j), j.said, j.cpu_us / 1000)


def _answer(trial: SinkTransformationTrial) -> Answer:
    return answer(200, shown(trial))


def routes(transformations: SinkTransformations) -> list[Operation]:
    """The operations of this module."""

    def refs(call: Call) -> tuple[str, str]:
        return call.params["stream_id"], call.params["sink_id"]

    async def get(call: Call) -> Answer:
        found = await transformations.get(call.who, *refs(call))
        return answer(200, SinkTransformationOut(found.code, found.enabled))

    async def patch(call: Call) -> Answer:
        await transformations.set(call.who, *refs(call), call.parsed(TRANSFORM_IN))
        return answer(200, {})

    async def attempt(call: Call) -> Answer:
        trial = await transformations.tried(call.who, *refs(call), call.parsed(TRY_IN))
        request = trial.judged.request
        large = request is not None and len(request.body) > OFF_LOOP_BYTES
        return await asyncio.to_thread(_answer, trial) if large else _answer(trial)

    return [
        Operation(
            method="GET",
            path=_PATH,
            summary="Get the transformation of a sink",
            handler=get,
            access=Access.STREAM,
            answers={200: SinkTransformationOut},
        ),
        Operation(
            method="PATCH",
            path=_PATH,
            summary="Change the transformation of a sink",
            handler=patch,
            access=Access.STREAM,
            body=TRANSFORM_IN,
            answers={200: dict[str, str]},
            refusals=(501,),
        ),
        Operation(
            method="POST",
            path=f"{_PATH}/try",
            summary="Try a transformation for a sink on past events",
            handler=attempt,
            access=Access.STREAM,
            body=TRY_IN,
            answers={200: SinkTransformationTryOut},
            refusals=(400, 501),
        ),
    ]
