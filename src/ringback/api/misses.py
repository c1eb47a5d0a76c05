"""The operation that says which endpoints a message was not sent to, and why."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.routing import Answer, Call, Operation, answer
from ringback.policy.fanout import WhyNot
from ringback.services.journeys import Journeys, Miss

_PATH: Final = "/api/v1/app/{app_id}/msg/{msg_id}/not-sent"


class NotSentOut(msgspec.Struct, frozen=True, rename="camel"):
    """An endpoint that a message was not sent to.

    `reason` is what it asks for now; null: it would get the message now, and was not there, disabled, or asked for something else when that
    came. With `filter`, `failing` is the first member of its filter that the message does not fit; null when the payload is gone.
    """

    endpoint_id: str
    reason: WhyNot | None
    failing: dict[str, Any] | None


class ListResponseNotSentOut(msgspec.Struct, frozen=True, rename="camel"):
    """All endpoints of the application that a message was not sent to."""

    data: list[NotSentOut]


def _shown(miss: Miss) -> NotSentOut:
    return NotSentOut(miss.endpoint.id, miss.reason, None if miss.clause is None else msgspec.json.decode(miss.clause))


def routes(journeys: Journeys) -> list[Operation]:
    """The operations of this module."""

    async def not_sent(call: Call) -> Answer:
        journey = await journeys.of(call.who, call.params["app_id"], call.params["msg_id"])
        return answer(200, ListResponseNotSentOut([_shown(miss) for miss in journey.misses]))

    return [
        Operation(
            method="GET",
            path=_PATH,
            summary="List the endpoints that a message was not sent to",
            handler=not_sent,
            access=Access.APPLICATION,
            answers={200: ListResponseNotSentOut},
        )
    ]
