"""Who speaks OTLP? A process beside the server: it reads batches of spans from its parent and gives them to OpenTelemetry's own exporter.

It ends when its parent does, by the end of the socket, in the middle of a batch too. What is set for the exporter by the standard variables
(`OTEL_EXPORTER_OTLP_*`, `OTEL_RESOURCE_ATTRIBUTES`) counts here, where the settings say nothing.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from ringback.telemetry.spans import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

# The size of a frame.
HEAD: Final = struct.Struct("!I")
# Where traces go below the address of a collector (OTLP/HTTP).
PATH: Final = "/v1/traces"
# The server goes first where both want the processor.
_NICE: Final = 5
# Characters of a failure that are told: what a collector says may be long.
_WHY_CHARS: Final = 200
# What is said of a service whose name nobody has set.
_UNNAMED: Final = "unknown_service"
# Times of ours are microseconds, those of OpenTelemetry nanoseconds.
_NANO: Final = 1_000


class Target(msgspec.Struct, frozen=True):
    """Where spans go, and what is said of who made them. `service` is None where the standard variables say it, or nobody.

    `timeout_s` is for a batch, with the exporter's own retries: the default of OTEL_EXPORTER_OTLP_TIMEOUT. Then it is lost.
    """

    endpoint: str
    headers: dict[str, str]
    service: str | None
    version: str
    timeout_s: float = 10.0


class Answer(msgspec.Struct, frozen=True):
    """What became of a batch: why it was not taken, "" if it was."""

    error: str


class _Heard(logging.Handler):
    """Keeps the last thing that the exporter has to say, for the parent's log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()[:_WHY_CHARS]


class Converter:
    """Makes of our spans those of the SDK."""

    def __init__(self, resource: Resource, version: str) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._trace: Any = trace
        self._event = Event
        self._span = ReadableSpan
        self._resource = resource
        self._scope = InstrumentationScope("ringback", version)
        self._flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)

    def span(self, span: Span) -> ReadableSpan:
        """The same span as the SDK would have made it."""
        trace = self._trace
        state = trace.TraceState.from_header([span.state]) if span.state else None
        return self._span(
            name=span.name,
            context=self._context(span.trace_id, span.span_id, state),
            parent=self._context(span.trace_id, span.parent_id, state) if span.parent_id else None,
            resource=self._resource,
            attributes=span.attributes,
            events=[self._event(name, attributes, at_us * _NANO) for name, at_us, attributes in span.events],
            links=[trace.Link(self._context(*ids, None)) for ids in span.links],
            kind=trace.SpanKind(span.kind),
            status=trace.Status(trace.StatusCode.ERROR if span.failed else trace.StatusCode.UNSET),
            start_time=span.started_us * _NANO,
            end_time=span.ended_us * _NANO,
            instrumentation_scope=self._scope,
        )

    def _context(self, trace_id: str, span_id: str, state: Any) -> Any:
        return self._trace.SpanContext(int(trace_id, 16), int(span_id, 16), False, self._flags, state)


def _resource(target: Target) -> Resource:
    from opentelemetry.sdk.resources import Resource

    known = {"service.version": target.version}
    if target.service is not None:
        known["service.name"] = target.service
    resource = Resource.create(known)
    named = str(resource.attributes.get("service.name", _UNNAMED))
    return resource.merge(Resource({"service.name": "ringback"})) if named.startswith(_UNNAMED) else resource


def _frames(pipe: IO[bytes]) -> Iterator[bytes]:
    while len(head := pipe.read(HEAD.size)) == HEAD.size:
        (size,) = HEAD.unpack(head)
        frame = pipe.read(size)
        if len(frame) < size:
            return
        yield frame


def export(pipe: IO[bytes], out: IO[bytes]) -> None:
    """Export what comes through a pipe, first the target, then batches, each with its answer, until it ends."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    heard = _Heard()
    logging.getLogger().handlers = [heard]
    frames = _frames(pipe)
    first = next(frames, None)
    if first is None:
        return
    target = msgspec.msgpack.decode(first, type=Target)
    # Headers that are not given here may be given by the standard variables.
    exporter = OTLPSpanExporter(endpoint=target.endpoint + PATH, headers=target.headers or None, timeout=target.timeout_s)
    converter = Converter(_resource(target), target.version)
    decoder = msgspec.msgpack.Decoder(list[Span])
    for frame in frames:
        heard.text = ""
        spans = [converter.span(span) for span in decoder.decode(frame)]
        result = exporter.export(spans) if spans else SpanExportResult.SUCCESS
        error = "" if result is SpanExportResult.SUCCESS else heard.text or "the collector did not take them"
        answer = msgspec.msgpack.encode(Answer(error))
        out.write(HEAD.pack(len(answer)) + answer)
        out.flush()


def _end_with_parent() -> None:
    """Wait until the other end of the socket is closed, and end: a collector that hangs is not waited for by an orphan."""
    parent = select.poll()
    parent.register(sys.stdin.fileno(), 0)
    parent.poll()
    os._exit(0)


def _main() -> None:
    # Signals for the server may go to all processes of its terminal or unit; this one ends after it, by the end of the socket.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    out = sys.stdout.buffer
    # Nothing but answers may go there, whatever a library prints.
    sys.stdout = sys.stderr
    threading.Thread(target=_end_with_parent, daemon=True).start()
    export(sys.stdin.buffer, out)


if __name__ == "__main__":
    _main()
