"""How does text stay in its place that holds marks of direction? Each is shown by its number, and turns nothing around. Pure."""

from __future__ import annotations

import re
from typing import Final

# Embeddings, overrides and isolates, and what ends them: what follows stands in another order, beyond the text that holds them
# (https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters). The marks 200e, 200f and 061c order their neighbours alone.
_TURNING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
# HTML as templates write it: what holds no elements, then tags, then text. Attributes escape `>`.
_PIECES: Final = re.compile(r"<(textarea|title|option)\b.*?</\1>|<[^>]*>|[^<]+", re.DOTALL)


def kept_in_place(html: str) -> str:
    """A page on which marks of direction within texts are seen and have no effect; what forms and buttons to copy hold stays as it is."""
    return html if _TURNING.search(html) is None else _PIECES.sub(_piece, html)


def _piece(found: re.Match[str]) -> str:
    piece, name = found[0], found[1]
    if name == "textarea" or (piece.startswith("<") and name is None):
        return piece
    if name is None:
        return _TURNING.sub(_element, piece)
    start = piece.index(">") + 1
    return piece[:start] + _TURNING.sub(lambda mark: _number(mark[0]), piece[start:])


def _element(mark: re.Match[str]) -> str:
    # Alone in an element of its own it has nothing to turn around, and whoever copies the text still gets it.
    return f'<bdi class="turning" data-number="{_number(mark[0])}">{mark[0]}</bdi>'


def _number(mark: str) -> str:
    return f"U+{ord(mark):04X}"
