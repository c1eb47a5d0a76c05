from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.search_query import parse
from ringback.policy.search_text import MAX_BYTES, Excerpt, excerpt, occurs, searchable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def marked(found: Excerpt) -> list[str]:
    return [found.text[start:end] for start, end in found.marks]


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"a": 1.50}', '{"a": 1.50}'),
        (rb'{"city": "K\u00f6ln"}', '{"city": "Köln"}'),
        (rb'{"a": "one\ntwo\t\"three\"\\"}', '{"a": "one two "three"\\"}'),
        (rb'{"smile": "\ud83d\ude00"}', '{"smile": "😀"}'),
        (rb'{"half": "\ud83d!"}', '{"half": "!"}'),
        (b"plain text", "plain text"),
        (b"\xff\xfe\x00binary", ""),
        (b"", ""),
        (None, ""),
    ],
)
def test_the_text_of_a_payload(payload, text):
    assert searchable(payload) == text


def test_a_large_payload_is_searched_at_its_beginning_even_when_that_ends_within_a_character():
    payload = b"x" * (MAX_BYTES - 1) + "é".encode() + b"rest"
    assert searchable(payload) == "x" * (MAX_BYTES - 1)


@given(st.dictionaries(st.text(max_size=10), json_values, min_size=1))
def test_escaped_or_not_the_same_words_are_found(value):
    plain = searchable(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))
    escaped = searchable(json.dumps(value, ensure_ascii=True).encode())
    # Halves of surrogate pairs are no text.
    if plain:
        assert escaped == plain


def test_an_excerpt_is_around_the_first_match_and_marks_all_in_it():
    text = "a" * 100 + ' {"order": "ord_123", "city": "Zürich", "again": "ord_123"} ' + "z" * 400
    found = excerpt(text, parse("ord_12* zurich", 0).phrases)
    assert marked(found) == ["ord_123", "Zürich", "ord_123"]
    assert len(found.text) == 240
    assert found.text.startswith("aaa")


def test_marks_that_overlap_are_one():
    found = excerpt("late fee paid", parse('"late fee" "fee paid"', 0).phrases)
    assert marked(found) == ["late fee paid"]


def test_without_a_match_an_excerpt_is_the_beginning():
    assert excerpt("some text", parse("other", 0).phrases) == Excerpt("some text", ())


def test_a_phrase_occurs_as_a_whole_and_its_beginning_at_its_end_only():
    text = "the order was paid late"
    for query, there in (("order", True), ("ord*", True), ("ord", False), ('"was paid"', True), ('"paid was"', False), ('"was pa"*', True)):
        (phrase,) = parse(query, 0).phrases
        assert occurs(text, phrase) is there, query
