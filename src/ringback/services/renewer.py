"""Which subscriptions must be renewed now? A step renews one, keeps until when it lives, and tells its owner when that fails.

The provider may have renewed although we never heard: then it is renewed again, which does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from ringback.clock import SECOND_US, Clock, rfc3339
from ringback.model import operational as news
from ringback.model.sources import Source
from ringback.model.subscriptions import Progress, Renewal, Subscription, SubscriptionStanding
from ringback.policy.reconciliation import Unreadable
from ringback.policy.subscription_rows import renewal_of
from ringback.policy.subscriptions import (
    Asking,
    end_in,
    renew_at,
    renewal_request,
    token_in,
    token_request,
    try_again_at,
)
from ringback.services.operational import Operational
from ringback.services.provider_api import ProviderApi, ProviderFailure
from ringback.services.provider_steps import Steps
from ringback.store.base import Store, Transaction
from ringback.store.operations import sources, subscriptions
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.events import SUBSCRIPTION_ENDED, SUBSCRIPTION_FAILED, SUBSCRIPTION_RENEWED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Seconds that the requests of one renewal may take together.
_STEP_S: Final = 60.0
# Failures in a row until an owner is told: a short outage is no news. What needs a person is told at once.
_TOLD_AFTER: Final = 3
_NEEDS_SOMEBODY: Final = ("credential", "refused", "redirected", "blocked", "settings", "unreadable")
# Bits of chance in the name of something new.
_UNIQUE_BITS: Final = 128


class Renewer:
    """Renews subscriptions, one a step. Belongs to one event loop. `url_of` gives the URL that a provider calls."""

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
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._api = api
        self._operational = operational
        self._metrics = metrics
        self._url_of = url_of
        self._draw = draw
        self._steps = Steps(store, clock, "subscription")

    async def due(self, limit: int) -> tuple[list[str], int | None]:
        """The sources whose renewal is due, and when the next one after those is. Raises StoreFailure."""
        due, next_at, self._metrics.subscriptions_failing = await self._steps.due(limit, subscriptions.failing)
        return due, next_at

    async def step(self, source_id: str) -> None:
        """Renew a source's subscription, if that is due. Raises Unavailable when it could not be kept."""
        standing, source = await self._known(source_id)
        if standing is None or standing.next_at is None or standing.next_at > self._clock.now_us():
            return
        if source is None:
            await self._store.write(lambda tx: subscriptions.delete(tx, source_id))
            return
        try:
            async with asyncio.timeout(_STEP_S):
                expires_at = await self._renewed(standing.settings, source)
        except TimeoutError:
            await self._failed(standing, source, ProviderFailure("unreachable", f"the provider took more than {_STEP_S:g} s"))
        except ProviderFailure as failure:
            await self._failed(standing, source, failure)
        else:
            await self._succeeded(standing, expires_at)

    async def give_up(self, source_id: str, detail: str) -> None:
        """A step ran into a defect of ours: let it rest. Raises Unavailable."""
        standing, source = await self._known(source_id)
        if standing is not None and source is not None:
            await self._failed(standing, source, ProviderFailure("internal", detail))

    async def _known(self, source_id: str) -> tuple[SubscriptionStanding | None, Source | None]:
        return await self._store.read(lambda tx: (subscriptions.get(tx, self._vault, source_id), sources.by_id(tx, self._vault, source_id)))

    async def _renewed(self, settings: Subscription, source: Source) -> int:
        """Renew it at the provider: until when it lives now. Raises ProviderFailure."""
        renewal = renewal_of(settings.renewal)
        if renewal is None:
            raise ProviderFailure("settings", "there is no such renewal any more; choose another one")
        try:
            return await self._asked(settings, renewal, source)
        except Unreadable as error:
            raise ProviderFailure("unreadable", str(error)) from None

    async def _asked(self, settings: Subscription, renewal: Renewal, source: Source) -> int:
        token = ""
        if renewal.token_url:
            asked = token_request(settings, renewal)
            token = token_in((await self._api.send(asked.place, asked.head, asked.body)).body)
        now_us = self._clock.now_us()
        until = now_us + settings.period_s * SECOND_US
        asking = Asking(until, self._url_of(source) or "", f"{self._draw(_UNIQUE_BITS):032x}")
        sent = renewal_request(settings, renewal, asking, token)
        answered = await self._api.send(sent.place, sent.head, sent.body)
        return end_in(renewal, answered.body, until, now_us)

    async def _succeeded(self, standing: SubscriptionStanding, expires_at: int) -> None:
        now_us, former = self._clock.now_us(), standing.progress
        progress = Progress(expires_at=expires_at, renewed_at=now_us, renewals=former.renewals + 1)
        await self._store.write(lambda tx: subscriptions.move(tx, standing, progress, renew_at(now_us, expires_at)))
        self._count("renewed")
        log(SUBSCRIPTION_RENEWED, source_id=standing.source_id, expires_at=rfc3339(expires_at))

    async def _failed(self, standing: SubscriptionStanding, source: Source, failure: ProviderFailure) -> None:
        now_us, former = self._clock.now_us(), standing.progress
        failures = former.failures + 1
        is_news = not former.told_failing and (failures >= _TOLD_AFTER or failure.cause in _NEEDS_SOMEBODY)
        ended = 0 < former.expires_at <= now_us
        progress = replace(
            former,
            failures=failures,
            cause=failure.cause,
            detail=str(failure),
            failed_at=now_us,
            told_failing=former.told_failing or is_news,
            told_ended=former.told_ended or ended,
        )
        next_at = try_again_at(now_us, failures, failure.retry_after_s, former.expires_at)
        if not ended and former.expires_at:
            # Its end is noticed when it comes.
            next_at = min(next_at, max(former.expires_at, now_us + SECOND_US))

        def operation(tx: Transaction) -> None:
            if not subscriptions.move(tx, standing, progress, next_at):
                return
            if ended and not former.told_ended:
                self._operational.tell(tx, source.org_id, news.SUBSCRIPTION_ENDED, _news(source, progress))
            elif is_news:
                self._operational.tell(tx, source.org_id, news.SUBSCRIPTION_FAILING, _news(source, progress))

        await self._store.write(operation)
        self._count("failed")
        if ended and not former.told_ended:
            log(SUBSCRIPTION_ENDED, source_id=source.id, expired_at=rfc3339(former.expires_at))
        if not former.failures:
            log(SUBSCRIPTION_FAILED, source_id=source.id, cause=failure.cause, detail=str(failure))

    def _count(self, outcome: str) -> None:
        renewals = self._metrics.subscription_renewals
        self._metrics.subscription_renewals = {**renewals, outcome: renewals[outcome] + 1}


def _news(source: Source, progress: Progress) -> news.SubscriptionNews:
    return news.SubscriptionNews(
        app_id=None if source.ingest else source.app_id,
        source_id=source.id,
        source_uid=source.uid,
        cause=progress.cause,
        detail=progress.detail,
        expires_at=rfc3339(progress.expires_at) if progress.expires_at else None,
    )
