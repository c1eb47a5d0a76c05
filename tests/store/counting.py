"""How much does SQLite do? Counts its instructions, which no busy machine changes."""

from __future__ import annotations

from collections.abc import Callable

import apsw

STEP = 100


def instructions(work: Callable[[], object], *connections: apsw.Connection) -> int:
    """How many instructions of SQLite a piece of work takes on these connections, each to the next hundred."""
    ticks = 0

    def tick() -> bool:
        nonlocal ticks
        ticks += 1
        return False

    for connection in connections:
        connection.set_progress_handler(tick, STEP)
    try:
        work()
    finally:
        for connection in connections:
            connection.set_progress_handler(None)
    return ticks * STEP
