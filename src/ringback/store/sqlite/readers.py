"""How are lists read without holding up the writer? On threads of their own, each with a connection, and with a deadline.

A reader that stayed open would keep the WAL from ever being reset, so none may outlast its deadline.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final

import apsw

from ringback.errors import StoreFailure, Unavailable
from ringback.store.base import Transaction
from ringback.store.sqlite.connection import SqliteTransaction, open_reader, translated

# Two readers: one long list must not hold up the lookups beside it, and more would only share the same two cores.
THREADS: Final = 2
# Longest a query may run: far above any list with an index, far below what a client would wait.
DEADLINE_S: Final = 5.0
# Virtual machine steps between two looks at the clock: some 0.1 ms.
_STEPS: Final = 10_000
# Queries that may wait; beyond it the server is overloaded and says so at once.
QUEUE: Final = 1_000


class _Job:
    __slots__ = ("future", "query")

    def __init__(self, query: Callable[[Transaction], Any], future: asyncio.Future[Any]) -> None:
        self.query = query
        self.future = future


class _Watch:
    """Tells when a query has taken too long."""

    __slots__ = ("_deadline_s", "_within_s")

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._deadline_s = 0.0

    def start(self) -> None:
        """A query begins."""
        self._deadline_s = time.monotonic() + self._within_s

    def expired(self) -> bool:
        """Must it end now?"""
        return time.monotonic() > self._deadline_s


class Readers:
    """A few connections that only read. Belongs to one event loop."""

    def __init__(self, path: str, *, deadline_s: float = DEADLINE_S, queue: int = QUEUE) -> None:
        self._path = path
        self._deadline_s = deadline_s
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"ringback-read-{n}", daemon=True) for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def read(self, query: Callable[[Transaction], Any]) -> asyncio.Future[Any]:
        """Run a query on a snapshot; its result, or what it raised."""
        if self._closed:
            raise StoreFailure("the store is closed")
        if self._jobs.qsize() >= self._queue:
            raise Unavailable(f"{self._queue} queries are waiting already; try again")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(_Job(query, future))
        return future

    async def close(self) -> None:
        """End the threads once they have answered what waits."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        while any(thread.is_alive() for thread in self._threads):
            await asyncio.sleep(0.001)

    def _run(self) -> None:
        connection: apsw.Connection | None = None
        watch = _Watch(self._deadline_s)
        while (job := self._jobs.get()) is not None:
            result: Any = None
            error: Exception | None = None
            try:
                if connection is None:
                    connection = open_reader(self._path)
                    connection.set_progress_handler(watch.expired, _STEPS)
                watch.start()
                result = self._ask(connection, job.query)
            except apsw.Error as failure:
                error = translated(failure)
            except Exception as failure:
                error = failure
            self._loop.call_soon_threadsafe(_settle, job.future, result, error)
        if connection is not None:
            connection.close()

    @staticmethod
    def _ask(connection: apsw.Connection, query: Callable[[Transaction], Any]) -> Any:
        connection.execute("BEGIN")
        try:
            return query(SqliteTransaction(connection))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
