"""The SQLite store: one file, one writer, group commits; see `committer` for how it is fast and `claims` for leases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar, cast

import apsw

from ringback.clock import Clock
from ringback.errors import StoreFailure
from ringback.model.deliveries import Claim, Delivery
from ringback.store.base import Acceptance, Bounds, Claims, Record, Transaction
from ringback.store.sqlite import verbs
from ringback.store.sqlite.checkpoints import Checkpoints
from ringback.store.sqlite.claims import ClaimBook
from ringback.store.sqlite.committer import Committer
from ringback.store.sqlite.connection import SqliteTransaction
from ringback.store.sqlite.ground import Ground
from ringback.store.sqlite.readers import Readers

T = TypeVar("T")

# How long a delivery handed over in memory is leased: twice the longest attempt (30 s and the time for its body).
LEASE_US: Final = 70 * 1_000_000


class SqliteStore:
    """`store.base.Store` on one SQLite file (or `:memory:`, where reads share the writer's connection)."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: str,
        clock: Clock,
        *,
        min_free_disk: int = 0,
        observe: Callable[[float, int], None] = lambda seconds, rows: None,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._released = released
        self._loop = asyncio.get_running_loop()
        self._book = ClaimBook(clock.monotonic_s)
        self._committer = Committer(connection, self._book, LEASE_US, observe)
        self._in_memory = path == ":memory:"
        self._readers = None if self._in_memory else Readers(path)
        self._checkpoints = (
            None if self._in_memory else Checkpoints(path, connection, self._committer.between, self._loop.call_soon_threadsafe)
        )
        self._ground = None if self._in_memory else Ground(path, min_free_disk)

    @property
    def wal_bytes(self) -> int:
        """Bytes of write-ahead log in use."""
        return 0 if self._checkpoints is None else self._checkpoints.wal_pages * 4096

    def accept(self, acceptance: Acceptance) -> None:
        """Commit a message with its deliveries; see `store.base.Store.accept`."""
        ground = self._ground
        if ground is not None and ground.refusal is not None:
            self._loop.call_soon(acceptance.refused, acceptance, ground.refusal)
        else:
            self._committer.accept(acceptance)

    def record(self, records: Sequence[Record], done: Callable[[Exception | None], None]) -> None:
        """Commit what attempts have left behind; see `store.base.Store.record`."""
        self._committer.record(records, done)

    async def claim(self, endpoint_id: str, bounds: Bounds, now_us: int, lease_us: int) -> Claims:
        """Lease due deliveries of one endpoint; see `store.base.Store.claim`."""
        claimed: list[Delivery] = []

        def operation(tx: Transaction) -> Claims:
            claims = verbs.claim(cast(SqliteTransaction, tx), self._book, endpoint_id, bounds, now_us, lease_us)
            claimed.extend(c.delivery for c in claims.claims)
            return claims

        try:
            return cast(Claims, await self._committer.write(operation))
        except BaseException:
            self._book.give_back(claimed)
            raise

    async def claim_one(self, delivery: Delivery, now_us: int, lease_us: int) -> Claim | None:
        """Lease one delivery; see `store.base.Store.claim_one`."""
        claimed: Claim | None = None

        def operation(tx: Transaction) -> None:
            nonlocal claimed
            claimed = verbs.claim_one(cast(SqliteTransaction, tx), self._book, delivery, now_us, lease_us)

        try:
            await self._committer.write(operation)
        except BaseException:
            if claimed is not None:
                self._book.give_back([delivery])
            raise
        return claimed

    def leased(self, endpoint_id: str) -> int:
        """How many deliveries of an endpoint are in somebody's hands."""
        return len(self._book.taken(endpoint_id))

    def renew(self, deliveries: Iterable[Delivery], until_us: int) -> None:
        """Hold leases until a later time."""
        lease_us = until_us - self._clock.now_us()
        self._book.take(deliveries, lease_us)

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Give leases back."""
        self._book.give_back(deliveries)

    def write(self, operation: Callable[[Transaction], T], *, grows: bool = False) -> Awaitable[T]:
        """Run a short operation in the next group commit; see `store.base.Store.write`."""
        if grows and self._ground is not None and self._ground.refusal is not None:
            refused: asyncio.Future[T] = self._loop.create_future()
            refused.set_exception(StoreFailure(str(self._ground.refusal)))
            return refused
        return self._committer.write(operation)

    def read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        """Run a query on a snapshot, off the loop."""
        if self._readers is None:
            return self._committer.write(query)
        return self._readers.read(query)

    async def empty_log(self) -> bool:
        """Have nothing in the log any more; False = somebody reads in it: try again. Raises StoreFailure once the store is closed."""
        return True if self._checkpoints is None else await self._checkpoints.empty()

    async def close(self) -> None:
        """Commit what waits, copy the log into the database, and let the file go."""
        if self._ground is not None:
            self._ground.close()
        if self._readers is not None:
            await self._readers.close()
        await self._committer.close()
        if self._checkpoints is not None:
            await self._checkpoints.close()
        try:
            self._connection.close()
        finally:
            self._released()
