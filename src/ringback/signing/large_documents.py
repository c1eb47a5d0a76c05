"""What stands at a path of a large JSON text? Found by passing over the rest, of which nothing is made.

A text of 1 MiB may hold half a million values: to make them all holds the interpreter for a tenth of a second, on whichever thread. To pass
over them takes 2 ms for each step of a path, after each of which others have their turn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing.verdict import MALFORMED_HEADER

# Reading all of a text of this size takes 0.7 ms at the worst, and a request may be read five times on its way.
WHOLE_BYTES: Final = 32 * 1024
# Items of a list that are looked at: providers' batches have some thousand.
MAX_ITEMS: Final = 2_000
_NOTHING: Final = msgspec.Raw(b"")
_QUOTE: Final = ord('"')


class LargeDocument:
    """A JSON text that nobody reads as a whole."""

    __slots__ = ("_decode", "_text")

    def __init__(self, text: msgspec.Raw, decode: Callable[[msgspec.Raw], Any]) -> None:
        self._text = text
        self._decode = decode

    @classmethod
    def of(cls, text: bytes, decode: Callable[[msgspec.Raw], Any] = msgspec.json.decode) -> LargeDocument:
        """The document that a text is; `decode` reads the values in it. Raises ValueError and RecursionError for what is no JSON."""
        if not text.isascii():
            # What is passed over is not looked at so closely.
            text.decode()
        return cls(msgspec.json.decode(text, type=msgspec.Raw), decode)

    def find(self, path: str) -> Iterator[object]:
        """Every value at a path, as `documents.find` gives them of a document that was read. Raises VerificationError."""
        for raw in _sought(self._text, path):
            yield self._value(raw)

    def _value(self, raw: msgspec.Raw) -> object:
        with memoryview(raw) as text:
            if len(text) > WHOLE_BYTES and text[0] != _QUOTE:
                return LargeDocument(raw, self._decode)
        try:
            return self._decode(raw)
        except ValueError:
            raise VerificationError(MALFORMED_HEADER, "a value of the body cannot be read") from None


def _sought(raw: msgspec.Raw, path: str) -> Iterator[msgspec.Raw]:
    name, _, rest = path.partition(".")
    bare = name.removesuffix("[]")
    try:
        inner = member(raw, bare) if bare else raw
        if inner is None:
            return
        found = [inner] if name == bare else items(inner)[:MAX_ITEMS]
    except msgspec.ValidationError:
        return
    for item in found:
        if rest:
            yield from _sought(item, rest)
        else:
            yield item


def member(raw: msgspec.Raw, name: str) -> msgspec.Raw | None:
    """The value of this name in an object, None where it has none. Raises ValidationError where it is no object."""
    try:
        reader = _member_reader(name)
    except ValueError:
        # Names with quotes and the like are none for a reader.
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get(name)
    found: msgspec.Raw = reader.decode(raw).value
    return None if found is _NOTHING else found


def items(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The items of a list, one more than `MAX_ITEMS` at the most. Raises ValidationError where it is no list."""
    found = _item_reader().decode(raw)
    return [item for item in msgspec.structs.astuple(found) if item is not _NOTHING]


@functools.lru_cache(maxsize=1_000)
def _member_reader(name: str) -> msgspec.json.Decoder[Any]:
    """Made once for each name, of which owners and the catalogue have some dozens: making one takes as long as reading 100 kB."""
    fields = [("value", msgspec.Raw, msgspec.field(name=name, default=_NOTHING))]
    return msgspec.json.Decoder(msgspec.defstruct("Member", fields, gc=False))


@functools.lru_cache(maxsize=1)
def _item_reader() -> msgspec.json.Decoder[Any]:
    """An object of so many optional fields that is written as a list: what comes after the last one is passed over."""
    fields = [(f"item{number}", msgspec.Raw, _NOTHING) for number in range(MAX_ITEMS + 1)]
    return msgspec.json.Decoder(msgspec.defstruct("Items", fields, array_like=True, gc=False))
