"""Did this event come before? One row for each event of each source, claimed in the transaction that keeps the message."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from ringback.store.base import Transaction

# Half of SHA-256: two events share a digest once in 2^64 events at the earliest.
_DIGEST_BYTES: Final = 16

_CLAIM: Final = (
    "INSERT INTO deduplication (source_id, key, body, message_id, expires_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (source_id, key) "
    "DO UPDATE SET body = excluded.body, message_id = excluded.message_id, expires_at = excluded.expires_at "
    "WHERE deduplication.expires_at <= ?"
)


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """What became of a claim: the message that was first, None for this one; `conflict`: another body came under the name before."""

    first: str | None
    conflict: bool = False


_MINE: Final = Claimed(None)


def digest(text: bytes) -> bytes:
    """The 16 bytes that stand for a text."""
    return hashlib.sha256(text).digest()[:_DIGEST_BYTES]


def claim(tx: Transaction, source_id: str, key: bytes, body: bytes, message_id: str, expires_at: int, now_us: int) -> Claimed:
    """Claim an event for a message. `key` and `body` are digests; another body under the same key is an event of its own, once."""
    if tx.run(_CLAIM, (source_id, key, body, message_id, expires_at, now_us)):
        return _MINE
    row = tx.row("SELECT body, message_id FROM deduplication WHERE source_id = ? AND key = ?", (source_id, key))
    if row is None or row[0] == body:
        return Claimed(None if row is None else str(row[1]))
    another = digest(key + body)
    if tx.run(_CLAIM, (source_id, another, body, message_id, expires_at, now_us)):
        return Claimed(None, True)
    row = tx.row("SELECT message_id FROM deduplication WHERE source_id = ? AND key = ?", (source_id, another))
    return Claimed(None if row is None else str(row[0]), True)


def purge(tx: Transaction, now_us: int, limit: int) -> int:
    """Forget some events that are past their window; how many."""
    rows = tx.rows("SELECT source_id, key FROM deduplication WHERE expires_at <= ? LIMIT ?", (now_us, limit))
    tx.run_many("DELETE FROM deduplication WHERE source_id = ? AND key = ?", rows)
    return len(rows)
