"""What does a sink get next? A batch is decided once, durably, before it is sent: its bounds, and the id under which it comes each time."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.model.streams import Batch, Progress, Sink, SinkType
from ringback.policy.streams import After, body_of, resumed, without_code
from ringback.store.base import Transaction
from ringback.store.operations import sinks, streams, transformations
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.streams import Wanted

# Bytes of payloads in one batch, but for one event that is larger alone: what common servers take in a body.
MAX_BYTES: Final = 1024 * 1024


class Ready(msgspec.Struct, frozen=True):
    """A batch that can be sent now; `first_seq` is the number of its first event.

    Without a `decided` one it is `end` and `count` that a batch is made of. `code` is the transformation as it is now, None = none is.
    """

    sink: Sink
    first_seq: int
    end: int
    count: int
    body: bytes
    decided: Batch | None
    code: str | None = None


class Rest(msgspec.Struct, frozen=True):
    """Nothing is to be sent before `until` (microseconds since 1970), None: before something is appended.

    Nothing up to the number `passed` is wanted; `store` is to be kept first, if it is there, and all looked at again. `missed` events were
    gone before the sink got to them.
    """

    sink: Sink
    until: int | None
    passed: int
    store: Progress | None = None
    missed: int = 0


def look(tx: Transaction, vault: Sealer, sink_id: str, passed: int, now_us: int) -> Ready | Rest | None:
    """What a sink gets next, when nothing up to the number `passed` is wanted; None = it is not to be called."""
    sink = sinks.fed(tx, vault, sink_id)
    if sink is None:
        return None
    progress, kept = sink.progress, transformations.of_endpoint(tx, vault, sink_id)
    code = kept.code if kept.enabled else None
    if code is None and sink.type is SinkType.OTEL_TRACING:
        waits = without_code(progress)
        return Rest(sink, None, passed, None if progress == waits else waits)
    if progress.next_at is not None and progress.next_at > now_us:
        return Rest(sink, progress.next_at, passed)
    if progress.batch is not None:
        return _again(tx, sink, progress.batch, passed, code)
    place = max(progress.position, passed)
    wanted = Wanted(sink.event_types, sink.channels, sink.batch_size, MAX_BYTES)
    stretch = streams.ahead(tx, sink.stream_id, place, wanted)
    if stretch.lost:
        # Retention was faster. What is left goes on without them, and somebody is told.
        onward = Progress(place + stretch.lost, failing_since=progress.failing_since, missed=progress.missed + stretch.lost)
        return Rest(sink, None, passed, onward, stretch.lost)
    if not stretch.count:
        # A long way without anything is written down: nobody should go it again after a restart.
        return Rest(sink, None, stretch.position, None if stretch.done else Progress(stretch.position, missed=progress.missed))
    # Who was appended after `now_us` was read is a moment ahead of it; further ahead are times from before the clock was set back, and
    # these say nothing of how long an event has waited.
    waited_us, patience_us = now_us - stretch.first_at, sink.max_wait_s * SECOND_US
    if not stretch.full and -SECOND_US < waited_us < patience_us and patience_us:
        return Rest(sink, stretch.first_at + patience_us, stretch.first_seq - 1)
    events = streams.between(tx, sink.stream_id, place, stretch.position, msgspec.structs.replace(wanted, limit=stretch.count))
    return Ready(sink, stretch.first_seq, stretch.position, stretch.count, body_of(events), None, code)


def _again(tx: Transaction, sink: Sink, batch: Batch, passed: int, code: str | None) -> Ready | Rest:
    """The batch that was decided before."""
    wanted = Wanted(batch.event_types, batch.channels, batch.count, MAX_BYTES)
    events = streams.between(tx, sink.stream_id, sink.progress.position, batch.end, wanted)
    if len(events) != batch.count:
        # Retention was faster. What is left is another batch: no id stands for two contents. It is no success, though.
        anew = msgspec.structs.replace(resumed(sink.progress), batch=None, failing_since=sink.progress.failing_since)
        return Rest(sink, None, passed, anew)
    return Ready(sink, events[0].seq, batch.end, batch.count, body_of(events), batch, code)


def store(tx: Transaction, vault: Sealer, rest: Rest) -> bool:
    """Keep how far a sink is, unless somebody changed it meanwhile; whether that was done."""
    if rest.store is None or not _unchanged(tx, vault, rest.sink):
        return False
    sinks.go_on(tx, rest.sink.id, rest.store)
    return True


def decide(tx: Transaction, vault: Sealer, ready: Ready, batch_id: str) -> Sink | None:
    """Keep which batch is sent next; the sink with it, None when somebody changed it meanwhile."""
    sink = ready.sink
    if not _unchanged(tx, vault, sink):
        return None
    batch = Batch(batch_id, ready.end, ready.count, sink.event_types, sink.channels)
    progress = msgspec.structs.replace(sink.progress, batch=batch)
    sinks.go_on(tx, sink.id, progress)
    return msgspec.structs.replace(sink, progress=progress)


def settle(tx: Transaction, vault: Sealer, sink: Sink, follows: After, now_us: int) -> bool:
    """Keep what follows from an attempt; True = the sink is disabled by that. Nothing, when that batch is not on its way any more."""
    now, batch = sinks.by_id(tx, vault, sink.id), sink.progress.batch
    if now is None or batch is None or now.progress.batch is None or now.progress.batch.id != batch.id:
        return False
    if now.target is None:
        # It asks by itself by now. What it accepted it has; a failure is nothing to whoever is not called.
        if follows.progress.batch is None:
            sinks.go_on(tx, sink.id, follows.progress)
        return False
    sinks.go_on(tx, sink.id, follows.progress)
    return bool(follows.disabled) and sinks.disable(tx, sink.id, now_us)


def _unchanged(tx: Transaction, vault: Sealer, sink: Sink) -> bool:
    return sinks.fed(tx, vault, sink.id) == sink
