"""What does somebody get who asks for the events of a sink? What follows a place in the stream. And which keys can ask?"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.errors import Refused
from ringback.model.polling import PollerKey
from ringback.model.streams import Sink, SinkStatus, SinkType, StreamEvent
from ringback.policy.streams import iterator_of, position_of
from ringback.services.poller_keys import AlsoKey, PollerKeys, Reads, RotatePollerTokenIn
from ringback.services.sinks import find
from ringback.services.tokens import Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import streams
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.streams import Wanted

# Bytes of payloads in one answer, but for one event that is larger alone: as much as one call can append.
_MAX_BYTES: Final = 2 * 1024 * 1024


class Asked(msgspec.Struct, frozen=True):
    """What a reader asks for. `after` is a time, microseconds since 1970; `iterator` as it was sent."""

    limit: int
    iterator: str | None = None
    after: int | None = None


class Read(msgspec.Struct, frozen=True):
    """Events, and the iterator behind them; `done`: there is nothing more now."""

    events: list[StreamEvent]
    iterator: str
    done: bool


class SinkReading:
    """Reads the events of sinks that are asked, and keeps the keys for that."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, tokens: Tokens) -> None:
        self._store = store
        self._vault = vault
        self._tokens = tokens
        self._keys = PollerKeys(vault, clock, tokens)

    async def read(self, who: Principal, stream: str, sink: str, asked: Asked) -> Read:
        """What follows an iterator, or a time, or the beginning. Raises NotFound, Refused (`not_poller`, `invalid_iterator`)."""

        def query(tx: Transaction) -> Read:
            found = _poller(find(tx, self._vault, who, stream, sink))
            place = found.progress.position
            if asked.iterator is not None:
                # Nobody reads what was there before the sink, whatever iterator is made up.
                place = max(place, _decoded(found, asked.iterator))
            elif asked.after is not None:
                place = max(place, streams.position_at(tx, found.stream_id, asked.after))
            if found.status is not SinkStatus.ENABLED:
                # What comes meanwhile is there when it is enabled again.
                return Read([], iterator_of(found.id, place), True)
            wanted = Wanted(found.event_types, found.channels, asked.limit, _MAX_BYTES)
            stretch = streams.ahead(tx, found.stream_id, place, wanted)
            chosen = msgspec.structs.replace(wanted, limit=stretch.count)
            events = streams.between(tx, found.stream_id, place, stretch.position, chosen) if stretch.count else []
            return Read(events, iterator_of(found.id, stretch.position), stretch.done)

        return await self._store.read(query)

    async def key(self, who: Principal, stream: str, sink: str) -> PollerKey:
        """The key of a sink; makes one when there is none. Raises NotFound, Refused (`not_poller`)."""

        def reads(tx: Transaction) -> Reads:
            return _reads(who, _poller(find(tx, self._vault, who, stream, sink)))

        known = await self._store.read(lambda tx: self._keys.known(tx, reads(tx)))
        if known is not None:
            return known
        # Another request may have made one meanwhile.
        return await self._store.write(lambda tx: self._keys.known_or_new(tx, reads(tx)))

    async def rotate_key(
        self, who: Principal, stream: str, sink: str, wanted: RotatePollerTokenIn, *, also: AlsoKey | None = None
    ) -> PollerKey:
        """Another key; the former ones end when their grace is over. Raises NotFound, Refused (`not_poller`)."""

        def operation(tx: Transaction) -> tuple[str, PollerKey]:
            found = _poller(find(tx, self._vault, who, stream, sink))
            key = self._keys.rotated(tx, _reads(who, found), wanted)
            if also is not None:
                also(tx, key)
            return found.stream_id, key

        stream_id, key = await self._store.write(operation)
        # What is remembered of the former keys says that they never end.
        self._tokens.forget_stream(stream_id)
        return key


def _reads(who: Principal, sink: Sink) -> Reads:
    return Reads(sink.id, who.org_id, stream_id=sink.stream_id)


def _poller(sink: Sink) -> Sink:
    """A sink that is asked for its events. Raises Refused for any other."""
    if sink.type is not SinkType.POLLER:
        raise Refused("not_poller", f"only sinks of type 'poller' are read; this one is of type {sink.type.value!r}, and is called")
    return sink


def _decoded(sink: Sink, iterator: str) -> int:
    position = position_of(sink.id, iterator)
    if position is None:
        raise Refused(
            "invalid_iterator",
            f"{iterator[:80]!r} is no iterator of this sink; use the `iterator` of its last answer, or none to begin anew",
        )
    return position
