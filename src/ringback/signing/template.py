"""Which bytes did the provider sign? A template like `v0:{timestamp}:{body}`, compiled once into a function.

Fields: `{body}` `{timestamp}` `{url}` `{method}` `{path}` (with query) `{body_sha256}` (hex) `{body_crc32}` (decimal) `{form}` (sorted
names and values of the form) `{key}` (the secret itself) `{header:name}` and `{decoded_url}` (HubSpot's own partial decoding).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from ringback.errors import VerificationError
from ringback.signing.documents import form_fields
from ringback.signing.request import InboundRequest
from ringback.signing.verdict import MALFORMED_HEADER


class Parts(msgspec.Struct, gc=False):
    """What a template may take from: the request, the signed time as written, and the key being tried."""

    request: InboundRequest
    timestamp: bytes
    key: bytes


Field: TypeAlias = Callable[[Parts], bytes]
Content: TypeAlias = Callable[[InboundRequest, bytes, bytes], bytes]

_FIELD: Final = re.compile(r"\{([a-z0-9_]+(?::[^}]+)?)\}")

# Source: https://developers.hubspot.com/docs/api/webhooks/validating-requests - the characters that v3 decodes before it signs.
_HUBSPOT_DECODED: Final = {
    b"%3A": b":",
    b"%2F": b"/",
    b"%3F": b"?",
    b"%40": b"@",
    b"%21": b"!",
    b"%24": b"$",
    b"%27": b"'",
    b"%28": b"(",
    b"%29": b")",
    b"%2A": b"*",
    b"%2C": b",",
    b"%3B": b";",
}
_HUBSPOT_ENCODED: Final = re.compile(b"|".join(_HUBSPOT_DECODED), re.IGNORECASE)


def _url(parts: Parts) -> bytes:
    if not parts.request.url:
        raise VerificationError(MALFORMED_HEADER, "the scheme signs the URL that was called; give the source its public URL")
    return parts.request.url


def _decoded_url(parts: Parts) -> bytes:
    return _HUBSPOT_ENCODED.sub(lambda found: _HUBSPOT_DECODED[found.group().upper()], _url(parts))


def path_and_query(url: bytes) -> bytes:
    """The request target of an absolute URL: `/` when it has no path."""
    rest = url.partition(b"://")[2]
    start = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    target = rest[start:].partition(b"#")[0]
    return target if target.startswith(b"/") else b"/" + target


def _form(parts: Parts) -> bytes:
    return b"".join(name + value for name, value in sorted(form_fields(parts.request.body)))


_FIELDS: Final[dict[str, Field]] = {
    "body": lambda parts: parts.request.body,
    "timestamp": lambda parts: parts.timestamp,
    "key": lambda parts: parts.key,
    "url": _url,
    "decoded_url": _decoded_url,
    "method": lambda parts: parts.request.method,
    "path": lambda parts: path_and_query(_url(parts)),
    "body_sha256": lambda parts: hashlib.sha256(parts.request.body).hexdigest().encode(),
    "body_crc32": lambda parts: b"%d" % zlib.crc32(parts.request.body),
    "form": _form,
}


def compile_template(template: str) -> Content:
    """A function from request, timestamp and key to the signed bytes. Raises ValueError for a field that does not exist."""
    pieces = _FIELD.split(template)
    literals, names = [piece.encode() for piece in pieces[::2]], pieces[1::2]
    if names == ["timestamp", "body"]:
        # Nearly every scheme with a time is this one: no list, no calls.
        layout = b"%b".join(literal.replace(b"%", b"%%") for literal in literals)
        return lambda request, timestamp, key: layout % (timestamp, request.body)
    return _general(literals, [_field(name) for name in names])


def _general(literals: list[bytes], fields: list[Field]) -> Content:
    first, pairs = literals[0], tuple(zip(fields, literals[1:], strict=True))

    def content(request: InboundRequest, timestamp: bytes, key: bytes) -> bytes:
        parts = Parts(request, timestamp, key)
        signed = [first]
        for field, literal in pairs:
            signed += (field(parts), literal)
        return b"".join(signed)

    return content


def _field(name: str) -> Field:
    kind, _, argument = name.partition(":")
    if kind == "header" and argument:
        header = argument.lower().encode()
        return lambda parts: parts.request.headers.need(header)
    if name not in _FIELDS:
        raise ValueError(f"{{{name}}} is no field of a template; there are {', '.join(_FIELDS)} and header:NAME")
    return _FIELDS[name]
