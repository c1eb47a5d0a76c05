"""The door for people: every page of the dashboard as one ASGI application.

What all pages share is added here, around all handlers: the session, the checks of forms, errors in words, and the audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, cast
from urllib.parse import quote, urlencode

from starlette.routing import Match
from starlette.routing import Route as Pattern
from starlette.types import Receive, Scope, Send

from ringback.dashboard.answers import BEAT, NOT_KEPT, Header, event_of, send_asset, send_body, send_html, send_parts, send_stream
from ringback.dashboard.assets import Assets
from ringback.dashboard.components import BASE, Link
from ringback.dashboard.contents import routes_of
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import FormReader
from ringback.dashboard.guard import (
    SESSION_COOKIE,
    VISITOR_COOKIE,
    Arrival,
    came_from,
    comes_from_here,
    cookie,
    cookies_of,
    form_token,
    is_form_token,
)
from ringback.dashboard.lists import Bar, bar_of, list_at
from ringback.dashboard.presses import Presses
from ringback.dashboard.problems import NotYours, shown_problem
from ringback.dashboard.rail import SECTIONS
from ringback.dashboard.render import Renderer, Shell, entries_of, pack
from ringback.dashboard.visits import (
    APP_COOKIE,
    THEME_COOKIE,
    Access,
    Change,
    Moved,
    Notice,
    Reply,
    Route,
    Saved,
    Sent,
    Shown,
    Streamed,
    Visit,
    fields,
    lost,
)
from ringback.errors import NotFound, Unavailable
from ringback.services.attention import Waiting
from ringback.services.audit import Door
from ringback.services.sessions import LIFE_S
from ringback.telemetry.events import REQUEST_FAILED
from ringback.telemetry.log import log

# Sessions whose next page has something to tell; a notice that nobody comes to read is forgotten.
_NOTICES_MAX: Final = 1_000
# The header of requests that a page makes by itself, now and then: no sign of a person.
_TIMER: Final = b"ringback-timer"
# What an open page is about when nothing else says so.
_OPEN: Final = Route("GET", "", lambda visit: lost("the page"), access=Access.OPEN)
# Seconds between two looks whether the session behind a stream still holds.
_LOOK_EVERY_S: Final = 10.0
# Bytes of chance in a request's name in the log.
_NAME_BYTES: Final = 8


class Dashboard:
    """Answers everything below `/dashboard`. `reader` reads forms, `arrival` knows where requests come from."""

    def __init__(self, services: Services, reader: FormReader, arrival: Arrival) -> None:
        self._services = services
        self._reader = reader
        self._arrival = arrival
        self._assets = Assets()
        self._renderer = Renderer(self._assets)
        self._thread = ThreadPoolExecutor(1, "ringback-pages")
        self._notices: dict[bytes, Notice] = {}
        self._presses = Presses(services.clock)
        # Literal segments before parameters ("/apps/new" before "/apps/{app_id}"): "~" sorts after every letter.
        routes = sorted(routes_of(services), key=lambda route: route.path.replace("{", "~"))
        self._routes = [(Pattern(route.path, _never, methods=[route.method]), route) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = dict(scope["headers"])
        packed = b"gzip" in headers.get(b"accept-encoding", b"")
        path = scope["path"].removeprefix(BASE).rstrip("/") or "/"
        without_body = scope["method"] == "HEAD"
        if path.startswith("/static/"):
            asset = self._assets.find(path.removeprefix("/static/"))
            if asset is not None:
                await send_asset(send, asset, packed=packed, without_body=without_body)
                return
        visit, hosts = self._visit(scope, headers, path)
        route, reply = await self._answered(visit, scope, headers, hosts, receive)
        cookies = self._cookies(visit, reply)
        if isinstance(reply, Shown):
            status, html, small = await self._rendered(visit, route, reply, packed)
            await send_html(send, status, html, small, cookies, without_body=without_body)
        elif isinstance(reply, Moved):
            where = (b"hx-refresh", b"true") if reply.refresh else (b"location", reply.to.encode())
            await send_body(send, 401 if reply.refresh else 303, [where, NOT_KEPT, *cookies], b"")
        elif isinstance(reply, Sent):
            await self._send_bytes(send, reply, without_body)
        elif isinstance(reply, Saved):
            await send_parts(send, [(b"content-type", reply.content_type.encode()), _saved_as(reply.name)], reply.parts())
        else:
            await send_stream(send, receive, self._events(visit, reply), without_body=without_body)

    def _visit(self, scope: Scope, headers: dict[bytes, bytes], path: str) -> tuple[Visit, list[str]]:
        peer = scope["client"][0] if scope.get("client") else ""
        scheme, hosts = self._arrival.reached(scope["scheme"], headers, peer)
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        visit = Visit(
            method="GET" if scope["method"] == "HEAD" else scope["method"],
            path=path,
            cookies=cookies_of(scope["headers"]),
            address=self._arrival.address(peer, forwarded),
            secure=scheme == "https",
            fragment=headers.get(b"hx-request") == b"true",
            now_us=self._services.clock.now_us(),
        )
        return visit, hosts

    async def _answered(
        self, visit: Visit, scope: Scope, headers: dict[bytes, bytes], hosts: Sequence[str], receive: Receive
    ) -> tuple[Route, Reply]:
        """The reply to a visit; every error has become a page."""
        route = _OPEN
        try:
            visit.query = fields(scope["query_string"].decode("latin-1"))
            held = visit.cookies.get(SESSION_COOKIE, "")
            try:
                route = self._route(visit, scope)
            except NotFound:
                # The page about that has the rail too: the way on for who followed an old link.
                visit.visitor = await self._services.sessions.believe(held, active=False) if held else None
                raise
            active = visit.method == "POST" or not (route.quiet or _TIMER in headers)
            visit.visitor = await self._services.sessions.believe(held, active=active) if held else None
            if route.access is Access.SESSION and visit.visitor is None:
                return route, self._to_login(visit, came_from(headers, hosts))
            if visit.method == "POST":
                form = await self._reader.read(headers, receive, known=visit.visitor is not None)
                visit.form = fields(form)
                if not (comes_from_here(headers, hosts) and is_form_token(_held(visit), visit.field("csrf"))):
                    raise NotYours
            first = True
            if visit.method == "POST" and visit.visitor is not None:
                reply, first = await self._presses.act(visit.session.hash, visit.path, form, lambda: route.handler(visit))
            else:
                reply = await route.handler(visit)
            change = getattr(reply, "change", None)
            if change is not None and first:
                await self._note(visit, change)
                if visit.visitor is not None:
                    self._services.attention.changed(visit.who)
            return route, reply
        except Exception as error:
            return route, self._problem(visit, error)

    def _problem(self, visit: Visit, error: Exception) -> Shown:
        """The page about an error; one of our own is logged with its traceback."""
        request_id = self._services.draw(_NAME_BYTES).hex()
        shown = shown_problem(error, request_id)
        if shown.status == 500:
            log(
                REQUEST_FAILED,
                failure=error,
                request_id=request_id,
                method=visit.method,
                path=f"{BASE}{visit.path}",
                error=type(error).__name__,
            )
        return shown

    def _route(self, visit: Visit, scope: Scope) -> Route:
        looked = {**scope, "path": visit.path, "method": visit.method, "root_path": ""}
        for pattern, route in self._routes:
            match, found = pattern.matches(looked)
            if match is Match.FULL:
                visit.params = found["path_params"]
                return route
        if visit.visitor is None and not visit.cookies.get(SESSION_COOKIE):
            # Strangers learn nothing about which pages there are.
            return Route("GET", "", lambda visit: lost("the page"))
        lost(f"{BASE}{visit.path}")

    def _to_login(self, visit: Visit, form: str) -> Reply:
        """The way back to where somebody is, or to the page of the `form` that they sent after their session's end."""
        if visit.fragment:
            # A part of a page cannot become a login form: htmx loads the whole page anew.
            return Moved("", refresh=True)
        back, sent = visit.here, visit.method == "POST"
        if visit.path.startswith("/logout"):
            return Moved(f"{BASE}/login")
        if sent:
            looked = {"type": "http", "method": "GET", "path": form.partition("?")[0].removeprefix(BASE), "root_path": ""}
            back = form if any(pattern.matches(looked)[0] is Match.FULL for pattern, _ in self._routes) else BASE
        ended = {"ended": "1"} if sent else {}
        query = urlencode(({"next": back} if back.rstrip("/") != BASE else {}) | ended, safe="/")
        return Moved(f"{BASE}/login{'?' + query if query else ''}")

    async def _note(self, visit: Visit, change: Change) -> None:
        await self._services.audit.record(
            visit.who,
            Door.DASHBOARD,
            change.action,
            change.object,
            app_id=change.app_id,
            detail=change.detail,
            address=visit.address,
        )

    def _cookies(self, visit: Visit, reply: Reply) -> list[Header]:
        values: list[str] = []
        if isinstance(reply, Moved):
            values += reply.cookies
            if reply.notice is not None and visit.visitor is not None:
                while len(self._notices) >= _NOTICES_MAX:
                    del self._notices[next(iter(self._notices))]
                self._notices[visit.session.hash] = reply.notice
        elif isinstance(reply, Shown):
            if reply.app is not None and visit.remembered_app != reply.app.id:
                values.append(cookie(APP_COOKIE, reply.app.id, secure=visit.secure, life_s=LIFE_S))
            if not _held(visit):
                # Made now, so that the form on this page can be told from one of another site.
                visit.cookies[VISITOR_COOKIE] = self._services.draw(16).hex()
                values.append(cookie(VISITOR_COOKIE, visit.cookies[VISITOR_COOKIE], secure=visit.secure, life_s=None))
        return [(b"set-cookie", value.encode()) for value in values]

    async def _rendered(self, visit: Visit, route: Route, reply: Shown, packed: bool) -> tuple[int, bytes, bytes | None]:
        """Status, HTML and compressed HTML of a page; of the page about the error where it cannot be rendered."""
        shell = self._shell(visit, route, reply, await self._waiting(visit), await self._saved(visit, reply))

        def work(shown: Shown) -> tuple[int, bytes, bytes | None]:
            html = self._renderer.page(shown.template, shown.view, shown.head, shell, fragment=visit.fragment)
            return shown.status, html, pack(html) if packed else None

        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, reply)
        except Exception as error:
            return await loop.run_in_executor(self._thread, work, self._problem(visit, error))

    async def _waiting(self, visit: Visit) -> Waiting | None:
        """What the rail counts; None where there is no rail, or the store is in trouble: the page is shown all the same."""
        if visit.visitor is None or visit.fragment:
            return None
        try:
            return await self._services.attention.waiting(visit.who)
        except Unavailable:
            return None

    async def _saved(self, visit: Visit, reply: Shown) -> Bar | None:
        """The saved views of a list; None on other pages, and where the store is in trouble."""
        if visit.visitor is None or visit.fragment or reply.status != 200 or list_at(visit.path) is None:
            return None
        try:
            views = await self._services.saved_views.all(visit.who)
        except Unavailable:
            return None
        return bar_of(views, visit.path, visit.query, reply.head, reply.app)

    def _shell(self, visit: Visit, route: Route, reply: Shown, waiting: Waiting | None, saved: Bar | None) -> Shell:
        theme = visit.cookies.get(THEME_COOKIE, "")
        known = visit.visitor is not None
        app_id = reply.app.id if reply.app is not None else visit.remembered_app
        return Shell(
            entries=entries_of(SECTIONS, route.section, app_id, waiting) if known else [],
            app=None if reply.app is None else Link(reply.app.name, f"{BASE}/apps/{reply.app.id}"),
            token=form_token(_held(visit), self._services.draw),
            person=_person(visit) if known else "",
            how=f"the token “{_person(visit)}”" if known and visit.session.token_id is not None else "the link that the server printed",
            theme=cast("Literal['light', 'dark', '']", theme if theme in ("light", "dark") else ""),
            notice=self._notices.pop(visit.session.hash, None) if known and not visit.fragment else None,
            here=visit.here,
            saved=saved,
        )

    async def _events(self, visit: Visit, reply: Streamed) -> AsyncIterator[bytes]:
        """What a stream sends, until it ends or the session does."""
        loop = asyncio.get_running_loop()
        held, looked_s = visit.cookies[SESSION_COOKIE], self._services.clock.monotonic_s()
        async for view in reply.views():
            now_s = self._services.clock.monotonic_s()
            if now_s - looked_s > _LOOK_EVERY_S:
                looked_s = now_s
                if await self._services.sessions.believe(held, active=False) is None:
                    return
            yield BEAT if view is None else event_of(await loop.run_in_executor(self._thread, self._renderer.part, reply.template, view))

    @staticmethod
    async def _send_bytes(send: Send, reply: Sent, without_body: bool) -> None:
        headers: list[Header] = [(b"content-type", reply.content_type.encode("latin-1", "replace")), NOT_KEPT]
        if reply.name is not None:
            headers.append(_saved_as(reply.name))
        await send_body(send, 200, headers, reply.body, without_body=without_body)


async def _never(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotFound("patterns only match; nobody calls them")


def _saved_as(name: str) -> Header:
    return b"content-disposition", f"attachment; filename*=UTF-8''{quote(name)}".encode()


def _held(visit: Visit) -> str:
    """What the browser holds that a form's token is made from."""
    return visit.cookies.get(SESSION_COOKIE if visit.visitor is not None else VISITOR_COOKIE, "")


def _person(visit: Visit) -> str:
    session = visit.session
    if session.token_id is None:
        return "the server's link"
    return session.token_name or session.token_id
