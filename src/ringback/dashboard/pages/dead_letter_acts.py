"""What is done with dead letters? Replayed and discarded, one or all that fit: first what it would do, then done at once or as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.clock import rfc3339
from ringback.dashboard.components import BASE, Head, Link, address
from ringback.dashboard.desk import Services
from ringback.dashboard.names import EndpointName, name_of
from ringback.dashboard.pages.dead_letters import PATH, Chosen, application_of, chosen_of
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import count, counted, duration
from ringback.services.dead_letters import STEP, Picked, Share
from ringback.services.naming import Named

_SECTION: Final = "dead_letters"
# Endpoints that the preview names one by one.
_NAMED: Final = 20


class Part(msgspec.Struct, frozen=True):
    """What one endpoint has of a selection, and how long that takes."""

    endpoint: EndpointName
    letters: str
    skipped: str
    pace: str


class ActView(msgspec.Struct, frozen=True):
    """What an act on a selection would do."""

    action: str
    fields: Sequence[tuple[str, str]]
    effects: Sequence[str]
    parts: Sequence[Part]
    more: int
    submit: str
    cancel: str
    danger: bool
    skips: bool
    nothing: str


def pace_of(number: int, named: Named | None) -> tuple[str, float]:
    """How long so many attempts take at an endpoint's rate: in words, and in seconds (0 = as fast as it answers)."""
    if named is None or named.throttle is None or not number:
        return "as fast as it answers", 0.0
    seconds = number / named.throttle
    return f"about {duration(max(seconds, 1))} at {count(named.throttle)}/s", seconds


def replaying(shares: Sequence[Share], names: Mapping[str, Named]) -> list[str]:
    """What a replay does, in sentences."""
    ready = sum(share.replayable for share in shares)
    skipped = sum(share.letters for share in shares) - ready
    endpoints = [share for share in shares if share.replayable]
    effects = []
    if ready:
        whom = f"{counted(ready, 'delivery', 'deliveries')} to {counted(len(endpoints), 'endpoint')}"
        effects.append(f"{whom} {'gets' if ready == 1 else 'get'} one more attempt{'' if ready == 1 else ' each, the oldest first'}.")
        longest = max(pace_of(share.replayable, names.get(share.endpoint_id))[1] for share in endpoints)
        if longest:
            effects.append(f"That takes about {duration(max(longest, 1))}, as the endpoints' rates allow.")
        effects.append("What succeeds is no dead letter any more. What fails again stays one; nothing is repeated by itself.")
    if skipped:
        why = "the endpoint is disabled or deleted, the payload is gone, or an attempt waits already"
        effects.append(f"{counted(skipped, 'dead letter')} {'is' if skipped == 1 else 'are'} passed over: {why}.")
    return effects


def discarding(shares: Sequence[Share]) -> list[str]:
    """What a discard does, in sentences."""
    total = sum(share.letters for share in shares)
    whose = f"{counted(total, 'delivery', 'deliveries')} to {counted(len(shares), 'endpoint')}"
    return [
        f"{whose} will never be made: the dead letters leave the lists for good.",
        "The messages and their attempts stay in history. A single one can still be sent by hand, with Resend on its page.",
    ]


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask_replay(self, visit: Visit) -> Reply:
        return await self._ask(visit, discard=False)

    async def ask_discard(self, visit: Visit) -> Reply:
        return await self._ask(visit, discard=True)

    async def _ask(self, visit: Visit, *, discard: bool) -> Reply:
        chosen = chosen_of(visit.query)
        application = await application_of(self._services, visit, chosen.app)
        shares, names = await self._found(visit, chosen.picked(), chosen)
        ready = sum(share.letters if discard else share.replayable for share in shares)
        # Those that die from now on were not counted, and are not meant.
        until = chosen.until or rfc3339(visit.now_us)
        fields = [(name, value) for name, value in msgspec.structs.replace(chosen, until=until).pairs]
        view = ActView(
            f"{BASE}{PATH}/{'discard' if discard else 'replay'}",
            fields,
            discarding(shares) if discard else replaying(shares, names),
            [self._part(share, names) for share in shares[:_NAMED]],
            max(len(shares) - _NAMED, 0),
            f"{'Discard' if discard else 'Replay'} {counted(ready, 'delivery', 'deliveries')}" if ready else "",
            address(f"{PATH}/list", **{name: value for name, value in chosen.fields.items() if name != "id"}),
            discard,
            not discard and any(share.replayable < share.letters for share in shares),
            "" if shares else "Nothing fits: what was there has arrived meanwhile, or was discarded.",
        )
        title = "Discard these dead letters?" if discard else "Replay these dead letters?"
        head = Head(title, trail=(Link("Dead letters", f"{BASE}{PATH}"),))
        return Shown("dead_letters/act.html", view, head, app=application)

    async def _found(self, visit: Visit, picked: Picked, chosen: Chosen) -> tuple[list[Share], dict[str, Named]]:
        shares = await self._services.dead_letters.spread(visit.who, chosen.app or None, picked)
        names = await self._services.naming.endpoints(visit.who, (share.endpoint_id for share in shares[:500]))
        return shares, names

    @staticmethod
    def _part(share: Share, names: Mapping[str, Named]) -> Part:
        named = names.get(share.endpoint_id)
        skipped = share.letters - share.replayable
        pace, _ = pace_of(share.replayable, named)
        return Part(name_of(share.endpoint_id, named), count(share.letters), count(skipped) if skipped else "", pace)

    async def replay(self, visit: Visit) -> Reply:
        return await self._act(visit, discard=False)

    async def discard(self, visit: Visit) -> Reply:
        return await self._act(visit, discard=True)

    async def _act(self, visit: Visit, *, discard: bool) -> Reply:
        letters, who = self._services.dead_letters, visit.who
        chosen = chosen_of(visit.form)
        application = await application_of(self._services, visit, chosen.app)
        app, picked = None if application is None else application.id, chosen.picked()
        back = address(f"{PATH}/list", app=chosen.app, endpoint=chosen.endpoint, cause=chosen.cause)
        action = "dead_letters.discarded" if discard else "dead_letters.replayed"
        shares, _ = await self._found(visit, picked, chosen)
        total, endpoints = sum(share.letters for share in shares), len(shares)
        if not total:
            return Moved(back, Notice("Nothing fitted any more, so nothing was done."))
        detail = f"{counted(total, 'delivery', 'deliveries')} to {counted(endpoints, 'endpoint')}"
        if total > STEP:
            # Longer than somebody waits for a page: a task, that goes on whatever happens, and that can be stopped.
            task = await self._services.tasks.dead_letters(who, app, picked, discard=discard)
            return Moved(f"{BASE}/tasks/{task.id}", change=Change(action, task.id, app, detail))
        object_id = app or shares[0].app_id
        if discard:
            done = await letters.discard(who, app, picked, dry_run=False)
            words = f"{counted(done.count, 'dead letter was', 'dead letters were')} discarded."
            return Moved(back, Notice(words), Change(action, object_id, object_id, detail))
        done = await letters.replay(who, app, picked, dry_run=False)
        words = f"{counted(done.count, 'delivery gets', 'deliveries get')} one more attempt now."
        if done.skipped:
            words += f" {counted(done.skipped, 'was', 'were')} passed over."
        notice = Notice(words, "ok" if done.count else "dead")
        return Moved(back, notice, Change(action, object_id, object_id, detail))


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", f"{PATH}/replay", pages.ask_replay, _SECTION),
        Route("POST", f"{PATH}/replay", pages.replay, _SECTION),
        Route("GET", f"{PATH}/discard", pages.ask_discard, _SECTION),
        Route("POST", f"{PATH}/discard", pages.discard, _SECTION),
    ]
