"""The operations on attempts: what was tried, how messages stand, one more try by hand, and an endpoint's statistics."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.messages import MESSAGE_FILTERS, WINDOW, WITH_CONTENT, MessageOut, ask_of, cursor_shape, message_filter_of
from ringback.api.pagination import ITERATOR, LIMIT, ListOut, walk_of
from ringback.api.queries import Query
from ringback.api.render import readable, render_message, render_page
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Parameter, answer
from ringback.clock import rfc3339
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import AttemptStatus
from ringback.model.endpoints import Endpoint
from ringback.model.messages import Message
from ringback.policy.heads import header_fields
from ringback.services.attempts import AttemptFilter, Attempts, Pair, Shown, Stats

_APP: Final = "/api/v1/app/{app_id}"
# The hundreds of HTTP statuses that a filter may name; 0 = no HTTP answer (contract, 5.3).
_CODE_CLASSES: Final = (0, 100, 200, 300, 400, 500)
_STATUS: Final = Parameter("status", {"type": "integer", "enum": [int(status) for status in AttemptStatus]}, "Only those that stand so")
_CODE_CLASS: Final = Parameter("status_code_class", {"type": "integer", "enum": list(_CODE_CLASSES)}, "Only HTTP statuses of this hundred")
_EXPANDED: Final = Parameter("expanded_statuses", {"type": "boolean", "default": False}, "Show canceled as 4, not as success")
_ATTEMPT_FILTERS: Final = (*WINDOW, _STATUS, _CODE_CLASS, *MESSAGE_FILTERS, WITH_CONTENT, _EXPANDED)

StatusText = Literal["success", "pending", "fail", "sending", "canceled"]


class PhasesOut(msgspec.Struct, frozen=True, rename="camel"):
    """Milliseconds that each phase took; null = it did not happen (a connection was used again, or the attempt ended before)."""

    dns: float | None
    connect: float | None
    tls: float | None
    send: float | None
    wait: float | None
    body: float | None


class MessageAttemptOut(msgspec.Struct, frozen=True, rename="camel"):
    """An attempt as clients see it.

    `response` is the start of the body as text (base64 when it is not UTF-8), the cause in words without an HTTP answer, or "EXPUNGED".
    Headers are pairs of name and value, null without content.
    """

    id: str
    msg_id: str
    endpoint_id: str
    url: str
    timestamp: str
    status: AttemptStatus
    status_text: StatusText
    trigger_type: Literal[0, 1]
    response: str
    response_status_code: int
    response_duration_ms: int
    msg: MessageOut | None
    attempt: int
    sequence: int
    error_class: str | None
    cause: str
    address: str
    phases_ms: PhasesOut
    response_headers: list[tuple[str, str]] | None
    request_headers: list[tuple[str, str]] | None


class ListResponseMessageAttemptOut(ListOut[MessageAttemptOut], frozen=True, rename="camel"):
    """One page of attempts."""


class EndpointMessageOut(MessageOut, frozen=True, rename="camel"):
    """A message, and how it stands with an endpoint."""

    status: AttemptStatus
    status_text: StatusText
    next_attempt: str | None


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
    created_at: str
    updated_at: str
    status: AttemptStatus
    status_text: StatusText
    next_attempt: str | None


class ListResponseMessageEndpointOut(ListOut[MessageEndpointOut], frozen=True, rename="camel"):
    """One page of endpoints that a message was attempted to."""


class EndpointStats(msgspec.Struct, frozen=True):
    """Attempts by outcome, attempts on the wire now (`sending`), deliveries that wait for their first attempt (`pending`)."""

    success: int
    pending: int
    sending: int
    fail: int
    canceled: int


def status_of(status: int, expanded: bool) -> AttemptStatus:
    """The status to show: a canceled attempt looks like a success to clients that do not ask for more."""
    return AttemptStatus.SUCCESS if status == AttemptStatus.CANCELED and not expanded else AttemptStatus(status)


def status_text(status: AttemptStatus) -> StatusText:
    """The word for a status."""
    return status.name.lower()  # type: ignore[return-value]  # the names are those of the contract; a test compares them


def shown_attempt(attempt: Attempt, *, expanded: bool, content: bool, message: Message | None = None) -> bytes:
    """A MessageAttemptOut."""
    a = attempt
    status = status_of(a.status, expanded)
    return msgspec.json.encode(
        {
            "id": a.id,
            "msgId": a.message_id,
            "endpointId": a.endpoint_id,
            "url": a.url,
            "timestamp": rfc3339(a.started_at),
            "status": status,
            "statusText": status_text(status),
            "triggerType": a.trigger,
            "response": _response(a) if content else "{}",
            "responseStatusCode": a.code,
            "responseDurationMs": a.duration_us // 1000,
            "msg": None if message is None else msgspec.Raw(render_message(message, with_content=False)),
            "attempt": a.number,
            "sequence": a.sequence,
            "errorClass": a.error,
            "cause": a.detail,
            "address": a.address,
            "phasesMs": _phases(a.phases),
            "responseHeaders": header_fields(a.response_head) if content else None,
            "requestHeaders": header_fields(a.request_head) if content else None,
        }
    )


def _response(attempt: Attempt) -> str:
    if attempt.response is None:
        return "EXPUNGED"
    if attempt.code == 0 and not attempt.response:
        return attempt.detail
    return readable(attempt.response)


def _phases(phases: Phases) -> PhasesOut:
    p = phases
    return PhasesOut(*(None if us < 0 else us / 1000 for us in (p.dns_us, p.connect_us, p.tls_us, p.send_us, p.wait_us, p.body_us)))


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


def _statuses(query: Query, expanded: bool) -> tuple[AttemptStatus, ...] | None:
    """The statuses that a filter means: without `expanded_statuses`, success includes canceled."""
    status = query.number("status")
    if status is None:
        return None
    if status not in list(AttemptStatus):
        raise query.invalid("status", f"{status} is not a status; use 0 success, 1 pending, 2 fail, 3 sending or 4 canceled")
    if status == AttemptStatus.SUCCESS and not expanded:
        return (AttemptStatus.SUCCESS, AttemptStatus.CANCELED)
    return (AttemptStatus(status),)


def _attempt_filter(query: Query, expanded: bool) -> AttemptFilter:
    code_class = query.number("status_code_class")
    if code_class is not None and code_class not in _CODE_CLASSES:
        raise query.invalid(
            "status_code_class", f"{code_class} is no class of HTTP statuses; use one of {', '.join(map(str, _CODE_CLASSES))}"
        )
    return AttemptFilter(_statuses(query, expanded), code_class, message_filter_of(query))


class _Handlers:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def by_endpoint(self, call: Call) -> Answer:
        query = call.query
        expanded, content = query.flag("expanded_statuses", False), query.flag("with_content", True)
        page = await self._attempts.by_endpoint(
            call.who,
            call.params["app_id"],
            call.params["endpoint_id"],
            ask_of(query, ids.ATTEMPT),
            _attempt_filter(query, expanded),
            content=content,
            with_message=query.flag("with_msg", False),
        )

        def show(row: Shown) -> bytes:
            return shown_attempt(row.attempt, expanded=expanded, content=content, message=row.message)

        return Answer(200, render_page(page, lambda row: row.attempt.id, show))

    async def by_message(self, call: Call) -> Answer:
        query = call.query
        expanded, content = query.flag("expanded_statuses", False), query.flag("with_content", True)
        page = await self._attempts.by_message(
            call.who,
            call.params["app_id"],
            call.params["msg_id"],
            ask_of(query, ids.ATTEMPT),
            _attempt_filter(query, expanded),
            endpoint=call.params.get("endpoint_id") or query.text("endpoint_id"),
            content=content,
        )
        return Answer(
            200, render_page(page, lambda row: row.attempt.id, lambda row: shown_attempt(row.attempt, expanded=expanded, content=content))
        )

    async def attempted(self, call: Call) -> Answer:
        query = call.query
        expanded, content = query.flag("expanded_statuses", False), query.flag("with_content", True)
        page = await self._attempts.attempted(
            call.who,
            call.params["app_id"],
            call.params["endpoint_id"],
            ask_of(query, ids.MESSAGE),
            _statuses(query, expanded),
            message_filter_of(query),
            content=content,
        )
        return Answer(
            200, render_page(page, lambda row: row[0].id, lambda row: _shown_message(row[0], row[1], expanded=expanded, content=content))
        )

    async def destinations(self, call: Call) -> Answer:
        walk = walk_of(call.query, cursor_shape(ids.ENDPOINT), descending=False, ordered=False)
        page = await self._attempts.destinations(call.who, call.params["app_id"], call.params["msg_id"], walk)
        return Answer(200, render_page(page, lambda row: row[0].id, lambda row: _shown_endpoint(*row)))

    async def get(self, call: Call) -> Answer:
        expanded = call.query.flag("expanded_statuses", False)
        attempt = await self._attempts.get(call.who, call.params["app_id"], call.params["msg_id"], call.params["attempt_id"])
        return Answer(200, shown_attempt(attempt, expanded=expanded, content=True))

    async def expunge(self, call: Call) -> Answer:
        await self._attempts.expunge(call.who, call.params["app_id"], call.params["msg_id"], call.params["attempt_id"])
        return NO_CONTENT

    async def resend(self, call: Call) -> Answer:
        params = call.params
        await self._attempts.resend(
            call.who, params["app_id"], params["msg_id"], params["endpoint_id"], call.keeping(lambda nothing: answer(202, {}))
        )
        return answer(202, {})

    async def stats(self, call: Call) -> Answer:
        since, until = call.query.instant("since"), call.query.instant("until")
        return answer(
            200, _shown_stats(await self._attempts.stats(call.who, call.params["app_id"], call.params["endpoint_id"], since, until))
        )


def _shown_stats(stats: Stats) -> EndpointStats:
    return EndpointStats(stats.success, stats.pending, stats.sending, stats.fail, stats.canceled)


def routes(attempts: Attempts) -> list[Operation]:
    """The operations of this module."""
    handlers = _Handlers(attempts)
    return [*_list_routes(handlers), *_single_routes(handlers)]


def _list_routes(handlers: _Handlers) -> list[Operation]:
    of_endpoint = Parameter("endpoint_id", {"type": "string"}, "Only attempts to this endpoint (id or uid)")
    with_message = Parameter("with_msg", {"type": "boolean", "default": False}, "Add the message, without its payload")
    attempts = {200: ListResponseMessageAttemptOut}
    by_message = [
        Operation(
            method="GET",
            path=f"{_APP}/{path}",
            summary=summary,
            handler=handlers.by_message,
            access=Access.APPLICATION,
            query=(*_ATTEMPT_FILTERS, *more),
            answers=attempts,
        )
        for path, summary, more in (
            ("attempt/msg/{msg_id}", "List the attempts to deliver a message", (of_endpoint,)),
            ("msg/{msg_id}/attempt", "List the attempts to deliver a message (former path)", (of_endpoint,)),
            ("msg/{msg_id}/endpoint/{endpoint_id}/attempt", "List the attempts to deliver a message to an endpoint (former path)", ()),
        )
    ]
    return [
        Operation(
            method="GET",
            path=f"{_APP}/attempt/endpoint/{{endpoint_id}}",
            summary="List the attempts to an endpoint",
            handler=handlers.by_endpoint,
            access=Access.APPLICATION,
            query=(*_ATTEMPT_FILTERS, with_message),
            answers=attempts,
        ),
        *by_message,
        Operation(
            method="GET",
            path=f"{_APP}/endpoint/{{endpoint_id}}/msg",
            summary="List the messages attempted to an endpoint, or waiting for it",
            handler=handlers.attempted,
            access=Access.APPLICATION,
            query=(*WINDOW, _STATUS, *MESSAGE_FILTERS, WITH_CONTENT, _EXPANDED),
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
    ]


def _single_routes(handlers: _Handlers) -> list[Operation]:
    one = f"{_APP}/msg/{{msg_id}}/attempt/{{attempt_id}}"
    instant = {"type": "string", "format": "date-time"}
    return [
        Operation(
            method="GET",
            path=one,
            summary="Get an attempt",
            handler=handlers.get,
            access=Access.APPLICATION,
            query=(_EXPANDED,),
            answers={200: MessageAttemptOut},
        ),
        Operation(
            method="DELETE",
            path=f"{one}/content",
            summary="Forget what the endpoint answered",
            handler=handlers.expunge,
            access=Access.ORGANISATION,
            answers={204: None},
        ),
        Operation(
            method="POST",
            path=f"{_APP}/msg/{{msg_id}}/endpoint/{{endpoint_id}}/resend",
            summary="Attempt once more, now",
            handler=handlers.resend,
            access=Access.APPLICATION,
            answers={202: dict[str, Any]},
        ),
        Operation(
            method="GET",
            path=f"{_APP}/endpoint/{{endpoint_id}}/stats",
            summary="Count the attempts to an endpoint",
            handler=handlers.stats,
            access=Access.APPLICATION,
            query=(Parameter("since", instant, "28 days before `until` by default"), Parameter("until", instant, "Now by default")),
            answers={200: EndpointStats},
        ),
    ]
