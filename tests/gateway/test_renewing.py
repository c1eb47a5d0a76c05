"""Which subscription is renewed when, whatever the clock does and whatever becomes of it while its provider is asked?"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ringback.clock import SECOND_US, SystemClock
from ringback.delivery.pool import HttpTransport
from ringback.model.sources import Source
from ringback.model.subscriptions import SubscriptionStanding
from ringback.policy.addresses import AddressPolicy, parse_networks
from ringback.services.operational import Operational
from ringback.services.provider_api import ProviderApi as Asking
from ringback.services.renewer import Renewer
from ringback.services.subscriptions import SubscriptionIn, Subscriptions
from tests.acceptance.provider_api import CREDENTIAL, Asked, ProviderApi, Said
from tests.gateway.conftest import WHO, Running

DAY_S = 86_400


class Renewed:
    """A source with a subscription, the API of its provider, and what renews it, a step at a time and with a clock that a test sets."""

    def __init__(self, running: Running, answer: Callable[[Asked], Said]) -> None:
        self.running, self.api = running, ProviderApi(answer)
        running.run(self._made())
        self.source: Source = running.made()

    async def _made(self) -> None:
        running = self.running
        self.transport = HttpTransport(policy=AddressPolicy(parse_networks("127.0.0.0/8")), clock=SystemClock())
        self.all = Subscriptions(running.store, running.vault, running.clock, running.sources)
        self.renewer = Renewer(
            running.store,
            running.vault,
            running.clock,
            Asking(self.transport, running.clock),
            Operational(running.clock, running.make_id, running.metrics),
            running.metrics,
            lambda source: None,
            secrets.randbits,
        )

    @property
    def wanted(self) -> SubscriptionIn:
        return SubscriptionIn(
            renewal="airtable", credential=CREDENTIAL, base_url=self.api.url, parameters={"base": "app1", "webhook": "ach1"}
        )

    async def put(self) -> SubscriptionStanding:
        return (await self.all.put(WHO, self.running.app_id, self.source.id, self.wanted))[0]

    @property
    def standing(self) -> SubscriptionStanding:
        standing: SubscriptionStanding = self.running.run(self.all.get(WHO, self.running.app_id, self.source.id))
        return standing

    def due(self) -> list[str]:
        found: list[str] = self.running.run(self.renewer.due(8))[0]
        return found

    def close(self) -> None:
        self.running.run(self.transport.close())
        self.api.close()


Renew = Callable[[Callable[[Asked], Said]], Renewed]


@pytest.fixture
def renew(running: Running) -> Iterator[Renew]:
    made: list[Renewed] = []

    def start(answer: Callable[[Asked], Said]) -> Renewed:
        made.append(Renewed(running, answer))
        return made[-1]

    yield start
    for renewed in made:
        renewed.close()


def lives_until(at_us: int) -> Said:
    """Airtable's answer: the webhook lives until then."""
    return Said({"expirationTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_us / SECOND_US))})


def test_an_answer_that_was_on_its_way_when_all_was_deleted_and_made_anew_moves_nothing(renew: Renew) -> None:
    asked_first, go_on = threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        asked_first.set()
        go_on.wait(20)
        return lives_until(renewed.running.clock.at_us + 7 * DAY_S * SECOND_US)

    renewed = renew(slow)
    running = renewed.running
    running.run(renewed.put())

    async def meanwhile() -> None:
        step = asyncio.create_task(renewed.renewer.step(renewed.source.id))
        await asyncio.to_thread(asked_first.wait, 20)
        await renewed.all.delete(WHO, running.app_id, renewed.source.id)
        running.clock.at_us += 1
        await renewed.put()
        go_on.set()
        await step

    running.run(meanwhile())
    assert asked_first.is_set()
    assert (renewed.standing.progress.renewals, renewed.standing.progress.expires_at) == (0, 0)
    assert renewed.due() == [renewed.source.id]


def test_a_renewal_that_waits_is_due_as_soon_as_before_when_the_clock_is_set_back(renew: Renew) -> None:
    renewed: Any = renew(lambda asked: lives_until(renewed.running.clock.at_us + 6 * DAY_S * SECOND_US))
    running = renewed.running
    running.run(renewed.put())
    running.run(renewed.renewer.step(renewed.source.id))
    assert renewed.standing.progress.renewals == 1
    assert renewed.due() == []
    # A third of six days is left after four.
    began_us = running.clock.at_us
    running.clock.at_us = began_us - 30 * DAY_S * SECOND_US
    assert renewed.due() == []
    running.clock.at_us += 4 * DAY_S * SECOND_US + SECOND_US
    assert renewed.due() == [renewed.source.id]
