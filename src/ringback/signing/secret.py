"""Which keys are there, and how are they written? Secrets of endpoints as text, and the keys they stand for.

Text forms: `whsec_<base64>` (HMAC, 24 to 75 bytes), `whsk_<base64>` (ed25519 secret key: 32 bytes of seed, then the 32 of the
public half), `whpk_<base64>` (ed25519 public half). Source: https://github.com/standard-webhooks/standard-webhooks
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

HMAC_PREFIX: Final = "whsec_"
ED25519_PREFIX: Final = "whsk_"
ED25519_PREFIXES: Final = ("whsk_", "whsk1_")
PUBLIC_PREFIX: Final = "whpk_"

# Fewer bytes than this are within reach of guessing; Standard Webhooks draws the line here too.
MIN_HMAC_BYTES: Final = 24
# 100 base64 characters: what the HTTP contract allows for an endpoint's secret.
MAX_HMAC_BYTES: Final = 75
# What a new HMAC secret gets: 192 bits, 32 characters without padding.
NEW_HMAC_BYTES: Final = 24
# RFC 8032: an ed25519 seed and a public key have 32 bytes each.
ED25519_BYTES: Final = 32

ALLOWED: Final = (
    f"give {HMAC_PREFIX} (optional) and base64 of {MIN_HMAC_BYTES} to {MAX_HMAC_BYTES} bytes, "
    f"or {ED25519_PREFIX} and base64 of the 64-byte ed25519 secret key"
)

SecretKind: TypeAlias = Literal["hmac256", "ed25519"]


class HmacKey(msgspec.Struct, frozen=True, gc=False):
    """A shared secret: whoever can check can also sign."""

    secret: bytes

    def __repr__(self) -> str:
        return "HmacKey(***)"


class Ed25519PublicKey(msgspec.Struct, frozen=True, gc=False):
    """The half of an ed25519 pair that checks; 32 bytes."""

    public: bytes


class Ed25519Key(msgspec.Struct, frozen=True, gc=False):
    """The half of an ed25519 pair that signs (`seed`, 32 bytes), with the half that checks."""

    seed: bytes
    public: bytes

    def __repr__(self) -> str:
        return f"Ed25519Key(***, public={self.public!r})"


class PublicKey(msgspec.Struct, frozen=True, gc=False):
    """A public key or certificate of any other kind (RSA, elliptic curves): PEM, or DER of its SubjectPublicKeyInfo."""

    encoded: bytes


SigningKey: TypeAlias = HmacKey | Ed25519Key
# What can check is told apart by type, so that a public key can never be taken for a shared secret.
CheckingKey: TypeAlias = HmacKey | Ed25519Key | Ed25519PublicKey | PublicKey


def parse_secret(text: str) -> SigningKey:
    """The key that a secret stands for. Raises ValueError, with what is allowed and without the secret."""
    for prefix in ED25519_PREFIXES:
        if text.startswith(prefix):
            return _ed25519(_decode(text.removeprefix(prefix)))
    secret = _decode(text.removeprefix(HMAC_PREFIX))
    if not MIN_HMAC_BYTES <= len(secret) <= MAX_HMAC_BYTES:
        raise ValueError(f"the secret has {len(secret)} bytes; {ALLOWED}")
    return HmacKey(secret)


def parse_public_key(text: str) -> Ed25519PublicKey:
    """The key that `whpk_<base64>` stands for. Raises ValueError for anything else."""
    public = _decode(text.removeprefix(PUBLIC_PREFIX)) if text.startswith(PUBLIC_PREFIX) else b""
    if len(public) != ED25519_BYTES:
        raise ValueError(f"{text[:12]!r}... is no public key; give {PUBLIC_PREFIX} and base64 of {ED25519_BYTES} bytes")
    return Ed25519PublicKey(public)


def generate_secret(kind: SecretKind, draw: Callable[[int], bytes]) -> str:
    """A new secret in the text form that is stored. `draw(n)` gives n random bytes (`secrets.token_bytes`)."""
    if kind == "hmac256":
        return HMAC_PREFIX + b64encode(draw(NEW_HMAC_BYTES)).decode()
    seed = draw(ED25519_BYTES)
    return ED25519_PREFIX + b64encode(seed + public_half(seed)).decode()


def shown(text: str) -> str:
    """What the owner of a stored secret may see: an HMAC secret with its prefix, of an ed25519 pair the public half alone."""
    key = parse_secret(text)
    return PUBLIC_PREFIX + b64encode(key.public).decode() if isinstance(key, Ed25519Key) else HMAC_PREFIX + text.removeprefix(HMAC_PREFIX)


def public_half(seed: bytes) -> bytes:
    """The ed25519 public key of a 32-byte seed."""
    # Loaded only where ed25519 is used: HMAC must work without the package `cryptography`, which takes 20 ms to import.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _ed25519(raw: bytes) -> Ed25519Key:
    if len(raw) != 2 * ED25519_BYTES:
        raise ValueError(f"the ed25519 secret key has {len(raw)} bytes; {ALLOWED}")
    seed, public = raw[:ED25519_BYTES], raw[ED25519_BYTES:]
    # Signing with halves that do not belong together gives the private half away.
    if public_half(seed) != public:
        raise ValueError(f"the public half of the ed25519 secret key does not belong to its secret half; {ALLOWED}")
    return Ed25519Key(seed, public)


def _decode(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise ValueError(f"the secret is not base64; {ALLOWED}") from None
