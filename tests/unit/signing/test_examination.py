"""Where a check stops is told, with what it saw, and by the same code that believes requests."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.signing.examination import BODY, FORM, HEADER, SECRET, SIGNATURE, STEPS, TIME, Examination, examine
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import PROVIDERS, provider
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.rewrites import rewrites
from ringback.signing.verify import prepare_provider

NOW_S = 1_700_000_000
PAYLOAD = b'{"a":1}'


def examined(name: str, secrets: Sequence[str], headers: dict[str, str], body: bytes = PAYLOAD, url: bytes = b"") -> Examination:
    row = provider(name)

    def prepare(given: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        return prepare_provider(row, given, tolerance_s=tolerance_s)

    request = InboundRequest(Headers.of(headers), body, b"POST", url)
    return examine(row.schemes, prepare, [Secret(secret) for secret in secrets], request, now_s=NOW_S)


def stripe(secret: str = "s", at_s: int = NOW_S, body: bytes = PAYLOAD) -> dict[str, str]:
    return {"Stripe-Signature": f"t={at_s},v1={hmac.new(secret.encode(), b'%d.%b' % (at_s, body), 'sha256').hexdigest()}"}


def test_a_good_request_passes_every_step():
    found = examined("stripe", ["other", "s"], stripe())
    assert found.verdict is not None and found.verdict.key_index == 1
    assert (found.stopped, found.reason, found.causes) == ("", "", ())
    assert found.signed_at_s == NOW_S
    content = b"%d.%b" % (NOW_S, PAYLOAD)
    assert found.content is not None
    assert (found.content.size, found.content.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert found.headers == (("stripe-signature", (stripe()["Stripe-Signature"],)),)


@pytest.mark.parametrize(
    ("secrets", "headers", "stopped"),
    [
        (["s"], {}, HEADER),
        (["s"], {"Stripe-Signature": "nonsense"}, FORM),
        (["s"], {"Stripe-Signature": f"t={NOW_S}"}, FORM),
        (["other"], stripe(), SIGNATURE),
        (["s"], stripe(at_s=NOW_S - 301), TIME),
        (["s"], stripe(at_s=NOW_S + 301), TIME),
        ([], stripe(), SECRET),
    ],
)
def test_the_step_that_does_not_pass_is_named(secrets: list[str], headers: dict[str, str], stopped: str):
    found = examined("stripe", secrets, headers)
    assert (found.verdict, found.stopped) == (None, stopped)
    assert found.detail


def test_a_signature_that_is_only_late_is_told_to_hold():
    found = examined("stripe", ["s"], stripe(at_s=NOW_S - 900))
    assert (found.stopped, found.signed_at_s) == (TIME, NOW_S - 900)


def test_a_secret_that_cannot_be_read_is_told_before_all_else():
    found = examined("airtable", ["%%%"], {"x-airtable-content-mac": "hmac-sha256=00"})
    assert found.stopped == SECRET and "base64" in found.detail and "%%%" not in found.detail


@pytest.mark.parametrize("name", ["stripe", "github", "shopify", "slack", "standard-webhooks"])
def test_the_signature_that_the_secret_makes_is_one_that_is_believed(name: str):
    secret = "whsec_" + b64encode(b"k" * 24).decode() if name == "standard-webhooks" else "s"
    headers = {
        "stripe": {"stripe-signature": f"t={NOW_S},v1=00"},
        "github": {"x-hub-signature-256": "sha256=00"},
        "shopify": {"x-shopify-hmac-sha256": "00"},
        "slack": {"x-slack-signature": "v0=00", "x-slack-request-timestamp": str(NOW_S)},
        "standard-webhooks": {"webhook-id": "m", "webhook-timestamp": str(NOW_S), "webhook-signature": "v1,00"},
    }[name]
    wrong = examined(name, [secret], headers)
    assert wrong.stopped == SIGNATURE and wrong.expected
    field = next(field for field in headers if "signature" in field or "hmac" in field)
    mended = f"t={NOW_S},v1={wrong.expected}" if name == "stripe" else wrong.expected
    assert examined(name, [secret], headers | {field: mended}).verdict is not None


def test_what_only_the_provider_can_sign_has_no_expected_signature():
    found = examined("discord", ["00" * 32], {"x-signature-ed25519": "00" * 64, "x-signature-timestamp": str(NOW_S)})
    assert found.stopped == SIGNATURE and found.expected == ""


ANY_HEADERS = st.dictionaries(
    st.sampled_from(["stripe-signature", "x-hub-signature-256", "webhook-id", "x"]), st.text(max_size=30), max_size=3
)


@settings(max_examples=60, deadline=None)
@given(headers=ANY_HEADERS, body=st.binary(max_size=60), secret=st.text(max_size=20), name=st.sampled_from(sorted(PROVIDERS)))
def test_no_bytes_of_strangers_raise(headers: dict[str, str], body: bytes, secret: str, name: str):
    from ringback.signing.fetched import KeyUnavailable

    try:
        found = examined(name, [secret], headers, body, b"https://example.com/x")
    except KeyUnavailable:
        return
    assert found.verdict is not None or found.stopped in (*STEPS, BODY)


def test_no_rewrite_is_tried_twice_and_none_changes_nothing():
    for body in (b'{"a": 1}', b'{"a":1}\n', b"", b"text\r\n", b"eyJhIjoxfQ==", b"\xef\xbb\xbf{}", b"[1, 2]", b"\x1f\x8b"):
        request = InboundRequest(Headers(), body, b"POST", b"https://example.com/x?y=1")
        changed = [(other.body, other.url) for _, other in rewrites(request)]
        assert len(changed) == len(set(changed)) and (request.body, request.url) not in changed, body


def test_a_bomb_is_unpacked_no_further_than_its_bound():
    import zlib

    request = InboundRequest(Headers(), zlib.compress(b"\x00" * 50_000_000), b"POST", b"")
    assert max(len(other.body) for _, other in rewrites(request)) <= 1_048_576
