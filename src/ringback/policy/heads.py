"""What does a header block say? Reads single values out of raw HTTP/1.1 heads, so that nobody parses headers that nobody asks for."""

from __future__ import annotations


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
