"""Is what a transformation sees and returns taken exactly as the contract's section 9 says?"""

from __future__ import annotations

import base64
import json
import typing

import pytest

from ringback.policy.transforming import Transformed, Webhook, seen, transformed

URL = "https://shop.example/hook"
PAYLOAD = b'{ "amount": 10.50, "id": 12345678901234567890 }'


def webhook(payload: bytes = PAYLOAD, *, raw: bool = False, content_type: str = "application/json", **more: typing.Any) -> Webhook:
    fields = {"url": URL, "headers": {"X-Team": "shop"}, "event_type": "order.paid", "channels": ("eu",), "variables": {"a": "b"}} | more
    return Webhook(payload=payload, raw=raw, content_type=content_type, **fields)


def result(given: typing.Any, of: Webhook | None = None, *, same: bool = False, https_only: bool = False) -> Transformed:
    payload, kind = b"", "none"
    if isinstance(given, dict) and "payload" in given:
        # As the worker takes the object apart.
        given = dict(given)
        body = given.pop("payload")
        kind = "same" if same else "text" if isinstance(body, str) else "json"
        payload = b"" if same else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return transformed(of or webhook(), json.dumps(given).encode(), payload, kind, https_only=https_only)


def test_code_sees_the_request_as_the_contract_says() -> None:
    assert json.loads(seen(webhook())) == {
        "method": "POST",
        "url": URL,
        "headers": {"X-Team": "shop"},
        "payload": {"amount": 10.5, "id": 12345678901234567890},
        "eventType": "order.paid",
        "channels": ["eu"],
        "variables": {"a": "b"},
    }
    bare = json.loads(seen(webhook(channels=None, variables=None)))
    assert (bare["channels"], bare["variables"]) == (None, {})


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"[1, 2]", [1, 2]),
        (b' {"a": 1}', {"a": 1}),
        (b"a=1&b=2", "a=1&b=2"),
        (b"{not json", "{not json"),
        (b"5", "5"),
        (b"", ""),
        (b"\xff\x00", base64.b64encode(b"\xff\x00").decode()),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_a_payload_that_is_no_object_is_an_array_or_its_text(payload: bytes, shown: typing.Any) -> None:
    assert json.loads(seen(webhook(payload, raw=True)))["payload"] == shown


def test_what_is_left_out_stays_as_it_was_but_for_the_payload() -> None:
    assert result({"payload": {"a": 1}}) == Transformed(
        "POST", URL, {"X-Team": "shop"}, b'{"a":1}'.replace(b":", b": "), "application/json"
    )
    with pytest.raises(ValueError, match="`payload` is missing"):
        result({})


def test_a_payload_that_came_back_unchanged_is_sent_byte_for_byte() -> None:
    assert result({"payload": {"amount": 10.5, "id": 12345678901234567000}}, same=True).body == PAYLOAD
    form = webhook(b"a=1", raw=True, content_type="application/x-www-form-urlencoded")
    kept = result({"payload": "a=1"}, form, same=True)
    assert (kept.body, kept.content_type) == (b"a=1", "application/x-www-form-urlencoded")


def test_a_text_is_sent_as_it_is_with_the_type_of_the_message() -> None:
    form = webhook(b"a=1", raw=True, content_type="application/x-www-form-urlencoded")
    changed = result({"payload": "a=2&ü=\n"}, form)
    assert (changed.body, changed.content_type) == ("a=2&ü=\n".encode(), "application/x-www-form-urlencoded")
    assert result({"payload": {"a": 2}}, form).content_type == "application/json"


def test_method_url_and_headers_are_taken() -> None:
    made = result({"payload": {}, "method": "PUT", "url": "HTTPS://Other.Example:443", "headers": {"X-One": "1"}})
    assert (made.method, made.url, made.headers) == ("PUT", "https://other.example/", {"X-One": "1"})


def test_forbidden_headers_are_dropped() -> None:
    wanted = {
        "Host": "x",
        "Content-Type": "text/plain",
        "webhook-signature": "v1,forged",
        "svix-id": "x",
        "X-Amz-Date": "x",
        "X-Good": "yes",
    }
    assert result({"payload": {}, "headers": wanted}).headers == {"X-Good": "yes"}


def test_cancel_needs_no_payload() -> None:
    assert result({"cancel": True}).cancelled
    assert not result({"cancel": False, "payload": {}}).cancelled
    assert not result({"cancel": None, "payload": {}}).cancelled


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"payload": None}, "`payload` is null"),
        ({"payload": 5}, "`payload` is 5; it must be an object, an array or a text"),
        ({"payload": True}, "`payload` is true"),
        ({"payload": {}, "method": "GET"}, '`method` is "GET"; it must be POST or PUT'),
        ({"payload": {}, "method": None}, "`method` is null"),
        ({"payload": {}, "url": None}, "`url` is null; it must be a text"),
        ({"payload": {}, "url": "ftp://a.example"}, "`url` cannot be used: the URL must start with http:// or https://"),
        ({"payload": {}, "url": "https://"}, "the URL has no host"),
        ({"payload": {}, "headers": []}, "`headers` is []; it must be an object of texts"),
        ({"payload": {}, "headers": {"a": 1}}, "the header 'a' is 1; it must be a text"),
        ({"payload": {}, "headers": {"a b": "1"}}, "'a b' is not a header name"),
        ({"payload": {}, "headers": {"a": "1\r\nb: 2"}}, "the value holds a line break"),
        ({"payload": {}, "headers": {f"x{n}": "1" for n in range(51)}}, "51 headers; at most 50"),
        ({"cancel": "yes"}, '`cancel` is "yes"; it must be true or false'),
        ({"cancel": 1}, "`cancel` is 1"),
        ([], "handler returned what cannot be read"),
        ("x" * 10, "handler returned what cannot be read"),
        ({"payload": {}, "method": "x" * 1000}, "x…; it must be POST or PUT"),
    ],
)
def test_what_cannot_be_used_is_said(given: typing.Any, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        result(given)
    assert said in str(refused.value) and len(str(refused.value)) < 200


def test_what_stands_beside_the_payload_is_bounded() -> None:
    with pytest.raises(ValueError, match="beside its payload the object has 600009 bytes; at most 524288 are allowed"):
        result({"x": "a" * 600_000, "payload": {}})


def test_where_only_https_is_allowed_code_may_choose_nothing_else() -> None:
    with pytest.raises(ValueError, match="does not begin with https://"):
        result({"payload": {}, "url": "http://a.example/"}, https_only=True)
    assert result({"payload": {}, "url": "https://a.example/"}, https_only=True).url == "https://a.example/"
