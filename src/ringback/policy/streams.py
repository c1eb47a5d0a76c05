"""What becomes of a batch of a sink, and how is its place in the stream shown? Pure: from what happened to what follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US, rfc3339
from ringback.model.streams import Progress, Sink, StreamEvent
from ringback.policy.outcome import Outcome
from ringback.policy.polling import opened, sealed
from ringback.policy.retry import JITTER, RetryPolicy, next_delay

# The first byte of an iterator, so that another shape can follow one day; those of messages begin with another one.
_VERSION: Final = b"\x02"
# Numbers of events fit 63 bits.
_NUMBER_BYTES: Final = 8
_MAX_NUMBER: Final = (1 << 63) - 1
# The contract's wait between attempts once the schedule has ended (section 11), seconds: 10 h.
LATE_RETRY_S: Final = 36_000.0
# Seconds of an hour: what sentences count in.
_HOUR_S: Final = 3_600
# Why a sink sends nothing that has to be told how.
NEEDS_CODE: Final = "it has no transformation, which makes spans of events: nothing is sent until it has one, and nothing is passed over"
# Characters of the reason of a failure that are kept: a sentence.
_MAX_REASON: Final = 500


class After(msgspec.Struct, frozen=True):
    """What follows from an attempt: how far the sink is now, and whether it is disabled by that, and why ("" = it is not)."""

    progress: Progress
    disabled: str = ""


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    """An event as sinks get it."""

    event_type: str
    payload: str


def body_of(events: Sequence[StreamEvent]) -> bytes:
    """The body of a batch: a list of events, each with its text as it was given."""
    return msgspec.json.encode([_Item(event.event_type, event.payload) for event in events])


def after(sink: Sink, outcome: Outcome, policy: RetryPolicy, disable_after_us: int, draw: float, now_us: int, *, remark: str = "") -> After:
    """What follows from an attempt to bring a sink the batch that is on its way. `draw` is a random number in [0, 1).

    `remark` is what a receiver that accepted it says against a part of it.

    Source: contract, section 11: the schedule of all retries, then every ten hours; nothing is passed over. Disabled when it asks for
    that, or without a success for longer than `disable_after_us`. A batch that its transformation does not want sent is done with.
    """
    former = sink.progress
    if outcome.success or outcome.cancelled:
        end = former.position if former.batch is None else former.batch.end
        return After(Progress(end, failure=remark[:_MAX_REASON] or None, missed=former.missed), outcome.words if outcome.disables else "")
    attempts = former.attempts + 1
    since = now_us if former.failing_since is None else former.failing_since
    reason = outcome.words[:_MAX_REASON]
    # What it wants no more of is kept all the same: a batch that is passed over would be lost.
    delay = next_delay(policy, attempts, msgspec.structs.replace(outcome, aborts=False), draw)
    wait_s = LATE_RETRY_S * (1 + JITTER * draw) if delay is None else delay.seconds
    failed = Progress(former.position, former.batch, attempts, now_us + int(wait_s * SECOND_US), since, reason, former.missed)
    if outcome.disables:
        return After(msgspec.structs.replace(failed, next_at=None), reason)
    if now_us - since > disable_after_us:
        hours = disable_after_us / SECOND_US / _HOUR_S
        words = f"no batch was accepted since {rfc3339(since)}, for more than {hours:g} h; the last time: {reason}"
        return After(msgspec.structs.replace(failed, next_at=None, failure=words), words)
    return After(failed)


def without_code(progress: Progress) -> Progress:
    """How far a sink is that sends what a transformation makes, and has none: where it was, and it says why."""
    return msgspec.structs.replace(resumed(progress), failure=NEEDS_CODE)


def with_code(progress: Progress) -> Progress:
    """How far a sink is that has a transformation now."""
    return msgspec.structs.replace(progress, failure=None) if progress.failure == NEEDS_CODE else progress


def resumed(progress: Progress) -> Progress:
    """How far a sink is that is enabled again: where it was, with a new schedule before it."""
    return Progress(progress.position, progress.batch, missed=progress.missed)


def iterator_of(sink_id: str, position: int) -> str:
    """A place in the stream as clients of this sink see it."""
    return sealed(sink_id, _VERSION + position.to_bytes(_NUMBER_BYTES))


def position_of(sink_id: str, iterator: str) -> int | None:
    """The place in an iterator of this sink; None for anything else."""
    place = opened(sink_id, iterator)
    if place is None or len(place) != 1 + _NUMBER_BYTES or place[:1] != _VERSION:
        return None
    return min(int.from_bytes(place[1:]), _MAX_NUMBER)
