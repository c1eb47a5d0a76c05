"""What can be done with polling endpoints? They are made, read, listed, changed and deleted, and have keys that can read them alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Conflict, NotFound
from ringback.ids import IdMaker
from ringback.model.polling import PollerKey, PollingEndpoint, PollingStatus
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import MAX_CHANNELS, MAX_NAMES, Channel, Name, Problem, Rule
from ringback.services import applications
from ringback.services.applications import Directory
from ringback.services.event_types import check_live
from ringback.services.poller_keys import AlsoKey, PollerKeys, Reads, RotatePollerTokenIn
from ringback.services.tokens import Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import auto_configs, endpoints, polling, polls
from ringback.store.operations.endpoints import Sealer

UID: Final[Rule] = validation.uid(ids.POLLING_ENDPOINT)
# The contract's batches of a destination, and the longest wait for one, seconds.
MAX_BATCH: Final = 1_000
DEFAULT_BATCH: Final = 100
MAX_WAIT_S: Final = 300

# Destinations and sinks in queues, stores and tables of others, each of which needs a driver (contract, 11 and 18).
Driven: TypeAlias = Literal[
    "azureBlobStorage",
    "otelTracing",
    "amazonS3",
    "googleCloudStorage",
    "googleCloudPubSub",
    "sqs",
    "sns",
    "bigQuery",
    "clickhouse",
    "eventBridge",
    "snowflake",
    "rabbitMq",
    "redshift",
    "postgres",
    "elasticSearch",
]
_Status = Literal["enabled", "paused", "disabled"]
Batch = Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH)]
Wait = Annotated[int, msgspec.Meta(ge=0, le=MAX_WAIT_S)]
# An empty list asks for all, as none does.
Types = Annotated[tuple[Name, ...], msgspec.Meta(extra_json_schema={"maxItems": MAX_NAMES, "uniqueItems": True})]
AnyChannels = Annotated[tuple[Channel, ...], msgspec.Meta(extra_json_schema={"maxItems": MAX_CHANNELS, "uniqueItems": True})]


def names_rule(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for event types that are asked for; none asks for all."""
    return validation.names(values) if values else ()


def channels_rule(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for channels that are asked for; none asks for all."""
    return validation.channels(values) if values else ()


class PollingEndpointIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole polling endpoint, as it should be."""

    uid: Name | None = None
    status: _Status | None = None
    batch_size: Batch | None = None
    max_wait_secs: Wait | None = None
    event_types: Types | None = None
    channels: AnyChannels | None = None
    metadata: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "uid": UID,
        "event_types": names_rule,
        "channels": channels_rule,
        "metadata": validation.metadata,
    }


class PollingEndpointPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of a polling endpoint: what is unset stays, None removes."""

    uid: Name | UnsetType | None = UNSET
    status: _Status | UnsetType = UNSET
    batch_size: Batch | UnsetType = UNSET
    max_wait_secs: Wait | UnsetType = UNSET
    event_types: Types | UnsetType | None = UNSET
    channels: AnyChannels | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = PollingEndpointIn.RULES


class Created(msgspec.Struct, frozen=True):
    """A polling endpoint, and whether it was made just now."""

    endpoint: PollingEndpoint
    new: bool


# What the caller adds to the transaction of an effect.
Also = Callable[[Transaction, Created], None]


def find(tx: Transaction, who: Principal, app_ref: str, ref: str) -> PollingEndpoint:
    """The polling endpoint of that id or uid in an application this caller may reach. Raises NotFound, also for the key of another one."""
    endpoint = polling.by_ref(tx, applications.find(tx, who, app_ref).id, ref)
    if endpoint is None or who.poller_id not in (None, endpoint.id):
        raise NotFound
    if who.auto_config_id is not None and auto_configs.endpoint_of(tx, who.auto_config_id) != endpoint.id:
        raise NotFound
    return endpoint


class Polling:
    """The polling endpoints of every application; each verb sees those of its caller alone."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, make_id: IdMaker, directory: Directory, tokens: Tokens) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._directory = directory
        self._tokens = tokens
        self._keys = PollerKeys(vault, clock, tokens)

    async def create(self, who: Principal, app: str, wanted: PollingEndpointIn, *, also: Also | None = None) -> Created:
        """Make a polling endpoint. Raises NotFound (application), Conflict (uid), InvalidField (event types)."""

        def operation(tx: Transaction) -> Created:
            created = Created(self._insert(tx, who, applications.find(tx, who, app).id, wanted, wanted.uid), True)
            if also is not None:
                also(tx, created)
            return created

        created = await self._store.write(operation)
        self._directory.changed(created.endpoint.app_id)
        return created

    async def get(self, who: Principal, app: str, ref: str) -> PollingEndpoint:
        """The polling endpoint of that id or uid. Raises NotFound."""
        return await self._store.read(lambda tx: find(tx, who, app, ref))

    async def page(self, who: Principal, app: str, walk: Walk) -> Page[PollingEndpoint]:
        """One page of an application's polling endpoints. Raises NotFound."""
        return cut(await self._store.read(lambda tx: polling.page(tx, applications.find(tx, who, app).id, walk)), walk)

    async def upsert(self, who: Principal, app: str, ref: str, wanted: PollingEndpointIn) -> Created:
        """Replace a polling endpoint, whose consumers stay where they are, or make it. Raises as `create` does."""

        def operation(tx: Transaction) -> Created:
            app_id = applications.find(tx, who, app).id
            former = polling.by_ref(tx, app_id, ref)
            if former is None:
                uid = wanted.uid
                if uid is None:
                    uid = validation.uid_in_path(ref, UID, ids.POLLING_ENDPOINT, "destination_id")
                return Created(self._insert(tx, who, app_id, wanted, uid), True)
            # Addressed by its uid it keeps it, or repeating the request would make another one.
            uid = ref if wanted.uid is None and ref == former.uid else wanted.uid
            return Created(self._replace(tx, who, former, _replaced(former, wanted, uid)), False)

        created = await self._store.write(operation)
        self._directory.changed(created.endpoint.app_id)
        return created

    async def complete(self, who: Principal, app: str, endpoint_id: str, wanted: PollingEndpointIn) -> Created:
        """Make the polling endpoint of an id that was given before, or replace it as a whole; its consumers stay where they are.

        Raises NotFound, also when it was deleted, Conflict (uid; the id is that of a webhook's endpoint), InvalidField (event types).
        """

        def operation(tx: Transaction) -> Created:
            app_id = applications.find(tx, who, app).id
            former = polling.by_ref(tx, app_id, endpoint_id)
            if former is not None:
                return Created(self._replace(tx, who, former, _replaced(former, wanted, wanted.uid)), False)
            if polling.is_taken(tx, endpoint_id):
                raise NotFound("The polling endpoint of this subscription was deleted; ask for another subscription")
            if endpoints.by_ids(tx, self._vault, [endpoint_id]):
                raise Conflict("This subscription was completed with an endpoint that is called; ask for another subscription")
            return Created(self._insert(tx, who, app_id, wanted, wanted.uid, endpoint_id), True)

        created = await self._store.write(operation)
        self._directory.changed(created.endpoint.app_id)
        return created

    async def patch(self, who: Principal, app: str, ref: str, change: PollingEndpointPatch) -> PollingEndpoint:
        """Change some fields. Raises NotFound, Conflict (uid), InvalidField (event types)."""
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
        if "status" in changes:
            changes["status"] = PollingStatus(changes["status"])
        if "max_wait_secs" in changes:
            changes["max_wait_s"] = changes.pop("max_wait_secs")
        for name in ("event_types", "channels"):
            if name in changes:
                changes[name] = changes[name] or None

        def operation(tx: Transaction) -> PollingEndpoint:
            former = find(tx, who, app, ref)
            return self._replace(tx, who, former, msgspec.structs.replace(former, **changes))

        endpoint = await self._store.write(operation)
        self._directory.changed(endpoint.app_id)
        return endpoint

    async def delete(self, who: Principal, app: str, ref: str) -> None:
        """Delete a polling endpoint with its consumers; its keys are dead at once. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> PollingEndpoint:
            endpoint = find(tx, who, app, ref)
            polling.delete(tx, endpoint.id, now_us)
            return endpoint

        endpoint = await self._store.write(operation)
        self._directory.changed(endpoint.app_id)
        self._tokens.forget_application(endpoint.app_id)

    async def key(self, who: Principal, app: str, ref: str) -> PollerKey:
        """The key of a polling endpoint; makes one when there is none. Raises NotFound."""
        known = await self._store.read(lambda tx: self._keys.known(tx, _reads(who, find(tx, who, app, ref))))
        if known is not None:
            return known
        # Another request may have made one meanwhile.
        return await self._store.write(lambda tx: self._keys.known_or_new(tx, _reads(who, find(tx, who, app, ref))))

    async def rotate_key(
        self, who: Principal, app: str, ref: str, wanted: RotatePollerTokenIn, *, also: AlsoKey | None = None
    ) -> PollerKey:
        """Another key; the former ones end when their grace is over. Raises NotFound."""

        def operation(tx: Transaction) -> tuple[str, PollerKey]:
            endpoint = find(tx, who, app, ref)
            key = self._keys.rotated(tx, _reads(who, endpoint), wanted)
            if also is not None:
                also(tx, key)
            return endpoint.app_id, key

        app_id, key = await self._store.write(operation)
        # What is remembered of the former keys says that they never end.
        self._tokens.forget_application(app_id)
        return key

    def _insert(
        self, tx: Transaction, who: Principal, app_id: str, wanted: PollingEndpointIn, uid: str | None, given_id: str | None = None
    ) -> PollingEndpoint:
        self._check_uid(tx, app_id, uid, None)
        check_live(tx, who, wanted.event_types or ())
        # The id is made inside the transaction: ids must be in the order of commits, which cursors rely on.
        now_us = self._clock.now_us()
        endpoint = PollingEndpoint(
            id=given_id or self._ids.make(ids.POLLING_ENDPOINT, now_us),
            app_id=app_id,
            uid=uid,
            **_settings(wanted),
            start=polls.beginning(tx, app_id, now_us),
            created_at=now_us,
            updated_at=now_us,
        )
        polling.insert(tx, endpoint)
        return endpoint

    def _replace(self, tx: Transaction, who: Principal, former: PollingEndpoint, wanted: PollingEndpoint) -> PollingEndpoint:
        if wanted == former:
            return former
        self._check_uid(tx, former.app_id, wanted.uid, former.id)
        # A type that was archived since it was chosen may stay chosen.
        kept = former.event_types or ()
        check_live(tx, who, [name for name in wanted.event_types or () if name not in kept])
        endpoint = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), former.updated_at + 1))
        polling.replace(tx, endpoint)
        return endpoint

    def _check_uid(self, tx: Transaction, app_id: str, uid: str | None, own_id: str | None) -> None:
        if uid is None:
            return
        holder = polling.by_ref(tx, app_id, uid)
        if holder is not None and holder.id != own_id:
            raise Conflict(f"A destination with the uid {uid!r} exists already; choose another uid, or update that one")


def _reads(who: Principal, endpoint: PollingEndpoint) -> Reads:
    return Reads(endpoint.id, who.org_id, app_id=endpoint.app_id)


def _replaced(former: PollingEndpoint, wanted: PollingEndpointIn, uid: str | None) -> PollingEndpoint:
    return msgspec.structs.replace(former, uid=uid, **_settings(wanted))


def _settings(wanted: PollingEndpointIn) -> dict[str, Any]:
    """The fields of a polling endpoint that are as its owner wants, but for its uid."""
    return {
        "status": PollingStatus(wanted.status or PollingStatus.ENABLED),
        "event_types": wanted.event_types or None,
        "channels": wanted.channels or None,
        "metadata": wanted.metadata or {},
        "batch_size": wanted.batch_size or DEFAULT_BATCH,
        "max_wait_s": wanted.max_wait_secs or 0,
    }
