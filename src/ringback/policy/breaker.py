"""Is an endpoint to be left alone because most of its attempts fail? A circuit breaker: closed, open for a time, then one attempt decides.

Attempts are counted in slices of the window, on a clock that only goes forward. What an open one does with attempts is the engine's matter
(`engine.breakers`): it hands in those alone that began after the last opening.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.model.attempts import ErrorClass
from ringback.policy.outcome import Outcome

# Slices of a window: what is counted is never older than the window, and reaches back for five sixths of it at least.
SLICES: Final = 6
# The longest rest is so many times the first, which is reached with the fourth opening in a row: an endpoint that was down for a day is
# asked again within minutes (by the default of 30 s, four of them) once it is back.
LONGEST: Final = 8
_NONE: Final = (0,) * SLICES
# Nobody was asked, so nothing is known of the endpoint; see also `Outcome.failing`.
_NOT_ASKED: Final = frozenset({ErrorClass.BLOCKED.value, ErrorClass.TRANSFORMATION.value, ErrorClass.TRANSFORMATION_LIMIT.value})


class BreakerPolicy(msgspec.Struct, frozen=True):
    """When a breaker opens: `share` (above 0, up to 1) of the attempts of the last `window_us` failed, and these were `least` or more.

    It stays open for `rest_us`; with each further opening in a row twice as long, up to `LONGEST` times. Microseconds.
    """

    share: float
    least: int
    window_us: int
    rest_us: int


class Breaker(msgspec.Struct, frozen=True, gc=False):
    """The breaker of one endpoint. `made` and `failed` count its attempts by slice, the newest, number `slice`, last.

    `openings` are those without a recovery in between, 0 = it is closed; `until_us` is when the last of them has rested enough.
    """

    slice: int = 0
    made: tuple[int, ...] = _NONE
    failed: tuple[int, ...] = _NONE
    openings: int = 0
    until_us: int = 0

    @property
    def tried(self) -> bool:
        """Is it open although an attempt was made after a rest?"""
        return self.openings > 1

    @property
    def share(self) -> float:
        """Which part of the attempts failed that are counted; 0 when none is."""
        made = sum(self.made)
        return sum(self.failed) / made if made else 0.0

    def is_half_open(self, now_us: int) -> bool:
        """Has it rested, so that the next attempt decides?"""
        return bool(self.openings) and now_us >= self.until_us


CLOSED: Final = Breaker()


def counts(outcome: Outcome) -> bool:
    """Does an outcome say anything about the endpoint? Not where it is our doing, or nobody was asked."""
    return outcome.success or (outcome.failing and outcome.cause not in _NOT_ASKED)


def after(policy: BreakerPolicy, breaker: Breaker, success: bool, now_us: int) -> Breaker:
    """The breaker once an attempt has ended that counts. A success closes an open one, a failure after its rest opens it for longer."""
    if breaker.openings:
        if success:
            return CLOSED
        return breaker if now_us < breaker.until_us else _opened(policy, breaker, now_us)
    breaker = _counted(policy, breaker, success, now_us)
    enough = not success and sum(breaker.made) >= policy.least and breaker.share >= policy.share
    return _opened(policy, breaker, now_us) if enough else breaker


def is_stale(policy: BreakerPolicy, breaker: Breaker, now_us: int) -> bool:
    """Is there nothing to remember: no attempt of late, or an opening after whose rest nothing was attempted for a whole window?"""
    if breaker.openings:
        return now_us >= breaker.until_us + policy.window_us
    return _slice_of(policy, now_us) - breaker.slice >= SLICES


def _opened(policy: BreakerPolicy, breaker: Breaker, now_us: int) -> Breaker:
    # A bound of its own for the exponent: an endpoint may fail for years.
    rest_us = policy.rest_us * min(1 << min(breaker.openings, LONGEST), LONGEST)
    return msgspec.structs.replace(breaker, openings=breaker.openings + 1, until_us=now_us + rest_us)


def _counted(policy: BreakerPolicy, breaker: Breaker, success: bool, now_us: int) -> Breaker:
    made, failed = breaker.made, breaker.failed
    now = _slice_of(policy, now_us)
    if passed := min(now - breaker.slice, SLICES):
        made, failed = made[passed:] + _NONE[:passed], failed[passed:] + _NONE[:passed]
    return Breaker(now, (*made[:-1], made[-1] + 1), failed if success else (*failed[:-1], failed[-1] + 1))


def _slice_of(policy: BreakerPolicy, now_us: int) -> int:
    return now_us * SLICES // policy.window_us
