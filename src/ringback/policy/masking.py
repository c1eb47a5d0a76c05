"""What of a payload may be shown, when some of its fields are sensitive? Their values are replaced where they stand; nothing else changes.

The text is walked as it is, and not read and written anew: numbers keep their digits, names that come twice are both masked, and what is
shown has the spaces of what came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.signing.documents import without_mark

# In place of a value, and of a whole body that cannot be read as JSON: nobody knows where in it the fields are.
MASK: Final = b'"***"'
HIDDEN: Final = b"***"
# Paths of one source.
MAX_PATHS: Final = 32
# The longest path, characters.
MAX_PATH_CHARS: Final = 256
# The largest body that is walked, bytes: a quarter of a second of a thread. Of a larger one nothing is shown.
MAX_BYTES: Final = 256 * 1024

# Tokens of JSON (RFC 8259): a string, a bracket or sign, or a number or word.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},:]|[^\s\[\]{},:"]++', re.DOTALL)

# The steps that are left of each path at some place.
_Left = tuple[tuple[str, ...], ...]


def masked(payload: bytes, paths: Sequence[str]) -> bytes:
    """The payload with the values at these paths masked; lists are looked through, whether the path says so (`[]`) or not.

    Of a body that is no JSON, or is very large, nothing is shown. Takes some 0.5 us a byte: large ones are not for the event loop.
    """
    if len(payload) > MAX_BYTES:
        return HIDDEN
    try:
        msgspec.json.decode(without_mark(payload))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return HIDDEN
    spans = _spans(payload, tuple(_steps(path) for path in paths))
    if not spans:
        return payload
    parts, at = list[bytes](), 0
    for start, end in spans:
        parts += (payload[at:start], MASK)
        at = end
    return b"".join((*parts, payload[at:]))


def path_problems(path: str) -> list[str]:
    """What is wrong with the path of a sensitive field."""
    steps = path.replace("[]", "").removeprefix(".").split(".")
    if not path.isprintable() or any(not step or step != step.strip() or "[" in step for step in steps):
        return [f"{path!r} must be names of fields with dots between, such as customer.email or items[].email"]
    return []


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in path.replace("[]", "").split(".") if step)


def _spans(payload: bytes, paths: _Left) -> list[tuple[int, int]]:
    """Where the values at these paths begin and end. The text is JSON."""
    spans = list[tuple[int, int]]()
    # Of each open bracket: what is left of the paths for what stands in it, and whether names stand in it.
    open_: list[tuple[_Left, bool]] = []
    left, names, key_next = paths, False, False
    # Within a value that is masked: where it began, and how many brackets of it are open.
    began, depth = -1, 0
    value: _Left = paths
    for found in _TOKEN.finditer(payload):
        token = found[0]
        first = token[:1]
        if began >= 0:
            depth += (first in b"{[") - (first in b"}]")
            if not depth:
                spans.append((began, found.end()))
                began = -1
        elif first in b"}]":
            left, names = open_.pop()
        elif first == b",":
            key_next, value = names, left
        elif first == b":":
            key_next = False
        elif key_next:
            name = msgspec.json.decode(token) if b"\\" in token else token[1:-1].decode("utf-8", "surrogatepass")
            value = tuple(path[1:] for path in left if path and path[0] == name)
        elif () in value:
            if first in b"{[":
                began, depth = found.start(), 1
            else:
                spans.append(found.span())
        elif first in b"{[":
            open_.append((left, names))
            left, names = value, first == b"{"
            key_next = names
    return spans
