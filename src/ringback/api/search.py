"""The operations that search messages, in one application and in the whole organisation."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.api.auth import Access
from ringback.api.messages import MessageOut
from ringback.api.render import render_message
from ringback.api.routing import Answer, Call, Operation, Parameter
from ringback.clock import rfc3339
from ringback.errors import FieldProblem, InvalidField
from ringback.services.search import LIMIT, LIMIT_MAX, BadQuery, Found, Hit, Search

_PATHS: Final = ("/api/v1/app/{app_id}/search", "/api/v1/search")
_QUERY: Final = (
    Parameter("q", {"type": "string"}, 'What to look for: words, "phrases", beginnings*, and operators such as type: tag: status: before:'),
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT}, "How many hits at most"),
    Parameter("iterator", {"type": "string"}, "Go on from the `iterator` of the last answer"),
)


class ExcerptOut(msgspec.Struct, frozen=True):
    """The part of the payload around the first match; `marks` are pairs of first and last (exclusive) character of what was found."""

    text: str
    marks: list[tuple[int, int]]


class SearchHitOut(msgspec.Struct, frozen=True, rename="camel"):
    """A message that was found, without its payload."""

    app_id: str
    msg: MessageOut
    excerpt: ExcerptOut


class SearchOut(msgspec.Struct, frozen=True, rename="camel"):
    """What was found, the newest first; go on from `iterator` until `done`.

    `lag` messages are not indexed yet, `behindSince` is when the oldest of them was accepted.
    """

    data: list[SearchHitOut]
    iterator: str | None
    done: bool
    lag: int
    behind_since: str | None


def _shown(hit: Hit) -> dict[str, object]:
    return {
        "appId": hit.message.app_id,
        "msg": msgspec.Raw(render_message(hit.message, with_content=False)),
        "excerpt": {"text": hit.excerpt.text, "marks": hit.excerpt.marks},
    }


def _rendered(found: Found) -> bytes:
    return msgspec.json.encode(
        {
            "data": [_shown(hit) for hit in found.hits],
            "iterator": found.cursor,
            "done": found.done,
            "lag": found.lag,
            "behindSince": None if found.behind_since_us is None else rfc3339(found.behind_since_us),
        }
    )


class _Handlers:
    def __init__(self, search: Search) -> None:
        self._search = search

    async def search(self, call: Call) -> Answer:
        query = call.query
        limit = query.number("limit")
        if limit is not None and not 1 <= limit <= LIMIT_MAX:
            raise query.invalid("limit", f"{limit} is not between 1 and {LIMIT_MAX}")
        try:
            found = await self._search.search(
                call.who, query.text("q") or "", app=call.params.get("app_id"), limit=limit or LIMIT, cursor=query.text("iterator")
            )
        except BadQuery as error:
            raise InvalidField(FieldProblem(("query", "q"), str(error))) from error
        return Answer(200, _rendered(found))


def routes(search: Search) -> list[Operation]:
    """The operations of this module."""
    handlers = _Handlers(search)
    return [
        Operation(
            method="GET",
            path=path,
            summary=f"Search the messages {whose}, the newest first",
            handler=handlers.search,
            access=access,
            query=_QUERY,
            answers={200: SearchOut},
        )
        for path, access, whose in zip(
            _PATHS, (Access.APPLICATION, Access.ORGANISATION), ("of an application", "of the organisation"), strict=True
        )
    ]
