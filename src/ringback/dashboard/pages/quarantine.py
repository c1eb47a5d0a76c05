"""What was refused, and why? Requests in quarantine: by source and reason, one by one, and one of them with all that helps to see why."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Action, Badge, Choice, Empty, Fact, Head, Link, Pager, Tab, address, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.examinations import ExaminationView
from ringback.dashboard.pages.sources import href_of, trail_of
from ringback.dashboard.payloads import PayloadView, hexadecimal, payload_view
from ringback.dashboard.providers import name_of_type
from ringback.dashboard.sensitive import shown_request, source_examination
from ringback.dashboard.source_words import reason_sentence, reason_words
from ringback.dashboard.visits import Reply, Route, Sent, Shown, Visit, lost
from ringback.dashboard.words import Moment, count, counted, moment, relative, size
from ringback.errors import RingbackError
from ringback.model.quarantine import CapturedRequest, Quarantined
from ringback.model.sources import Source
from ringback.policy.sources import shown_headers, shown_url
from ringback.services.doctor import Findings, Question, request_of
from ringback.services.quarantine import PREFIX, Header, Heap

_SECTION: Final = "quarantine"
# Sources that the filter offers.
_OFFERED: Final = 250
# Bytes shown in hexadecimal.
_HEX_MAX: Final = 16 * 1024
TabName = Literal["body", "hex", "headers"]
_TABS: Final[tuple[tuple[TabName, str], ...]] = (("body", "Body"), ("hex", "Hexadecimal"), ("headers", "Headers"))


class HeapRow(msgspec.Struct, frozen=True):
    """The requests of one source that were refused for one reason."""

    href: str
    source: str
    provider: str
    badge: Badge
    sentence: str
    requests: str
    newest: Moment
    release: str
    drop: str


class HeapsView(msgspec.Struct, frozen=True):
    """All that is in quarantine, summed up."""

    tabs: Sequence[Tab]
    rows: Sequence[HeapRow]
    empty: Empty


class ItemRow(msgspec.Struct, frozen=True):
    """One request as a line."""

    href: str
    badge: Badge
    source: str
    detail: str
    size: str
    at: Moment


class ListView(msgspec.Struct, frozen=True):
    """A page of the list, with its filters."""

    here: str
    tabs: Sequence[Tab]
    rows: Sequence[ItemRow]
    pager: Pager
    empty: Empty
    sources: Sequence[Choice]
    reasons: Sequence[Choice]
    filtered: bool


class ItemView(msgspec.Struct, frozen=True):
    """One request with all that helps to see why it was refused."""

    href: str
    source: str
    off: str
    examination: ExaminationView | None
    tabs: Sequence[Tab]
    tab: TabName
    raw: bool
    body: PayloadView
    request_line: str
    headers: Sequence[tuple[str, str]]
    facts: Sequence[Fact]
    kept: bool


def sentence_of(heaps: Sequence[Heap], sources: int) -> str:
    """How many were refused, and why, in one sentence."""
    total = sum(heap.requests for heap in heaps)
    if not total:
        return "Nothing is kept: every request was believed."
    reasons: dict[str, int] = {}
    for heap in heaps:
        reasons[heap.reason] = reasons.get(heap.reason, 0) + heap.requests
    top, number = max(reasons.items(), key=lambda item: item[1])
    share = "all" if number == total else "most" if number * 2 > total else count(number)
    whom = f"of {counted(sources, 'source')}"
    return f"{counted(total, 'request')} {whom} {'was' if total == 1 else 'were'} refused and kept; {share}: {reason_words(top)}."


def heap_row(heap: Heap, sources: Mapping[str, Source], now_us: int) -> HeapRow:
    """A heap as a line."""
    source = sources.get(heap.source_id)
    query = {"source": heap.source_id, "reason": heap.reason}
    return HeapRow(
        address("/quarantine/list", **query),
        heap.source_id if source is None else source.name,
        "" if source is None else name_of_type(source.type),
        Badge("dead", reason_words(heap.reason)),
        reason_sentence(heap.reason),
        count(heap.requests),
        moment(ids.created_us(heap.newest), now_us),
        address("/quarantine/release", **query),
        address("/quarantine/drop", **query),
    )


def item_row(item: Header, sources: Mapping[str, Source], now_us: int) -> ItemRow:
    """A request as a line."""
    source = sources.get(item.source_id)
    return ItemRow(
        f"{BASE}/sources/{item.source_id}/quarantine/{item.id}",
        Badge("dead", reason_words(item.reason)),
        item.source_id if source is None else source.name,
        item.detail,
        size(item.size_bytes),
        moment(item.received_at, now_us),
    )


def facts_of(source: Source, item: Quarantined, now_us: int) -> list[Fact]:
    """What is known of a request."""
    return [
        Fact("Source", source.name, href=href_of(source)),
        Fact("Came", "", moment=moment(item.received_at, now_us)),
        Fact("From", item.request.remote, mono=True),
        Fact("Method", item.request.method, mono=True),
        Fact("URL", shown_url(source, item.request.url), mono=True),
        Fact("Body", f"{count(item.size_bytes)} bytes"),
        *(
            [Fact("Its SHA-256", hashlib.sha256(item.request.body).hexdigest(), copy=True, mono=True)]
            if item.request.body is not None
            else []
        ),
        Fact("Reason", item.reason, mono=True),
        Fact("Id", item.id, copy=True, mono=True),
    ]


def body_view(captured: CapturedRequest, href: str, *, as_hex: bool) -> PayloadView:
    """The body of a request as it is best shown, or in hexadecimal."""
    content_type = next((value.decode("latin-1") for name, value in captured.headers if name.lower() == b"content-type"), "")
    view = payload_view(captured.body, content_type, href)
    if not as_hex or view.kind in ("gone", "empty"):
        return view
    body = captured.body or b""
    return msgspec.structs.replace(view, kind="hex", text=hexadecimal(body[:_HEX_MAX]), tree=None, cut=len(body) > _HEX_MAX)


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def heaps(self, visit: Visit) -> Reply:
        heaps = await self._services.quarantine.heaps(visit.who)
        sources = await self._sources(visit, [heap.source_id for heap in heaps])
        rows = [heap_row(heap, sources, visit.now_us) for heap in heaps]
        view = HeapsView(tabs_of("heaps", sum(heap.requests for heap in heaps)), rows, _empty(filtered=False))
        head = Head("Quarantine", sentence_of(heaps, len(sources)), actions=(_doctor(),), answers=True)
        return Shown("quarantine/heaps.html", view, head)

    async def _sources(self, visit: Visit, wanted: Sequence[str]) -> dict[str, Source]:
        return await self._services.source_views.by_ids(visit.who, wanted[:_OFFERED])

    async def index(self, visit: Visit) -> Reply:
        services, at, source_id, reason = self._services, visit.text("at"), visit.text("source"), visit.text("reason")
        source = await services.source_views.named(visit.who, source_id) if source_id else None
        walk, _ = walk_of(at, lambda key: ids.is_id(PREFIX, key))
        page = await services.quarantine.listed(visit.who, walk, None if source is None else source.id, reason or None)
        heaps = await services.quarantine.heaps(visit.who)
        wanted = dict.fromkeys([*(item.source_id for item in page.items), *(heap.source_id for heap in heaps)])
        sources = await self._sources(visit, list(wanted))
        if source is not None:
            sources[source.id] = source
        rows = [item_row(item, sources, visit.now_us) for item in page.items]
        first, last = (page.items[0].id, page.items[-1].id) if rows else (None, None)
        reasons = sorted({heap.reason for heap in heaps} | ({reason} if reason else set()))
        view = ListView(
            address("/quarantine/list"),
            tabs_of("list", sum(heap.requests for heap in heaps)),
            rows,
            pager(page, first, last, at, "/quarantine/list", source=source_id, reason=reason),
            _empty(filtered=bool(source_id or reason)),
            [Choice("", "any source", source is None), *(Choice(s.id, s.name, s is source) for s in sources.values())],
            [Choice("", "any reason", not reason), *(Choice(r, reason_words(r), r == reason) for r in reasons)],
            bool(source_id or reason),
        )
        about = "Requests that were not believed, the newest first. What is not looked at is forgotten after 30 days."
        if source is not None:
            about = f"Requests to {source.name} that were not believed{f': {reason_words(reason)}' if reason else ''}, the newest first."
        actions: tuple[Action, ...] = ()
        if source is not None and rows:
            query = {"source": source.id, "reason": reason}
            actions = (
                Action("Drop all…", address("/quarantine/drop", **query), "danger"),
                Action("Verify and release all…", address("/quarantine/release", **query), "primary"),
            )
        return Shown("quarantine/list.html", view, Head("Quarantine", about, actions=actions or (_doctor(),), answers=True))

    async def show(self, visit: Visit) -> Reply:
        services, now_us = self._services, visit.now_us
        source, item = await found(services, visit)
        seen = await shown_request(source, item.request)
        here = f"{href_of(source)}/quarantine/{item.id}"
        asked = visit.text("tab")
        tab: TabName = next((name for name, _ in _TABS if name == asked), "body")
        kept = item.request.body is not None
        findings, trouble = await self._examined(visit, source, item)
        view = ItemView(
            here,
            source.name,
            trouble,
            None if findings is None else source_examination(source, findings, now_us),
            [Tab(label, f"{here}?tab={name}", name == tab) for name, label in _TABS],
            tab,
            visit.text("view") == "raw",
            body_view(seen, f"{here}/body", as_hex=tab == "hex"),
            f"{item.request.method} {shown_url(source, item.request.url)}",
            shown_headers(source, item.request.headers),
            facts_of(source, item, now_us),
            kept,
        )
        actions = (
            Action("Drop", f"{here}/drop", "danger"),
            *((Action("Release without check…", f"{here}/believe"),) if kept else ()),
            *((Action("Verify and release", f"{here}/release", "primary", post=True),) if kept else ()),
        )
        said = item.detail or reason_sentence(item.reason) or item.reason
        head = Head(
            f"Refused: {reason_words(item.reason)}",
            f"{source.name} refused it {relative(item.received_at, now_us)}: {said.rstrip('.')}.",
            (*trail_of(source), Link("Quarantine", address("/quarantine/list", source=source.id))),
            actions,
            id=item.id,
            answers=True,
        )
        return Shown("quarantine/show.html", view, head)

    async def _examined(self, visit: Visit, source: Source, item: Quarantined) -> tuple[Findings | None, str]:
        """What the doctor says of a request as of when it came; or why nothing can be said."""
        if item.request.body is None:
            return None, "The body was too large to be kept: nothing can be said about its signature, and it cannot be released."
        if source.verification.verify == "none":
            return None, "The source verifies nothing, so that the signature was not the reason."
        question = Question(request=request_of(item.request), now_us=item.received_at, source=source.id)
        try:
            return await self._services.doctor.ask(visit.who, question), ""
        except RingbackError as error:
            return None, f"It could not be examined: {error}."

    async def body(self, visit: Visit) -> Reply:
        source, item = await found(self._services, visit)
        seen = await shown_request(source, item.request)
        if seen.body is None:
            lost("the body")
        return Sent(seen.body, "application/octet-stream", f"{item.id}.bin")


async def found(services: Services, visit: Visit) -> tuple[Source, Quarantined]:
    """The request that a visit names, and its source. Raises NotFound."""
    source = await services.source_views.named(visit.who, visit.params["source_id"])
    app = None if source.ingest else source.app_id
    return source, await services.quarantine.get(visit.who, app, source.id, visit.params["item_id"])


def tabs_of(current: str, total: int) -> list[Tab]:
    """The two ways to look at the quarantine."""
    return [
        Tab("By source and reason", address("/quarantine"), current == "heaps"),
        Tab("One by one", address("/quarantine/list"), current == "list", count(total) if total else ""),
    ]


def _doctor() -> Action:
    return Action("Signature doctor", f"{BASE}/doctor", panel=False)


def _empty(*, filtered: bool) -> Empty:
    if filtered:
        return Empty("No such request", "Nothing fits the filters: it was released or dropped, or it is older than 30 days.")
    return Empty(
        "Nothing in quarantine",
        "A request whose signature does not hold is answered 401 and kept here with the reason: it can be let in once the secret is right.",
    )


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/sources/{source_id}/quarantine/{item_id}"
    return [
        Route("GET", "/quarantine", pages.heaps, _SECTION),
        Route("GET", "/quarantine/list", pages.index, _SECTION),
        Route("GET", one, pages.show, _SECTION),
        Route("GET", f"{one}/body", pages.body, _SECTION),
    ]
