"""What may have become of a request on its way? Other forms that its sender may have signed, each with the mistake behind it. Pure.

Used to explain a signature that does not match (`ringback.signing.diagnosis`), never to believe one.
"""

from __future__ import annotations

import binascii
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import msgspec

from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest

Rewrite: TypeAlias = tuple[str, InboundRequest]

# Ways in which common languages write JSON: separators and indentation.
_STYLES: Final[tuple[dict[str, Any], ...]] = ({"separators": (", ", ": ")}, {"indent": 2}, {"indent": 4})
_WRITTEN_AGAIN: Final = "the JSON was parsed and written again on its way (whitespace was taken out)"
_ESCAPED: Final = "characters outside ASCII were written as escapes in the JSON, or back, on their way"
_SLASHES: Final = "slashes were escaped in the JSON, or back, on their way (PHP escapes them)"
# No more is unpacked to look for a signature: as large as the largest body that is taken apart.
_UNPACKED_MAX: Final = 1_048_576
# How a signature in a header may begin, and how many bytes the hashes have.
_NAMED: Final = re.compile(rb"(?:hmac[-_])?(?:sha-?(?:1|256|384|512)|v[01])[=: ] *", re.IGNORECASE)
_DIGESTS: Final = (20, 32, 48, 64)
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2})+")
_BOM: Final = b"\xef\xbb\xbf"


def rewrites(request: InboundRequest) -> Iterator[Rewrite]:
    """The usual mistakes, one at a time. Of two that come to the same bytes only the first is told; what changes nothing is left out."""
    bodies, urls = {request.body}, {request.url}
    for cause, body in (*_line_ends(request.body), *_documents(request.body), *_codings(request.body)):
        if body not in bodies:
            bodies.add(body)
            yield cause, InboundRequest(request.headers, body, request.method, request.url)
    for cause, url in _urls(request.url) if request.url else ():
        if url not in urls:
            urls.add(url)
            yield cause, InboundRequest(request.headers, request.body, request.method, url)
    for name, value in request.headers:
        for cause, written in _signatures(value):
            fields = [(other, written if other == name and was == value else was) for other, was in request.headers]
            yield (
                f"the signature in {name.decode('latin-1')} {cause}",
                InboundRequest(Headers(fields), request.body, request.method, request.url),
            )


def _signatures(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Other ways in which a field of this value may hold a signature, each with what the scheme does not say."""
    named = _NAMED.match(value)
    if named is not None:
        yield f"begins with '{named[0].decode()}', which is not the prefix of the scheme", value[named.end() :]
    if len(value) // 2 in _DIGESTS and _HEX.fullmatch(value):
        digest = binascii.unhexlify(value)
        yield "is written as hex, which is not the encoding of the scheme", binascii.b2a_base64(digest, newline=False)
    try:
        digest = binascii.a2b_base64(value, strict_mode=True)
    except (ValueError, binascii.Error):
        return
    if len(digest) in _DIGESTS:
        yield "is written as base64, which is not the encoding of the scheme", digest.hex().encode()


def _line_ends(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "a newline was added at the end of the body on its way", body.removesuffix(b"\n").removesuffix(b"\r")
    yield "a newline at the end of the body was lost on its way", body + b"\n"
    yield "a line break (CR LF) at the end of the body was lost on its way", body + b"\r\n"
    yield "line breaks in the body were converted on their way", body.replace(b"\r\n", b"\n")
    yield "line breaks in the body were converted on their way", body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    yield "blanks around the body were added on their way", body.strip()


def _documents(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "the JSON was parsed and written again on its way (whitespace was added)", _compact(body)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict | list):
        return
    for style in _STYLES:
        yield _WRITTEN_AGAIN, json.dumps(value, ensure_ascii=False, **style).encode("utf-8", "surrogatepass")
    # What is escaped is compared in the two ways of writing that most senders have.
    for separators in ((",", ":"), (", ", ": ")):
        plain = json.dumps(value, ensure_ascii=False, separators=separators)
        escaped = json.dumps(value, separators=separators)
        yield _ESCAPED, escaped.encode()
        yield _SLASHES, plain.replace("/", "\\/").encode("utf-8", "surrogatepass")
        yield _SLASHES, escaped.replace("/", "\\/").encode()


def _compact(body: bytes) -> bytes:
    try:
        return msgspec.json.format(body, indent=-1)
    except (ValueError, RecursionError):
        return body


def _codings(body: bytes) -> Iterator[tuple[str, bytes]]:
    yield "a byte order mark was put before the body on its way", body.removeprefix(_BOM)
    try:
        yield "the body is base64 of what was sent: a gateway before this server wrapped it", binascii.a2b_base64(body, strict_mode=True)
    except (ValueError, binascii.Error):
        pass
    try:
        # 47: zlib or gzip, whichever header is there.
        yield "the sender signed the body before it compressed it", zlib.decompressobj(47).decompress(body, _UNPACKED_MAX)
    except zlib.error:
        pass


def _urls(url: bytes) -> Iterator[tuple[str, bytes]]:
    scheme, mark, rest = url.partition(b"://")
    host, slash, path = rest.partition(b"/")
    yield "the sender called the https URL; the source's public URL says http", url.replace(b"http://", b"https://", 1)
    yield "the sender called the http URL; the source's public URL says https", url.replace(b"https://", b"http://", 1)
    yield "the sender called the URL with a slash at its end", url + b"/"
    yield "the sender called the URL without the slash at its end", url.removesuffix(b"/")
    yield "the sender called the URL without its query", url.partition(b"?")[0]
    if b":" in host and not host.endswith(b"]"):
        yield "the sender called the URL without a port", scheme + mark + host.rpartition(b":")[0] + slash + path
    elif mark:
        port = b":443" if scheme == b"https" else b":80"
        yield "the sender called the URL with its port", scheme + mark + host + port + slash + path
