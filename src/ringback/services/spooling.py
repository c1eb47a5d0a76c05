"""What if an event is believed, and the database cannot take it? It waits in the spool, and comes in when commits succeed again.

What is kept is what was decided when it came: the events that a commit would have taken, so that nothing has to be verified or compared
again. Each is claimed under its own name, or under that of its record, so that a crash while the spool is drained makes none of them twice.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from ringback.clock import SECOND_US, Clock
from ringback.errors import RingbackError, StoreFailure, Unavailable
from ringback.model.arrivals import SPOOLED
from ringback.model.sources import DEFAULT_WINDOW_S, Activity, Source
from ringback.model.sources import SPOOLED as FLAG
from ringback.services.arrivals import Came, Journal
from ringback.services.directory import Directory, Entry
from ringback.services.gateway import Ready, SourceDirectory
from ringback.services.intake import NewMessage
from ringback.services.pending import Pending
from ringback.store.base import EventClaim, Store, Transaction
from ringback.store.operations import sources
from ringback.store.operations.deduplication import digest
from ringback.store.operations.endpoints import Sealer
from ringback.store.spool import Spool, SpoolFailure
from ringback.telemetry.events import SPOOL_BEGAN, SPOOL_DRAINED, SPOOL_DROPPED, SPOOL_FAILED, SPOOL_REFUSED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Records brought in together: some milliseconds of the writer.
_SLICE: Final = 32
# Seconds until a store that failed is tried again: twice as long each time, up to some seconds, as each try is a commit that fails.
_AGAIN_S: Final = 0.5
_LONGEST_S: Final = 4.0
# A crash while the spool is drained brings its events again, at the next start: those without a name are remembered as others are.
_WINDOW_US: Final = DEFAULT_WINDOW_S * SECOND_US
_ID_BYTES: Final = 12


class Record(msgspec.Struct, frozen=True):
    """One request that waits: its events as they would have been committed, without the headers that all of them have.

    `came_at` is when it was kept, microseconds since 1970; `id` tells it from all others.
    """

    id: bytes
    source_id: str
    app_id: str
    came_at: int
    came: Came
    headers: bytes | None
    events: list[NewMessage]

    def restored(self) -> list[NewMessage]:
        """The events, each with a name that it has but once, and marked as spooled."""
        return [self._restored(event, index) for index, event in enumerate(self.events)]

    def _restored(self, event: NewMessage, index: int) -> NewMessage:
        claim = event.event
        if claim is None:
            claim = EventClaim(self.source_id, b"s%b %d" % (self.id, index), digest(event.payload), _WINDOW_US)
        origin = event.origin
        if origin is not None:
            origin = replace(origin, flags=(*origin.flags, FLAG), came_at=self.came_at)
        return replace(event, headers=self.headers, origin=origin, event=claim)


class Behind(StoreFailure):
    """Events of the source wait in the spool, and this one must not overtake them."""

    def __init__(self) -> None:
        super().__init__("events that came before wait in the spool")


class Aside:
    """Keeps events that the database cannot take. Belongs to one event loop."""

    def __init__(self, spool: Spool, clock: Clock, metrics: Metrics) -> None:
        self._spool = spool
        self._clock = clock
        self._metrics = metrics
        self._keeping = 0
        # Have the log's readers been told: that the spool is used, that it fails?
        self._began = self._failing = False
        self.tell()

    def comes_behind(self, ready: Ready) -> bool:
        """Must an event of the source wait behind others, so that what is in order stays in order?"""
        return bool(ready.source.rules.ordering_key_at) and bool(self._spool.events or self._keeping)

    @staticmethod
    def takes(ready: Ready, error: Exception | None) -> bool:
        """May an event of the source, which was not committed because of this, be kept here? Not where an endpoint's answer is awaited."""
        return isinstance(error, StoreFailure) and ready.source.rules.processed_by is None

    async def keep(self, ready: Ready, events: list[NewMessage], came: Came) -> None:
        """Keep the events of one request; they are durable when this returns. Raises SpoolFailure."""
        source = ready.source
        bare = [replace(event, headers=None) for event in events]
        headers = events[0].headers
        record = Record(secrets.token_bytes(_ID_BYTES), source.id, source.app_id, self._clock.now_us(), came, headers, bare)
        self._keeping += 1
        try:
            await self._spool.append(msgspec.msgpack.encode(record))
        except SpoolFailure as error:
            self.count("refused")
            if not self._failing:
                log(SPOOL_FAILED, error=str(error))
            self._failing = True
            raise
        finally:
            self._keeping -= 1
            self.tell()
        if not self._began:
            log(SPOOL_BEGAN, path=str(self._spool.directory))
        self._failing, self._began = False, True
        self.count("spooled")

    def tell(self) -> None:
        """Let the numbers say what the spool holds."""
        self._began = self._began and self._spool.events > 0
        self._metrics.spooled = self._spool.events
        self._metrics.spooled_bytes = self._spool.size_bytes

    def count(self, outcome: str) -> None:
        """One more request had this outcome, of `SPOOL_OUTCOMES`."""
        metrics = self._metrics
        metrics.spool_events = {**metrics.spool_events, outcome: metrics.spool_events[outcome] + 1}


class Taker(Protocol):
    """What stores events: `services.receiving`."""

    def accept(self, ready: Ready | None, entry: Entry, event: NewMessage, pending: Pending, index: int) -> None:
        """Store one event, the one of that number among those of `pending`, which hears of it."""
        ...


class _Brought(msgspec.Struct, frozen=True):
    """A record on its way to the database."""

    number: int
    record: Record
    events: list[NewMessage]
    source: Source | None
    pending: Pending
    done: asyncio.Future[None]


class Draining:
    """Brings what is in the spool to the database, in the order in which it came."""

    def __init__(
        self,
        spool: Spool,
        aside: Aside,
        taker: Taker,
        store: Store,
        vault: Sealer,
        directory: Directory,
        known: SourceDirectory,
        journal: Journal,
        metrics: Metrics,
    ) -> None:
        self._spool = spool
        self._aside = aside
        self._taker = taker
        self._store = store
        self._vault = vault
        self._directory = directory
        self._known = known
        self._journal = journal
        self._metrics = metrics
        # The file that is being brought in, which of its records are done with, and which of these can never be brought in: why, and whose.
        self._name = ""
        self._there: set[int] = set()
        self._refused: dict[int, tuple[Exception, Record | None]] = {}
        # Something waits that the database did not take the last time.
        self.stuck = False

    async def problem(self) -> str | None:
        """Why nothing more could be kept; None: it could."""
        return await self._spool.problem()

    async def run(self) -> None:
        """Until cancelled. A store that fails is tried again."""
        wait_s = _AGAIN_S
        while True:
            await self._spool.filled()
            try:
                await self.drain()
            except RingbackError:
                # The store has told the log what ails it.
                self.stuck = True
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_S)
                continue
            self.stuck, wait_s = False, _AGAIN_S
            log(SPOOL_DRAINED, events=self._metrics.spool_events["drained"])

    async def drain(self) -> None:
        """Bring in all that is there. Raises Unavailable where the store fails, and OperatorError where the key is another one."""
        while (name := self._spool.oldest) is not None:
            await self._bring(name)

    async def _bring(self, name: str) -> None:
        """Bring in one file, then let it go. Raises Unavailable: what is there by then is not brought again by this process."""
        if name != self._name:
            self._name, self._there, self._refused = name, set(), {}
        contents = await self._spool.read(name)
        left = []
        for number, content in enumerate(contents):
            try:
                if number not in self._there:
                    left.append((number, _records.decode(content)))
            except msgspec.MsgspecError as error:
                self._refuse(number, error, None)
        while left:
            some = in_turn(left)
            left = left[len(some) :]
            await self._bring_some(some)
        # They are by themselves before their file goes: a crash in between brings the rest once more, which is known by then.
        for number, (why, record) in list(self._refused.items()):
            path = await self._spool.set_apart(name, number, contents[number])
            source_id, app_id = ("", "") if record is None else (record.source_id, record.app_id)
            log(SPOOL_REFUSED, path=str(path), source_id=source_id, app_id=app_id, error=str(why) or type(why).__name__)
            self._aside.count("apart")
            del self._refused[number]
        await self._spool.remove(name)
        self._aside.tell()

    def _refuse(self, number: int, error: Exception, record: Record | None) -> None:
        self._there.add(number)
        self._refused[number] = (error, record)

    async def _bring_some(self, some: list[tuple[int, Record]]) -> None:
        loop = asyncio.get_running_loop()
        known = [(number, record, await self._found(record)) for number, record in some]
        brought = []
        for number, record, (entry, ready, source) in known:
            if entry is None:
                log(SPOOL_DROPPED, source_id=record.source_id, app_id=record.app_id, events=len(record.events))
                self._there.add(number)
                continue
            done: asyncio.Future[None] = loop.create_future()
            one = _Brought(number, record, record.restored(), source, Pending(len(record.events), done), done)
            brought.append(one)
            for index, event in enumerate(one.events):
                self._taker.accept(ready, entry, event, one.pending, index)
        for one in brought:
            await one.done
        for one in brought:
            self._settle(one)
        for one in brought:
            if isinstance(one.pending.failure, Unavailable):
                raise one.pending.failure

    def _settle(self, one: _Brought) -> None:
        failure = one.pending.failure
        if isinstance(failure, Unavailable):
            return
        if failure is not None:
            self._refuse(one.number, failure, one.record)
            return
        self._there.add(one.number)
        self._aside.count("drained")
        if one.source is None:
            return
        others = {index: outcome for index, outcome, _ in one.pending.others}
        for index, message_id in enumerate(one.pending.ids):
            self._journal.note(
                one.source,
                others.get(index, SPOOLED),
                one.record.came,
                0 if index in others else 200,
                what=SPOOLED,
                message_id=message_id,
                origin=one.events[index].origin,
                came_at=one.record.came_at,
            )

    async def _found(self, record: Record) -> tuple[Entry | None, Ready | None, Source | None]:
        """The application of a record, and its source: as it is remembered, or, where it cannot be called now, without that."""
        entry = self._directory.known_by_id(record.app_id) or await self._directory.find_by_id(record.app_id)
        ready = self._known.ready(record.source_id)
        if ready is not None:
            return entry, ready, ready.source

        def query(tx: Transaction) -> tuple[Source, Activity] | None:
            source = sources.by_id(tx, self._vault, record.source_id)
            return None if source is None else (source, sources.activity(tx, source.id))

        found = await self._store.read(query)
        if found is None:
            return entry, None, None
        try:
            return entry, self._known.made_ready(*found), found[0]
        except ValueError:
            # It cannot verify any more. This was verified when it came.
            return entry, None, found[0]


_records: Final = msgspec.msgpack.Decoder(Record)


def in_turn(left: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    """The first of these that may be on their way together: no two that are in order with each other."""
    seen = set[tuple[str, str]]()
    for taken, (_, record) in enumerate(left[:_SLICE]):
        keys = {(record.source_id, event.ordering_key) for event in record.events if event.ordering_key is not None}
        if taken and not seen.isdisjoint(keys):
            return left[:taken]
        seen |= keys
    return left[:_SLICE]
