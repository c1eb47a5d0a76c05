"""Which tokens were given out? A token is known by the SHA-256 of its text; the text itself is nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ringback.model.applications import Capability, Token, TokenKind
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction

_COLUMNS = (
    "id, org_id, kind, app_id, hash, name, created_at, expires_at, revoked_at, capabilities, feature_flags, session_id, integration_id, "
    "auto_config_id, last_used_at, poller_id, stream_id"
)
# What is no key of somebody who acts without a person.
_OF_PORTAL = "integration_id IS NULL AND auto_config_id IS NULL AND poller_id IS NULL"
# Later than every expiry: tokens without one compare like the others.
_NEVER_US = 1 << 62


def insert(tx: Transaction, token: Token) -> None:
    """Add a token."""
    tx.run(
        f"INSERT INTO token ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.id,
            token.org_id,
            token.kind.value,
            token.app_id,
            token.hash,
            token.name,
            token.created_at,
            token.expires_at,
            token.revoked_at,
            _text(token.capabilities),
            _text(token.feature_flags or None),
            token.session_id,
            token.integration_id,
            token.auto_config_id,
            token.last_used_at,
            token.poller_id,
            token.stream_id,
        ),
    )


def by_hash(tx: Transaction, digest: bytes) -> Token | None:
    """The token with that SHA-256, whatever its state."""
    row = tx.row(f"SELECT {_COLUMNS} FROM token WHERE hash = ?", (digest,))
    return None if row is None else _token(row)


def usable_by_hash(tx: Transaction, digest: bytes, now_us: int) -> Token | None:
    """The token with that SHA-256, unless it is revoked, expired, or of a deleted application or stream."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM token WHERE hash = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) "
        "AND (app_id IS NULL OR EXISTS (SELECT 1 FROM application WHERE application.id = token.app_id AND deleted_at IS NULL)) "
        "AND (stream_id IS NULL OR EXISTS (SELECT 1 FROM stream WHERE stream.id = token.stream_id AND deleted_at IS NULL))",
        (digest, now_us),
    )
    return None if row is None else _token(row)


def by_id(tx: Transaction, token_id: str) -> Token | None:
    """The token of that id, whatever its state."""
    row = tx.row(f"SELECT {_COLUMNS} FROM token WHERE id = ?", (token_id,))
    return None if row is None else _token(row)


def usable_exists(tx: Transaction, org_id: str, now_us: int) -> bool:
    """Has this organisation an org token that works?"""
    row = tx.row(
        "SELECT 1 FROM token WHERE org_id = ? AND kind = 'org' AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) LIMIT 1",
        (org_id, now_us),
    )
    return row is not None


def all_of(tx: Transaction, org_id: str | None) -> list[Token]:
    """All tokens of one organisation (None = of all), the oldest first."""
    if org_id is None:
        return [_token(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM token ORDER BY id")]
    return [_token(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM token WHERE org_id = ? ORDER BY id", (org_id,))]


def page(tx: Transaction, org_id: str, walk: Walk) -> list[Token]:
    """The org tokens of an organisation that a walk reads, and one more, whatever their state."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM token WHERE org_id = ? AND kind = 'org' AND id > ? AND id < ? ORDER BY id {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, walk.fetch),
    )
    return [_token(row) for row in rows]


def usable_of(tx: Transaction, org_id: str, now_us: int, most: int) -> int:
    """How many org tokens of an organisation work, counted up to `most`."""
    row = tx.row(
        "SELECT COUNT(*) FROM (SELECT 1 FROM token WHERE org_id = ? AND kind = 'org' AND revoked_at IS NULL "
        "AND (expires_at IS NULL OR expires_at > ?) LIMIT ?) t",
        (org_id, now_us, most),
    )
    return 0 if row is None else int(row[0])


def portal_tokens_of(tx: Transaction, app_id: str, now_us: int, most: int) -> int:
    """How many portal tokens of an application work, counted up to `most`."""
    row = tx.row(
        f"SELECT COUNT(*) FROM (SELECT 1 FROM token WHERE app_id = ? AND {_OF_PORTAL} "
        "AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) LIMIT ?) t",
        (app_id, now_us, most),
    )
    return 0 if row is None else int(row[0])


def used(tx: Transaction, times: Sequence[tuple[str, int]]) -> None:
    """Tokens were used at these times; an earlier one than is known changes nothing."""
    tx.run_many(
        "UPDATE token SET last_used_at = ? WHERE id = ? AND COALESCE(last_used_at, 0) < ?", [(at, token_id, at) for token_id, at in times]
    )


def revoke(tx: Transaction, token_id: str, now_us: int) -> None:
    """Make a token useless; the first revocation counts."""
    tx.run("UPDATE token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now_us, token_id))


def expire_app(tx: Transaction, app_id: str, sessions: Sequence[str] | None, at_us: int) -> None:
    """Let portal tokens of an application end at `at_us` at the latest: all, or those of some sessions (at most 1000)."""
    _expire(tx, "app_id", app_id, sessions, at_us)


def expire_stream(tx: Transaction, stream_id: str, sessions: Sequence[str] | None, at_us: int) -> None:
    """Let portal tokens of a stream end at `at_us` at the latest: all, or those of some sessions (at most 1000)."""
    _expire(tx, "stream_id", stream_id, sessions, at_us)


def _expire(tx: Transaction, owner: str, owner_id: str, sessions: Sequence[str] | None, at_us: int) -> None:
    condition, values = "", list[Any]()
    if sessions is not None:
        condition, values = f" AND session_id IN ({', '.join('?' * len(sessions))})", list(sessions)
    tx.run(
        f"UPDATE token SET expires_at = ? WHERE {owner} = ? AND {_OF_PORTAL} AND COALESCE(expires_at, {_NEVER_US}) > ?{condition}",
        (at_us, owner_id, at_us, *values),
    )


def revoke_integration(tx: Transaction, app_id: str, integration_id: str, now_us: int) -> None:
    """Make the keys of an integration useless."""
    tx.run(
        "UPDATE token SET revoked_at = ? WHERE app_id = ? AND integration_id = ? AND revoked_at IS NULL", (now_us, app_id, integration_id)
    )


def set_integration_flags(tx: Transaction, app_id: str, integration_id: str, flags: Sequence[str]) -> None:
    """Give the keys of an integration other feature flags."""
    tx.run("UPDATE token SET feature_flags = ? WHERE app_id = ? AND integration_id = ?", (_text(flags or None), app_id, integration_id))


def revoke_auto_config(tx: Transaction, app_id: str, auto_config_id: str, now_us: int) -> Token | None:
    """Make the token of an auto-config subscription useless; the one that worked until now."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM token WHERE app_id = ? AND auto_config_id = ? AND revoked_at IS NULL ORDER BY id DESC LIMIT 1",
        (app_id, auto_config_id),
    )
    tx.run(
        "UPDATE token SET revoked_at = ? WHERE app_id = ? AND auto_config_id = ? AND revoked_at IS NULL", (now_us, app_id, auto_config_id)
    )
    return None if row is None else _token(row)


def deny(tx: Transaction, digest: bytes, expires_at: int | None, now_us: int) -> None:
    """Never again believe the signed token with that SHA-256; entries that are no longer needed go."""
    tx.run("DELETE FROM denied_token WHERE expires_at < ?", (now_us,))
    tx.run("INSERT INTO denied_token (hash, expires_at) VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, expires_at))


def is_denied(tx: Transaction, digest: bytes) -> bool:
    """Was the signed token with that SHA-256 logged out?"""
    return tx.row("SELECT 1 FROM denied_token WHERE hash = ?", (digest,)) is not None


def add_horizon(tx: Transaction, app_id: str, issued_before: int, dead_from: int) -> None:
    """Signed tokens of an application that were issued before the one time are dead from the other on."""
    tx.run(
        "DELETE FROM token_horizon WHERE app_id = ? AND issued_before <= ? AND dead_from >= ?",
        (app_id, issued_before, dead_from),
    )
    tx.run(
        "INSERT INTO token_horizon (app_id, issued_before, dead_from) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (app_id, issued_before, dead_from),
    )


def dead_from(tx: Transaction, app_id: str, issued_at: int) -> int | None:
    """From when a signed token of an application that was issued at that time is dead; None = no horizon is past it."""
    row = tx.row("SELECT MIN(dead_from) FROM token_horizon WHERE app_id = ? AND issued_before > ?", (app_id, issued_at))
    return None if row is None else row[0]


def _text(values: Sequence[str] | None) -> str | None:
    return None if values is None else msgspec.json.encode(values).decode()


def _token(row: Row) -> Token:
    (
        identifier,
        org_id,
        kind,
        app_id,
        digest,
        name,
        created_at,
        expires_at,
        revoked_at,
        capabilities,
        feature_flags,
        session_id,
        integration_id,
        auto_config_id,
        last_used_at,
        poller_id,
        stream_id,
    ) = row
    return Token(
        id=identifier,
        org_id=org_id,
        kind=TokenKind(kind),
        app_id=app_id,
        hash=digest,
        name=name,
        created_at=created_at,
        expires_at=expires_at,
        revoked_at=revoked_at,
        capabilities=None if capabilities is None else msgspec.json.decode(capabilities, type=tuple[Capability, ...]),
        feature_flags=() if feature_flags is None else msgspec.json.decode(feature_flags, type=tuple[str, ...]),
        session_id=session_id,
        integration_id=integration_id,
        auto_config_id=auto_config_id,
        last_used_at=last_used_at,
        poller_id=poller_id,
        stream_id=stream_id,
    )
