"""What becomes of a delivery after an attempt? Judges the exchange, decides the future, and has both committed.

Should recording fail (a full disk), the attempts are kept here and dispatch pauses: sending on without being able to remember it would
deliver everything again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.delivery.seal import masked_headers
from ringback.engine.flights import Flight
from ringback.engine.health import NOTHING, Change, Health
from ringback.engine.lanes import Lane
from ringback.errors import StoreFailure
from ringback.ids import IdMaker
from ringback.model.attempts import Attempt, ErrorClass, Exchange
from ringback.model.deliveries import ABORTED, AttemptStatus, Claim, DeadLetter, Trigger
from ringback.policy.operational import FAILING
from ringback.policy.ordering import blocks, gives_up
from ringback.policy.outcome import Outcome
from ringback.policy.retry import Delay, RetryPolicy, next_delay
from ringback.store.base import Record, Store
from ringback.telemetry.events import RECORDING_PAUSED, RECORDING_RESUMED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Seconds between two tries to commit what could not be committed.
_AGAIN_S: Final = 0.5
# Attempts that ended and wait to be recorded: beyond this nothing new is sent, so that a slow disk bounds what a crash repeats.
_UNRECORDED_MAX: Final = 4_096
# Members of an enumeration are looked up by a function in Python 3.11, six times as slow as a name of the module.
_SUCCESS: Final = AttemptStatus.SUCCESS
_FAIL: Final = AttemptStatus.FAIL
_CANCELED: Final = AttemptStatus.CANCELED
_SCHEDULED: Final = Trigger.SCHEDULED


class Recorder:
    """Turns finished attempts into records.

    `settled(lane, record)` is called once a record is durable, `followed(lane, claims)` with what has its turn by that, `resumed` when it
    is `ready` again.
    """

    def __init__(
        self,
        store: Store,
        make_id: IdMaker,
        policy: RetryPolicy,
        health: Health,
        draw: Callable[[], float],
        metrics: Metrics,
        settled: Callable[[Lane, Record], None],
        followed: Callable[[Lane, list[Claim]], None],
        resumed: Callable[[], None],
    ) -> None:
        self._store = store
        self._ids = make_id
        self._policy = policy
        self._health = health
        self._draw = draw
        self._metrics = metrics
        self._settled = settled
        self._followed = followed
        self._resumed = resumed
        self._unkept: list[tuple[Lane, Record]] = []
        self._retrying: asyncio.TimerHandle | None = None
        self._pending = 0
        # Until all that could not be kept is kept: a single success may be followed by the next failure.
        self.paused = False

    @property
    def ready(self) -> bool:
        """Can attempts be made, because they can be recorded?"""
        return not self.paused and self._pending < _UNRECORDED_MAX

    @property
    def unrecorded(self) -> int:
        """Attempts that have ended and are not recorded yet."""
        return self._pending + len(self._unkept)

    def renew(self, until_us: int) -> None:
        """Hold the leases of what could not be kept, or it would be sent again."""
        self._store.renew((record.delivery for _, record in self._unkept), until_us)

    def record(self, lane: Lane, flight: Flight, head: bytes, exchange: Exchange, outcome: Outcome, now_us: int) -> None:
        """Commit one attempt and what follows from it. `head` is the request as sent, with its secrets masked."""
        delivery = flight.claim.delivery
        change, delay, next_due_at, status = NOTHING, None, None, _SUCCESS
        if not outcome.success:
            status = _CANCELED if outcome.cancelled else _FAIL
            delay, change = self._failed(lane, flight, outcome, now_us)
            if delay is not None:
                # From when the outcome was known: a body that drips makes no retry later.
                next_due_at = flight.ended_at + int(delay.seconds * SECOND_US)
        elif self._health.failing or outcome.disables:
            change = self._health.succeeded(delivery.endpoint_id, outcome, now_us)
        error = exchange.error
        attempt = Attempt(
            self._ids.make(ids.ATTEMPT, now_us),
            delivery.app_id,
            delivery.endpoint_id,
            delivery.message_id,
            flight.plan.url,
            delivery.attempts + 1,
            status,
            delivery.trigger,
            exchange.status,
            flight.started_at,
            exchange.duration_us,
            None if error is None else error.value,
            outcome.words,
            exchange.address,
            exchange.phases,
            exchange.body if exchange.status else outcome.words.encode(),
            exchange.head,
            head,
            delivery.sequence,
            flight.wait,
            next_due_at,
            None if delay is None else delay.cause,
        )
        manual = delivery.trigger is not _SCHEDULED
        if outcome.success:
            # A success is news only after failures, or by hand: the common one has nothing to carry.
            tell = flight.plan.tell() if manual or delivery.attempts >= FAILING or change.disables is not None else None
            record = Record(delivery, attempt, None, None, manual, change.disables, change.first_failure_at, tell, flight.claim.message)
        elif outcome.cancelled:
            # Finished, and no news to anybody. By hand too: a dead letter that is replayed waits for nobody any more.
            record = Record(delivery, attempt, ends_pair=manual, message=flight.claim.message)
        else:
            record = self._failure(flight, attempt, outcome, change, now_us)
        if flight.sent is not None:
            record = msgspec.structs.replace(record, sent=flight.sent)
        self._metrics.count_attempt(exchange.status, attempt.error)
        self._pending += 1
        if delivery.lane is not None:
            # What follows in its lane comes with the record.
            record = msgspec.structs.replace(record, follow=[])
            self._store.record((record,), partial(self._done_in_lane, lane, record))
            return
        self._store.record((record,), partial(self._done, lane, record))

    def _failed(self, lane: Lane, flight: Flight, outcome: Outcome, now_us: int) -> tuple[Delay | None, Change]:
        """When a delivery that failed is tried again, and what that says of its endpoint."""
        if outcome.cancelled:
            return None, NOTHING
        delivery = flight.claim.delivery
        if delivery.trigger is not _SCHEDULED:
            return None, self._health.refused(delivery.endpoint_id, outcome, now_us)
        delay = None if outcome.cause == ErrorClass.PAYLOAD_GONE else next_delay(self._policy, delivery.attempts + 1, outcome, self._draw())
        if delay is not None and delivery.lane is not None and gives_up(flight.plan.ordering, delivery.attempts + 1):
            # Its lane goes on; that says nothing of the endpoint.
            return None, NOTHING
        if delay is None:
            return None, self._health.exhausted(delivery.endpoint_id, outcome, now_us)
        guarded = lane.guarded
        if guarded is None or not guarded.breaker.tried or not outcome.failing:
            return delay, NOTHING
        return delay, self._health.tried(delivery.endpoint_id, guarded.opened_at, now_us)

    def _failure(self, flight: Flight, attempt: Attempt, outcome: Outcome, change: Change, now_us: int) -> Record:
        """What an attempt that failed leaves behind."""
        delivery = flight.claim.delivery
        # Nothing follows an attempt by hand; but an answer that aborts its message ends the schedule beside it.
        dies = attempt.next_due_at is None if delivery.trigger is _SCHEDULED else outcome.aborts
        return Record(
            delivery,
            attempt,
            attempt.next_due_at,
            self._letter(flight, attempt, outcome, now_us) if dies else None,
            False,
            change.disables,
            change.first_failure_at,
            flight.plan.tell() if dies or attempt.number == FAILING or change.disables is not None else None,
            flight.claim.message,
            None,
            # What can never be sent blocks nobody: there is nothing that a person could do about it.
            dies and blocks(flight.plan.ordering) and outcome.cause != ErrorClass.PAYLOAD_GONE,
        )

    def _letter(self, flight: Flight, attempt: Attempt, outcome: Outcome, now_us: int) -> DeadLetter:
        return DeadLetter(
            self._ids.make(ids.DEAD_LETTER, now_us),
            flight.plan.entry.application.org_id,
            attempt.app_id,
            attempt.endpoint_id,
            attempt.message_id,
            flight.claim.message.event_type,
            ABORTED if outcome.aborts else outcome.cause,
            outcome.words,
            attempt.number,
            attempt.sequence,
            now_us,
        )

    def _done(self, lane: Lane, record: Record, failure: Exception | None) -> None:
        self._pending -= 1
        if failure is None:
            if record.dead is not None:
                self._metrics.dead_letters += 1
            if record.next_due_at is None and record.delivery.trigger is _SCHEDULED:
                self._metrics.backlog -= 1
            settled = self._settled
            settled(lane, record)
        elif isinstance(failure, StoreFailure):
            if not self.paused:
                self.paused = True
                log(RECORDING_PAUSED, error=str(failure))
            self._unkept.append((lane, record))
            if self._retrying is None:
                self._retrying = asyncio.get_running_loop().call_later(_AGAIN_S, self._retry)
        # Else no database would take it, and the store has told the log: waiting for it would stop all others. Its lease runs out.
        if self._pending == _UNRECORDED_MAX - 1 and not self.paused:
            self._resumed()

    def _done_in_lane(self, lane: Lane, record: Record, failure: Exception | None) -> None:
        self._done(lane, record, failure)
        if failure is None:
            if record.blocks:
                self._metrics.blocked_lanes += 1
            if record.follow:
                self._followed(lane, record.follow)

    def _retry(self) -> None:
        self._retrying = None
        unkept, self._unkept = self._unkept, []
        left = len(unkept)

        def one_done(lane: Lane, record: Record, failure: Exception | None) -> None:
            nonlocal left
            self._done_in_lane(lane, record, failure)
            left -= 1
            if left == 0 and not self._unkept:
                self.paused = False
                log(RECORDING_RESUMED, recorded=len(unkept))
                self._resumed()

        self._pending += left
        for lane, record in unkept:
            self._store.record((record,), partial(one_done, lane, record))


def masked(head: bytes, sensitive: frozenset[str]) -> bytes:
    """A request head with the values of its secret headers replaced."""
    line, _, _ = head.partition(b"\r\n")
    fields = "".join(f"\r\n{name}: {value}" for name, value in masked_headers(head, sensitive))
    return line + fields.encode("latin-1") + b"\r\n\r\n"
