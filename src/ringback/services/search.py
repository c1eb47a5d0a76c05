"""Where is the message with ...? Searching messages by words, phrases and properties, for people.

    search = Search(store, index, clock)
    found = await search.search(who, 'type:order.paid status:failed "exact phrase" ord_12*', limit=20)
    for hit in found.hits: hit.message, hit.excerpt.text, hit.excerpt.marks      # the newest first
    more = await search.search(who, the_same_text, cursor=found.cursor)          # until `found.done`

`policy.search_query` says what may be written, and raises BadQuery with a sentence for who wrote it wrong. Messages are indexed behind the
write path: `found.lag` messages are not indexed yet (0 mostly; they come within a second or two unless the server is busy). A message is
found by its id and eventId at once. A search that takes long answers with what it has, and a cursor to go on from.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.errors import NotFound, Refused
from ringback.model.applications import TokenKind
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.search_query import OPERATORS as OPERATORS
from ringback.policy.search_query import BadQuery as BadQuery
from ringback.policy.search_query import Field, SearchQuery, parse
from ringback.policy.search_text import Excerpt as Excerpt
from ringback.policy.search_text import excerpt, occurs, searchable
from ringback.services.applications import find
from ringback.services.masking import shown
from ringback.services.tokens import Principal
from ringback.store.base import SearchFound, SearchIndex, SearchWanted, Store, Transaction
from ringback.store.operations import messages, standings
from ringback.telemetry.prometheus import Metrics

# Hits in one answer by default, and at the most.
LIMIT: Final = 20
LIMIT_MAX: Final = 100
# A search answers after so long with what it has, seconds: what a person takes as at once.
WITHIN_S: Final = 0.15
# Candidates looked at in one query of the database: 1 to 5 ms of a reader.
_AT_ONCE: Final = 100

_STATUSES: Final = {
    "failed": AttemptStatus.FAIL,
    "retrying": AttemptStatus.SENDING,
    "waiting": AttemptStatus.PENDING,
    "canceled": AttemptStatus.CANCELED,
}


class Hit(msgspec.Struct, frozen=True):
    """A message that was found. `excerpt` is the part of its payload around the first match; empty when the payload is gone."""

    message: Message
    excerpt: Excerpt


class Found(msgspec.Struct, frozen=True):
    """What was found, the newest first. `done` = there is no more; else go on from `cursor`.

    `lag` is how many messages are not indexed yet, and `behind_since_us` when the oldest of them was accepted (None = none is).
    """

    hits: list[Hit]
    done: bool
    cursor: str | None
    lag: int
    behind_since_us: int | None


class _Scope(msgspec.Struct, frozen=True):
    """In what is searched: some applications, or all of the organisation (none given)."""

    org_id: str
    app_ids: tuple[str, ...]


class Search:
    """Searches of every organisation; each sees the messages that its caller may reach. Without an index (None) all are refused."""

    def __init__(self, store: Store, index: SearchIndex | None, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._index = index
        self._clock = clock
        self._metrics = metrics

    @property
    def on(self) -> bool:
        """Is there an index? Without one every search is refused, and messages are found by their ids alone."""
        return self._index is not None

    async def search(self, who: Principal, text: str, *, app: str | None = None, limit: int = LIMIT, cursor: str | None = None) -> Found:
        """The newest messages in which all is that `text` asks for, in one application (id or uid) or in all that the caller may reach.

        Raises BadQuery, NotFound (an application), Refused (`search_disabled`, or a foreign cursor), and StoreFailure while the index is
        made anew.
        """
        if self._index is None:
            raise Refused("search_disabled", "this server keeps no index of messages; set search = true, and a database in a file")
        now_us = self._clock.now_us()
        query = parse(text, now_us)
        below = _number(cursor)
        scope, span, named = await self._store.read(lambda tx: _prepared(tx, who, app, query))
        hits: list[Hit] = []
        started_s = self._clock.monotonic_s()
        limit = max(1, min(limit, LIMIT_MAX))
        reached: int | None = span[1] if below is None else min(below, span[1])
        while reached is not None:
            found = await self._candidates(scope, query, reached, span[0], named)
            looking = _Looking(scope, query, found.seqs, named is not None, limit - len(hits), now_us)
            judged, looked_at = await self._store.read(looking.judged)
            hits += judged
            if len(hits) >= limit:
                return self._found(hits, looked_at)
            reached = found.reached
            if self._clock.monotonic_s() - started_s > WITHIN_S and reached is not None:
                return self._found(hits, reached)
        return self._found(hits, None)

    async def _candidates(self, scope: _Scope, query: SearchQuery, below: int, above: int, named: list[int] | None) -> SearchFound:
        if named is not None:
            return SearchFound([seq for seq in named if above < seq < below], None)
        assert self._index is not None
        return await self._index.find(_wanted(scope, query), below, above, _AT_ONCE, WITHIN_S)

    def _found(self, hits: list[Hit], reached: int | None) -> Found:
        metrics = self._metrics
        behind_since_us = metrics.search_behind_since_us or None
        return Found(hits, reached is None, None if reached is None else f"at_{reached}", metrics.search_lag, behind_since_us)


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    digits = cursor.removeprefix("at_")
    # As many digits as the largest number of a row has.
    if digits == cursor or not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise Refused("invalid_iterator", f"{cursor[:60]!r} is no cursor of a search; use the one of its last answer")
    return int(digits)


def _prepared(tx: Transaction, who: Principal, app: str | None, query: SearchQuery) -> tuple[_Scope, tuple[int, int], list[int] | None]:
    """In what is searched, between which numbers (exclusive), and which messages are named by `id:`."""
    scope = _scope(tx, who, app, query)
    above = 0 if query.after_us is None else messages.seq_at(tx, query.after_us) - 1
    below = 1 << 60 if query.before_us is None else messages.seq_at(tx, query.before_us)
    if not query.ids:
        return scope, (above, below), None
    named = {seq for name in query.ids for seq in messages.with_name(tx, scope.org_id, scope.app_ids, name)}
    return scope, (above, below), sorted(named, reverse=True)


def _scope(tx: Transaction, who: Principal, app: str | None, query: SearchQuery) -> _Scope:
    allowed = app if who.kind is TokenKind.ORG else who.app_id
    if app is None and who.kind is not TokenKind.ORG and who.app_id is None:
        raise NotFound
    named = [find(tx, who, name).id for name in query.apps]
    if allowed is None:
        return _Scope(who.org_id, tuple(named))
    within = find(tx, who, app or allowed).id
    if named and within not in named:
        raise NotFound(f"app:{query.apps[0]} is not the application that is searched; leave it out")
    return _Scope(who.org_id, (within,))


def _wanted(scope: _Scope, query: SearchQuery) -> SearchWanted:
    within = tuple(("app", app_id) for app_id in scope.app_ids) or (("org", scope.org_id),)
    return SearchWanted(
        query.phrases,
        (within, *(tuple((field.name, value) for value in field.values) for field in query.fields)),
        query.without_phrases,
        # Beginnings are found too widely, so what they exclude is judged by the whole name.
        tuple(tuple((f.name, value) for value in f.values if not value.endswith("*")) for f in query.without_fields),
    )


class _Looking(msgspec.Struct, frozen=True):
    """A look at candidates, for so many hits. `named`: they were named, and the index says nothing of them."""

    scope: _Scope
    query: SearchQuery
    seqs: list[int]
    named: bool
    limit: int
    now_us: int

    def judged(self, tx: Transaction) -> tuple[list[Hit], int | None]:
        """The hits, and the number of the last candidate that was looked at when there may be more."""
        hits: list[Hit] = []
        for seq, message in messages.by_seqs(tx, self.scope.org_id, self.scope.app_ids, self.seqs, self.now_us):
            if self._fits(tx, message):
                hits.append(Hit(message, excerpt(searchable(shown(message).payload), self.query.phrases)))
                if len(hits) == self.limit:
                    return hits, seq
        return hits, None

    def _fits(self, tx: Transaction, message: Message) -> bool:
        """What the index cannot say, or says too widely."""
        query = self.query
        if query.before_us is not None and message.created_at >= query.before_us:
            return False
        if query.after_us is not None and message.created_at < query.after_us:
            return False
        # What a payload said that is gone finds nobody any more, whether or not the index has heard of it.
        if message.payload is None and query.phrases:
            return False
        fields = query.fields if self.named else [field for field in query.fields if field.name == "type"]
        if not all(_has(message, field) for field in fields) or any(_has(message, field) for field in query.without_fields):
            return False
        if self.named:
            text = searchable(shown(message).payload)
            if not all(occurs(text, phrase) for phrase in query.phrases) or any(occurs(text, phrase) for phrase in query.without_phrases):
                return False
        standing = standings.of_message(tx, message) if query.statuses else set()
        return not query.statuses or any(_stands(message, standing, status) for status in query.statuses)


def _has(message: Message, field: Field) -> bool:
    """Has a message one of these values?"""
    if field.name == "type":
        return any(
            message.event_type.startswith(value[:-1]) if value.endswith("*") else message.event_type == value for value in field.values
        )
    held = (message.tags if field.name == "tag" else message.channels) or ()
    return any(value in held for value in field.values)


def _stands(message: Message, standing: set[AttemptStatus], status: str) -> bool:
    if status == "unmatched":
        return message.endpoints == 0 and not standing
    if status == "delivered":
        return standing == {AttemptStatus.SUCCESS}
    return _STATUSES[status] in standing
