"""Which calls never came? A step reads one page of what the provider says it sent, compares it with what came, and adds what is missing.

A step is all or nothing for the cursor: events are durable before it moves. Whatever ends a step in between, the same page is read again,
and what was added by then has come: each event is claimed under the key that a call of the provider has.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from msgspec.structs import replace

from ringback.clock import SECOND_US, Clock
from ringback.errors import NotFound
from ringback.model.reconciliation import Listing, Progress, Reconciliation, Run, Standing
from ringback.model.sources import Source
from ringback.policy.reconciliation import (
    MAX_INTERVAL_S,
    MAX_PAGES,
    MAX_RETRY_AFTER_S,
    Item,
    PageRead,
    Unreadable,
    Window,
    digest,
    item_target,
    page_target,
    payload_of,
    read_page,
    rest_s,
    seen_before,
    was_seen,
)
from ringback.policy.reconciliation_rows import listing_of
from ringback.services.gateway import Ready
from ringback.services.intake import NewMessage
from ringback.services.judging import Refusal, Taken, reconciled
from ringback.services.provider_api import ProviderApi, ProviderFailure
from ringback.services.provider_steps import Steps
from ringback.services.receiving import Receiver
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from ringback.store.base import Store
from ringback.store.operations import deduplication, reconciliations, sources
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.active import note
from ringback.telemetry.events import RECONCILIATION_FAILED, SOURCE_RECONCILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# An event counts as come for so long less than it is remembered: what is on its way to be forgotten is not compared any more.
_MARGIN_S: Final = 3_600
# A run begins so much before the end of the last one: providers list late what happened at the same time.
_OVERLAP_US: Final = 3_600 * SECOND_US
# Events stored together: others have their turn in between.
_SLICE: Final = 50
# Larger answers are read on a thread: some milliseconds.
_ASIDE_BYTES: Final = 65_536
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
# Causes that are of one event alone: the others are not kept waiting for it.
_OF_ONE: Final = ("refused", "too_large")
# The payload of an event whose own is not fetched yet.
_EMPTY: Final = b"{}"


class Missing(msgspec.Struct, frozen=True):
    """An event that did not come: its place in the provider's list, and what would be stored of it."""

    item: Item
    event: NewMessage
    key: bytes


class Found(msgspec.Struct, frozen=True):
    """What a look at the provider's list has found; `whole` says that it came to the end."""

    looked_at: int
    missing: int
    names: list[str]
    whole: bool


class Reconciler:
    """Compares sources with their providers, a page at a time. Belongs to one event loop."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, receiver: Receiver, api: ProviderApi, metrics: Metrics) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._receiver = receiver
        self._api = api
        self._metrics = metrics
        self._reading = asyncio.Lock()
        self._looks = asyncio.Semaphore(_LOOKS)
        self._steps = Steps(store, clock, "reconciliation", _LONGEST_WAIT_US)

    async def due(self, limit: int) -> tuple[list[str], int | None]:
        """The sources whose next step is due, and when the next one after those is. Raises StoreFailure."""
        due, next_at, overall = await self._steps.due(limit, reconciliations.overall)
        self._metrics.reconciled_until_us = overall.covered_until
        self._metrics.reconciliations_failing = overall.failing
        return due, next_at

    async def step(self, source_id: str) -> None:
        """Do the next step of a source's reconciliation, if there is one to do. Raises Unavailable when it could not be kept."""
        standing, source = await self._store.read(
            lambda tx: (reconciliations.get(tx, self._vault, source_id), sources.by_id(tx, self._vault, source_id))
        )
        if standing is None or standing.next_at is None:
            return
        if source is None:
            await self._store.write(lambda tx: reconciliations.delete(tx, source_id))
            return
        if source.disabled:
            await self._move(standing, standing.progress, standing.settings.interval_s)
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
            await self._failed(
                standing, run, ProviderFailure("unreachable", f"a page and what is missing of it took more than {_STEP_S:g} s")
            )

    async def _turn(self, standing: Standing, source: Source, run: Run) -> None:
        settings, listing = standing.settings, _listing(standing.settings)
        ready = self._ready(source)
        page = await self._page(settings, listing, source, run)
        skipped, missing = await self._missing(ready, page, renew=True)
        looked_at, added, asked = len(page.items) + page.unreadable, 0, 0
        seen = standing.progress.seen if standing.progress.run is not None else b""
        if settings.missing == "redeliver":
            known = seen_before(seen)
            wanted = [m for m in missing if digest(m.key.hex()) not in known][: max(_MAX_ASKED - run.asked, 0)]
            asked = await self._ask_again(settings, listing, wanted)
            skipped += len(wanted) - asked
            seen += b"".join(digest(m.key.hex()) for m in wanted)
        else:
            added, unfit = await self._add(ready, settings, listing, missing)
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
        progress = replace(standing.progress, failures=0, cause="", detail="", failed_at=None, found=standing.progress.found + len(missing))
        await self._go_on(standing, progress, run, page, seen)

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
        former = _covered(progress, run.ended_at or 0)
        covered = former if cut else max(run.until, former)
        progress = replace(progress, run=None, last=run, covered_until=covered, whole=bool(cut), seen=b"")
        if await self._move(standing, progress, standing.settings.interval_s):
            self._ended("cut" if cut else "completed")
            if run.missing:
                log(SOURCE_RECONCILED, source_id=standing.source_id, looked_at=run.looked_at, missing=run.missing, added=run.added)

    async def look(self, standing: Standing, source: Source) -> Found:
        """What a whole run would find, as far as one call goes; nothing is changed. Raises ProviderFailure, and Unavailable."""
        async with self._looks:
            return await self._look(standing, source)

    async def _look(self, standing: Standing, source: Source) -> Found:
        settings, listing = standing.settings, _listing(standing.settings)
        ready = self._ready(source)
        run = begun(replace(standing, progress=Progress(whole=True)), source, self._clock.now_us())
        end_s = self._clock.monotonic_s() + _LOOK_S
        keys, names, seen = set[bytes](), list[str](), b""
        looked_at = 0
        for _ in range(_LOOK_PAGES):
            page = await self._page(settings, listing, source, run)
            _, missing = await self._missing(ready, page, renew=False)
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

    async def _page(self, settings: Reconciliation, listing: Listing, source: Source, run: Run) -> PageRead:
        window = Window(run.since, run.until, source.rules.event_types or ())
        target = page_target(settings, listing, window, run.cursor)
        answered = await self._api.ask(settings, listing, "GET", target, paged=bool(run.cursor))
        try:
            if len(answered.body) > _ASIDE_BYTES:
                # One at a time: what is read takes many times its size for a moment.
                async with self._reading:
                    return await asyncio.to_thread(read_page, settings, listing, window, answered.head, answered.body, run.cursor)
            return read_page(settings, listing, window, answered.head, answered.body, run.cursor)
        except Unreadable as error:
            raise ProviderFailure("unreadable", str(error), again=bool(run.cursor)) from None

    async def _missing(self, ready: Ready, page: PageRead, *, renew: bool) -> tuple[int, list[Missing]]:
        """How many items of a page cannot be compared, and which ones did not come.

        `renew`: those that came, and say no time, are remembered for longer, as they may be listed for ever.
        """
        wanted, skipped = dict[bytes, Missing](), page.unreadable
        for number, item in enumerate(page.items):
            event = await self._event(ready, item, _EMPTY if item.payload is None else item.payload)
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

    async def _event(self, ready: Ready, item: Item, payload: bytes) -> NewMessage | Refusal | None:
        """What would be stored of an item; None where the source does not want it, a refusal where it cannot be read."""
        if len(payload) > ready.source.rules.max_body_bytes:
            return Refusal("too_large", "the event is larger than the source takes")
        request, now_us = InboundRequest(Headers(item.headers, lowered=True), payload, b"POST", b""), self._clock.now_us()
        # As at the door: reading a large one may take a tenth of a second.
        aside = len(payload) > _ASIDE_BYTES
        decision = await asyncio.to_thread(reconciled, ready, request, now_us) if aside else reconciled(ready, request, now_us)
        if isinstance(decision, Taken):
            return decision.events[0] if len(decision.events) == 1 else Refusal("unreadable", "several events in one")
        return decision if isinstance(decision, Refusal) else None

    async def _add(self, ready: Ready, settings: Reconciliation, listing: Listing, missing: list[Missing]) -> tuple[int, int]:
        """Have what is missing stored: how many are new, and how many cannot be taken in."""
        added, unfit, whole = 0, 0, list[NewMessage]()
        for found in missing:
            event: NewMessage | Refusal | None = found.event
            if found.item.payload is None:
                payload = await self._detail(settings, listing, found.item)
                event = None if payload is None else await self._event(ready, found.item, payload)
            fitting = await self._receiver.fitting(ready, event) if isinstance(event, NewMessage) else None
            if fitting is None:
                unfit += 1
            else:
                whole.append(fitting)
            if len(whole) == _SLICE or found.item.payload is None:
                added += await self._kept(ready, whole)
                whole.clear()
        return added + await self._kept(ready, whole), unfit

    async def _kept(self, ready: Ready, events: list[NewMessage]) -> int:
        """Have events stored; how many are new. Raises Unavailable, and NotFound when the source was deleted meanwhile."""
        if not events:
            return 0
        if await self._store.read(lambda tx: sources.by_id(tx, self._vault, ready.source.id)) is None:
            raise NotFound
        return len(await self._receiver.add(ready, events))

    async def _detail(self, settings: Reconciliation, listing: Listing, item: Item) -> bytes | None:
        """The payload of an event; None where this one cannot be had."""
        try:
            answered = await self._api.ask(settings, listing, "GET", item_target(settings, listing, listing.detail, item.id))
            return payload_of(listing, answered.body)
        except Unreadable:
            return None
        except ProviderFailure as failure:
            if failure.cause not in _OF_ONE:
                raise
            return None

    async def _ask_again(self, settings: Reconciliation, listing: Listing, wanted: list[Missing]) -> int:
        """Ask the provider to send these again; how many it will."""
        asked = 0
        for found in wanted:
            try:
                await self._api.ask(settings, listing, "POST", item_target(settings, listing, listing.redeliver, found.item.id))
                asked += 1
            except ProviderFailure as failure:
                if failure.cause not in _OF_ONE:
                    raise
        return asked

    async def _failed(self, standing: Standing, run: Run | None, failure: ProviderFailure) -> None:
        progress = standing.progress
        failures = progress.failures + 1
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

    async def _move(self, standing: Standing, progress: Progress, wait_s: float) -> bool:
        next_at = self._clock.now_us() + int(wait_s * SECOND_US)
        return await self._store.write(lambda tx: reconciliations.move(tx, standing, progress, next_at))

    def _count(self, counts: dict[str, int]) -> None:
        metrics = self._metrics
        metrics.reconciliation_events = {name: known + counts[name] for name, known in metrics.reconciliation_events.items()}

    def _ended(self, outcome: str) -> None:
        metrics = self._metrics
        metrics.reconciliation_runs = {**metrics.reconciliation_runs, outcome: metrics.reconciliation_runs[outcome] + 1}


def begun(standing: Standing, source: Source, now_us: int) -> Run:
    """A run that begins now: from where the last one ended, or as far back as it may look."""
    settings, progress = standing.settings, standing.progress
    back_s = min(settings.lookback_s, source.rules.deduplication.window_s - _MARGIN_S)
    since = now_us - back_s * SECOND_US
    covered = _covered(progress, now_us)
    if covered and not progress.whole and settings.missing == "take":
        since = max(since, covered - _OVERLAP_US)
    return Run(began_at=now_us, since=since, until=max(now_us - settings.settle_s * SECOND_US, since))


def _covered(progress: Progress, now_us: int) -> int:
    """What was compared up to; 0 where that lies ahead: a clock that was set back since has said so, and nobody knows what it left out."""
    return progress.covered_until if progress.covered_until <= now_us else 0


def _listing(settings: Reconciliation) -> Listing:
    listing = listing_of(settings.listing)
    if listing is None:
        raise ProviderFailure("settings", f"there is no listing {settings.listing!r} any more")
    return listing


def _name(event: NewMessage) -> str:
    identity = None if event.origin is None else event.origin.event_id
    return (identity or "").replace("\0", " + ")
