"""How do event types come out of an OpenAPI document? Read off the loop, compared with those that are there, written in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ringback.clock import Clock
from ringback.errors import FieldProblem, InvalidField, Refused
from ringback.model.event_types import EventType
from ringback.policy.openapi_events import Described, webhooks_of
from ringback.policy.validation import members
from ringback.policy.yaml_documents import read_yaml
from ringback.services.environments import MAX_ITEMS
from ringback.services.event_types import EventTypeIn, EventTypes, made_of
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import event_types

# The version under which a document's schema is stored (contract, 3.3).
VERSION: Final = "1"


class EventTypeImportOpenApiIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A document, as an object or as text (JSON or YAML): exactly one of the two."""

    dry_run: bool = False
    replace_all: bool = False
    spec: dict[str, Any] | None = None
    spec_raw: str | None = None


class Imported(msgspec.Struct, frozen=True):
    """What an import changes: event types to write, and names of those to archive as the document lacks them."""

    written: list[EventType]
    archived: list[str]


def read_document(wanted: EventTypeImportOpenApiIn) -> list[EventTypeIn]:
    """The event types that a document describes. Takes up to seconds. Raises Refused (`invalid_spec`) with what is wrong."""
    if (wanted.spec is None) == (wanted.spec_raw is None):
        raise Refused("invalid_spec", f"{'neither' if wanted.spec is None else 'both'} of spec and specRaw; give exactly one")
    try:
        document: Any = wanted.spec
        if wanted.spec_raw is not None:
            document = _parsed(wanted.spec_raw)
        if not isinstance(document, dict):
            raise ValueError("an OpenAPI document is an object")
        found = webhooks_of(document)
        if len(found) > MAX_ITEMS:
            raise ValueError(f"{len(found)} webhooks; at most {MAX_ITEMS} are imported at once")
        return [_event_type(hook) for hook in found]
    except ValueError as error:
        raise Refused("invalid_spec", f"the document cannot be imported: {error}") from None


def _parsed(text: str) -> Any:
    if text.lstrip()[:1] == "{":
        try:
            return msgspec.json.decode(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        except msgspec.DecodeError:
            # A flow of YAML may look like JSON for a while.
            pass
    return read_yaml(text)


def _event_type(hook: Described) -> EventTypeIn:
    fields = {
        "name": hook.name,
        "description": hook.description,
        "schemas": None if hook.schema is None else {VERSION: hook.schema},
        "deprecated": hook.deprecated,
        "groupName": hook.group_name,
        "featureFlags": hook.feature_flags,
    }
    try:
        event_type = msgspec.convert(fields, EventTypeIn)
    except msgspec.ValidationError as error:
        raise ValueError(f"webhook {hook.name!r}: {error}") from None
    for where, message in members(event_type):
        raise ValueError(f"webhook {hook.name!r}: {'/'.join(where)}: {message}")
    return event_type


class EventTypeImports:
    """Imports into the event types of every organisation."""

    def __init__(self, store: Store, clock: Clock, event_types: EventTypes) -> None:
        self._store = store
        self._clock = clock
        self._event_types = event_types

    async def plan(self, who: Principal, wanted: list[EventTypeIn], *, replace_all: bool) -> Imported:
        """What an import would change; nothing is changed."""
        return await self._store.read(lambda tx: self._planned(tx, who, wanted, replace_all))

    async def former(self, who: Principal, names: Sequence[str]) -> dict[str, EventType]:
        """The event types of these names as they are now, archived ones too."""

        def query(tx: Transaction) -> dict[str, EventType]:
            found = (event_types.by_name(tx, who.org_id, name) for name in names)
            return {event_type.name: event_type for event_type in found if event_type is not None}

        return await self._store.read(query)

    async def carry_out(
        self,
        who: Principal,
        wanted: list[EventTypeIn],
        *,
        replace_all: bool,
        also: Callable[[Transaction, Imported], None] | None = None,
    ) -> Imported:
        """Import. Raises InvalidField for a schema that cannot be used where payloads are to be compared with it."""

        def operation(tx: Transaction) -> tuple[Imported, list[EventType]]:
            planned = self._planned(tx, who, wanted, replace_all)
            stored = [self._event_types.take_in(tx, who, _as_wanted(event_type)) for event_type in planned.written]
            for name in planned.archived:
                former = event_types.by_name(tx, who.org_id, name)
                if former is not None:
                    gone = msgspec.structs.replace(former, archived=True)
                    stored.append(self._event_types.take_in(tx, who, _as_wanted(gone)))
            if also is not None:
                also(tx, planned)
            return planned, stored

        try:
            planned, stored = await self._store.write(operation)
        except InvalidField as error:
            # There is no such field in this request.
            raise InvalidField(*(FieldProblem(("body", "spec"), problem.msg, problem.type) for problem in error.problems)) from None
        self._event_types.told(stored)
        return planned

    def _planned(self, tx: Transaction, who: Principal, wanted: list[EventTypeIn], replace_all: bool) -> Imported:
        now_us = self._clock.now_us()
        written = []
        for event_type in wanted:
            former = event_types.by_name(tx, who.org_id, event_type.name)
            if former is not None:
                # A document does not speak of it.
                event_type = msgspec.structs.replace(event_type, payload_validation=former.payload_validation)
            made = made_of(who.org_id, event_type.name, event_type, former, now_us)
            if made != former:
                written.append(made)
        kept = {event_type.name for event_type in wanted}
        archived = [name for name in event_types.live_names(tx, who.org_id) if name not in kept] if replace_all else []
        return Imported(written, archived)


def _as_wanted(event_type: EventType) -> EventTypeIn:
    fields = msgspec.structs.asdict(event_type)
    return EventTypeIn(**{name: fields[name] for name in EventTypeIn.__struct_fields__})
