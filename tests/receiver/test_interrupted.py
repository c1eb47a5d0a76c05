"""What becomes of an event whose handling is cut off: by a sender who goes away, by the handler itself, by threads that are all taken?"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringback.receiver import Event, Receiver, Reply, SqliteInbox
from ringback.receiver.testing import sign
from ringback.signing.request import InboundRequest
from tests.receiver.test_handling import WAYS
from tests.waiting import until

GATE_S = 20


def receiver_in(directory: Path, **options: Any) -> Receiver:
    return Receiver("stripe", "secret", inbox=SqliteInbox(directory / "inbox.db"), **options)


def request_of(receiver: Receiver, number: int = 1, kind: str = "a") -> InboundRequest:
    made = sign("stripe", "secret", {"id": f"evt_{number}", "type": kind})
    return receiver.request(made.headers, made.body, "POST", "")


async def left_at(receiver: Receiver, point: threading.Event, gate: threading.Event) -> None:
    """A sender who goes away when the work is at this point, where it waits for the gate."""
    task = asyncio.create_task(receiver.handle_async(request_of(receiver)))
    await until(point.is_set, what="the work is there")
    task.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_handler_on_a_thread_whose_sender_goes_away_ran_for_good(tmp_path: Path) -> None:
    receiver, started, gate, ran = receiver_in(tmp_path), threading.Event(), threading.Event(), list[str | None]()

    @receiver.on("*")
    def slow(event: Event) -> None:
        started.set()
        assert gate.wait(GATE_S)
        ran.append(event.id)

    async def main() -> Reply:
        await left_at(receiver, started, gate)
        return await receiver.handle_async(request_of(receiver))

    assert asyncio.run(main()).status == 200
    assert (ran, receiver.counts) == (["evt_1"], {"handled": 1, "duplicate": 1})


def test_a_sender_who_goes_away_before_the_coroutine_starts_leaves_no_claim(tmp_path: Path) -> None:
    claiming, gate, ran = threading.Event(), threading.Event(), list[str | None]()

    class Slow(SqliteInbox):
        def claim(self, *arguments: Any) -> Any:
            claim = super().claim(*arguments)
            claiming.set()
            assert gate.wait(GATE_S)
            return claim

    receiver = Receiver("stripe", "secret", inbox=Slow(tmp_path / "inbox.db"))

    @receiver.on("*")
    async def handler(event: Event) -> None:
        ran.append(event.id)

    async def main() -> Reply:
        await left_at(receiver, claiming, gate)
        assert not ran
        return await receiver.handle_async(request_of(receiver))

    assert asyncio.run(main()).status == 200
    assert ran == ["evt_1"]


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_waits_for_what_was_cancelled_fails_as_any_other(tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture) -> None:
    receiver = receiver_in(tmp_path)

    @receiver.on("*")
    async def handler(event: Event) -> None:
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    assert [WAYS[way](receiver, request_of(receiver)).status for _ in range(2)] == [500, 500]
    assert receiver.counts == {"failed": 2} and "waited for something that was cancelled" in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_finds_nothing_next_fails_and_nobody_waits_for_ever(
    tmp_path: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = receiver_in(tmp_path)
    receiver.on("*")(lambda event: next(iter([])))
    assert WAYS[way](receiver, request_of(receiver)).status == 500
    assert "raised StopIteration" in caplog.text


def test_a_handler_that_ends_the_process_gives_its_event_back(tmp_path: Path) -> None:
    receiver, ends = receiver_in(tmp_path), [True]

    @receiver.on("*")
    def handler(event: Event) -> None:
        if ends:
            ends.pop()
            # As the worker of a server does that is told to end.
            raise SystemExit(1)

    with pytest.raises(SystemExit):
        receiver.handle(request_of(receiver))
    assert receiver.handle(request_of(receiver)).status == 200


def test_handlers_that_fill_all_threads_hold_up_no_duplicate_and_no_outcome(tmp_path: Path) -> None:
    receiver, gate, started, done = receiver_in(tmp_path), threading.Event(), threading.Event(), list[str | None]()

    @receiver.on("slow")
    def slow(event: Event) -> None:
        started.set()
        assert gate.wait(GATE_S)

    @receiver.on("quick")
    async def quick(event: Event) -> None:
        done.append(event.id)

    async def main() -> list[int]:
        # All the threads that a program has for what blocks.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        hanging = asyncio.create_task(receiver.handle_async(request_of(receiver, 1, "slow")))
        await until(started.is_set, what="the only thread is taken")
        try:
            async with asyncio.timeout(GATE_S / 2):
                replies = [await receiver.handle_async(request_of(receiver, number, "quick")) for number in (2, 2)]
                replies.append(await receiver.handle_async(request_of(receiver, 1, "slow")))
        finally:
            gate.set()
        return [reply.status for reply in (*replies, await hanging)]

    assert asyncio.run(main()) == [200, 200, 503, 200]
    assert done == ["evt_2"]


def test_with_a_deadline_the_handler_knows_what_the_framework_knows(tmp_path: Path) -> None:
    receiver, seen = receiver_in(tmp_path, deadline=timedelta(seconds=GATE_S)), list[str]()
    tenant = contextvars.ContextVar[str]("tenant")
    tenant.set("acme")
    receiver.on("*")(lambda event: seen.append(tenant.get()))
    assert receiver.handle(request_of(receiver)).status == 200
    assert seen == ["acme"]


def test_one_receiver_serves_one_loop_after_another(tmp_path: Path) -> None:
    receiver, ran = receiver_in(tmp_path, deadline=timedelta(seconds=GATE_S)), list[str | None]()

    @receiver.on("*")
    async def handler(event: Event) -> None:
        ran.append(event.id)

    assert [asyncio.run(receiver.handle_async(request_of(receiver, number))).status for number in (1, 2, 1)] == [200] * 3
    assert ran == ["evt_1", "evt_2"]
