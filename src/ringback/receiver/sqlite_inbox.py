"""Which events were taken, in a SQLite file? The inbox that comes with the library; its queue lives in the same file."""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from ringback.ids import IdMaker
from ringback.receiver.database import Database
from ringback.receiver.dedup import Claim, EventKey
from ringback.receiver.queue import SqliteQueue

_RUNNING: Final = 0
_DONE: Final = 1
# Rows that are over and go with each claim: more than come, so that the file does not grow.
_FORGOTTEN_AT_ONCE: Final = 16
# A thousand a minute for more than an hour and a half without anybody who takes them.
_MAX_QUEUED: Final = 100_000
# Some 200 bytes each: 200 MB at most.
_MAX_EVENTS: Final = 1_000_000


class SqliteInbox:
    """An inbox in a file that several processes of one machine may share. Costs two commits for an event that runs, one for a duplicate.

    A new file can be read by its owner alone; it holds the events that wait. No more than `max_events` are remembered: beyond that the
    oldest are forgotten. Events that wait and dead letters are `max_queued` at most: beyond that the sender is answered 503.

    Times are those of the machine's clock. Set forward by more than a lease, it lets an event that runs be run again; set back, it has what
    waits, and what a killed process held, wait for as much longer.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_events: int = _MAX_EVENTS, max_queued: int = _MAX_QUEUED) -> None:
        self._database = Database(path)
        self._max_events = max_events
        self._ids = IdMaker()
        self.queue = SqliteQueue(self._database, self, max_queued)

    def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim:
        """Mark the event as running, unless it is running or done. Blocks for the disk. Raises StoreFailure."""
        with self._database.transaction() as connection:
            return self.claim_in(connection, key, now_us, lease_until_us)

    def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> None:
        """It ran, also when another one has taken over meanwhile. Blocks for the disk. Raises StoreFailure."""
        with self._database.transaction() as connection:
            self.finish_in(connection, key, claim.token, reply, keep_until_us)

    def release(self, key: EventKey, claim: Claim) -> None:
        """It failed: the next claim is new. Blocks for the disk. Raises StoreFailure."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM received_event WHERE receiver = ? AND event_id = ? AND digest = ? AND state = ? AND token = ?",
                (key.receiver, key.event_id, key.digest, _RUNNING, claim.token),
            )

    def claim_in(self, connection: sqlite3.Connection, key: EventKey, now_us: int, until_us: int) -> Claim:
        """As `claim`, inside a transaction of the file."""
        rows = connection.execute(
            "SELECT digest, state, until_us, reply FROM received_event WHERE receiver = ? AND event_id = ?", (key.receiver, key.event_id)
        ).fetchall()
        live = [row for row in rows if row[2] > now_us]
        conflict = any(digest != key.digest for digest, *_ in live)
        for digest, state, _, reply in live:
            if digest == key.digest:
                return Claim("done" if state == _DONE else "running", reply=reply, conflict=conflict)
        # Under the file's lock: no other thread makes an id meanwhile.
        token = self._ids.make("run_", now_us)
        connection.execute(
            "INSERT OR REPLACE INTO received_event (receiver, event_id, digest, state, token, until_us) VALUES (?, ?, ?, ?, ?, ?)",
            (key.receiver, key.event_id, key.digest, _RUNNING, token, until_us),
        )
        self._forget(connection, now_us)
        return Claim("new", token, conflict=conflict)

    @staticmethod
    def finish_in(connection: sqlite3.Connection, key: EventKey, token: str, reply: bytes, keep_until_us: int) -> None:
        """As `finish`, inside a transaction of the file."""
        connection.execute(
            "INSERT INTO received_event (receiver, event_id, digest, state, token, until_us, reply) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET state = excluded.state, until_us = excluded.until_us, reply = excluded.reply",
            (key.receiver, key.event_id, key.digest, _DONE, token, keep_until_us, reply),
        )

    def _forget(self, connection: sqlite3.Connection, now_us: int) -> None:
        over = "SELECT rowid FROM received_event WHERE until_us <= ? ORDER BY until_us LIMIT ?"
        connection.execute(f"DELETE FROM received_event WHERE rowid IN ({over})", (now_us, _FORGOTTEN_AT_ONCE))
        # Row numbers climb, so that their span is no less than the number of rows; counting them would read the whole file.
        first, last = connection.execute(
            "SELECT (SELECT min(rowid) FROM received_event), (SELECT max(rowid) FROM received_event)"
        ).fetchone()
        if last - first >= self._max_events:
            oldest = "SELECT rowid FROM received_event WHERE state = ? ORDER BY rowid LIMIT ?"
            connection.execute(f"DELETE FROM received_event WHERE rowid IN ({oldest})", (_DONE, _FORGOTTEN_AT_ONCE))

    def close(self) -> None:
        """Close the file."""
        self._database.close()
