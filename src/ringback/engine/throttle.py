"""May a lane send as far as rates are concerned? Its endpoint's and its application's both apply; what is too much waits for a time.

A lane whose own rate is used up rests until there is a token. Lanes of an application whose rate is used up stand in its queue: each token
goes to the one that has waited longest, so that the endpoints share the rate evenly. A lane that has got its token and wants another goes
to the end of that queue.
"""

from __future__ import annotations

from collections import deque

from ringback.engine.lanes import Group, Lane, Rates
from ringback.engine.rests import Rests
from ringback.model.attempts import WaitCause
from ringback.policy.rate import Bucket, at_rate, full, is_full, taken, wait_us


class Throttle:
    """The rates of all lanes. `due` are applications that may have a token for one of the lanes in their queue."""

    def __init__(self, rests: Rests) -> None:
        self._rests = rests
        self._next: Lane | None = None
        self.due: deque[Group] = deque()

    def allows(self, lane: Lane, rates: Rates) -> bool:
        """May this lane make one attempt, now? Then its tokens are taken; else it waits for them by itself."""
        now_us = self._rests.now_us()
        own, group, shared = None, lane.group, None
        if rates.endpoint is not None:
            own = lane.bucket = _bucket(lane.bucket, rates.endpoint, now_us)
            if wait := wait_us(own, now_us):
                self._rests.rest(lane, now_us + wait, WaitCause.THROTTLE)
                return False
        if rates.application is not None:
            shared = group.bucket = _bucket(group.bucket, rates.application, now_us)
            if (group.queue and lane is not self._next) or wait_us(shared, now_us):
                self._queue(lane, shared, now_us)
                return False
            group.bucket = taken(shared, now_us)
        if own is not None:
            lane.bucket = taken(own, now_us)
        self._next = None
        return True

    def called(self) -> Lane | None:
        """The next lane for which its application has a token: serve it before any other. None when there is none."""
        self._next = None
        while self.due:
            group = self.due[0]
            while group.queue and group.bucket is not None:
                now_us = self._rests.now_us()
                wait = wait_us(group.bucket, now_us)
                if wait:
                    self._call(group, now_us + wait)
                    break
                lane = group.queue.popleft()
                lane.queued = False
                self._rests.note(lane, WaitCause.THROTTLE)
                self._next = lane
                return lane
            self.due.popleft()
        return None

    def look(self, group: Group) -> None:
        """The time of an application has come."""
        group.called = False
        self.due.append(group)

    def released(self, lane: Lane) -> bool:
        """The configuration has changed: a lane that waits for a token asks anew. Did it wait?"""
        if lane.queued:
            lane.queued = False
            lane.group.queue.remove(lane)
            self._rests.note(lane, WaitCause.THROTTLE)
            return True
        return lane.resting is WaitCause.THROTTLE

    def rested(self, lane: Lane) -> bool:
        """Has the lane, and has its application, nothing left of what was used up?"""
        now_us = self._rests.now_us()
        return all(bucket is None or is_full(bucket, now_us) for bucket in (lane.bucket, lane.group.bucket))

    def _queue(self, lane: Lane, shared: Bucket, now_us: int) -> None:
        if not lane.queued:
            lane.queued = True
            lane.group.queue.append(lane)
        if not lane.group.called:
            self._call(lane.group, now_us + wait_us(shared, now_us))

    def _call(self, group: Group, at_us: int) -> None:
        group.called = True
        self._rests.call(group, at_us)


def _bucket(bucket: Bucket | None, rate: int, now_us: int) -> Bucket:
    if bucket is None:
        return full(rate, now_us)
    return bucket if bucket.rate == rate else at_rate(bucket, rate, now_us)
