"""What does the body or the query say at this place? Reading strangers' JSON and forms without ever crashing."""

from __future__ import annotations

from binascii import a2b_qp
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from ringback.errors import VerificationError
from ringback.signing.verdict import MALFORMED_HEADER

# Twilio sends some 40 fields; more than this in one form is an attempt to make us sort.
MAX_FORM_FIELDS: Final = 1_000

_MARK: Final = b"\xef\xbb\xbf"
# Fields of a form between marks, and their escapes as quoted-printable has them.
_MARKED: Final = bytes.maketrans(b"+&=%", b" \0\1=")
_NO_SIGNS: Final = bytes(byte for byte in range(256) if byte not in b"&=%")


def parse_json(body: bytes) -> object:
    """The value that the body holds. Raises VerificationError (malformed_header) when it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    try:
        # Some senders begin with a byte order mark (RFC 8259, 8.1: it may be ignored).
        return msgspec.json.decode(without_mark(body))
    except (ValueError, RecursionError):
        raise VerificationError(MALFORMED_HEADER, "the body is not JSON, where the scheme keeps its signature in JSON") from None


def without_mark(body: bytes) -> bytes:
    """The text behind a byte order mark of UTF-8."""
    return body.removeprefix(_MARK)


def find(document: object, path: str) -> Iterator[object]:
    """Every value at a path like `data.id` or `events[].id` (`[]` stands for each item of a list)."""
    name, _, rest = path.partition(".")
    bare = name.removesuffix("[]")
    inner: object = document
    if bare:
        if not isinstance(document, dict) or bare not in document:
            return
        inner = document[bare]
    if name == bare:
        items = [inner]
    elif isinstance(inner, list):
        items = inner
    else:
        return
    for item in items:
        if rest:
            yield from find(item, rest)
        else:
            yield item


def text_of(value: object) -> bytes | None:
    """A scalar as the bytes that signers use: text as UTF-8, numbers in decimal, true and false; None for all else."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return str(value).encode() if isinstance(value, int | float) else None


def form_fields(body: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of a form, percent-decoded, in order, empty values kept. Raises VerificationError when there are too many."""
    if body.count(b"&") >= MAX_FORM_FIELDS:
        raise VerificationError(MALFORMED_HEADER, f"the form has more than {MAX_FORM_FIELDS} fields")
    fields = []
    for part in body.replace(b"+", b" ").split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            fields.append((unquote_to_bytes(name), unquote_to_bytes(value)) if b"%" in part else (name, value))
    return fields


def sorted_form(body: bytes) -> bytes:
    """Names and values of a form without anything between, sorted, each pair once. Raises VerificationError when there are too many.

    What nearly every form keeps to (one `=` for each field, no odd escapes) is done without a step of Python for each field.
    """
    signs = body.translate(None, _NO_SIGNS)
    marks = signs.translate(None, b"%")
    count = len(marks) // 2
    if count < MAX_FORM_FIELDS and marks == b"=&" * count + b"=" and not _is_odd(body):
        # Quoted-printable is the same code but for its sign: the marks make room for it, and sort below everything else, as pairs do.
        decoded = a2b_qp(body.translate(_MARKED))
        # Each escape that is well formed, and no other, has become two bytes shorter.
        if len(decoded) == len(body) - 2 * (len(signs) - len(marks)):
            return b"".join(sorted(set(decoded.split(b"\0")))).replace(b"\1", b"")
    return b"".join([name + value for name, value in sorted(set(form_fields(body)))])


def _is_odd(body: bytes) -> bool:
    """Are the marks in it, or line breaks after a sign, which quoted-printable leaves out?"""
    return (
        b"\0" in body
        or b"\1" in body
        or (b"%0" in body and (b"%00" in body or b"%01" in body))
        or (b"\n" in body and b"%\n" in body)
        or (b"\r" in body and b"%\r" in body)
    )


def query_value(url: bytes, name: bytes) -> bytes | None:
    """The value of a query parameter. Raises VerificationError (malformed_header) when it came more than once."""
    query = url.partition(b"#")[0].partition(b"?")[2]
    if query.count(b"&") >= MAX_FORM_FIELDS:
        raise VerificationError(MALFORMED_HEADER, f"the query has more than {MAX_FORM_FIELDS} fields")
    values = []
    for part in query.split(b"&"):
        key, _, value = part.partition(b"=")
        if (unquote_to_bytes(key.replace(b"+", b" ")) if b"%" in key or b"+" in key else key) == name:
            values.append(unquote_to_bytes(value.replace(b"+", b" ")))
    if len(values) > 1:
        raise VerificationError(MALFORMED_HEADER, f"query parameter {name.decode('latin-1')} came more than once")
    return values[0] if values else None
