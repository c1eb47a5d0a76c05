"""How is the index of searches used without holding up anything?

On two threads of its own: one that indexes, at the lowest priority of the system, and one that looks up. Whatever breaks there is told, and
the file is made anew; the database knows nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import apsw

from ringback.errors import StoreFailure
from ringback.store.base import SearchFound, SearchProgress, SearchWanted
from ringback.store.sqlite import search_file
from ringback.store.sqlite.connection import open_reader
from ringback.store.sqlite.search_file import SHARD, Mismatch, SearchFile
from ringback.telemetry.events import SEARCH_REBUILT
from ringback.telemetry.log import log

T = TypeVar("T")

# The lowest priority there is: whatever else wants the processor has it first.
_NICE: Final = 19
# Virtual machine steps between two looks at the clock: some 0.1 ms.
_STEPS: Final = 10_000
# One table is looked through for so long at the most, seconds, even if that is longer than was asked for: else a search would never go on.
_TABLE_S: Final = 2.0
# Above every number of a message.
_NEWEST: Final = 1 << 62
# What SQLite leaves beside a file.
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


def search_path(database: str) -> str:
    """The file of the index of a database."""
    return f"{database}.search"


def remove(path: str) -> None:
    """Remove an index and what lies beside it."""
    for suffix in _SUFFIXES:
        Path(path + suffix).unlink(missing_ok=True)


class SqliteSearch:
    """`store.base.SearchIndex` in a file beside a SQLite database. `key` says which index belongs to the database."""

    def __init__(self, database: str, key: str) -> None:
        self._path = search_path(database)
        self._database = database
        self._key = key
        self._file: SearchFile | None = None
        self._connection: apsw.Connection | None = None
        self._until_s = 0.0
        self._indexing = ThreadPoolExecutor(1, "ringback-search-index", _lower_priority)
        self._looking = ThreadPoolExecutor(1, "ringback-search")

    async def step(self) -> SearchProgress:
        """Forget what was forgotten, and index some messages more."""
        return await self._run(self._indexing, lambda: self._with_file(lambda file: file.step()))

    async def tidy(self, most_bytes: int) -> bool:
        """Make what was forgotten leave the file too, and keep it below a size."""
        return await self._run(self._indexing, lambda: self._with_file(lambda file: file.shrink(most_bytes) or file.scrub()))

    async def find(self, wanted: SearchWanted, below: int | None, above: int, limit: int, within_s: float) -> SearchFound:
        """The newest messages between two numbers that are wanted."""
        return await self._run(self._looking, lambda: self._find(wanted, _NEWEST if below is None else below, above, limit, within_s))

    async def close(self) -> None:
        """Let the file go."""
        # The writer last: it leaves no log beside the file then.
        await self._run(self._looking, self._close_connection)
        await self._run(self._indexing, self._close_file)
        self._indexing.shutdown()
        self._looking.shutdown()

    @staticmethod
    async def _run(executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    # -- on the indexing thread

    def _with_file(self, work: Callable[[SearchFile], T]) -> T:
        try:
            if self._file is None:
                self._file = SearchFile(self._path, self._database, self._key)
            return work(self._file)
        except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.BusyError, apsw.LockedError, OSError) as error:
            # The disk, or somebody else: the file may be as good as before.
            self._close_file()
            raise StoreFailure(
                f"the search index {self._path} cannot be written ({type(error).__name__}: {error}); it is tried again"
            ) from error
        except (apsw.Error, Mismatch, ValueError) as error:
            self._close_file()
            existed = os.path.exists(self._path)
            with contextlib.suppress(OSError):
                remove(self._path)
            if existed:
                log(SEARCH_REBUILT, path=self._path, cause=f"{type(error).__name__}: {error}")
            raise StoreFailure(f"the search index {self._path} is broken ({error}); it is made anew") from error

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(apsw.Error):
                file.close()

    # -- on the looking thread

    def _find(self, wanted: SearchWanted, below: int, above: int, limit: int, within_s: float) -> SearchFound:
        started_s = time.monotonic()
        try:
            connection = self._connection
            if connection is None:
                connection = self._connection = open_reader(self._path)
                connection.set_progress_handler(lambda: time.monotonic() > self._until_s, _STEPS)
            self._until_s = started_s + _TABLE_S
            with _snapshot(connection):
                return self._look(connection, wanted, below, above, limit, started_s + within_s)
        except apsw.Error as error:
            # It may have been removed, and be made anew: open what is there next time.
            self._close_connection()
            raise StoreFailure(f"the search index cannot be read now ({type(error).__name__}: {error}); try again in a moment") from error

    def _look(self, connection: apsw.Connection, wanted: SearchWanted, below: int, above: int, limit: int, until_s: float) -> SearchFound:
        seqs: list[int] = []
        for shard in search_file.shards(connection, below, above):
            if seqs and time.monotonic() > until_s:
                return SearchFound(seqs, (shard + 1) * SHARD)
            self._until_s = time.monotonic() + _TABLE_S
            seqs += search_file.find(connection, shard, wanted, below, above, limit - len(seqs))
            if len(seqs) >= limit:
                return SearchFound(seqs, seqs[-1])
            if time.monotonic() > until_s:
                return SearchFound(seqs, shard * SHARD)
        return SearchFound(seqs, None)

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(apsw.Error):
                connection.close()


@contextlib.contextmanager
def _snapshot(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _lower_priority() -> None:
    # Linux has a priority for each thread, under its own number; elsewhere this one is as others are.
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
