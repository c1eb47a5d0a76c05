"""What is done with requests in quarantine? Verified again and released, believed as they are, dropped: one, or all of a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ringback.clock import rfc3339
from ringback.dashboard.components import BASE, Head, Link, address
from ringback.dashboard.desk import Services
from ringback.dashboard.pages.dead_letters import instant_of
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.pages.quarantine import found
from ringback.dashboard.pages.sources import href_of, refs_of, trail_of
from ringback.dashboard.source_words import reason_words
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import counted, listed
from ringback.errors import CallerError, Conflict
from ringback.model.sources import Source
from ringback.services.releasing import Chosen, Left

_SECTION: Final = "quarantine"


class ManyView(msgspec.Struct, frozen=True):
    """What an act on many requests would do. `without` leads to the same without verification; `believe`: this is that."""

    action: str
    source: str
    reason: str
    until: str
    believe: bool
    effects: list[str]
    submit: str
    cancel: str
    danger: bool
    without: str


def releasing(released: int, refused: Mapping[str, int], *, believe: bool) -> list[str]:
    """What a release does, in sentences."""
    effects = []
    if released:
        words = f"{counted(released, 'request')} {'is' if released == 1 else 'are'}"
        how = "taken in without a check: make sure that you know who sent them" if believe else "believed now, as of when they came"
        effects.append(f"{words} {how}.")
        effects.append("They become messages and are delivered to the endpoints that want them, marked as released.")
    if refused:
        why = listed([f"{reason_words(reason)} ({number:,})" for reason, number in sorted(refused.items(), key=lambda item: -item[1])], 5)
        number = sum(refused.values())
        effects.append(f"{counted(number, 'request stays', 'requests stay')} refused and kept: {why}.")
    if not released and not refused:
        effects.append("Nothing is there any more: it was released or dropped meanwhile.")
    return effects


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    # -- one

    async def release(self, visit: Visit) -> Reply:
        return await self._let_out(visit, believe=False)

    async def believe(self, visit: Visit) -> Reply:
        return await self._let_out(visit, believe=True)

    async def _let_out(self, visit: Visit, *, believe: bool) -> Reply:
        source, item = await found(self._services, visit)
        here = f"{href_of(source)}/quarantine/{item.id}"
        try:
            made = await self._services.releases.one(visit.who, *refs_of(source), item.id, believe=believe)
        except (CallerError, Conflict) as error:
            return Moved(here, Notice(f"Not released: {error}.", "dead"))
        change = Change("quarantine.released", source.id, source.app_id, f"{item.id}{' without a check' if believe else ''}")
        if len(made) == 1:
            to = f"{BASE}/apps/{source.app_id}/messages/{made[0]}"
            return Moved(to, Notice("Released: it is a message now, and is delivered."), change)
        words = f"Released: {counted(len(made), 'message')} came of it." if made else "Released: the source takes no events of that type."
        return Moved(f"{href_of(source)}/events", Notice(words), change)

    async def ask_believe(self, visit: Visit) -> Reply:
        source, item = await found(self._services, visit)
        here = f"{href_of(source)}/quarantine/{item.id}"
        effects = [
            f"The request is taken in although its signature does not hold ({reason_words(item.reason)}).",
            "Anybody could have sent it: look at its body, and where it came from, before.",
            "It becomes a message and is delivered, marked as released and as not verified.",
        ]
        view = AskView(f"{here}/believe", effects, "Release without check", here)
        return Shown("ask.html", view, Head("Release it without a check?", item.id, self._trail(source)))

    async def ask_drop(self, visit: Visit) -> Reply:
        source, item = await found(self._services, visit)
        here = f"{href_of(source)}/quarantine/{item.id}"
        effects = ["It is forgotten for good. If the provider sends it again, it is judged anew."]
        return Shown("ask.html", AskView(f"{here}/drop", effects, "Drop request", here), Head("Drop it?", item.id, self._trail(source)))

    async def drop(self, visit: Visit) -> Reply:
        source, item = await found(self._services, visit)
        await self._services.quarantine.drop(visit.who, *refs_of(source), item.id)
        change = Change("quarantine.dropped", source.id, source.app_id, item.id)
        return Moved(address("/quarantine/list", source=source.id), Notice("The request was dropped."), change)

    # -- many

    async def ask_release_many(self, visit: Visit) -> Reply:
        source, reason, believe = await self._named(visit, visit.text("source")), visit.text("reason"), bool(visit.text("believe"))
        released, refused = 0, dict[str, int]()
        after: str | None = ""
        while after is not None:
            chosen = Chosen(reason or None, until_us=visit.now_us, after=after or None)
            left = await self._services.releases.preview(visit.who, *refs_of(source), chosen, believe=believe)
            released, refused, after = _added(released, refused, left)
        submit = f"Release {counted(released, 'request')}{' without check' if believe else ''}" if released else ""
        without = "" if believe or not refused else address("/quarantine/release", source=source.id, reason=reason, believe="1")
        view = ManyView(
            address("/quarantine/release"),
            source.id,
            reason,
            rfc3339(visit.now_us),
            believe,
            releasing(released, refused, believe=believe),
            submit,
            address("/quarantine/list", source=source.id, reason=reason),
            believe,
            without,
        )
        title = "Release them without a check?" if believe else "Verify these requests again, and release them?"
        return Shown("quarantine/many.html", view, Head(title, self._about(source, reason), self._trail(source)))

    async def release_many(self, visit: Visit) -> Reply:
        source, reason, believe = await self._named(visit, visit.field("source")), visit.field("reason"), bool(visit.field("believe"))
        until_us = instant_of(visit.field("until")) or visit.now_us
        released, refused = 0, dict[str, int]()
        after: str | None = ""
        while after is not None:
            chosen = Chosen(reason or None, until_us=until_us, after=after or None)
            left = await self._services.releases.many(visit.who, *refs_of(source), chosen, believe=believe)
            released, refused, after = _added(released, refused, left)
        to = f"{href_of(source)}/events" if released else address("/quarantine/list", source=source.id, reason=reason)
        words = f"{counted(released, 'request was', 'requests were')} released."
        if refused:
            words += f" {counted(sum(refused.values()), 'is', 'are')} still refused."
        detail = f"{counted(released, 'request')}{' without a check' if believe else ''}"
        change = Change("quarantine.released", source.id, source.app_id, detail) if released else None
        return Moved(to, Notice(words, "ok" if released else "dead"), change)

    async def ask_drop_many(self, visit: Visit) -> Reply:
        source, reason = await self._named(visit, visit.text("source")), visit.text("reason")
        heaps = await self._services.quarantine.heaps(visit.who)
        number = sum(heap.requests for heap in heaps if heap.source_id == source.id and reason in ("", heap.reason))
        effects = [
            f"{counted(number, 'request')} {'is' if number == 1 else 'are'} forgotten for good.",
            "What the provider sends again is judged anew. What it has given up cannot be had back.",
        ]
        view = ManyView(
            address("/quarantine/drop"),
            source.id,
            reason,
            rfc3339(visit.now_us),
            False,
            effects if number else ["Nothing is there any more: it was released or dropped meanwhile."],
            f"Drop {counted(number, 'request')}" if number else "",
            address("/quarantine/list", source=source.id, reason=reason),
            True,
            "",
        )
        return Shown("quarantine/many.html", view, Head("Drop these requests?", self._about(source, reason), self._trail(source)))

    async def drop_many(self, visit: Visit) -> Reply:
        source, reason = await self._named(visit, visit.field("source")), visit.field("reason")
        until_us = instant_of(visit.field("until")) or visit.now_us
        dropped = await self._services.quarantine.drop_many(visit.who, *refs_of(source), reason or None, until_us)
        change = Change("quarantine.dropped", source.id, source.app_id, counted(dropped, "request")) if dropped else None
        return Moved(f"{BASE}/quarantine", Notice(f"{counted(dropped, 'request was', 'requests were')} dropped."), change)

    async def _named(self, visit: Visit, ref: str) -> Source:
        return await self._services.source_views.named(visit.who, ref)

    @staticmethod
    def _about(source: Source, reason: str) -> str:
        return f"To {source.name}{f', refused with: {reason_words(reason)}' if reason else ''}."

    @staticmethod
    def _trail(source: Source) -> tuple[Link, ...]:
        return (*trail_of(source), Link("Quarantine", address("/quarantine/list", source=source.id)))


def _added(released: int, refused: dict[str, int], left: Left) -> tuple[int, dict[str, int], str | None]:
    for reason, number in left.refused.items():
        refused[reason] = refused.get(reason, 0) + number
    return released + left.released, refused, left.iterator


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/sources/{source_id}/quarantine/{item_id}"
    return [
        Route("POST", f"{one}/release", pages.release, _SECTION),
        Route("GET", f"{one}/believe", pages.ask_believe, _SECTION),
        Route("POST", f"{one}/believe", pages.believe, _SECTION),
        Route("GET", f"{one}/drop", pages.ask_drop, _SECTION),
        Route("POST", f"{one}/drop", pages.drop, _SECTION),
        Route("GET", "/quarantine/release", pages.ask_release_many, _SECTION),
        Route("POST", "/quarantine/release", pages.release_many, _SECTION),
        Route("GET", "/quarantine/drop", pages.ask_drop_many, _SECTION),
        Route("POST", "/quarantine/drop", pages.drop_many, _SECTION),
    ]
