"""What is in a bin? Bounded in every way: strangers write here, and what they wrote longest ago makes room for what is new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.model.bins import Caught
from ringback.model.quarantine import CapturedRequest
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.walks import one_of

# A row counts for a page at least, so that making room for the largest request takes some hundred rows and never thousands.
_LEAST_CHARGE: Final = 4_096
# Rows let go of in one statement.
_ROWS_AT_ONCE: Final = 100
_COLUMNS: Final = "id, received_at, status, request"
_decoder: Final = msgspec.msgpack.Decoder(CapturedRequest)


class Bounds(msgspec.Struct, frozen=True):
    """How much may be kept: requests and bytes of one bin, bytes of all together."""

    requests: int
    bytes: int
    total_bytes: int


def insert(tx: Transaction, bin_key: bytes, caught: Caught, sealed: bytes, bounds: Bounds) -> None:
    """Keep a request, whose `request` is `sealed`, and let go of the oldest of its bin, and of all, beyond the bounds."""
    charge = max(len(sealed), _LEAST_CHARGE)
    tx.run(
        "INSERT INTO bin_request (id, bin, received_at, status, charge, request) VALUES (?, ?, ?, ?, ?, ?)",
        (caught.id, bin_key, caught.received_at, caught.status, charge, sealed),
    )
    total = _total(tx) + charge - _trim(tx, bin_key, bounds)
    while total > bounds.total_bytes:
        oldest = tx.rows("SELECT id, charge FROM bin_request WHERE id < ? ORDER BY id LIMIT ?", (caught.id, _ROWS_AT_ONCE))
        if not oldest:
            break
        gone = []
        for item_id, size in oldest:
            gone.append((item_id,))
            total -= size
            if total <= bounds.total_bytes:
                break
        _delete(tx, gone)
    _set_total(tx, total)


def _trim(tx: Transaction, bin_key: bytes, bounds: Bounds) -> int:
    """Let go of what is too much in one bin, but never of its newest request; the charge of what went."""
    kept = size = freed = 0
    gone = []
    for item_id, charge in tx.rows("SELECT id, charge FROM bin_request WHERE bin = ? ORDER BY id DESC", (bin_key,)):
        if kept and (kept >= bounds.requests or size + charge > bounds.bytes):
            gone.append((item_id,))
            freed += charge
        else:
            kept += 1
            size += charge
    _delete(tx, gone)
    return freed


def answered(tx: Transaction, item_id: str, status: int) -> None:
    """Note what was answered to a request, if it is still there."""
    tx.run("UPDATE bin_request SET status = ? WHERE id = ?", (status, item_id))


def newest(tx: Transaction, vault: Sealer, bin_key: bytes, limit: int) -> list[Caught]:
    """The requests of a bin, the newest first."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM bin_request WHERE bin = ? ORDER BY id DESC LIMIT ?", (bin_key, limit))
    return [_caught(vault, row) for row in rows]


def get(tx: Transaction, vault: Sealer, bin_key: bytes, item_id: str) -> Caught | None:
    """One request of a bin."""
    row = tx.row(f"SELECT {_COLUMNS} FROM bin_request WHERE id = ? AND bin = ?", (item_id, bin_key))
    return None if row is None else _caught(vault, row)


def clear(tx: Transaction, bin_key: bytes) -> int:
    """Forget all requests of a bin; how many."""
    rows = tx.rows("SELECT id, charge FROM bin_request WHERE bin = ?", (bin_key,))
    return _forget(tx, rows)


def forget(tx: Transaction, item_ids: Sequence[str]) -> int:
    """Forget these requests (a few hundred at most), of whichever bins; how many were there."""
    return _forget(tx, tx.rows(f"SELECT id, charge FROM bin_request WHERE id IN {one_of(item_ids)}", item_ids))


def purge(tx: Transaction, before_us: int, limit: int) -> int:
    """Forget requests received before a time, along the ids, which follow time; how many."""
    rows = tx.rows("SELECT id, charge, received_at FROM bin_request ORDER BY id LIMIT ?", (limit,))
    return _forget(tx, [row for row in rows if row[2] < before_us])


def _forget(tx: Transaction, rows: list[Row]) -> int:
    if rows:
        _delete(tx, [(row[0],) for row in rows])
        _set_total(tx, _total(tx) - sum(row[1] for row in rows))
    return len(rows)


def _delete(tx: Transaction, ids: list[tuple[str]]) -> None:
    tx.run_many("DELETE FROM bin_request WHERE id = ?", ids)


def _total(tx: Transaction) -> int:
    row = tx.row("SELECT charge FROM bin_total")
    return 0 if row is None else int(row[0])


def _set_total(tx: Transaction, charge: int) -> None:
    tx.run("UPDATE bin_total SET charge = ?", (charge,))


def _caught(vault: Sealer, row: Row) -> Caught:
    item_id, received_at, status, request = row
    return Caught(item_id, received_at, status, _decoder.decode(vault.open(request)))
