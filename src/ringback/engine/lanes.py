"""What waits for one endpoint? A lane is the virtual queue of an endpoint: what is in memory, what is on the wire, and what it may have.

The lanes of an application are a group: they share its rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ringback.delivery.scripting_turns import Script
from ringback.delivery.seal import Plan
from ringback.model.attempts import WaitCause
from ringback.model.deliveries import Claim, Delivery, Trigger
from ringback.model.ordering import Ordering
from ringback.policy.breaker import Breaker
from ringback.policy.rate import Bucket
from ringback.policy.transforming import Transformed
from ringback.services.directory import Entry
from ringback.store.base import Record, Transaction

# Hears, in the transaction of the records, of attempts that may be news.
Tell = Callable[[Transaction, Sequence[Record]], None]

# First attempts and retries leave a lane in this ratio, so that neither starves the other.
FIRST_PER_RETRY: Final = 4
# Attempts in a row without any answer that make an endpoint a silent one: more than one lost packet, and not many.
SILENT: Final = 3
# Deliveries of one lane in memory; more wait in the database. A burst of so many need not be read back; under 2 MB at 500 bytes each.
READY_MAX: Final = 1_024
# A lane that has more in the database claims at this mark: low enough that claims are large, high enough that it never runs dry meanwhile.
LOW_MARK: Final = 256

# Bytes in memory of a delivery beside its payload: claim, delivery, message and their ids.
OVERHEAD: Final = 700


def size_of(claim: Claim) -> int:
    """Bytes that a delivery takes in memory."""
    return OVERHEAD + len(claim.message.payload or b"")


class Rates(msgspec.Struct, frozen=True):
    """Attempts per second; None = not limited."""

    endpoint: int | None
    application: int | None


class Changes(msgspec.Struct, frozen=True):
    """What an endpoint's transformation is to be run with: its code, and the endpoint's own URL and headers.

    `plan` prepares the request that comes of it, and gives the URL to show with it.
    """

    script: Script
    url: str
    headers: Mapping[str, str]
    variables: Mapping[str, str] | None
    https_only: bool
    plan: Callable[[Transformed], tuple[Plan, str]]


class LanePlan(msgspec.Struct, frozen=True):
    """An endpoint's configuration as delivery needs it.

    `valid_until` is when a secret that still signs ends, microseconds since 1970; `sensitive` are headers to mask, in lower case; `rates`
    are attempts per second of the endpoint and of its application, None when neither is limited; `tell` gives what the record of an attempt
    that may be news carries (`Record.tell`), None when nobody listens. `ordering` is how its deliveries are in order, None = not at all.
    `changes` is its transformation, None when it has none.
    """

    plan: Plan
    entry: Entry
    url: str
    valid_until: int
    sensitive: frozenset[str]
    rates: Rates | None = None
    tell: Callable[[], Tell | None] = lambda: None
    ordering: Ordering | None = None
    changes: Changes | None = None


class Group:
    """The lanes of one application. `queue` are those that wait for a token of its `bucket`, which is None while it has no rate."""

    __slots__ = ("app_id", "bucket", "called", "lanes", "queue")

    def __init__(self, app_id: str) -> None:
        self.app_id = app_id
        self.lanes: set[Lane] = set()
        self.bucket: Bucket | None = None
        self.queue: deque[Lane] = deque()
        # Will somebody look at the queue, at a time that is set?
        self.called = False


class Guarded(msgspec.Struct):
    """The circuit breaker of a lane, as long as its endpoint's `configuration` stays what it is.

    `opened_at` is when it opened first without a recovery since, wall time in microseconds. `clear`: nothing that began before the last
    opening is on the wire any more.
    """

    configuration: object
    breaker: Breaker
    opened_at: int = 0
    clear: bool = True


class Lane:
    """One endpoint's queue. `stored`: something due waits in the database, so nothing newer may be handed over in memory.

    `resting` is why the lane waits for a time, `rest_ends` on the monotonic clock (microseconds); `rested` and `rested_until` are why
    it did so last and when that ended, wall time; `paused_until` is when its last pause ends, monotonic. `guarded` is None while no circuit
    breaker counts. `queued`: it waits for a token of its application. `reading` counts attempts whose
    outcome is known and whose response is still being read. `disabled`: one of its answers has disabled the endpoint. `spilling` and
    `spilled` count deliveries that go to the database instead of memory: on their way there, and there. `urgent` are those that somebody
    asked for by hand: they come first, and do not wait for a pause of the endpoint.
    """

    __slots__ = (
        "app_id",
        "bucket",
        "claiming",
        "disabled",
        "endpoint_id",
        "first",
        "flying",
        "group",
        "guarded",
        "limit",
        "loading",
        "next_due",
        "paused_until",
        "plan",
        "proven",
        "queued",
        "reading",
        "reserved",
        "rest_ends",
        "rested",
        "rested_until",
        "resting",
        "retries",
        "ringed",
        "since_retry",
        "spilled",
        "spilling",
        "starved",
        "stopped",
        "stored",
        "unanswered",
        "urgent",
        "woken",
    )

    def __init__(self, endpoint_id: str, group: Group, limit: int) -> None:
        self.endpoint_id = endpoint_id
        self.app_id = group.app_id
        self.group = group
        self.bucket: Bucket | None = None
        self.first: deque[Claim] = deque()
        self.retries: deque[Claim] = deque()
        self.urgent: list[Claim] = []
        self.flying = 0
        self.limit = limit
        self.proven = False
        self.reserved = 0
        self.spilling = 0
        self.spilled = 0
        self.stored = False
        self.claiming = False
        self.loading = False
        self.stopped = False
        self.ringed = False
        self.starved = False
        self.since_retry = 0
        # Attempts in a row that got no answer; an endpoint that never gave one has no credit.
        self.unanswered = SILENT - 1
        self.woken = 0
        self.next_due: int | None = None
        self.plan: LanePlan | None = None
        self.resting: WaitCause | None = None
        self.rest_ends = 0
        self.rested = WaitCause.BACKLOG
        self.rested_until = 0
        self.paused_until = 0
        self.guarded: Guarded | None = None
        self.disabled = False
        self.queued = False
        self.reading = 0

    @property
    def queues(self) -> tuple[Sequence[Claim], ...]:
        """The deliveries in memory that are not on the wire, by queue."""
        return self.urgent, self.first, self.retries

    @property
    def waiting(self) -> int:
        """How many deliveries in memory are not on the wire."""
        return len(self.urgent) + len(self.first) + len(self.retries)

    @property
    def idle(self) -> bool:
        """Is there nothing to remember about this endpoint but its past?"""
        return not (
            self.first
            or self.retries
            or self.urgent
            or self.starved
            or self.flying
            or self.reserved
            or self.spilling
            or self.stored
            or self.claiming
            or self.loading
            or self.stopped
            or self.queued
            or self.reading
            or self.resting
            or self.guarded
        ) and (self.next_due is None)

    def has_room(self) -> bool:
        """May a delivery be handed over in memory, with nothing older left behind?"""
        return not (self.stored or self.spilling or self.claiming or self.stopped) and len(self.first) + self.reserved < READY_MAX

    def put(self, claim: Claim) -> None:
        """Add a delivery to the queue it belongs in."""
        if claim.delivery.attempts or claim.delivery.trigger:
            self.retries.append(claim)
        else:
            self.first.append(claim)

    def take(self) -> Claim:
        """The delivery whose turn it is: what is urgent, then four first attempts to a retry. The lane must not be empty."""
        if self.urgent:
            return self.urgent.pop(0)
        if self.retries and (not self.first or self.since_retry >= FIRST_PER_RETRY):
            self.since_retry = 0
            return self.retries.popleft()
        if self.retries:
            self.since_retry += 1
        return self.first.popleft()

    def hasten(self, delivery: Delivery) -> bool:
        """Make one urgent that waits; False = it does not wait here."""
        claim = next((claim for claim in self.retries if claim.delivery == delivery), None)
        if claim is None:
            return False
        self.retries.remove(claim)
        self.urgent.append(claim)
        return True

    def withdraw(self, message_id: str) -> list[Claim]:
        """Take the scheduled attempts of one message out of the queue."""
        found = []
        for waiting in (self.first, self.retries):
            claims = [c for c in waiting if c.delivery.message_id == message_id and c.delivery.trigger is Trigger.SCHEDULED]
            for claim in claims:
                waiting.remove(claim)
            found += claims
        return found

    def drain(self) -> list[Claim]:
        """Empty the queue."""
        claims = [*self.urgent, *self.first, *self.retries]
        self.urgent.clear()
        self.first.clear()
        self.retries.clear()
        return claims
