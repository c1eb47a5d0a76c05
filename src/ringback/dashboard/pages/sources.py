"""Who sends to us? Sources: their list, one of them with its URL, its last day and its provider's ways, and what it took in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.charts import Strip, StripWords, strip
from ringback.dashboard.components import (
    BASE,
    Action,
    Badge,
    Choice,
    Empty,
    Fact,
    Head,
    Link,
    Pager,
    address,
    choices,
    pager,
    walk_of,
)
from ringback.dashboard.desk import Services
from ringback.dashboard.health import Figure
from ringback.dashboard.providers import Guide, guide_of, name_of_type
from ringback.dashboard.source_arrivals import ArrivalRow, arrival_row
from ringback.dashboard.source_gaps import GapsView, gap_warnings, gaps_of
from ringback.dashboard.source_subscriptions import SubscriptionView, subscription_of, subscription_warnings
from ringback.dashboard.source_words import (
    Warning,
    badge_of,
    flag_words,
    reason_words,
    secrets_sentence,
    sentence_of,
    warnings_of,
)
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, count, counted, duration, moment, percent, relative, size, utc
from ringback.model.arrivals import SIGNAL
from ringback.model.messages import Received
from ringback.model.reconciliation import RECONCILED
from ringback.model.sources import CONFLICT, OLD_SECRET, RELEASED, SCHEMA, SPOOLED, UNVERIFIED, UNVERSIONED, Source
from ringback.policy.cron import parse
from ringback.policy.paging import Walk
from ringback.services.address_lists import Read
from ringback.services.source_views import Heap, Seen
from ringback.services.sources import PREFIX

_SECTION: Final = "sources"
# Seconds between two looks of a page that is looked at: counts are written down every five.
_REFRESH_S: Final = 10
_CAME: Final = StripWords("request", "believed", "nothing came", "Nothing came in the last 24 hours")
# What schedules are counted in.
_MINUTE_US: Final = 60 * SECOND_US
# Events on the source's own page; all of them have a page of their own.
_RECENT: Final = 10
# Entries of its journal there.
_NOTED: Final = 5
# Awaited events there.
_AWAITED: Final = 5
_FLAGS: Final = (
    ("", "any event"),
    (UNVERIFIED, "not verified"),
    (OLD_SECRET, "signed with an old secret"),
    (CONFLICT, "same id, another body"),
    (SCHEMA, "does not fit the schema"),
    (RELEASED, "released from quarantine"),
    (SPOOLED, "waited in the spool"),
    (UNVERSIONED, "no version to compare"),
    (RECONCILED, "found at the provider"),
    ("would_refuse", "would be refused"),
)


_NOT_HEARD: Final = Empty("No event yet", "Paste the URL at the provider and send a test event from there: it is here at once.")
_NOT_DUE: Final = Empty("No event yet", "It was not due since it was made.")


class SourceRow(msgspec.Struct, frozen=True):
    """One line of the list."""

    id: str
    href: str
    name: str
    provider: str
    app: str
    badge: Badge
    accepted: str
    duplicates: str
    rejected: str
    heard: Moment | None


class ListView(msgspec.Struct, frozen=True):
    """A page of the list."""

    here: str
    address: str
    refresh_s: int
    q: str
    rows: Sequence[SourceRow]
    pager: Pager
    empty: Empty


class EventRow(msgspec.Struct, frozen=True):
    """One event that a source took in."""

    href: str
    event_type: str
    original: str
    event_id: str
    flags: Sequence[str]
    size: str
    at: Moment


class HeapRow(msgspec.Struct, frozen=True):
    """How many requests were refused for one reason."""

    href: str
    words: str
    requests: str


class OldUrl(msgspec.Struct, frozen=True):
    """A former URL that still works."""

    created: Moment
    ends: str


class SourceView(msgspec.Struct, frozen=True):
    """One source."""

    href: str
    refresh_s: int
    warnings: Sequence[Warning]
    url: str
    route_url: str
    schedule: Sequence[Fact]
    payload: str
    old_urls: Sequence[OldUrl]
    strip: Strip
    figures: Sequence[Figure]
    events: Sequence[EventRow]
    empty: Empty
    arrivals: Sequence[ArrivalRow]
    heaps: Sequence[HeapRow]
    refusals: Sequence[Fact]
    secrets: str
    has_secrets: bool
    guide: Guide | None
    facts: Sequence[Fact]
    limits: Sequence[Fact]
    metadata: Sequence[Fact]
    gaps: GapsView
    subscription: SubscriptionView | None


class EventsView(msgspec.Struct, frozen=True):
    """What a source took in, the newest first."""

    here: str
    rows: Sequence[EventRow]
    pager: Pager
    empty: Empty
    flags: Sequence[Choice]


def href_of(source: Source) -> str:
    """The page of a source."""
    return f"{BASE}/sources/{source.id}"


def refs_of(source: Source) -> tuple[str | None, str]:
    """How the services call a source: its application, None for an ingest source, and its id."""
    return (None if source.ingest else source.app_id), source.id


def row_of(seen: Seen, apps: Mapping[str, str], now_us: int) -> SourceRow:
    """A source as a line."""
    source, day, last = seen.source, seen.day, seen.activity.last_at
    return SourceRow(
        source.id,
        href_of(source),
        source.name,
        name_of_type(source.type),
        "" if source.ingest else apps.get(source.app_id, source.app_id),
        badge_of(seen),
        count(day.accepted),
        count(day.duplicates) if day.duplicates else "",
        count(day.rejected) if day.rejected else "",
        None if last is None else moment(last, now_us),
    )


def event_row(source: Source, event: Received, now_us: int) -> EventRow:
    """An event as a line."""
    origin = event.origin
    return EventRow(
        f"{BASE}/apps/{source.app_id}/messages/{event.id}",
        event.event_type,
        origin.event_type if origin.event_type not in (None, event.event_type) else "",
        origin.event_id or "",
        [*(flag_words(flag) for flag in origin.flags), *([f"delivery counter {origin.redelivery}"] if origin.redelivery else [])],
        "gone" if event.size_bytes is None else size(event.size_bytes),
        moment(event.created_at, now_us),
    )


def figures_of(seen: Seen, now_us: int) -> list[Figure]:
    """What came from a source in its last day."""
    day, activity = seen.day, seen.activity
    whole = day.accepted + day.duplicates + day.rejected
    last = "never" if activity.last_at is None else relative(activity.last_at, now_us)
    habit = "" if activity.gap_us is None else f"its longest usual gap is {duration(max(activity.gap_us / SECOND_US, 1), parts=1)}"
    return [
        Figure("Events", count(day.accepted), f"{count(activity.accepted)} ever" if activity.accepted else "in the last 24 hours"),
        Figure("Duplicates", count(day.duplicates), "delivered once all the same"),
        *([Figure("Superseded", count(day.superseded), "older than what had come")] if seen.source.rules.ordering_version_at else []),
        Figure("Refused", count(day.rejected), f"{percent(day.rejected, whole)} of what came" if whole else "nothing came"),
        Figure("Last heard", last, habit),
    ]


def facts_of(source: Source, app: str, now_us: int) -> list[Fact]:
    """What is known of a source."""
    verification = source.verification
    scheme = verification.scheme
    verified = {"signature": "by signature", "observe": "observed only", "none": "not at all"}[verification.verify]
    return [
        Fact("Provider", name_of_type(source.type)),
        *([Fact("Scheme", scheme if isinstance(scheme, str) else "your own", mono=True)] if scheme is not None else []),
        *([Fact("Verified", verified)] if source.cron is None else []),
        Fact("Delivers to", "endpoints of its own" if source.ingest else app, href=f"{BASE}/apps/{source.app_id}/endpoints"),
        Fact("Id", source.id, copy=True, mono=True),
        *([Fact("Uid", source.uid, copy=True, mono=True)] if source.uid else []),
        *([Fact("Public URL", verification.url, mono=True)] if verification.url else []),
        Fact("Created", "", moment=moment(source.created_at, now_us)),
        Fact("Changed", "", moment=moment(source.updated_at, now_us)),
    ]


def schedule_of(source: Source, now_us: int) -> list[Fact]:
    """When a source sends by itself; nothing of one that is called."""
    cron = source.cron
    if cron is None:
        return []
    following = None if source.disabled else parse(cron.schedule).after(now_us // _MINUTE_US)
    return [
        Fact("Due", f"{cron.schedule} (UTC)", mono=True),
        *([Fact("Next", "", moment=moment(following * _MINUTE_US, now_us))] if following is not None else []),
        Fact("Content type", cron.content_type, mono=True),
    ]


def limits_of(source: Source, shared_rate: int | None) -> list[Fact]:
    """What a source takes, and what it does with it."""
    rules = source.rules
    tolerance = source.verification.tolerance_s
    deduplication = rules.deduplication
    by = "the provider's event id" if deduplication.by is None else ", ".join(deduplication.by) or "nothing: each is kept"
    facts = [
        Fact("Methods", ", ".join(rules.methods)),
        Fact("Largest body", size(rules.max_body_bytes)),
        Fact("Rate", "unlimited" if rules.rate is None else f"{count(rules.rate)} a second"),
        *([Fact("Rate of all sources", f"{count(shared_rate)} a second, together")] if shared_rate is not None else []),
        Fact("Duplicates by", by),
        Fact("Remembered for", duration(deduplication.window_s)),
        *([Fact("Counts deliveries at", ", ".join(rules.redelivery_at), mono=True)] if rules.redelivery_at else []),
        *([Fact("In order by", ", ".join(rules.ordering_key_at), mono=True)] if rules.ordering_key_at else []),
        *([Fact("Drops what is older by", ", ".join(rules.ordering_version_at), mono=True)] if rules.ordering_version_at else []),
        *([Fact("Tolerance", duration(tolerance))] if tolerance is not None else []),
        *([Fact("Addresses", ", ".join(rules.allowed_ips))] if rules.allowed_ips else []),
        *([Fact("Event types", ", ".join(rules.event_types))] if rules.event_types is not None else []),
        *([Fact("Required headers", ", ".join(rules.required_headers))] if rules.required_headers else []),
        *([Fact("Schema", f"compared, {rules.schema_mode}")] if rules.schema is not None else []),
        *([Fact("Answer", f"{rules.answer.status} {rules.answer.content_type}")] if rules.answer is not None else []),
        *([Fact("Answers for", f"{rules.processed_by}, within {rules.deadline_s:g} s")] if rules.processed_by else []),
        *([Fact("Silent after", duration(rules.silence_s))] if rules.silence_s is not None else []),
        *([Fact("Payloads are kept for", duration(rules.retention_s))] if rules.retention_s is not None else []),
        *([Fact("Shown to nobody", ", ".join(rules.sensitive_fields), mono=True)] if rules.sensitive_fields else []),
    ]
    return facts


def list_facts(lists: Sequence[Read]) -> list[Fact]:
    """How the lists of addresses stand that a source follows."""

    def words(read: Read) -> str:
        if read.networks is None or read.age_s is None:
            return f"{read.url}: not read yet"
        return f"{read.url}: {counted(read.networks, 'network')}, read {duration(max(read.age_s, 1), parts=1)} ago"

    return [Fact("Addresses from", words(read), mono=True) for read in lists]


def heap_rows(heaps: Sequence[Heap]) -> list[HeapRow]:
    """What a source has in quarantine, by reason."""
    return [
        HeapRow(address("/quarantine/list", source=heap.source_id, reason=heap.reason), reason_words(heap.reason), count(heap.requests))
        for heap in heaps
    ]


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        q, at = visit.text("q"), visit.text("at")
        walk, _ = walk_of(at, lambda key: key.startswith(PREFIX) and key.isascii())
        page = await self._services.source_views.page(visit.who, walk, q)
        apps = await self._services.naming.applications(visit.who, (seen.source.app_id for seen in page.items))
        rows = [row_of(seen, apps, visit.now_us) for seen in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        new = Action("New source", f"{BASE}/sources/new", "primary", panel=False)
        view = ListView(
            address("/sources"),
            address("/sources", q=q, at=at),
            _REFRESH_S,
            q,
            rows,
            pager(page, first, last, at, "/sources", q=q),
            self._empty(q, new),
        )
        silent = sum(seen.silent_us is not None for seen in page.items)
        refused = sum(seen.day.rejected for seen in page.items)
        parts = [counted(len(rows), "source")]
        parts += [f"{counted(silent, 'is', 'are').split(' ', 1)[0]} silent"] if silent else []
        parts += [f"{counted(refused, 'request')} refused in the last 24 hours"] if refused else []
        sentence = f"{'; '.join(parts)}." if rows and not at and page.done else ""
        return Shown("sources/list.html", view, Head("Sources", sentence, actions=(new,)))

    def _empty(self, q: str, new: Action) -> Empty:
        if q:
            return Empty("No such source", "No source has that in its name, or as its uid.")
        return Empty(
            "No source yet",
            "A source takes in the webhooks of a provider: verified, stored before they are acknowledged, and delivered like any message.",
            f"curl -X POST {self._services.url()}/api/v1/app/APP/source -H 'authorization: Bearer TOKEN' "
            '-d \'{"name": "Payments", "type": "stripe", "secrets": ["whsec_…"]}\'',
            new,
        )

    async def show(self, visit: Visit) -> Reply:
        services, now_us = self._services, visit.now_us
        watched = await services.source_views.watch(visit.who, visit.params["source_id"])
        seen, source = watched.seen, watched.seen.source
        events = await services.received.page(visit.who, *refs_of(source), Walk(_RECENT, descending=True), None)
        noted = await services.arrivals.page(visit.who, *refs_of(source), Walk(_NOTED, descending=True))
        signals = await services.arrivals.page(visit.who, *refs_of(source), Walk(1, descending=True), SIGNAL)
        subscription = await services.subscriptions.find(visit.who, *refs_of(source))
        apps = await services.naming.applications(visit.who, [source.app_id])
        app = apps.get(source.app_id, source.app_id)
        standing = await services.reconciliations.find(visit.who, *refs_of(source))
        missed = await services.expectations.page(visit.who, *refs_of(source), Walk(_AWAITED, descending=True), "missed")
        awaited = await services.expectations.page(visit.who, *refs_of(source), Walk(_AWAITED, descending=True), None)
        here = href_of(source)
        view = SourceView(
            href=here,
            refresh_s=_REFRESH_S,
            warnings=[
                *subscription_warnings(subscription, signals.items, now_us),
                *gap_warnings(standing, missed.items, now_us),
                *warnings_of(watched, now_us),
            ],
            url=services.urls.ingest(source) or "",
            route_url=services.urls.route(source) or "",
            schedule=schedule_of(source, now_us),
            payload="" if source.cron is None else source.cron.payload,
            old_urls=[
                OldUrl(moment(token.created_at, now_us), utc(token.expires_at))
                for token in source.tokens[1:]
                if token.expires_at is not None and token.expires_at > now_us
            ],
            strip=strip(watched.begins_us, [(cell.accepted + cell.duplicates, cell.rejected) for cell in watched.cells], _CAME),
            figures=figures_of(seen, now_us),
            events=[event_row(source, event, now_us) for event in events.items],
            empty=_NOT_DUE if source.cron is not None else _NOT_HEARD,
            arrivals=[arrival_row(source, entry, now_us) for entry in noted.items],
            heaps=heap_rows(watched.heaps),
            refusals=[Fact(reason_words(reason), count(number)) for reason, number in watched.refusals.items()],
            secrets=secrets_sentence(source, now_us),
            has_secrets=source.verification.verify != "none",
            guide=guide_of(source.type),
            facts=facts_of(source, app, now_us),
            limits=[]
            if source.cron is not None
            else [*limits_of(source, watched.shared_rate), *list_facts(services.address_lists.states(source.rules.allowed_ips_from))],
            metadata=[Fact(name, value) for name, value in source.metadata.items()],
            gaps=gaps_of(source, standing, awaited.items, now_us),
            subscription=subscription_of(source, subscription, now_us),
        )
        turn = Action("Enable", f"{here}/enable", post=True) if source.disabled else Action("Disable", f"{here}/disable")
        actions = (Action("Delete", f"{here}/delete", "danger"), turn, Action("Edit", f"{here}/edit", "primary", panel=False))
        head = Head(source.name, sentence_of(seen, now_us), trail_of(), actions, badge_of(seen), answers=True)
        return Shown("sources/show.html", view, head)

    async def events(self, visit: Visit) -> Reply:
        services, at, flag = self._services, visit.text("at"), visit.text("flag")
        flag = flag if flag in dict(_FLAGS) else ""
        source = await services.source_views.named(visit.who, visit.params["source_id"])
        walk, _ = walk_of(at, lambda key: ids.is_id(ids.MESSAGE, key))
        page = await services.received.page(visit.who, *refs_of(source), walk, flag or None)
        rows = [event_row(source, event, visit.now_us) for event in page.items]
        first, last = (page.items[0].id, page.items[-1].id) if rows else (None, None)
        path = f"/sources/{source.id}/events"
        empty = Empty("No such event", "Nothing fits the filter.") if flag else Empty("No event", "Nothing has come from this source yet.")
        view = EventsView(address(path), rows, pager(page, first, last, at, path, flag=flag), empty, choices(_FLAGS, flag))
        head = Head("Events", f"That {source.name} sent, the newest first.", trail_of(source))
        return Shown("sources/events.html", view, head)


def trail_of(source: Source | None = None, *more: Link) -> tuple[Link, ...]:
    """The way to a page about sources, or about one of them."""
    here = (Link("Sources", f"{BASE}/sources"),)
    return here if source is None else (*here, Link(source.name, href_of(source)), *more)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/sources", pages.index, _SECTION),
        Route("GET", "/sources/{source_id}", pages.show, _SECTION),
        Route("GET", "/sources/{source_id}/events", pages.events, _SECTION),
    ]
