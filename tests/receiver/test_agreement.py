"""Requests that `sign` makes are believed by the providers' own packages, and theirs by a receiver."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode

import pytest
import slack_sdk.signature
import standardwebhooks
import stripe
import svix.webhooks
import twilio.request_validator
from hypothesis import given
from hypothesis import strategies as st

from ringback.receiver import Receiver, VerificationError
from ringback.receiver.testing import sign

BODIES = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
SECRETS = st.text("abcXYZ019_-/+=", min_size=1, max_size=40)
KEYS = st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + b64encode(key).decode())


@given(SECRETS, BODIES)
def test_stripe(secret: str, body: str) -> None:
    request = sign("stripe", secret, body)
    assert stripe.WebhookSignature.verify_header(request.body, request.headers["stripe-signature"], secret, 300)
    theirs = stripe.WebhookSignature.generate_signature_header(body, secret)
    assert Receiver("stripe", secret).verify({"Stripe-Signature": theirs}, body.encode()).raw == body.encode()


@given(SECRETS, BODIES)
def test_slack(secret: str, body: str) -> None:
    verifier = slack_sdk.signature.SignatureVerifier(secret)
    request = sign("slack", secret, body.encode())
    # Their package looks for one spelling of the names.
    assert verifier.is_valid_request(request.body, request.headers)
    at = str(int(datetime.now(UTC).timestamp()))
    theirs = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": str(verifier.generate_signature(timestamp=at, body=body))}
    assert Receiver("slack", secret).verify(theirs, body.encode()).raw == body.encode()


@given(SECRETS, st.dictionaries(st.text("abcXYZ.", min_size=1, max_size=8), BODIES, min_size=1, max_size=4))
def test_twilio(secret: str, form: dict[str, str]) -> None:
    url = "https://example.com/hook?foo=1&bar=2"
    validator = twilio.request_validator.RequestValidator(secret)
    request = sign("twilio", secret, urlencode(form), url=url)
    received = {name: values[0] for name, values in parse_qs(request.body.decode(), keep_blank_values=True).items()}
    assert validator.validate(url, received, request.headers["x-twilio-signature"])
    as_json = sign("twilio", secret, {"a": 1}, url=url)
    assert validator.validate(as_json.url, as_json.body.decode(), as_json.headers["x-twilio-signature"])
    headers = {"content-type": "application/x-www-form-urlencoded", "X-Twilio-Signature": validator.compute_signature(url, form)}
    assert Receiver("twilio", secret).verify(headers, urlencode(form).encode(), "POST", url).data == form


@pytest.mark.parametrize("package", [standardwebhooks.Webhook, svix.webhooks.Webhook], ids=["standardwebhooks", "svix"])
@given(key=KEYS, number=st.integers(), tampering=st.sampled_from(["", "body", "signature"]))
def test_standard_webhooks(package: type[standardwebhooks.Webhook], key: str, number: int, tampering: str) -> None:
    request = sign("standard-webhooks", key, {"type": "a", "number": number})
    # One of the two gives the payload back, the other nothing; both raise when they do not believe.
    assert package(key).verify(request.body, request.headers) in (None, {"type": "a", "number": number})
    now = datetime.now(UTC)
    body = f'{{"number": {number}}}'
    signature = package(key).sign("msg_1", now, body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    if tampering == "signature":
        headers["webhook-signature"] = signature[:-4] + "AAA="
    receiver = Receiver("ringback", key)
    sent = body.encode() + b" " * (tampering == "body")
    if tampering:
        with pytest.raises(VerificationError):
            receiver.verify(headers, sent)
    else:
        event = receiver.verify(headers, sent)
        assert (event.id, event.data) == ("msg_1", {"number": number})


def test_both_signatures_of_a_rotation_and_either_secret_will_do() -> None:
    old, new = ("whsec_" + b64encode(letter * 24).decode() for letter in (b"o", b"n"))
    now = datetime.now(UTC)
    first, second = (sign("ringback", secret, b"{}", event_id="msg_1", at=now) for secret in (new, old))
    both = first.headers | {"webhook-signature": f"{first.headers['webhook-signature']} {second.headers['webhook-signature']}"}
    for secret in (old, new):
        assert Receiver("ringback", secret).verify(both, b"{}").id == "msg_1"
