"""Did the holder of the key sign these parts of the request? HTTP Message Signatures, and the digest that ties the body to them.

Source: https://www.rfc-editor.org/rfc/rfc9421 (signatures), https://www.rfc-editor.org/rfc/rfc9530 (Content-Digest).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms
from ringback.signing.algorithms import Check
from ringback.signing.documents import form_fields
from ringback.signing.encodings import decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import CheckingKey, Ed25519Key, Ed25519PublicKey, HmacKey
from ringback.signing.structured_fields import Item, Member, parse_dictionary
from ringback.signing.template import path_and_query
from ringback.signing.verdict import (
    BODY_HASH_MISMATCH,
    MALFORMED_HEADER,
    MISSING_BODY_HASH,
    MISSING_HEADER,
    NO_SUPPORTED_SCHEME,
    SIGNATURE_MISMATCH,
    TIMESTAMP_TOO_OLD,
    Verdict,
    check_age,
)

# What must be covered, or a signature could be moved to another method, place or body. `@authority` and `@path` may stand for the URI.
REQUIRED: Final = ("@method", "@target-uri", "content-digest")
_URI_PARTS: Final = ("@authority", "@path")
# Signatures that are tried before giving up: each may cost an RSA operation.
_MAX_LABELS: Final = 4
_DIGESTS: Final = {"sha-256": "sha256", "sha-512": "sha512"}
# RFC 9421 names of the algorithms, and ours.
_NAMES: Final = {
    "hmac-sha256": "hmac-sha256",
    "ed25519": "ed25519",
    "ecdsa-p256-sha256": "ecdsa-sha256-raw",
    "rsa-pss-sha512": "rsa-pss-sha512",
    "rsa-v1_5-sha256": "rsa-sha256",
}


class HttpSignature(msgspec.Struct, frozen=True, kw_only=True, tag="http-signature"):
    """RFC 9421 with a policy: which components must be covered, and which algorithm the keys are for (never what the message says).

    `algorithm` "" means: HMAC-SHA256 for shared secrets, ed25519 for its keys, ECDSA P-256 for elliptic ones, RSA-PSS for RSA.
    """

    name: str
    required: tuple[str, ...] = REQUIRED
    algorithm: str = ""
    secret_encoding: str = "base64"
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Is the field with the signature there?"""
        return b"signature-input" in request.headers

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the secrets. Raises ValueError when one cannot be used."""
        return _HttpSignatureVerifier(self, secrets, tolerance_s)


class ContentDigest(msgspec.Struct, frozen=True, kw_only=True, tag="content-digest"):
    """RFC 9530 alone: the body arrived whole. It proves nothing about who sent it, so a provider is never verified by it alone."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Is the field with the digest there?"""
        return b"content-digest" in request.headers

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """There are no keys."""
        return _DigestVerifier(self.name)


class _DigestVerifier:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        check_content_digest(request)
        return Verdict(self._name, 0)


def check_content_digest(request: InboundRequest) -> None:
    """Recompute the digests that Content-Digest names. Raises VerificationError; at least one must be SHA-256 or SHA-512."""
    text = _joined(request, b"content-digest")
    if text is None:
        raise VerificationError(MISSING_HEADER, "header content-digest is missing")
    known = [(name, member.value) for name, member in _dictionary(text).items() if name in _DIGESTS]
    if not known:
        raise VerificationError(NO_SUPPORTED_SCHEME, "content-digest holds neither sha-256 nor sha-512")
    for name, value in known:
        if not isinstance(value, bytes):
            raise VerificationError(MALFORMED_HEADER, "content-digest holds something else than bytes")
        if not hmac.compare_digest(hashlib.new(_DIGESTS[name], request.body).digest(), value):
            raise VerificationError(BODY_HASH_MISMATCH, f"the body has another {name} digest")


class _HttpSignatureVerifier:
    __slots__ = ("_checks", "_scheme", "_tolerance_s")

    def __init__(self, scheme: HttpSignature, secrets: Sequence[Secret], tolerance_s: float | None) -> None:
        if not secrets:
            raise ValueError(f"{scheme.name} needs at least one secret")
        self._scheme = scheme
        self._tolerance_s = tolerance_s
        self._checks = tuple(_check(scheme.algorithm, decode_secret(secret, scheme.secret_encoding)) for secret in secrets)

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        inputs, signatures = _fields(request)
        refusal = VerificationError(SIGNATURE_MISMATCH, "no signature was made with one of the keys over these components")
        for label in list(inputs)[:_MAX_LABELS]:
            try:
                return self._verify_one(request, inputs[label], signatures.get(label), now_s)
            except VerificationError as wrong:
                refusal = wrong
        raise refusal

    def _verify_one(self, request: InboundRequest, member: Member, signature: Member | None, now_s: float) -> Verdict:
        if signature is None or not isinstance(signature.value, bytes) or not isinstance(member.value, tuple):
            raise VerificationError(MALFORMED_HEADER, "signature and signature-input do not belong together")
        parameters = dict(member.parameters)
        self._check_coverage(request, member.value)
        base = _signature_base(request, member)
        # The checks take signatures as text, as all other schemes have them.
        index = self._signer(base, signature.value.hex().encode(), parameters.get("alg"))
        created = parameters.get("created")
        self._check_times(created, parameters.get("expires"), now_s)
        if any(item.value == "content-digest" for item in member.value):
            check_content_digest(request)
        nonce = parameters.get("nonce")
        message_id, signed_at_s = nonce if isinstance(nonce, str) else None, created if isinstance(created, int) else None
        return Verdict(self._scheme.name, index, message_id, signed_at_s, once=True)

    def _check_coverage(self, request: InboundRequest, items: tuple[Item, ...]) -> None:
        # A component with parameters covers only a part of itself.
        covered = {item.value for item in items if not item.parameters}
        for name in self._scheme.required:
            if name == "content-digest" and name not in covered and request.body:
                raise VerificationError(MISSING_BODY_HASH, "the signature does not cover content-digest")
            by_parts = all(part in covered for part in _URI_PARTS) and (b"?" not in request.url or "@query" in covered)
            if name not in covered and name != "content-digest" and not (name == "@target-uri" and by_parts):
                raise VerificationError(NO_SUPPORTED_SCHEME, f"the signature does not cover {name}")

    def _signer(self, base: bytes, signature: bytes, said: object) -> int:
        for index, (algorithm, check) in enumerate(self._checks):
            if (said is None or said == algorithm) and check(base, (signature,)):
                return index
        raise VerificationError(SIGNATURE_MISMATCH, "the signature was not made with one of the keys over these components")

    def _check_times(self, created: object, expires: object, now_s: float) -> None:
        if isinstance(expires, int) and now_s > expires:
            raise VerificationError(TIMESTAMP_TOO_OLD, "the signature has expired")
        if self._tolerance_s is not None:
            if isinstance(created, bool) or not isinstance(created, int):
                raise VerificationError(MALFORMED_HEADER, "the signature does not say when it was created")
            check_age(created, now_s, self._tolerance_s)


def _check(algorithm: str, key: CheckingKey) -> tuple[str, Check]:
    name = algorithm or _usual_algorithm(key)
    if name not in _NAMES:
        raise ValueError(f"{name!r} is no algorithm of RFC 9421 that is known here; use one of {', '.join(_NAMES)}")
    return name, algorithms.prepare(_NAMES[name], "hex", key)


def _usual_algorithm(key: CheckingKey) -> str:
    if isinstance(key, HmacKey):
        return "hmac-sha256"
    if isinstance(key, Ed25519Key | Ed25519PublicKey):
        return "ed25519"
    kind = type(algorithms.load_public_key(key)).__name__
    return {"RSAPublicKey": "rsa-pss-sha512", "Ed25519PublicKey": "ed25519"}.get(kind, "ecdsa-p256-sha256")


def _fields(request: InboundRequest) -> tuple[dict[str, Member], dict[str, Member]]:
    inputs, signatures = _joined(request, b"signature-input"), _joined(request, b"signature")
    if inputs is None or signatures is None:
        raise VerificationError(MISSING_HEADER, "header signature-input or signature is missing")
    members = _dictionary(inputs)
    if not members:
        raise VerificationError(MISSING_HEADER, "header signature-input is empty")
    return members, _dictionary(signatures)


def _dictionary(text: bytes) -> dict[str, Member]:
    try:
        return parse_dictionary(text)
    except ValueError as wrong:
        raise VerificationError(MALFORMED_HEADER, f"a structured field is not well formed: {wrong}") from None


def _joined(request: InboundRequest, name: bytes) -> bytes | None:
    # RFC 9421 2.1: the values of a field that came several times are one value, joined. A label that comes twice is refused later.
    values = request.headers.all(name)
    return b", ".join(value.strip(b" \t") for value in values) if values else None


def _signature_base(request: InboundRequest, member: Member) -> bytes:
    lines: list[bytes] = []
    seen: set[bytes] = set()
    for item in member.value if isinstance(member.value, tuple) else ():
        if not isinstance(item.value, str):
            raise VerificationError(MALFORMED_HEADER, "a component must be a string")
        identifier = _identifier(item)
        if identifier in seen:
            raise VerificationError(MALFORMED_HEADER, "a component is covered twice")
        seen.add(identifier)
        lines.append(identifier + b": " + _component(request, item.value, item))
    lines.append(b'"@signature-params": ' + member.raw)
    return b"\n".join(lines)


def _identifier(item: Item) -> bytes:
    text = f'"{item.value!s}"' if isinstance(item.value, str) else ""
    for name, value in item.parameters:
        if name != "name" or item.value != "@query-param" or not isinstance(value, str):
            raise VerificationError(NO_SUPPORTED_SCHEME, f"component parameter {name} is not supported")
        text += f';name="{value}"'
    return text.encode()


def _component(request: InboundRequest, name: str, item: Item) -> bytes:
    if not name.startswith("@"):
        value = _joined(request, name.encode())
        if value is None:
            raise VerificationError(MISSING_HEADER, f"header {name} is signed and missing")
        return value
    if name == "@query-param":
        return _query_parameter(request.url, dict(item.parameters).get("name"))
    derive = _DERIVED.get(name)
    if derive is None:
        raise VerificationError(NO_SUPPORTED_SCHEME, f"component {name} is not supported")
    if not request.url and name != "@method":
        raise VerificationError(MALFORMED_HEADER, "the signature covers the URL that was called; give the source its public URL")
    return derive(request)


def _authority(request: InboundRequest) -> bytes:
    scheme, _, rest = request.url.partition(b"://")
    host = rest.partition(b"/")[0].partition(b"?")[0].rpartition(b"@")[2].lower()
    return host.removesuffix(b":443" if scheme.lower() == b"https" else b":80")


def _query(request: InboundRequest) -> bytes:
    return b"?" + path_and_query(request.url).partition(b"?")[2]


def _query_parameter(url: bytes, name: object) -> bytes:
    if not isinstance(name, str):
        raise VerificationError(MALFORMED_HEADER, "@query-param needs a name")
    query = path_and_query(url).partition(b"?")[2]
    # RFC 9421 2.2.8 wants the value decoded and encoded again; it differs from what came only for odd senders, which fail here.
    raw = [part.partition(b"=")[2] for part in query.split(b"&") if form_fields(part)[:1] and form_fields(part)[0][0] == name.encode()]
    if len(raw) != 1:
        raise VerificationError(MALFORMED_HEADER, f"query parameter {name} must be there once")
    return raw[0].replace(b"+", b"%20")


_DERIVED: Final[dict[str, Callable[[InboundRequest], bytes]]] = {
    "@method": lambda request: request.method,
    "@target-uri": lambda request: request.url,
    "@authority": _authority,
    "@scheme": lambda request: request.url.partition(b":")[0].lower(),
    "@request-target": lambda request: path_and_query(request.url),
    "@path": lambda request: path_and_query(request.url).partition(b"?")[0],
    "@query": _query,
}
