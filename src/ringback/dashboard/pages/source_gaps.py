"""What did not come from a source? The form of its comparison with the provider, and the list of what is awaited of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.dashboard.components import Choice, Empty, Head, Pager, address, choices, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, problems_of
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.pages.sources import href_of, refs_of, trail_of
from ringback.dashboard.source_gaps import (
    FIELDS,
    SECRET_FIELDS,
    ExpectationRow,
    asked_of,
    expectation_row,
    listing_choices,
    missing_choices,
    parameter_hint,
    paused_choices,
    values_of,
)
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.errors import InvalidField, Refused
from ringback.model.expectations import STATES
from ringback.model.sources import Source
from ringback.services.expectations import PREFIX
from ringback.services.reconciliations import ReconciliationIn

_SECTION: Final = "sources"
# Where a problem of a field is shown that is called otherwise in the form.
_SHOWN_AT: Final = {"intervalS": "intervalMin", "lookbackS": "lookbackH", "settleS": "settleMin"}
_STATES: Final = (("", "any"), ("open", "awaited"), ("met", "came"), ("missed", "missed"))


class FormView(msgspec.Struct, frozen=True):
    """The form, with what was written into it."""

    action: str
    values: Mapping[str, str]
    problems: Mapping[str, str]
    listings: Sequence[Choice]
    missing: Sequence[Choice]
    paused: Sequence[Choice]
    parameter_hint: str
    credential_hint: str
    secret_hint: str
    new: bool
    cancel: str


class ExpectationsView(msgspec.Struct, frozen=True):
    """What is awaited of a source, the newest first."""

    here: str
    rows: Sequence[ExpectationRow]
    pager: Pager
    empty: Empty
    states: Sequence[Choice]


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def edit(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        standing = await self._services.reconciliations.find(visit.who, *refs_of(source))
        settings = None if standing is None else standing.settings
        return self._form(source, values_of(source, settings), {}, new=standing is None)

    async def save(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        values = {name: visit.field(name) for name in FIELDS}
        standing = await self._services.reconciliations.find(visit.who, *refs_of(source))
        try:
            wanted = checked(ReconciliationIn, asked_of(values, None if standing is None else standing.settings))
            await self._services.reconciliations.put(visit.who, *refs_of(source), wanted)
        except (Wrong, InvalidField) as error:
            problems = {_SHOWN_AT.get(name, name): text for name, text in problems_of(error).items()}
            return self._form(source, values | dict.fromkeys(SECRET_FIELDS, ""), problems, new=standing is None)
        change = Change("source.reconciliation_set", source.id, source.app_id, values["listing"])
        return Moved(href_of(source), Notice("Saved. The first run is under way." if not wanted.paused else "Saved; it is paused."), change)

    def _form(self, source: Source, values: Mapping[str, str], problems: Mapping[str, str], *, new: bool) -> Shown:
        here, stays = href_of(source), "" if new else " Empty: the present one stays."
        view = FormView(
            action=f"{here}/reconciliation",
            values=values,
            problems=problems,
            listings=listing_choices(values["listing"]),
            missing=missing_choices(values["missing"]),
            paused=paused_choices(values["paused"]),
            parameter_hint=parameter_hint(),
            credential_hint="A token, client secret or refresh token: kept encrypted, sent to the provider's API alone." + stays,
            secret_hint="Of an OAuth client, for lists whose credential is a refresh token." + stays,
            new=new,
            cancel=here,
        )
        sentence = "The provider's API is asked what it sent, or what changed; what never came is taken in once."
        return Shown(
            "sources/reconciliation.html",
            view,
            Head("Find the calls that never came", sentence, trail_of(source)),
            422 if problems else 200,
        )

    async def run(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        try:
            await self._services.reconciliations.run(visit.who, *refs_of(source))
        except Refused as error:
            return Moved(href_of(source), Notice(f"Not run: {error}.", "dead"))
        change = Change("source.reconciliation_run", source.id, source.app_id)
        return Moved(href_of(source), Notice("It is compared with its provider now, as far back as it may look."), change)

    async def ask_delete(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        effects = [
            "The provider is asked no more, and the credential is forgotten.",
            "What was found stays: messages and their deliveries.",
        ]
        view = AskView(f"{href_of(source)}/reconciliation/delete", effects, "Stop comparing", href_of(source))
        return Shown("ask.html", view, Head("Compare this source no more?", source.name, trail_of(source)))

    async def delete(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        await self._services.reconciliations.delete(visit.who, *refs_of(source))
        change = Change("source.reconciliation_deleted", source.id, source.app_id)
        return Moved(href_of(source), Notice("It is compared with its provider no more."), change)

    async def expectations(self, visit: Visit) -> Reply:
        source, at, wanted = await self._source(visit), visit.text("at"), visit.text("state")
        state = next((known for known in STATES if known == wanted), None)
        walk, _ = walk_of(at, lambda key: ids.is_id(PREFIX, key))
        page = await self._services.expectations.page(visit.who, *refs_of(source), walk, state)
        rows = [expectation_row(source, item, visit.now_us) for item in page.items]
        first, last = (page.items[0].id, page.items[-1].id) if rows else (None, None)
        path = f"/sources/{source.id}/expectations"
        empty = Empty("Nothing is awaited", "Programs say through the API which event must come by when; what does not come is shown here.")
        view = ExpectationsView(
            address(path), rows, pager(page, first, last, at, path, state=state or ""), empty, choices(_STATES, state or "")
        )
        return Shown("sources/expectations.html", view, Head("Awaited events", f"Of {source.name}.", trail_of(source)))

    async def _source(self, visit: Visit) -> Source:
        return await self._services.source_views.named(visit.who, visit.params["source_id"])


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/sources/{source_id}"
    return [
        Route("GET", f"{one}/reconciliation", pages.edit, _SECTION),
        Route("POST", f"{one}/reconciliation", pages.save, _SECTION),
        Route("POST", f"{one}/reconciliation/run", pages.run, _SECTION),
        Route("GET", f"{one}/reconciliation/delete", pages.ask_delete, _SECTION),
        Route("POST", f"{one}/reconciliation/delete", pages.delete, _SECTION),
        Route("GET", f"{one}/expectations", pages.expectations, _SECTION),
    ]
