"""What can be done with integrations? They are made, read, listed, changed and deleted, and each gets a key when it asks for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Forbidden, NotFound
from ringback.ids import IdMaker
from ringback.model.integrations import Integration
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Names, Rule
from ringback.services.applications import find
from ringback.services.tokens import Grant, Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import integrations, tokens

# The contract's bound on the feature flags of one integration (3.10).
MAX_FLAGS: Final = 25

# What the caller adds to the transaction of an effect.
Also = Callable[[Transaction, Integration], None]


class IntegrationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole integration, as it should be."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    feature_flags: Annotated[Names, msgspec.Meta(max_length=MAX_FLAGS)] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"name": validation.text, "feature_flags": validation.names}


def manager(who: Principal) -> Principal:
    """The caller, who may manage integrations. Raises Forbidden for the key of one: it could give itself more than it was given."""
    if who.integration_id is not None:
        raise Forbidden("The key of an integration may not manage integrations; use an org token, or one of the application")
    return who


class Integrations:
    """The integrations of every application; each verb sees those that its caller may reach."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker, tokens: Tokens) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._tokens = tokens

    async def create(self, who: Principal, app: str, wanted: IntegrationIn, *, also: Also | None = None) -> Integration:
        """Make an integration, without a key. Raises NotFound (application), Forbidden."""
        manager(who)

        def operation(tx: Transaction) -> Integration:
            app_id = find(tx, who, app).id
            now_us = self._clock.now_us()
            flags = wanted.feature_flags or ()
            integration = Integration(self._ids.make(ids.INTEGRATION, now_us), app_id, wanted.name, flags, now_us, now_us)
            integrations.insert(tx, integration)
            if also is not None:
                also(tx, integration)
            return integration

        return await self._store.write(operation)

    async def get(self, who: Principal, app: str, integration_id: str) -> Integration:
        """One integration. Raises NotFound."""
        return await self._store.read(lambda tx: _find(tx, who, app, integration_id))

    async def page(self, who: Principal, app: str, walk: Walk) -> Page[Integration]:
        """One page of an application's integrations. Raises NotFound."""
        return cut(await self._store.read(lambda tx: integrations.page(tx, find(tx, who, app).id, walk)), walk)

    async def update(self, who: Principal, app: str, integration_id: str, wanted: IntegrationIn) -> Integration:
        """Replace an integration; its key sees the new feature flags at once. Raises NotFound, Forbidden."""
        manager(who)

        def operation(tx: Transaction) -> Integration:
            former = _find(tx, who, app, integration_id)
            changed = msgspec.structs.replace(former, name=wanted.name, feature_flags=wanted.feature_flags or ())
            if changed == former:
                return former
            integration = msgspec.structs.replace(changed, updated_at=max(self._clock.now_us(), former.updated_at + 1))
            integrations.replace(tx, integration)
            tokens.set_integration_flags(tx, integration.app_id, integration.id, integration.feature_flags)
            return integration

        integration = await self._store.write(operation)
        self._tokens.forget_application(integration.app_id)
        return integration

    async def delete(self, who: Principal, app: str, integration_id: str) -> None:
        """Delete an integration; its key is dead at once. Raises NotFound, Forbidden."""
        manager(who)
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> Integration:
            integration = _find(tx, who, app, integration_id)
            tokens.revoke_integration(tx, integration.app_id, integration.id, now_us)
            integrations.delete(tx, integration.id)
            return integration

        self._tokens.forget_application((await self._store.write(operation)).app_id)

    async def rotate_key(
        self, who: Principal, app: str, integration_id: str, *, also: Callable[[Transaction, str], None] | None = None
    ) -> str:
        """The first key of an integration, or another one in its place: its text, this once. Raises NotFound, Forbidden."""
        manager(who)
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> tuple[str, str]:
            integration = _find(tx, who, app, integration_id)
            tokens.revoke_integration(tx, integration.app_id, integration.id, now_us)
            grant = Grant(integration.app_id, feature_flags=integration.feature_flags, integration_id=integration.id)
            _, text = self._tokens.grant(tx, who.org_id, grant, name=f"integration {integration.id}")
            if also is not None:
                also(tx, text)
            return integration.app_id, text

        app_id, text = await self._store.write(operation)
        self._tokens.forget_application(app_id)
        return text


def _find(tx: Transaction, who: Principal, app: str, integration_id: str) -> Integration:
    integration = integrations.by_id(tx, find(tx, who, app).id, integration_id)
    if integration is None:
        raise NotFound
    return integration
