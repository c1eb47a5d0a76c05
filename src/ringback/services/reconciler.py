"""Which calls never came? A step reads one page of what the provider says it sent or changed, and adds what did not come.

A step is all or nothing for the cursor: events are durable before it moves. Whatever ends a step in between, the same page is read again,
and what was added by then has come: each event is claimed under the key that a call of the provider has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
from msgspec.structs import replace

from ringback.clock import SECOND_US, Clock
from ringback.errors import NotFound, Unavailable
from ringback.model.reconciliation import Listing, Progress, Reconciliation, Run, Standing
from ringback.model.sources import Source
from ringback.policy.asking import MAX_RETRY_AFTER_S, Unreadable, rest_s
from ringback.policy.reconciliation import (
    MAX_INTERVAL_S,
    MAX_PAGES,
    Item,
    PageRead,
    begun,
    covered_until,
    digest,
    item_request,
    page_request,
    payload_of,
    position_in,
    read_page,
    seen_before,
    start_request,
    was_seen,
    window_of,
)
from ringback.policy.reconciliation_rows import listing_of
from ringback.policy.sources_events import Listed
from ringback.services.access_tokens import AccessTokens
from ringback.services.called_lists import SOON_US, CalledLists
from ringback.services.gateway import Ready
from ringback.services.intake import NewMessage
from ringback.services.judging import Refusal, Taken, reconciled
from ringback.services.provider_api import ProviderApi, ProviderFailure
from ringback.services.provider_steps import Steps
from ringback.services.receiving import Receiver
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from ringback.store.base import Store, Transaction
from ringback.store.operations import deduplication, reconciliations, sources
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.active import note
from ringback.telemetry.events import POSITION_LOST, RECONCILIATION_FAILED, SOURCE_RECONCILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Events stored together: others have their turn in between.
_SLICE: Final = 50
# Larger answers are read on a thread: some milliseconds.
_ASIDE_BYTES: Final = 65_536
# Seconds of rest before a list of changes is read on whose run was cut: it may be one that never ends.
_CUT_S: Final = 60
# Seconds after which a disabled source is looked at again.
_DISABLED_S: Final = 300
# Seconds that the requests of one step may take together.
_STEP_S: Final = 300.0
# Requests for redelivery in one run; the next run asks for more.
_MAX_ASKED: Final = 1_000
# What one look without consequences may cost: pages, and seconds.
_LOOK_PAGES: Final = 50
_LOOK_S: Final = 20.0
# Ids of missing events that such a look names.
_NAMED: Final = 100
# Looks at once, of everybody: each holds an answer of some megabytes.
_LOOKS: Final = 8
# The longest wait that a step may have been given, microseconds.
_LONGEST_WAIT_US: Final = (max(MAX_INTERVAL_S, int(MAX_RETRY_AFTER_S)) + 60) * SECOND_US
# Failures in a row after which an event that cannot be compared with the schema is left out: a quarter of an hour.
_PATIENCE: Final = 5
# Causes that are of one event alone: the others are not kept waiting for it.
_OF_ONE: Final = ("refused", "too_large")
# The payload of an event whose own is not fetched yet.
_EMPTY: Final = b"{}"


class Missing(msgspec.Struct, frozen=True):
    """An event that did not come: its place in the provider's list, and what would be stored of it."""

    item: Item
    event: NewMessage
    key: bytes


class _List(msgspec.Struct, frozen=True):
    """A provider's list, and with what it is asked for."""

    settings: Reconciliation
    listing: Listing
    token: str


class _Lost(msgspec.Struct, frozen=True):
    """The provider does not know a position any more; it may have given another one ("" = it has not)."""

    position: str


class Found(msgspec.Struct, frozen=True):
    """What a look at the provider's list has found; `whole` says that it came to the end."""

    looked_at: int
    missing: int
    names: list[str]
    whole: bool


class Reconciler:
    """Compares sources with their providers, a page at a time. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        receiver: Receiver,
        api: ProviderApi,
        metrics: Metrics,
        called: dict[str, Callable[[], None]],
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._receiver = receiver
        self._api = api
        self._metrics = metrics
        self._reading = asyncio.Lock()
        self._looks = asyncio.Semaphore(_LOOKS)
        self._steps = Steps(store, clock, "reconciliation", _LONGEST_WAIT_US)
        self._tokens = AccessTokens[Reconciliation](api, clock, self._keep_credential)
        self._called = CalledLists(store, clock, called)

    def watch(self, woken: Callable[[], None]) -> None:
        """Have somebody told when a source was called whose calls have its list read."""
        self._called.watch(woken)

    async def due(self, limit: int) -> tuple[list[str], int | None]:
        """The sources whose next step is due, and when the next one after those is. Raises StoreFailure."""
        await self._called.hear()
        due, next_at, overall = await self._steps.due(limit, reconciliations.overall)
        self._metrics.reconciled_until_us = overall.covered_until
        self._metrics.reconciliations_failing = overall.failing
        return due, next_at

    async def step(self, source_id: str) -> None:
        """Do the next step of a source's reconciliation, if there is one to do. Raises Unavailable when it could not be kept."""
        await self._tokens.settle(source_id)
        standing, source = await self._store.read(
            lambda tx: (reconciliations.get(tx, self._vault, source_id), sources.by_id(tx, self._vault, source_id))
        )
        if standing is None or standing.next_at is None:
            return
        if source is None:
            await self._store.write(lambda tx: reconciliations.delete(tx, source_id))
            return
        if source.disabled:
            await self._move(standing, standing.progress, min(standing.settings.interval_s, _DISABLED_S))
            return
        now_us = self._clock.now_us()
        run = standing.progress.run
        if run is not None and run.began_at > now_us:
            # The clock was set back: what that run looks for may lie ahead.
            run, standing = None, replace(standing, progress=replace(standing.progress, run=None, seen=b""))
        run = run or begun(standing, source, now_us)
        try:
            async with asyncio.timeout(_STEP_S):
                await self._turn(standing, source, run)
        except ProviderFailure as failure:
            await self._failed(standing, run, failure)
        except TimeoutError:
            late = f"a page and what is missing of it took more than {_STEP_S:g} s"
            await self._failed(standing, run, ProviderFailure("unreachable", late))

    async def _turn(self, standing: Standing, source: Source, run: Run) -> None:
        ready, asked_of = self._ready(source), await self._list(standing)
        listing = asked_of.listing
        if listing.start is not None and not run.cursor:
            await self._go_from(standing, run, await self._begin(asked_of))
            return
        page = await self._page(asked_of, source, run)
        if isinstance(page, _Lost):
            await self._lost(standing, run, page.position)
            return
        skipped, missing = await self._missing(ready, listing, page, renew=not listing.position)
        looked_at, added, asked = len(page.items) + page.unreadable, 0, 0
        seen = standing.progress.seen if standing.progress.run is not None else b""
        if asked_of.settings.missing == "redeliver":
            known = seen_before(seen)
            wanted = [m for m in missing if digest(m.key.hex()) not in known][: max(_MAX_ASKED - run.asked, 0)]
            asked = await self._ask_again(asked_of, wanted)
            skipped += len(wanted) - asked
            seen += b"".join(digest(m.key.hex()) for m in wanted)
        else:
            added, unfit = await self._add(ready, asked_of, missing, patient=standing.progress.failures < _PATIENCE)
            skipped += unfit
        run = replace(
            run,
            pages=run.pages + 1,
            looked_at=run.looked_at + looked_at,
            missing=run.missing + len(missing),
            added=run.added + added,
            asked=run.asked + asked,
            skipped=run.skipped + skipped,
        )
        counts = {"looked_at": looked_at, "missing": len(missing), "added": added, "asked": asked, "skipped": skipped}
        self._count(counts)
        note({f"ringback.reconciliation.{name}": count for name, count in counts.items()})
        found = standing.progress.found + len(missing)
        progress = replace(standing.progress, failures=0, cause="", detail="", failed_at=None, found=found)
        if listing.position:
            # Of what is too young a call may be on its way: its page is read again.
            after = run.cursor if page.too_young else page.position if page.cursor is None else page.cursor
            page, progress = replace(page, cursor=None if page.too_young else page.cursor), replace(progress, position=after, anew=run.anew)
        await self._go_on(standing, progress, run, page, seen)

    async def _begin(self, asked_of: _List) -> str:
        """The position from which on changes are read. Raises ProviderFailure."""
        settings, listing = asked_of.settings, asked_of.listing
        assert listing.start is not None
        body = (await self._api.ask(start_request(settings, listing, listing.start, asked_of.token))).body
        try:
            position = position_in(settings, listing, body)
        except Unreadable as error:
            raise ProviderFailure("unreadable", str(error)) from None
        if not position:
            raise ProviderFailure("unreadable", f"the answer has nothing at {listing.position!r} to begin from")
        return position

    async def _lost(self, standing: Standing, run: Run, position: str) -> None:
        """Go on from another position than the one that the provider knows no more, if there was one."""
        former = standing.progress
        now_us = self._clock.now_us()
        # A time ahead was told by a clock that was set back since.
        if former.lost_at is not None and run.began_at <= former.lost_at <= now_us:
            raise ProviderFailure("cursor", "the provider's API knows no position that it gave; the run begins anew", again=True)
        if former.position or run.cursor:
            log(POSITION_LOST, source_id=standing.source_id)
            standing = replace(standing, progress=replace(former, position="", lost_at=now_us))
        elif not position:
            raise ProviderFailure("cursor", "the provider's API gives no position to begin from")
        await self._go_from(standing, run, position)

    async def _go_from(self, standing: Standing, run: Run, position: str) -> None:
        """Read the list from that position on ("" = from where it begins), in this run; what failed is well when a page was read."""
        run = replace(run, cursor=position, pages=run.pages + 1, anew=not position)
        await self._move(standing, replace(standing.progress, run=run, position=position, anew=run.anew, seen=b""), 0)

    async def _go_on(self, standing: Standing, progress: Progress, run: Run, page: PageRead, seen: bytes) -> None:
        """Move to the next page, or end the run."""
        cursor = page.cursor
        if cursor is not None and was_seen(seen, cursor):
            raise ProviderFailure("unreadable", "the provider's pages go round in a circle; the run begins anew", again=True)
        if cursor is not None and run.pages < MAX_PAGES:
            progress = replace(progress, run=replace(run, cursor=cursor), seen=seen + digest(cursor))
            await self._move(standing, progress, 0)
            return
        cut = "" if cursor is None else f"it was cut after {MAX_PAGES} pages"
        run = replace(run, cursor="", ended_at=self._clock.now_us(), cut=cut)
        former = covered_until(progress, run.ended_at or 0)
        covered = former if cut else max(run.until, former)
        progress = replace(progress, run=None, last=run, covered_until=covered, whole=bool(cut), anew=bool(cut) and run.anew, seen=b"")
        interval_s = standing.settings.interval_s
        wait_s = min(interval_s, _CUT_S) if cut and progress.position else interval_s
        # What changed while it ran may stand where it had been already.
        if await self._move(standing, progress, wait_s, run.began_at):
            self._ended("cut" if cut else "completed")
            if run.missing and not _listing(standing.settings).thin:
                log(SOURCE_RECONCILED, source_id=standing.source_id, looked_at=run.looked_at, missing=run.missing, added=run.added)

    async def look(self, standing: Standing, source: Source) -> Found:
        """What a whole run would find, as far as one call goes; nothing is changed. Raises ProviderFailure, and Unavailable."""
        async with self._looks:
            return await self._look(standing, source)

    async def _look(self, standing: Standing, source: Source) -> Found:
        ready, asked_of = self._ready(source), await self._list(standing)
        fresh = Progress(whole=True, position=standing.progress.position, anew=standing.progress.anew)
        run = begun(replace(standing, progress=fresh), source, self._clock.now_us())
        if asked_of.listing.start is not None and not run.cursor:
            # It begins at the end of the list.
            return Found(0, 0, [], True)
        end_s = self._clock.monotonic_s() + _LOOK_S
        keys, names, seen = set[bytes](), list[str](), b""
        looked_at = 0
        for _ in range(_LOOK_PAGES):
            page = await self._page(asked_of, source, run)
            if isinstance(page, _Lost):
                return Found(looked_at, len(keys), names, not run.cursor)
            _, missing = await self._missing(ready, asked_of.listing, page, renew=False)
            looked_at += len(page.items) + page.unreadable
            for found in missing:
                if found.key not in keys and len(names) < _NAMED:
                    names.append(_name(found.event))
                keys.add(found.key)
            if page.cursor is None:
                return Found(looked_at, len(keys), names, True)
            if was_seen(seen, page.cursor):
                raise ProviderFailure("unreadable", "the provider's pages go round in a circle")
            if self._clock.monotonic_s() >= end_s:
                break
            seen += digest(page.cursor)
            run = replace(run, cursor=page.cursor)
        return Found(looked_at, len(keys), names, False)

    async def give_up(self, source_id: str, detail: str) -> None:
        """A step ran into a defect of ours: let it rest. Raises Unavailable."""
        standing = await self._store.read(lambda tx: reconciliations.get(tx, self._vault, source_id))
        if standing is not None:
            await self._failed(standing, standing.progress.run, ProviderFailure("internal", detail, again=True))

    def _ready(self, source: Source) -> Ready:
        try:
            return Ready(source, self._clock.now_us())
        except ValueError as error:
            raise ProviderFailure("source", f"the source itself cannot verify anything: {error}") from None

    async def _list(self, standing: Standing) -> _List:
        """With what the list of a source is asked for. Raises ProviderFailure."""
        listing = _listing(standing.settings)
        settings, token = await self._tokens.token(standing.source_id, standing.settings, listing)
        return _List(settings, listing, token)

    async def _page(self, asked_of: _List, source: Source, run: Run) -> PageRead | _Lost:
        settings, listing = asked_of.settings, asked_of.listing
        window = window_of(listing, run, source.rules.event_types or ())
        request = page_request(settings, listing, window, run.cursor, asked_of.token)
        answered = await self._api.ask(request, paged=bool(run.cursor) and not listing.position, also=listing.lost)
        try:
            if answered.status in listing.lost:
                return _Lost(position_in(settings, listing, answered.body))
            if len(answered.body) > _ASIDE_BYTES:
                # One at a time: what is read takes many times its size for a moment.
                async with self._reading:
                    return await asyncio.to_thread(read_page, settings, listing, window, answered.head, answered.body, run.cursor)
            return read_page(settings, listing, window, answered.head, answered.body, run.cursor)
        except Unreadable as error:
            raise ProviderFailure("unreadable", str(error), again=bool(run.cursor)) from None

    async def _missing(self, ready: Ready, listing: Listing, page: PageRead, *, renew: bool) -> tuple[int, list[Missing]]:
        """How many items of a page cannot be compared, and which ones did not come.

        `renew`: those that came, and say no time, are remembered for longer, as they may be listed for ever.
        """
        wanted, skipped = dict[bytes, Missing](), page.unreadable
        for number, item in enumerate(page.items):
            change = Listed(item.id, listing.event_type or f"{ready.source.type}.change") if listing.thin else None
            event = await self._event(ready, item, _EMPTY if item.payload is None else item.payload, change)
            if isinstance(event, NewMessage) and event.event is not None:
                wanted.setdefault(event.event.key, Missing(item, event, event.event.key))
            elif event is not None:
                skipped += 1
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        now_us, source_id = self._clock.now_us(), ready.source.id
        came = await self._store.read(lambda tx: deduplication.known(tx, source_id, list(wanted), now_us))
        window_us = ready.source.rules.deduplication.window_s * SECOND_US
        # In the second half of its time: not with each run.
        ending = [key for key, until in came.items() if renew and until < now_us + window_us // 2 and wanted[key].item.at is None]
        if ending:
            await self._store.write(lambda tx: deduplication.renew(tx, source_id, ending, now_us, now_us + window_us))
        return skipped, [found for key, found in wanted.items() if key not in came]

    async def _event(self, ready: Ready, item: Item, payload: bytes, change: Listed | None = None) -> NewMessage | Refusal | None:
        """What would be stored of an item; None where the source does not want it, a refusal where it cannot be read."""
        if len(payload) > ready.source.rules.max_body_bytes:
            return Refusal("too_large", "the event is larger than the source takes")
        request, now_us = InboundRequest(Headers(item.headers, lowered=True), payload, b"POST", b""), self._clock.now_us()
        # As at the door: reading a large one may take a tenth of a second.
        aside = len(payload) > _ASIDE_BYTES
        judge = partial(reconciled, ready, request, now_us, change)
        decision = await asyncio.to_thread(judge) if aside else judge()
        if isinstance(decision, Taken):
            return decision.events[0] if len(decision.events) == 1 else Refusal("unreadable", "several events in one")
        return decision if isinstance(decision, Refusal) else None

    async def _add(self, ready: Ready, asked_of: _List, missing: list[Missing], *, patient: bool) -> tuple[int, int]:
        """Have what is missing stored: how many are new, and how many cannot be; `patient`: what cannot be compared now is tried again."""
        added, unfit, whole = 0, 0, list[NewMessage]()
        for found in missing:
            event: NewMessage | Refusal | None = found.event
            if found.item.payload is None:
                payload = await self._detail(asked_of, found.item)
                event = None if payload is None else await self._event(ready, found.item, payload)
            fitting = await self._fitting(ready, event, patient) if isinstance(event, NewMessage) else None
            if fitting is None:
                unfit += 1
            else:
                whole.append(fitting)
            if len(whole) == _SLICE or found.item.payload is None:
                added += await self._kept(ready, whole)
                whole.clear()
        return added + await self._kept(ready, whole), unfit

    async def _fitting(self, ready: Ready, event: NewMessage, patient: bool) -> NewMessage | None:
        try:
            return await self._receiver.fitting(ready, event)
        except Unavailable as unknown:
            if patient:
                raise ProviderFailure("source", f"an event was not compared with the schema of the source: {unknown}") from None
            return None

    async def _kept(self, ready: Ready, events: list[NewMessage]) -> int:
        """Have events stored; how many are new. Raises Unavailable, and NotFound when the source was deleted meanwhile."""
        if not events:
            return 0
        if await self._store.read(lambda tx: sources.by_id(tx, self._vault, ready.source.id)) is None:
            raise NotFound
        return len(await self._receiver.add(ready, events))

    async def _detail(self, asked_of: _List, item: Item) -> bytes | None:
        """The payload of an event; None where this one cannot be had."""
        settings, listing = asked_of.settings, asked_of.listing
        try:
            answered = await self._api.ask(item_request(settings, listing, listing.detail, item.id, asked_of.token))
            return payload_of(listing, answered.body)
        except Unreadable:
            return None
        except ProviderFailure as failure:
            if failure.cause not in _OF_ONE:
                raise
            return None

    async def _ask_again(self, asked_of: _List, wanted: list[Missing]) -> int:
        """Ask the provider to send these again; how many it will."""
        asked, settings, listing = 0, asked_of.settings, asked_of.listing
        for found in wanted:
            try:
                await self._api.ask(item_request(settings, listing, listing.redeliver, found.item.id, asked_of.token, "POST"))
                asked += 1
            except ProviderFailure as failure:
                if failure.cause not in _OF_ONE:
                    raise
        return asked

    async def _failed(self, standing: Standing, run: Run | None, failure: ProviderFailure) -> None:
        progress = standing.progress
        failures = progress.failures + 1
        if failure.cause == "credential":
            self._tokens.forget(standing.source_id)
        if failures == 1:
            log(RECONCILIATION_FAILED, source_id=standing.source_id, cause=failure.cause, detail=str(failure))
        self._ended("failed")
        progress = replace(
            progress,
            run=None if failure.again else run,
            failures=failures,
            cause=failure.cause,
            detail=str(failure),
            failed_at=self._clock.now_us(),
            seen=b"" if failure.again or progress.run is None else progress.seen,
        )
        await self._move(standing, progress, rest_s(failures, failure.retry_after_s))

    async def _move(self, standing: Standing, progress: Progress, wait_s: float, ran_since: int | None = None) -> bool:
        """Keep how far it has got. A run that ends and began at `ran_since` is followed by another soon if the source was called since."""
        now_us = self._clock.now_us()
        next_at = now_us + int(wait_s * SECOND_US)

        def operation(tx: Transaction) -> bool:
            # With a clock that was set back since, any call may have come while it ran.
            again = ran_since is not None and reconciliations.take_call(tx, standing.source_id, ran_since if ran_since <= now_us else 1)
            return reconciliations.move(tx, standing, progress, min(next_at, now_us + SOON_US) if again else next_at)

        return await self._store.write(operation)

    async def _keep_credential(self, source_id: str, settings: Reconciliation, credential: str) -> None:
        await self._store.write(lambda tx: reconciliations.give_credential(tx, self._vault, source_id, settings, credential))

    def _count(self, counts: dict[str, int]) -> None:
        metrics = self._metrics
        metrics.reconciliation_events = {name: known + counts[name] for name, known in metrics.reconciliation_events.items()}

    def _ended(self, outcome: str) -> None:
        metrics = self._metrics
        metrics.reconciliation_runs = {**metrics.reconciliation_runs, outcome: metrics.reconciliation_runs[outcome] + 1}


def _listing(settings: Reconciliation) -> Listing:
    listing = listing_of(settings.listing)
    if listing is None:
        raise ProviderFailure("settings", f"there is no listing {settings.listing!r} any more")
    return listing


def _name(event: NewMessage) -> str:
    identity = None if event.origin is None else event.origin.event_id
    return (identity or "").replace("\0", " + ")
