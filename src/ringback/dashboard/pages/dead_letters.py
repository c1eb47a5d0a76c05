"""What was given up? Dead letters by endpoint and cause, and one by one, filtered by what stands in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import to_us
from ringback.dashboard.causes import advice_of_cause, words_of_cause
from ringback.dashboard.components import (
    BASE,
    Action,
    Badge,
    Choice,
    Empty,
    Head,
    Pager,
    Tab,
    address,
    pager,
    walk_of,
)
from ringback.dashboard.desk import Services
from ringback.dashboard.names import EndpointName, name_of
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, count, counted, moment
from ringback.errors import NotFound, Refused
from ringback.model.applications import Application
from ringback.model.deliveries import DeadLetter
from ringback.policy.paging import Page, Walk
from ringback.services.applications import Without
from ringback.services.dead_letters import Group, Picked
from ringback.services.naming import Named

_SECTION: Final = "dead_letters"
PATH: Final = "/dead-letters"
# Applications that the filter offers, and groups that a page shows: beyond, nobody looks through a list.
_APPS: Final = 200
_GROUPS: Final = 100
_NO_ENDPOINT: Final = "No endpoint here has this id; the page of an endpoint has its id, with a button that copies it."


class Chosen(msgspec.Struct, frozen=True):
    """The filters of an address, as they were written; "" = any. Times are `2026-11-25T16:44`, UTC."""

    app: str = ""
    endpoint: str = ""
    types: tuple[str, ...] = ()
    cause: str = ""
    since: str = ""
    until: str = ""
    ids: tuple[str, ...] = ()

    @property
    def fields(self) -> dict[str, str | Sequence[str]]:
        """The same as the fields of an address or a form."""
        return {
            "app": self.app,
            "endpoint": self.endpoint,
            "type": self.types,
            "cause": self.cause,
            "since": self.since,
            "until": self.until,
            "id": self.ids,
        }

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The same for hidden inputs."""
        return [(name, item) for name, value in self.fields.items() for item in ([value] if isinstance(value, str) else value) if item]

    def picked(self) -> Picked:
        """The same as the service wants it. Raises Refused."""
        return Picked(
            self.endpoint or None,
            self.types,
            instant_of(self.since),
            instant_of(self.until),
            self.cause or None,
            self.ids or None,
        )


class GroupRow(msgspec.Struct, frozen=True):
    """The dead letters of one endpoint with one cause."""

    endpoint: EndpointName
    cause: Badge
    meaning: str
    letters: str
    share: int
    last: Moment
    href: str
    replay: str
    discard: str


class GroupsView(msgspec.Struct, frozen=True):
    """What was given up, summed up."""

    here: str
    tabs: Sequence[Tab]
    apps: Sequence[Choice]
    rows: Sequence[GroupRow]
    more: int
    empty: Empty


class LetterRow(msgspec.Struct, frozen=True):
    """One dead letter as a line."""

    id: str
    href: str
    event_type: str
    endpoint: EndpointName
    badge: Badge
    detail: str
    attempts: str
    died: Moment


class ListView(msgspec.Struct, frozen=True):
    """A page of the list, with its filters. `problem`: what is wrong in them."""

    here: str
    replay: str
    discard: str
    tabs: Sequence[Tab]
    rows: Sequence[LetterRow]
    pager: Pager
    empty: Empty
    apps: Sequence[Choice]
    causes: Sequence[Choice]
    chosen: Chosen
    types: str
    filtered: bool
    problem: str


def chosen_of(values: Mapping[str, Sequence[str]]) -> Chosen:
    """The filters in a query or a form."""

    def one(name: str) -> str:
        return values.get(name, ("",))[0].strip()

    def many(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part.strip() for value in values.get(name, ()) for part in value.split(",") if part.strip()))

    return Chosen(one("app"), one("endpoint"), many("type"), one("cause"), one("since"), one("until"), many("id"))


def instant_of(text: str) -> int | None:
    """A time of a form (`2026-11-25T16:44`, UTC, with seconds or without) in microseconds since 1970; None for "". Raises Refused."""
    try:
        return to_us(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)) if text else None
    except (ValueError, OverflowError):
        raise Refused("invalid_range", f"{text[:40]!r} is no time; write it like 2026-11-25T16:44, in UTC") from None


def sentence_of(groups: Sequence[Group]) -> str:
    """How many there are, and why, in one sentence."""
    total = sum(group.letters for group in groups)
    if not total:
        return "Nothing was given up: every delivery has arrived, or has attempts left."
    endpoints = len({group.endpoint_id for group in groups})
    causes: dict[str, int] = {}
    for group in groups:
        causes[group.cause] = causes.get(group.cause, 0) + group.letters
    top, number = max(causes.items(), key=lambda item: item[1])
    share = "all of them" if number == total else "most of them" if number * 2 > total else f"{count(number)} of them"
    what = f"{counted(total, 'delivery', 'deliveries')} to {counted(endpoints, 'endpoint')} {'has' if total == 1 else 'have'}"
    return f"{what} no attempts left; {'the endpoint' if total == 1 else share} {_happened(top)}."


def _happened(cause: str) -> str:
    words = words_of_cause(cause)
    return words if words.startswith("answered") else f"failed with “{words}”"


def group_row(group: Group, named: Named | None, most: int, app: str, now_us: int) -> GroupRow:
    """A group as a line. `app` is the application that is looked at alone."""
    query = {"app": app, "endpoint": group.endpoint_id, "cause": group.cause}
    return GroupRow(
        name_of(group.endpoint_id, named),
        Badge("dead", words_of_cause(group.cause)),
        advice_of_cause(group.cause).meaning,
        count(group.letters),
        max(1, group.letters * 100 // most),
        moment(group.last_at, now_us),
        address(f"{PATH}/list", **query),
        address(f"{PATH}/replay", **query),
        address(f"{PATH}/discard", **query),
    )


def letter_row(letter: DeadLetter, named: Named | None, now_us: int) -> LetterRow:
    """A dead letter as a line."""
    return LetterRow(
        letter.id,
        f"{BASE}/apps/{letter.app_id}/messages/{letter.message_id}",
        letter.event_type,
        name_of(letter.endpoint_id, named),
        Badge("dead", words_of_cause(letter.cause)),
        letter.detail,
        count(letter.attempts),
        moment(letter.died_at, now_us),
    )


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def groups(self, visit: Visit) -> Reply:
        chosen = chosen_of(visit.query)
        application = await application_of(self._services, visit, chosen.app)
        found = await self._services.dead_letters.groups(visit.who, chosen.app or None)
        shown = found[:_GROUPS]
        names = await self._services.naming.endpoints(visit.who, (group.endpoint_id for group in shown))
        most = max((group.letters for group in shown), default=1)
        rows = [group_row(group, names.get(group.endpoint_id), most, chosen.app, visit.now_us) for group in shown]
        view = GroupsView(
            address(PATH),
            tabs_of(chosen, "groups", sum(group.letters for group in found)),
            await self._apps(visit, chosen.app),
            rows,
            len(found) - len(shown),
            _empty(self._services.url(), chosen.app != ""),
        )
        head = Head("Dead letters", sentence_of(found), actions=actions_of(chosen) if found else (), answers=True)
        return Shown("dead_letters/groups.html", view, head, app=application)

    async def index(self, visit: Visit) -> Reply:
        services, chosen, at = self._services, chosen_of(visit.query), visit.text("at")
        application = await application_of(services, visit, chosen.app)
        walk, _ = walk_of(at, lambda key: ids.is_id(ids.DEAD_LETTER, key))
        page, problem = Page[DeadLetter]([], done=True), ""
        try:
            page = await services.dead_letters.page(visit.who, chosen.app or None, walk, chosen.picked())
        except (NotFound, Refused) as error:
            # A filter is typed by hand: it stays there to be mended, beside what is wrong with it.
            problem = _NO_ENDPOINT if isinstance(error, NotFound) else f"{str(error)[:1].upper()}{str(error)[1:]}."
        names = await services.naming.endpoints(visit.who, (letter.endpoint_id for letter in page.items))
        rows = [letter_row(letter, names.get(letter.endpoint_id), visit.now_us) for letter in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        groups = await services.dead_letters.groups(visit.who, chosen.app or None)
        causes = list(dict.fromkeys(group.cause for group in groups))
        if chosen.cause and chosen.cause not in causes:
            causes.append(chosen.cause)
        view = ListView(
            address(f"{PATH}/list"),
            address(f"{PATH}/replay"),
            address(f"{PATH}/discard"),
            tabs_of(chosen, "list", sum(group.letters for group in groups)),
            rows,
            pager(page, first, last, at, f"{PATH}/list", **chosen.fields),
            _empty(services.url(), any(chosen.fields.values())),
            await self._apps(visit, chosen.app),
            [Choice("", "any cause", not chosen.cause), *(Choice(c, words_of_cause(c), c == chosen.cause) for c in causes)],
            chosen,
            ", ".join(chosen.types),
            any(chosen.fields.values()),
            problem,
        )
        head = Head("Dead letters", self._about(chosen, names), actions=actions_of(chosen) if rows else (), answers=True)
        return Shown("dead_letters/list.html", view, head, 422 if problem else 200, app=application)

    @staticmethod
    def _about(chosen: Chosen, names: Mapping[str, Named]) -> str:
        """What the list is limited to, in one sentence."""
        if not chosen.endpoint:
            return "Deliveries with no attempts left, the newest first. Each waits for somebody to replay or discard it."
        to = name_of(chosen.endpoint, names.get(chosen.endpoint)).name
        why = f" that {_happened(chosen.cause)}" if chosen.cause else ""
        return f"Deliveries to {to}{why}, the newest first."

    async def _apps(self, visit: Visit, chosen: str) -> list[Choice]:
        page = await self._services.applications.page(visit.who, Walk(_APPS, descending=True), Without())
        apps = [Choice(app.id, app.name, chosen in (app.id, app.uid)) for app in page.items]
        if chosen and not any(choice.chosen for choice in apps):
            apps.append(Choice(chosen, chosen, chosen=True))
        return [Choice("", "all applications", not chosen), *apps]


async def application_of(services: Services, visit: Visit, ref: str) -> Application | None:
    """The application that a filter names. Raises NotFound."""
    if not ref:
        return None
    try:
        return (await services.directory.find(visit.who.org_id, ref)).application
    except NotFound:
        raise NotFound(f"no application is called {ref!r}: it was deleted, or it belongs to another organisation") from None


def tabs_of(chosen: Chosen, current: str, total: int) -> list[Tab]:
    """The two ways to look at dead letters."""
    return [
        Tab("By endpoint and cause", address(PATH, app=chosen.app), current == "groups"),
        Tab("One by one", address(f"{PATH}/list", app=chosen.app), current == "list", count(total) if total else ""),
    ]


def actions_of(chosen: Chosen) -> tuple[Action, ...]:
    """What can be done with all that fits."""
    fields = {name: value for name, value in chosen.fields.items() if name != "id"}
    return (
        Action("Discard all…", address(f"{PATH}/discard", **fields), "danger"),
        Action("Replay all…", address(f"{PATH}/replay", **fields), "primary"),
    )


def _empty(url: str, filtered: bool) -> Empty:
    if filtered:
        return Empty("No such dead letter", "Nothing fits the filters; take some away.")
    return Empty(
        "No dead letters",
        "A delivery whose last attempt has failed comes here, and waits until somebody replays or discards it. The API lists them too.",
        f"curl {url}/api/v1/dead-letter -H 'authorization: Bearer TOKEN'",
    )


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [Route("GET", PATH, pages.groups, _SECTION), Route("GET", f"{PATH}/list", pages.index, _SECTION)]
