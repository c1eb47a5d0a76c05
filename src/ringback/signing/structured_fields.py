"""What does a structured header field hold? The part of RFC 9651 that HTTP signatures need: dictionaries, inner lists, parameters.

Source: https://www.rfc-editor.org/rfc/rfc9651. Raises ValueError for what is not well formed.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

import msgspec

from ringback.signing.encodings import decode_base64

BareItem: TypeAlias = str | int | bool | bytes
Parameters: TypeAlias = tuple[tuple[str, BareItem], ...]

# A key, and the bare items: decimals, dates and display strings occur in no signature parameter.
_KEY: Final = re.compile(rb"[a-z*][a-z0-9_\-.*]*")
_INTEGER: Final = re.compile(rb"-?[0-9]{1,15}(?![0-9.])")
_STRING: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_TOKEN: Final = re.compile(rb"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_BYTES: Final = re.compile(rb":([A-Za-z0-9+/=]*):")
_SPACES: Final = re.compile(rb"[ \t]*")
# No sender signs with more labels than this, or covers more components; each costs time.
_MAX_MEMBERS: Final = 64


class Item(msgspec.Struct, frozen=True):
    """One item of an inner list, with its parameters."""

    value: BareItem
    parameters: Parameters = ()


class Member(msgspec.Struct, frozen=True):
    """One member of a dictionary: an inner list or one value, its parameters, and its text as it came (`raw`)."""

    value: tuple[Item, ...] | BareItem
    parameters: Parameters
    raw: bytes


class _Cursor:
    """A place in the text."""

    __slots__ = ("at", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def accept(self, character: bytes) -> bool:
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def at_end(self) -> bool:
        return self.at >= len(self.text)


def parse_dictionary(text: bytes) -> dict[str, Member]:
    """The members of a dictionary, in order. A key that comes twice is refused: whoever is in front of us may have taken the other."""
    cursor = _Cursor(text.strip(b" \t"))
    members: dict[str, Member] = {}
    while not cursor.at_end():
        name = cursor.take(_KEY)
        if name is None or len(members) >= _MAX_MEMBERS:
            raise ValueError("a key was expected")
        key = name.group().decode()
        if key in members:
            raise ValueError(f"the key {key} came twice")
        members[key] = _member(cursor)
        cursor.take(_SPACES)
        if cursor.at_end():
            break
        if not cursor.accept(b","):
            raise ValueError("a comma was expected")
        cursor.take(_SPACES)
        if cursor.at_end():
            raise ValueError("a key was expected after the comma")
    return members


def _member(cursor: _Cursor) -> Member:
    if not cursor.accept(b"="):
        start = cursor.at
        return Member(True, _parameters(cursor), cursor.text[start : cursor.at])
    start = cursor.at
    value: tuple[Item, ...] | BareItem = _inner_list(cursor) if cursor.accept(b"(") else _bare(cursor)
    return Member(value, _parameters(cursor), cursor.text[start : cursor.at])


def _inner_list(cursor: _Cursor) -> tuple[Item, ...]:
    items: list[Item] = []
    while len(items) < _MAX_MEMBERS:
        cursor.take(_SPACES)
        if cursor.accept(b")"):
            return tuple(items)
        items.append(Item(_bare(cursor), _parameters(cursor)))
    raise ValueError("the inner list does not end")


def _parameters(cursor: _Cursor) -> Parameters:
    parameters: list[tuple[str, BareItem]] = []
    while cursor.accept(b";"):
        cursor.take(_SPACES)
        name = cursor.take(_KEY)
        if name is None or len(parameters) >= _MAX_MEMBERS:
            raise ValueError("the name of a parameter was expected")
        key = name.group().decode()
        if any(key == known for known, _ in parameters):
            raise ValueError(f"the parameter {key} came twice")
        parameters.append((key, _bare(cursor) if cursor.accept(b"=") else True))
    return tuple(parameters)


def _bare(cursor: _Cursor) -> BareItem:
    if found := cursor.take(_STRING):
        return re.sub(rb"\\(.)", rb"\1", found.group(1)).decode("ascii")
    if found := cursor.take(_BYTES):
        return decode_base64(found.group(1))
    if found := cursor.take(_INTEGER):
        return int(found.group())
    if cursor.text.startswith((b"?0", b"?1"), cursor.at):
        cursor.at += 2
        return cursor.text[cursor.at - 1 : cursor.at] == b"1"
    if found := cursor.take(_TOKEN):
        return found.group().decode("ascii")
    raise ValueError("a value was expected")
