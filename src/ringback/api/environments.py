"""The operations that move a catalogue as a whole."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

import msgspec

from ringback.api import connectors, event_types
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.connectors import CONNECTOR_IN, ConnectorOut
from ringback.api.event_types import EVENT_TYPE_IN, EventTypeOut
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp
from ringback.clock import Clock, rfc3339
from ringback.services.environments import Environment, EnvironmentIn, Environments

ENVIRONMENT_IN: Final = Body(EnvironmentIn, inner_lists={"eventTypes": EVENT_TYPE_IN, "connectors": CONNECTOR_IN})


class EnvironmentOut(msgspec.Struct, frozen=True, rename="camel"):
    """A catalogue, as it can be imported. `version` is that of the document's form."""

    version: Literal[1]
    created_at: Timestamp
    event_types: list[EventTypeOut]
    settings: dict[str, Any] | None
    connectors: list[ConnectorOut]


def _document(environment: Environment, at_us: int) -> bytes:
    return msgspec.json.encode(
        EnvironmentOut(
            1,
            rfc3339(at_us),
            [event_types.shown(event_type) for event_type in environment.event_types],
            environment.settings,
            [connectors.shown(connector) for connector in environment.connectors],
        )
    )


def routes(environments: Environments, clock: Clock) -> list[Operation]:
    """The operations of this module."""

    async def export(call: Call) -> Answer:
        environment = await environments.export(call.who)
        # Off the loop, as a catalogue has no bound.
        return Answer(200, await asyncio.to_thread(_document, environment, clock.now_us()))

    async def take_in(call: Call) -> Answer:
        # Off the loop, as each of thousands of schemas is walked through.
        await environments.take_in(call.who, call.parsed(ENVIRONMENT_IN))
        return NO_CONTENT

    return [
        Operation(
            method="POST",
            path="/api/v1/environment/export",
            summary="Export event types, connectors and settings",
            handler=export,
            access=Access.ORGANISATION,
            answers={200: EnvironmentOut},
        ),
        Operation(
            method="POST",
            path="/api/v1/environment/import",
            summary="Add and overwrite event types, connectors and settings",
            handler=take_in,
            access=Access.ORGANISATION,
            body=ENVIRONMENT_IN,
            answers={204: None},
        ),
    ]
