"""Which endpoints have had no success since a message ran out of attempts? Kept in the database; what is kept is known here, too.

The engine alone writes it, so that a success of any other endpoint costs a look at what is mostly empty.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ringback.model.endpoints import Disabling
from ringback.policy.disabling import by_answer, by_breaker, by_failing
from ringback.policy.outcome import Outcome


class Change(msgspec.Struct, frozen=True):
    """What an attempt changes of its endpoint; see the fields of `store.base.Record`."""

    disables: Disabling | None = None
    first_failure_at: int | None = None


NOTHING = Change()
# What stands for "there is no first failure any more".
CLEARED = 0


class Health:
    """The first failures of endpoints. `disable_after_us` is how long an endpoint may fail, microseconds."""

    def __init__(self, disable_after_us: int) -> None:
        self._disable_after_us = disable_after_us
        # Endpoint -> when the first of its messages ran out of attempts since its last success.
        self.failing: dict[str, int] = {}

    def start(self, known: Iterable[tuple[str, int]]) -> None:
        """Begin with what an earlier run has left."""
        self.failing.update(known)

    def succeeded(self, endpoint_id: str, outcome: Outcome, now_us: int) -> Change:
        """An attempt was answered well, made by hand or not."""
        since = self.failing.pop(endpoint_id, None)
        return Change(by_answer(outcome, None, now_us), None if since is None else CLEARED)

    def exhausted(self, endpoint_id: str, outcome: Outcome, now_us: int) -> Change:
        """A message had the last of its attempts, and it failed."""
        if outcome.disables:
            return self.refused(endpoint_id, outcome, now_us)
        if not outcome.failing:
            return NOTHING
        since = self.failing.get(endpoint_id)
        if since is None:
            self.failing[endpoint_id] = now_us
            return Change(first_failure_at=now_us)
        disables = by_failing(since, self._disable_after_us, now_us)
        if disables is not None:
            # Should it be enabled again, its days begin anew.
            del self.failing[endpoint_id]
        return Change(disables, CLEARED if disables is not None else None)

    def tried(self, endpoint_id: str, opened_at: int, now_us: int) -> Change:
        """The attempt failed that was to tell whether its circuit breaker, open since then, may close."""
        disables = by_breaker(opened_at, self._disable_after_us, now_us)
        if disables is None:
            return NOTHING
        return Change(disables, None if self.failing.pop(endpoint_id, None) is None else CLEARED)

    def refused(self, endpoint_id: str, outcome: Outcome, now_us: int) -> Change:
        """An attempt failed that does not count; its answer may disable the endpoint all the same."""
        if not outcome.disables:
            return NOTHING
        since = self.failing.pop(endpoint_id, None)
        return Change(by_answer(outcome, since, now_us), None if since is None else CLEARED)
