"""What does it take to send one request? The seam between the engine, which decides, and a transport, which acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from ringback.model.attempts import Exchange


class Origin(msgspec.Struct, frozen=True, cache_hash=True):
    """Where a connection goes: one keep-alive pool each. `host` is a name or a literal address without brackets, lower case."""

    tls: bool
    host: str
    port: int


class SealedRequest(msgspec.Struct, frozen=True, gc=False):
    """One signed request. Nothing may alter head or body any more: the wire bytes are the signed bytes.

    `head` is everything from the request line to the blank line, `body` the payload as it was accepted.
    """

    origin: Origin
    head: bytes
    body: bytes


class Watcher(Protocol):
    """Who wants to know the outcome of an attempt before its end."""

    def decided(self, exchange: Exchange) -> None:
        """Status and headers are in, and the body keeps on coming: these are the facts so far."""
        ...


class Transport(Protocol):
    """Makes one attempt. Knows neither the store nor the schedule."""

    def send(self, request: SealedRequest, done: Callable[[Exchange], None], watcher: Watcher | None = None) -> None:
        """Start one attempt on the running loop; `done` is called exactly once, later, with the facts.

        When the body of the response comes slowly, `watcher` is told before, once. Never raises for what a peer does.
        """
        ...

    async def close(self) -> None:
        """Drop idle connections and cut what is in flight (each `done` is still called, as `reset`)."""
        ...
