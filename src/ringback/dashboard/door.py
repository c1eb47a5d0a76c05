"""Where does the dashboard begin? It answers what is below `/dashboard`, and is made when the first request comes.

Nothing of the dashboard is imported before: a server that nobody looks at pays no memory and no time for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

_BASE: Final = "/dashboard"


class DashboardDoor:
    """Stands before `behind`. `make` builds the dashboard; it blocks, and is called once, on a thread."""

    def __init__(self, make: Callable[[], ASGIApp], behind: ASGIApp) -> None:
        self._make = make
        self._behind = behind
        self._made: asyncio.Future[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if scope["type"] == "http":
            if path == _BASE or path.startswith(f"{_BASE}/"):
                await (await self._dashboard())(scope, receive, send)
                return
            if path == "/" and scope["method"] in ("GET", "HEAD") and _is_browser(scope):
                await send(
                    {"type": "http.response.start", "status": 307, "headers": [(b"location", f"{_BASE}/".encode()), (b"vary", b"accept")]}
                )
                await send({"type": "http.response.body", "body": b""})
                return
        await self._behind(scope, receive, send)

    async def _dashboard(self) -> ASGIApp:
        if self._made is None:
            self._made = asyncio.ensure_future(asyncio.to_thread(self._make))
        try:
            # The first visitor may leave; the others still want it.
            return await asyncio.shield(self._made)
        except Exception:
            self._made = None
            raise


def _is_browser(scope: Scope) -> bool:
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def login_link(url: str, secret: str) -> str:
    """The link that logs in once. The secret is in the query, which no line of any log of ours holds."""
    return f"{url}{_BASE}/login/link?key={quote(secret)}"
