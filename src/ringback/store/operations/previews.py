"""How much is there? Counts that stop at a bound: "10,000 or more" is all that somebody needs to know before a decision."""

from __future__ import annotations

from collections.abc import Sequence

from ringback.store.base import Transaction


def unfinished(tx: Transaction, endpoint_ids: Sequence[str], most: int) -> int:
    """Deliveries of these endpoints that are not finished, at most `most`."""
    return _bounded(tx, "SELECT 1 FROM delivery WHERE endpoint_id = ?", endpoint_ids, most)


def dead(tx: Transaction, endpoint_ids: Sequence[str], most: int) -> int:
    """Dead letters of these endpoints, at most `most`."""
    return _bounded(tx, "SELECT 1 FROM dead_letter WHERE endpoint_id = ? AND state = 'dead'", endpoint_ids, most)


def messages(tx: Transaction, app_id: str, most: int) -> int:
    """Messages of an application, at most `most`."""
    return _bounded(tx, "SELECT 1 FROM message WHERE app_id = ?", [app_id], most)


def _bounded(tx: Transaction, sql: str, values: Sequence[str], most: int) -> int:
    total = 0
    for value in values:
        row = tx.row(f"SELECT COUNT(*) FROM ({sql} LIMIT ?)", (value, most - total))
        total += 0 if row is None else int(row[0])
        if total >= most:
            break
    return total
