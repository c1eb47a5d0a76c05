"""What does a proxy say of the request that it passed on? The header Forwarded. Pure. Source: https://www.rfc-editor.org/rfc/rfc7239."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

_PAIR: Final = re.compile(rb'[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]+)|"((?:[^"\\]|\\.)*)")[ \t]*')
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
# Proxies in a row; a longer list is somebody's invention.
_MAX_HOPS: Final = 32


class Hop(msgspec.Struct, frozen=True):
    """One proxy's word: who called it, with which scheme, under which name; empty where it does not say."""

    by: bytes = b""
    proto: bytes = b""
    host: bytes = b""


def hops(values: Sequence[bytes]) -> list[Hop]:
    """The proxies' words, the nearest one last. What cannot be read counts for nothing, and neither does what stands before it."""
    text = b",".join(values)
    found, at = list[dict[bytes, bytes]](), 0
    current: dict[bytes, bytes] = {}
    while at <= len(text):
        match = _PAIR.match(text, at)
        if match is None:
            # From the next comma on, others may have written: start anew there.
            comma = text.find(b",", at)
            found, current = [], {}
            if comma < 0:
                return []
            at = comma + 1
            continue
        value = match[2] if match[2] is not None else _ESCAPED.sub(rb"\1", match[3])
        current.setdefault(match[1].lower(), value)
        at = match.end()
        mark = text[at : at + 1]
        if mark == b";":
            at += 1
        elif mark in (b",", b""):
            found.append(current)
            current = {}
            at += 1
            if not mark:
                break
        # Anything else is met by the next turn, which starts anew.
    return [Hop(hop.get(b"for", b""), hop.get(b"proto", b""), hop.get(b"host", b"")) for hop in found[-_MAX_HOPS:]]
