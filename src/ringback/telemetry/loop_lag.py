"""Is the event loop held up? A timer that should ring every 50 ms measures by how much it is late."""

from __future__ import annotations

import asyncio
from collections import deque

from ringback.clock import Clock
from ringback.telemetry.events import LOOP_LAGGED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Seconds between two rings: sees every hold longer than this, and costs a few microseconds a second.
TICK_S = 0.05
# Seconds over which the longest lag is reported: longer than a scrape takes to come round would hide nothing, 10 s is what the metric says.
WINDOW_S = 10.0
# Seconds of lag that are worth a line: a receiver's p99 notices this.
_WORTH_A_LINE_S = 0.5
# Seconds between two such lines, so that a struggling server does not drown in its own log.
_LINE_EVERY_S = 60.0


async def watch_loop(metrics: Metrics, clock: Clock) -> None:
    """Keep `metrics.loop_lag_s` true until cancelled."""
    # Longest first: a newer, longer lag makes the shorter ones before it irrelevant.
    recent: deque[tuple[float, float]] = deque()
    last_line_s = -_LINE_EVERY_S
    before_s = clock.monotonic_s()
    while True:
        await asyncio.sleep(TICK_S)
        now_s = clock.monotonic_s()
        lag_s = max(now_s - before_s - TICK_S, 0.0)
        before_s = now_s
        while recent and recent[-1][1] <= lag_s:
            recent.pop()
        recent.append((now_s, lag_s))
        while recent[0][0] < now_s - WINDOW_S:
            recent.popleft()
        metrics.loop_lag_s = recent[0][1]
        if lag_s > _WORTH_A_LINE_S and now_s - last_line_s >= _LINE_EVERY_S:
            last_line_s = now_s
            log(LOOP_LAGGED, lag_s=round(lag_s, 3))
