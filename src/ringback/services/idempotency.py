"""Was this very request carried out already? Keys that make a repeated POST have its effect once.

Two halves: `Flights` knows the requests that run now in this process, `Idempotency` the answers kept in the store. An answer commits in the
transaction of its effect, so that a crash leaves both or neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import msgspec

from ringback.clock import Clock
from ringback.store.base import Store, Transaction
from ringback.store.operations import idempotency
from ringback.store.operations.endpoints import Sealer

A = TypeVar("A")
# The transaction that an effect commits in, and its answer with it.
Effect: TypeAlias = Transaction

# Half of SHA-256: two different requests share a digest once in 2^64 requests at the earliest.
_DIGEST_BYTES = 16


class StoredAnswer(msgspec.Struct, frozen=True):
    """An answer to repeat byte for byte; `message_id` is set, and `body` empty, where it is rebuilt from the message instead."""

    status: int
    body: bytes = b""
    app_id: str | None = None
    message_id: str | None = None


def digest(token_id: str, key: bytes, method: str, target: bytes) -> bytes:
    """The 16 bytes that stand for a key of one token on one method and target (path and query as sent)."""
    # NUL cannot stand in any of the parts, so no two requests are joined into the same text.
    return hashlib.sha256(b"\0".join((token_id.encode(), method.encode(), target, key))).digest()[:_DIGEST_BYTES]


class Flights(Generic[A]):
    """The keyed requests that run now, and who waits for their answers. Belongs to one event loop; nothing here blocks.

    An entry lives exactly as long as its request: the owner must call `finish`, with the answer or, for anything that is not kept, None.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[Callable[[A | None], None]] | None] = {}

    def begin(self, key: bytes) -> bool:
        """Take the key. False: a request with this key runs already, wait for it."""
        if key in self._waiting:
            return False
        self._waiting[key] = None
        return True

    def wait(self, key: bytes, callback: Callable[[A | None], None]) -> None:
        """Call back once the request with this key has finished: with its answer, or None when it left nothing (then try to begin)."""
        waiting = self._waiting[key]
        if waiting is None:
            self._waiting[key] = [callback]
        else:
            waiting.append(callback)

    def leave(self, key: bytes, callback: Callable[[A | None], None]) -> None:
        """Wait no longer."""
        waiting = self._waiting.get(key)
        if waiting is not None and callback in waiting:
            waiting.remove(callback)

    def finish(self, key: bytes, answer: A | None) -> None:
        """The request is over: give the key back and tell those who wait."""
        for callback in self._waiting.pop(key, None) or ():
            callback(answer)

    def __len__(self) -> int:
        return len(self._waiting)


class Idempotency:
    """Answers kept in the store. `ttl_us` is how long, microseconds."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, ttl_us: int) -> None:
        self.flights: Flights[StoredAnswer] = Flights()
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ttl_us = ttl_us

    async def find(self, key: bytes) -> StoredAnswer | None:
        """What this key was answered. Raises StoreFailure."""
        now_us = self._clock.now_us()
        found = await self._store.read(lambda tx: idempotency.find(tx, key, now_us))
        if found is None:
            return None
        body = b"" if found.body is None else self._vault.open(found.body)
        return StoredAnswer(found.status, body, found.app_id, found.message_id)

    def remember(self, tx: Transaction, key: bytes, status: int, body: bytes) -> None:
        """Keep an answer, within the transaction of its effect. The body is sealed: answers may hold secrets."""
        idempotency.remember(tx, key, self._clock.now_us() + self._ttl_us, status, self._vault.seal(body))

    async def keep(self, key: bytes, status: int, body: bytes) -> None:
        """Keep the answer of a request that wrote nothing else. Raises StoreFailure."""
        await self._store.write(lambda tx: self.remember(tx, key, status, body))
