"""Which lane comes next? Those whose endpoints answered well first; the others often enough, but never many at a time."""

from __future__ import annotations

from collections import deque
from typing import Final

from ringback.engine.lanes import Lane

# Turns of proven lanes to one of another, while both kinds wait: endpoints that fail or are new make progress, and cost those that work
# an eighth.
_PROVEN_PER_OTHER: Final = 7


class Ring:
    """The lanes that want a turn, each once, and how many. A lane goes to the end of its kind's queue each time that it joins."""

    __slots__ = ("_others", "_proven", "_since_other", "size")

    def __init__(self) -> None:
        self._proven: deque[Lane] = deque()
        self._others: deque[Lane] = deque()
        self._since_other = 0
        self.size = 0

    def join(self, lane: Lane) -> None:
        """The lane wants a turn; nothing happens when it stands here already."""
        if not lane.ringed:
            lane.ringed = True
            self.size += 1
            (self._proven if lane.proven else self._others).append(lane)

    def next(self) -> Lane | None:
        """The lane whose turn it is; it has left the ring."""
        if self._proven and (not self._others or self._since_other < _PROVEN_PER_OTHER):
            self._since_other += 1
            lane = self._proven.popleft()
        elif self._others:
            self._since_other = 0
            lane = self._others.popleft()
        else:
            return None
        lane.ringed = False
        self.size -= 1
        return lane
