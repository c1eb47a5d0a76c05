"""What does the body or the query say at this place? Reading strangers' JSON and forms without ever crashing."""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Callable, Iterator
from itertools import repeat
from operator import contains, eq
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from ringback.errors import VerificationError
from ringback.signing.large_documents import WHOLE_BYTES, LargeDocument
from ringback.signing.verdict import MALFORMED_HEADER

# Twilio sends some 40 fields; more than this in one form is an attempt to make us sort.
MAX_FORM_FIELDS: Final = 1_000

_MARK: Final = b"\xef\xbb\xbf"
# Escapes of one half of a pair (RFC 8259, 8.2) without the other, behind any number of escaped backslashes.
_LONE_HIGH: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_LONE_LOW: Final = re.compile(rb"(?<!\\)((?:\\\\)*)(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_REPLACED: Final = rb"\1\\ufffd"
# So many are read over: who cuts texts has one in each. Replacing one takes half a microsecond of the event loop.
_MAX_HALVES: Final = 1_000
# What Python writes for what is no number, where a value stands, or in a text as if one stood there. The word comes first: it is looked for
# ten times faster than what is around it.
_NO_NUMBERS: Final = tuple(re.compile(rb"%b(?<=[\s:,\[-]%b)(?=\s*[,\]}])" % (word, word)) for word in (b"NaN", b"Infinity"))
_ENDLESS: Final = b"1e999"
# So many are read over: replacing them takes 5 ms, all that fit into 1 MiB take 70.
_MAX_NO_NUMBERS: Final = 20_000
# Fields of a form between marks, and their escapes as quoted-printable has them.
_MARKED: Final = bytes.maketrans(b"+&=%", b" \0\1=")
_BEHIND_NAME: Final = 1
_SIGN: Final = ord("=")
# The marks, and line breaks, which quoted-printable leaves out behind a sign. As numbers, which are looked for six times faster than texts.
_UNFIT: Final = b"\0\1\r\n"


def parse_json(body: bytes) -> object:
    """The value that the body holds. Raises VerificationError (malformed_header) when it is not JSON."""
    try:
        return msgspec.json.decode(without_mark(body))
    except (ValueError, RecursionError):
        raise VerificationError(MALFORMED_HEADER, "the body is not JSON, where the scheme keeps its signature in JSON") from None


def read_json(body: bytes, decode: Callable[[bytes | msgspec.Raw], Any] = msgspec.json.decode) -> object:
    """The value that the body holds, for `find`: of a large one nothing is read but what is looked for. `decode` reads values.

    So it is with one that holds numbers past all floats, or what Python writes in their place (NaN, Infinity), which nobody may ask for. In
    one that is not large, halves of pairs, which senders in JavaScript leave where they cut a text, are read as U+FFFD. Raises
    VerificationError (malformed_header) when it is not JSON.
    """
    plain = without_mark(body)
    for text in _readings(plain):
        try:
            return _read(text, decode)
        except (ValueError, RecursionError):
            continue
    raise VerificationError(MALFORMED_HEADER, "the body is not JSON")


def _readings(text: bytes) -> Iterator[bytes]:
    """The text, and what it may mean where that is no JSON."""
    yield text
    if 0 < text.count(b"NaN") + text.count(b"Infinity") <= _MAX_NO_NUMBERS:
        for word in _NO_NUMBERS:
            text = word.sub(_ENDLESS, text)
        yield text
    if len(text) <= WHOLE_BYTES and b"\\u" in text:
        yield _LONE_LOW.sub(_REPLACED, _LONE_HIGH.sub(_REPLACED, text, _MAX_HALVES), _MAX_HALVES)


def _read(text: bytes, decode: Callable[[bytes | msgspec.Raw], Any]) -> object:
    if len(text) <= WHOLE_BYTES:
        try:
            return decode(text)
        except (ValueError, RecursionError):
            pass
    return LargeDocument.of(text, decode)


def without_mark(body: bytes) -> bytes:
    """The text behind a byte order mark of UTF-8, with which some senders begin (RFC 8259, 8.1: it may be ignored)."""
    return body.removeprefix(_MARK)


def find(document: object, path: str) -> Iterator[object]:
    """Every value at a path like `data.id` or `events[].id` (`[]` stands for each item of a list). May raise VerificationError."""
    if isinstance(document, LargeDocument):
        yield from document.find(path)
        return
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
    """Names and values of a form without anything between, sorted, each pair once. Raises VerificationError when there are too many."""
    quick = _sorted_quickly(body)
    return b"".join([name + value for name, value in sorted(set(form_fields(body)))]) if quick is None else quick


def _sorted_quickly(body: bytes) -> bytes | None:
    """The same without a step of Python for each field, of what nearly every form keeps to; None where it would be another text.

    That is one `=` in each field, escapes that are well formed, no pair twice, and no bytes that no browser or provider writes.
    """
    if any(map(body.__contains__, _UNFIT)) or (b"%0" in body and (b"%00" in body or b"%01" in body)):
        return None
    # Quoted-printable is the same code but for its sign: the marks make room for it, and sort below everything else, as pairs do.
    decoded = a2b_qp(body.translate(_MARKED))
    # An escape that is broken stays as it is, or loses its sign at the end; one that is not becomes two bytes shorter.
    if (_SIGN in decoded or body.endswith(b"%")) and len(decoded) != len(body) - 2 * body.count(b"%"):
        return None
    fields = decoded.split(b"\0", MAX_FORM_FIELDS)
    if len(fields) > MAX_FORM_FIELDS or not all(map(contains, fields, repeat(_BEHIND_NAME))):
        return None
    fields.sort()
    marked = b"".join(fields)
    content = marked.replace(b"\1", b"")
    # Each has at least one mark behind its name: as many as fields are one each.
    if len(marked) - len(content) != len(fields) or any(map(eq, fields, fields[1:])):
        return None
    return content


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
