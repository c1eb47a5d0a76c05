"""Does the request carry the secret itself? Tokens, API keys, bearer and basic credentials: they prove the sender, not the body."""

from __future__ import annotations

import hmac
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from ringback.errors import VerificationError
from ringback.signing.documents import find, query_value, read_json, text_of
from ringback.signing.encodings import decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import HmacKey
from ringback.signing.verdict import MALFORMED_HEADER, MISSING_HEADER, NO_SUPPORTED_SCHEME, SIGNATURE_MISMATCH, Verdict

_Find: TypeAlias = Callable[[InboundRequest], "list[bytes] | None"]


class Token(msgspec.Struct, frozen=True, kw_only=True, tag="token"):
    """A scheme without signature. `places` are tried in order, the first that is present counts.

    A place is `header:NAME`, `bearer`, `basic` (the secret is `user:password`), `query:NAME` or `json:PATH` (every value there must match).
    """

    name: str
    places: tuple[str, ...]
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Is there anything at one of its places?"""
        try:
            return any(_finder(place)(request) is not None for place in self.places)
        except VerificationError:
            return True

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the secrets. Raises ValueError when one cannot be used."""
        return _TokenVerifier(self, secrets)


class Unsigned(msgspec.Struct, frozen=True, kw_only=True, tag="unsigned"):
    """A provider whose requests prove nothing: they are refused, unless the source says `verify: none`."""

    name: str
    why: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Every request is one of these."""
        return True

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Nothing to prepare: whatever comes is refused."""
        return _Refuser(self.why)


class _Refuser:
    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        self._why = why

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        raise VerificationError(NO_SUPPORTED_SCHEME, self._why)


class _TokenVerifier:
    __slots__ = ("_finders", "_name", "_places", "_secrets")

    def __init__(self, scheme: Token, secrets: Sequence[Secret]) -> None:
        if not secrets:
            raise ValueError(f"{scheme.name} needs at least one secret")
        self._name = scheme.name
        self._places = scheme.places
        self._finders = tuple(_finder(place) for place in scheme.places)
        self._secrets = tuple(_plain(secret) for secret in secrets)

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        for finder in self._finders:
            tokens = finder(request)
            if tokens is not None:
                return self._matched(tokens)
        raise VerificationError(MISSING_HEADER, f"there is no credential at {' or '.join(self._places)}")

    def _matched(self, tokens: list[bytes]) -> Verdict:
        for index, secret in enumerate(self._secrets):
            if tokens and all([hmac.compare_digest(secret, token) for token in tokens]):
                return Verdict(self._name, index)
        raise VerificationError(SIGNATURE_MISMATCH, "the credential is none of the secrets")


def _plain(secret: Secret) -> bytes:
    key = decode_secret(secret, "utf8")
    if not isinstance(key, HmacKey):
        raise ValueError("a token is compared as it is; give its text")
    return key.secret


def _finder(place: str) -> _Find:
    kind, _, argument = place.partition(":")
    if kind == "header" and argument:
        name = argument.lower().encode()
        return lambda request: None if (value := request.headers.one(name)) is None else [value]
    if kind == "query" and argument:
        parameter = argument.encode()
        return lambda request: None if (value := query_value(request.url, parameter)) is None else [value]
    if kind == "json" and argument:
        return lambda request: [text_of(value) or b"" for value in find(read_json(request.body), argument)] or None
    if kind == "bearer":
        return lambda request: None if (value := credentials(request, b"bearer")) is None else [value]
    if kind == "basic":
        return _basic
    raise ValueError(f"{place!r} is no place for a token; use header:NAME, bearer, basic, query:NAME or json:PATH")


def credentials(request: InboundRequest, kind: bytes) -> bytes | None:
    """What follows `Bearer` or `Basic` (`kind`, lower case) in the Authorization header; None without that header.

    Raises VerificationError (no_supported_scheme) when the header holds credentials of another kind.
    """
    value = request.headers.one(b"authorization")
    if value is None:
        return None
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() != kind:
        raise VerificationError(NO_SUPPORTED_SCHEME, f"the Authorization header is not of the kind {kind.decode()}")
    return rest.strip()


def _basic(request: InboundRequest) -> list[bytes] | None:
    value = credentials(request, b"basic")
    if value is None:
        return None
    try:
        return [a2b_base64(value, strict_mode=True)]
    except ValueError:
        raise VerificationError(MALFORMED_HEADER, "the basic credentials are not base64") from None
