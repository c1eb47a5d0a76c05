"""How does a provider sign? The template engine: one row of data says where the signature stands, what it covers, and how.

A row is a `Signed`; `prepare` turns it and the secrets of one source into a `Verifier`, so that a request costs only its own bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms, template, times
from ringback.signing.algorithms import Check
from ringback.signing.documents import find, read_json, text_of
from ringback.signing.encodings import decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import HmacKey
from ringback.signing.verdict import MALFORMED_HEADER, MISSING_HEADER, NO_SUPPORTED_SCHEME, SIGNATURE_MISMATCH, Verdict, check_age

# Providers send at most a few signatures while they rotate keys; each one that is tried may cost an RSA operation.
MAX_ITEMS: Final = 16

# Twice the bytes of each hash.
_HEX_DIGITS: Final = {"hmac-sha1": 40, "hmac-sha256": 64, "hmac-sha384": 96, "hmac-sha512": 128}

# A time that touches another field in what is signed: some of its digits could be moved into that field, so it must have all of them: from
# 2001 to 2286 these many in each unit.
_TOUCHING: Final = re.compile(r"\}\{timestamp\}|\{timestamp\}\{")
_WHOLE_TIMES: Final = {"s": (10,), "ms": (13,), "s_or_ms": (10, 13), "ns": (19,)}

# Where a time is written: nowhere, in an item of the signature header, in a header of its own, or in the JSON body.
TimePlace: TypeAlias = str
_Find: TypeAlias = Callable[[Headers], tuple[list[bytes], bytes]]


class Signed(msgspec.Struct, frozen=True, kw_only=True, tag="signed"):
    """A scheme whose signature stands in a header.

    `headers`: names to look for, lower case; the first that is present counts. `layout`: `plain` (the value is the signature, after
    `prefix`), `list` (several, comma-separated, `prefix` optional), `each` (every one of `headers` holds one; a name that ends in `*`
    stands for all that begin so) or `pairs` (`key=value` items between `separator`, the signatures under `signature_key`).
    `timestamp`: "" (none), `item:KEY` (of the pairs), `header:NAME` or `json:PATH`; its `unit` is s, ms, s_or_ms, ns, iso or http.
    `sized`: a header is of this scheme only when a signature in it has as many hex digits as the hash. `groups` separates several values of
    the header, each with a time and signatures of its own, any of which may be the right one.
    """

    name: str
    headers: tuple[str, ...]
    content: str = "{body}"
    algorithm: str = "hmac-sha256"
    encoding: Literal["hex", "base64", "base64url", "base64_of_hex"] = "hex"
    layout: Literal["plain", "list", "pairs", "each"] = "plain"
    prefix: str = ""
    separator: str = ","
    signature_key: str = "v1"
    timestamp: TimePlace = ""
    unit: Literal["s", "ms", "s_or_ms", "ns", "iso", "http"] = "s"
    tolerance_s: float | None = None
    secret_encoding: str = "utf8"
    id_header: str = ""
    sized: bool = False
    groups: str = ""

    def applies(self, request: InboundRequest) -> bool:
        """Is one of its signature headers there, and of its size where that tells it from others?"""
        if self.sized:
            return any(self._has_size(value) for header in self.headers for value in request.headers.all(header.encode()))
        if self.layout == "each":
            return bool(_each(request.headers, tuple(header.encode() for header in self.headers)))
        return any(header.encode() in request.headers for header in self.headers)

    @property
    def unproven(self) -> str | None:
        """Why its time proves nothing, if it does not: it stands outside of what is signed."""
        kind, _, place = self.timestamp.partition(":")
        if (
            kind not in ("header", "item")
            or "{timestamp}" in self.content
            or (kind == "header" and f"{{header:{place.lower()}}}" in self.content.lower())
        ):
            return None
        return "the time is not signed, so that anybody could change it; content must have {timestamp}"

    @property
    def covers_body(self) -> bool:
        """Is the body, or a hash of it, among what is signed?"""
        return any(field in self.content for field in ("{body}", "{body_sha256}", "{body_crc32}", "{form}"))

    @property
    def covers_id(self) -> bool:
        """Is the id among what is signed, if it has one?"""
        return not self.id_header or f"{{header:{self.id_header.lower()}}}" in self.content.lower()

    def _has_size(self, value: bytes) -> bool:
        prefix, size = self.prefix.encode(), _HEX_DIGITS[self.algorithm]
        return any(len(item.strip().removeprefix(prefix)) == size for item in _items(value, b","))

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the secrets. Raises ValueError when one cannot be used."""
        return (GroupedVerifier if self.groups else SignedVerifier)(self, secrets, tolerance_s)


class SignedVerifier:
    """A `Signed` scheme with its keys."""

    __slots__ = ("_content", "_find", "_id_header", "_keys", "_name", "_seconds", "_time", "_tolerance_s")

    def __init__(self, scheme: Signed, secrets: Sequence[Secret], tolerance_s: float | None) -> None:
        if not secrets:
            raise ValueError(f"{scheme.name} needs at least one secret")
        self._name = scheme.name
        self._find = _finder(scheme)
        self._time = _time_reader(scheme)
        self._seconds = times.reader(scheme.unit)
        # Most schemes sign just the body.
        self._content = None if scheme.content == "{body}" else template.compile_template(scheme.content)
        self._keys = tuple(_key(scheme, index, secret) for index, secret in enumerate(secrets))
        self._tolerance_s = tolerance_s
        self._id_header = scheme.id_header.encode()

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        """Believe the request or raise VerificationError."""
        # Functions in attributes are called through names of their own: three times as cheap as calling them as if they were methods.
        find, read_time, make_content = self._find, self._time, self._content
        signatures, timestamp = find(request.headers)
        if read_time is not None:
            timestamp = read_time(request)
        signed_at_s = self._when(timestamp) if timestamp else None
        for index, key, check in self._keys:
            content = request.body if make_content is None else make_content(request, timestamp, key)
            if check(content, signatures):
                # Only now is the time known to be the sender's.
                if signed_at_s is not None and self._tolerance_s is not None:
                    check_age(signed_at_s, now_s, self._tolerance_s)
                message_id = self._message_id(request.headers) if self._id_header else None
                return Verdict(self._name, index, message_id, signed_at_s)
        raise VerificationError(SIGNATURE_MISMATCH, "the signature was not made with one of the secrets over these bytes")

    def signed(self, request: InboundRequest) -> bytes:
        """The bytes that the signature must cover, with the first secret; for people who look for a mistake. Raises VerificationError."""
        _, timestamp = self._find(request.headers)
        if self._time is not None:
            timestamp = self._time(request)
        return request.body if self._content is None else self._content(request, timestamp, self._keys[0][1])

    def _when(self, timestamp: bytes) -> float | None:
        seconds = self._seconds
        try:
            return seconds(timestamp)
        except (ValueError, OverflowError):
            # A time that nobody asked to check is only some more signed bytes.
            if self._tolerance_s is None:
                return None
            raise VerificationError(MALFORMED_HEADER, "the timestamp cannot be read") from None

    def _message_id(self, headers: Headers) -> str | None:
        value = headers.one(self._id_header)
        return None if value is None else value.decode("latin-1")


class GroupedVerifier(SignedVerifier):
    """A `Signed` scheme whose header holds several values: each is judged as if it had come alone."""

    __slots__ = ("_names", "_separator")

    def __init__(self, scheme: Signed, secrets: Sequence[Secret], tolerance_s: float | None) -> None:
        super().__init__(scheme, secrets, tolerance_s)
        self._names = tuple(header.encode() for header in scheme.headers)
        self._separator = scheme.groups.encode()

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        """Believe the request or raise VerificationError: what the last value was refused for."""
        refusal = VerificationError(MALFORMED_HEADER, "the signature header is empty")
        for alone in self._alone(request):
            try:
                return super().verify(alone, now_s=now_s, key_source=key_source)
            except VerificationError as wrong:
                refusal = wrong
        raise refusal

    def signed(self, request: InboundRequest) -> bytes:
        """The bytes that the signature in the first value must cover. Raises VerificationError."""
        return super().signed(next(iter(self._alone(request)), request))

    def _alone(self, request: InboundRequest) -> list[InboundRequest]:
        groups = [group for group in _items(_first(request.headers, self._names), self._separator) if group.strip()]
        fields = [Headers(_with(request.headers, self._names, group)) for group in groups]
        return [InboundRequest(headers, request.body, request.method, request.url) for headers in fields]


def _with(headers: Headers, names: tuple[bytes, ...], value: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value if name.lower() in names else content) for name, content in headers]


def _key(scheme: Signed, index: int, secret: Secret) -> tuple[int, bytes, Check]:
    key = decode_secret(secret, scheme.secret_encoding)
    return index, key.secret if isinstance(key, HmacKey) else b"", algorithms.prepare(scheme.algorithm, scheme.encoding, key)


def _finder(scheme: Signed) -> _Find:
    names = tuple(header.encode() for header in scheme.headers)
    prefix = scheme.prefix.encode()
    if scheme.layout == "each":
        return lambda headers: (_each(headers, names, required=True), b"")
    if scheme.layout == "pairs":
        return _pairs_finder(scheme, names)
    if scheme.layout == "list":
        return lambda headers: ([item.strip().removeprefix(prefix) for item in _items(_first(headers, names), b",")], b"")
    return _plain_finder(names, prefix)


def _items(value: bytes, separator: bytes) -> list[bytes]:
    return value.split(separator, MAX_ITEMS)[:MAX_ITEMS]


def _each(headers: Headers, names: tuple[bytes, ...], *, required: bool = False) -> list[bytes]:
    present = {field.lower(): None for field, _ in headers}
    found = [headers.need(name) for name in present if any(_is_called(name, wanted) for wanted in names)]
    if required and not found:
        raise _missing(names)
    return found[:MAX_ITEMS]


def _is_called(name: bytes, wanted: bytes) -> bool:
    return name.startswith(wanted[:-1]) if wanted.endswith(b"*") else name == wanted


def _first(headers: Headers, names: tuple[bytes, ...]) -> bytes:
    for name in names:
        value = headers.one(name)
        if value is not None:
            return value
    raise _missing(names)


def _missing(names: tuple[bytes, ...]) -> VerificationError:
    return VerificationError(MISSING_HEADER, f"header {' or '.join(name.decode() for name in names)} is missing")


def _plain_finder(names: tuple[bytes, ...], prefix: bytes) -> _Find:
    size = len(prefix)

    def find_plain(headers: Headers) -> tuple[list[bytes], bytes]:
        for name in names:
            value = headers.one(name)
            if value is not None:
                break
        else:
            raise _missing(names)
        if not value.startswith(prefix):
            raise VerificationError(MALFORMED_HEADER, f"the signature must begin with {prefix.decode()}")
        return [value[size:]], b""

    return find_plain


def _pairs_finder(scheme: Signed, names: tuple[bytes, ...]) -> _Find:
    if not scheme.separator:
        raise ValueError("separator: pairs have one between them, such as ','")
    separator, wanted = scheme.separator.encode(), scheme.signature_key.encode()
    kind, _, key = scheme.timestamp.partition(":")
    time_key = key.encode() if kind == "item" else None
    usual = _usual_pairs(time_key, separator, wanted)

    def find_pairs(headers: Headers) -> tuple[list[bytes], bytes]:
        value = _first(headers, names)
        found = None if usual is None else usual(value)
        if found is not None:
            return [found[2]], found[1]
        signatures: list[bytes] = []
        timestamp: bytes | None = None
        for item in _items(value, separator):
            # Blanks around the items of a list mean nothing (RFC 9110, 5.6.1); within an item they do.
            name, equals, content = item.strip(b" \t").partition(b"=")
            if name == wanted and equals:
                signatures.append(content)
            elif name == time_key:
                if timestamp is not None:
                    raise VerificationError(MALFORMED_HEADER, "the signature header holds two times")
                timestamp = content
        if time_key is not None and not timestamp:
            raise VerificationError(MALFORMED_HEADER, f"the signature header has no item {time_key.decode()}=")
        if not signatures:
            reason = NO_SUPPORTED_SCHEME if b"=" in value else MALFORMED_HEADER
            raise VerificationError(reason, f"the signature header has no item {wanted.decode()}=")
        return signatures, timestamp or b""

    return find_pairs


def _usual_pairs(time_key: bytes | None, separator: bytes, wanted: bytes) -> Callable[[bytes], re.Match[bytes] | None] | None:
    """Matches one time and one signature, in this order and with nothing around them: what nearly every request has."""
    if time_key is None:
        return None
    names = tuple(re.escape(text) for text in (time_key, separator, wanted))
    return re.compile(rb"%b=([0-9]+)%b%b=([0-9A-Za-z+/_-]+)" % names).fullmatch


def _time_reader(scheme: Signed) -> Callable[[InboundRequest], bytes] | None:
    kind, _, place = scheme.timestamp.partition(":")
    if kind == "header":
        touching = _TOUCHING.search(scheme.content) is not None
        return _header_time_reader(place.lower().encode(), _WHOLE_TIMES.get(scheme.unit, ()) if touching else ())
    if kind == "json":
        return lambda request: _json_time(request.body, place)
    if scheme.timestamp and not (kind == "item" and scheme.layout == "pairs"):
        raise ValueError(
            f"timestamp: {scheme.timestamp!r} is no place of a time; use header:NAME, json:PATH or, with layout pairs, item:KEY"
        )
    return None


def _header_time_reader(name: bytes, digits: Sequence[int]) -> Callable[[InboundRequest], bytes]:
    def read_time(request: InboundRequest) -> bytes:
        value = request.headers.need(name)
        # Where nothing stands between time and body, an empty time would let the digits be moved into the body, and the age go unchecked.
        if not value:
            raise VerificationError(MALFORMED_HEADER, f"header {name.decode()} is empty")
        if digits and not (value.isdigit() and len(value) in digits):
            raise VerificationError(SIGNATURE_MISMATCH, f"header {name.decode()} is no time in all of its digits, as it was signed")
        return value

    return read_time


def _json_time(body: bytes, path: str) -> bytes:
    # The body is signed as a whole: a sender that leaves the time out may do so, a stranger cannot.
    value = next(find(read_json(body), path), None)
    return text_of(value) or b""
