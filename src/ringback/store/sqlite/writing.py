"""What does a batch write? The hot verbs, and whatever is kept beside their rows, in one transaction: sums, blocks, idempotency keys."""

from __future__ import annotations

from collections.abc import Sequence

from ringback.store.base import Acceptance, Record
from ringback.store.operations.lanes import PARKED
from ringback.store.sqlite import verbs
from ringback.store.sqlite.connection import SqliteTransaction
from ringback.store.sqlite.marks import Marks
from ringback.store.sqlite.noting import Noting
from ringback.store.sqlite.rollups import Rollups

# What became of acceptances: those written, and the others with the id of the repeated message or the error.
Verdicts = tuple[list[Acceptance], list[tuple[Acceptance, str | Exception]]]


class Writing:
    """Writes batches, and remembers what the last ones wrote. Belongs to one writer.

    What a batch does is provisional until `confirm`. `revert` forgets all of it; `undo` must be called when a part of it was undone.
    """

    def __init__(self, tx: SqliteTransaction) -> None:
        self._marks = Marks(tx)
        self._rollups = Rollups()
        self._noting = Noting()
        # When the latest message was accepted, as far as the last thousand tell.
        row = tx.row("SELECT MAX(created_at) FROM (SELECT created_at FROM message ORDER BY seq DESC LIMIT 1000) m")
        self._latest_us: int = 0 if row is None or row[0] is None else row[0]

    def begin(self, tx: SqliteTransaction) -> None:
        """Take a step in what goes on beside the batches. To be called at the start of each."""
        self._marks.move(tx)
        self._rollups.move(tx)

    def accept(self, tx: SqliteTransaction, acceptances: Sequence[Acceptance]) -> Verdicts:
        """Write messages with their deliveries; see `verbs.accept`."""
        verdicts = verbs.accept(tx, self._marks, acceptances, self._about_to)
        for acceptance in verdicts[0]:
            if acceptance.message.created_at < self._latest_us:
                _out_of_order(tx, acceptance)
            else:
                self._latest_us = acceptance.message.created_at
        return verdicts

    def _about_to(self, tx: SqliteTransaction, acceptances: Sequence[Acceptance]) -> None:
        self._noting.accepting(tx, acceptances)
        self._rollups.accepted(tx, acceptances)

    def record(self, tx: SqliteTransaction, records: Sequence[Record]) -> list[Record]:
        """Write what attempts leave behind; see `verbs.record`."""
        self._noting.recording(tx, records)
        in_lanes = verbs.record(tx, records)
        self._noting.recorded(tx, records)
        self._rollups.recorded(tx, records)
        return in_lanes

    def confirm(self) -> None:
        """The batch is durable."""
        self._marks.confirm()

    def undo(self) -> None:
        """A call of `accept` or `record` failed, and what it wrote was undone."""
        self._noting.forget()

    def revert(self) -> None:
        """The batch did not happen."""
        self._marks.revert()
        self._noting.forget()


def _out_of_order(tx: SqliteTransaction, acceptance: Acceptance) -> None:
    """The clock was set back: the deliveries of this message are due before those of earlier ones, and are found by message instead."""
    message = acceptance.message
    due_at = message.created_at if message.deliver_at is None else message.deliver_at
    tx.run_many(
        "UPDATE delivery SET deferred = 1 WHERE endpoint_id = ? AND due_at IN (?, ?) AND message_id = ? AND trigger = 0",
        [(target.endpoint_id, due_at, due_at + PARKED, message.id) for target in acceptance.targets],
    )
