"""Is a person's text found however it is written, and nobody else's with it?"""

from __future__ import annotations

import json
import unicodedata
import urllib.parse

import hypothesis
import pytest
from hypothesis import strategies as st

from ringback.policy.subjects import MIN_CHARS, Subject

MAIL = Subject("jo@example.com")


@pytest.mark.parametrize(
    "body",
    [
        b'{"mail":"jo@example.com"}',
        rb'{"mail":"jo\u0040example.com"}',
        rb'{"mail":"\u006Ao@example.com"}',
        rb'{"text":"hello\njo@example.com\n"}',
        rb'{"text":"\\\njo@example.com"}',
        b"mail=jo%40example.com&x=1",
        b"mail=+jo@example.com",
        b"Write to jo@example.com.",
        b"\xff\xfe jo@example.com",
        b'{"broken": "jo@example.com',
        b'{"mail":"bijo@example.com","other":"jo@example.com"}',
    ],
)
def test_a_text_is_found_however_it_is_written(body: bytes) -> None:
    assert MAIL.in_document(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        None,
        b'{"mail":"bijo@example.com"}',
        b'{"mail":"bi.jo@example.com"}',
        b'{"mail":"jo@example.community"}',
        b'{"mail":"jo@example.com.au"}',
        rb'{"mail":"\u0061jo@example.com"}',
        rb'{"mail":"\\njo@example.com"}',
        "éjo@example.com".encode(),
        b"b%61jo%40example.com",
    ],
)
def test_a_part_of_somebody_elses_text_is_not_found(body: bytes | None) -> None:
    assert not MAIL.in_document(body)


def test_a_number_of_a_customer_is_found_within_a_longer_name_and_not_within_a_longer_number() -> None:
    customer = Subject("cust-88")
    assert customer.in_text("evt_cust-88_created") and customer.in_text('["cust-88"]')
    assert not customer.in_text("cust-881") and not customer.in_text("acust-88")


@pytest.mark.parametrize("text", ["José Ñandú", 'say "so"', "a\\b/c", "Zoë 😀 Li"])
def test_letters_beyond_ascii_and_what_json_escapes_are_found_in_every_spelling(text: str) -> None:
    subject = Subject(text)
    for form in ("NFC", "NFD"):
        value = {"name": unicodedata.normalize(form, text)}
        assert subject.in_document(json.dumps(value).encode())
        assert subject.in_document(json.dumps(value, ensure_ascii=False).encode())
        assert subject.in_text(urllib.parse.urlencode(value))


def test_at_a_path_the_value_must_be_the_text_and_numbers_count() -> None:
    body = b'{"customers":[{"id":7},{"id":12345678901234567890}],"other":55501}'
    assert Subject("12345678901234567890", "customers[].id").in_document(body)
    assert Subject("55501", "other").in_document(body)
    assert not Subject("55501", "customers[].id").in_document(body)
    assert not Subject("555", "other").in_document(body)
    assert not Subject("55501", "other").in_document(b"other=55501")
    assert not Subject("55501", "other").beside("55501")


def test_a_text_across_two_windows_of_a_large_body_is_found() -> None:
    for before in range(65_520, 65_540):
        assert MAIL.in_text(b"%20" + b" " * (before - 3) + b"jo@example.com")


@hypothesis.given(st.text(min_size=MIN_CHARS, max_size=20).filter(lambda text: text.isprintable()), st.booleans())
def test_whatever_is_looked_for_is_found_in_json_that_says_it(text: str, ascii_only: bool) -> None:
    assert Subject(text).in_document(json.dumps({"a": [text]}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@hypothesis.given(st.binary(max_size=200), st.text(min_size=MIN_CHARS, max_size=5).filter(lambda text: text.isprintable()))
def test_no_bytes_break_it(body: bytes, text: str) -> None:
    assert Subject(text).in_text(body) in (True, False)
    assert Subject(text, "a.b").in_document(body) in (True, False)
