"""Was this event taken before, or is somebody at it? What an inbox must promise, whichever database it lives in.

An inbox marks an event before its handler runs and after it ran. The mark is atomic: of two that come at once, one runs. It has a lease, so
that the mark of a process that was killed ends by itself. `ringback.receiver.conformance` checks an inbox of your own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from typing import Any, Final, Literal, Protocol

import msgspec

from ringback.model.sources import DEFAULT_WINDOW_S
from ringback.policy.sources import MAX_WINDOW_S, MIN_WINDOW_S

# Providers try again for up to three days; what is forgotten sooner may run twice.
KEPT_S: Final = DEFAULT_WINDOW_S


class EventKey(msgspec.Struct, frozen=True):
    """What names an event: the receiver's name, the provider's id, and a hash of the bytes: another body is another event."""

    receiver: str
    event_id: str
    digest: bytes


class Claim(msgspec.Struct, frozen=True):
    """What became of the wish to run an event.

    `new`: run it, then `finish` or `release`. `running`: somebody else is at it. `done`: it ran; `reply` is what was kept of the answer.
    `token` tells this claim from others of the same event; `conflict`: another body is known under the same id. `context` reaches the
    handler as `event.context`.
    """

    state: Literal["new", "running", "done"]
    token: str = ""
    reply: bytes = b""
    conflict: bool = False
    context: Any = None


class Inbox(Protocol):
    """Remembers events. Methods may block, or be coroutines (then the receiver can only be used from async code).

    They may raise anything: the sender is answered 503 and comes again. Times are microseconds since 1970.
    """

    def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim | Awaitable[Claim]:
        """Mark the event as running until then, unless it is running or done. Atomic, also between processes."""
        ...

    def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> Awaitable[None] | None:
        """It ran: every later claim before that time is `done`. An inbox with a transaction commits it here."""
        ...

    def release(self, key: EventKey, claim: Claim) -> Awaitable[None] | None:
        """It failed: the next claim is `new`, unless another one has taken over meanwhile. An inbox with a transaction rolls back here."""
        ...


def key_of(receiver: str, event_id: str, raw: bytes) -> EventKey:
    """The key of an event."""
    return EventKey(receiver, event_id, hashlib.sha256(raw).digest())


def checked_window(seconds: float) -> int:
    """How long events are remembered, in microseconds. Raises ValueError when that is shorter than providers try again."""
    if not MIN_WINDOW_S <= seconds <= MAX_WINDOW_S:
        raise ValueError(f"events must be remembered for {MIN_WINDOW_S // 3600} hours to {MAX_WINDOW_S // 86400} days, not {seconds:.0f} s")
    return int(seconds * 1_000_000)
