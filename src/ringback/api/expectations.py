"""The operations on expectations: events that must come from a source by a deadline."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.api.sources import refs_of
from ringback.clock import rfc3339
from ringback.model.expectations import STATES, Expectation
from ringback.services.expectations import PREFIX, ExpectationIn, Expectations

# Where the sources of an application are, and the ingest sources.
_LISTS: Final = ("/api/v1/app/{app_id}/source/{source_id}/expectation", "/ingest/api/v1/source/{source_id}/expectation")
STATE: Final = Parameter("state", {"type": "string", "enum": list(STATES)}, "Only expectations in this state")


class MatchOut(msgspec.Struct, frozen=True, rename="camel"):
    """What the event must have; null = anything. `equals` is the text at the place `at`."""

    event_type: str | None
    event_id: str | None
    at: str | None
    equals: str | None


class ExpectationOut(msgspec.Struct, frozen=True, rename="camel"):
    """An event that must come from a source between `since` and `deadline`. `state`: `open`, `met` (by `messageId`), or `missed`."""

    id: str
    uid: str | None
    state: str
    match: MatchOut
    since: Timestamp
    deadline: Timestamp
    message_id: str | None
    ended_at: Timestamp | None
    created_at: Timestamp


class ListResponseExpectationOut(ListOut[ExpectationOut], frozen=True, rename="camel"):
    """One page of expectations."""


EXPECTATION_IN = Body(ExpectationIn, shown=ExpectationOut)


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of expectations?"""
    return ids.is_id(PREFIX, text)


def shown(item: Expectation) -> ExpectationOut:
    """The expectation as its owner sees it."""
    wanted = item.wanted
    return ExpectationOut(
        item.id,
        item.uid,
        item.state,
        MatchOut(wanted.event_type or None, wanted.event_id or None, wanted.at or None, wanted.equals if wanted.at else None),
        rfc3339(item.since),
        rfc3339(item.deadline),
        item.message_id,
        None if item.ended_at is None else rfc3339(item.ended_at),
        rfc3339(item.created_at),
    )


class _Handlers:
    def __init__(self, expectations: Expectations) -> None:
        self._expectations = expectations

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=True)
        page = await self._expectations.page(call.who, *refs_of(call), walk, call.query.choice("state", STATES))  # type: ignore[arg-type]  # one of them
        return answer(200, listing(page, lambda item: item.id, shown))

    async def create(self, call: Call) -> Answer:
        wanted, also = call.parsed(EXPECTATION_IN), call.keeping(_made)
        return _made(await self._expectations.create(call.who, *refs_of(call), wanted, also=also))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._expectations.get(call.who, *refs_of(call), call.params["expectation_id"])))

    async def delete(self, call: Call) -> Answer:
        await self._expectations.delete(call.who, *refs_of(call), call.params["expectation_id"])
        return NO_CONTENT


def _made(item: Expectation) -> Answer:
    return answer(201, shown(item))


def routes(expectations: Expectations) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(expectations)
    declared: list[tuple[str, str, str, Any, Body[Any] | None, dict[int, Any], tuple[int, ...]]] = []
    for every in _LISTS:
        one = every + "/{expectation_id}"
        declared += [
            ("GET", every, "List the events that are awaited", h.list, None, {200: ListResponseExpectationOut}, ()),
            ("POST", every, "Await an event", h.create, EXPECTATION_IN, {201: ExpectationOut}, (400, 409)),
            ("GET", one, "Get an event that is awaited", h.get, None, {200: ExpectationOut}, ()),
            ("DELETE", one, "Await an event no more", h.delete, None, {204: None}, ()),
        ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.ORGANISATION,
            body=body,
            query=(LIMIT, ITERATOR, ORDER, STATE) if handler == h.list else (),
            answers=answers,
            refusals=refusals,
        )
        for method, path, summary, handler, body, answers, refusals in declared
    ]
