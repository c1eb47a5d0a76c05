"""What to do about each failure."""

from __future__ import annotations

import pytest

from ringback.model.attempts import ErrorClass
from ringback.policy.advice import advice


@pytest.mark.parametrize("error", list(ErrorClass))
def test_each_error_has_its_own_advice(error: ErrorClass) -> None:
    found = advice(error.value, 0)
    assert found.meaning.endswith(".") and found.steps and all(step.endswith(".") for step in found.steps)
    assert sum(advice(other.value, 0) == found for other in ErrorClass) == 1


@pytest.mark.parametrize("status", [*range(100, 200, 7), *range(300, 600)])
def test_each_status_that_is_no_success_has_advice(status: int) -> None:
    found = advice(None, status)
    assert found.meaning and found.steps


def test_what_matters_most_is_named() -> None:
    assert "whitelist_subnets" in " ".join(advice("blocked", 0).steps)
    assert "raw bytes" in " ".join(advice(None, 401).steps)
    assert "never followed" in advice(None, 302).meaning
    assert "disabled" in advice(None, 410).meaning
    assert "rate" in " ".join(advice(None, 429).steps)
    assert advice(None, 418) == advice(None, 451) != advice(None, 599)
