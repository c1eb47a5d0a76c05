"""What can be done with the sinks of streams? They are made, read, listed, changed and deleted; some have secrets and headers.

Of the types in the contract those are built that are called (`http`, `otelTracing`) and that ask (`poller`); any other is refused, and
nothing of it kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.errors import Conflict, FieldProblem, InvalidField, NotFound, Refused
from ringback.ids import IdMaker, ShortIdMaker
from ringback.model.endpoints import EndpointSecret
from ringback.model.streams import Progress, Sink, SinkStatus, SinkType, Stream, Target
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.streams import resumed
from ringback.policy.validation import Problem, Rule, Secret, Url
from ringback.services import streams
from ringback.services.endpoints import DEFAULT_GRACE_S, EndpointSecretRotateIn, checked_url, rotated, with_headers
from ringback.services.polling import DEFAULT_BATCH, AnyChannels, Batch, Driven, Types, Wait, channels_rule, names_rule
from ringback.services.streams import ShortUid, uid_rule
from ringback.services.tokens import Principal, Tokens
from ringback.signing.secret import SecretKind, generate_secret
from ringback.store.base import Store, Transaction
from ringback.store.operations import sinks, transformations
from ringback.store.operations import streams as stream_operations
from ringback.store.operations.endpoints import Sealer

AnySinkType: TypeAlias = Literal["poller", "http", Driven]
UNBUILT: Final[frozenset[str]] = frozenset(get_args(AnySinkType)) - {kind.value for kind in SinkType}
# Those that are called, as sentences name them, and all that are built.
_CALLED: Final = "'http' and 'otelTracing'"
_NAMES: Final = "those of type 'http', 'otelTracing' and 'poller'"
UID: Final[Rule] = uid_rule(ids.SINK)
# Sinks of one stream in an overview: a stream has a few.
OVERVIEW_MAX: Final = 20
_MISSING: Final = "the field is missing; it is required"

_Status = Literal["enabled", "paused", "disabled"]


def _built(value: str) -> Sequence[Problem]:
    if value not in UNBUILT:
        return ()
    return [((), f"sinks of type {value!r} are not built: this version has no driver for them; {_NAMES} are")]


class SinkConfigIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a sink is that is called: `url` is required there. `key` signs what an `http` sink gets (none: one is made)."""

    url: Url | None = None
    headers: dict[str, str] | None = None
    key: Secret | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"url": validation.url, "headers": validation.headers, "key": validation.secret}


class SinkConfigPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a sink that is called is from now on; what is unset stays. Headers and secret have operations of their own."""

    url: Url | UnsetType = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = {"url": validation.url}


class StreamSinkIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole sink, as it should be."""

    type: AnySinkType
    config: SinkConfigIn | None = None
    uid: ShortUid | None = None
    status: _Status | None = None
    batch_size: Batch | None = None
    max_wait_secs: Wait | None = None
    event_types: Types | None = None
    channels: AnyChannels | None = None
    metadata: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "type": _built,
        "config": validation.members,
        "uid": UID,
        "event_types": names_rule,
        "channels": channels_rule,
        "metadata": validation.metadata,
    }


class StreamSinkPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of a sink, which keeps its type: what is unset stays, and so does what older clients set to null."""

    type: AnySinkType
    config: SinkConfigPatch | None = None
    uid: ShortUid | UnsetType | None = UNSET
    status: _Status | UnsetType | None = UNSET
    batch_size: Batch | UnsetType | None = UNSET
    max_wait_secs: Wait | UnsetType | None = UNSET
    event_types: Types | UnsetType | None = UNSET
    channels: AnyChannels | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = {**StreamSinkIn.RULES, "type": lambda value: ()}


class SinkHeadersPatchIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Headers to set, and (None) to remove."""

    headers: dict[str, str | None]

    RULES: ClassVar[Mapping[str, Rule]] = {"headers": validation.headers}


class Created(msgspec.Struct, frozen=True):
    """A sink, and whether it was made just now."""

    sink: Sink
    new: bool


# What the caller adds to the transaction of an effect.
Also = Callable[[Transaction, Created], None]
AlsoSink = Callable[[Transaction, Sink], None]


class Overview(msgspec.Struct, frozen=True):
    """A stream with its newest sinks, and whether it has more of them; `transformed` are the ids of those whose code is on."""

    stream: Stream
    sinks: list[Sink]
    more: bool
    transformed: frozenset[str]


def find(tx: Transaction, vault: Sealer, who: Principal, stream_ref: str, ref: str) -> Sink:
    """The sink of that id or uid in a stream that this caller may reach. Raises NotFound, also for the key of another sink."""
    sink = sinks.by_ref(tx, vault, streams.find(tx, who, stream_ref).id, ref)
    if sink is None or who.poller_id not in (None, sink.id):
        raise NotFound
    return sink


class Sinks:
    """The sinks of every stream; each verb sees those of its caller alone.

    `draw(n)` gives n random bytes; `https_only` refuses other URLs; `changed` hears of each sink that may have to be fed otherwise, by its
    stream and its id, once that is durable.
    """

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        make_id: IdMaker,
        tokens: Tokens,
        draw: Callable[[int], bytes],
        changed: Callable[[str, str], None],
        *,
        secret_kind: SecretKind = "hmac256",
        https_only: bool = False,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = ShortIdMaker(make_id)
        self._tokens = tokens
        self._draw = draw
        self._changed = changed
        self._secret_kind: SecretKind = secret_kind
        self._https_only = https_only

    async def create(self, who: Principal, stream: str, wanted: StreamSinkIn, *, also: Also | None = None) -> Created:
        """Make a sink, which gets what is appended from now on. Raises NotFound (stream), Conflict (uid), InvalidField."""

        def operation(tx: Transaction) -> Created:
            created = Created(self._insert(tx, streams.find(tx, who, stream), wanted, wanted.uid), True)
            if also is not None:
                also(tx, created)
            return created

        created = await self._store.write(operation)
        self._changed(created.sink.stream_id, created.sink.id)
        return created

    async def get(self, who: Principal, stream: str, ref: str) -> Sink:
        """The sink of that id or uid. Raises NotFound."""
        return await self._store.read(lambda tx: find(tx, self._vault, who, stream, ref))

    async def page(self, who: Principal, stream: str, walk: Walk) -> Page[Sink]:
        """One page of a stream's sinks. Raises NotFound."""
        return cut(await self._store.read(lambda tx: sinks.page(tx, self._vault, streams.find(tx, who, stream).id, walk)), walk)

    async def overviews(self, who: Principal, walk: Walk) -> Page[Overview]:
        """One page of the organisation's streams, with up to `OVERVIEW_MAX` sinks of each."""
        some = Walk(OVERVIEW_MAX, descending=True)

        def query(tx: Transaction) -> list[Overview]:
            found = []
            for stream in stream_operations.page(tx, who.org_id, walk):
                newest = cut(sinks.page(tx, self._vault, stream.id, some), some)
                on = transformations.on_among(tx, [sink.id for sink in newest.items])
                found.append(Overview(stream, newest.items, not newest.done, on))
            return found

        return cut(await self._store.read(query), walk)

    async def upsert(self, who: Principal, stream: str, ref: str, wanted: StreamSinkIn) -> Created:
        """Replace a sink, which goes on where it was and keeps secrets and headers that are not given, or make it. Raises as `create`."""

        def operation(tx: Transaction) -> Created:
            owner = streams.find(tx, who, stream)
            former = sinks.by_ref(tx, self._vault, owner.id, ref)
            if former is None:
                uid = validation.uid_in_path(ref, UID, ids.SINK, "sink_id") if wanted.uid is None else wanted.uid
                return Created(self._insert(tx, owner, wanted, uid), True)
            # Addressed by its uid it keeps it, or repeating the request would make another one.
            uid = ref if wanted.uid is None and ref == former.uid else wanted.uid
            target = self._target(wanted, former.target)
            settings = _settings(wanted)
            return Created(self._replace(tx, former, msgspec.structs.replace(former, uid=uid, target=target, **settings)), False)

        created = await self._store.write(operation)
        self._changed(created.sink.stream_id, created.sink.id)
        return created

    async def patch(self, who: Principal, stream: str, ref: str, change: StreamSinkPatch) -> Sink:
        """Change some fields. Raises NotFound, Conflict (uid), InvalidField (another type)."""

        def operation(tx: Transaction, former: Sink) -> Sink:
            if change.type != former.type:
                message = f"a sink keeps its type, which is {former.type.value!r}; replace the whole sink with PUT, or create another one"
                raise InvalidField(FieldProblem(("body", "type"), message))
            target = former.target
            if target is not None and change.config is not None and change.config.url is not UNSET:
                target = msgspec.structs.replace(target, url=self._checked_url(change.config.url))
            return self._replace(tx, former, msgspec.structs.replace(former, target=target, **_changes(change)))

        return await self._edited(who, stream, ref, operation)

    async def delete(self, who: Principal, stream: str, ref: str) -> None:
        """Delete a sink; its keys are dead at once. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction, sink: Sink) -> Sink:
            sinks.delete(tx, sink.id, now_us)
            return sink

        self._tokens.forget_stream((await self._edited(who, stream, ref, operation)).stream_id)

    async def rotate(self, who: Principal, stream: str, ref: str, wanted: EndpointSecretRotateIn, *, also: AlsoSink | None = None) -> Sink:
        """Sign with another secret from now on, and with the former one too until its grace is over.

        Raises NotFound, and Refused: `not_http_sink`, and `limit_reached` when ten former secrets still sign.
        """
        text = wanted.key or generate_secret(self._secret_kind, self._draw)
        grace_s = DEFAULT_GRACE_S if wanted.grace_period_seconds is None else wanted.grace_period_seconds

        def operation(tx: Transaction, former: Sink) -> Sink:
            target = signing_target_of(former)
            secrets = rotated(target.secrets, text, grace_s * SECOND_US, self._clock.now_us())
            sink = self._replace(tx, former, msgspec.structs.replace(former, target=msgspec.structs.replace(target, secrets=secrets)))
            if also is not None:
                also(tx, sink)
            return sink

        return await self._edited(who, stream, ref, operation)

    async def patch_headers(self, who: Principal, stream: str, ref: str, change: SinkHeadersPatchIn) -> Sink:
        """Set and remove some added headers. Raises NotFound, Refused (`not_http_sink`), and InvalidField when that makes too many."""

        def operation(tx: Transaction, former: Sink) -> Sink:
            target = target_of(former)
            headers = with_headers(target.headers, change.headers, ())
            problems = validation.headers(headers)
            if problems:
                raise InvalidField(*(FieldProblem(("body", "headers", *where), message) for where, message in problems))
            return self._replace(tx, former, msgspec.structs.replace(former, target=msgspec.structs.replace(target, headers=headers)))

        return await self._edited(who, stream, ref, operation)

    async def _edited(self, who: Principal, stream: str, ref: str, change: Callable[[Transaction, Sink], Sink]) -> Sink:
        sink = await self._store.write(lambda tx: change(tx, find(tx, self._vault, who, stream, ref)))
        self._changed(sink.stream_id, sink.id)
        return sink

    def _insert(self, tx: Transaction, stream: Stream, wanted: StreamSinkIn, uid: str | None) -> Sink:
        self._check_uid(tx, stream.id, uid, None)
        # The id is made inside the transaction: ids must be in the order of commits, which cursors rely on.
        now_us = self._clock.now_us()
        sink = Sink(
            id=self._ids.make(ids.SINK, now_us),
            stream_id=stream.id,
            uid=uid,
            target=self._target(wanted, None),
            **_settings(wanted),
            progress=Progress(stream.last_seq),
            created_at=now_us,
            updated_at=now_us,
        )
        sinks.insert(tx, self._vault, sink)
        return sink

    def _replace(self, tx: Transaction, former: Sink, wanted: Sink) -> Sink:
        if wanted == former:
            return former
        self._check_uid(tx, former.stream_id, wanted.uid, former.id)
        sink = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), former.updated_at + 1))
        progress = sink.progress
        if sink.type != former.type or (sink.status is SinkStatus.ENABLED and former.status is not SinkStatus.ENABLED):
            # What is on its way stays so, even to whoever asks from now on: if it is called again, it comes under its id.
            progress = resumed(progress)
        if progress != sink.progress:
            sink = msgspec.structs.replace(sink, progress=progress)
            sinks.go_on(tx, sink.id, progress)
        sinks.replace(tx, self._vault, sink)
        return sink

    def _target(self, wanted: StreamSinkIn, former: Target | None) -> Target | None:
        """Where the sink is that is wanted: what is not given of it is as it was. Raises InvalidField."""
        if wanted.type == "poller":
            return None
        config = wanted.config or SinkConfigIn()
        if config.url is None:
            raise InvalidField(FieldProblem(("body", "config", "url"), _MISSING, "value_error.jsondecode"))
        known = former or Target("", {}, ())
        # What gets spans knows no signatures.
        secrets = self._secrets(config.key, known.secrets) if wanted.type == "http" else ()
        return Target(self._checked_url(config.url), known.headers if config.headers is None else config.headers, secrets)

    def _secrets(self, wanted: str | None, former: tuple[EndpointSecret, ...]) -> tuple[EndpointSecret, ...]:
        if wanted is not None and (not former or former[0].text != wanted):
            return (EndpointSecret(wanted),)
        return former or (EndpointSecret(generate_secret(self._secret_kind, self._draw)),)

    def _checked_url(self, text: str) -> str:
        return checked_url(text, self._https_only, ("config", "url"))

    def _check_uid(self, tx: Transaction, stream_id: str, uid: str | None, own_id: str | None) -> None:
        if uid is None:
            return
        holder = sinks.by_ref(tx, self._vault, stream_id, uid)
        if holder is not None and holder.id != own_id:
            raise Conflict(f"A sink with the uid {uid!r} exists already in this stream; choose another uid, or update that one")


def target_of(sink: Sink) -> Target:
    """Where a sink is that is called. Raises Refused for any other."""
    if sink.target is None:
        raise Refused("not_http_sink", f"only sinks of type {_CALLED} are called, with headers; this one is read with its poller key")
    return sink.target


def signing_target_of(sink: Sink) -> Target:
    """Where a sink is whose batches are signed. Raises Refused for any other."""
    target = target_of(sink)
    if not target.secrets:
        raise Refused("not_http_sink", f"only sinks of type 'http' have a secret; what one of type {sink.type.value!r} gets is not signed")
    return target


def _settings(wanted: StreamSinkIn) -> dict[str, Any]:
    """The fields of a sink that are as its owner wants, but for its uid and where it is."""
    return {
        "type": SinkType(wanted.type),
        "status": SinkStatus(wanted.status or SinkStatus.ENABLED),
        "event_types": wanted.event_types or None,
        "channels": wanted.channels or None,
        "metadata": wanted.metadata or {},
        "batch_size": wanted.batch_size or DEFAULT_BATCH,
        "max_wait_s": wanted.max_wait_secs or 0,
    }


def _changes(change: StreamSinkPatch) -> dict[str, Any]:
    """The fields that a patch changes, by their names in a sink, but for where it is."""
    given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
    changes: dict[str, Any] = {name: given[name] for name in ("uid", "metadata") if name in given}
    changes |= {name: given[name] or None for name in ("event_types", "channels") if name in given}
    if given.get("status") is not None:
        changes["status"] = SinkStatus(given["status"])
    if given.get("batch_size") is not None:
        changes["batch_size"] = given["batch_size"]
    if given.get("max_wait_secs") is not None:
        changes["max_wait_s"] = given["max_wait_secs"]
    return changes
