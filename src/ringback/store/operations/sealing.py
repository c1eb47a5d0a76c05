"""Which key are the secrets of this database sealed with? Known by its fingerprint, from the first start on."""

from __future__ import annotations

from ringback.store.base import Transaction


def fingerprint(tx: Transaction) -> bytes | None:
    """What the key was known by when the first server started; None in a database that is new, or older than this was kept."""
    row = tx.row("SELECT fingerprint FROM sealing")
    return None if row is None else bytes(row[0])


def sample(tx: Transaction) -> bytes | None:
    """Something that was sealed lately, to try a key on; None: there is no endpoint."""
    row = tx.row("SELECT url FROM endpoint ORDER BY id DESC LIMIT 1")
    return None if row is None else bytes(row[0])


def remember(tx: Transaction, known_by: bytes) -> None:
    """From now on the key is known by this."""
    tx.run("INSERT INTO sealing (one, fingerprint) VALUES (1, ?)", (known_by,))
