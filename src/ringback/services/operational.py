"""What does the platform tell its owner? Operational events, stored as messages in the transaction of what causes them: none is lost.

An event is an ordinary message of a hidden application (or, as the reference server has it, of one in an organisation of its own) and
delivered like any other. Who wants it is matched in the transaction; memory only knows which organisations may have somebody who listens,
so that for all others even an attempt that is news costs no more than one look into a set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.clock import Clock, rfc3339
from ringback.ids import IdMaker
from ringback.model import operational as model
from ringback.model.attempts import Attempt
from ringback.model.deliveries import AttemptStatus, DeadLetter, Trigger
from ringback.model.endpoints import DisabledBy, Disabling, Endpoint
from ringback.model.messages import Message
from ringback.model.operational import INGEST, Event, LastAttempt
from ringback.model.tasks import Task, TaskKind
from ringback.policy.operational import FAILING
from ringback.policy.ordering import key_of
from ringback.services.ports import Handoff
from ringback.store.base import Record, Store, Transaction
from ringback.store.operations import attempt_log, lanes, operational, tasks
from ringback.store.operations.operational import Hearing, Named, Subject
from ringback.telemetry.prometheus import Metrics

# How long the payload of an event is kept: the contract's default for messages, 90 days.
_LIFE_US: Final = 90 * 86_400 * 1_000_000
# Rows of a task's result that its event carries: some 150 kB. The task itself shows all of them.
_ITEMS_MAX: Final = 1_000

# Results of tasks are lists under these names.
_LISTS: Final = {TaskKind.APP_STATS: "appStats", TaskKind.EVENT_TYPE_STATS: "event_types"}
# What a task shows under the one name, the schema of its event has under the other.
_NAMED: Final = {"messagesSent": "messages_sent", "messagesPurged": "messages_purged", "appStats": "app_stats"}


class Edition:
    """What is told in one transaction: asks once who an application is and who hears an event, and stores everything together."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._subjects: dict[str, Subject | None] = {}
        self._heard: dict[tuple[str, str], list[Hearing]] = {}
        self.found: list[tuple[Hearing, str, bytes]] = []

    def subject(self, app_id: str) -> Subject | None:
        """Whom an event of this application is about; None: nothing is told of it."""
        if app_id not in self._subjects:
            self._subjects[app_id] = operational.subject(self._tx, app_id)
        return self._subjects[app_id]

    def wanted(self, org_id: str, event: str) -> bool:
        """Does anybody hear this event of an organisation?"""
        return bool(self._hearings(org_id, event))

    def add(self, org_id: str, event: str, data: Any) -> None:
        """Tell an event to those who hear it."""
        hearings = self._hearings(org_id, event)
        if hearings:
            payload = msgspec.json.encode(Event(event, data))
            self.found += [(hearing, event, payload) for hearing in hearings]

    def _hearings(self, org_id: str, event: str) -> list[Hearing]:
        key = (org_id, event)
        if key not in self._heard:
            self._heard[key] = operational.heard_by(self._tx, org_id, event)
        return self._heard[key]


class Operational:
    """Tells every organisation what happens to its endpoints, deliveries and tasks. What it is called for commits with what it tells."""

    def __init__(self, clock: Clock, make_id: IdMaker, metrics: Metrics) -> None:
        self._clock = clock
        self._ids = make_id
        self._metrics = metrics
        self._handoff: Handoff | None = None
        self._followed: Callable[[], None] = lambda: None
        # Organisations that may have operational endpoints: too many do no harm.
        self._listening: set[str] = set()
        # May any organisation have them in the reference server's way?
        self._legacy = False

    async def start(self, store: Store, handoff: Handoff) -> None:
        """Learn who listens, and whom to wake. Before this nothing is told of attempts. Raises StoreFailure."""
        self._handoff = handoff
        listening, legacy = await store.read(lambda tx: (operational.listening(tx), operational.has_legacy(tx)))
        self._listening.update(listening)
        self._legacy = self._legacy or legacy

    def watch(self, followed: Callable[[], None]) -> None:
        """Have somebody told when an organisation begins to have its attempts told one by one."""
        self._followed = followed

    def listen(self, org_id: str) -> None:
        """This organisation is about to have operational endpoints."""
        self._listening.add(org_id)

    def tell(self, tx: Transaction, org_id: str, event: str, data: Any) -> bool:
        """Store an event for every endpoint that wants it; is there any?"""
        edition = Edition(tx)
        edition.add(org_id, event, data)
        self._publish(tx, edition)
        return edition.wanted(org_id, event)

    # -- endpoints

    def endpoint_changed(self, tx: Transaction, former: Endpoint | None, now: Endpoint | None) -> None:
        """An endpoint was made (no `former`), deleted (none `now`) or changed by its owner."""
        endpoint = now or former
        if endpoint is None:
            return
        edition = Edition(tx)
        about = edition.subject(endpoint.app_id)
        if about is None:
            self._legacy_changed(tx, endpoint.app_id, now)
            return
        for event in _changes(former, now):
            _add_endpoint(edition, about, event, endpoint)
        self._publish(tx, edition)

    def listener_changed(self, tx: Transaction, former: Endpoint | None, now: Endpoint | None) -> None:
        """As `endpoint_changed`, of an operational endpoint: nothing is told of those."""
        if now is not None:
            org_id = operational.owner(tx, now.app_id)
            if org_id is not None:
                self._follow(tx, org_id, now)

    def _legacy_changed(self, tx: Transaction, app_id: str, now: Endpoint | None) -> None:
        legacy = operational.legacy(tx, app_id)
        if legacy is not None:
            self._legacy = True
            if legacy.uid is not None and now is not None:
                self._follow(tx, legacy.uid, now)

    def _follow(self, tx: Transaction, org_id: str, endpoint: Endpoint) -> None:
        if endpoint.event_types is not None and model.ATTEMPT_LOG in endpoint.event_types and not endpoint.disabled:
            attempt_log.follow(tx, org_id)
            tx.then(self._followed)

    # -- attempts

    def teller(self, org_id: str) -> Callable[[Transaction, Sequence[Record]], None] | None:
        """What the record of an attempt that may be news carries, unless certainly nobody of its organisation listens."""
        return self.attempts_recorded if org_id in self._listening or self._legacy else None

    def attempts_recorded(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Attempts that may be news were recorded; see `Record.tell`."""
        edition = Edition(tx)
        told = [(record, event) for record in records if (event := _event_of(tx, edition, record)) is not None]
        event_ids = operational.event_ids(tx, [(r.attempt.app_id, r.attempt.message_id) for r, _ in told])
        events = {id(record): event for record, event in told}
        disabled = set[str]()
        for record in records:
            about = edition.subject(record.attempt.app_id)
            if about is None:
                continue
            event = events.get(id(record))
            if event is not None:
                _add_attempt(edition, about, event, record.attempt, event_ids.get(record.attempt.message_id))
            if record.blocks and record.dead is not None:
                _add_blocked(tx, edition, about, record.dead)
            endpoint_id = record.attempt.endpoint_id
            if record.disables is not None and endpoint_id not in disabled:
                disabled.add(endpoint_id)
                enabled = operational.enabled(tx, endpoint_id)
                if enabled is not None:
                    _add_disabled(edition, about, enabled, record.disables)
        self._publish(tx, edition)

    # -- tasks

    def task_ended(self, tx: Transaction, task: Task) -> None:
        """A background task has finished, failed or was cancelled."""
        edition = Edition(tx)
        if not edition.wanted(task.org_id, model.TASK_FINISHED):
            return
        data = dict(task.data)
        if task.kind in _LISTS:
            data[_LISTS[task.kind]] = tasks.items(tx, task.id, _ITEMS_MAX)
        # Under the names that the task shows, and under those of the event's schema: readers know one or the other.
        data.update({named: data[shown] for shown, named in _NAMED.items() if shown in data})
        edition.add(task.org_id, model.TASK_FINISHED, model.TaskFinished(task.id, task.kind.value, task.status.value, data))
        self._publish(tx, edition)

    def _publish(self, tx: Transaction, edition: Edition) -> None:
        if not edition.found:
            return
        messages = []
        for hearing, event, payload in edition.found:
            # Made inside the transaction: ids must be in the order of commits, which cursors rely on.
            now_us = self._clock.now_us()
            message_id = self._ids.make(ids.MESSAGE, now_us)
            end_us = now_us + _LIFE_US
            messages.append(
                (Message(message_id, hearing.app_id, event, payload, now_us, end_us, matched=len(hearing.endpoint_ids)), hearing)
            )
        operational.add_messages(tx, messages)
        tx.then(partial(self._stored, [hearing for _, hearing in messages], messages[0][0].created_at))

    def _stored(self, hearings: Sequence[Hearing], due_at: int) -> None:
        self._metrics.backlog += sum(len(hearing.endpoint_ids) for hearing in hearings)
        if self._handoff is not None:
            for endpoint_id, app_id in {(endpoint_id, h.app_id): None for h in hearings for endpoint_id in h.endpoint_ids}:
                self._handoff.wake(endpoint_id, app_id, due_at)


def _changes(former: Endpoint | None, now: Endpoint | None) -> list[str]:
    """The events that tell how an endpoint has changed."""
    if former is None:
        return [model.ENDPOINT_CREATED]
    if now is None:
        return [model.ENDPOINT_DELETED]
    if former.disabled == now.disabled:
        return [model.ENDPOINT_UPDATED]
    return [model.ENDPOINT_UPDATED, model.ENDPOINT_DISABLED if now.disabled else model.ENDPOINT_ENABLED]


def _add_endpoint(edition: Edition, about: Subject, event: str, endpoint: Endpoint) -> None:
    if event == model.ENDPOINT_DISABLED:
        _add_disabled(edition, about, Named(endpoint.id, endpoint.uid), endpoint.disabling)
    elif about.source_id is None:
        edition.add(about.org_id, event, model.EndpointNews(about.app_id, about.app_uid, endpoint.id, endpoint.uid))


def _add_disabled(edition: Edition, about: Subject, endpoint: Named, why: Disabling | None) -> None:
    since = None if why is None or why.fail_since is None else rfc3339(why.fail_since)
    by = DisabledBy.MANUAL if why is None else why.by
    data: Any
    if about.source_id is None:
        data = model.EndpointDisabled(about.app_id, about.app_uid, endpoint.id, endpoint.uid, since, by)
    else:
        data = model.IngestEndpointDisabled(about.source_id, endpoint.id, endpoint.uid, since, by)
    edition.add(about.org_id, _named(about, model.ENDPOINT_DISABLED), data)


def _add_attempt(edition: Edition, about: Subject, event: str, attempt: Attempt, event_id: str | None) -> None:
    last = LastAttempt(attempt.id, attempt.code, rfc3339(attempt.started_at))
    data: Any
    if about.source_id is None:
        data = model.AttemptNews(about.app_id, about.app_uid, attempt.message_id, event_id, attempt.endpoint_id, last)
    else:
        data = model.IngestAttemptNews(about.source_id, attempt.message_id, event_id, attempt.endpoint_id, last)
    edition.add(about.org_id, _named(about, event), data)


def _add_blocked(tx: Transaction, edition: Edition, about: Subject, letter: DeadLetter) -> None:
    if not edition.wanted(about.org_id, model.LANE_BLOCKED):
        return
    lane = lanes.block_by(tx, letter.endpoint_id, letter.message_id)
    if lane is not None:
        app_id, app_uid = (about.app_id, about.app_uid) if about.source_id is None else (None, None)
        data = model.LaneBlocked(
            app_id, app_uid, about.source_id, letter.endpoint_id, key_of(lane), letter.message_id, letter.sequence, letter.id
        )
        edition.add(about.org_id, model.LANE_BLOCKED, data)


def _named(about: Subject, event: str) -> str:
    return event if about.source_id is None else INGEST[event]


def _event_of(tx: Transaction, edition: Edition, record: Record) -> str | None:
    """Which news that somebody hears an attempt is, by what came before it."""
    attempt = record.attempt
    about = edition.subject(attempt.app_id)
    event = _candidate(record)
    if about is None or event is None or not edition.wanted(about.org_id, _named(about, event)):
        return None
    return event if _is_true(tx, event, record) else None


def _candidate(record: Record) -> str | None:
    """Which news an attempt may be, as far as it alone tells."""
    if record.attempt.status == AttemptStatus.SUCCESS:
        return model.ATTEMPT_RECOVERED
    if record.dead is not None:
        # Also by hand, when the answer wanted an end of the schedule.
        return model.ATTEMPT_EXHAUSTED
    return model.ATTEMPT_FAILING if record.attempt.trigger == Trigger.SCHEDULED and record.attempt.number == FAILING else None


def _is_true(tx: Transaction, event: str, record: Record) -> bool:
    """Is it news, by what else has become of the delivery?"""
    attempt = record.attempt
    pair = (attempt.endpoint_id, attempt.message_id)
    successes = operational.successes(tx, *pair)
    if event == model.ATTEMPT_RECOVERED:
        # By the first success after it was told that the delivery fails, or would have been had anybody listened.
        late = attempt.trigger == Trigger.SCHEDULED and attempt.number > FAILING
        return successes == 1 and (late or operational.failures_with_retry(tx, *pair, FAILING) > 0)
    if successes:
        # By hand, in the same commit.
        return False
    if event == model.ATTEMPT_EXHAUSTED:
        # A delivery that was ended meanwhile has left no dead letter, or an older one.
        return record.dead is not None and operational.died_at(tx, *pair) == record.dead.died_at
    # Once, though its schedule should begin anew.
    return operational.retry_remains(tx, *pair) and operational.failures_with_retry(tx, *pair, FAILING) == 1
