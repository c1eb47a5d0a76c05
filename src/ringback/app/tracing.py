"""Where do traces come in? What makes them, and the spans of requests that go the ordinary way."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringback import __version__
from ringback.api.hot_cycle import HotCycle
from ringback.api.publish import PATH
from ringback.api.traced import TracedCycle
from ringback.clock import Clock
from ringback.config import Settings
from ringback.gateway.hot import InboundCycle
from ringback.gateway.traced import TracedInboundCycle, route_of
from ringback.services.gateway import is_ours
from ringback.store.base import Record
from ringback.telemetry.active import within
from ringback.telemetry.otel import Exporter, require
from ringback.telemetry.otel_process import Target
from ringback.telemetry.tracing import Tracing

_PUBLISH: Final = re.compile(r"/api/v1/app/[^/]+/msg/?")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def check(settings: Settings) -> None:
    """Raises OperatorError when traces are wanted and cannot be exported; to be asked before anything is touched."""
    if settings.otel_endpoint is not None:
        require()


class Traces:
    """What makes spans (`tracing`, None when that is off), and what exports them."""

    def __init__(self, settings: Settings, clock: Clock, draw: Callable[[int], int]) -> None:
        self.tracing: Tracing | None = None
        self._exporter: Exporter | None = None
        if settings.otel_endpoint is None:
            return
        target = Target(settings.otel_endpoint, dict(settings.otel_headers), settings.otel_service_name, __version__)
        self._exporter = Exporter(target, clock)
        self.tracing = Tracing(self._exporter.emit, settings.otel_sample_ratio, clock, draw)
        self._exporter.start()

    def close(self, within_s: float) -> None:
        """Export what waits, for so long at the most. Blocks."""
        if self._exporter is not None:
            self._exporter.close(within_s)

    def recorded(self, record: Record) -> None:
        """An attempt is durable."""
        if self.tracing is not None and record.message is not None:
            self.tracing.landed(record.message, record.delivery, record.attempt, record.dead)

    def hot(self) -> Any:
        """What makes hot requests of publishers."""
        return HotCycle if self.tracing is None else partial(TracedCycle, self.tracing)

    def hot_inbound(self) -> Any:
        """What makes hot requests of providers."""
        return InboundCycle if self.tracing is None else partial(TracedInboundCycle, self.tracing)

    def around(self, app: ASGIApp) -> ASGIApp:
        """An application whose requests have spans, where traces are made."""
        return app if self.tracing is None else _Traced(self.tracing, app)


class _Traced:
    """Puts a span around requests that publish or bring an event, and go the ordinary way."""

    def __init__(self, tracing: Tracing, app: ASGIApp) -> None:
        self._tracing = tracing
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        publishes = scope["type"] == "http" and scope["method"] == "POST" and _PUBLISH.fullmatch(scope["path"]) is not None
        if not publishes and not (scope["type"] == "http" and is_ours(scope["path"].encode("utf-8", "surrogatepass"))):
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        active = self._tracing.request(method, PATH if publishes else route_of(scope["path"]), scope["headers"])
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with within(active):
                await self._app(scope, receive, sent)
        finally:
            # Who is not known to us cannot have us record what it does.
            self._tracing.answered(active, status, believed=publishes and status not in (401, 403))
