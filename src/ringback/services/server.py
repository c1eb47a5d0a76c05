"""How does the server itself do? What waits and why, what the process takes, and how it is set; for people who run it.

What is the server's and not an organisation's (its process, its files, its settings) is shown to the organisation that every server begins
with: that is whoever runs it. Others see what is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.model.settings import SettingInForce
from ringback.services.ports import Pending, Standings
from ringback.services.tokens import DEFAULT_ORG_ID, Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import deliveries, naming
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.naming import Named
from ringback.telemetry.prometheus import Metrics
from ringback.telemetry.usage import Usage

# Endpoints that wait, looked up and shown: a screen or two.
ENDPOINTS_MAX: Final = 100
# Deliveries of one endpoint that are counted: a hundred endpoints take some 20 ms of a reader.
BACKLOG_MAX: Final = 1_000


class Waiting(msgspec.Struct, frozen=True):
    """An endpoint with deliveries that are due: its names, what it waits for, how many it has (counted up to BACKLOG_MAX), since when."""

    named: Named
    pending: Pending
    backlog: int
    due_at: int | None


class Process(msgspec.Struct, frozen=True):
    """What the process does and takes. Times are microseconds since 1970, sizes bytes; 0 = none, `commits` is their number so far."""

    version: str
    started_us: int
    backlog: int
    oldest_due_us: int
    in_flight: int
    loop_lag_s: float
    commits: int
    commit_p50_s: float | None
    commit_p99_s: float | None
    usage: Usage
    store_bytes: int
    wal_bytes: int
    disk_free_bytes: int
    disk_low: bool
    search_on: bool
    search_bytes: int
    search_lag: int
    search_behind_since_us: int
    spooled: int
    spooled_bytes: int


class About(msgspec.Struct, frozen=True):
    """What is fixed for a run: the version, whether searches have an index, the settings in force, and the bytes that must stay free."""

    version: str
    search_on: bool
    settings: Sequence[SettingInForce]
    min_free_disk: int = 0


class ServerFacts:
    """What a server knows of itself."""

    def __init__(
        self, store: Store, vault: Sealer, clock: Clock, metrics: Metrics, standings: Standings, usage: Callable[[], Usage], about: About
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._standings = standings
        self._usage = usage
        self._about = about

    async def waiting(self, who: Principal) -> list[Waiting]:
        """The caller's endpoints that have deliveries which are due and not on the wire, those that wait longest first."""
        pending = self._standings.pending(who.org_id, ENDPOINTS_MAX)
        if not pending:
            return []

        def query(tx: Transaction) -> list[Waiting]:
            named = naming.endpoints(tx, self._vault, who.org_id, [one.endpoint_id for one in pending])
            found = []
            for one in pending:
                if one.endpoint_id in named:
                    backlog, due_at = deliveries.backlog(tx, one.endpoint_id, BACKLOG_MAX)
                    found.append(Waiting(named[one.endpoint_id], one, backlog, one.due_at or due_at))
            return found

        found = await self._store.read(query)
        return sorted(found, key=lambda one: one.due_at or self._clock.now_us())

    def process(self, who: Principal) -> Process | None:
        """The process, for whoever runs it; None for others."""
        if not runs_it(who):
            return None
        m = self._metrics
        return Process(
            version=self._about.version,
            started_us=m.started_us,
            backlog=max(m.backlog, 0),
            oldest_due_us=m.oldest_due_us,
            in_flight=m.in_flight,
            loop_lag_s=m.loop_lag_s,
            commits=m.commit_seconds.count,
            commit_p50_s=m.commit_seconds.below(0.5),
            commit_p99_s=m.commit_seconds.below(0.99),
            usage=self._usage(),
            store_bytes=m.store_bytes,
            wal_bytes=m.wal_bytes,
            disk_free_bytes=m.disk_free_bytes,
            disk_low=0 < m.disk_free_bytes < self._about.min_free_disk,
            search_on=self._about.search_on,
            search_bytes=m.search_bytes,
            search_lag=m.search_lag,
            search_behind_since_us=m.search_behind_since_us,
            spooled=m.spooled,
            spooled_bytes=m.spooled_bytes,
        )

    def settings(self, who: Principal) -> Sequence[SettingInForce] | None:
        """The settings in force, for whoever runs the server; None for others."""
        return self._about.settings if runs_it(who) else None


def runs_it(who: Principal) -> bool:
    """Does the caller speak for whoever runs this server?"""
    return who.org_id == DEFAULT_ORG_ID
