"""How is each endpoint set up, as far as dispatch is concerned? Read when it is needed, and again as soon as it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ringback.clock import SECOND_US, Clock
from ringback.engine.lanes import Lane, LanePlan
from ringback.engine.rests import Rests
from ringback.engine.roster import Roster
from ringback.engine.work import Work
from ringback.errors import RingbackError
from ringback.model.attempts import WaitCause
from ringback.services.directory import Directory, Entry
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log

# Seconds until something that the store could not do is tried again.
_AGAIN_S: Final = 0.5
# How long a lane rests whose endpoint cannot be prepared, a defect of ours.
_REST_US: Final = 60 * SECOND_US

Prepare = Callable[[Entry, str, int], LanePlan | None]


class Configuration:
    """The plans of lanes. `off(lane)` is called when its endpoint is disabled or deleted, `read(lane)` when its plan was read anew."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        roster: Roster,
        rests: Rests,
        work: Work,
        prepare: Prepare,
        off: Callable[[Lane], None],
        read: Callable[[Lane], None],
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._roster = roster
        self._rests = rests
        self._work = work
        self._prepare = prepare
        self._off = off
        self._read = read
        self._closed = False
        directory.watch(self._changed)

    def plan(self, lane: Lane, now_us: int) -> LanePlan | None:
        """The plan of a lane as of now; None while it is being read, and for a lane that has nowhere to send."""
        entry = self._directory.known_by_id(lane.app_id)
        if entry is None:
            lane.loading = True
            self._work.begin(self._load(lane))
            return None
        return self._use(lane, entry, now_us)

    def close(self) -> None:
        """Hear of no changes any more."""
        self._closed = True

    async def _load(self, lane: Lane) -> None:
        try:
            entry = await self._entry(lane.app_id)
        finally:
            lane.loading = False
        if self._use(lane, entry, self._clock.now_us()) is not None:
            self._read(lane)

    async def _entry(self, app_id: str) -> Entry | None:
        while True:
            try:
                return await self._directory.find_by_id(app_id)
            except RingbackError:
                await asyncio.sleep(_AGAIN_S)

    def _use(self, lane: Lane, entry: Entry | None, now_us: int) -> LanePlan | None:
        lane.plan = None
        try:
            lane.plan = None if entry is None else self._prepare(entry, lane.endpoint_id, now_us)
        except Exception as error:
            # A defect of ours in one endpoint must not stop the turns of all others.
            log(TASK_FAILED, failure=error, task="dispatch", error=str(error))
            self._rests.rest(lane, self._rests.now_us() + _REST_US, WaitCause.PAUSED)
            return None
        if lane.plan is None:
            self._off(lane)
        else:
            lane.disabled = False
        return lane.plan

    def _changed(self, app_id: str) -> None:
        lanes = [lane for lane in self._roster.of_application(app_id) if not lane.idle]
        if lanes and not self._closed:
            self._work.begin(self._look_again(app_id, lanes))

    async def _look_again(self, app_id: str, lanes: list[Lane]) -> None:
        entry = await self._entry(app_id)
        for lane in lanes:
            # Not one that was forgotten meanwhile: another may have taken its place.
            if self._roster.knows(lane) and self._use(lane, entry, self._clock.now_us()) is not None:
                self._read(lane)
