"""How is an endpoint changed? Made, edited, switched off and on, deleted; its secret shown and rotated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.dashboard.components import BASE, Choice, Head, Link, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, lines, pairs, problems_of
from ringback.dashboard.pages.endpoints import href_of, shown, title_of, trail_of
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import bounded, counted, duration, listed
from ringback.errors import Conflict, InvalidField, Refused
from ringback.model.applications import Application
from ringback.model.endpoints import Endpoint
from ringback.policy.paging import Walk
from ringback.policy.validation import is_sensitive
from ringback.services.endpoints import EndpointHeadersPatchIn, EndpointIn, EndpointPatch, EndpointSecretRotateIn
from ringback.services.previews import MOST, Extent
from ringback.signing.secret import shown as shown_secret

_SECTION: Final = "endpoints"
# Event types that the form offers; beyond, nobody ticks boxes.
_OFFERED: Final = 250
_FIELDS: Final = ("url", "description", "uid", "channels", "throttleRate", "headers", "metadata", "secret")
# How long the former secret may sign on, seconds.
_GRACES: Final = (("0", "not at all"), ("3600", "for an hour"), ("86400", "for a day"), ("604800", "for a week"))
_DEFAULT_GRACE: Final = "86400"


class FormView(msgspec.Struct, frozen=True):
    """The form of an endpoint, with what was written into it."""

    action: str
    values: Mapping[str, str]
    problems: Mapping[str, str]
    event_types: Sequence[Choice]
    kept_headers: Sequence[Choice]
    submit: str
    cancel: str
    new: bool


class AskView(msgspec.Struct, frozen=True):
    """What an act would do, before it is done."""

    action: str
    effects: Sequence[str]
    submit: str
    cancel: str
    danger: bool = True


class RotateView(msgspec.Struct, frozen=True):
    """What a rotation would do."""

    action: str
    effects: Sequence[str]
    graces: Sequence[Choice]
    key: str
    problems: Mapping[str, str]
    cancel: str


def values_of(endpoint: Endpoint) -> dict[str, str]:
    """What the form holds for an endpoint; the values of secret headers are not in it."""
    return {
        "url": endpoint.url,
        "description": endpoint.description,
        "uid": endpoint.uid or "",
        "channels": ", ".join(endpoint.channels or ()),
        "throttleRate": "" if endpoint.throttle_rate is None else str(endpoint.throttle_rate),
        "headers": "\n".join(f"{name}: {value}" for name, value in endpoint.headers.items() if not is_sensitive(name)),
        "metadata": "\n".join(f"{name}: {value}" for name, value in endpoint.metadata.items()),
        "secret": "",
    }


def wanted_of(values: Mapping[str, str], event_types: Sequence[str]) -> dict[str, Any]:
    """What a form asks for, under the names of the API, but for headers and secret. Raises Wrong."""
    try:
        metadata = pairs(values["metadata"], ":")
    except Wrong as error:
        raise Wrong({"metadata": error.problems[""]}) from None
    return {
        "url": values["url"].strip(),
        "description": values["description"].strip(),
        "uid": values["uid"].strip() or None,
        "eventTypes": list(event_types) or None,
        "channels": lines(values["channels"]) or None,
        "throttleRate": values["throttleRate"].strip() or None,
        "metadata": metadata,
    }


def headers_of(values: Mapping[str, str]) -> dict[str, str]:
    """The headers in a form. Raises Wrong."""
    try:
        return pairs(values["headers"], ":")
    except Wrong as error:
        raise Wrong({"headers": error.problems[""]}) from None


def header_change(endpoint: Endpoint, wanted: Mapping[str, str], removed: Sequence[str]) -> dict[str, str | None] | None:
    """What to change so that the visible headers are those wanted, and the secret ones removed are gone; None = nothing."""
    kept = {name.lower() for name in wanted}
    gone = [name for name in endpoint.headers if (name in removed if is_sensitive(name) else name.lower() not in kept)]
    change: dict[str, str | None] = {name: value for name, value in wanted.items() if endpoint.headers.get(name) != value}
    change.update((name, None) for name in gone if name.lower() not in kept)
    return change or None


def deleting(extent: Extent) -> list[str]:
    """What deleting an endpoint does, in sentences."""
    effects = ["It gets nothing more, at once. Its history stays with its messages."]
    if extent.unfinished:
        effects.append(f"{bounded(extent.unfinished, MOST, 'delivery', 'deliveries')} under way or waiting will never be made.")
    if extent.dead:
        effects.append(f"{bounded(extent.dead, MOST, 'dead letter')} can no longer be replayed.")
    return effects


def disabling(extent: Extent) -> list[str]:
    """What disabling an endpoint does, in sentences."""
    effects = ["New messages do not go to it. When it is enabled again, only messages from then on do; Replay… sends the others."]
    if extent.unfinished:
        effects.append(
            f"{bounded(extent.unfinished, MOST, 'delivery', 'deliveries')} under way or waiting end, and their retries with them."
        )
    return effects


def rotating(endpoint: Endpoint, now_us: int) -> list[str]:
    """What a rotation does, in sentences."""
    old = sum(secret.expires_at is not None and secret.expires_at > now_us for secret in endpoint.secrets)
    effects = [
        "A new secret signs from the next attempt on.",
        "The former one signs too for as long as you choose here: a receiver that knows either accepts what comes. Give it the new one "
        "within that time.",
    ]
    if old:
        effects.append(f"{counted(old, 'former secret')} still {'signs' if old == 1 else 'sign'} besides.")
    return effects


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def _both(self, visit: Visit) -> tuple[Application, Endpoint]:
        app_id = visit.params["app_id"]
        entry = await self._services.directory.find(visit.who.org_id, app_id)
        return entry.application, await self._services.endpoints.get(visit.who, app_id, visit.params["endpoint_id"])

    async def new(self, visit: Visit) -> Reply:
        values = dict.fromkeys(_FIELDS, "") | {"url": visit.text("url")}
        return await self._form(visit, None, values, (), {})

    async def create(self, visit: Visit) -> Reply:
        values, chosen = _written(visit)
        try:
            wanted = {**wanted_of(values, chosen), "headers": headers_of(values) or None, "secret": values["secret"].strip() or None}
            made = await self._services.endpoints.create(visit.who, visit.params["app_id"], checked(EndpointIn, wanted))
        except (Wrong, InvalidField, Conflict) as error:
            return await self._form(visit, None, values, chosen, _problems(error))
        endpoint = made.endpoint
        change = Change("endpoint.created", endpoint.id, endpoint.app_id, title_of(endpoint))
        return Moved(href_of(endpoint), Notice("The endpoint was created. Its secret is on this page, for its owner."), change)

    async def edit(self, visit: Visit) -> Reply:
        _, endpoint = await self._both(visit)
        return await self._form(visit, endpoint, values_of(endpoint), endpoint.event_types or (), {})

    async def save(self, visit: Visit) -> Reply:
        _, former = await self._both(visit)
        values, chosen = _written(visit)
        try:
            patch = checked(EndpointPatch, wanted_of(values, chosen))
            headers = header_change(former, headers_of(values), visit.form.get("remove", ()))
            edit = None if headers is None else checked(EndpointHeadersPatchIn, {"headers": headers})
            endpoint = await self._services.endpoints.patch(visit.who, former.app_id, former.id, patch)
            if edit is not None:
                endpoint = await self._services.endpoints.patch_headers(visit.who, former.app_id, former.id, edit)
        except (Wrong, InvalidField, Conflict) as error:
            return await self._form(visit, former, values, chosen, _problems(error))
        before, after = values_of(former), values_of(endpoint)
        changed = [name for name in after if before[name] != after[name]]
        if former.event_types != endpoint.event_types:
            changed.append("eventTypes")
        if former.headers != endpoint.headers and "headers" not in changed:
            changed.append("headers")
        notice = Notice("Saved. It holds from the next attempt on." if changed else "Nothing was changed.")
        change = Change("endpoint.updated", endpoint.id, endpoint.app_id, listed(changed, 9)) if changed else None
        return Moved(href_of(endpoint), notice, change)

    async def _form(
        self, visit: Visit, endpoint: Endpoint | None, values: Mapping[str, str], chosen: Sequence[str], problems: Mapping[str, str]
    ) -> Shown:
        entry = await self._services.directory.find(visit.who.org_id, visit.params["app_id"])
        application = entry.application
        page = await self._services.event_types.page(visit.who, Walk(_OFFERED, descending=False), archived=False)
        names = [event_type.name for event_type in page.items]
        offered = [Choice(name, name, name in chosen) for name in (*names, *(name for name in chosen if name not in names))]
        here = f"{BASE}/apps/{application.id}/endpoints" if endpoint is None else href_of(endpoint)
        view = FormView(
            action=here if endpoint is None else f"{here}/edit",
            values=values,
            problems=problems,
            event_types=offered,
            kept_headers=[] if endpoint is None else [Choice(name, name) for name in endpoint.headers if is_sensitive(name)],
            submit="Create endpoint" if endpoint is None else "Save",
            cancel=here,
            new=endpoint is None,
        )
        trail = trail_of(application) if endpoint is None else trail_of(application, Link(title_of(endpoint), here))
        head = Head("New endpoint" if endpoint is None else "Edit endpoint", f"Of {application.name}.", trail)
        return Shown("endpoints/form.html", view, head, 422 if problems else 200, application)

    async def reveal(self, visit: Visit) -> Reply:
        _, endpoint = await self._both(visit)
        text = endpoint.secrets[0].text
        # Written before it is shown: nobody sees a secret without a trace.
        change = Change("secret.revealed", endpoint.id, endpoint.app_id)
        shown_page = await shown(self._services, visit, secret=shown_secret(text))
        return msgspec.structs.replace(shown_page, change=change)

    async def ask_rotate(self, visit: Visit) -> Reply:
        return await self._rotate_form(visit, _DEFAULT_GRACE, "", {})

    async def _rotate_form(self, visit: Visit, grace: str, key: str, problems: Mapping[str, str]) -> Shown:
        application, endpoint = await self._both(visit)
        here = href_of(endpoint)
        view = RotateView(f"{here}/rotate", rotating(endpoint, visit.now_us), choices(_GRACES, grace), key, problems, here)
        head = Head("Rotate the secret", f"Of {title_of(endpoint)}.", trail_of(application, Link(title_of(endpoint), here)))
        return Shown("endpoints/rotate.html", view, head, 422 if problems else 200, application)

    async def rotate(self, visit: Visit) -> Reply:
        grace, key = visit.field("grace"), visit.field("key").strip()
        grace = grace if grace in dict(_GRACES) else _DEFAULT_GRACE
        try:
            wanted = checked(EndpointSecretRotateIn, {"key": key or None, "gracePeriodSeconds": int(grace)})
            endpoint = await self._services.endpoints.rotate(visit.who, visit.params["app_id"], visit.params["endpoint_id"], wanted)
        except Wrong as error:
            return await self._rotate_form(visit, grace, key, error.problems)
        except Refused as error:
            return await self._rotate_form(visit, grace, key, {"": str(error)})
        kept = f"the former one signs too for {duration(int(grace))}" if grace != "0" else "the former one signs no more"
        change = Change("secret.rotated", endpoint.id, endpoint.app_id, kept)
        return Moved(href_of(endpoint), Notice(f"A new secret signs; {kept}."), change)

    async def ask_disable(self, visit: Visit) -> Reply:
        return await self._ask(visit, "disable", "Disable", disabling)

    async def ask_delete(self, visit: Visit) -> Reply:
        return await self._ask(visit, "delete", "Delete", deleting)

    async def _ask(self, visit: Visit, act: str, word: str, effects: Any) -> Shown:
        application, endpoint = await self._both(visit)
        extent = await self._services.previews.endpoint(visit.who, endpoint.app_id, endpoint.id)
        here = href_of(endpoint)
        view = AskView(f"{here}/{act}", effects(extent), f"{word} endpoint", here)
        head = Head(f"{word} this endpoint?", title_of(endpoint), trail_of(application, Link(title_of(endpoint), here)))
        return Shown("ask.html", view, head, app=application)

    async def disable(self, visit: Visit) -> Reply:
        return await self._turn(visit, off=True)

    async def enable(self, visit: Visit) -> Reply:
        return await self._turn(visit, off=False)

    async def _turn(self, visit: Visit, *, off: bool) -> Reply:
        endpoint = await self._services.endpoints.patch(
            visit.who, visit.params["app_id"], visit.params["endpoint_id"], EndpointPatch(disabled=off)
        )
        change = Change("endpoint.disabled" if off else "endpoint.enabled", endpoint.id, endpoint.app_id, title_of(endpoint))
        words = "It gets nothing more." if off else "It gets what is sent from now on."
        return Moved(href_of(endpoint), Notice(f"The endpoint was {'disabled' if off else 'enabled'}. {words}"), change)

    async def delete(self, visit: Visit) -> Reply:
        application, endpoint = await self._both(visit)
        await self._services.endpoints.delete(visit.who, endpoint.app_id, endpoint.id)
        change = Change("endpoint.deleted", endpoint.id, endpoint.app_id, title_of(endpoint))
        return Moved(f"{BASE}/apps/{application.id}/endpoints", Notice(f"{title_of(endpoint)} was deleted."), change)


def _written(visit: Visit) -> tuple[dict[str, str], tuple[str, ...]]:
    return {name: visit.field(name) for name in _FIELDS}, tuple(visit.form.get("eventTypes", ()))


def _problems(error: Wrong | InvalidField | Conflict) -> dict[str, str]:
    if isinstance(error, Conflict):
        return {"uid": str(error)}
    return problems_of(error)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/apps/{app_id}/endpoints/{endpoint_id}"
    return [
        Route("GET", "/apps/{app_id}/endpoints/new", pages.new, _SECTION),
        Route("POST", "/apps/{app_id}/endpoints", pages.create, _SECTION),
        Route("GET", f"{one}/edit", pages.edit, _SECTION),
        Route("POST", f"{one}/edit", pages.save, _SECTION),
        Route("POST", f"{one}/secret", pages.reveal, _SECTION),
        Route("GET", f"{one}/rotate", pages.ask_rotate, _SECTION),
        Route("POST", f"{one}/rotate", pages.rotate, _SECTION),
        Route("GET", f"{one}/disable", pages.ask_disable, _SECTION),
        Route("POST", f"{one}/disable", pages.disable, _SECTION),
        Route("POST", f"{one}/enable", pages.enable, _SECTION),
        Route("GET", f"{one}/delete", pages.ask_delete, _SECTION),
        Route("POST", f"{one}/delete", pages.delete, _SECTION),
    ]
