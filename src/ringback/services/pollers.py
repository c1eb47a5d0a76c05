"""What does somebody get who asks for messages? Batches behind a position: the caller's own, or one that is kept for a consumer.

Reading happens on a snapshot, off the loop. What a consumer is told is then kept in a transaction that looks whether another client of the
same consumer was faster; if so, all is read again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import FieldProblem, InvalidField, Refused, Unavailable
from ringback.model.messages import Message
from ringback.model.polling import Consumer, Lease, LeasedItem, PollingEndpoint
from ringback.policy.filters import Filter, compiled
from ringback.policy.polling import iterator_of, position_of, position_time_us
from ringback.services import applications
from ringback.services.polling import find
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import poll_consumers, polling, polls
from ringback.store.operations.messages import whole
from ringback.store.operations.polls import Batch, Wanted

T = TypeVar("T")

# Consumers of one polling endpoint, of both kinds: some hundred bytes each, and all are listed at once.
MAX_CONSUMERS: Final = 100
# Characters of a consumer's name.
MAX_CONSUMER_CHARS: Final = 256
# Leases of one consumer that are not committed; one more is handed out when one has ended.
MAX_LEASES: Final = 1_000
# How long a lease may last, and lasts when nobody says how long, milliseconds.
MAX_LEASE_MS: Final = 86_400_000
DEFAULT_LEASE_MS: Final = 60_000
# Consumers that were not seen for so long make room for others: as long as history is mostly kept.
_FORGOTTEN_US: Final = 90 * 86_400 * SECOND_US
# How often it is written down that a consumer was there, when nothing else is.
_SEEN_EVERY_US: Final = 86_400 * SECOND_US
# How often a client may be overtaken by others of the same consumer before it is told to come again.
_TRIES: Final = 8
# How far behind a consumer is, is counted up to here: some milliseconds.
COUNTED_MAX: Final = 1_000


class Asked(msgspec.Struct, frozen=True):
    """What a reader asks for. `after` is a time, microseconds since 1970; `iterator` as it was sent."""

    limit: int
    iterator: str | None = None
    event_type: str | None = None
    channel: str | None = None
    after: int | None = None


class Polled(msgspec.Struct, frozen=True):
    """Messages, and the iterator behind them; `done`: there is nothing more now."""

    messages: list[Message]
    iterator: str
    done: bool


class LeaseAsked(msgspec.Struct, frozen=True):
    """What a consumer asks for that leases; `latest`: a new one begins behind all there is."""

    limit: int
    lease_ms: int = DEFAULT_LEASE_MS
    latest: bool = False


class Leased(msgspec.Struct, frozen=True):
    """Messages under their numbers; `done`: there is nothing more to hand out now."""

    items: list[tuple[int, Message]]
    done: bool


class Standing(msgspec.Struct, frozen=True):
    """How far a consumer is: `behind` messages wait for it (counted up to `COUNTED_MAX`), the first since about `since`; 0 = nothing waits.

    What a filter on payloads will leave out is among them: nobody has looked at it yet.

    `in_hand` counts what it has been handed for a time and has not committed, in leases.
    """

    consumer: Consumer
    behind: int
    since: int
    in_hand: int


class PollingOverview(msgspec.Struct, frozen=True):
    """A polling endpoint with those who read it."""

    endpoint: PollingEndpoint
    consumers: list[Standing]


class _Plan(msgspec.Struct, frozen=True):
    """What a leasing consumer gets: from leases that ended, of which something may be left, and what follows."""

    former: Consumer | None
    over: list[Lease]
    left: list[Lease]
    again: list[LeasedItem]
    again_messages: list[Message]
    fresh: Batch


class _Overtaken(Exception):
    """Another client of the same consumer was faster."""


class Pollers:
    """Reads the messages of polling endpoints, and keeps how far their consumers are."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def poll(self, who: Principal, app: str, sink: str, asked: Asked) -> Polled:
        """What follows an iterator, or a time, or the beginning. Raises NotFound, Refused (`invalid_iterator`)."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> Polled:
            endpoint = find(tx, who, app, sink)
            position = endpoint.start
            if asked.iterator is not None:
                # Nobody reads what was there before the endpoint, whatever iterator is made up.
                position = max(position, _decoded(endpoint, asked.iterator))
            elif asked.after is not None:
                position = max(position, polls.position_at(tx, endpoint.app_id, asked.after))
            batch = _batch(tx, endpoint, position, _wanted(endpoint, asked.event_type, asked.channel), asked.limit, now_us)
            return Polled(batch.messages, iterator_of(endpoint.id, batch.position), batch.done)

        return await self._store.read(query)

    async def consume(self, who: Principal, app: str, sink: str, name: str, asked: Asked) -> Polled:
        """What follows the position of a consumer, which moves to the iterator that is given.

        Raises NotFound, InvalidField (the name), Refused (`invalid_iterator`, `limit_reached`), Unavailable.
        """
        _check_name(name)
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> tuple[PollingEndpoint, Consumer | None, str, Batch]:
            endpoint = find(tx, who, app, sink)
            former = poll_consumers.find(tx, endpoint.id, name, leased=False)
            position = _confirmed(endpoint, former, asked.iterator)
            return endpoint, former, position, _batch(tx, endpoint, position, _wanted(endpoint), asked.limit, now_us)

        async def once() -> Polled:
            endpoint, former, position, batch = await self._store.read(query)
            polled = Polled(batch.messages, iterator_of(endpoint.id, batch.position), batch.done)
            handed = batch.position
            if endpoint.disabled and former is not None and position == former.position:
                # What was handed out before may still be confirmed.
                handed = former.handed
            version = 0
            if former is not None:
                if now_us - former.seen_at < _SEEN_EVERY_US and (former.position, former.handed) == (position, handed):
                    return polled
                version = former.version + 1
            now = Consumer(endpoint.id, False, name, position, handed, 0, version, now_us)
            await self._store.write(lambda tx: self._keep(tx, former, now))
            return polled

        return await _tried(once)

    async def seek(self, who: Principal, app: str, sink: str, name: str, at_us: int) -> str:
        """Set a consumer to the first message at that time, microseconds since 1970, or later: the iterator there.

        Raises NotFound, InvalidField (the name), Refused (`limit_reached`).
        """
        _check_name(name)
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> str:
            endpoint = find(tx, who, app, sink)
            former = poll_consumers.find(tx, endpoint.id, name, leased=False)
            position = max(endpoint.start, polls.position_at(tx, endpoint.app_id, at_us))
            version = 0 if former is None else former.version + 1
            self._keep(tx, former, Consumer(endpoint.id, False, name, position, position, 0, version, now_us))
            return iterator_of(endpoint.id, position)

        return await self._store.write(operation)

    async def lease(self, who: Principal, app: str, sink: str, name: str, asked: LeaseAsked) -> Leased:
        """Messages for a time: nobody else of this consumer gets them until it is over, and whoever asks then gets them again.

        Raises NotFound, InvalidField (the name), Refused (`limit_reached`), Unavailable.
        """
        _check_name(name)

        async def once() -> Leased:
            now_us = self._clock.now_us()
            endpoint, plan = await self._store.read(lambda tx: self._planned(tx, find(tx, who, app, sink), name, asked, now_us))
            offset = 1 if plan.former is None else plan.former.next_offset
            fresh = [LeasedItem(offset + n, message.id) for n, message in enumerate(plan.fresh.messages)]
            handed = (*plan.again, *fresh)
            leased = Leased(
                [(item.offset, message) for item, message in zip(handed, (*plan.again_messages, *plan.fresh.messages), strict=True)],
                plan.fresh.done,
            )
            former = plan.former
            unchanged = former is not None and former.position == plan.fresh.position and now_us - former.seen_at < _SEEN_EVERY_US
            if unchanged and not handed and not plan.over:
                return leased
            version = 0 if former is None else former.version + 1
            now = Consumer(endpoint.id, True, name, plan.fresh.position, plan.fresh.position, offset + len(fresh), version, now_us)
            lease = Lease(handed, now_us + asked.lease_ms * 1_000)

            def operation(tx: Transaction) -> None:
                self._keep(tx, former, now)
                for over in plan.over:
                    poll_consumers.remove(tx, endpoint.id, name, over)
                for left in plan.left:
                    poll_consumers.add(tx, endpoint.id, name, left)
                if lease.items:
                    poll_consumers.add(tx, endpoint.id, name, lease)

            await self._store.write(operation)
            return leased

        return await _tried(once)

    async def commit(self, who: Principal, app: str, sink: str, name: str, offset: int) -> None:
        """Items are done: that of this number, and those before it that were handed out together with it.

        Raises NotFound, InvalidField (a number that was never given).
        """
        _check_name(name)
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> None:
            endpoint = find(tx, who, app, sink)
            former = poll_consumers.find(tx, endpoint.id, name, leased=True)
            if former is None or not 1 <= offset < former.next_offset:
                given = "nothing was handed out" if former is None or former.next_offset == 1 else f"1 to {former.next_offset - 1} were"
                message = f"no message was handed out as {offset} to this consumer: {given}; commit the `offset` of a message"
                raise InvalidField(FieldProblem(("body", "offset"), message))
            lease = poll_consumers.holding(tx, endpoint.id, name, offset)
            if lease is None:
                # Committed before: by an answer that was lost, or by another client.
                return
            poll_consumers.remove(tx, endpoint.id, name, lease)
            left = tuple(item for item in lease.items if item.offset > offset)
            if left:
                poll_consumers.add(tx, endpoint.id, name, Lease(left, lease.leased_until))
            poll_consumers.put(tx, msgspec.structs.replace(former, version=former.version + 1, seen_at=now_us))

        await self._store.write(operation)

    async def overview(self, who: Principal, app: str, limit: int) -> list[PollingOverview]:
        """The first polling endpoints of an application, with how far each consumer is. Raises NotFound."""

        def query(tx: Transaction) -> list[PollingOverview]:
            found = []
            for endpoint in polling.some(tx, applications.find(tx, who, app).id, limit):
                standings = [_standing(tx, endpoint, consumer) for consumer in poll_consumers.of(tx, endpoint.id)]
                found.append(PollingOverview(endpoint, standings))
            return found

        return await self._store.read(query)

    def _planned(
        self, tx: Transaction, endpoint: PollingEndpoint, name: str, asked: LeaseAsked, now_us: int
    ) -> tuple[PollingEndpoint, _Plan]:
        former = poll_consumers.find(tx, endpoint.id, name, leased=True)
        position = endpoint.start
        if former is not None:
            position = former.position
        elif asked.latest:
            position = max(position, polls.newest(tx, endpoint.app_id))
        if endpoint.disabled:
            return endpoint, _Plan(former, [], [], [], [], Batch([], position, True))
        over = poll_consumers.expired(tx, endpoint.id, name, now_us, asked.limit)
        ended = [(item, lease.leased_until) for lease in over for item in lease.items]
        ended.sort(key=lambda pair: pair[0].offset)
        wanted = [item for item, _ in ended[: asked.limit]]
        fitting = polls.within_size(tx, endpoint.app_id, [item.message_id for item in wanted])
        carried = set(fitting.message_ids)
        again = [item for item in wanted[: fitting.looked_at] if item.message_id in carried]
        rest = {item.offset for item, _ in ended[fitting.looked_at :]}
        left = [Lease(items, lease.leased_until) for lease in over if (items := tuple(item for item in lease.items if item.offset in rest))]
        messages = whole(tx, endpoint.app_id, fitting.message_ids, now_us)
        room = asked.limit - len(again)
        if left or room <= 0 or poll_consumers.held(tx, endpoint.id, name) - len(over) >= MAX_LEASES:
            # Nothing new until what ended is in somebody's hands again.
            return endpoint, _Plan(former, over, left, again, messages, Batch([], position, not left and room > 0))
        fresh = polls.read(tx, endpoint.app_id, position, _wanted(endpoint), room, now_us, _asked(endpoint))
        return endpoint, _Plan(former, over, [], again, messages, fresh)

    def _keep(self, tx: Transaction, former: Consumer | None, now: Consumer) -> None:
        """Store how far a consumer is, if it still is what it was. Raises _Overtaken, Refused (too many consumers)."""
        current = poll_consumers.find(tx, now.endpoint_id, now.name, leased=now.leased)
        if (None if current is None else current.version) != (None if former is None else former.version):
            raise _Overtaken
        if current is None and poll_consumers.count(tx, now.endpoint_id) >= MAX_CONSUMERS:
            poll_consumers.forget(tx, now.endpoint_id, now.seen_at - _FORGOTTEN_US)
            if poll_consumers.count(tx, now.endpoint_id) >= MAX_CONSUMERS:
                raise Refused(
                    "limit_reached",
                    f"this polling endpoint has {MAX_CONSUMERS} consumers, the most there may be; use the id of one of them, or make "
                    "another polling endpoint",
                )
        poll_consumers.put(tx, now)


async def _tried(once: Callable[[], Awaitable[T]]) -> T:
    for _ in range(_TRIES):
        try:
            return await once()
        except _Overtaken:
            continue
    raise Unavailable("other clients of the same consumer were faster each time; try again in a moment")


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_CONSUMER_CHARS:
        message = f"{name[:40]!r}… has {len(name)} characters; a consumer id has 1 to {MAX_CONSUMER_CHARS}"
        raise InvalidField(FieldProblem(("path", "consumer_id"), message))


def _decoded(endpoint: PollingEndpoint, iterator: str) -> str:
    position = position_of(endpoint.id, iterator)
    if position is None:
        raise Refused(
            "invalid_iterator",
            f"{iterator[:80]!r} is no iterator of this polling endpoint; use the `iterator` of its last answer, or none to begin anew",
        )
    return position


def _confirmed(endpoint: PollingEndpoint, former: Consumer | None, iterator: str | None) -> str:
    """Where a consumer stands once it has said so. Raises Refused."""
    stored, handed = (endpoint.start, endpoint.start) if former is None else (former.position, former.handed)
    if iterator is None:
        return stored
    position = _decoded(endpoint, iterator)
    if position not in (stored, handed):
        raise Refused(
            "invalid_iterator",
            "this iterator is neither where the consumer stands nor the last one it was handed; ask without an iterator, and what follows "
            "its place comes again",
        )
    return position


def _wanted(endpoint: PollingEndpoint, event_type: str | None = None, channel: str | None = None) -> Wanted:
    types = endpoint.event_types
    if event_type is not None:
        types = (event_type,) if types is None or event_type in types else ()
    return Wanted(types, endpoint.channels, channel)


def _asked(endpoint: PollingEndpoint) -> Filter | None:
    return None if endpoint.payload_filter is None else compiled(endpoint.payload_filter)


def _batch(tx: Transaction, endpoint: PollingEndpoint, position: str, wanted: Wanted, limit: int, now_us: int) -> Batch:
    if endpoint.disabled:
        # What comes meanwhile is there when it is enabled again.
        return Batch([], position, True)
    return polls.read(tx, endpoint.app_id, position, wanted, limit, now_us, _asked(endpoint))


def _standing(tx: Transaction, endpoint: PollingEndpoint, consumer: Consumer) -> Standing:
    waiting = polls.places(tx, endpoint.app_id, consumer.position, _wanted(endpoint), COUNTED_MAX)
    since = position_time_us(waiting.places[0].position) if waiting.places else 0
    in_hand = poll_consumers.held(tx, endpoint.id, consumer.name) if consumer.leased else 0
    return Standing(consumer, len(waiting.places), since, in_hand)
