"""Where does a receiver keep what must survive? One SQLite file that threads and processes may share; the standard library's own module."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from weakref import WeakSet

from ringback import wal_index
from ringback.errors import StoreFailure

# Milliseconds that one process waits for another's transaction, each of which takes a few.
_BUSY_MS: Final = 5_000
# Seconds until a file that another process sets up is tried again; that takes a few milliseconds.
_AGAIN_S: Final = 0.01
# Seconds that a thread waits for its turn: with the file's own wait still under what most providers wait for an answer.
_TURN_S: Final = 5.0
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


# Connections of the process that forked this one; they must never be used nor closed here.
_INHERITED: Final[list[sqlite3.Connection]] = []
_OPEN_FILES: Final[WeakSet[Database]] = WeakSet()
_FORKING: Final[list[Database]] = []


class Database:
    """The file. One connection per process, opened when it is first needed; threads take turns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise RuntimeError(f"SQLite {sqlite3.sqlite_version} is too old; this needs {'.'.join(map(str, _OLDEST))} or newer")
        if str(path) in ("", ":memory:") or str(path).startswith("file:"):
            raise ValueError(
                f"an inbox needs the path of a file, which outlives the process, not {str(path)!r}; tests have a temporary one"
            )
        self.path = Path(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        _OPEN_FILES.add(self)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is durable as a whole when it ends, or not done at all. Blocks for the disk. Raises StoreFailure."""
        if not self._lock.acquire(timeout=_TURN_S):
            raise StoreFailure(f"{self.path} is busy: other threads have kept it for {_TURN_S:.0f} s")
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except sqlite3.Error:
                raise
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # Undoes what is open. Opened anew next time: what was full, read-only or replaced may be mended by then.
            self.close()
            raise StoreFailure(f"{self.path} could not be written: {error}") from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the file; the next transaction opens it again."""
        with self._lock:
            self._leave_to_parent()
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def before_fork(self) -> None:
        """Wait for what is being written, and close the file.

        SQLite believes that the locks of a file which was open are the child's too: both would write, and neither keep the other out.
        """
        self._lock.acquire()
        self.close()

    def after_fork(self) -> None:
        """Go on, in both processes."""
        self._lock.release()

    def _leave_to_parent(self) -> None:
        # Forked without telling Python, as servers in C may: not even to be closed here, as that would undo what the parent is at.
        if self._connection is not None and self._process != os.getpid():
            _INHERITED.append(self._connection)
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self._leave_to_parent()
        if self._connection is not None:
            return self._connection
        self._make()
        connection = sqlite3.connect(self.path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            _switch_to_wal(connection)
            wal_index.reserve(str(self.path), connection.execute)
            # What was acknowledged must be on the disk.
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except OSError as error:
            connection.close()
            raise StoreFailure(f"{self.path} could not be written: {error.strerror}") from error
        except BaseException:
            connection.close()
            raise
        self._connection, self._process = connection, os.getpid()
        return connection

    def _make(self) -> None:
        """A new file for the owner's eyes; its log gets the same rights. Raises StoreFailure."""
        try:
            wal_index.may_open(str(self.path))
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            pass  # with the rights that its owner gave it
        except OSError as error:
            raise StoreFailure(f"{self.path} could not be written: {error.strerror}") from error


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Of two that do this at once one is told that the file is locked, without the wait that all else has."""
    give_up_s = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_s:
                raise
            time.sleep(_AGAIN_S)


def _before_fork() -> None:
    for database in list(_OPEN_FILES):
        database.before_fork()
        _FORKING.append(database)


def _after_fork() -> None:
    while _FORKING:
        _FORKING.pop().after_fork()


# Systems that cannot fork have no such hook.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
