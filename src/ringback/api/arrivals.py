"""The operation on what came from a source and made no message: its journal of duplicates, handshakes and requests turned away."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.api.sources import refs_of
from ringback.clock import rfc3339
from ringback.model.arrivals import DUPLICATE, OUTCOMES, SPOOLED, SUPERSEDED, Arrival
from ringback.services.arrivals import Arrivals

# Of the sources of an application, and of ingest sources.
_LISTS: Final = ("/api/v1/app/{app_id}/source/{source_id}/arrival", "/ingest/api/v1/source/{source_id}/arrival")
OUTCOME: Final = Parameter("outcome", {"type": "string", "enum": list(OUTCOMES)}, "Only requests with this outcome")

MESSAGE: Final = Parameter(
    "msg_id", {"type": "string"}, "Only what this message stands for: its event that came again, and older ones that it superseded"
)


class ArrivalOut(msgspec.Struct, frozen=True, rename="camel"):
    """A request, or an event of a batch, that made no message.

    `outcome`: `duplicate`, `handshake`, `ignored` (of a type that the source does not take, or an `empty_batch`), `rejected` (turned away,
    and not in quarantine), `signal` (the provider says that it calls no more, or less; its message is kept as well), `superseded` (older
    than what had been accepted under its key), or `spooled` (it waited for the database; `msgId` is its message). `status` is what was
    answered. `peer` is the other end of the connection, `address` who sent it, as trusted proxies say. `target` is what was called, without
    credentials and challenges. `what` says which handshake or signal it was, why it was turned away, or that it was `spooled`; `settled` is
    false of a handshake whose answer did not give the provider what it asked for. Of a duplicate, `duplicateOf` is the id of the message
    that came first, of a superseded event `supersededBy` that of the newer one, and `redelivery` the provider's own count. `unkept` counts
    others of the same outcome that came beside it, within some seconds, and have no entry: a flood is sampled.
    """

    id: str
    came_at: Timestamp
    outcome: str
    what: str | None
    settled: bool
    status: int
    method: str
    target: str
    body_bytes: int
    peer: str | None
    address: str | None
    duplicate_of: str | None
    superseded_by: str | None
    msg_id: str | None
    provider_event_id: str | None
    provider_event_type: str | None
    redelivery: str | None
    unkept: int


class ListResponseArrivalOut(ListOut[ArrivalOut], frozen=True, rename="camel"):
    """One page of the journal of a source."""


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a journal?"""
    return ids.is_id(ids.ARRIVAL, text)


def shown(item: Arrival) -> ArrivalOut:
    """The entry as a source's owner sees it."""
    remote = item.remote
    return ArrivalOut(
        id=item.id,
        came_at=rfc3339(ids.created_us(item.id) if item.came_at is None else item.came_at),
        outcome=item.outcome,
        what=item.what or None,
        settled=item.settled,
        status=item.status,
        method=item.method,
        target=item.target,
        body_bytes=item.body_bytes,
        peer=None if remote is None else remote.peer,
        address=None if remote is None else remote.address or remote.peer,
        duplicate_of=item.message_id if item.outcome == DUPLICATE else None,
        superseded_by=item.message_id if item.outcome == SUPERSEDED else None,
        msg_id=item.message_id if item.outcome == SPOOLED else None,
        # An identity of several texts has a byte between them that no text has.
        provider_event_id=None if item.event_id is None else item.event_id.replace("\0", " + "),
        provider_event_type=item.event_type,
        redelivery=item.redelivery,
        unkept=item.unkept,
    )


class _Handlers:
    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=True)
        outcome, message_id = call.query.choice("outcome", OUTCOMES), call.query.text("msg_id")
        page = await self._arrivals.page(call.who, *refs_of(call), walk, outcome, message_id)
        return answer(200, listing(page, lambda item: item.id, shown))


def routes(arrivals: Arrivals) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(arrivals)
    return [
        Operation(
            method="GET",
            path=path,
            summary="List what came from a source and made no message",
            handler=h.list,
            access=Access.ORGANISATION,
            query=(LIMIT, ITERATOR, ORDER, OUTCOME, MESSAGE),
            answers={200: ListResponseArrivalOut},
        )
        for path in _LISTS
    ]
