"""The operations on dead letters, of one application and of the whole organisation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.messages import cursor_shape
from ringback.api.pagination import ITERATOR, LIMIT, ListOut, walk_of
from ringback.api.render import render_page
from ringback.api.routing import Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339, to_us
from ringback.errors import FieldProblem, InvalidField
from ringback.model.applications import Capability
from ringback.model.deliveries import DeadLetter
from ringback.policy.validation import Instant
from ringback.services.dead_letters import DeadLetters, Done, Picked

_PATHS: Final = ("/api/v1/app/{app_id}/dead-letter", "/api/v1/dead-letter")
_INSTANT: Final = {"type": "string", "format": "date-time"}
_FILTERS: Final = (
    Parameter("endpoint_id", {"type": "string"}, "Only letters of this endpoint, deleted or not (of one application: also by its uid)"),
    Parameter("event_types", {"type": "array", "items": {"type": "string"}}, "Only letters of these event types"),
    Parameter("since", _INSTANT, "Only deliveries that died then or later"),
    Parameter("until", _INSTANT, "Only deliveries that died earlier"),
    Parameter("cause", {"type": "string"}, "Only this cause: an error class, or http_ and a status"),
)


class DeadLetterOut(msgspec.Struct, frozen=True, rename="camel"):
    """A delivery with no attempts left. `cause` is an error class, or `http_` and the last status; `detail` says it in words."""

    id: str
    app_id: str
    endpoint_id: str
    msg_id: str
    event_type: str
    cause: str
    detail: str
    attempts: int
    sequence: int
    timestamp: Timestamp


class ListResponseDeadLetterOut(ListOut[DeadLetterOut], frozen=True, rename="camel"):
    """One page of dead letters."""


class DeadLetterSelectionIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which dead letters: those that fit all that is given. `dry_run` only counts; `iterator` goes on where a call has ended.

    A name that is mistyped would select more than was meant.
    """

    ids: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=1000)] | None = None
    endpoint_id: str | None = None
    event_types: tuple[str, ...] | None = None
    since: Instant | None = None
    until: Instant | None = None
    cause: str | None = None
    dry_run: bool = False
    iterator: str | None = None


class DeadLettersDoneOut(msgspec.Struct, frozen=True, rename="camel"):
    """Letters acted on; those passed over (disabled endpoint, payload gone, already waiting); and those left, from `iterator` on."""

    count: int
    skipped: int
    remaining: int
    iterator: str | None


SELECTION_IN: Final = Body(DeadLetterSelectionIn)


def _shown(letter: DeadLetter) -> bytes:
    return msgspec.json.encode(
        DeadLetterOut(
            id=letter.id,
            app_id=letter.app_id,
            endpoint_id=letter.endpoint_id,
            msg_id=letter.message_id,
            event_type=letter.event_type,
            cause=letter.cause,
            detail=letter.detail,
            attempts=letter.attempts,
            sequence=letter.sequence,
            timestamp=rfc3339(letter.died_at),
        )
    )


def _picked(wanted: DeadLetterSelectionIn) -> Picked:
    if wanted.iterator is not None and not ids.is_id(ids.DEAD_LETTER, wanted.iterator):
        raise InvalidField(FieldProblem(("body", "iterator"), f"{wanted.iterator[:80]!r} is not the iterator of an earlier answer"))
    return Picked(
        wanted.endpoint_id,
        wanted.event_types or (),
        None if wanted.since is None else to_us(wanted.since),
        None if wanted.until is None else to_us(wanted.until),
        wanted.cause,
        wanted.ids,
        wanted.iterator,
    )


class _Handlers:
    def __init__(self, dead_letters: DeadLetters) -> None:
        self._letters = dead_letters

    async def list(self, call: Call) -> Answer:
        query = call.query
        walk = walk_of(query, cursor_shape(ids.DEAD_LETTER), descending=True, ordered=False)
        picked = Picked(
            query.text("endpoint_id"),
            query.words("event_types") or (),
            query.instant("since"),
            query.instant("until"),
            query.text("cause"),
        )
        page = await self._letters.page(call.who, call.params.get("app_id"), walk, picked)
        return Answer(200, await render_page(page, lambda letter: letter.id, _shown))

    async def get(self, call: Call) -> Answer:
        return Answer(200, _shown(await self._letters.get(call.who, call.params.get("app_id"), call.params["dead_letter_id"])))

    async def replay(self, call: Call) -> Answer:
        return await self._act(call, lambda picked, dry: self._letters.replay(call.who, call.params.get("app_id"), picked, dry_run=dry))

    async def discard(self, call: Call) -> Answer:
        return await self._act(call, lambda picked, dry: self._letters.discard(call.who, call.params.get("app_id"), picked, dry_run=dry))

    @staticmethod
    async def _act(call: Call, act: Callable[[Picked, bool], Awaitable[Done]]) -> Answer:
        wanted = call.parsed(SELECTION_IN)
        done = await act(_picked(wanted), wanted.dry_run)
        return answer(200 if wanted.dry_run else 202, DeadLettersDoneOut(done.count, done.skipped, done.remaining, done.iterator))


def routes(dead_letters: DeadLetters) -> list[Operation]:
    """The operations of this module."""
    handlers = _Handlers(dead_letters)
    return [
        operation
        for path, access, whose in zip(
            _PATHS, (Access.APPLICATION, Access.ORGANISATION), ("of an application", "of the organisation"), strict=True
        )
        for operation in _routes(handlers, path, access, whose)
    ]


def _routes(handlers: _Handlers, path: str, access: Access, whose: str) -> list[Operation]:
    reads = [
        Operation(
            method="GET",
            path=path,
            summary=f"List the dead letters {whose}, the newest first",
            handler=handlers.list,
            access=access,
            query=(LIMIT, ITERATOR, *_FILTERS),
            answers={200: ListResponseDeadLetterOut},
            refusals=(404,),
        ),
        Operation(
            method="GET",
            path=f"{path}/{{dead_letter_id}}",
            summary=f"Get a dead letter {whose}",
            handler=handlers.get,
            access=access,
            answers={200: DeadLetterOut},
        ),
    ]
    acts = [
        Operation(
            method="POST",
            path=f"{path}/{verb}",
            summary=f"{summary} {whose}",
            handler=handler,
            access=access,
            body=SELECTION_IN,
            needs=Capability.CREATE_ATTEMPTS,
            answers={200: DeadLettersDoneOut, 202: DeadLettersDoneOut},
            refusals=(404,),
        )
        for verb, summary, handler in (
            ("replay", "Attempt once more the dead letters", handlers.replay),
            ("discard", "Take off the lists dead letters", handlers.discard),
        )
    ]
    return [*reads, *acts]
