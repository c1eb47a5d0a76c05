"""What do providers publish? Documents as they were fetched last, by the digest of their URL; a few hundred of each kind."""

from __future__ import annotations

import hashlib
from typing import Final

from ringback.store.base import Transaction
from ringback.store.operations.endpoints import Sealer

# Documents of one kind that are kept: there are some dozen providers that publish any.
MOST: Final = 200


def key_of(kind: str, url: str) -> bytes:
    """What a document is stored under: its URL may hold a credential."""
    return hashlib.sha256(f"{kind} {url}".encode("utf-8", "surrogatepass")).digest()


def find(tx: Transaction, vault: Sealer, kind: str, url: str) -> tuple[bytes, int] | None:
    """A document, and when it was fetched (microseconds since 1970)."""
    key = key_of(kind, url)
    row = tx.row("SELECT content, fetched_at FROM published WHERE kind = ? AND key = ?", (kind, key))
    if row is None:
        return None
    opened = vault.open(row[0])
    # The key stands before the document, so that nobody who can write to the file can put one in place of another.
    return (opened[len(key) :], row[1]) if opened.startswith(key) else None


def keep(tx: Transaction, vault: Sealer, kind: str, url: str, body: bytes, now_us: int) -> None:
    """Keep a document that was fetched at this moment; above the bound, what was not used for longest goes."""
    key = key_of(kind, url)
    tx.run(
        "INSERT INTO published (kind, key, content, fetched_at, used_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) "
        "DO UPDATE SET content = excluded.content, fetched_at = excluded.fetched_at, used_at = excluded.used_at",
        (kind, key, vault.seal(key + body), now_us, now_us),
    )
    over = tx.rows("SELECT key FROM published WHERE kind = ? ORDER BY used_at DESC LIMIT 100 OFFSET ?", (kind, MOST))
    tx.run_many("DELETE FROM published WHERE kind = ? AND key = ?", [(kind, row[0]) for row in over])


def used(tx: Transaction, kind: str, url: str, now_us: int) -> None:
    """A document was used."""
    tx.run("UPDATE published SET used_at = ? WHERE kind = ? AND key = ?", (now_us, kind, key_of(kind, url)))


def purge(tx: Transaction, unused_since_us: int, limit: int) -> int:
    """Forget some documents that nobody used since; how many."""
    rows = tx.rows("SELECT kind, key FROM published WHERE used_at < ? LIMIT ?", (unused_since_us, limit))
    tx.run_many("DELETE FROM published WHERE kind = ? AND key = ?", rows)
    return len(rows)
