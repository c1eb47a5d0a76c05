"""What is unfinished? Counting live deliveries, and adding manual ones."""

from __future__ import annotations

from ringback.model.messages import Message
from ringback.store.base import Transaction


def pending(tx: Transaction, endpoint_id: str) -> int:
    """How many deliveries of an endpoint wait for their first attempt. Costs a look at each of its unfinished deliveries."""
    row = tx.row("SELECT COUNT(*) FROM delivery WHERE endpoint_id = ? AND state = 'waiting' AND trigger = 0", (endpoint_id,))
    return 0 if row is None else int(row[0])


def add_manual(tx: Transaction, endpoint_id: str, message: Message, now_us: int) -> int:
    """One attempt now, beside the schedule. Returns when it is due: a microsecond later for each that was asked for at the same instant."""
    sequence = sequence_of(tx, endpoint_id, message)
    due_at = now_us
    while not tx.run(
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state) "
        "VALUES (?, ?, ?, 1, ?, ?, 0, 'waiting') ON CONFLICT DO NOTHING",
        (endpoint_id, due_at, message.id, message.app_id, sequence),
    ):
        due_at += 1
    return due_at


def sequence_of(tx: Transaction, endpoint_id: str, message: Message) -> int:
    """The place of a message in the sequence of an endpoint: the one it was given, else a new one."""
    due_at = message.created_at if message.deliver_at is None else message.deliver_at
    pair = (endpoint_id, message.id)
    row = (
        tx.row(
            "SELECT sequence FROM delivery WHERE endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = 0",
            (endpoint_id, due_at, message.id),
        )
        or tx.row("SELECT sequence FROM delivery WHERE endpoint_id = ? AND message_id = ? AND state = 'retrying' LIMIT 1", pair)
        or tx.row("SELECT sequence FROM delivery WHERE endpoint_id = ? AND message_id = ? AND trigger = 1 LIMIT 1", pair)
        or tx.row("SELECT sequence FROM attempt WHERE endpoint_id = ? AND message_id = ? LIMIT 1", pair)
    )
    return next_sequence(tx, endpoint_id) if row is None else int(row[0])


def next_sequence(tx: Transaction, endpoint_id: str) -> int:
    """Count one up in the sequence of an endpoint."""
    rows = tx.rows(
        "INSERT INTO endpoint_sequence (endpoint_id, last) VALUES (?, 1) "
        "ON CONFLICT (endpoint_id) DO UPDATE SET last = last + 1 RETURNING last",
        (endpoint_id,),
    )
    return int(rows[0][0])


def waits_manually(tx: Transaction, endpoint_id: str, message_id: str) -> bool:
    """Is a manual attempt of this delivery still to be made?"""
    return tx.row("SELECT 1 FROM delivery WHERE message_id = ? AND endpoint_id = ? AND trigger = 1", (message_id, endpoint_id)) is not None
