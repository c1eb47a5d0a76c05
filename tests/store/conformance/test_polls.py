"""Reading on in an application's messages: where each stands, what is handed out, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ringback.model.messages import directed_to
from ringback.model.polling import Consumer, Lease, LeasedItem, PollingEndpoint, PollingStatus
from ringback.policy.polling import start_position
from ringback.store.base import Transaction
from ringback.store.operations import deferred, poll_consumers, polling, polls, retention
from ringback.store.operations.polls import Batch, Wanted
from tests.store.conformance.shelf import SECOND_US, Shelf

APP = "app_1"
ALL = Wanted()


async def polled(shelf: Shelf, app_id: str = APP) -> PollingEndpoint:
    """A polling endpoint of an application, made now."""

    def make(tx: Transaction) -> PollingEndpoint:
        now_us, number = shelf.now_us, polling.count(tx, app_id)
        begin = polls.beginning(tx, app_id, now_us)
        endpoint = PollingEndpoint(
            f"poll_{app_id}_{number}", app_id, None, PollingStatus.ENABLED, None, None, {}, 100, 0, begin, now_us, now_us
        )
        polling.insert(tx, endpoint)
        return endpoint

    return await shelf.store.write(make)


async def read(shelf: Shelf, after: str, limit: int = 50, wanted: Wanted = ALL) -> Batch:
    return await shelf.store.read(lambda tx: polls.read(tx, APP, after, wanted, limit, shelf.now_us))


async def walked(shelf: Shelf, after: str, limit: int, wanted: Wanted = ALL) -> list[str]:
    """All that follows, answer by answer."""
    found: list[str] = []
    while True:
        batch = await read(shelf, after, limit, wanted)
        assert len(batch.messages) <= limit and batch.position >= after
        found += [message.id for message in batch.messages]
        if batch.done:
            return found
        assert batch.position > after
        after = batch.position


async def released(shelf: Shelf, *, at_us: int) -> deferred.Released:
    return await shelf.store.write(lambda tx: deferred.release(tx, "org_1", APP, lambda kind, channels: (), at_us, 1_000))


def test_messages_of_an_application_are_read_in_the_order_of_their_commits(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        await shelf.accept()
        endpoint = await polled(shelf)
        offered = [shelf.offer(app_id=APP if n % 3 else "app_2") for n in range(300)]
        await asyncio.gather(*(heard.done for heard in offered))
        expected = [heard.what for heard in offered if heard.acceptance.message.app_id == APP]
        for limit in (1, 7, 250):
            assert await walked(shelf, endpoint.start, limit) == expected

    tell(story)


def test_what_waits_for_its_time_stands_behind_all_that_was_committed_by_then(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)
        due_us = shelf.now_us + 2 * SECOND_US
        waiting = [(await shelf.accept(deliver_at=due_us + n)).what for n in range(3)]
        first = (await shelf.accept()).what
        seen = await read(shelf, endpoint.start)
        assert ([message.id for message in seen.messages], seen.done) == ([first], True)
        second = (await shelf.accept()).what
        await released(shelf, at_us=due_us + 1)
        third = (await shelf.accept()).what
        await released(shelf, at_us=due_us + 2)
        for limit in (1, 2, 20):
            assert await walked(shelf, endpoint.start, limit) == [first, second, *waiting[:2], third, waiting[2]]
        assert await walked(shelf, seen.position, 1) == [second, *waiting[:2], third, waiting[2]]

    tell(story)


def test_a_reader_between_two_batches_misses_nothing_that_is_released_in_the_first(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)
        due_us = shelf.now_us + SECOND_US
        waiting = (await shelf.accept(deliver_at=due_us)).what
        # More than one batch holds: the release is committed with the first, ids of the second are older than it.
        pending = [shelf.offer() for _ in range(600)]
        await released(shelf, at_us=due_us)
        batch = await read(shelf, endpoint.start, 250)
        seen = [message.id for message in batch.messages]
        while not batch.done:
            batch = await read(shelf, batch.position, 250)
            seen += [message.id for message in batch.messages]
        await asyncio.gather(*(heard.done for heard in pending))
        seen += await walked(shelf, batch.position, 250)
        assert sorted(seen) == sorted([waiting, *(heard.what for heard in pending)])
        assert len(seen) == len(set(seen))

    tell(story)


def test_a_place_is_kept_only_where_somebody_polls(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        due_us = shelf.now_us + SECOND_US
        await shelf.accept(deliver_at=due_us)
        await polled(shelf, "app_2")
        await released(shelf, at_us=due_us)
        assert await shelf.rows("SELECT * FROM released_message") == []

    tell(story)


def test_places_outlive_the_process(tell_again: Callable[..., Any]) -> None:
    known: dict[str, Any] = {}

    async def before(shelf: Shelf) -> None:
        known["start"] = (await polled(shelf)).start
        due_us = shelf.now_us + SECOND_US
        waiting = (await shelf.accept(deliver_at=due_us)).what
        known["ids"] = [(await shelf.accept()).what, waiting]
        known["position"] = (await read(shelf, known["start"])).position
        await released(shelf, at_us=due_us)

    async def after(shelf: Shelf) -> None:
        shelf.make_id.after(max(known["ids"]))
        known["ids"].append((await shelf.accept()).what)
        assert await walked(shelf, known["start"], 1) == known["ids"]
        assert await walked(shelf, known["position"], 1) == known["ids"][1:]

    tell_again(before)
    tell_again(after)


def test_filters_leave_out_what_does_not_fit_wherever_it_stands(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)
        due_us = shelf.now_us + SECOND_US
        sent: list[tuple[str, str, tuple[str, ...] | None]] = []
        for n in range(150):
            kind, channels = ("paid", "made", "seldom")[n % 3], (None, ("eu",), ("us", "asia"))[n % 5 % 3]
            waits = n % 10 == 0
            heard = await shelf.accept(event_type=kind, channels=channels, deliver_at=due_us if waits else None)
            sent.append((heard.what, kind, channels))
        await released(shelf, at_us=due_us)
        for wanted in (
            Wanted(("paid",)),
            Wanted(("paid", "seldom"), ("eu", "asia")),
            Wanted(None, ("eu", "us"), "asia"),
            Wanted(("made",), None, "us"),
            Wanted(("nothing",)),
        ):
            expected = {message_id for message_id, kind, channels in sent if wanted.fits(kind, channels)}
            for limit in (1, 50):
                found = await walked(shelf, endpoint.start, limit, wanted)
                assert set(found) == expected and len(found) == len(expected)

    tell(story)


def test_what_was_sent_to_chosen_endpoints_is_for_nobody_else(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)
        await shelf.accept(matched=directed_to(()))
        await shelf.accept(matched=directed_to(("ep_1",)))
        sent = (await shelf.accept(matched=1)).what
        assert await walked(shelf, endpoint.start, 1) == [sent]
        assert await walked(shelf, endpoint.start, 1, Wanted(("t",))) == [sent]

    tell(story)


def test_large_payloads_make_short_answers(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)
        sent = [(await shelf.accept(payload=b'"' + b"x" * (6 << 20) + b'"')).what for _ in range(4)]
        batch = await read(shelf, endpoint.start)
        assert ([message.id for message in batch.messages], batch.done) == (sent[:2], False)
        assert await walked(shelf, endpoint.start, 50) == sent

    tell(story)


def test_a_time_is_a_place_also_for_what_became_due(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)
        begin_us = shelf.now_us
        waiting = [(await shelf.accept(deliver_at=begin_us + n * 600 * SECOND_US)).what for n in (1, 2)]
        plain = (await shelf.accept()).what
        for n in (1, 2):
            await released(shelf, at_us=begin_us + n * 600 * SECOND_US)

        async def since(at_us: int) -> list[str]:
            position = await shelf.store.read(lambda tx: polls.position_at(tx, APP, at_us))
            return await walked(shelf, max(endpoint.start, position), 10)

        assert await since(0) == [plain, *waiting]
        assert await since(begin_us + 500 * SECOND_US) == waiting
        assert await since(begin_us + 700 * SECOND_US) == waiting[1:]
        assert await since(begin_us + 1_300 * SECOND_US) == []

    tell(story)


def test_what_history_has_lost_is_passed_over(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)
        due_us = shelf.now_us + SECOND_US
        await shelf.accept(deliver_at=due_us)
        for _ in range(3):
            await shelf.accept()
        position = (await read(shelf, endpoint.start)).position
        await released(shelf, at_us=due_us)
        assert len(await walked(shelf, endpoint.start, 2)) == 4
        assert len(await walked(shelf, position, 2)) == 1
        later_us = shelf.now_us + 3_600 * SECOND_US
        assert await shelf.store.write(lambda tx: retention.purge_messages(tx, later_us, 100)) == (4, None)
        assert await walked(shelf, endpoint.start, 2) == []
        assert await shelf.store.write(lambda tx: polls.purge_released(tx, later_us, 100, "")) == (1, APP)
        assert await shelf.store.write(lambda tx: polls.purge_released(tx, later_us, 100, APP)) == (0, None)
        # With nothing left to go by, what becomes due still stands behind whoever has read all.
        far_us = later_us + 3_600 * SECOND_US
        waiting = (await shelf.accept(deliver_at=far_us)).what
        ahead = max(position, start_position(far_us - 120 * SECOND_US))
        await released(shelf, at_us=far_us)
        assert await walked(shelf, ahead, 2) == [waiting]

    tell(story)


def test_consumers_and_leases_are_kept_as_they_are(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        one, two = (Consumer("poll_1", leased, "c", "p", "q", 7, 1, 5) for leased in (False, True))
        items = tuple(LeasedItem(n, f"msg_{n}") for n in (1, 2, 4))

        def fill(tx: Transaction) -> None:
            poll_consumers.put(tx, one)
            poll_consumers.put(tx, two)
            poll_consumers.add(tx, "poll_1", "c", Lease(items, 100))
            poll_consumers.add(tx, "poll_1", "c", Lease((LeasedItem(3, "msg_3"),), 50))

        await shelf.store.write(fill)

        def look(tx: Transaction) -> None:
            assert poll_consumers.find(tx, "poll_1", "c", leased=False) == one
            assert poll_consumers.of(tx, "poll_1") == [one, two]
            assert poll_consumers.expired(tx, "poll_1", "c", 49, 10) == []
            assert [lease.leased_until for lease in poll_consumers.expired(tx, "poll_1", "c", 100, 10)] == [100, 50]
            for offset, until in ((1, 100), (3, 50), (4, 100)):
                lease = poll_consumers.holding(tx, "poll_1", "c", offset)
                assert lease is not None and lease.leased_until == until
            assert poll_consumers.holding(tx, "poll_1", "c", 5) is None
            assert poll_consumers.held(tx, "poll_1", "c") == 2

        await shelf.store.read(look)
        # One that leases is not forgotten while it holds something.
        assert await shelf.store.write(lambda tx: poll_consumers.forget(tx, "poll_1", 6)) == 1
        await shelf.store.write(lambda tx: [poll_consumers.remove(tx, "poll_1", "c", lease) for lease in (Lease(items, 100),)])
        assert await shelf.rows("SELECT first_offset FROM poll_lease") == [(3,)]

    tell(story)


@pytest.mark.parametrize("how", ["the endpoint", "the application"])
def test_all_of_a_deleted_polling_endpoint_is_removed_in_steps(tell: Callable[..., Any], how: str) -> None:
    async def story(shelf: Shelf) -> None:
        endpoint = await polled(shelf)

        def fill(tx: Transaction) -> None:
            for n in range(30):
                poll_consumers.put(tx, Consumer(endpoint.id, True, f"c{n}", "p", "p", 3, 1, 1))
                poll_consumers.add(tx, endpoint.id, f"c{n}", Lease((LeasedItem(1, "msg_1"),), 9))
            polls.release(tx, APP, [("msg_1", "t", None)], 1)
            if how == "the endpoint":
                polling.delete(tx, endpoint.id, 1)

        await shelf.store.write(fill)
        step = (lambda tx: polling.purge(tx, 20)) if how == "the endpoint" else (lambda tx: polling.purge_of(tx, APP, 20))
        removed = []
        while not removed or removed[-1]:
            removed.append(await shelf.store.write(step))
        assert max(removed) <= 31
        for table in ("polling_endpoint", "poll_consumer", "poll_lease"):
            assert await shelf.rows(f"SELECT * FROM {table}") == []
        assert len(await shelf.rows("SELECT * FROM released_message")) == (1 if how == "the endpoint" else 0)

    tell(story)
