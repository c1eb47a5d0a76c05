"""How are secrets kept at rest? Sealed with AES-256-GCM under a key that is not in the database.

The key comes from `main_secret`, else from a key file made at first start beside the database (mode 0600).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ringback.errors import OperatorError

# AES-256 takes 32 bytes of key.
KEY_BYTES: Final = 32
# GCM's own nonce length; a random one is safe for 2^32 secrets under one key (NIST SP 800-38D, 8.3).
_NONCE_BYTES: Final = 12
# First byte of a sealed value: which way of sealing made it.
_VERSION: Final = b"\x01"


class Vault:
    """Seals and opens small values. Knows nothing of what they are."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._print_key = hmac.digest(key, b"ringback fingerprint", "sha256")

    def fingerprint(self, plain: bytes) -> bytes:
        """What tells a value from others, the same each time, and says nothing of it to whoever has the database alone."""
        return hmac.digest(self._print_key, plain, "sha256")

    def seal(self, plain: bytes) -> bytes:
        """The value, encrypted and authenticated; different each time."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, _VERSION)

    def open(self, sealed: bytes) -> bytes:
        """The value that was sealed. Raises OperatorError when this key did not seal it."""
        nonce = sealed[1 : 1 + _NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, sealed[1 + _NONCE_BYTES :], _VERSION)
        except (InvalidTag, ValueError) as error:
            raise OperatorError(
                "a stored secret cannot be opened: main_secret (or the key file beside the database) is not the one it was sealed with; "
                "start with the former one"
            ) from error


def key_from_text(main_secret: str) -> bytes:
    """The key that a `main_secret` of any length stands for."""
    return hashlib.sha256(b"ringback main secret\x00" + main_secret.encode()).digest()


def key_from_file(path: Path) -> bytes:
    """The key in a key file, which is made with mode 0600 when it does not exist. Raises OperatorError for an unusable one."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return _make_key_file(path)
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"key file {path} cannot be read: {error}; make it readable or set main_secret") from error
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise OperatorError(f"key file {path}: it must hold {2 * KEY_BYTES} hexadecimal digits; restore it from a backup")
    return key


def _make_key_file(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    unfinished = path.with_name(f"{path.name}.new")
    try:
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(key.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Whole from the start, also after a kill; and its name durable before anything is sealed with it.
        unfinished.rename(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise OperatorError(f"key file {path} cannot be made: {error.strerror}; make the directory writable or set main_secret") from error
    return key
