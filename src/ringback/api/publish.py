"""How is a message published? What a request may say, and the ordinary route; `api.door` has the same as a fast path."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Final

import msgspec

from ringback.api.applications import APPLICATION_IN, named_in
from ringback.api.auth import Access
from ringback.api.bodies import BROKEN_RULE, Alias, Body
from ringback.api.messages import WITH_CONTENT, MessageOut
from ringback.api.render import render_message
from ringback.api.routing import Answer, Call, Operation, answer
from ringback.clock import SECOND_US, Clock, to_us
from ringback.errors import FieldProblem, InvalidField, NotFound
from ringback.model.messages import Message
from ringback.policy import validation
from ringback.policy.ordering import MAX_KEY_CHARS
from ringback.policy.validation import Channels, Instant, Name, Rule, Tags
from ringback.services.applications import ApplicationIn, Applications
from ringback.services.directory import Directory, Entry
from ringback.services.idempotency import StoredAnswer
from ringback.services.intake import Answers, Intake, NewMessage
from ringback.services.messages import Messages
from ringback.services.payloads import Payloads
from ringback.store.base import IdempotencyMark

PATH: Final = "/api/v1/app/{app_id}/msg"

# How long a payload is kept unless the message says otherwise (contract, 3.4).
DEFAULT_LIFE_US: Final = 90 * 86_400 * SECOND_US
_HOUR_US: Final = 3_600 * SECOND_US
# `deliverAt` must lie between these (contract, 3.4).
_SOONEST_US: Final = 60 * SECOND_US
_LATEST_US: Final = 86_400 * SECOND_US
_JSON_TYPE: Final = "application/json"

_Channels = Annotated[Channels, msgspec.Meta(min_length=1, max_length=validation.MAX_CHANNELS)]
_OrderingKey = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_CHARS)]
_Tags = Annotated[Tags, msgspec.Meta(max_length=validation.MAX_TAGS)]


class TransformationsParams(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A body to send instead of `payload`, byte for byte, and its content type."""

    raw_payload: str | None = None
    headers: dict[str, str] | None = None


class MessageIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message as a client sends it."""

    event_type: Name
    payload: msgspec.Raw
    event_id: Name | None = None
    channels: _Channels | None = None
    tags: _Tags | None = None
    application: ApplicationIn | None = None
    transformations_params: TransformationsParams | None = None
    deliver_at: Instant | None = None
    payload_retention_period: Annotated[int, msgspec.Meta(ge=1, le=90)] | None = None
    payload_retention_hours: Annotated[int, msgspec.Meta(ge=1, le=2160)] | None = None
    ordering_key: _OrderingKey | None = None

    OBJECTS: ClassVar[frozenset[str]] = frozenset({"payload"})
    RULES: ClassVar[Mapping[str, Rule]] = {
        "event_type": validation.name,
        "event_id": validation.uid("msg_"),
        "channels": validation.channels,
        "tags": validation.tags,
        "application": validation.members,
        "ordering_key": validation.text,
    }


class MessagePrecheckIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The kind of message that is asked about."""

    event_type: Name
    channels: _Channels | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"event_type": validation.name, "channels": validation.channels}


class MessagePrecheckOut(msgspec.Struct, frozen=True):
    """Whether an enabled endpoint wants such a message now."""

    active: bool


MESSAGE_IN: Final = Body(MessageIn, {"data": Alias("payload")}, {"application": APPLICATION_IN})
PRECHECK_IN: Final = Body(MessagePrecheckIn)


# What is offered in place of a message that cannot be read: nothing is kept of it, but its key may have made a message before.
NOTHING: Final = NewMessage("", b"", 0)

# What most messages have none of.
_special: Final = attrgetter("transformations_params", "deliver_at", "payload_retention_period", "payload_retention_hours", "ordering_key")
_NOTHING_SPECIAL: Final = (None, None, None, None, None)


def new_message(raw: bytes, now_us: int) -> tuple[NewMessage, MessageIn]:
    """The message that a request body describes. Raises InvalidField."""
    wanted = MESSAGE_IN.parse(raw)
    return described(wanted, now_us), wanted


def described(wanted: MessageIn, now_us: int) -> NewMessage:
    """The message that a client wants. Raises InvalidField."""
    payload = bytes(wanted.payload)
    if _special(wanted) == _NOTHING_SPECIAL:
        return NewMessage(wanted.event_type, payload, DEFAULT_LIFE_US, wanted.event_id, wanted.channels, wanted.tags)
    problems = []
    life_us = DEFAULT_LIFE_US
    if wanted.payload_retention_hours is not None:
        life_us = wanted.payload_retention_hours * _HOUR_US
        if wanted.payload_retention_period is not None:
            text = "give payloadRetentionHours or payloadRetentionPeriod, not both"
            problems.append(FieldProblem(("body", "payloadRetentionHours"), text, BROKEN_RULE))
    elif wanted.payload_retention_period is not None:
        life_us = wanted.payload_retention_period * 24 * _HOUR_US
    deliver_at = None
    if wanted.deliver_at is not None:
        deliver_at = to_us(wanted.deliver_at)
        if not now_us + _SOONEST_US <= deliver_at <= now_us + _LATEST_US:
            text = f"{_shown(wanted.deliver_at)} must be at least 1 minute and at most 24 hours ahead"
            problems.append(FieldProblem(("body", "deliverAt"), text, BROKEN_RULE))
    if problems:
        raise InvalidField(*problems)
    content_type, is_raw = _JSON_TYPE, False
    if wanted.transformations_params is not None and wanted.transformations_params.raw_payload is not None:
        payload, is_raw = wanted.transformations_params.raw_payload.encode(), True
        content_type = _content_type(wanted.transformations_params.headers or {})
    return NewMessage(
        wanted.event_type,
        payload,
        life_us,
        wanted.event_id,
        wanted.channels,
        wanted.tags,
        deliver_at,
        content_type,
        is_raw,
        ordering_key=wanted.ordering_key,
    )


def _shown(at: datetime) -> str:
    return at.isoformat()


def _content_type(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if name.lower() == "content-type":
            if not value.isascii() or not value.isprintable():
                text = "a content type is printable ASCII, such as application/xml"
                raise InvalidField(FieldProblem(("body", "transformationsParams", "headers", name), text, BROKEN_RULE))
            return value
    return _JSON_TYPE


class Publisher:
    """What both doors need to publish. Belongs to one event loop."""

    def __init__(
        self,
        intake: Intake,
        directory: Directory,
        applications: Applications,
        messages: Messages,
        payloads: Payloads,
        clock: Clock,
        ttl_us: int,
    ) -> None:
        self.intake = intake
        self.directory = directory
        self.applications = applications
        self.messages = messages
        self.payloads = payloads
        self.clock = clock
        self.ttl_us = ttl_us

    def mark(self, key: bytes | None) -> IdempotencyMark | None:
        """What to keep of an idempotency key."""
        return None if key is None else IdempotencyMark(key, self.clock.now_us() + self.ttl_us)

    async def publish(self, call: Call) -> Answer:
        """POST a message, the ordinary way. Raises RingbackError."""
        content = call.query.flag("with_content", True)
        try:
            wanted = call.parsed(MESSAGE_IN)
            new = described(wanted, self.clock.now_us())
        except InvalidField as error:
            return Answer(202, render_message(await self._repeated(call, error), content))
        refusal = await self.refusal(call.who.org_id, new) if self.is_watched(call.who.org_id, new) else None
        entry = await self._application(call, wanted, refusal)
        return Answer(202, render_message(await self.accepted(call, entry, new, refusal=refusal), content))

    def is_watched(self, org_id: str, new: NewMessage) -> bool:
        """Must the payload of this message be compared with its schema first? A body that replaces the payload is not what is promised."""
        watched = self.payloads.watched
        return bool(watched) and not new.raw and (org_id, new.event_type) in watched

    async def refusal(self, org_id: str, new: NewMessage) -> InvalidField | None:
        """Why a payload that is watched must not be accepted. Raises Unavailable when that cannot be told."""
        try:
            await self.payloads.check(org_id, new.event_type, new.payload)
        except InvalidField as error:
            return error
        return None

    async def accepted(
        self, call: Call, entry: Entry, new: NewMessage, only: Sequence[str] | None = None, refusal: InvalidField | None = None
    ) -> Message:
        """The message once it is durable, or the one that the idempotency key of the call made before. Raises RingbackError."""
        done: asyncio.Future[Message | str] = asyncio.get_running_loop().create_future()

        def settle(result: Message | str) -> None:
            if not done.done():
                done.set_result(result)

        def fail(error: Exception) -> None:
            if not done.done():
                done.set_exception(error)

        self.intake.accept(entry, new, self.mark(call.key), Answers(settle, settle, fail), only=only, refusal=refusal)
        result = await done
        # The mark was committed with the message.
        call.kept = call.key is not None
        if isinstance(result, str):
            result = await self.messages.get(call.who, call.params["app_id"], result, content=True)
        return result

    async def _repeated(self, call: Call, error: InvalidField) -> Message:
        """The message that the key of this call has made before, or the error."""
        if call.key is None:
            raise error
        try:
            entry = await self.directory.find(call.who.org_id, call.params["app_id"])
        except NotFound:
            raise error from None
        return await self.accepted(call, entry, NOTHING, refusal=error)

    async def rebuild(self, call: Call, kept: StoredAnswer) -> Answer:
        """The answer to a message that was published before with the same key."""
        content = call.query.flag("with_content", True)
        message = await self.messages.get(call.who, call.params["app_id"], kept.message_id or "", content=True)
        return Answer(202, render_message(message, content))

    async def precheck(self, call: Call) -> Answer:
        """Would anybody get such a message? Raises RingbackError."""
        asked = call.parsed(PRECHECK_IN)
        entry = await self.directory.find(call.who.org_id, call.params["app_id"])
        return answer(200, MessagePrecheckOut(entry.wanted(asked.event_type, asked.channels)))

    async def _application(self, call: Call, wanted: MessageIn, refusal: InvalidField | None) -> Entry:
        ref = call.params["app_id"]
        try:
            return await self.directory.find(call.who.org_id, ref)
        except NotFound:
            application = named_in(wanted.application, ref)
        if refusal is not None:
            # Before anything is made for a message that will not be.
            raise refusal
        await self.applications.create(call.who, application, get_if_exists=True)
        return await self.directory.find(call.who.org_id, ref)


def routes(publisher: Publisher) -> list[Operation]:
    """The operations of this module."""
    answers: dict[int, Any] = {202: MessageOut}
    return [
        Operation(
            method="POST",
            path=PATH,
            summary="Publish a message",
            handler=publisher.publish,
            access=Access.ORGANISATION,
            body=MESSAGE_IN,
            query=(WITH_CONTENT,),
            answers=answers,
            rebuild=publisher.rebuild,
        ),
        Operation(
            method="POST",
            path=PATH + "/precheck/active",
            summary="Ask whether anybody would get such a message",
            handler=publisher.precheck,
            access=Access.ORGANISATION,
            body=PRECHECK_IN,
            answers={200: MessagePrecheckOut},
        ),
    ]
