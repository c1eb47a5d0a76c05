"""How is the tally shown? As a table that updates itself on a terminal, as a line a second otherwise."""

from __future__ import annotations

import asyncio
import sys

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ringback.cli.demo.tally import Tally

# Seconds between two pictures on a terminal, and between two lines elsewhere.
_PICTURE_EVERY_S = 0.25
_LINE_EVERY_S = 1.0


async def show(tally: Tally, endpoint: str) -> None:
    """Show the tally until cancelled."""
    if not sys.stdout.isatty():
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            print(f"demo: {tally.line()}", flush=True)
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while True:
            live.update(_table(tally, endpoint), refresh=True)
            await asyncio.sleep(_PICTURE_EVERY_S)


def _table(tally: Tally, endpoint: str) -> Table:
    table = Table(title=f"Ringback demo: events to {endpoint}", caption="Ctrl-C stops the server and the demo")
    for heading in ("sent", "delivered", "waiting", "retried", "p50", "p99", "bad signatures"):
        table.add_column(heading, justify="right")
    bad = f"[bold red]{tally.bad_signatures}[/]" if tally.bad_signatures else "[green]0[/]"
    milliseconds = [f"{tally.percentile_ms(share):.1f} ms" for share in (0.5, 0.99)]
    table.add_row(str(tally.sent), str(tally.delivered), str(tally.waiting), str(tally.retried), *milliseconds, bad)
    return table
