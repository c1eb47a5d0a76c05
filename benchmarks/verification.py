"""What does verifying one incoming request cost, beside a bare HMAC of the same bytes and beside the provider's own Python package?

Run: `python -m benchmarks.verification`. Each round measures all of them in turn, so that a slow moment hits all alike; figures are medians
of the rounds, ratios are medians of the ratios within a round. Ours starts from a parsed request and includes finding the headers; most of
the packages are handed the values of the headers that they need.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from typing import NamedTuple

import gidgethub.sansio
import slack_sdk.signature
import standardwebhooks
import stripe
import twilio.request_validator

from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import provider
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.verify import prepare_provider

ROUNDS = 15
# Long enough that one look at the clock is nothing, short enough that a round of everything stays under half a second.
CALLS = 2_000
# The promise: at most so many times `hmac.digest` of the signed bytes.
HMAC_LIMIT = 2.5
# What an event of Stripe has, without its whitespace.
BODY_BYTES = 1_024
# Headers of an ordinary provider's request, beside those that are signed.
USUAL = {
    "Host": "hooks.example.com",
    "User-Agent": "Provider/1.0 (+https://provider.example/docs/webhooks)",
    "Accept": "*/*; q=0.5, application/xml",
    "Cache-Control": "no-cache",
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": str(BODY_BYTES),
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
    "X-Forwarded-For": "192.0.2.1",
}

Work = Callable[[], object]


class Case(NamedTuple):
    """One provider: our verification, the bare HMAC of the same bytes, and the provider's package."""

    name: str
    ours: Work
    bare: Work
    theirs: Work


def _ours(name: str, secret: str, headers: dict[str, str], body: bytes, now_s: int, url: str = "") -> Work:
    verifier = prepare_provider(provider(name), [Secret(secret)])
    # Lower case, as every HTTP server hands names on.
    fields = tuple((key.lower().encode(), value.encode()) for key, value in (USUAL | headers).items())
    request = InboundRequest(Headers(fields, lowered=True), body, b"POST", url.encode())
    return lambda: verifier.verify(request, now_s=now_s)


def _bare(secret: bytes, content: bytes, algorithm: str = "sha256") -> Work:
    return lambda: hmac.digest(secret, content, algorithm)


def _cases(now_s: int) -> list[Case]:
    body = json.dumps({"id": "evt_1", "object": "event", "data": {}}).encode().ljust(BODY_BYTES)
    at = str(now_s)
    return [
        _stripe(body, now_s),
        _slack(body, at),
        _standard(body, at),
        _github(body, now_s),
        _twilio_form(now_s),
        _twilio_json(body, now_s),
    ]


def _stripe(body: bytes, now_s: int) -> Case:
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), "whsec_test", now_s)
    ours = _ours("stripe", "whsec_test", {"Stripe-Signature": header}, body, now_s)
    bare = _bare(b"whsec_test", b"%d." % now_s + body)
    return Case("stripe", ours, bare, lambda: stripe.WebhookSignature.verify_header(body, header, "whsec_test", 300))


def _slack(body: bytes, at: str) -> Case:
    verifier = slack_sdk.signature.SignatureVerifier("secret")
    headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": str(verifier.generate_signature(timestamp=at, body=body))}
    ours = _ours("slack", "secret", headers, body, int(at))
    return Case("slack_sdk", ours, _bare(b"secret", b"v0:%b:" % at.encode() + body), lambda: verifier.is_valid_request(body, headers))


def _standard(body: bytes, at: str) -> Case:
    key = bytes(24)
    content = b"msg_1.%b." % at.encode() + body
    signature = "v1," + b64encode(hmac.digest(key, content, "sha256")).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": at, "webhook-signature": signature}
    secret = "whsec_" + b64encode(key).decode()
    theirs = standardwebhooks.Webhook(secret)
    return Case(
        "standardwebhooks",
        _ours("standard-webhooks", secret, headers, body, int(at)),
        _bare(key, content),
        lambda: theirs.verify(body, headers),
    )


def _github(body: bytes, now_s: int) -> Case:
    signature = "sha256=" + hmac.digest(b"secret", body, "sha256").hex()
    ours = _ours("github", "secret", {"X-Hub-Signature-256": signature}, body, now_s)
    return Case(
        "gidgethub", ours, _bare(b"secret", body), lambda: gidgethub.sansio.validate_event(body, signature=signature, secret="secret")
    )


def _twilio_form(now_s: int) -> Case:
    fields = {"CallSid": "CA1234567890ABCDE", "Digits": "1234", "From": "+14158675309", "To": "+18005551212", "Caller": "+14158675309"}
    body = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    theirs = twilio.request_validator.RequestValidator("12345")
    signature = theirs.compute_signature(url, fields)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    content = url + "".join(name + fields[name] for name in sorted(fields))
    ours = _ours("twilio", "12345", headers, body, now_s, url)
    # Their figure leaves out parsing the form, which ours includes.
    return Case("twilio form", ours, _bare(b"12345", content.encode(), "sha1"), lambda: theirs.validate(url, fields, signature))


def _twilio_json(body: bytes, now_s: int) -> Case:
    url = "https://mycompany.com/myapp.php?bodySHA256=" + hashlib.sha256(body).hexdigest()
    theirs = twilio.request_validator.RequestValidator("12345")
    signature = theirs.compute_signature(url, {})
    ours = _ours("twilio", "12345", {"X-Twilio-Signature": signature}, body, now_s, url)
    text = body.decode()
    return Case("twilio json", ours, _bare(b"12345", url.encode(), "sha1"), lambda: theirs.validate(url, text, signature))


def _microseconds(work: Work) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - began) / CALLS * 1e6


def main() -> None:
    """Measure, print a table; exit code 1 when a promise is not kept."""
    kept = True
    print(f"{'':18}{'ours us':>9}{'hmac us':>9}{'theirs us':>11}{'ours/hmac':>11}{'ours/theirs':>13}")
    for case in _cases(int(time.time())):
        rounds = [tuple(_microseconds(work) for work in case[1:]) for _ in range(ROUNDS)]
        ours, bare, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
        to_hmac = statistics.median(row[0] / row[1] for row in rounds)
        to_theirs = statistics.median(row[0] / row[2] for row in rounds)
        print(f"{case.name:18}{ours:9.2f}{bare:9.2f}{theirs:11.2f}{to_hmac:11.2f}{to_theirs:13.2f}")
        # Twilio signs some hundred bytes beside which parsing is everything: only the provider's package compares there.
        kept = kept and to_theirs <= 1 and (to_hmac <= HMAC_LIMIT or case.name.startswith("twilio"))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
