"""Where do the servers of a test come from, and who ends them?"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import signal
import typing

from svix.api import Svix, SvixOptions
from svix.api.ingest_source import IngestSourceListOptions

from benchmarks import server
from ringback.config.running import find

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


class Shared:
    """Servers that many tests use, one for each choice of settings; nobody may stop them. Whoever asks gets an organisation of its own."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self._servers: dict[frozenset[tuple[str, str]], server.Server] = {}
        self._lent: list[server.Server] = []
        self._numbers = itertools.count(1)

    def __call__(self, settings: dict[str, str] | None = None) -> server.Server:
        """A server with short retries unless `settings` say otherwise, as a new organisation sees it."""
        chosen = QUICK_RETRIES | (settings or {})
        running = self._servers.get(frozenset(chosen.items()))
        if running is None:
            running = server.start(self.directory / f"{len(self._servers)}.db", chosen)
            self._servers[frozenset(chosen.items())] = running
        assert running.process.poll() is None, running.log_tail()
        operator = find(str(running.database))
        assert operator is not None
        token = dataclasses.replace(running, token=operator.token).make("/operator/token", {"org": f"org-{next(self._numbers)}"})["token"]
        self._lent.append(dataclasses.replace(running, token=token))
        return self._lent[-1]

    def give_back(self) -> None:
        """Let nothing more be sent for those who asked: their receivers are gone, and another may listen where they did."""
        for lent in self._lent:
            for path in ("/app", "/operational-webhook/endpoint", "/stream"):
                for item in lent.call("GET", f"{path}?limit=250")[1]["data"]:
                    assert lent.call("DELETE", f"{path}/{item['id']}")[0] == 204
            sources = Svix(lent.token, SvixOptions(server_url=lent.url)).ingest.source
            for source in sources.list(IngestSourceListOptions(limit=250)).data:
                sources.delete(source.id)
        self._lent.clear()

    def end(self) -> None:
        """Stop them all."""
        for running in self._servers.values():
            running.stop()
