"""The operations on stored messages. `api.door` has the one that accepts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.exact import EXACT, exactly, handed
from ringback.api.pagination import ITERATOR, LIMIT, ListOut, cursor_of, limit_of
from ringback.api.queries import Query
from ringback.api.render import render_message, render_page
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.policy import validation
from ringback.policy.validation import Name, Problem, Rule
from ringback.policy.windows import Ask
from ringback.services.messages import MessageFilter, Messages

_LIST: Final = "/api/v1/app/{app_id}/msg"
_ONE: Final = "/api/v1/app/{app_id}/msg/{msg_id}"
_INSTANT: Final = {"type": "string", "format": "date-time"}

WITH_CONTENT: Final = Parameter("with_content", {"type": "boolean", "default": True}, "Show payloads and responses")
# What narrows a list of messages, or of attempts by their messages.
MESSAGE_FILTERS: Final = (
    Parameter("channel", {"type": "string"}, "Only messages on this channel"),
    Parameter("tag", {"type": "string"}, "Only messages with this tag"),
    Parameter("event_types", {"type": "array", "items": {"type": "string"}}, "Only messages of these event types"),
)
# What narrows a list of history in time.
WINDOW: Final = (
    LIMIT,
    ITERATOR,
    Parameter("before", _INSTANT, "Only what is older than this"),
    Parameter("after", _INSTANT, "Only what is as new as this, or newer; alone, it reads from the old end"),
)


class MessageOut(msgspec.Struct, frozen=True, rename="camel"):
    """A message as clients see it; `render.render_message` writes it. `payload` is `{"expired": true}` once it is gone."""

    id: str
    event_type: str
    payload: dict[str, Any]
    timestamp: Timestamp
    event_id: str | None
    channels: list[str] | None
    tags: list[str] | None
    deliver_at: Timestamp | None


class ExactMessageOut(MessageOut, frozen=True, kw_only=True, rename="camel"):
    """A message, and for who asks for `exact` what a delivery of it begins with.

    `headers` are those that it was received with (null: plain JSON), `body` is the payload as base64 (both null once the payload is gone),
    `source_id` who took it in (null: no source).
    """

    headers: dict[str, str] | UnsetType | None = UNSET
    body: str | UnsetType | None = UNSET
    source_id: str | UnsetType | None = UNSET


class ListResponseMessageOut(ListOut[MessageOut], frozen=True, rename="camel"):
    """One page of messages."""


def _references(values: Sequence[str]) -> list[Problem]:
    return [((f"[{index}]",), text) for index, value in enumerate(values) for _, text in validation.name(value)]


class BulkExpungeContentsIn(msgspec.Struct, frozen=True, kw_only=True):
    """Messages (ids or eventIds) whose payloads are to be forgotten."""

    ids: Annotated[tuple[Name, ...], msgspec.Meta(max_length=1_000)] = ()

    RULES: ClassVar[Mapping[str, Rule]] = {"ids": _references}


class BulkExpungeContentsOut(msgspec.Struct, frozen=True):
    """What became of each, under the name that it was asked by."""

    results: dict[str, Literal["expunged", "not-found"]]


BULK_EXPUNGE_IN: Final = Body(BulkExpungeContentsIn)


def ask_of(query: Query, prefix: str) -> Ask:
    """The page of a history list that a query asks for; its cursors are ids of that prefix. Raises Refused, InvalidField."""
    cursor, backwards = cursor_of(query, cursor_shape(prefix))
    return Ask(limit_of(query), cursor, backwards, query.instant("before"), query.instant("after"))


def cursor_shape(prefix: str) -> Callable[[str], bool]:
    """The test for cursors that are ids of this prefix."""

    def is_cursor(text: str) -> bool:
        try:
            ids.decode(text)
        except ValueError:
            return False
        return ids.is_id(prefix, text)

    return is_cursor


def message_filter_of(query: Query) -> MessageFilter:
    """Which messages a query asks for."""
    return MessageFilter(query.words("event_types") or (), query.text("channel"), query.text("tag"))


class _Handlers:
    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    async def list(self, call: Call) -> Answer:
        content = call.query.flag("with_content", True)
        ask, chosen = ask_of(call.query, ids.MESSAGE), message_filter_of(call.query)
        page = await self._messages.page(call.who, call.params["app_id"], ask, chosen, content=content)
        return Answer(200, await render_page(page, lambda message: message.id, lambda message: render_message(message, content)))

    async def get(self, call: Call) -> Answer:
        content = call.query.flag("with_content", True)
        if not call.query.flag("exact", False):
            message = await self._messages.get(call.who, call.params["app_id"], call.params["msg_id"], content=content)
            return Answer(200, render_message(message, content))
        message = await self._messages.whole(call.who, call.params["app_id"], call.params["msg_id"])
        (more,) = await exactly((message,))
        return Answer(200, handed(message, more, content=content))

    async def expunge(self, call: Call) -> Answer:
        await self._messages.expunge(call.who, call.params["app_id"], call.params["msg_id"])
        return NO_CONTENT

    async def expunge_many(self, call: Call) -> Answer:
        asked = call.parsed(BULK_EXPUNGE_IN)
        found = await self._messages.expunge_many(call.who, call.params["app_id"], tuple(dict.fromkeys(asked.ids)))
        return answer(200, {"results": {name: "expunged" if there else "not-found" for name, there in found.items()}})


def routes(messages: Messages) -> list[Operation]:
    """The operations of this module."""
    handlers = _Handlers(messages)
    return [
        Operation(
            method="GET",
            path=_LIST,
            summary="List messages, the newest first",
            handler=handlers.list,
            access=Access.APPLICATION,
            query=(*WINDOW, *MESSAGE_FILTERS, WITH_CONTENT),
            answers={200: ListResponseMessageOut},
        ),
        Operation(
            method="GET",
            path=_ONE,
            summary="Get a message",
            handler=handlers.get,
            access=Access.APPLICATION,
            query=(WITH_CONTENT, EXACT),
            answers={200: ExactMessageOut},
        ),
        Operation(
            method="DELETE",
            path=f"{_ONE}/content",
            summary="Forget the payload of a message",
            handler=handlers.expunge,
            access=Access.ORGANISATION,
            answers={204: None},
        ),
        Operation(
            method="POST",
            path=f"{_LIST}/bulk-expunge",
            summary="Forget the payloads of some messages",
            handler=handlers.expunge_many,
            access=Access.ORGANISATION,
            body=BULK_EXPUNGE_IN,
            answers={200: BulkExpungeContentsOut},
        ),
    ]
