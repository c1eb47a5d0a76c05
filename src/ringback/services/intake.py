"""How does a message come in? Validated before, matched here, committed with its deliveries as one, then handed to the dispatcher.

Works with callbacks, not tasks: at full speed it runs some thousands of times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Unavailable
from ringback.ids import IdMaker
from ringback.model.messages import Message, Origin, directed_to
from ringback.policy.filters import Subject
from ringback.services.directory import Entry
from ringback.services.ports import Feed, Handoff
from ringback.store.base import Acceptance, EventClaim, IdempotencyMark, Store, Target, VersionClaim
from ringback.telemetry.active import Active, active, within
from ringback.telemetry.prometheus import Metrics
from ringback.telemetry.tracing import Tracing

# Bytes that filters look at on the loop, each for itself: some 0.6 ms. What is more is left to a thread, as bodies are.
_ASIDE_BYTES: Final = 65_536


class NewMessage(msgspec.Struct, frozen=True, gc=False):
    """A message as somebody wants it: parsed and within the rules, not yet stored. Times in microseconds."""

    event_type: str
    payload: bytes
    life_us: int
    event_id: str | None = None
    channels: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    deliver_at: int | None = None
    content_type: str = "application/json"
    raw: bool = False
    origin: Origin | None = None
    headers: bytes | None = None
    event: EventClaim | None = None
    ordering_key: str | None = None
    version: VersionClaim | None = None

    def subject(self) -> Subject:
        """What filters look at. Takes some 10 us for each KiB of the payload."""
        return Subject.of(self.payload, self.content_type, self.headers)


class Answering(Protocol):
    """Where the result goes: exactly one of these is called, later, on the loop."""

    def accepted(self, message: Message) -> None:
        """It is durable."""
        ...

    def repeated(self, message_id: str) -> None:
        """The message of that id was made by the same idempotency key before."""
        ...

    def refused(self, error: Exception) -> None:
        """Nothing was kept."""
        ...


class Answers(msgspec.Struct, frozen=True):
    """`Answering` made of functions."""

    accepted: Callable[[Message], None]
    repeated: Callable[[str], None]
    refused: Callable[[Exception], None]


class _Pending(Acceptance):
    answers: Answering | None = None
    # What it came by, where traces are made.
    active: Active | None = None


class Intake:
    """Accepts messages, and tells `feed` of them. `closed` refuses new ones while the server drains."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        make_id: IdMaker,
        handoff: Handoff,
        metrics: Metrics,
        feed: Feed | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._handoff = handoff
        # A method is bound once, not for each message.
        self._reserve = handoff.reserve
        self._callbacks = (self._accepted if tracing is None else self._accepted_and_traced, self._refused, self._repeated)
        self._metrics = metrics
        self._feed = feed
        self._tracing = tracing
        self._aside: set[asyncio.Task[None]] = set()
        self._pending = 0
        self.closed = False

    @property
    def pending(self) -> int:
        """Messages that wait for their commit."""
        return self._pending

    def accept(
        self,
        entry: Entry,
        new: NewMessage,
        mark: IdempotencyMark | None,
        answers: Answering,
        only: Sequence[str] | None = None,
        refusal: Exception | None = None,
    ) -> None:
        """Store a message for all endpoints that want it, or for those of `only`. Raises Unavailable when the server is shutting down.

        With a `refusal` it is refused, unless the key of the mark made a message before: then that is what is answered. May raise it.
        """
        if self.closed:
            raise Unavailable("the server is shutting down; try again in a moment")
        if refusal is not None:
            if mark is None:
                raise refusal
            only = ()
        if only is not None:
            self._store_for(only, directed_to(only), entry, new, mark, answers, refusal)
            return
        # One that waits for its time has its endpoints found then (engine.deferred).
        only = entry.match(new.event_type, new.channels) if new.deliver_at is None else ()
        if entry.filters and (filtered := entry.filtered(only)):
            if len(new.payload) * filtered > _ASIDE_BYTES:
                self._begin_aside(only, entry, new, mark, answers)
                return
            only = entry.fitting(only, new.subject())
        self._store_for(only, len(only), entry, new, mark, answers, None)

    def _begin_aside(self, only: Sequence[str], entry: Entry, new: NewMessage, mark: IdempotencyMark | None, answers: Answering) -> None:
        """Find those of `only` whose filters a large payload fits on a thread, then store it for them."""
        # Whoever shuts down waits for it.
        self._pending += 1

        async def begin() -> None:
            try:
                fitting = await asyncio.to_thread(lambda: entry.fitting(only, new.subject()))
            except Exception as error:
                # The thread was not to be had: somebody waits for an answer all the same.
                answers.refused(error)
                return
            finally:
                self._pending -= 1
            self._store_for(fitting, len(fitting), entry, new, mark, answers, None)

        task = asyncio.get_running_loop().create_task(begin())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def _store_for(
        self,
        only: Sequence[str],
        matched: int,
        entry: Entry,
        new: NewMessage,
        mark: IdempotencyMark | None,
        answers: Answering,
        refusal: Exception | None,
    ) -> None:
        headers, by = new.headers, None
        if self._tracing is not None:
            headers, by = self._tracing.kept(headers), active()
        now_us = self._clock.now_us()
        app_id = entry.application.id
        deliver_at = new.deliver_at
        message = Message(
            self._ids.make(ids.MESSAGE, now_us),
            app_id,
            new.event_type,
            new.payload,
            now_us,
            # It is kept for so long from when it is sent: else it could be gone before its time.
            (now_us if deliver_at is None else deliver_at) + new.life_us,
            new.content_type,
            new.raw,
            new.event_id,
            new.channels,
            new.tags,
            deliver_at,
            matched,
            new.origin,
            headers,
            new.ordering_key,
        )
        reserve, size = self._reserve, len(new.payload)
        targets = [Target(endpoint_id, reserve(endpoint_id, app_id, size)) for endpoint_id in only]
        self._pending += 1
        accepted, refused, repeated = self._callbacks
        lanes = entry.lanes(only, new.ordering_key, None if new.raw else new.payload) if entry.ordered else None
        self._store.accept(
            _Pending(message, targets, accepted, refused, repeated, mark, new.event, refusal, [], lanes, new.version, answers, by)
        )

    def _accepted(self, acceptance: Acceptance) -> None:
        self._pending -= 1
        self._metrics.messages_accepted += 1
        self._metrics.backlog += len(acceptance.targets)
        message = acceptance.message
        try:
            acceptance.answers.accepted(message)  # type: ignore[attr-defined]  # made by accept() above
        finally:
            # It is durable whatever becomes of the answer.
            self._deliver(acceptance)
        if self._feed is not None:
            self._feed.accepted(message)

    def _accepted_and_traced(self, acceptance: Acceptance) -> None:
        by: Active | None = acceptance.active  # type: ignore[attr-defined]  # made by accept() above
        if self._tracing is not None:
            self._tracing.accepted(acceptance.message, by)
        # A commit is made for many, in the context of one of them.
        with within(by):
            self._accepted(acceptance)

    def _deliver(self, acceptance: Acceptance) -> None:
        message = acceptance.message
        if acceptance.claimed:
            self._handoff.hand_over(message, acceptance.claimed)
        if len(acceptance.claimed) < len(acceptance.targets):
            self._not_handed_over(acceptance)
        if message.deliver_at is not None:
            self._handoff.defer(message.app_id, message.deliver_at)

    def _not_handed_over(self, acceptance: Acceptance) -> None:
        """Some deliveries went to the database: there was no room in memory, or others of their lane come first."""
        claimed = {delivery.endpoint_id for delivery in acceptance.claimed}
        for target in acceptance.targets:
            if not target.claim:
                self._handoff.spilled(target.endpoint_id)
            elif target.endpoint_id not in claimed:
                self._handoff.unreserve(target.endpoint_id, len(acceptance.message.payload or b""))

    def _refused(self, acceptance: Acceptance, error: Exception) -> None:
        self._give_up(acceptance)
        acceptance.answers.refused(error)  # type: ignore[attr-defined]  # made by accept() above

    def _repeated(self, acceptance: Acceptance, message_id: str) -> None:
        self._give_up(acceptance)
        acceptance.answers.repeated(message_id)  # type: ignore[attr-defined]  # made by accept() above

    def _give_up(self, acceptance: Acceptance) -> None:
        self._pending -= 1
        size = len(acceptance.message.payload or b"")
        for target in acceptance.targets:
            if target.claim:
                self._handoff.unreserve(target.endpoint_id, size)
            else:
                self._handoff.spilled(target.endpoint_id)
