"""How are secrets and signatures written as text? Every decoding a provider asks for, by name."""

from __future__ import annotations

import binascii
import hashlib
import unicodedata
from binascii import a2b_base64, b2a_base64, hexlify, unhexlify
from collections.abc import Callable
from functools import partial
from typing import Final

from ringback.signing.request import Secret
from ringback.signing.secret import (
    ED25519_BYTES,
    HMAC_PREFIX,
    CheckingKey,
    Ed25519PublicKey,
    HmacKey,
    PublicKey,
    parse_public_key,
    parse_secret,
)

# Without a frame of Python between: they run once per verified request.
hex_signature: Final[Callable[[bytes], bytes]] = hexlify
base64_signature: Final[Callable[[bytes], bytes]] = partial(b2a_base64, newline=False)


def base64url_signature(digest: bytes) -> bytes:
    """Base64 in the alphabet of URLs, without padding."""
    return b2a_base64(digest, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_")


def base64_of_hex_signature(digest: bytes) -> bytes:
    """Base64 of the hex text."""
    return b2a_base64(hexlify(digest), newline=False)


ENCODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "hex": hex_signature,
    "base64": base64_signature,
    "base64url": base64url_signature,
    "base64_of_hex": base64_of_hex_signature,
}


def decode_base64(text: bytes) -> bytes:
    """The bytes of strict base64 with padding. Raises ValueError."""
    return a2b_base64(text, strict_mode=True)


def decode_base64url(text: bytes) -> bytes:
    """The bytes of base64 in the alphabet of URLs, with or without padding. Raises ValueError."""
    if b"+" in text or b"/" in text:
        raise ValueError("not base64url: + and / are of the other alphabet")
    bare = text.rstrip(b"=")
    return a2b_base64(bare.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(bare) % 4), strict_mode=True)


def decode_signature(text: bytes, encoding: str) -> bytes:
    """The bytes of a signature that is written as `hex`, `base64` or `base64url`. Raises ValueError."""
    if encoding == "hex":
        return unhexlify(text)
    return decode_base64url(text) if encoding == "base64url" else decode_base64(text)


def decode_secret(secret: Secret, default: str) -> CheckingKey:
    """The key that a secret stands for, read as its own encoding says, or else as `default`. Raises ValueError without the secret."""
    encoding = secret.encoding or default
    if encoding == "utf8" and default in _REFINED:
        encoding = default
    read = SECRET_ENCODINGS.get(encoding)
    if read is None:
        raise ValueError(f"{encoding!r} is no secret encoding; use one of {', '.join(SECRET_ENCODINGS)}")
    try:
        key = read(secret.text)
    except (ValueError, binascii.Error) as wrong:
        raise ValueError(f"the secret cannot be read as {encoding}: {wrong}") from None
    if not secret.text.strip() or (isinstance(key, HmacKey) and not key.secret):
        raise ValueError("the secret is empty; anyone could sign with it")
    return key


def _utf8(text: str) -> HmacKey:
    return HmacKey(text.encode())


def _nfkd(text: str) -> HmacKey:
    return HmacKey(unicodedata.normalize("NFKD", text).encode())


def _hex(text: str) -> HmacKey:
    return HmacKey(unhexlify(text))


def _base64(text: str) -> HmacKey:
    return HmacKey(decode_base64(text.encode()))


def _whsec(text: str) -> HmacKey:
    return _base64(text.removeprefix(HMAC_PREFIX))


def _whsec_or_utf8(text: str) -> HmacKey:
    return _whsec(text) if text.startswith(HMAC_PREFIX) else _utf8(text)


def _sha1(text: str) -> HmacKey:
    return HmacKey(hashlib.sha1(text.encode(), usedforsecurity=False).digest())


def _standard(text: str) -> CheckingKey:
    if text.startswith("whpk_"):
        return parse_public_key(text)
    # The length limits of our own secrets do not bind other senders.
    return parse_secret(text) if text.startswith(("whsk_", "whsk1_")) else _whsec(text)


def _ed25519(raw: bytes) -> Ed25519PublicKey:
    if len(raw) != ED25519_BYTES:
        raise ValueError(f"an ed25519 public key has {ED25519_BYTES} bytes, not {len(raw)}")
    return Ed25519PublicKey(raw)


def _hex_ed25519(text: str) -> Ed25519PublicKey:
    return _ed25519(unhexlify(text))


def _base64_ed25519(text: str) -> Ed25519PublicKey:
    return _ed25519(decode_base64(text.encode()))


def _spki(text: str) -> PublicKey:
    return PublicKey(decode_base64(text.encode()))


def _pem(text: str) -> PublicKey:
    return PublicKey(text.encode())


# What some schemes make of the UTF-8 text is part of the scheme: saying that the secret is plain text does not change it.
_REFINED: Final = ("nfkd_utf8", "sha1_of_utf8")

SECRET_ENCODINGS: Final[dict[str, Callable[[str], CheckingKey]]] = {
    "utf8": _utf8,
    "nfkd_utf8": _nfkd,
    "hex": _hex,
    "base64": _base64,
    "whsec_base64": _whsec,
    "whsec_or_utf8": _whsec_or_utf8,
    "sha1_of_utf8": _sha1,
    "standard": _standard,
    "whpk_base64": parse_public_key,
    "hex_ed25519_public_key": _hex_ed25519,
    "base64_ed25519_public_key": _base64_ed25519,
    "spki_base64_p256": _spki,
    "spki_base64": _spki,
    "pem": _pem,
}
