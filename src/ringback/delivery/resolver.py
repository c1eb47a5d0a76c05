"""Which addresses does a name have? Answers in bounded threads of its own, so that names that hang delay nobody else.

A lookup is a blocking call that nobody can cancel; some hang for half a minute. Three rules keep them apart:
- One thread per lookup, a few at a time per lane; a lookup that takes long no longer counts, so that the next may start, up to a cap.
- The newest and the oldest lookup waiting start in turn: a healthy name neither stands behind a flood of hanging ones that came
  before it, nor is it overtaken for ever by one that comes after it.
- A name's past chooses its lane: those that answered lately, those not known, and those that hung lately.
"""

from __future__ import annotations

import _thread
import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ringback.delivery.failure import CannotConnect
from ringback.model.attempts import ErrorClass

# What `socket.getaddrinfo` and its stand-ins in tests have in common: name, port -> rows that end in a socket address.
Lookup = Callable[[str, int], Sequence[tuple[Any, ...]]]
Thread = Callable[[Callable[[], None]], None]


class ResolverSettings(msgspec.Struct, frozen=True):
    """How long names are waited for and remembered."""

    # A stub resolver asks again after 5 s; a healthy name answers long before.
    timeout_s: float = 5.0
    # Short, so that a moved service is found soon; long enough that new connections in a burst share one lookup.
    keep_s: float = 15.0
    # A name that does not exist or hung is not asked for again at once: first retries come after 5 s.
    keep_failure_s: float = 5.0
    # A name that hung stays in the lane of suspects for so long.
    suspect_s: float = 300.0
    # From here a lookup counts as hanging and another may start beside it. Healthy names answer in 1 to 50 ms. With 16 abreast that
    # is 320 starts a second when all hang, at 30 us each.
    slow_s: float = 0.05
    # Names remembered: some 300 bytes each.
    max_names: int = 8_192


class _Entry:
    """What is known of one name."""

    __slots__ = ("addresses", "error", "expires_s", "suspect_until_s")

    def __init__(self, addresses: tuple[str, ...], error: str, expires_s: float, suspect_until_s: float) -> None:
        self.addresses = addresses
        self.error = error
        self.expires_s = expires_s
        self.suspect_until_s = suspect_until_s


class _Flight:
    """One lookup that is waiting or running, and the future that all who ask for the name await."""

    __slots__ = ("answer", "discounted", "expiry", "host", "lane", "running")

    def __init__(
        self, host: str, lane: _Lane, loop: asyncio.AbstractEventLoop, timeout_s: float, expire: Callable[[_Flight], None]
    ) -> None:
        self.host = host
        self.lane = lane
        self.answer: asyncio.Future[tuple[str, ...]] = loop.create_future()
        self.running = False
        self.discounted = False
        self.expiry = loop.call_later(timeout_s, expire, self)


# Seconds between two starts once so many threads run as count. Lookups that start together and hang give up together, and a thousand
# threads that all want the interpreter at one moment keep the loop out of it.
_PACE_S = 0.005
# By how much of its deadline a lookup may give up early, and in how many steps.
_SPREAD = 0.4
_STEPS = 200


class _Lane:
    """Threads for one kind of names: `abreast` that count, `most` in all."""

    __slots__ = ("_newest_next", "abreast", "alive", "counted", "most", "next_start_s", "pacing", "waiting")

    def __init__(self, abreast: int, most: int) -> None:
        self.abreast = abreast
        self.most = most
        self.counted = 0
        self.alive = 0
        self.waiting: deque[_Flight] = deque()
        self.next_start_s = 0.0
        self.pacing = False
        self._newest_next = True

    def has_room(self) -> bool:
        return self.counted < self.abreast and self.alive < self.most

    def take_next(self) -> _Flight:
        flight = self.waiting.pop() if self._newest_next else self.waiting.popleft()
        self._newest_next = not self._newest_next
        return flight


def start_daemon(work: Callable[[], None]) -> None:
    """Run `work` in a thread that does not keep the process alive: a hung lookup must not delay the exit.

    Not by `threading.Thread`: its `start` blocks until the new thread runs, which on a busy machine holds the loop for milliseconds.
    """
    _thread.start_new_thread(work, ())


def system_lookup(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    """Ask the operating system, as every other program on the machine does (hosts file included)."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Resolver:
    """Names to addresses. Belongs to one event loop; `lookup` runs in threads, all else on the loop."""

    def __init__(
        self,
        *,
        lookup: Lookup = system_lookup,
        settings: ResolverSettings | None = None,
        start_thread: Thread = start_daemon,
    ) -> None:
        self._lookup = lookup
        self._settings = settings or ResolverSettings()
        self._start_thread = start_thread
        self._entries: dict[str, _Entry] = {}
        self._flights: dict[str, _Flight] = {}
        self._asked = 0
        # A thread waiting in a lookup costs 31 KB. Names that answered lately hang seldom, so few threads do; unknown names may be a
        # flood of hanging ones, and while threads are left the next healthy one finds room; suspects share what cannot grow.
        self._proven = _Lane(abreast=16, most=64)
        self._unknown = _Lane(abreast=16, most=1_024)
        self._suspects = _Lane(abreast=4, most=4)

    @property
    def known_names(self) -> int:
        """How many names are remembered."""
        return len(self._entries)

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of a name, as text. Raises CannotConnect (dns) when it has none or does not answer within `timeout_s`."""
        now = asyncio.get_running_loop().time()
        entry = self._entries.get(host)
        if entry is not None and entry.expires_s > now:
            if entry.error:
                raise CannotConnect(ErrorClass.DNS, entry.error)
            return entry.addresses
        flight = self._flights.get(host)
        if flight is None:
            flight = self._ask(host, self._lane_for(entry, now))
        # Shielded: one asker that gives up must not take the answer away from the others.
        return await asyncio.shield(flight.answer)

    def _lane_for(self, entry: _Entry | None, now: float) -> _Lane:
        if entry is None:
            return self._unknown
        if entry.suspect_until_s > now:
            return self._suspects
        return self._proven if entry.addresses else self._unknown

    def _ask(self, host: str, lane: _Lane) -> _Flight:
        loop = asyncio.get_running_loop()
        self._asked += 1
        # Names that were asked for together must not all give up in the same moment.
        timeout_s = self._settings.timeout_s * (1 - _SPREAD * (self._asked % _STEPS) / _STEPS)
        flight = _Flight(host, lane, loop, timeout_s, self._expire)
        # Somebody may have stopped waiting when the answer comes; an exception nobody fetches must not be logged.
        flight.answer.add_done_callback(_seen)
        self._flights[host] = flight
        lane.waiting.append(flight)
        self._start_next(lane)
        return flight

    def _start_next(self, lane: _Lane) -> None:
        while lane.waiting and lane.has_room() and not lane.pacing:
            loop = asyncio.get_running_loop()
            wait_s = lane.next_start_s - loop.time()
            if lane.alive >= lane.abreast and wait_s > 0:
                lane.pacing = True
                loop.call_later(wait_s, self._paced, lane)
                return
            lane.next_start_s = loop.time() + _PACE_S
            self._run(lane, lane.take_next())

    def _paced(self, lane: _Lane) -> None:
        lane.pacing = False
        # It is time, though the clock of the loop, which stands still for a millisecond, may say that there is a hair to go: asking it
        # again would turn the loop round and round until it moves.
        lane.next_start_s = 0.0
        self._start_next(lane)

    def _run(self, lane: _Lane, flight: _Flight) -> None:
        loop = asyncio.get_running_loop()
        flight.running = True
        lane.counted += 1
        lane.alive += 1
        slow = loop.call_later(self._settings.slow_s, self._discount, flight)

        def work() -> None:
            addresses, error = self._look_up(flight.host)
            try:
                loop.call_soon_threadsafe(self._answered, flight, slow, addresses, error)
            except RuntimeError:
                pass  # The loop is closed: nobody waits for the answer any more.

        try:
            self._start_thread(work)
        except RuntimeError as exc:
            loop.call_soon(self._answered, flight, slow, (), f"the name {flight.host} cannot be looked up: {exc}")

    def _look_up(self, host: str) -> tuple[tuple[str, ...], str]:
        """In a thread: the addresses of a name, or why there are none."""
        try:
            rows = self._lookup(host, 0)
        except Exception as exc:  # Whatever it is: a thread that died without a word would never give its place back.
            return (), f"the name {host} does not resolve: {getattr(exc, 'strerror', None) or exc}"
        addresses = tuple(dict.fromkeys(str(row[-1][0]) for row in rows))
        return addresses, "" if addresses else f"the name {host} has no address"

    def _discount(self, flight: _Flight) -> None:
        """A lookup takes long: let another one start beside it."""
        flight.discounted = True
        flight.lane.counted -= 1
        self._start_next(flight.lane)

    def _answered(self, flight: _Flight, slow: asyncio.TimerHandle, addresses: tuple[str, ...], error: str) -> None:
        slow.cancel()
        flight.lane.alive -= 1
        if not flight.discounted:
            flight.lane.counted -= 1
        # After its deadline too: the next who asks gets the late answer, and a name that answers is no suspect.
        self._settle(flight, addresses, error, hung=False)
        self._start_next(flight.lane)

    def _expire(self, flight: _Flight) -> None:
        seconds = f"{self._settings.timeout_s:g} s"
        if flight.running:
            self._settle(flight, (), f"the name {flight.host} did not resolve within {seconds}", hung=True)
            return
        # Its turn never came, which says nothing about the name: nothing is remembered.
        flight.lane.waiting.remove(flight)
        self._finish(flight, (), f"the name {flight.host} waited {seconds} for a free resolver; too many names hang")

    def _settle(self, flight: _Flight, addresses: tuple[str, ...], error: str, *, hung: bool) -> None:
        now = asyncio.get_running_loop().time()
        keep = self._settings.keep_failure_s if error else self._settings.keep_s
        self._entries.pop(flight.host, None)
        if len(self._entries) >= self._settings.max_names:
            # The oldest answer goes; its name is merely unknown the next time.
            del self._entries[next(iter(self._entries))]
        self._entries[flight.host] = _Entry(addresses, error, now + keep, now + self._settings.suspect_s if hung else 0.0)
        self._finish(flight, addresses, error)

    def _finish(self, flight: _Flight, addresses: tuple[str, ...], error: str) -> None:
        flight.expiry.cancel()
        if self._flights.get(flight.host) is flight:
            del self._flights[flight.host]
        if flight.answer.done():
            return
        if error:
            flight.answer.set_exception(CannotConnect(ErrorClass.DNS, error))
        else:
            flight.answer.set_result(addresses)


def _seen(answer: asyncio.Future[tuple[str, ...]]) -> None:
    if not answer.cancelled():
        answer.exception()
