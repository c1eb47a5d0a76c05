"""What does the body or the query say at this place? Reading strangers' JSON and forms without ever crashing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from ringback.errors import VerificationError
from ringback.signing.verdict import MALFORMED_HEADER

# Twilio sends some 40 fields; more than this in one form is an attempt to make us sort.
MAX_FORM_FIELDS: Final = 1_000


def parse_json(body: bytes) -> object:
    """The value that the body holds. Raises VerificationError (malformed_header) when it is not JSON."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise VerificationError(MALFORMED_HEADER, "the body is not JSON, where the scheme keeps its signature in JSON") from None


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
    for part in body.split(b"&"):
        if part:
            name, _, value = part.replace(b"+", b" ").partition(b"=")
            fields.append((unquote_to_bytes(name), unquote_to_bytes(value)))
    return fields


def query_value(url: bytes, name: bytes) -> bytes | None:
    """The value of a query parameter. Raises VerificationError (malformed_header) when it came more than once."""
    query = url.partition(b"#")[0].partition(b"?")[2]
    values = [value for key, value in form_fields(query) if key == name]
    if len(values) > 1:
        raise VerificationError(MALFORMED_HEADER, f"query parameter {name.decode('latin-1')} came more than once")
    return values[0] if values else None
