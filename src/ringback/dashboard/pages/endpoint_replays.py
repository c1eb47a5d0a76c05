"""What does an endpoint get once more: what failed in a time, what it missed, or all? First how much that is, then as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US, rfc3339, to_datetime
from ringback.dashboard.components import BASE, Choice, Head, Link, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.pages.dead_letters import instant_of
from ringback.dashboard.pages.endpoints import href_of, title_of, trail_of
from ringback.dashboard.visits import Change, Moved, Reply, Route, Shown, Visit
from ringback.dashboard.words import count, counted, duration, utc
from ringback.errors import FieldProblem, InvalidField, Refused
from ringback.model.tasks import TaskKind
from ringback.services.tasks import BulkReplayIn, Foreseen, ReplayIn

_SECTION: Final = "endpoints"
# What can be sent again: its word in the address, what the choice is called, and the kind of task.
_WHATS: Final = (
    ("failed", "what failed, and has not arrived since", TaskKind.RECOVER),
    ("missing", "what was never sent to it: it was disabled, or not there yet", TaskKind.REPLAY_MISSING),
    ("all", "everything that was sent to it, arrived or not", TaskKind.BULK_REPLAY),
)
_KINDS: Final[Mapping[str, TaskKind]] = {word: kind for word, _, kind in _WHATS}
# Where somebody begins who chose no time: what failed since yesterday.
_DEFAULT_SPAN_US: Final = 86_400 * SECOND_US


class ReplayView(msgspec.Struct, frozen=True):
    """What is chosen, and what sending it would do. Without `submit` there is nothing that could be sent."""

    here: str
    whats: Sequence[Choice]
    since: str
    until: str
    fields: Sequence[tuple[str, str]]
    effects: Sequence[str]
    problem: str
    submit: str
    cancel: str


def amount_of(foreseen: Foreseen) -> str:
    """How many messages that is: `3 messages`, `1,000 or more messages`, and "" for none."""
    if not foreseen.whole:
        return f"{count(foreseen.count)} or more messages" if foreseen.count else "what fits"
    return counted(foreseen.count, "message") if foreseen.count else ""


def effects_of(foreseen: Foreseen, rate: int | None) -> list[str]:
    """What sending messages again does, in sentences; `rate` is the endpoint's, attempts a second."""
    number, amount = foreseen.count, amount_of(foreseen)
    if not amount:
        return ["Nothing fits: choose another time, or something else to send."]
    if not number:
        effects = ["There is too much to look through to count what fits. What does gets one more attempt each, the oldest first."]
    elif number == 1 and foreseen.whole:
        effects = [f"{amount} gets one more attempt."]
    else:
        effects = [f"{amount} get one more attempt each, the oldest first."]
    if rate is not None and number:
        least = "" if foreseen.whole else "at least "
        effects.append(f"That takes {least}about {duration(max(number / rate, 1))} at {count(rate)}/s.")
    effects.append("Retries that are planned go on beside it. It runs as a background task, which can be stopped.")
    return effects


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(self, visit: Visit) -> Reply:
        what, since, until = (visit.text(name) for name in ("what", "since", "until"))
        return await self._shown(visit, what, since, until, "")

    async def _shown(self, visit: Visit, what: str, since: str, until: str, problem: str) -> Shown:
        entry = await self._services.directory.find(visit.who.org_id, visit.params["app_id"])
        endpoint = await self._services.endpoints.get(visit.who, entry.application.id, visit.params["endpoint_id"])
        what = what if what in _KINDS else _WHATS[0][0]
        since = since or utc_field(visit.now_us - _DEFAULT_SPAN_US)
        # What fails from now on was not counted, and is not meant.
        end = until or rfc3339(visit.now_us)
        effects: list[str] = []
        submit = ""
        if endpoint.disabled:
            problem = "The endpoint is disabled and gets nothing. Enable it first."
        elif not problem:
            try:
                foreseen = await self._services.tasks.foresee(
                    visit.who, endpoint.app_id, endpoint.id, _KINDS[what], wanted_of(what, since, end)
                )
                effects = effects_of(foreseen, endpoint.throttle_rate)
                submit = f"Replay {amount}" if (amount := amount_of(foreseen)) else ""
            except (Refused, InvalidField) as error:
                problem = in_words(error)
        view = ReplayView(
            f"{href_of(endpoint)}/replay",
            choices([(word, label) for word, label, _ in _WHATS], what),
            since,
            until,
            (("what", what), ("since", since), ("until", end)),
            effects,
            problem,
            submit,
            href_of(endpoint),
        )
        head = Head("Replay", f"To {title_of(endpoint)}.", trail_of(entry.application, Link(title_of(endpoint), href_of(endpoint))))
        return Shown("endpoints/replay.html", view, head, 422 if problem and visit.method == "POST" else 200, entry.application)

    async def replay(self, visit: Visit) -> Reply:
        what, since, until = (visit.field(name).strip() for name in ("what", "since", "until"))
        try:
            wanted = wanted_of(what, since, until)
            task = await self._services.tasks.resend(visit.who, visit.params["app_id"], visit.params["endpoint_id"], _KINDS[what], wanted)
        except (Refused, InvalidField) as error:
            return await self._shown(visit, what, since, until, in_words(error))
        span = f"{utc(instant_of(since) or 0)} to {utc(instant_of(until) or visit.now_us)}"
        change = Change("messages.replayed", visit.params["endpoint_id"], task.app_id, f"{what}, {span}")
        return Moved(f"{BASE}/tasks/{task.id}", change=change)


def utc_field(at_us: int) -> str:
    """A time as a field of a form holds it."""
    return to_datetime(at_us).strftime("%Y-%m-%dT%H:%M")


def wanted_of(what: str, since: str, until: str) -> ReplayIn:
    """What a form asks for. Raises InvalidField, and Refused."""
    if what not in _KINDS:
        raise InvalidField(FieldProblem(("body", "what"), f"{what!r} is nothing that can be sent again; choose one of the list"))
    begin, end = instant_of(since), instant_of(until)
    if begin is None:
        raise Refused("invalid_range", "since is empty; write when the messages begin, in UTC")
    shape = BulkReplayIn if what == "all" else ReplayIn
    return shape(since=to_datetime(begin), until=None if end is None else to_datetime(end))


def in_words(error: Refused | InvalidField) -> str:
    """What is wrong with a time, as a sentence."""
    text = "; ".join(problem.msg for problem in error.problems) if isinstance(error, InvalidField) else str(error)
    return f"{text[:1].upper()}{text[1:]}."


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/apps/{app_id}/endpoints/{endpoint_id}/replay"
    return [Route("GET", one, pages.ask, _SECTION), Route("POST", one, pages.replay, _SECTION)]
