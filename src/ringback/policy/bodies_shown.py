"""How is a body shown to a person? Set out by its lines where it can be read, as it is where it is text, in hexadecimal otherwise. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

import msgspec

# Larger or deeper bodies are shown as they came: set out, each value stands on a line of its own behind its depth in blanks, so that
# some bytes of a stranger could become a thousand times as many.
_SET_OUT_BYTES: Final = 65_536
_SET_OUT_DEPTH: Final = 32
# Bytes on a line of hexadecimal.
_HEX_LINE: Final = 32
_INDENT: Final = 2


def set_out(body: bytes, content_type: str) -> str | None:
    """JSON with a value on each line, a form with a field on each line; None when the body is neither."""
    if not body or len(body) > _SET_OUT_BYTES:
        return None
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        return _form(body)
    if body.lstrip()[:1] not in (b"{", b"[") or _depth(body) > _SET_OUT_DEPTH:
        return None
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
        return msgspec.json.format(body, indent=_INDENT).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def as_text(body: bytes, most: int) -> tuple[str, bool]:
    """The first bytes of a body as text, or in hexadecimal when they are none; and whether that is all."""
    shown = body[:most]
    try:
        text = shown.decode()
    except UnicodeDecodeError as error:
        # A character that the cut has split does not make the rest binary.
        if error.end < len(shown) or len(shown) - error.start > 3 or len(shown) == len(body):
            shown = body[: most // 4]
            text = "\n".join(shown[at : at + _HEX_LINE].hex(" ") for at in range(0, len(shown), _HEX_LINE))
        else:
            text = shown[: error.start].decode()
    return text, len(shown) == len(body)


def _form(body: bytes) -> str | None:
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=1_000)
    except ValueError:
        return None
    return "\n".join(f"{name} = {value}" for name, value in fields)


def _depth(body: bytes) -> int:
    """How deep brackets are nested, those inside texts counted too: never less than it is."""
    depth = deepest = 0
    for byte in body:
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]" and depth:
            depth -= 1
    return deepest
