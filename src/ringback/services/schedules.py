"""Which sources send by themselves, and is one of them due? What is due becomes an event like any other: stored once, delivered as all are.

Nothing is remembered of what was sent but the claim of its event, made in the transaction that keeps the message: so a minute is sent
once, whatever is killed when. What was missed (the server was down, the store in trouble, the machine asleep) is made up for by one event,
that of the last minute which was due.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import RingbackError
from ringback.model.messages import Message, Origin
from ringback.model.sources import NO_ACTIVITY, Activity, Cron, Source
from ringback.policy.cron import Schedule, parse
from ringback.policy.sources import CRON, cron_key
from ringback.services.directory import Directory
from ringback.services.gateway import Ready, SourceDirectory
from ringback.services.intake import Answers, Intake, NewMessage
from ringback.store.base import EventClaim, Store, Transaction
from ringback.store.operations import deduplication, sources
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.events import SOURCE_LATE
from ringback.telemetry.log import log

# What schedules are counted in.
_MINUTE_US: Final = 60 * SECOND_US
# A claim outlives the next due minute by so much: as long as the clock may be set back without anything being sent twice.
_CLAIM_US: Final = 76 * 3_600 * SECOND_US
# Sources read in one step: some milliseconds.
_SLICE: Final = 100
# Events on their way to the disk at once: a few commits full.
_AT_ONCE: Final = 200
# Seconds until what could not be stored is tried again.
_AGAIN_S: Final = 1.0
# Seconds to the next look at the latest: a wall clock may be set meanwhile.
_LOOK_S: Final = 30.0
# An event that comes later than this is told: the store was in trouble, or the machine asleep.
_LATE_US: Final = 60 * SECOND_US
# The minute of what is never due again, some billion years from now.
_NEVER: Final = 1 << 50
_NAME: Final = f"{CRON}.webhook"


class _Timed(msgspec.Struct):
    """A source, its schedule, and the minute (since 1970) that is sent next."""

    source: Source
    schedule: Schedule
    next: int


class Schedules:
    """The sources of all organisations that send by themselves. Belongs to one event loop."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, ready: SourceDirectory, directory: Directory, intake: Intake) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ready = ready
        self._directory = directory
        self._intake = intake
        self._timed: dict[str, _Timed] = {}
        # None until all were read; then those that changed since.
        self._changed: set[str] | None = None
        self._looked_us = 0
        self._news = asyncio.Event()
        ready.watch(self._source_changed)

    async def wait(self, seconds: float) -> None:
        """Wait for so long, or until a source changes."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return

    async def step(self) -> float:
        """Send what is due; in how many seconds the next look is due. Raises StoreFailure, and then another look is due in a moment."""
        await self._learn()
        now_us = self._clock.now_us()
        minute = now_us // _MINUTE_US
        if now_us < self._looked_us:
            # The clock was set back: what is due now may have been sent before, which its claim knows.
            for timed in self._timed.values():
                timed.next = min(timed.next, timed.schedule.after(minute) or timed.next)
        self._looked_us = now_us
        due = [timed for timed in self._timed.values() if timed.next <= minute]
        for begin in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(self._send(timed, minute) for timed in due[begin : begin + _AT_ONCE]))
        if any(timed.next <= minute for timed in due):
            return _AGAIN_S
        following = min((timed.next for timed in self._timed.values()), default=_NEVER)
        return min(max((following * _MINUTE_US - self._clock.now_us()) / SECOND_US, 0.0), _LOOK_S)

    def _source_changed(self, source_id: str) -> None:
        if self._changed is not None:
            self._changed.add(source_id)
        self._news.set()

    async def _learn(self) -> None:
        """Know all sources that send by themselves, as they are now."""
        self._news.clear()
        if self._changed is None:
            self._changed = set()
            try:
                after: str | None = ""
                while after is not None:
                    found = await self._store.read(lambda tx, at=after: self._slice(tx, at))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
                    self._take(found)
                    after = found[-1][0].id if len(found) == _SLICE else None
            except RingbackError:
                self._changed = None
                raise
        while self._changed:
            source_id = next(iter(self._changed))
            one = await self._store.read(lambda tx, name=source_id: self._one(tx, name))  # type: ignore[misc]  # as above
            self._changed.discard(source_id)
            self._timed.pop(source_id, None)
            self._take([] if one is None else [one])

    def _slice(self, tx: Transaction, after: str) -> list[tuple[Source, int, Schedule, Activity]]:
        return [self._looked_up(tx, source, source.cron) for source in sources.scheduled(tx, self._vault, after, _SLICE) if source.cron]

    def _one(self, tx: Transaction, source_id: str) -> tuple[Source, int, Schedule, Activity] | None:
        source = sources.by_id(tx, self._vault, source_id)
        return None if source is None or source.cron is None else self._looked_up(tx, source, source.cron)

    def _looked_up(self, tx: Transaction, source: Source, cron: Cron) -> tuple[Source, int, Schedule, Activity]:
        """A source with the minute that it sends next: the last one that was due, unless that was sent, or is from before its time."""
        schedule = parse(cron.schedule)
        now_us = self._clock.now_us()
        minute = now_us // _MINUTE_US
        last = schedule.until(minute)
        if last is None or last * _MINUTE_US <= cron.since or deduplication.is_claimed(tx, source.id, _key(last), now_us):
            last = schedule.after(minute)
        return source, _NEVER if last is None else last, schedule, sources.activity(tx, source.id)

    def _take(self, found: list[tuple[Source, int, Schedule, Activity]]) -> None:
        for source, following, schedule, activity in found:
            if source.disabled:
                continue
            self._timed[source.id] = _Timed(source, schedule, following)
            if self._ready.ready(source.id) is None:
                self._ready.made_ready(source, activity)

    async def _send(self, timed: _Timed, minute: int) -> None:
        """Send the event of the last due minute; the source has its next one then. What cannot be stored stays due."""
        source, due = timed.source, timed.schedule.until(minute)
        if due is None or source.cron is None:
            return
        following = timed.schedule.after(due)
        try:
            entry = await self._directory.find_by_id(source.app_id)
            if entry is None:
                # Its application is gone, and it with that.
                self._timed.pop(source.id, None)
                return
            ready = self._ready.ready(source.id) or self._ready.made_ready(source, NO_ACTIVITY)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            answers = Answers(
                lambda message: _told(done, ready, message),
                lambda message_id: None if done.done() else done.set_result(None),
                lambda error: None if done.done() else done.set_exception(error),
            )
            self._intake.accept(entry, _event(ready, source.cron, due, following), None, answers)
            await done
        except RingbackError:
            # It stays due: the next step tries again.
            return
        late_us = self._clock.now_us() - timed.next * _MINUTE_US
        if late_us > _LATE_US:
            log(SOURCE_LATE, source_id=source.id, due_at=_text(due), late_s=late_us // SECOND_US)
        timed.next = _NEVER if following is None else following


def _told(done: asyncio.Future[None], ready: Ready, message: Message) -> None:
    ready.heard(message.created_at)
    if not done.done():
        done.set_result(None)


def _text(minute: int) -> str:
    """A minute since 1970 as people write it."""
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _key(minute: int) -> bytes:
    return deduplication.key_of(_text(minute))


def _event(ready: Ready, cron: Cron, due: int, following: int | None) -> NewMessage:
    """The event of a due minute. Another payload under the same minute is no other event: a source that was changed sends it once."""
    name = _text(due)
    window_us = ((due if following is None else following) - due) * _MINUTE_US + _CLAIM_US
    claim = EventClaim(ready.source.id, _key(due), deduplication.digest(name.encode()), window_us)
    origin = Origin(ready.source.id, name, None, None, (), sensitive=ready.sensitive)
    payload = cron.payload.encode("utf-8", "surrogatepass")
    key = cron_key(cron, ready.source.rules)
    return NewMessage(
        _NAME, payload, ready.life_us, content_type=cron.content_type, raw=True, origin=origin, headers=b"", event=claim, ordering_key=key
    )
