"""Where does the check of a request stop, and what would make it pass? For people who look at a request that is not believed. Pure.

The same code decides as for every request (`verify`); here it is asked several times, and what it saw on the way is told.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from ringback.errors import VerificationError
from ringback.signing.algorithms import HMAC_HASHES
from ringback.signing.diagnosis import likely_causes
from ringback.signing.encodings import ENCODERS, decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.request import InboundRequest, Scheme, Secret, Verifier
from ringback.signing.scheme import Signed
from ringback.signing.secret import HmacKey
from ringback.signing.standard_scheme import StandardScheme
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
)

# `prepare(secrets, tolerance_s)` makes the verifier; None is the scheme's own tolerance. Raises ValueError when a secret cannot be used.
Prepare: TypeAlias = Callable[[Sequence[Secret], float | None], Verifier]

# The steps in the order in which a request passes them.
SECRET: Final = "secret"
HEADER: Final = "header"
FORM: Final = "form"
SIGNATURE: Final = "signature"
BODY: Final = "body"
TIME: Final = "time"
STEPS: Final = (SECRET, HEADER, FORM, SIGNATURE, BODY, TIME)
# At which step each reason stops it.
_STOPS: Final = {
    MISSING_HEADER: HEADER,
    MALFORMED_HEADER: FORM,
    NO_SUPPORTED_SCHEME: FORM,
    SIGNATURE_MISMATCH: SIGNATURE,
    BODY_HASH_MISMATCH: BODY,
    MISSING_BODY_HASH: BODY,
    TIMESTAMP_TOO_OLD: TIME,
    TIMESTAMP_IN_FUTURE: TIME,
}
_TIMES: Final = (TIMESTAMP_TOO_OLD, TIMESTAMP_IN_FUTURE)


class Content(msgspec.Struct, frozen=True):
    """The bytes that the signature must cover: how many, and which, by their SHA-256 and their beginning."""

    size: int
    sha256: str
    begins: bytes


class Examination(msgspec.Struct, frozen=True):
    """What became of a request. `stopped` is the step that it did not pass, "" when it is believed.

    `headers` are those that hold the proof, with the values that came; `content` is None where the scheme signs no bytes of its own.
    `expected` is the signature that the first secret makes. `signed_at_s` is known once the signature holds, in time or not.
    """

    verdict: Verdict | None
    stopped: str
    reason: str
    detail: str
    headers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    content: Content | None = None
    expected: str = ""
    signed_at_s: float | None = None
    causes: tuple[str, ...] = ()


# Bytes of the content that are shown.
_BEGINS: Final = 200


def examine(
    schemes: Sequence[Scheme],
    prepare: Prepare,
    secrets: Sequence[Secret],
    request: InboundRequest,
    *,
    now_s: float,
    keys: KeySource = NO_KEYS,
) -> Examination:
    """Follow a request through its check. Takes some tens of verifications. Raises KeyUnavailable, and nothing else for any bytes."""
    scheme = next((one for one in schemes if one.applies(request)), schemes[0] if schemes else None)
    headers = _proofs(scheme, request)
    try:
        verifier = prepare(secrets, None)
    except ValueError as wrong:
        return Examination(None, SECRET, "secret", str(wrong), headers)
    content = None if scheme is None else _content(scheme, secrets, request)
    expected = "" if scheme is None or content is None else _expected(scheme, secrets, content)
    shown = None if content is None else Content(len(content), hashlib.sha256(content).hexdigest(), content[:_BEGINS])
    try:
        verdict = verifier.verify(request, now_s=now_s, key_source=keys)
    except VerificationError as refused:
        reason = refused.reason
        signed_at_s = None
        if reason in _TIMES:
            # The signature holds: without a limit on its age it is believed.
            signed_at_s = prepare(secrets, math.inf).verify(request, now_s=now_s, key_source=keys).signed_at_s
        causes = likely_causes(lambda other: prepare(other, math.inf), secrets, request, now_s=0) if reason == SIGNATURE_MISMATCH else []
        return Examination(None, _STOPS.get(reason, SIGNATURE), reason, str(refused), headers, shown, expected, signed_at_s, tuple(causes))
    return Examination(verdict, "", "", "", headers, shown, expected, verdict.signed_at_s)


def _proofs(scheme: Scheme | None, request: InboundRequest) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The headers that a scheme looks at, with what came under their names."""
    names: tuple[str, ...] = ()
    if isinstance(scheme, Signed):
        kind, _, place = scheme.timestamp.partition(":")
        names = (*scheme.headers, *((place.lower(),) if kind == "header" else ()))
    elif isinstance(scheme, StandardScheme):
        family = "svix" if b"svix-signature" in request.headers and b"webhook-signature" not in request.headers else "webhook"
        names = tuple(f"{family}-{part}" for part in ("id", "timestamp", "signature"))
    return tuple((name, tuple(value.decode("latin-1") for value in _values(request, name))) for name in names)


def _values(request: InboundRequest, name: str) -> tuple[bytes, ...]:
    if not name.endswith("*"):
        return request.headers.all(name.encode())
    return tuple(value for field, value in request.headers if field.lower().startswith(name[:-1].encode()))


def _content(scheme: Scheme, secrets: Sequence[Secret], request: InboundRequest) -> bytes | None:
    for secret in secrets:
        try:
            signed = getattr(scheme.prepare([secret], None), "signed", None)
            return None if signed is None else bytes(signed(request))
        except (ValueError, VerificationError):
            continue
    return None


def _expected(scheme: Scheme, secrets: Sequence[Secret], content: bytes) -> str:
    """The signature that the first usable secret makes, as the provider would write it; "" where only the provider can sign."""
    for secret in secrets:
        try:
            if isinstance(scheme, StandardScheme):
                key = decode_secret(secret, scheme.secret_encoding)
                return f"v1,{_written(key.secret, content, 'sha256', 'base64')}" if isinstance(key, HmacKey) else ""
            if isinstance(scheme, Signed) and scheme.algorithm in HMAC_HASHES:
                key = decode_secret(secret, scheme.secret_encoding)
                if isinstance(key, HmacKey):
                    return scheme.prefix + _written(key.secret, content, HMAC_HASHES[scheme.algorithm], scheme.encoding)
        except ValueError:
            continue
    return ""


def _written(key: bytes, content: bytes, hash_name: str, encoding: str) -> str:
    return ENCODERS[encoding](hmac.digest(key, content, hash_name)).decode()
