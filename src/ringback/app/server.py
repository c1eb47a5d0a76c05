"""How does a server live? Dispatch starts, the doors open, work goes on beside them; and backwards at the end, within the drain timeout."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import uvicorn

from ringback.api.deadlines import Sweeper
from ringback.app.beside import kept_going
from ringback.app.doors import Doors
from ringback.app.parts import Parts, microseconds
from ringback.clock import SECOND_US
from ringback.config import Settings
from ringback.dashboard.door import login_link
from ringback.engine import backlog, sweeper
from ringback.engine.attempt_log import LogRunner
from ringback.engine.dispatcher import LEASE_US
from ringback.engine.indexer import Indexer
from ringback.engine.tasks import TaskRunner
from ringback.errors import StoreFailure
from ringback.gateway.bins import BinUpkeep
from ringback.gateway.upkeep import Timetable
from ringback.services.attempt_log import AttemptLog
from ringback.store.base import SearchIndex
from ringback.store.opening import database_path
from ringback.store.operations import directory as directory_operations
from ringback.telemetry.events import SERVER_STOPPED, SERVER_STOPPING
from ringback.telemetry.log import log
from ringback.telemetry.loop_lag import watch_loop
from ringback.telemetry.prometheus import Metrics

# Seconds between two looks at numbers that nobody counts along the way.
_GAUGES_EVERY_S: Final = 1.0
# Seconds between two looks at which tokens are in use: a row a minute and token.
_TOKENS_EVERY_S: Final = 60.0
# Seconds of the drain that are kept for recording and closing, after the doors and the attempts had theirs.
_CLOSING_S: Final = 1.0
# Seconds that the last spans may take to be exported: also when the drain has used up its time, and when it has left more.
_SPANS_LEAST_S: Final = 0.2
_SPANS_MOST_S: Final = 3.0


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own handling of signals: the doors are only a part of what must end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class Server:
    """One running server: its parts, its doors, and the work that goes on beside them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stopping = asyncio.Event()
        self._cause = ""
        self.operator_token = f"op_{secrets.token_urlsafe(32)}"
        self.tokens = parts.tokens
        self._doors = Doors(parts, self.operator_token, ready=lambda: not self._stopping.is_set())

    def offer_link(self, url: str) -> str:
        """A link that logs in to the dashboard, once and soon."""
        return login_link(url, self._doors.sessions.offer_link())

    @classmethod
    async def open(cls, settings: Settings, stack: contextlib.AsyncExitStack) -> Server:
        """Open the database and make all parts. Raises OperatorError."""
        return cls(await Parts.open(settings, stack))

    async def run(self, sock: socket.socket, url: str) -> int:
        """Dispatch and answer until a signal, then drain. Returns the exit status, 0: what was cut is sent again by the next run."""
        loop = asyncio.get_running_loop()
        parts = self._parts
        self._doors.listening(url)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        for newest in await parts.store.read(directory_operations.newest_ids):
            parts.ids.after(newest)
        await self._doors.declare()
        await parts.operational.start(parts.store, parts.dispatcher)
        tasks = [loop.create_task(kept_going(name, begin)) for name, begin in self._work().items()]
        await self._doors.payloads.load()
        await self._doors.learn_bins()
        parts.dispatcher.start(await parts.store.read(directory_operations.unfinished))
        # What they send is handed to the dispatcher: not before that knows what waits.
        tasks.append(loop.create_task(kept_going("schedules", Timetable(self._doors.schedules).run)))
        if self._doors.draining is not None:
            tasks.append(loop.create_task(kept_going("spool", self._doors.draining.run)))
        doors = _Uvicorn(self._config())
        serving = loop.create_task(doors.serve([sock]))
        deadlines = Sweeper(doors.server_state.connections)
        stop = loop.create_task(self._stopping.wait())
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        drain_s = parts.settings.drain_timeout.total_seconds()
        log(SERVER_STOPPING, cause=self._cause, in_flight=parts.dispatcher.flying, within_s=drain_s)
        started_s = parts.clock.monotonic_s()
        doors.should_exit = True
        await serving
        deadlines.stop()
        left_s = max(drain_s - _CLOSING_S - (parts.clock.monotonic_s() - started_s), 0.0)
        await asyncio.gather(parts.dispatcher.drain(left_s), parts.feeder.drain(left_s))
        cut = parts.dispatcher.flying
        for task in (*tasks, stop):
            task.cancel()
        await asyncio.gather(*tasks, stop, return_exceptions=True)
        await self._note_used()
        await self._doors.upkeep.close()
        await parts.scripts.close()
        await parts.transport.close()
        await self._doors.fetching.close()
        await self._doors.asking.close()
        await self._doors.payloads.close()
        await self._doors.comparing.close()
        left_s = drain_s - (parts.clock.monotonic_s() - started_s)
        await asyncio.to_thread(parts.traces.close, min(max(left_s, _SPANS_LEAST_S), _SPANS_MOST_S))
        log(SERVER_STOPPED, clean=cut == 0, cut=cut)
        return 0

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._parts.traces.around(self._doors.app),
            http=self._doors.protocol(),
            # Websockets are for one path alone: `gateway.switch` sees to it.
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, int(self._parts.settings.drain_timeout.total_seconds() - _CLOSING_S)),
        )

    def _work(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What goes on beside the doors, by its name in the log: how it is begun."""
        parts = self._parts
        index = parts.index
        history_us = microseconds(parts.settings.history_retention.total_seconds())
        return {
            "loop lag": lambda: watch_loop(parts.metrics, parts.clock),
            "gauges": self._gauges,
            "leases": self._tidy,
            "tokens": self._note_tokens,
            "attempt log": self._attempt_log,
            "background tasks": TaskRunner(parts.tasks, parts.clock, history_us, parts.traces.tracing).run,
            "sources": self._doors.upkeep.run,
            "reconciliation": self._doors.reconciling.run,
            "renewal": self._doors.renewing.run,
            "expectations": self._doors.expecting.run,
            "sinks": parts.feeder.run,
            "bins": BinUpkeep(self._doors.bins).run,
            "retention": sweeper.Sweeper(parts.store, parts.clock, history_us, parts.dispatcher.wake).run,
            **({} if index is None else {"search": self._indexer(index).run}),
        }

    def _indexer(self, index: SearchIndex) -> Indexer:
        parts, settings = self._parts, self._parts.settings
        directory = os.path.dirname(os.path.abspath(database_path(settings.database_url)))

        def room() -> tuple[int, int]:
            disk = os.statvfs(directory)
            # What publishing needs is not the index's to take.
            return disk.f_bavail * disk.f_frsize, 2 * settings.min_free_disk

        return Indexer(index, parts.store, parts.clock, parts.metrics, room, settings.search_size_max)

    async def _attempt_log(self) -> None:
        runner = LogRunner(AttemptLog(self._parts.store, self._parts.operational))
        self._parts.operational.watch(runner.followed)
        await runner.run()

    def _stop(self, cause: str) -> None:
        self._cause = cause
        self._parts.intake.closed = True
        self._parts.feed.close()
        self._stopping.set()

    async def _gauges(self) -> None:
        parts = self._parts
        metrics = parts.metrics
        path = database_path(parts.settings.database_url)
        count_at_s = parts.clock.monotonic_s()
        while True:
            if (began_s := parts.clock.monotonic_s()) >= count_at_s:
                await backlog.count(parts.store, metrics)
                took_s = parts.clock.monotonic_s() - began_s
                count_at_s = began_s + max(backlog.COUNT_EVERY_S, backlog.REST * took_s)
            metrics.in_flight = parts.dispatcher.flying
            metrics.breakers_half_open = parts.dispatcher.half_open()
            metrics.oldest_due_us = parts.dispatcher.oldest_due()
            metrics.wal_bytes = parts.store.wal_bytes
            if path != ":memory:":
                _measure(path, metrics)
            await asyncio.sleep(_GAUGES_EVERY_S)

    async def _note_tokens(self) -> None:
        while True:
            await asyncio.sleep(_TOKENS_EVERY_S)
            await self._note_used()

    async def _note_used(self) -> None:
        try:
            await self._parts.tokens.note()
        except StoreFailure:
            # The store has told the log what ails it; it is told again with the next ones.
            return

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(LEASE_US / 3 / SECOND_US)
            self._parts.dispatcher.tidy()


def _measure(path: str, metrics: Metrics) -> None:
    """Look how large the database is, and how much room there is beside it."""
    try:
        metrics.store_bytes = os.stat(path).st_size
        disk = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        # The store tells that its file is gone; what was known last stands.
        return
    metrics.disk_free_bytes = disk.f_bavail * disk.f_frsize
