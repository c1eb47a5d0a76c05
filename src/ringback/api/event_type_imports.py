"""The operation that makes event types out of an OpenAPI document."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import Answer, Call, Operation, answer
from ringback.model.event_types import EventType
from ringback.services.event_type_imports import EventTypeImportOpenApiIn, EventTypeImports, Imported, read_document

IMPORT_IN: Final = Body(EventTypeImportOpenApiIn)


class EventTypeFromOpenApi(msgspec.Struct, frozen=True, rename="camel"):
    """An event type as a document describes it."""

    name: str
    description: str
    schemas: dict[str, Any] | None
    deprecated: bool
    group_name: str | None
    feature_flags: tuple[str, ...] | None


class EventTypeImportOpenApiOutData(msgspec.Struct, frozen=True):
    """The names of the event types that change, those that are archived last; in a dry run also what the others would become."""

    modified: list[str]
    to_modify: list[EventTypeFromOpenApi] | None


class EventTypeImportOpenApiOut(msgspec.Struct, frozen=True):
    """What an import changes."""

    data: EventTypeImportOpenApiOutData


def _shown(e: EventType) -> EventTypeFromOpenApi:
    return EventTypeFromOpenApi(e.name, e.description, e.schemas, e.deprecated, e.group_name, e.feature_flags)


def _answer(imported: Imported, *, dry_run: bool) -> Answer:
    modified = [event_type.name for event_type in imported.written] + imported.archived
    items = [_shown(event_type) for event_type in imported.written] if dry_run else None
    return answer(200, EventTypeImportOpenApiOut(EventTypeImportOpenApiOutData(modified, items)))


def _imported(imported: Imported) -> Answer:
    return _answer(imported, dry_run=False)


def routes(imports: EventTypeImports) -> list[Operation]:
    """The operations of this module."""

    async def take_in(call: Call) -> Answer:
        # Off the loop: a document of some megabytes takes seconds, and gives others their turn in between.
        wanted = call.parsed(IMPORT_IN)
        found = await asyncio.to_thread(read_document, wanted)
        if wanted.dry_run:
            return _answer(await imports.plan(call.who, found, replace_all=wanted.replace_all), dry_run=True)
        also = call.keeping(_imported)
        return _imported(await imports.carry_out(call.who, found, replace_all=wanted.replace_all, also=also))

    return [
        Operation(
            method="POST",
            path="/api/v1/event-type/import/openapi",
            summary="Make event types out of the webhooks of an OpenAPI document",
            handler=take_in,
            access=Access.ORGANISATION,
            body=IMPORT_IN,
            answers={200: EventTypeImportOpenApiOut},
        )
    ]
