"""What if work beside the doors fails? It is begun again after a rest: a server that renews no leases is an accident to come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log

# Seconds of rest after a defect: short beside a lease (70 s), so that one missed turn of whoever renews them costs nothing; and one line
# of log in that time.
REST_S: Final = 10.0


async def kept_going(name: str, begin: Callable[[], Awaitable[None]], rest_s: float = REST_S) -> None:
    """Run a piece of work until it ends by itself or is cancelled; what it raises is logged, and it is begun again."""
    while True:
        try:
            await begin()
            return
        except Exception as error:
            log(TASK_FAILED, failure=error, task=name, error=str(error))
        await asyncio.sleep(rest_s)
