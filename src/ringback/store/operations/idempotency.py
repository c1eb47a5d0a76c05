"""Which requests had their effect already, and what were they answered?"""

from __future__ import annotations

import msgspec

from ringback.store.base import Transaction


class Remembered(msgspec.Struct, frozen=True):
    """The answer to an idempotency key: `body` sealed, or, for a message, the ids that it is rebuilt from."""

    status: int
    app_id: str | None
    message_id: str | None
    body: bytes | None


def find(tx: Transaction, key: bytes, now_us: int) -> Remembered | None:
    """What was answered to this key (16 bytes), unless that is forgotten by now."""
    row = tx.row("SELECT status, app_id, message_id, body FROM idempotency WHERE key = ? AND expires_at > ?", (key, now_us))
    return None if row is None else Remembered(*row)


def remember(tx: Transaction, key: bytes, expires_at: int, status: int, body: bytes) -> None:
    """Keep a sealed answer, in the transaction of its effect; takes the place of a forgotten one."""
    tx.run(
        "INSERT INTO idempotency (key, expires_at, status, body) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "expires_at = excluded.expires_at, status = excluded.status, app_id = NULL, message_id = NULL, body = excluded.body",
        (key, expires_at, status, body),
    )
