"""What follows from a request of a provider? Events are stored, refusals kept; the sender hears of it once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

from ringback.clock import SECOND_US, Clock
from ringback.errors import NotFound, RingbackError, StoreFailure, Unavailable
from ringback.model.arrivals import ACCEPTED, DUPLICATE, HANDSHAKE, IGNORED, REJECTED, SIGNAL, SUPERSEDED
from ringback.model.messages import Message, Remote
from ringback.model.quarantine import CapturedRequest, Quarantined
from ringback.model.sources import CONFLICT
from ringback.policy.sources_answers import Made
from ringback.services.arrivals import Came, Journal
from ringback.services.beside import beside
from ringback.services.comparing import Comparing
from ringback.services.directory import Directory, Entry
from ringback.services.gateway import Ready
from ringback.services.intake import Answering, Answers, Intake, NewMessage
from ringback.services.judging import Asked, Decision, Ignored, Refusal, Taken, Told, compared, let_out_once, plain, released
from ringback.services.pending import Pending
from ringback.services.processing import Outcomes, Pair
from ringback.services.quarantine import Quarantine
from ringback.services.replies import DENIED, FAILED, UNKNOWN, Reply, canned, framed, private, unavailable
from ringback.services.signals import Signals
from ringback.services.sources import Sources
from ringback.services.spooling import Aside, Behind
from ringback.services.traced_judging import traced
from ringback.signing.fetched import Keys, KeyUnavailable
from ringback.signing.handshake import Answer
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from ringback.store.base import Superseded
from ringback.telemetry.events import REQUEST_FAILED, SOURCE_CONFLICT, SOURCE_DEADLINE_PASSED
from ringback.telemetry.log import log
from ringback.telemetry.tracing import Tracing

# Sources of which somebody waits for an event, or for a call, by id: what to call when one is durable.
Awaited: TypeAlias = Mapping[str, Callable[[], None]]
_NOBODY: Final[Awaited] = {}

# Keys that one request may make us fetch, one after the other: a certificate and its issuer.
_MAX_FETCHES: Final = 2


class Receiver:
    """Takes requests in. Belongs to one event loop."""

    def __init__(
        self,
        intake: Intake,
        directory: Directory,
        quarantine: Quarantine,
        sources: Sources,
        keys: Keys,
        clock: Clock,
        outcomes: Outcomes,
        comparing: Comparing,
        journal: Journal,
        signals: Signals,
        requeue: Callable[[Entry, str, str | None], None] = lambda entry, message_id, awaited: None,
        awaited: Awaited | None = None,
        called: Awaited | None = None,
        aside: Aside | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._intake = intake
        self._directory = directory
        self._quarantine = quarantine
        self._sources = sources
        self._keys = keys
        self._clock = clock
        self._outcomes = outcomes
        self._comparing = comparing
        self._journal = journal
        self._signals = signals
        self._requeue = requeue
        self._judge = traced(tracing, clock)
        # Sources of which an event is awaited, whoever brings it, and those whose calls have a list read; empty for nearly everybody.
        self._awaited = _NOBODY if awaited is None else awaited
        self._called = _NOBODY if called is None else called
        # Where events go that the database cannot take; None: they are not acknowledged.
        self._aside = aside

    async def answer(self, ready: Ready, request: InboundRequest, remote: Remote) -> Reply:
        """Answer one request; raises nothing."""
        try:
            return private(ready, await self.receive(ready, request, remote))
        except Exception as error:
            return self.failure(error)

    @staticmethod
    def failure(error: Exception) -> Reply:
        """What is answered when a request could not be carried out."""
        if isinstance(error, NotFound):
            return UNKNOWN
        if isinstance(error, Unavailable):
            return unavailable(error)
        log(REQUEST_FAILED, failure=error, request_id="", method="", path="a source", error=type(error).__name__)
        return FAILED

    async def receive(self, ready: Ready, request: InboundRequest, remote: Remote) -> Reply:
        """Answer one request. Raises Unavailable when it could not be kept: the provider shall send it again."""
        decision = await self._decide(ready, request, remote)
        if isinstance(decision, Told):
            reply = await self._carried_out(ready, decision.rest, request, remote)
            # Before it is answered: what cannot be kept, the provider shall say again.
            await self._signals.heard(ready.source, decision.signal)
            self._noted(ready, SIGNAL, request, remote, reply.status, what=decision.signal.name)
            return reply
        return await self._carried_out(ready, decision, request, remote)

    async def _carried_out(self, ready: Ready, judged: Decision, request: InboundRequest, remote: Remote) -> Reply:
        decision = await self._compared(ready, judged)
        if isinstance(decision, Taken):
            return await self._take(ready, decision.events, request, remote)
        if isinstance(decision, Refusal):
            if isinstance(judged, Taken):
                # Believed, whatever the schema says: what it calls for is another thing.
                _tell(self._called, ready)
            return await self.refuse(ready, decision, request, remote)
        if isinstance(decision, Ignored):
            ready.counts[3] += 1
            _tell(self._called, ready)
            reply = await self._acknowledged(ready, request)
            self._noted(ready, IGNORED, request, remote, reply.status, what=decision.what)
            return reply
        return await self._answered(ready, decision, request, remote)

    def _noted(self, ready: Ready, outcome: str, request: InboundRequest, remote: Remote, status: int, **more: Any) -> None:
        came = Came(request.method, request.url, len(request.body), remote)
        self._journal.note(ready.source, outcome, came, status, **more)
        if outcome != SIGNAL:
            ready.weighed(outcome, len(request.body))

    async def _decide(self, ready: Ready, request: InboundRequest, remote: Remote) -> Decision | Told:
        for _ in range(_MAX_FETCHES):
            try:
                return await self._judged(ready, request, remote)
            except KeyUnavailable as missing:
                await self._keys.fetch(missing.ref)
        return await self._judged(ready, request, remote)

    async def _judged(self, ready: Ready, request: InboundRequest, remote: Remote) -> Decision | Told:
        return await beside(request, self._judge, ready, request, self._clock.now_us(), self._keys, remote)

    async def _compared(self, ready: Ready, decision: Decision) -> Decision:
        if not isinstance(decision, Taken) or not decision.doubtful or ready.schema is None:
            return decision
        try:
            problem = await self._comparing.problem(ready.schema.text, decision.doubtful)
        except Unavailable as unknown:
            return compared(ready, decision, str(unknown), known=False)
        return compared(ready, decision, problem, known=True)

    async def release(self, ready: Ready, item: Quarantined, *, believe: bool) -> Refusal | list[str]:
        """Let a request out of quarantine, verified as of when it came, or believed as it is: the ids of its messages, or why not.

        A question makes no message; what it asks for is done, though nobody hears the answer.
        Raises Unavailable when it could not be stored.
        """
        decision = await self.would_release(ready, item, believe=believe)
        if isinstance(decision, Refusal):
            return decision
        ids = list[str]()
        if isinstance(decision, Taken):
            pending = await self._stored(ready, let_out_once(ready, item, decision.events))
            if pending.failure is not None:
                raise pending.failure
            captured = item.request
            came = Came(captured.method.encode("latin-1"), captured.url, len(captured.body or b""), Remote.read(captured.remote))
            for index, outcome, message_id in pending.others:
                if outcome == SUPERSEDED:
                    self.stands(ready, decision.events[index], came, 0, outcome, message_id)
            ids = pending.ids
        elif isinstance(decision, Asked):
            await self._answer(ready, decision.answer)
        await self._quarantine.forget(ready.source.id, item.id)
        return ids

    async def would_release(self, ready: Ready, item: Quarantined, *, believe: bool) -> Decision:
        """What `release` would do; nothing is changed. Raises Unavailable when a key cannot be had."""
        captured = item.request
        if captured.body is None:
            return Refusal("body_not_kept", "the body was too large to be kept; ask the provider to send the event again")
        request = InboundRequest(Headers(captured.headers, lowered=True), captured.body, captured.method.encode("latin-1"), captured.url)
        for left in range(_MAX_FETCHES, -1, -1):
            try:
                judge = partial(released, believe=believe)
                now_us, remote = self._clock.now_us(), Remote.read(captured.remote)
                decision = await beside(request, judge, ready, request, now_us, self._keys, item.received_at, remote)
                return await self._compared(ready, decision)
            except KeyUnavailable as missing:
                if not left:
                    raise
                await self._keys.fetch(missing.ref)
        raise NotFound

    async def refuse(self, ready: Ready, refusal: Refusal, request: InboundRequest, remote: Remote) -> Reply:
        """Keep a request that was not believed, unless there are too many of them, and answer it."""
        ready.rejected(refusal.reason)
        kept = False
        # What is answered as taken is always kept; of what is refused, only as much as no flood can abuse.
        acknowledged = refusal.status < 300
        if refusal.kept and (acknowledged or ready.refused.take(self._clock.monotonic_s()) == 0.0):
            captured = CapturedRequest(
                request.method.decode("latin-1"), request.url, str(remote), tuple(request.headers.fields), request.body
            )
            try:
                await self._quarantine.keep(ready.source.id, refusal.reason, refusal.detail, captured, whole=acknowledged)
                kept = True
            except StoreFailure:
                if acknowledged:
                    raise
        if acknowledged:
            return await self._acknowledged(ready, request)
        reply = DENIED if refusal.status == 401 else Reply(refusal.status)
        if kept:
            ready.weighed(REJECTED, len(request.body))
        else:
            self._noted(ready, REJECTED, request, remote, reply.status, what=refusal.reason)
        return reply

    def turned_away(self, ready: Ready, reason: str, came: Came, status: int) -> None:
        """A request was answered without being looked at: it is counted and noted, and not kept."""
        ready.rejected(reason)
        ready.weighed(REJECTED, came.body_bytes)
        self._journal.note(ready.source, REJECTED, came, status, what=reason)

    async def _answered(self, ready: Ready, asked: Asked, request: InboundRequest, remote: Remote) -> Reply:
        ready.counts[4] += 1
        reply = None
        try:
            reply = await self._answer(ready, asked.answer)
        finally:
            status = 503 if reply is None else reply.status
            self._noted(ready, HANDSHAKE, request, remote, status, what=asked.name, settled=status < 300)
        return reply

    async def _answer(self, ready: Ready, answer: Answer) -> Reply:
        if answer.captured_secret is not None and not await self._sources.capture(ready.source.id, answer.captured_secret):
            return DENIED
        if answer.confirmed is not None:
            # Before it is answered: what cannot be kept, the hub shall say again.
            await self._signals.confirmed(ready.source, answer.confirmed)
        if answer.fetch is not None and not await self._keys.visit(answer.fetch):
            raise Unavailable("the URL that the provider asked for could not be visited")
        headers = tuple((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in answer.headers)
        return Reply(answer.status, headers, answer.body)

    async def _acknowledged(self, ready: Ready, request: InboundRequest) -> Reply:
        """What a request that was taken is answered, where no endpoint says."""
        answerer = ready.answerer
        if answerer is None:
            return canned(ready)
        now_s = self._clock.now_us() / SECOND_US

        def make() -> Made:
            unpacked = plain(request)
            return answerer.make(request if isinstance(unpacked, Refusal) else unpacked, now_s)

        made = await beside(request, make)
        headers = tuple((name.lower().encode(), value.encode()) for name, value in made.headers)
        return framed(made.status, made.content_type, headers, made.body)

    async def _take(self, ready: Ready, events: list[NewMessage], request: InboundRequest, remote: Remote) -> Reply:
        """Store events, and answer when all of them are durable. Raises Unavailable."""
        came = Came(request.method, request.url, len(request.body), remote)
        if self._aside is not None and self._aside.comes_behind(ready):
            await self.set_aside(ready, events, came, Behind())
            ready.weighed(ACCEPTED, len(request.body))
            return await self._acknowledged(ready, request)
        pending = await self._stored(ready, events)
        if pending.failure is not None:
            await self.set_aside(ready, [events[index] for index in sorted(pending.unkept)], came, pending.failure)
        reply = None
        try:
            reply = await self._spoken(ready, events, pending, request)
        finally:
            if len(pending.others) < len(events):
                ready.weighed(ACCEPTED, len(request.body))
            if pending.others:
                for index, outcome, message_id in pending.others:
                    self.stands(ready, events[index], came, 503 if reply is None else reply.status, outcome, message_id)
                if len(pending.others) == len(events):
                    ready.weighed(min(outcome for _, outcome, _ in pending.others), len(request.body))
        return reply

    async def _spoken(self, ready: Ready, events: list[NewMessage], pending: Pending, request: InboundRequest) -> Reply:
        """The answer to events that are durable. Raises Unavailable."""
        if ready.source.rules.processed_by is not None:
            # For what is dropped nobody does anything.
            dropped = {index for index, outcome, _ in pending.others if outcome == SUPERSEDED}
            kept = [(event, pending.ids[index]) for index, event in enumerate(events) if index not in dropped]
            spoken = await self._processed(ready, kept) if kept else None
            if spoken is not None:
                return spoken
        return await self._acknowledged(ready, request)

    def stands(self, ready: Ready, event: NewMessage, came: Came, status: int, outcome: str, message_id: str) -> None:
        """Note an event that made no message, because that one stands for it: it came as it before, or that one is newer."""
        self._journal.note(ready.source, outcome, came, status, message_id=message_id, origin=event.origin)

    async def _processed(self, ready: Ready, events: list[tuple[NewMessage, str]]) -> Reply | None:
        """The answer of the endpoint that the source waits for, once it has taken all of these messages.

        None where the source's own counts. Raises Unavailable when it has not in time: they are durable, so that the provider's retry is a
        duplicate that joins the run.
        """
        rules = ready.source.rules
        entry = await self._directory.find_by_id(ready.source.app_id)
        endpoint = None if entry is None else next((e for e in entry.endpoints.values() if rules.processed_by in (e.id, e.uid)), None)
        if entry is None or endpoint is None or endpoint.disabled:
            raise Unavailable("the endpoint whose answer is waited for is not there, or disabled")
        began_s = self._clock.monotonic_s()
        end_s = began_s + rules.deadline_s
        spoken = None
        for event, message_id in events:
            if endpoint.id in entry.match(event.event_type, None):
                pair = Pair(ready.source.app_id, endpoint.id, message_id)
                heard = await self._outcomes.wait(pair, max(end_s - self._clock.monotonic_s(), 0.0))
                if heard is None:
                    self._too_late(ready, message_id, began_s, end_s)
                    raise Unavailable("the endpoint has not taken the event in time")
                # What its filter kept from it has no answer.
                spoken = heard if heard.status or spoken is None else spoken
        if spoken is None or spoken.status == 0 or rules.answer is not None:
            return None
        return Reply(spoken.status, spoken.headers, spoken.body)

    def _too_late(self, ready: Ready, message_id: str, began_s: float, end_s: float) -> None:
        """Tell of an answer that did not come by `end_s`; one that failed before is told of by its attempt."""
        now_s = self._clock.monotonic_s()
        if now_s < end_s:
            return
        if ready.metrics is not None:
            ready.metrics.source_deadlines_passed += 1
        log(SOURCE_DEADLINE_PASSED, source_id=ready.source.id, message_id=message_id, waited_s=round(now_s - began_s, 3))

    async def _stored(self, ready: Ready, events: list[NewMessage]) -> Pending:
        """Have events stored; what became of each is in what is returned. Raises Unavailable, and NotFound when the application is gone."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending = Pending(len(events), waiting)
        try:
            entry = self._directory.known_by_id(ready.source.app_id) or await self._directory.find_by_id(ready.source.app_id)
        except StoreFailure as error:
            for index in range(len(events)):
                pending.failed(index, error)
            return pending
        if entry is None:
            raise NotFound
        for index, event in enumerate(events):
            self.accept(ready, entry, event, pending, index)
        await waiting
        return pending

    async def set_aside(self, ready: Ready, events: list[NewMessage], came: Came, error: Exception) -> None:
        """Keep events in the spool that were not committed because of this error, if that may be; else raises the error, or why not."""
        if self._aside is None or not self._aside.takes(ready, error):
            raise error
        await self._aside.keep(ready, events, came)

    def sets_aside(self, ready: Ready, error: Exception) -> bool:
        """Would `set_aside` try?"""
        return self._aside is not None and self._aside.takes(ready, error)

    def accept(self, ready: Ready | None, entry: Entry, event: NewMessage, pending: Pending, index: int) -> None:
        """Store one event, the one of that number among those of `pending`, which hears of it."""

        def accepted(message: Message) -> None:
            if ready is not None:
                self.new(ready, message)
            pending.done(index, message.id)

        def repeated(message_id: str) -> None:
            if ready is not None:
                self.again(ready, entry, message_id)
            pending.stands(index, DUPLICATE, message_id)

        def refused(error: Exception) -> None:
            if isinstance(error, Superseded):
                if ready is not None:
                    self.older(ready)
                pending.stands(index, SUPERSEDED, error.by)
            else:
                pending.failed(index, error)

        try:
            self._intake.accept(entry, event, None, Answers(accepted, repeated, refused))
        except RingbackError as error:
            pending.failed(index, error)

    def begin(self, ready: Ready, entry: Entry, event: NewMessage, answers: Answering) -> None:
        """Have one event stored; `answers` must tell `new`, `again` or `older`. Raises Unavailable."""
        if self._aside is not None and self._aside.comes_behind(ready):
            raise Behind
        self._intake.accept(entry, event, None, answers)

    def new(self, ready: Ready, message: Message) -> None:
        """An event is durable."""
        ready.heard(message.created_at)
        if self._awaited or self._called:
            _tell(self._awaited, ready)
            _tell(self._called, ready)
        if message.origin is not None and CONFLICT in message.origin.flags:
            log(SOURCE_CONFLICT, source_id=ready.source.id, message_id=message.id)

    async def fitting(self, ready: Ready, event: NewMessage) -> NewMessage | None:
        """An event that nobody called for, flagged where it does not fit the source's schema; None where the source takes no such.

        Raises Unavailable where nobody can tell now, and that must be known.
        """
        doubtful = () if ready.schema is None else ready.schema.doubtful([event.payload])
        if ready.schema is None or not doubtful:
            return event
        problem, known = None, True
        try:
            problem = await self._comparing.problem(ready.schema.text, doubtful)
        except Unavailable as unknown:
            if ready.source.rules.schema_mode != "observe":
                raise
            problem, known = str(unknown), False
        decision = compared(ready, Taken([event], doubtful), problem, known=known)
        return decision.events[0] if isinstance(decision, Taken) else None

    async def add(self, ready: Ready, events: list[NewMessage]) -> list[str]:
        """Store events that nobody called for; the ids of the messages of those that had not come. Raises Unavailable, and NotFound.

        They say nothing of when the source was heard.
        """
        entry = self._directory.known_by_id(ready.source.app_id) or await self._directory.find_by_id(ready.source.app_id)
        if entry is None:
            raise NotFound
        if not events:
            return []
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending, fresh = Pending(len(events), waiting), list[str]()

        def added(message: Message) -> None:
            fresh.append(message.id)
            pending.done(0, message.id)

        def refused(error: Exception, event: NewMessage) -> None:
            if isinstance(error, Superseded):
                self.stands(ready, event, Came(b"", b"", len(event.payload), None), 0, SUPERSEDED, error.by)
                pending.done(0, error.by)
            else:
                pending.failed(0, error)

        for event in events:
            answers = Answers(added, lambda message_id: pending.done(0, message_id), partial(refused, event=event))
            try:
                self._intake.accept(entry, event, None, answers)
            except RingbackError as error:
                pending.failed(0, error)
        await waiting
        if fresh:
            _tell(self._awaited, ready)
        if pending.failure is not None:
            raise pending.failure
        return fresh

    def again(self, ready: Ready, entry: Entry, message_id: str) -> None:
        """An event came that was durable before."""
        ready.counts[1] += 1
        _tell(self._called, ready)
        if ready.source.rules.deduplication.on_failed == "requeue":
            self._requeue(entry, message_id, ready.source.rules.processed_by)

    def older(self, ready: Ready) -> None:
        """An event came that was older than what had been accepted."""
        ready.counts[5] += 1
        _tell(self._called, ready)

    def decided(self, ready: Ready, request: InboundRequest, remote: Remote) -> NewMessage | None:
        """What can be said at once, without waiting for anything: an event to be stored; None where `receive` must look."""
        if not ready.prompt:
            return None
        try:
            decision = self._judge(ready, request, self._clock.now_us(), self._keys, remote)
        except KeyUnavailable:
            return None
        return decision.events[0] if type(decision) is Taken and len(decision.events) == 1 and not decision.doubtful else None

    def entry(self, ready: Ready) -> Entry | None:
        """The application behind a source, if it is remembered."""
        return self._directory.known_by_id(ready.source.app_id)


def _tell(waiting: Awaited, ready: Ready) -> None:
    arrived = waiting.get(ready.source.id)
    if arrived is not None:
        arrived()
