"""Bytes of any kind, as a page shows them; and the command that sends a request again."""

from __future__ import annotations

import json
import shlex
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ringback.dashboard.curl import curl
from ringback.dashboard.payloads import Node, hexadecimal, payload_view, tree_of

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
HEAD = (
    b"POST /hook HTTP/1.1\r\nhost: example.com\r\nAuthorization: ***\r\ncontent-type: application/json\r\ncontent-length: 9\r\n"
    b"webhook-id: msg_1\r\nx-it's: a 'quoted' value\r\n\r\n"
)


def text_of(node: Node) -> str:
    """The JSON that a tree shows."""
    if node.shape == "object":
        return "{" + ",".join(f"{json.dumps(n.name)}:{text_of(n)}" for n in node.nodes) + "}"
    if node.shape == "array":
        return "[" + ",".join(map(text_of, node.nodes)) + "]"
    return node.text


@given(st.lists(JSON_VALUES, min_size=1, max_size=4) | st.dictionaries(st.text(), JSON_VALUES, min_size=1, max_size=4))
def test_a_tree_shows_the_very_value(value: Any) -> None:
    tree = tree_of(json.dumps(value))
    assert tree is not None and json.loads(text_of(tree)) == value


def test_numbers_keep_the_digits_they_were_written_with() -> None:
    tree = tree_of('{"big": 9007199254740993, "exact": 1.10, "tiny": 1e-400, "minus": -0}')
    assert tree is not None and [node.text for node in tree.nodes] == ["9007199254740993", "1.10", "1e-400", "-0"]


def test_a_name_that_stands_twice_is_shown_twice() -> None:
    tree = tree_of('{"a": 1, "a": 2}')
    assert tree is not None and [(node.name, node.text) for node in tree.nodes] == [("a", "1"), ("a", "2")]


def test_what_nobody_could_see_is_shown_as_json_can_write_it() -> None:
    tree = tree_of('{"a": "pay \u202ednuf\u202c\u200b", "b": "\\ud800", "c": "\x7f\u0085", "d": "👩\u200d👧 Zoë"}')
    assert tree is not None
    assert [node.text for node in tree.nodes] == [
        '"pay \\u202ednuf\\u202c\\u200b"',
        '"\\ud800"',
        '"\\u007f\\u0085"',
        '"👩\u200d👧 Zoë"',
    ]
    assert json.loads(text_of(tree)) == {"a": "pay \u202ednuf\u202c\u200b", "b": "\ud800", "c": "\x7f\u0085", "d": "👩\u200d👧 Zoë"}


def test_what_is_no_json_is_text() -> None:
    for text in ("", "plain", '"a string"', "[1, NaN]", "{broken", "[" * 2000):
        assert tree_of(text) is None
    assert payload_view(b"[1, NaN]", "application/json").kind == "text"


def test_a_tree_that_no_page_could_hold_is_text() -> None:
    assert payload_view(json.dumps(list(range(6_000))).encode(), "application/json").kind == "text"
    assert payload_view(("[" * 80 + "]" * 80).encode(), "application/json").kind == "text"


def test_what_is_no_text_is_hexadecimal() -> None:
    view = payload_view(bytes(range(256)), "application/octet-stream", "/save")
    assert view.kind == "hex" and view.text.splitlines()[4] == "00000040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO"
    assert payload_view(b"\x00\x01text", "text/plain").kind == "hex"


@given(st.binary(max_size=100))
def test_hexadecimal_has_every_byte(body: bytes) -> None:
    columns = [line[10:57] for line in hexadecimal(body).splitlines()]
    assert bytes.fromhex("".join(columns)) == body


def test_what_is_gone_and_what_is_empty_are_told_apart() -> None:
    assert payload_view(None, "application/json").kind == "gone"
    assert payload_view(b"", "application/json").kind == "empty"


def test_a_large_text_is_cut_and_says_so() -> None:
    view = payload_view(b"x" * 1_000_000, "text/plain", "/save")
    assert view.cut and len(view.text) < 1_000_000 and view.size == "1 MB"


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=60))
def test_curl_carries_the_very_bytes_through_a_shell(text: str) -> None:
    words = shlex.split(curl("https://example.com/hook", HEAD, text.encode()), comments=True)
    assert words[words.index("--data-binary") + 1] == text


def test_curl_leaves_out_what_it_makes_itself_and_says_what_is_masked() -> None:
    command = curl("https://example.com/it's?a=1&b=2", HEAD, b"{}")
    words = shlex.split(command, comments=True)
    headers = [words[n + 1] for n, word in enumerate(words) if word == "-H"]
    assert headers == ["Authorization: ***", "content-type: application/json", "webhook-id: msg_1", "x-it's: a 'quoted' value"]
    assert "https://example.com/it's?a=1&b=2" in words and command.startswith("# *** stands for")


def test_curl_reads_binary_from_a_file() -> None:
    assert "--data-binary @payload.bin" in curl("https://example.com/", HEAD, b"\xff\x00").replace("\\\n  ", "")
    assert "payload is gone" in curl("https://example.com/", HEAD, None)
