"""Which key are the secrets of this database sealed with? Known by its fingerprint, from the first start on."""

from __future__ import annotations

from typing import Final

from ringback.model.tasks import TaskKind, TaskStatus
from ringback.store.base import Transaction

# Where sealed values are; others belong to a row of these.
_SEALED: Final = (
    "endpoint",
    "source",
    "stream_sink",
    "poller_key",
    "auto_config",
    "published",
    "bin_request",
    "idempotency WHERE body IS NOT NULL",
    f"task WHERE kind IN ('{TaskKind.FIND_SUBJECT}', '{TaskKind.ERASE_SUBJECT}') AND status = '{TaskStatus.RUNNING}'",
)
# Something of each kind that lasts, the newest first.
_SAMPLES: Final = (
    "SELECT url FROM endpoint ORDER BY id DESC LIMIT 1",
    "SELECT definition FROM source ORDER BY id DESC LIMIT 1",
    "SELECT url FROM stream_sink WHERE url IS NOT NULL ORDER BY id DESC LIMIT 1",
    "SELECT body FROM idempotency WHERE body IS NOT NULL ORDER BY expires_at DESC LIMIT 1",
)


def fingerprint(tx: Transaction) -> bytes | None:
    """What the key was known by when the first server started; None in a database that is new, or older than this was kept."""
    row = tx.row("SELECT fingerprint FROM sealing")
    return None if row is None else bytes(row[0])


def sample(tx: Transaction) -> bytes | None:
    """Something that was sealed lately, to try a key on; None: nothing that lasts was. Slow: it may walk all kept answers."""
    for query in _SAMPLES:
        row = tx.row(query)
        if row is not None:
            return bytes(row[0])
    return None


def in_use(tx: Transaction) -> bool:
    """Is anything sealed? Slow: it may walk all kept answers."""
    return any(tx.row(f"SELECT 1 FROM {rows} LIMIT 1") is not None for rows in _SEALED)


def remember(tx: Transaction, known_by: bytes) -> None:
    """From now on the key is known by this."""
    tx.run("DELETE FROM sealing")
    tx.run("INSERT INTO sealing (one, fingerprint) VALUES (1, ?)", (known_by,))
