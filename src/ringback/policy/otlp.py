"""How are spans written as OTLP, and what does a receiver say of them? The JSON encoding of OTLP/HTTP, as pure functions.

Source: https://opentelemetry.io/docs/specs/otlp/ and https://github.com/open-telemetry/opentelemetry-proto (trace/v1), version 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ringback.policy.transforming import in_words

# The numbers of span kinds in OTLP.
KINDS: Final[Mapping[str, int]] = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
# And of the states of a span.
STATUSES: Final[Mapping[str, int]] = {"UNSET": 0, "OK": 1, "ERROR": 2}
# Bytes of identifiers (W3C Trace Context).
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
# Spans of one request: as many as a batch has events, ten times over.
_MAX_SPANS: Final = 10_000
# What a request may have: four times what the code may return, since each value is wrapped in its type.
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
# Values in the attributes of all spans: while it is written each takes some 300 bytes, and its share of the one that holds the interpreter.
MAX_VALUES: Final = 100_000
# Values within values: enough for anything that is read by people.
_MAX_DEPTH: Final = 32
# Whole numbers that OTLP can hold.
_INT64: Final = 1 << 63
# Characters of a receiver's message that are repeated.
_MAX_MESSAGE: Final = 300
_SERVICE: Final = "ringback.stream"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)


class Scope(msgspec.Struct, frozen=True):
    """What the spans were recorded by."""

    name: str = _SERVICE
    version: str = ""


class Tracing(msgspec.Struct, frozen=True, rename="camel"):
    """What all spans of a batch have in common."""

    service_name: str = _SERVICE
    scope: Scope = Scope()


class _Span(msgspec.Struct, frozen=True, rename="camel"):
    """A span as the code gives it. Keys stand for ids: equal ones mean the same trace, or the same span."""

    name: str
    start_time: str
    end_time: str
    kind: str = "INTERNAL"
    status: str = "UNSET"
    status_message: str = ""
    trace_id_key: str | int | None = None
    span_id_key: str | int | None = None
    parent_span_id_key: str | int | None = None
    attributes: dict[str, Any] | None = None


class _PartialSuccess(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int | str | None = 0
    error_message: str | None = ""


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    partial_success: _PartialSuccess | None = None


_list: Final = msgspec.json.Decoder(list[msgspec.Raw])
_span: Final = msgspec.json.Decoder(_Span)
_answer: Final = msgspec.json.Decoder(_Answer)
_encoder: Final = msgspec.json.Encoder()


def spans_body(spans: bytes, tracing: Tracing, space: str, batch_id: str) -> bytes:
    """The request for a JSON list of spans. Raises ValueError with a sentence for what is none.

    Ids that no key stands for follow from the batch: one that comes again has the same.
    """
    try:
        listed = _list.decode(spans)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"`spans` is {spans[:60].decode(errors='replace')}; it must be an array of objects") from None
    if not listed:
        raise ValueError("`spans` is empty; give one span at least, or set `cancel` to true, which lets the batch go")
    if len(listed) > _MAX_SPANS:
        raise ValueError(f"`spans` has {len(listed)} members; at most {_MAX_SPANS} are allowed")
    values = _Values()
    written = [_written(_read(raw, number), space, f"{batch_id}:{number}", number, values) for number, raw in enumerate(listed)]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": tracing.service_name}}]}
    scope = {"name": tracing.scope.name, "version": tracing.scope.version}
    body = _encoder.encode({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": written}]}]})
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"the spans have {len(body)} bytes as OTLP; at most {MAX_BODY_BYTES} are allowed: leave attributes out")
    return body


def _read(raw: msgspec.Raw, number: int) -> _Span:
    try:
        return _span.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"`spans[{number}]` cannot be used: {error}") from None


def _written(span: _Span, space: str, own: str, number: int, values: _Values) -> dict[str, Any]:
    """A span in the encoding of OTLP/JSON: ids in hexadecimal, numbers of 64 bits as texts."""
    kind, status = KINDS.get(span.kind), STATUSES.get(span.status)
    if kind is None:
        raise ValueError(f"`spans[{number}].kind` is {in_words(span.kind)}; it must be one of {', '.join(KINDS)}")
    if status is None:
        raise ValueError(f"`spans[{number}].status` is {in_words(span.status)}; it must be one of {', '.join(STATUSES)}")
    trace = f"{own}:trace" if span.trace_id_key is None else f"{space}:trace:{span.trace_id_key}"
    # The same key in another trace is another span.
    of_trace = f"{space}:span:{span.trace_id_key}:"
    written = {
        "traceId": _id(trace, _TRACE_ID_BYTES),
        "spanId": _id(own if span.span_id_key is None else f"{of_trace}{span.span_id_key}", _SPAN_ID_BYTES),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": _nanoseconds(span.start_time, f"spans[{number}].startTime"),
        "endTimeUnixNano": _nanoseconds(span.end_time, f"spans[{number}].endTime"),
        "attributes": [
            {"key": name, "value": values.written(value, number)} for name, value in (span.attributes or {}).items() if value is not None
        ],
    }
    if span.parent_span_id_key is not None:
        written["parentSpanId"] = _id(f"{of_trace}{span.parent_span_id_key}", _SPAN_ID_BYTES)
    if status:
        written["status"] = {"code": status, "message": span.status_message}
    return written


def _id(text: str, size: int) -> str:
    """An id of so many bytes, in hexadecimal, that follows from a text. No id is all zeros: a digest never is."""
    return hashlib.sha256(text.encode()).hexdigest()[: 2 * size]


def _nanoseconds(text: str, where: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"`{where}` is {in_words(text)}; it must be a time as 2024-01-02T03:04:05.678Z") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    since_us = (at - _EPOCH) // _US
    if since_us < 0:
        raise ValueError(f"`{where}` is {in_words(text)}; it must be a time since 1970")
    return str(since_us * 1_000)


class _Values:
    """Writes the values of attributes of one request, so many of them at the most."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def written(self, value: Any, number: int, depth: int = 0) -> dict[str, Any]:
        """Any JSON value as OTLP has it."""
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"`spans` have more than {MAX_VALUES} values in their attributes; leave some out")
        if depth > _MAX_DEPTH:
            raise ValueError(f"the attributes of `spans[{number}]` have values in more than {_MAX_DEPTH} others; leave some out")
        if isinstance(value, str):
            return {"stringValue": value}
        if isinstance(value, bool):
            return {"boolValue": value}
        if isinstance(value, int) and -_INT64 <= value < _INT64:
            return {"intValue": str(value)}
        if isinstance(value, int | float):
            return {"doubleValue": _double(value, number)}
        if isinstance(value, list):
            return {"arrayValue": {"values": [self.written(item, number, depth + 1) for item in value]}}
        if isinstance(value, dict):
            pairs = [{"key": name, "value": self.written(item, number, depth + 1)} for name, item in value.items()]
            return {"kvlistValue": {"values": pairs}}
        # null: a value that is none.
        return {}


def _double(value: float, number: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"an attribute of `spans[{number}]` is a number beyond what 64 bits hold; give it as a text") from None


def partial_success(answer: bytes) -> str:
    """What the body of a 2xx answer says against some of the spans, as a sentence; "" = nothing. Whatever cannot be read says nothing.

    Source: OTLP, "Partial Success": the spans that were rejected must not be sent again.
    """
    try:
        said = _answer.decode(answer).partial_success
        rejected = 0 if said is None else int(said.rejected_spans or 0)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return ""
    if said is None or not (rejected or said.error_message):
        return ""
    message = f": {said.error_message[:_MAX_MESSAGE]}" if said.error_message else ""
    if not rejected:
        return f"the receiver took the last batch with a warning{message}"
    return f"the receiver rejected {rejected} {'span' if rejected == 1 else 'spans'} of the last batch{message}"
