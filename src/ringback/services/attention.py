"""What waits for a person? Counts for every page's rail: asked for with each page, so they are remembered for a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.services.server import runs_it
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import dead_letter_groups, quarantine
from ringback.telemetry.prometheus import Metrics

# Seconds for which an answer holds: nobody sees a difference, and many open pages cost one look.
_HOLDS_S: Final = 3.0
# Requests in quarantine are counted up to here; "1,000 or more" says enough.
QUARANTINED_MAX: Final = 1_000
# Organisations remembered at once.
_REMEMBERED: Final = 1_000


class Waiting(msgspec.Struct, frozen=True):
    """Dead letters, exactly, and requests in quarantine, up to `QUARANTINED_MAX`; `spooled` ones for whoever runs the server."""

    dead: int
    quarantined: int
    spooled: int


class Attention:
    """Counts for every organisation. `monotonic_s` is the clock's."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._monotonic_s: Callable[[], float] = clock.monotonic_s
        self._known: dict[str, tuple[float, Waiting]] = {}

    async def waiting(self, who: Principal) -> Waiting:
        """What waits in the caller's organisation, as of some seconds ago at most. Raises Unavailable."""
        now_s = self._monotonic_s()
        known = self._known.get(who.org_id)
        if known is not None and known[0] > now_s:
            return known[1]

        def query(tx: Transaction) -> Waiting:
            quarantined = quarantine.count_of_organisation(tx, who.org_id, QUARANTINED_MAX)
            return Waiting(dead_letter_groups.total(tx, who.org_id), quarantined, self._metrics.spooled if runs_it(who) else 0)

        found = await self._store.read(query)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[who.org_id] = (now_s + _HOLDS_S, found)
        return found

    def changed(self, who: Principal) -> None:
        """Somebody of the organisation has just changed something: count anew."""
        self._known.pop(who.org_id, None)
