"""The operations on what sources took in: their events, and the sources from which nothing comes any more."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.messages import cursor_shape
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, walk_of
from ringback.api.quarantine import HeaderOut
from ringback.api.routing import Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.api.sources import refs_of
from ringback.clock import SECOND_US, rfc3339
from ringback.model.messages import Received
from ringback.model.reconciliation import RECONCILED
from ringback.model.sources import CONFLICT, OLD_SECRET, RELEASED, SCHEMA, SPOOLED, UNVERIFIED, UNVERSIONED, WOULD_REFUSE
from ringback.policy.heads import header_fields
from ringback.policy.sources import shown_headers
from ringback.policy.sources_silence import allowed_silence
from ringback.services.received import ReceivedEvents, Silent

_FLAGS: Final = (CONFLICT, OLD_SECRET, RECONCILED, RELEASED, SCHEMA, SPOOLED, UNVERIFIED, UNVERSIONED, WOULD_REFUSE.rstrip(":"))
FLAG: Final = Parameter("flag", {"type": "string", "enum": list(_FLAGS)}, "Only events that something was noted about")
# Where the sources of an application are, and the ingest sources.
_PLACES: Final = ("/api/v1/app/{app_id}/source/{source_id}", "/ingest/api/v1/source/{source_id}")


class ReceivedOut(msgspec.Struct, frozen=True, rename="camel"):
    """An event that a source took in. `id` is that of its message; `secret` the number of the secret that matched, null = unverified.

    `provider_event_id` and `provider_event_type` are the provider's own words. `flags` say what was noted: `unverified`, `old_secret`,
    `conflict` (another body came under the same id), `schema`, `released`, `reconciled` (nobody called, it was found at the provider),
    `spooled` (it waited for the database), `unversioned` (it has no version, or no key, that could be compared), `would_refuse:REASON`.
    `redelivery` is the provider's own count of how often it sent the event, as it says it. `peer` is the other end of the connection and
    `address` who sent it, as trusted proxies say; null of what nobody called for.
    """

    id: str
    received_at: Timestamp
    event_type: str
    provider_event_id: str | None
    provider_event_type: str | None
    secret: int | None
    flags: list[str]
    redelivery: str | None
    peer: str | None
    address: str | None
    content_type: str
    body_bytes: int | None


class ReceivedWithHeadersOut(ReceivedOut, frozen=True, rename="camel"):
    """The same with the provider's headers."""

    headers: list[HeaderOut]


class ListResponseReceivedOut(ListOut[ReceivedOut], frozen=True, rename="camel"):
    """One page of events."""


class SilentSourceOut(msgspec.Struct, frozen=True, rename="camel"):
    """A source that has been quiet for longer than it may be. `app_id` is null for an ingest source."""

    source_id: str
    app_id: str | None
    name: str
    type: str
    last_event_at: Timestamp | None
    silent_for_s: int
    allowed_s: int


class SilentSourcesOut(msgspec.Struct, frozen=True):
    """All of them."""

    data: list[SilentSourceOut]


def _facts(item: Received) -> dict[str, Any]:
    remote = item.origin.remote
    return {
        "id": item.id,
        "received_at": rfc3339(item.created_at if item.origin.came_at is None else item.origin.came_at),
        "event_type": item.event_type,
        # An identity of several texts has a byte between them that no text has.
        "provider_event_id": None if item.origin.event_id is None else item.origin.event_id.replace("\0", " + "),
        "provider_event_type": item.origin.event_type,
        "secret": item.origin.secret,
        "flags": list(item.origin.flags),
        "redelivery": item.origin.redelivery,
        "peer": None if remote is None else remote.peer,
        "address": None if remote is None else remote.address or remote.peer,
        "content_type": item.content_type,
        "body_bytes": item.size_bytes,
    }


def _silent(found: Silent) -> SilentSourceOut:
    source = found.source
    return SilentSourceOut(
        source_id=source.id,
        app_id=None if source.ingest else source.app_id,
        name=source.name,
        type=source.type,
        last_event_at=None if found.activity.last_at is None else rfc3339(found.activity.last_at),
        silent_for_s=found.silent_us // SECOND_US,
        allowed_s=(allowed_silence(source, found.activity.gap_us) or 0) // SECOND_US,
    )


class _Handlers:
    def __init__(self, received: ReceivedEvents) -> None:
        self._received = received

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, cursor_shape(ids.MESSAGE), descending=True)
        page = await self._received.page(call.who, *refs_of(call), walk, call.query.choice("flag", _FLAGS))
        edge = page.stopped_at if not page.items else None
        first, last = (page.items[0].id, page.items[-1].id) if page.items else (edge, edge)
        before = None if first is None else "-" + first
        return answer(200, ListOut([ReceivedOut(**_facts(item)) for item in page.items], last, before, page.done))

    async def get(self, call: Call) -> Answer:
        source, item = await self._received.get(call.who, *refs_of(call), call.params["msg_id"])
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in header_fields(b"\r\n" + item.headers)]
        headers = [HeaderOut(name, value) for name, value in shown_headers(source, fields)]
        return answer(200, ReceivedWithHeadersOut(**_facts(item), headers=headers))

    async def silent(self, call: Call) -> Answer:
        return answer(200, SilentSourcesOut([_silent(found) for found in await self._received.silent(call.who)]))


def routes(received: ReceivedEvents) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(received)
    declared: list[tuple[str, str, Any, Any]] = [
        ("/api/v1/silent-source", "List the sources that have fallen silent", h.silent, SilentSourcesOut),
    ]
    for place in _PLACES:
        declared += [
            (f"{place}/event", "List what came from a source", h.list, ListResponseReceivedOut),
            (f"{place}/event/{{msg_id}}", "Get what is known of an event of a source", h.get, ReceivedWithHeadersOut),
        ]
    return [
        Operation(
            method="GET",
            path=path,
            summary=summary,
            handler=handler,
            access=Access.ORGANISATION,
            query=(LIMIT, ITERATOR, ORDER, FLAG) if handler == h.list else (),
            answers={200: out},
        )
        for path, summary, handler, out in declared
    ]
