"""How an endpoint stands, in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringback.clock import SECOND_US
from ringback.dashboard.pages.endpoint_changes import header_change, wanted_of
from ringback.dashboard.pages.endpoints import held_words, sentence_of, shown_url, title_of, wants_of, why_off
from ringback.dashboard.pages.server import why_words
from ringback.model.attempts import WaitCause
from ringback.model.endpoints import DisableCause, DisabledBy, Disabling, Endpoint
from ringback.services.ports import Held, Pending, Standing
from tests.dashboard.test_journeys import ENDPOINT, NOW, attempt


def endpoint(**changes: Any) -> Endpoint:
    return msgspec.structs.replace(ENDPOINT, **changes)


@pytest.mark.parametrize("cause", list(DisableCause))
def test_each_reason_for_being_disabled_has_words(cause: DisableCause) -> None:
    why = Disabling(NOW - 7_200 * SECOND_US, DisabledBy.AUTOMATIC, cause, "", NOW - 90_000 * SECOND_US)
    words = why_off(endpoint(disabled=True, disabling=why), NOW)
    assert "2 h ago" in words and "failing since 2026-11-24 16:16:04.000 UTC" in words and "replay-missing" in words


def test_an_endpoint_that_is_on_has_no_reason_to_be_off() -> None:
    assert why_off(endpoint(), NOW) == ""
    assert why_off(endpoint(disabled=True), NOW).startswith("It gets no messages.")


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing(), ""),
        (Standing(8, WaitCause.PAUSED, 0), ""),
        (
            Standing(8, WaitCause.PAUSED, 250 * SECOND_US),
            "It is left alone for 4 min 10 s: it asked for that by Retry-After, or gave no answer several times.",
        ),
        (
            Standing(1, WaitCause.BREAKER, 30 * SECOND_US),
            "Its circuit breaker is open, as too many attempts failed. In 30 s one is made that decides; one by hand is made at once.",
        ),
        (
            Standing(1, deciding=True),
            "Its circuit breaker lets one attempt through, which decides: a success closes it, a failure opens it for longer.",
        ),
        (Standing(8, WaitCause.THROTTLE, 200_000), "A rate limit holds what waits for it; the next attempt is made within 1 s."),
    ],
    ids=str,
)
def test_an_endpoint_that_is_left_alone_says_for_how_long(standing: Standing, expected: str) -> None:
    assert held_words(standing) == expected


def test_the_queue_says_that_a_circuit_breaker_is_open() -> None:
    pending = Pending("ep_1", 0, 0, Standing(1, WaitCause.BREAKER, 30 * SECOND_US), Held.REST)
    assert why_words(pending) == "its circuit breaker is open for 30 s: too many attempts failed"


def test_the_queue_says_that_one_attempt_decides_about_a_circuit_breaker() -> None:
    pending = Pending("ep_1", 0, 1, Standing(1, deciding=True), Held.LIMIT)
    assert why_words(pending) == "one attempt is on the wire, which decides whether its circuit breaker closes"


def test_the_last_attempts_make_a_sentence() -> None:
    assert sentence_of(endpoint(), []) == "Nothing was sent to it yet."
    assert sentence_of(endpoint(), [attempt(2, 5, 200), attempt(1, 9)]) == "It took the last attempt, in 18 ms."
    assert sentence_of(endpoint(), [attempt(3, 5), attempt(2, 6), attempt(1, 9, 200)]) == "The last 2 attempts failed: it answered 503."
    assert sentence_of(endpoint(), [attempt(1, 9, 0)]) == "The last attempt failed: no address for a.example."


def test_a_password_in_a_url_is_not_shown() -> None:
    assert shown_url("https://user:s3cret@a.example:8443/x?y=1") == "https://user:•••@a.example:8443/x?y=1"
    assert title_of(endpoint(url="https://user:s3cret@a.example/hook?x=1")) == "a.example/hook?x=1"
    assert title_of(endpoint(url="http://a.example/")) == "http://a.example"


def test_what_an_endpoint_wants_is_told_shortly() -> None:
    assert wants_of(endpoint()) == "all event types"
    assert wants_of(endpoint(event_types=("b", "a"), channels=("eu",))) == "a and b, on eu"


def test_headers_that_are_not_shown_stay_unless_they_are_ticked() -> None:
    former = endpoint(headers={"X-Team": "a", "Authorization": "Bearer x", "X-Old": "1"})
    assert header_change(former, {"X-Team": "a", "X-Old": "1"}, ()) is None
    assert header_change(former, {"x-team": "b"}, ()) == {"x-team": "b", "X-Old": None}
    assert header_change(former, {"X-Team": "a", "X-Old": "1"}, ("Authorization",)) == {"Authorization": None}
    assert header_change(former, {"X-Team": "a", "X-Old": "1", "Authorization": "new"}, ("Authorization",)) == {"Authorization": "new"}


def test_empty_fields_of_a_form_are_no_conditions() -> None:
    values = {"url": " https://a.example ", "description": "", "uid": "", "channels": "a, b\na", "throttleRate": "", "metadata": "x: 1"}
    assert wanted_of(values, ()) == {
        "url": "https://a.example",
        "description": "",
        "uid": None,
        "eventTypes": None,
        "channels": ["a", "b"],
        "throttleRate": None,
        "metadata": {"x": "1"},
    }
