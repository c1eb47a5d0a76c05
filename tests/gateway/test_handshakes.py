"""What providers ask before they send, through the running gateway: answered before capture, signed ones only after verification."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ringback.errors import InvalidField
from ringback.services.endpoints import EndpointIn
from tests.gateway.conftest import WHO, Running, path_of

PAIRS: list[dict[str, Any]] = json.loads(Path(__file__).parents[1].joinpath("vectors/providers.json").read_text())["handshakes"]
NOW_S = 1_700_000_000
ISO = "2023-11-14T22:13:20Z"
KEY = Ed25519PrivateKey.generate()
PUBLIC_HEX = KEY.public_key().public_bytes_raw().hex()
# How a source must be set up to be asked: its type, and what it knows.
SETUP: dict[str, dict[str, Any]] = {
    "slack-url-verification": {"type": "slack", "secrets": ["slack"]},
    "slack-ssl-check": {"type": "slack", "secrets": ["slack"]},
    "strava-hub": {"type": "custom", "verify": "none", "handshakes": ["strava-hub"], "verifyToken": "STRAVA"},
    "websub": {"type": "websub", "secrets": ["s"], "topics": ["https://example.com/feed"]},
    "zoom-url-validation": {"type": "zoom", "secrets": ["zoom-secret-token"]},
    "dropbox": {"type": "dropbox", "secrets": ["s"]},
    "ms-graph": {"type": "ms-graph", "secrets": ["s"]},
    "sharepoint": {"type": "custom", "verify": "none", "handshakes": ["sharepoint"]},
    "cloudevents-options": {"type": "cloudevents", "secrets": ["s"]},
    "asana": {"type": "asana", "secrets": [], "awaitHandshake": True},
    "twitch": {"type": "twitch", "secrets": ["twitch"]},
    "ebay": {
        "type": "ebay",
        "secrets": [],
        "publicUrl": "http://www.testendpoint.com/webhook",
        "verifyToken": "71745723-d031-455c-bfa5-f90d11b4f20a",
    },
    "adobe-sign": {"type": "adobe-sign", "secrets": ["UB7E5BXCXY"]},
    "discord-interaction-ping": {"type": "discord", "secrets": [PUBLIC_HEX]},
    "notion": {"type": "notion", "secrets": [], "awaitHandshake": True},
    "xero-itr": {"type": "xero", "secrets": ["xero"]},
    "front": {"type": "front", "secrets": ["s"]},
    "ringcentral": {"type": "custom", "verify": "none", "handshakes": ["ringcentral"]},
    "braintree-challenge": {"type": "braintree", "secrets": ["private"], "publicKey": "public_key"},
}


def signed(name: str, body: bytes) -> dict[str, str]:
    """The headers by which a provider proves a signed question."""
    now = str(NOW_S)

    def mac(key: bytes, content: bytes) -> str:
        return hmac.new(key, content, hashlib.sha256).hexdigest()

    if name == "slack-url-verification":
        return {"x-slack-request-timestamp": now, "x-slack-signature": "v0=" + mac(b"slack", b"v0:%d:%b" % (NOW_S, body))}
    if name == "zoom-url-validation":
        return {"x-zm-request-timestamp": now, "x-zm-signature": "v0=" + mac(b"zoom-secret-token", b"v0:%d:%b" % (NOW_S, body))}
    if name == "twitch":
        content = b"id-1" + ISO.encode() + body
        return {
            "twitch-eventsub-message-id": "id-1",
            "twitch-eventsub-message-timestamp": ISO,
            "twitch-eventsub-message-signature": "sha256=" + mac(b"twitch", content),
        }
    if name == "discord-interaction-ping":
        return {"x-signature-timestamp": now, "x-signature-ed25519": KEY.sign(now.encode() + body).hex()}
    return {}


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair["id"] in SETUP], ids=lambda pair: pair["id"])
def test_a_question_is_answered_and_not_captured(running: Running, pair: dict[str, Any]) -> None:
    source = running.made(**{"secrets": [], **SETUP[pair["id"]]})
    running.clock.set(NOW_S)
    asked, expected = pair["request"], pair["response"]
    body = asked.get("body", "").encode()
    headers = {**asked.get("headers", {}), **signed(pair["id"], body)}
    answer = running.ask(path_of(source), body, headers, method=asked["method"], query=asked.get("query", "").encode())
    assert answer.status == expected["status"]
    if "body_json" in expected:
        assert answer.json == expected["body_json"]
    elif pair["id"] == "braintree-challenge":
        assert answer.body.startswith(b"public_key|")
    else:
        assert answer.body == expected.get("body", "").encode()
    for name, value in expected.get("headers", {}).items():
        assert answer.headers[name.lower()].startswith(value)
    assert answer.headers.get("content-type", "").startswith(expected.get("content_type", ""))
    assert running.messages() == []


@pytest.mark.parametrize("name", ["slack-url-verification", "zoom-url-validation", "twitch", "discord-interaction-ping"])
def test_a_signed_question_with_a_wrong_signature_gets_no_answer(running: Running, name: str) -> None:
    (pair,) = [pair for pair in PAIRS if pair["id"] == name]
    source = running.made(**SETUP[name])
    running.clock.set(NOW_S)
    body = pair["request"].get("body", "").encode()
    answer = running.ask(path_of(source), body, {**pair["request"].get("headers", {}), **signed(name, body + b" ")})
    assert (answer.status, answer.body) == (401, b"")


def test_a_source_that_waits_for_its_secret_has_no_url_that_can_be_guessed(running: Running) -> None:
    with pytest.raises(InvalidField, match="whoever calls first"):
        running.made(type="asana", secrets=[], awaitHandshake=True, route="hooks/asana")


def test_a_source_whose_endpoints_are_all_off_still_answers_questions(running: Running) -> None:
    """Zoom asks every 72 hours, X every hour: who pauses deliveries must not lose the webhook."""
    source = running.made(type="linkedin", secrets=["s"])
    running.run(running.endpoints.create(WHO, running.app_id, EndpointIn(url="https://example.com/", disabled=True)))
    expected = hmac.new(b"s", b"890e4665", hashlib.sha256).hexdigest()
    answer = running.ask(path_of(source), method="GET", query=b"challengeCode=890e4665")
    assert answer.json == {"challengeCode": "890e4665", "challengeResponse": expected}


def test_a_flood_of_questions_is_bounded_by_the_rate_of_the_source(running: Running) -> None:
    source = running.made(type="dropbox", secrets=["s"], rateLimit=2)
    statuses = [running.ask(path_of(source), method="GET", query=b"challenge=c").status for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_a_captured_secret_verifies_what_follows_and_is_never_replaced(running: Running) -> None:
    source = running.made(type="asana", secrets=[], awaitHandshake=True)
    body = b'{"events":[{"action":"changed","resource":{"gid":"1"}}]}'
    assert running.ask(path_of(source), body).status == 401
    assert running.ask(path_of(source), b"", {"x-hook-secret": "the-secret"}).headers["x-hook-secret"] == "the-secret"
    signature = hmac.new(b"the-secret", body, hashlib.sha256).hexdigest()
    assert running.ask(path_of(source), body, {"x-hook-signature": signature}).status == 200
    stranger = running.ask(path_of(source), b"", {"x-hook-secret": "another-secret"})
    assert stranger.status == 401 and "x-hook-secret" not in stranger.headers
    # Told with a reason of its own: the provider may have made a new webhook, or somebody is trying.
    assert [item.reason for item in running.quarantined(source)] == ["unsolicited_handshake", "no_supported_scheme"]
    assert running.ask(path_of(source), body + b" ", {"x-hook-signature": signature}).status == 401
