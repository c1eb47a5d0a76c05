"""Was this content signed with this key? One prepared check per key, for every algorithm that providers use."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from ringback.signing import hmac_body
from ringback.signing.encodings import ENCODERS, decode_signature
from ringback.signing.secret import CheckingKey, Ed25519Key, Ed25519PublicKey, HmacKey, PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

# Is any of these signatures, as written in the request, one of the content?
Check: TypeAlias = Callable[[bytes, Sequence[bytes]], bool]
_Verify: TypeAlias = Callable[[bytes, bytes], None]

HMAC_HASHES: Final = {"hmac-sha1": "sha1", "hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}
# The hash of the secret and the content together, as providers did before they knew HMAC; the content template holds the secret.
DIGEST_HASHES: Final = {"digest-sha1": "sha1", "digest-sha256": "sha256"}
ASYMMETRIC: Final = (
    "ed25519",
    "ecdsa-sha1",
    "ecdsa-sha256",
    "ecdsa-sha256-raw",
    "rsa-sha1",
    "rsa-sha256",
    "rsa-sha384",
    "rsa-sha512",
    "rsa-pss-sha256",
    "rsa-pss-sha512",
)
# Fewer bits are within reach of factoring (NIST SP 800-131A).
_MIN_RSA_BITS: Final = 2048


def prepare(algorithm: str, encoding: str, key: CheckingKey) -> Check:
    """The check for one key. Raises ValueError when the key is not of the kind that the algorithm needs."""
    if algorithm in ASYMMETRIC:
        return _written(verifier(algorithm, key), encoding)
    if not isinstance(key, HmacKey):
        raise ValueError(f"{algorithm} needs a shared secret, not a public key")
    encode = ENCODERS[encoding]
    hash_name = HMAC_HASHES.get(algorithm)
    if hash_name is not None:
        return _hmac(key.secret, hash_name, encode)
    if algorithm not in DIGEST_HASHES:
        raise ValueError(
            f"{algorithm!r} is no algorithm that is known here; use one of {', '.join((*HMAC_HASHES, *DIGEST_HASHES, *ASYMMETRIC))}"
        )
    digest = getattr(hashlib, DIGEST_HASHES[algorithm])
    return _compared(lambda content: digest(content).digest(), encode)


def _hmac(secret: bytes, hash_name: str, encode: Callable[[bytes], bytes]) -> Check:
    inner, outer = hmac_body.absorb(secret, hash_name)
    compare = hmac.compare_digest

    # The hottest lines of receiving: `hmac_body.prepare` and `_compared` in one frame, and no list for the one signature of most requests.
    def check(content: bytes, signatures: Sequence[bytes]) -> bool:
        first = inner()
        first.update(content)
        second = outer()
        second.update(first.digest())
        expected = encode(second.digest())
        if len(signatures) == 1:
            return compare(expected, signatures[0])
        return any([compare(expected, signature) for signature in signatures])

    return check


def _compared(make: Callable[[bytes], bytes], encode: Callable[[bytes], bytes]) -> Check:
    def check(content: bytes, signatures: Sequence[bytes]) -> bool:
        expected = encode(make(content))
        return any([hmac.compare_digest(expected, signature) for signature in signatures])

    return check


def _written(verify: _Verify, encoding: str) -> Check:
    from cryptography.exceptions import InvalidSignature

    def check(content: bytes, signatures: Sequence[bytes]) -> bool:
        for signature in signatures:
            try:
                verify(decode_signature(signature, encoding), content)
            except (InvalidSignature, ValueError):
                continue
            return True
        return False

    return check


def verifier(algorithm: str, key: CheckingKey) -> _Verify:
    """A function of signature and content that raises InvalidSignature or ValueError unless they belong together."""
    if algorithm == "ed25519":
        return _ed25519(key)
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    public = load_public_key(key)
    if algorithm.startswith("ecdsa") and isinstance(public, EllipticCurvePublicKey):
        return _ecdsa(public, algorithm)
    if algorithm.startswith("rsa") and isinstance(public, RSAPublicKey):
        if public.key_size < _MIN_RSA_BITS:
            raise ValueError(f"the RSA key has {public.key_size} bits; {_MIN_RSA_BITS} are needed")
        return _rsa(public, algorithm)
    raise ValueError(f"{algorithm} cannot be checked with a key of this kind")


def load_public_key(key: CheckingKey) -> PublicKeyTypes:
    """The key in PEM, DER (SubjectPublicKeyInfo) or an X.509 certificate in PEM. Raises ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    if not isinstance(key, PublicKey):
        raise ValueError("a public key is needed here, not a shared secret")
    try:
        if key.encoded.lstrip().startswith(b"-----BEGIN CERTIFICATE"):
            return load_pem_x509_certificate(key.encoded).public_key()
        if key.encoded.lstrip().startswith(b"-----BEGIN"):
            return load_pem_public_key(key.encoded)
        return load_der_public_key(key.encoded)
    except (ValueError, UnsupportedAlgorithm) as wrong:
        raise ValueError(f"this is no public key that can be read: {wrong}") from None


def _ed25519(key: CheckingKey) -> _Verify:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    if isinstance(key, Ed25519Key | Ed25519PublicKey):
        return ed25519.Ed25519PublicKey.from_public_bytes(key.public).verify
    public = load_public_key(key)
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise ValueError("ed25519 cannot be checked with a key of this kind")
    return public.verify


def _ecdsa(public: EllipticCurvePublicKey, algorithm: str) -> _Verify:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    method = ECDSA(hashes.SHA1() if algorithm == "ecdsa-sha1" else hashes.SHA256())
    size = (public.curve.key_size + 7) // 8

    def verify_raw(signature: bytes, content: bytes) -> None:
        if len(signature) != 2 * size:
            raise ValueError("not two numbers of the size of the curve")
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        public.verify(encode_dss_signature(r, s), content, method)

    return verify_raw if algorithm.endswith("-raw") else lambda signature, content: public.verify(signature, content, method)


def _rsa(public: RSAPublicKey, algorithm: str) -> _Verify:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    by_name: dict[str, hashes.HashAlgorithm] = {
        "sha1": hashes.SHA1(),
        "sha256": hashes.SHA256(),
        "sha384": hashes.SHA384(),
        "sha512": hashes.SHA512(),
    }
    digest = by_name[algorithm.rpartition("-")[2]]
    fill: padding.AsymmetricPadding = padding.PKCS1v15()
    if "pss" in algorithm:
        fill = padding.PSS(padding.MGF1(digest), digest.digest_size)
    return lambda signature, content: public.verify(signature, content, fill, digest)
