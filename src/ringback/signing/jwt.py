"""Is this JSON Web Token genuine, and is it about this request? The key decides the algorithm, never the token.

Source: https://www.rfc-editor.org/rfc/rfc7515 (JWS), /rfc7519 (JWT), /rfc8725 (best practice), /rfc7517 (JWK).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms
from ringback.signing.algorithms import Check
from ringback.signing.documents import query_value
from ringback.signing.encodings import decode_base64url, decode_secret
from ringback.signing.fetched import NO_KEYS, KeyRef, KeySource
from ringback.signing.jwk import keys_of_set
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import CheckingKey, HmacKey
from ringback.signing.tokens import credentials
from ringback.signing.verdict import (
    BODY_HASH_MISMATCH,
    MALFORMED_HEADER,
    MISSING_BODY_HASH,
    MISSING_HEADER,
    NO_SUPPORTED_SCHEME,
    SIGNATURE_MISMATCH,
    TIMESTAMP_IN_FUTURE,
    TIMESTAMP_TOO_OLD,
    Verdict,
    check_age,
)

# `none` is not among them, and cannot be added.
ALGORITHMS: Final = {
    "HS256": "hmac-sha256",
    "HS384": "hmac-sha384",
    "HS512": "hmac-sha512",
    "RS256": "rsa-sha256",
    "RS384": "rsa-sha384",
    "RS512": "rsa-sha512",
    "PS256": "rsa-pss-sha256",
    "ES256": "ecdsa-sha256-raw",
    "EdDSA": "ed25519",
}
# How far clocks may differ when a token has expired or is not valid yet, seconds: the leeway that RFC 7519 speaks of.
LEEWAY_S: Final = 60
# 10^15 s is the year 31 million: larger numbers are no times.
_LATEST_S: Final = 1e15
# A token in a header is far smaller; one that is the whole body is bounded by the body limit.
_MAX_HEADER_TOKEN: Final = 16_384


class Jwt(msgspec.Struct, frozen=True, kw_only=True, tag="jwt"):
    """A scheme whose proof is a token at `place`: `bearer`, `header:NAME`, `query:NAME` or `body`.

    Keys are the secrets, or, with `jwks_url`, fetched ones; then a secret is an accepted audience (where the sender names one), unless
    it is given as `pem`: then it is a key, and nothing is fetched. `body_hash_claim` names the claim with the hex SHA-256 of the body;
    without it the token proves the sender alone (unless it is the body).
    """

    name: str
    place: str = "bearer"
    algorithms: tuple[str, ...] = ("HS256",)
    secret_encoding: str = "utf8"
    jwks_url: str = ""
    issuers: tuple[str, ...] = ()
    audience: str = ""
    names_audience: bool = True
    body_hash_claim: str = ""
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Is there anything at its place?"""
        try:
            return _token(request, self.place) is not None
        except VerificationError:
            return True

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the secrets. Raises ValueError when one cannot be used."""
        return _JwtVerifier(self, secrets, tolerance_s)


class _JwtVerifier:
    __slots__ = ("_audiences", "_checks", "_fetches", "_scheme", "_tolerance_s")

    def __init__(self, scheme: Jwt, secrets: Sequence[Secret], tolerance_s: float | None) -> None:
        unknown = [name for name in scheme.algorithms if name not in ALGORITHMS]
        if unknown or not scheme.algorithms:
            raise ValueError(f"{', '.join(unknown) or 'nothing'} is no JWT algorithm; use some of {', '.join(ALGORITHMS)}")
        given = [secret for secret in secrets if secret.encoding == "pem"] if scheme.jwks_url else secrets
        if not secrets and (scheme.names_audience or not scheme.jwks_url):
            raise ValueError(f"{scheme.name} needs at least one secret: {'an audience' if scheme.jwks_url else 'a key'}")
        self._scheme = scheme
        self._tolerance_s = tolerance_s
        self._fetches = bool(scheme.jwks_url) and not given
        self._audiences = (scheme.audience,) * bool(scheme.audience)
        if self._fetches and scheme.names_audience:
            self._audiences = tuple(secret.text for secret in secrets)
            if not all(self._audiences):
                raise ValueError(f"{scheme.name} needs an audience, not an empty text")
        keys = [decode_secret(secret, scheme.secret_encoding) for secret in given]
        if any(isinstance(key, HmacKey) and key.secret.lstrip().startswith(b"-----BEGIN ") for key in keys):
            # Public as it is, anybody could sign with it (RFC 8725, 2.1).
            raise ValueError("a key in PEM is no shared secret; give it with the encoding pem")
        self._checks = {name: _checks(name, keys) for name in scheme.algorithms}
        checked = {index for checks in self._checks.values() for index, _ in checks}
        if checked != set(range(len(keys))):
            raise ValueError(f"one of the keys fits none of {', '.join(scheme.algorithms)}")

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        token = _token(request, self._scheme.place)
        if token is None:
            raise VerificationError(MISSING_HEADER, f"there is no token at {self._scheme.place}")
        header, claims, content, signature = _parts(token)
        algorithm = header.get("alg")
        # Pinned before any key is looked up: the token must not choose how it is checked.
        if not isinstance(algorithm, str) or algorithm not in self._checks or "crit" in header:
            raise VerificationError(NO_SUPPORTED_SCHEME, f"the token must be signed with {' or '.join(self._scheme.algorithms)}")
        checks = self._checks[algorithm]
        if self._fetches:
            checks = _checks(algorithm, self._fetched_keys(header, key_source))
        key_index = _signer(checks, content, signature)
        signed_at_s = self._check_times(claims, now_s)
        audience_index = self._check_parties(claims)
        if self._scheme.body_hash_claim:
            _check_body(claims.get(self._scheme.body_hash_claim), request.body)
        token_id = claims.get("jti")
        index = audience_index if self._fetches else key_index
        return Verdict(self._scheme.name, index, token_id if isinstance(token_id, str) else None, signed_at_s, once=True)

    def _fetched_keys(self, header: Mapping[str, Any], key_source: KeySource) -> Sequence[CheckingKey]:
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise VerificationError(MALFORMED_HEADER, "the token does not name its key (kid)")
        return keys_of_set(key_source.key(KeyRef(self._scheme.jwks_url, "jwks", key_id)), key_id)

    def _check_times(self, claims: Mapping[str, Any], now_s: float) -> float | None:
        expires, begins, issued = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
        if expires is not None and now_s > expires + LEEWAY_S:
            raise VerificationError(TIMESTAMP_TOO_OLD, "the token has expired")
        if begins is not None and now_s < begins - LEEWAY_S:
            raise VerificationError(TIMESTAMP_IN_FUTURE, "the token is not valid yet")
        if self._tolerance_s is not None:
            if issued is None:
                raise VerificationError(MALFORMED_HEADER, "the token does not say when it was issued (iat)")
            check_age(issued, now_s, self._tolerance_s)
        return issued

    def _check_parties(self, claims: Mapping[str, Any]) -> int:
        if self._scheme.issuers and claims.get("iss") not in self._scheme.issuers:
            raise VerificationError(SIGNATURE_MISMATCH, "the token was issued by somebody else (iss)")
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        for index, wanted in enumerate(self._audiences):
            if wanted in named:
                return index
        if self._audiences:
            raise VerificationError(SIGNATURE_MISMATCH, "the token was issued for somebody else (aud)")
        return 0


def _checks(algorithm: str, keys: Sequence[CheckingKey]) -> list[tuple[int, Check]]:
    """The checks of those keys that are of the kind that the algorithm needs."""
    checks = []
    for index, key in enumerate(keys):
        try:
            checks.append((index, algorithms.prepare(ALGORITHMS[algorithm], "base64url", key)))
        except ValueError:
            continue
    return checks


def _signer(checks: Sequence[tuple[int, Check]], content: bytes, signature: bytes) -> int:
    for index, check in checks:
        if check(content, (signature,)):
            return index
    raise VerificationError(SIGNATURE_MISMATCH, "the token was not signed with one of the keys")


def _token(request: InboundRequest, place: str) -> bytes | None:
    kind, _, argument = place.partition(":")
    if kind == "body":
        return request.body.strip() or None
    if kind == "bearer":
        token = credentials(request, b"bearer")
    elif kind == "query":
        token = query_value(request.url, argument.encode())
    else:
        token = request.headers.one(argument.lower().encode())
    if token is not None and len(token) > _MAX_HEADER_TOKEN:
        raise VerificationError(MALFORMED_HEADER, f"the token is longer than {_MAX_HEADER_TOKEN} bytes")
    return token


def _parts(token: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    content, _, signature = token.rpartition(b".")
    head, _, payload = content.partition(b".")
    try:
        header, claims = msgspec.json.decode(decode_base64url(head)), msgspec.json.decode(decode_base64url(payload))
    except (ValueError, RecursionError):
        header = claims = None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise VerificationError(MALFORMED_HEADER, "the token is no JSON Web Token")
    return header, claims, content, signature


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return min(max(float(value), -_LATEST_S), _LATEST_S)
    except OverflowError:
        # A whole number of hundreds of digits.
        pass
    raise VerificationError(MALFORMED_HEADER, f"the claim {name} of the token is no time")


def _check_body(claim: object, body: bytes) -> None:
    if not isinstance(claim, str):
        raise VerificationError(MISSING_BODY_HASH, "the token holds no hash of the body")
    if not hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), claim.encode("utf-8", "surrogatepass")):
        raise VerificationError(BODY_HASH_MISMATCH, "the body is not the one that the token was made for")
