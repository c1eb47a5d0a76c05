"""What is happening right now? Whoever watches is told of each message and each attempt, in slices of time.

A watcher holds a bounded number of the newest happenings; what comes faster than it is taken away is counted, not kept. So a thousand
events a second cost a watcher no more than ten, and the server next to nothing while nobody watches.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

import msgspec

from ringback.errors import Unavailable
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.store.base import Record

# Happenings that a slice shows: what fits on a screen. At a slice each 100 ms that is more than anybody reads.
KEPT: Final = 40
# Length of a slice, seconds: with the commit before it, what happens is seen well within 200 ms.
SLICE_S: Final = 0.1
# Who may watch at once: more people than look at one server, and of one organisation: none can take the places of all others.
_WATCHERS_MAX: Final = 100
_WATCHERS_OF_ONE: Final = 25
# Event types of messages that are remembered while somebody watches, for their attempts.
_TYPES_MAX: Final = 10_000

Kind = Literal["accepted", "delivered", "failed", "dead", "cancelled"]


class Happening(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened. Of an attempt: to which endpoint, what came back (`code` 0: `error` says why not), which one it was.

    `event_type` is "" where nobody knows it any more; `next_at` is when the next attempt is due; `matched`: endpoints that get a message.
    """

    kind: Kind
    at: int
    app_id: str
    message_id: str
    event_type: str
    matched: int = 0
    endpoint_id: str = ""
    attempt_id: str = ""
    code: int = 0
    error: str = ""
    number: int = 0
    duration_us: int = 0
    next_at: int | None = None


class Slice(msgspec.Struct, frozen=True):
    """What happened in a moment, the newest first: so many in all, of which only some are shown."""

    shown: list[Happening]
    seen: int


class Watched(msgspec.Struct, frozen=True):
    """What somebody of an organisation watches: an application (None: those of `mine`), of these event types and kinds (empty: all)."""

    org_id: str
    mine: Callable[[str], bool]
    app_id: str | None = None
    event_types: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def wants(self, happening: Happening) -> bool:
        """Is this watched?"""
        if self.app_id is not None and happening.app_id != self.app_id:
            return False
        if self.kinds and happening.kind not in self.kinds:
            return False
        if self.event_types and happening.event_type not in self.event_types:
            return False
        return self.app_id is not None or self.mine(happening.app_id)


class _Watcher:
    __slots__ = ("newest", "seen", "something", "watched")

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.newest: deque[Happening] = deque(maxlen=KEPT)
        self.seen = 0
        self.something = asyncio.Event()

    def tell(self, happening: Happening) -> None:
        if self.watched.wants(happening):
            self.newest.appendleft(happening)
            self.seen += 1
            self.something.set()

    def take(self) -> Slice:
        taken = Slice(list(self.newest), self.seen)
        self.newest.clear()
        self.seen = 0
        self.something.clear()
        return taken


class LiveFeed:
    """Implements `ports.Feed`, and lets people watch. Belongs to one event loop."""

    def __init__(self) -> None:
        self._watchers: list[_Watcher] = []
        self._types: dict[str, str] = {}
        self._closed = False

    @property
    def watchers(self) -> int:
        """How many people watch."""
        return len(self._watchers)

    def accepted(self, message: Message) -> None:
        """A message is durable."""
        if self._watchers:
            while len(self._types) >= _TYPES_MAX:
                del self._types[next(iter(self._types))]
            self._types[message.id] = message.event_type
            self._tell(Happening("accepted", message.created_at, message.app_id, message.id, message.event_type, message.endpoints))

    def attempted(self, record: Record) -> None:
        """An attempt is recorded, with what follows from it."""
        if self._watchers:
            attempt = record.attempt
            kind: Kind = "delivered" if attempt.status == AttemptStatus.SUCCESS else "cancelled"
            if attempt.status == AttemptStatus.FAIL:
                kind = "failed" if record.dead is None else "dead"
            event_type = self._types.get(attempt.message_id, "" if record.dead is None else record.dead.event_type)
            self._tell(
                Happening(
                    kind,
                    attempt.started_at + attempt.duration_us,
                    attempt.app_id,
                    attempt.message_id,
                    event_type,
                    0,
                    attempt.endpoint_id,
                    attempt.id,
                    attempt.code,
                    attempt.error or "",
                    attempt.number,
                    attempt.duration_us,
                    record.next_due_at,
                )
            )

    def close(self) -> None:
        """The server stops: let everybody who watches go."""
        self._closed = True
        for watcher in self._watchers:
            watcher.something.set()

    def admit(self, org_id: str) -> None:
        """Is there room for one more who watches? Raises Unavailable."""
        of_one = sum(watcher.watched.org_id == org_id for watcher in self._watchers)
        if of_one >= _WATCHERS_OF_ONE or len(self._watchers) >= _WATCHERS_MAX:
            raise Unavailable(f"{max(of_one, len(self._watchers))} people watch already; close a page that is open somewhere")

    async def watch(self, watched: Watched, beat_s: float) -> AsyncIterator[Slice | None]:
        """What happens from now on, slice by slice; None when nothing did for `beat_s` seconds. Raises Unavailable when too many watch."""
        self.admit(watched.org_id)
        watcher = _Watcher(watched)
        self._watchers.append(watcher)
        try:
            while not self._closed:
                try:
                    async with asyncio.timeout(beat_s):
                        await watcher.something.wait()
                except TimeoutError:
                    yield None
                    continue
                yield watcher.take()
                # What comes within the next moment is told together.
                await asyncio.sleep(SLICE_S)
        finally:
            self._watchers.remove(watcher)
            if not self._watchers:
                self._types.clear()

    def _tell(self, happening: Happening) -> None:
        for watcher in self._watchers:
            watcher.tell(happening)
