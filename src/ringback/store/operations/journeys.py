"""How far has a message come? What is unfinished, dead and done of messages, by endpoint."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.model.messages import Message
from ringback.store.base import Transaction
from ringback.store.operations.walks import one_of


class Live(msgspec.Struct, frozen=True):
    """An unfinished delivery: when it is due, and whether it waits for its first attempt."""

    endpoint_id: str
    due_at: int
    manual: bool
    waiting: bool


class Letter(msgspec.Struct, frozen=True):
    """The dead letter of a delivery."""

    id: str
    endpoint_id: str
    cause: str
    detail: str
    died_at: int
    discarded: bool


class Tally(msgspec.Struct, frozen=True):
    """How a message stands with all its endpoints together: endpoints by what is true of them."""

    delivered: int = 0
    retrying: int = 0
    failed: int = 0
    cancelled: int = 0


def live(tx: Transaction, message: Message, endpoint_ids: Sequence[str]) -> list[Live]:
    """The unfinished deliveries of a message to these endpoints."""
    rows = tx.rows("SELECT endpoint_id, due_at, trigger FROM delivery WHERE message_id = ? AND state = 'retrying'", (message.id,))
    found = [Live(endpoint_id, due_at, trigger == 1, False) for endpoint_id, due_at, trigger in rows if endpoint_id in endpoint_ids]
    first_due_at = message.created_at if message.deliver_at is None else message.deliver_at
    for endpoint_id in endpoint_ids:
        # A waiting row is found by its whole key: its due time is that of the acceptance.
        row = tx.row(
            "SELECT due_at FROM delivery WHERE endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = 0 AND state = 'waiting'",
            (endpoint_id, first_due_at, message.id),
        )
        if row is not None:
            found.append(Live(endpoint_id, row[0], False, True))
    return found


def letters(tx: Transaction, message_id: str, endpoint_ids: Sequence[str]) -> list[Letter]:
    """The dead letters of a message to these endpoints, discarded ones too."""
    found = []
    for endpoint_id in endpoint_ids:
        row = tx.row(
            "SELECT id, cause, detail, died_at, state FROM dead_letter WHERE endpoint_id = ? AND message_id = ?", (endpoint_id, message_id)
        )
        if row is not None:
            found.append(Letter(row[0], endpoint_id, row[1], row[2], row[3], row[4] == "discarded"))
    return found


def deleted_endpoints(tx: Transaction, app_id: str, message_id: str) -> list[str]:
    """The deleted endpoints of an application that a message was attempted to."""
    rows = tx.rows(
        "SELECT e.id FROM endpoint e WHERE e.app_id = ? AND e.deleted_at IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM attempt a WHERE a.endpoint_id = e.id AND a.message_id = ?) ORDER BY e.id",
        (app_id, message_id),
    )
    return [row[0] for row in rows]


def tallies(tx: Transaction, app_id: str, message_ids: Sequence[str]) -> dict[str, Tally]:
    """How each of these messages (a page of a list) stands; those never attempted are left out."""
    if not message_ids:
        return {}
    marks = one_of(message_ids)
    rows = tx.rows(
        "SELECT a.message_id, a.endpoint_id, MIN(a.status), MAX(a.status) FROM endpoint e CROSS JOIN attempt a ON a.endpoint_id = e.id "
        f"WHERE e.app_id = ? AND a.message_id IN {marks} GROUP BY a.endpoint_id, a.message_id",
        (app_id, *message_ids),
    )
    retrying = set(
        tx.rows(f"SELECT message_id, endpoint_id FROM delivery WHERE message_id IN {marks} AND state = 'retrying'", tuple(message_ids))
    )
    counts: dict[str, list[int]] = {}
    for message_id, endpoint_id, best, worst in rows:
        # 0 success, 2 fail, 4 cancelled: one success is enough, and a retry ahead is more than a failure behind.
        place = 0 if best == 0 else 1 if (message_id, endpoint_id) in retrying else 3 if best == worst == 4 else 2
        counts.setdefault(message_id, [0, 0, 0, 0])[place] += 1
    return {message_id: Tally(*places) for message_id, places in counts.items()}
