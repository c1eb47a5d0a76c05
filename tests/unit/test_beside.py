from __future__ import annotations

import asyncio

import pytest

from ringback.app.beside import kept_going
from tests.waiting import until


def test_work_that_fails_is_logged_and_begun_again(caplog):
    begun: list[int] = []

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise OSError("the disk is gone")

    asyncio.run(kept_going("sweeping", work, rest_s=0.001))
    assert begun == [0, 1, 2], "work that has come to its end is not begun again"
    assert [record.getMessage() for record in caplog.records] == ["task.failed", "task.failed"]


def test_work_that_is_cancelled_is_not_begun_again():
    begun: list[int] = []

    async def work() -> None:
        begun.append(1)
        await asyncio.Event().wait()

    async def scenario() -> None:
        task = asyncio.ensure_future(kept_going("sweeping", work, rest_s=0.001))
        await until(lambda: begun)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert begun == [1]
