"""What happened to a message, told in one sentence, on a line of time, and as reasons."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringback.clock import SECOND_US
from ringback.dashboard.components import Badge
from ringback.dashboard.journeys import badge_of_journey, badges_of_tally, ordered, reason_of, sentence, timeline
from ringback.model.attempts import Attempt, Phases, WaitCause
from ringback.model.deliveries import AttemptStatus, Trigger
from ringback.model.endpoints import Endpoint
from ringback.model.messages import Message
from ringback.services.journeys import Journey, Leg, Letter, State, leg_of, miss_of
from ringback.store.operations.journeys import Live

NOW = 1_795_626_964_000_000
MESSAGE = Message("msg_1", "app_1", "order.created", b"{}", NOW - 600 * SECOND_US, NOW + 10**12, matched=1)
ENDPOINT = Endpoint("ep_1", "app_1", "https://a.example/", "", None, False, None, None, {}, None, 1, {}, (), 0, 0)
ALLOWED = 10


def attempt(number: int, ago_s: float, code: int = 503, *, manual: bool = False, **changes: Any) -> Attempt:
    """An attempt some seconds ago."""
    status = AttemptStatus.SUCCESS if 200 <= code < 300 else AttemptStatus.FAIL
    made = Attempt(
        f"atmpt_{number:02}",
        "app_1",
        "ep_1",
        "msg_1",
        "https://a.example/",
        number,
        status,
        Trigger.MANUAL if manual else Trigger.SCHEDULED,
        code,
        NOW - int(ago_s * SECOND_US),
        18_000,
        None,
        "" if code else "no address for a.example",
        "",
        Phases(),
        b"",
        b"",
        b"",
        1,
    )
    return msgspec.structs.replace(made, **changes)


def leg(*made: Attempt, due_in_s: float | None = None, letter: bool = False, asked: bool = False, **changes: Any) -> Leg:
    """A leg with these attempts, as it is read from the database."""
    live = [] if due_in_s is None else [Live("ep_1", NOW + int(due_in_s * SECOND_US), False, not made)]
    if asked:
        live.append(Live("ep_1", NOW, True, False))
    dead = Letter("dead_1", "ep_1", "http_503", "the endpoint answered 503", NOW, False) if letter else None
    return leg_of(msgspec.structs.replace(ENDPOINT, **changes), False, made, live, dead)


def told(*legs: Leg, message: Message = MESSAGE, misses: int = 0) -> str:
    """The sentence about a message with these legs."""
    return sentence(Journey(message, legs, [miss_of(ENDPOINT, message)] * misses, False), NOW, ALLOWED)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (leg(attempt(1, 599.9, 200)), "Delivered at the first attempt, 118 ms after it came."),
        (leg(attempt(1, 599), attempt(2, 590, 200)), "Delivered after it failed once, 10 s after it came."),
        (
            leg(attempt(1, 590), attempt(2, 400), attempt(3, 100), due_in_s=250),
            "Failed 3 of 10 times; the endpoint answered 503; next try in 4 min 10 s.",
        ),
        (leg(attempt(1, 590, 0), due_in_s=5), "Failed 1 of 10 times; no address for a.example; next try in 5 s."),
        (leg(attempt(1, 590), due_in_s=-3), "Failed 1 of 10 times; the endpoint answered 503; next try now."),
        (
            leg(attempt(1, 590), letter=True),
            "Failed once, and no attempt is left; the endpoint answered 503. It is a dead letter, and waits for somebody.",
        ),
        (leg(due_in_s=-600), "Waits for its first attempt."),
        (leg(attempt(1, 590), disabled=True), "Failed once; the endpoint answered 503; the endpoint was disabled."),
        (leg(attempt(1, 590, manual=True)), "Failed once; the endpoint answered 503; the endpoint gets no further attempt by itself."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_endpoint_is_told_in_one_sentence(one: Leg, expected: str) -> None:
    assert told(one) == expected


def test_endpoints_that_fail_for_several_reasons_are_not_all_told_the_first() -> None:
    refused, silent = leg(attempt(1, 599), due_in_s=60), leg(attempt(1, 599, 0), due_in_s=70)
    assert told(refused, refused) == "Delivered to 0 of 2 endpoints; 2 retrying; the endpoint answered 503; next try in 1 min."
    said = "the endpoint answered 503, and 2 others for another reason"
    assert told(refused, silent, silent) == f"Delivered to 0 of 3 endpoints; 3 retrying; {said}; next try in 1 min."


def test_an_attempt_without_an_answer_says_when_it_ended() -> None:
    assert timeline(leg(attempt(1, 590, 0)), MESSAGE, NOW)[1].then == "no address for a.example, after 18 ms"


def test_a_message_that_goes_nowhere_says_so() -> None:
    assert told() == "Stored and sent nowhere: the application has no endpoint."
    assert told(misses=1) == "Stored and sent nowhere: the endpoint does not want it."
    assert told(misses=3) == "Stored and sent nowhere: none of 3 endpoints does want it."


def test_a_message_for_later_says_when() -> None:
    later = msgspec.structs.replace(MESSAGE, deliver_at=NOW + 3_660 * SECOND_US)
    assert told(message=later) == "Waits for its time: it is to be sent in 1 h 1 min."
    assert told(leg(due_in_s=3_660), message=later) == "Waits for its time: it is to be sent in 1 h 1 min."


def test_several_endpoints_are_counted_and_the_worst_is_named() -> None:
    legs = (leg(attempt(1, 599, 200)), leg(attempt(2, 500), due_in_s=60), leg(attempt(3, 400, 0), letter=True))
    assert told(*legs) == "Delivered to 1 of 3 endpoints; 1 dead; 1 retrying; no address for a.example; next try in 1 min."
    assert [one.state for one in ordered(legs)] == [State.DEAD, State.RETRYING, State.DELIVERED]
    assert badge_of_journey(Journey(MESSAGE, legs, (), False)) == Badge("dead", "dead")


def test_the_line_of_time_tells_each_wait() -> None:
    events = timeline(leg(attempt(1, 599.9, next_cause="schedule"), attempt(2, 500, next_cause="retry_after"), due_in_s=300), MESSAGE, NOW)
    assert [(event.what, event.wait) for event in events] == [
        ("accepted", ""),
        ("attempt 1 failed", ""),
        ("attempt 2 failed", "waited 1 min 39 s, by the retry schedule"),
        ("next attempt", "waits 13 min 19 s, as its Retry-After asked"),
    ]
    assert events[1].then == "answered 503 in 18 ms" and events[1].attempt_id == "atmpt_01"


def test_what_held_an_attempt_that_was_due_is_named() -> None:
    first = attempt(1, 597, wait="throttle")
    second = attempt(2, 500, wait="restart")
    assert [event.wait for event in timeline(leg(first, attempt(2, 590, 200, wait="paused")), MESSAGE, NOW)][1:] == [
        "waited 3 s, held by a rate limit",
        "waited 7 s, its endpoint was left alone for a moment",
    ]
    due = first.started_at + 5 * SECOND_US
    planned = msgspec.structs.replace(first, next_cause="schedule", next_due_at=due)
    assert (
        timeline(leg(planned, second), MESSAGE, NOW)[2].wait
        == "waited 1 min 36 s, by the retry schedule, then 1 min 32 s longer: the server was not running"
    )


@pytest.mark.parametrize("cause", list(WaitCause))
def test_each_cause_of_a_wait_has_words(cause: WaitCause) -> None:
    wait = timeline(leg(attempt(1, 590, wait=cause.value)), MESSAGE, NOW)[1].wait
    assert wait.startswith("waited 10 s, ") and "_" not in wait


def test_what_is_due_already_has_no_time() -> None:
    last = timeline(leg(attempt(1, 599), due_in_s=-5), MESSAGE, NOW)[-1]
    assert (last.what, last.at) == ("next attempt is due", None)


def test_a_manual_attempt_is_told_from_a_scheduled_one() -> None:
    events = timeline(leg(attempt(1, 599), attempt(1, 10, manual=True), due_in_s=60, asked=True), MESSAGE, NOW)
    assert [event.what for event in events][2:4] == ["manual attempt failed", "manual attempt"]


def test_a_success_by_hand_counts_although_a_retry_was_due() -> None:
    assert leg(attempt(1, 599), attempt(2, 10, 200, manual=True), due_in_s=60).state is State.DELIVERED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"disabled": True}, "It is disabled."),
        ({"event_types": ("ticket.updated", "b")}, "It wants b, ticket.updated, and this is order.created."),
        ({"channels": ("eu",)}, "It listens on eu, and the message is on no channel."),
        ({"created_at": NOW}, "It was created after the message came. Replay-missing sends it what it missed."),
        ({}, "It would match as it is now; when the message came it did not: it was disabled, or asked for something else."),
    ],
    ids=str,
)
def test_each_endpoint_that_got_nothing_has_its_reason(changes: dict[str, Any], expected: str) -> None:
    assert reason_of(miss_of(msgspec.structs.replace(ENDPOINT, **changes), MESSAGE), MESSAGE) == expected


@pytest.mark.parametrize(
    ("matched", "counts", "expected"),
    [
        (0, (0, 0, 0, 0), ["no endpoint"]),
        (1, (0, 0, 0, 0), ["waiting"]),
        (1, (1, 0, 0, 0), ["delivered"]),
        (3, (3, 0, 0, 0), ["3 delivered"]),
        (3, (1, 1, 1, 0), ["1 failed", "1 retrying", "1 delivered"]),
        (3, (1, 0, 0, 1), ["delivered", "1 cancelled", "1 waiting"]),
    ],
)
def test_a_line_of_a_list_tells_the_worst_first(matched: int, counts: tuple[int, int, int, int], expected: list[str]) -> None:
    badges = badges_of_tally(msgspec.structs.replace(MESSAGE, matched=matched), *counts)
    assert [badge.word for badge in badges] == expected
