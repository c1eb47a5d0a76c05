"""Where does a receiver keep what must survive? One SQLite file that threads and processes may share; the standard library's own module."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ringback.errors import StoreFailure

# Milliseconds that one process waits for another's transaction, each of which takes a few.
_BUSY_MS: Final = 5_000
# RETURNING came with this one (2021).
_OLDEST: Final = (3, 35, 0)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS received_event (
  receiver TEXT NOT NULL, event_id TEXT NOT NULL, digest BLOB NOT NULL,
  state INTEGER NOT NULL CHECK (state IN (0, 1)),  -- 0 running, 1 done
  token TEXT NOT NULL, until_us INTEGER NOT NULL,  -- end of the lease, or of being remembered
  reply BLOB NOT NULL DEFAULT x'',
  UNIQUE (receiver, event_id, digest)
);
CREATE INDEX IF NOT EXISTS received_event_until ON received_event (until_us);
CREATE TABLE IF NOT EXISTS queued_event (
  id INTEGER PRIMARY KEY AUTOINCREMENT, receiver TEXT NOT NULL, event_id TEXT, digest BLOB NOT NULL, event BLOB NOT NULL, raw BLOB NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, due_us INTEGER NOT NULL, token TEXT NOT NULL DEFAULT '',
  dead_us INTEGER, error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS queued_event_due ON queued_event (due_us) WHERE dead_us IS NULL;
CREATE INDEX IF NOT EXISTS queued_event_dead ON queued_event (dead_us) WHERE dead_us IS NOT NULL;
CREATE INDEX IF NOT EXISTS queued_event_key ON queued_event (receiver, event_id, digest);
"""


class Database:
    """The file. One connection per process, opened when it is first needed; threads take turns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old; this needs {'.'.join(map(str, _OLDEST))} or newer")
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is durable as a whole when it ends, or not done at all. Blocks for the disk. Raises StoreFailure."""
        with self._lock:
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise StoreFailure(f"{self.path} could not be written: {error}") from error

    def close(self) -> None:
        """Close the file; the next transaction opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                connection.close()

    def _open(self) -> sqlite3.Connection:
        # A connection must not be carried into a child process: servers that fork after loading the program would share its locks.
        if self._connection is not None and self._process == os.getpid():
            return self._connection
        self._make()
        connection = sqlite3.connect(self.path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            # What was acknowledged must be on the disk.
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        self._connection, self._process = connection, os.getpid()
        return connection

    def _make(self) -> None:
        """A new file for the owner's eyes; its log gets the same rights. Raises StoreFailure."""
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            pass  # with the rights that its owner gave it
        except OSError as error:
            raise StoreFailure(f"{self.path} could not be written: {error.strerror}") from error

    def _roll_back(self) -> None:
        """After a failed COMMIT the transaction is still open."""
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
