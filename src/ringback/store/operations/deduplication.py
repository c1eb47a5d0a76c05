"""Did this event come before? One row for each event of each source, claimed in the transaction that keeps the message."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from ringback.store.base import Transaction

# Half of SHA-256: two events share a digest once in 2^64 events at the earliest.
_DIGEST_BYTES: Final = 16
# Twice a UUID; longer names would cost more than their order saves.
_NAME_BYTES: Final = 72

_CLAIM: Final = (
    "INSERT INTO deduplication (source_id, key, body, message_id, expires_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (source_id, key) "
    "DO UPDATE SET body = excluded.body, message_id = excluded.message_id, expires_at = excluded.expires_at "
    "WHERE deduplication.expires_at <= ?"
)


def key_of(identity: str) -> bytes:
    """What an event is stored under: its name as it is, or the digest of a long one.

    Names of most providers grow with time. As they are, those of a minute lie on one page of the tree; as digests, each on a page of its
    own, which is then written whole for the 60 bytes of one row.
    """
    name = identity.encode("utf-8", "surrogatepass")
    return b"n" + name if len(name) <= _NAME_BYTES else b"d" + digest(name)


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """What became of a claim: the message that was first, None for this one; `conflict`: another body came under the name before."""

    first: str | None
    conflict: bool = False


_MINE: Final = Claimed(None)


def digest(text: bytes) -> bytes:
    """The 16 bytes that stand for a text."""
    return hashlib.sha256(text).digest()[:_DIGEST_BYTES]


def claim(tx: Transaction, source_id: str, key: bytes, body: bytes, message_id: str, expires_at: int, now_us: int) -> Claimed:
    """Claim an event for a message. `key` is of `key_of`, `body` a digest; another body under a key is an event of its own, once."""
    if tx.run(_CLAIM, (source_id, key, body, message_id, expires_at, now_us)):
        return _MINE
    row = tx.row("SELECT body, message_id FROM deduplication WHERE source_id = ? AND key = ?", (source_id, key))
    if row is None or row[0] == body:
        return Claimed(None if row is None else str(row[1]))
    another = b"c" + digest(key + body)
    if tx.run(_CLAIM, (source_id, another, body, message_id, expires_at, now_us)):
        return Claimed(None, True)
    row = tx.row("SELECT message_id FROM deduplication WHERE source_id = ? AND key = ?", (source_id, another))
    return Claimed(None if row is None else str(row[0]), True)


def purge(tx: Transaction, now_us: int, limit: int) -> int:
    """Forget some events that are past their window; how many."""
    rows = tx.rows("SELECT source_id, key FROM deduplication WHERE expires_at <= ? LIMIT ?", (now_us, limit))
    tx.run_many("DELETE FROM deduplication WHERE source_id = ? AND key = ?", rows)
    return len(rows)
