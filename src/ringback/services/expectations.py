"""Which event must come by when, and did it? Expectations are made, read and withdrawn; what came is looked at beside the door.

What meets an expectation is found among the stored messages, from a place that is remembered, so neither a crash nor an event that was
faster than its expectation is lost. The door only says that something came, and only for sources of which something is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec.structs import replace

from ringback import ids
from ringback.clock import SECOND_US, Clock, rfc3339, to_us
from ringback.errors import Conflict, FieldProblem, InvalidField, NotFound, Refused
from ringback.ids import IdMaker, start_id
from ringback.model import operational as model
from ringback.model.expectations import MET, MISSED, OPEN, Expectation, Match, State
from ringback.model.messages import Origin
from ringback.model.sources import Source
from ringback.policy import validation
from ringback.policy.expectations import MAX_PLACES, Waiting, is_believed, match_problems
from ringback.policy.heads import header_fields
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Instant, Problem, Rule
from ringback.services.judging import Refusal, plain
from ringback.services.operational import Operational
from ringback.services.sources import Sources
from ringback.services.tokens import Principal
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from ringback.store.base import Store, Transaction
from ringback.store.operations import expectations, sources
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.events import EXPECTATION_MISSED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

PREFIX: Final = "exp_"
# Open expectations of one source: some megabytes of memory.
MAX_OPEN: Final = 10_000
# Days that a deadline may lie ahead, and `since` behind: payloads are kept for 90 days, and what is older than a week is nobody's race.
_MAX_AHEAD_D: Final = 90
_MAX_BEHIND_D: Final = 7
_DAY_US: Final = 86_400 * SECOND_US
# How long what ended is kept, and how many of a source.
_KEPT_US: Final = 30 * _DAY_US
_KEPT: Final = 10_000
# An event that came in time is durable this much later at the most.
_GRACE_US: Final = 2 * SECOND_US
# Messages looked at in one read, off the loop: some milliseconds.
_SLICE: Final = 200
# Expectations that end in one transaction, and rows that are forgotten in one.
_ENDED: Final = 50
_PURGED: Final = 200
# Seconds between two times that it is kept how far a source was looked at: what a restart looks at again.
_KEEP_EVERY_S: Final = 60.0
# Types, ids and texts are short; longer ones are not read out of events either.
_MAX_TEXT: Final = 512

_origins: Final = msgspec.json.Decoder(Origin)
_Text = Annotated[str, msgspec.Meta(max_length=_MAX_TEXT)]
uid_rule: Final = validation.uid(PREFIX)

Also = Callable[[Transaction, Expectation], None]


class MatchIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the event must have: `equals` is the text, number or boolean at the place `at` (`json:PATH`, `header:NAME`, `form:NAME`)."""

    event_type: _Text = ""
    event_id: _Text = ""
    at: _Text = ""
    equals: _Text | int | float | bool | None = None


def _match_rule(value: MatchIn) -> list[Problem]:
    return match_problems(match_of(value), has_equals=value.equals is not None)


class ExpectationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event that must come by `deadline`. What came from `since` on counts too; left out, only what comes from now on."""

    match: MatchIn
    deadline: Instant
    uid: str | None = None
    since: Instant | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"uid": uid_rule, "match": _match_rule}


class _Met(msgspec.Struct, frozen=True):
    expectation: Expectation
    message_id: str
    received_at: int


class _Scan(msgspec.Struct, frozen=True):
    """What a read has found: the source (None = it is gone), what is met, the last message looked at, and whether there are more."""

    source: Source | None
    met: list[_Met]
    reached: str
    more: bool


class Expectations:
    """The expectations of sources; each verb sees those of its caller's sources alone. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        make_id: IdMaker,
        of: Sources,
        operational: Operational,
        metrics: Metrics,
        awaited: dict[str, Callable[[], None]],
    ) -> None:
        """`awaited` is looked into by the door: for each source of which something is awaited, what to call when something came."""
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._sources = of
        self._operational = operational
        self._metrics = metrics
        self._awaited = awaited
        self._waiting: dict[str, Waiting] = {}
        self._came: set[str] = set()
        self._keep_at_s: dict[str, float] = {}
        self._woken: Callable[[], None] = lambda: None

    def watch(self, woken: Callable[[], None]) -> None:
        """Have somebody told when something came that may meet an expectation."""
        self._woken = woken

    # -- verbs

    async def create(
        self, who: Principal, app_ref: str | None, source_ref: str, wanted: ExpectationIn, *, also: Also | None = None
    ) -> Expectation:
        """Wait for an event. Raises NotFound, Conflict (uid), InvalidField, and Refused when too much is awaited of the source."""

        def operation(tx: Transaction) -> Expectation:
            source = self._sources.find(tx, who, app_ref, source_ref)
            item = self._made(source, wanted)
            if item.uid is not None and expectations.by_ref(tx, source.id, item.uid) is not None:
                raise Conflict(f"An expectation with the uid {item.uid!r} exists already; choose another uid, or delete that one")
            if expectations.count(tx, source.id, OPEN) >= MAX_OPEN:
                raise Refused("limit_reached", f"{MAX_OPEN} events are awaited of this source; withdraw some, or wait for their deadlines")
            places = self._waiting[source.id].places() if source.id in self._waiting else set()
            if item.wanted.at and item.wanted.at not in places and len(places) >= MAX_PLACES:
                raise Refused("limit_reached", f"open expectations of this source name {MAX_PLACES} places already; use one of those")
            expectations.insert(tx, item)
            if also is not None:
                also(tx, item)
            tx.then(partial(self._wait_for, item))
            return item

        return await self._store.write(operation)

    async def get(self, who: Principal, app_ref: str | None, source_ref: str, ref: str) -> Expectation:
        """The expectation of that id or uid. Raises NotFound."""

        def query(tx: Transaction) -> Expectation:
            found = expectations.by_ref(tx, self._sources.find(tx, who, app_ref, source_ref).id, ref)
            if found is None:
                raise NotFound
            return found

        return await self._store.read(query)

    async def page(self, who: Principal, app_ref: str | None, source_ref: str, walk: Walk, state: State | None) -> Page[Expectation]:
        """One page of a source's expectations, those in a state if one is given. Raises NotFound."""

        def query(tx: Transaction) -> list[Expectation]:
            return expectations.page(tx, self._sources.find(tx, who, app_ref, source_ref).id, walk, state)

        return cut(await self._store.read(query), walk)

    async def delete(self, who: Principal, app_ref: str | None, source_ref: str, ref: str) -> None:
        """Wait for it no more, and forget it. Raises NotFound."""

        def operation(tx: Transaction) -> Expectation:
            source = self._sources.find(tx, who, app_ref, source_ref)
            found = expectations.by_ref(tx, source.id, ref)
            if found is None:
                raise NotFound
            expectations.delete(tx, source.id, found.id)
            return found

        found = await self._store.write(operation)
        self._forget(found.source_id, [found.id])

    def _made(self, source: Source, wanted: ExpectationIn) -> Expectation:
        now_us, deadline = self._clock.now_us(), to_us(wanted.deadline)
        since = now_us if wanted.since is None else to_us(wanted.since)
        problems: list[Problem] = []
        if not now_us < deadline <= now_us + _MAX_AHEAD_D * _DAY_US:
            problems.append((("deadline",), f"{rfc3339(deadline)} must lie ahead, by {_MAX_AHEAD_D} days at the most"))
        if not now_us - _MAX_BEHIND_D * _DAY_US <= since <= now_us:
            problems.append((("since",), f"{rfc3339(since)} must lie behind, by {_MAX_BEHIND_D} days at the most"))
        if problems:
            raise InvalidField(*(FieldProblem(("body", *where), text) for where, text in problems))
        return Expectation(
            id=self._ids.make(PREFIX, now_us),
            source_id=source.id,
            org_id=source.org_id,
            uid=wanted.uid,
            state=OPEN,
            wanted=match_of(wanted.match),
            since=since,
            deadline=deadline,
            created_at=now_us,
            scanned_to=start_id(ids.MESSAGE, since),
        )

    # -- what comes

    async def load(self) -> None:
        """Know all that is awaited. To be called before anything else here, at the start. Raises StoreFailure."""
        after = ""
        while listed := await self._store.read(lambda tx, at=after: expectations.open_ones(tx, at, _SLICE)):  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            after = listed[-1].id
            for item in listed:
                self._wait_for(item)

    def next_deadline(self) -> int | None:
        """When the next open expectation is decided, microseconds since 1970."""
        return min((item.deadline + _GRACE_US for waiting in self._waiting.values() for item in waiting.open.values()), default=None)

    async def look(self) -> None:
        """Find what is met by what came, and what is missed by now. Raises Unavailable; then it is to be called again."""
        now_us = self._clock.now_us()
        overdue = {
            source_id
            for source_id, waiting in self._waiting.items()
            if any(item.deadline + _GRACE_US <= now_us for item in waiting.open.values())
        }
        for source_id in [*self._came, *(overdue - self._came)]:
            self._came.discard(source_id)
            try:
                while await self._scan(source_id):
                    continue
            except Exception:
                self._came.add(source_id)
                raise
            if source_id in overdue:
                await self._miss(source_id, now_us)

    async def forget(self) -> int:
        """Forget some of what ended long ago. 0 = nothing is left. Raises Unavailable."""
        before_us = self._clock.now_us() - _KEPT_US
        return await self._store.write(lambda tx: expectations.purge(tx, before_us, _KEPT, _PURGED))

    def _wait_for(self, item: Expectation) -> None:
        waiting = self._waiting.get(item.source_id)
        if waiting is None:
            waiting = self._waiting[item.source_id] = Waiting()
        waiting.add(item)
        self._awaited[item.source_id] = partial(self._arrived, item.source_id)
        # It may have come already.
        self._arrived(item.source_id)

    def _arrived(self, source_id: str) -> None:
        self._came.add(source_id)
        self._woken()

    def _forget(self, source_id: str, expectation_ids: list[str]) -> None:
        waiting = self._waiting.get(source_id)
        if waiting is None:
            return
        for expectation_id in expectation_ids:
            waiting.remove(expectation_id)
        if not waiting.open:
            del self._waiting[source_id]
            self._awaited.pop(source_id, None)
            self._keep_at_s.pop(source_id, None)

    async def _scan(self, source_id: str) -> bool:
        """Look at the next messages of a source; are there more?"""
        waiting = self._waiting.get(source_id)
        if waiting is None or not waiting.open:
            return False
        # Those that are there now: what is added meanwhile has its own place to begin at.
        looked_for = sorted(waiting.open.values(), key=lambda item: item.id)
        after = min(item.scanned_to for item in looked_for)
        snapshot = Waiting(looked_for)
        found = await self._store.read(lambda tx: self._read(tx, source_id, snapshot, after))
        if found.source is None:
            self._forget(source_id, list(waiting.open))
            return False
        met = found.met

        def operation(tx: Transaction) -> list[_Met]:
            ended = [one for one in met if expectations.end(tx, one.expectation.id, MET, one.received_at, one.message_id)]
            expectations.scanned(tx, source_id, looked_for[-1].id, found.reached)
            return ended

        if met or (found.reached > after and self._clock.monotonic_s() >= self._keep_at_s.get(source_id, 0.0)):
            # How far they were looked for is kept now and then: a restart looks again from there.
            self._keep_at_s[source_id] = self._clock.monotonic_s() + _KEEP_EVERY_S
            self._count(MET, len(await self._store.write(operation)))
            self._forget(source_id, [one.expectation.id for one in met])
        for item in looked_for:
            if item.id in waiting.open and item.scanned_to < found.reached:
                waiting.open[item.id] = replace(item, scanned_to=found.reached)
        return found.more

    def _read(self, tx: Transaction, source_id: str, waiting: Waiting, after: str) -> _Scan:
        """Which expectations the next messages meet. Runs on a thread of the store."""
        source = sources.by_id(tx, self._vault, source_id)
        if source is None:
            return _Scan(None, [], after, False)
        rows = expectations.arrivals(tx, source.app_id, after, _SLICE)
        met: list[_Met] = []
        for message_id, event_type, received_at, text in rows:
            after = message_id
            if text is None:
                continue
            origin = _origins.decode(text)
            if origin.source_id != source_id or not is_believed(source, origin):
                continue
            request = _request(tx, source.app_id, message_id) if waiting.needs_payload() else None
            for expectation in waiting.met_by(event_type, origin, received_at, message_id, request):
                met.append(_Met(expectation, message_id, received_at))
                waiting.remove(expectation.id)
        return _Scan(source, met, after, len(rows) == _SLICE)

    async def _miss(self, source_id: str, now_us: int) -> None:
        """What is past its deadline, and was not found among all that came, is missed."""
        waiting = self._waiting.get(source_id)
        late = [] if waiting is None else [item for item in waiting.open.values() if item.deadline + _GRACE_US <= now_us]
        for begin in range(0, len(late), _ENDED):
            some = late[begin : begin + _ENDED]
            missed = await self._store.write(partial(self._ended, items=some))
            self._count(MISSED, len(missed))
            for item in missed:
                log(EXPECTATION_MISSED, source_id=source_id, expectation_id=item.id)
            self._forget(source_id, [item.id for item in some])

    def _count(self, outcome: State, number: int) -> None:
        metrics = self._metrics
        metrics.expectations = {**metrics.expectations, outcome: metrics.expectations[outcome] + number}

    def _ended(self, tx: Transaction, *, items: list[Expectation]) -> list[Expectation]:
        missed = [item for item in items if expectations.end(tx, item.id, MISSED, item.deadline, None)]
        source = sources.by_id(tx, self._vault, items[0].source_id) if missed else None
        if source is not None:
            for item in missed:
                self._operational.tell(tx, item.org_id, model.EXPECTATION_MISSED, _news(source, item))
        return missed


def match_of(given: MatchIn) -> Match:
    """What is asked for, as texts."""
    equals = given.equals
    text = "" if equals is None else equals if isinstance(equals, str) else msgspec.json.encode(equals).decode()
    return Match(given.event_type, given.event_id, given.at, text)


def _news(source: Source, item: Expectation) -> model.ExpectationMissed:
    wanted = item.wanted
    return model.ExpectationMissed(
        app_id=None if source.ingest else source.app_id,
        source_id=source.id,
        source_uid=source.uid,
        expectation_id=item.id,
        expectation_uid=item.uid,
        deadline=rfc3339(item.deadline),
        match={
            name: text
            for name, text in (
                ("eventType", wanted.event_type),
                ("eventId", wanted.event_id),
                ("at", wanted.at),
                ("equals", wanted.equals if wanted.at else ""),
            )
            if text
        },
    )


def _request(tx: Transaction, app_id: str, message_id: str) -> InboundRequest | None:
    """A message as the request that brought it, unpacked; None when its payload is gone."""
    row = expectations.content(tx, app_id, message_id)
    if row is None or row[0] is None:
        return None
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in header_fields(b"\r\n" + (row[1] or b""))]
    unpacked = plain(InboundRequest(Headers(fields, lowered=True), row[0], b"POST", b""))
    return None if isinstance(unpacked, Refusal) else unpacked
