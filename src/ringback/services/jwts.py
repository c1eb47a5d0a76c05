"""Is this one of the reference server's tokens? JSON Web Tokens signed with a secret that both servers know, and what they say.

The setting decides the algorithm, never the token; what is not signed so is not looked at any further.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.errors import OperatorError, Refused, Unauthenticated, VerificationError
from ringback.signing.encodings import decode_base64url
from ringback.signing.headers import Headers
from ringback.signing.jwt import Jwt
from ringback.signing.request import InboundRequest, Secret

_SYMMETRIC: Final = ("HS256", "HS384", "HS512")
# JWTs count time in seconds.
_US: Final = 1_000_000.0
# The year 33658: in microseconds it fits 64 bits.
_LATEST_S: Final = 1e12


class Claims(msgspec.Struct, frozen=True):
    """What a believed token says: its org, its application (None = it is an org token), the application's feature flags, and times.

    Times are microseconds since 1970; `issued_at` is 0 for a token that does not say.
    """

    org_id: str
    app_id: str | None
    feature_flags: tuple[str, ...]
    issued_at: int
    expires_at: int | None


class Jwts:
    """Believes tokens signed with one secret: text for HS algorithms, a key or certificate in PEM for the others. Raises OperatorError.

    `fingerprint` makes a digest of the secret that can be kept beside what a token opened.
    """

    def __init__(self, secret: str, algorithm: str, fingerprint: Callable[[bytes], bytes]) -> None:
        self._secret = secret.encode()
        self.key_print = fingerprint(f"{algorithm} {secret}".encode())
        symmetric = algorithm in _SYMMETRIC
        text = secret if symmetric else _public_pem(secret)
        scheme = Jwt(name="jwt", algorithms=(algorithm,), secret_encoding="utf8" if symmetric else "pem")
        try:
            self._verifier = scheme.prepare([Secret(text)], None)
        except ValueError as error:
            raise OperatorError(f"jwt_secret cannot be used with jwt_algorithm {algorithm}: {error}") from None

    def claims_to_be_signed(self, token: bytes) -> bool:
        """Is this shaped like a JWT, or is it the secret itself?"""
        # Each of its first two parts is a JSON object in base64.
        return (token.startswith(b"ey") and token.count(b".") == 2) or hmac.compare_digest(token, self._secret)

    def read(self, token: bytes, now_us: int) -> Claims:
        """What the token says. Raises Unauthenticated, and Refused (`bad token`) when a genuine one names no ids."""
        if hmac.compare_digest(token, self._secret):
            raise Unauthenticated("Invalid token: this is the signing secret itself; send a token that was signed with it")
        request = InboundRequest(Headers([(b"authorization", b"Bearer " + token)], lowered=True))
        try:
            self._verifier.verify(request, now_s=now_us / _US)
            claims = msgspec.json.decode(decode_base64url(token.split(b".")[1]), type=dict[str, Any])
        except (VerificationError, ValueError):
            raise Unauthenticated from None
        return _claims(claims)


def _claims(claims: dict[str, Any]) -> Claims:
    subject, org_id = claims.get("sub"), claims.get("org")
    app_id = None
    if org_id is None:
        org_id = subject
    else:
        app_id = _id("sub", ids.APPLICATION, subject)
    flags = claims.get("feature_flags") or []
    if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        raise Refused("bad token", "the claim feature_flags of the token is no list of texts")
    return Claims(
        _id("sub" if app_id is None else "org", ids.ORGANISATION, org_id),
        app_id,
        tuple(flags),
        _time_us(claims.get("iat") or 0),
        None if claims.get("exp") is None else _time_us(claims["exp"]),
    )


def _time_us(seconds: float) -> int:
    """A time that the verifier found to be a number, in microseconds since 1970; beyond what a database holds it is the end of time."""
    return int(max(min(float(seconds), _LATEST_S), -_LATEST_S) * _US)


def _id(claim: str, prefix: str, value: object) -> str:
    if not isinstance(value, str) or not ids.is_id(prefix, value):
        raise Refused("bad token", f"the claim {claim} of the token is not an id that begins with {prefix}")
    return value


def _public_pem(text: str) -> str:
    """The public half of a private key in PEM; anything else as it is."""
    if "PRIVATE KEY" not in text:
        return text
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        public = load_pem_private_key(text.encode(), None).public_key()
    except (ValueError, TypeError) as error:
        raise OperatorError(f"jwt_secret is no private key that can be read: {error}") from None
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
