"""What follows from a request of a provider? Events are stored, refusals kept; the sender hears of it once it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeAlias

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import NotFound, RingbackError, StoreFailure, Unavailable
from ringback.model.messages import Message
from ringback.model.quarantine import CapturedRequest, Quarantined
from ringback.model.sources import CONFLICT, CannedAnswer
from ringback.services.comparing import Comparing
from ringback.services.directory import Directory, Entry
from ringback.services.gateway import Ready
from ringback.services.intake import Answering, Answers, Intake, NewMessage
from ringback.services.judging import Asked, Decision, Ignored, Refusal, Taken, compared, judge, plain, released
from ringback.services.processing import Outcomes, Pair
from ringback.services.quarantine import Quarantine
from ringback.services.sources import Sources
from ringback.signing.fetched import KeyRef, KeySource, KeyUnavailable
from ringback.signing.handshake import Answer
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from ringback.store.base import EventClaim
from ringback.store.operations.deduplication import digest
from ringback.telemetry.events import REQUEST_FAILED, SOURCE_CONFLICT, SOURCE_DEADLINE_PASSED
from ringback.telemetry.log import log

Header = tuple[bytes, bytes]
# Sources of which an event is awaited, by id: what to call when one is durable.
Awaited: TypeAlias = Mapping[str, Callable[[], None]]

_JSON: Final = (b"content-type", b"application/json")
_CLOSE: Final = (b"connection", b"close")
# Answers that have no body (RFC 9110, 15.3.5 and 15.3.6).
_WITHOUT_BODY: Final = (204, 205)
# A larger body takes more than some milliseconds to hash and to read.
LARGE_BYTES: Final = 1024 * 1024
# Keys that one request may make us fetch, one after the other: a certificate and its issuer.
_MAX_FETCHES: Final = 2


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What goes back to the sender."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""


# All that a stranger learns of a request that was not believed.
DENIED: Final = Reply(401)
OK: Final = Reply(200, (_JSON,), b"{}")
UNKNOWN: Final = Reply(404, (_JSON,), b'{"code":"not_found","detail":"Entity not found"}')
TOO_LARGE: Final = Reply(413, (_JSON, _CLOSE), b'{"code":"payload_too_large","detail":"The body is larger than this source takes"}')
TOO_SLOW: Final = Reply(408, (_JSON, _CLOSE), b'{"code":"request_timeout","detail":"The body did not arrive in time"}')
FAILED: Final = Reply(500, (_JSON,), b'{"code":"server_error","detail":"The server failed to answer; its log says why"}')


class Keys(KeySource, Protocol):
    """Keys of providers that publish them: fetched through the guard, from the providers' own hosts, and remembered."""

    async def fetch(self, ref: KeyRef) -> None:
        """Get a key, so that `key` has it. Raises KeyUnavailable."""
        ...

    async def visit(self, url: str) -> bool:
        """GET a URL that a provider asked us to visit; was it answered 2xx?"""
        ...


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
        requeue: Callable[[Entry, str, str | None], None] = lambda entry, message_id, awaited: None,
        awaited: Awaited | None = None,
    ) -> None:
        self._intake = intake
        self._directory = directory
        self._quarantine = quarantine
        self._sources = sources
        self._keys = keys
        self._clock = clock
        self._outcomes = outcomes
        self._comparing = comparing
        self._requeue = requeue
        # Sources of which somebody waits for an event; empty for nearly everybody.
        self._awaited: Awaited = {} if awaited is None else awaited

    async def answer(self, ready: Ready, request: InboundRequest, remote: str) -> Reply:
        """Answer one request; raises nothing."""
        try:
            return await self.receive(ready, request, remote)
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

    async def receive(self, ready: Ready, request: InboundRequest, remote: str) -> Reply:
        """Answer one request. Raises Unavailable when it could not be kept: the provider shall send it again."""
        decision = await self._compared(ready, await self._decide(ready, request))
        if isinstance(decision, Taken):
            return await self._take(ready, decision.events, request)
        if isinstance(decision, Refusal):
            return await self.refuse(ready, decision, request, remote)
        if isinstance(decision, Ignored):
            ready.counts[3] += 1
            return self._acknowledged(ready, request)
        return await self._answer(ready, decision)

    async def _decide(self, ready: Ready, request: InboundRequest) -> Decision:
        for _ in range(_MAX_FETCHES):
            try:
                return await self._judged(ready, request)
            except KeyUnavailable as missing:
                await self._keys.fetch(missing.ref)
        return await self._judged(ready, request)

    async def _judged(self, ready: Ready, request: InboundRequest) -> Decision:
        now_us = self._clock.now_us()
        if len(request.body) > LARGE_BYTES or b"content-encoding" in request.headers:
            # Hashing, unpacking and reading it may take a tenth of a second; others go on meanwhile.
            return await asyncio.to_thread(judge, ready, request, now_us, self._keys)
        return judge(ready, request, now_us, self._keys)

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

        Raises Unavailable when it could not be stored.
        """
        decision = await self.would_release(ready, item, believe=believe)
        if isinstance(decision, Refusal):
            return decision
        ids = await self.store(ready, _once(ready, item, decision.events)) if isinstance(decision, Taken) else []
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
                decision = released(ready, request, self._clock.now_us(), self._keys, item.received_at, believe=believe)
                return await self._compared(ready, decision)
            except KeyUnavailable as missing:
                if not left:
                    raise
                await self._keys.fetch(missing.ref)
        raise NotFound

    async def refuse(self, ready: Ready, refusal: Refusal, request: InboundRequest, remote: str) -> Reply:
        """Keep a request that was not believed, unless there are too many of them, and answer it."""
        ready.rejected(refusal.reason)
        # What is answered as taken is always kept; of what is refused, only as much as no flood can abuse.
        acknowledged = refusal.status < 300
        if refusal.kept and (acknowledged or ready.refused.take(self._clock.monotonic_s()) == 0.0):
            captured = CapturedRequest(request.method.decode("latin-1"), request.url, remote, tuple(request.headers.fields), request.body)
            try:
                await self._quarantine.keep(ready.source.id, refusal.reason, refusal.detail, captured, whole=acknowledged)
            except StoreFailure:
                if acknowledged:
                    raise
        if acknowledged:
            return self._acknowledged(ready, request)
        return DENIED if refusal.status == 401 else Reply(refusal.status)

    async def _answer(self, ready: Ready, asked: Asked) -> Reply:
        answer: Answer = asked.answer
        ready.counts[4] += 1
        if answer.captured_secret is not None and not await self._sources.capture(ready.source.id, answer.captured_secret):
            return DENIED
        if answer.fetch is not None and not await self._keys.visit(answer.fetch):
            raise Unavailable("the URL that the provider asked for could not be visited")
        headers = tuple((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in answer.headers)
        return Reply(answer.status, headers, answer.body)

    def _acknowledged(self, ready: Ready, request: InboundRequest) -> Reply:
        """What a request that was taken is answered, where no endpoint says."""
        if ready.answerer is None:
            return canned(ready)
        unpacked = plain(request)
        made = ready.answerer.make(request if isinstance(unpacked, Refusal) else unpacked, self._clock.now_us() / SECOND_US)
        headers = tuple((name.lower().encode(), value.encode()) for name, value in made.headers)
        return _framed(made.status, made.content_type, headers, made.body)

    async def _take(self, ready: Ready, events: list[NewMessage], request: InboundRequest) -> Reply:
        """Store events, and answer when all of them are durable. Raises Unavailable."""
        ids = await self.store(ready, events)
        if ready.source.rules.processed_by is not None:
            spoken = await self._processed(ready, events, ids)
            if spoken is not None:
                return spoken
        return self._acknowledged(ready, request)

    async def _processed(self, ready: Ready, events: list[NewMessage], ids: list[str]) -> Reply | None:
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
        for event, message_id in zip(events, ids, strict=True):
            if endpoint.id in entry.match(event.event_type, None):
                pair = Pair(ready.source.app_id, endpoint.id, message_id)
                spoken = await self._outcomes.wait(pair, max(end_s - self._clock.monotonic_s(), 0.0))
                if spoken is None:
                    self._too_late(ready, message_id, began_s, end_s)
                    raise Unavailable("the endpoint has not taken the event in time")
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

    async def store(self, ready: Ready, events: list[NewMessage]) -> list[str]:
        """Store events; the ids of their messages, of the first ones where they came before.

        Raises Unavailable, and NotFound when the application is gone.
        """
        entry = self._directory.known_by_id(ready.source.app_id) or await self._directory.find_by_id(ready.source.app_id)
        if entry is None:
            raise NotFound
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending = Pending(len(events), waiting)
        for index, event in enumerate(events):
            self.accept(ready, entry, event, pending, index)
        await waiting
        if pending.failure is not None:
            raise pending.failure
        return pending.ids

    def accept(self, ready: Ready, entry: Entry, event: NewMessage, pending: Pending, index: int) -> None:
        """Store one event, the one of that number among those of `pending`, which hears of it."""

        def accepted(message: Message) -> None:
            self.new(ready, message)
            pending.done(index, message.id)

        def repeated(message_id: str) -> None:
            self.again(ready, entry, message_id)
            pending.done(index, message_id)

        try:
            self.begin(ready, entry, event, Answers(accepted, repeated, pending.failed))
        except RingbackError as error:
            pending.failed(error)

    def begin(self, ready: Ready, entry: Entry, event: NewMessage, answers: Answering) -> None:
        """Have one event stored; `answers` must tell `new` or `again`. Raises Unavailable."""
        self._intake.accept(entry, event, None, answers)

    def new(self, ready: Ready, message: Message) -> None:
        """An event is durable."""
        ready.heard(message.created_at)
        if self._awaited:
            self._told(ready)
        if message.origin is not None and CONFLICT in message.origin.flags:
            log(SOURCE_CONFLICT, source_id=ready.source.id, message_id=message.id)

    def _told(self, ready: Ready) -> None:
        arrived = self._awaited.get(ready.source.id)
        if arrived is not None:
            arrived()

    async def fitting(self, ready: Ready, event: NewMessage) -> NewMessage | None:
        """An event that nobody called for, flagged where it does not fit the source's schema; None where the source takes no such."""
        doubtful = () if ready.schema is None else ready.schema.doubtful([event.payload])
        try:
            decision = await self._compared(ready, Taken([event], doubtful))
        except Unavailable:
            return None
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

        answers = Answers(added, lambda message_id: pending.done(0, message_id), pending.failed)
        for event in events:
            try:
                self._intake.accept(entry, event, None, answers)
            except RingbackError as error:
                pending.failed(error)
        await waiting
        if fresh:
            self._told(ready)
        if pending.failure is not None:
            raise pending.failure
        return fresh

    def again(self, ready: Ready, entry: Entry, message_id: str) -> None:
        """An event came that was durable before."""
        ready.counts[1] += 1
        if ready.source.rules.deduplication.on_failed == "requeue":
            self._requeue(entry, message_id, ready.source.rules.processed_by)

    def decided(self, ready: Ready, request: InboundRequest) -> NewMessage | None:
        """What can be said at once, without waiting for anything: an event to be stored; None where `receive` must look."""
        if not ready.prompt:
            return None
        try:
            decision = judge(ready, request, self._clock.now_us(), self._keys)
        except KeyUnavailable:
            return None
        return decision.events[0] if type(decision) is Taken and len(decision.events) == 1 and not decision.doubtful else None

    def entry(self, ready: Ready) -> Entry | None:
        """The application behind a source, if it is remembered."""
        return self._directory.known_by_id(ready.source.app_id)


def _once(ready: Ready, item: Quarantined, events: list[NewMessage]) -> list[NewMessage]:
    """The events of a request in quarantine; those without a name get that of the request, so that it is never let out twice."""

    def named(event: NewMessage, index: int) -> NewMessage:
        if event.event is not None:
            return event
        claim = EventClaim(ready.source.id, b"q%b %d" % (item.id.encode(), index), digest(event.payload), ready.window_us)
        return msgspec.structs.replace(event, event=claim)

    return [named(event, index) for index, event in enumerate(events)]


class Pending:
    """Events of one request that are on their way to the disk."""

    __slots__ = ("_left", "_waiting", "failure", "ids")

    def __init__(self, count: int, waiting: asyncio.Future[None]) -> None:
        self._left = count
        self._waiting = waiting
        self.ids = [""] * count
        self.failure: RingbackError | None = None

    def done(self, index: int, message_id: str) -> None:
        """One is durable, or was before."""
        self.ids[index] = message_id
        self._count()

    def failed(self, error: Exception) -> None:
        """One was not kept."""
        self.failure = error if isinstance(error, RingbackError) else Unavailable("the event could not be stored; send it again")
        self._count()

    def _count(self) -> None:
        self._left -= 1
        if not self._left and not self._waiting.done():
            self._waiting.set_result(None)


def unavailable(error: RingbackError) -> Reply:
    """The answer when nothing was kept: the provider shall send it again."""
    retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else 1
    retry = (b"retry-after", str(retry_after_s).encode())
    return Reply(503, (_JSON, retry), b'{"code":"unavailable","detail":"Not kept; send it again"}')


def canned(ready: Ready) -> Reply:
    """What the source answers to what it takes; `OK` itself unless the source says otherwise. Made once for a source."""
    reply: Reply | None = ready.reply
    if reply is None:
        reply = ready.reply = OK if ready.answer is None else _made(ready.answer)
    return reply


def _made(answer: CannedAnswer) -> Reply:
    more = tuple((name.lower().encode(), value.encode()) for name, value in answer.headers.items())
    return _framed(answer.status, answer.content_type, more, answer.body.encode())


def _framed(status: int, content_type: str, more: tuple[Header, ...], body: bytes) -> Reply:
    if status in _WITHOUT_BODY:
        # A body after such a head would be read as the next answer.
        return Reply(status, more)
    headers: tuple[Header, ...] = ((b"content-type", content_type.encode()),) if content_type else ()
    return Reply(status, headers + more, body)
