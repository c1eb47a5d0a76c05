"""What does an answer mean? Turns the facts of an attempt into a judgement: success or not, why in words, and what should happen next.

Pure: a failed delivery is a value, not an exception.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import msgspec

from ringback.clock import SECOND_US, to_us
from ringback.model.attempts import ErrorClass, Exchange
from ringback.policy.heads import header_value

# Statuses by which an endpoint says that it has too much to do; its other deliveries wait with this one.
OVERLOADED: Final = frozenset({429, 503})
# The endpoint will never want anything again (RFC 9110, 15.5.11); and the cause of an outcome that says so.
GONE: Final = 410
GONE_CAUSE: Final = "http_410"
# The header by which a receiver may steer its own deliveries.
CONTROL: Final = b"webhook-delivery"


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The judgement of one attempt.

    `cause` is an error class or `http_<status>`, "" on success; `words` is a sentence for people. `retry_after_s` is what the endpoint
    asked for, if it can be read and lies in the future. `slow_down`: this endpoint should get fewer requests at once;
    `unanswered`: nobody answered. `disables`: the endpoint wants no message any more; `aborts`: it wants this one no more. `cancelled`: its
    transformation did not want it sent, which is no success and no failure. `ends`: there is nothing to send, now or later.
    """

    success: bool
    cause: str = ""
    words: str = ""
    slow_down: bool = False
    timed_out: bool = False
    unanswered: bool = False
    overloaded: bool = False
    retry_after_s: float | None = None
    disables: bool = False
    aborts: bool = False
    cancelled: bool = False
    ends: bool = False

    @property
    def failing(self) -> bool:
        """Does a delivery that ends so say that its endpoint does not work? Not when it is our doing, or the endpoint's own wish."""
        return not (self.success or self.aborts or self.cancelled or self.cause in _OUR_DOING)


_OUR_DOING: Final = frozenset({ErrorClass.INTERNAL.value, ErrorClass.PAYLOAD_GONE.value, ErrorClass.PROXY.value})
_NOT_SENT: Final = frozenset({ErrorClass.TRANSFORMATION, ErrorClass.TRANSFORMATION_LIMIT, ErrorClass.CANCELLED})
_SUCCESS: Final = Outcome(True)
_LAST_SUCCESS: Final = Outcome(True, words=f"the endpoint asked to be disabled ({CONTROL.decode()}: disable)", disables=True)


def judge(exchange: Exchange, now_us: int) -> Outcome:
    """What an exchange means at `now_us` (which a Retry-After date is measured against). 2xx is success, everything else is not."""
    status = exchange.status
    if 200 <= status < 300:
        # A cheap look first: nearly every answer is one of these, and nearly none has the header.
        if exchange.head.lower().find(CONTROL) >= 0 and _control(exchange) == b"disable":
            return _LAST_SUCCESS
        return _SUCCESS
    if status == 0:
        error = exchange.error or ErrorClass.INTERNAL
        if error is ErrorClass.PAYLOAD_GONE:
            # What was erased or has expired never comes back.
            return Outcome(False, error.value, exchange.detail, slow_down=True, unanswered=True, ends=True)
        if error in _NOT_SENT:
            # Nobody was asked: it says nothing of the endpoint's server. What had to be stopped is not to be run as often.
            stopped = error is ErrorClass.TRANSFORMATION_LIMIT
            cancelled = error is ErrorClass.CANCELLED
            return Outcome(False, error.value, exchange.detail, slow_down=stopped, unanswered=stopped, cancelled=cancelled)
        timed_out = error in (ErrorClass.TIMEOUT, ErrorClass.CONNECT_TIMEOUT)
        return Outcome(False, error.value, exchange.detail, slow_down=True, timed_out=timed_out, unanswered=True)
    control = _control(exchange)
    words = f"the endpoint answered {status} {_phrase(status)}".rstrip()
    return Outcome(
        False,
        f"http_{status}",
        words + _WISHES.get(control, ""),
        slow_down=status == 429 or status >= 500,
        overloaded=status in OVERLOADED,
        retry_after_s=retry_after_s(header_value(exchange.head, b"retry-after"), now_us),
        disables=status == GONE or control == b"disable",
        aborts=control == b"abort-message",
    )


# What the values of the control header mean, in words.
_WISHES: Final = {
    b"disable": f", and asked to be disabled ({CONTROL.decode()}: disable)",
    b"abort-message": f", and asked for no more attempts of this message ({CONTROL.decode()}: abort-message)",
}


def _control(exchange: Exchange) -> bytes:
    """What the endpoint asks for in the header that steers its deliveries; b"" = nothing."""
    value = header_value(exchange.head, CONTROL)
    return b"" if value is None else value.lower()


def _phrase(status: int) -> str:
    if 300 <= status < 400:
        return "(redirects are never followed)"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def retry_after_s(value: bytes | None, now_us: int) -> float | None:
    """Seconds from `now_us` that a Retry-After value asks for (seconds, also fractional, or an HTTP date); None for the unreadable or past.

    Source: RFC 9110, 10.2.3.
    """
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    try:
        seconds = float(text) if not any(c in text for c in "eEnN_") else None
    except ValueError:
        seconds = None
    if seconds is None:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, IndexError, TypeError, OverflowError):
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        seconds = (to_us(at) - now_us) / SECOND_US
    return seconds if 0 < seconds < float("inf") else None
