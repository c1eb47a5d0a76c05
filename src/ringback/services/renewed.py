"""What came of a renewal? It is kept, counted and logged, and the owner of the source is told of what fails."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ringback.clock import SECOND_US, Clock, rfc3339
from ringback.model import operational as news
from ringback.model.sources import Source
from ringback.model.subscriptions import Progress, SubscriptionStanding
from ringback.policy.subscriptions import MAX_PERIOD_S, renew_at, try_again_at
from ringback.services.operational import Operational
from ringback.services.provider_api import ProviderFailure
from ringback.signing.handshake import Confirmation
from ringback.store.base import Store, Transaction
from ringback.store.operations import subscriptions
from ringback.telemetry.events import SUBSCRIPTION_ENDED, SUBSCRIPTION_FAILED, SUBSCRIPTION_RENEWED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Failures in a row until an owner is told: a short outage is no news. What needs a person is told at once.
_TOLD_AFTER: Final = 3
_NEEDS_SOMEBODY: Final = ("credential", "refused", "redirected", "blocked", "settings", "unreadable", "denied", "no_hub")


class Renewed:
    """Keeps what became of subscriptions. Whatever was changed by somebody else meanwhile stays as it is."""

    def __init__(self, store: Store, clock: Clock, operational: Operational, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._operational = operational
        self._metrics = metrics

    async def succeeded(self, standing: SubscriptionStanding, expires_at: int) -> None:
        """It lives until then. Raises StoreFailure."""
        now_us, former = self._clock.now_us(), standing.progress
        progress = Progress(expires_at=expires_at, renewed_at=now_us, renewals=former.renewals + 1)
        kept = await self._store.write(lambda tx: subscriptions.move(tx, standing, progress, renew_at(now_us, expires_at)))
        if kept:
            self._told_renewed(standing.source_id, expires_at)

    async def confirmed(self, source: Source, said: Confirmation) -> None:
        """A hub says what became of a request of ours; what nobody asked for changes nothing. Raises StoreFailure."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> list[tuple[SubscriptionStanding, int]]:
            found = []
            # Two topics may lead to the same one: then both were asked for.
            for standing in subscriptions.unsealed(tx, source.id):
                if standing.next_at is None or standing.progress.asked_for != said.topic:
                    continue
                if said.denied is not None:
                    found.append((standing, 0))
                    continue
                former = standing.progress
                if former.asked_until <= now_us:
                    continue
                until = former.asked_until if said.lease_s is None else now_us + min(said.lease_s, MAX_PERIOD_S) * SECOND_US
                known = Progress(hub=former.hub, asked_for=said.topic)
                progress = replace(known, expires_at=until, renewed_at=now_us, renewals=former.renewals + 1)
                subscriptions.move(tx, standing, progress, renew_at(now_us, until))
                found.append((standing, until))
            return found

        for standing, expires_at in await self._store.write(operation):
            if said.denied is None:
                self._told_renewed(source.id, expires_at)
            else:
                text = f"the hub denied the subscription: {said.denied or 'it gave no reason'}"
                await self.failed(standing, source, ProviderFailure("denied", text))

    async def failed(self, standing: SubscriptionStanding, source: Source, failure: ProviderFailure) -> None:
        """It was not renewed; it is tried again. Raises StoreFailure."""
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
            asked_at=None,
        )
        next_at = try_again_at(now_us, failures, failure.retry_after_s, former.expires_at)
        if not ended and former.expires_at:
            # Its end is noticed when it comes.
            next_at = min(next_at, max(former.expires_at, now_us + SECOND_US))

        def operation(tx: Transaction) -> bool:
            if not subscriptions.move(tx, standing, progress, next_at):
                return False
            if ended and not former.told_ended:
                self._operational.tell(tx, source.org_id, news.SUBSCRIPTION_ENDED, _news(source, standing.topic, progress))
            elif is_news:
                self._operational.tell(tx, source.org_id, news.SUBSCRIPTION_FAILING, _news(source, standing.topic, progress))
            return True

        if not await self._store.write(operation):
            return
        self._count("failed")
        if ended and not former.told_ended:
            log(SUBSCRIPTION_ENDED, source_id=source.id, expired_at=rfc3339(former.expires_at))
        if not former.failures:
            log(SUBSCRIPTION_FAILED, source_id=source.id, cause=failure.cause, detail=str(failure))

    def _told_renewed(self, source_id: str, expires_at: int) -> None:
        self._count("renewed")
        log(SUBSCRIPTION_RENEWED, source_id=source_id, expires_at=rfc3339(expires_at))

    def _count(self, outcome: str) -> None:
        renewals = self._metrics.subscription_renewals
        self._metrics.subscription_renewals = {**renewals, outcome: renewals[outcome] + 1}


def _news(source: Source, topic: str, progress: Progress) -> news.SubscriptionNews:
    return news.SubscriptionNews(
        app_id=None if source.ingest else source.app_id,
        source_id=source.id,
        source_uid=source.uid,
        topic=topic or None,
        cause=progress.cause,
        detail=progress.detail,
        expires_at=rfc3339(progress.expires_at) if progress.expires_at else None,
    )
