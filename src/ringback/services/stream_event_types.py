"""What can be done with event types of streams? They are made, read, listed, changed, archived and removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from ringback.clock import Clock
from ringback.errors import FieldProblem, InvalidField, NotFound, Refused
from ringback.model.streams import StreamEventType
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Flags, Name, Rule
from ringback.services.event_types import is_visible
from ringback.services.portal import flags
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import stream_event_types


class StreamEventTypeIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole event type, as it should be."""

    name: Name
    description: str | None = None
    feature_flags: Flags | None = None
    deprecated: bool = False
    archived: bool = False

    RULES: ClassVar[Mapping[str, Rule]] = {"name": validation.name, "description": validation.text, "feature_flags": flags}


class StreamEventTypePatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of an event type: what is unset stays, None removes."""

    description: str | UnsetType | None = UNSET
    feature_flags: Flags | UnsetType | None = UNSET
    deprecated: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = {"description": validation.text, "feature_flags": flags}


class Created(msgspec.Struct, frozen=True):
    """An event type, and whether it was made, or came back, just now."""

    event_type: StreamEventType
    new: bool


# What the caller adds to the transaction of an effect.
Also = Callable[[Transaction, Created], None]


class StreamEventTypes:
    """The event types of streams of every organisation; each verb sees those that its caller may."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, who: Principal, wanted: StreamEventTypeIn, *, also: Also | None = None) -> Created:
        """Make an event type, or bring an archived one back. Raises Refused (`event_type_exists`) when a live one has the name."""

        def operation(tx: Transaction) -> Created:
            former = stream_event_types.by_name(tx, who.org_id, wanted.name)
            if former is not None and not former.archived:
                raise Refused("event_type_exists", f"An event type of streams named {wanted.name!r} exists already; update it instead", 409)
            created = Created(self._put(tx, who, wanted.name, wanted, former), True)
            if also is not None:
                also(tx, created)
            return created

        return await self._store.write(operation)

    async def get(self, who: Principal, name: str) -> StreamEventType:
        """The event type of that name, archived or not. Raises NotFound."""
        return await self._store.read(lambda tx: _find(tx, who, name))

    async def page(self, who: Principal, walk: Walk, *, archived: bool) -> Page[StreamEventType]:
        """One page of the event types that the caller sees; archived ones only when asked for."""

        def query(tx: Transaction) -> list[StreamEventType]:
            return stream_event_types.page(tx, who.org_id, walk, archived=archived, flags=who.seen_flags)

        return cut(await self._store.read(query), walk)

    async def upsert(self, who: Principal, name: str, wanted: StreamEventTypeIn) -> Created:
        """Replace the event type of that name as a whole, or make it. Raises InvalidField when `wanted` has another name."""
        if wanted.name != name:
            raise InvalidField(FieldProblem(("body", "name"), f"{wanted.name!r} must equal {name!r} of the path; a name never changes"))

        def operation(tx: Transaction) -> Created:
            former = stream_event_types.by_name(tx, who.org_id, name)
            return Created(self._put(tx, who, name, wanted, former), former is None)

        return await self._store.write(operation)

    async def patch(self, who: Principal, name: str, change: StreamEventTypePatch) -> StreamEventType:
        """Change some fields. Raises NotFound."""
        changes = {field: value for field, value in msgspec.structs.asdict(change).items() if value is not UNSET}

        def operation(tx: Transaction) -> StreamEventType:
            former = _find(tx, who, name)
            return self._stored(tx, former, msgspec.structs.replace(former, **changes))

        return await self._store.write(operation)

    async def delete(self, who: Principal, name: str, *, expunge: bool) -> None:
        """Archive an event type; with `expunge` it is gone. Raises NotFound."""

        def operation(tx: Transaction) -> None:
            former = _find(tx, who, name)
            if expunge:
                stream_event_types.delete(tx, who.org_id, name)
            else:
                self._stored(tx, former, msgspec.structs.replace(former, archived=True))

        await self._store.write(operation)

    def _put(
        self, tx: Transaction, who: Principal, name: str, wanted: StreamEventTypeIn, former: StreamEventType | None
    ) -> StreamEventType:
        now_us = self._clock.now_us()
        begun_at, changed_at = (now_us, now_us) if former is None else (former.created_at, former.updated_at)
        kind = StreamEventType(
            who.org_id, name, wanted.description, wanted.feature_flags or None, wanted.deprecated, wanted.archived, begun_at, changed_at
        )
        if former is not None:
            return self._stored(tx, former, kind)
        stream_event_types.put(tx, kind)
        return kind

    def _stored(self, tx: Transaction, former: StreamEventType, wanted: StreamEventType) -> StreamEventType:
        if wanted == former:
            return former
        kind = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), former.updated_at + 1))
        stream_event_types.put(tx, kind)
        return kind


def _find(tx: Transaction, who: Principal, name: str) -> StreamEventType:
    kind = stream_event_types.by_name(tx, who.org_id, name)
    if kind is None or not is_visible(kind.feature_flags, who):
        raise NotFound
    return kind
