"""How do many writers share one fsync? Group commit: all that waits goes into one transaction.

The statements of a batch run on the event loop, where they take some ten microseconds each and touch pages in memory; only the COMMIT,
which waits for the disk, runs on a thread. So the two threads never fight for the interpreter's lock row by row, which costs more than
the statements themselves, and while one batch is on its way to the disk the next one gathers.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import apsw

from ringback.errors import RingbackError, StoreFailure
from ringback.model.deliveries import Delivery
from ringback.store.base import Acceptance, Record, Transaction
from ringback.store.sqlite.claims import ClaimBook
from ringback.store.sqlite.connection import SqliteTransaction, translated
from ringback.store.sqlite.writing import Writing
from ringback.telemetry.events import STORE_FAILED, STORE_RECOVERED, TASK_FAILED
from ringback.telemetry.log import log

T = TypeVar("T")

# Rows in one batch: at some 12 us each they hold the loop for under 4 ms.
MAX_ROWS: Final = 256
# What a failed attempt weighs as: it moves a delivery, and writes its own row in the counts and lists of its endpoint.
_FAILED_ROWS: Final = 8


class _TransactionLost(apsw.Error):
    """SQLite has undone the whole transaction, not one statement."""


# What a batch cannot survive: the disk, the file or the memory failed, not one statement. SQLite may have rolled back by itself.
_FATAL: Final = (
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.ProtocolError,
    apsw.ConnectionClosedError,
    _TransactionLost,
)
# Operations of a batch may hold the loop for so long (the last of them may exceed it); the others go into the next batch.
OPERATIONS_S: Final = 0.004
# Attempts may wait this long for company, so that they share the commit of the next acceptance: an attempt must be listed within 1 s.
RECORD_LINGER_S: Final = 0.004


class Write:
    """One operation with a place for its result."""

    __slots__ = ("error", "future", "operation", "result")

    def __init__(self, operation: Callable[[Transaction], Any], future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None


class _Batch:
    __slots__ = ("acceptances", "accepted", "error", "following", "in_lanes", "others", "records", "seconds", "unkept", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.acceptances: list[Acceptance] = []
        self.records: list[tuple[Sequence[Record], Callable[[Exception | None], None]]] = []
        self.accepted: list[Acceptance] = []
        self.others: list[tuple[Acceptance, str | Exception]] = []
        # Records of deliveries in lanes: those that follow are leased with them.
        self.in_lanes: list[Record] = []
        # Records that failed alone, for a reason of their own.
        self.unkept: list[tuple[Callable[[Exception | None], None], Exception]] = []
        # What its parts want called once it is durable.
        self.following: list[Callable[[], None]] = []
        self.error: Exception | None = None
        self.seconds = 0.0


class Committer:
    """Gathers writes, commits them together, and tells each what became of it. Belongs to one event loop."""

    def __init__(
        self,
        connection: apsw.Connection,
        book: ClaimBook,
        lease_us: int,
        observe: Callable[[float, int], None] = lambda seconds, rows: None,
    ) -> None:
        self._connection = connection
        self._tx = SqliteTransaction(connection)
        self._writing = Writing(self._tx)
        self._book = book
        self._lease_us = lease_us
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._writes: list[Write] = []
        self._acceptances: list[Acceptance] = []
        self._records: list[tuple[Sequence[Record], Callable[[Exception | None], None]]] = []
        self._busy = False
        self._failing = False
        # Rows that this connection had changed when the last batch was settled.
        self._changed = connection.total_changes()
        self._closed = False
        self._scheduled = False
        # Did the last batch leave attempts to the next one?
        self._behind = False
        self._linger: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._between: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="ringback-commit", daemon=True)
        self._thread.start()

    def accept(self, acceptance: Acceptance) -> None:
        """Commit a message with its deliveries in the next batch."""
        if self._closed:
            self._loop.call_soon(acceptance.refused, acceptance, _closed())
            return
        self._acceptances.append(acceptance)
        self._schedule()

    def record(self, records: Sequence[Record], done: Callable[[Exception | None], None]) -> None:
        """Commit attempts in the next batch, or in one of their own if none comes soon."""
        if self._closed:
            self._loop.call_soon(done, _closed())
            return
        self._records.append((records, done))
        if len(self._records) >= MAX_ROWS:
            self._schedule()
        elif self._linger is None and not self._scheduled:
            if records[0].follow is not None:
                # The next of its lane waits for this.
                self._schedule()
                return
            self._linger = self._loop.call_later(RECORD_LINGER_S, self._schedule)

    def write(self, operation: Callable[[Transaction], Any]) -> asyncio.Future[Any]:
        """Run an operation in the next batch, unless it is cancelled before; its result comes when the batch is durable."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(_closed())
            return future
        self._writes.append(Write(operation, future))
        self._schedule()
        return future

    def between(self, job: Callable[[], None]) -> None:
        """Run a job on the commit thread, when no transaction is open (a checkpoint)."""
        if not self._closed:
            self._between.append(job)
            self._schedule()

    async def close(self) -> None:
        """Commit what waits and end the thread; what comes later is refused."""
        while self._busy or self._scheduled or self._writes or self._acceptances or self._records or self._between:
            self._schedule()
            self._idle = self._loop.create_future()
            await self._idle
        self._closed = True
        self._jobs.put(None)
        while self._thread.is_alive():
            await asyncio.sleep(0.001)

    def _schedule(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._between:
            self._busy = True
            jobs, self._between = self._between, []
            self._jobs.put(lambda: self._run_between(jobs))
            return
        batch = self._take()
        self._busy = True
        try:
            self._tx.execute("BEGIN IMMEDIATE")
            try:
                self._apply(batch)
            except _FATAL:
                raise
            except Exception:
                # Some row is at fault: undo all, and let each part of the batch stand or fall alone.
                self._tx.execute("ROLLBACK")
                self._tx.execute("BEGIN IMMEDIATE")
                self._apply_alone(batch)
        except apsw.Error as error:
            self._rollback()
            self._tx.following.clear()
            batch.error = translated(error)
            self._loop.call_soon(self._settle, batch)
            return
        if self._tx.following:
            batch.following, self._tx.following = self._tx.following, []
        self._jobs.put(lambda: self._commit(batch))

    def _take(self) -> _Batch:
        batch = _Batch()
        batch.writes, self._writes = self._writes, []
        rows = 0
        for taken, acceptance in enumerate(self._acceptances):
            rows += 2 + len(acceptance.targets)
            if rows > MAX_ROWS and taken:
                batch.acceptances, self._acceptances = self._acceptances[:taken], self._acceptances[taken:]
                break
        else:
            batch.acceptances, self._acceptances = self._acceptances, []
        taken = len(self._records)
        if taken * _FAILED_ROWS > MAX_ROWS:
            taken = _within(self._records)
        batch.records, self._records = self._records[:taken], self._records[taken:]
        self._behind = bool(self._records)
        return batch

    def _apply(self, batch: _Batch) -> None:
        self._writing.begin(self._tx)
        if batch.acceptances:
            batch.accepted, batch.others = self._writing.accept(self._tx, batch.acceptances)
        if batch.records:
            batch.in_lanes = self._writing.record(self._tx, [r for records, _ in batch.records for r in records])
        self._apply_writes(batch)

    def _apply_writes(self, batch: _Batch) -> None:
        # After the acceptances, with their leases taken: a claim among the writes must not see a delivery that was handed over as free.
        self._book.take((delivery for acceptance in batch.accepted for delivery in acceptance.claimed), self._lease_us)
        if batch.in_lanes:
            self._book.take(_followers(batch.in_lanes), self._lease_us)
        until_s = time.perf_counter() + OPERATIONS_S
        for done, write in enumerate(batch.writes, 1):
            self._apply_write(write)
            if time.perf_counter() > until_s:
                self._writes[:0] = batch.writes[done:]
                del batch.writes[done:]
                return

    def _apply_write(self, write: Write) -> None:
        if write.future.cancelled():
            return
        try:
            write.result = self._alone(write.operation)
        except _FATAL:
            raise
        except Exception as error:
            write.error = error

    def _apply_alone(self, batch: _Batch) -> None:
        self._writing.revert()
        self._tx.following.clear()
        batch.accepted, batch.others = [], []
        self._leave(batch)
        for acceptance in batch.acceptances:
            acceptance.claimed.clear()
            try:
                accepted, others = self._alone(self._writing.accept, [acceptance])
                batch.accepted += accepted
                batch.others += others
            except _FATAL:
                raise
            except Exception as error:
                self._writing.undo()
                acceptance.claimed.clear()
                batch.others.append((acceptance, _refusal(error)))
        kept = []
        for records, done in batch.records:
            try:
                batch.in_lanes += self._alone(self._writing.record, records)
                kept.append((records, done))
            except _FATAL:
                raise
            except Exception as error:
                self._writing.undo()
                for record in records:
                    if record.follow:
                        record.follow.clear()
                batch.unkept.append((done, _refusal(error)))
        batch.records = kept
        self._apply_writes(batch)

    def _alone(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work in a savepoint: what it raises undoes only its own effect."""
        tx = self._tx
        tx.execute("SAVEPOINT alone")
        following = len(tx.following)
        try:
            result = work(tx, *arguments)
        except _FATAL:
            raise
        except Exception as error:
            if not self._connection.in_transaction:
                raise _TransactionLost(str(error)) from error
            tx.execute("ROLLBACK TO alone")
            tx.execute("RELEASE alone")
            del tx.following[following:]
            raise
        tx.execute("RELEASE alone")
        return result

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            try:
                self._tx.execute("ROLLBACK")
            except apsw.Error:
                # SQLite has rolled back by itself, as it does when the disk fails it.
                return

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()

    def _commit(self, batch: _Batch) -> None:
        start = time.perf_counter()
        try:
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            self._rollback()
            batch.error = translated(error)
        batch.seconds = time.perf_counter() - start
        self._loop.call_soon_threadsafe(self._settle, batch)

    def _run_between(self, jobs: list[Callable[[], None]]) -> None:
        for job in jobs:
            try:
                job()
            except apsw.Error:
                # Upkeep (a checkpoint) is tried again at its next turn; nothing depends on this one.
                continue
        self._loop.call_soon_threadsafe(self._go_on)

    def _settle(self, batch: _Batch) -> None:
        self._tell(batch.error)
        self._call(self._observe, batch.seconds, len(batch.acceptances) + len(batch.records) + len(batch.writes))
        if batch.error is None:
            self._succeed(batch)
        else:
            self._fail(batch, batch.error)
        self._go_on()

    def _go_on(self) -> None:
        """The commit thread is free: begin the next batch, if something waits."""
        self._busy = False
        if self._writes or self._acceptances or self._between or self._behind:
            self._schedule()
        elif self._records and self._linger is None:
            self._linger = self._loop.call_later(RECORD_LINGER_S, self._schedule)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            _complain(error)

    def _tell(self, error: Exception | None) -> None:
        """Log the first failure and the first success after it; a full disk fails a thousand commits a second.

        A batch that changes nothing writes nothing, and succeeds on a full disk: it says nothing of the store.
        """
        changed = self._connection.total_changes()
        wrote, self._changed = changed != self._changed, changed
        if error is not None and not self._failing:
            log(STORE_FAILED, error=str(error))
        elif error is None and self._failing and wrote:
            log(STORE_RECOVERED)
        else:
            return
        self._failing = error is not None

    def _succeed(self, batch: _Batch) -> None:
        self._writing.confirm()
        for write in batch.writes:
            if write.future.cancelled():
                continue
            if write.error is None:
                write.future.set_result(write.result)
            elif isinstance(write.error, apsw.Error):
                write.future.set_exception(translated(write.error))
            else:
                write.future.set_exception(write.error)
        for acceptance in batch.accepted:
            try:
                acceptance.accepted(acceptance)
            except Exception as error:
                _complain(error)
        for acceptance, verdict in batch.others:
            self._call(acceptance.repeated if isinstance(verdict, str) else acceptance.refused, acceptance, verdict)
        self._book.give_back(r.delivery for records, _ in batch.records for r in records)
        for _, done in batch.records:
            try:
                done(None)
            except Exception as error:
                _complain(error)
        for done, cause in batch.unkept:
            self._call(done, cause)
        for callback in batch.following:
            self._call(callback)

    def _leave(self, batch: _Batch) -> None:
        """What follows in lanes does not follow yet."""
        self._book.give_back(_followers(batch.in_lanes))
        for record in batch.in_lanes:
            if record.follow:
                record.follow.clear()
        batch.in_lanes = []

    def _fail(self, batch: _Batch, error: Exception) -> None:
        self._writing.revert()
        self._leave(batch)
        cause = error if isinstance(error, StoreFailure) else StoreFailure(str(error))
        for write in batch.writes:
            if not write.future.cancelled():
                write.future.set_exception(cause)
        for acceptance in batch.acceptances:
            self._book.give_back(acceptance.claimed)
            self._call(acceptance.refused, acceptance, cause)
        for done in [*(done for _, done in batch.records), *(done for done, _ in batch.unkept)]:
            self._call(done, cause)


def _within(waiting: Sequence[tuple[Sequence[Record], object]]) -> int:
    """How many of these, from the first on, go into one batch; one at least."""
    rows = 0
    for taken, (records, _) in enumerate(waiting):
        for record in records:
            rows += 1 if record.next_due_at is None and record.dead is None else _FAILED_ROWS
        if rows > MAX_ROWS and taken:
            return taken
    return len(waiting)


def _followers(records: Sequence[Record]) -> list[Delivery]:
    return [claim.delivery for record in records for claim in record.follow or ()]


def _complain(error: Exception) -> None:
    """What one caller does with its answer must not cost the others theirs."""
    log(TASK_FAILED, failure=error, task="commit", error=str(error))


def _refusal(error: Exception) -> RingbackError:
    """Why one part of a batch was left out: its own words, or those for a row that no database would take."""
    if isinstance(error, RingbackError):
        return error
    log(TASK_FAILED, failure=error, task="commit", error=str(error))
    return RingbackError(f"the database refused a row ({type(error).__name__}: {error}); nothing was stored")


def _closed() -> StoreFailure:
    return StoreFailure("the store is closed; nothing was stored")
