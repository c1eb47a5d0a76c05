"""What must the owner of a source do to receive from a provider, and what goes wrong? Told from what a row of the catalogue says."""

from __future__ import annotations

import json
from typing import Any, Final

from ringback.signing.http_signatures import HttpSignature
from ringback.signing.jwt import Jwt
from ringback.signing.provider import Provider
from ringback.signing.providers.ebay import Ebay
from ringback.signing.providers.paypal import PayPal
from ringback.signing.providers.sns import Sns
from ringback.signing.providers.twilio import TwilioForm, TwilioJson
from ringback.signing.scheme import Signed
from ringback.signing.standard_scheme import StandardScheme
from ringback.signing.tokens import Token, Unsigned

# How secrets look that are no plain text, by how they are read.
_WRITTEN: Final = {
    "standard": "whsec_c2VjcmV0IG9mIHRoZSBleGFtcGxlLCAzMiBieXRl",
    "base64": "c2VjcmV0IG9mIHRoZSBleGFtcGxlLCAzMiBieXRl",
    "hex": "736563726574206f6620746865206578616d706c652c203332206279746573ab",
    **dict.fromkeys(("pem", "spki_base64", "hex_ed25519_public_key", "base64_ed25519_public_key"), "the public key"),
}
# Handshakes that need to know something besides the secret, and the field of a source that says it.
_ASKS_FOR: Final = {
    "meta-hub": ("verifyToken", "the token that you choose and paste there as well"),
    "strava-hub": ("verifyToken", "the token that you choose and paste there as well"),
    "ebay": ("verifyToken", "the token that you choose and paste there as well"),
    "braintree-challenge": ("publicKey", "your public key"),
    "websub": ("topics", ["https://example.com/feed"]),
}
# The secret comes in the provider's first request.
_GIVES_SECRET: Final = ("asana", "notion")
_SIGNS_URL: Final = ("{url}", "{decoded_url}", "{path}")
_UNITS: Final = {
    "ms": "milliseconds",
    "s_or_ms": "seconds or milliseconds",
    "ns": "nanoseconds",
    "iso": "an ISO 8601 date",
    "http": "an HTTP date",
}


def signs_url(row: Provider) -> bool:
    """Is the URL a part of what is signed?"""
    return any(
        isinstance(scheme, TwilioForm | TwilioJson | HttpSignature)
        or (isinstance(scheme, Signed) and any(field in scheme.content for field in _SIGNS_URL))
        for scheme in row.schemes
    )


def fetches_keys(row: Provider) -> bool:
    """Must a key be fetched from the provider?"""
    return any(isinstance(scheme, PayPal | Sns | Ebay) or (isinstance(scheme, Jwt) and bool(scheme.jwks_url)) for scheme in row.schemes)


def source_of(row: Provider) -> dict[str, Any]:
    """The body that makes a source for the provider, with what must be filled in."""
    wanted: dict[str, Any] = {"name": row.name.partition(" (")[0], "type": row.id}
    if any(isinstance(scheme, Unsigned) for scheme in row.schemes):
        return {**wanted, "verify": "none"}
    if any(name in _GIVES_SECRET for name in row.handshakes):
        return {**wanted, "awaitHandshake": True}
    if not any(isinstance(scheme, Ebay) for scheme in row.schemes):
        encodings = [getattr(scheme, "secret_encoding", "") for scheme in row.schemes]
        wanted["secrets"] = [next((_WRITTEN[encoding] for encoding in encodings if encoding in _WRITTEN), "the secret")]
    for name in row.handshakes:
        if name in _ASKS_FOR:
            field, value = _ASKS_FOR[name]
            wanted[field] = value
    if signs_url(row) or "ebay" in row.handshakes:
        wanted["publicUrl"] = "https://hooks.example.com/the-url-that-you-registered"
    return wanted


def failures_of(row: Provider) -> list[str]:
    """Common failures: the reason in quarantine, and what to do about it."""
    found = []
    if signs_url(row):
        found.append("`signature_mismatch`: the URL is signed; `publicUrl` must be the one that you registered, to the letter")
    for scheme in row.schemes:
        found += _of_scheme(scheme)
    if fetches_keys(row):
        found.append("503 `key_unavailable`: the provider's key could not be fetched; the server must be able to reach its host")
    if any(name in _GIVES_SECRET for name in row.handshakes):
        found.append("`no_supported_scheme`: the provider has not sent its secret yet; make the webhook there once the source is made")
        found.append(
            "`unsolicited_handshake`: the webhook was made anew there; set `awaitHandshake` and no secrets, and it may send its secret"
        )
    return list(dict.fromkeys(found))


def _of_scheme(scheme: object) -> list[str]:
    if isinstance(scheme, Signed):
        return _of_signed(scheme)
    if isinstance(scheme, StandardScheme):
        found = ["`timestamp_too_old`, `timestamp_in_future`: the clock of this server is off, or the request was kept back on its way"]
        if scheme.secret_encoding == "standard":
            found.insert(0, "`signature_mismatch`: the secret is base64 after `whsec_`, not plain text")
        return found
    if isinstance(scheme, Token):
        return ["`signature_mismatch`: the credential is compared as it is; nothing of the body is signed"]
    if isinstance(scheme, Unsigned):
        return [f"nothing can be refused: {scheme.why}; keep the URL to yourself and restrict `allowedIps` where the provider has a list"]
    return []


def _of_signed(scheme: Signed) -> list[str]:
    found = []
    if scheme.secret_encoding in ("hex", "base64", "whsec_base64"):
        found.append(f"the source is refused, or `signature_mismatch`: the secret is read as {scheme.secret_encoding}")
    if scheme.timestamp and scheme.tolerance_s is not None:
        unit = _UNITS.get(scheme.unit, "seconds")
        found.append(
            f"`timestamp_too_old`: its time is in {unit}, and {scheme.tolerance_s:.0f} s are allowed; check the clock, or set `toleranceS`"
        )
    if "{body}" in scheme.content:
        found.append("`signature_mismatch`: the raw bytes are signed; a proxy that rewrites JSON, line ends or codings breaks them")
    return found


def example(row: Provider) -> str:
    """The body that makes a source, as text."""
    return json.dumps(source_of(row), ensure_ascii=False)
