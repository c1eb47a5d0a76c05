"""What does a list cost when there is much of what it does not show? Counted in SQLite's instructions, and in rows of a block."""

from __future__ import annotations

import itertools

import pytest

from ringback import ids
from ringback.ids import IdMaker
from ringback.model.messages import Message
from ringback.model.tasks import Reach
from ringback.policy.subjects import Subject
from ringback.store.base import Acceptance
from ringback.store.migrations.steps import migrations
from ringback.store.operations import blocks, messages, subject_rows
from ringback.store.sqlite.connection import SqliteTransaction, open_writer
from ringback.store.sqlite.writing import Writing
from ringback.store.vault import Vault
from tests.store.counting import instructions

START_US = 1_750_000_000_000_000
APPS = ("app_1", "app_2")
TYPES = 7


class World:
    """A database with so many messages of two applications, of several types, accepted in batches of so many."""

    def __init__(self, count: int, batch: int) -> None:
        self.connection = open_writer(":memory:")
        for step in migrations():
            self.connection.execute(step.sql)
        self.tx = SqliteTransaction(self.connection)
        for app_id in APPS:
            sql = "INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES (?, 'org_1', '', '{}', 1, 1)"
            self.tx.run(sql, (app_id,))
        writing, make_id = Writing(self.tx), IdMaker()
        made = [
            Message(make_id.make(ids.MESSAGE, START_US + n * 100), APPS[n % 2], f"t{n % TYPES}", b"{}", START_US + n * 100, START_US * 2)
            for n in range(count)
        ]
        for begin in range(0, count, batch):
            writing.begin(self.tx)
            writing.accept(self.tx, [Acceptance(m, [], _nothing, _nothing, _nothing) for m in made[begin : begin + batch]])
            writing.confirm()

    def cost(self, app_ids: tuple[str, ...]) -> int:
        """Instructions that a look at the newest hundred of an organisation's messages takes, of some applications or of all."""
        newest = messages.seq_at(self.tx, START_US * 2)
        seqs = list(range(newest - 100, newest))
        found: list[tuple[int, Message]] = []
        cost = instructions(lambda: found.extend(messages.by_seqs(self.tx, "org_1", app_ids, seqs, START_US)), self.connection)
        assert len(found) == (50 if app_ids else 100)
        return cost

    def cost_of_search(self, app_id: str | None) -> int:
        """Instructions that one step takes of looking for a person, in one application or in all, along the newest hundred messages."""
        newest = subject_rows.top(self.tx)
        reach = Reach("org_1", app_id, None, 0, START_US * 2, newest, False)
        read = subject_rows.Reading(reach, Subject("nobody@example.com", None), Vault(bytes(32)))
        looked: list[subject_rows.Looked] = []
        cost = instructions(lambda: looked.append(subject_rows.messages(self.tx, read, str(newest - 100))), self.connection)
        assert looked == [subject_rows.Looked([], None)]
        return cost


def _nothing(*_: object) -> None:
    return None


@pytest.mark.parametrize("app_ids", [(), ("app_1",)], ids=["all", "one application"])
def test_a_look_at_some_messages_costs_the_same_whatever_there_is(app_ids: tuple[str, ...]) -> None:
    few, many = World(500, 100).cost(app_ids), World(5_000, 100).cost(app_ids)
    assert many <= few * 1.2


@pytest.mark.parametrize("app_id", [None, "app_1"], ids=["all", "one application"])
def test_a_step_of_looking_for_a_person_costs_the_same_whatever_there_is(app_id: str | None) -> None:
    few, many = World(500, 100).cost_of_search(app_id), World(5_000, 100).cost_of_search(app_id)
    assert many <= few * 1.2


@pytest.mark.parametrize("batch", [1, 100, 1_000])
def test_blocks_are_short_however_large_the_batches_of_mixed_types_are(batch: int) -> None:
    world = World(2_000, batch)
    starts = [row[0] for row in world.tx.rows("SELECT start FROM message_block WHERE scope = 'app_1' AND label = '' ORDER BY start")]
    sizes = [
        row[0]
        for start, end in itertools.pairwise([*starts, "~"])
        for row in world.tx.rows("SELECT COUNT(*) FROM message WHERE app_id = 'app_1' AND id >= ? AND id < ?", (start, end))
    ]
    assert sum(sizes) == 1_000 and max(sizes) < 2 * blocks.SIZE
