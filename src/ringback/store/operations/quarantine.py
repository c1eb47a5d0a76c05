"""What is in quarantine? Requests are sealed: they may hold credentials, and their bytes must be there to be verified again."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback.model.quarantine import SCHEMA_MISMATCH, CapturedRequest, Quarantined
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.walks import bounded

_COLUMNS: Final = "id, source_id, received_at, reason, detail, size_bytes, request"
_decoder: Final = msgspec.msgpack.Decoder(CapturedRequest)


def insert(tx: Transaction, vault: Sealer, item: Quarantined, rows_max: int, bytes_max: int, *, acknowledged: bool) -> bool:
    """Keep a request, and let go of the oldest of its source beyond so many requests and bytes; False when it cannot be kept.

    What does not fit a schema was believed, and mostly acknowledged: strangers' requests make room for it, and never it for them.
    """
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
    # Where all is refused that does not fit, the oldest of it may go as well.
    spared = "" if item.reason == SCHEMA_MISMATCH and not acknowledged else SCHEMA_MISMATCH
    row = tx.row("SELECT COUNT(*), SUM(LENGTH(request)) FROM quarantine WHERE source_id = ?", (item.source_id,))
    rows, size = (0, 0) if row is None else (row[0], row[1] or 0)
    while rows > rows_max or (size > bytes_max and rows > 1):
        oldest = tx.row(
            "SELECT id, LENGTH(request) FROM quarantine WHERE source_id = ? AND reason <> ? ORDER BY id LIMIT 1",
            (item.source_id, spared),
        )
        if oldest is None:
            tx.run("DELETE FROM quarantine WHERE id = ?", (item.id,))
            return False
        tx.run("DELETE FROM quarantine WHERE id = ?", (oldest[0],))
        if oldest[0] == item.id:
            return False
        rows, size = rows - 1, size - oldest[1]
    return True


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


class Header(msgspec.Struct, frozen=True):
    """A request as lists show it, without what is sealed. Times are microseconds since 1970."""

    id: str
    source_id: str
    received_at: int
    reason: str
    detail: str
    size_bytes: int


class Heap(msgspec.Struct, frozen=True):
    """How many requests of a source were refused for one reason, and the newest of them."""

    source_id: str
    reason: str
    requests: int
    newest: str


# The sources of an organisation that are there: a deleted one takes its requests with it.
_OF_ORG: Final = "FROM source s CROSS JOIN quarantine q ON q.source_id = s.id WHERE s.org_id = ? AND s.deleted_at IS NULL"
# Requests of everybody that one page looks through for those of an organisation: some milliseconds.
_EXAMINED: Final = 5_000


def count_of_organisation(tx: Transaction, org_id: str, most: int) -> int:
    """How many requests the sources of an organisation have in quarantine, at most `most`."""
    row = tx.row(f"SELECT COUNT(*) FROM (SELECT 1 {_OF_ORG} LIMIT ?)", (org_id, most))
    return 0 if row is None else int(row[0])


def heaps(tx: Transaction, org_id: str, source_id: str | None = None) -> list[Heap]:
    """How many were refused, by source and reason, the most first: of an organisation, or of one of its sources."""
    condition, values = ("", [org_id]) if source_id is None else (" AND s.id = ?", [org_id, source_id])
    rows = tx.rows(f"SELECT q.source_id, q.reason, COUNT(*), MAX(q.id) {_OF_ORG}{condition} GROUP BY 1, 2 ORDER BY 3 DESC", values)
    return [Heap(*row) for row in rows]


def listed(tx: Transaction, org_id: str, walk: Walk, source_id: str | None, reason: str | None) -> Page[Header]:
    """One page of requests of an organisation, or of one of its sources (which its caller has checked)."""
    columns = ", ".join(f"q.{name}" for name in Header.__struct_fields__)
    conditions, values = "", list[Any]()
    if reason is not None:
        conditions, values = " AND q.reason = ?", [reason]
    near, stopped_at = (walk, None) if source_id is not None else bounded(tx, walk, "quarantine", "1", 1, most=_EXAMINED)
    if source_id is not None:
        conditions, values = f" AND q.source_id = ?{conditions}", [source_id, *values]
    rows = tx.rows(
        f"SELECT {columns} FROM quarantine q CROSS JOIN source s ON s.id = q.source_id WHERE s.org_id = ? AND s.deleted_at IS NULL "
        f"AND q.id > ? AND q.id < ?{conditions} ORDER BY q.id {walk.direction} LIMIT ?",
        (org_id, near.above, near.below, *values, walk.fetch),
    )
    return cut([Header(*row) for row in rows], walk, stopped_at)


def delete(tx: Transaction, source_id: str, item_id: str) -> bool:
    """Forget a request; was it there?"""
    return tx.run("DELETE FROM quarantine WHERE id = ? AND source_id = ?", (item_id, source_id)) > 0


def drop(tx: Transaction, source_id: str, reason: str | None, below: str, limit: int) -> int:
    """Forget some requests of a source whose ids sort below `below`; how many."""
    condition, values = ("", []) if reason is None else (" AND reason = ?", [reason])
    rows = tx.rows(f"SELECT id FROM quarantine WHERE source_id = ? AND id < ?{condition} LIMIT ?", (source_id, below, *values, limit))
    tx.run_many("DELETE FROM quarantine WHERE id = ?", rows)
    return len(rows)


def purge(tx: Transaction, before_us: int, limit: int) -> int:
    """Forget requests received before a time, along the ids, which follow time; how many."""
    rows = tx.rows("SELECT id, received_at FROM quarantine ORDER BY id LIMIT ?", (limit,))
    old = [(row[0],) for row in rows if row[1] < before_us]
    tx.run_many("DELETE FROM quarantine WHERE id = ?", old)
    return len(old)


def _item(vault: Sealer, row: Row) -> Quarantined:
    item_id, source_id, received_at, reason, detail, size_bytes, request = row
    return Quarantined(item_id, source_id, received_at, reason, detail, size_bytes, _decoder.decode(vault.open(request)))
