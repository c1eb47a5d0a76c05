"""Is this from PayPal? An RSA signature over ids, a time and a checksum of the body, by a certificate that must be fetched.

Source: https://developer.paypal.com/api/rest/webhooks/rest/ (verify manually). The webhook's id is the secret here: it is not secret, but
it is signed and not in the request, so that another customer's notifications do not pass.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms, times
from ringback.signing.fetched import NO_KEYS, KeyRef, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import PublicKey
from ringback.signing.verdict import MALFORMED_HEADER, NO_SUPPORTED_SCHEME, SIGNATURE_MISMATCH, Verdict, check_age

# The only hosts whose certificates count; anything else could be the sender's own.
_CERTIFICATE_URL: Final = re.compile(r"https://(?:[a-z0-9-]+\.)*paypal\.com/[A-Za-z0-9/._-]+")


class PayPal(msgspec.Struct, frozen=True, kw_only=True, tag="paypal"):
    """Signed: transmission id, time, webhook id and CRC-32 of the body, joined by bars."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Is the signature there?"""
        return b"paypal-transmission-sig" in request.headers

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """The webhook ids. Raises ValueError when there is none."""
        return _PayPalVerifier(self.name, secrets, tolerance_s)


class _PayPalVerifier:
    __slots__ = ("_name", "_tolerance_s", "_webhook_ids")

    def __init__(self, name: str, secrets: Sequence[Secret], tolerance_s: float | None) -> None:
        self._webhook_ids = tuple(secret.text.encode() for secret in secrets)
        if not all(self._webhook_ids) or not self._webhook_ids:
            raise ValueError(f"{name} needs the id of the webhook as its secret")
        self._name = name
        self._tolerance_s = tolerance_s

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        headers = request.headers
        signature, message_id = headers.need(b"paypal-transmission-sig"), headers.need(b"paypal-transmission-id")
        time = headers.need(b"paypal-transmission-time")
        if headers.need(b"paypal-auth-algo") != b"SHA256withRSA":
            raise VerificationError(NO_SUPPORTED_SCHEME, "only SHA256withRSA is accepted")
        check = certificate_check(_certificate_url(headers.need(b"paypal-cert-url")), "rsa-sha256", key_source)
        for index, webhook_id in enumerate(self._webhook_ids):
            content = b"%b|%b|%b|%d" % (message_id, time, webhook_id, zlib.crc32(request.body))
            if check(content, (signature,)):
                signed_at_s = self._when(time, now_s)
                # Bodies with the same CRC-32 are easily made.
                nonce = message_id.decode("latin-1")
                return Verdict(self._name, index, nonce, signed_at_s, once=True, nonce=nonce)
        raise VerificationError(SIGNATURE_MISMATCH, "the signature is not PayPal's for one of the webhook ids over this body")

    def _when(self, time: bytes, now_s: float) -> float:
        try:
            signed_at_s = times.reader("iso")(time)
        except (ValueError, OverflowError):
            raise VerificationError(MALFORMED_HEADER, "the transmission time cannot be read") from None
        if self._tolerance_s is not None:
            check_age(signed_at_s, now_s, self._tolerance_s)
        return signed_at_s


def _certificate_url(raw: bytes) -> str:
    url = raw.decode("latin-1")
    if not _CERTIFICATE_URL.fullmatch(url) or ".." in url:
        raise VerificationError(MALFORMED_HEADER, "the certificate is not at paypal.com")
    return url


def certificate_check(url: str, algorithm: str, key_source: KeySource) -> algorithms.Check:
    """The check with the certificate at `url`. Raises what `key_source` raises, and VerificationError when it is no certificate."""
    certificate = key_source.key(KeyRef(url, "x509_pem"))
    try:
        return algorithms.prepare(algorithm, "base64", PublicKey(certificate))
    except ValueError as wrong:
        raise VerificationError(SIGNATURE_MISMATCH, f"the certificate cannot be used: {wrong}") from None
