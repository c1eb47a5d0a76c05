"""When is the next attempt? The retry schedule, as a pure function of what happened."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.model.attempts import WaitCause
from ringback.policy.outcome import Outcome

# A delay is lengthened by up to this share, so that deliveries that failed together do not come back together.
JITTER: Final = 0.2


class RetryPolicy(msgspec.Struct, frozen=True):
    """How failures are retried; all in seconds. `schedule_s` has one delay per retry: [] = one attempt."""

    schedule_s: tuple[float, ...]
    overload_min_s: float = 60.0
    retry_after_max_s: float = 3600.0


class Delay(msgspec.Struct, frozen=True):
    """How long until the next attempt, seconds, and what decided that."""

    seconds: float
    cause: WaitCause


def next_delay(policy: RetryPolicy, attempts_made: int, outcome: Outcome, draw: float) -> Delay | None:
    """The delay before the next attempt after `attempts_made` (1 or more) failed ones, or None when that was the last.

    `draw` is a random number in [0, 1). Never less than the schedule's delay; Retry-After lengthens it up to its cap, and adds no attempts.
    """
    if outcome.disables or outcome.aborts or outcome.ends or exhausted(policy, attempts_made):
        return None
    delay_s = policy.schedule_s[attempts_made - 1] * (1 + JITTER * draw)
    if outcome.retry_after_s is not None:
        least_s, cause = min(outcome.retry_after_s, policy.retry_after_max_s), WaitCause.RETRY_AFTER
    elif outcome.timed_out or outcome.cause == "http_429":
        least_s, cause = policy.overload_min_s, WaitCause.OVERLOAD
    else:
        return Delay(delay_s, WaitCause.SCHEDULE)
    return Delay(delay_s, WaitCause.SCHEDULE) if delay_s >= least_s else Delay(least_s, cause)


def exhausted(policy: RetryPolicy, attempts_made: int) -> bool:
    """Has a delivery had all the attempts that its schedule gives it?"""
    return attempts_made > len(policy.schedule_s)
