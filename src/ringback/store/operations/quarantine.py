"""What is in quarantine? Requests are sealed: they may hold credentials, and their bytes must be there to be verified again."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.model.quarantine import CapturedRequest, Quarantined
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS: Final = "id, source_id, received_at, reason, detail, size_bytes, request"
_decoder: Final = msgspec.msgpack.Decoder(CapturedRequest)


def insert(tx: Transaction, vault: Sealer, item: Quarantined, rows_max: int, bytes_max: int) -> None:
    """Keep a request, and let go of the oldest of its source beyond so many requests and bytes."""
    tx.run(
        f"INSERT INTO quarantine ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            item.id,
            item.source_id,
            item.received_at,
            item.reason,
            item.detail,
            item.size_bytes,
            vault.seal(msgspec.msgpack.encode(item.request)),
        ),
    )
    row = tx.row("SELECT COUNT(*), SUM(LENGTH(request)) FROM quarantine WHERE source_id = ?", (item.source_id,))
    rows, size = (0, 0) if row is None else (row[0], row[1] or 0)
    while rows > rows_max or (size > bytes_max and rows > 1):
        oldest = tx.row("SELECT id, LENGTH(request) FROM quarantine WHERE source_id = ? ORDER BY id LIMIT 1", (item.source_id,))
        if oldest is None:
            return
        tx.run("DELETE FROM quarantine WHERE id = ?", (oldest[0],))
        rows, size = rows - 1, size - oldest[1]


def get(tx: Transaction, vault: Sealer, source_id: str, item_id: str) -> Quarantined | None:
    """One request in quarantine."""
    row = tx.row(f"SELECT {_COLUMNS} FROM quarantine WHERE id = ? AND source_id = ?", (item_id, source_id))
    return None if row is None else _item(vault, row)


def page(tx: Transaction, vault: Sealer, source_id: str, walk: Walk, reason: str | None) -> list[Quarantined]:
    """The requests of a source that a walk reads, and one more."""
    also, parameters = ("", []) if reason is None else (" AND reason = ?", [reason])
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM quarantine WHERE source_id = ? AND id > ? AND id < ?{also} ORDER BY id {walk.direction} LIMIT ?",
        (source_id, walk.above, walk.below, *parameters, walk.fetch),
    )
    return [_item(vault, row) for row in rows]


def delete(tx: Transaction, source_id: str, item_id: str) -> bool:
    """Forget a request; was it there?"""
    return tx.run("DELETE FROM quarantine WHERE id = ? AND source_id = ?", (item_id, source_id)) > 0


def purge(tx: Transaction, before_us: int, limit: int) -> int:
    """Forget requests received before a time, along the ids, which follow time; how many."""
    rows = tx.rows("SELECT id, received_at FROM quarantine ORDER BY id LIMIT ?", (limit,))
    old = [(row[0],) for row in rows if row[1] < before_us]
    tx.run_many("DELETE FROM quarantine WHERE id = ?", old)
    return len(old)


def _item(vault: Sealer, row: Row) -> Quarantined:
    item_id, source_id, received_at, reason, detail, size_bytes, request = row
    return Quarantined(item_id, source_id, received_at, reason, detail, size_bytes, _decoder.decode(vault.open(request)))
