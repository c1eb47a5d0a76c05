"""How is a source's subscription at its provider kept alive? The form of that, renewing it now, and an end to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import Choice, Head
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, problems_of
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.pages.sources import href_of, refs_of, trail_of
from ringback.dashboard.source_subscriptions import (
    FIELDS,
    SECRET_FIELDS,
    asked_of,
    parameter_hint,
    paused_choices,
    renewal_choices,
    values_of,
)
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.errors import InvalidField, Refused
from ringback.model.sources import Source
from ringback.services.subscriptions import SubscriptionIn

_SECTION: Final = "sources"
# Where a problem of a field is shown that is called otherwise in the form.
_SHOWN_AT: Final = {"periodS": "periodH"}


class FormView(msgspec.Struct, frozen=True):
    """The form, with what was written into it."""

    action: str
    values: Mapping[str, str]
    problems: Mapping[str, str]
    renewals: Sequence[Choice]
    paused: Sequence[Choice]
    parameter_hint: str
    credential_hint: str
    secret_hint: str
    new: bool
    cancel: str


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def edit(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        standings = await self._services.subscriptions.find(visit.who, *refs_of(source))
        return self._form(source, values_of(source, standings), {}, new=not standings)

    async def save(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        values = {name: visit.field(name) for name in FIELDS}
        standings = await self._services.subscriptions.find(visit.who, *refs_of(source))
        try:
            wanted = checked(SubscriptionIn, asked_of(values, standings[0].settings if standings else None))
            await self._services.subscriptions.put(visit.who, *refs_of(source), wanted)
        except (Wrong, InvalidField) as error:
            problems = {_SHOWN_AT.get(name, name): text for name, text in problems_of(error).items()}
            return self._form(source, values | dict.fromkeys(SECRET_FIELDS, ""), problems, new=not standings)
        change = Change("source.subscription_set", source.id, source.app_id, values["renewal"])
        told = "it is paused" if wanted.paused else "it is renewed at once" if wanted.expires_at is None else "it is renewed before it ends"
        return Moved(href_of(source), Notice(f"Saved; {told}."), change)

    def _form(self, source: Source, values: Mapping[str, str], problems: Mapping[str, str], *, new: bool) -> Shown:
        here = href_of(source)
        stays = "" if new else " Empty: the present one stays."
        view = FormView(
            action=f"{here}/subscription",
            values=values,
            problems=problems,
            renewals=renewal_choices(values["renewal"]),
            paused=paused_choices(values["paused"]),
            parameter_hint=parameter_hint(),
            credential_hint="A token, client secret, refresh token, or a hub's secret: kept encrypted, sent to the provider alone." + stays,
            secret_hint="That of the OAuth client, where the credential is a refresh token." + stays,
            new=new,
            cancel=here,
        )
        sentence = "Before the subscription ends, the provider is asked to let it live on."
        return Shown(
            "sources/subscription_form.html",
            view,
            Head("Keep the subscription alive", sentence, trail_of(source)),
            422 if problems else 200,
        )

    async def renew(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        try:
            await self._services.subscriptions.renew(visit.who, *refs_of(source))
        except Refused as error:
            return Moved(href_of(source), Notice(f"Not renewed: {error}.", "dead"))
        change = Change("source.subscription_renewed", source.id, source.app_id)
        return Moved(href_of(source), Notice("Its subscription is renewed at the provider now."), change)

    async def ask_delete(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        effects = [
            "Nobody renews the subscription any more: the provider calls until it ends.",
            "The credentials are forgotten here; the provider is told nothing.",
        ]
        view = AskView(f"{href_of(source)}/subscription/delete", effects, "Renew no more", href_of(source))
        return Shown("ask.html", view, Head("Renew this subscription no more?", source.name, trail_of(source)))

    async def delete(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        await self._services.subscriptions.delete(visit.who, *refs_of(source))
        change = Change("source.subscription_deleted", source.id, source.app_id)
        return Moved(href_of(source), Notice("Its subscription is renewed no more."), change)

    async def _source(self, visit: Visit) -> Source:
        return await self._services.source_views.named(visit.who, visit.params["source_id"])


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/sources/{source_id}/subscription"
    return [
        Route("GET", one, pages.edit, _SECTION),
        Route("POST", one, pages.save, _SECTION),
        Route("POST", f"{one}/renew", pages.renew, _SECTION),
        Route("GET", f"{one}/delete", pages.ask_delete, _SECTION),
        Route("POST", f"{one}/delete", pages.delete, _SECTION),
    ]
