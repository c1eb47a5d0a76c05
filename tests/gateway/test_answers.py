"""What is a provider answered that wants to hear of its own request, or a signature?"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import typing

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringback.errors import InvalidField
from tests.gateway.conftest import Answer, Running, path_of
from tests.gateway.signing import NOW_S, SECRET, signed

BODY = b'{"id":"evt_1","type":"paid","order":{"number":42},"text":"\\"<b>&\\u0000"}'


def answered(running: Running, answer: dict[str, typing.Any], body: bytes = BODY, **parts: typing.Any) -> Answer:
    source = running.made(answer=answer)
    return running.ask(path_of(source), body, {**signed(body), "X-Trace": "t-1"}, **parts)


def test_an_answer_repeats_a_part_of_the_request(running: Running) -> None:
    template = {
        "template": True,
        "body": '{"id":"{{json:id}}","order":{{ json:order.number }},"at":{{timestamp}},"trace":"{{header:X-Trace}}","q":"{{query:q}}"}',
        "headers": {"X-Echo": "{{header:x-trace}}/{{json:type}}"},
    }
    got = answered(running, template, query=b"q=1%202")
    assert got.json == {"id": "evt_1", "order": 42, "at": NOW_S, "trace": "t-1", "q": "1 2"}
    assert (got.headers["x-echo"], got.headers["x-content-type-options"]) == ("t-1/paid", "nosniff")


@pytest.mark.parametrize(
    ("kind", "body", "wanted"),
    [
        ("application/json", '{"t":"{{json:text}}"}', b'{"t":"\\"<b>&\\u0000"}'),
        ("text/xml", "<t>{{json:text}}</t>", b"<t>&quot;&lt;b&gt;&amp;</t>"),
        ("text/plain", "{{json:text}}", b'"<b>&'),
        ("text/plain", "{{json:nothing}}|{{form:a}}|{{header:none}}", b"||"),
    ],
)
def test_what_is_repeated_cannot_break_out_of_the_answer(running: Running, kind: str, body: str, wanted: bytes) -> None:
    assert answered(running, {"template": True, "body": body, "contentType": kind}).body == wanted


def test_headers_of_an_answer_stay_on_their_line(running: Running) -> None:
    body = b'{"id":"evt_1","type":"a\\r\\nset-cookie: x\\u00e9"}'
    got = answered(running, {"template": True, "body": "", "headers": {"X-Type": "{{json:type}}"}}, body)
    assert got.headers["x-type"] == "aset-cookie: x" and "set-cookie" not in got.headers


def test_without_template_an_answer_is_what_it_says(running: Running) -> None:
    assert answered(running, {"body": "{{json:id}}", "contentType": "text/plain"}).body == b"{{json:id}}"


def test_duplicates_and_unwanted_events_are_answered_alike(running: Running) -> None:
    source = running.made(answer={"template": True, "body": '{"id":"{{json:id}}"}'}, eventTypes=["paid"])
    other = BODY.replace(b"paid", b"other")
    bodies = [running.ask(path_of(source), body, signed(body)).body for body in (BODY, BODY, other)]
    assert bodies == [b'{"id":"evt_1"}'] * 3
    assert len(running.messages()) == 1


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 3_000, b"{}", b'{"id":{"a":[]}}', b'{"id":"' + b"x" * 10_000 + b'"}'])
def test_no_bytes_of_a_sender_are_our_failure(running: Running, body: bytes) -> None:
    signature = {"header": "X-S", "content": "{{json:id}}{{secret}}", "secret": "own"}
    answer = {"template": True, "body": "{{json:id}}{{form:a}}{{query:b}}", "signature": signature}
    source = running.made(type="generic-webhook", answer=answer)
    assert running.ask(path_of(source), body, query=b"b=%ff&b=1").status == 200


def signature(running: Running, **given: typing.Any) -> str:
    got = answered(running, {"body": '{"status":0}', "signature": {"header": "X-Signature", **given}})
    assert got.body == b'{"status":0}'
    return got.headers["x-signature"]


def test_an_answer_is_signed_with_the_secret_of_the_source_or_its_own(running: Running) -> None:
    assert signature(running) == hmac.new(SECRET.encode(), b'{"status":0}', hashlib.sha256).hexdigest()
    own = hmac.new(b"other", b"%d.evt_1" % NOW_S, hashlib.sha512).digest()
    given = {"algorithm": "hmac-sha512", "encoding": "base64", "prefix": "v1=", "secret": "other", "content": "{{timestamp}}.{{json:id}}"}
    assert signature(running, **given) == "v1=" + base64.b64encode(own).decode()


def test_fields_and_secret_hashed_together_are_a_signature_too(running: Running) -> None:
    wanted = hashlib.sha384(b"42paid" + SECRET.encode()).hexdigest()
    assert signature(running, algorithm="sha384", content="{{json:order.number}}{{json:type}}{{secret}}") == wanted


def test_an_answer_is_signed_with_a_private_key(running: Running) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    written = signature(running, algorithm="rsa-sha256", encoding="base64", secret=pem)
    key.public_key().verify(base64.b64decode(written), b'{"status":0}', PKCS1v15(), SHA256())


@pytest.mark.parametrize(
    "answer",
    [
        {"template": True, "body": "{{body}}"},
        {"template": True, "body": "{{secret}}"},
        {"template": True, "headers": {"X-A": "{{json}}"}},
        {"signature": {"header": "content-length"}},
        {"signature": {"header": "a b"}},
        {"signature": {"header": "X-S", "content": "{{nothing}}"}},
        {"signature": {"header": "X-S", "algorithm": "rsa-sha256", "secret": "no key"}},
        {"signature": {"header": "X-S", "algorithm": "none"}},
    ],
    ids=json.dumps,
)
def test_an_answer_that_cannot_be_made_is_refused(running: Running, answer: dict[str, typing.Any]) -> None:
    with pytest.raises(InvalidField):
        running.made(answer=answer)


def test_a_source_that_only_observes_does_not_sign_for_strangers_with_its_own_secret(running: Running) -> None:
    with pytest.raises(InvalidField, match="whoever calls"):
        running.made(verify="observe", answer={"signature": {"header": "X-S"}})
    assert running.made(verify="observe", answer={"signature": {"header": "X-S", "secret": "other"}})


def test_a_source_without_secret_signs_no_answers(running: Running) -> None:
    with pytest.raises(InvalidField, match="without a secret"):
        running.made(type="custom", scheme={"type": "token", "places": ["bearer"]}, secrets=[], answer={"signature": {"header": "X-S"}})
