"""How is code tried that somebody has just written? Few at once of each owner, and with an end to the waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, Protocol

import msgspec

from ringback.delivery.scripting_turns import Moment, Ran, Script
from ringback.errors import Refused
from ringback.policy.transforming import Transformed

# Trials of an owner that wait or run at once: each holds a payload, and they may be asked for faster than they run.
_TRIALS: Final = 8
# Seconds that a trial waits at most.
_TRIAL_S: Final = 20.0


class Judged(msgspec.Struct, frozen=True):
    """What code would have made of what it was tried on; nothing was sent.

    `request` is what would be sent, None unless `outcome` says so. `error` is a sentence, with the `line` and `column` of the code that it
    is about (0 = unknown). `said` is what was written to the console.
    """

    outcome: Literal["sent", "cancelled", "failed"]
    request: Transformed | None
    error: str
    line: int
    column: int
    said: tuple[str, ...]
    cpu_us: int


def judged(ran: Ran, made: Callable[[], Transformed]) -> Judged:
    """What came of code that was tried. `made` is the request that it returned, and raises ValueError where that cannot be sent."""
    request, error = None, ran.words
    outcome: Literal["sent", "cancelled", "failed"] = "failed"
    if ran.outcome == "returned":
        try:
            wanted = made()
        except ValueError as problem:
            error = str(problem)
        else:
            request, outcome = (None, "cancelled") if wanted.cancelled else (wanted, "sent")
    return Judged(outcome, request, error, ran.line, ran.column, ran.said, ran.cpu_us)


class Engine(Protocol):
    """What runs scripts (`delivery.scripting.Scripts`)."""

    @property
    def missing(self) -> str | None:
        """Why nothing can run; None = it can."""
        ...

    def ran(
        self, script: Script, document: bytes, *, once: bool = False, listening: bool = False, moment: Moment | None = None
    ) -> Coroutine[Any, Any, Ran]:
        """Run a script on a document and wait for what comes of it."""
        ...


class Trials:
    """Runs what is tried; `whose` names the owners, in the plural of a sentence."""

    def __init__(self, engine: Engine, whose: str) -> None:
        self._engine = engine
        self._whose = whose
        # By owner: trials that have not ended, whether somebody still waits for them or not.
        self._trying: Counter[str] = Counter()

    async def ran(self, script: Script, document: bytes, moment: Moment | None = None) -> Ran:
        """Run what is tried, if there is a place, and wait for a while. Raises Refused (`too_many_trials`)."""
        owner = script.tenant
        if self._trying[owner] >= _TRIALS:
            raise Refused("too_many_trials", f"{_TRIALS} transformations of {self._whose} are being tried; wait until one has ended")
        self._trying[owner] += 1
        running = asyncio.ensure_future(self._engine.ran(script, document, once=True, listening=True, moment=moment))
        running.add_done_callback(lambda _: self._ended(owner))
        try:
            async with asyncio.timeout(_TRIAL_S):
                return await asyncio.shield(running)
        except TimeoutError:
            words = f"its turn did not come within {_TRIAL_S:.0f} s: other code that takes long is before it; try again later"
            return Ran("unavailable", words=words)

    def _ended(self, owner: str) -> None:
        self._trying[owner] -= 1
        if not self._trying[owner]:
            del self._trying[owner]
