"""How many requests may be on the wire at once? In all, and to one endpoint.

Dynamic thresholds: a lane may have an eighth of what is still free, so one or a few lanes may have much while there is room, and the more
there are the less each gets. Endpoints that answered well last time draw on one half of the total, all others on the other half: a thousand
endpoints that hang can therefore never take the places of those that work. Per endpoint the limit grows by one with each success and
halves with each sign of trouble.
"""

from __future__ import annotations

from typing import Final

from ringback.engine.lanes import Lane

# A lane's share of what is free in its half.
_SHARE: Final = 8


class Limiter:
    """Counts what is on the wire. `total` is the most at once, `per_endpoint` the most to one endpoint."""

    __slots__ = ("_flying", "_half", "_per_endpoint", "flying")

    def __init__(self, total: int, per_endpoint: int) -> None:
        self._half = max(total // 2, 1)
        self._per_endpoint = per_endpoint
        # Indexed by whether the lane was proven when it took its place.
        self._flying = [0, 0]
        self.flying = 0

    def allows(self, lane: Lane) -> bool:
        """May this lane start one more request now?"""
        if lane.flying >= lane.limit:
            return False
        free = self._half - self._flying[lane.proven]
        return free > 0 and lane.flying < max(1, free // _SHARE)

    def start(self, lane: Lane) -> bool:
        """A request of this lane starts; what it must give back to `end`."""
        lane.flying += 1
        self.flying += 1
        self._flying[lane.proven] += 1
        return lane.proven

    def end(self, lane: Lane, place: bool) -> None:
        """A request of this lane has ended."""
        lane.flying -= 1
        self.flying -= 1
        self._flying[place] -= 1

    def succeeded(self, lane: Lane) -> None:
        """The endpoint answered well: it may have one more at once."""
        lane.proven = True
        if lane.limit < self._per_endpoint:
            lane.limit += 1

    def struggled(self, lane: Lane) -> None:
        """The endpoint did not answer, or said that it has too much to do: half as many at once."""
        lane.proven = False
        lane.limit = max(1, lane.limit // 2)
