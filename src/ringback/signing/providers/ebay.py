"""Is this from eBay? An ECDSA signature in a header of base64 JSON, with a key that is fetched by its id.

Source: https://developer.ebay.com/api-docs/commerce/notification/overview.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms
from ringback.signing.documents import parse_json
from ringback.signing.encodings import decode_base64, decode_secret
from ringback.signing.fetched import NO_KEYS, KeyRef, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import PublicKey
from ringback.signing.verdict import MALFORMED_HEADER, SIGNATURE_MISMATCH, Verdict

_KEY_URL: Final = "https://api.ebay.com/commerce/notification/v1/public_key/"
# The id becomes a part of the URL: nothing in it may lead elsewhere.
_KEY_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


class Ebay(msgspec.Struct, frozen=True, kw_only=True, tag="ebay"):
    """Signed: the body. The secrets, if any, are public keys (`pem`); without them the key is fetched."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Is the signature there?"""
        return b"x-ebay-signature" in request.headers

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the public keys. Raises ValueError when one cannot be used."""
        return _EbayVerifier(self.name, [secret for secret in secrets if secret.encoding == "pem"])


class _EbayVerifier:
    __slots__ = ("_checks", "_name")

    def __init__(self, name: str, secrets: Sequence[Secret]) -> None:
        self._name = name
        self._checks = tuple(algorithms.prepare("ecdsa-sha1", "base64", decode_secret(secret, "pem")) for secret in secrets)

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        key_id, signature = _read(request.headers.need(b"x-ebay-signature"))
        for index, check in enumerate(self._checks or (_fetched(key_id, key_source),)):
            if check(request.body, (signature,)):
                return Verdict(self._name, index)
        raise VerificationError(SIGNATURE_MISMATCH, "the signature was not made with eBay's key over this body")


def _read(header: bytes) -> tuple[str, bytes]:
    try:
        document = parse_json(decode_base64(header))
    except ValueError:
        document = None
    values = (document.get("kid"), document.get("signature")) if isinstance(document, dict) else (None, None)
    key_id, signature = values
    if not isinstance(key_id, str) or not isinstance(signature, str) or not _KEY_ID.fullmatch(key_id):
        raise VerificationError(MALFORMED_HEADER, "x-ebay-signature is no base64 of JSON with kid and signature")
    return key_id, signature.encode("utf-8", "surrogatepass")


def _fetched(key_id: str, key_source: KeySource) -> algorithms.Check:
    key = key_source.key(KeyRef(_KEY_URL + key_id, "pem_by_id", key_id))
    try:
        return algorithms.prepare("ecdsa-sha1", "base64", PublicKey(key))
    except ValueError as wrong:
        raise VerificationError(SIGNATURE_MISMATCH, f"eBay's key cannot be used: {wrong}") from None
