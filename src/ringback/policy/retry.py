"""When is the next attempt? The retry schedule, as a pure function of what happened."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.policy.outcome import Outcome

# A delay is lengthened by up to this share, so that deliveries that failed together do not come back together.
JITTER: Final = 0.2


class RetryPolicy(msgspec.Struct, frozen=True):
    """How failures are retried; all in seconds. `schedule_s` has one delay per retry: [] = one attempt."""

    schedule_s: tuple[float, ...]
    overload_min_s: float = 60.0
    retry_after_max_s: float = 3600.0


def next_delay_s(policy: RetryPolicy, attempts_made: int, outcome: Outcome, draw: float) -> float | None:
    """Seconds until the next attempt after `attempts_made` (1 or more) failed ones, or None when that was the last.

    `draw` is a random number in [0, 1). Never less than the schedule's delay; Retry-After lengthens it up to its cap, and adds no attempts.
    """
    if outcome.disables or outcome.aborts or attempts_made > len(policy.schedule_s):
        return None
    delay = policy.schedule_s[attempts_made - 1] * (1 + JITTER * draw)
    if outcome.retry_after_s is not None:
        return max(delay, min(outcome.retry_after_s, policy.retry_after_max_s))
    if outcome.timed_out or outcome.cause == "http_429":
        return max(delay, policy.overload_min_s)
    return delay
