"""How many requests may be on the wire at once? In all, and to one endpoint.

Dynamic thresholds: a lane may have a share of what is still free, so one or a few lanes may have much while there is room, and the more
there are the less each gets. Endpoints that answered well last time draw on one half of the total, all others on the other half, in smaller
shares: a thousand endpoints that hang can therefore never take the places of those that work, nor some of them those of the rest. Once all
places of the other half are taken, every second one that gets free is for endpoints that are not known to hang. Per endpoint the limit
grows by one with each success and halves with each sign of trouble.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ringback.engine.lanes import SILENT, Lane

# Requests at once to an endpoint that has not answered yet: enough for most, and little to lose if it hangs.
_START_LIMIT: Final = 8
# Requests beside an endpoint's limit that may be made by hand: a person who asks for one is not to wait for others that hang.
_BESIDE: Final = 4
# The share of what is free that the lane of an endpoint may have which answered well.
_SHARE: Final = 8


class Limiter:
    """Counts what is on the wire. `total` is the most at once, `per_endpoint` the most to one endpoint.

    A lane that has nothing on the wire, and finds that others have all places, would be called back by nothing of its own: it waits here.
    """

    __slots__ = ("_flying", "_half", "_per_endpoint", "_shares", "_silent", "_silent_next", "_starved", "first", "flying", "starving")

    def __init__(self, total: int, per_endpoint: int) -> None:
        self._half = max(total // 2, 1)
        self._per_endpoint = per_endpoint
        # What a new lane may have.
        self.first = min(_START_LIMIT, per_endpoint)
        # Indexed by whether the lane is proven. One that is not may begin with its first limit while few do, and with one request when a
        # thousand do: what hangs or fails does so for all requests of a lane alike.
        self._shares = (max(self._half // self.first, _SHARE), _SHARE)
        # Indexed by whether the lane was proven when it took its place.
        self._flying = [0, 0]
        self._starved: tuple[deque[Lane], deque[Lane]] = (deque(), deque())
        # Those among the unproven that gave no answer the last times, and whether the next place is theirs.
        self._silent: deque[Lane] = deque()
        self._silent_next = False
        self.starving = 0
        self.flying = 0

    def allows(self, lane: Lane) -> bool:
        """May this lane start one more request now?"""
        if lane.flying >= lane.limit:
            return False
        free = self._half - self._flying[lane.proven]
        if free > 0:
            # Rounded up: as long as something is free, each may have one.
            return lane.flying < -(-free // self._shares[lane.proven])
        self._starve(lane)
        return False

    def spares(self, lane: Lane) -> bool:
        """May this lane start a request that is urgent, whatever else is on the wire to its endpoint?"""
        if lane.flying >= lane.limit + _BESIDE:
            return False
        if self.flying < 2 * self._half:
            return True
        self._starve(lane)
        return False

    def _starve(self, lane: Lane) -> None:
        if not lane.flying and not lane.starved:
            lane.starved = True
            self.starving += 1
            hangs = not lane.proven and lane.unanswered >= SILENT
            (self._silent if hangs else self._starved[lane.proven]).append(lane)

    def called(self) -> Lane | None:
        """The lane that has waited longest for one of the places that are free now; of its kind, where some are silent."""
        (others, proven), silent = self._starved, self._silent
        if (others or silent) and self._flying[False] < self._half:
            starved = silent if silent and (self._silent_next or not others) else others
            self._silent_next = starved is others
        elif proven and self._flying[True] < self._half:
            starved = proven
        else:
            return None
        lane = starved.popleft()
        lane.starved = False
        self.starving -= 1
        return lane

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

    def silent(self, lane: Lane) -> bool:
        """The endpoint gave no answer at all; has it done so several times in a row?"""
        lane.unanswered += 1
        return lane.unanswered >= SILENT

    def succeeded(self, lane: Lane) -> None:
        """The endpoint answered well: it may have one more at once."""
        lane.proven = True
        lane.unanswered = 0
        if lane.limit < self._per_endpoint:
            lane.limit += 1

    def struggled(self, lane: Lane) -> None:
        """The endpoint did not answer, or said that it has too much to do: half as many at once."""
        lane.proven = False
        lane.limit = max(1, lane.limit // 2)
