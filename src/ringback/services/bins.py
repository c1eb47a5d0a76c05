"""What came to a bin? Requests of strangers, kept for whoever knows the bin's token."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import NotFound
from ringback.ids import IdMaker
from ringback.model.bins import Caught
from ringback.model.quarantine import CapturedRequest
from ringback.store.base import Store, Transaction
from ringback.store.operations import bins
from ringback.store.operations.endpoints import Sealer

PREFIX: Final = "breq_"
# A person looks at the last few; four of the largest requests fit. All bins together take no more of the disk than a few thousand
# ordinary messages do.
BOUNDS: Final = bins.Bounds(requests=100, bytes=8 * 1024 * 1024, total_bytes=64 * 1024 * 1024)
# A bin is for looking at what comes now: seven days outlast a weekend.
KEPT_US: Final = 7 * 86_400 * SECOND_US
# Rows forgotten in a slice: 1 to 3 ms of the writer.
_SLICE: Final = 50


class Bins:
    """The requests of all bins. Whoever knows a token may see what came to it, and nobody else."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, make_id: IdMaker, bounds: bins.Bounds = BOUNDS) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._bounds = bounds

    async def keep(self, token: str, request: CapturedRequest, status: int | None) -> str:
        """Keep a request and what was answered, None while that is open; its id. Raises StoreFailure."""
        now_us = self._clock.now_us()
        caught = Caught(self._ids.make(PREFIX, now_us), now_us, status, request)
        # Sealed out here: the transaction is shared with everybody.
        sealed = self._vault.seal(msgspec.msgpack.encode(request))
        await self._store.write(lambda tx: bins.insert(tx, _key(token), caught, sealed, self._bounds))
        return caught.id

    async def answered(self, item_id: str, status: int) -> None:
        """Note what was answered. Raises StoreFailure."""
        await self._store.write(lambda tx: bins.answered(tx, item_id, status))

    async def newest(self, token: str, limit: int) -> list[Caught]:
        """The requests of a bin, the newest first; none when nothing came. Raises Unavailable."""
        return await self._store.read(lambda tx: bins.newest(tx, self._vault, _key(token), limit))

    async def get(self, token: str, item_id: str) -> Caught:
        """One request. Raises NotFound, Unavailable."""

        def query(tx: Transaction) -> Caught:
            caught = bins.get(tx, self._vault, _key(token), item_id)
            if caught is None:
                raise NotFound
            return caught

        return await self._store.read(query)

    async def clear(self, token: str) -> int:
        """Forget all requests of a bin; how many. Raises StoreFailure."""
        return await self._store.write(lambda tx: bins.clear(tx, _key(token)))

    async def forget(self) -> int:
        """Forget some requests that are past their time; how many, and 0 when none is left."""
        before_us = self._clock.now_us() - KEPT_US
        return await self._store.write(lambda tx: bins.purge(tx, before_us, _SLICE))


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()[:16]
