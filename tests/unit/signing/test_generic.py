"""Generic schemes: tokens, JWT (RFC 7519, RFC 8725), HTTP signatures (RFC 9421), digests (RFC 9530), asymmetric keys."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ringback.errors import VerificationError
from ringback.signing import times
from ringback.signing.fetched import KeyRef
from ringback.signing.headers import Headers
from ringback.signing.http_signatures import HttpSignature
from ringback.signing.jwt import Jwt
from ringback.signing.request import InboundRequest, Scheme, Secret
from ringback.signing.scheme import Signed
from ringback.signing.structured_fields import Item, parse_dictionary
from ringback.signing.tokens import Token
from ringback.signing.verify import prepare_scheme

NOW_S = 1_700_000_000
BODY = b'{"hello": "world"}'
URL = b"https://example.com/foo?param=Value&Pet=dog"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def b64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def outcome(scheme: Scheme, secret: Secret, request: InboundRequest, *, now_s: float = NOW_S, key_source: Any = None) -> str:
    verifier = prepare_scheme(scheme, [secret])
    try:
        verifier.verify(request, now_s=now_s, **({"key_source": key_source} if key_source else {}))
    except VerificationError as refused:
        return refused.reason
    return "valid"


def post(headers: dict[str, str], body: bytes = BODY, url: bytes = URL) -> InboundRequest:
    return InboundRequest(Headers.of(headers), body, b"POST", url)


@pytest.mark.parametrize(
    ("place", "headers", "url", "expected"),
    [
        ("header:X-Api-Key", {"x-api-key": "s3cret"}, URL, "valid"),
        ("header:X-Api-Key", {"x-api-key": "s3cret "}, URL, "signature_mismatch"),
        ("header:X-Api-Key", {}, URL, "missing_header"),
        ("bearer", {"Authorization": "bEarEr s3cret"}, URL, "valid"),
        ("bearer", {"Authorization": "Basic s3cret"}, URL, "no_supported_scheme"),
        ("basic", {"Authorization": "Basic " + b64encode(b"s3cret").decode()}, URL, "valid"),
        ("basic", {"Authorization": "Basic ???"}, URL, "malformed_header"),
        ("query:key", {}, b"https://h/p?a=1&key=s3cret", "valid"),
        ("query:key", {}, b"https://h/p?key=s3cret&key=s3cret", "malformed_header"),
    ],
)
def test_a_token_is_found_at_its_place_and_nowhere_else(place: str, headers: dict[str, str], url: bytes, expected: str) -> None:
    assert outcome(Token(name="t", places=(place,)), Secret("s3cret"), post(headers, url=url)) == expected


def test_a_place_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no place"):
        prepare_scheme(Token(name="t", places=("cookie:x",)), [Secret("s")])


def test_a_template_with_an_unknown_field_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="no field"):
        prepare_scheme(Signed(name="x", headers=("x",), content="{boby}"), [Secret("s")])


def sign_rsa(content: bytes) -> bytes:
    return RSA_KEY.sign(content, padding.PKCS1v15(), hashes.SHA256())


def sign_pss(content: bytes) -> bytes:
    return RSA_KEY.sign(content, padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512())


def sign_raw(content: bytes) -> bytes:
    r, s = decode_dss_signature(EC_KEY.sign(content, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign_der(content: bytes) -> bytes:
    return EC_KEY.sign(content, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("algorithm", "key", "sign"),
    [
        ("rsa-sha256", RSA_KEY, sign_rsa),
        ("rsa-pss-sha512", RSA_KEY, sign_pss),
        ("ecdsa-sha256", EC_KEY, sign_der),
        ("ecdsa-sha256-raw", EC_KEY, sign_raw),
        ("ed25519", ED_KEY, ED_KEY.sign),
    ],
)
def test_asymmetric_signatures_hold_for_their_bytes_alone(algorithm: str, key: Any, sign: Any) -> None:
    scheme = Signed(name="x", headers=("x-signature",), algorithm=algorithm, encoding="base64", secret_encoding="pem")
    headers = {"X-Signature": b64encode(sign(BODY)).decode()}
    assert outcome(scheme, Secret(pem(key)), post(headers)) == "valid"
    assert outcome(scheme, Secret(pem(key)), post(headers, BODY + b" ")) == "signature_mismatch"
    assert outcome(scheme, Secret(pem(key)), post({"X-Signature": "!"})) == "signature_mismatch"


def test_a_key_of_the_wrong_kind_is_refused_at_once() -> None:
    for algorithm, secret in (
        ("hmac-sha256", Secret(pem(RSA_KEY), "pem")),
        ("rsa-sha256", Secret(pem(EC_KEY), "pem")),
        ("ecdsa-sha256", Secret("shared", "utf8")),
        ("ed25519", Secret(pem(RSA_KEY), "pem")),
        ("rsa-sha256", Secret(pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "pem")),
    ):
        with pytest.raises(ValueError, match=r"key|secret"):
            prepare_scheme(Signed(name="x", headers=("x",), algorithm=algorithm), [secret])


def token(header: dict[str, Any], claims: dict[str, Any], sign: Any) -> str:
    content = f"{b64url(json.dumps(header).encode())}.{b64url(json.dumps(claims).encode())}"
    return f"{content}.{b64url(sign(content.encode()))}"


def hs256(content: bytes) -> bytes:
    return hmac.digest(b"shared", content, "sha256")


def bearer(text: str) -> InboundRequest:
    return post({"Authorization": f"Bearer {text}"})


@pytest.mark.parametrize(
    ("name", "key", "sign"),
    [
        ("HS256", Secret("shared"), hs256),
        ("RS256", Secret(pem(RSA_KEY), "pem"), sign_rsa),
        ("ES256", Secret(pem(EC_KEY), "pem"), sign_raw),
        ("EdDSA", Secret(pem(ED_KEY), "pem"), ED_KEY.sign),
    ],
)
def test_a_token_holds_for_its_algorithm_and_time(name: str, key: Secret, sign: Any) -> None:
    scheme = Jwt(name="jwt", algorithms=(name,))
    good = token({"alg": name}, {"exp": NOW_S + 10, "nbf": NOW_S - 10}, sign)
    assert outcome(scheme, key, bearer(good)) == "valid"
    assert outcome(scheme, key, bearer(good[:-4] + "AAAA")) == "signature_mismatch"
    assert outcome(scheme, key, bearer(good), now_s=NOW_S + 71) == "timestamp_too_old"
    assert outcome(scheme, key, bearer(good), now_s=NOW_S - 71) == "timestamp_in_future"


def test_a_token_cannot_choose_how_it_is_checked() -> None:
    public = pem(RSA_KEY)
    confused = token({"alg": "HS256"}, {}, lambda content: hmac.digest(public.encode(), content, "sha256"))
    assert outcome(Jwt(name="jwt", algorithms=("RS256",)), Secret(public, "pem"), bearer(confused)) == "no_supported_scheme"
    assert outcome(Jwt(name="jwt", algorithms=("RS256", "HS256")), Secret(public, "pem"), bearer(confused)) == "signature_mismatch"
    for alg in ("none", "None", "", None, ["HS256"], 1):
        unsigned = token({"alg": alg}, {}, lambda _: b"")
        assert outcome(Jwt(name="jwt"), Secret("shared"), bearer(unsigned)) == "no_supported_scheme"
    critical = token({"alg": "HS256", "crit": ["b64"]}, {}, hs256)
    assert outcome(Jwt(name="jwt"), Secret("shared"), bearer(critical)) == "no_supported_scheme"
    with pytest.raises(ValueError, match="no JWT algorithm"):
        prepare_scheme(Jwt(name="jwt", algorithms=("none",)), [Secret("s")])


def test_a_token_must_come_from_the_right_issuer_for_the_right_audience_about_this_body() -> None:
    scheme = Jwt(name="jwt", issuers=("us",), audience="them", body_hash_claim="sha256")
    claims = {"iss": "us", "aud": ["others", "them"], "sha256": hashlib.sha256(BODY).hexdigest()}
    shared = Secret("shared")
    assert outcome(scheme, shared, bearer(token({"alg": "HS256"}, claims, hs256))) == "valid"
    assert outcome(scheme, shared, bearer(token({"alg": "HS256"}, claims | {"iss": "x"}, hs256))) == "signature_mismatch"
    assert outcome(scheme, shared, bearer(token({"alg": "HS256"}, claims | {"aud": "x"}, hs256))) == "signature_mismatch"
    assert outcome(scheme, shared, bearer(token({"alg": "HS256"}, claims | {"sha256": "x"}, hs256))) == "body_hash_mismatch"
    del claims["sha256"]
    assert outcome(scheme, shared, bearer(token({"alg": "HS256"}, claims, hs256))) == "missing_body_hash"


class KeySet:
    """Publishes the RSA and the EC key, and a symmetric one that must never be used."""

    def key(self, ref: KeyRef) -> bytes:
        rsa_numbers, ec_numbers = RSA_KEY.public_key().public_numbers(), EC_KEY.public_key().public_numbers()
        keys = [
            {"kid": "r", "kty": "RSA", "n": b64url(rsa_numbers.n.to_bytes(256, "big")), "e": "AQAB"},
            {
                "kid": "e",
                "kty": "EC",
                "crv": "P-256",
                "x": b64url(ec_numbers.x.to_bytes(32, "big")),
                "y": b64url(ec_numbers.y.to_bytes(32, "big")),
            },
            {"kid": "o", "kty": "oct", "k": b64url(b"shared")},
        ]
        return json.dumps({"keys": keys}).encode()


def test_published_keys_are_chosen_by_id_and_symmetric_ones_never() -> None:
    scheme = Jwt(name="oidc", algorithms=("RS256", "ES256", "HS256"), jwks_url="https://issuer.example/jwks", issuers=("i",))
    claims = {"iss": "i", "aud": "me"}

    def result(header: dict[str, Any], sign: Any) -> str:
        return outcome(scheme, Secret("me"), bearer(token(header, claims, sign)), key_source=KeySet())

    assert result({"alg": "RS256", "kid": "r"}, sign_rsa) == "valid"
    assert result({"alg": "ES256", "kid": "e"}, sign_raw) == "valid"
    assert result({"alg": "HS256", "kid": "o"}, hs256) == "signature_mismatch"
    assert result({"alg": "RS256", "kid": "e"}, sign_rsa) == "signature_mismatch"
    assert result({"alg": "RS256", "kid": "?"}, sign_rsa) == "signature_mismatch"
    assert result({"alg": "RS256"}, sign_rsa) == "malformed_header"


def digest(body: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


def signed_request(components: str, lines: list[str], *, parameters: str = f";created={NOW_S}", body: bytes = BODY) -> InboundRequest:
    member = f"({components}){parameters}"
    base = "\n".join([*lines, f'"@signature-params": {member}']).encode()
    signature = b64encode(hmac.digest(b"shared", base, "sha256")).decode()
    headers = {"Content-Digest": digest(body), "Signature-Input": f"sig={member}", "Signature": f"sig=:{signature}:"}
    return post(headers, body)


FULL = '"@method" "@target-uri" "content-digest"'
LINES = ['"@method": POST', f'"@target-uri": {URL.decode()}', f'"content-digest": {digest(BODY)}']
SHARED = Secret("shared", "utf8")


def test_a_message_signature_covers_method_target_and_body() -> None:
    scheme = HttpSignature(name="rfc9421", tolerance_s=300)
    good = signed_request(FULL, LINES)
    assert outcome(scheme, SHARED, good) == "valid"
    assert outcome(scheme, SHARED, good, now_s=NOW_S + 301) == "timestamp_too_old"
    assert outcome(scheme, SHARED, InboundRequest(good.headers, b"x", b"POST", URL)) == "body_hash_mismatch"
    assert outcome(scheme, SHARED, InboundRequest(good.headers, BODY, b"PUT", URL)) == "signature_mismatch"
    assert outcome(scheme, SHARED, InboundRequest(good.headers, BODY, b"POST", URL + b"1")) == "signature_mismatch"
    expired = signed_request(FULL, LINES, parameters=f";created={NOW_S};expires={NOW_S}")
    assert outcome(scheme, SHARED, expired, now_s=NOW_S + 1) == "timestamp_too_old"


def test_a_message_signature_that_leaves_something_out_is_not_enough() -> None:
    scheme = HttpSignature(name="rfc9421")
    assert outcome(scheme, SHARED, signed_request('"@method" "@target-uri"', LINES[:2])) == "missing_body_hash"
    assert outcome(scheme, SHARED, signed_request('"@method" "content-digest"', [LINES[0], LINES[2]])) == "no_supported_scheme"
    parts = ['"@method": POST', '"@authority": example.com', '"@path": /foo', '"@query": ?param=Value&Pet=dog', LINES[2]]
    assert outcome(scheme, SHARED, signed_request('"@method" "@authority" "@path" "@query" "content-digest"', parts)) == "valid"
    without_query = signed_request('"@method" "@authority" "@path" "content-digest"', [*parts[:3], LINES[2]])
    assert outcome(scheme, SHARED, without_query) == "no_supported_scheme"


def test_the_ed25519_example_of_the_rfc_holds() -> None:
    """https://www.rfc-editor.org/rfc/rfc9421#name-signing-a-request-using-ed2."""
    request = post(
        {
            "Host": "example.com",
            "Date": "Tue, 20 Apr 2021 02:07:55 GMT",
            "Content-Type": "application/json",
            "Content-Length": "18",
            "Signature-Input": 'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473'
            ';keyid="test-key-ed25519"',
            "Signature": "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
        }
    )
    key = Secret("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=", "base64_ed25519_public_key")
    assert outcome(HttpSignature(name="rfc9421", required=()), key, request) == "valid"
    assert outcome(HttpSignature(name="rfc9421"), key, request) == "no_supported_scheme"


def test_the_key_decides_the_algorithm_of_a_message_signature() -> None:
    request = signed_request(FULL, LINES, parameters=';alg="ed25519"')
    assert outcome(HttpSignature(name="rfc9421"), SHARED, request) == "signature_mismatch"
    with pytest.raises(ValueError, match="shared secret"):
        prepare_scheme(HttpSignature(name="rfc9421", algorithm="hmac-sha256"), [Secret(pem(ED_KEY), "pem")])


def test_a_label_or_component_that_comes_twice_is_refused() -> None:
    good = signed_request(FULL, LINES)
    twice = InboundRequest(Headers([*good.headers, (b"signature", dict(good.headers.fields)[b"Signature"])]), BODY, b"POST", URL)
    assert outcome(HttpSignature(name="rfc9421"), SHARED, twice) == "malformed_header"
    assert outcome(HttpSignature(name="rfc9421"), SHARED, signed_request('"@method" ' + FULL, LINES[:1] + LINES)) == "malformed_header"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'a=1, b;x=?0, c=("q" t;y=:AA==:);z="s\\""', {"a": 1, "b": True, "c": (Item("q"), Item("t", (("y", b"\x00"),)))}),
        (b"", {}),
    ],
)
def test_a_structured_dictionary_is_read(text: bytes, expected: dict[str, Any]) -> None:
    """https://www.rfc-editor.org/rfc/rfc9651."""
    assert {name: member.value for name, member in parse_dictionary(text).items()} == expected


@given(st.binary(max_size=60) | st.text('ab=,;()":?01 -.', max_size=40).map(str.encode))
def test_a_structured_field_is_read_or_refused_with_a_value_error(text: bytes) -> None:
    try:
        members = parse_dictionary(text)
    except ValueError:
        return
    assert all(name.isascii() for name in members)


def test_generic_schemes_can_be_made_from_a_configuration() -> None:
    settings = {"type": "signed", "name": "mine", "headers": ["x-sig"], "content": "{timestamp}.{body}", "timestamp": "header:x-time"}
    made = msgspec.convert(settings, Signed | Token | Jwt | HttpSignature)
    signature = hmac.digest(b"s", b"%d." % NOW_S + BODY, "sha256").hex()
    assert outcome(made, Secret("s"), post({"X-Sig": signature, "X-Time": str(NOW_S)})) == "valid"


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("s", b"1700000000", NOW_S),
        ("ms", b"1700000000500", NOW_S + 0.5),
        ("ns", b"1700000000000000000", NOW_S),
        ("s_or_ms", b"1700000000", NOW_S),
        ("s_or_ms", b"1700000000000", NOW_S),
        ("iso", b"2023-11-14T22:13:20Z", NOW_S),
        ("iso", b"2023-11-14T22:13:20.123456789Z", NOW_S + 0.123456),
        ("iso", b"2023-11-15T00:13:20+02:00", NOW_S),
        ("iso", b"2023-11-14T22:13:20", NOW_S),
        ("http", b"Tue, 14 Nov 2023 22:13:20 GMT", NOW_S),
    ],
)
def test_a_time_is_read_in_its_unit(unit: str, text: bytes, expected: float) -> None:
    assert times.reader(unit)(text) == pytest.approx(expected)


@given(st.sampled_from(["s", "ms", "ns", "s_or_ms", "iso", "http"]), st.binary(max_size=45))
def test_a_time_is_read_or_refused(unit: str, text: bytes) -> None:
    try:
        read = times.reader(unit)(text)
    except (ValueError, OverflowError):
        return
    assert isinstance(read, int | float)
