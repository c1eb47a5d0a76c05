"""When is an endpoint disabled without anybody asking? By its own answer, or because its messages have run out of attempts for days."""

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
    hours = disable_after_us / SECOND_US / _HOUR_S
    detail = f"messages have run out of attempts since {rfc3339(first_failure_at)}, for more than {hours:g} h, without a success between"
    return Disabling(now_us, DisabledBy.AUTOMATIC, DisableCause.FAILING, detail, first_failure_at)
