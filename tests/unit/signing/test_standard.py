"""Standard Webhooks 1.0: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from ringback.errors import VerificationError
from ringback.signing.headers import Headers
from ringback.signing.secret import generate_secret, parse_public_key, parse_secret, shown
from ringback.signing.standard import MAX_ITEMS, Signer, Verifier, verify
from ringback.signing.verdict import REASONS, Verdict

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = b"msg_p5jXN8AQM9LWM0D4loKWxJek"
NOW_S = 1614265330
BODY = b'{"test": 2432232314}'
V1 = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = "whsec_" + b64encode(bytes(24)).decode()
ED25519 = generate_secret("ed25519", lambda n: bytes(range(n)))


def request(signature: bytes = V1, *, message_id: bytes = ID, timestamp: bytes = b"%d" % NOW_S, family: bytes = b"webhook") -> Headers:
    return Headers([(family + b"-id", message_id), (family + b"-timestamp", timestamp), (family + b"-signature", signature)])


def reason(headers: Headers, body: bytes = BODY, *, secrets: tuple[str, ...] = (SECRET,), now_s: int = NOW_S) -> str:
    with pytest.raises(VerificationError) as failure:
        verify(headers, body, [parse_secret(s) for s in secrets], now_s=now_s)
    return failure.value.reason


def test_the_known_answer_of_the_contract_is_signed() -> None:
    assert Signer((parse_secret(SECRET),)).sign(ID, b"1614265330", BODY) == V1


def test_every_key_signs_in_order_and_kinds_may_be_mixed() -> None:
    signed = Signer((parse_secret(ED25519), parse_secret(SECRET))).sign(ID, b"1614265330", BODY)
    first, second = signed.split(b" ")
    assert first.startswith(b"v1a,")
    assert second == V1


def test_a_signer_without_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Signer(())


@pytest.mark.parametrize("family", [b"webhook", b"svix", b"Webhook", b"SVIX"])
def test_both_header_families_are_accepted_in_any_case(family: bytes) -> None:
    verdict = verify(request(family=family), BODY, [parse_secret(SECRET)], now_s=NOW_S)
    assert verdict == Verdict(scheme="standard-v1", key_index=0, message_id=ID.decode(), signed_at_s=NOW_S)


def test_the_verdict_says_which_key_matched() -> None:
    verdict = verify(request(), BODY, [parse_secret(OTHER), parse_secret(ED25519), parse_secret(SECRET)], now_s=NOW_S)
    assert verdict.key_index == 2


def test_the_public_half_alone_checks_what_the_pair_signed() -> None:
    signed = Signer((parse_secret(ED25519),)).sign(ID, b"1614265330", BODY)
    verdict = verify(request(signed), BODY, [parse_public_key(shown(ED25519))], now_s=NOW_S)
    assert verdict.scheme == "standard-v1a"
    with pytest.raises(VerificationError):
        verify(request(signed), BODY + b" ", [parse_public_key(shown(ED25519))], now_s=NOW_S)


@pytest.mark.parametrize(("offset_s", "expected"), [(300, None), (-300, None), (301, "timestamp_too_old"), (-301, "timestamp_in_future")])
def test_the_tolerance_holds_both_ways_and_includes_its_boundary(offset_s: int, expected: str | None) -> None:
    if expected is None:
        assert verify(request(), BODY, [parse_secret(SECRET)], now_s=NOW_S + offset_s)
    else:
        assert reason(request(), now_s=NOW_S + offset_s) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (Headers(), "missing_header"),
        (Headers([(b"webhook-signature", V1)]), "missing_header"),
        (request(b""), "missing_header"),
        (request(b"v2," + V1[3:]), "no_supported_scheme"),
        (request(V1[3:]), "malformed_header"),
        (request(timestamp=b"soon"), "malformed_header"),
        (request(timestamp=b"-1614265330"), "malformed_header"),
        (request(timestamp=b"9" * 5000), "malformed_header"),
        (request(message_id=b"a.b"), "malformed_header"),
        (request(message_id=b""), "malformed_header"),
        (Headers([*request().fields, (b"Webhook-Signature", V1)]), "malformed_header"),
        (Headers([*request().fields, (b"WEBHOOK-ID", ID)]), "malformed_header"),
        (request(b"v1,AAAA"), "signature_mismatch"),
        (request(b"v1,\xff\xfe"), "signature_mismatch"),
        (request(b"v1a," + V1[3:]), "signature_mismatch"),
    ],
)
def test_each_way_to_be_wrong_has_its_reason(headers: Headers, expected: str) -> None:
    assert reason(headers) == expected


def test_any_one_matching_item_suffices_and_unknown_versions_are_skipped() -> None:
    assert verify(request(b"v2,x v1,AAAA  junk " + V1), BODY, [parse_secret(SECRET)], now_s=NOW_S)


def test_the_number_of_items_that_are_tried_is_bounded() -> None:
    assert reason(request(b"v1,AAAA " * MAX_ITEMS + V1)) == "signature_mismatch"


def test_unrelated_headers_may_come_twice() -> None:
    assert verify(Headers([*request().fields, (b"via", b"a"), (b"via", b"b")]), BODY, [parse_secret(SECRET)], now_s=NOW_S)


NAMES = st.sampled_from([b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"svix-id", b"svix-timestamp", b"svix-signature", b"x"])
VALUES = st.binary(max_size=80) | st.sampled_from([V1, ID, b"1614265330", b"v1a,AAAA", b"v1," + b"A" * 44])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.binary(max_size=64))
def test_any_bytes_give_a_verdict_or_a_documented_reason(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    verifier = Verifier([parse_secret(SECRET), parse_secret(ED25519)])
    try:
        assert isinstance(verifier.verify(Headers(fields), body, now_s=NOW_S), Verdict)
    except VerificationError as refused:
        assert refused.reason in REASONS


# The official libraries parse the body as JSON once they believe it.
BODIES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200).map(lambda text: json.dumps(text, ensure_ascii=False))
HMAC_SECRETS = st.binary(min_size=24, max_size=75).map(lambda raw: "whsec_" + b64encode(raw).decode())
WORDS = st.text("abcXYZ012_-", min_size=1, max_size=30)


@given(HMAC_SECRETS, WORDS, BODIES)
def test_the_official_libraries_accept_what_we_sign_and_refuse_it_changed(secret: str, message_id: str, body: str) -> None:
    now_s = int(datetime.now(UTC).timestamp())
    raw = body.encode()
    signature = Signer((parse_secret(OTHER), parse_secret(secret))).sign(message_id.encode(), b"%d" % now_s, raw).decode()
    for family, library in (("webhook", standardwebhooks), ("svix", svix.webhooks)):
        headers = {f"{family}-id": message_id, f"{family}-timestamp": str(now_s), f"{family}-signature": signature}
        theirs = library.Webhook(secret)
        theirs.verify(raw, headers)
        with pytest.raises(library.WebhookVerificationError):
            theirs.verify(raw + b" ", headers)


@given(HMAC_SECRETS, WORDS, BODIES)
def test_we_accept_what_the_official_libraries_sign_and_refuse_it_changed(secret: str, message_id: str, body: str) -> None:
    for library in (standardwebhooks, svix.webhooks):
        at = datetime.fromtimestamp(NOW_S, UTC)
        signature = library.Webhook(secret).sign(message_id, at, body).encode()
        headers = request(signature, message_id=message_id.encode())
        assert verify(headers, body.encode(), [parse_secret(secret)], now_s=NOW_S).key_index == 0
        assert reason(headers, body.encode() + b"!", secrets=(secret,)) == "signature_mismatch"
