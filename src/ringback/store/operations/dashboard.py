"""Who is logged in to the dashboard?"""

from __future__ import annotations

import msgspec

from ringback.model.dashboard import Session
from ringback.store.base import Transaction

# The stem of the ids of tokens that are stored; a session that a signed token opened has no row to ask.
_STORED_TOKEN = "key_"


class Kept(msgspec.Struct, frozen=True):
    """How long sessions last: ended `idle_us` after they were seen last; `most` of one organisation, the oldest give way."""

    idle_us: int
    most: int


def insert(tx: Transaction, session: Session, kept: Kept) -> None:
    """Add a session; those that are over, and the oldest above the bound, go."""
    now_us = session.created_at
    tx.run("DELETE FROM dashboard_session WHERE expires_at <= ?", (now_us,))
    tx.run("DELETE FROM dashboard_session WHERE org_id = ? AND seen_at <= ?", (session.org_id, now_us - kept.idle_us))
    tx.run(
        "DELETE FROM dashboard_session WHERE hash IN "
        "(SELECT hash FROM dashboard_session WHERE org_id = ? ORDER BY created_at DESC LIMIT 1000 OFFSET ?)",
        (session.org_id, kept.most - 1),
    )
    tx.run(
        "INSERT INTO dashboard_session (hash, org_id, token_id, address, created_at, seen_at, expires_at, signed_with) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session.hash,
            session.org_id,
            session.token_id,
            session.address,
            now_us,
            session.seen_at,
            session.expires_at,
            session.signed_with,
        ),
    )


def live(tx: Transaction, digest: bytes, kept: Kept, now_us: int, signing_key: bytes | None) -> Session | None:
    """The session with that hash, unless it is over, or its token is revoked or expired, or was signed with another key than this."""
    row = tx.row(
        "SELECT s.hash, s.org_id, s.token_id, t.name, s.address, s.created_at, s.seen_at, s.expires_at, "
        "s.signed_with, t.id IS NOT NULL AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > ?) "
        "FROM dashboard_session s LEFT JOIN token t ON t.id = s.token_id WHERE s.hash = ? AND s.expires_at > ? AND s.seen_at > ?",
        (now_us, digest, now_us, now_us - kept.idle_us),
    )
    if row is None:
        return None
    *values, usable = row
    session = Session(*values)
    if session.token_id is None:
        return session
    if session.token_id.startswith(_STORED_TOKEN):
        return session if usable else None
    return session if signing_key is not None and session.signed_with == signing_key else None


def seen(tx: Transaction, digest: bytes, now_us: int) -> None:
    """A session was used."""
    tx.run("UPDATE dashboard_session SET seen_at = ? WHERE hash = ? AND seen_at < ?", (now_us, digest, now_us))


def delete(tx: Transaction, digest: bytes) -> None:
    """End a session."""
    tx.run("DELETE FROM dashboard_session WHERE hash = ?", (digest,))


def delete_all(tx: Transaction, org_id: str) -> int:
    """End all sessions of an organisation; how many."""
    return tx.run("DELETE FROM dashboard_session WHERE org_id = ?", (org_id,))
