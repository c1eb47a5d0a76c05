"""Which endpoints does memory know of? Their lanes, by endpoint and by application, and how many bytes all of them hold."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ringback.engine.lanes import Group, Lane


class Roster:
    """All lanes. `held` counts the bytes of what is reserved, waiting or on the wire. `lanes` and `groups` are to be read only."""

    __slots__ = ("_first_limit", "groups", "held", "lanes")

    def __init__(self, first_limit: int) -> None:
        self._first_limit = first_limit
        self.lanes: dict[str, Lane] = {}
        self.groups: dict[str, Group] = {}
        self.held = 0

    def lane(self, endpoint_id: str, app_id: str) -> Lane:
        """The lane of an endpoint; a new one when there was none."""
        lane = self.lanes.get(endpoint_id)
        if lane is None:
            group = self.groups.get(app_id)
            if group is None:
                group = self.groups[app_id] = Group(app_id)
            lane = self.lanes[endpoint_id] = Lane(endpoint_id, group, self._first_limit)
            group.lanes.add(lane)
        return lane

    def of_application(self, app_id: str) -> Collection[Lane]:
        """The lanes of an application."""
        group = self.groups.get(app_id)
        return () if group is None else group.lanes

    def knows(self, lane: Lane) -> bool:
        """Is this the lane of its endpoint still? It may have been forgotten, and another one made."""
        return self.lanes.get(lane.endpoint_id) is lane

    def forget_idle(self, rested: Callable[[Lane], bool]) -> None:
        """Forget the lanes that have nothing to do, and nothing to remember: no rate (`rested`) that they have used up."""
        for lane in list(self.lanes.values()):
            if lane.idle and rested(lane):
                del self.lanes[lane.endpoint_id]
                lane.group.lanes.discard(lane)
                if not lane.group.lanes:
                    del self.groups[lane.app_id]

    def oldest_due(self, now_us: int) -> int:
        """When the most overdue delivery in memory was due, microseconds since 1970; 0 when none is."""
        dues = [queue[0].delivery.due_at for lane in self.lanes.values() for queue in lane.queues if queue]
        return min((due for due in dues if due < now_us), default=0)
