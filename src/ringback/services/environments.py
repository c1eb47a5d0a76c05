"""How does a catalogue move to another organisation or server? As one document: exported whole, imported in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec

from ringback.errors import FieldProblem, InvalidField
from ringback.model.connectors import Connector
from ringback.model.event_types import EventType
from ringback.policy.validation import Problem, Rule, members
from ringback.services.connectors import ConnectorIn, Connectors
from ringback.services.event_types import EventTypeIn, EventTypes
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import connectors, environments, event_types

# One transaction holds everybody up while it lasts, 0.15 s for 5,000 event types that are all new: so there must be an end.
MAX_ITEMS: Final = 10_000


def _each(values: Sequence[msgspec.Struct]) -> list[Problem]:
    return [((f"[{index}]", *where), text) for index, value in enumerate(values) for where, text in members(value)]


class EnvironmentIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to add or overwrite; what is left out stays. Read-only fields of an export are ignored."""

    event_types: Annotated[tuple[EventTypeIn, ...], msgspec.Meta(max_length=MAX_ITEMS)] | None = None
    settings: dict[str, Any] | None = None
    connectors: Annotated[tuple[ConnectorIn, ...], msgspec.Meta(max_length=MAX_ITEMS)] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"event_types": _each, "connectors": _each}


class Environment(msgspec.Struct, frozen=True):
    """The catalogue of an organisation: archived event types too."""

    event_types: list[EventType]
    settings: dict[str, Any] | None
    connectors: list[Connector]


class Environments:
    """The catalogues of every organisation; each verb sees that of its caller alone."""

    def __init__(self, store: Store, event_types: EventTypes, connectors: Connectors) -> None:
        self._store = store
        self._event_types = event_types
        self._connectors = connectors

    async def export(self, who: Principal) -> Environment:
        """All of the catalogue, as of one moment."""

        def query(tx: Transaction) -> Environment:
            return Environment(
                event_types.all_of(tx, who.org_id), environments.settings_of(tx, who.org_id), connectors.all_of(tx, who.org_id)
            )

        return await self._store.read(query)

    async def take_in(self, who: Principal, wanted: EnvironmentIn) -> None:
        """Add and overwrite, and delete nothing: all of it or, when something is raised, nothing. Raises InvalidField."""

        def operation(tx: Transaction) -> list[EventType]:
            if wanted.settings is not None:
                environments.put_settings(tx, who.org_id, wanted.settings)
            self._connectors.take_in(tx, who.org_id, wanted.connectors or ())
            return [self._event_type(tx, who, index, event_type) for index, event_type in enumerate(wanted.event_types or ())]

        self._event_types.told(await self._store.write(operation))

    def _event_type(self, tx: Transaction, who: Principal, index: int, wanted: EventTypeIn) -> EventType:
        try:
            return self._event_types.take_in(tx, who, wanted)
        except InvalidField as error:
            inside = ("body", "eventTypes", f"[{index}]")
            raise InvalidField(*(FieldProblem((*inside, *p.loc[1:]), p.msg, p.type) for p in error.problems)) from None
