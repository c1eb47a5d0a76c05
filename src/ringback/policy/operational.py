"""Which attempts are news, and who wants to hear an operational event? Source: contract, section 7."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringback.model.operational import ATTEMPT_LOG, EVENTS
from ringback.policy import validation
from ringback.policy.validation import Problem

# So many scheduled attempts must fail before anybody is told: a deployment or a short outage is no news.
FAILING: Final = 4


def event_names(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for what an operational endpoint wants to hear: at least one event, each by its name."""
    problems = validation.names(values)
    if problems:
        return problems
    return [
        ((f"[{index}]",), f"{name!r} is no operational event; use one of {', '.join(EVENTS)}")
        for index, name in enumerate(values)
        if name not in EVENTS
    ]


def hears(wanted: Sequence[str] | None, event: str) -> bool:
    """Does an endpoint that wants these events (None = all) hear this one? The log of attempts must be asked for by name."""
    return event != ATTEMPT_LOG if wanted is None else event in wanted
