"""Did this event come before? One row for each event of each source, claimed in the transaction that keeps the message."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ringback.model.messages import Message
from ringback.model.sources import CONFLICT
from ringback.store.base import Acceptance, EventClaim, Row, Superseded, Transaction

# Half of SHA-256: two events share a digest once in 2^64 events at the earliest.
_DIGEST_BYTES: Final = 16
# In place of a digest: no body that comes under this name is another one.
ANY_BODY: Final = b""
# Before the key of a change that no call brings: a call may have the same id, and is another event.
CHANGED: Final = b"l"
# Twice a UUID; longer names would cost more than their order saves.
_NAME_BYTES: Final = 72

_CLAIM: Final = (
    "INSERT INTO deduplication (source_id, key, body, message_id, expires_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (source_id, key) "
    "DO UPDATE SET body = excluded.body, message_id = excluded.message_id, expires_at = excluded.expires_at, superseded = 0 "
    "WHERE deduplication.expires_at <= ? RETURNING message_id"
)


def key_of(identity: str) -> bytes:
    """What an event is stored under: its name as it is, or the digest of a long one.

    Names of most providers grow with time. As they are, those of a minute lie on one page of the tree; as digests, each on a page of its
    own, which is then written whole for the 60 bytes of one row.
    """
    name = identity.encode("utf-8", "surrogatepass")
    return b"n" + name if len(name) <= _NAME_BYTES else b"d" + digest(name)


def digest(text: bytes) -> bytes:
    """The 16 bytes that stand for a text."""
    return hashlib.sha256(text).digest()[:_DIGEST_BYTES]


def claim(tx: Transaction, acceptances: Sequence[Acceptance]) -> dict[str, str | Superseded]:
    """Claim the events of messages; for each that came before, the id of its message to that of the first one, or to what superseded it.

    Another body under a name is an event of its own, once, whose message is marked as a conflict, and so is one with a used proof.
    """
    for acceptance in acceptances:
        if acceptance.event is not None and acceptance.event.proof and not _is_unused(tx, acceptance, acceptance.event):
            acceptance.message = _conflicting(acceptance.message)
    mine = {row[0] for row in tx.rows_many(_CLAIM, [_claim(a, a.event) for a in acceptances if a.event is not None])}
    repeated: dict[str, str | Superseded] = {}
    for acceptance in acceptances:
        event, message = acceptance.event, acceptance.message
        if event is None or message.id in mine:
            continue
        first = _first(tx, event.source_id, event.key)
        if first is not None and first[0] != event.body and first[0] and event.body:
            other = msgspec.structs.replace(event, key=_other_key(event))
            if tx.rows(_CLAIM, _claim(acceptance, other)):
                acceptance.message = _conflicting(message)
                continue
            first = _first(tx, event.source_id, other.key)
        if first is not None:
            repeated[message.id] = Superseded(first[1]) if first[2] else str(first[1])
    return repeated


def _is_unused(tx: Transaction, acceptance: Acceptance, event: EventClaim) -> bool:
    """Did the proof of this event prove no other one? From now on it may not."""
    proof = msgspec.structs.replace(event, key=event.proof, body=digest(event.key))
    if tx.rows(_CLAIM, _claim(acceptance, proof)):
        return True
    first = _first(tx, event.source_id, event.proof)
    return first is None or first[0] == proof.body


def supersede(tx: Transaction, event: EventClaim, message_id: str, by: str) -> None:
    """The event that was claimed for a message makes none: it was older than the message `by`."""
    tx.run_many(
        "UPDATE deduplication SET message_id = ?, superseded = 1 WHERE source_id = ? AND key = ? AND message_id = ?",
        [(by, event.source_id, key, message_id) for key in (event.key, _other_key(event))],
    )


def _other_key(event: EventClaim) -> bytes:
    """What another body under the name of an event is stored under."""
    return b"c" + digest(event.key + event.body)


def known(tx: Transaction, source_id: str, keys: Sequence[bytes], now_us: int) -> dict[bytes, int]:
    """Those of these events that came and are still remembered, and until when."""
    found = "SELECT key, expires_at FROM deduplication WHERE source_id = ? AND key = ? AND expires_at > ?"
    return {row[0]: row[1] for row in tx.rows_many(found, [(source_id, key, now_us) for key in keys])}


def renew(tx: Transaction, source_id: str, keys: Sequence[bytes], now_us: int, until_us: int) -> None:
    """Remember those of these events that are remembered until then."""
    longer = "UPDATE deduplication SET expires_at = ? WHERE source_id = ? AND key = ? AND expires_at BETWEEN ? AND ?"
    tx.run_many(longer, [(until_us, source_id, key, now_us, until_us) for key in keys])


def is_claimed(tx: Transaction, source_id: str, key: bytes, now_us: int) -> bool:
    """Did the event that is stored under this key come before?"""
    row = tx.row("SELECT 1 FROM deduplication WHERE source_id = ? AND key = ? AND expires_at > ?", (source_id, key, now_us))
    return row is not None


def _claim(acceptance: Acceptance, event: EventClaim) -> tuple[Any, ...]:
    message = acceptance.message
    return (event.source_id, event.key, event.body, message.id, message.created_at + event.window_us, message.created_at)


def _first(tx: Transaction, source_id: str, key: bytes) -> Row | None:
    return tx.row("SELECT body, message_id, superseded FROM deduplication WHERE source_id = ? AND key = ?", (source_id, key))


def _conflicting(message: Message) -> Message:
    origin = message.origin
    if origin is None or CONFLICT in origin.flags:
        return message
    return msgspec.structs.replace(message, origin=msgspec.structs.replace(origin, flags=(*origin.flags, CONFLICT)))


def purge(tx: Transaction, now_us: int, limit: int) -> int:
    """Forget some events that are past their window; how many."""
    rows = tx.rows("SELECT source_id, key FROM deduplication WHERE expires_at <= ? LIMIT ?", (now_us, limit))
    tx.run_many("DELETE FROM deduplication WHERE source_id = ? AND key = ?", rows)
    return len(rows)
