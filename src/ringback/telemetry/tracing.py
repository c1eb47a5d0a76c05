"""Which spans does the work of the server make? Everything that is known of traces but how they are exported (`telemetry.otel`).

A message without a context of its sender is in a trace whose id follows from its own id, and the span of its acceptance has an id that does
so always: whoever attempts it, after a restart too, knows its parent without anything being kept. What a sender gives (`traceparent`) is
kept with the headers of the message. Nothing here is called, and no object of it made, unless tracing is on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.model.attempts import Attempt
from ringback.model.deliveries import Claim, DeadLetter, Delivery
from ringback.model.messages import Message
from ringback.policy.trace_context import TraceContext, context_of, fields_in, is_nothing_else, without_context
from ringback.telemetry.active import Active, active, within
from ringback.telemetry.attempt_spans import attempt_span, dead_span, wait_span
from ringback.telemetry.spans import SPAN_BITS, Attributes, Span, SpanIds, SpanKind, drawn, drawn_trace

SYSTEM: Final = "ringback"
# Where the ids and the flags stand in the line that `departing` puts first: `traceparent: 00-<trace>-<span>-<flags>`.
_TRACE_AT, _SPAN_AT, _FLAGS_AT = slice(16, 48), slice(49, 65), slice(66, 68)
# Bytes of a digest: the id of a trace, that of a span, and nothing more.
_DIGEST_BYTES: Final = 24
# A delivery that starts so soon after it was due has waited for nothing.
_WAITED_US: Final = 10_000
# Above every number of sixteen digits: everything is sampled.
_ALL: Final = "g"


class Standing(msgspec.Struct, frozen=True, gc=False):
    """Where the acceptance of a message stands: its trace, its span, and whether these are recorded. `given` is what its sender gave."""

    trace_id: str
    span_id: str
    sampled: bool
    given: TraceContext | None


class Tracing:
    """Makes spans, and gives them to `emit`, which must not block. `ratio` of the traces that begin here are recorded."""

    def __init__(self, emit: Callable[[Span], None], ratio: float, clock: Clock, draw: Callable[[int], int]) -> None:
        self._emit = emit
        self._clock = clock
        self._draw = draw
        # Traces whose last sixteen digits are below these: what other programs with the same ratio choose too.
        self._below = _ALL if ratio >= 1 else f"{int(ratio * (1 << SPAN_BITS)):016x}"

    # -- messages

    def standing(self, message: Message) -> Standing:
        """Where the acceptance of this message stands. Follows from its id and its headers alone."""
        digest = _digest(message.id)
        headers = message.headers
        given = None if headers is None else context_of(fields_in(headers))
        if given is None:
            return Standing(digest[:32], digest[32:], digest[16:32] < self._below, None)
        # Whether a stranger records the trace says nothing of whether we do; of who publishes with a token it does.
        sampled = given.sampled if is_nothing_else(headers or b"") else digest[16:32] < self._below
        return Standing(given.trace_id, digest[32:], sampled, given)

    @staticmethod
    def kept(headers: bytes | None) -> bytes | None:
        """The headers that a message is to be kept with: those that it was received with, or the context that its publisher gave."""
        here = active()
        return here.given.lines() if headers is None and here is not None and here.given is not None else headers

    def accepted(self, message: Message, by: Active | None) -> None:
        """A message is durable; `by` is what it came by, what went on when it was made."""
        standing = self.standing(message)
        parent_id, links = "", []
        if by is not None:
            by.sampled = by.sampled or standing.sampled
            if by.kind is SpanKind.SERVER:
                # The first of several.
                by.attributes.setdefault("messaging.message.id", message.id)
            if by.joins(standing.trace_id):
                parent_id = by.span_id
            else:
                # Several messages of one request: each is a trace of its own.
                links = [(by.trace_id, by.span_id)]
        if not standing.sampled:
            return
        attributes: Attributes = {
            "messaging.system": SYSTEM,
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": message.app_id,
            "messaging.message.id": message.id,
            "messaging.message.body.size": len(message.payload or b""),
            "ringback.event_type": message.event_type,
            "ringback.endpoints": message.endpoints,
        }
        if message.origin is not None:
            attributes["ringback.source.id"] = message.origin.source_id
        self._emit(
            Span(
                "publish",
                SpanKind.PRODUCER,
                standing.trace_id,
                standing.span_id,
                parent_id,
                message.created_at,
                self._clock.now_us(),
                attributes,
                state="" if standing.given is None else standing.given.state,
                links=tuple(links),
            )
        )

    # -- deliveries

    def departing(self, claim: Claim) -> Claim:
        """A delivery whose attempt begins: its message has the context of that attempt, first of its headers."""
        message = claim.message
        standing = self.standing(message)
        flags = "01" if standing.sampled else "00"
        lines = f"traceparent: 00-{standing.trace_id}-{self._draw(SPAN_BITS) or 1:016x}-{flags}\r\n".encode()
        if message.headers is not None:
            lines += without_context(message.headers, keep_state=standing.given is not None)
        return Claim(claim.delivery, msgspec.structs.replace(message, headers=lines), claim.unreadable)

    def landed(self, message: Message, delivery: Delivery, attempt: Attempt, dead: DeadLetter | None) -> None:
        """An attempt is recorded, of a message as `departing` made it."""
        ids = _recorded(message)
        if ids is None:
            return
        parent_id, state = _digest(message.id)[32:], _state(message)
        if attempt.started_at - delivery.due_at >= _WAITED_US:
            self._emit(wait_span(SpanIds(ids.trace_id, drawn(self._draw)), parent_id, state, delivery, attempt))
        self._emit(attempt_span(ids, parent_id, state, attempt))
        if dead is not None:
            self._emit(dead_span(SpanIds(ids.trace_id, drawn(self._draw)), parent_id, state, dead))

    def transformed(self, message: Message, outcome: str, started_us: int, cpu_us: int) -> None:
        """The transformation of an attempt has ended."""
        ids = _recorded(message)
        if ids is None:
            return
        attributes: Attributes = {"ringback.transformation.outcome": outcome, "ringback.transformation.cpu_us": cpu_us}
        failed = outcome != "returned"
        if failed:
            attributes["error.type"] = outcome
        now_us = self._clock.now_us()
        self._emit(
            Span(
                "transform", SpanKind.INTERNAL, ids.trace_id, drawn(self._draw), ids.span_id, started_us, now_us, attributes, failed=failed
            )
        )

    # -- what goes on

    def request(self, method: str, route: str, fields: Collection[tuple[bytes, bytes]]) -> Active:
        """A request has come, with these headers (lower-case names)."""
        begun = Active(f"{method} {route}", SpanKind.SERVER, self._clock.now_us(), self._draw, context_of(fields), None)
        begun.attributes = {"http.request.method": method, "http.route": route}
        return begun

    def work(self, name: str, about: str = "") -> Active:
        """Work beside the doors begins; all that is `about` the same has one trace."""
        digest = _digest(about) if about else ""
        begun = Active(name, SpanKind.INTERNAL, self._clock.now_us(), self._draw, None, digest[:32] or drawn_trace(self._draw))
        begun.sampled = (digest[16:32] if about else drawn(self._draw)) < self._below
        return begun

    @contextmanager
    def doing(self, name: str, attributes: Attributes, about: str = "") -> Iterator[None]:
        """A span around work beside the doors."""
        begun = self.work(name, about)
        begun.attributes = attributes
        failed = False
        try:
            with within(begun):
                yield
        except Exception as error:
            failed = True
            begun.attributes["error.type"] = type(error).__name__
            raise
        finally:
            self.over(begun, failed=failed)

    def verified(self, source_id: str, provider: str, reason: str, started_us: int, *, failed: bool) -> None:
        """A request to a source was judged, within what goes on here."""
        here = active()
        if here is not None:
            here.attributes["ringback.source.id"] = source_id
            attributes: Attributes = {"ringback.provider": provider, "ringback.verification.reason": reason}
            if failed:
                attributes["error.type"] = reason
            if here.inner and here.inner[-1][4] == attributes:
                # The hot door has asked before the ordinary way did.
                here.inner.pop()
            here.inner.append(("verify", SpanKind.INTERNAL, started_us, self._clock.now_us(), attributes, failed))

    def answered(self, ended: Active, status: int, *, believed: bool) -> None:
        """A request has its answer; 0 = its client has gone. `believed`: whether it is recorded, its sender may say."""
        ended.attributes["http.response.status_code"] = status
        # Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/ (of servers: 4xx is no error).
        failed = status >= 500 or status == 0
        if failed:
            ended.attributes["error.type"] = str(status) if status else "disconnected"
        if ended.sampled is None:
            given = ended.given
            ended.sampled = given.sampled if believed and given is not None else drawn(self._draw) < self._below
        self.over(ended, failed=failed)

    def over(self, ended: Active, *, failed: bool = False) -> None:
        """What went on is over."""
        ended.is_over = True
        if not ended.sampled:
            return
        trace_id, given, now_us = ended.trace_id, ended.given, self._clock.now_us()
        state = "" if given is None else given.state
        for name, kind, started_us, ended_us, attributes, bad in ended.inner:
            self._emit(
                Span(name, kind, trace_id, drawn(self._draw), ended.span_id, started_us, ended_us, attributes, failed=bad, state=state)
            )
        parent_id = "" if given is None else given.span_id
        self._emit(
            Span(
                ended.name,
                ended.kind,
                trace_id,
                ended.span_id,
                parent_id,
                ended.started_us,
                now_us,
                ended.attributes,
                failed=failed,
                state=state,
            )
        )


def ids_of(message: Message) -> SpanIds:
    """The ids of the attempt that a message was made for by `departing`."""
    line = message.headers or b""
    return SpanIds(line[_TRACE_AT].decode(), line[_SPAN_AT].decode())


def _state(message: Message) -> str:
    """What other systems say of the trace of a message as `departing` made it."""
    lines = message.headers or b""
    given = context_of(fields_in(lines)) if lines.find(b"\r\ntracestate:") >= 0 else None
    return "" if given is None else given.state


def _recorded(message: Message) -> SpanIds | None:
    return ids_of(message) if (message.headers or b"")[_FLAGS_AT] == b"01" else None


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()
