"""Which event must come by when, and did it? Expectations are made, read and withdrawn; what came is looked at beside the door.

What meets an expectation is found among the stored messages, from a place that is remembered, so neither a crash nor an event that was
faster than its expectation is lost. The door only says that something came, and only for sources of which something is awaited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Annotated, ClassVar, Final

import msgspec

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
from ringback.store.base import Row, Store, Transaction
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


class MatchIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What the event must have: `equals` is the text, number or boolean at the place `at` (`json:PATH`, `header:NAME`, `form:NAME`)."""

    event_type: _Text = ""
    event_id: _Text = ""
    at: _Text = ""
    equals: _Text | int | float | bool | None = None


def _match_rule(value: MatchIn) -> list[Problem]:
    return match_problems(match_of(value), has_equals=value.equals is not None)


class ExpectationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
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
    """What a read has found: is the source there, what is met, the last message looked at, and whether there are more."""

    there: bool
    met: list[_Met]
    reached: str
    more: bool


class _Awaited:
    """What is awaited of one source.

    Messages up to `reached` were looked at for those in `main`, of which `last_id` is the youngest; nobody but a read that is under way
    touches it meanwhile: `fresh` ones join, and `gone` ones leave, between two reads.
    """

    __slots__ = ("fresh", "gone", "keep_at_s", "last_id", "main", "reached")

    def __init__(self) -> None:
        self.main = Waiting()
        self.reached = ""
        self.last_id = ""
        self.fresh: dict[str, Expectation] = {}
        self.gone: set[str] = set()
        self.keep_at_s = 0.0

    def join(self, item: Expectation) -> None:
        """Look for it from now on, with all others."""
        self.main.add(item)
        self.last_id = max(self.last_id, item.id)

    def places(self) -> set[str]:
        """The places that are named."""
        return self.main.places() | {item.wanted.at for item in self.fresh.values() if item.wanted.at}


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
        self._sought: dict[str, _Awaited] = {}
        self._came: set[str] = set()
        # When the open ones are decided, the earliest first: time, source, expectation. Those that ended before are passed over.
        self._deadlines: list[tuple[int, str, str]] = []
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
            places = self._sought[source.id].places() if source.id in self._sought else set()
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
        sought = self._sought.get(found.source_id)
        if sought is not None and sought.fresh.pop(found.id, None) is None:
            sought.gone.add(found.id)
            self._arrived(found.source_id)

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
        )

    # -- what comes

    async def load(self) -> None:
        """Know all that is awaited. To be called before anything else here, at the start. Raises StoreFailure."""
        scans = await self._store.read(expectations.scans)
        after = ""
        while listed := await self._store.read(lambda tx, at=after: expectations.open_ones(tx, at, _SLICE)):  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            after = listed[-1].id
            for item in listed:
                reached, last_id = scans.get(item.source_id, ("", ""))
                if item.id > last_id:
                    self._wait_for(item)
                else:
                    sought = self._seek(item)
                    sought.reached = reached
                    sought.join(item)
                    self._arrived(item.source_id)

    def next_deadline(self) -> int | None:
        """When the next open expectation is decided, microseconds since 1970."""
        while self._deadlines and not self._is_open(*self._deadlines[0][1:]):
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    async def look(self) -> None:
        """Find what is met by what came, and what is missed by now. Raises Unavailable; then it is to be called again."""
        now_us = self._clock.now_us()
        late: dict[str, list[str]] = {}
        while self._deadlines and self._deadlines[0][0] <= now_us:
            _, source_id, expectation_id = heappop(self._deadlines)
            if self._is_open(source_id, expectation_id):
                late.setdefault(source_id, []).append(expectation_id)
        todo = [*self._came, *(late.keys() - self._came)]
        self._came.clear()
        while todo:
            source_id = todo[-1]
            try:
                await self._scan(source_id)
                await self._miss(source_id, late.get(source_id, []))
            except BaseException:
                # All of it is still to be done.
                self._came.update(todo)
                for left in todo:
                    for expectation_id in late.get(left, []):
                        heappush(self._deadlines, (now_us, left, expectation_id))
                raise
            todo.pop()

    async def forget(self) -> int:
        """Forget some of what ended long ago. 0 = nothing is left. Raises Unavailable."""
        before_us = self._clock.now_us() - _KEPT_US
        return await self._store.write(lambda tx: expectations.purge(tx, before_us, _KEPT, _PURGED))

    def _seek(self, item: Expectation) -> _Awaited:
        sought = self._sought.get(item.source_id)
        if sought is None:
            sought = self._sought[item.source_id] = _Awaited()
            self._awaited[item.source_id] = partial(self._arrived, item.source_id)
        heappush(self._deadlines, (item.deadline + _GRACE_US, item.source_id, item.id))
        return sought

    def _wait_for(self, item: Expectation) -> None:
        self._seek(item).fresh[item.id] = item
        # It may have come already.
        self._arrived(item.source_id)

    def _arrived(self, source_id: str) -> None:
        self._came.add(source_id)
        self._woken()

    def _is_open(self, source_id: str, expectation_id: str) -> bool:
        sought = self._sought.get(source_id)
        return sought is not None and (expectation_id in sought.main.open or expectation_id in sought.fresh)

    def _drop_if_done(self, source_id: str) -> bool:
        sought = self._sought.get(source_id)
        if sought is not None and (sought.main.open or sought.fresh):
            return False
        self._sought.pop(source_id, None)
        self._awaited.pop(source_id, None)
        return True

    async def _scan(self, source_id: str) -> None:
        """Look at all that came from a source since the last time. Raises Unavailable."""
        more = True
        while more and (sought := self._sought.get(source_id)) is not None:
            if sought.fresh:
                await self._catch_up(source_id, sought)
            for expectation_id in sought.gone:
                sought.main.remove(expectation_id)
            sought.gone.clear()
            if self._drop_if_done(source_id):
                return
            found = await self._found(source_id, sought, sought.main, sought.reached, None)
            sought.reached = found.reached
            more = (found.more or bool(sought.fresh)) and found.there
            if not found.there:
                # The source is gone, and with it what was awaited of it.
                sought.main, sought.fresh = Waiting(), {}
            self._drop_if_done(source_id)
        await self._keep(source_id)

    async def _catch_up(self, source_id: str, sought: _Awaited) -> None:
        """Look for those that are new among what was looked at for others before, from where each begins; then they join these."""
        batch, sought.fresh = sought.fresh, {}
        after = min(start_id(ids.MESSAGE, item.since) for item in batch.values())
        waiting = Waiting(batch.values())
        try:
            if not sought.main.open:
                sought.reached = after
            while after < sought.reached:
                found = await self._found(source_id, sought, waiting, after, sought.reached)
                after = found.reached if found.more else sought.reached
        except BaseException:
            sought.fresh = waiting.open | sought.fresh
            raise
        for item in waiting.open.values():
            sought.join(item)

    async def _found(self, source_id: str, sought: _Awaited, waiting: Waiting, after: str, until: str | None) -> _Scan:
        """Look at the next messages behind one; what is met by them is so. Raises Unavailable."""
        found = await self._store.read(lambda tx: self._read(tx, source_id, waiting, after, until))

        try:
            for begin in range(0, len(found.met), _ENDED):
                some = found.met[begin : begin + _ENDED]
                self._count(MET, await self._store.write(partial(_meet, met=some)))
        except BaseException:
            sought.fresh.update((one.expectation.id, one.expectation) for one in found.met)
            raise
        return found

    async def _keep(self, source_id: str) -> None:
        """Write down now and then how far a source was looked at: what a restart need not look at again."""
        sought = self._sought.get(source_id)
        if sought is None or sought.fresh or self._clock.monotonic_s() < sought.keep_at_s:
            return
        sought.keep_at_s = self._clock.monotonic_s() + _KEEP_EVERY_S
        reached, last_id = sought.reached, sought.last_id
        await self._store.write(lambda tx: expectations.scanned(tx, source_id, reached, last_id))

    def _read(self, tx: Transaction, source_id: str, waiting: Waiting, after: str, until: str | None) -> _Scan:
        """Which expectations the next messages meet; they leave `waiting`. Runs on a thread of the store."""
        source = sources.by_id(tx, self._vault, source_id)
        if source is None:
            return _Scan(False, [], after, False)
        rows = expectations.arrivals(tx, source.app_id, after, _SLICE)
        met: list[_Met] = []
        try:
            return self._matched(tx, source, waiting, rows, after, until, met)
        except BaseException:
            # The read failed, and what it has found with it: all of it is still awaited.
            for one in met:
                waiting.add(one.expectation)
            raise

    @staticmethod
    def _matched(
        tx: Transaction, source: Source, waiting: Waiting, rows: Sequence[Row], after: str, until: str | None, met: list[_Met]
    ) -> _Scan:
        for message_id, event_type, received_at, text in rows:
            if until is not None and message_id > until:
                return _Scan(True, met, after, False)
            after = message_id
            origin = None if text is None else _origins.decode(text)
            if origin is None or origin.source_id != source.id or not is_believed(source, origin):
                continue
            request = _request(tx, source.app_id, message_id) if waiting.needs_payload() else None
            for expectation in waiting.met_by(event_type, origin, received_at, request):
                met.append(_Met(expectation, message_id, received_at))
                waiting.remove(expectation.id)
        return _Scan(True, met, after, len(rows) == _SLICE)

    async def _miss(self, source_id: str, late: list[str]) -> None:
        """What is past its deadline, and was not found among all that came, is missed."""
        for begin in range(0, len(late), _ENDED):
            sought = self._sought.get(source_id)
            if sought is None:
                return
            known = {**sought.main.open, **sought.fresh}
            some = [known[expectation_id] for expectation_id in late[begin : begin + _ENDED] if expectation_id in known]
            missed = await self._store.write(partial(self._ended, items=some))
            self._count(MISSED, len(missed))
            for item in missed:
                log(EXPECTATION_MISSED, source_id=source_id, expectation_id=item.id)
            for item in some:
                sought.main.remove(item.id)
                sought.fresh.pop(item.id, None)
            self._drop_if_done(source_id)

    def _count(self, outcome: State, number: int) -> None:
        metrics = self._metrics
        metrics.expectations = {**metrics.expectations, outcome: metrics.expectations[outcome] + number}

    def _ended(self, tx: Transaction, *, items: list[Expectation]) -> list[Expectation]:
        missed = [item for item in items if expectations.end(tx, item.id, MISSED, item.deadline, None)]
        source = sources.by_id(tx, self._vault, missed[0].source_id) if missed else None
        if source is not None:
            for item in missed:
                self._operational.tell(tx, item.org_id, model.EXPECTATION_MISSED, _news(source, item))
        return missed


def match_of(given: MatchIn) -> Match:
    """What is asked for, as texts."""
    equals = given.equals
    text = "" if equals is None else equals if isinstance(equals, str) else msgspec.json.encode(equals).decode()
    return Match(given.event_type, given.event_id, given.at, text)


def _meet(tx: Transaction, *, met: list[_Met]) -> int:
    """Expectations are met; how many of them were open until now."""
    return sum(expectations.end(tx, one.expectation.id, MET, one.received_at, one.message_id) for one in met)


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
