"""What happened to this message? Its journey, each attempt with request and response, its payload, and why it went where it went."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from ringback.dashboard.components import BASE, Badge, Fact, Head, Link, Tab, address, badge_of
from ringback.dashboard.curl import curl
from ringback.dashboard.desk import Services
from ringback.dashboard.differences import Difference, Lines, different, different_lines
from ringback.dashboard.journeys import Event, badge_of_journey, badge_of_leg, ordered, reason_of, sentence, sentence_of_leg, timeline
from ringback.dashboard.pages.endpoints import answer_of, href_of, title_of
from ringback.dashboard.payloads import PayloadView, payload_view
from ringback.dashboard.source_words import flag_words
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Sent, Shown, Visit, lost
from ringback.dashboard.words import counted, milliseconds, moment
from ringback.errors import CallerError
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.advice import Advice, advice
from ringback.policy.heads import header_fields, header_value
from ringback.services.attempts import Detailed
from ringback.services.journeys import Journey, Leg
from ringback.services.received import AGAIN_MAX, Traced

_SECTION: Final = "messages"
TabName = Literal["response", "request", "compare", "payload", "explain"]
_TABS: Final[tuple[tuple[TabName, str], ...]] = (
    ("response", "Response"),
    ("request", "Request"),
    ("compare", "Compare"),
    ("payload", "Payload"),
    ("explain", "Explain"),
)
_PHASES: Final = (
    ("dns_us", "name", "wait"),
    ("connect_us", "connect", "1"),
    ("tls_us", "TLS", "retry"),
    ("send_us", "send", "ok"),
    ("wait_us", "wait", "1"),
    ("body_us", "body", "ok"),
)


class LegView(msgspec.Struct, frozen=True):
    """The way to one endpoint."""

    endpoint: str
    href: str
    endpoint_id: str
    deleted: bool
    badge: Badge
    sentence: str
    events: Sequence[Event]
    resend: bool


class MissView(msgspec.Struct, frozen=True):
    """An endpoint that the message did not go to, and why."""

    endpoint: str
    href: str
    reason: str


class PhaseView(msgspec.Struct, frozen=True):
    """How long one part of an attempt took."""

    name: str
    took: str
    share: int


class AttemptView(msgspec.Struct, frozen=True):
    """One attempt, with all that is known of it."""

    id: str
    title: str
    badge: Badge
    facts: Sequence[Fact]
    phases: Sequence[PhaseView]
    request_line: str
    request_headers: Sequence[tuple[str, str]]
    status_line: str
    response_headers: Sequence[tuple[str, str]]
    response: PayloadView
    no_answer: str
    advice: Advice | None
    curl: str
    body: PayloadView
    changed: bool


class ComparedView(msgspec.Struct, frozen=True):
    """What differs between the attempt that is looked at and another one, which is named `before`. `others` are those it may be."""

    before: str
    others: Sequence[Link]
    facts: Sequence[Difference]
    request: Sequence[Difference]
    response: Sequence[Difference]
    sent: Lines
    answered: Lines


class MessageView(msgspec.Struct, frozen=True):
    """A message, and the attempt of it that is looked at. `asked`: somebody came for a part of it, not for what became of it."""

    here: str
    message: str
    asked: bool
    facts: Sequence[Fact]
    legs: Sequence[LegView]
    misses: Sequence[MissView]
    more: bool
    tabs: Sequence[Tab]
    tab: TabName
    attempt: AttemptView | None
    payload: PayloadView
    raw: bool
    received: Sequence[Fact]
    compared: ComparedView | None


def leg_view(leg: Leg, message: Message, now_us: int, allowed: int) -> LegView:
    """A leg as a card."""
    return LegView(
        title_of(leg.endpoint),
        href_of(leg.endpoint),
        leg.endpoint.id,
        leg.deleted,
        badge_of_leg(leg),
        sentence_of_leg(leg, message, now_us, allowed),
        timeline(leg, message, now_us),
        not leg.deleted and not leg.endpoint.disabled and message.payload is not None,
    )


def phases_of(phases: Phases) -> list[PhaseView]:
    """The parts of an attempt that took place, with their share of the whole in per cent."""
    took = [(name, getattr(phases, field)) for field, name, _ in _PHASES]
    whole = sum(us for _, us in took if us > 0) or 1
    return [PhaseView(name, milliseconds(us), max(us * 100 // whole, 1)) for name, us in took if us >= 0]


def name_of(attempt: Attempt) -> str:
    """What an attempt is called."""
    return "Manual attempt" if attempt.trigger else f"Attempt {attempt.number}"


def attempt_view(detailed: Detailed, message: Message, href: str, now_us: int) -> AttemptView:
    """An attempt with its request and its answer."""
    attempt, sent = detailed.attempt, detailed.shown
    body = message.payload if sent is None else sent
    sent_type = (header_value(attempt.request_head, b"content-type") or b"").decode("latin-1")
    payload_href = f"{BASE}/apps/{message.app_id}/messages/{message.id}/payload"
    line, _, _ = attempt.request_head.partition(b"\r\n")
    status_line, _, _ = attempt.response_head.partition(b"\r\n")
    content_type = (header_value(attempt.response_head, b"content-type") or b"").decode("latin-1")
    failed = attempt.status == AttemptStatus.FAIL
    facts = [
        Fact("Answer", answer_of(attempt)),
        Fact("Took", milliseconds(attempt.duration_us)),
        Fact("Started", "", moment=moment(attempt.started_at, now_us)),
        Fact("To", attempt.url, mono=True),
        *([Fact("Address", attempt.address, mono=True)] if attempt.address else []),
        Fact("Id", attempt.id, copy=True, mono=True),
        Fact("Sequence", str(attempt.sequence)),
    ]
    return AttemptView(
        id=attempt.id,
        title=name_of(attempt),
        badge=badge_of(attempt.status),
        facts=facts,
        phases=phases_of(attempt.phases),
        request_line=line.decode("latin-1"),
        request_headers=header_fields(attempt.request_head),
        status_line=status_line.decode("latin-1"),
        response_headers=header_fields(attempt.response_head),
        response=payload_view(attempt.response, content_type, f"{href}/response"),
        no_answer="" if attempt.code else attempt.detail,
        advice=advice(attempt.error, attempt.code) if failed else None,
        curl=curl(attempt.url, attempt.request_head, body),
        body=payload_view(body, sent_type or message.content_type, payload_href if sent is None else f"{href}/body"),
        changed=sent is not None,
    )


def chosen_of(journey: Journey, attempt_id: str | None) -> Attempt | None:
    """The attempt to look at: the one asked for, else the last that failed, else the last."""
    attempts = sorted((attempt for leg in journey.legs for attempt in leg.attempts), key=lambda attempt: attempt.id)
    if attempt_id is not None:
        return next((attempt for attempt in attempts if attempt.id == attempt_id), None)
    open_legs = [leg.attempts[-1] for leg in journey.legs if leg.attempts and leg.attempts[-1].status == AttemptStatus.FAIL]
    return max(open_legs, key=lambda attempt: attempt.id, default=attempts[-1] if attempts else None)


def facts_of(message: Message, now_us: int) -> list[Fact]:
    """What is known of a message."""
    facts = [
        Fact("Event type", message.event_type, mono=True),
        *([Fact("Event id", message.event_id, copy=True, mono=True)] if message.event_id else []),
        Fact("Accepted", "", moment=moment(message.created_at, now_us)),
        *([Fact("Deliver at", "", moment=moment(message.deliver_at, now_us))] if message.deliver_at is not None else []),
        *([Fact("Channels", ", ".join(message.channels))] if message.channels else []),
        *([Fact("Tags", ", ".join(message.tags))] if message.tags else []),
        Fact("Payload kept until", "", moment=moment(message.expires_at, now_us)),
    ]
    return facts


def received_facts(traced: Traced | None, now_us: int) -> list[Fact]:
    """Where a message came from, if a source took it in."""
    if traced is None:
        return []
    origin, source = traced.event.origin, traced.source
    remote, again = origin.remote, counted(traced.again, "time") if traced.again < AGAIN_MAX else f"{AGAIN_MAX} times or more"
    older = counted(traced.superseded, "older event") if traced.superseded < AGAIN_MAX else f"{AGAIN_MAX} older events or more"
    journal = "" if source is None else address(f"/sources/{source.id}/arrivals", message=traced.event.id)
    marks = [flag_words(flag) for flag in origin.flags]
    return [
        Fact("Source", origin.source_id, mono=True) if source is None else Fact("Source", source.name, href=f"{BASE}/sources/{source.id}"),
        *([Fact("Provider's id", origin.event_id.replace("\0", " + "), copy=True, mono=True)] if origin.event_id else []),
        *([Fact("Sent by", remote.address or remote.peer, mono=True)] if remote is not None else []),
        *([Fact("By way of", remote.peer, mono=True)] if remote is not None and remote.address else []),
        *([Fact("Delivery counter", origin.redelivery)] if origin.redelivery else []),
        *([Fact("Marks", ", ".join(marks))] if marks else []),
        *([Fact("Waited in the spool since", "", moment=moment(origin.came_at, now_us))] if origin.came_at is not None else []),
        *([Fact("Came again", again, href=journal or None)] if traced.again else []),
        *([Fact("Superseded", f"{older} that came later", href=journal or None)] if traced.superseded else []),
    ]


def others_of(journey: Journey, attempt: Attempt | None) -> list[Attempt]:
    """The attempts that one may be compared with: those to the same endpoint, the one right before it first, newer ones last."""
    if attempt is None:
        return []
    leg = [found for leg in journey.legs for found in leg.attempts if found.endpoint_id == attempt.endpoint_id]
    older = sorted((found for found in leg if found.id < attempt.id), key=lambda found: found.id, reverse=True)
    return [*older, *sorted((found for found in leg if found.id > attempt.id), key=lambda found: found.id)]


def compared_view(before: AttemptView, after: AttemptView, others: Sequence[Link]) -> ComparedView:
    """What differs between two attempts. May take 0.4 s."""
    return ComparedView(
        before=before.title,
        others=others,
        facts=different(_comparable(before), _comparable(after)),
        request=different(before.request_headers, after.request_headers),
        response=different(before.response_headers, after.response_headers),
        sent=different_lines(before.body, after.body),
        answered=different_lines(before.response, after.response),
    )


def _comparable(view: AttemptView) -> list[tuple[str, str]]:
    facts = [(fact.name, fact.value) for fact in view.facts if fact.name in ("Answer", "Took", "To", "Address")]
    return [*facts, *((f"time to {phase.name}", phase.took) for phase in view.phases)]


def tabs_of(attempt: Attempt | None, others: Sequence[Attempt]) -> list[tuple[TabName, str]]:
    """The tabs that have something to show, with their labels."""
    shown: dict[TabName, bool] = {"response": attempt is not None, "request": attempt is not None, "compare": bool(others)}
    return [(name, label) for name, label in _TABS if shown.get(name, True)]


def tab_of(text: str, attempt: Attempt | None, offered: Sequence[tuple[TabName, str]]) -> TabName:
    """The tab to show: the one asked for, else the answer, else why there is none."""
    for name, _ in offered:
        if name == text:
            return name
    return "response" if attempt is not None else "explain"


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, visit: Visit) -> Reply:
        services, app_id = self._services, visit.params["app_id"]
        entry = await services.directory.find(visit.who.org_id, app_id)
        journey = await services.journeys.of(visit.who, app_id, visit.params["message_id"])
        message, now_us, asked = journey.message, visit.now_us, visit.params.get("attempt_id")
        here = f"{BASE}/apps/{message.app_id}/messages/{message.id}"
        found = chosen_of(journey, asked)
        if asked is not None and found is None:
            lost(f"attempt {asked}")
        detailed = None if found is None else await services.attempts.detailed(visit.who, app_id, message.id, found.id)
        attempt = None if detailed is None else detailed.attempt
        others = others_of(journey, attempt)
        offered = tabs_of(attempt, others)
        tab = tab_of(visit.text("tab"), attempt, offered)
        at = here if attempt is None else f"{here}/attempts/{attempt.id}"
        shown = None if detailed is None else attempt_view(detailed, message, at, now_us)
        view = MessageView(
            here=at,
            message=here,
            asked=asked is not None or bool(visit.text("tab")),
            facts=facts_of(message, now_us),
            legs=[leg_view(leg, message, now_us, services.allowed) for leg in ordered(journey.legs)],
            misses=[MissView(title_of(miss.endpoint), href_of(miss.endpoint), reason_of(miss, message)) for miss in journey.misses],
            more=journey.more,
            tabs=[Tab(label, f"{at}?tab={name}", name == tab) for name, label in offered],
            tab=tab,
            attempt=shown,
            payload=payload_view(message.payload, message.content_type, f"{here}/payload"),
            raw=visit.text("view") == "raw",
            received=received_facts(await services.received.trace(visit.who, message.app_id, message.id), visit.now_us),
            compared=await self._compared(visit, message, shown, others) if shown is not None and tab == "compare" else None,
        )
        trail = (
            Link(entry.application.name, f"{BASE}/apps/{entry.application.id}"),
            Link("Messages", f"{BASE}/apps/{entry.application.id}/messages"),
        )
        head = Head(
            message.event_type,
            sentence(journey, now_us, services.allowed),
            trail,
            badge=badge_of_journey(journey),
            id=message.id,
            answers=True,
        )
        return Shown("messages/show.html", view, head, app=entry.application)

    async def _compared(self, visit: Visit, message: Message, after: AttemptView, others: Sequence[Attempt]) -> ComparedView:
        asked = visit.text("with")
        chosen = next((other for other in others if other.id == asked), others[0])
        detailed = await self._services.attempts.detailed(visit.who, message.app_id, message.id, chosen.id)
        path = f"/apps/{message.app_id}/messages/{message.id}/attempts"
        before = attempt_view(detailed, message, f"{BASE}{path}/{chosen.id}", visit.now_us)
        here = f"{path}/{after.id}"
        links = [Link(name_of(other), address(here, tab="compare", with_=other.id)) for other in others if other.id != chosen.id]
        # Bodies are others' texts: comparing may take long, and must hold nobody up.
        return await asyncio.to_thread(compared_view, before, after, links)

    async def resend(self, visit: Visit) -> Reply:
        app_id, message_id, endpoint_id = visit.params["app_id"], visit.params["message_id"], visit.field("endpoint")
        back = f"{BASE}/apps/{app_id}/messages/{message_id}"
        try:
            await self._services.attempts.resend(visit.who, app_id, message_id, endpoint_id)
        except CallerError as error:
            return Moved(back, Notice(f"Not resent: {error}.", "dead"))
        change = Change("delivery.resent", message_id, app_id, endpoint_id)
        return Moved(back, Notice("One more attempt was asked for. It is made at once, beside the schedule."), change)

    async def payload(self, visit: Visit) -> Reply:
        message = await self._services.messages.seen(visit.who, visit.params["app_id"], visit.params["message_id"])
        if message.payload is None:
            lost("the payload")
        return Sent(message.payload, "application/octet-stream", f"{message.id}{_ending(message.content_type)}")

    async def response(self, visit: Visit) -> Reply:
        params = visit.params
        attempt = await self._services.attempts.get(visit.who, params["app_id"], params["message_id"], params["attempt_id"])
        if attempt.response is None:
            lost("the response")
        content_type = (header_value(attempt.response_head, b"content-type") or b"").decode("latin-1")
        return Sent(attempt.response, "application/octet-stream", f"{attempt.id}{_ending(content_type)}")

    async def body(self, visit: Visit) -> Reply:
        params = visit.params
        found = await self._services.attempts.detailed(visit.who, params["app_id"], params["message_id"], params["attempt_id"])
        if found.shown is None:
            lost("the body")
        content_type = (header_value(found.attempt.request_head, b"content-type") or b"").decode("latin-1")
        return Sent(found.shown, "application/octet-stream", f"{found.attempt.id}{_ending(content_type)}")


def _ending(content_type: str) -> str:
    return ".json" if "json" in content_type.lower() else ".txt" if content_type.lower().startswith("text/plain") else ".bin"


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/apps/{app_id}/messages/{message_id}"
    return [
        Route("GET", one, pages.show, _SECTION),
        Route("GET", f"{one}/attempts/{{attempt_id}}", pages.show, _SECTION),
        Route("GET", f"{one}/payload", pages.payload, _SECTION),
        Route("GET", f"{one}/attempts/{{attempt_id}}/response", pages.response, _SECTION),
        Route("GET", f"{one}/attempts/{{attempt_id}}/body", pages.body, _SECTION),
        Route("POST", f"{one}/resend", pages.resend, _SECTION),
    ]
