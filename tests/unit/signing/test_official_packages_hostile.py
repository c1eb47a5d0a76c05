"""What all six official packages think of requests that were tampered with in any way: we believe none that they do not.

They may believe what we refuse (times with signs and blanks, headers that came twice, the future); they may crash where we give a reason.
The one thing that we take and Stripe's package does not are blanks around the items of its list.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode

import gidgethub.sansio
import pytest
import slack_sdk.signature
import standardwebhooks
import stripe
import svix.webhooks
import twilio.request_validator
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.errors import VerificationError
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import provider
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.secret import HmacKey
from ringback.signing.standard import Signer
from ringback.signing.verdict import REASONS
from ringback.signing.verify import prepare_provider
from tests.unit.signing.test_official_packages import BODIES, Multi

SECRET = "s3cret-of-the-source"
WHSEC = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQt"
URL = "https://example.com/hook?a=1"
EXAMPLES = 300


def now_s() -> int:
    """The time: some of the packages read the clock themselves."""
    return int(time.time())


class Request(NamedTuple):
    """What a provider sends: header names in lower case."""

    headers: dict[str, str]
    body: str


class Case(NamedTuple):
    """One package: how its provider signs, and what it thinks. `check` raises `refusals`, or is False, when it does not believe."""

    name: str
    provider: str
    secret: str
    sign: Callable[[str], Request]
    check: Callable[[Request], object]
    refusals: tuple[type[Exception], ...] = ()


class _Clock(slack_sdk.signature.Clock):
    def now(self) -> float:
        return now_s()


_SLACK = slack_sdk.signature.SignatureVerifier(SECRET, _Clock())
_STANDARD = standardwebhooks.Webhook(WHSEC)
_TWILIO = twilio.request_validator.RequestValidator(SECRET)


def _stripe(body: str) -> Request:
    return Request({"stripe-signature": stripe.WebhookSignature.generate_signature_header(body, SECRET, now_s())}, body)


def _slack(body: str) -> Request:
    at = str(now_s())
    return Request({"x-slack-request-timestamp": at, "x-slack-signature": str(_SLACK.generate_signature(timestamp=at, body=body))}, body)


def _github(body: str) -> Request:
    signature = hmac.digest(SECRET.encode(), body.encode(), "sha256").hex()
    headers = {"x-hub-signature-256": f"sha256={signature}", "x-github-event": "push", "x-github-delivery": "d"}
    return Request({**headers, "content-type": "application/octet-stream"}, body)


def _family(family: str) -> Callable[[str], Request]:
    def sign(body: str) -> Request:
        at = now_s()
        signature = _STANDARD.sign("msg_1", datetime.fromtimestamp(at, UTC), body)
        return Request({f"{family}-id": "msg_1", f"{family}-timestamp": str(at), f"{family}-signature": signature}, body)

    return sign


def _twilio(body: str) -> Request:
    sent = urlencode({"Body": body, "From": "+1"})
    signature = _TWILIO.compute_signature(URL, Multi(parse_qs(sent, keep_blank_values=True)))
    return Request({"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded"}, sent)


def _check_twilio(request: Request) -> object:
    received = Multi(parse_qs(request.body, keep_blank_values=True))
    settings_header = request.headers.get("x-twilio-webhooks-signature-settings", "")
    algorithm = twilio.request_validator.get_signature_algorithm(settings_header)
    return _TWILIO.validate(URL, received, request.headers.get("x-twilio-signature", ""), algorithm)


def _check_stripe(request: Request) -> object:
    return stripe.WebhookSignature.verify_header(request.body, request.headers.get("stripe-signature"), SECRET, 300)


def _check_github(request: Request) -> object:
    # The event is read only after the signature: a body that is no JSON is a later complaint.
    try:
        gidgethub.sansio.Event.from_http(request.headers, request.body.encode(), secret=SECRET)
    except gidgethub.BadRequest:
        return True
    return True


def _check_standard(package: Any) -> Callable[[Request], object]:
    def check(request: Request) -> object:
        # Neither gives anything back; standardwebhooks parses JSON unless it is told not to.
        package.verify(request.body, request.headers, **({"json_parse": False} if package is _STANDARD else {}))
        return True

    return check


CASES = [
    Case("stripe", "stripe", SECRET, _stripe, _check_stripe, (stripe.SignatureVerificationError,)),
    Case("slack_sdk", "slack", SECRET, _slack, lambda request: _SLACK.is_valid_request(request.body, request.headers)),
    Case("gidgethub", "github", SECRET, _github, _check_github, (gidgethub.ValidationFailure,)),
    Case("twilio", "twilio", SECRET, _twilio, _check_twilio),
    Case(
        "standardwebhooks",
        "standard-webhooks",
        WHSEC,
        _family("webhook"),
        _check_standard(_STANDARD),
        (standardwebhooks.WebhookVerificationError,),
    ),
    Case(
        "svix",
        "svix",
        WHSEC,
        _family("svix"),
        _check_standard(svix.webhooks.Webhook(WHSEC)),
        (svix.webhooks.WebhookVerificationError,),
    ),
]
each_package = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def ours(case: Case, request: Request) -> str:
    """`valid`, or our reason; nothing else is ever raised."""
    received = InboundRequest(Headers.of(request.headers), request.body.encode("utf-8", "surrogatepass"), b"POST", URL.encode())
    try:
        prepare_provider(provider(case.provider), [Secret(case.secret)]).verify(received, now_s=now_s())
    except VerificationError as refused:
        assert refused.reason in REASONS
        return refused.reason
    return "valid"


def theirs(case: Case, request: Request) -> str:
    """`valid`, `refused`, or the name of the exception with which the package falls over."""
    try:
        return "refused" if case.check(request) is False else "valid"
    except case.refusals:
        return "refused"
    except Exception as crash:
        return type(crash).__name__


@each_package
@given(body=BODIES)
def test_what_the_package_signs_both_believe(case: Case, body: str) -> None:
    request = case.sign(body)
    assert (theirs(case, request), ours(case, request)) == ("valid", "valid")


@each_package
@given(body=BODIES, more=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5), at=st.integers(0, 10_000))
def test_neither_believes_another_body(case: Case, body: str, more: str, at: int) -> None:
    request = case.sign(body)
    place = at % (len(request.body) + 1)
    changed = Request(request.headers, request.body[:place] + (more if case.name != "twilio" else "&Zz=1&") + request.body[place:])
    if case.name == "twilio" and parse_qs(changed.body) == parse_qs(request.body):
        return
    assert (theirs(case, changed) == "valid", ours(case, changed) == "valid") == (False, False)


PIECES = st.sampled_from(
    ["", ",", " ", ";", "=", "t=", "t=1,", "v1=", "v1,", "v1a,", "v0=", ",v1=00", " v1,AAAA", "sha256=", "é", "\x00", "\t", "+", "-", "_",
     "0", "١", "1e3", "algorithm=HMAC_SHA256", "v2,x,y", "=" * 3, "9" * 25, "."]
)  # fmt: skip


@st.composite
def mangled(draw: st.DrawFn, value: str) -> str:
    """A header value with one to three injuries."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        cut = draw(st.sampled_from([0, 0, 1, 2, 10, 100]))
        value = value[:at] + draw(PIECES) + value[at + cut :]
        if draw(st.integers(0, 5)) == 0:
            value = value.swapcase() if draw(st.booleans()) else value + draw(st.sampled_from([",", " ", ""])) + value
    return value


@each_package
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_we_believe_nothing_that_the_package_does_not_and_never_crash(case: Case, data: st.DataObject) -> None:
    request = case.sign(data.draw(BODIES))
    headers = dict(request.headers)
    # GitHub's other headers are no part of the proof.
    names = sorted(set(headers) - {"x-github-event", "x-github-delivery", "content-type"})
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)):
        kind = data.draw(st.sampled_from(["mangle", "mangle", "mangle", "drop", "empty", "anything"]))
        if kind == "drop":
            del headers[name]
        elif kind == "empty":
            headers[name] = ""
        else:
            headers[name] = data.draw(mangled(headers[name]) if kind == "mangle" else st.text(max_size=30))
    if data.draw(st.integers(0, 3)) == 0 and case.name == "twilio":
        headers["x-twilio-webhooks-signature-settings"] = data.draw(st.text(max_size=20) | PIECES)
    changed = Request(headers, request.body)
    said = ours(case, changed)
    if said == "valid" and case.name == "stripe":
        # Blanks around the items of a list mean nothing in HTTP (RFC 9110, 5.6.1); their package does not know that.
        headers = {"stripe-signature": ",".join(item.strip(" \t") for item in headers["stripe-signature"].split(","))}
    if said == "valid":
        assert theirs(case, Request(headers, request.body)) == "valid", (headers, theirs(case, changed))


def test_where_a_package_falls_over_a_reason_is_given() -> None:
    at = str(now_s())
    hostile: list[tuple[str, Mapping[str, str], str]] = [
        ("slack_sdk", {"x-slack-request-timestamp": "soon", "x-slack-signature": "v0=0"}, "malformed_header"),
        ("slack_sdk", {"x-slack-request-timestamp": at, "x-slack-signature": "v0=é"}, "signature_mismatch"),
        ("gidgethub", {"x-hub-signature-256": "sha256=é", "x-github-event": "e"}, "signature_mismatch"),
        ("standardwebhooks", {"webhook-id": "m", "webhook-timestamp": at, "webhook-signature": "nonsense"}, "malformed_header"),
        ("standardwebhooks", {"webhook-id": "m", "webhook-timestamp": at, "webhook-signature": "v1,a,b"}, "signature_mismatch"),
        ("standardwebhooks", {"webhook-id": "m", "webhook-timestamp": at, "webhook-signature": "v1,é"}, "signature_mismatch"),
        ("svix", {"svix-id": "m", "svix-timestamp": at, "svix-signature": "v1,A"}, "signature_mismatch"),
        ("svix", {"svix-id": "m", "svix-timestamp": at, "svix-signature": "v1,x v2"}, "signature_mismatch"),
    ]
    by_name = {case.name: case for case in CASES}
    for name, headers, reason in hostile:
        request = Request(dict(headers), "{}")
        assert theirs(by_name[name], request) not in ("valid", "refused"), (name, headers)
        assert ours(by_name[name], request) == reason, (name, headers)


def test_stripe_falls_over_nothing_but_a_body_that_is_no_text() -> None:
    signature = _stripe("x").headers["stripe-signature"]
    with pytest.raises(UnicodeDecodeError):
        stripe.WebhookSignature.verify_header(b"\xff", signature, SECRET, 300)
    received = InboundRequest(Headers.of({"stripe-signature": signature}), b"\xff")
    with pytest.raises(VerificationError) as refused:
        prepare_provider(provider("stripe"), [Secret(SECRET)]).verify(received, now_s=now_s())
    assert refused.value.reason == "signature_mismatch"


@given(BODIES, st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=3, unique=True), st.data())
def test_what_we_sign_their_packages_believe_with_any_of_the_keys(body: str, keys: list[bytes], data: st.DataObject) -> None:
    """The other direction: our own deliveries, also during a rotation."""
    at = str(now_s())
    signature = Signer([HmacKey(key) for key in keys]).sign(b"msg_1", at.encode(), body.encode()).decode()
    chosen = data.draw(st.sampled_from(keys))
    secret = "whsec_" + base64.b64encode(chosen).decode()
    values = {"id": "msg_1", "timestamp": at, "signature": signature}
    standardwebhooks.Webhook(secret).verify(body, {f"webhook-{name}": value for name, value in values.items()}, json_parse=False)
    svix.webhooks.Webhook(secret).verify(body, {f"svix-{name}": value for name, value in values.items()})
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(body + " ", {f"webhook-{name}": value for name, value in values.items()}, json_parse=False)


@each_package
@given(age_s=st.integers(-700, 700))
def test_the_limits_of_age_are_theirs_but_for_the_future(case: Case, age_s: int) -> None:
    """Stripe's package lets the future pass; GitHub and Twilio sign no time."""
    at = str(now_s() - age_s)
    if case.name == "stripe":
        header = stripe.WebhookSignature.generate_signature_header("b", SECRET, int(at))
        request = Request({"stripe-signature": header}, "b")
    elif case.name == "slack_sdk":
        request = Request(
            {"x-slack-request-timestamp": at, "x-slack-signature": str(_SLACK.generate_signature(timestamp=at, body="b"))}, "b"
        )
    elif case.name in ("standardwebhooks", "svix"):
        family = "webhook" if case.name == "standardwebhooks" else "svix"
        signature = _STANDARD.sign("m", datetime.fromtimestamp(int(at), UTC), "b")
        request = Request({f"{family}-id": "m", f"{family}-timestamp": at, f"{family}-signature": signature}, "b")
    else:
        return
    # The packages read the clock: within some seconds of a limit they may differ, and a busy machine takes its time.
    if abs(abs(age_s) - 300) > 60:
        expected = "valid" if abs(age_s) < 300 else "timestamp_too_old" if age_s > 0 else "timestamp_in_future"
        assert ours(case, request) == expected
        if case.name != "stripe" or age_s > 0:
            assert theirs(case, request) == ("valid" if abs(age_s) < 300 else "refused")
