"""How does one SQLite connection behave here? Pragmas, the `Transaction` over it, and its errors in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import apsw

from ringback import wal_index
from ringback.errors import StoreFailure
from ringback.store.base import Row

# Pages in memory (negative in the pragma = KiB). Measured: 32 MiB cost 9% more CPU per delivery and 8 MiB 3% more, since what is written is
# seldom read again and the system has the rest; 512 KiB cost 14% more where each request has an idempotency key.
WRITER_CACHE_KIB: Final = 2_000
# Measured: 2, 8 and 16 MiB make the lists of a million messages no more than 2% faster, and each reader that much larger.
READER_CACHE_KIB: Final = 1_000


class SqliteTransaction:
    """The `Transaction` of `store.base` on an apsw connection."""

    __slots__ = ("_connection", "execute", "executemany", "following")

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.execute = connection.execute
        self.executemany = connection.executemany
        # What is to be called when the transaction is durable; whoever commits it empties this.
        self.following: list[Callable[[], None]] = []

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return list(self.execute(sql, parameters))

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Row | None:
        """The first row of a query, or None."""
        for row in self.execute(sql, parameters):
            return tuple(row)
        return None

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement; how many rows it changed."""
        self.execute(sql, parameters)
        return self._connection.changes()

    def rows_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> list[Row]:
        """All rows that a statement gives, executed once for each sequence of parameters."""
        return list(self.executemany(sql, parameters))

    def run_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Execute a statement once for each sequence of parameters."""
        self.executemany(sql, parameters)

    def then(self, callback: Callable[[], None]) -> None:
        """Call this when what the transaction wrote is durable."""
        self.following.append(callback)


def open_writer(path: str) -> apsw.Connection:
    """The one connection that writes; the caller holds the server lock of the file. Raises apsw errors, and OSError on a full disk."""
    wal_index.may_open(path)
    connection = apsw.Connection(path)
    # No checkpoint may run inside a commit: that would make one commit in a thousand a hundred times slower. What is deleted within a page
    # that is written anyway is overwritten there; free pages keep what they held (`erasing` fills them). All answers are read: of several
    # statements only those up to the first that answers are executed otherwise.
    connection.execute(
        f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -{WRITER_CACHE_KIB}; "
        "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; PRAGMA secure_delete = FAST"
    ).fetchall()
    wal_index.reserve(path, connection.execute)
    return connection


def open_reader(path: str) -> apsw.Connection:
    """A connection that can only read."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute(f"PRAGMA query_only = ON; PRAGMA cache_size = -{READER_CACHE_KIB}; PRAGMA temp_store = MEMORY")
    return connection


def translated(error: apsw.Error) -> StoreFailure:
    """Our error for one of SQLite's: what happened, and what the operator can do."""
    if isinstance(error, apsw.FullError):
        return StoreFailure("the disk or the database is full; nothing was stored; free space and try again")
    if isinstance(error, apsw.ReadOnlyError | apsw.CantOpenError | apsw.PermissionsError):
        return StoreFailure("the database cannot be written (read-only disk or file); nothing was stored; make it writable and try again")
    if isinstance(error, apsw.InterruptError):
        return StoreFailure("the query took longer than its deadline and was stopped; narrow it, or try again")
    if isinstance(error, apsw.NotADBError | apsw.CorruptError):
        text = f"the file is damaged, or was never a SQLite database ({error}); nothing was stored; name another file, or restore a copy"
        return StoreFailure(text)
    return StoreFailure(f"the database answered {type(error).__name__}: {error}; nothing was stored; try again")
