"""What happened, in order, and who is fed with it? A stream is a log of events; its sinks get them in batches, or ask for them."""

from __future__ import annotations

import enum

import msgspec

from ringback.model.endpoints import EndpointSecret


class Stream(msgspec.Struct, frozen=True):
    """A log of events. Times are microseconds since 1970; `last_seq` is the number of its newest event, 0 = there was none."""

    id: str
    org_id: str
    uid: str | None
    name: str
    description: str
    metadata: dict[str, str]
    created_at: int
    updated_at: int
    last_seq: int = 0


class StreamEventType(msgspec.Struct, frozen=True):
    """A kind of event of streams; behind feature flags, if it has any. Times are microseconds since 1970."""

    org_id: str
    name: str
    description: str | None
    feature_flags: tuple[str, ...] | None
    deprecated: bool
    archived: bool
    created_at: int
    updated_at: int


class StreamEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its number in the stream, and its text as it was given. `created_at` is microseconds since 1970."""

    seq: int
    event_type: str
    payload: str
    created_at: int


class SinkType(enum.StrEnum):
    """How a sink gets its events: it is called, or it asks."""

    HTTP = "http"
    OTEL_TRACING = "otelTracing"
    POLLER = "poller"


class SinkStatus(enum.StrEnum):
    """Does a sink get events? One that is paused or disabled goes on later where it was."""

    ENABLED = "enabled"
    PAUSED = "paused"
    DISABLED = "disabled"


class Batch(msgspec.Struct, frozen=True):
    """What is on its way to a sink: `count` events up to the number `end`, of these types and on these channels (None = any).

    It is decided once and kept: however often it is sent, it is the same events under the same id.
    """

    id: str
    end: int
    count: int
    event_types: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a sink is: all up to `position` is done with, and `batch` is on its way.

    `attempts` of it have failed, the first at `failing_since`; the next is made at `next_at`, and `failure` says what came of the last.
    Times are microseconds since 1970. `missed` events were taken by retention before it got to them, whether it wanted them or not.
    """

    position: int
    batch: Batch | None = None
    attempts: int = 0
    next_at: int | None = None
    failing_since: int | None = None
    failure: str | None = None
    missed: int = 0


class Target(msgspec.Struct, frozen=True):
    """Where a sink that is called is. `secrets` has the current one first, then old ones that may still sign; none: it is not signed."""

    url: str
    headers: dict[str, str]
    secrets: tuple[EndpointSecret, ...]


class Sink(msgspec.Struct, frozen=True):
    """Who gets the events of a stream, narrowed by types and channels (None = all). `target` is None for one that asks.

    Batches have up to `batch_size` events; one that is not full waits `max_wait_s` seconds from its first event on.
    """

    id: str
    stream_id: str
    uid: str | None
    type: SinkType
    target: Target | None
    status: SinkStatus
    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    metadata: dict[str, str]
    batch_size: int
    max_wait_s: int
    progress: Progress
    created_at: int
    updated_at: int

    @property
    def retrying(self) -> bool:
        """Has the batch that is on its way failed, and will it be sent again?"""
        return self.status is SinkStatus.ENABLED and self.progress.attempts > 0
