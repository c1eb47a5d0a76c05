"""Are the values of sensitive fields masked wherever they stand, and is nothing else changed?"""

from __future__ import annotations

import json
import typing

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from ringback.policy.masking import HIDDEN, MAX_BYTES, masked, path_problems


@pytest.mark.parametrize(
    ("body", "paths", "shown"),
    [
        (b'{"a": {"email":"x", "n":12345678901234567890123}}', ["a.email"], b'{"a": {"email":"***", "n":12345678901234567890123}}'),
        (
            b'{"items":[{"email":"x"},{"email":["y",{"z":1}]}],"k":1}',
            ["items[].email"],
            b'{"items":[{"email":"***"},{"email":"***"}],"k":1}',
        ),
        (b'{"items":[{"email":"x"}]}', ["items.email"], b'{"items":[{"email":"***"}]}'),
        (b'[{"a":1},{"a":{"b":2}}]', ["a"], b'[{"a":"***"},{"a":"***"}]'),
        (b'[{"a":1},{"a":{"b":2}}]', ["[].a.b"], b'[{"a":1},{"a":{"b":"***"}}]'),
        (b'{"a":1,"a":"2"}', ["a"], b'{"a":"***","a":"***"}'),
        (b'{"\\u0061":1,"b":"a"}', ["a"], b'{"\\u0061":"***","b":"a"}'),
        (b'{"x":{"a":1},"a":null}', ["a"], b'{"x":{"a":1},"a":"***"}'),
        (b'{"a":{"b":{"c":1},"d":"a,b:{\\"a\\":"}}', ["a.b"], b'{"a":{"b":"***","d":"a,b:{\\"a\\":"}}'),
        (b'{"a":1}', ["b", "a.c"], b'{"a":1}'),
        (b'\xef\xbb\xbf{"a":1}', ["a"], b'\xef\xbb\xbf{"a":"***"}'),
        (b'"text"', ["a"], b'"text"'),
    ],
)
def test_values_at_the_paths_are_masked_and_nothing_else_changes(body: bytes, paths: list[str], shown: bytes) -> None:
    assert masked(body, paths) == shown


@pytest.mark.parametrize("body", [b"mail=jo@example.com", b'{"a":', b"\xff\xfe", b"<a>jo</a>", b'{"a":"' + b"x" * MAX_BYTES + b'"}'])
def test_of_what_cannot_be_read_nothing_is_shown(body: bytes) -> None:
    assert masked(body, ["a"]) == HIDDEN


@pytest.mark.parametrize("path", ["", "a..b", ".", "a. b", "a[0]", "a\nb"])
def test_what_is_no_path_is_refused(path: str) -> None:
    assert path_problems(path)


_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", 'q"', "é"]), inner, max_size=3),
    max_leaves=12,
)


def by_hand(value: typing.Any, steps: list[str]) -> typing.Any:
    """The same, the slow way, over what the text means."""
    if isinstance(value, list):
        return [by_hand(item, steps) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: ("***" if len(steps) == 1 else by_hand(inner, steps[1:])) if name == steps[0] else inner for name, inner in value.items()}


@hypothesis.given(_JSON, st.lists(st.sampled_from(["a", "b", 'q"', "é"]), min_size=1, max_size=3), st.booleans())
def test_it_is_what_masking_the_meaning_gives(value: typing.Any, steps: list[str], ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    hypothesis.assume(_decodes(text))
    assert json.loads(masked(text, [".".join(steps)])) == by_hand(value, steps)


def _decodes(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
