"""What if the same POST comes again? A request with an `idempotency-key` has its effect once, and every repetition gets its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ringback.errors import Unavailable
from ringback.services.idempotency import Effect, Idempotency, StoredAnswer

Keep = Callable[[Effect, int, bytes], None]
# Runs the request itself: status, body, and whether the answer was kept in the transaction of the effect.
Run = Callable[[Keep], Awaitable[tuple[int, bytes, bool]]]
# Makes the whole answer of one that was kept as less than its bytes.
Rebuild = Callable[[StoredAnswer], Awaitable[StoredAnswer]]


class Repeats:
    """Repeats answers instead of effects. `wait_s` is how long a request waits for the one with its key that runs already."""

    def __init__(self, idempotency: Idempotency, wait_s: float) -> None:
        self._idempotency = idempotency
        self._wait_s = wait_s

    async def once(self, key: bytes, run: Run, rebuild: Rebuild | None = None) -> StoredAnswer:
        """The answer of the request that had its effect before, or of `run`. Raises Unavailable while another one still runs."""
        flights = self._idempotency.flights
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while not flights.begin(key):
            given = await self._wait(key, deadline)
            if given is not None:
                return given
        answer: StoredAnswer | None = None
        try:
            answer = await self._idempotency.find(key)
            if answer is None:
                answer = await self._run(key, run)
            elif rebuild is not None:
                answer = await rebuild(answer)
            return answer
        finally:
            flights.finish(key, answer if answer is not None and answer.status < 300 else None)

    async def _run(self, key: bytes, run: Run) -> StoredAnswer:
        def keep(tx: Effect, status: int, body: bytes) -> None:
            self._idempotency.remember(tx, key, status, body)

        status, body, kept = await run(keep)
        if status < 300 and not kept:
            await self._idempotency.keep(key, status, body)
        return StoredAnswer(status, body)

    async def _wait(self, key: bytes, deadline: float) -> StoredAnswer | None:
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[StoredAnswer | None] = loop.create_future()

        def told(answer: StoredAnswer | None) -> None:
            if not finished.done():
                finished.set_result(answer)

        flights = self._idempotency.flights
        flights.wait(key, told)
        try:
            return await asyncio.wait_for(finished, max(deadline - loop.time(), 0))
        except TimeoutError:
            raise Unavailable(
                "a request with this idempotency-key is still running; try again", code="idempotency_in_progress", retry_after_s=1
            ) from None
        finally:
            flights.leave(key, told)
