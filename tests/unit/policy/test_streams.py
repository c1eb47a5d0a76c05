"""What follows from an attempt to feed a sink, and what its places look like."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.attempts import ErrorClass, Exchange
from ringback.model.streams import Batch, Progress, Sink, SinkStatus, SinkType, StreamEvent
from ringback.policy.outcome import judge
from ringback.policy.polling import iterator_of as message_iterator
from ringback.policy.polling import start_position
from ringback.policy.retry import RetryPolicy
from ringback.policy.streams import after, body_of, iterator_of, position_of, resumed

SECOND = 1_000_000
HOUR = 3_600 * SECOND
NOW = 1_800_000_000 * SECOND
DISABLE_AFTER = 120 * HOUR
# The contract's schedule (section 6.5).
POLICY = RetryPolicy((5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 72000))
BATCH = Batch("batch_1", 9, 4)


def sink(progress: Progress) -> Sink:
    return Sink("sink_1", "strm_1", None, SinkType.HTTP, None, SinkStatus.ENABLED, None, None, {}, 5, 0, progress, NOW, NOW)


def answered(status: int, head: bytes = b"") -> Exchange:
    error = ErrorClass.TIMEOUT if status == 0 else None
    return Exchange(status, head=head, error=error, detail="no answer" if status == 0 else "", duration_us=1)


def following(progress: Progress, exchange: Exchange, now: int = NOW, draw: float = 0.0):
    return after(sink(progress), judge(exchange, now), POLICY, DISABLE_AFTER, draw, now)


def test_a_batch_that_is_accepted_is_over():
    found = following(Progress(5, BATCH, 3, NOW, NOW - HOUR, "no"), answered(204))
    assert (found.progress, found.disabled) == (Progress(9), "")


def test_failures_follow_the_schedule_then_every_ten_hours_and_pass_nothing_over():
    progress, waits = Progress(5, BATCH), []
    for _ in range(12):
        progress = following(progress, answered(500)).progress
        assert progress.next_at is not None
        waits.append((progress.next_at - NOW) // SECOND)
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 72000, 36000, 36000, 36000]
    assert (progress.position, progress.batch, progress.attempts, progress.failing_since) == (5, BATCH, 12, NOW)
    assert progress.failure == "the endpoint answered 500 Internal Server Error"


@given(st.integers(0, 15), st.floats(0, 1, exclude_max=True))
def test_no_retry_is_earlier_than_its_schedule_nor_a_fifth_later(attempts, draw):
    made = following(Progress(5, BATCH, attempts, NOW, NOW), answered(500), draw=draw).progress
    base = POLICY.schedule_s[attempts] if attempts < len(POLICY.schedule_s) else 36_000
    assert base * SECOND <= made.next_at - NOW <= base * SECOND * 1.2


def test_a_timeout_and_a_retry_after_lengthen_the_wait():
    assert following(Progress(5, BATCH), answered(0)).progress.next_at == NOW + 60 * SECOND
    told = answered(503, b"HTTP/1.1 503 No\r\nretry-after: 100\r\n\r\n")
    assert following(Progress(5, BATCH), told).progress.next_at == NOW + 100 * SECOND


@pytest.mark.parametrize(("since", "disabled"), [(DISABLE_AFTER, False), (DISABLE_AFTER + 1, True)])
def test_a_sink_without_a_success_for_days_is_disabled(since, disabled):
    found = following(Progress(5, BATCH, 12, NOW, NOW - since, "no"), answered(500))
    assert bool(found.disabled) is disabled
    assert (found.progress.next_at is None) is disabled
    assert found.progress.batch == BATCH, "it is there when the sink is enabled again"
    if disabled:
        assert found.disabled == found.progress.failure
        assert "for more than 120 h; the last time: the endpoint answered 500" in found.disabled


@pytest.mark.parametrize("status", [410, 500, 200])
def test_a_sink_that_asks_for_no_more_is_disabled(status):
    found = following(Progress(5, BATCH), answered(status, b"HTTP/1.1 1 X\r\nwebhook-delivery: disable\r\n\r\n"))
    assert found.disabled
    assert found.progress.position == (9 if status == 200 else 5)


def test_a_wish_for_no_more_attempts_of_a_batch_loses_no_event():
    found = following(Progress(5, BATCH), answered(500, b"HTTP/1.1 500 No\r\nwebhook-delivery: abort-message\r\n\r\n"))
    assert (found.progress.batch, found.progress.next_at, found.disabled) == (BATCH, NOW + 5 * SECOND, "")


def test_who_is_enabled_again_begins_a_new_schedule_with_the_batch_that_was_on_its_way():
    assert resumed(Progress(5, BATCH, 12, NOW, NOW, "no")) == Progress(5, BATCH)


def test_the_body_is_a_list_of_types_and_texts():
    events = [StreamEvent(1, "a", '{"b": 1}', NOW), StreamEvent(2, "b", "\u00e9", NOW)]
    assert msgspec.json.decode(body_of(events)) == [
        {"eventType": "a", "payload": '{"b": 1}'},
        {"eventType": "b", "payload": "\u00e9"},
    ]


@given(st.integers(0, (1 << 63) - 1))
def test_a_place_is_read_back_by_its_own_sink_alone(position):
    iterator = iterator_of("sink_1", position)
    assert position_of("sink_1", iterator) == position
    assert position_of("sink_2", iterator) is None


@given(st.text(max_size=60))
def test_nothing_else_is_a_place(text):
    assert position_of("sink_1", text) is None


def test_a_place_among_messages_is_none_in_a_stream():
    assert position_of("sink_1", message_iterator("sink_1", start_position(NOW))) is None
