"""Who is fed now, and who waits? Places for sinks, given stream by stream; a turn that takes long lets another one have its place."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

# Seconds after which something keeps the place of a sink that works no longer, and how many such turns there are at the most, and of how
# many bytes: beyond that they keep their places.
_PATIENCE_S: Final = 1.0
_SLOW_MAX: Final = 512
_SLOW_BYTES: Final = 64 * 1024 * 1024


class Line:
    """Who waits for a place. Streams take turns, and so do the sinks of each: one with thousands of them holds up no other."""

    def __init__(self) -> None:
        self._of_stream: OrderedDict[str, deque[str]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._of_stream)

    def add(self, stream_id: str, sink_id: str) -> None:
        """It is the last one of its stream."""
        self._of_stream.setdefault(stream_id, deque()).append(sink_id)

    def pop(self, may: Callable[[str], bool]) -> tuple[str, str] | None:
        """Whose turn it is: a stream that `may` have one, and its sink; None = no stream may."""
        for _ in range(len(self._of_stream)):
            stream_id, waiting = self._of_stream.popitem(last=False)
            if not may(stream_id):
                self._of_stream[stream_id] = waiting
                continue
            sink_id = waiting.popleft()
            if waiting:
                self._of_stream[stream_id] = waiting
            return stream_id, sink_id
        return None

    def empty(self) -> list[str]:
        """Nobody waits any more; who did."""
        waited = [sink_id for waiting in self._of_stream.values() for sink_id in waiting]
        self._of_stream.clear()
        return waited


class Places:
    """So many turns at once. With a `share`, a stream may have as many as it leaves free: there is always one for another stream."""

    def __init__(self, count: int, *, share: bool) -> None:
        self._free = count
        self._share = share
        self._held: Counter[str] = Counter()
        self.line = Line()

    def next(self) -> tuple[str, str] | None:
        """The stream and the sink whose turn it is, which has a place from now on; None = nobody waits, or nobody may."""
        found = self.line.pop(self._may) if self._free else None
        if found is not None:
            self._free -= 1
            self._held[found[0]] += 1
        return found

    def leave(self, stream_id: str) -> None:
        """A turn of this stream has a place no longer."""
        self._free += 1
        self._held[stream_id] -= 1
        if not self._held[stream_id]:
            del self._held[stream_id]

    def _may(self, stream_id: str) -> bool:
        return not self._share or self._held[stream_id] < self._free


class Slow:
    """Turns that take long and have no place, and their bytes. A stream may have as much as it leaves to others."""

    def __init__(self) -> None:
        self._count = self._bytes = 0
        self._of_stream: Counter[str] = Counter()

    def room(self, stream_id: str, size: int) -> bool:
        """May one more of this stream do without a place?"""
        return self._count < _SLOW_MAX and self.may_grow(stream_id, size)

    def may_grow(self, stream_id: str, size: int) -> bool:
        """May one of this stream have so many bytes more?"""
        return size <= 0 or self._of_stream[stream_id] + size <= _SLOW_BYTES - self._bytes

    def add(self, stream_id: str, size: int) -> None:
        """One more, of so many bytes."""
        self._count += 1
        self.grow(stream_id, size)

    def grow(self, stream_id: str, size: int) -> None:
        """One of them has so many bytes more, or less."""
        self._bytes += size
        self._of_stream[stream_id] += size

    def remove(self, stream_id: str, size: int) -> None:
        """One of them has ended."""
        self._count -= 1
        self.grow(stream_id, -size)
        if not self._of_stream[stream_id]:
            del self._of_stream[stream_id]


class Turn:
    """One sink that is being fed, until it ends. `patient`: it keeps its place, however long it takes (a sink that fails)."""

    def __init__(self, stream_id: str, vacate: Callable[[], None], slow: Slow, *, patient: bool) -> None:
        self._stream_id = stream_id
        self._vacate: Callable[[], None] | None = vacate
        self._slow = slow
        self._patient = patient
        # The bytes that it is known to have, once it has no place.
        self._size = 0

    async def wait(self, future: asyncio.Future[Any], size: int) -> None:
        """Until the future is done; meanwhile the turn has so many bytes in memory."""
        vacate = self._vacate
        if vacate is None:
            self._slow.grow(self._stream_id, size - self._size)
            self._size = size
        else:
            await asyncio.wait([future], timeout=_PATIENCE_S)
            if not future.done() and not self._patient and self._slow.room(self._stream_id, size):
                self._vacate = None
                self._slow.add(self._stream_id, size)
                self._size = size
                vacate()
        await asyncio.wait([future])

    def may_have(self, size: int) -> bool:
        """Is there room for so many bytes? Always, while it has its place."""
        return self._vacate is not None or self._slow.may_grow(self._stream_id, size - self._size)

    def end(self) -> None:
        """Give back what it has; once."""
        vacate, self._vacate = self._vacate, None
        if vacate is not None:
            vacate()
        elif self._size:
            self._slow.remove(self._stream_id, self._size)
            self._size = 0
