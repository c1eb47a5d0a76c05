"""Does this say something of that person? A text is found as it stands, and as JSON, forms and URLs may write it.

The bytes are never decoded: a pattern has, for each character, all ways in which it may be written. So broken JSON, big numbers and names
that come twice are searched as well as anything else. What is encoded as a whole (base64, compression) is not seen.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from ringback.errors import VerificationError
from ringback.signing.documents import find, parse_json, text_of

# Shorter texts stand in everything.
MIN_CHARS: Final = 3
# The longest address of e-mail has 254 characters.
MAX_CHARS: Final = 256
# Bytes that one call of the pattern looks at: one to two milliseconds, in which nobody else has the interpreter.
_WINDOW: Final = 64 * 1024
# The longest way of writing one character, bytes: two escapes of JSON.
_LONGEST: Final = 12

# What may stand in an address of e-mail before the rest of it.
_JOINS: Final = "._-"

# The short escapes of JSON (RFC 8259, 7).
_SHORT: Final = {'"': b'"', "\\": b"\\", "/": b"/", "\b": b"b", "\f": b"f", "\n": b"n", "\r": b"r", "\t": b"t"}
_BEFORE: Final = re.compile(rb"(\\+)(?:u([0-9a-fA-F]{4})|([bfnrt\"/]))\Z|%([0-9a-fA-F]{2})\Z")
_AFTER: Final = re.compile(rb"\\u([0-9a-fA-F]{4})|\\|%([0-9a-fA-F]{2})")


class Subject:
    """A text that stands for a person, and the path of a JSON document at which it must be the value; None = anywhere."""

    __slots__ = ("_edges", "_joins", "_pattern", "_plain", "path", "text")

    def __init__(self, text: str, path: str | None = None) -> None:
        self.text = text
        self.path = path
        forms = sorted({text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)}, key=len, reverse=True)
        self._plain = tuple(form.encode("utf-8", "surrogatepass") for form in forms)
        self._pattern = re.compile(b"|".join(b"".join(map(_ways, form)) for form in forms))
        # A text that begins or ends with a letter or a digit is found as a whole word. Before an address of e-mail, and behind it, stands
        # nothing either that makes it a longer one: neither bi.jo@example.com nor jo@example.com.au is jo@example.com.
        self._edges = text[0].isalnum(), text[-1].isalnum()
        self._joins = _JOINS if "@" in text else ""

    def in_text(self, text: str | bytes | None) -> bool:
        """Does it stand in this text, wherever?"""
        if not text:
            return False
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if b"\\" in data or b"%" in data or b"+" in data:
            return self._written(data)
        return any(self._plainly(data, form) for form in self._plain)

    def in_document(self, document: bytes | None) -> bool:
        """Does it stand in this payload, at the path if there is one? What is no JSON has no paths."""
        if not document or not self.in_text(document):
            return False
        if self.path is None:
            return True
        try:
            values = [text_of(value) for value in find(parse_json(document), self.path)]
        except (VerificationError, RecursionError):
            return False
        return any(value in self._plain for value in values)

    def beside(self, text: str | bytes | None) -> bool:
        """Does it stand in this text, which is no document? Never of a subject that must stand at a path."""
        return self.path is None and self.in_text(text)

    def _plainly(self, data: bytes, form: bytes) -> bool:
        at = data.find(form)
        while at >= 0:
            if self._is_whole(data, at, at + len(form)):
                return True
            at = data.find(form, at + 1)
        return False

    def _written(self, data: bytes) -> bool:
        reach = _LONGEST * len(self._plain[0])
        for start in range(0, len(data), _WINDOW):
            end = min(len(data), start + _WINDOW + reach)
            found = self._pattern.search(data, start, end)
            while found is not None:
                if self._is_whole(data, *found.span()):
                    return True
                found = self._pattern.search(data, found.start() + 1, end)
        return False

    def _is_whole(self, data: bytes, start: int, end: int) -> bool:
        first, last = self._edges
        if first:
            before, _ = _before(data, start)
            if before.isalnum() or (before and before in self._joins):
                return False
        if not last:
            return True
        after, more = _after(data, end)
        if after.isalnum() or (after == "-" and self._joins):
            return False
        # A full stop ends a sentence, or a name goes on behind it.
        return not (after == "." and self._joins and _after(data, end + more)[0].isalnum())


def _ways(character: str) -> bytes:
    """All ways of writing a character, the longer ones first; what was tried once is not tried again, so that a search is linear."""
    plain = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass").hex()
    escaped = b"".join(rb"\\u(?i:" + units[at : at + 4].encode() + b")" for at in range(0, len(units), 4))
    percent = b"".join(b"%%(?i:%02x)" % byte for byte in plain)
    ways = [escaped, percent]
    if character in _SHORT:
        ways.append(rb"\\" + re.escape(_SHORT[character]))
    if character == " ":
        ways.append(rb"\+")
    return b"(?>" + b"|".join([*ways, re.escape(plain)]) + b")"


def _before(data: bytes, start: int) -> tuple[str, int]:
    """The character that ends at this place, however it is written, and in how many bytes; "" at the start."""
    near = data[max(0, start - _LONGEST) : start]
    found = _BEFORE.search(near)
    if found is not None:
        slashes, unit, _, percent = found.groups()
        if percent is not None:
            return _of_percent(percent), 3
        # An even number of signs stands for signs, and what follows them for itself.
        if len(slashes) % 2:
            return (" ", 2) if unit is None else (chr(int(unit, 16)), 6)
    return _only(near.decode("utf-8", "ignore")[-1:])


def _after(data: bytes, end: int) -> tuple[str, int]:
    """The character that begins at this place, however it is written, and in how many bytes; "" at the end."""
    near = data[end : end + _LONGEST]
    found = _AFTER.match(near)
    if found is not None:
        unit, percent = found.groups()
        if percent is not None:
            return _of_percent(percent), 3
        return (" ", 2) if unit is None else (chr(int(unit, 16)), 6)
    return _only(near.decode("utf-8", "ignore")[:1])


def _only(character: str) -> tuple[str, int]:
    return character, len(character.encode())


def _of_percent(digits: bytes) -> str:
    """What a byte stands for: of those beyond ASCII only that they are parts of letters, mostly."""
    value = int(digits, 16)
    return chr(value) if value < 0x80 else "a"
