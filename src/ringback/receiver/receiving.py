"""How does a program get webhooks? A `Receiver`: what it believes, who handles what, and what the provider is answered.

Example:
    >>> from ringback.receiver import Event, Receiver
    >>> receiver = Receiver("stripe", ["whsec_test"])
    >>> @receiver.on("invoice.paid")
    ... def paid(event: Event) -> None:
    ...     print(event.id, event.data["object"])
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from ringback.clock import SECOND_US, Clock, SystemClock
from ringback.errors import Unavailable, VerificationError
from ringback.model.sources import DEFAULT_BODY_BYTES, OwnScheme, SourceSecret
from ringback.policy.sources_arrival import Bucket
from ringback.receiver.dedup import KEPT_S, Claim, EventKey, Inbox, checked_window, key_of
from ringback.receiver.event import Event, RefusedByHandlerError, Reply, reply_of
from ringback.receiver.fetching import Fetcher, HttpsFetcher
from ringback.receiver.flow import Call, Steps, run, run_async
from ringback.receiver.judging import Judge, describe
from ringback.receiver.routes import Handler, Routes
from ringback.receiver.sqlite_inbox import SqliteInbox
from ringback.signing.fetched import KeySource, KeyUnavailable
from ringback.signing.handshake import Answer
from ringback.signing.headers import Headers, raw_field
from ringback.signing.large_documents import WHOLE_BYTES
from ringback.signing.request import InboundRequest, Secret

_LOG: Final = logging.getLogger("ringback.receiver")

H = TypeVar("H", bound=Handler)
T = TypeVar("T")
HeadersLike: TypeAlias = Headers | Mapping[str, str] | Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]]

# Methods that are only ever questions.
_ASKING: Final = ("GET", "HEAD", "OPTIONS")
# Keys that one request may make us fetch, one after the other: a certificate and its issuer.
_MAX_FETCHES: Final = 2
# To hash a larger body, and to look into it some five times, takes milliseconds: not on an event loop.
_LARGE_BYTES: Final = WHOLE_BYTES
# Bytes of an answer that are kept for duplicates: TwiML and JSON for chats are smaller by far.
_MAX_KEPT_REPLY: Final = 16 * 1024
# Refused requests that are logged, a second: enough to see what is wrong, too few for a flood to fill the disk.
_REFUSALS_TOLD_PER_S: Final = 10.0
# A killed process keeps its events from being run for so long, seconds: above what providers wait, below what most leave between retries.
_LEASE_S: Final = 60

# RFC 9110, 15.5 and 15.6: what these answers say.
UNBELIEVED: Final = Reply(401)
FAILED: Final = Reply(500)
CUT_SHORT: Final = Reply(400)
TOO_LARGE: Final = Reply(413)
TOO_SLOW: Final = Reply(408)


class Receiver:
    """Receives the webhooks of one provider. May be shared by threads and coroutines; make it once, when the program starts.

    Raises ValueError at once when it could not verify: no secret, an unknown provider, a scheme that proves nothing.

    Args:
        provider: a name that `ringback providers` lists (`stripe`, `github`, ...), or `ringback` for what a Ringback server delivers.
        secrets: as the provider shows them, newest first; any of them may have signed.
        scheme: one scheme by its name, or one of your own (`ringback.signing.scheme.Signed` and others), where no provider is meant.
        url: the public URL as it is registered at the provider, without query; needed where it is signed and a proxy stands in front.
        tolerance: how old or early a signed time may be, both ways. None: the provider's own.
        max_body_bytes: larger bodies are answered 413, 25 MiB at most.
        verify_token: the word chosen at registration, for handshakes (Meta, Strava, eBay).
        public_key: the public key of handshakes that encrypt.
        topics: what was asked for, where handshakes name it (WebSub).
        allowed_origins: who may be granted a subscription (CloudEvents); empty: everybody.
        unverified: believe everybody. Only behind something else that verifies.
        event_id_at: places that together name an event (`header:NAME`, `json:PATH`, `form:NAME`, `body`), not the provider's own.
        event_type_at: places of the event's type, tried in order, instead of the provider's own.
        inbox: remembers which events were taken, so that none runs twice; without one, every repetition runs.
        mode: acknowledge when the handler ran (`processed`), or when the event is on disk for a `Worker` (`stored`).
        deadline: how long the sender is kept waiting for the handler (`processed`, with an inbox). Then it is answered 503; the handler
            runs on, and the sender's next try gets its answer. None: as long as it takes.
        lease: how long an event of a process that was killed is kept from others. A handler that takes longer may run twice.
        keep: how long events are remembered, 75 hours to 31 days.
        keep_secret: called with the secret that the provider sends in its handshake (Asana, Notion); must store it.
        fetcher: gets keys that providers publish. None: over HTTPS, from the providers' own hosts.
        name: under which the inbox keeps the events; two receivers of one provider need two names. Default: the provider's.
        clock: tells the time; tests have their own.
    """

    def __init__(
        self,
        provider: str = "",
        secrets: str | Sequence[str | Secret] = (),
        *,
        scheme: str | OwnScheme | None = None,
        url: str | None = None,
        tolerance: timedelta | None = None,
        max_body_bytes: int = DEFAULT_BODY_BYTES,
        verify_token: str = "",
        public_key: str = "",
        topics: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        unverified: bool = False,
        event_id_at: Sequence[str] | None = None,
        event_type_at: Sequence[str] = (),
        inbox: Inbox | None = None,
        mode: Literal["processed", "stored"] = "processed",
        deadline: timedelta | None = None,
        lease: timedelta = timedelta(seconds=_LEASE_S),
        keep: timedelta = timedelta(seconds=KEPT_S),
        keep_secret: Callable[[str], None] | None = None,
        fetcher: Fetcher | None = None,
        name: str = "",
        clock: Clock | None = None,
    ) -> None:
        _check(mode, inbox, deadline, lease, unverified=unverified)
        source = describe(
            provider,
            secrets=secrets,
            scheme=scheme,
            tolerance=tolerance,
            max_body_bytes=max_body_bytes,
            verify_token=verify_token,
            public_key=public_key,
            topics=topics,
            allowed_origins=allowed_origins,
            offers_to_keep=keep_secret is not None,
            unverified=unverified,
            event_id_at=event_id_at,
            event_type_at=event_type_at,
        )
        self.clock: Clock = clock or SystemClock()
        self._judge = Judge(source)
        self.provider = self._judge.provider
        self.name = name or self.provider
        self.max_body_bytes = max_body_bytes
        self.inbox = inbox
        self._url = None if url is None else url.partition("?")[0].encode()
        self.queue = inbox.queue if mode == "stored" and isinstance(inbox, SqliteInbox) else None
        self._routes = Routes()
        self._lease_us = int(lease.total_seconds() * SECOND_US)
        self._deadline_s = None if deadline is None else deadline.total_seconds()
        self._late: set[asyncio.Task[Reply]] = set()
        self._keep_us = checked_window(keep.total_seconds())
        self._keep_secret, self._capturing = keep_secret, False
        self._fetcher: Fetcher = fetcher or HttpsFetcher()
        self._lock = threading.Lock()
        self._told = Bucket(_REFUSALS_TOLD_PER_S)
        self._counts: Counter[str] = Counter()

    def on(self, event_type: str, *more: str) -> Callable[[H], H]:
        """Let a function, or coroutine function, handle events of these types; `*` in a name stands for any text, `*` alone for the rest.

        One event goes to one handler: that of its own name, else that of the longest pattern. What it returns is the answer where the
        provider wants one (text, dict, list, `Reply`); what it raises is answered 500, so that the provider sends the event again. A
        `Reply` that is not 2xx goes out as it is, and counts as a failure too: the next try runs the handler.
        """
        names = (event_type, *more)
        if not all(name and isinstance(name, str) for name in names):
            raise ValueError("a handler needs the name of an event type: @receiver.on('invoice.paid'), or '*' for all that have no other")

        def register(handler: H) -> H:
            for name in names:
                self._routes.add(name, handler)
            return handler

        return register

    def verify(self, headers: HeadersLike, body: bytes, method: str = "POST", url: str = "") -> Event:
        """The event of a request, verified over the raw bytes of the body. Does no I/O, and calls no handler.

        A batch is one event without an id. Raises VerificationError, whose `reason` is one of the documented words, for any bytes that are
        not believed; KeyUnavailable where the provider's key was not fetched yet, which `verify_async` would do.
        """
        return self._judge.whole(self._raw_request(headers, body, method, url), self.clock.now_us(), self._fetcher)

    async def verify_async(self, headers: HeadersLike, body: bytes, method: str = "POST", url: str = "") -> Event:
        """As `verify`, but fetches the provider's key where one is needed, and reads large bodies off the loop."""
        return await run_async(self._judged(self._raw_request(headers, body, method, url), self._judge.whole))

    def _raw_request(self, headers: HeadersLike, body: bytes, method: str, url: str) -> InboundRequest:
        if not isinstance(body, bytes):
            raise TypeError(
                f"verify needs the bytes of the body as they came, not a {type(body).__name__}: anything parsed has another signature"
            )
        return self.request(headers, body, method, url)

    def request(self, headers: HeadersLike, body: bytes, method: str, url: str | bytes) -> InboundRequest:
        """A request as verification sees it: under the public URL of the receiver, with the query that came."""
        called = url if isinstance(url, bytes) else url.encode("utf-8", "surrogatepass")
        if self._url is not None:
            called = self._url + b"".join(called.partition(b"?")[1:])
        return InboundRequest(_headers(headers), body, method.encode("latin-1", "replace"), called)

    def handle(self, request: InboundRequest) -> Reply:
        """Do all that a request asks for, and say what to answer. Blocks as long as the handler runs. No sender can make it raise."""
        if self._deadline_s is None:
            return run(self._steps(request))
        replies: list[Reply] = []
        # What the framework knows of the request is known to the handler, as it is without a deadline.
        context = contextvars.copy_context()
        work = lambda: replies.append(context.run(run, self._steps(request)))  # noqa: E731 - the two lines belong together
        thread = threading.Thread(target=work, name="ringback-handler", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._count("unavailable")
            _LOG.error("receiver %s could not take a request: %s", self.name, error)
            return _later(1)
        thread.join(self._deadline_s)
        is_late = thread.is_alive()
        if replies:
            return replies[0]
        return self._too_late() if is_late else FAILED

    async def handle_async(self, request: InboundRequest) -> Reply:
        """As `handle`; handlers that are no coroutines, and the inbox, run on threads."""
        if self._deadline_s is None:
            return await run_async(self._steps(request))
        task = asyncio.create_task(run_async(self._steps(request)))
        # The loop itself holds no task: one that is late must be held here.
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        done, _ = await asyncio.wait((task,), timeout=self._deadline_s)
        return task.result() if done else self._too_late()

    def _too_late(self) -> Reply:
        self._count("late")
        _LOG.warning("receiver %s: a handler has not ended in %s s; it runs on, and the sender will ask again", self.name, self._deadline_s)
        return _later(1)

    @property
    def odd_names(self) -> Mapping[bytes, bytes]:
        """Headers of the provider that are written with an underscore, by the name that they have with a dash: for WSGI."""
        return self._judge.odd_names

    def refusal(self, method: str, content_length: int | None) -> Reply | None:
        """What to answer before the body is read, if that is certain by then."""
        if method != "POST" and method not in _ASKING:
            return self._not_allowed()
        if content_length is not None and content_length > self.max_body_bytes:
            return self.too_large()
        return None

    def too_large(self) -> Reply:
        """The answer to a body over the limit, which is counted."""
        self._count("rejected:too_large")
        return TOO_LARGE

    def cut_short(self) -> Reply:
        """The answer to a body that is shorter than was announced, which is counted."""
        self._count("rejected:cut_short")
        if self._told.take(self.clock.monotonic_s()) == 0.0:
            _LOG.warning(
                "receiver %s got less of a body than was announced: the sender went away, or something before us has read it", self.name
            )
        return CUT_SHORT

    def too_slow(self) -> Reply:
        """The answer to a body that did not arrive in time, which is counted."""
        self._count("rejected:too_slow")
        return TOO_SLOW

    @property
    def counts(self) -> dict[str, int]:
        """What became of requests and events so far, in this process.

        `handled`, `failed`, `late` (past the deadline), `stored`, `duplicate`, `running` (somebody was at it), `unknown` (no handler),
        `asked` (handshakes), `unavailable`, and `rejected:REASON`.
        """
        with self._lock:
            return dict(self._counts)

    def _count(self, word: str) -> None:
        with self._lock:
            self._counts[word] += 1

    def _not_allowed(self) -> Reply:
        self._count("rejected:method_not_allowed")
        return Reply(405, headers=(("allow", "POST"),))

    def _steps(self, request: InboundRequest) -> Steps[Reply]:
        try:
            if request.method != b"POST":
                answer = self._judge.ask(request, verified=False) if request.method.decode("latin-1") in _ASKING else None
                return self._not_allowed() if answer is None else (yield from self._answer(answer))
            judged = yield from self._judged(request, self._judge.judge)
            if isinstance(judged, Answer):
                return (yield from self._answer(judged))
            return (yield from self._take(judged, request))
        except VerificationError as refused:
            self._count(f"rejected:{refused.reason}")
            if self._told.take(self.clock.monotonic_s()) == 0.0:
                _LOG.warning("receiver %s refused a request: %s (%s)", self.name, refused.reason, refused)
            # All that a stranger learns.
            return UNBELIEVED
        except Unavailable as error:
            self._count("unavailable")
            _LOG.error("receiver %s could not take a request: %s", self.name, error)
            return _later(error.retry_after_s)
        except Exception:
            self._count("unavailable")
            _LOG.exception("receiver %s could not take a request", self.name)
            return _later(1)

    def _judged(self, request: InboundRequest, judge: Callable[[InboundRequest, int, KeySource], T]) -> Steps[T]:
        slow = len(request.body) > _LARGE_BYTES or b"content-encoding" in request.headers
        for left in range(_MAX_FETCHES, -1, -1):
            try:
                if not slow:
                    return judge(request, self.clock.now_us(), self._fetcher)
                judged: T = yield Call(judge, (request, self.clock.now_us(), self._fetcher))
                return judged
            except KeyUnavailable as missing:
                if not left:
                    raise
                yield Call(self._fetcher.fetch, (missing.ref,))
        raise AssertionError("the last round returns or raises")

    def _answer(self, answer: Answer) -> Steps[Reply]:
        if answer.captured_secret is not None:
            yield from self._capture(answer.captured_secret)
        if answer.fetch is not None and not (yield Call(self._fetcher.visit, (answer.fetch,))):
            raise Unavailable("the URL that the provider asked for could not be visited")
        self._count("asked")
        kinds = [value for name, value in answer.headers if name.lower() == "content-type"]
        others = tuple(field for field in answer.headers if field[0].lower() != "content-type")
        return Reply(answer.status, answer.body, kinds[0] if kinds else "", others)

    def _capture(self, secret: str) -> Steps[None]:
        source = self._judge.source
        with self._lock:
            # Of two offers at once one is the provider's at most; the other one would take its place.
            if self._keep_secret is None or self._capturing or not source.verification.awaiting_secret:
                raise Unavailable("a secret was offered while another one was being stored")
            self._capturing = True
        try:
            yield Call(self._keep_secret, (secret,), books=True)
            kept = msgspec.structs.replace(source.verification, secrets=(SourceSecret(secret),), awaiting_secret=False)
            self._judge = Judge(msgspec.structs.replace(source, verification=kept))
        finally:
            self._capturing = False

    def _take(self, events: list[Event], request: InboundRequest) -> Steps[Reply]:
        if self.queue is not None:
            # A program that has its handlers in another process has none here: then nobody can say what is not wanted.
            wanted = events if self._routes.empty else [event for event in events if self._is_known(event)]
            if wanted:
                now_us, stored = self.clock.now_us(), [self._judge.without_credentials(event) for event in wanted]
                new = yield Call(self.queue.put, (self.name, stored, now_us, now_us + self._keep_us), books=True)
                for number in range(len(wanted)):
                    self._count("stored" if number < new else "duplicate")
            return self._judge.acknowledgement(request, self.clock.now_us())
        replies: list[Reply | None] = []
        for event in events:
            reply = yield from self._process(event)
            replies.append(reply)
        # One that failed lets the whole batch come again; those that ran are duplicates then.
        failure = next((reply for reply in replies if reply is not None and reply.status >= 300), None)
        if failure is not None:
            return failure
        own = replies[0] if len(replies) == 1 else None
        return self._judge.acknowledgement(request, self.clock.now_us()) if own is None else own

    def _is_known(self, event: Event) -> bool:
        if self._routes.find(event.type) is not None:
            return True
        self._count("unknown")
        level = logging.WARNING if self._routes.empty else logging.INFO
        _LOG.log(level, "receiver %s has no handler for %s%s", self.name, event.type, ", nor for anything else" * self._routes.empty)
        return False

    def _process(self, event: Event) -> Steps[Reply | None]:
        """The answer to one event; None: the provider's usual one."""
        if not self._is_known(event):
            return None
        if self.inbox is None or event.id is None:
            try:
                return (yield from self.run(event))
            except Exception as error:
                return self.failed(event, error)
        key, now_us = key_of(self.name, event.id, event.raw if event.stable is None else event.stable), self.clock.now_us()
        claim: Claim = yield Call(self.inbox.claim, (key, now_us, now_us + self._lease_us), books=True)
        if claim.state == "done":
            self._count("duplicate")
            return msgspec.msgpack.decode(claim.reply, type=Reply) if claim.reply else None
        if claim.state == "running":
            self._count("running")
            return _later(self._lease_us // SECOND_US)
        return (
            yield from self._process_claimed(msgspec.structs.replace(event, conflict=claim.conflict, context=claim.context), key, claim)
        )

    def _process_claimed(self, event: Event, key: EventKey, claim: Claim) -> Steps[Reply | None]:
        assert self.inbox is not None
        if claim.conflict:
            _LOG.warning("receiver %s got another body under the known id %s", self.name, event.id)
        try:
            reply = yield from self.run(event)
        except Exception as error:
            # Told first: the inbox may fail as well.
            answer = self.failed(event, error)
            yield Call(self.inbox.release, (key, claim), books=True)
            return answer
        except GeneratorExit:
            raise
        except BaseException:
            # Cancelled, or the process is to end.
            yield Call(self.inbox.release, (key, claim), books=True)
            raise
        kept = b"" if reply is None or len(reply.body) > _MAX_KEPT_REPLY else msgspec.msgpack.encode(reply)
        yield Call(self.inbox.finish, (key, claim, kept, self.clock.now_us() + self._keep_us), books=True)
        return reply

    def run(self, event: Event) -> Steps[Reply | None]:
        """Run the handler of an event: its answer. Raises what the handler raises, and RefusedByHandlerError for what is not 2xx."""
        if self._routes.empty:
            raise LookupError(f"receiver {self.name} has no handlers in this process; import the module that registers them")
        handler = self._routes.find(event.type)
        if handler is None:
            self._is_known(event)
            return None
        value: Any = yield Call(handler, (event,))
        try:
            reply = reply_of(value, self._judge.text_type)
        except Exception:
            # Its work is done: to have it done again for days would not mend what it returns.
            _LOG.exception("receiver %s: the handler of %s", self.name, event.type)
            reply = None
        if reply is not None and not 200 <= reply.status < 300:
            raise RefusedByHandlerError(reply)
        self._count("handled")
        return reply

    def failed(self, event: Event, error: Exception) -> Reply:
        """Tell that a handler failed, and what to answer."""
        self._count("failed")
        if isinstance(error, RefusedByHandlerError):
            _LOG.error("receiver %s: the handler of %s for event %s: %s", self.name, event.type, event.id, error)
            return error.reply
        _LOG.error("receiver %s: the handler of %s failed for event %s", self.name, event.type, event.id, exc_info=error)
        return _later(error.retry_after_s) if isinstance(error, Unavailable) else FAILED


def _check(mode: str, inbox: Inbox | None, deadline: timedelta | None, lease: timedelta, *, unverified: bool) -> None:
    if mode == "stored" and not isinstance(inbox, SqliteInbox):
        raise ValueError("mode='stored' keeps events in a queue; give inbox=SqliteInbox(PATH)")
    if lease <= timedelta(0):
        raise ValueError(f"lease must be longer than nothing, not {lease}: an event that runs would be run again at once")
    if deadline is not None and (inbox is None or mode == "stored"):
        raise ValueError("a deadline needs an inbox and mode='processed': the sender's next try must find the run in progress")
    if deadline is not None and not timedelta(0) < deadline < lease:
        raise ValueError(f"the deadline, {deadline}, must lie between nothing and the lease, {lease}: past that the next try runs again")
    if unverified:
        _LOG.warning("a receiver believes everybody: nothing that it gets is verified")


def _later(retry_after_s: float) -> Reply:
    return Reply(503, headers=(("retry-after", str(max(1, int(retry_after_s)))),))


def _headers(given: HeadersLike) -> Headers:
    if isinstance(given, Headers):
        return given
    pairs = given.items() if isinstance(given, Mapping) else given
    return Headers((raw_field(name), raw_field(value)) for name, value in pairs)
