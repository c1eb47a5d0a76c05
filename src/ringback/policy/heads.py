"""What does a header block say? Reads single values out of raw HTTP/1.1 heads, so that nobody parses headers that nobody asks for."""

from __future__ import annotations

from typing import Final

# What ends a head.
HEAD_END: Final = b"\r\n\r\n"
# How an answer in HTTP/1.x begins, and no longer name of a protocol with its version is read.
_HTTP: Final = b"HTTP/1."
_PROTOCOL_BYTES: Final = 16


def header_value(head: bytes, name: bytes) -> bytes | None:
    """The value of the first header called `name` (any case), without surrounding blanks; None when there is none.

    `head` is a status or request line and headers separated by CRLF, as on the wire; it may be cut anywhere, the cut line counts
    as it stands.
    """
    # A cheap look for the name anywhere first: most heads lack the headers we ask for.
    lowered = head.lower()
    wanted = b"\r\n" + name.lower() + b":"
    at = lowered.find(wanted)
    if at < 0:
        return None
    start = at + len(wanted)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip(b" \t")


def header_fields(head: bytes) -> list[tuple[str, str]]:
    """All headers in order, as text (latin-1, which any byte has a letter in); the first line and broken lines are left out."""
    fields = []
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
    return fields


def head_span(raw: bytes | bytearray, interim: int = 0) -> tuple[int, int]:
    """Where the head behind so many interim ones starts in what was received, and where it ends (-1: not yet)."""
    start = 0
    if interim or raw[:1] in (b"\r", b"\n"):
        start = _past_interim(raw, interim)
    end = raw.find(HEAD_END, start)
    return start, end + len(HEAD_END) if end >= 0 else -1


def foreign_protocol(raw: bytes | bytearray, interim: int = 0) -> str:
    """What the head of an answer behind so many interim ones begins with, where that is not HTTP/1.x; else ""."""
    if not interim and raw.startswith(_HTTP):
        return ""
    start, _ = head_span(raw, interim)
    first = bytes(raw[start : start + _PROTOCOL_BYTES]).partition(b" ")[0]
    return "" if first.startswith(_HTTP) else first.decode("latin-1")


def _past_interim(raw: bytes | bytearray, interim: int) -> int:
    """Past interim heads (they have no body) and the line ends that parsers skip."""
    start = 0
    for left in range(interim, -1, -1):
        while raw[start : start + 1] in (b"\r", b"\n"):
            start += 1
        if left:
            start = raw.find(HEAD_END, start) + len(HEAD_END)
    return start
