"""Whose messages have been waiting for their time, and who gets them? When a time comes, endpoints are found and deliveries made of it.

Whatever waits is in the database. Memory knows one time for each application that has something there, and works off what is due in small
steps, an application after the other, so that a million messages of one, all due at once, delay those of another by no more than a step.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from ringback.clock import SECOND_US, Clock
from ringback.engine.wakeup import Alarms
from ringback.engine.work import Work
from ringback.errors import RingbackError
from ringback.services.directory import Directory, Entry
from ringback.store.base import Store, Transaction
from ringback.store.operations import deferred, filtering, lanes
from ringback.store.operations.deferred import Released
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Rows written in one step: some 3 ms of the event loop at 15 us each, and a few thousand messages a second.
_STEP_ROWS: Final = 150
# Bytes of payloads that filters look at before a step: some 40 ms of a reader.
_STEP_BYTES: Final = 4 * 1024 * 1024
# Seconds until something that the store could not do is tried again.
_AGAIN_S: Final = 0.5
# How long an application rests whose messages ran into a defect, which is told each time.
_AFTER_DEFECT_US: Final = 3 * SECOND_US


class Deferred:
    """Messages that wait for their time. `wake(endpoint_id, app_id, due_at)` is called for endpoints that have got deliveries."""

    def __init__(
        self, store: Store, directory: Directory, clock: Clock, metrics: Metrics, work: Work, wake: Callable[[str, str, int], None]
    ) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._metrics = metrics
        self._work = work
        self._wake = wake
        self._alarms = Alarms(clock.now_us, self._rings, self._rung)
        # Application -> the time of its first message, as far as an alarm is set for it.
        self._next: dict[str, int] = {}
        # Applications that have something due, each once.
        self._due: deque[str] = deque()
        self._working = False

    def add(self, app_id: str, deliver_at: int) -> None:
        """A message of this application waits until `deliver_at`, microseconds since 1970."""
        known = self._next.get(app_id)
        if known is None or deliver_at < known:
            self._next[app_id] = deliver_at
            self._alarms.set(deliver_at, app_id)

    def cancel(self) -> None:
        """Ring no more."""
        self._alarms.cancel()
        self._due.clear()

    def _rings(self, app_id: str, at_us: int) -> None:
        next_us = self._next.get(app_id)
        if next_us is not None and next_us <= at_us:
            del self._next[app_id]
            self._due.append(app_id)

    def _rung(self) -> None:
        if self._due and not self._working:
            self._working = True
            self._work.begin(self._release_all())

    async def _release_all(self) -> None:
        try:
            while self._due:
                await self._release(self._due.popleft())
        finally:
            self._working = False

    async def _release(self, app_id: str) -> None:
        try:
            entry = await self._directory.find_by_id(app_id)
            judged: dict[str, tuple[str, ...]] | None = None
            if entry is not None and entry.filters:
                # Not in the transaction, which holds the loop.
                judged = await self._store.read(partial(_judged, entry, self._clock.now_us()))
            released = await self._store.write(lambda tx: self._step(tx, app_id, entry, judged))
        except RingbackError:
            await asyncio.sleep(_AGAIN_S)
            self._due.append(app_id)
            return
        except Exception as error:
            # A defect of ours, or a spoilt row: it must not hold up the messages of others.
            log(TASK_FAILED, failure=error, task="deferred", error=str(error))
            self.add(app_id, self._clock.now_us() + _AFTER_DEFECT_US)
            return
        self._metrics.backlog += released.made
        for endpoint_id, due_at in released.woken.items():
            self._wake(endpoint_id, app_id, due_at)
        if released.next_at is None:
            return
        if released.next_at <= self._clock.now_us():
            # Behind the others.
            self._due.append(app_id)
        else:
            self.add(app_id, released.next_at)

    def _step(self, tx: Transaction, app_id: str, entry: Entry | None, judged: dict[str, tuple[str, ...]] | None) -> Released:
        now_us = self._clock.now_us()
        if entry is None:
            # The application was deleted.
            return Released({}, 0, now_us if deferred.drop(tx, app_id, _STEP_ROWS) else None)
        if entry.stale:
            # It has changed since we asked: ask again, so that whoever is matched is matched by what holds now.
            return Released({}, 0, now_us)
        lane_of = partial(_lane_of, tx, entry) if entry.ordered else None
        return deferred.release(tx, entry.application.org_id, app_id, entry.match, now_us, _STEP_ROWS, lane_of, judged)


def _judged(entry: Entry, now_us: int, tx: Transaction) -> dict[str, tuple[str, ...]]:
    """Who gets the next messages that are due, of an application with filters."""
    found, size = dict[str, tuple[str, ...]](), 0
    for message in deferred.due(tx, entry.application.id, now_us, _STEP_ROWS):
        endpoint_ids = entry.match(message.event_type, message.channels)
        if entry.filtered(endpoint_ids):
            looked = filtering.look(tx, entry.application.id, message.id)
            endpoint_ids = entry.fitting(endpoint_ids, looked.subject)
            size += looked.size
        found[message.id] = endpoint_ids
        if size > _STEP_BYTES:
            break
    return found


def _lane_of(tx: Transaction, entry: Entry, endpoint_id: str, message_id: str) -> str | None:
    """The lane of a message whose time has come."""
    found = entry.lanes((endpoint_id,), *lanes.said_of(tx, entry.application.id, message_id))
    return None if found is None else found[endpoint_id]
