"""What is unfinished? Counting live deliveries, and adding manual ones."""

from __future__ import annotations

import msgspec

from ringback import ids
from ringback.model.deliveries import Delivery, Trigger
from ringback.model.messages import Message
from ringback.store.base import Transaction
from ringback.store.operations import deferred, lanes
from ringback.store.operations.lanes import PARKED, RETRYING, UNPARKED


class Destination(msgspec.Struct, frozen=True):
    """An endpoint as far as its deliveries are concerned."""

    id: str
    disabled: bool


def destination(tx: Transaction, app_id: str, reference: str) -> Destination | None:
    """The endpoint of an application with this id or uid, unless it was deleted."""
    column = "id" if reference.startswith(ids.ENDPOINT) else "uid"
    row = tx.row(f"SELECT id, disabled FROM endpoint WHERE app_id = ? AND {column} = ? AND deleted_at IS NULL", (app_id, reference))
    return None if row is None else Destination(row[0], bool(row[1]))


def pending(tx: Transaction, app_id: str, endpoint_id: str) -> int:
    """How many deliveries of an endpoint wait for their first attempt, those of messages that wait for their time included.

    Costs a look at each of its unfinished deliveries, and at each such message of its application.
    """
    row = tx.row("SELECT COUNT(*) FROM delivery WHERE endpoint_id = ? AND state = 'waiting' AND trigger = 0", (endpoint_id,))
    return (0 if row is None else int(row[0])) + deferred.pending(tx, app_id, endpoint_id)


def backlog(tx: Transaction, endpoint_id: str, most: int) -> tuple[int, int | None]:
    """How many deliveries of an endpoint are unfinished, counted up to `most`, and when the first is due (None = there is none)."""
    row = tx.row(
        f"SELECT COUNT(*), MIN({UNPARKED % 'due_at'}) FROM (SELECT due_at FROM delivery WHERE endpoint_id = ? ORDER BY due_at LIMIT ?) d",
        (endpoint_id, most),
    )
    return (0, None) if row is None else (int(row[0]), row[1])


def add_manual(tx: Transaction, endpoint_id: str, message: Message, now_us: int) -> Delivery:
    """One attempt now, beside the schedule; due a microsecond later for each that was asked for at the same instant.

    Its row counts as retrying, which is what gives it a place in the index by message. So does now a scheduled one that waits for its
    first attempt: it is the retry if this one fails, and is found and ended if this one succeeds.
    """
    sequence = sequence_of(tx, endpoint_id, message)
    deferred.bring_forward(tx, endpoint_id, message, sequence)
    tx.run(
        "UPDATE delivery SET state = 'retrying' WHERE endpoint_id = ? AND due_at IN (?, ?) AND message_id = ? AND trigger = 0",
        (endpoint_id, *_first_due_at(message), message.id),
    )
    due_at = now_us
    while not tx.run(
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state) "
        "VALUES (?, ?, ?, 1, ?, ?, 0, 'retrying') ON CONFLICT DO NOTHING",
        (endpoint_id, due_at, message.id, message.app_id, sequence),
    ):
        due_at += 1
    return Delivery(endpoint_id, message.id, message.app_id, due_at, sequence, 0, Trigger.MANUAL)


def sequence_of(tx: Transaction, endpoint_id: str, message: Message) -> int:
    """The place of a message in the sequence of an endpoint: the one it was given, else a new one."""
    pair = (endpoint_id, message.id)
    row = (
        tx.row(
            "SELECT sequence FROM delivery WHERE endpoint_id = ? AND due_at IN (?, ?) AND message_id = ? AND trigger = 0",
            (endpoint_id, *_first_due_at(message), message.id),
        )
        or tx.row(f"SELECT sequence FROM {RETRYING} WHERE endpoint_id = ? AND message_id = ? AND state = 'retrying' LIMIT 1", pair)
        or tx.row("SELECT sequence FROM attempt WHERE endpoint_id = ? AND message_id = ? LIMIT 1", pair)
    )
    return next_sequence(tx, endpoint_id) if row is None else int(row[0])


def _first_due_at(message: Message) -> tuple[int, int]:
    """When the first attempt of a message is due, if it has its turn, and if it is parked."""
    due_at = message.created_at if message.deliver_at is None else message.deliver_at
    return due_at, due_at + PARKED


def next_sequence(tx: Transaction, endpoint_id: str) -> int:
    """Count one up in the sequence of an endpoint."""
    return last_sequence(tx, endpoint_id, 1)


def last_sequence(tx: Transaction, endpoint_id: str, count: int) -> int:
    """Count so many up in the sequence of an endpoint; the last of them."""
    rows = tx.rows(
        "INSERT INTO endpoint_sequence (endpoint_id, last) VALUES (?, ?) "
        "ON CONFLICT (endpoint_id) DO UPDATE SET last = last + excluded.last RETURNING last",
        (endpoint_id, count),
    )
    return int(rows[0][0])


def drop(tx: Transaction, endpoint_id: str, limit: int, before: str = "~") -> int:
    """As `dropped`; how many it removed."""
    return len(dropped(tx, endpoint_id, limit, before))


def dropped(tx: Transaction, endpoint_id: str, limit: int, before: str) -> list[Trigger]:
    """Remove what nobody will make for an endpoint, at most `limit`, of messages whose id sorts below `before`; the trigger of each.

    Those that have failed before are given up by that. In a lane whose head is among them the next one that is left has its turn.
    """
    rows = tx.rows(
        "SELECT endpoint_id, due_at, message_id, trigger, attempts, lane FROM delivery WHERE endpoint_id = ? AND message_id < ? LIMIT ?",
        (endpoint_id, before, limit),
    )
    tx.run_many(
        "INSERT INTO given_up (endpoint_id, message_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(endpoint_id, message_id) for _, _, message_id, _, attempts, _ in rows if attempts],
    )
    tx.run_many("DELETE FROM delivery WHERE endpoint_id = ? AND due_at = ? AND message_id = ? AND trigger = ?", [row[:4] for row in rows])
    for lane in sorted({row[5] for row in rows if row[5] is not None and row[1] < PARKED}):
        lanes.promote(tx, endpoint_id, lane)
    return [Trigger(row[3]) for row in rows]
