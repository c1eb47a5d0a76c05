"""What can be done with streams? They are made, read, listed, changed and deleted, and events are appended to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Conflict, NotFound
from ringback.ids import IdMaker, ShortIdMaker
from ringback.model.streams import Stream
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Channels, Name, Problem, Rule
from ringback.services.tokens import Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import streams
from ringback.store.operations.streams import NewEvent

# The contract's bound for uids of streams and sinks (section 1.1).
MAX_UID_CHARS: Final = 60
# Events of one call (contract, section 11): what is committed as one must not hold up others.
MAX_EVENTS: Final = 1_000
_UID_PATTERN: Final = r"[A-Za-z0-9_-]+"
_UID: Final = re.compile(_UID_PATTERN)
# The path of event types stands where a stream could: none may be called so.
_RESERVED: Final = "event-type"

ShortUid = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_UID_CHARS, extra_json_schema={"pattern": f"^{_UID_PATTERN}$"})]
_StreamName = Annotated[str, msgspec.Meta(min_length=1)]


def uid_rule(own_prefix: str, *reserved: str) -> Rule:
    """The rule for uids of streams and of sinks, whose ids begin with `own_prefix`."""

    def check(value: str) -> Sequence[Problem]:
        if value.startswith(own_prefix):
            return [((), f"{value!r} begins with {own_prefix!r}, as the ids made by the server do; choose another uid")]
        if value in reserved:
            return [((), f"{value!r} is the path of something else; choose another uid")]
        if not 1 <= len(value) <= MAX_UID_CHARS or _UID.fullmatch(value) is None:
            return [((), f"{value[:MAX_UID_CHARS]!r} is not allowed; use 1 to {MAX_UID_CHARS} letters, digits, '-' and '_'")]
        return ()

    return check


UID: Final[Rule] = uid_rule(ids.STREAM, _RESERVED)


class StreamIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole stream, as it should be."""

    name: _StreamName
    uid: ShortUid | None = None
    metadata: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"name": validation.text, "uid": UID, "metadata": validation.metadata}


class StreamPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of a stream: what is unset stays, None removes."""

    name: _StreamName | UnsetType = UNSET
    description: str | UnsetType = UNSET
    uid: ShortUid | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = {**StreamIn.RULES, "description": validation.text}


class EventIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event: its type, its text, and the channels that narrow who gets it."""

    event_type: Name
    payload: str
    channels: Channels | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"event_type": validation.name, "channels": validation.channels}


def events_rule(values: Sequence[EventIn]) -> Sequence[Problem]:
    """The rule for a list of events."""
    return [((f"[{index}]", *where), text) for index, value in enumerate(values) for where, text in validation.members(value)]


class CreateStreamEventsIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Events, in their order. `stream` is made when there is none."""

    events: Annotated[tuple[EventIn, ...], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)]
    stream: StreamIn | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"events": events_rule, "stream": validation.members}


class Created(msgspec.Struct, frozen=True):
    """A stream, and whether it was made just now."""

    stream: Stream
    new: bool


# What the caller adds to the transaction of an effect.
Also = Callable[[Transaction, Created], None]


def find(tx: Transaction, who: Principal, ref: str) -> Stream:
    """The stream of that id or uid, if this caller may reach it. Raises NotFound."""
    stream = streams.by_ref(tx, who.org_id, ref)
    if stream is None or who.stream_id not in (None, stream.id):
        raise NotFound
    return stream


class Streams:
    """The streams of every organisation; each verb sees those of its caller alone.

    `appended` hears which stream has something new, and `gone` which one was deleted, once that is durable.
    """

    def __init__(
        self, store: Store, clock: Clock, make_id: IdMaker, tokens: Tokens, appended: Callable[[str], None], gone: Callable[[str], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ShortIdMaker(make_id)
        self._tokens = tokens
        self._appended = appended
        self._gone = gone

    async def create(self, who: Principal, wanted: StreamIn, *, also: Also | None = None) -> Created:
        """Make a stream. Raises Conflict (uid)."""

        def operation(tx: Transaction) -> Created:
            created = Created(self._insert(tx, who, wanted, wanted.uid), True)
            if also is not None:
                also(tx, created)
            return created

        return await self._store.write(operation)

    async def get(self, who: Principal, ref: str) -> Stream:
        """The stream of that id or uid. Raises NotFound."""
        return await self._store.read(lambda tx: find(tx, who, ref))

    async def page(self, who: Principal, walk: Walk) -> Page[Stream]:
        """One page of the organisation's streams."""
        return cut(await self._store.read(lambda tx: streams.page(tx, who.org_id, walk)), walk)

    async def upsert(self, who: Principal, ref: str, wanted: StreamIn) -> Created:
        """Replace a stream, but for its events, or make it. Raises Conflict (uid), InvalidField (a path that is no uid)."""

        def operation(tx: Transaction) -> Created:
            former = streams.by_ref(tx, who.org_id, ref)
            if former is None:
                uid = validation.uid_in_path(ref, UID, ids.STREAM, "stream_id") if wanted.uid is None else wanted.uid
                return Created(self._insert(tx, who, wanted, uid), True)
            # Addressed by its uid it keeps it, or repeating the request would make another one.
            uid = ref if wanted.uid is None and ref == former.uid else wanted.uid
            changed = msgspec.structs.replace(former, name=wanted.name, uid=uid, metadata=wanted.metadata or {})
            return Created(self._replace(tx, former, changed), False)

        return await self._store.write(operation)

    async def patch(self, who: Principal, ref: str, change: StreamPatch) -> Stream:
        """Change some fields. Raises NotFound, Conflict (uid)."""
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}

        def operation(tx: Transaction) -> Stream:
            former = find(tx, who, ref)
            return self._replace(tx, former, msgspec.structs.replace(former, **changes))

        return await self._store.write(operation)

    async def delete(self, who: Principal, ref: str) -> None:
        """Delete a stream with its events and sinks; its tokens are dead at once. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> str:
            stream = find(tx, who, ref)
            streams.delete(tx, stream.id, now_us)
            return stream.id

        stream_id = await self._store.write(operation)
        self._tokens.forget_stream(stream_id)
        self._gone(stream_id)

    async def append(
        self, who: Principal, ref: str, wanted: CreateStreamEventsIn, *, also: Callable[[Transaction, None], None] | None = None
    ) -> None:
        """Add events at the end of a stream, all or none; they are durable when this returns.

        Raises NotFound, and InvalidField or Conflict about the stream that is to be made, and StoreFailure.
        """
        events = [NewEvent(event.event_type, event.payload.encode(), event.channels) for event in wanted.events]

        def operation(tx: Transaction) -> str:
            stream = streams.by_ref(tx, who.org_id, ref)
            if stream is None:
                stream = self._insert(tx, who, *_named_in(wanted.stream, ref))
            streams.append(tx, stream.id, events, self._clock.now_us())
            if also is not None:
                also(tx, None)
            return stream.id

        self._appended(await self._store.write(operation, grows=True))

    def _insert(self, tx: Transaction, who: Principal, wanted: StreamIn, uid: str | None) -> Stream:
        self._check_uid(tx, who.org_id, uid, None)
        # The id is made inside the transaction: ids must be in the order of commits, which cursors rely on.
        now_us = self._clock.now_us()
        stream = Stream(self._ids.make(ids.STREAM, now_us), who.org_id, uid, wanted.name, "", wanted.metadata or {}, now_us, now_us)
        streams.insert(tx, stream)
        return stream

    def _replace(self, tx: Transaction, former: Stream, wanted: Stream) -> Stream:
        if wanted == former:
            return former
        self._check_uid(tx, former.org_id, wanted.uid, former.id)
        stream = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), former.updated_at + 1))
        streams.replace(tx, stream)
        return stream

    def _check_uid(self, tx: Transaction, org_id: str, uid: str | None, own_id: str | None) -> None:
        if uid is None:
            return
        holder = streams.by_ref(tx, org_id, uid)
        if holder is not None and holder.id != own_id:
            raise Conflict(f"A stream with the uid {uid!r} exists already; choose another uid, or update that one")


def _named_in(stream: StreamIn | None, ref: str) -> tuple[StreamIn, str]:
    """The stream that a request about the unknown `ref` brings along, and its uid. Raises NotFound, InvalidField."""
    if stream is None:
        raise NotFound
    return stream, validation.uid_of_path(stream.uid, ref, "stream")
