"""What must a payload be for an endpoint to get it? The form that sets its filter, and tries it on past messages first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import BASE, Badge, Head, Link
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong
from ringback.dashboard.pages.endpoints import filter_text, href_of, title_of, trail_of
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, count, counted, moment
from ringback.policy.filters import filter_rule, written
from ringback.services.filters import DEFAULT_TRIED, Example, PayloadFilterTryIn, Trial

_SECTION: Final = "endpoints"
_EFFECTS: Final = (
    "It is asked when a message is accepted, after event types and channels; of one that waits for its time, when that has come.",
    "Resends, test events, and replays of what was sent before are sent whatever it says. Retries that are due stay so.",
)
_PASSES: Final = Badge("ok", "passes")
_FAILS: Final = Badge("off", "does not pass")
# Where somebody begins who has no filter.
_PLACEHOLDER: Final = '{"data.amount": {"$gte": 100}}'


class TriedRow(msgspec.Struct, frozen=True):
    """A message that the filter was tried on; `failing` is the part of the filter that it does not fit, "" when it passes."""

    id: str
    href: str
    event_type: str
    badge: Badge
    failing: str
    at: Moment


class TrialView(msgspec.Struct, frozen=True):
    """What the filter would have done, in a sentence, and some of the messages."""

    words: str
    rows: Sequence[TriedRow]


class FilterView(msgspec.Struct, frozen=True):
    """The form, with what was written into it, and what came of trying that."""

    action: str
    effects: Sequence[str]
    filter: str
    placeholder: str
    problems: Mapping[str, str]
    trial: TrialView | None
    tried: str
    kept: bool
    cancel: str


def trial_of(trial: Trial, app_id: str, now_us: int) -> TrialView:
    """What came of a trial, for its page."""
    total = trial.passed + trial.failed
    gone = f" Of {counted(trial.gone, 'more')} the payload is gone." if trial.gone else ""
    if not total:
        return TrialView(f"There is no message to try it on: none of its event types and channels has come.{gone}", ())
    words = (
        f"Of the last {counted(total, 'message')} that the endpoint wants by event type and channels, "
        f"{count(trial.passed)} would pass and {count(trial.failed)} would not.{gone}"
    )
    if total > len(trial.passing) + len(trial.failing):
        words += " The newest of both:"
    rows = sorted((*trial.passing, *trial.failing), key=lambda example: example.message.id, reverse=True)
    return TrialView(words, [_row(example, app_id, now_us) for example in rows])


def _row(example: Example, app_id: str, now_us: int) -> TriedRow:
    message = example.message
    return TriedRow(
        message.id,
        f"{BASE}/apps/{app_id}/messages/{message.id}",
        message.event_type,
        _PASSES if example.failing is None else _FAILS,
        example.failing or "",
        moment(message.created_at, now_us),
    )


def document_of(text: str) -> dict[str, object]:
    """The filter that somebody wrote. Raises Wrong."""
    try:
        document = written(text)
    except ValueError as error:
        raise Wrong({"filter": str(error)}) from None
    problems = filter_rule(document)
    if problems:
        raise Wrong({"filter": "; ".join(f"{' › '.join(where)}: {words}" if where else words for where, words in problems)})
    return document


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(self, visit: Visit) -> Reply:
        document = await self._services.filters.get(visit.who, visit.params["app_id"], visit.params["endpoint_id"])
        return await self._form(visit, filter_text(document), {})

    async def act(self, visit: Visit) -> Reply:
        text = visit.field("filter").strip()
        if visit.field("act") == "remove":
            return await self._set(visit, None)
        try:
            document = document_of(text)
        except Wrong as error:
            return await self._form(visit, text, error.problems)
        if visit.field("act") != "try":
            return await self._set(visit, document)
        app_id, endpoint_id = visit.params["app_id"], visit.params["endpoint_id"]
        trial = await self._services.filters.tried(visit.who, app_id, endpoint_id, PayloadFilterTryIn(filter=document))
        return await self._form(visit, text, {}, trial_of(trial, app_id, visit.now_us))

    async def _set(self, visit: Visit, document: dict[str, object] | None) -> Moved:
        app_id, endpoint_id = visit.params["app_id"], visit.params["endpoint_id"]
        await self._services.filters.set(visit.who, app_id, endpoint_id, document)
        endpoint = await self._services.endpoints.get(visit.who, app_id, endpoint_id)
        words = (
            "Saved. The filter decides from now on." if document is not None else "The filter is gone: payloads decide nothing any more."
        )
        return Moved(href_of(endpoint), Notice(words), Change("endpoint.updated", endpoint.id, endpoint.app_id, "payload filter"))

    async def _form(self, visit: Visit, text: str, problems: Mapping[str, str], trial: TrialView | None = None) -> Shown:
        app_id = visit.params["app_id"]
        application = (await self._services.directory.find(visit.who.org_id, app_id)).application
        endpoint = await self._services.endpoints.get(visit.who, app_id, visit.params["endpoint_id"])
        here = href_of(endpoint)
        view = FilterView(
            f"{here}/filter",
            _EFFECTS,
            text,
            _PLACEHOLDER,
            problems,
            trial,
            f"Try on the last {counted(DEFAULT_TRIED, 'message')}",
            endpoint.payload_filter is not None,
            here,
        )
        head = Head("Filter", f"Of {title_of(endpoint)}.", trail_of(application, Link(title_of(endpoint), here)))
        return Shown("endpoints/filter.html", view, head, 422 if problems else 200, application)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    path = "/apps/{app_id}/endpoints/{endpoint_id}/filter"
    return [Route("GET", path, pages.ask, _SECTION), Route("POST", path, pages.act, _SECTION)]
