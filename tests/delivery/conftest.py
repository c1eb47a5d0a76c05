"""Every delivery test runs on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tests.delivery.hostile import Authority

Run = Callable[[Coroutine[Any, Any, None]], None]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
# Seconds for one test: a hang is a failure, not a stuck suite.
TEST_LIMIT_S = 20


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    def runner(story: Coroutine[Any, Any, None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(TEST_LIMIT_S):
                await story

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as loop:
            loop.run(limited())

    return runner


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))
