"""How many deliveries are unfinished? Counted along the way, and now and then for good: some end by the way, and nobody counts those."""

from __future__ import annotations

from functools import partial
from typing import Final

from ringback.errors import RingbackError
from ringback.store.base import Store
from ringback.store.operations import directory, lanes
from ringback.telemetry.prometheus import Metrics

# Seconds between two counts, at least; and how many times as long as it took a count is rested from: a million deliveries take a second.
COUNT_EVERY_S: Final = 60.0
REST: Final = 100


async def count(store: Store, metrics: Metrics) -> None:
    """Set `metrics.blocked_lanes`, and `metrics.backlog` right.

    With what an earlier run has left, and without what ended beside an attempt by hand.
    """
    before = metrics.backlog
    try:
        metrics.blocked_lanes = await store.read(lanes.count_all_blocked)
        counted = 0
        place: directory.Key | None = directory.START
        while place is not None:
            found, place = await store.read(partial(directory.count_unfinished, after=place))
            counted += found
    except RingbackError:
        # The store has told the log what ails it; the next count is soon.
        return
    # What came and went meanwhile was counted along the way.
    metrics.backlog = counted + metrics.backlog - before
