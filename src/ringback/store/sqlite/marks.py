"""Which idempotency keys made which messages? Kept twice: at first in the order they came, and later in the order of the keys.

Keys are digests, so each falls on another page of their tree: written one by one, every key costs a page of the log. So they are appended
to a table of their own with the message, remembered here, and move to the tree thousands at a time, sorted, a slice in each batch. What a
crash leaves in the first table is read back at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ringback.store.sqlite.connection import SqliteTransaction

# Keys that move together: with so many, keys share pages of a tree of some ten thousand pages. Twice as many are remembered, some 8 MB.
GENERATION: Final = 16_384
# Keys that move in one batch: 1 to 2 ms.
SLICE: Final = 512

# Keys forgotten in the first table in one batch: 1 ms.
FORGOTTEN: Final = 2_048

Mark = tuple[bytes, int, str, str]

_FIND = "SELECT key, message_id FROM idempotency WHERE key = ? AND expires_at > ?"
_APPEND = "INSERT INTO idempotency_recent (key, expires_at, app_id, message_id) VALUES (?, ?, ?, ?)"
_MOVE = (
    "INSERT INTO idempotency (key, expires_at, status, app_id, message_id) VALUES (?, ?, 202, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "expires_at = excluded.expires_at, status = 202, app_id = excluded.app_id, message_id = excluded.message_id, body = NULL"
)

_FORGET = "DELETE FROM idempotency_recent WHERE seq IN (SELECT seq FROM idempotency_recent WHERE seq <= ? ORDER BY seq LIMIT ?)"


class Marks:
    """The keys of messages. What a batch does is provisional until `confirm`; `revert` forgets it."""

    def __init__(self, tx: SqliteTransaction) -> None:
        self._recent: dict[bytes, Mark] = {}
        for row in tx.execute("SELECT key, expires_at, app_id, message_id FROM idempotency_recent ORDER BY seq"):
            self._recent[row[0]] = tuple(row)
        # The generation that moves, what of it has yet to move, and where it ends in the first table.
        self._leaving: dict[bytes, Mark] = {}
        self._left: list[Mark] = []
        self._until = 0
        self._added: list[Mark] = []
        self._then: Callable[[], None] | None = None

    def find(self, tx: SqliteTransaction, keys: Iterable[tuple[bytes, int]]) -> dict[bytes, str]:
        """The messages that these keys made, unless they have expired at the time that stands beside each, microseconds since 1970."""
        found = {}
        unknown = []
        for key, now_us in keys:
            mark = self._recent.get(key) or self._leaving.get(key)
            if mark is None:
                unknown.append((key, now_us))
            elif mark[1] > now_us:
                found[key] = mark[3]
        # One call for all: most find nothing, and a call each would cost more than the search.
        found.update(tx.executemany(_FIND, unknown))
        return found

    def add(self, tx: SqliteTransaction, marks: Sequence[Mark]) -> None:
        """Keep the keys of messages written in the same transaction."""
        tx.executemany(_APPEND, marks)
        self._added += marks

    def move(self, tx: SqliteTransaction) -> None:
        """Take one step in moving a generation, if there is one to move. To be called at the start of a batch."""
        if self._left:
            slice_, rest = self._left[:SLICE], self._left[SLICE:]
            tx.executemany(_MOVE, slice_)
            self._then = lambda: self._moved(rest)
        elif self._leaving:
            removed = tx.run(_FORGET, (self._until, FORGOTTEN))
            if removed < FORGOTTEN:
                self._then = self._leaving.clear
        elif len(self._recent) >= GENERATION:
            row = tx.row("SELECT MAX(seq) FROM idempotency_recent")
            self._until = 0 if row is None else int(row[0])
            self._leaving, self._recent = self._recent, {}
            self._left = sorted(self._leaving.values())

    def confirm(self) -> None:
        """The batch is durable."""
        for mark in self._added:
            self._recent[mark[0]] = mark
        if self._then is not None:
            self._then()
        self.revert()

    def revert(self) -> None:
        """The batch did not happen."""
        self._added = []
        self._then = None

    def _moved(self, rest: list[Mark]) -> None:
        self._left = rest
