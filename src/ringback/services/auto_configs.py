"""What can be done with auto-config subscriptions? They are made, completed by the customer, given new secrets, and ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Conflict, FieldProblem, Forbidden, InvalidField, NotFound
from ringback.ids import IdMaker
from ringback.model.auto_configs import AutoConfig
from ringback.model.endpoints import Endpoint
from ringback.model.polling import PollingEndpoint
from ringback.policy import validation
from ringback.policy.validation import Flags, Problem, Rule
from ringback.services.applications import find
from ringback.services.connectors import flags_rule
from ringback.services.endpoints import Created, EndpointIn, Endpoints, EndpointSecretRotateIn
from ringback.services.polling import Polling, PollingEndpointIn
from ringback.services.portal import MAX_FLAGS
from ringback.services.tokens import Grant, Principal, Tokens
from ringback.signing.secret import SecretKind, generate_secret
from ringback.store.base import Store, Transaction
from ringback.store.operations import auto_configs, endpoints, polling, tokens
from ringback.store.operations.endpoints import Sealer


class AutoConfigIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new subscription; without feature flags its token holds those of whoever asks."""

    feature_flags: Annotated[Flags, msgspec.Meta(max_length=MAX_FLAGS)] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"feature_flags": flags_rule}


def _rotation(value: EndpointSecretRotateIn) -> Sequence[Problem]:
    return [(("key", *where), text) for where, text in validation.secret(value.key)] if value.key is not None else []


class AutoConfigRotateIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How the secret is to change along with the token; None: a new one is made, and the former one signs for another day."""

    signing_secret: EndpointSecretRotateIn | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"signing_secret": _rotation}


class Offer(msgspec.Struct, frozen=True):
    """A subscription with what its text says: the secret of its endpoint, and a token, which nobody can read again."""

    subscription: AutoConfig
    secret: str
    token: str


class Seen(msgspec.Struct, frozen=True):
    """A subscription, and whether the customer completed it: with an endpoint, or with one that is polled."""

    subscription: AutoConfig
    is_complete: bool
    is_polled: bool = False


# What the caller adds to the transaction of an effect.
Also = Callable[[Transaction, Offer], None]


class AutoConfigs:
    """The subscriptions of every application. `draw(n)` gives n random bytes."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        make_id: IdMaker,
        tokens: Tokens,
        endpoints: Endpoints,
        polling: Polling,
        draw: Callable[[int], bytes],
        secret_kind: SecretKind = "hmac256",
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._tokens = tokens
        self._endpoints = endpoints
        self._polling = polling
        self._draw = draw
        self._secret_kind: SecretKind = secret_kind

    async def create(self, who: Principal, app: str, wanted: AutoConfigIn, *, also: Also | None = None) -> Offer:
        """A new subscription. Raises NotFound, and InvalidField for feature flags that the caller does not hold."""
        flags = _granted(who, wanted.feature_flags)

        def operation(tx: Transaction) -> Offer:
            app_id = find(tx, who, app).id
            now_us = self._clock.now_us()
            identifier, endpoint_id = self._ids.make(ids.AUTO_CONFIG, now_us), self._ids.make(ids.ENDPOINT, now_us)
            subscription = AutoConfig(identifier, app_id, endpoint_id, self._secret(None), now_us, now_us)
            auto_configs.insert(tx, self._vault, subscription)
            return self._offered(tx, who.org_id, subscription, subscription.secret, flags, also)

        return await self._store.write(operation)

    async def get(self, who: Principal, app: str, subscription_id: str) -> Seen:
        """One subscription. Raises NotFound."""

        def query(tx: Transaction) -> Seen:
            subscription = self._find(tx, who, app, subscription_id)
            polled = polling.by_ref(tx, subscription.app_id, subscription.endpoint_id) is not None
            return Seen(subscription, self._endpoint(tx, subscription) is not None, polled)

        return await self._store.read(query)

    async def rotate(
        self, who: Principal, app: str, subscription_id: str, wanted: AutoConfigRotateIn, *, also: Also | None = None
    ) -> Offer:
        """Another token, and another secret; the former token is dead at once, the former secret when its grace is over.

        Raises NotFound, and Refused (`limit_reached`) when ten former secrets still sign.
        """
        change = wanted.signing_secret or EndpointSecretRotateIn()
        secret = self._secret(change.key)
        offers: list[Offer] = []

        def renew(tx: Transaction, endpoint: Endpoint | None) -> None:
            former = self._find(tx, who, app, subscription_id)
            now_us = self._clock.now_us()
            subscription = msgspec.structs.replace(former, secret=secret, updated_at=max(now_us, former.updated_at + 1))
            auto_configs.replace(tx, self._vault, subscription)
            revoked = tokens.revoke_auto_config(tx, subscription.app_id, subscription.id, now_us)
            flags = () if revoked is None else revoked.feature_flags
            # A commit that is tried anew runs this twice: the last offer is the one that holds.
            offers.append(self._offered(tx, who.org_id, subscription, secret, flags, also))

        seen = await self.get(who, app, subscription_id)
        if seen.is_complete:
            rotation = msgspec.structs.replace(change, key=secret)
            await self._endpoints.rotate(who, app, seen.subscription.endpoint_id, rotation, also=renew)
        else:
            await self._store.write(lambda tx: renew(tx, None))
        self._tokens.forget_application(seen.subscription.app_id)
        return offers[-1]

    async def delete(self, who: Principal, app: str, subscription_id: str) -> None:
        """End a subscription; its token is dead at once, its endpoint stays. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> str:
            subscription = self._find(tx, who, app, subscription_id)
            tokens.revoke_auto_config(tx, subscription.app_id, subscription.id, now_us)
            auto_configs.delete(tx, subscription.id)
            return subscription.app_id

        self._tokens.forget_application(await self._store.write(operation))

    async def subscribe(self, who: Principal, app: str, *, subscription_id: str | None, endpoint_id: str, wanted: EndpointIn) -> Created:
        """Complete a subscription, named by its id or by that of its endpoint: make the endpoint, or replace it.

        Raises NotFound, Forbidden (the token of another subscription), Conflict (uid), InvalidField (event types, a secret).
        """
        if wanted.secret is not None:
            message = "the secret is the one in the text of the subscription; leave it out, or rotate the subscription"
            raise InvalidField(FieldProblem(("body", "secret"), message))

        subscription, polled = await self._store.read(lambda tx: self._named(tx, who, app, subscription_id, endpoint_id))
        if polled:
            raise Conflict("This subscription was completed with a polling endpoint; ask for another subscription")
        return await self._endpoints.complete(who, app, subscription.endpoint_id, subscription.secret, wanted)

    async def subscribe_polling(
        self, who: Principal, app: str, *, subscription_id: str | None, endpoint_id: str, wanted: PollingEndpointIn
    ) -> PollingEndpoint:
        """Complete a subscription as `subscribe` does, with an endpoint that is polled: by the same token."""
        subscription, _ = await self._store.read(lambda tx: self._named(tx, who, app, subscription_id, endpoint_id))
        return (await self._polling.complete(who, app, subscription.endpoint_id, wanted)).endpoint

    def _named(self, tx: Transaction, who: Principal, app: str, subscription_id: str | None, endpoint_id: str) -> tuple[AutoConfig, bool]:
        """A subscription by its id or by that of its endpoint, and whether that is polled. Raises NotFound, Forbidden."""
        if subscription_id is not None:
            subscription = self._find(tx, who, app, subscription_id)
        else:
            found = auto_configs.by_endpoint(tx, self._vault, find(tx, who, app).id, endpoint_id)
            if found is None:
                raise NotFound
            subscription = found
        if who.auto_config_id not in (None, subscription.id):
            raise Forbidden("This token completes another auto-config subscription")
        return subscription, polling.by_ref(tx, subscription.app_id, subscription.endpoint_id) is not None

    def _find(self, tx: Transaction, who: Principal, app: str, subscription_id: str) -> AutoConfig:
        subscription = auto_configs.by_id(tx, self._vault, find(tx, who, app).id, subscription_id)
        if subscription is None:
            raise NotFound
        return subscription

    def _endpoint(self, tx: Transaction, subscription: AutoConfig) -> Endpoint | None:
        return endpoints.by_ref(tx, self._vault, subscription.app_id, subscription.endpoint_id)

    def _secret(self, given: str | None) -> str:
        return given or generate_secret(self._secret_kind, self._draw)

    def _offered(
        self, tx: Transaction, org_id: str, subscription: AutoConfig, secret: str, flags: Sequence[str], also: Also | None
    ) -> Offer:
        grant = Grant(subscription.app_id, (), tuple(flags), auto_config_id=subscription.id)
        _, text = self._tokens.grant(tx, org_id, grant, name=f"auto-config {subscription.id}")
        offer = Offer(subscription, secret, text)
        if also is not None:
            also(tx, offer)
        return offer


def _granted(who: Principal, wanted: Sequence[str] | None) -> Sequence[str]:
    """The feature flags of a new token. Raises InvalidField for one that the caller does not hold."""
    held = who.seen_flags
    if not wanted:
        return held or ()
    missing = [flag for flag in wanted if held is not None and flag not in held]
    if missing:
        message = f"this token does not hold {', '.join(map(repr, missing))}; it can hand on only what it holds"
        raise InvalidField(FieldProblem(("body", "featureFlags"), message))
    return wanted
