"""Who may call the API? Org tokens: seen, made (their text is shown once) and revoked; and the end of an application's portal tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Action, Badge, Choice, Empty, Head, Link, Pager, choices, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, bounded, moment
from ringback.model.applications import Token
from ringback.services.org_tokens import MOST, OrgTokenIn, Revoking, works
from ringback.services.portal import ApplicationTokenExpireIn

_SECTION: Final = "tokens"
_PREFIX: Final = "key_"
_TRAIL: Final = (Link("Tokens", f"{BASE}/tokens"),)
# For how long a token may work, by its seconds in the form.
_LIVES: Final = (
    ("", "until it is revoked"),
    ("86400", "for a day"),
    ("2592000", "for 30 days"),
    ("7776000", "for 90 days"),
    ("31536000", "for a year"),
)
_WORKS: Final = Badge("ok", "works")
_EXPIRED: Final = Badge("off", "expired")
_REVOKED: Final = Badge("off", "revoked")


class TokenRow(msgspec.Struct, frozen=True):
    """One line of the list. `mine`: the session was opened with it; `revoke` leads to its end, None when it has ended."""

    id: str
    name: str
    badge: Badge
    mine: bool
    created: Moment
    used: Moment | None
    ends: Moment | None
    revoke: str | None


class ListView(msgspec.Struct, frozen=True):
    """A page of the tokens."""

    rows: Sequence[TokenRow]
    pager: Pager
    empty: Empty


class FormView(msgspec.Struct, frozen=True):
    """The form of a new token, with what was written into it."""

    action: str
    name: str
    lives: Sequence[Choice]
    problems: Mapping[str, str]
    cancel: str


class NewView(msgspec.Struct, frozen=True):
    """A token that was just made: its text is here, and nowhere else."""

    text: str
    command: str
    back: str


def row_of(token: Token, mine: str, now_us: int) -> TokenRow:
    """A token as a line."""
    badge = _REVOKED if token.revoked_at is not None else _WORKS if works(token, now_us) else _EXPIRED
    ends = token.revoked_at if token.revoked_at is not None else token.expires_at
    return TokenRow(
        token.id,
        token.name or "without a name",
        badge,
        token.id == mine,
        moment(token.created_at, now_us),
        None if token.last_used_at is None else moment(token.last_used_at, now_us),
        None if ends is None else moment(ends, now_us),
        f"{BASE}/tokens/{token.id}/revoke" if badge is _WORKS else None,
    )


def effects_of(revoking: Revoking, mine: str) -> list[str]:
    """What revoking a token does, in sentences."""
    effects = ["Requests with it are answered 401 at once, and sessions of this dashboard that were opened with it end."]
    if revoking.token.id == mine:
        effects.append("It is the one that you logged in with: you will be logged out.")
    if revoking.last:
        effects.append("It is the last one that works: until `ringback token create` makes another, nobody can call the API.")
    effects.append("This cannot be taken back.")
    return effects


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        at = visit.text("at")
        walk, _ = walk_of(at, lambda key: ids.is_id(_PREFIX, key))
        page = await self._services.org_tokens.page(visit.who, walk)
        rows = [row_of(token, visit.who.token_id, visit.now_us) for token in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        new = Action("New token", f"{BASE}/tokens/new", "primary")
        empty = Empty("No token", "Whoever calls the API needs one.", "ringback token create", new)
        head = Head(
            "Tokens",
            "Each of them may do everything in this organisation. Portal tokens are ended at their application.",
            actions=(new,),
        )
        return Shown("tokens/list.html", ListView(rows, pager(page, first, last, at, "/tokens"), empty), head)

    async def new(self, visit: Visit) -> Reply:
        return self._form("", "", {})

    def _form(self, name: str, life: str, problems: Mapping[str, str]) -> Reply:
        view = FormView(f"{BASE}/tokens", name, choices(_LIVES, life), problems, f"{BASE}/tokens")
        head = Head("New token", "It may do everything in this organisation. Its text is shown once.", _TRAIL)
        return Shown("tokens/form.html", view, head, 422 if problems else 200)

    async def create(self, visit: Visit) -> Reply:
        name, life = visit.field("name").strip(), visit.field("expiry")
        life = life if life in dict(_LIVES) else ""
        try:
            token, text = await self._services.org_tokens.create(visit.who, checked(OrgTokenIn, {"name": name, "expiry": life or None}))
        except Wrong as error:
            return self._form(name, life, error.problems)
        command = f"curl {self._services.url()}/api/v1/app -H 'authorization: Bearer {text}'"
        head = Head(f"{token.name} was made", "Copy it now: only its hash is kept, and nobody can read it again.", _TRAIL)
        change = Change("token.created", token.id, detail=token.name)
        return Shown("tokens/made.html", NewView(text, command, f"{BASE}/tokens"), head, change=change)

    async def ask_revoke(self, visit: Visit) -> Reply:
        revoking = await self._services.org_tokens.revoking(visit.who, visit.params["token_id"])
        token = revoking.token
        effects = effects_of(revoking, visit.who.token_id)
        view = AskView(f"{BASE}/tokens/{token.id}/revoke", effects, "Revoke token", f"{BASE}/tokens")
        return Shown("ask.html", view, Head(f"Revoke {token.name or token.id}?", trail=_TRAIL))

    async def revoke(self, visit: Visit) -> Reply:
        token = await self._services.org_tokens.revoke(visit.who, visit.params["token_id"])
        notice = Notice(f"{token.name or token.id} was revoked.")
        return Moved(f"{BASE}/tokens", notice, Change("token.revoked", token.id, detail=token.name))

    # -- portal tokens

    async def ask_expire(self, visit: Visit) -> Reply:
        application = await self._services.applications.get(visit.who, visit.params["app_id"])
        number = await self._services.org_tokens.portal_tokens(visit.who, application.id)
        here = f"{BASE}/apps/{application.id}"
        effects = [
            f"{bounded(number, MOST, 'portal token')} of {application.name} stop working at once, and signed tokens (JWT) with them.",
            "Customers who are in the portal have to come in anew through your application.",
            "Keys of integrations and of auto-config subscriptions go on working.",
        ]
        view = AskView(f"{here}/portal-tokens", effects, "End portal tokens", here)
        trail = (Link("Applications", f"{BASE}/apps"), Link(application.name, here))
        return Shown("ask.html", view, Head("End all portal tokens?", trail=trail), app=application)

    async def expire(self, visit: Visit) -> Reply:
        application = await self._services.applications.get(visit.who, visit.params["app_id"])
        number = await self._services.org_tokens.portal_tokens(visit.who, application.id)
        await self._services.portal.expire_all(visit.who, application.id, ApplicationTokenExpireIn())
        words = bounded(number, MOST, "portal token")
        change = Change("portal_tokens.expired", application.id, application.id, words)
        return Moved(f"{BASE}/apps/{application.id}", Notice(f"{words} ended."), change)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/tokens", pages.index, _SECTION),
        Route("POST", "/tokens", pages.create, _SECTION),
        Route("GET", "/tokens/new", pages.new, _SECTION),
        Route("GET", "/tokens/{token_id}/revoke", pages.ask_revoke, _SECTION),
        Route("POST", "/tokens/{token_id}/revoke", pages.revoke, _SECTION),
        Route("GET", "/apps/{app_id}/portal-tokens", pages.ask_expire, "applications"),
        Route("POST", "/apps/{app_id}/portal-tokens", pages.expire, "applications"),
    ]
