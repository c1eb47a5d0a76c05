"""What became of a received event at an endpoint? The answer that took it, the dead letters it left."""

from __future__ import annotations

from collections.abc import Sequence

from ringback.store.base import Row, Transaction
from ringback.store.operations.lanes import PARKED, RETRYING


def taken_by(tx: Transaction, endpoint_id: str, message_id: str) -> Row | None:
    """Status, head and body of the answer with which the endpoint took the message; None when it has not."""
    return tx.row(
        "SELECT code, response_head, response FROM attempt WHERE endpoint_id = ? AND message_id = ? AND status = 0 "
        "ORDER BY id DESC LIMIT 1",
        (endpoint_id, message_id),
    )


def is_unfinished(tx: Transaction, app_id: str, endpoint_id: str, message_id: str) -> bool:
    """Has the message still a delivery to the endpoint, or a dead letter that waits for somebody?"""
    retrying = "SELECT 1 FROM delivery WHERE message_id = ? AND endpoint_id = ? AND state = 'retrying'"
    # A waiting one is found by its message, whose acceptance is its due time.
    waiting = (
        f"SELECT 1 FROM message m CROSS JOIN delivery d ON d.endpoint_id = ? AND d.due_at IN (m.created_at, m.created_at + {PARKED}) "
        "AND d.message_id = m.id "
        "WHERE m.app_id = ? AND m.id = ?"
    )
    dead = "SELECT 1 FROM dead_letter WHERE endpoint_id = ? AND message_id = ? AND state = 'dead'"
    return (
        tx.row(waiting, (endpoint_id, app_id, message_id)) is not None
        or tx.row(retrying, (message_id, endpoint_id)) is not None
        or tx.row(dead, (endpoint_id, message_id)) is not None
    )


def is_resting(tx: Transaction, endpoint_id: str, message_id: str, now_us: int) -> bool:
    """Has the message failed at the endpoint, and is its next attempt not due yet? Not when one was asked for beside the schedule."""
    rows = tx.rows(
        f"SELECT trigger, due_at, attempts FROM {RETRYING} WHERE message_id = ? AND endpoint_id = ? AND state = 'retrying'",
        (message_id, endpoint_id),
    )
    return bool(rows) and all(trigger == 0 and due_at % PARKED > now_us and attempts for trigger, due_at, attempts in rows)


def letters_of(tx: Transaction, endpoint_ids: Sequence[str], message_id: str) -> tuple[str, ...]:
    """The dead letters of a message at some endpoints (at most a few hundred)."""
    marks = ", ".join("?" * len(endpoint_ids))
    rows = tx.rows(
        f"SELECT id FROM dead_letter WHERE endpoint_id IN ({marks}) AND message_id = ? AND state = 'dead'", (*endpoint_ids, message_id)
    )
    return tuple(row[0] for row in rows)
