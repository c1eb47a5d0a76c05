"""What does a hot request look like as a span? The same cycle, which notes when it came, what it made and what it was answered."""

from __future__ import annotations

from typing import Any

from ringback.api.hot_cycle import HotCycle
from ringback.api.problems import Problem
from ringback.api.publish import PATH
from ringback.model.messages import Message
from ringback.telemetry.active import within
from ringback.telemetry.tracing import Tracing


class TracedCycle(HotCycle):
    """A hot request with a span; made in place of a plain one where traces are made."""

    __slots__ = ("_active", "_tracing")

    def __init__(self, tracing: Tracing, door: Any, *known: Any) -> None:
        super().__init__(door, *known)
        self._tracing = tracing
        self._active = tracing.request("POST", PATH, door.headers)

    def run(self) -> None:
        """As of a plain one."""
        with within(self._active):
            super().run()

    def accepted(self, message: Message) -> None:
        """As of a plain one."""
        self._active.attributes["messaging.message.id"] = message.id
        super().accepted(message)

    def _answer(self, status: int, body: bytes, problem: Problem | None = None) -> None:
        super()._answer(status, body, problem)
        self._tracing.answered(self._active, status, believed=True)
