"""What does a person see of a bin? Whole pages: they need no script, load nothing from elsewhere, and show strangers' bytes as text."""

from __future__ import annotations

import asyncio
import importlib.resources
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ringback.clock import rfc3339
from ringback.errors import NotFound, Refused
from ringback.gateway import pages
from ringback.model.bins import Caught
from ringback.policy.bins import Header, is_relay, is_token
from ringback.policy.bodies_shown import as_text, set_out
from ringback.services.bins import BOUNDS, KEPT_US, Bins

if TYPE_CHECKING:
    from jinja2 import Template

# Of each request in a list so much is shown, enough for nearly all webhooks; the rest is on the request's own page.
_SHOWN_IN_LIST: Final = 4_096
# On its own page all of it may be shown: the largest body of a bin.
_SHOWN_ALONE: Final = 2 * 1024 * 1024
# Pages made at once, and waiting: one takes some milliseconds of a thread.
_AT_ONCE: Final = 2
_WAITING: Final = 32
# Seconds between two looks of a page that looks again by itself.
_REFRESH_S: Final = 5
_DAY_US: Final = 86_400_000_000

_PATH: Final = re.compile(rb"/view/(?:(viewer\.css)|([A-Za-z0-9_]{10,64})(/(?:clear|(breq_[0-9A-Za-z]{27})/(body)?)?)?)")
_HTML: Final = (b"content-type", b"text/html; charset=utf-8")
# Nothing but our own style sheet is loaded, no script runs, and a form can go nowhere else.
_POLICY: Final = b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_GUARDS: Final[tuple[Header, ...]] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    # The address of the page is its key.
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"x-robots-tag", b"noindex"),
)


class Page(msgspec.Struct, frozen=True):
    """An answer."""

    status: int
    headers: tuple[Header, ...]
    body: bytes = b""


class Shown(msgspec.Struct, frozen=True):
    """A request as a template shows it: texts only. `status` is "" while nothing was answered."""

    id: str
    at: str
    method: str
    url: str
    remote: str
    status: str
    answer: str
    size: str
    headers: list[tuple[str, str]]
    pretty: str | None
    raw: str
    whole: bool


class Viewer:
    """Shows bins to whoever knows their token."""

    def __init__(self, bins: Bins) -> None:
        self._bins = bins
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._templates: dict[str, Template] = {}

    async def page(self, method: str, path: bytes, query: bytes) -> Page:
        """The page at a path below `/view/`. Raises NotFound, Refused, Unavailable."""
        match = _PATH.fullmatch(path)
        if match is None or (match[2] is not None and not is_token(match[2].decode())):
            raise NotFound("no such bin: a token has 10 to 64 characters of 0-9 A-Z a-z, a relay's c_ before it")
        clearing = match[3] == b"/clear"
        if method not in (("POST",) if clearing else ("GET", "HEAD")):
            raise Refused("method_not_allowed", f"{'POST' if clearing else 'GET'} only", 405)
        if match[1] is not None:
            css = importlib.resources.files(pages).joinpath("viewer.css").read_bytes()
            return Page(200, ((b"content-type", b"text/css; charset=utf-8"), *_GUARDS[1:3], (b"cache-control", b"max-age=3600")), css)
        token = match[2].decode()
        if clearing:
            await self._bins.clear(token)
            return Page(303, ((b"location", b"./"), *_GUARDS))
        if match[3] is None:
            # Links of the page are relative to the slash; and this server may stand under a prefix that it does not know.
            return Page(308, ((b"location", token.encode() + b"/"), *_GUARDS))
        if match[4] is None:
            return await self._list(token, by_itself=query == b"refresh")
        caught = await self._bins.get(token, match[4].decode())
        return _raw(caught) if match[5] else await self._alone(token, caught)

    async def _list(self, token: str, *, by_itself: bool) -> Page:
        caught = await self._bins.newest(token, BOUNDS.requests)
        return await self._made(
            "bin.html",
            lambda: {
                "token": token,
                "relay": is_relay(token),
                "refresh_s": _REFRESH_S if by_itself else 0,
                "requests": [_shown(one, _SHOWN_IN_LIST) for one in caught],
                "most": BOUNDS.requests,
                "days": KEPT_US // _DAY_US,
            },
        )

    async def _alone(self, token: str, caught: Caught) -> Page:
        return await self._made("bin_request.html", lambda: {"token": token, "request": _shown(caught, _SHOWN_ALONE)})

    async def _made(self, name: str, view: Callable[[], dict[str, Any]]) -> Page:
        """A page, made on a thread: escaping megabytes takes longer than the loop may be held."""
        if self._waiting >= _WAITING:
            raise Refused("rate_limited", "too many pages are asked for at once; try again", 429)
        self._waiting += 1
        try:
            async with self._turns:
                html = await asyncio.to_thread(lambda: self._template(name).render(view()).encode("utf-8", "replace"))
        finally:
            self._waiting -= 1
        return Page(200, (_HTML, *_GUARDS), html)

    def _template(self, name: str) -> Template:
        found = self._templates.get(name)
        if found is None:
            # Loaded when the first page is asked for: servers without a viewer's visitor need no template language in memory.
            import jinja2

            folder = importlib.resources.files(pages)
            loader = jinja2.FunctionLoader(lambda wanted: folder.joinpath(wanted).read_text("utf-8"))
            environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
            found = self._templates[name] = environment.get_template(name)
        return found


def _shown(caught: Caught, most: int) -> Shown:
    request, body = caught.request, caught.request.body or b""
    headers = [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in request.headers]
    content_type = next((value for name, value in headers if name == "content-type"), "")
    raw, whole = as_text(body, most)
    return Shown(
        id=caught.id,
        at=rfc3339(caught.received_at),
        method=request.method,
        url=request.url.decode("utf-8", "replace"),
        remote=request.remote,
        status="" if caught.status is None else str(caught.status),
        answer="none" if caught.status is None else f"s{caught.status // 100}",
        size=f"{len(body):,} bytes",
        headers=headers,
        pretty=set_out(body, content_type) if whole else None,
        raw=raw,
        whole=whole,
    )


def _raw(caught: Caught) -> Page:
    """The very bytes, to be saved and never to be shown: a browser must not take them for a page of ours."""
    name = b'attachment; filename="%b.bin"' % caught.id.encode()
    headers = ((b"content-type", b"application/octet-stream"), (b"content-disposition", name))
    return Page(200, (*headers, (b"content-security-policy", b"sandbox"), *_GUARDS[1:]), caught.request.body or b"")
