"""Is what goes over the wire exactly what was signed?

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import datetime
import json
import time

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from ringback import __version__
from ringback.delivery.seal import PROTECTED, HeaderStyle, make_plan, masked_headers, seal
from ringback.delivery.transport import Origin, SealedRequest
from ringback.policy.heads import header_fields, header_value
from ringback.signing.secret import parse_secret
from ringback.signing.standard import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'


def sealed(
    url: str = "https://example.com/hook?a=1",
    *,
    headers: dict[str, str] | None = None,
    style: HeaderStyle = "standard",
    body: bytes = BODY,
    now_s: int = 1614265330,
    content_type: bytes = b"application/json",
) -> SealedRequest:
    plan = make_plan(url=url, signer=Signer((parse_secret(SECRET),)), headers=headers, style=style)
    return seal(plan, message_id=b"msg_p5jXN8AQM9LWM0D4loKWxJek", now_s=now_s, body=body, content_type=content_type, sequence=42)


def fields(request: SealedRequest) -> dict[str, str]:
    pairs = [(name.lower(), value) for name, value in header_fields(request.head)]
    assert len(dict(pairs)) == len(pairs), "a header was sent twice"
    return dict(pairs)


def test_the_request_is_written_out_whole() -> None:
    assert sealed().origin == Origin(True, "example.com", 443)
    assert sealed().body == BODY
    assert (
        sealed().head
        == (
            f"POST /hook?a=1 HTTP/1.1\r\nhost: example.com\r\nuser-agent: ringback/{__version__}\r\naccept: */*\r\n"
            "content-type: application/json\r\ncontent-length: 20\r\nringback-sequence: 42\r\n"
            "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\nwebhook-timestamp: 1614265330\r\n"
            "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n\r\n"
        ).encode()
    )


@pytest.mark.parametrize(("style", "families"), [("standard", ["webhook"]), ("svix", ["svix"]), ("both", ["webhook", "svix"])])
def test_the_header_style_chooses_the_names(style: HeaderStyle, families: list[str]) -> None:
    sent = fields(sealed(style=style))
    assert [name for name in sent if name.startswith(("webhook-", "svix-"))] == [
        f"{family}-{part}" for family in families for part in ("id", "timestamp", "signature")
    ]
    for family in families:
        assert sent[f"{family}-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("body", [b'{"a": "\xc3\xa9 \xf0\x9f\x98\x80", "b" : 1.0}', b"{}", b'{"n":9007199254740993}'])
def test_the_official_libraries_believe_what_was_sealed(body: bytes) -> None:
    now_s = int(datetime.datetime.now(datetime.UTC).timestamp())
    request = sealed(body=body, now_s=now_s, style="both")
    assert standardwebhooks.Webhook(SECRET).verify(request.body, fields(request)) == json.loads(body)
    svix.Webhook(SECRET).verify(request.body, fields(request))
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(request.body + b" ", fields(request))
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(SECRET).verify(request.body + b" ", fields(request))


def test_own_headers_replace_the_defaults_and_come_as_written() -> None:
    sent = sealed(
        headers={"X-Tenant": "100%", "User-Agent": "mine/1", "ACCEPT": "text/plain", "Content-Type": "application/vnd.x+json; v=5%"}
    ).head
    assert b"\r\nX-Tenant: 100%\r\n" in sent
    assert b"\r\nUser-Agent: mine/1\r\n" in sent
    assert header_value(sent, b"accept") == b"text/plain"
    assert header_value(sent, b"content-type") == b"application/vnd.x+json; v=5%"
    assert header_value(sent, b"webhook-id") == b"msg_p5jXN8AQM9LWM0D4loKWxJek"


@pytest.mark.parametrize("name", sorted(PROTECTED))
def test_own_headers_cannot_touch_the_signature_or_the_framing(name: str) -> None:
    plain = sealed(style="both").head
    assert sealed(style="both", headers={name: "7", name.upper(): "8"}).head == plain


@pytest.mark.parametrize(
    ("name", "value"), [("x y", "1"), ("", "1"), ("x:", "1"), ("x\r\ny", "1"), ("x", "a\r\nb: c"), ("x", "a\x00"), ("é", "1"), ("x", "a\n")]
)
def test_a_header_that_would_break_the_head_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        sealed(headers={name: value})


def test_user_and_password_of_the_url_become_basic_authorization_unless_set() -> None:
    url = "https://user:secret@example.com/"
    assert fields(sealed(url))["authorization"] == "Basic dXNlcjpzZWNyZXQ="
    assert fields(sealed(url, headers={"Authorization": "Bearer x"}))["authorization"] == "Bearer x"
    assert b"secret@" not in sealed(url).head


def test_secrets_are_masked_in_the_record() -> None:
    secret = ("Authorization", "X-Api-Key", "X-Auth-Token", "Cookie", "Proxy-Authorization", "X-Own")
    headers = {**dict.fromkeys(secret, "k"), "X-Fine": "f"}
    shown = dict(masked_headers(sealed(headers=headers).head, sensitive={"x-own"}))
    assert {name for name, value in shown.items() if value == "***"} == set(secret)
    assert shown["X-Fine"] == "f"
    assert shown["webhook-signature"].startswith("v1,")


def test_a_plan_knows_whether_there_is_anything_to_mask() -> None:
    signer = Signer((parse_secret(SECRET),))
    assert make_plan(url="https://example.com/", signer=signer, headers={"X-Fine": "f"}).sensitive == frozenset()
    assert make_plan(url="https://u:p@example.com/", signer=signer).sensitive == {"authorization"}
    assert make_plan(url="https://example.com/", signer=signer, headers={"X-Own": "o"}, sensitive={"x-own"}).sensitive == {"x-own"}


@given(st.binary(max_size=200), st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_percent_signs_and_odd_bytes_do_not_confuse_the_template(body: bytes, value: str) -> None:
    request = sealed("https://example.com/%41?%25=%", headers={"x-any": value}, body=body)
    assert request.head.startswith(b"POST /%41?%25=% HTTP/1.1\r\n")
    assert header_value(request.head, b"x-any") == value.strip(" \t").encode()
    assert header_value(request.head, b"content-length") == b"%d" % len(body)
    assert request.head.count(b"\r\n\r\n") == 1


def test_sealing_costs_microseconds() -> None:
    """The budget is 6; ten times that here, for a busy machine."""
    plan = make_plan(url="https://example.com/hook", signer=Signer((parse_secret(SECRET),)))
    started = time.process_time()
    for number in range(2_000):
        seal(plan, message_id=b"msg_1", now_s=number, body=BODY * 25, content_type=b"application/json", sequence=number)
    assert (time.process_time() - started) / 2_000 < 60e-6
