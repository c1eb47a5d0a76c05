"""Which handler is an event for? Exactly one, or none: its own name before patterns, longer patterns before shorter ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from ringback.receiver.event import Event

Handler: TypeAlias = Callable[[Event], Any]


class Routes:
    """Handlers by the names of event types; `*` in a name stands for any text."""

    def __init__(self) -> None:
        self._exact: dict[str, Handler] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Handler]] = []

    def add(self, name: str, handler: Handler) -> None:
        """Let events of that type, or of types like that, go to `handler`. Raises ValueError when the name has one already."""
        if name in self._exact or any(name == known for known, _, _ in self._patterns):
            raise ValueError(f"{name!r} has a handler already; one event goes to one handler, which may call others")
        if "*" in name:
            pattern = re.compile(".*".join(map(re.escape, name.split("*"))), re.DOTALL)
            self._patterns.append((name, pattern, handler))
            self._patterns.sort(key=lambda known: -len(known[0].replace("*", "")))
        else:
            self._exact[name] = handler

    @property
    def empty(self) -> bool:
        """Has nobody asked for anything?"""
        return not self._exact and not self._patterns

    def find(self, event_type: str) -> Handler | None:
        """The handler of an event type."""
        handler = self._exact.get(event_type)
        if handler is not None:
            return handler
        return next((handler for _, pattern, handler in self._patterns if pattern.fullmatch(event_type)), None)
