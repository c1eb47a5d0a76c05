"""What can be done with connectors? The organisation writes them; it and its applications read them."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Conflict, NotFound
from ringback.ids import IdMaker
from ringback.model.connectors import Connector, ConnectorKind, ConnectorProduct
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Flags, Name, Names, Problem, Rule
from ringback.services.event_types import is_visible
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import connectors

UID: Rule = validation.uid(ids.CONNECTOR)
# The contract's bounds on the code of a transformation, characters (5.1 and 5.2).
MIN_CODE_CHARS: Final = 10
MAX_CODE_CHARS: Final = 51_200
# A logo may be an image itself, in its URL; pages load it, so it is no place for scripts.
_LOGO: Final = re.compile(r"(?:https?://|data:image/)[!-~]{1,65536}")

Code = Annotated[str, msgspec.Meta(min_length=MIN_CODE_CHARS, max_length=MAX_CODE_CHARS)]


def logo_rule(value: str) -> Sequence[Problem]:
    """The rule for logos."""
    return () if _LOGO.fullmatch(value) else [((), "a logo is a URL that begins with https://, http:// or data:image/")]


def flags_rule(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for feature flags of which there may be none."""
    return validation.names(values) if values else ()


class ConnectorUpsertIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole connector, as it should be, less what never changes."""

    transformation: Code
    name: str = ""
    logo: str | None = None
    description: str = ""
    kind: ConnectorKind = "Custom"
    instructions: str = ""
    allowed_event_types: Names | None = None
    feature_flags: Flags | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": validation.text,
        "logo": logo_rule,
        "description": validation.text,
        "instructions": validation.text,
        "allowed_event_types": validation.names,
        "feature_flags": flags_rule,
    }


class ConnectorIn(ConnectorUpsertIn, frozen=True, kw_only=True, rename="camel"):
    """A new connector."""

    # Declared anew, as here it is required.
    name: str
    uid: Name | None = None
    product_type: ConnectorProduct | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {**ConnectorUpsertIn.RULES, "uid": UID}


class ConnectorPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of a connector: what is unset stays, None removes."""

    name: str | UnsetType = UNSET
    logo: str | UnsetType | None = UNSET
    description: str | UnsetType = UNSET
    kind: ConnectorKind | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    allowed_event_types: Names | UnsetType | None = UNSET
    transformation: Code | UnsetType = UNSET
    feature_flags: Flags | UnsetType | None = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = ConnectorUpsertIn.RULES


class Created(msgspec.Struct, frozen=True):
    """A connector, and whether it was made just now."""

    connector: Connector
    new: bool


class Connectors:
    """The connectors of every organisation; each verb sees those of its caller alone."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id

    async def create(self, who: Principal, wanted: ConnectorIn, *, also: Callable[[Transaction, Created], None] | None = None) -> Created:
        """Make a connector. Raises Conflict when the uid is taken."""

        def operation(tx: Transaction) -> Created:
            if wanted.uid is not None and connectors.by_ref(tx, who.org_id, wanted.uid) is not None:
                raise Conflict(f"A connector with the uid {wanted.uid!r} exists already; choose another uid, or update that one")
            created = Created(self._insert(tx, who.org_id, wanted, wanted.uid, wanted.product_type), True)
            if also is not None:
                also(tx, created)
            return created

        return await self._store.write(operation)

    async def get(self, who: Principal, ref: str) -> Connector:
        """The connector of that id or uid. Raises NotFound, also for one behind a feature flag that the caller lacks."""
        return await self._store.read(lambda tx: _find(tx, who, ref))

    async def page(self, who: Principal, walk: Walk, product_type: str | None) -> Page[Connector]:
        """One page of the connectors that the caller may see, of one product or of all."""
        flags = who.seen_flags
        return cut(await self._store.read(lambda tx: connectors.page(tx, who.org_id, walk, product_type=product_type, flags=flags)), walk)

    async def upsert(self, who: Principal, ref: str, wanted: ConnectorUpsertIn) -> Created:
        """Replace the connector of that id or uid, but for its product, or make it."""

        def operation(tx: Transaction) -> Created:
            former = connectors.by_ref(tx, who.org_id, ref)
            if former is None:
                uid = validation.uid_in_path(ref, UID, ids.CONNECTOR, "connector_id")
                return Created(self._insert(tx, who.org_id, wanted, uid, None), True)
            return Created(self._stored(tx, former, msgspec.structs.asdict(wanted)), False)

        return await self._store.write(operation)

    async def patch(self, who: Principal, ref: str, change: ConnectorPatch) -> Connector:
        """Change some fields. Raises NotFound."""
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
        return await self._store.write(lambda tx: self._stored(tx, _find(tx, who, ref), changes))

    async def delete(self, who: Principal, ref: str) -> None:
        """Delete a connector; endpoints made from it stay as they are. Raises NotFound."""
        await self._store.write(lambda tx: connectors.delete(tx, _find(tx, who, ref).id))

    def take_in(self, tx: Transaction, org_id: str, wanted: Sequence[ConnectorIn]) -> None:
        """Make each, or overwrite the one of its uid, or without a uid the first of its name and kind that no other of the list is."""
        known = _Known(connectors.identities(tx, org_id) if wanted else ())
        for one in wanted:
            found = known.of(one)
            former = None if found is None else connectors.by_ref(tx, org_id, found)
            if former is None:
                known.made(self._insert(tx, org_id, one, one.uid, one.product_type))
                continue
            changes = msgspec.structs.asdict(one)
            changes["uid"], changes["product_type"] = former.uid, former.product_type
            self._stored(tx, former, changes)

    def _insert(
        self, tx: Transaction, org_id: str, wanted: ConnectorUpsertIn, uid: str | None, product_type: ConnectorProduct | None
    ) -> Connector:
        # The id is made inside the transaction: ids must be in the order of commits, which cursors rely on.
        now_us = self._clock.now_us()
        connector = Connector(
            id=self._ids.make(ids.CONNECTOR, now_us),
            org_id=org_id,
            uid=uid,
            kind=wanted.kind,
            name=wanted.name,
            logo=wanted.logo,
            description=wanted.description,
            instructions=wanted.instructions,
            allowed_event_types=wanted.allowed_event_types,
            transformation=wanted.transformation,
            feature_flags=wanted.feature_flags or None,
            product_type=product_type or "Dispatch",
            created_at=now_us,
            updated_at=now_us,
            transformation_updated_at=now_us,
        )
        connectors.insert(tx, connector)
        return connector

    def _stored(self, tx: Transaction, former: Connector, changes: dict[str, object]) -> Connector:
        # No flags at all and an empty list of them are the same.
        if "feature_flags" in changes:
            changes = {**changes, "feature_flags": changes["feature_flags"] or None}
        wanted = msgspec.structs.replace(former, **changes)
        if wanted == former:
            return former
        now_us = max(self._clock.now_us(), former.updated_at + 1)
        code_at = now_us if wanted.transformation != former.transformation else former.transformation_updated_at
        connector = msgspec.structs.replace(wanted, updated_at=now_us, transformation_updated_at=code_at)
        connectors.replace(tx, connector)
        return connector


class _Known:
    """The connectors of an organisation while a list of them is taken in: read once, as asking anew for each took minutes for thousands."""

    def __init__(self, identities: Sequence[tuple[str, str | None, str, str]]) -> None:
        self._by_uid = {uid: identifier for identifier, uid, _, _ in identities if uid is not None}
        self._by_name: dict[tuple[str, str], deque[str]] = defaultdict(deque)
        for identifier, _, name, kind in identities:
            self._by_name[name, kind].append(identifier)
        self._taken: set[str] = set()

    def of(self, wanted: ConnectorIn) -> str | None:
        """The id of the connector that is meant, which no other of the list without a uid will be; None = there is none."""
        found = self._by_uid.get(wanted.uid) if wanted.uid is not None else self._next(wanted.name, wanted.kind)
        if found is not None:
            self._taken.add(found)
        return found

    def made(self, connector: Connector) -> None:
        """This one is there now."""
        self._taken.add(connector.id)
        if connector.uid is not None:
            self._by_uid[connector.uid] = connector.id

    def _next(self, name: str, kind: str) -> str | None:
        same = self._by_name.get((name, kind), deque())
        while same and same[0] in self._taken:
            same.popleft()
        return same.popleft() if same else None


def _find(tx: Transaction, who: Principal, ref: str) -> Connector:
    connector = connectors.by_ref(tx, who.org_id, ref)
    if connector is None or not is_visible(connector.feature_flags, who):
        raise NotFound
    return connector
