"""More traps: those of schemes that no row has, of signed line breaks, of values that come twice."""

from __future__ import annotations

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringback.errors import VerificationError
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.scheme import Signed
from ringback.signing.verify import prepare_scheme
from tests.unit.signing.test_traps import BODY, NOW_S, mac, post, reason, verify


def reason_of(verifier: Verifier, request: InboundRequest, now_s: float = NOW_S) -> str:
    with pytest.raises(VerificationError) as refused:
        verifier.verify(request, now_s=now_s)
    return refused.value.reason


def test_a_nonce_called_t_and_other_units_can_be_said_in_a_scheme_of_ones_own() -> None:
    """NMI's `t=` is a nonce; Knock and Statsig write milliseconds: rows that nobody confirmed, and that an owner can describe."""
    nonce = Signed(
        name="nmi", headers=("webhook-signature",), content="{timestamp}.{body}", layout="pairs", timestamp="item:t", signature_key="s"
    )
    signature = mac(b"s", b"Zx9-nonce." + BODY).hex()
    verifier = prepare_scheme(nonce, [Secret("s")])
    assert verifier.verify(post({"Webhook-Signature": f"t=Zx9-nonce,s={signature}"}), now_s=NOW_S).signed_at_s is None
    assert reason_of(verifier, post({"Webhook-Signature": f"t=Zx9-nonc3,s={signature}"})) == "signature_mismatch"
    # Who asks for an age of such a source is told that there is no time, and not let in.
    assert reason_of(prepare_scheme(nonce, [Secret("s")], tolerance_s=300), post({"Webhook-Signature": f"t=Zx9-nonce,s={signature}"})) == (
        "malformed_header"
    )
    knock = Signed(
        name="knock", headers=("x-knock-signature",), content="{timestamp}.{body}", encoding="base64", layout="pairs", timestamp="item:t",
        signature_key="s", unit="ms", tolerance_s=300,
    )  # fmt: skip
    signature = b64encode(mac(b"s", b"%d000." % NOW_S + BODY)).decode()
    request = post({"X-Knock-Signature": f"t={NOW_S}000,s={signature}"})
    assert prepare_scheme(knock, [Secret("s")]).verify(request, now_s=NOW_S + 299).signed_at_s == NOW_S
    assert reason_of(prepare_scheme(knock, [Secret("s")]), request, now_s=NOW_S + 301) == "timestamp_too_old"


@pytest.mark.parametrize(("name", "tolerance_s"), [("workos", 180), ("hubspot", 300)])
def test_other_milliseconds_are_milliseconds(name: str, tolerance_s: int) -> None:
    at = f"{NOW_S}000"
    if name == "workos":
        request = post({"WorkOS-Signature": f"t={at}, v1={mac(b's', at.encode() + b'.' + BODY).hex()}"})
    else:
        url = b"https://example.com/hook"
        signature = b64encode(mac(b"s", b"POST" + url + BODY + at.encode())).decode()
        request = post({"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": at}, url=url)
    assert verify(name, "s", request, now_s=NOW_S + tolerance_s).signed_at_s == NOW_S
    assert reason(name, "s", request, now_s=NOW_S + tolerance_s + 1) == "timestamp_too_old"
    assert reason(name, "s", request, now_s=NOW_S - tolerance_s - 1) == "timestamp_in_future"


def test_sendgrid_signs_the_line_break_at_the_end_of_its_body() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    body = b'[{"event":"open"}]\r\n'
    signature = b64encode(key.sign(str(NOW_S).encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    headers = {"X-Twilio-Email-Event-Webhook-Signature": signature, "X-Twilio-Email-Event-Webhook-Timestamp": str(NOW_S)}
    assert verify("sendgrid", public, post(headers, body))
    assert reason("sendgrid", public, post(headers, body.rstrip())) == "signature_mismatch"


def test_twilio_counts_a_value_that_comes_twice_once() -> None:
    url = b"https://example.com/hook?q='a'"
    signature = b64encode(mac(b"t", b"https://example.com/hook?q=%27a%27MediaUrl1MediaUrl2", "sha1")).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    assert verify("twilio", "t", post(headers, b"MediaUrl=2&MediaUrl=1&MediaUrl=2", url=url))
    assert reason("twilio", "t", post(headers, b"MediaUrl=2&MediaUrl=1&MediaUrl=3", url=url)) == "signature_mismatch"


def test_anthropic_signs_as_its_own_package_says_and_not_as_others_say() -> None:
    secret = "whsec_" + b64encode(b"k" * 24).decode()
    signature = b64encode(mac(b"k" * 24, b"msg_1.%d." % NOW_S + BODY)).decode()
    trio = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW_S), "webhook-signature": f"v1,{signature}"}
    assert verify("anthropic", secret, post(trio))
    assert reason("anthropic", secret, post({"X-Webhook-Signature": mac(b"k" * 24, BODY).hex()})) == "missing_header"


def test_each_pair_of_personas_list_has_a_time_of_its_own() -> None:
    body, old = b'{"data":{"id":"evt_1"}}', NOW_S - 1_000

    def pair(secret: bytes, at_s: int) -> str:
        return f"t={at_s},v1={mac(secret, b'%d.%b' % (at_s, body)).hex()}"

    new, former = pair(b"new", NOW_S), pair(b"old", NOW_S)
    for header in (new, f"{new} {former}", f"{former} {new}", f"{pair(b'old', old)}  {new}"):
        assert verify("persona", "new", post({"persona-signature": header}, body)).signed_at_s == NOW_S
    for header, why in (
        (former, "signature_mismatch"),
        (pair(b"new", old), "timestamp_too_old"),
        ("", "malformed_header"),
        (f"t={NOW_S} v1={mac(b'new', b'%d.%b' % (NOW_S, body)).hex()}", "malformed_header"),
        (f"{pair(b'old', old)},{new}", "malformed_header"),
    ):
        assert reason("persona", "new", post({"persona-signature": header}, body)) == why, header
