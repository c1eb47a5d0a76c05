"""Is this event older than what was accepted? The newest version of each key, kept in the transaction that keeps its message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ringback.store.base import Acceptance, Superseded, Transaction, VersionClaim
from ringback.store.operations import deduplication

# A row passes if it is not older than the one that is there, or if that one is past its time.
_RAISE: Final = (
    "INSERT INTO newest_version (source_id, key, kind, place, message_id, expires_at) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (source_id, key, kind) DO UPDATE SET place = excluded.place, message_id = excluded.message_id, "
    "expires_at = excluded.expires_at WHERE newest_version.place <= excluded.place OR newest_version.expires_at <= ? RETURNING message_id"
)
_NEWEST: Final = "SELECT message_id FROM newest_version WHERE source_id = ? AND key = ? AND kind = ?"


def claim(tx: Transaction, acceptances: Sequence[Acceptance]) -> dict[str, Superseded]:
    """Keep the versions of messages, in their order; for each that is older than one before, what superseded it.

    The name of the event of such a one stays claimed, so that it is known when it comes again.
    """
    versions = [(acceptance, acceptance.version) for acceptance in acceptances if acceptance.version is not None]
    newest = {row[0] for row in tx.rows_many(_RAISE, [_row(acceptance, version) for acceptance, version in versions])}
    superseded = {}
    for acceptance, version in versions:
        message = acceptance.message
        if message.id in newest:
            continue
        row = tx.row(_NEWEST, (version.source_id, version.key, version.kind))
        if row is not None:
            superseded[message.id] = Superseded(row[0])
            if acceptance.event is not None:
                deduplication.supersede(tx, acceptance.event, message.id, row[0])
    return superseded


def purge(tx: Transaction, now_us: int, limit: int) -> int:
    """Forget some versions that are past their time; how many."""
    rows = tx.rows("SELECT source_id, key, kind FROM newest_version WHERE expires_at <= ? LIMIT ?", (now_us, limit))
    return _delete(tx, rows)


def purge_source(tx: Transaction, source_id: str, limit: int) -> int:
    """Forget some of a deleted source's; how many."""
    return _delete(tx, tx.rows("SELECT source_id, key, kind FROM newest_version WHERE source_id = ? LIMIT ?", (source_id, limit)))


def _delete(tx: Transaction, rows: list[Any]) -> int:
    tx.run_many("DELETE FROM newest_version WHERE source_id = ? AND key = ? AND kind = ?", rows)
    return len(rows)


def _row(acceptance: Acceptance, version: VersionClaim) -> tuple[Any, ...]:
    message = acceptance.message
    until_us = message.created_at + version.window_us
    return (version.source_id, version.key, version.kind, version.place, message.id, until_us, message.created_at)
