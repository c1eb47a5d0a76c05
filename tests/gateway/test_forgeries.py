"""Requests that nobody with the secret made, and that must not be believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import typing
from urllib.parse import quote

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringback.errors import InvalidField
from ringback.signing.providers.adyen import signed_item
from ringback.signing.providers.catalogue import PROVIDERS
from ringback.signing.request import Secret
from ringback.signing.scheme import Signed
from tests.gateway.conftest import Running, path_of
from tests.gateway.signing import NOW_S

MINE, THEIRS = "arn:aws:sns:eu-west-1:111111111111:mine", "arn:aws:sns:eu-west-1:222222222222:theirs"
CERTIFICATE = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"


# -- what a provider signs for a stranger, read as something else


class Amazon:
    """Signs as SNS does, for whoever publishes."""

    def __init__(self, running: Running) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        running.published.bodies[CERTIFICATE] = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signature(self, content: str) -> str:
        return base64.b64encode(self.key.sign(content.encode(), PKCS1v15(), SHA256())).decode()


def sns(fields: dict[str, str], signature: str) -> bytes:
    return msgspec.json.encode({**fields, "SignatureVersion": "2", "Signature": signature, "SigningCertURL": CERTIFICATE})


def test_a_message_of_another_topic_cannot_be_read_as_one_of_ours(running: Running) -> None:
    amazon, path = Amazon(running), path_of(running.made(type="aws-sns", secrets=[MINE]))
    now = "2023-11-14T22:13:20.000Z"
    # What a stranger publishes to a topic of his own: its end is what SNS signs around it.
    published = f"forged\nMessageId\n1\nTimestamp\n{now}\nTopicArn\n{MINE}\nType\nNotification"
    tail = f"MessageId\n2\nTimestamp\n{now}\nTopicArn\n{THEIRS}\nType\nNotification"
    signature = amazon.signature(f"Message\n{published}\n{tail}\n")
    forged = {"Message": "forged", "MessageId": "1", "Timestamp": now, "TopicArn": MINE, "Type": f"Notification\n{tail}"}
    assert running.ask(path, sns(forged, signature)).status == 401
    assert running.messages() == []


def test_a_message_of_our_topic_is_believed(running: Running) -> None:
    amazon, path = Amazon(running), path_of(running.made(type="aws-sns", secrets=[MINE]))
    fields = {"Message": "m", "MessageId": "1", "Timestamp": "2023-11-14T22:13:20.000Z", "TopicArn": MINE, "Type": "Notification"}
    signature = amazon.signature("".join(f"{name}\n{value}\n" for name, value in fields.items()))
    assert running.ask(path, sns(fields, signature)).status == 200


@pytest.mark.parametrize(
    ("blanks", "coding", "on_the_loop"), [(0, {}, True), (1_100_000, {}, False), (0, {"content-encoding": "gzip"}, False)]
)
def test_large_and_packed_bodies_are_judged_beside_the_loop(
    running: Running, blanks: int, coding: dict[str, str], on_the_loop: bool
) -> None:
    amazon, path = Amazon(running), path_of(running.made(type="aws-sns", secrets=[MINE]))
    fields = {"Message": "m", "MessageId": "1", "Timestamp": "2023-11-14T22:13:20.000Z", "TopicArn": MINE, "Type": "Notification"}
    body = sns(fields, amazon.signature("".join(f"{name}\n{value}\n" for name, value in fields.items()))) + b" " * blanks
    status = running.ask(path, body, coding).status
    assert (status == 200) is not bool(coding)
    assert (running.published.asked_by == {threading.get_ident()}) is on_the_loop


def test_the_digits_of_a_token_cannot_be_moved_into_the_time(running: Running) -> None:
    path = path_of(running.made(type="mailgun"))

    def sent(timestamp: str, token: str) -> int:
        signature = hmac.new(b"whsec_test", f"{NOW_S}77token".encode(), hashlib.sha256).hexdigest()
        body = {"signature": {"timestamp": timestamp, "token": token, "signature": signature}, "event-data": {"event": "opened"}}
        return running.ask(path, json.dumps(body).encode()).status

    assert sent(str(NOW_S), "77token") == 200
    assert [sent(f"{NOW_S}7", "7token"), sent(f"{NOW_S}77", "token"), sent(str(NOW_S)[:-1], "077token")] == [401, 401, 401]


@pytest.mark.parametrize("moved", [0, 1, 3])
def test_the_digits_of_a_time_cannot_be_moved_into_the_body(running: Running, moved: int) -> None:
    path, body = path_of(running.made(type="airwallex")), b'{"id":"1","name":"paid"}'
    at = str(NOW_S * 1_000)
    signature = hmac.new(b"whsec_test", at.encode() + body, hashlib.sha256).hexdigest()
    split = len(at) - moved
    answer = running.ask(path, at[split:].encode() + body, {"x-timestamp": at[:split], "x-signature": signature})
    assert answer.status == (401 if moved else 200)


# -- handshakes that sign what they are asked to


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        ("x-twitter", "crc_token={}"),
        ("linkedin", "challengeCode=hmacsha256%3D{}"),
        ("braintree", "bt_challenge={}"),
    ],
)
def test_a_question_cannot_have_an_event_signed(running: Running, kind: str, question: str) -> None:
    path = path_of(running.made(type=kind, publicKey="public"))
    payload = base64.b64encode(b"<notification></notification>" + b" " * 4).decode().rstrip("=")
    event = payload if kind == "braintree" else "%7B%22a%22%3A1%7D"
    answer = running.ask(path, method="GET", query=question.format(event).encode())
    assert (answer.status, b"response" in answer.body.lower()) == (405, False)


@pytest.mark.parametrize(
    ("kind", "question", "field"),
    [
        ("x-twitter", "crc_token=MTYwMzkxMDU3NS4xMjM%3D", "response_token"),
        ("linkedin", "challengeCode=890e4665-4dfe-4ab1-b689-ed553bceeed0", "challengeResponse"),
    ],
)
def test_the_questions_of_providers_are_answered(running: Running, kind: str, question: str, field: str) -> None:
    answer = running.ask(path_of(running.made(type=kind)), method="GET", query=question.encode())
    assert answer.status == 200 and field in answer.json


# -- sources that only seem to verify


@pytest.mark.parametrize(
    "wanted",
    [
        {"scheme": "rfc9530-content-digest", "secrets": [], "route": "hooks/open"},
        {"scheme": {"type": "signed", "headers": ["x-s"], "content": "{body}", "timestamp": "header:x-t", "toleranceS": 300}},
        {"scheme": {"type": "signed", "headers": ["x-s"], "layout": "pairs", "timestamp": "item:t", "toleranceS": 300}},
        {"scheme": {"type": "signed", "headers": ["x-s"], "content": "always the same"}, "secrets": ["k"]},
        {"scheme": {"type": "signed", "headers": ["x-s"], "content": ""}, "secrets": ["k"]},
        {"scheme": {"type": "signed", "headers": []}, "secrets": ["k"]},
        {"scheme": {"type": "signed", "headers": ["x s"]}, "secrets": ["k"]},
        {"scheme": {"type": "token", "places": []}, "secrets": ["k"]},
    ],
    ids=json.dumps,
)
def test_a_scheme_that_proves_nothing_of_time_or_body_is_refused(running: Running, wanted: dict[str, typing.Any]) -> None:
    with pytest.raises(InvalidField):
        running.made(type="custom", **wanted)


@pytest.mark.parametrize(
    ("fields", "place", "allowed"),
    [
        ({"type": "hmac"}, ("scheme", "type"), "signed, token, jwt"),
        ({"algorithm": "sha256"}, ("scheme",), "hmac-sha256"),
        ({"algorithm": "md5"}, ("scheme",), "hmac-sha256"),
        ({"timestamp": "x-time", "content": "{timestamp}.{body}"}, ("scheme",), "header:NAME"),
        ({"timestamp": "item:t", "content": "{timestamp}.{body}"}, ("scheme",), "layout pairs"),
        ({"layout": "pairs", "separator": ""}, ("scheme",), "separator"),
    ],
    ids=json.dumps,
)
def test_a_scheme_by_which_nothing_could_be_verified_is_refused_with_what_is_allowed(
    running: Running, fields: dict[str, str], place: tuple[str, ...], allowed: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        running.made(type="custom", secrets=["k"], scheme={"type": "signed", "headers": ["x-s"], **fields})
    [problem] = refused.value.problems
    assert problem.loc == ("body", *place) and allowed in problem.msg


def test_every_scheme_of_the_catalogue_signs_the_time_that_it_checks() -> None:
    schemes = [scheme for row in PROVIDERS.values() for scheme in (*row.schemes, *row.by_name_only) if isinstance(scheme, Signed)]
    assert len(schemes) > 50
    assert [scheme.name for scheme in schemes if scheme.unproven is not None] == []


# -- tokens


def token(header: dict[str, typing.Any], claims: dict[str, typing.Any], key: bytes, digest: str = "sha256") -> str:
    content = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    return (content + b"." + base64.urlsafe_b64encode(hmac.digest(key, content, digest)).rstrip(b"=")).decode()


def bearer(running: Running, path: str, text: str) -> int:
    return running.ask(path, b"x", {"authorization": f"Bearer {text}"}).status


def test_a_public_key_is_never_taken_for_a_shared_secret(running: Running) -> None:
    public = rsa.generate_private_key(65537, 2048).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    scheme = {"type": "jwt", "algorithms": ["HS256", "RS256"]}
    with pytest.raises(InvalidField, match="pem"):
        running.made(type="custom", scheme=scheme, secrets=[pem])
    path = path_of(running.made(type="custom", scheme=scheme, secrets=[{"text": pem, "encoding": "pem"}]))
    assert bearer(running, path, token({"alg": "HS256"}, {}, pem.encode())) == 401


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, "HS512", ["HS256"], "hs256"])
def test_a_token_does_not_choose_how_it_is_checked(running: Running, alg: object) -> None:
    path = path_of(running.made(type="custom", scheme={"type": "jwt"}, secrets=["secret"]))
    good = token({"alg": "HS256"}, {}, b"secret")
    assert bearer(running, path, good) == 200
    assert bearer(running, path, token({"alg": alg}, {}, b"secret")) == 401
    assert bearer(running, path, token({"alg": alg}, {}, b"").rpartition(".")[0] + ".") == 401


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [10**400, -(10**400), 1.7e308, -1.7e308, "1", True, [], {}])
def test_times_of_a_token_that_are_none_are_no_failure_of_ours(running: Running, claim: str, value: object) -> None:
    path = path_of(running.made(type="custom", scheme={"type": "jwt", "toleranceS": 60}, secrets=["secret"]))
    claims = {"iat": NOW_S, claim: value}
    assert bearer(running, path, token({"alg": "HS256"}, claims, b"secret")) in (200, 401)


@pytest.mark.parametrize(
    "keys",
    [
        {"keys": [{"kid": "k", "kty": "RSA", "n": 7, "e": "AQAB"}]},
        {"keys": [{"kid": "k", "kty": "RSA", "n": "AQAB", "e": None}]},
        {"keys": [{"kid": "k", "kty": "EC", "crv": "P-256", "x": ["a"], "y": "a"}]},
        {"keys": [{"kid": "k", "kty": "OKP", "crv": "Ed25519", "x": 1}]},
        {"keys": [{"kid": "k", "kty": "oct", "k": "c2VjcmV0"}]},
        {"keys": {"k": 1}},
        {"keys": None},
        [],
        "k",
    ],
    ids=json.dumps,
)
def test_published_keys_that_are_none_are_no_failure_of_ours(running: Running, keys: object) -> None:
    url = "https://keys.example.com/jwks"
    scheme = {"type": "jwt", "algorithms": ["HS256", "RS256", "ES256", "EdDSA"], "jwksUrl": url}
    path = path_of(running.made(type="custom", scheme=scheme, secrets=["audience"]))
    running.published.bodies[url] = json.dumps(keys).encode()
    for alg in scheme["algorithms"]:
        assert bearer(running, path, token({"alg": alg, "kid": "k"}, {"aud": "audience"}, b"secret")) == 401


def test_what_a_stranger_had_signed_by_a_handshake_is_no_event(running: Running) -> None:
    twitter, braintree = running.made(type="x-twitter", secrets=["s"]), running.made(type="braintree", secrets=["s"], publicKey="pk")
    for text in ("12345", "true", "a"):
        signature = running.ask(path_of(twitter), method="GET", query=b"crc_token=" + text.encode()).json["response_token"]
        headers = {"content-type": "application/json", "x-twitter-webhooks-signature": signature}
        assert running.ask(path_of(twitter), text.encode(), headers).status == 401
    challenge = "0123456789abcdef0123"
    said = running.ask(path_of(braintree), method="GET", query=b"bt_challenge=" + challenge.encode()).body.decode()
    form = f"bt_payload={challenge}&bt_signature={quote(said)}&more=1".encode()
    assert running.ask(path_of(braintree), form, {"content-type": "application/x-www-form-urlencoded"}).status == 401
    assert running.messages() == []
    assert {item.reason for source in (twitter, braintree) for item in running.quarantined(source)} == {"signature_mismatch"}


# -- proofs that another body can be put beside


def mailgun(event_id: str, token: str) -> bytes:
    signature = hmac.digest(b"s", f"1700000000{token}".encode(), "sha256").hex()
    said = {"timestamp": "1700000000", "token": token, "signature": signature}
    return json.dumps({"signature": said, "event-data": {"id": event_id, "event": "opened"}}).encode()


def test_a_proof_that_was_used_for_another_event_is_a_conflict(running: Running) -> None:
    path = path_of(running.made(type="mailgun", secrets=["s"]))
    for event_id, token in (("1", "a"), ("1", "a"), ("1", "b"), ("2", "c"), ("forged", "a"), ("forged", "a"), ("forged", "b"), ("3", "d")):
        assert running.ask(path, mailgun(event_id, token), {"content-type": "application/json"}).status == 200
    flags = [(message.origin.event_id, message.origin.flags) for message in running.messages() if message.origin]
    assert flags == [("1", ()), ("2", ()), ("forged", ("conflict",)), ("3", ())]


def test_every_item_of_a_notification_of_adyen_is_signed(running: Running) -> None:
    path = path_of(running.made(type="adyen", secrets=["aa" * 16]))
    signed = signed_item(b'{"notificationItems":[{"NotificationRequestItem":{"pspReference":"1","eventCode":"A"}}]}', Secret("aa" * 16))
    (item,) = json.loads(signed)["notificationItems"]
    for other in ({}, {"Other": 1}, 7, {"NotificationRequestItem": None}):
        for items in ([item, other], [other, item]):
            assert running.ask(path, json.dumps({"notificationItems": items}).encode()).status == 401
    assert running.messages() == []
    assert running.ask(path, signed).status == 200


def test_an_id_that_is_signed_comes_before_one_that_is_not() -> None:
    for row in PROVIDERS.values():
        inside = [place for place in row.event_id if not place.startswith("header:")]
        if inside and all(isinstance(scheme, Signed) and scheme.covers_body for scheme in row.schemes):
            signs = [scheme.content.lower() for scheme in row.schemes if isinstance(scheme, Signed)]
            first = row.event_id[0]
            assert first in inside or all(f"{{{first}}}" in content for content in signs), row.id


@pytest.mark.parametrize(
    ("created", "reason"),
    [
        (";created=1700000000", None),
        (";created=1699999600", "timestamp_too_old"),
        (";created=1700000400", "timestamp_in_future"),
        ("", "malformed_header"),
    ],
)
def test_an_http_signature_holds_for_five_minutes(running: Running, created: str, reason: str | None) -> None:
    """https://www.rfc-editor.org/rfc/rfc9421#section-7.2.2 ."""
    source = running.made(type="rfc9421", secrets=[base64.b64encode(b"key").decode()], publicUrl="https://hooks.example.com/a")
    body = b'{"a":1}'
    digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    covered = f'("@method" "@target-uri" "content-digest"){created};keyid="k"'
    base = f'"@method": POST\n"@target-uri": https://hooks.example.com/a\n"content-digest": {digest}\n"@signature-params": {covered}'
    signature = base64.b64encode(hmac.digest(b"key", base.encode(), "sha256")).decode()
    headers = {"content-digest": digest, "signature-input": f"a={covered}", "signature": f"a=:{signature}:"}
    assert running.ask(path_of(source), body, headers).status == (200 if reason is None else 401)
    assert [item.reason for item in running.quarantined(source)] == ([] if reason is None else [reason])
