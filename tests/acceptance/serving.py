"""Where do the servers of a test come from, and who ends them?"""

from __future__ import annotations

import pathlib
import signal
import typing

from benchmarks import server

# Settings with which a retry comes within a test's patience; everything else is as shipped.
QUICK_RETRIES = {"retry_schedule": "300ms,300ms,500ms,1s,1s", "overload_min_delay": "500ms"}


class Serve:
    """Starts servers; each is killed at the end of the test, should it still run."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.servers: list[server.Server] = []

    def __call__(self, database: pathlib.Path | None = None, **options: typing.Any) -> server.Server:
        """Start a server with short retries; `settings` and the other arguments are those of `benchmarks.server.start`."""
        settings = QUICK_RETRIES | options.pop("settings", {})
        log = self.directory / "server.log"
        started = server.start(database or self.directory / "ringback.db", settings, log=log, **options)
        self.servers.append(started)
        return started

    def end(self) -> None:
        """Kill what still runs."""
        for started in self.servers:
            if started.process.poll() is None:
                started.stop(signal.SIGKILL)
