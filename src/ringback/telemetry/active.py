"""What goes on here, and will be a span? Kept in the context of the task or the callback, so that log lines and messages know of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Final

from ringback.policy.trace_context import TraceContext
from ringback.telemetry.spans import Attributes, SpanIds, SpanKind, drawn, drawn_trace


class Active:
    """Work that goes on, and will be a span: a request that is answered, a step of work beside the doors.

    Its trace may follow from the first message that is accepted in it, so it has none until then, or until somebody asks.
    """

    __slots__ = (
        "_draw",
        "_trace_id",
        "attributes",
        "given",
        "inner",
        "is_over",
        "kind",
        "name",
        "sampled",
        "span_id",
        "started_us",
    )

    def __init__(
        self, name: str, kind: SpanKind, started_us: int, draw: Callable[[int], int], given: TraceContext | None, trace_id: str | None
    ) -> None:
        self.name = name
        self.kind = kind
        self.started_us = started_us
        self._draw = draw
        self.given = given
        self._trace_id = trace_id if given is None else given.trace_id
        self.span_id = drawn(draw)
        # What it began may go on in its context: messages and log lines of that are not of this work any more.
        self.is_over = False
        # Known once it is.
        self.sampled: bool | None = None
        self.attributes: Attributes = {}
        # What was done in it and is over: name, kind, start, end, attributes, failed.
        self.inner: list[tuple[str, SpanKind, int, int, Attributes, bool]] = []

    @property
    def trace_id(self) -> str:
        """Its trace; from now on there is one."""
        if self._trace_id is None:
            self._trace_id = drawn_trace(self._draw)
        return self._trace_id

    def joins(self, trace_id: str) -> bool:
        """A message of this trace was accepted: is this the same trace, or may it become it?"""
        if self._trace_id is None:
            self._trace_id = trace_id
        return self._trace_id == trace_id

    def ids(self) -> SpanIds:
        """What a log line says of it."""
        return SpanIds(self.trace_id, self.span_id)


_ACTIVE: Final[ContextVar[Active | SpanIds | None]] = ContextVar("ringback_active_span", default=None)


def active() -> Active | None:
    """What goes on here; None when nothing does, as always when tracing is off."""
    here = _ACTIVE.get()
    return here if isinstance(here, Active) and not here.is_over else None


def active_ids() -> SpanIds | None:
    """The ids of what goes on here, or of what is spoken of here."""
    here = _ACTIVE.get()
    return here if isinstance(here, SpanIds) else None if here is None or here.is_over else here.ids()


def note(attributes: Attributes) -> None:
    """Say more of the span that goes on here, if one does."""
    here = active()
    if here is not None:
        here.attributes.update(attributes)


class _Within:
    # A generator would cost four times as much, and this is done twice for each message.
    __slots__ = ("_begun", "_token")

    def __init__(self, begun: Active | SpanIds | None) -> None:
        self._begun = begun

    def __enter__(self) -> None:
        self._token = _ACTIVE.set(self._begun)

    def __exit__(self, *failure: object) -> None:
        _ACTIVE.reset(self._token)


def within(begun: Active | SpanIds | None) -> AbstractContextManager[None]:
    """What is begun in here belongs to that span, or to none. Of a span that is over, its ids alone: what is logged in here is about it."""
    return _Within(begun)
