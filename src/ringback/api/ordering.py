"""The operations on the order of an endpoint's deliveries."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import Answer, Call, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.model.ordering import Ordered, WhenHeadDies
from ringback.policy.ordering import key_of
from ringback.services.ordering import OrderingIn, OrderingPatch, Orderings, Standing

ORDERING_IN: Final = Body(OrderingIn)
ORDERING_PATCH: Final = Body(OrderingPatch)

_PATH: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/ordering"


class BlockedLaneOut(msgspec.Struct, frozen=True, rename="camel"):
    """A lane that waits for somebody: its key (null = the whole endpoint), the delivery that died at its head, and its dead letter."""

    ordering_key: str | None
    msg_id: str
    sequence: int
    dead_letter_id: str
    blocked_at: Timestamp


class EndpointOrderingOut(msgspec.Struct, frozen=True, rename="camel"):
    """How an endpoint orders its deliveries, and how that stands.

    `blocked` are the longest blocked lanes, `changing` that what waited when the ordering was changed is still being sorted.
    """

    mode: Ordered
    key_path: str | None
    when_head_dies: WhenHeadDies
    skip_after: int | None
    blocked_lanes: int
    blocked: list[BlockedLaneOut]
    changing: bool


def shown(standing: Standing) -> EndpointOrderingOut:
    """An ordering as clients see it."""
    ordering = standing.ordering
    return EndpointOrderingOut(
        ordering.mode,
        ordering.key_path,
        ordering.when_head_dies,
        ordering.skip_after,
        standing.blocked,
        [
            BlockedLaneOut(key_of(block.lane), block.message_id, block.sequence, block.dead_letter_id, rfc3339(block.blocked_at))
            for block in standing.blocks
        ],
        standing.changing,
    )


def routes(orderings: Orderings) -> list[Operation]:
    """The operations of this module."""

    async def get(call: Call) -> Answer:
        return answer(200, shown(await orderings.get(call.who, *_refs(call))))

    async def put(call: Call) -> Answer:
        return answer(200, shown(await orderings.put(call.who, *_refs(call), call.parsed(ORDERING_IN))))

    async def patch(call: Call) -> Answer:
        return answer(200, shown(await orderings.patch(call.who, *_refs(call), call.parsed(ORDERING_PATCH))))

    answers = {200: EndpointOrderingOut}
    needs = Capability.MANAGE_ENDPOINT
    return [
        Operation(
            method="GET",
            path=_PATH,
            summary="Get the ordering of an endpoint",
            handler=get,
            access=Access.APPLICATION,
            answers=answers,
        ),
        Operation(
            method="PUT",
            path=_PATH,
            summary="Set the ordering of an endpoint",
            handler=put,
            access=Access.APPLICATION,
            body=ORDERING_IN,
            answers=answers,
            needs=needs,
        ),
        Operation(
            method="PATCH",
            path=_PATH,
            summary="Change the ordering of an endpoint",
            handler=patch,
            access=Access.APPLICATION,
            body=ORDERING_PATCH,
            answers=answers,
            needs=needs,
        ),
    ]


def _refs(call: Call) -> tuple[str, str]:
    return call.params["app_id"], call.params["endpoint_id"]
