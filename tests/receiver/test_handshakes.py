"""Before a provider sends, it asks: every known question is answered by a receiver of that provider, with the answer that it expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ringback.receiver import Receiver, Reply
from ringback.receiver.testing import sign
from ringback.signing.fetched import KeyRef, KeyUnavailable
from ringback.signing.handshake import HANDSHAKES
from ringback.signing.providers.catalogue import PROVIDERS

PAIRS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "providers.json").read_text("utf-8"))["handshakes"]
URL = "https://example.com/hook"
# What each receiver was told when it was set up.
TOLD: dict[str, dict[str, Any]] = {
    "meta-hub": {"verify_token": "meatyhamhock"},
    "strava-hub": {"verify_token": "STRAVA"},
    "websub": {"topics": ["https://example.com/feed"]},
    "ebay": {"verify_token": "71745723-d031-455c-bfa5-f90d11b4f20a"},
    "adobe-sign": {"secrets": "UB7E5BXCXY"},
    "asana": {"secrets": (), "keep_secret": lambda secret: None},
    "notion": {"secrets": (), "keep_secret": lambda secret: None},
}
SIGNED = {"slack-url-verification": "slack", "zoom-url-validation": "zoom", "twitch": "twitch"}


class Nothing:
    """Nothing is published anywhere."""

    def key(self, ref: KeyRef) -> bytes:
        raise KeyUnavailable(ref)

    def fetch(self, ref: KeyRef) -> None:
        raise KeyUnavailable(ref)

    def visit(self, url: str) -> bool:
        return True


def provider_of(name: str) -> str:
    return next((row.id for row in PROVIDERS.values() if name in row.handshakes), "")


# Braintree's answer is no known one: it is signed.
UNSIGNED = [
    pair
    for pair in PAIRS
    if provider_of(pair["id"]) and not HANDSHAKES[pair["id"]].after_verification and pair["id"] != "braintree-challenge"
]


def ask(receiver: Receiver, pair: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
    asked = pair["request"]
    url = asked.get("url", URL) + (f"?{asked['query']}" if "query" in asked else "")
    request = receiver.request(headers or asked.get("headers", {}), asked.get("body", "").encode(), asked["method"], url)
    return receiver.handle(request)


def check(reply: Reply, expected: dict[str, Any]) -> None:
    assert reply.status == expected["status"]
    headers = {name.lower(): value for name, value in reply.fields()}
    for name, value in expected.get("headers", {}).items():
        assert headers[name.lower()].startswith(value)
    if "body_json" in expected:
        assert json.loads(reply.body) == expected["body_json"]
    elif "body" in expected:
        assert reply.body.decode() == expected["body"]


@pytest.mark.parametrize("pair", UNSIGNED, ids=lambda pair: str(pair["id"]))
def test_an_unsigned_question_is_answered(pair: dict[str, Any]) -> None:
    receiver = Receiver(provider_of(pair["id"]), **{"secrets": "00" * 32, "fetcher": Nothing()} | TOLD.get(pair["id"], {}))
    check(ask(receiver, pair), pair["response"])
    assert receiver.counts == {"asked": 1}


@pytest.mark.parametrize("name", SIGNED)
def test_a_signed_question_is_answered_only_when_it_is_believed(name: str) -> None:
    pair, provider = next(pair for pair in PAIRS if pair["id"] == name), SIGNED[name]
    secret = "zoom-secret-token"
    receiver, asked = Receiver(provider, secret), pair["request"]
    assert ask(receiver, pair) == Reply(401)
    made = sign(provider, secret, asked.get("body", "").encode(), headers=asked.get("headers", {}), url=asked.get("url", URL))
    check(ask(receiver, pair, made.headers), pair["response"])
    assert receiver.counts["asked"] == 1


def test_a_question_that_names_nothing_known_is_refused() -> None:
    meta = Receiver("meta", "secret", verify_token="right")
    for token, status in (("wrong", 405), ("right", 200)):
        request = meta.request({}, b"", "GET", f"{URL}?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1")
        assert meta.handle(request).status == status
    stranger = Receiver("websub", "secret", topics=["https://example.com/feed"])
    query = "hub.mode=subscribe&hub.topic=https://example.com/other&hub.challenge=1"
    assert stranger.handle(stranger.request({}, b"", "GET", f"{URL}?{query}")).status == 404
