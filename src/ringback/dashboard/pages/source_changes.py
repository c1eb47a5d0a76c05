"""How is a source changed? Made for a provider, edited, switched off and on, deleted; its URL and its secrets rotated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Choice, Head, Link, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, problems_of
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.pages.sources import href_of, refs_of, trail_of
from ringback.dashboard.providers import Guide, Offer, guide_of, name_of_type, offers
from ringback.dashboard.source_forms import (
    FIELDS,
    Needs,
    advanced,
    asked_of,
    encoding_choices,
    needs_of,
    new_values,
    schema_choices,
    shown_at,
    values_of,
    verify_choices,
    wanted_of,
)
from ringback.dashboard.source_words import secrets_sentence
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import bounded, counted, duration, listed, utc
from ringback.errors import Conflict, InvalidField, NotFound, Refused
from ringback.model.sources import Source
from ringback.policy.paging import Walk
from ringback.policy.sources import CUSTOM, is_known
from ringback.services.applications import Without
from ringback.services.previews import MOST
from ringback.services.sources import TOKEN_GRACE_S, SecretRotateIn, SourceIn

_SECTION: Final = "sources"
# Applications that the form offers.
_APPS: Final = 200
# How long former secrets may be believed, seconds.
_GRACES: Final = (
    ("0", "not at all"),
    ("3600", "for an hour"),
    ("86400", "for a day"),
    ("604800", "for a week"),
    ("2592000", "for 30 days"),
)
_DEFAULT_GRACE: Final = "86400"
# Fields that are never folded away.
_ON_TOP: Final = (
    "name",
    "app",
    "secret",
    "encoding",
    "route",
    "scheme",
    "publicUrl",
    "verifyToken",
    "publicKey",
    "topics",
    "awaitHandshake",
)


class PickView(msgspec.Struct, frozen=True):
    """Types that a new source may have, and what was typed."""

    here: str
    q: str
    offers: Sequence[Offer]


class FormView(msgspec.Struct, frozen=True):
    """The form of a source, with what was written into it."""

    action: str
    type: str
    values: Mapping[str, str]
    problems: Mapping[str, str]
    needs: Needs
    apps: Sequence[Choice]
    verify: Sequence[Choice]
    encodings: Sequence[Choice]
    modes: Sequence[Choice]
    unfolded: bool
    guide: Guide | None
    submit: str
    cancel: str
    new: bool


class SecretView(msgspec.Struct, frozen=True):
    """The form of a new secret."""

    action: str
    effects: Sequence[str]
    hint: str
    graces: Sequence[Choice]
    encodings: Sequence[Choice]
    problems: Mapping[str, str]
    cancel: str


def rotating_url(source: Source, now_us: int) -> list[str]:
    """What a rotation of the URL does, in sentences."""
    effects = [
        "The source gets a new URL, which works at once. Paste it at the provider.",
        f"The present one works until {utc(now_us + TOKEN_GRACE_S * SECOND_US)}, so that nothing is missed meanwhile.",
    ]
    if source.route is not None:
        effects.append(f"The readable URL /{source.route} stays as it is.")
    return effects


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def new(self, visit: Visit) -> Reply:
        kind, q = visit.text("type"), visit.text("q")
        if kind and is_known(kind):
            values = new_values(kind) | {"app": visit.text("app")}
            return await self._form(visit, None, kind, values, {})
        found = offers(q)
        view = PickView(f"{BASE}/sources/new", q, found)
        head = Head("New source", "Choose who sends. What a provider signs and wants to be answered is known here.", trail_of())
        return Shown("sources/pick.html", view, head)

    async def create(self, visit: Visit) -> Reply:
        values, kind = _written(visit), visit.field("type")
        if not is_known(kind):
            raise NotFound(f"{kind[:60]!r} is no type of source; choose one from the list")
        app = values["app"] or None
        try:
            secret = values["secret"].strip()
            asked: dict[str, Any] = {**asked_of(values), "type": kind}
            if secret:
                encoding = values["encoding"] or None
                asked["secrets"] = [secret if encoding is None else {"text": secret, "encoding": encoding}]
            source = await self._services.sources.create(visit.who, app, checked(SourceIn, asked))
        except (Wrong, InvalidField, Conflict) as error:
            return await self._form(visit, None, kind, values, _problems(error))
        change = Change("source.created", source.id, source.app_id, f"{source.name}, {name_of_type(source.type)}")
        then = "Paste its URL at the provider." if source.cron is None else "It sends when it is due."
        return Moved(href_of(source), Notice(f"The source was created. {then}"), change)

    async def edit(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        return await self._form(visit, source, source.type, values_of(source), {})

    async def save(self, visit: Visit) -> Reply:
        former, values = await self._source(visit), _written(visit)
        try:
            asked = asked_of(values)
            if former.type != CUSTOM and not values["scheme"].strip():
                # A scheme that was named through the API is not in this form.
                asked.pop("scheme")
            asked = {**wanted_of(former), **asked}
            if asked["answer"] is not None and former.rules.answer is not None:
                # What is not in the form stays.
                kept = wanted_of(former)["answer"]
                asked["answer"] = {**kept, **asked["answer"]}
            created = await self._services.sources.upsert(visit.who, *refs_of(former), checked(SourceIn, asked))
        except (Wrong, InvalidField, Conflict) as error:
            return await self._form(visit, former, former.type, values, _problems(error))
        before, after = values_of(former), values_of(created.source)
        changed = [name for name in after if before[name] != after[name]]
        notice = Notice("Saved. It holds from the next request on." if changed else "Nothing was changed.")
        change = Change("source.updated", former.id, former.app_id, listed(changed, 9)) if changed else None
        return Moved(href_of(former), notice, change)

    async def _source(self, visit: Visit) -> Source:
        return await self._services.source_views.named(visit.who, visit.params["source_id"])

    async def _form(self, visit: Visit, source: Source | None, kind: str, values: Mapping[str, str], problems: Mapping[str, str]) -> Shown:
        page = await self._services.applications.page(visit.who, Walk(_APPS, descending=True), Without())
        apps = [Choice("", "endpoints of its own", not values["app"]), *(Choice(a.id, a.name, a.id == values["app"]) for a in page.items)]
        problems = shown_at(problems)
        if values["secret"]:
            # A secret comes back in no page.
            values = {**values, "secret": ""}
            problems = {"secret": "paste it once more: it is not sent back"} | problems
        base = new_values(kind) if source is None else values_of(source)
        here = f"{BASE}/sources" if source is None else href_of(source)
        needs = needs_of(kind)
        view = FormView(
            action=here if source is None else f"{here}/edit",
            type=kind,
            values=values,
            problems=problems,
            needs=needs,
            apps=apps,
            verify=verify_choices(values["verify"]),
            encodings=encoding_choices(values["encoding"]),
            modes=schema_choices(values["schemaMode"]),
            unfolded=advanced(values, base, problems, _ON_TOP),
            guide=guide_of(kind),
            submit="Create source" if source is None else "Save",
            cancel=f"{here}/new" if source is None else here,
            new=source is None,
        )
        title = f"New source: {name_of_type(kind)}" if source is None else f"Edit {source.name}"
        trail = (*trail_of(), Link("New source", f"{BASE}/sources/new")) if source is None else trail_of(source)
        return Shown("sources/form.html", view, Head(title, trail=trail), 422 if problems else 200)

    async def ask_secret(self, visit: Visit) -> Reply:
        return await self._secret_form(visit, await self._source(visit), _DEFAULT_GRACE, "", {})

    async def _secret_form(self, visit: Visit, source: Source, grace: str, encoding: str, problems: Mapping[str, str]) -> Shown:
        here = href_of(source)
        effects = [
            secrets_sentence(source, visit.now_us),
            "The new one is believed at once. While former ones are too, the provider can change over without a loss.",
        ]
        hint = needs_of(source.type).secret_hint
        view = SecretView(f"{here}/secret", effects, hint, choices(_GRACES, grace), encoding_choices(encoding), problems, here)
        return Shown("sources/secret.html", view, Head("Another secret", f"Of {source.name}.", trail_of(source)), 422 if problems else 200)

    async def add_secret(self, visit: Visit) -> Reply:
        source, secret, encoding = await self._source(visit), visit.field("secret").strip(), visit.field("encoding")
        grace = visit.field("grace")
        grace = grace if grace in dict(_GRACES) else _DEFAULT_GRACE
        try:
            wanted = checked(SecretRotateIn, {"secret": secret, "encoding": encoding or None, "gracePeriodSeconds": int(grace)})
            await self._services.sources.rotate_secret(visit.who, *refs_of(source), wanted)
        except (Wrong, InvalidField) as error:
            found = _problems(error)
            return await self._secret_form(visit, source, grace, encoding, {"secret": "; ".join(found.values())})
        kept = f"former ones are believed for {duration(int(grace))}" if grace != "0" else "former ones are believed no more"
        change = Change("source.secret_rotated", source.id, source.app_id, kept)
        return Moved(href_of(source), Notice(f"The new secret is believed; {kept}."), change)

    async def ask_rotate(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        here = href_of(source)
        view = AskView(f"{here}/rotate", rotating_url(source, visit.now_us), "Rotate URL", here, danger=False)
        return Shown("ask.html", view, Head("Rotate the URL?", source.name, trail_of(source)))

    async def rotate(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        try:
            await self._services.sources.rotate_token(visit.who, *refs_of(source))
        except Refused as error:
            return Moved(href_of(source), Notice(f"Not rotated: {error}.", "dead"))
        change = Change("source.url_rotated", source.id, source.app_id)
        return Moved(href_of(source), Notice("The source has a new URL. Paste it at the provider within 48 hours."), change)

    async def ask_disable(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        effects = [
            "Its URL answers 404 at once, as if there were no such source. Most providers try again for hours or days, then give up.",
            "What it took in before is delivered all the same.",
        ]
        if source.cron is not None:
            effects = [
                "It sends nothing until it is enabled, and makes up for nothing then.",
                "What it sent before is delivered all the same.",
            ]
        view = AskView(f"{href_of(source)}/disable", effects, "Disable source", href_of(source))
        return Shown("ask.html", view, Head("Disable this source?", source.name, trail_of(source)))

    async def ask_delete(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        watched = await self._services.source_views.watch(visit.who, source.id)
        effects = ["Its URL answers 404 at once, for good. The provider will report failures: remove the webhook there."]
        if source.cron is not None:
            effects = ["It sends nothing any more."]
        kept = sum(heap.requests for heap in watched.heaps)
        if kept:
            effects.append(f"{counted(kept, 'request')} in quarantine {'is' if kept == 1 else 'are'} dropped.")
        if source.ingest:
            extent = await self._services.previews.application(visit.who, source.app_id)
            if extent.endpoints:
                effects.append(f"{counted(extent.endpoints, 'endpoint')} of its own and their history go with it.")
            if extent.unfinished:
                effects.append(f"{bounded(extent.unfinished, MOST, 'delivery', 'deliveries')} under way or waiting will never be made.")
        else:
            effects.append("What it took in stays: messages, their deliveries and their history.")
        view = AskView(f"{href_of(source)}/delete", effects, "Delete source", href_of(source))
        return Shown("ask.html", view, Head("Delete this source?", source.name, trail_of(source)))

    async def disable(self, visit: Visit) -> Reply:
        return await self._turn(visit, off=True)

    async def enable(self, visit: Visit) -> Reply:
        return await self._turn(visit, off=False)

    async def _turn(self, visit: Visit, *, off: bool) -> Reply:
        source = await self._source(visit)
        wanted = checked(SourceIn, {**wanted_of(source), "disabled": off})
        await self._services.sources.upsert(visit.who, *refs_of(source), wanted)
        change = Change("source.disabled" if off else "source.enabled", source.id, source.app_id, source.name)
        words = "Its URL answers 404." if off else "Its URL takes requests again."
        if source.cron is not None:
            words = "It sends nothing." if off else "It sends when it is due next."
        return Moved(href_of(source), Notice(f"The source was {'disabled' if off else 'enabled'}. {words}"), change)

    async def delete(self, visit: Visit) -> Reply:
        source = await self._source(visit)
        await self._services.sources.delete(visit.who, *refs_of(source))
        change = Change("source.deleted", source.id, source.app_id, source.name)
        return Moved(f"{BASE}/sources", Notice(f"{source.name} was deleted."), change)


def _written(visit: Visit) -> dict[str, str]:
    return {name: visit.field(name) for name in FIELDS}


def _problems(error: Wrong | InvalidField | Conflict) -> dict[str, str]:
    if isinstance(error, Conflict):
        return {"route" if "route" in str(error) else "uid": str(error)}
    return problems_of(error)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/sources/{source_id}"
    return [
        Route("GET", "/sources/new", pages.new, _SECTION),
        Route("POST", "/sources", pages.create, _SECTION),
        Route("GET", f"{one}/edit", pages.edit, _SECTION),
        Route("POST", f"{one}/edit", pages.save, _SECTION),
        Route("GET", f"{one}/secret", pages.ask_secret, _SECTION),
        Route("POST", f"{one}/secret", pages.add_secret, _SECTION),
        Route("GET", f"{one}/rotate", pages.ask_rotate, _SECTION),
        Route("POST", f"{one}/rotate", pages.rotate, _SECTION),
        Route("GET", f"{one}/disable", pages.ask_disable, _SECTION),
        Route("POST", f"{one}/disable", pages.disable, _SECTION),
        Route("POST", f"{one}/enable", pages.enable, _SECTION),
        Route("GET", f"{one}/delete", pages.ask_delete, _SECTION),
        Route("POST", f"{one}/delete", pages.delete, _SECTION),
    ]
