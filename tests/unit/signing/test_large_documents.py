"""A large body says the same at the same place as a small one, and takes a fraction of the time that reading all of it would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.errors import VerificationError
from ringback.signing.documents import find, parse_json, read_json, text_of
from ringback.signing.large_documents import MAX_ITEMS, WHOLE_BYTES, LargeDocument

NAMES = st.sampled_from(["a", "b", "", "é", "quote'\"", "with space", "[]"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(st.sampled_from(["a", "b", "é", "a[]", "b[]", "[]", "quote'\"", "with space"]), min_size=1, max_size=4).map(".".join)
MIB = 1 << 20


@settings(deadline=None)
@given(VALUES, PATHS)
def test_what_is_passed_over_changes_nothing_of_what_is_found(value: Any, path: str) -> None:
    body = msgspec.json.encode(value)
    whole = [text_of(found) for found in find(parse_json(body), path)]
    assert [text_of(found) for found in find(LargeDocument.of(body), path)] == whole


@settings(deadline=None)
@given(st.binary(max_size=40) | VALUES.map(msgspec.json.encode).flatmap(lambda text: st.integers(0, len(text)).map(lambda cut: text[:cut])))
def test_what_is_no_json_is_none_however_large_it_is(body: bytes) -> None:
    def refused(read: Callable[[bytes], object]) -> bool:
        try:
            read(body)
        except (VerificationError, ValueError, RecursionError):
            return True
        return False

    assert refused(LargeDocument.of) == refused(msgspec.json.decode)


def test_a_mark_in_front_values_that_cannot_be_read_and_what_is_large_itself() -> None:
    filler = b'"x":"' + b"x" * WHOLE_BYTES + b'"'
    assert [*find(read_json(b'\xef\xbb\xbf{"id":7,' + filler + b"}"), "id")] == [7]
    assert [*find(read_json(b'{"id":1.50,' + filler + b"}", msgspec.json.Decoder(float_hook=str).decode), "id")] == ["1.50"]
    assert [len(str(text)) for text in find(read_json(b"{" + filler + b"}"), "x")] == [WHOLE_BYTES]
    (inner,) = find(read_json(b'{"a":{"id":"deep",' + filler + b"}}"), "a")
    assert text_of(inner) is None and [*find(inner, "id")] == ["deep"]
    with pytest.raises(VerificationError):
        list(find(read_json(b'{"id":1e999,' + filler + b"}"), "id"))
    for body in (b"{" + filler, b"\xff" + filler, b'{"\xff":1,' + filler + b"}", b"[" * WHOLE_BYTES + b"]" * WHOLE_BYTES):
        with pytest.raises(VerificationError):
            read_json(body)
    assert len([*find(read_json(b'{"a":[' + b"1," * WHOLE_BYTES + b"1]}"), "a[]")]) == MAX_ITEMS


@pytest.mark.parametrize("piece", [b"[],", b'{"a":{}},', b"[" * 500 + b"]" * 500 + b","])
def test_a_place_is_found_in_a_fraction_of_the_time_that_the_whole_text_takes(piece: bytes) -> None:
    body = b'{"data":{"items":[' + (piece * (MIB // len(piece)))[:-1] + b'],"id":"here"}}'

    def taken_s(read: Callable[[bytes], object]) -> float:
        spans = []
        for _ in range(3):
            began_s = time.thread_time()
            assert [*find(read(body), "data.id")] == ["here"]
            spans.append(time.thread_time() - began_s)
        return min(spans)

    assert taken_s(read_json) * 3 < taken_s(parse_json)
