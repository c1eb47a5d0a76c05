"""What providers ask before they send, and what they must be answered; tests/vectors/providers.json has the pairs with their sources."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.signing.handshake import HANDSHAKES, MAX_ECHO_BYTES, Answer, Knowledge, answer_handshake
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import PROVIDERS
from ringback.signing.request import InboundRequest

PAIRS: list[dict[str, Any]] = json.loads(Path(__file__).parents[2].joinpath("vectors/providers.json").read_text())["handshakes"]
KNOWLEDGE = {
    "strava-hub": Knowledge(verify_token="STRAVA"),
    "websub": Knowledge(topics=("https://example.com/feed",)),
    "zoom-url-validation": Knowledge(secrets=("zoom-secret-token",)),
    "asana": Knowledge(awaiting_secret=True),
    "notion": Knowledge(awaiting_secret=True),
    "ebay": Knowledge(verify_token="71745723-d031-455c-bfa5-f90d11b4f20a"),
    "adobe-sign": Knowledge(secrets=("UB7E5BXCXY",)),
    "braintree-challenge": Knowledge(secrets=("private",), public_key="public_key"),
}


def request_of(pair: dict[str, Any]) -> InboundRequest:
    asked = pair["request"]
    url = asked.get("url", "https://example.com/hook") + (f"?{asked['query']}" if "query" in asked else "")
    return InboundRequest(Headers.of(asked.get("headers", {})), asked.get("body", "").encode(), asked["method"].encode(), url.encode())


def answered(name: str, request: InboundRequest, knows: Knowledge) -> Answer | None:
    return HANDSHAKES[name].answer(request, knows)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair["id"] != "xero-itr"], ids=lambda pair: pair["id"])
def test_a_question_gets_the_answer_that_the_provider_expects(pair: dict[str, Any]) -> None:
    request, expected = request_of(pair), pair["response"]
    if pair["id"] == "aws-sns":
        # The example's SubscribeURL ends in an ellipsis.
        request = InboundRequest(request.headers, request.body.replace("…".encode(), b"..."), request.method, request.url)
    answer = answered(pair["id"], request, KNOWLEDGE.get(pair["id"], Knowledge()))
    assert answer is not None
    assert answer.status == expected["status"]
    headers = {name.lower(): value for name, value in answer.headers}
    for name, value in expected.get("headers", {}).items():
        assert headers[name.lower()].startswith(value)
    if "content_type" in expected:
        assert headers["content-type"].startswith(expected["content_type"])
    if "body_json" in expected:
        assert json.loads(answer.body) == expected["body_json"]
    elif pair["id"] == "braintree-challenge":
        digest = hmac.digest(hashlib.sha1(b"private").digest(), b"20f9f8ed05f77439fe955c977e4c8a53", "sha1").hex()
        assert answer.body == f"public_key|{digest}".encode()
    else:
        assert answer.body.decode() == expected.get("body", "")


def test_what_a_handshake_gives_away_is_kept_or_fetched() -> None:
    pairs = {pair["id"]: request_of(pair) for pair in PAIRS}
    waiting = Knowledge(awaiting_secret=True)
    asana = answered("asana", pairs["asana"], waiting)
    notion = answered("notion", pairs["notion"], waiting)
    sns = answered("aws-sns", pairs["aws-sns"], Knowledge())
    assert asana is not None and asana.captured_secret == "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81"
    assert notion is not None and notion.captured_secret == "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"
    assert sns is not None and sns.fetch == "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&..."


def test_a_secret_is_captured_only_while_the_source_waits_for_it() -> None:
    pairs = {pair["id"]: request_of(pair) for pair in PAIRS}
    assert answered("asana", pairs["asana"], Knowledge()) is None
    assert answered("notion", pairs["notion"], Knowledge()) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?Action=ConfirmSubscription&x",
        "https://sns.us-west-2.amazonaws.com.evil.example/?Action=ConfirmSubscription&x",
        "http://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&x",
        "https://user@sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&x",
        "https://sns.us-west-2.amazonaws.com/?Action=Publish&x",
    ],
)
def test_a_subscription_is_confirmed_nowhere_but_at_amazon(url: str) -> None:
    body = json.dumps({"Type": "SubscriptionConfirmation", "SubscribeURL": url}).encode()
    assert answered("aws-sns", InboundRequest(Headers(), body), Knowledge()) is None


@pytest.mark.parametrize("name", ["meta-hub", "strava-hub", "ebay", "linkedin", "x-crc", "zoom-url-validation", "braintree-challenge"])
def test_an_answer_that_needs_a_secret_is_not_given_without_one(name: str) -> None:
    url = b"https://e/?hub.mode=subscribe&hub.challenge=a&hub.verify_token=&challenge_code=a&challengeCode=a&crc_token=a&bt_challenge=a"
    body = b'{"event":"endpoint.url_validation","payload":{"plainToken":"a"}}'
    assert answered(name, InboundRequest(Headers(), body, b"GET", url), Knowledge()) is None


def test_the_wrong_verify_token_is_not_answered() -> None:
    url = b"https://e/?hub.mode=subscribe&hub.challenge=a&hub.verify_token=guess"
    assert answered("meta-hub", InboundRequest(Headers(), b"", b"GET", url), Knowledge(verify_token="right")) is None


def test_an_echo_is_plain_short_and_printable() -> None:
    def echo(value: bytes) -> Answer | None:
        return answered("dropbox", InboundRequest(Headers(), b"", b"GET", b"https://e/?challenge=" + value), Knowledge())

    answer = echo(b"%3Cscript%3E")
    assert answer is not None
    assert answer.body == b"<script>"
    assert ("X-Content-Type-Options", "nosniff") in answer.headers
    assert ("Content-Type", "text/plain; charset=utf-8") in answer.headers
    assert echo(b"a" * (MAX_ECHO_BYTES + 1)) is None
    assert echo(b"a%0d%0aSet-Cookie:%20x") is None


def test_a_cloudevents_origin_that_was_not_invited_gets_no_consent() -> None:
    request = InboundRequest(Headers.of({"WebHook-Request-Origin": "evil.example"}), b"", b"OPTIONS")
    answer = answered("cloudevents-options", request, Knowledge(allowed_origins=("eventemitter.example.com",)))
    assert answer is not None
    assert answer.status == 405
    assert "WebHook-Allowed-Origin" not in dict(answer.headers)


def test_signed_handshakes_are_answered_only_after_verification() -> None:
    request = request_of(PAIRS[0])
    names = PROVIDERS["slack"].handshakes
    assert answer_handshake(names, request, Knowledge(), verified=False) is None
    assert answer_handshake(names, request, Knowledge(), verified=True) is not None


def test_every_handshake_that_a_provider_names_exists() -> None:
    assert {name for row in PROVIDERS.values() for name in row.handshakes} <= set(HANDSHAKES)


QUERIES = st.sampled_from(
    ["hub.mode", "hub.topic", "hub.challenge", "challenge", "validationToken", "challenge_code", "crc_token", "bt_challenge"]
)


@given(
    name=st.sampled_from(sorted(HANDSHAKES)),
    method=st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS"]) | st.binary(max_size=8),
    header=st.sampled_from(
        [b"x-hook-secret", b"x-front-challenge", b"validation-token", b"webhook-request-origin", b"x-adobesign-clientid"]
    ),
    value=st.binary(max_size=40),
    body=st.binary(max_size=60) | st.sampled_from([b"[[[[", b"[1]", b'{"type":1,"event":1}', b'{"payload":1}', b'[{"eventType":1}]']),
    query=st.lists(st.tuples(QUERIES, st.binary(max_size=20)), max_size=4),
)
def test_no_question_crashes_a_handshake_or_breaks_a_header(
    name: str, method: bytes, header: bytes, value: bytes, body: bytes, query: list[tuple[str, bytes]]
) -> None:
    url = b"https://e/?" + b"&".join(key.encode() + b"=" + content for key, content in query)
    knows = Knowledge(secrets=("s",), verify_token="v", awaiting_secret=True)
    answer = answered(name, InboundRequest(Headers([(header, value)]), body, method, url), knows)
    if answer is not None:
        assert all(text.isprintable() for pair in answer.headers for text in pair)


@pytest.mark.parametrize(
    ("mode", "topic", "status"),
    [
        ("subscribe", "feed", 200),
        ("subscribe", "other", 404),
        ("unsubscribe", "feed", 404),
        ("unsubscribe", "other", 200),
        ("denied", "other", 404),
    ],
)
def test_a_hub_is_told_to_do_what_is_wanted_and_nothing_else(mode: str, topic: str, status: int) -> None:
    """www.w3.org/TR/websub, 5.3: a subscriber confirms what it wishes to carry out; anybody can ask a hub to end a subscription."""
    query = f"hub.mode={mode}&hub.topic=https%3A%2F%2Fexample.com%2F{topic}&hub.challenge=abc&hub.lease_seconds=600"
    answer = answered("websub", InboundRequest(Headers(), b"", b"GET", f"https://h/?{query}".encode()), KNOWLEDGE["websub"])
    assert answer is not None and answer.status == status
    assert answer.body == (b"abc" if status == 200 else b"")
    assert (answer.confirmed is not None) is (mode == "subscribe" and status == 200)
