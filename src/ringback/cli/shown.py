"""How does a listener tell what it does? A line for each event: in colour on a terminal, plain elsewhere."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

from ringback.clock import SystemClock, to_datetime

if TYPE_CHECKING:
    from rich.console import Console


class Shown:
    """Writes to standard output, at once."""

    def __init__(self) -> None:
        self._console: Console | None = None
        if sys.stdout.isatty():
            try:
                # Here, not above: a pipe needs no colours, and the package takes longer to import than all others.
                from rich.console import Console
            except ImportError:
                # A plain install shows the same without colours.
                return
            self._console = Console(highlight=False)

    def say(self, text: str) -> None:
        """Something about the listener itself."""
        self._write(text, "dim")

    def warn(self, text: str) -> None:
        """Something that keeps it from its work."""
        self._write(text, "yellow")

    def event(self, event_type: str, message_id: str, status: int, took_s: float) -> None:
        """One message, and what the program answered."""
        line = f"{_now():%H:%M:%S}  {event_type}  {message_id}  {status}  {took_s * 1_000:.0f} ms"
        self._write(line, "green" if 200 <= status < 300 else "red")

    def _write(self, text: str, style: str) -> None:
        # Event types and answers are strangers' text: no escape sequence of theirs reaches the terminal.
        clean = "".join(letter if letter.isprintable() else "?" for letter in text)
        if self._console is None:
            print(clean, flush=True)
        else:
            self._console.print(clean, style=style, markup=False, soft_wrap=True)


def _now() -> datetime:
    return to_datetime(SystemClock().now_us()).astimezone()
