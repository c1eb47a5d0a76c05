"""The operations on standings: how messages stand with endpoints, endpoints with messages, and an endpoint as a whole."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.messages import MESSAGE_FILTERS, WINDOW, WITH_CONTENT, MessageOut, ask_of, cursor_shape, message_filter_of
from ringback.api.pagination import ITERATOR, LIMIT, ListOut, walk_of
from ringback.api.queries import Query
from ringback.api.render import render_message, render_page
from ringback.api.routing import Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.deliveries import AttemptStatus
from ringback.model.endpoints import Endpoint
from ringback.model.messages import Message
from ringback.services.attempts import Attempts, Pair, Stats

_APP: Final = "/api/v1/app/{app_id}"
STATUS: Final = Parameter("status", {"type": "integer", "enum": [int(status) for status in AttemptStatus]}, "Only those that stand so")
EXPANDED: Final = Parameter("expanded_statuses", {"type": "boolean", "default": False}, "Show canceled as 4, not as success")

StatusText = Literal["success", "pending", "fail", "sending", "canceled"]
_TEXTS: Final[dict[AttemptStatus, StatusText]] = {
    AttemptStatus.SUCCESS: "success",
    AttemptStatus.PENDING: "pending",
    AttemptStatus.FAIL: "fail",
    AttemptStatus.SENDING: "sending",
    AttemptStatus.CANCELED: "canceled",
}


class EndpointMessageOut(MessageOut, frozen=True, rename="camel"):
    """A message, and how it stands with an endpoint."""

    status: AttemptStatus
    status_text: StatusText
    next_attempt: Timestamp | None


class ListResponseEndpointMessageOut(ListOut[EndpointMessageOut], frozen=True, rename="camel"):
    """One page of messages attempted to an endpoint."""


class MessageEndpointOut(msgspec.Struct, frozen=True, rename="camel"):
    """An endpoint, and how a message stands with it."""

    id: str
    url: str
    description: str
    uid: str | None
    disabled: bool
    event_types: tuple[str, ...] | None
    filter_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    throttle_rate: int | None
    rate_limit: int | None
    version: int
    created_at: Timestamp
    updated_at: Timestamp
    status: AttemptStatus
    status_text: StatusText
    next_attempt: Timestamp | None


class ListResponseMessageEndpointOut(ListOut[MessageEndpointOut], frozen=True, rename="camel"):
    """One page of endpoints that a message was attempted to."""


class EndpointStats(msgspec.Struct, frozen=True):
    """Attempts by outcome, attempts on the wire now (`sending`), deliveries that wait for their first attempt (`pending`)."""

    success: int
    pending: int
    sending: int
    fail: int
    canceled: int


class EndpointAttemptStats(msgspec.Struct, frozen=True):
    """Attempts by outcome."""

    success: int
    fail: int
    canceled: int


def status_of(status: int, expanded: bool) -> AttemptStatus:
    """The status to show: a canceled attempt looks like a success to clients that do not ask for more."""
    return AttemptStatus.SUCCESS if status == AttemptStatus.CANCELED and not expanded else AttemptStatus(status)


def status_text(status: AttemptStatus) -> StatusText:
    """The word for a status."""
    return _TEXTS[status]


def _standing(pair: Pair, expanded: bool) -> dict[str, Any]:
    status = status_of(pair.status, expanded)
    return {
        "status": status,
        "statusText": status_text(status),
        "nextAttempt": None if pair.next_at is None else rfc3339(pair.next_at),
    }


def _shown_message(message: Message, pair: Pair, *, expanded: bool, content: bool) -> bytes:
    return render_message(message, content)[:-1] + b"," + msgspec.json.encode(_standing(pair, expanded))[1:]


def _shown_endpoint(endpoint: Endpoint, pair: Pair) -> bytes:
    e = endpoint
    return msgspec.json.encode(
        {
            "id": e.id,
            "url": e.url,
            "description": e.description,
            "uid": e.uid,
            "disabled": e.disabled,
            "eventTypes": e.event_types,
            "filterTypes": e.event_types,
            "channels": e.channels,
            "throttleRate": e.throttle_rate,
            "rateLimit": e.throttle_rate,
            "version": e.version,
            "createdAt": rfc3339(e.created_at),
            "updatedAt": rfc3339(e.updated_at),
            **_standing(pair, expanded=False),
        }
    )


def statuses_of(query: Query, expanded: bool) -> tuple[AttemptStatus, ...] | None:
    """The statuses that a filter means: without `expanded_statuses`, success includes canceled."""
    status = query.number("status")
    if status is None:
        return None
    if status not in list(AttemptStatus):
        raise query.invalid("status", f"{status} is not a status; use 0 success, 1 pending, 2 fail, 3 sending or 4 canceled")
    if status == AttemptStatus.SUCCESS and not expanded:
        return (AttemptStatus.SUCCESS, AttemptStatus.CANCELED)
    return (AttemptStatus(status),)


class _Handlers:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def attempted(self, call: Call) -> Answer:
        query = call.query
        expanded, content = query.flag("expanded_statuses", False), query.flag("with_content", True)
        page = await self._attempts.attempted(
            call.who,
            call.params["app_id"],
            call.params["endpoint_id"],
            ask_of(query, ids.MESSAGE),
            statuses_of(query, expanded),
            message_filter_of(query),
            content=content,
        )
        return Answer(
            200,
            await render_page(page, lambda row: row[0].id, lambda row: _shown_message(row[0], row[1], expanded=expanded, content=content)),
        )

    async def destinations(self, call: Call) -> Answer:
        walk = walk_of(call.query, cursor_shape(ids.ENDPOINT), descending=False, ordered=False)
        page = await self._attempts.destinations(call.who, call.params["app_id"], call.params["msg_id"], walk)
        return Answer(200, await render_page(page, lambda row: row[0].id, lambda row: _shown_endpoint(*row)))

    async def stats(self, call: Call) -> Answer:
        return answer(200, _shown_stats(await self._stats(call)))

    async def attempt_stats(self, call: Call) -> Answer:
        stats = await self._stats(call)
        return answer(200, EndpointAttemptStats(stats.success, stats.fail, stats.canceled))

    async def _stats(self, call: Call) -> Stats:
        since, until = call.query.instant("since"), call.query.instant("until")
        return await self._attempts.stats(call.who, call.params["app_id"], call.params["endpoint_id"], since, until)


def _shown_stats(stats: Stats) -> EndpointStats:
    return EndpointStats(stats.success, stats.pending, stats.sending, stats.fail, stats.canceled)


def routes(attempts: Attempts) -> list[Operation]:
    """The operations of this module."""
    handlers = _Handlers(attempts)
    instant = {"type": "string", "format": "date-time"}
    window = (Parameter("since", instant, "28 days before `until` by default"), Parameter("until", instant, "Now by default"))
    return [
        Operation(
            method="GET",
            path=f"{_APP}/endpoint/{{endpoint_id}}/msg",
            summary="List the messages attempted to an endpoint, or waiting for it",
            handler=handlers.attempted,
            access=Access.APPLICATION,
            query=(*WINDOW, STATUS, *MESSAGE_FILTERS, WITH_CONTENT, EXPANDED),
            answers={200: ListResponseEndpointMessageOut},
        ),
        Operation(
            method="GET",
            path=f"{_APP}/msg/{{msg_id}}/endpoint",
            summary="List the endpoints that a message was attempted to",
            handler=handlers.destinations,
            access=Access.APPLICATION,
            query=(LIMIT, ITERATOR),
            answers={200: ListResponseMessageEndpointOut},
        ),
        Operation(
            method="GET",
            path=f"{_APP}/endpoint/{{endpoint_id}}/stats",
            summary="Count the attempts to an endpoint",
            handler=handlers.stats,
            access=Access.APPLICATION,
            query=window,
            answers={200: EndpointStats},
        ),
        Operation(
            method="GET",
            path=f"{_APP}/endpoint/{{endpoint_id}}/attempt-stats",
            summary="Count the attempts to an endpoint by outcome",
            handler=handlers.attempt_stats,
            access=Access.APPLICATION,
            query=window,
            answers={200: EndpointAttemptStats},
        ),
    ]
