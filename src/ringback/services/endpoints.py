"""What can be done with endpoints? They are made, read, listed, changed and deleted; their secrets rotate and their headers are edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.errors import Conflict, FieldProblem, InvalidField, NotFound, Refused
from ringback.ids import IdMaker
from ringback.model.endpoints import DisableCause, DisabledBy, Disabling, Endpoint, EndpointSecret
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.urls import normalise_url
from ringback.policy.validation import Channels, Name, Names, Rate, RatePatch, Rule, Secret, Url
from ringback.services import applications
from ringback.services.applications import Directory
from ringback.services.event_types import check_live
from ringback.services.tokens import Principal
from ringback.signing.secret import SecretKind, generate_secret
from ringback.store.base import Store, Transaction
from ringback.store.operations import endpoints
from ringback.store.operations.endpoints import Sealer

T = TypeVar("T")

UID: Rule = validation.uid(ids.ENDPOINT)
# Each unexpired old secret adds a signature to every delivery (contract, 3.2): more is a rotation that runs wild.
MAX_OLD_SECRETS = 10
# The contract's grace of a rotation, seconds: a day, and a week at most.
DEFAULT_GRACE_S = 86_400
MAX_GRACE_S = 604_800
# A version fits the 16 bits that older clients keep it in.
_MAX_VERSION = 65_535

_Grace = Annotated[int, msgspec.Meta(ge=0, le=MAX_GRACE_S)]
_Version = Annotated[int, msgspec.Meta(ge=1, le=_MAX_VERSION)]


class EndpointUpsertIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole endpoint, as it should be, less what a replacement never touches."""

    url: Url
    description: str = ""
    uid: Name | None = None
    disabled: bool = False
    event_types: Names | None = None
    channels: Channels | None = None
    metadata: dict[str, str] | None = None
    throttle_rate: Rate | None = None
    version: _Version | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "url": validation.url,
        "description": validation.text,
        "uid": UID,
        "event_types": validation.names,
        "channels": validation.channels,
        "metadata": validation.metadata,
    }


class EndpointIn(EndpointUpsertIn, frozen=True, kw_only=True, rename="camel"):
    """A new endpoint: with its secret (None: make one) and its headers."""

    secret: Secret | None = None
    headers: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {**EndpointUpsertIn.RULES, "secret": validation.secret, "headers": validation.headers}


class EndpointPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of an endpoint: what is unset stays, None removes, and so does a `throttle_rate` of 0."""

    url: Url | UnsetType = UNSET
    description: str | UnsetType = UNSET
    uid: Name | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET
    event_types: Names | UnsetType | None = UNSET
    channels: Channels | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    throttle_rate: RatePatch | UnsetType | None = UNSET
    version: _Version | UnsetType = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = EndpointUpsertIn.RULES


class EndpointSecretRotateIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The next secret (None: make one), and how many seconds the former one signs on."""

    key: Secret | None = None
    grace_period_seconds: _Grace | None = DEFAULT_GRACE_S

    RULES: ClassVar[Mapping[str, Rule]] = {"key": validation.secret}


class EndpointHeadersIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All headers that are added to deliveries."""

    headers: dict[str, str]

    RULES: ClassVar[Mapping[str, Rule]] = {"headers": validation.headers}


class EndpointHeadersPatchIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Headers to set, and to remove (None, or named in `delete_headers`, which wins)."""

    headers: dict[str, str | None]
    delete_headers: tuple[str, ...] = ()

    RULES: ClassVar[Mapping[str, Rule]] = {"headers": validation.headers}


# Hears of each change in its transaction: what an endpoint was (None: it is new) and what it is now (None: it was deleted).
Told = Callable[[Transaction, Endpoint | None, Endpoint | None], None]


class Created(msgspec.Struct, frozen=True):
    """An endpoint, and whether it was made just now."""

    endpoint: Endpoint
    new: bool


def find(tx: Transaction, vault: Sealer, who: Principal, app_ref: str, ref: str) -> Endpoint:
    """The endpoint of that id or uid in an application this caller may reach. Raises NotFound."""
    application = applications.find(tx, who, app_ref)
    endpoint = endpoints.by_ref(tx, vault, application.id, ref)
    if endpoint is None:
        raise NotFound
    return endpoint


class Endpoints:
    """The endpoints of every application; each verb sees those of its caller alone.

    `draw(n)` gives n random bytes; `https_only` refuses other URLs; `told` hears of each change; without `checks_types`
    the caller has seen to it that event types are what they should be.
    """

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        make_id: IdMaker,
        directory: Directory,
        draw: Callable[[int], bytes],
        *,
        secret_kind: SecretKind = "hmac256",
        https_only: bool = False,
        told: Told = lambda tx, former, now: None,
        checks_types: bool = True,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._directory = directory
        self._draw = draw
        self._secret_kind: SecretKind = secret_kind
        self._https_only = https_only
        self._told = told
        self._checks_types = checks_types

    async def create(
        self, who: Principal, app_ref: str, wanted: EndpointIn, *, also: Callable[[Transaction, Created], None] | None = None
    ) -> Created:
        """Make an endpoint. Raises NotFound (application), Conflict (uid), InvalidField (event types)."""

        def operation(tx: Transaction) -> Created:
            application = applications.find(tx, who, app_ref)
            created = Created(self._insert(tx, who, application.id, wanted, wanted.uid), True)
            if also is not None:
                also(tx, created)
            return created

        created = await self._store.write(operation)
        self._directory.changed(created.endpoint.app_id)
        return created

    async def get(self, who: Principal, app_ref: str, ref: str) -> Endpoint:
        """The endpoint of that id or uid. Raises NotFound."""
        return await self._store.read(lambda tx: find(tx, self._vault, who, app_ref, ref))

    async def page(self, who: Principal, app_ref: str, walk: Walk) -> Page[Endpoint]:
        """One page of an application's endpoints. Raises NotFound."""

        def query(tx: Transaction) -> list[Endpoint]:
            return endpoints.page(tx, self._vault, applications.find(tx, who, app_ref).id, walk)

        return cut(await self._store.read(query), walk)

    async def upsert(self, who: Principal, app_ref: str, ref: str, wanted: EndpointUpsertIn) -> Created:
        """Replace an endpoint, but for its secrets and headers, or make it. Raises NotFound (application), Conflict, InvalidField."""

        def operation(tx: Transaction) -> Created:
            application = applications.find(tx, who, app_ref)
            former = endpoints.by_ref(tx, self._vault, application.id, ref)
            if former is None:
                uid = validation.uid_in_path(ref, UID, ids.ENDPOINT, "endpoint_id") if wanted.uid is None else wanted.uid
                new = EndpointIn(**msgspec.structs.asdict(wanted))
                return Created(self._insert(tx, who, application.id, new, uid), True)
            changes = msgspec.structs.asdict(wanted)
            # Addressed by its uid it keeps it, or repeating the request would make another one.
            changes["uid"] = ref if wanted.uid is None and ref == former.uid else wanted.uid
            changes["metadata"] = wanted.metadata or {}
            changes["version"] = wanted.version or 1
            return Created(self._replace(tx, who, former, changes), False)

        created = await self._store.write(operation)
        self._directory.changed(created.endpoint.app_id)
        return created

    async def patch(self, who: Principal, app_ref: str, ref: str, change: EndpointPatch) -> Endpoint:
        """Change some fields. Raises NotFound, Conflict (uid), InvalidField (event types)."""
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
        if changes.get("throttle_rate") == 0:
            changes["throttle_rate"] = None
        return await self._changed(who, app_ref, ref, lambda tx, former: self._replace(tx, who, former, changes))

    async def complete(self, who: Principal, app_ref: str, endpoint_id: str, secret: str, wanted: EndpointIn) -> Created:
        """Make the endpoint of an id that was given before, with that secret, or replace it as a whole, but for its secrets.

        Raises NotFound, also when it was deleted, Conflict (uid), InvalidField (event types).
        """

        def operation(tx: Transaction) -> Created:
            application = applications.find(tx, who, app_ref)
            former = endpoints.by_ref(tx, self._vault, application.id, endpoint_id)
            if former is not None:
                changes = msgspec.structs.asdict(wanted)
                del changes["secret"]
                changes["metadata"], changes["version"] = wanted.metadata or {}, wanted.version or 1
                changes["headers"] = former.headers if wanted.headers is None else wanted.headers
                return Created(self._replace(tx, who, former, changes), False)
            if endpoints.by_ids(tx, self._vault, [endpoint_id]):
                raise NotFound("The endpoint of this subscription was deleted; ask for another subscription")
            new = msgspec.structs.replace(wanted, secret=secret)
            return Created(self._insert(tx, who, application.id, new, wanted.uid, endpoint_id), True)

        created = await self._store.write(operation)
        self._directory.changed(created.endpoint.app_id)
        return created

    async def delete(self, who: Principal, app_ref: str, ref: str) -> None:
        """Delete an endpoint, for every reader and for delivery at once. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction, endpoint: Endpoint) -> Endpoint:
            endpoints.delete(tx, endpoint.id, now_us)
            self._told(tx, endpoint, None)
            return endpoint

        await self._changed(who, app_ref, ref, operation)

    async def rotate(
        self,
        who: Principal,
        app_ref: str,
        ref: str,
        wanted: EndpointSecretRotateIn,
        *,
        also: Callable[[Transaction, Endpoint], None] | None = None,
    ) -> Endpoint:
        """Sign with another secret from now on, and with the former one too until its grace is over.

        Raises NotFound, and Refused (`limit_reached`) when ten former secrets still sign.
        """
        text = wanted.key or generate_secret(self._secret_kind, self._draw)
        grace_s = DEFAULT_GRACE_S if wanted.grace_period_seconds is None else wanted.grace_period_seconds

        def operation(tx: Transaction, former: Endpoint) -> Endpoint:
            secrets = rotated(former.secrets, text, grace_s * SECOND_US, self._clock.now_us())
            endpoint = self._stored(tx, former, msgspec.structs.replace(former, secrets=secrets))
            if also is not None:
                also(tx, endpoint)
            return endpoint

        return await self._changed(who, app_ref, ref, operation)

    async def set_headers(self, who: Principal, app_ref: str, ref: str, headers: Mapping[str, str]) -> Endpoint:
        """Replace all added headers. Raises NotFound."""

        def operation(tx: Transaction, former: Endpoint) -> Endpoint:
            return self._stored(tx, former, msgspec.structs.replace(former, headers=dict(headers)))

        return await self._changed(who, app_ref, ref, operation)

    async def patch_headers(self, who: Principal, app_ref: str, ref: str, change: EndpointHeadersPatchIn) -> Endpoint:
        """Set and remove some added headers. Raises NotFound, and InvalidField when that makes too many."""

        def operation(tx: Transaction, former: Endpoint) -> Endpoint:
            headers = with_headers(former.headers, change.headers, change.delete_headers)
            problems = validation.headers(headers)
            if problems:
                raise InvalidField(*(FieldProblem(("body", "headers", *where), message) for where, message in problems))
            return self._stored(tx, former, msgspec.structs.replace(former, headers=headers))

        return await self._changed(who, app_ref, ref, operation)

    async def _changed(self, who: Principal, app_ref: str, ref: str, change: Callable[[Transaction, Endpoint], Endpoint]) -> Endpoint:
        endpoint = await self._store.write(lambda tx: change(tx, find(tx, self._vault, who, app_ref, ref)))
        self._directory.changed(endpoint.app_id)
        return endpoint

    def _insert(
        self, tx: Transaction, who: Principal, app_id: str, wanted: EndpointIn, uid: str | None, given_id: str | None = None
    ) -> Endpoint:
        self._check_uid(tx, app_id, uid, None)
        self._check_event_types(tx, who, wanted.event_types or ())
        # The id is made inside the transaction: ids must be in the order of commits, which cursors rely on.
        now_us = self._clock.now_us()
        endpoint = Endpoint(
            id=given_id or self._ids.make(ids.ENDPOINT, now_us),
            app_id=app_id,
            url=checked_url(wanted.url, self._https_only),
            description=wanted.description,
            uid=uid,
            disabled=wanted.disabled,
            event_types=wanted.event_types,
            channels=wanted.channels,
            metadata=wanted.metadata or {},
            throttle_rate=wanted.throttle_rate,
            version=wanted.version or 1,
            headers=wanted.headers or {},
            secrets=(EndpointSecret(wanted.secret or generate_secret(self._secret_kind, self._draw)),),
            created_at=now_us,
            updated_at=now_us,
            disabling=_by_hand(wanted.disabled, now_us),
        )
        endpoints.insert(tx, self._vault, endpoint)
        self._told(tx, None, endpoint)
        return endpoint

    def _replace(self, tx: Transaction, who: Principal, former: Endpoint, changes: dict[str, object]) -> Endpoint:
        wanted = msgspec.structs.replace(former, **changes)
        if wanted.url != former.url:
            wanted = msgspec.structs.replace(wanted, url=checked_url(wanted.url, self._https_only))
        self._check_uid(tx, former.app_id, wanted.uid, former.id)
        # A type that was archived since it was chosen may stay chosen.
        kept = former.event_types or ()
        self._check_event_types(tx, who, [name for name in wanted.event_types or () if name not in kept])
        return self._stored(tx, former, wanted)

    def _stored(self, tx: Transaction, former: Endpoint, wanted: Endpoint) -> Endpoint:
        endpoint = former
        if wanted != former:
            now_us = self._clock.now_us()
            endpoint = msgspec.structs.replace(wanted, updated_at=max(now_us, former.updated_at + 1))
            if endpoint.disabled != former.disabled:
                endpoint = msgspec.structs.replace(endpoint, disabling=_by_hand(endpoint.disabled, now_us))
            endpoints.replace(tx, self._vault, endpoint)
        self._told(tx, former, endpoint)
        return endpoint

    def _check_uid(self, tx: Transaction, app_id: str, uid: str | None, own_id: str | None) -> None:
        if uid is not None and endpoints.id_of_uid(tx, app_id, uid) not in (None, own_id):
            raise Conflict(f"An endpoint with the uid {uid!r} exists already; choose another uid, or update that one")

    def _check_event_types(self, tx: Transaction, who: Principal, names: Sequence[str]) -> None:
        if self._checks_types:
            check_live(tx, who, names)


def _by_hand(disabled: bool, now_us: int) -> Disabling | None:
    """Why an endpoint is disabled that somebody has just disabled, or enabled."""
    return Disabling(now_us, DisabledBy.MANUAL, DisableCause.MANUAL) if disabled else None


def checked_url(text: str, https_only: bool, where: tuple[str, ...] = ("url",)) -> str:
    """A URL that follows the rule for them, as it is kept. Raises InvalidField, about that place of the body."""
    url = normalise_url(text)
    if https_only and not url.startswith("https:"):
        message = "the URL must start with https:// on this server (setting endpoint_https_only)"
        raise InvalidField(FieldProblem(("body", *where), message))
    return url


def rotated(secrets: tuple[EndpointSecret, ...], text: str, grace_us: int, now_us: int) -> tuple[EndpointSecret, ...]:
    """The secrets after a rotation to `text`, current one first. Raises Refused when too many old ones still sign."""
    current, *old = secrets
    kept = [secret for secret in old if secret.expires_at is not None and secret.expires_at > now_us and secret.text != text]
    if grace_us > 0 and current.text != text:
        if len(kept) >= MAX_OLD_SECRETS:
            raise Refused(
                "limit_reached", f"{len(kept)} former secrets still sign; wait until one expires, or rotate with gracePeriodSeconds 0"
            )
        kept.insert(0, EndpointSecret(current.text, now_us + grace_us))
    return (EndpointSecret(text), *kept)


def with_headers(former: Mapping[str, str], wanted: Mapping[str, str | None], deleted: Sequence[str]) -> dict[str, str]:
    """The headers after a change; names are the same whatever their case, and what is both set and deleted is gone."""
    changed = {name.lower() for name in (*wanted, *deleted)}
    gone = {name.lower() for name in deleted}
    headers = {name: value for name, value in former.items() if name.lower() not in changed}
    headers.update((name, value) for name, value in wanted.items() if value is not None and name.lower() not in gone)
    return headers
