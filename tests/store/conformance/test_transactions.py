from __future__ import annotations

import asyncio

import pytest

from ringback.errors import Conflict, RingbackError, StoreFailure
from ringback.store.base import Record
from tests.store.conformance.shelf import Shelf

PUT = "INSERT INTO endpoint_sequence VALUES (?, 1)"
ALL = "SELECT endpoint_id FROM endpoint_sequence ORDER BY endpoint_id"


def put(name):
    return lambda tx: tx.run(PUT, (name,))


def test_what_an_operation_raises_undoes_its_own_effect_only(tell):
    class Odd(Exception):
        pass

    def after(name, error):
        def operation(tx):
            tx.run(PUT, (name,))
            raise error

        return operation

    async def story(shelf: Shelf) -> None:
        writes = [shelf.store.write(w) for w in (put("a"), after("b", Conflict("no")), put("c"), after("d", Odd()), put("e"))]
        heard = shelf.offer("ep_1")
        found = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(f) for f in found] == [int, Conflict, int, Odd, int]
        assert (await heard.done).word == "accepted"
        assert await shelf.rows(ALL) == [("a",), ("c",), ("e",), ("ep_1",)]

    tell(story)


def test_a_statement_that_the_database_refuses_fails_its_operation_alone(tell):
    async def story(shelf: Shelf) -> None:
        refused = [
            shelf.store.write(put("twice")),
            shelf.store.write(put("twice")),
            shelf.store.write(lambda tx: tx.run("SELECT * FROM no_such_table")),
            shelf.store.write(lambda tx: tx.run("nonsense")),
            shelf.store.write(lambda tx: tx.run(PUT, ("one", "too many"))),
            shelf.store.write(put(1 << 70)),
        ]
        heard, last = shelf.offer("ep_1"), shelf.store.write(put("last"))
        found = await asyncio.gather(*refused, return_exceptions=True)
        assert found[0] == 1
        assert all(isinstance(f, Exception) for f in found[1:])
        assert all(isinstance(f, RingbackError) for f in found[1:4])
        assert (await heard.done).word == "accepted"
        await last
        assert await shelf.rows(ALL) == [("ep_1",), ("last",), ("twice",)]

    tell(story)


def test_operations_see_what_was_written_before_them_in_the_same_commit(tell):
    async def story(shelf: Shelf) -> None:
        writes = [shelf.store.write(lambda tx: tx.run("UPDATE endpoint_sequence SET last = last + 1")) for _ in range(3)]
        heard = shelf.offer("ep_1")
        await asyncio.gather(heard.done, *writes)
        assert await shelf.rows("SELECT last FROM endpoint_sequence") == [(4,)]

    tell(story)


def test_an_operation_that_is_cancelled_before_it_begins_never_does(tell):
    async def story(shelf: Shelf) -> None:
        write = asyncio.ensure_future(shelf.store.write(put("a")))
        write.cancel()
        await asyncio.gather(write, return_exceptions=True)
        await shelf.store.write(put("b"))
        assert await shelf.rows(ALL) == [("b",)]

    tell(story)


def test_many_long_operations_do_not_hold_the_loop_in_one_piece(tell):
    async def story(shelf: Shelf) -> None:
        def long(tx):
            until_s = shelf.clock.monotonic_s() + 0.003
            while shelf.clock.monotonic_s() < until_s:
                tx.rows("SELECT 1")

        writes = asyncio.gather(*(shelf.store.write(long) for _ in range(40)))
        turns = 0
        while not writes.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 20, "other callbacks had their turn between them"

    tell(story)


def test_a_read_sees_one_moment_and_cannot_write(tell_again):
    async def story(shelf: Shelf) -> None:
        await shelf.accept("ep_1")
        loop = asyncio.get_running_loop()

        def query(tx):
            before = tx.rows("SELECT COUNT(*) FROM message")
            asyncio.run_coroutine_threadsafe(_accepted(shelf), loop).result(20)
            return before == tx.rows("SELECT COUNT(*) FROM message")

        assert await shelf.store.read(query)
        assert await shelf.count("message") == 2
        with pytest.raises(StoreFailure):
            await shelf.store.read(put("a"))
        assert await shelf.rows("SELECT 1") == [(1,)]

    tell_again(story)


async def _accepted(shelf: Shelf) -> None:
    await shelf.accept("ep_1")


def test_what_a_query_raises_is_raised_to_its_caller(tell):
    async def story(shelf: Shelf) -> None:
        def query(tx):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await shelf.store.read(query)
        with pytest.raises(RingbackError):
            await shelf.store.read(lambda tx: tx.rows("nonsense"))
        assert await shelf.rows("SELECT 1") == [(1,)]

    tell(story)


def test_closing_commits_what_waits(tell_again):
    async def first(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        heard, recorded = shelf.offer("ep_2"), shelf.offer_records(shelf.success(delivery))
        wrote = shelf.store.write(put("a"))
        await shelf.store.close()
        assert (heard.word, recorded.result()) == ("accepted", None)
        assert await wrote == 1

    async def second(shelf: Shelf) -> None:
        assert await shelf.rows("SELECT endpoint_id FROM delivery") == [("ep_2",)]
        assert await shelf.count("attempt") == 1
        assert ("a",) in await shelf.rows(ALL)

    tell_again(first)
    tell_again(second)


def test_what_comes_after_closing_is_refused_and_not_forgotten(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        await shelf.store.close()
        assert isinstance((await shelf.accept("ep_1")).what, StoreFailure)
        assert isinstance(await shelf.record(shelf.success(delivery)), StoreFailure)
        for late in (shelf.claim(), shelf.rows("SELECT 1"), _written(shelf)):
            with pytest.raises(StoreFailure):
                await late

    tell(story)


async def _written(shelf: Shelf) -> None:
    await shelf.store.write(put("a"))


def test_what_follows_a_transaction_is_called_once_it_is_durable_and_never_when_it_is_undone(tell):
    async def story(shelf: Shelf) -> None:
        called: list[str] = []

        def operation(name, fails=False):
            def write(tx):
                tx.run(PUT, (name,))
                tx.then(lambda: called.append(name))
                assert name not in called
                if fails:
                    raise Conflict("no")

            return write

        writes = [shelf.store.write(operation(*w)) for w in (("a",), ("b", True), ("c",))]
        await asyncio.gather(*writes, return_exceptions=True)
        await shelf.store.write(put("d"))
        assert called == ["a", "c"]

    tell(story)


def test_what_follows_is_called_once_though_another_part_of_the_batch_was_at_fault(tell):
    async def story(shelf: Shelf) -> None:
        called: list[str] = []
        first, bad = await shelf.delivery(), await shelf.delivery()

        def heard(tx, records):
            for record in records:
                tx.then(lambda record=record: called.append(record.delivery.message_id))

        good = shelf.success(first)
        records = [
            shelf.offer_records(Record(good.delivery, good.attempt, tell=heard)),
            shelf.offer_records(Record(bad, shelf.attempt(bad, 2, detail="\ud800"), tell=heard)),
        ]
        await asyncio.gather(*records)
        await shelf.store.write(put("d"))
        assert called == [first.message_id]

    tell(story)
