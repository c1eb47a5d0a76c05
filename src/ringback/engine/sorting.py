"""What becomes of deliveries that wait when the ordering of their endpoint is changed? They are sorted into the lanes of the new one.

For that nothing of the endpoint may be on the wire: it is held until what is there has landed, all that waits is put into its lane and
parked, and then the first of each lane is let go. Each step is a short transaction, and a row (`lane_change`) remembers that not all is
done, so that a crash in between is gone on from.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ringback.engine.lanes import Lane
from ringback.engine.roster import Roster
from ringback.engine.supply import Supply
from ringback.engine.work import Work
from ringback.errors import RingbackError
from ringback.model.ordering import Ordering
from ringback.policy.ordering import Document, blocks, lane_of
from ringback.services.directory import Directory
from ringback.store.base import Store
from ringback.store.operations import lanes

# Rows sorted in one step, each with a look at its message: some 3 ms.
_STEP_ROWS: Final = 150
# Seconds between two looks whether all has landed.
_LOOK_S: Final = 0.02
# Seconds until something that the store could not do is tried again.
_AGAIN_S: Final = 0.5


class Sorting:
    """Sorts the deliveries of endpoints anew."""

    def __init__(self, store: Store, directory: Directory, roster: Roster, work: Work, supply: Supply) -> None:
        self._store = store
        self._directory = directory
        self._roster = roster
        self._work = work
        self._supply = supply
        self._sorting: set[str] = set()
        # Those that were changed once more meanwhile.
        self._again: set[str] = set()

    def begin(self, endpoint_id: str, app_id: str, *, at_once: bool = False) -> None:
        """The ordering of this endpoint was changed, durably. One change after the other is worked off by the same run.

        `at_once`: nothing of it may be sent before.
        """
        if endpoint_id in self._sorting:
            self._again.add(endpoint_id)
        else:
            self._sorting.add(endpoint_id)
            lane = self._roster.lane(endpoint_id, app_id)
            if at_once:
                self._supply.hold(lane)
            self._work.begin(self._run(lane, held=at_once))

    async def _run(self, lane: Lane, *, held: bool) -> None:
        while True:
            try:
                self._again.discard(lane.endpoint_id)
                change = await self._store.read(lambda tx: lanes.change_of(tx, lane.endpoint_id))
                if change is None:
                    if lane.endpoint_id in self._again:
                        continue
                    break
                changed_at, released = change
                if not released and not held:
                    # Its deliveries are being removed, because it was disabled: they come first.
                    while lane.stopped:
                        await asyncio.sleep(_LOOK_S)
                    held = True
                    self._supply.hold(lane)
                    await self._landed(lane)
                await self._step(lane, changed_at, released)
            except RingbackError:
                await asyncio.sleep(_AGAIN_S)
        self._sorting.discard(lane.endpoint_id)
        if held:
            self._supply.resume(lane)
        else:
            self._supply.has_stored(self._roster.lane(lane.endpoint_id, lane.app_id))

    async def _landed(self, lane: Lane) -> None:
        """Wait until nothing is on the wire or unrecorded, and what was accepted under the former ordering is durable."""
        known = lane.spilled + lane.spilling
        while lane.spilled < known or lane.reserved or self._store.leased(lane.endpoint_id):
            await asyncio.sleep(_LOOK_S)

    async def _step(self, lane: Lane, changed_at: int, released: bool) -> None:
        endpoint_id, store = lane.endpoint_id, self._store
        ordering = await self._ordering(lane)
        if not released or not blocks(ordering):
            while await store.write(lambda tx: lanes.unblock(tx, endpoint_id, _STEP_ROWS)):
                pass
        if not released:
            await self._sort(endpoint_id, ordering)
            await store.write(lambda tx: lanes.sorted_out(tx, endpoint_id, changed_at))
        after: str | None = None
        while True:
            woken = await store.write(lambda tx, after=after: lanes.let_go(tx, endpoint_id, after, _STEP_ROWS))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            after = woken.position
            if after is None:
                break
        await store.write(lambda tx: lanes.changed(tx, endpoint_id, changed_at))

    async def _sort(self, endpoint_id: str, ordering: Ordering | None) -> None:
        def lane(key: str | None, payload: bytes | None) -> str | None:
            return lane_of(ordering, key, None if payload is None else Document(payload))

        at: tuple[int, str] | None = (-1, "")
        while at is not None:
            moved = await self._store.write(lambda tx, at=at: lanes.sort(tx, endpoint_id, at, _STEP_ROWS, lane))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            at = moved.position

    async def _ordering(self, lane: Lane) -> Ordering | None:
        entry = await self._directory.find_by_id(lane.app_id)
        endpoint = None if entry is None else entry.endpoints.get(lane.endpoint_id)
        return None if endpoint is None else endpoint.ordering
