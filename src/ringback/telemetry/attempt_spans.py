"""How does an attempt look as a span? Names and attributes are those of the semantic conventions of OpenTelemetry.

No payload, no header, no path and no query is in them: webhook URLs hold secrets in any of these.
Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/ (clients), https://opentelemetry.io/docs/specs/semconv/messaging/.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from ringback.model.attempts import Attempt
from ringback.model.deliveries import AttemptStatus, DeadLetter, Delivery
from ringback.telemetry.spans import Attributes, Span, SpanIds, SpanKind

_SYSTEM: Final = "ringback"
# What transformations may choose; anything else would be a text of strangers.
_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "GET", "DELETE"})
# Where no port is written (RFC 9110, 4.2).
_PORTS: Final = {"http": 80, "https": 443}


def attempt_span(ids: SpanIds, parent_id: str, state: str, attempt: Attempt) -> Span:
    """An attempt, with its phases as events."""
    method = attempt.request_head.partition(b" ")[0].decode("latin-1")
    method = method if method in _METHODS else "POST"
    failed = attempt.status == AttemptStatus.FAIL
    attributes: Attributes = {
        "http.request.method": method,
        "messaging.system": _SYSTEM,
        "messaging.operation.name": "deliver",
        "messaging.operation.type": "send",
        "messaging.message.id": attempt.message_id,
        "messaging.destination.name": attempt.endpoint_id,
        "ringback.application.id": attempt.app_id,
        "ringback.attempt.id": attempt.id,
        "ringback.attempt.number": attempt.number,
        "ringback.attempt.trigger": "manual" if attempt.trigger else "scheduled",
        "ringback.sequence": attempt.sequence,
    }
    attributes |= _place(attempt)
    if attempt.number > 1:
        attributes["http.request.resend_count"] = attempt.number - 1
    if attempt.code:
        attributes["http.response.status_code"] = attempt.code
    if attempt.error is not None:
        attributes["error.type"] = attempt.error
    elif failed:
        attributes["error.type"] = str(attempt.code)
    if attempt.next_due_at is not None:
        attributes["ringback.next_attempt_in_s"] = round((attempt.next_due_at - attempt.started_at) / 1e6, 3)
    ended_us = attempt.started_at + max(attempt.duration_us, 0)
    events = _phases(attempt)
    return Span(
        method,
        SpanKind.CLIENT,
        ids.trace_id,
        ids.span_id,
        parent_id,
        attempt.started_at,
        ended_us,
        attributes,
        failed=failed,
        state=state,
        events=events,
    )


def _place(attempt: Attempt) -> Attributes:
    """Where the request went: scheme, name and port, and the address that was connected to."""
    try:
        parts = urlsplit(attempt.url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        place: Attributes = {"url.scheme": parts.scheme, "server.address": parts.hostname or "", "server.port": port}
    except ValueError:
        # Nothing was connected to, and the attempt says so.
        return {}
    host, _, peer_port = attempt.address.rpartition(":")
    if host and peer_port.isdigit():
        place |= {"network.peer.address": host.strip("[]"), "network.peer.port": int(peer_port)}
    return place


def _phases(attempt: Attempt) -> tuple[tuple[str, int, Attributes], ...]:
    """When each phase that took place began, and how long it took."""
    phases, at_us = attempt.phases, attempt.started_at
    took = (
        ("dns", phases.dns_us),
        ("connect", phases.connect_us),
        ("tls", phases.tls_us),
        ("send", phases.send_us),
        ("wait", phases.wait_us),
        ("body", phases.body_us),
    )
    events: list[tuple[str, int, Attributes]] = []
    for name, took_us in took:
        if took_us >= 0:
            events.append((name, at_us, {"ringback.phase.duration_us": took_us}))
            at_us += took_us
    return tuple(events)


def wait_span(ids: SpanIds, parent_id: str, state: str, delivery: Delivery, attempt: Attempt) -> Span:
    """What a delivery waited for between its time and the start of its attempt."""
    attributes: Attributes = {"messaging.message.id": attempt.message_id, "ringback.endpoint.id": attempt.endpoint_id}
    if attempt.wait is not None:
        attributes["ringback.wait.cause"] = str(attempt.wait)
    return Span(
        "wait", SpanKind.INTERNAL, ids.trace_id, ids.span_id, parent_id, delivery.due_at, attempt.started_at, attributes, state=state
    )


def dead_span(ids: SpanIds, parent_id: str, state: str, dead: DeadLetter) -> Span:
    """A delivery that has no attempts left."""
    attributes: Attributes = {
        "messaging.message.id": dead.message_id,
        "ringback.endpoint.id": dead.endpoint_id,
        "ringback.dead_letter.id": dead.id,
        "ringback.attempts": dead.attempts,
        "error.type": dead.cause,
    }
    return Span("dead-letter", SpanKind.INTERNAL, ids.trace_id, ids.span_id, parent_id, dead.died_at, dead.died_at, attributes, True, state)
