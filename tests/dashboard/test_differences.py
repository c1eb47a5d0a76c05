"""What is said to differ between two attempts: only what does, with the values of both."""

from __future__ import annotations

import random

import pytest

from ringback.dashboard.differences import LINES_MAX, Difference, Line, Lines, different, different_lines
from ringback.dashboard.payloads import payload_view


def lines(before: bytes | None, after: bytes | None, content_type: str = "application/json") -> Lines:
    return different_lines(payload_view(before, content_type), payload_view(after, content_type))


def test_only_names_whose_values_differ_are_told() -> None:
    before = [("Content-Type", "text/html"), ("X-Gone", "1"), ("server", "a")]
    after = [("content-type", "application/json"), ("server", "a"), ("x-new", "2")]
    assert different(before, after) == [
        Difference("content-type", "text/html", "application/json"),
        Difference("x-new", None, "2"),
        Difference("x-gone", "1", None),
    ]
    assert different(before, before) == []


def test_a_name_that_comes_twice_has_both_its_values() -> None:
    assert different([("set-cookie", "a"), ("Set-Cookie", "b")], [("set-cookie", "b")]) == [Difference("set-cookie", "a, b", "b")]


def test_json_is_compared_by_its_values_and_keeps_its_digits() -> None:
    assert lines(b'{"a":1,"b":[1.10]}', b'{ "a": 1, "b": [1.10] }') == Lines("Both have the same body.")
    assert lines(b'{"a":1.10,"b":[],"c":{"d":"x"}}', b'{"a":1.1,"b":[],"c":{"d":"x"}}').lines == [
        Line("same", "{"),
        Line("gone", '  "a": 1.10,'),
        Line("new", '  "a": 1.1,'),
        Line("same", '  "b": [],'),
        Line("same", '  "c": {'),
        Line("same", '    "d": "x"'),
        Line("same", "  }"),
        Line("same", "}"),
    ]


def test_text_is_compared_by_its_lines() -> None:
    assert lines(b"one\ntwo", b"one\nthree", "text/plain").lines == [Line("same", "one"), Line("gone", "two"), Line("new", "three")]


@pytest.mark.parametrize("gone", [None, b""])
def test_a_body_that_is_not_there_has_no_lines(gone: bytes | None) -> None:
    assert lines(gone, b"x", "text/plain").lines == [Line("new", "x")]
    assert lines(b"x", gone, "text/plain").lines == [Line("gone", "x")]


def test_whatever_differs_each_body_can_be_read_from_the_lines() -> None:
    draw = random.Random(3)
    for _ in range(50):
        before, after = (["abc"[draw.randrange(3)] for _ in range(draw.randrange(1, 20))] for _ in range(2))
        found = lines("\n".join(before).encode(), "\n".join(after).encode(), "text/plain").lines
        if before != after:
            assert [line.text for line in found if line.kind != "new"] == before
            assert [line.text for line in found if line.kind != "gone"] == after


def test_lines_that_come_everywhere_are_no_place_to_begin_in_a_long_body() -> None:
    """Looking for the best place among all of them takes the cube of the lines: seconds, for a body made for that."""
    before, after = b"\n".join([b"x"] * LINES_MAX), b"\n".join([b"x", b"y"] * (LINES_MAX // 2))
    assert [line.kind for line in lines(before, after, "text/plain").lines].count("same") == 1, "only the line that both begin with"
    # Beside others they are the same in both.
    found = lines(b"one\n" + before[2:], b"one\n" + before[4:], "text/plain").lines
    assert [line.kind for line in found].count("same") == LINES_MAX - 1


def test_long_bodies_are_not_compared() -> None:
    long = b"\n".join(b"%d" % n for n in range(LINES_MAX + 1))
    assert lines(long, b"x", "text/plain") == Lines("They are too long to be compared line by line: 1.5 kB and 1 B.")
    assert lines(long, long, "text/plain") == Lines("Both have the same body.")
