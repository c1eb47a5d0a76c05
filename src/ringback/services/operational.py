"""What does the platform tell its owner? Operational events, stored as messages in the transaction of what causes them: none is lost.

An event is an ordinary message of a hidden application (or, as the reference server has it, of one in an organisation of its own) and
delivered like any other. Who wants it is matched in the transaction; memory only knows which organisations may have somebody who listens,
so that for all others even an attempt that is news costs no more than one look into a set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.clock import Clock, rfc3339
from ringback.ids import IdMaker
from ringback.model import operational as model
from ringback.model.applications import Application
from ringback.model.attempts import Attempt
from ringback.model.deliveries import AttemptStatus, Trigger
from ringback.model.endpoints import Endpoint
from ringback.model.messages import Message
from ringback.model.operational import INGEST, DisabledBy, Event, LastAttempt
from ringback.model.tasks import Task, TaskKind
from ringback.policy.operational import FAILING
from ringback.services.ports import Handoff
from ringback.store.base import Record, Store, Transaction
from ringback.store.operations import attempt_log, operational, tasks
from ringback.store.operations.operational import Hearing, Subject
from ringback.telemetry.prometheus import Metrics

# How long the payload of an event is kept: the contract's default for messages, 90 days.
_LIFE_US: Final = 90 * 86_400 * 1_000_000
# Rows of a task's result that its event carries: some 150 kB. The task itself shows all of them.
_ITEMS_MAX: Final = 1_000

# Results of tasks are lists under these names.
_LISTS: Final = {TaskKind.APP_STATS: "appStats", TaskKind.EVENT_TYPE_STATS: "event_types"}
# What a task shows under the one name, the schema of its event has under the other.
_NAMED: Final = {"messagesSent": "messages_sent", "messagesPurged": "messages_purged", "appStats": "app_stats"}


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
        found = await store.read(lambda tx: (operational.listening(tx), operational.has_legacy(tx)))
        self._listening.update(found[0])
        self._legacy = self._legacy or found[1]

    def watch(self, followed: Callable[[], None]) -> None:
        """Have somebody told when an organisation begins to have its attempts told one by one."""
        self._followed = followed

    def listens(self, org_id: str) -> bool:
        """May this organisation have operational endpoints?"""
        return org_id in self._listening or self._legacy

    def listen(self, org_id: str) -> None:
        """This organisation is about to have some."""
        self._listening.add(org_id)

    def tell(self, tx: Transaction, org_id: str, event: str, data: Any) -> bool:
        """Store an event for every endpoint that wants it; is there any?"""
        heard = operational.heard_by(tx, org_id, event)
        self._publish(tx, heard, event, data)
        return bool(heard)

    # -- endpoints

    def endpoint_changed(self, tx: Transaction, former: Endpoint | None, now: Endpoint | None) -> None:
        """An endpoint was made (no `former`), deleted (none `now`) or changed by its owner."""
        endpoint = now or former
        if endpoint is None:
            return
        about = operational.subject(tx, endpoint.app_id)
        if about is None:
            self._legacy_changed(tx, endpoint.app_id, now)
            return
        if former is None:
            self._tell_endpoint(tx, about, model.ENDPOINT_CREATED, endpoint)
        elif now is None:
            self._tell_endpoint(tx, about, model.ENDPOINT_DELETED, endpoint)
        else:
            self._tell_endpoint(tx, about, model.ENDPOINT_UPDATED, endpoint)
            if former.disabled and not now.disabled:
                self._tell_endpoint(tx, about, model.ENDPOINT_ENABLED, endpoint)
            elif now.disabled and not former.disabled:
                self._tell_disabled(tx, about, endpoint.id, endpoint.uid, None, DisabledBy.MANUAL)

    def listener_changed(self, tx: Transaction, former: Endpoint | None, now: Endpoint | None) -> None:
        """As `endpoint_changed`, of an operational endpoint: nothing is told of those."""
        if now is not None:
            about = operational.owner(tx, now.app_id)
            if about is not None:
                self._follow(tx, about, now)

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

    def _tell_endpoint(self, tx: Transaction, about: Subject, event: str, endpoint: Endpoint) -> None:
        if about.source_id is None:
            self.tell(tx, about.org_id, event, model.EndpointNews(about.app_id, about.app_uid, endpoint.id, endpoint.uid))

    def _tell_disabled(
        self, tx: Transaction, about: Subject, endpoint_id: str, uid: str | None, fail_since: int | None, by: DisabledBy
    ) -> None:
        since = None if fail_since is None else rfc3339(fail_since)
        data: Any
        if about.source_id is None:
            data = model.EndpointDisabled(about.app_id, about.app_uid, endpoint_id, uid, since, by)
        else:
            data = model.IngestEndpointDisabled(about.source_id, endpoint_id, uid, since, by)
        self.tell(tx, about.org_id, _named(about, model.ENDPOINT_DISABLED), data)

    # -- attempts

    def attempt_recorded(self, application: Application, tx: Transaction, record: Record) -> None:
        """An attempt that may be news was recorded; `Record.tell` of the deliveries of an application."""
        if not self.listens(application.org_id):
            return
        about = operational.subject(tx, application.id)
        if about is None:
            return
        event = _event_of(tx, record)
        if event is not None:
            self._tell_attempt(tx, about, event, record.attempt)
        if record.disables_endpoint:
            enabled = operational.enabled(tx, record.delivery.endpoint_id)
            if enabled is not None:
                self._tell_disabled(tx, about, enabled.id, enabled.uid, None, DisabledBy.AUTOMATIC)

    def _tell_attempt(self, tx: Transaction, about: Subject, event: str, attempt: Attempt) -> None:
        name = _named(about, event)
        heard = operational.heard_by(tx, about.org_id, name)
        if not heard:
            return
        event_id = operational.event_id(tx, attempt.app_id, attempt.message_id)
        last = LastAttempt(attempt.id, attempt.code, rfc3339(attempt.started_at))
        data: Any
        if about.source_id is None:
            data = model.AttemptNews(about.app_id, about.app_uid, attempt.message_id, event_id, attempt.endpoint_id, last)
        else:
            data = model.IngestAttemptNews(about.source_id, attempt.message_id, event_id, attempt.endpoint_id, last)
        self._publish(tx, heard, name, data)

    # -- tasks

    def task_ended(self, tx: Transaction, task: Task) -> None:
        """A background task has finished, failed or was cancelled."""
        heard = operational.heard_by(tx, task.org_id, model.TASK_FINISHED)
        if not heard:
            return
        data = dict(task.data)
        if task.kind in _LISTS:
            data[_LISTS[task.kind]] = tasks.items(tx, task.id, _ITEMS_MAX)
        # Under the names that the task shows, and under those of the event's schema: readers know one or the other.
        data.update({named: data[shown] for shown, named in _NAMED.items() if shown in data})
        self._publish(tx, heard, model.TASK_FINISHED, model.TaskFinished(task.id, task.kind.value, task.status.value, data))

    def _publish(self, tx: Transaction, heard: list[Hearing], event: str, data: Any) -> None:
        if not heard:
            return
        payload = msgspec.json.encode(Event(event, data))
        for hearing in heard:
            # Made inside the transaction: ids must be in the order of commits, which cursors rely on.
            now_us = self._clock.now_us()
            message_id = self._ids.make(ids.MESSAGE, now_us)
            message = Message(message_id, hearing.app_id, event, payload, now_us, now_us + _LIFE_US, matched=len(hearing.endpoint_ids))
            operational.add_message(tx, message, hearing.endpoint_ids)
            tx.then(partial(self._stored, hearing, now_us))

    def _stored(self, hearing: Hearing, due_at: int) -> None:
        self._metrics.backlog += len(hearing.endpoint_ids)
        if self._handoff is not None:
            for endpoint_id in hearing.endpoint_ids:
                self._handoff.wake(endpoint_id, hearing.app_id, due_at)


def _named(about: Subject, event: str) -> str:
    return event if about.source_id is None else INGEST[event]


def _event_of(tx: Transaction, record: Record) -> str | None:
    """Which news an attempt is, by what came before it."""
    attempt = record.attempt
    pair = (attempt.endpoint_id, attempt.message_id)
    if attempt.status == AttemptStatus.SUCCESS:
        return model.ATTEMPT_RECOVERED if _was_failing(tx, *pair) and operational.successes(tx, *pair) == 1 else None
    if attempt.trigger != Trigger.SCHEDULED:
        return None
    if record.dead is not None:
        # A delivery that was ended meanwhile has left no dead letter, or an older one.
        died = operational.died(tx, *pair)
        return model.ATTEMPT_EXHAUSTED if died is not None and died.at == record.dead.died_at else None
    if attempt.number != FAILING or not operational.retry_remains(tx, *pair):
        return None
    return model.ATTEMPT_FAILING if operational.scheduled_failures(tx, *pair, FAILING) == 1 else None


def _was_failing(tx: Transaction, endpoint_id: str, message_id: str) -> bool:
    """Was it told that this delivery fails, or would have been had anybody listened?"""
    if not operational.scheduled_failures(tx, endpoint_id, message_id, FAILING):
        return False
    died = operational.died(tx, endpoint_id, message_id)
    # Where that attempt was the last one, it was told as such at once.
    return died is None or died.attempts > FAILING
