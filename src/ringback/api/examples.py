"""The operation that sends an example to an endpoint, to see whether deliveries arrive there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.messages import MessageOut
from ringback.api.publish import DEFAULT_LIFE_US, Publisher
from ringback.api.render import render_message
from ringback.api.routing import Answer, Call, Operation
from ringback.errors import NotFound
from ringback.model.endpoints import Endpoint
from ringback.policy import validation
from ringback.policy.examples import PING, PING_PAYLOAD, example_of
from ringback.policy.validation import Name, Rule
from ringback.services.directory import Entry
from ringback.services.event_types import EventTypes
from ringback.services.intake import NewMessage

# An index fits the 32 bits in which most clients keep it.
_MAX_INDEX: Final = (1 << 31) - 1


class EventExampleIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of which event type, and which of its examples."""

    event_type: Name
    example_index: Annotated[int, msgspec.Meta(ge=0, le=_MAX_INDEX)] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"event_type": validation.name}


EXAMPLE_IN: Final = Body(EventExampleIn)


def _endpoint(entry: Entry, ref: str) -> Endpoint:
    """The endpoint of that id or uid. Raises NotFound."""
    found = entry.endpoints.get(ref) or next((endpoint for endpoint in entry.endpoints.values() if endpoint.uid == ref), None)
    if found is None:
        raise NotFound
    return found


def routes(publisher: Publisher, event_types: EventTypes) -> list[Operation]:
    """The operations of this module."""

    async def send(call: Call) -> Answer:
        asked = call.parsed(EXAMPLE_IN)
        entry = await publisher.directory.find(call.who.org_id, call.params["app_id"])
        endpoint = _endpoint(entry, call.params["endpoint_id"])
        payload = PING_PAYLOAD
        if asked.event_type != PING:
            known = await event_types.get(call.who, asked.event_type)
            payload = example_of(known.name, known.schemas, asked.example_index or 0)
        # It tests the connection: what the endpoint filters does not matter, but a disabled one gets nothing.
        only = () if endpoint.disabled else (endpoint.id,)
        message = await publisher.accepted(call, entry, NewMessage(asked.event_type, payload, DEFAULT_LIFE_US), only)
        return Answer(202, render_message(message, True))

    return [
        Operation(
            method="POST",
            path="/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example",
            summary="Send an example to an endpoint",
            handler=send,
            access=Access.ORGANISATION,
            body=EXAMPLE_IN,
            answers={202: MessageOut},
            rebuild=publisher.rebuild,
        )
    ]
