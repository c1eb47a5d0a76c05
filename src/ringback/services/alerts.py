"""What needs a person now? All that is in trouble in an organisation, in one look at the database; nothing is kept for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.model.trends import Worst
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import alerts, dead_letter_groups, naming, quarantine, trends
from ringback.store.operations.alerts import Comparison as Comparison
from ringback.store.operations.alerts import Failures as Failures
from ringback.store.operations.alerts import Missed as Missed
from ringback.store.operations.alerts import Renewal as Renewal
from ringback.store.operations.alerts import SinkTrouble as SinkTrouble
from ringback.store.operations.alerts import Trouble as Trouble
from ringback.store.operations.dead_letter_groups import Group
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.naming import Named
from ringback.store.operations.quarantine import Heap
from ringback.store.operations.trends import MINUTE_US, Scope

# Of each kind, at the most: who has more of one must deal with its cause, and not with a list.
ALERTS_MAX: Final = 50
# How far back attempts say that an endpoint fails, minutes: as the lists of endpoints do.
FAILING_MINUTES: Final = 60
# How far back a deadline counts that was missed: as the page of a source does.
_MISSED_US: Final = 24 * 60 * MINUTE_US


class Found(msgspec.Struct, frozen=True):
    """What is in trouble, each kind with the most urgent first, ALERTS_MAX at the most.

    `disabled`: endpoints that were, and by nobody; `spent`: those whose messages run out of attempts; `failing`: others that refused most
    attempts in the last hour, also the newest. `named` has the names of all those endpoints, `failures` since when they take nothing.
    `more`: there is more of some kind; `overlooked`: so many endpoints of everybody are in trouble that some were not looked at.
    """

    disabled: list[Trouble]
    spent: list[Trouble]
    failing: list[Worst]
    blocked: list[Trouble]
    letters: list[Group]
    heaps: list[Heap]
    sinks: list[SinkTrouble]
    renewals: list[Renewal]
    comparisons: list[Comparison]
    missed: list[Missed]
    named: dict[str, Named]
    failures: dict[str, Failures]
    more: bool
    overlooked: bool


class Alerts:
    """What is in trouble in every organisation; each caller sees what is its own."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def found(self, who: Principal) -> Found:
        """All of it, as it is now. Raises Unavailable."""
        # One more of each, which tells that there is more.
        now_us, org_id, most = self._clock.now_us(), who.org_id, ALERTS_MAX + 1

        def query(tx: Transaction) -> Found:
            disabled, spent = alerts.disabled(tx, org_id, most), alerts.spent(tx, org_id, most)
            failures = {one.endpoint_id: alerts.failures(tx, one.endpoint_id) for one in spent}
            worst = trends.worst(tx, Scope(org_id), now_us // MINUTE_US + 1 - FAILING_MINUTES, now_us // MINUTE_US + 1, most)[1]
            others = [one for one in worst if not one.disabled and one.endpoint_id not in failures]
            failures |= {one.endpoint_id: alerts.failures(tx, one.endpoint_id) for one in others}
            failing = [one for one in others if failures[one.endpoint_id] is not None]
            blocked = alerts.blocked(tx, org_id, most)
            letters, heaps = dead_letter_groups.of_organisation(tx, org_id), quarantine.heaps(tx, org_id)
            sinks, renewals = alerts.sinks(tx, org_id, most), alerts.renewals(tx, org_id, most)
            comparisons, missed = alerts.comparisons(tx, org_id, most), alerts.missed(tx, org_id, now_us - _MISSED_US, most)
            kinds: list[Sequence[object]] = [disabled, spent, failing, blocked, letters, heaps, sinks, renewals, comparisons, missed]
            wanted = {one.endpoint_id for one in (*disabled, *spent, *blocked)}
            wanted |= {one.endpoint_id for one in failing} | {one.endpoint_id for one in letters[:ALERTS_MAX]}
            return Found(
                disabled[:ALERTS_MAX],
                spent[:ALERTS_MAX],
                failing[:ALERTS_MAX],
                blocked[:ALERTS_MAX],
                letters[:ALERTS_MAX],
                heaps[:ALERTS_MAX],
                sinks[:ALERTS_MAX],
                renewals[:ALERTS_MAX],
                comparisons[:ALERTS_MAX],
                missed[:ALERTS_MAX],
                naming.endpoints(tx, self._vault, org_id, sorted(wanted)),
                {endpoint_id: known for endpoint_id, known in failures.items() if known is not None},
                any(len(kind) > ALERTS_MAX for kind in kinds),
                alerts.overlooked(tx),
            )

        return await self._store.read(query)
