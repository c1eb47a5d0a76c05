"""What does a batch tell lists with a filter? Which labels occur in which block, and which messages were given up for an endpoint.

What the current block of a scope holds is remembered here, so that an ordinary row costs a look at a set and no statement. After a restart,
and for a scope that was forgotten, a new block begins behind all there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.model.attempts import Attempt
from ringback.model.deliveries import AttemptStatus, DeadLetter, Trigger
from ringback.store.base import Acceptance, Record
from ringback.store.operations import blocks
from ringback.store.operations.blocks import SIZE, Blocks, message_labels, outcome_label
from ringback.store.sqlite.connection import SqliteTransaction

# Scopes whose current block is remembered, per kind of block: some 600 bytes each.
_REMEMBERED: Final = 8_192
# Rows of a batch among which alike ones are noted together, out of their order. A block ends only where an id lies behind all before it:
# with whole batches blocks would become as long as those.
_RUN: Final = 16

_FAILED: Final = AttemptStatus.FAIL.value
_DONE: Final = AttemptStatus.SUCCESS.value
_DONE_LABEL: Final = blocks.pair_label(_DONE)
_SCHEDULED: Final = Trigger.SCHEDULED.value
_names: Final = msgspec.json.Decoder(tuple[str, ...])

_GIVE_UP: Final = "INSERT INTO given_up (endpoint_id, message_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
_GIVE_UP_UNLESS_RETRIED: Final = (
    "INSERT INTO given_up (endpoint_id, message_id) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint_id = ?1 "
    "AND message_id = ?2 AND state = 'retrying' AND trigger = 0) ON CONFLICT DO NOTHING"
)
_TAKE_BACK: Final = "DELETE FROM given_up WHERE endpoint_id = ? AND message_id = ?"
_LABELS: Final = "SELECT event_type, channels, tags FROM message WHERE app_id = ? AND id = ?"


class _Open:
    """The current block of a scope: where it begins, the highest id and the number of rows in it, and the labels it is known to hold.

    `ordinary` has what the common rows are made of, of which all labels are known: an event type (of a message without tags and channels),
    or it with the outcome and code of an attempt.
    """

    __slots__ = ("count", "newest", "ordinary", "seen", "start")

    def __init__(self, start: str) -> None:
        self.start = self.newest = start
        self.count = 0
        self.seen: set[str] = set()
        self.ordinary: set[str | tuple[str, int]] = set()


class _Notes:
    """The current blocks of one kind."""

    def __init__(self, kind: Blocks) -> None:
        self._insert = f"INSERT INTO {kind.table} (scope, label, start) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self._newest = f"SELECT {kind.key} FROM {kind.rows} WHERE {kind.scope} = ? ORDER BY {kind.key} DESC LIMIT 1"
        self._open: dict[str, _Open] = {}
        self._rows: list[tuple[str, str, str]] = []

    def note(self, tx: SqliteTransaction, scope: str, key: str, labels: Sequence[str], of: str | tuple[str, int] | None = None) -> None:
        """A row with this id is about to be written: nobody may have written it before this."""
        block = self._open.get(scope)
        if block is None or block.count >= SIZE or key < block.start:
            block = self._turn(tx, scope, key)
            if block is None:
                self.note_late(scope, key, labels)
                return
        block.count += 1
        if key > block.newest:
            block.newest = key
        seen = block.seen
        for label in labels:
            if label not in seen:
                seen.add(label)
                self._rows.append((scope, label, block.start))
        if of is not None:
            block.ordinary.add(of)

    def note_alike(self, tx: SqliteTransaction, scope: str, keys: Sequence[str], labels: Sequence[str], of: str | tuple[str, int]) -> None:
        """Rows of the same labels are about to be written: the common ones cost no look at each."""
        while keys:
            block = self._open.get(scope)
            if block is None or of not in block.ordinary or block.count >= SIZE or min(keys) < block.start:
                self.note(tx, scope, keys[0], labels, of)
                keys = keys[1:]
                continue
            room = SIZE - block.count
            some, keys = keys[:room], keys[room:]
            block.count += len(some)
            block.newest = max(block.newest, max(some))

    def note_late(self, scope: str, key: str, labels: Sequence[str]) -> None:
        """A row lies in an older block, wherever that begins: it is found between its own id and the end of that block."""
        self._rows += [(scope, label, key) for label in labels]

    def _turn(self, tx: SqliteTransaction, scope: str, key: str) -> _Open | None:
        """The block that a row goes into, mostly a new one; None: the row is late, and lies in an older block or before all."""
        block = self._open.get(scope)
        if block is not None:
            if key < block.start:
                return None
            # A new block must begin behind all rows, or those of the old one that lie behind its beginning would be lost.
            if key <= block.newest:
                return block
        else:
            row = tx.row(self._newest, (scope,))
            if row is not None and key <= row[0]:
                return None
            if len(self._open) >= _REMEMBERED:
                del self._open[next(iter(self._open))]
        self._rows.append((scope, "", key))
        block = self._open[scope] = _Open(key)
        return block

    def write(self, tx: SqliteTransaction) -> None:
        """Write what was noted."""
        if self._rows:
            rows, self._rows = self._rows, []
            tx.executemany(self._insert, rows)

    def forget(self) -> None:
        """What was noted is not written after all."""
        self._open.clear()
        self._rows.clear()


class Noting:
    """Notes what lists need, in the transaction of what they list. Belongs to one writer."""

    def __init__(self) -> None:
        self._messages = _Notes(blocks.MESSAGES)
        self._attempts = _Notes(blocks.ATTEMPTS)
        self._pairs = _Notes(blocks.PAIRS)
        self._letters = {column: _Notes(kind) for column, kind in blocks.DEAD_LETTERS.items()}
        # By code and status, in one number: they are few.
        self._outcomes: dict[int, str] = {}

    def accepting(self, tx: SqliteTransaction, acceptances: Sequence[Acceptance]) -> None:
        """These messages are about to be written."""
        for at in range(0, len(acceptances), _RUN):
            self._note_messages(tx, acceptances[at : at + _RUN])
        self._messages.write(tx)

    def _note_messages(self, tx: SqliteTransaction, acceptances: Sequence[Acceptance]) -> None:
        notes = self._messages
        alike: dict[tuple[str, str], list[str]] = {}
        for acceptance in acceptances:
            m = acceptance.message
            if m.channels is None and m.tags is None:
                of = m.app_id, m.event_type
                if of in alike:
                    alike[of].append(m.id)
                else:
                    alike[of] = [m.id]
            else:
                notes.note(tx, m.app_id, m.id, message_labels(m.event_type, m.channels, m.tags))
        for (app_id, event_type), keys in alike.items():
            notes.note_alike(tx, app_id, keys, message_labels(event_type, None, None), event_type)

    def recording(self, tx: SqliteTransaction, records: Sequence[Record]) -> None:
        """These records are about to be written."""
        for at in range(0, len(records), _RUN):
            self._note_attempts(tx, records[at : at + _RUN])
        for notes in (self._attempts, self._pairs, *self._letters.values()):
            notes.write(tx)

    def _note_attempts(self, tx: SqliteTransaction, records: Sequence[Record]) -> None:
        alike: dict[tuple[str, str, int], list[Attempt]] = {}
        for record in records:
            a, message = record.attempt, record.message
            # First successes of messages without tags and channels are what there is most of.
            if message is not None and a.status == _DONE and a.number == 1 and message.channels is None and message.tags is None:
                of = a.endpoint_id, message.event_type, a.code
                if of in alike:
                    alike[of].append(a)
                else:
                    alike[of] = [a]
            else:
                self._note_one(tx, record)
        for (endpoint_id, event_type, code), some in alike.items():
            labels = message_labels(event_type, None, None)
            self._attempts.note_alike(tx, endpoint_id, [a.id for a in some], (self._outcome(_DONE, code), *labels), (event_type, code))
            self._pairs.note_alike(tx, endpoint_id, [a.message_id for a in some], (_DONE_LABEL, *labels), event_type)

    def _note_one(self, tx: SqliteTransaction, record: Record) -> None:
        """Note an attempt with all its labels."""
        a, message = record.attempt, record.message
        labels = self._labels(tx, record) if message is None else message_labels(message.event_type, message.channels, message.tags)
        self._attempts.note(tx, a.endpoint_id, a.id, (self._outcome(a.status, a.code), *labels))
        # A retry says nothing new of its message, but how it ended.
        if a.number > 1 and a.trigger == _SCHEDULED:
            labels = ()
        if a.status != _FAILED:
            labels = (blocks.pair_label(a.status), *labels)
        if labels:
            self._pairs.note(tx, a.endpoint_id, a.message_id, labels)
        if record.dead is not None:
            letter = record.dead
            for column, kept in self._letters.items():
                kept.note(tx, getattr(letter, column), letter.id, blocks.letter_labels(letter.event_type, letter.cause))

    def recorded(self, tx: SqliteTransaction, records: Sequence[Record]) -> None:
        """These records were written: keep the list of what was given up."""
        for record in records:
            a = record.attempt
            if a.status == _FAILED:
                given_up = _GIVE_UP if record.next_due_at is None else _GIVE_UP_UNLESS_RETRIED
                tx.execute(given_up, (a.endpoint_id, a.message_id))
            elif a.number > 1 or a.trigger != _SCHEDULED:
                tx.execute(_TAKE_BACK, (a.endpoint_id, a.message_id))
            if record.dead is not None:
                self._note_again(tx, record.dead)

    def _note_again(self, tx: SqliteTransaction, letter: DeadLetter) -> None:
        """A delivery that dies again keeps the letter that it has: the block of that one holds what is new."""
        row = tx.row("SELECT id FROM dead_letter WHERE endpoint_id = ? AND message_id = ?", (letter.endpoint_id, letter.message_id))
        if row is not None and row[0] != letter.id:
            for column, notes in self._letters.items():
                notes.note_late(getattr(letter, column), row[0], blocks.letter_labels(letter.event_type, letter.cause))
                notes.write(tx)

    def forget(self) -> None:
        """What was noted since the last commit is undone."""
        for notes in (self._messages, self._attempts, self._pairs, *self._letters.values()):
            notes.forget()

    def _outcome(self, status: int, code: int) -> str:
        both = code << 3 | status
        label = self._outcomes.get(both)
        if label is None:
            label = self._outcomes[both] = outcome_label(status, code)
        return label

    @staticmethod
    def _labels(tx: SqliteTransaction, record: Record) -> tuple[str, ...]:
        """The labels of a message that does not come with its record."""
        row = tx.row(_LABELS, (record.attempt.app_id, record.attempt.message_id))
        if row is None:
            return ()
        event_type, channels, tags = row
        return message_labels(event_type, *(None if text is None else _names.decode(text) for text in (channels, tags)))
