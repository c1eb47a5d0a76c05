"""What is a span? One piece of work with its beginning and its end, as it goes to the process that exports it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

# Bits of the id of a span, and of that of a trace.
SPAN_BITS: Final = 64
_TRACE_BITS: Final = 128

Attributes: TypeAlias = dict[str, str | int | float | bool]


class SpanKind(enum.IntEnum):
    """How a span stands to others; the values are those of `opentelemetry.trace.SpanKind`."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3


class Span(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One span. Ids are hexadecimal, `parent_id` "" at the root; times are microseconds since 1970.

    `failed` sets its status to error. `events` are moments in it: name, time, attributes. `links` are (trace, span) of others.
    """

    name: str
    kind: SpanKind
    trace_id: str
    span_id: str
    parent_id: str
    started_us: int
    ended_us: int
    attributes: Attributes
    failed: bool = False
    state: str = ""
    events: tuple[tuple[str, int, Attributes], ...] = ()
    links: tuple[tuple[str, str], ...] = ()


class SpanIds(msgspec.Struct, frozen=True):
    """What a log line says of the span that it was written in."""

    trace_id: str
    span_id: str


def drawn(draw: Callable[[int], int]) -> str:
    """A new id of a span, which is never 0."""
    return f"{draw(SPAN_BITS) or 1:016x}"


def drawn_trace(draw: Callable[[int], int]) -> str:
    """A new id of a trace, which is never 0."""
    return f"{draw(_TRACE_BITS) or 1:032x}"
