"""What is the HMAC of these bytes under this key? As fast as Python can: the key is absorbed once, not per message.

Microseconds for one Standard Webhooks signature of a 500-byte body on the machine of the benchmarks (OpenSSL 3.0):
hmac.new 2.2, hmac.digest 2.2, hmac.new(key).copy() 1.6, inner and outer hash copied 1.15. The last is what stands here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from hashlib import _Hash

Mac: TypeAlias = Callable[[bytes], bytes]
Fresh: TypeAlias = "Callable[[], _Hash]"

# RFC 2104: the bytes that the key is combined with before the inner and the outer hash.
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


def absorb(key: bytes, algorithm: str) -> tuple[Fresh, Fresh]:
    """Makers of the inner and the outer hash that have taken in the key. `algorithm` is a name that hashlib knows."""
    block = hashlib.new(algorithm).block_size
    if len(key) > block:
        key = hashlib.new(algorithm, key).digest()
    padded = key.ljust(block, b"\0")
    return hashlib.new(algorithm, padded.translate(_INNER)).copy, hashlib.new(algorithm, padded.translate(_OUTER)).copy


def prepare(key: bytes, algorithm: str = "sha256") -> Mac:
    """A function from bytes to their HMAC under `key`. `algorithm` is a name that hashlib knows."""
    inner, outer = absorb(key, algorithm)

    def mac(data: bytes) -> bytes:
        first = inner()
        first.update(data)
        second = outer()
        second.update(first.digest())
        return second.digest()

    return mac
