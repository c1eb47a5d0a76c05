"""Where do messages go? Endpoints: their list, one of them with its health, and the attempts that were made to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.charts import CELL_S, STRIP_CELLS, Chart, Strip, strip
from ringback.dashboard.components import (
    BASE,
    ROWS,
    Action,
    Badge,
    Choice,
    Empty,
    Fact,
    Head,
    Link,
    Pager,
    address,
    badge_of,
    choices,
    pager,
)
from ringback.dashboard.desk import Services
from ringback.dashboard.health import DISABLED, ENABLED, Figure, charts, endpoint_figures, failure_badge
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, count, counted, duration, milliseconds, moment, relative, utc, wanted
from ringback.model.applications import Application
from ringback.model.attempts import Attempt, WaitCause
from ringback.model.deliveries import AttemptStatus, Trigger
from ringback.model.endpoints import DisableCause, Endpoint
from ringback.model.ordering import Ordered, Ordering, WhenHeadDies
from ringback.model.transformations import Transformation
from ringback.policy.ordering import key_of
from ringback.policy.validation import is_sensitive
from ringback.policy.windows import Ask
from ringback.services.attempts import AttemptFilter
from ringback.services.ordering import Standing as OrderStanding
from ringback.services.ports import Standing
from ringback.services.trends import EndpointTrend, Worst

_SECTION: Final = "endpoints"
# Seconds between two looks of a page that is looked at.
_REFRESH_S: Final = 10
# Attempts on the endpoint's own page; all of them have a page of their own.
_RECENT: Final = 12
# Blocked lanes on it, the longest blocked first.
_BLOCKED_SHOWN: Final = 10
_DECIDING: Final = "Its circuit breaker lets one attempt through, which decides: a success closes it, a failure opens it for longer."
_STATUSES: Final = (("", "any outcome"), ("ok", "delivered"), ("failed", "failed"), ("cancelled", "cancelled"))
_STATUS_OF: Final = {"ok": (int(AttemptStatus.SUCCESS),), "failed": (int(AttemptStatus.FAIL),), "cancelled": (int(AttemptStatus.CANCELED),)}
_CLASSES: Final = (("", "any answer"), ("200", "2xx"), ("300", "3xx"), ("400", "4xx"), ("500", "5xx"), ("0", "no answer"))


class EndpointRow(msgspec.Struct, frozen=True):
    """One line of a list of endpoints."""

    host: str
    path: str
    description: str
    id: str
    href: str
    badge: Badge
    wants: str
    changed: Moment


class ListView(msgspec.Struct, frozen=True):
    """The endpoints of an application."""

    rows: Sequence[EndpointRow]
    empty: Empty


class AttemptRow(msgspec.Struct, frozen=True):
    """One line of a list of attempts."""

    id: str
    href: str
    message_id: str
    badge: Badge
    answer: str
    number: str
    took: str
    at: Moment


class HeaderLine(msgspec.Struct, frozen=True):
    """A header that is added to deliveries; the values of secret ones are not shown."""

    name: str
    value: str
    hidden: bool


def order_words(ordering: Ordering) -> str:
    """How an endpoint orders what it gets, in a sentence."""
    if ordering.mode is Ordered.NONE:
        return "In no order: everything goes out as soon as it can."
    what = "One at a time, in order" if ordering.mode is Ordered.ENDPOINT else "One at a time and in order for each key"
    where = f", which is the message's own or its {ordering.key_path}" if ordering.key_path is not None else ""
    if ordering.when_head_dies is WhenHeadDies.BLOCK:
        return f"{what}{where}. One that runs out of attempts blocks what is behind it."
    after = "runs out of attempts" if ordering.skip_after is None else f"has failed {counted(ordering.skip_after, 'time')}"
    return f"{what}{where}. One that {after} is skipped."


def filter_text(document: Mapping[str, object] | None) -> str:
    """A payload filter as people read it; "" without one."""
    return "" if document is None else msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


class BlockedRow(msgspec.Struct, frozen=True):
    """A lane that waits for somebody: what it is called, and the dead letter at its head."""

    name: str
    since: Moment
    replay: str
    discard: str


class Order(msgspec.Struct, frozen=True):
    """How an endpoint orders what it gets: in words, what is blocked, and where it is changed."""

    words: str
    changing: bool
    blocked: str
    rows: Sequence[BlockedRow]
    letters: str


def order_of(endpoint: Endpoint, standing: OrderStanding, now_us: int) -> Order:
    """The order of an endpoint, for its page."""
    rows = [
        BlockedRow(
            key_of(block.lane) or "the endpoint",
            moment(block.blocked_at, now_us),
            address("/dead-letters/replay", id=block.dead_letter_id),
            address("/dead-letters/discard", id=block.dead_letter_id),
        )
        for block in standing.blocks[:_BLOCKED_SHOWN]
    ]
    blocked = f"{counted(standing.blocked, 'lane')} blocked by a dead letter: replay or discard it, and what is behind it goes on."
    return Order(
        order_words(standing.ordering),
        standing.changing,
        blocked if standing.blocked else "",
        rows,
        address("/dead-letters/list", endpoint=endpoint.id),
    )


class EndpointView(msgspec.Struct, frozen=True):
    """One endpoint."""

    href: str
    off: str
    held: str
    refresh_s: int
    figures: Sequence[Figure]
    strip: Strip
    charts: Sequence[Chart]
    facts: Sequence[Fact]
    headers: Sequence[HeaderLine]
    metadata: Sequence[Fact]
    attempts: Sequence[AttemptRow]
    empty: Empty
    secrets: str
    secret: str
    order: Order
    filter: str
    transformation: str
    transforms: bool


class AttemptsView(msgspec.Struct, frozen=True):
    """The attempts to an endpoint, filtered."""

    here: str
    rows: Sequence[AttemptRow]
    pager: Pager
    empty: Empty
    statuses: Sequence[Choice]
    classes: Sequence[Choice]
    event_type: str


def endpoint_rows(endpoints: Iterable[Endpoint], failing: Mapping[str, Worst], now_us: int) -> list[EndpointRow]:
    """The lines of a list of endpoints, the newest first. `failing`: those that had failures of late."""
    return [row_of(endpoint, failing.get(endpoint.id), now_us) for endpoint in sorted(endpoints, key=lambda e: e.id, reverse=True)]


def standing_of(endpoint: Endpoint, failing: Worst | None) -> Badge:
    """Whether an endpoint is disabled or failing: what is merely switched on is not what somebody looks for."""
    if endpoint.disabled:
        return DISABLED
    return ENABLED if failing is None else failure_badge(failing, ENABLED)


def row_of(endpoint: Endpoint, failing: Worst | None, now_us: int) -> EndpointRow:
    """The line of one endpoint."""
    host, path = url_parts(endpoint.url)
    return EndpointRow(
        host,
        path,
        endpoint.description,
        endpoint.id,
        href_of(endpoint),
        standing_of(endpoint, failing),
        wants_of(endpoint),
        moment(endpoint.updated_at, now_us),
    )


def href_of(endpoint: Endpoint) -> str:
    """The page of an endpoint."""
    return f"{BASE}/apps/{endpoint.app_id}/endpoints/{endpoint.id}"


def url_parts(url: str) -> tuple[str, str]:
    """Host and path of a URL as they are shown: without a user and password, which may stand before the host."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    plain = "" if parts.scheme == "https" else f"{parts.scheme}://"
    return f"{plain}{host}", f"{parts.path}{'?' + parts.query if parts.query else ''}"


def shown_url(url: str) -> str:
    """A URL as it is shown: without the password that may stand before the host."""
    parts = urlsplit(url)
    user, mark, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return parts._replace(netloc=f"{name}:•••@{host}" if mark and ":" in user else parts.netloc).geturl()


def wants_of(endpoint: Endpoint) -> str:
    """Which messages an endpoint wants, in words."""
    return wanted(endpoint.event_types, endpoint.channels)


def sentence_of(endpoint: Endpoint, recent: Sequence[Attempt]) -> str:
    """How an endpoint stands, in one sentence."""
    if endpoint.disabled:
        return "It is disabled and gets nothing until it is enabled."
    if not recent:
        return "Nothing was sent to it yet."
    failed = 0
    for attempt in recent:
        if attempt.status != AttemptStatus.FAIL:
            break
        failed += 1
    if not failed:
        return f"It took the last attempt, in {milliseconds(recent[0].duration_us)}."
    last = f"it answered {recent[0].code}" if recent[0].code else recent[0].detail
    return f"{'The last attempt' if failed == 1 else f'The last {failed} attempts'} failed: {last}."


def said_of(endpoint: Endpoint, recent: Sequence[Attempt]) -> str:
    """How an endpoint stands, and then what its owner says of it: that may be long."""
    described = endpoint.description.strip().rstrip(".")
    return f"{sentence_of(endpoint, recent)}{f' {described}.' if described else ''}"


def why_off(endpoint: Endpoint, now_us: int) -> str:
    """Why an endpoint is disabled and what that means, in sentences; "" when it is not."""
    if not endpoint.disabled:
        return ""
    after = "What is sent meanwhile can be sent to it later: enable it, then choose Replay… here (replay-missing in the API)."
    why = endpoint.disabling
    if why is None:
        return f"It gets no messages. {after}"
    ago = relative(why.at, now_us)
    reasons = {
        DisableCause.MANUAL: f"Somebody disabled it {ago}.",
        DisableCause.GONE: f"It answered 410 Gone and was disabled {ago}.",
        DisableCause.ASKED: f"It asked for it by the header webhook-delivery, {ago}.",
        DisableCause.FAILING: f"It was disabled {ago}, because it had failed for too long.",
    }
    since = "" if why.fail_since is None else f" It had been failing since {utc(why.fail_since)}."
    return f"{reasons[why.cause]}{since} {after}"


def attempt_row(attempt: Attempt, now_us: int) -> AttemptRow:
    """The line of one attempt."""
    return AttemptRow(
        attempt.id,
        f"{BASE}/apps/{attempt.app_id}/messages/{attempt.message_id}/attempts/{attempt.id}",
        attempt.message_id,
        badge_of(attempt.status),
        answer_of(attempt),
        "manual" if attempt.trigger == Trigger.MANUAL else count(attempt.number),
        milliseconds(attempt.duration_us),
        moment(attempt.started_at, now_us),
    )


def answer_of(attempt: Attempt) -> str:
    """What came back, in a word: the status code, or why there was none."""
    return str(attempt.code) if attempt.code else (attempt.error or "no answer").replace("_", " ")


def secrets_of(endpoint: Endpoint, now_us: int) -> str:
    """How many secrets sign, in a sentence."""
    old = [secret.expires_at for secret in endpoint.secrets if secret.expires_at is not None and secret.expires_at > now_us]
    if not old:
        return "One secret signs."
    return f"The secret signs, and {counted(len(old), 'former one', 'former ones')} until {moment(max(old), now_us).utc}."


class Known(msgspec.Struct, frozen=True):
    """What is known of an endpoint besides itself: its last day, how the engine treats it now, its last attempts."""

    trend: EndpointTrend
    standing: Standing
    recent: Sequence[Attempt]
    order: OrderStanding
    transformation: Transformation


def transformation_words(kept: Transformation, now_us: int) -> str:
    """What becomes of messages on their way, in a sentence."""
    if kept.code is None:
        return "None: messages are sent as they came."
    changed = "" if kept.updated_at is None else f" Changed {moment(kept.updated_at, now_us).words}."
    return f"{'Its code changes what is sent.' if kept.enabled else 'Its code is off: messages are sent as they came.'}{changed}"


def held_words(standing: Standing) -> str:
    """Why an endpoint is left alone now, and for how long, or gets one attempt alone; "" when neither is so."""
    if standing.cause is None or not standing.left_us:
        return _DECIDING if standing.deciding else ""
    left = duration(max(standing.left_us / SECOND_US, 1))
    if standing.cause is WaitCause.THROTTLE:
        return f"A rate limit holds what waits for it; the next attempt is made within {left}."
    if standing.cause is WaitCause.BREAKER:
        return f"Its circuit breaker is open, as too many attempts failed. In {left} one is made that decides; one by hand is made at once."
    return f"It is left alone for {left}: it asked for that by Retry-After, or gave no answer several times."


def view_of(endpoint: Endpoint, known: Known, now_us: int, secret: str = "") -> EndpointView:
    """The page of an endpoint. `secret` is shown only where somebody asked for it."""
    trend, standing = known.trend, known.standing
    here = href_of(endpoint)
    rate = "unlimited" if endpoint.throttle_rate is None else f"{counted(endpoint.throttle_rate, 'attempt')} a second"
    facts = [
        Fact("URL", shown_url(endpoint.url), copy=True, mono=True),
        Fact("Id", endpoint.id, copy=True, mono=True),
        *([Fact("Uid", endpoint.uid, copy=True, mono=True)] if endpoint.uid else []),
        Fact("Event types", "all" if endpoint.event_types is None else ", ".join(sorted(endpoint.event_types))),
        *([Fact("Channels", ", ".join(sorted(endpoint.channels)))] if endpoint.channels is not None else []),
        Fact("Rate", rate),
        *([Fact("At once", f"up to {counted(standing.limit, 'attempt')}")] if standing.limit is not None else []),
        Fact("Created", "", moment=moment(endpoint.created_at, now_us)),
        Fact("Changed", "", moment=moment(endpoint.updated_at, now_us)),
    ]
    return EndpointView(
        href=here,
        off=why_off(endpoint, now_us),
        held="" if endpoint.disabled else held_words(standing),
        refresh_s=_REFRESH_S,
        figures=endpoint_figures(trend, now_us),
        strip=strip(trend.since_us, [(cell.success, cell.fail) for cell in trend.cells][-STRIP_CELLS:]),
        charts=charts(trend.cells, messages=False)[1:],
        facts=facts,
        headers=[HeaderLine(name, "" if is_sensitive(name) else value, is_sensitive(name)) for name, value in endpoint.headers.items()],
        metadata=[Fact(name, value) for name, value in endpoint.metadata.items()],
        attempts=[attempt_row(attempt, now_us) for attempt in known.recent],
        empty=Empty("No attempt yet", "Send a message of an event type that this endpoint wants, and it is here within a second."),
        secrets=secrets_of(endpoint, now_us),
        secret=secret,
        order=order_of(endpoint, known.order, now_us),
        filter=filter_text(endpoint.payload_filter),
        transformation=transformation_words(known.transformation, now_us),
        transforms=known.transformation.code is not None,
    )


def trail_of(application: Application, *more: Link) -> tuple[Link, ...]:
    """The way to a page about an application's endpoints."""
    here = f"{BASE}/apps/{application.id}"
    return Link(application.name, here), Link("Endpoints", f"{here}/endpoints"), *more


def title_of(endpoint: Endpoint) -> str:
    """What an endpoint is called: its description where that is short, else its URL."""
    host, path = url_parts(endpoint.url)
    return f"{host}{path if path != '/' else ''}"


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        entry = await self._services.directory.find(visit.who.org_id, visit.params["app_id"])
        application, here = entry.application, f"{BASE}/apps/{entry.application.id}"
        new = Action("New endpoint", f"{here}/endpoints/new", "primary", panel=False)
        empty = Empty("No endpoint yet", "Messages of this application are stored, and go nowhere until it has one.", action=new)
        failing = await self._services.trends.failing(visit.who, entry.application.id)
        rows = endpoint_rows(entry.endpoints.values(), failing, visit.now_us)
        off = sum(endpoint.disabled for endpoint in entry.endpoints.values())
        sentence = f"{counted(len(rows), 'endpoint')}{f', {count(off)} disabled' if off else ''}." if rows else ""
        head = Head("Endpoints", sentence, (Link(application.name, here),), (new,))
        return Shown("endpoints/list.html", ListView(rows, empty), head, app=application)

    async def show(self, visit: Visit) -> Reply:
        return await shown(self._services, visit)

    async def attempts(self, visit: Visit) -> Reply:
        services, app_id, endpoint_id = self._services, visit.params["app_id"], visit.params["endpoint_id"]
        entry = await services.directory.find(visit.who.org_id, app_id)
        endpoint = await services.endpoints.get(visit.who, app_id, endpoint_id)
        status, answer, event_type, at = (visit.text(name) for name in ("status", "answer", "type", "at"))
        cursor = at.removeprefix("-")
        ask = Ask(ROWS, cursor if ids.is_id(ids.ATTEMPT, cursor) else None, at.startswith("-"))
        chosen = AttemptFilter(_STATUS_OF.get(status), int(answer) if answer in dict(_CLASSES) and answer else None)
        if event_type:
            chosen = msgspec.structs.replace(chosen, message=msgspec.structs.replace(chosen.message, event_types=(event_type,)))
        page = await services.attempts.by_endpoint(visit.who, app_id, endpoint_id, ask, chosen, content=False, with_message=False)
        rows = [attempt_row(item.attempt, visit.now_us) for item in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        path = f"/apps/{endpoint.app_id}/endpoints/{endpoint.id}/attempts"
        view = AttemptsView(
            address(path),
            rows,
            pager(page, first, last, at, path, status=status, answer=answer, type=event_type),
            Empty("No such attempt", "Nothing fits the filters; take some away."),
            choices(_STATUSES, status),
            choices(_CLASSES, answer),
            event_type,
        )
        head = Head(
            "Attempts",
            f"To {title_of(endpoint)}, the newest first.",
            trail_of(entry.application, Link(title_of(endpoint), href_of(endpoint))),
        )
        return Shown("endpoints/attempts.html", view, head, app=entry.application)


async def shown(services: Services, visit: Visit, *, secret: str = "") -> Shown:
    """The page of the endpoint that a visit names, with its secret where somebody asked for it."""
    app_id, endpoint_id = visit.params["app_id"], visit.params["endpoint_id"]
    entry = await services.directory.find(visit.who.org_id, app_id)
    endpoint = await services.endpoints.get(visit.who, app_id, endpoint_id)
    page = await services.attempts.by_endpoint(
        visit.who, app_id, endpoint_id, Ask(_RECENT), AttemptFilter(), content=False, with_message=False
    )
    recent = [item.attempt for item in page.items]
    # Whole cells: the one that has begun is the last.
    since_us = visit.now_us - (STRIP_CELLS - 1) * CELL_S * SECOND_US
    trend = await services.trends.endpoint(visit.who, app_id, endpoint_id, since_us=since_us, step_us=CELL_S * SECOND_US)
    order = await services.orderings.get(visit.who, app_id, endpoint_id)
    transformation = await services.transformations.get(visit.who, app_id, endpoint_id)
    here = href_of(endpoint)
    turn = Action("Enable", f"{here}/enable", post=True) if endpoint.disabled else Action("Disable", f"{here}/disable")
    actions: tuple[Action, ...] = (Action("Delete", f"{here}/delete", "danger"), turn, Action("Edit", f"{here}/edit", panel=False))
    if not endpoint.disabled:
        actions += (Action("Replay…", f"{here}/replay", panel=False),)
        actions += (Action("Send test event", f"{here}/test", "primary"),)
    head = Head(
        title_of(endpoint),
        said_of(endpoint, recent),
        trail_of(entry.application),
        actions,
        standing_of(endpoint, (await services.trends.failing(visit.who, endpoint.app_id)).get(endpoint.id)),
        answers=True,
    )
    return Shown(
        "endpoints/show.html",
        view_of(endpoint, Known(trend, services.standings.standing(endpoint.id), recent, order, transformation), visit.now_us, secret),
        head,
        app=entry.application,
    )


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/apps/{app_id}/endpoints/{endpoint_id}"
    return [
        Route("GET", "/apps/{app_id}/endpoints", pages.index, _SECTION),
        Route("GET", one, pages.show, _SECTION),
        Route("GET", f"{one}/attempts", pages.attempts, _SECTION),
    ]
