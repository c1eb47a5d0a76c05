"""When is an endpoint disabled without anybody asking? By its own answer, or because it has failed for days.

That it fails is told by messages that run out of attempts; while its circuit breaker is open they hardly do, so then the breaker tells.
"""

from __future__ import annotations

from ringback.clock import SECOND_US, rfc3339
from ringback.model.endpoints import DisableCause, DisabledBy, Disabling
from ringback.policy.outcome import GONE_CAUSE, Outcome

# Seconds of an hour: what the sentence counts in.
_HOUR_S = 3_600


def by_answer(outcome: Outcome, fail_since: int | None, now_us: int) -> Disabling | None:
    """Why an answer disables its endpoint, if it does."""
    if not outcome.disables:
        return None
    cause = DisableCause.GONE if outcome.cause == GONE_CAUSE else DisableCause.ASKED
    return Disabling(now_us, DisabledBy.AUTOMATIC, cause, outcome.words, fail_since)


def by_failing(first_failure_at: int, disable_after_us: int, now_us: int) -> Disabling | None:
    """Why an endpoint is disabled one of whose messages has run out of attempts, the first one at `first_failure_at`; if it is.

    Source: contract, 6.7.
    """
    if now_us - first_failure_at <= disable_after_us:
        return None
    return _failing("messages have run out of attempts", first_failure_at, disable_after_us, now_us)


def by_breaker(opened_at: int, disable_after_us: int, now_us: int) -> Disabling | None:
    """Why an endpoint is disabled whose circuit breaker, open since `opened_at`, let one attempt be made that failed; if it is."""
    if now_us - opened_at <= disable_after_us:
        return None
    return _failing("its circuit breaker has been open", opened_at, disable_after_us, now_us)


def _failing(what: str, since: int, disable_after_us: int, now_us: int) -> Disabling:
    hours = disable_after_us / SECOND_US / _HOUR_S
    detail = f"{what} since {rfc3339(since)}, for more than {hours:g} h, without a success between"
    return Disabling(now_us, DisabledBy.AUTOMATIC, DisableCause.FAILING, detail, since)
