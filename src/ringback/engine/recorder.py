"""What becomes of a delivery after an attempt? Judges the exchange, decides the future, and has both committed.

Should recording fail (a full disk), the attempts are kept here and dispatch pauses: sending on without being able to remember it would
deliver everything again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.delivery.seal import masked_headers
from ringback.engine.lanes import Lane, LanePlan
from ringback.errors import StoreFailure
from ringback.ids import IdMaker
from ringback.model.attempts import Attempt, Exchange
from ringback.model.deliveries import AttemptStatus, Claim, DeadLetter, Trigger
from ringback.policy.operational import FAILING
from ringback.policy.outcome import Outcome
from ringback.policy.retry import RetryPolicy, next_delay_s
from ringback.store.base import Record, Store
from ringback.telemetry.events import RECORDING_PAUSED, RECORDING_RESUMED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Seconds between two tries to commit what could not be committed.
_AGAIN_S: Final = 0.5
# Attempts that ended and wait to be recorded: beyond this nothing new is sent, so that a slow disk bounds what a crash repeats.
_UNRECORDED_MAX: Final = 4_096


class Recorder:
    """Turns finished attempts into records.

    `settled(lane, record)` is called once a record is durable, `resumed` when it is `ready` again.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make_id: IdMaker,
        policy: RetryPolicy,
        draw: Callable[[], float],
        metrics: Metrics,
        settled: Callable[[Lane, Record], None],
        resumed: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._policy = policy
        self._draw = draw
        self._metrics = metrics
        self._settled = settled
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

    def record(self, lane: Lane, claim: Claim, plan: LanePlan, head: bytes, started_at: int, exchange: Exchange, outcome: Outcome) -> None:
        """Commit one attempt and what follows from it. `head` is the request as sent, with its secrets masked."""
        delivery = claim.delivery
        manual = delivery.trigger is not Trigger.SCHEDULED
        now_us = self._clock.now_us()
        error = exchange.error
        attempt = Attempt(
            self._ids.make(ids.ATTEMPT, now_us),
            delivery.app_id,
            delivery.endpoint_id,
            delivery.message_id,
            plan.url,
            delivery.attempts + 1,
            AttemptStatus.SUCCESS if outcome.success else AttemptStatus.FAIL,
            delivery.trigger,
            exchange.status,
            started_at,
            exchange.duration_us,
            None if error is None else error.value,
            outcome.words,
            exchange.address,
            exchange.phases,
            exchange.body if exchange.status else outcome.words.encode(),
            exchange.head,
            head,
            delivery.sequence,
        )
        if outcome.success:
            # A success is news only after failures, or by hand: the common one has nothing to carry.
            tell = plan.tell() if manual or delivery.attempts >= FAILING else None
            record = Record(delivery, attempt, None, None, manual, False, tell)
        else:
            record = self._failed(plan, claim, attempt, outcome, now_us)
        self._metrics.count_attempt(exchange.status, attempt.error)
        self._pending += 1
        self._store.record((record,), lambda failure: self._done(lane, record, failure))

    def _failed(self, plan: LanePlan, claim: Claim, attempt: Attempt, outcome: Outcome, now_us: int) -> Record:
        delivery = claim.delivery
        if delivery.trigger is not Trigger.SCHEDULED:
            return Record(delivery, attempt, disables_endpoint=outcome.disables, tell=plan.tell() if outcome.disables else None)
        delay_s = None if claim.message.payload is None else next_delay_s(self._policy, attempt.number, outcome, self._draw())
        if delay_s is not None:
            tell = plan.tell() if attempt.number == FAILING else None
            return Record(delivery, attempt, next_due_at=now_us + int(delay_s * SECOND_US), tell=tell)
        dead = DeadLetter(
            self._ids.make(ids.DEAD_LETTER, now_us),
            plan.entry.application.org_id,
            delivery.app_id,
            delivery.endpoint_id,
            delivery.message_id,
            claim.message.event_type,
            outcome.cause,
            outcome.words,
            attempt.number,
            delivery.sequence,
            now_us,
        )
        return Record(delivery, attempt, dead=dead, disables_endpoint=outcome.disables, tell=plan.tell())

    def _done(self, lane: Lane, record: Record, failure: Exception | None) -> None:
        self._pending -= 1
        if failure is None:
            if record.dead is not None:
                self._metrics.dead_letters += 1
            if record.next_due_at is None and record.delivery.trigger is Trigger.SCHEDULED:
                self._metrics.backlog -= 1
            self._settled(lane, record)
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

    def _retry(self) -> None:
        self._retrying = None
        unkept, self._unkept = self._unkept, []
        left = len(unkept)

        def one_done(lane: Lane, record: Record, failure: Exception | None) -> None:
            nonlocal left
            self._done(lane, record, failure)
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
