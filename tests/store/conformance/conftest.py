"""Every store runs this suite. A new one adds a factory to `STORES`: a name, and what opens it in an empty directory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ringback.clock import SystemClock
from ringback.store.base import Store
from ringback.store.opening import open_store
from tests.fresh import laid
from tests.store.conformance.shelf import Shelf

Opening = Callable[[Path, SystemClock], Awaitable[Store]]
Story = Callable[[Shelf], Awaitable[Any]]


def _sqlite_file(path: Path, clock: SystemClock) -> Awaitable[Store]:
    return open_store(f"sqlite:///{laid(path / 'ringback.db')}", clock)


def _sqlite_memory(path: Path, clock: SystemClock) -> Awaitable[Store]:
    return open_store("sqlite:///:memory:", clock)


# Name: (what opens it, does it outlive its closing?)
STORES: dict[str, tuple[Opening, bool]] = {"sqlite": (_sqlite_file, True), "sqlite-memory": (_sqlite_memory, False)}


@pytest.fixture(params=STORES)
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], Any]:
    """Runs a story with a shelf over a fresh store."""
    opening, _ = STORES[request.param]
    return _teller(opening, tmp_path)


@pytest.fixture(params=[name for name, (_, lasts) in STORES.items() if lasts])
def tell_again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], Any]:
    """As `tell`, over a store that outlives its closing: each story finds what the last one left."""
    opening, _ = STORES[request.param]
    return _teller(opening, tmp_path)


def _teller(opening: Opening, path: Path) -> Callable[[Story], Any]:
    def tell(story: Story) -> Any:
        async def run() -> Any:
            clock = SystemClock()
            store = await opening(path, clock)
            try:
                return await story(Shelf(store, clock))
            finally:
                await store.close()

        return asyncio.run(run())

    return tell
