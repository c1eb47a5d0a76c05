"""Which requests are hot, and what do their connections share? The route of publishing, read from plain URLs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ringback.api.intake import BodyReader
from ringback.api.publish import Publisher
from ringback.services.idempotency import Idempotency
from ringback.services.tokens import Tokens

# Routes remembered by their URL: as many as there are active applications.
_ROUTES: Final = 10_000

_REFERENCE: Final = re.compile(rb"[A-Za-z0-9\-_.]{1,256}")
_PREFIX: Final = b"/api/v1/app/"
_SUFFIX: Final = b"/msg"


class Route(msgspec.Struct, frozen=True):
    """A hot URL, read: whose message it is, whether the answer shows the payload, and what an idempotency key is bound to."""

    app_ref: str
    with_content: bool
    target: bytes


class Doorway(msgspec.Struct):
    """What all connections of one server share."""

    publisher: Publisher
    tokens: Tokens
    idempotency: Idempotency
    reader: BodyReader
    wait_s: float
    draw: Callable[[int], int]
    # Makes a hot request of a door and what is known of it: `api.hot_cycle.HotCycle`, or one that is traced.
    cycle: Callable[..., Any]
    routes: dict[bytes, Route | None] = msgspec.field(default_factory=dict)

    def route(self, url: bytes) -> Route | None:
        """The hot route of a URL, if it is one. Only plain spellings are: no escapes, no query but `with_content`."""
        try:
            return self.routes[url]
        except KeyError:
            if len(self.routes) >= _ROUTES:
                self.routes.clear()
            route = self.routes[url] = _read_route(url)
            return route


def _read_route(url: bytes) -> Route | None:
    path, _, query = url.partition(b"?")
    path = path.removesuffix(b"/")
    ref = path[len(_PREFIX) : -len(_SUFFIX)]
    if not (path.startswith(_PREFIX) and path.endswith(_SUFFIX)) or not _REFERENCE.fullmatch(ref):
        return None
    if query not in (b"", b"with_content=true", b"with_content=false"):
        return None
    return Route(ref.decode(), query != b"with_content=false", path + b"?" + query)
