"""Forms and queries of strangers, read the quick way and the exact way alike."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.errors import VerificationError
from ringback.signing.documents import MAX_FORM_FIELDS, find, form_fields, query_value, read_json, sorted_form

PIECES = st.sampled_from(
    [
        *(b"&", b"=", b"a", b"b", b"+", b"%", b"%2B", b"%2b", b"%26", b"%3D", b"%25", b"%00", b"%01", b"%0A", b"%0d", b"\0", b"\1", b"\n"),
        *(
            b"\r\n",
            b" ",
            b"\t",
            b"_",
            b".",
            b"=\n",
            b"%E9",
            b"\xff",
            b"%2",
            b"%zz",
            b"=3D",
            b"==",
            b"&&",
            b"%%32B",
            b"%\n",
            b"%\r\n",
            b"% \n",
            b"A=1",
            b"To=%2B1",
        ),
    ]
)
FORMS = st.lists(PIECES, max_size=30).map(b"".join) | st.binary(max_size=40)
NAMES = st.binary(max_size=6).filter(lambda name: not set(name) & set(b"&=%+"))
VALUES = st.lists(st.sampled_from([b"x", b"%20", b"+", b"%C3%A9", b"\n", b" "]), max_size=4).map(b"".join)
# What the quick way is made for.
PLAIN = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(lambda pairs: b"&".join(name + b"=" + value for name, value in pairs))


def exactly(body: bytes) -> list[tuple[bytes, bytes]]:
    """The fields as the URL standard says; Source: https://url.spec.whatwg.org/#urlencoded-parsing."""
    fields = []
    for part in body.split(b"&"):
        if part:
            name, _, value = part.replace(b"+", b" ").partition(b"=")
            fields.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return fields


@settings(max_examples=2_000)
@given(FORMS | PLAIN)
def test_a_sorted_form_is_the_same_however_it_was_read(body: bytes) -> None:
    assert form_fields(body) == exactly(body)
    assert sorted_form(body) == b"".join(name + value for name, value in sorted(set(exactly(body))))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"b=2&a=1", b"a1b2"),
        (b"a=2&a=1&a=2", b"a1a2"),
        (b"ab=1&a=c&a=b", b"abacab1"),
        (b"a=%26&b=%3D", b"a&b="),
        (b"a=b=c", b"ab=c"),
        (b"a&b==", b"ab="),
        (b"a&a=", b"a"),
        (b"a=%252B", b"a%2B"),
        (b"a=%%32B", b"a%2B"),
        (b"a=%0Ab&c=\r\n", b"a\nbc\r\n"),
        (b"a=%00&a=%01", b"a\0a\1"),
        (b"a= \t ", b"a \t "),
        (b"", b""),
        (b"&&=&", b""),
        (b"a=%\nb&c=%", b"a%\nbc%"),
        (b"a=%2\n", b"a%2\n"),
    ],
)
def test_forms_that_are_easily_read_wrong(body: bytes, expected: bytes) -> None:
    assert sorted_form(body) == expected


def test_a_form_with_too_many_fields_is_refused_before_it_is_taken_apart() -> None:
    assert sorted_form(b"a=1&" * (MAX_FORM_FIELDS - 1) + b"a=1") == b"a1"
    for read in (sorted_form, form_fields, lambda body: query_value(b"?" + body, b"a")):
        with pytest.raises(VerificationError, match="fields"):
            read(b"a=1&" * MAX_FORM_FIELDS)


@settings(max_examples=1_000)
@given(FORMS, st.sampled_from([b"a", b"To", b"+", b"a b"]))
def test_a_query_value_is_found_once_or_refused(query: bytes, name: bytes) -> None:
    query = query.replace(b"#", b"")
    values = [value for key, value in exactly(query) if key == name]
    if len(values) > 1:
        with pytest.raises(VerificationError):
            query_value(b"https://h/?" + query, name)
    else:
        assert query_value(b"https://h/?" + query + b"#a=9&a=8", name) == (values[0] if values else None)


@pytest.mark.parametrize("size", [0, 31 * 1024, 33 * 1024])
def test_a_number_past_all_floats_is_in_nobodys_way_but_of_who_asks_for_it(size: int) -> None:
    document = read_json(b'{"amount":1e999,"id":"evt_1","text":"' + b"x" * size + b'"}')
    assert [*find(document, "id")] == ["evt_1"]
    with pytest.raises(VerificationError):
        [*find(document, "amount")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\uDE00", "\ufffd"),
        (rb"\ud83d\ude00", "\U0001f600"),
        (rb"\ud83d\ud83d\ude00\ude00", "\ufffd\U0001f600\ufffd"),
        (rb"\\\ud83d!", "\\\ufffd!"),
        (rb"\\ud83d", "\\ud83d"),
    ],
)
def test_half_of_a_pair_in_a_body_takes_neither_its_id_nor_its_text(written: bytes, read: str) -> None:
    """https://www.rfc-editor.org/rfc/rfc8259#section-8.2 ."""
    document = read_json(b'{"cut":"\\udfff","text":"' + written + b'","id":"evt_1"}')
    assert [*find(document, "id")] == ["evt_1"] and [*find(document, "text")] == [read]


@pytest.mark.parametrize("size", [0, 31 * 1024, 33 * 1024])
@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "[NaN, -Infinity ,Infinity\n]", '{"a":NaN}'])
def test_what_python_writes_for_no_number_is_in_nobodys_way_but_of_who_asks_for_it(written: str, size: int) -> None:
    """https://docs.python.org/3/library/json.html#infinite-and-nan-number-values ."""
    text = "NaN and NaNs, Infinity-NaN" + "x" * size
    document = read_json(f'{{"score": {written}, "id":"evt_1","text":"{text}"}}'.encode())
    assert [*find(document, "id")] == ["evt_1"]
    assert [*find(document, "text")] == [text]
    with pytest.raises(VerificationError):
        [*find(document, "score")]


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[NaN",
        b'{"a":NaNs}',
        b'{"a":xNaN}',
        b"{NaN:1}",
        b'{"a":Infinit}',
        b'{"a" NaN}',
        b'{"a":[' + b"NaN," * 30_000 + b"1]}",
        b'{"a":["' + b"\\ud800" * 3_000 + b'"]}',
    ],
)
def test_what_is_no_json_either_when_that_is_read_over_stays_so(body: bytes) -> None:
    with pytest.raises(VerificationError):
        [*find(read_json(body), "a")]
