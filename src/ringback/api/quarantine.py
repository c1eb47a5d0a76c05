"""The operations on requests that were not believed: looking at them, dropping them, letting them in."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.render import readable
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.api.sources import refs_of
from ringback.clock import rfc3339, to_us
from ringback.errors import FieldProblem, InvalidField
from ringback.model.quarantine import Quarantined
from ringback.policy.masking import masked
from ringback.policy.sources import hidden_fields, provider_of, shown_headers, shown_url
from ringback.policy.validation import Instant
from ringback.services.quarantine import PREFIX, Quarantine
from ringback.services.releasing import Chosen, Left, Releases
from ringback.services.sources import Sources

# Of the sources of an application, and of ingest sources.
_LISTS = ("/api/v1/app/{app_id}/source/{source_id}/quarantine", "/ingest/api/v1/source/{source_id}/quarantine")
REASON = Parameter("reason", {"type": "string"}, "Only requests with this reason")


class QuarantinedOut(msgspec.Struct, frozen=True, rename="camel"):
    """A request that was not believed, in a list."""

    id: str
    received_at: Timestamp
    reason: str
    detail: str
    method: str
    remote: str
    body_bytes: int
    body_kept: bool


class HeaderOut(msgspec.Struct, frozen=True):
    """One header; values that are credentials are masked."""

    name: str
    value: str


class QuarantinedWithContentOut(QuarantinedOut, frozen=True, rename="camel"):
    """The same with all that helps to see why: credentials in URL and headers are masked; `body` is base64 where it is not UTF-8.

    `likely_causes` are the usual mistakes that would explain a signature that does not match: each was tried, and fits.
    """

    url: str
    headers: list[HeaderOut]
    body: str | None
    body_sha256: str | None
    likely_causes: list[str]
    provider_signs: str | None
    provider_note: str | None


class ListResponseQuarantinedOut(ListOut[QuarantinedOut], frozen=True, rename="camel"):
    """One page of requests in quarantine."""


class ReleaseIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`verify` = false takes the request in as it is: a person has looked at it."""

    verify: bool = True


class ReleaseManyIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which requests to let in: all, or those of a reason, or of a time. `iterator` goes on where the last call stopped."""

    verify: bool = True
    reason: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    iterator: str | None = None


class ReleasedOut(msgspec.Struct, frozen=True, rename="camel"):
    """The messages that a request became; of duplicates those that came first."""

    message_ids: list[str]


class ReleasedManyOut(msgspec.Struct, frozen=True, rename="camel"):
    """How many were let in, how many are still refused, by reason, and where to go on (null: all were looked at)."""

    released: int
    refused: dict[str, int]
    iterator: str | None


RELEASE_IN = Body(ReleaseIn)
RELEASE_MANY_IN = Body(ReleaseManyIn)


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of requests in quarantine?"""
    return ids.is_id(PREFIX, text)


def shown(item: Quarantined) -> QuarantinedOut:
    """The request as a list shows it."""
    return QuarantinedOut(**_facts(item))


def _facts(item: Quarantined) -> dict[str, Any]:
    return {
        "id": item.id,
        "received_at": rfc3339(item.received_at),
        "reason": item.reason,
        "detail": item.detail,
        "method": item.request.method,
        "remote": item.request.remote,
        "body_bytes": item.size_bytes,
        "body_kept": item.request.body is not None,
    }


class _Handlers:
    def __init__(self, sources: Sources, quarantine: Quarantine, releases: Releases) -> None:
        self._sources = sources
        self._quarantine = quarantine
        self._releases = releases

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=True)
        page = await self._quarantine.page(call.who, *refs_of(call), walk, call.query.text("reason"))
        return answer(200, listing(page, lambda item: item.id, shown))

    async def get(self, call: Call) -> Answer:
        source = await self._sources.get(call.who, *refs_of(call))
        item = await self._quarantine.get(call.who, *refs_of(call), call.params["quarantine_id"])
        body, fields = item.request.body, hidden_fields(source)
        seen = body if body is None or not fields else await asyncio.to_thread(masked, body, fields)
        row = provider_of(source.type)
        shown_item = QuarantinedWithContentOut(
            **_facts(item),
            url=shown_url(source, item.request.url),
            headers=[HeaderOut(name, value) for name, value in shown_headers(source, item.request.headers)],
            body=None if seen is None else readable(seen),
            body_sha256=None if body is None else hashlib.sha256(body).hexdigest(),
            likely_causes=await self._releases.causes(source, item),
            provider_signs=None if row is None else row.signed,
            provider_note=None if row is None else row.note,
        )
        return answer(200, shown_item)

    async def delete(self, call: Call) -> Answer:
        await self._quarantine.drop(call.who, *refs_of(call), call.params["quarantine_id"])
        return NO_CONTENT

    async def release(self, call: Call) -> Answer:
        believe = not call.parsed(RELEASE_IN).verify
        made = await self._releases.one(call.who, *refs_of(call), call.params["quarantine_id"], believe=believe)
        return answer(200, ReleasedOut(made))

    async def release_many(self, call: Call) -> Answer:
        wanted = call.parsed(RELEASE_MANY_IN)
        if wanted.iterator is not None and not is_cursor(wanted.iterator):
            text = f"{wanted.iterator[:100]!r} is not an iterator of an earlier answer"
            raise InvalidField(FieldProblem(("body", "iterator"), text))
        since = None if wanted.since is None else to_us(wanted.since)
        until = None if wanted.until is None else to_us(wanted.until)
        chosen = Chosen(wanted.reason, since, until, wanted.iterator)
        left: Left = await self._releases.many(call.who, *refs_of(call), chosen, believe=not wanted.verify)
        return answer(200, ReleasedManyOut(left.released, left.refused, left.iterator))


def routes(sources: Sources, quarantine: Quarantine, releases: Releases) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(sources, quarantine, releases)
    declared: list[tuple[str, str, str, Any, Body[Any] | None, dict[int, Any]]] = []
    for every in _LISTS:
        one = every + "/{quarantine_id}"
        declared += [
            ("GET", every, "List requests in quarantine", h.list, None, {200: ListResponseQuarantinedOut}),
            ("GET", one, "Get a request in quarantine", h.get, None, {200: QuarantinedWithContentOut}),
            ("DELETE", one, "Drop a request in quarantine", h.delete, None, {204: None}),
            ("POST", one + "/release", "Let a request out of quarantine", h.release, RELEASE_IN, {200: ReleasedOut}),
            ("POST", every + "/release", "Let many requests out of quarantine", h.release_many, RELEASE_MANY_IN, {200: ReleasedManyOut}),
        ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.ORGANISATION,
            body=body,
            query=(LIMIT, ITERATOR, ORDER, REASON) if handler == h.list else (),
            answers=answers,
            refusals=(409,) if handler == h.release else (),
        )
        for method, path, summary, handler, body, answers in declared
    ]
