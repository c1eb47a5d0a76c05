"""Who runs events that were acknowledged before they were handled? A worker: it takes them off the queue until they ran."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, TypeVar

from ringback.clock import SECOND_US, Clock, SystemClock
from ringback.errors import StoreFailure
from ringback.policy.retry import JITTER
from ringback.receiver.flow import run_async
from ringback.receiver.queue import VANISHED, Queued, SqliteQueue
from ringback.receiver.receiving import Receiver

T = TypeVar("T")

_LOG: Final = logging.getLogger("ringback.receiver")

# Seconds until each of the attempts after the first: a mistake in a handler is mended within a day, a database is back within minutes.
SCHEDULE_S: Final = (5, 60, 300, 1_800, 7_200, 21_600, 43_200)
# A process that was killed gives its events back after so many seconds; one that lives renews long before.
_LEASE_S: Final = 30
# Renewals in the time of a lease: two may fail.
_RENEWALS: Final = 3
# Seconds between looks for what other processes have put in; what this one puts in is seen at once.
_LOOK_S: Final = 1.0
# Seconds for handlers that run when the worker is stopped.
_STOP_S: Final = 10.0
# One number in so many: fine enough to spread what failed together.
_DRAWS: Final = 1_000_000


def _draw() -> float:
    return secrets.randbelow(_DRAWS) / _DRAWS


class Worker:
    """Runs the queued events of receivers of one inbox, `concurrency` at a time; any number of workers and processes may share the file.

    `schedule` has the waits between attempts: an event that failed once more than that is a dead letter. Handlers run at least once; after
    a kill they run again, so they should do the same thing twice without harm. `async with` or `with` start and stop it.
    """

    def __init__(
        self,
        *receivers: Receiver,
        concurrency: int = 4,
        schedule: Sequence[float | timedelta] = SCHEDULE_S,
        lease: timedelta = timedelta(seconds=_LEASE_S),
        look_every_s: float = _LOOK_S,
        clock: Clock | None = None,
        draw: Callable[[], float] = _draw,
    ) -> None:
        queues = {id(receiver.queue): receiver.queue for receiver in receivers}
        if len(queues) != 1 or None in queues.values():
            raise ValueError("a worker needs receivers with mode='stored' that share one SqliteInbox")
        self._receivers = {receiver.name: receiver for receiver in receivers}
        if len(self._receivers) != len(receivers):
            raise ValueError("two receivers have the same name; give them different ones: Receiver(..., name=...)")
        if concurrency < 1 or lease <= timedelta(0):
            raise ValueError(f"a worker needs a concurrency of 1 or more and a lease, not {concurrency} and {lease}")
        self._queue: SqliteQueue = next(queue for queue in queues.values() if queue is not None)
        self._concurrency = concurrency
        self._waits_s = [wait.total_seconds() if isinstance(wait, timedelta) else float(wait) for wait in schedule]
        self._lease_us = int(lease.total_seconds() * SECOND_US)
        self._look_every_s = look_every_s
        self._clock = clock or SystemClock()
        self._draw = draw
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._stopping = False
        self._running: dict[asyncio.Task[None], Queued] = {}
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self._disk = ThreadPoolExecutor(1, "ringback-queue")
        self._queue.watch(self._wake)

    async def run(self) -> None:
        """Take and run events until `stop` is called, then wait for those that run. What is not over by then is run again elsewhere."""
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        renewing = asyncio.create_task(self._renew())
        try:
            while not self._stopping:
                self._woken.clear()
                try:
                    taken = await self._take_all()
                except Exception:
                    # A worker that ended would leave all events behind: it looks again.
                    _LOG.exception("the worker could not read its queue")
                    taken = False
                if not taken and not self._stopping:
                    await self._rest()
            if self._running:
                await asyncio.wait(self._running, timeout=_STOP_S)
        finally:
            renewing.cancel()
            for task in self._running:
                task.cancel()
            # It may be run again: by the next server of a test, say.
            self._stopping = False

    def stop(self) -> None:
        """Take nothing more; `run` ends when what runs has ended. May be called on any thread."""
        self._stopping = True
        self._wake()

    def start(self) -> None:
        """Run on a thread of its own."""
        if self._thread is not None:
            raise RuntimeError("the worker runs already")
        self._stopping = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self.run()), name="ringback-worker", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float = _STOP_S + 1) -> None:
        """Wait for the thread to end, once it was stopped."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        self.join()

    async def __aenter__(self) -> Worker:
        self._stopping = False
        self._task = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if self._task is not None:
            await self._task

    def _wake(self) -> None:
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:
                pass  # the loop was closed a moment ago: nobody is asleep

    async def _take_all(self) -> bool:
        """Start what is due and has room; was there anything?"""
        any_taken = False
        while len(self._running) < self._concurrency and not self._stopping:
            now_us = self._clock.now_us()
            queued = await self._on_disk(self._queue.take, tuple(self._receivers), now_us, now_us + self._lease_us)
            if queued is None:
                return any_taken
            any_taken = True
            task = asyncio.create_task(self._run(queued))
            self._running[task] = queued
            task.add_done_callback(self._ended)
        return any_taken

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._wake()
        if not task.cancelled() and (failure := task.exception()) is not None:
            # Its lease ends, and it is run again.
            _LOG.error("the worker could not record what became of an event", exc_info=failure)

    async def _rest(self) -> None:
        assert self._woken is not None
        try:
            async with asyncio.timeout(self._look_every_s):
                await self._woken.wait()
        except TimeoutError:
            pass  # time to look for what others have put in, and for what is due by now

    async def _on_disk(self, function: Callable[..., T], *arguments: Any) -> T:
        # A thread of its own: handlers that fill the others must not keep leases from being renewed.
        return await asyncio.get_running_loop().run_in_executor(self._disk, function, *arguments)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_us / SECOND_US / _RENEWALS)
            taken = list(self._running.values())
            if taken:
                try:
                    await self._on_disk(self._queue.renew, taken, self._clock.now_us() + self._lease_us)
                except StoreFailure as error:
                    _LOG.error("the worker could not renew its leases: %s", error)

    async def _run(self, queued: Queued) -> None:
        receiver = self._receivers[queued.receiver]
        if queued.attempts > len(self._waits_s) + 1:
            await self._on_disk(self._queue.bury, queued, self._clock.now_us(), VANISHED)
            return
        try:
            await run_async(receiver.run(queued.event))
        except Exception as error:
            receiver.failed(queued.event, error)
            await self._on_disk(self._after_failure, queued, error)
        else:
            await self._on_disk(self._queue.done, queued)

    def _after_failure(self, queued: Queued, error: Exception) -> None:
        said = "".join(traceback.format_exception_only(error)).strip()
        now_us = self._clock.now_us()
        if queued.attempts > len(self._waits_s):
            _LOG.error("event %s of %s is a dead letter after %d attempts", queued.event.id, queued.receiver, queued.attempts)
            self._queue.bury(queued, now_us, said)
            return
        wait_s = self._waits_s[queued.attempts - 1] * (1 + JITTER * self._draw())
        asked_s: Any = getattr(error, "retry_after_s", 0)
        self._queue.retry(queued, now_us + int(max(wait_s, asked_s) * SECOND_US), said)
