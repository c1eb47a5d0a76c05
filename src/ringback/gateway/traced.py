"""What does a hot request of a provider look like as a span? The same cycle, which notes when it came and what it was answered."""

from __future__ import annotations

from typing import Any, Final

from ringback.gateway.hot import InboundCycle
from ringback.services.replies import Reply
from ringback.telemetry.active import within
from ringback.telemetry.tracing import Tracing

_INGEST: Final = "/ingest/api/v1/source/{source_id}/in/{token}"


def route_of(path: str) -> str:
    """The route of a source's path, without what is a secret in it."""
    return _INGEST if path.startswith("/ingest/") else "/{}/{{route}}".format(path.split("/", 2)[1])


class TracedInboundCycle(InboundCycle):
    """A hot request with a span; made in place of a plain one where traces are made."""

    __slots__ = ("_active", "_tracing")

    def __init__(self, tracing: Tracing, door: Any, *known: Any) -> None:
        super().__init__(door, *known)
        self._tracing = tracing
        self._active = tracing.request("POST", route_of(door.url.decode("latin-1")), door.headers)

    def run(self) -> None:
        """As of a plain one."""
        with within(self._active):
            super().run()

    def repeated(self, message_id: str) -> None:
        """As of a plain one."""
        self._active.attributes |= {"messaging.message.id": message_id, "ringback.duplicate": True}
        super().repeated(message_id)

    def _answer(self, reply: Reply) -> None:
        super()._answer(reply)
        self._tracing.answered(self._active, reply.status, believed=False)
