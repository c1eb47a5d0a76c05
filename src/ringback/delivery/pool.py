"""Which connection carries a request? Keep-alive pools per origin, bounds on all of them, and one coarse clock for every deadline.

A warm connection is the fast path: no task, no future, no timer per request. Opening one is the slow path, a task each.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import partial

import msgspec

from ringback.clock import Clock, SystemClock
from ringback.delivery.dialer import Dialer, DialSettings
from ringback.delivery.failure import CannotConnect
from ringback.delivery.http import Connection, Done, ResponseLimits
from ringback.delivery.proxied import ProxyDialer, ProxySettings
from ringback.delivery.resolver import Resolver
from ringback.delivery.tls import client_context
from ringback.delivery.transport import Origin, SealedRequest, Watcher
from ringback.model.attempts import ErrorClass, Exchange
from ringback.policy.addresses import AddressPolicy

# Microseconds per second.
_US = 1_000_000
# Deadlines are 1 s or more: a tenth of that is how late they may be noticed, and a sweep over 4,096 connections costs 0.2 ms.
SWEEP_S = 0.1
# Idle limits are many seconds: looking every tenth sweep is enough.
_IDLE_SWEEPS = 10
# A body that is not there so long after its head is a slow one: servers that write the two apart need less than this.
_SLOW_S = 0.01
_CLOSED = "the transport was closed before the answer came"


class HttpSettings(msgspec.Struct, frozen=True):
    """Bounds of the delivery client."""

    # The contract's `request_timeout`: DNS to response headers, 1 to 30 s.
    request_timeout_s: float = 30.0
    # Below the idle limits of common servers and load balancers (Node 5 s, Apache 5 s, nginx 75 s, AWS 60 s): those that close
    # sooner cost one reconnect, which the stale check sees.
    idle_limit_s: float = 30.0
    # Many endpoints may share an origin; fewer than are in use at once would have connections closed and opened all the time.
    idle_per_origin: int = 1_024
    # File descriptors are the scarce thing: systems allow 1,024 to 1 M per process.
    max_connections: int = 4_096
    # Bodies that are still read after their outcome was told: so many in all, and of one origin, at up to 20 kB and a connection each.
    # Beyond this the one that has been read for longest is cut, so that servers that drip cost a bounded amount, and delay nobody.
    slow_bodies: int = 256
    slow_bodies_per_origin: int = 32
    response: ResponseLimits = ResponseLimits()
    dial: DialSettings = DialSettings()


class _Pool:
    """The idle connections of one origin, the one used last at the end."""

    __slots__ = ("idle", "origin", "slow")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle: list[Connection] = []
        # Those whose outcome was told while their body is still read, the oldest first.
        self.slow: dict[Connection, None] = {}


class HttpTransport:
    """The Transport of HTTP and HTTPS endpoints. Belongs to one event loop: make and use it there."""

    def __init__(
        self,
        *,
        policy: AddressPolicy,
        settings: HttpSettings | None = None,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        proxy: ProxySettings | None = None,
    ) -> None:
        self._settings = settings or HttpSettings()
        self._timeout_s = self._settings.request_timeout_s
        self._now = now = (clock or SystemClock()).monotonic_s
        dialer = (resolver or Resolver(), policy, ssl_context or client_context(), self._settings.dial, now)
        self._dialer = Dialer(*dialer) if proxy is None else ProxyDialer(*dialer, proxy=proxy)
        self._pools: dict[Origin, _Pool] = {}
        self._busy: set[Connection] = set()
        self._homes: dict[Connection, _Pool] = {}
        # Open connections and those being opened.
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[CannotConnect | None]] = set()
        # Exchanges (connection, number of its use) whose body is not all there, the oldest first; and those of them that were found slow.
        self._reading: deque[tuple[Connection, int]] = deque()
        self._slow: dict[Connection, None] = {}
        self._slow_handle: asyncio.TimerHandle | None = None
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._sweeps = 0
        self._closed = False

    def send(self, request: SealedRequest, done: Done, watcher: Watcher | None = None) -> None:
        """Start one attempt on the running loop; see `Transport.send`."""
        now = self._now
        started = now()
        pool = self._pools.get(request.origin)
        if pool is not None and not self._closed:
            while pool.idle:
                connection = pool.idle.pop()
                if connection.usable():
                    self._busy.add(connection)
                    connection.begin(request, done, started, started + self._timeout_s, None, watcher)
                    return
                connection.drop()
        self._start(request, done, watcher, started, started + self._timeout_s)

    async def close(self) -> None:
        """Drop idle connections and cut what is in flight; each `done` is still called, as `reset`."""
        self._closed = True
        for handle in (self._sweep_handle, self._slow_handle):
            if handle is not None:
                handle.cancel()
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._homes):
            connection.cut(_CLOSED)
        if self._tasks:
            await asyncio.wait(self._tasks)
        while self._homes:
            # Each drop is followed by `lost` in one of the next turns of the loop.
            await asyncio.sleep(0)

    @property
    def open_connections(self) -> int:
        """Connections open or being opened."""
        return self._taken

    # Connections call these.

    def first_answer(self, connection: Connection, transport: asyncio.BaseTransport) -> None:
        """TLS tickets are in by now: keep one for the next connection."""
        origin = self._homes[connection].origin
        if origin.tls:
            self._dialer.remember_session(origin, transport)

    def reusable(self, connection: Connection) -> None:
        """The exchange ended well: keep the connection, unless somebody waits for its place."""
        self._busy.discard(connection)
        pool = self._homes[connection]
        if self._slow:
            self._hurries(connection, pool)
        if self._closed or self._waiting or len(pool.idle) >= self._settings.idle_per_origin:
            connection.drop()
            return
        pool.idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""
        self._busy.discard(connection)
        pool = self._homes.pop(connection, None)
        if pool is None:
            return
        self._hurries(connection, pool)
        if connection in pool.idle:
            pool.idle.remove(connection)
        self._release_place()

    def stale(self, request: SealedRequest, done: Done, started_s: float, deadline_s: float, watcher: Watcher | None) -> None:
        """The request found a dead connection: once more, on a fresh one, within the same attempt."""
        self._start(request, done, watcher, started_s, deadline_s)

    def reading(self, connection: Connection) -> None:
        """The body of a response is not all there: look in a moment whether it is a slow one."""
        self._reading.append((connection, connection.uses))
        if self._slow_handle is None:
            self._slow_handle = asyncio.get_running_loop().call_later(_SLOW_S, self._look_for_slow)

    # Opening.

    def _start(self, request: SealedRequest, done: Done, watcher: Watcher | None, started_s: float, deadline_s: float) -> None:
        task = asyncio.get_running_loop().create_task(self._open_and_send(request, done, watcher, started_s, deadline_s))
        self._tasks.add(task)
        task.add_done_callback(partial(self._opened, done, started_s))

    async def _open_and_send(
        self, request: SealedRequest, done: Done, watcher: Watcher | None, started_s: float, deadline_s: float
    ) -> CannotConnect | None:
        """Send on a new connection; or why there is none, and then `done` is still to be called."""
        opening = None
        try:
            await self._take_place(deadline_s)
            try:
                connection, opening = await self._dialer.dial(request.origin, deadline_s, self._make)
            finally:
                if opening is None:
                    self._release_place()
        except CannotConnect as failure:
            return failure
        if connection.closed:
            # It was lost before it had a home, so nobody will tell us again.
            self._release_place()
            return CannotConnect(*connection.early_end(), address=connection.address)
        pool = self._pools.get(request.origin)
        if pool is None:
            pool = self._pools[request.origin] = _Pool(request.origin)
        self._homes[connection] = pool
        self._busy.add(connection)
        self._arm()
        connection.begin(request, done, started_s, deadline_s, opening, watcher)
        return None

    def _opened(self, done: Done, started_s: float, task: asyncio.Task[CannotConnect | None]) -> None:
        """The task is over. Here rather than in it: a task that is cancelled before its first step runs none of its code."""
        self._tasks.discard(task)
        if task.cancelled():
            failure: CannotConnect | None = CannotConnect(ErrorClass.RESET, _CLOSED)
        elif (bug := task.exception()) is not None:
            failure = CannotConnect(ErrorClass.INTERNAL, f"the attempt could not be made: {bug!r}")
        else:
            failure = task.result()
        if failure is not None:
            done(
                Exchange(
                    status=0,
                    error=failure.error,
                    detail=failure.detail,
                    address=failure.address,
                    duration_us=int((self._now() - started_s) * _US),
                    phases=failure.phases,
                )
            )

    def _make(self, address: str) -> Connection:
        return Connection(self, self._settings.response, self._now, address)

    async def _take_place(self, deadline_s: float) -> None:
        """Count one more connection; at the limit close an idle one, and wait until a place is free."""
        if self._closed:
            raise CannotConnect(ErrorClass.RESET, _CLOSED)
        if self._taken < self._settings.max_connections:
            self._taken += 1
            return
        self._drop_oldest_idle()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(max(deadline_s - self._now(), 0)):
                await place
        except (TimeoutError, asyncio.CancelledError) as exc:
            if place.done() and not place.cancelled():
                # Handed over in the very turn in which time ran out: pass it on.
                self._release_place()
            if isinstance(exc, asyncio.CancelledError):
                raise
            text = f"no connection was free: all {self._settings.max_connections} are in use; let this process open more files (ulimit -n)"
            raise CannotConnect(ErrorClass.INTERNAL, text) from exc

    def _release_place(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():  # Those who gave up have cancelled theirs.
                # Handed over: the count stays.
                place.set_result(None)
                return
        self._taken -= 1

    def _drop_oldest_idle(self) -> None:
        idle = [connection for pool in self._pools.values() for connection in pool.idle[:1] if not connection.closed]
        if idle:
            min(idle, key=lambda connection: connection.idle_since_s).drop()

    # Slow bodies.

    def _look_for_slow(self) -> None:
        """Tell the outcome of those whose body is slow: nobody need wait for it."""
        self._slow_handle = None
        since_s = self._now() - _SLOW_S
        while self._reading:
            connection, use = self._reading[0]
            if connection.uses == use and connection.status_s > since_s:
                break
            self._reading.popleft()
            pool = self._homes.get(connection)
            if pool is not None and connection.uses == use and connection.slow:
                self._slow[connection] = pool.slow[connection] = None
                self._cut_oldest(pool.slow, self._settings.slow_bodies_per_origin)
                self._cut_oldest(self._slow, self._settings.slow_bodies)
                connection.decide()
        if self._reading and not self._closed:
            self._slow_handle = asyncio.get_running_loop().call_later(_SLOW_S, self._look_for_slow)

    def _cut_oldest(self, slow: dict[Connection, None], most: int) -> None:
        while len(slow) > most:
            connection = next(iter(slow))
            self._hurries(connection, self._homes[connection])
            connection.expire()

    def _hurries(self, connection: Connection, pool: _Pool) -> None:
        """The connection is no slow one, or no longer."""
        self._slow.pop(connection, None)
        pool.slow.pop(connection, None)

    # Deadlines.

    def _arm(self) -> None:
        if self._sweep_handle is None:
            self._sweep_handle = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """End what is past its deadline, close what was idle for long; go on while a connection is open."""
        self._sweep_handle = None
        now = self._now()
        for connection in [c for c in self._busy if c.deadline_s <= now]:
            connection.expire()
        self._sweeps += 1
        if self._sweeps % _IDLE_SWEEPS == 0:
            self._sweep_idle(now - self._settings.idle_limit_s)
        if self._homes and not self._closed:
            self._arm()

    def _sweep_idle(self, since_s: float) -> None:
        for connection in [c for pool in self._pools.values() for c in pool.idle if c.idle_since_s <= since_s]:
            connection.drop()
        homes = set(self._homes.values())
        for origin in [origin for origin, pool in self._pools.items() if pool not in homes]:
            del self._pools[origin]
