from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.clock import to_datetime
from ringback.model.attempts import ErrorClass, Exchange
from ringback.policy.outcome import Outcome, judge, retry_after_s

NOW_US = 1_700_000_000_000_000


def answer(status: int, *lines: bytes) -> Exchange:
    return Exchange(status, head=b"\r\n".join([b"HTTP/1.1 %d X" % status, *lines, b"", b""]))


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_success_whatever_it_says_besides(status):
    outcome = judge(answer(status, b"retry-after: 5", b"webhook-delivery: abort-message"), NOW_US)
    assert outcome.success
    assert not outcome.disables
    assert not outcome.aborts
    assert outcome.retry_after_s is None


@pytest.mark.parametrize("status", [200, 204, 404, 500])
def test_an_endpoint_may_ask_to_be_disabled_in_any_answer(status):
    outcome = judge(answer(status, b"webhook-delivery: disable"), NOW_US)
    assert outcome.success == (status < 300)
    assert outcome.disables
    assert "asked to be disabled" in outcome.words


def test_what_an_endpoint_asks_for_is_said_in_words():
    assert "no more attempts of this message" in judge(answer(500, b"webhook-delivery: abort-message"), NOW_US).words


@pytest.mark.parametrize(
    ("outcome", "failing"),
    [
        (Outcome(False, "http_500"), True),
        (Outcome(False, "timeout"), True),
        (Outcome(False, "blocked"), True),
        (Outcome(False, "internal"), False),
        (Outcome(False, "payload_gone"), False),
        (Outcome(False, "proxy"), False),
        (Outcome(False, "http_500", aborts=True), False),
        (Outcome(True), False),
    ],
)
def test_an_endpoint_is_not_failing_for_what_is_our_doing_or_its_own_wish(outcome, failing):
    assert outcome.failing == failing


@pytest.mark.parametrize("status", [100, 199, 300, 301, 304, 399, 400, 404, 410, 429, 500, 503, 599, 999])
def test_everything_else_fails_and_says_so_in_words(status):
    outcome = judge(answer(status), NOW_US)
    assert not outcome.success
    assert outcome.cause == f"http_{status}"
    assert str(status) in outcome.words
    assert outcome.slow_down == (status == 429 or status >= 500)
    assert outcome.overloaded == (status in (429, 503))
    assert outcome.disables == (status == 410)
    assert ("never followed" in outcome.words) == (300 <= status < 400)


@pytest.mark.parametrize("error", list(ErrorClass))
def test_without_an_answer_the_error_is_the_cause(error):
    outcome = judge(Exchange(0, error=error, detail="a sentence"), NOW_US)
    # What its own code did says nothing of the endpoint's server, unless it had to be stopped.
    asked = error not in (ErrorClass.TRANSFORMATION, ErrorClass.CANCELLED)
    assert (outcome.success, outcome.cause, outcome.words, outcome.slow_down) == (False, error.value, "a sentence", asked)
    assert (outcome.unanswered, outcome.cancelled) == (asked, error is ErrorClass.CANCELLED)
    assert outcome.failing == (error not in (ErrorClass.INTERNAL, ErrorClass.PAYLOAD_GONE, ErrorClass.PROXY, ErrorClass.CANCELLED))
    assert outcome.timed_out == (error in (ErrorClass.TIMEOUT, ErrorClass.CONNECT_TIMEOUT))


@pytest.mark.parametrize(
    ("line", "disables", "aborts"),
    [
        (b"Webhook-Delivery: disable", True, False),
        (b"webhook-delivery: Abort-Message", False, True),
        (b"webhook-delivery: something else", False, False),
        (b"x-webhook-delivery: disable", False, False),
    ],
)
def test_a_receiver_may_steer_its_own_deliveries(line, disables, aborts):
    outcome = judge(answer(500, line), NOW_US)
    assert (outcome.disables, outcome.aborts) == (disables, aborts)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b" 120 ", 120.0),
        (b"1.5", 1.5),
        (b".5", 0.5),
        (b"0", None),
        (b"-5", None),
        (b"", None),
        (b"soon", None),
        (b"1e3", None),
        (b"inf", None),
        (b"nan", None),
        (b"1_000", None),
        (b"0x10", None),
        (b"9" * 400, None),
        (b"9" * 20, 99999999999999999999.0),
        (format_datetime(to_datetime(NOW_US + 90_000_000), usegmt=True).encode(), 90.0),
        (b"Tue, 14 Nov 2023 22:14:50 +0000", 90.0),
        (b"Tuesday, 14-Nov-23 22:14:50 GMT", 90.0),
        (b"Tue Nov 14 22:14:50 2023", 90.0),
        (format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True).encode(), None),
        (b"Tue, 99 Nov 2023 22:14:50 GMT", None),
        (b"Tue, 14 Nov 2023 22:14:50 +9999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_ignored_otherwise(value, seconds):
    """https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3"""
    assert retry_after_s(value, NOW_US) == seconds


@given(
    st.one_of(st.binary(), st.text(alphabet='0123456789.,:+- GMTJanFebNov_eE/()"\\\t', max_size=40).map(str.encode)),
    st.integers(0, 1 << 52),
)
def test_no_bytes_in_retry_after_break_anything(value, now_us):
    seconds = retry_after_s(value, now_us)
    assert seconds is None or 0 < seconds < float("inf")


@given(st.integers(0, 999), st.binary(max_size=200))
def test_no_answer_breaks_the_judgement(status, head):
    assert judge(Exchange(status, head=head), NOW_US).success == (200 <= status < 300)
    steered = judge(Exchange(500, head=b"HTTP/1.1 500 X\r\nretry-after:" + head + b"\r\nwebhook-delivery:" + head), NOW_US)
    assert not steered.success
