"""What people are told about a signature that did not match, and where events say what they are."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.signing.diagnosis import MAX_BODY_BYTES, likely_causes
from ringback.signing.headers import Headers
from ringback.signing.places import first_text
from ringback.signing.providers.catalogue import PROVIDERS, provider
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.scheme import Signed
from ringback.signing.verify import prepare_provider, prepare_scheme

BODY = b'{"a":1}'
URL = b"https://example.com/hook"


def causes(name: str, secret: str, headers: dict[str, str], body: bytes, url: bytes = URL) -> str:
    def prepare(secrets: Sequence[Secret]) -> Verifier:
        return prepare_provider(provider(name), secrets, tolerance_s=float("inf"))

    return "; ".join(likely_causes(prepare, [Secret(secret)], InboundRequest(Headers.of(headers), body, b"POST", url), now_s=0))


def github(secret: bytes, body: bytes = BODY) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.digest(secret, body, "sha256").hex()}


@pytest.mark.parametrize(
    ("secret", "signed_with", "received", "told"),
    [
        ("s", b"s", BODY + b"\n", "newline was added"),
        ("s", b"s", b'{ "a": 1 }', "parsed and written again"),
        (" s\n", b"s", BODY, "blanks or quotes"),
        ("'s'", b"s", BODY, "blanks or quotes"),
        (b64encode(b"key").decode(), b"key", BODY, "read as base64"),
        (b"key".hex(), b"key", BODY, "read as hex"),
        ("s", b"another", BODY, ""),
    ],
)
def test_the_mistake_that_explains_a_mismatch_is_named(secret: str, signed_with: bytes, received: bytes, told: str) -> None:
    found = causes("github", secret, github(signed_with), received)
    assert told in found
    assert bool(found) is bool(told)


@pytest.mark.parametrize(
    ("called", "told"), [(b"http://example.com/hook", "http URL"), (URL + b"/", "with a slash"), (URL, "without its query")]
)
def test_a_wrong_public_url_is_named(called: bytes, told: str) -> None:
    signature = b64encode(hmac.digest(b"s", called + BODY, "sha256")).decode()
    known = URL + b"?a=1" if told == "without its query" else URL
    assert told in causes("square", "s", {"x-square-hmacsha256-signature": signature}, BODY, known)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (lambda mac: "sha256=" + mac.hex(), "begins with 'sha256='"),
        (lambda mac: "HMAC-SHA256 " + mac.hex(), "begins with 'HMAC-SHA256 '"),
        (lambda mac: b64encode(mac).decode(), "is written as base64"),
        (lambda mac: "sha256=" + b64encode(mac).decode(), ""),
        (lambda mac: mac.hex() + "00", ""),
    ],
)
def test_a_signature_that_is_written_otherwise_than_a_scheme_of_ones_own_says_is_named(written: Callable[[bytes], str], told: str) -> None:
    scheme = Signed(name="custom", headers=("x-signature",))
    headers = {"x-signature": written(hmac.digest(b"s", BODY, "sha256")), "x-other": "sha256=1"}
    request = InboundRequest(Headers.of(headers), BODY)
    found = likely_causes(lambda secrets: prepare_scheme(scheme, secrets), [Secret("s")], request, now_s=0)
    assert told in "; ".join(found) and bool(found) is bool(told)


def test_hexadecimal_is_named_where_a_scheme_says_base64() -> None:
    scheme = Signed(name="custom", headers=("x-signature",), encoding="base64")
    request = InboundRequest(Headers.of({"x-signature": hmac.digest(b"s", BODY, "sha256").hex()}), BODY)
    [found] = likely_causes(lambda secrets: prepare_scheme(scheme, secrets), [Secret("s")], request, now_s=0)
    assert "is written as hex" in found


def test_a_huge_body_is_not_taken_apart() -> None:
    assert causes("github", " s", github(b"s", b"x" * MAX_BODY_BYTES + b"x"), b"x" * (MAX_BODY_BYTES + 1)) == ""


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("header:x-id", "json:id"), "from-header"),
        (("json:data.id",), "7"),
        (("json:list[].id",), "first"),
        (("json:nothing", "json:id"), "evt"),
        (("json:data",), None),
        (("form:MessageSid",), None),
        ((), None),
    ],
)
def test_an_id_is_read_at_the_first_place_that_has_one(places: tuple[str, ...], expected: str | None) -> None:
    body = b'{"id":"evt","data":{"id":7},"list":[{"id":"first"}]}'
    assert first_text(places, InboundRequest(Headers.of({"X-Id": "from-header"}), body)) == expected


def test_an_id_is_read_from_a_form_or_from_the_item_of_a_batch() -> None:
    assert first_text(("form:MessageSid",), InboundRequest(Headers(), b"a=1&MessageSid=SM1%20x")) == "SM1 x"
    assert first_text(("json:eventId",), InboundRequest(Headers(), b"[]"), {"eventId": 12}) == "12"


EVERY_PLACE = tuple(place for row in PROVIDERS.values() for place in (*row.event_id, *row.event_type))


@given(place=st.sampled_from(EVERY_PLACE), body=st.binary(max_size=60) | st.just(b"[" * 3000), value=st.binary(max_size=20))
def test_no_request_crashes_the_reading_of_ids(place: str, body: bytes, value: bytes) -> None:
    headers = Headers([(place.partition(":")[2].encode(), value)] * 2)
    found = first_text((place,), InboundRequest(headers, body))
    assert found is None or isinstance(found, str)
