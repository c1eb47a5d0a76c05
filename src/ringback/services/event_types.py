"""What can be done with event types? The catalogue is written by the organisation, and read by it and by its applications."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from ringback.clock import Clock
from ringback.errors import FieldProblem, InvalidField, NotFound, Refused
from ringback.model.event_types import EventType, PayloadValidation
from ringback.policy import json_schemas, validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Name, Names, Rule
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import event_types


class EventTypeUpsertIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole event type, as it should be, less its name."""

    description: str
    archived: bool = False
    deprecated: bool = False
    schemas: dict[str, Any] | None = None
    group_name: Name | None = None
    feature_flags: Names | None = None
    payload_validation: PayloadValidation | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "description": validation.text,
        "schemas": json_schemas.schemas,
        "group_name": validation.name,
        "feature_flags": validation.names,
    }


class EventTypeIn(EventTypeUpsertIn, frozen=True, kw_only=True, rename="camel"):
    """A new event type."""

    name: Name

    RULES: ClassVar[Mapping[str, Rule]] = {"name": validation.name, **EventTypeUpsertIn.RULES}


class EventTypePatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of an event type: what is unset stays, None removes."""

    description: str | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    deprecated: bool | UnsetType = UNSET
    schemas: dict[str, Any] | UnsetType | None = UNSET
    group_name: Name | UnsetType | None = UNSET
    feature_flags: Names | UnsetType | None = UNSET
    payload_validation: PayloadValidation | UnsetType | None = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = EventTypeUpsertIn.RULES


class Created(msgspec.Struct, frozen=True):
    """An event type, and whether it was made just now."""

    event_type: EventType
    new: bool


class Payloads(Protocol):
    """What compares payloads with schemas (`services.payloads`)."""

    def unusable(self, event_type: EventType) -> str | None:
        """Why payloads of this type could not be compared with its schema, although they are to be."""
        ...

    def changed(self, org_id: str, name: str, event_type: EventType | None) -> None:
        """An event type is this now, or gone: durably."""
        ...


class EventTypes:
    """The event types of every organisation; each verb sees those of its caller alone."""

    def __init__(self, store: Store, clock: Clock, payloads: Payloads | None = None) -> None:
        self._store = store
        self._clock = clock
        self._payloads = payloads

    async def create(self, who: Principal, wanted: EventTypeIn, *, also: Callable[[Transaction, Created], None] | None = None) -> Created:
        """Make an event type, or bring an archived one back. Raises Refused (`event_type_exists`) when a live one has the name."""

        def operation(tx: Transaction) -> Created:
            former = event_types.by_name(tx, who.org_id, wanted.name)
            if former is not None and not former.archived:
                raise Refused("event_type_exists", f"An event type named {wanted.name!r} exists already; update it instead", 409)
            created = Created(self._put(tx, who, wanted.name, wanted, former), True)
            if also is not None:
                also(tx, created)
            return created

        return self._told(await self._store.write(operation))

    async def get(self, who: Principal, name: str) -> EventType:
        """The event type of that name, archived or not. Raises NotFound, also for one behind a feature flag that the caller lacks."""
        return await self._store.read(lambda tx: _find(tx, who, name))

    async def page(self, who: Principal, walk: Walk, *, archived: bool) -> Page[EventType]:
        """One page of the event types that the caller may see."""
        flags = who.seen_flags
        return cut(await self._store.read(lambda tx: event_types.page(tx, who.org_id, walk, archived=archived, flags=flags)), walk)

    async def upsert(self, who: Principal, name: str, wanted: EventTypeUpsertIn) -> Created:
        """Replace the event type of that name as a whole, or make it."""

        def operation(tx: Transaction) -> Created:
            former = event_types.by_name(tx, who.org_id, name)
            return Created(self._put(tx, who, name, wanted, former), former is None)

        return self._told(await self._store.write(operation))

    async def patch(self, who: Principal, name: str, change: EventTypePatch) -> EventType:
        """Change some fields. Raises NotFound."""
        changes = {field: value for field, value in msgspec.structs.asdict(change).items() if value is not UNSET}

        def operation(tx: Transaction) -> EventType:
            former = _find(tx, who, name)
            return self._stored(tx, former, msgspec.structs.replace(former, **changes))

        return self._told(Created(await self._store.write(operation), False)).event_type

    async def delete(self, who: Principal, name: str, *, expunge: bool) -> None:
        """Archive an event type: known and still delivered, but no longer to be chosen. With `expunge` it is gone. Raises NotFound."""

        def operation(tx: Transaction) -> None:
            former = _find(tx, who, name)
            if expunge:
                event_types.delete(tx, who.org_id, name)
            else:
                self._stored(tx, former, msgspec.structs.replace(former, archived=True))

        await self._store.write(operation)
        if expunge and self._payloads is not None:
            self._payloads.changed(who.org_id, name, None)

    def take_in(self, tx: Transaction, who: Principal, wanted: EventTypeIn) -> EventType:
        """Make an event type, or overwrite the one of its name; whoever commits must call `told` then. Raises InvalidField."""
        return self._put(tx, who, wanted.name, wanted, event_types.by_name(tx, who.org_id, wanted.name))

    def told(self, changed: Sequence[EventType]) -> None:
        """These event types are what is stored now, durably."""
        if self._payloads is not None:
            for event_type in changed:
                self._payloads.changed(event_type.org_id, event_type.name, event_type)

    def _told(self, created: Created) -> Created:
        self.told([created.event_type])
        return created

    def _put(self, tx: Transaction, who: Principal, name: str, wanted: EventTypeUpsertIn, former: EventType | None) -> EventType:
        event_type = made_of(who.org_id, name, wanted, former, self._clock.now_us())
        if former is not None:
            return self._stored(tx, former, event_type)
        self._check(event_type)
        event_types.put(tx, event_type)
        return event_type

    def _stored(self, tx: Transaction, former: EventType, wanted: EventType) -> EventType:
        if wanted == former:
            return former
        self._check(wanted)
        event_type = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), former.updated_at + 1))
        event_types.put(tx, event_type)
        return event_type

    def _check(self, event_type: EventType) -> None:
        reason = None if self._payloads is None else self._payloads.unusable(event_type)
        if reason is not None:
            raise InvalidField(FieldProblem(("body", "schemas"), f"{reason}; correct it, or set payloadValidation to off"))


def made_of(org_id: str, name: str, wanted: EventTypeUpsertIn, former: EventType | None, now_us: int) -> EventType:
    """The event type that is wanted, with the times of the one that it takes the place of."""
    return EventType(
        org_id=org_id,
        name=name,
        description=wanted.description,
        archived=wanted.archived,
        deprecated=wanted.deprecated,
        schemas=wanted.schemas,
        group_name=wanted.group_name,
        feature_flags=wanted.feature_flags,
        created_at=now_us if former is None else former.created_at,
        updated_at=now_us if former is None else former.updated_at,
        payload_validation=wanted.payload_validation,
    )


def _find(tx: Transaction, who: Principal, name: str) -> EventType:
    event_type = event_types.by_name(tx, who.org_id, name)
    if event_type is None or not is_visible(event_type.feature_flags, who):
        raise NotFound
    return event_type


def check_live(tx: Transaction, who: Principal, names: Sequence[str]) -> None:
    """May these be chosen to be heard of? Raises InvalidField when one is not live, or not there for this caller."""
    unknown = event_types.unknown_of(tx, who.org_id, names, who.seen_flags)
    if unknown:
        message = f"no live event type is named {', '.join(map(repr, unknown))}; create it first, or leave it out"
        raise InvalidField(FieldProblem(("body", "eventTypes"), message))


def is_visible(flags: Sequence[str] | None, who: Principal) -> bool:
    """May this caller see what is behind one of these feature flags? None or empty: it is behind none."""
    seen = who.seen_flags
    return not flags or seen is None or not set(seen).isdisjoint(flags)
