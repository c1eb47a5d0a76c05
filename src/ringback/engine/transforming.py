"""What is sent where an endpoint has a transformation? Its code is run for each attempt, and what it returns is sealed and sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.delivery.scripting_turns import Ran, Script
from ringback.delivery.seal import seal
from ringback.delivery.transport import Transport
from ringback.engine.flights import UNSENDABLE, ChangedFlight, Flight
from ringback.engine.lanes import Changes, Lane
from ringback.model.attempts import ErrorClass, Exchange
from ringback.model.deliveries import Delivery
from ringback.policy.transforming import Transformed, Webhook, place_of, seen, transformed
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.tracing import Tracing

_CANCELLED: Final = Exchange(0, error=ErrorClass.CANCELLED, detail="the transformation cancelled it: nothing was sent")
# Which kind of failure each outcome of a call is; of those that are not here, it is what the code did.
_CLASSES: Final = {
    "time": ErrorClass.TRANSFORMATION_LIMIT,
    "memory": ErrorClass.TRANSFORMATION_LIMIT,
    "lost": ErrorClass.TRANSFORMATION_LIMIT,
    "unavailable": ErrorClass.INTERNAL,
}


class Runs(Protocol):
    """What runs scripts (`delivery.scripting.Scripts`)."""

    def crowded(self, script: Script) -> bool:
        """Should a call be made later, because so many like it wait?"""
        ...

    def run(self, script: Script, document: bytes, done: Callable[[Ran], None]) -> None:
        """Run a script on a document; `done` is called exactly once, later."""
        ...


class Transforming:
    """Attempts whose requests are made by code. `landed` hears of their ends, as of all others."""

    def __init__(
        self,
        scripts: Runs | None,
        transport: Transport,
        clock: Clock,
        landed: Callable[[Lane, Flight, Exchange], None],
        tracing: Tracing | None = None,
    ) -> None:
        self._scripts = scripts
        self._transport = transport
        self._clock = clock
        self._hear = landed
        self._tracing = tracing
        self._begun: set[ChangedFlight] = set()
        # Whatever is still run is not sent: the next run makes these attempts again.
        self.closed = False

    @property
    def begun(self) -> Iterator[Delivery]:
        """What was begun and has not landed: turns may be so late that leases end which nobody renews."""
        return (flight.claim.delivery for flight in self._begun)

    def crowded(self, changes: Changes) -> bool:
        """Should an attempt wait where it takes no place on the wire from others, because its script would wait for long?"""
        return self._scripts is not None and self._scripts.crowded(changes.script)

    def begin(self, lane: Lane, flight: ChangedFlight, changes: Changes) -> None:
        """Start an attempt; its message must have its payload. Raises what a defect of ours raises, and then `landed` is not called."""
        message = flight.claim.message
        webhook = Webhook(
            changes.url,
            changes.headers,
            message.payload or b"",
            message.content_type,
            message.raw,
            message.event_type,
            message.channels,
            changes.variables,
        )
        if self._scripts is None:
            raise RuntimeError("an endpoint has a transformation, and nothing was given that runs it")
        self._scripts.run(changes.script, seen(webhook), partial(self._ran, lane, flight, changes, webhook))
        self._begun.add(flight)

    def _landed(self, lane: Lane, flight: ChangedFlight, exchange: Exchange) -> None:
        self._begun.discard(flight)
        self._hear(lane, flight, exchange)

    def _ran(self, lane: Lane, flight: ChangedFlight, changes: Changes, webhook: Webhook, ran: Ran) -> None:
        if self.closed:
            return
        if self._tracing is not None:
            self._tracing.transformed(flight.claim.message, ran.outcome, flight.started_at, ran.cpu_us)
        try:
            ended = self._sent(lane, flight, changes, webhook, ran)
        except Exception as error:
            # A defect of ours in one request must not stop those of all others.
            log(TASK_FAILED, failure=error, task="transformation", error=str(error))
            ended = UNSENDABLE
        if ended is not None:
            self._landed(lane, flight, ended)

    def _sent(self, lane: Lane, flight: ChangedFlight, changes: Changes, webhook: Webhook, ran: Ran) -> Exchange | None:
        """Send what came of it; the end of the attempt if there is nothing to send."""
        if ran.outcome != "returned":
            return failed(ran, self._took_us(flight))
        try:
            wanted = transformed(webhook, ran.document, ran.payload, ran.payload_kind, https_only=changes.https_only)
        except ValueError as error:
            detail = f"the transformation cannot be used: {error}"
            return Exchange(0, error=ErrorClass.TRANSFORMATION, detail=detail, duration_us=self._took_us(flight))
        if wanted.cancelled:
            return _CANCELLED
        self._send(lane, flight, changes, wanted)
        return None

    def _send(self, lane: Lane, flight: ChangedFlight, changes: Changes, wanted: Transformed) -> None:
        message = flight.claim.message
        plan, url = changes.plan(wanted)
        request = seal(
            plan,
            message_id=message.id.encode(),
            now_s=self._clock.now_us() // SECOND_US,
            body=wanted.body,
            content_type=wanted.content_type.encode(),
            sequence=flight.claim.delivery.sequence,
            headers=message.headers,
        )
        flight.plan = msgspec.structs.replace(flight.plan, plan=plan, url=url, sensitive=plan.sensitive)
        flight.head = request.head
        if wanted.body != message.payload:
            flight.sent = wanted.body
        self._transport.send(request, partial(self._landed, lane, flight), flight)

    def _took_us(self, flight: ChangedFlight) -> int:
        return max(self._clock.now_us() - flight.started_at, 0)


def failed(ran: Ran, took_us: int = 0) -> Exchange:
    """What an attempt comes to whose call gave nothing, after so many microseconds."""
    return Exchange(0, error=_CLASSES.get(ran.outcome, ErrorClass.TRANSFORMATION), detail=_described(ran), duration_us=took_us)


def _described(ran: Ran) -> str:
    became = "could not be run" if ran.outcome == "unavailable" else "failed"
    place = place_of(ran.line, ran.column) if ran.outcome == "threw" else ""
    return f"the transformation {became}: {ran.words}{place}"
