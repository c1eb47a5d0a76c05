"""How do we sign what we answer? Some providers believe an acknowledgement only when it carries a signature of its own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, TypeAlias

from ringback.signing.encodings import ENCODERS

# Signs the bytes; gives the signature as it is written.
Sign: TypeAlias = Callable[[bytes], str]

_HMACS: Final = {"hmac-sha1": "sha1", "hmac-sha256": "sha256", "hmac-sha384": "sha384", "hmac-sha512": "sha512"}
# The hash alone: then the secret is a part of what is hashed.
_DIGESTS: Final = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_RSA: Final = "rsa-sha256"
ALGORITHMS: Final = (*_HMACS, *_DIGESTS, _RSA)
# Fewer bits are within reach of factoring (NIST SP 800-131A).
_MIN_RSA_BITS: Final = 2048


def signer(algorithm: str, encoding: str, secret: str) -> Sign:
    """What signs with a secret: a text, or for rsa-sha256 a private key in PEM. Raises ValueError, without the secret."""
    encode = ENCODERS.get(encoding)
    if encode is None:
        raise ValueError(f"{encoding!r} is no encoding of a signature; use one of {', '.join(ENCODERS)}")
    if not secret:
        raise ValueError("an answer cannot be signed without a secret")
    if algorithm == _RSA:
        return _rsa(secret, encode)
    key = secret.encode()
    if algorithm in _HMACS:
        name = _HMACS[algorithm]
        return lambda content: encode(hmac.digest(key, content, name)).decode()
    if algorithm in _DIGESTS:
        digest = _DIGESTS[algorithm]
        return lambda content: encode(digest(content).digest()).decode()
    raise ValueError(f"{algorithm!r} is no way to sign an answer; use one of {', '.join(ALGORITHMS)}")


def _rsa(pem: str, encode: Callable[[bytes], bytes]) -> Sign:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("this is no private key in PEM without a password") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < _MIN_RSA_BITS:
        raise ValueError(f"an RSA key of at least {_MIN_RSA_BITS} bits is needed")
    private = key
    return lambda content: encode(private.sign(content, PKCS1v15(), SHA256())).decode()
