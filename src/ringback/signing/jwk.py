"""Which keys are in this JSON Web Key Set? Public keys only. Source: https://www.rfc-editor.org/rfc/rfc7517."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringback.errors import VerificationError
from ringback.signing.encodings import decode_base64url
from ringback.signing.secret import CheckingKey, Ed25519PublicKey, PublicKey
from ringback.signing.verdict import SIGNATURE_MISMATCH


def keys_of_set(text: bytes, key_id: str) -> tuple[CheckingKey, ...]:
    """The keys of that id. Raises VerificationError (signature_mismatch) when the set has none that can be used."""
    try:
        document = msgspec.json.decode(text)
        entries = document["keys"] if isinstance(document, dict) and "keys" in document else [document]
        keys = tuple(_key(entry) for entry in entries if isinstance(entry, dict) and entry.get("kid") == key_id)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        keys = ()
    if not keys:
        raise VerificationError(SIGNATURE_MISMATCH, f"the key set has no usable key {key_id!r}")
    return keys


def _key(entry: Mapping[str, Any]) -> CheckingKey:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    kind = entry["kty"]
    public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if kind == "RSA":
        public = rsa.RSAPublicNumbers(_number(entry["e"]), _number(entry["n"])).public_key()
    elif kind == "EC" and entry["crv"] == "P-256":
        public = ec.EllipticCurvePublicNumbers(_number(entry["x"]), _number(entry["y"]), ec.SECP256R1()).public_key()
    elif kind == "OKP" and entry["crv"] == "Ed25519":
        return Ed25519PublicKey(_bytes(entry["x"]))
    else:
        # A symmetric key (`oct`) that is published is no secret.
        raise ValueError(f"keys of kind {kind} are not used")
    return PublicKey(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _number(text: object) -> int:
    return int.from_bytes(_bytes(text), "big")


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("a number of a key is a text")
    return decode_base64url(text.encode())
