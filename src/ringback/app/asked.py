"""Under which URL was this server asked? Told to whoever writes URLs into answers, where no `public_url` is set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from ringback.policy.addresses import Network
from ringback.policy.sources_arrival import base_url


class Asked:
    """Passes each request on, after it `tell`s under which URL it came, or None where only a stranger says so."""

    def __init__(self, inner: ASGIApp, trusted: Sequence[Network], tell: Callable[[str | None], None]) -> None:
        self._inner = inner
        self._trusted = tuple(trusted)
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as the inner application does."""
        if scope["type"] == "http":
            peer = scope["client"][0] if scope.get("client") else ""
            self._tell(base_url(scope["scheme"].encode(), dict(scope["headers"]), peer, self._trusted))
        await self._inner(scope, receive, send)
