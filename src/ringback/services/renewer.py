"""Which subscriptions must be renewed now? A step renews one, keeps until when it lives, and tells its owner when that fails.

The provider may have renewed although we never heard: then it is renewed again, which does no harm. A refresh token that the provider
gives in place of the one it was asked with is kept before anything else is done with the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from ringback.clock import SECOND_US, Clock
from ringback.model.sources import Source
from ringback.model.subscriptions import Renewal, Subscription, SubscriptionStanding
from ringback.policy.asking import Unreadable
from ringback.policy.hubs import Hub
from ringback.policy.subscription_rows import renewal_of
from ringback.policy.subscriptions import Asking, asks_topic, end_in, renewal_request, topic_of
from ringback.services.access_tokens import AccessTokens
from ringback.services.hubs import hub_of
from ringback.services.operational import Operational
from ringback.services.provider_api import ProviderApi, ProviderFailure
from ringback.services.provider_steps import Steps
from ringback.services.renewed import Renewed
from ringback.store.base import Store, Transaction
from ringback.store.operations import sources, subscriptions
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.prometheus import Metrics

# Seconds that the requests of one renewal may take together.
_STEP_S: Final = 60.0
# How long a hub may take to confirm what it was asked for, seconds: most do at once, some put it into a queue.
CONFIRM_S: Final = 600
_UNCONFIRMED: Final = (
    f"the hub took the request and did not confirm it within {CONFIRM_S // 60} minutes; look whether it can reach the URL of the source"
)
# Bits of chance in the name of something new.
_UNIQUE_BITS: Final = 128


class Renewer:
    """Renews subscriptions, one a step. Belongs to one event loop. `url_of` gives the URL that a provider calls.

    `asked` is told the id of a source when its hub is asked for another topic than before.
    """

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        api: ProviderApi,
        operational: Operational,
        metrics: Metrics,
        url_of: Callable[[Source], str | None],
        draw: Callable[[int], int],
        asked: Callable[[str], None],
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._api = api
        self._metrics = metrics
        self._url_of = url_of
        self._draw = draw
        self._asked = asked
        self._steps = Steps(store, clock, "subscription")
        self._outcomes = Renewed(store, clock, operational, metrics)
        self._tokens = AccessTokens[Subscription](api, clock, self._keep)

    async def due(self, limit: int) -> tuple[list[str], int | None]:
        """The sources whose renewal is due, and when the next one after those is. Raises StoreFailure."""
        due, next_at, self._metrics.subscriptions_failing = await self._steps.due(limit, subscriptions.failing)
        return due, next_at

    async def step(self, source_id: str) -> None:
        """Renew the subscription of a source that is due, the longest one of several. Raises Unavailable when it could not be kept."""
        await self._tokens.settle(source_id)
        standing, source = await self._known(source_id)
        if standing is None:
            return
        if source is None:
            await self._store.write(lambda tx: subscriptions.delete(tx, source_id))
            return
        renewal, hub = renewal_of(standing.settings.renewal), None
        confirmed = renewal is not None and renewal.confirmed
        asked_at = standing.progress.asked_at
        if confirmed and asked_at is not None and self._clock.now_us() - asked_at >= CONFIRM_S * SECOND_US:
            await self._outcomes.failed(standing, source, ProviderFailure("unconfirmed", _UNCONFIRMED))
            return
        try:
            async with asyncio.timeout(_STEP_S):
                if renewal is not None and renewal.confirmed:
                    if asks_topic(standing.settings, renewal):
                        hub = await hub_of(self._api, topic_of(standing.settings, renewal))
                    marked = await self._marked(standing, renewal, hub)
                    if marked is None:
                        return
                    standing = marked
                expires_at = await self._renewed(standing, renewal, source, hub)
        except TimeoutError:
            await self._outcomes.failed(standing, source, ProviderFailure("unreachable", f"the provider took more than {_STEP_S:g} s"))
        except ProviderFailure as failure:
            await self._outcomes.failed(standing, source, failure)
        else:
            if expires_at is not None:
                await self._outcomes.succeeded(standing, expires_at)

    async def give_up(self, source_id: str, detail: str) -> None:
        """A step ran into a defect of ours: let it rest. Raises Unavailable."""
        standing, source = await self._known(source_id)
        if standing is not None and source is not None:
            await self._outcomes.failed(standing, source, ProviderFailure("internal", detail))

    async def _known(self, source_id: str) -> tuple[SubscriptionStanding | None, Source | None]:
        """The subscription of a source that has been due for the longest, and the source."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> tuple[SubscriptionStanding | None, Source | None]:
            due = [one for one in subscriptions.of_source(tx, self._vault, source_id) if one.next_at is not None and one.next_at <= now_us]
            return min(due, key=lambda one: one.next_at or 0, default=None), sources.by_id(tx, self._vault, source_id)

        return await self._store.read(query)

    async def _marked(self, standing: SubscriptionStanding, renewal: Renewal, hub: Hub | None) -> SubscriptionStanding | None:
        """Remember what is about to be asked for: a hub may confirm it before it answers. None when it was changed meanwhile."""
        now_us, settings = self._clock.now_us(), standing.settings
        progress = replace(
            standing.progress,
            asked_at=now_us,
            hub="" if hub is None else hub.url,
            asked_for=topic_of(settings, renewal) if hub is None else hub.topic,
            asked_until=now_us + settings.period_s * SECOND_US,
        )
        kept = await self._store.write(lambda tx: subscriptions.move(tx, standing, progress, now_us + CONFIRM_S * SECOND_US))
        if kept and progress.asked_for != standing.progress.asked_for:
            # The source's URL answers for that topic from now on.
            self._asked(standing.source_id)
        return replace(standing, progress=progress) if kept else None

    async def _renewed(self, standing: SubscriptionStanding, renewal: Renewal | None, source: Source, hub: Hub | None) -> int | None:
        """Renew it at the provider: until when it lives now, None where that is confirmed later. Raises ProviderFailure."""
        if renewal is None:
            raise ProviderFailure("settings", "there is no such renewal any more; choose another one")
        try:
            return await self._answered(standing, renewal, source, hub)
        except Unreadable as error:
            raise ProviderFailure("unreadable", str(error)) from None

    async def _answered(self, standing: SubscriptionStanding, renewal: Renewal, source: Source, hub: Hub | None) -> int | None:
        settings, token = await self._tokens.token(standing.source_id, standing.settings, renewal)
        # By the next renewal it has ended.
        self._tokens.forget(standing.source_id)
        now_us = self._clock.now_us()
        until = now_us + settings.period_s * SECOND_US
        asking = Asking(until, self._url_of(source) or "", f"{self._draw(_UNIQUE_BITS):032x}", hub)
        sent = renewal_request(settings, renewal, asking, token)
        answered = await self._api.ask(sent)
        return None if renewal.confirmed else end_in(renewal, answered.body, until, now_us)

    async def _keep(self, source_id: str, settings: Subscription, credential: str) -> None:
        await self._store.write(lambda tx: subscriptions.give_credential(tx, self._vault, source_id, settings, credential))
