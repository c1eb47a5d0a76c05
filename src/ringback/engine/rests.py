"""Which lanes must wait for a time, although they have something to send? They rest on one timer, and nothing looks at them meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from ringback.clock import SECOND_US, Clock
from ringback.engine.lanes import Group, Lane
from ringback.engine.roster import Roster
from ringback.engine.wakeup import Alarms
from ringback.model.attempts import WaitCause


class Rests:
    """Times of lanes and of applications, on the monotonic clock: setting the wall clock makes no rest longer or shorter.

    `rested(lane)` is called when the rest of a lane is over, or what is urgent in it need not wait for it, `called(group)` when the time of
    an application has come, and `rung` after each round of these.
    """

    def __init__(
        self,
        clock: Clock,
        roster: Roster,
        rested: Callable[[Lane], None],
        called: Callable[[Group], None],
        rung: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._roster = roster
        self._rested = rested
        self._called = called
        self._alarms = Alarms(self.now_us, self._rings, rung)

    def now_us(self) -> int:
        """Monotonic time in microseconds."""
        return int(self._clock.monotonic_s() * SECOND_US)

    def rest(self, lane: Lane, until_us: int, cause: WaitCause) -> None:
        """Let a lane rest until a monotonic time, or longer if it does so already. What is urgent is looked at again then at the latest."""
        longer = lane.resting is None or until_us > lane.rest_ends
        if longer:
            lane.resting = cause
            lane.rest_ends = until_us
        if longer or lane.urgent:
            self._alarms.set(until_us, lane.endpoint_id)
        if cause is WaitCause.PAUSED and until_us > lane.paused_until:
            lane.paused_until = until_us

    def close(self, lane: Lane) -> None:
        """The circuit breaker of a lane is closed: it rests no longer for that, but a pause that was shorter still holds."""
        if lane.resting is not WaitCause.BREAKER:
            return
        if lane.paused_until > self.now_us():
            lane.resting, lane.rest_ends = WaitCause.PAUSED, lane.paused_until
            self._alarms.set(lane.rest_ends, lane.endpoint_id)
        else:
            self.end(lane)

    def end(self, lane: Lane) -> None:
        """The rest of a lane is over, now."""
        if lane.resting is not None:
            self.note(lane, lane.resting)
            lane.resting = None
            self._rested(lane)

    def note(self, lane: Lane, cause: WaitCause) -> None:
        """Remember why a lane waited until now."""
        lane.rested = cause
        lane.rested_until = self._clock.now_us()

    def call(self, group: Group, at_us: int) -> None:
        """Call an application at a monotonic time."""
        self._alarms.set(at_us, group.app_id)

    def cancel(self) -> None:
        """Call nobody any more."""
        self._alarms.cancel()

    def _rings(self, name: str, at_us: int) -> None:
        # Names of endpoints and of applications begin differently.
        lane = self._roster.lanes.get(name)
        if lane is not None:
            if lane.resting is not None and lane.rest_ends <= at_us:
                self.end(lane)
            elif lane.urgent:
                self._rested(lane)
            return
        group = self._roster.groups.get(name)
        if group is not None:
            self._called(group)
