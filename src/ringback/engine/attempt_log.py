"""Who sees to it that attempts are told one by one? One runner, which rests for as long as nobody asks for that."""

from __future__ import annotations

import asyncio
from typing import Final

from ringback.errors import Unavailable
from ringback.services.attempt_log import AttemptLog
from ringback.telemetry.events import TASK_FAILED
from ringback.telemetry.log import log

# Seconds between two rounds: what happened in them becomes one event. An attempt is told that much later at the most.
EVERY_S: Final = 1.0
# Seconds between two rounds while there is more to tell: a round holds the loop for some 2 ms.
_PAUSE_S: Final = 0.01
# Seconds of rest after a defect of ours.
_REST_S: Final = 60.0


class LogRunner:
    """Tells attempts for ever."""

    def __init__(self, log: AttemptLog) -> None:
        self._log = log
        self._followed = asyncio.Event()

    def followed(self) -> None:
        """Somebody has begun to ask for attempts."""
        self._followed.set()

    async def run(self) -> None:
        """Go on where an earlier run has stopped, until cancelled. A store that fails is asked again."""
        while True:
            self._followed.clear()
            try:
                progress = await self._log.round()
            except Unavailable:
                # The store has told the log what ails it; nothing of the round was told.
                await asyncio.sleep(EVERY_S)
                continue
            except Exception as error:
                # A defect of ours must neither end this for good nor be met again and again.
                log(TASK_FAILED, failure=error, task="attempt log", error=str(error))
                await asyncio.sleep(_REST_S)
                continue
            if progress.followed:
                await asyncio.sleep(_PAUSE_S if progress.more else EVERY_S)
            else:
                await self._followed.wait()
