"""How is a body read that may be too large? Piece by piece, and never beyond the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# Bytes that are asked for at once.
_PIECE: Final = 64 * 1024


class TooLargeError(Exception):
    """The body is over the limit; what is left of it was not read."""


class CutShortError(Exception):
    """The body is shorter than was announced: whoever sent it went away, or somebody has read it before."""


class Body:
    """Pieces of a body, up to `limit` bytes."""

    __slots__ = ("_room", "_whole")

    def __init__(self, limit: int) -> None:
        self._whole: bytes | bytearray = b""
        self._room = limit

    def add(self, piece: bytes) -> None:
        """Take the next piece. Raises TooLargeError."""
        self._room -= len(piece)
        if self._room < 0:
            raise TooLargeError
        if not self._whole:
            self._whole = piece
        else:
            # One buffer: small pieces, kept apart, would take many times the room of what is in them.
            if isinstance(self._whole, bytes):
                self._whole = bytearray(self._whole)
            self._whole += piece

    def whole(self) -> bytes:
        """All of it."""
        return bytes(self._whole)


def read_all(read: Callable[[int], bytes], limit: int, size: int | None) -> bytes:
    """The body behind `read(most)`: `size` bytes, or all that comes when that is None. Blocks. Raises TooLargeError, CutShortError."""
    body = Body(limit)
    left = limit + 1 if size is None else size
    while left > 0:
        piece = read(min(left, _PIECE))
        if not piece and size is not None:
            raise CutShortError
        if not piece:
            break
        body.add(piece)
        left -= len(piece)
    return body.whole()


def length_of(text: str | None) -> int | None:
    """The number in a Content-Length header; None when there is none, or no number."""
    # Longer numbers are no lengths, and would cost time to parse.
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None
