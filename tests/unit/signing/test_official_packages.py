"""The providers' own Python packages agree with us on good and tampered requests; where they crash, we give a reason."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

import gidgethub.sansio
import pytest
import slack_sdk.signature
import standardwebhooks
import stripe
import twilio.request_validator
from hypothesis import given
from hypothesis import strategies as st

from ringback.errors import VerificationError
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import provider
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.verify import prepare_provider

NOW_S = 1_700_000_000
# The packages take text bodies; text that UTF-8 cannot hold never arrives.
BODIES = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
SECRETS = st.text("abcXYZ019_-/+=", min_size=1, max_size=40)
# What a stranger does to a request: nothing, a byte more, another signature, another time.
TAMPERINGS = st.sampled_from(["", "body", "signature", "time"])


def ours(name: str, secret: str, headers: dict[str, str], body: str, url: str = "") -> str:
    request = InboundRequest(Headers.of(headers), body.encode(), b"POST", url.encode())
    try:
        prepare_provider(provider(name), [Secret(secret)]).verify(request, now_s=NOW_S)
    except VerificationError as refused:
        return refused.reason
    return "valid"


def accepts(check: Callable[[], object], *refusals: type[Exception]) -> bool:
    try:
        return check() is not False
    except refusals:
        return False


@given(SECRETS, BODIES, TAMPERINGS)
def test_stripe_agrees(secret: str, body: str, tampering: str) -> None:
    header = stripe.WebhookSignature.generate_signature_header(body, secret, NOW_S)
    if tampering == "time":
        header = header.replace(str(NOW_S), str(NOW_S + 1))
    if tampering == "signature":
        header += "0"
    sent = body + "x" * (tampering == "body")
    refusal = stripe.SignatureVerificationError
    theirs = accepts(lambda: stripe.WebhookSignature.verify_header(sent, header, secret, None), refusal)
    assert theirs is (ours("stripe", secret, {"Stripe-Signature": header}, sent) == "valid") is (tampering == "")


class StandingClock(slack_sdk.signature.Clock):
    def now(self) -> float:
        return NOW_S


@given(SECRETS, BODIES, TAMPERINGS, st.integers(-400, 400))
def test_slack_agrees_also_on_age(secret: str, body: str, tampering: str, age_s: int) -> None:
    verifier = slack_sdk.signature.SignatureVerifier(secret, StandingClock())
    at = str(NOW_S - age_s)
    headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": str(verifier.generate_signature(timestamp=at, body=body))}
    if tampering == "time":
        headers["X-Slack-Request-Timestamp"] = str(NOW_S - age_s + 1)
    if tampering == "signature":
        headers["X-Slack-Signature"] = headers["X-Slack-Signature"][:-1]
    sent = body + "x" * (tampering == "body")
    assert verifier.is_valid_request(sent, headers) is (ours("slack", secret, headers, sent) == "valid")


PARAMETERS = st.dictionaries(st.text("abcXYZ.", min_size=1, max_size=8), st.lists(BODIES, min_size=1, max_size=3), max_size=5)
URLS = st.sampled_from(
    [
        "https://example.com/hook",
        "https://example.com/hook?foo=1&bar=2",
        "https://example.com:8443/hook",
        "http://example.com:80/hook?x",
        "https://user@example.com/hook",
    ]
)


class Multi(dict[str, list[str]]):
    """A form as Flask and Django give it: several values per name."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


@given(SECRETS, PARAMETERS, URLS, st.sampled_from(["HMAC_SHA1", "HMAC_SHA256"]), TAMPERINGS)
def test_twilio_agrees_on_forms(secret: str, parameters: dict[str, list[str]], url: str, algorithm: str, tampering: str) -> None:
    validator = twilio.request_validator.RequestValidator(secret)
    body = urlencode(parameters, doseq=True)
    signature = validator.compute_signature(url, Multi(parameters), algorithm)
    if tampering == "signature":
        signature = signature[:-2] + "=="
    sent = body + "&Zz=1" * (tampering == "body")
    received = Multi(parse_qs(sent, keep_blank_values=True))
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    headers["X-Twilio-Webhooks-Signature-Settings"] = f"key=k,algorithm={algorithm}"
    theirs = bool(validator.validate(url, received, signature, algorithm))
    assert theirs is (ours("twilio", secret, headers, sent, url) == "valid")


@given(SECRETS, BODIES.filter(bool), st.booleans())
def test_twilio_agrees_on_json(secret: str, body: str, tampered: bool) -> None:
    validator = twilio.request_validator.RequestValidator(secret)
    url = f"https://example.com/hook?a=1&bodySHA256={hashlib.sha256(body.encode()).hexdigest()}"
    signature = validator.compute_signature(url, {})
    sent = body + "x" * tampered
    headers = {"Content-Type": "application/json", "X-Twilio-Signature": signature}
    theirs = bool(validator.validate(url, sent, signature))
    assert theirs is (ours("twilio", secret, headers, sent, url) == "valid") is not tampered


@given(SECRETS, BODIES, TAMPERINGS)
def test_gidgethub_agrees(secret: str, body: str, tampering: str) -> None:
    signature = "sha256=" + hmac.digest(secret.encode(), body.encode(), "sha256").hex()
    if tampering == "signature":
        signature = signature.upper()
    sent = body + "x" * (tampering == "body")
    refusal = gidgethub.ValidationFailure
    theirs = accepts(lambda: gidgethub.sansio.validate_event(sent.encode(), signature=signature, secret=secret), refusal)
    assert theirs is (ours("github", secret, {"X-Hub-Signature-256": signature}, sent) == "valid")


def test_where_the_packages_crash_a_reason_is_given() -> None:
    slack = slack_sdk.signature.SignatureVerifier("s", StandingClock())
    hostile = {"X-Slack-Request-Timestamp": "soon", "X-Slack-Signature": "v0=é"}
    with pytest.raises(ValueError, match="invalid literal"):
        slack.is_valid_request("", hostile)
    assert ours("slack", "s", hostile, "") == "malformed_header"

    standard = {"webhook-id": "m", "webhook-timestamp": str(NOW_S), "webhook-signature": "nonsense"}
    with pytest.raises((ValueError, standardwebhooks.WebhookVerificationError)):
        standardwebhooks.Webhook("whsec_" + "A" * 32).verify("{}", standard)
    assert ours("standard-webhooks", "whsec_" + "A" * 32, standard, "{}") == "malformed_header"

    at = str(NOW_S)
    non_ascii = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": "v0=é"}
    with pytest.raises(TypeError):
        slack.is_valid_request("", non_ascii)
    assert ours("slack", "s", non_ascii, "") == "signature_mismatch"

    with pytest.raises(TypeError):
        gidgethub.sansio.validate_event(b"", signature="sha256=é", secret="s")
    assert ours("github", "s", {"X-Hub-Signature-256": "sha256=é"}, "") == "signature_mismatch"

    with pytest.raises(ValueError, match=r"[Pp]ort"):
        twilio.request_validator.RequestValidator("s").validate("https://h:x/", {}, "a")
    assert ours("twilio", "s", {"X-Twilio-Signature": "a"}, "", "https://h:x/") == "signature_mismatch"
