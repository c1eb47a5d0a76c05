"""What became of the events of one request? All of them are on their way to the disk, and one answer speaks for all."""

from __future__ import annotations

import asyncio

from ringback.errors import RingbackError, Unavailable


class Pending:
    """Events of one request that are on their way to the disk."""

    __slots__ = ("_left", "_waiting", "failure", "ids", "others", "unkept")

    def __init__(self, count: int, waiting: asyncio.Future[None]) -> None:
        self._left = count
        self._waiting = waiting
        self.ids = [""] * count
        # Those that made no message, though they are answered as if they had: their numbers, why, and the messages that stand for them.
        self.others: list[tuple[int, str, str]] = []
        # Those that were not kept, and why.
        self.unkept: list[int] = []
        self.failure: RingbackError | None = None

    def done(self, index: int, message_id: str) -> None:
        """One is durable, or was before."""
        self.ids[index] = message_id
        self._count()

    def stands(self, index: int, outcome: str, message_id: str) -> None:
        """One is no message of its own, as `model.arrivals` calls it: that message stands for it."""
        self.others.append((index, outcome, message_id))
        self.done(index, message_id)

    def failed(self, index: int, error: Exception) -> None:
        """One was not kept."""
        self.unkept.append(index)
        if self.failure is None or isinstance(self.failure, Unavailable):
            # What will never be kept says more than what may be kept later.
            self.failure = error if isinstance(error, RingbackError) else Unavailable("the event could not be stored; send it again")
        self._count()

    def _count(self) -> None:
        self._left -= 1
        if not self._left and not self._waiting.done():
            self._waiting.set_result(None)
