"""Which tokens were given out? A token is known by the SHA-256 of its text; the text itself is nowhere."""

from __future__ import annotations

from ringback.model.applications import Token, TokenKind
from ringback.store.base import Row, Transaction

_COLUMNS = "id, org_id, kind, app_id, hash, name, created_at, expires_at, revoked_at"


def insert(tx: Transaction, token: Token) -> None:
    """Add a token."""
    tx.run(
        f"INSERT INTO token ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ),
    )


def by_hash(tx: Transaction, digest: bytes) -> Token | None:
    """The token with that SHA-256, whatever its state."""
    row = tx.row(f"SELECT {_COLUMNS} FROM token WHERE hash = ?", (digest,))
    return None if row is None else _token(row)


def usable_by_hash(tx: Transaction, digest: bytes, now_us: int) -> Token | None:
    """The token with that SHA-256, unless it is revoked, expired, or of a deleted application."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM token WHERE hash = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) "
        "AND (app_id IS NULL OR EXISTS (SELECT 1 FROM application WHERE application.id = token.app_id AND deleted_at IS NULL))",
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


def revoke(tx: Transaction, token_id: str, now_us: int) -> None:
    """Make a token useless; the first revocation counts."""
    tx.run("UPDATE token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now_us, token_id))


def _token(row: Row) -> Token:
    identifier, org_id, kind, *rest = row
    return Token(identifier, org_id, TokenKind(kind), *rest)
