"""What of a message can be searched, and where in it are the words that somebody looked for?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ringback.policy.search_query import Phrase, tokens

# Bytes of a payload that are searched: what lies behind is bulk (lists, documents), and would fill the index.
MAX_BYTES: Final = 64 * 1024
# Characters before the first match, and of the whole excerpt: two lines on a screen.
_BEFORE: Final = 60
_EXCERPT: Final = 240

# The escapes of JSON strings (RFC 8259, 7), a surrogate pair as one. Other texts that hold such are searched as if they meant it too.
_ESCAPE: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]", re.DOTALL)


class Excerpt(msgspec.Struct, frozen=True):
    """A part of a text, and where in it the words are that were looked for: pairs of first and last (exclusive) character."""

    text: str
    marks: tuple[tuple[int, int], ...]


def searchable(payload: bytes | None) -> str:
    """The text of a payload: keys and values alike. "" for what is no text."""
    if not payload:
        return ""
    part = payload[:MAX_BYTES]
    try:
        text = part.decode()
    except UnicodeDecodeError as error:
        # Cut within a character, or no text at all.
        if len(part) == len(payload) or error.start < len(part) - 4:
            return ""
        text = part[: error.start].decode()
    return _ESCAPE.sub(_meant, text) if "\\" in text else text


def _meant(escape: re.Match[str]) -> str:
    """What an escape of JSON stands for; control characters are blanks, and half a surrogate pair is nothing."""
    text = escape[0]
    if text[1] == "u":
        units = [int(text[at + 2 : at + 6], 16) for at in range(0, len(text), 6)]
        return b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be", "ignore")
    return " " if text[1] in "bfnrt" else text[1]


def excerpt(text: str, phrases: Sequence[Phrase]) -> Excerpt:
    """The part of a text around the first of these phrases that occurs in it, with all of them marked; else its beginning."""
    found = [(folded, start, end) for folded, start, end in tokens(text)]
    words = [word for word, _, _ in found]
    marks = sorted({(found[at][1], found[at + len(p.tokens) - 1][2]) for p in phrases for at in _places(words, p)})
    first = marks[0][0] if marks else 0
    start = max(first - _BEFORE, 0)
    part = text[start : start + _EXCERPT]
    return Excerpt(part, tuple((a - start, b - start) for a, b in _merged(marks) if b - start <= len(part)))


def occurs(text: str, phrase: Phrase) -> bool:
    """Does a phrase occur in a text?"""
    return any(True for _ in _places([word for word, _, _ in tokens(text)], phrase))


def _places(words: Sequence[str], phrase: Phrase) -> Iterable[int]:
    size = len(phrase.tokens)
    head, last = phrase.tokens[:-1], phrase.tokens[-1]
    for at in range(len(words) - size + 1):
        ends = words[at + size - 1]
        if (ends.startswith(last) if phrase.prefix else ends == last) and tuple(words[at : at + size - 1]) == head:
            yield at


def _merged(marks: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """The same marks without overlaps."""
    reached: tuple[int, int] | None = None
    for start, end in marks:
        if reached is None:
            reached = start, end
        elif start <= reached[1]:
            reached = reached[0], max(end, reached[1])
        else:
            yield reached
            reached = start, end
    if reached is not None:
        yield reached
