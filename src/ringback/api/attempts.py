"""The operations on attempts: what was tried, and one more try by hand."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ringback import ids
from ringback.api import standings
from ringback.api.auth import Access
from ringback.api.messages import MESSAGE_FILTERS, WINDOW, WITH_CONTENT, MessageOut, ask_of, message_filter_of
from ringback.api.pagination import ListOut
from ringback.api.queries import Query
from ringback.api.render import readable, render_message, render_page
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.api.standings import EXPANDED, STATUS, StatusText, status_of, status_text, statuses_of
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.model.attempts import Attempt, Phases, WaitCause
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.heads import header_fields
from ringback.services.attempts import AttemptFilter, Attempts, Shown

_APP: Final = "/api/v1/app/{app_id}"
# The hundreds of HTTP statuses that a filter may name; 0 = no HTTP answer (contract, 5.3).
_CODE_CLASSES: Final = (0, 100, 200, 300, 400, 500)
_CODE_CLASS: Final = Parameter("status_code_class", {"type": "integer", "enum": list(_CODE_CLASSES)}, "Only HTTP statuses of this hundred")
_ATTEMPT_FILTERS: Final = (*WINDOW, STATUS, _CODE_CLASS, *MESSAGE_FILTERS, WITH_CONTENT, EXPANDED)


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
    Headers are pairs of name and value, null without content. `wait_cause` is why the attempt began later than it was due, null when it did
    not; `next_due_at` and `next_cause` are when the next one was due after this failure, and what decided that.
    """

    id: str
    msg_id: str
    endpoint_id: str
    url: str
    timestamp: Timestamp
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
    wait_cause: WaitCause | None
    next_due_at: Timestamp | None
    next_cause: WaitCause | None
    phases_ms: PhasesOut
    response_headers: list[tuple[str, str]] | None
    request_headers: list[tuple[str, str]] | None
    request_body: str | None


class ListResponseMessageAttemptOut(ListOut[MessageAttemptOut], frozen=True, rename="camel"):
    """One page of attempts."""


def shown_attempt(attempt: Attempt, *, expanded: bool, content: bool, message: Message | None = None, sent: bytes | None = None) -> bytes:
    """A MessageAttemptOut. `sent` is the body of the request where it was not the payload."""
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
            "waitCause": a.wait,
            "nextDueAt": None if a.next_due_at is None else rfc3339(a.next_due_at),
            "nextCause": a.next_cause,
            "phasesMs": _phases(a.phases),
            "responseHeaders": header_fields(a.response_head) if content else None,
            "requestHeaders": header_fields(a.request_head) if content else None,
            "requestBody": None if sent is None else readable(sent),
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


def _attempt_filter(query: Query, expanded: bool) -> AttemptFilter:
    code_class = query.number("status_code_class")
    if code_class is not None and code_class not in _CODE_CLASSES:
        raise query.invalid(
            "status_code_class", f"{code_class} is no class of HTTP statuses; use one of {', '.join(map(str, _CODE_CLASSES))}"
        )
    return AttemptFilter(statuses_of(query, expanded), code_class, message_filter_of(query))


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

        return Answer(200, await render_page(page, lambda row: row.attempt.id, show))

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
            200,
            await render_page(page, lambda row: row.attempt.id, lambda row: shown_attempt(row.attempt, expanded=expanded, content=content)),
        )

    async def get(self, call: Call) -> Answer:
        expanded = call.query.flag("expanded_statuses", False)
        found = await self._attempts.detailed(call.who, call.params["app_id"], call.params["msg_id"], call.params["attempt_id"])
        return Answer(200, shown_attempt(found.attempt, expanded=expanded, content=True, sent=found.sent))

    async def expunge(self, call: Call) -> Answer:
        await self._attempts.expunge(call.who, call.params["app_id"], call.params["msg_id"], call.params["attempt_id"])
        return NO_CONTENT

    async def resend(self, call: Call) -> Answer:
        params = call.params
        await self._attempts.resend(
            call.who, params["app_id"], params["msg_id"], params["endpoint_id"], call.keeping(lambda nothing: answer(202, {}))
        )
        return answer(202, {})


def routes(attempts: Attempts) -> list[Operation]:
    """The operations of this module, and those on the standings that follow from attempts."""
    handlers = _Handlers(attempts)
    return [*_list_routes(handlers), *_single_routes(handlers), *standings.routes(attempts)]


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
    ]


def _single_routes(handlers: _Handlers) -> list[Operation]:
    one = f"{_APP}/msg/{{msg_id}}/attempt/{{attempt_id}}"
    return [
        Operation(
            method="GET",
            path=one,
            summary="Get an attempt",
            handler=handlers.get,
            access=Access.APPLICATION,
            query=(EXPANDED,),
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
            needs=Capability.CREATE_ATTEMPTS,
            answers={202: dict[str, Any]},
        ),
    ]
