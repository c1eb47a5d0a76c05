"""How does a command reach what the server keeps? Through the server while one runs, else in the database itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.config import Settings
    from ringback.config.running import RunningServer
    from ringback.store.base import Store

T = TypeVar("T")


def listening_server(settings: Settings) -> RunningServer | None:
    """The server that holds the database. Nobody listening where it should be means that it was killed: then the database is free."""
    from ringback.cli.api import Api
    from ringback.config.running import find
    from ringback.store.opening import database_path

    server = find(database_path(settings.database_url))
    if server is None:
        return None
    try:
        Api(server.url, server.token).call("GET", "/api/v1/health/ping")
    except OSError:
        return None
    return server


def must_exist(settings: Settings) -> None:
    """A name that was mistyped must not leave an empty database behind. Raises OperatorError."""
    from ringback.errors import OperatorError
    from ringback.store.opening import database_path

    path = database_path(settings.database_url)
    if not Path(path).exists():
        raise OperatorError(f"there is no database {path}; name the one of your server with --database")


def with_store(settings: Settings, verb: Callable[[Store, Clock], Awaitable[T]]) -> T:
    """Open the database, do it, and let go. Raises OperatorError when it cannot be opened."""
    from ringback.clock import SystemClock
    from ringback.store.opening import open_store

    async def opened() -> T:
        clock = SystemClock()
        store = await open_store(settings.database_url, clock)
        try:
            return await verb(store, clock)
        finally:
            await store.close()

    return asyncio.run(opened())
