"""What was sent? The messages of an application, the newest first, filtered by what stands in the address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, ROWS, Action, Badge, Choice, Empty, Head, Link, Pager, Tab, address, choices, pager
from ringback.dashboard.desk import Services
from ringback.dashboard.journeys import badges_of_tally
from ringback.dashboard.searches import Chosen, SearchView, Written, help_lines, look_for
from ringback.dashboard.visits import Moved, Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, moment
from ringback.model.deliveries import AttemptStatus
from ringback.model.messages import Message
from ringback.policy.paging import Walk
from ringback.policy.windows import Ask
from ringback.services.journeys import Tally
from ringback.services.messages import MessageFilter

_SECTION: Final = "messages"
# How far back a list looks, by its word in the address; seconds.
_WITHIN: Final = {"15m": 900, "1h": 3_600, "24h": 86_400, "7d": 604_800}
_WITHIN_WORDS: Final = (("", "any time"), ("15m", "last 15 minutes"), ("1h", "last hour"), ("24h", "last 24 hours"), ("7d", "last 7 days"))
# How messages stand with an endpoint, by the word in the address.
_STATUS_OF: Final = {
    "failed": AttemptStatus.FAIL,
    "retrying": AttemptStatus.SENDING,
    "waiting": AttemptStatus.PENDING,
    "delivered": AttemptStatus.SUCCESS,
    "cancelled": AttemptStatus.CANCELED,
}
# The search spells this one as the API does.
_SEARCHED_AS: Final = {"cancelled": "canceled"}
_STATUS_WORDS: Final = (("", "any status"), *((word, word) for word in _STATUS_OF))
# Event types that the filter offers.
_OFFERED: Final = 250


class MessageRow(msgspec.Struct, frozen=True):
    """One line of the list."""

    id: str
    href: str
    event_type: str
    event_id: str
    badges: Sequence[Badge]
    tags: Sequence[str]
    channels: Sequence[str]
    at: Moment


class ListView(msgspec.Struct, frozen=True):
    """A page of the list, with its filters."""

    here: str
    rows: Sequence[MessageRow]
    pager: Pager
    empty: Empty
    tabs: Sequence[Tab]
    types: Sequence[Choice]
    within: Sequence[Choice]
    statuses: Sequence[Choice]
    tag: str
    channel: str
    q: str
    filtered: bool
    search_on: bool
    help: Sequence[Written]
    found: SearchView | None


def row_of(message: Message, tally: Tally, now_us: int) -> MessageRow:
    """A message as a line."""
    return MessageRow(
        message.id,
        f"{BASE}/apps/{message.app_id}/messages/{message.id}",
        message.event_type,
        message.event_id or "",
        badges_of_tally(message, tally.delivered, tally.retrying, tally.failed, tally.cancelled),
        message.tags or (),
        message.channels or (),
        moment(message.created_at, now_us),
    )


def tabs_of(app_id: str, current: str) -> list[Tab]:
    """The two ways to look at messages: what was, and what is happening."""
    here = f"{BASE}/apps/{app_id}/messages"
    return [Tab("History", here, current == "history"), Tab("Live", f"{here}/live", current == "live")]


def command_of(url: str, app_id: str) -> str:
    """The command that sends a first message."""
    return (
        f"curl -X POST {url}/api/v1/app/{app_id}/msg -H 'authorization: Bearer TOKEN' "
        '-d \'{"eventType": "order.created", "payload": {"order": 1}}\''
    )


class _Chosen(msgspec.Struct, frozen=True):
    """The filters of a list, and where in it the page begins."""

    types: tuple[str, ...]
    tag: str
    channel: str
    status: str
    within: str
    at: str


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        services = self._services
        entry = await services.directory.find(visit.who.org_id, visit.params["app_id"])
        application = entry.application
        q, at, within, tag, channel, status = (visit.text(name) for name in ("q", "at", "within", "tag", "channel", "status"))
        types = visit.texts("type")
        named = await services.finder.by_id(visit.who, q, application.id, visit.now_us) if q else None
        if named is not None and named.kind in ("message", "attempt", "dead_letter"):
            return Moved(f"{BASE}/apps/{named.app_id}/messages/{named.id if named.kind == 'message' else named.message_id}")
        chosen = _Chosen(types, tag, channel, status, within, at)
        path = f"/apps/{application.id}/messages"
        found, rows, pages = None, list[MessageRow](), Pager(None, None)
        if q:
            looked = Chosen(q, types, tag, channel, _SEARCHED_AS.get(status, status), within if within in _WITHIN else "")
            more = {"q": q, "type": types, "tag": tag, "channel": channel, "within": within, "status": status}
            found = await look_for(services, visit, looked, application.id, path, **more)
        else:
            rows, pages = await self._listed(visit, application.id, path, chosen)
        filtered = bool(types or tag or channel or within or status or q)
        view = ListView(
            address(path),
            rows,
            pages,
            self._empty(application.id, filtered),
            tabs_of(application.id, "history"),
            await self._types(visit, types),
            choices(_WITHIN_WORDS, within),
            choices(_STATUS_WORDS, status),
            tag,
            channel,
            q,
            filtered,
            services.search.on,
            help_lines(),
            found,
        )
        send = Action("Send message", f"{BASE}/apps/{application.id}/send")
        head = Head("Messages", trail=(Link(application.name, f"{BASE}/apps/{application.id}"),), actions=(send,))
        return Shown("messages/list.html", view, head, 422 if found is not None and found.problem else 200, app=application)

    async def _listed(self, visit: Visit, app_id: str, path: str, chosen: _Chosen) -> tuple[list[MessageRow], Pager]:
        within, at = chosen.within, chosen.at
        cursor = at.removeprefix("-")
        known = ids.is_id(ids.MESSAGE, cursor)
        walk_ask = Ask(ROWS, cursor if known else None, at.startswith("-"), visit.now_us + SECOND_US if within in _WITHIN else None)
        ask = msgspec.structs.replace(walk_ask, after_us=visit.now_us - _WITHIN[within] * SECOND_US) if within in _WITHIN else walk_ask
        page, tallies = await self._services.journeys.page(
            visit.who,
            app_id,
            ask,
            MessageFilter(chosen.types, chosen.channel or None, chosen.tag or None),
            _STATUS_OF.get(chosen.status),
        )
        rows = [row_of(message, tallies.get(message.id, Tally()), visit.now_us) for message in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        query = {"type": chosen.types, "tag": chosen.tag, "channel": chosen.channel, "within": within, "status": chosen.status}
        return rows, pager(page, first, last, at, path, **query)

    def _empty(self, app_id: str, filtered: bool) -> Empty:
        if filtered:
            return Empty("No such message", "Nothing fits the filters; take some away.")
        return Empty("No message yet", "Send one, and it is here at once.", command_of(self._services.url(), app_id))

    async def _types(self, visit: Visit, chosen: Sequence[str]) -> list[Choice]:
        page = await self._services.event_types.page(visit.who, Walk(_OFFERED, descending=False), archived=True)
        names = [event_type.name for event_type in page.items]
        names += [name for name in chosen if name not in names]
        return [Choice("", "any event type", not chosen), *(Choice(name, name, name in chosen) for name in names)]


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [Route("GET", "/apps/{app_id}/messages", pages.index, _SECTION)]
