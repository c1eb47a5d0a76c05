"""The operations by which messages are read instead of delivered: polling, consumers, leases, and the keys for that.

Source: HTTP contract, sections 3.9, 10 and 15.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.exact import EXACT, exactly, handed
from ringback.api.messages import MessageOut
from ringback.api.pagination import LIMIT, limit_of
from ringback.api.queries import Query
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339, to_us
from ringback.model.applications import Capability
from ringback.model.messages import Message
from ringback.model.polling import PollerKey
from ringback.policy import validation
from ringback.policy.validation import Instant, Rule
from ringback.services.poller_keys import RotatePollerTokenIn
from ringback.services.pollers import DEFAULT_LEASE_MS, MAX_LEASE_MS, Asked, LeaseAsked, Polled, Pollers
from ringback.services.polling import Polling

_POLLER: Final = "/api/v1/app/{app_id}/poller/{sink_id}"
_CONSUMER: Final = _POLLER + "/consumer/{consumer_id}"
_LEASING: Final = "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}"
_TOKEN: Final = "/api/v1/auth/app/{app_id}/poller/{sink_id}/token"

# An offset fits the 63 bits that every client has for it.
_MAX_OFFSET: Final = (1 << 63) - 1
# Messages rendered without a pause.
_AT_ONCE: Final = 50
# What a key may do: read one polling endpoint, or one sink.
_SCOPES: Final = ("poller",)

ITERATOR: Final = Parameter("iterator", {"type": "string"}, "Go on from the `iterator` of another answer")
EVENT_TYPE: Final = Parameter("event_type", {"type": "string"}, "Only messages of this event type")
CHANNEL: Final = Parameter("channel", {"type": "string"}, "Only messages on this channel")
AFTER: Final = Parameter(
    "after", {"type": "string", "format": "date-time"}, "Without an iterator: begin with what came at this time or later"
)
LEASE: Final = Parameter(
    "lease_duration_ms",
    {"type": "integer", "minimum": 1, "maximum": MAX_LEASE_MS, "default": DEFAULT_LEASE_MS},
    "For how long nobody else of this consumer gets these messages",
)
POSITIONS: Final = ("earliest", "latest")
STARTING: Final = Parameter(
    "starting_position", {"type": "string", "enum": list(POSITIONS), "default": "earliest"}, "Where a new consumer begins"
)


class PollingEndpointMessageOut(MessageOut, frozen=True, rename="camel"):
    """A message as it is polled, with what a delivery of it would have for headers of its own.

    Only who asks for `exact` gets `body`, the payload as base64 (null once it is gone), and `source_id` (null: no source took it in).
    """

    headers: dict[str, str] | None
    body: str | UnsetType | None = UNSET
    source_id: str | UnsetType | None = UNSET


class PollingEndpointOut(msgspec.Struct, frozen=True):
    """Messages, the oldest first. `iterator` goes on behind them; `done`: there is nothing more now."""

    data: list[PollingEndpointMessageOut]
    iterator: str
    done: bool


class PollerV2MessageOut(PollingEndpointMessageOut, frozen=True, kw_only=True, rename="camel"):
    """A message under the number by which it is committed."""

    offset: int


class PollerV2PollOut(msgspec.Struct, frozen=True):
    """Messages that are leased; `done`: there is nothing more to hand out now."""

    data: list[PollerV2MessageOut]
    done: bool


class PollingEndpointConsumerSeekIn(msgspec.Struct, frozen=True, kw_only=True):
    """From when on."""

    after: Instant


class PollingEndpointConsumerSeekOut(msgspec.Struct, frozen=True):
    """Where the consumer stands now."""

    iterator: str


class PollerV2CommitIn(msgspec.Struct, frozen=True, kw_only=True):
    """Up to which message, of those that were handed out together."""

    offset: Annotated[int, msgspec.Meta(ge=0, le=_MAX_OFFSET)]


class ApiTokenOut(msgspec.Struct, frozen=True, rename="camel"):
    """The key of a polling endpoint, or of a sink."""

    id: str
    token: str
    name: str | None
    created_at: Timestamp
    expires_at: Timestamp | None
    scopes: tuple[str, ...] | None


SEEK_IN: Final = Body(PollingEndpointConsumerSeekIn)
COMMIT_IN: Final = Body(PollerV2CommitIn)
ROTATE_IN: Final = Body(RotatePollerTokenIn)


def _checked(query: Query, name: str, rule: Rule) -> str | None:
    value = query.text(name)
    for _, message in rule(value) if value is not None else ():
        raise query.invalid(name, message)
    return value


def _channel(value: str) -> Sequence[validation.Problem]:
    return validation.channels((value,))


def _asked(query: Query) -> Asked:
    return Asked(
        limit_of(query),
        query.text("iterator"),
        _checked(query, "event_type", validation.name),
        _checked(query, "channel", _channel),
        query.instant("after"),
    )


def _lease_asked(query: Query) -> LeaseAsked:
    lease_ms = query.number("lease_duration_ms")
    if lease_ms is None:
        lease_ms = DEFAULT_LEASE_MS
    if not 1 <= lease_ms <= MAX_LEASE_MS:
        raise query.invalid("lease_duration_ms", f"{lease_ms} is out of range; a lease lasts 1 to {MAX_LEASE_MS} milliseconds")
    return LeaseAsked(limit_of(query), lease_ms, query.choice("starting_position", POSITIONS) == "latest")


async def _items(items: Sequence[tuple[Message, bytes]]) -> bytes:
    shown: list[bytes] = []
    for start in range(0, len(items), _AT_ONCE):
        if start:
            # Others on this event loop have their turn.
            await asyncio.sleep(0)
        shown += [handed(message, more) for message, more in items[start : start + _AT_ONCE]]
    return b",".join(shown)


def _bool(value: bool) -> bytes:
    return b"true" if value else b"false"


def shown_key(status: int, key: PollerKey) -> Answer:
    """A poller's key as clients see it."""
    expires_at = None if key.expires_at is None else rfc3339(key.expires_at)
    return answer(status, ApiTokenOut(key.id, key.text, key.name, rfc3339(key.created_at), expires_at, _SCOPES))


def rotated_key(key: PollerKey) -> Answer:
    """The answer to a rotation."""
    return shown_key(201, key)


def _refs(call: Call) -> tuple[str, str]:
    return call.params["app_id"], call.params["sink_id"]


class _Handlers:
    def __init__(self, pollers: Pollers, polling: Polling) -> None:
        self._pollers = pollers
        self._polling = polling

    async def poll(self, call: Call) -> Answer:
        polled = await self._pollers.poll(call.who, *_refs(call), _asked(call.query))
        return await self._polled(polled, call.query.flag("exact", False))

    async def consume(self, call: Call) -> Answer:
        asked = Asked(limit_of(call.query), call.query.text("iterator"))
        polled = await self._pollers.consume(call.who, *_refs(call), call.params["consumer_id"], asked)
        return await self._polled(polled, call.query.flag("exact", False))

    async def _polled(self, polled: Polled, exact: bool) -> Answer:
        more = await exactly(polled.messages) if exact else [b""] * len(polled.messages)
        items = await _items(list(zip(polled.messages, more, strict=True)))
        iterator = msgspec.json.encode(polled.iterator)
        return Answer(200, b"".join((b'{"data":[', items, b'],"iterator":', iterator, b',"done":', _bool(polled.done), b"}")))

    async def seek(self, call: Call) -> Answer:
        at_us = to_us(call.parsed(SEEK_IN).after)
        iterator = await self._pollers.seek(call.who, *_refs(call), call.params["consumer_id"], at_us)
        return answer(200, PollingEndpointConsumerSeekOut(iterator))

    async def lease(self, call: Call) -> Answer:
        leased = await self._pollers.lease(call.who, *_refs(call), call.params["consumer_id"], _lease_asked(call.query))
        items = await _items([(message, b',"offset":%d' % offset) for offset, message in leased.items])
        return Answer(200, b"".join((b'{"data":[', items, b'],"done":', _bool(leased.done), b"}")))

    async def commit(self, call: Call) -> Answer:
        await self._pollers.commit(call.who, *_refs(call), call.params["consumer_id"], call.parsed(COMMIT_IN).offset)
        return NO_CONTENT

    async def key(self, call: Call) -> Answer:
        return shown_key(200, await self._polling.key(call.who, *_refs(call)))

    async def rotate(self, call: Call) -> Answer:
        return rotated_key(await self._polling.rotate_key(call.who, *_refs(call), call.parsed(ROTATE_IN), also=call.keeping(rotated_key)))


def routes(pollers: Pollers, polling: Polling) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(pollers, polling)
    polling_query = (LIMIT, ITERATOR, EVENT_TYPE, CHANNEL, AFTER, EXACT)
    poller, org = Access.POLLER, Access.ORGANISATION
    declared: list[tuple[str, str, str, Handler, Access, Body[Any] | None, tuple[Parameter, ...], Mapping[int, Any]]] = [
        ("GET", _POLLER, "Poll messages", h.poll, poller, None, polling_query, {200: PollingEndpointOut}),
        ("GET", _CONSUMER, "Poll messages as a consumer", h.consume, poller, None, (LIMIT, ITERATOR, EXACT), {200: PollingEndpointOut}),
        ("POST", _CONSUMER + "/seek", "Set a consumer to a time", h.seek, poller, SEEK_IN, (), {200: PollingEndpointConsumerSeekOut}),
        ("GET", _LEASING, "Lease messages as a consumer", h.lease, poller, None, (LIMIT, LEASE, STARTING), {200: PollerV2PollOut}),
        ("POST", _LEASING + "/commit", "Commit messages that were leased", h.commit, poller, COMMIT_IN, (), {204: None}),
        ("GET", _TOKEN, "Get the key of a polling endpoint", h.key, org, None, (), {200: ApiTokenOut}),
        ("POST", _TOKEN + "/rotate", "Give a polling endpoint another key", h.rotate, org, ROTATE_IN, (), {201: ApiTokenOut}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=access,
            body=body,
            query=query,
            answers=answers,
            needs=Capability.MANAGE_ENDPOINT if access is poller and method == "POST" else None,
        )
        for method, path, summary, handler, access, body, query, answers in declared
    ]
