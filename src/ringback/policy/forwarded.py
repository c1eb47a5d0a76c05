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


# What a proxy that writes Forwarded does not write: strangers may.
_OTHERS: Final = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))


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


def rewritten(fields: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Fields of a request (names in lower case) in which X-Forwarded-For, -Proto and -Host say what Forwarded says, and nothing else."""
    kept = [field for field in fields if field[0] not in _OTHERS]
    said = hops([value for name, value in fields if name == b"forwarded"])
    if said:
        # A node that would be two of them is nobody.
        kept.append((b"x-forwarded-for", b", ".join(b"unknown" if b"," in hop.by or not hop.by else hop.by for hop in said)))
        nearest = (b"x-forwarded-proto", said[-1].proto), (b"x-forwarded-host", said[-1].host)
        kept += [(name, value) for name, value in nearest if value and b"," not in value]
    return kept
