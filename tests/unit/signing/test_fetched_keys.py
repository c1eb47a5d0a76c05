"""Providers whose keys are fetched: PayPal, SNS, eBay, Plaid, WeChat Pay, Wix; with keys of our own in their place."""

from __future__ import annotations

import datetime
import hashlib
import json
import zlib
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringback.errors import VerificationError
from ringback.signing.fetched import KeyRef
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import provider
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.verify import prepare_provider

NOW_S = 1_700_000_000
BODY = b'{"id":"WH-1"}'
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate() -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "messages")])
    day = datetime.timedelta(days=1)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(RSA_KEY.public_key()).serial_number(1)
    made = builder.not_valid_before(at).not_valid_after(at + day).sign(RSA_KEY, hashes.SHA256())
    return made.public_bytes(Encoding.PEM)


def public_pem(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


class Published:
    """A KeySource that has one key, and notes what it was asked for."""

    def __init__(self, key: bytes) -> None:
        self.asked: list[KeyRef] = []
        self._key = key

    def key(self, ref: KeyRef) -> bytes:
        self.asked.append(ref)
        return self._key


def outcome(name: str, secrets: list[Secret], request: InboundRequest, source: Published) -> str:
    try:
        prepare_provider(provider(name), secrets).verify(request, now_s=NOW_S, key_source=source)
    except VerificationError as refused:
        return refused.reason
    return "valid"


def rsa_signature(content: bytes, algorithm: Any = None) -> str:
    return b64encode(RSA_KEY.sign(content, padding.PKCS1v15(), algorithm or hashes.SHA256())).decode()


def test_paypal_signs_a_checksum_of_the_body_for_one_webhook() -> None:
    content = b"i|2023-11-14T22:13:20Z|WH-ID|%d" % zlib.crc32(BODY)
    headers = {
        "PAYPAL-TRANSMISSION-SIG": rsa_signature(content),
        "PAYPAL-TRANSMISSION-ID": "i",
        "PAYPAL-TRANSMISSION-TIME": "2023-11-14T22:13:20Z",
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
        "PAYPAL-CERT-URL": "https://api.paypal.com/v1/notifications/certs/CERT-1",
    }
    source = Published(certificate())
    request = InboundRequest(Headers.of(headers), BODY)
    assert outcome("paypal", [Secret("WH-ID")], request, source) == "valid"
    assert source.asked == [KeyRef("https://api.paypal.com/v1/notifications/certs/CERT-1", "x509_pem")]
    assert outcome("paypal", [Secret("WH-OTHER")], request, source) == "signature_mismatch"
    assert outcome("paypal", [Secret("WH-ID")], InboundRequest(request.headers, BODY + b" "), source) == "signature_mismatch"
    weak = Headers.of(headers | {"PAYPAL-AUTH-ALGO": "SHA1withRSA"})
    assert outcome("paypal", [Secret("WH-ID")], InboundRequest(weak, BODY), source) == "no_supported_scheme"


def sns_message(**changes: str) -> dict[str, str]:
    message = {
        "Type": "Notification",
        "MessageId": "m",
        "TopicArn": "arn:topic",
        "Message": "héllo",
        "Timestamp": "2023-11-14T22:13:20.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
    } | changes
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if message["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    content = "".join(f"{name}\n{message[name]}\n" for name in names if name in message).encode()
    algorithm = hashes.SHA1() if message["SignatureVersion"] == "1" else hashes.SHA256()
    return message | {"Signature": rsa_signature(content, algorithm)}


def sns(message: dict[str, str], topic: str = "arn:topic") -> str:
    request = InboundRequest(Headers.of({"Content-Type": "text/plain"}), json.dumps(message).encode())
    return outcome("aws-sns", [Secret(topic)], request, Published(certificate()))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"SignatureVersion": "1"},
        {"Subject": "s"},
        {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?x"},
    ],
)
def test_sns_signs_some_fields_line_by_line(changes: dict[str, str]) -> None:
    assert sns(sns_message(**changes)) == "valid"


def test_an_sns_message_of_a_stranger_is_refused() -> None:
    good = sns_message()
    assert sns(good, "arn:other") == "signature_mismatch"
    assert sns(good | {"Message": "other"}) == "signature_mismatch"
    assert sns(good | {"Subject": "added"}) == "signature_mismatch"
    assert sns(good | {"SignatureVersion": "3"}) == "no_supported_scheme"
    for url in (
        "https://sns.us-east-1.amazonaws.com.evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example/sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "http://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-east-1.amazonaws.com/other.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-0a.pem",
    ):
        assert sns(sns_message(SigningCertURL=url)) == "malformed_header"


def test_ebay_names_its_key_in_the_header() -> None:
    signature = b64encode(EC_KEY.sign(BODY, ec.ECDSA(hashes.SHA1()))).decode()

    def header(key_id: str) -> Headers:
        return Headers.of({"x-ebay-signature": b64encode(json.dumps({"kid": key_id, "signature": signature}).encode()).decode()})

    source = Published(public_pem(EC_KEY))
    assert outcome("ebay", [], InboundRequest(header("9936261a-7d7b"), BODY), source) == "valid"
    assert source.asked[0].url.endswith("/public_key/9936261a-7d7b")
    assert outcome("ebay", [], InboundRequest(header("9936261a-7d7b"), BODY + b" "), source) == "signature_mismatch"
    assert outcome("ebay", [], InboundRequest(header("../../evil"), BODY), source) == "malformed_header"
    assert outcome("ebay", [Secret(public_pem(EC_KEY).decode(), "pem")], InboundRequest(header("k"), BODY), Published(b"")) == "valid"


def b64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def test_plaid_puts_the_hash_of_the_body_in_a_token_of_a_key_that_it_publishes() -> None:
    numbers = EC_KEY.public_key().public_numbers()
    jwk = {"kid": "k", "kty": "EC", "crv": "P-256", "x": b64url(numbers.x.to_bytes(32, "big")), "y": b64url(numbers.y.to_bytes(32, "big"))}
    source = Published(json.dumps(jwk).encode())

    def headers(issued_s: int) -> Headers:
        claims = {"iat": issued_s, "request_body_sha256": hashlib.sha256(BODY).hexdigest()}
        content = f"{b64url(json.dumps({'alg': 'ES256', 'kid': 'k'}).encode())}.{b64url(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(EC_KEY.sign(content.encode(), ec.ECDSA(hashes.SHA256())))
        return Headers.of({"Plaid-Verification": f"{content}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"})

    assert outcome("plaid", [], InboundRequest(headers(NOW_S), BODY), source) == "valid"
    assert outcome("plaid", [], InboundRequest(headers(NOW_S), BODY + b" "), source) == "body_hash_mismatch"
    assert outcome("plaid", [], InboundRequest(headers(NOW_S - 301), BODY), source) == "timestamp_too_old"


def test_wechat_pay_and_wix_sign_with_a_key_that_is_given() -> None:
    key = Secret(public_pem(RSA_KEY).decode(), "pem")
    headers = {
        "Wechatpay-Timestamp": str(NOW_S),
        "Wechatpay-Nonce": "n",
        "Wechatpay-Signature": rsa_signature(b"%d\nn\n%b\n" % (NOW_S, BODY)),
    }
    assert outcome("wechatpay", [key], InboundRequest(Headers.of(headers), BODY), Published(b"")) == "valid"
    header = b64url(b'{"alg":"RS256"}')
    content = f"{header}.{b64url(BODY)}".encode()
    signature = b64url(RSA_KEY.sign(content, padding.PKCS1v15(), hashes.SHA256())).encode()
    assert outcome("wix", [key], InboundRequest(Headers(), content + b"." + signature), Published(b"")) == "valid"
    assert (
        outcome("wix", [key], InboundRequest(Headers(), content + b"." + signature[:-4] + b"AAAA"), Published(b"")) == "signature_mismatch"
    )
