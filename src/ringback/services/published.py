"""What was fetched from providers before? Kept over restarts, so that none depends on a provider that cannot be reached just then."""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import RingbackError
from ringback.store.base import Store, Transaction
from ringback.store.operations import published
from ringback.store.operations.endpoints import Sealer

Kind: TypeAlias = Literal["addresses", "key"]

# What nobody used for so long belongs to no source any more.
_UNUSED_US: Final = 30 * 86_400 * SECOND_US
# Documents forgotten in one step.
_SLICE: Final = 20


class Document(msgspec.Struct, frozen=True):
    """What was fetched, and how many seconds ago; not negative, whatever the clock did meanwhile."""

    body: bytes
    age_s: float


class Kept(Protocol):
    """Where documents outlive the process."""

    async def find(self, kind: Kind, url: str) -> Document | None:
        """The document as it was fetched last; None when there is none, or it cannot be had now."""
        ...

    async def keep(self, kind: Kind, url: str, body: bytes) -> None:
        """Keep a document that was just fetched. A store in trouble is no trouble for whoever fetched it."""
        ...

    async def used(self, kind: Kind, url: str) -> None:
        """It is still in use, though it could not be fetched anew. As `keep`."""
        ...


class Published:
    """`Kept` in the store."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def find(self, kind: Kind, url: str) -> Document | None:
        """As in `Kept`."""
        try:
            found = await self._store.read(lambda tx: published.find(tx, self._vault, kind, url))
        except RingbackError:
            return None
        if found is None:
            return None
        await self.used(kind, url)
        return Document(found[0], max(self._clock.now_us() - found[1], 0) / SECOND_US)

    async def keep(self, kind: Kind, url: str, body: bytes) -> None:
        """As in `Kept`."""
        await self._written(lambda tx, now_us: published.keep(tx, self._vault, kind, url, body, now_us))

    async def used(self, kind: Kind, url: str) -> None:
        """As in `Kept`."""
        await self._written(lambda tx, now_us: published.used(tx, kind, url, now_us))

    async def forget(self) -> int:
        """Forget some of what nobody used for a month. 0 = nothing is left. Raises StoreFailure."""
        now_us = self._clock.now_us()
        return await self._store.write(lambda tx: published.purge(tx, now_us - _UNUSED_US, _SLICE))

    async def _written(self, change: _Change) -> None:
        now_us = self._clock.now_us()
        try:
            await self._store.write(lambda tx: change(tx, now_us))
        except RingbackError:
            # The store has told the log what ails it; what was fetched is in memory.
            return


class _Change(Protocol):
    def __call__(self, tx: Transaction, now_us: int, /) -> None: ...
