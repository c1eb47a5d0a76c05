"""Who hears an operational event, and what may be asked for. Source: contract, section 7."""

from __future__ import annotations

import pytest

from ringback.model.operational import ATTEMPT_LOG, EVENTS
from ringback.policy.operational import event_names, hears


@pytest.mark.parametrize("event", EVENTS)
def test_who_names_nothing_hears_everything_but_the_log_of_attempts(event: str) -> None:
    assert hears(None, event) == (event != ATTEMPT_LOG)


@pytest.mark.parametrize("event", EVENTS)
def test_who_names_an_event_hears_that_one(event: str) -> None:
    assert [other for other in EVENTS if hears((event,), other)] == [event]


def test_only_operational_events_can_be_named() -> None:
    assert event_names(EVENTS) == []
    assert [where for where, _ in event_names(("endpoint.created", "nope", "endpoint.Created"))] == [("[1]",), ("[2]",)]
    assert [where for where, _ in event_names(())] == [()]
