"""Is a source quiet for longer than it should be? Providers disable webhooks quietly, and nobody misses what does not come."""

from __future__ import annotations

from typing import Final

from ringback.clock import SECOND_US
from ringback.model.sources import Activity, Source

# A source's habit is its longest gap of late: a longer one counts at once, and is forgotten over eight times its length. An average would
# take every pause after a burst for silence.
_GAP_FADES: Final = 8
# A source is silent after so many times its habit, and never before ten minutes: habits of seconds break all the time.
SILENT_GAPS: Final = 3
SILENT_LEAST_US: Final = 600 * SECOND_US


def habit(former_us: int | None, longest_us: int, elapsed_us: int) -> int:
    """The longest usual time between two events, microseconds, once more of them were seen.

    `longest_us` is the longest gap among those, `elapsed_us` what all of them took. Not negative, whatever the clock does.
    """
    longest_us = max(longest_us, 0)
    return longest_us if former_us is None else max(longest_us, former_us - max(elapsed_us, 0) // _GAP_FADES)


def allowed_silence(source: Source, gap_us: int | None) -> int | None:
    """How long a source may be quiet, microseconds; None while it has no habit, and its owner has said nothing."""
    if source.rules.silence_s is not None:
        return source.rules.silence_s * SECOND_US
    return None if gap_us is None else max(SILENT_LEAST_US, gap_us * SILENT_GAPS)


def silence(source: Source, activity: Activity, now_us: int) -> int | None:
    """How long a source has been quiet, microseconds, if that is longer than it may be; else None.

    One that was never heard counts from its creation where its owner has said how long it may be quiet. What is disabled is not missed, and
    one that sends by itself is quiet as its schedule says.
    """
    allowed_us = allowed_silence(source, activity.gap_us)
    if allowed_us is None or source.disabled or source.cron is not None:
        return None
    silent_us = now_us - (source.created_at if activity.last_at is None else activity.last_at)
    return silent_us if silent_us > allowed_us else None
