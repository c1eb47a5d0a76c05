from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.clock import SystemClock
from ringback.model.deliveries import Delivery
from ringback.store.base import Record
from ringback.store.opening import open_store
from ringback.store.operations import deliveries, lanes
from ringback.store.operations.lanes import PARKED
from tests.store.conformance.shelf import Shelf
from tests.store.counting import instructions

ROWS = "SELECT lane, sequence, due_at, message_id FROM delivery WHERE trigger = 0 ORDER BY sequence"


def in_lane(record: Record, *, blocks: bool = False) -> Record:
    return msgspec.structs.replace(record, follow=[], blocks=blocks)


async def due(shelf: Shelf) -> list[int]:
    """The sequences of what is not parked."""
    return [sequence for _, sequence, due_at, _ in await shelf.rows(ROWS) if due_at < PARKED]


def test_the_first_of_a_lane_is_handed_over_and_the_others_wait(tell):
    async def story(shelf: Shelf) -> None:
        heard = [shelf.offer("ep_1", claim=True, lane="=k") for _ in range(3)]
        heard += [shelf.offer("ep_1", claim=True, lane="=other")]
        for one in heard:
            await one.done
        assert [[d.sequence for d in one.acceptance.claimed] for one in heard] == [[1], [], [], [4]]
        assert await due(shelf) == [1, 4]
        assert (await shelf.claim()).claims == []

    tell(story)


def test_what_is_finished_brings_the_next_of_its_lane_leased_and_with_its_message(tell):
    async def story(shelf: Shelf) -> None:
        first = await shelf.delivery(lane="=k")
        second = shelf.message(payload=b'{"n":2}')
        await shelf.accept("ep_1", claim=True, lane="=k", message=second)
        record = in_lane(shelf.success(first))
        assert await shelf.record(record) is None
        (following,) = record.follow or []
        assert (following.delivery.sequence, following.delivery.due_at, following.message.payload) == (2, second.created_at, b'{"n":2}')
        # It is in the hands of whoever recorded.
        assert await shelf.claimed_ids() == []

    tell(story)


def test_a_retry_keeps_its_place_and_a_death_gives_it_away(tell):
    async def story(shelf: Shelf) -> None:
        first = await shelf.delivery(lane="=k")
        await shelf.accept("ep_1", lane="=k")
        record = in_lane(shelf.retry(first, first.due_at + 5))
        await shelf.record(record)
        assert record.follow == []
        assert await due(shelf) == [1]
        (claim,) = (await shelf.claim(now_us=first.due_at + 5)).claims
        record = in_lane(shelf.death(claim.delivery))
        await shelf.record(record)
        assert [c.delivery.sequence for c in record.follow or []] == [2]

    tell(story)


def test_a_lane_that_is_blocked_takes_in_and_gives_out_nothing_until_its_letter_goes(tell):
    async def story(shelf: Shelf) -> None:
        first = await shelf.delivery(lane="=k")
        await shelf.accept("ep_1", claim=True, lane="=k")
        record = in_lane(shelf.death(first), blocks=True)
        await shelf.record(record)
        assert record.follow == [] and await due(shelf) == []
        heard = await shelf.accept("ep_1", claim=True, lane="=k")
        assert heard.acceptance.claimed == []
        (block,) = await shelf.store.read(lambda tx: lanes.blocked_of(tx, "ep_1", 10))
        assert (block.lane, block.message_id, block.sequence) == ("=k", first.message_id, 1)
        assert await shelf.store.read(lambda tx: lanes.count_all_blocked(tx)) == 1
        await shelf.store.write(lambda tx: tx.run("UPDATE dead_letter SET state = 'discarded'"))
        assert await due(shelf) == [2]
        assert await shelf.store.read(lambda tx: lanes.count_blocked(tx, "ep_1")) == 0

    tell(story)


def test_a_batch_that_fails_lets_nothing_follow(tell):
    async def story(shelf: Shelf) -> None:
        first = await shelf.delivery(lane="=k")
        await shelf.accept("ep_1", lane="=k")
        broken = shelf.success(first)
        broken = in_lane(Record(first, msgspec.structs.replace(broken.attempt, status=9)))
        assert isinstance(await shelf.record(broken), Exception)
        assert broken.follow == [] and await due(shelf) == [1]

    tell(story)


def test_a_batch_that_starts_anew_lets_each_lane_go_on_once(tell):
    async def story(shelf: Shelf) -> None:
        good = await shelf.delivery(lane="=k")
        bad = await shelf.delivery(lane="=other")
        await shelf.accept("ep_1", lane="=k")
        fine = in_lane(shelf.success(good))
        broken = in_lane(Record(bad, msgspec.structs.replace(shelf.success(bad).attempt, status=9)))
        answers = [shelf.offer_records(fine), shelf.offer_records(broken)]
        assert [isinstance(await one, Exception) for one in answers] == [False, True]
        assert [c.delivery.sequence for c in fine.follow or []] == [3]

    tell(story)


def test_a_claim_costs_the_same_however_many_lanes_are_blocked_and_however_much_waits():
    async def cost(waiting: int) -> int:
        clock = SystemClock()
        store = await open_store("sqlite:///:memory:", clock)
        shelf = Shelf(store, clock)
        try:
            await shelf.accept("ep_1", lane="=due")
            for start in range(0, waiting, 1_000):
                await store.write(lambda tx, start=start: _behind_dead_heads(tx, range(start, min(start + 1_000, waiting))))
            (claimed,) = [None]
            connection = store._connection
            ticks = 0

            def tick() -> bool:
                nonlocal ticks
                ticks += 1
                return False

            connection.set_progress_handler(tick, 10)
            claimed = await shelf.claim()
            connection.set_progress_handler(None)
            assert [c.delivery.sequence for c in claimed.claims] == [1]
            assert claimed.next_due_at is None
            return ticks
        finally:
            await store.close()

    few, many = asyncio.run(cost(100)), asyncio.run(cost(20_000))
    assert many <= few * 1.5


def _behind_dead_heads(tx: Any, numbers: range) -> None:
    tx.run_many(
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state, lane) "
        "VALUES ('ep_1', ?, ?, 0, 'app_1', ?, 0, 'waiting', ?)",
        [(PARKED + n, f"msg_{n}", n + 2, f"=k{n}") for n in numbers],
    )
    tx.run_many(
        "INSERT INTO lane_block (endpoint_id, lane, message_id, sequence, blocked_at) VALUES ('ep_1', ?, ?, 1, ?)",
        [(f"=k{n}", f"dead_{n}", n) for n in numbers],
    )


def test_letting_one_lane_go_on_costs_the_same_however_much_waits_in_it_and_beside_it():
    async def cost(waiting: int, lane: str) -> int:
        clock = SystemClock()
        store = await open_store("sqlite:///:memory:", clock)
        try:
            for start in range(0, waiting, 1_000):
                await store.write(lambda tx, start=start: _behind_dead_heads(tx, range(start, min(start + 1_000, waiting))))
            await store.write(lambda tx: tx.run("UPDATE delivery SET lane = ?", (lane,)) if lane else None)
            await store.write(lambda tx: tx.run("DELETE FROM lane_block"))
            await store.write(lambda tx: tx.run(f"UPDATE delivery SET due_at = {PARKED} + sequence"))
            counted: list[int] = []

            def promote(tx: Any) -> None:
                name = lane or "=k7"
                counted.append(instructions(lambda: lanes.promote(tx, "ep_1", name), store._connection))

            await store.write(promote)
            return counted[0]
        finally:
            await store.close()

    assert asyncio.run(cost(20_000, "")) <= asyncio.run(cost(100, "")) * 2
    assert asyncio.run(cost(20_000, "=one")) <= asyncio.run(cost(100, "=one")) * 2


# -- whatever happens, in whatever order

KEYS = st.sampled_from(["=a", "=b", ""])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), KEYS, st.booleans()),
        st.tuples(st.just("land"), st.integers(0, 9), st.sampled_from(["ok", "retry", "skip", "block"])),
        st.tuples(st.just("claim"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("lose"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("by hand"), st.integers(0, 9), st.sampled_from(["ok", "fail"])),
        st.tuples(st.just("discard"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("drop"), st.integers(1, 4), st.booleans()),
        st.tuples(st.just("sort"), st.sampled_from(["same", "whole", "none"]), st.booleans()),
    ),
    min_size=10,
    max_size=50,
)
# What there is to begin with: some of each lane.
BEGINNING = [("accept", key, claim) for key in ("=a", "=b", "") for claim in (True, False, True, True)]


class Play:
    """A store, what is in the engine's hands, and what may be said of lanes at any time."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.held: list[Delivery] = []
        self.arrived: dict[str, list[int]] = defaultdict(list)
        self.sorted_at = 0

    async def step(self, what: str, one: Any, two: Any) -> None:
        shelf = self.shelf
        if what == "accept":
            heard = await shelf.accept("ep_1", claim=two, lane=one)
            self.held += heard.acceptance.claimed
        elif what == "claim":
            self.held += [c.delivery for c in (await shelf.claim(now_us=shelf.now_us + 10**9)).claims]
        elif what == "land" and self.held:
            await self._land(self.held.pop(one % len(self.held)), two)
        elif what == "lose" and self.held:
            shelf.store.release([self.held.pop(one % len(self.held))])
        elif what == "by hand":
            rows = await shelf.rows(
                "SELECT message_id FROM delivery UNION SELECT message_id FROM dead_letter WHERE state = 'dead' ORDER BY 1"
            )
            if rows:
                await self._by_hand(rows[one % len(rows)][0], two == "ok")
        elif what == "discard":
            rows = await shelf.rows("SELECT id FROM dead_letter WHERE state = 'dead' ORDER BY id")
            if rows:
                letter = rows[one % len(rows)][0]
                await shelf.store.write(lambda tx: tx.run("UPDATE dead_letter SET state = 'discarded' WHERE id = ?", (letter,)))
        elif what == "drop":
            self._put_down()
            await shelf.store.write(lambda tx: deliveries.drop(tx, "ep_1", one))
        elif what == "sort":
            self._put_down()
            await self._sort(one)
        await self.check()

    def _put_down(self) -> None:
        self.shelf.store.release(self.held)
        self.held.clear()

    async def _land(self, delivery: Delivery, how: str) -> None:
        shelf = self.shelf
        # Only what is still there arrives for the first time: the schedule of some was ended by an attempt beside it.
        if delivery.lane is not None and how == "ok":
            self.arrived[delivery.lane].append(delivery.sequence)
        records = {
            "ok": lambda: shelf.success(delivery),
            "retry": lambda: shelf.retry(delivery, shelf.now_us + 1_000),
            "skip": lambda: shelf.death(delivery),
            "block": lambda: shelf.death(delivery),
        }
        record = in_lane(records[how](), blocks=how == "block")
        assert await shelf.record(record) is None
        self.held += [c.delivery for c in record.follow or ()]

    async def _by_hand(self, message_id: str, success: bool) -> None:
        shelf = self.shelf
        message = shelf.message(id=message_id)
        delivery = await shelf.store.write(lambda tx: deliveries.add_manual(tx, "ep_1", message, shelf.now_us))
        record = shelf.success(delivery) if success else Record(delivery, shelf.attempt(delivery, 2, code=500))
        assert await shelf.record(record) is None
        if success:
            # As the engine does: what waits in memory for the same message is withdrawn.
            gone = [d for d in self.held if d.message_id == message_id]
            shelf.store.release(gone)
            self.held = [d for d in self.held if d.message_id != message_id]

    async def _sort(self, into: str) -> None:
        store = self.shelf.store
        self.sorted_at += 1
        at = self.sorted_at
        await store.write(lambda tx: lanes.change(tx, "ep_1", "app_1", at))
        while await store.write(lambda tx: lanes.unblock(tx, "ep_1", 2)):
            pass
        names = {"same": lambda key, payload: "=a", "whole": lambda key, payload: "", "none": lambda key, payload: None}
        position: tuple[int, str] | None = (-1, "")
        while position is not None:
            moved = await store.write(lambda tx, position=position: lanes.sort(tx, "ep_1", position, 3, names[into]))
            position = moved.position
        parked = [due_at >= PARKED for _, _, due_at, _ in await self.shelf.rows(ROWS)]
        assert all(parked) if into != "none" else not any(parked)
        await store.write(lambda tx: lanes.sorted_out(tx, "ep_1", at))
        after: str | None = None
        while True:
            woken = await store.write(lambda tx, after=after: lanes.let_go(tx, "ep_1", after, 1))
            after = woken.position
            if after is None:
                break
        assert await store.write(lambda tx: lanes.changed(tx, "ep_1", at))
        self.arrived.clear()

    async def end(self) -> None:
        """Let all that is left arrive, and discard what is dead: nothing may be stuck."""
        await self.shelf.store.write(lambda tx: tx.run("UPDATE dead_letter SET state = 'discarded'"))
        for _ in range(await self.shelf.count("delivery")):
            await self.step("claim", 0, False)
            while self.held:
                await self.step("land", 0, "ok")

    async def check(self) -> None:
        """One of each lane has its turn, the first; none of a lane that is blocked; and what arrived came in order."""
        by_lane: dict[str, list[Any]] = defaultdict(list)
        for lane, sequence, due_at, _ in await self.shelf.rows(ROWS):
            assert lane is not None or due_at < PARKED
            if lane is not None:
                by_lane[lane].append((sequence, due_at < PARKED))
        blocked = {lane for (lane,) in await self.shelf.rows("SELECT lane FROM lane_block")}
        for lane, rows in by_lane.items():
            turns = [turn for _, turn in rows]
            assert turns == ([False] * len(rows) if lane in blocked else [True] + [False] * (len(rows) - 1)), (lane, rows)
        for arrived in self.arrived.values():
            assert arrived == sorted(set(arrived))
        counted = await self.shelf.rows("SELECT COALESCE(SUM(lanes), 0) FROM lane_block_count")
        assert counted == [(len(blocked),)]


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_whatever_happens_one_of_each_lane_has_its_turn(steps: list[tuple[str, Any, Any]]) -> None:
    async def run() -> None:
        clock = SystemClock()
        store = await open_store("sqlite:///:memory:", clock)
        play = Play(Shelf(store, clock))
        try:
            for step in [*BEGINNING, *steps]:
                await play.step(*step)
            await play.end()
            assert await play.shelf.count("delivery") == 0
        finally:
            await store.close()

    asyncio.run(run())
