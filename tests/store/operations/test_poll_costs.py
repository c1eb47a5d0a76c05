"""What does an answer to somebody who polls cost? As much whatever there is: counted in SQLite's instructions."""

from __future__ import annotations

import pytest

from ringback import ids
from ringback.ids import IdMaker
from ringback.model.messages import Message
from ringback.policy.polling import start_position
from ringback.store.base import Acceptance
from ringback.store.migrations.steps import migrations
from ringback.store.operations import polls
from ringback.store.operations.polls import Batch, Wanted
from ringback.store.sqlite.connection import SqliteTransaction, open_writer
from ringback.store.sqlite.writing import Writing
from tests.store.counting import instructions

START_US = 1_750_000_000_000_000
SMALL, LARGE = 10_000, 30_000
ALL = Wanted()
BATCH = 200


def _nothing(*_: object) -> None:
    return None


class World:
    """A database with so many messages of an application, every other of another one; every thousandth is seldom."""

    def __init__(self, count: int, *, deferred: bool = False) -> None:
        self.connection = open_writer(":memory:")
        for step in migrations():
            self.connection.execute(step.sql)
        self.tx = SqliteTransaction(self.connection)
        self.writing = Writing(self.tx)
        self.make_id = IdMaker()
        self.now_us = START_US
        self.last = ""
        for begin in range(0, count, BATCH):
            self.add([self.message(n, deferred=deferred) for n in range(begin, begin + BATCH)])

    def message(self, n: int, *, deferred: bool = False) -> Message:
        self.now_us += 1_000
        kind, channels = ("seldom", ("rare",)) if n % 1_000 == 500 else ("t", ("eu",))
        self.last = self.make_id.make(ids.MESSAGE, self.now_us)
        return Message(
            self.last, f"app_{n % 2 + 1}" if n % 1_000 != 500 else "app_1", kind, b"{}", self.now_us, self.now_us + 1, channels=channels,
            deliver_at=self.now_us if deferred else None,
        )  # fmt: skip

    def add(self, messages: list[Message]) -> None:
        self.writing.begin(self.tx)
        self.writing.accept(self.tx, [Acceptance(message, [], _nothing, _nothing, _nothing) for message in messages])
        self.writing.confirm()

    def cost(self, after: str, wanted: Wanted = ALL, limit: int = 50) -> tuple[int, Batch]:
        read: list[Batch] = []
        cost = instructions(lambda: read.append(polls.read(self.tx, "app_1", after, wanted, limit, START_US)), self.connection)
        return cost, read[0]


@pytest.fixture(scope="module")
def worlds() -> tuple[World, World]:
    return World(SMALL), World(LARGE)


BEGIN = start_position(START_US)
# An instruction is some tens of nanoseconds: an answer of 50 takes a fraction of a millisecond.
PAGE = 6_000


def test_a_page_costs_the_same_whatever_there_is(worlds: tuple[World, World]) -> None:
    small, large = worlds
    for wanted in (Wanted(), Wanted(("t",)), Wanted(None, ("eu", "us"), "eu")):
        (few, page), (many, other) = small.cost(BEGIN, wanted), large.cost(BEGIN, wanted)
        assert len(page.messages) == len(other.messages) == 50
        assert many <= few * 1.1 and many < PAGE


def test_whoever_has_read_all_pays_next_to_nothing(worlds: tuple[World, World]) -> None:
    _, large = worlds
    for wanted in (Wanted(), Wanted(("seldom",)), Wanted(("never",)), Wanted(None, ("rare",))):
        _, page = large.cost(BEGIN, wanted, 250)
        while not page.done:
            _, page = large.cost(page.position, wanted, 250)
        cost, nothing = large.cost(page.position, wanted)
        assert (nothing.messages, nothing.done) == ([], True)
        assert cost <= 300


def test_what_is_seldom_is_found_without_a_look_at_all_that_is_not(worlds: tuple[World, World]) -> None:
    _, large = worlds
    cost, page = large.cost(BEGIN, Wanted(("seldom",)))
    assert len(page.messages) == LARGE // 1_000
    # 64 neighbours at the most are looked at for each.
    assert cost < 30 * 64 * 15
    cost, page = large.cost(BEGIN, Wanted(("never",)))
    assert page.done and cost <= 300


def test_so_many_that_wait_for_their_time_are_passed_over_in_bounded_steps() -> None:
    world = World(LARGE * 2, deferred=True)
    cost, page = world.cost(BEGIN)
    assert (page.messages, page.done) == ([], False)
    assert cost < polls.EXAMINED_MAX * 25
    answers = 1
    while not page.done:
        _, page = world.cost(page.position)
        answers += 1
    assert answers <= LARGE // polls.EXAMINED_MAX + 3
