"""How does a person get in, and out? With an org token, or once with the link that the server printed when it started.

All failures get the same answer. The token is looked up by its SHA-256, so no time tells how much of it is right.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.dashboard.components import BASE, Head
from ringback.dashboard.desk import Services
from ringback.dashboard.guard import SESSION_COOKIE, cookie, local_path
from ringback.dashboard.limiter import Limiter
from ringback.dashboard.visits import THEME_COOKIE, Access, Change, Moved, Reply, Route, Shown, Visit
from ringback.errors import CallerError
from ringback.services.audit import Door
from ringback.services.sessions import LIFE_S
from ringback.telemetry.events import LOGIN_LIMITED
from ringback.telemetry.log import log

_REFUSED: Final = "That was not accepted. Paste an org token that is in use; the command “ringback token create” makes a new one."
_ENDED: Final = "Your session has ended, so nothing was changed. Log in, and send it once more."
_LINK_REFUSED: Final = (
    "This link was used already, or its time is over. Log in with an org token; the command “ringback token create” makes one."
)
# How long a chosen look is remembered, seconds: a year.
_THEME_LIFE_S: Final = 365 * 86_400


class LoginView(msgspec.Struct, frozen=True):
    """The form: where to go afterwards, what was wrong, and the secret of the link where it was followed."""

    next: str
    problem: str = ""
    link: str = ""


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._limiter = Limiter()

    async def form(self, visit: Visit) -> Reply:
        to = local_path(visit.text("next"))
        return Moved(to) if visit.visitor is not None else _form(LoginView(to, _ENDED if visit.text("ended") else ""))

    async def link_form(self, visit: Visit) -> Reply:
        # Only shown: mail scanners and chat previews follow links, and must not use it up. The button posts it.
        return _form(LoginView(f"{BASE}/", link=visit.text("key")))

    async def log_in(self, visit: Visit) -> Reply:
        to = local_path(visit.field("next"))
        return await self._enter(visit, to, _REFUSED, link=False)

    async def follow_link(self, visit: Visit) -> Reply:
        return await self._enter(visit, f"{BASE}/", _LINK_REFUSED, link=True)

    async def _enter(self, visit: Visit, to: str, refusal: str, *, link: bool) -> Reply:
        services, now_s = self._services, self._services.clock.monotonic_s()
        wait_s = self._limiter.wait_s(visit.address, now_s)
        if wait_s:
            if self._limiter.tells(now_s):
                log(LOGIN_LIMITED, address=visit.address)
            return _form(LoginView(to, f"Too many tries. Wait {wait_s} s, then try again."), 429)
        self._limiter.began(visit.address, now_s)
        try:
            if link:
                held = await services.sessions.follow_link(visit.field("key"), visit.address)
            else:
                held = await services.sessions.log_in(visit.field("token"), visit.address)
        except CallerError:
            return _form(LoginView(to, refusal), 401)
        self._limiter.succeeded(visit.address, now_s)
        visitor = await services.sessions.believe(held, active=False)
        if visitor is not None:
            how = "link" if link else "token"
            await services.audit.record(visitor.who, Door.DASHBOARD, "session.opened", how, address=visit.address)
        return Moved(to, cookies=(cookie(SESSION_COOKIE, held, secure=visit.secure, life_s=LIFE_S),))

    async def log_out(self, visit: Visit) -> Reply:
        await self._services.sessions.log_out(visit.session)
        gone = cookie(SESSION_COOKIE, "", secure=visit.secure, life_s=0)
        return Moved(f"{BASE}/login", change=Change("session.closed", "this"), cookies=(gone,))

    async def log_out_all(self, visit: Visit) -> Reply:
        ended = await self._services.sessions.log_out_all(visit.who)
        gone = cookie(SESSION_COOKIE, "", secure=visit.secure, life_s=0)
        return Moved(f"{BASE}/login", change=Change("session.closed", "all", detail=f"{ended} sessions"), cookies=(gone,))

    async def theme(self, visit: Visit) -> Reply:
        theme = visit.field("theme")
        chosen = theme if theme in ("light", "dark") else ""
        kept = cookie(THEME_COOKIE, chosen, secure=visit.secure, life_s=_THEME_LIFE_S if chosen else 0, script=True)
        return Moved(local_path(visit.field("back")), cookies=(kept,))


def _form(view: LoginView, status: int = 200) -> Shown:
    return Shown("entrance/login.html", view, Head("Log in to Ringback"), status)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/login", pages.form, access=Access.OPEN),
        Route("POST", "/login", pages.log_in, access=Access.OPEN),
        Route("GET", "/login/link", pages.link_form, access=Access.OPEN),
        Route("POST", "/login/link", pages.follow_link, access=Access.OPEN),
        Route("POST", "/logout", pages.log_out),
        Route("POST", "/logout/everywhere", pages.log_out_all),
        Route("POST", "/theme", pages.theme, access=Access.OPEN),
    ]
