"""A source that is compared with its provider, a step at a time and with a clock that a test sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringback.clock import SECOND_US, SystemClock
from ringback.delivery.http import ResponseLimits
from ringback.delivery.pool import HttpSettings, HttpTransport
from ringback.model.reconciliation import Standing
from ringback.model.sources import Source
from ringback.policy.addresses import AddressPolicy, parse_networks
from ringback.services.provider_api import MAX_BODY_BYTES
from ringback.services.provider_api import ProviderApi as Asking
from ringback.services.reconciler import Reconciler
from ringback.services.reconciliations import ReconciliationIn, Reconciliations
from tests.acceptance.provider_api import CREDENTIAL, Asked, ProviderApi, Said
from tests.gateway.conftest import WHO, Running

# Changes behind positions that are numbers, and nothing but the word that something changed by calls.
CHANGES: dict[str, Any] = {
    "path": "/changes",
    "base": "https://x",
    "auth": {"authorization": "Bearer {credential}"},
    "items": "data[]",
    "next": "cursor:after:after",
    "more": "more",
    "position": "after",
    "lost": [410],
    "start": {"path": "/latest"},
    "thin": True,
}


class Compared:
    """A source, the API of its provider, and what compares them, a step at a time and with a clock that a test sets."""

    def __init__(self, running: Running, answer: Callable[[Asked], Said]) -> None:
        self.running, self.api = running, ProviderApi(answer)
        running.run(self._made())
        self.source: Source = running.made()

    def restart(self) -> None:
        """What was in memory is gone."""
        self.running.run(self.transport.close())
        self.running.run(self._made())

    async def _made(self) -> None:
        running = self.running
        http = HttpSettings(response=ResponseLimits(body_max_bytes=MAX_BODY_BYTES))
        self.transport = HttpTransport(policy=AddressPolicy(parse_networks("127.0.0.0/8")), settings=http, clock=SystemClock())
        asking = Asking(self.transport, running.clock)
        self.called = running.called
        self.called.clear()
        parts = (running.store, running.vault, running.clock, running.receiver, asking, running.metrics)
        self.reconciler = Reconciler(*parts, self.called)
        self.all = Reconciliations(running.store, running.vault, running.clock, running.sources, self.reconciler)

    def put(self, **wanted: Any) -> Standing:
        given = ReconciliationIn(**{"credential": CREDENTIAL, "base_url": self.api.url, **wanted})
        standing: Standing = self.running.run(self.all.put(WHO, self.running.app_id, self.source.id, given))[0]
        return standing

    @property
    def standing(self) -> Standing:
        standing: Standing = self.running.run(self.all.get(WHO, self.running.app_id, self.source.id))
        return standing

    def due(self) -> list[str]:
        found: list[str] = self.running.run(self.reconciler.due(8))[0]
        return found

    def go(self) -> None:
        """Do what is due, until nothing is."""
        while self.source.id in self.due():
            self.running.run(self.reconciler.step(self.source.id))

    def set(self, at_s: float) -> None:
        self.running.clock.set(at_s)

    @property
    def now_s(self) -> int:
        return self.running.clock.at_us // SECOND_US

    def came(self) -> list[str]:
        """The ids of the events that were stored, in order."""
        return [message.origin.event_id or "" for message in self.running.messages() if message.origin is not None]

    def close(self) -> None:
        self.running.run(self.transport.close())
        self.api.close()


Compare = Callable[[Callable[[Asked], Said]], Compared]
