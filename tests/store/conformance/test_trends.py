"""Sums are those of what was written, whenever somebody looks: before, while and after they move on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ringback.model.attempts import ErrorClass
from ringback.store.base import Record
from ringback.store.operations import trends
from ringback.store.operations.trends import MINUTE_US, Scope, Sums
from tests.store.conformance.shelf import Shelf

# An hour and its minutes, long past.
HOUR = 500_000
FIRST = HOUR * 60
APP = Scope("org_1", "app_1")
ONE = Scope("org_1", "app_1", "ep_1")
ORG = Scope("org_1")


def sums(shelf: Shelf, scope: Scope, step: int = 60, first: int = FIRST, end: int = FIRST + 120) -> Awaitable[dict[int, Sums]]:
    return shelf.store.read(lambda tx: trends.series(tx, scope, first, end, step))


async def moved(shelf: Shelf, before: int = 1 << 40) -> int:
    return await shelf.store.write(lambda tx: trends.move(tx, before, 1_000))


async def known(shelf: Shelf) -> None:
    """The application and its endpoints have rows, as in a server; so sums know whose they are."""

    def operation(tx: Any) -> None:
        tx.run("INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES ('app_1', 'org_1', 'Shop', '{}', 1, 1)")
        for number in (1, 2, 3):
            tx.run(
                "INSERT INTO endpoint (id, app_id, url, host, description, disabled, metadata, version, headers, secrets, created_at, "
                "updated_at) VALUES (?, 'app_1', x'', '', '', 0, '{}', 1, x'', x'', 1, 1)",
                (f"ep_{number}",),
            )

    await shelf.store.write(operation)


async def attempted(shelf: Shelf, minute: int, *, endpoint_id: str = "ep_1", **facts: Any) -> None:
    delivery = await shelf.delivery(endpoint_id, created_at=minute * MINUTE_US)
    code = facts.get("code", 200)
    status = facts.pop("status", 0 if 200 <= code < 300 else 2)
    await shelf.record(Record(delivery, shelf.attempt(delivery, status, started_at=minute * MINUTE_US + 59_000_000, **facts)))


def told(tell: Callable[..., Any], story: Callable[[Shelf], Awaitable[None]]) -> None:
    async def whole(shelf: Shelf) -> None:
        await known(shelf)
        await story(shelf)

    tell(whole)


def test_answers_are_counted_by_class_and_those_that_say_more_also_by_that(tell):
    async def story(shelf: Shelf) -> None:
        for code in (200, 204, 299, 302, 404, 429, 429, 500, 503, 101, 999):
            await attempted(shelf, FIRST, code=code)
        for error in (ErrorClass.TIMEOUT, ErrorClass.CONNECT_TIMEOUT, ErrorClass.DNS):
            await attempted(shelf, FIRST, code=0, error=error)
        await attempted(shelf, FIRST, code=0, status=4)
        for _ in range(2):
            cell = (await sums(shelf, ONE))[FIRST].cell(0)
            assert (cell.success, cell.fail, cell.canceled) == (3, 11, 1)
            codes = cell.codes
            assert (codes.success, codes.redirect, codes.client_error, codes.server_error, codes.informational) == (3, 1, 3, 3, 1)
            assert (codes.none, codes.timeout, codes.too_many) == (4, 2, 2)
            await moved(shelf)

    told(tell, story)


def test_latency_counts_what_was_answered_or_timed_out(tell):
    async def story(shelf: Shelf) -> None:
        for _ in range(98):
            await attempted(shelf, FIRST, duration_us=10_000)
        await attempted(shelf, FIRST, code=500, duration_us=300_000)
        await attempted(shelf, FIRST, code=0, error=ErrorClass.TIMEOUT, duration_us=30_000_000)
        # Nobody waited for these.
        for _ in range(300):
            await attempted(shelf, FIRST, code=0, error=ErrorClass.BLOCKED, duration_us=1)
        for _ in range(2):
            latency = (await sums(shelf, ONE))[FIRST].cell(0).latency
            assert latency is not None
            assert 8_500 < latency.p50_us < 11_600
            assert 8_500 < latency.p95_us < 11_600
            assert 255_000 < latency.p99_us < 347_000
            await moved(shelf)

    told(tell, story)


def test_an_application_counts_its_messages_and_what_was_made_of_them(tell):
    async def story(shelf: Shelf) -> None:
        for endpoint_ids in ((), ("ep_1",), ("ep_1", "ep_2"), ("ep_1", "ep_2", "ep_3")):
            await shelf.accept(*endpoint_ids, created_at=FIRST * MINUTE_US)
        await shelf.accept(created_at=(FIRST + 60) * MINUTE_US)
        for _ in range(2):
            for scope in (APP, ORG):
                cells = {at: found.cell(0) for at, found in (await sums(shelf, scope)).items()}
                assert {at: (c.accepted, c.deliveries, c.unmatched) for at, c in cells.items()} == {FIRST: (4, 6, 1), FIRST + 60: (1, 0, 1)}
            assert await sums(shelf, ONE) == {}
            await moved(shelf)

    told(tell, story)


def test_the_whole_is_the_sum_of_its_parts_wherever_they_are(tell):
    async def story(shelf: Shelf) -> None:
        minutes = (0, 1, 1, 59, 60, 61, 119)
        for n, minute in enumerate(minutes):
            await attempted(shelf, FIRST + minute, endpoint_id=f"ep_{1 + n % 2}", code=200 if n % 3 else 500)

        async def seen() -> list[Any]:
            return [
                {at: list(found.values) for at, found in (await sums(shelf, scope, step)).items()}
                for scope in (ORG, APP, ONE, Scope("org_1", "app_1", "ep_2"))
                for step in (1, 5, 60, 120)
            ]

        before = await seen()
        assert before[2][FIRST][:6] == [4, 4, 0, 2, 2, 0]
        # Some have moved on by themselves, then more, then all.
        assert await shelf.count("trend_recent") > 0
        for limit in (FIRST + 61, 1 << 40):
            await moved(shelf, limit)
            assert await seen() == before
        assert await shelf.count("trend_recent") == 0

    told(tell, story)


def test_what_comes_late_is_added_to_what_has_moved_on(tell):
    async def story(shelf: Shelf) -> None:
        for _ in range(3):
            await attempted(shelf, FIRST)
            await moved(shelf)
        for step in (1, 60):
            assert (await sums(shelf, ONE, step))[FIRST].cell(0).success == 3

    told(tell, story)


def test_minutes_that_are_over_move_on_by_themselves(tell):
    async def story(shelf: Shelf) -> None:
        await attempted(shelf, FIRST)
        await attempted(shelf, FIRST + 3)
        # The batch that sees a later minute has begun before it.
        await shelf.accept(created_at=(FIRST + 3) * MINUTE_US)
        left = {at for (at,) in await shelf.rows("SELECT at FROM trend_recent")}
        assert left == {FIRST + 3}
        assert (await sums(shelf, ONE))[FIRST].cell(0).success == 2

    told(tell, story)


def test_outcomes_of_any_minutes_are_those_of_hours_and_minutes_between(tell):
    async def story(shelf: Shelf) -> None:
        minutes = (0, 30, 59, 60, 90, 119, 120, 150)
        for minute in minutes:
            await attempted(shelf, FIRST + minute, code=200 if minute % 60 else 500)
        for _ in range(2):
            for first, end in ((0, 151), (0, 60), (59, 121), (61, 119), (30, 150), (45, 50), (0, 0)):
                expected = [minute for minute in minutes if first <= minute < end]
                success, fail, canceled = await shelf.store.read(
                    lambda tx, first=first, end=end: trends.outcomes(tx, ONE, FIRST + first, FIRST + end)
                )
                assert (success, fail, canceled) == (
                    sum(1 for m in expected if m % 60),
                    sum(1 for m in expected if not m % 60),
                    0,
                ), (first, end)
            await moved(shelf)

    told(tell, story)


def test_what_was_not_kept_is_not_counted(tell):
    async def story(shelf: Shelf) -> None:
        good, bad = [await shelf.delivery(created_at=FIRST * MINUTE_US) for _ in range(2)]
        at_us = FIRST * MINUTE_US
        refused = shelf.offer_records(Record(bad, shelf.attempt(bad, 2, started_at=at_us, detail="\ud800")))
        kept = shelf.offer_records(Record(good, shelf.attempt(good, started_at=at_us)))
        unwritten = shelf.offer("ep_1", created_at=at_us, event_type="\ud800")
        await asyncio.gather(refused, kept, unwritten.done)
        assert refused.result() is not None
        assert unwritten.word == "refused"
        cell = (await sums(shelf, APP))[FIRST].cell(0)
        assert (cell.accepted, cell.success, cell.fail) == (2, 1, 0)

    told(tell, story)
