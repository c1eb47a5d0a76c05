"""What does it cost to send one message by hand, or to release it, where much else waits? Counted in SQLite's instructions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringback import ids
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.model.deliveries import Delivery, Trigger
from ringback.model.messages import Message
from ringback.store.migrations.steps import migrations
from ringback.store.operations import deferred, deliveries, processing
from ringback.store.sqlite.connection import SqliteTransaction, open_writer
from ringback.store.sqlite.writing import Writing
from tests.store.conformance.shelf import Shelf
from tests.store.counting import instructions

START_US = 1_750_000_000_000_000


class Endpoint:
    """An endpoint with so many deliveries that wait, and one message that was delivered to it before."""

    def __init__(self, waiting: int) -> None:
        self.connection = open_writer(":memory:")
        for step in migrations():
            self.connection.execute(step.sql)
        self.tx = SqliteTransaction(self.connection)
        rows = ((START_US + n, f"msg_{n:06}", n) for n in range(waiting))
        self.connection.executemany(
            "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state, deferred) "
            "VALUES ('ep_1', ?, ?, 0, 'app_1', ?, 0, 'waiting', 0)",
            rows,
        )
        message_id = IdMaker().make(ids.MESSAGE, START_US - 1)
        self.message = Message(message_id, "app_1", "a", b"{}", START_US - 1, START_US * 2)

    def add(self) -> None:
        deliveries.add_manual(self.tx, "ep_1", self.message, START_US * 2)

    def end(self) -> None:
        shelf = Shelf(None, SystemClock())  # type: ignore[arg-type]  # it makes records, and keeps none
        writing = Writing(self.tx)
        writing.begin(self.tx)
        writing.record(self.tx, [shelf.success(Delivery("ep_1", self.message.id, "app_1", START_US * 2, 1, 0, Trigger.MANUAL))])

    def release(self) -> None:
        self.tx.run("INSERT INTO deferred_message VALUES ('app_1', ?, ?, 'a', NULL)", (START_US, self.message.id))
        made = deferred.release(self.tx, "org_1", "app_1", lambda event_type, channels: ("ep_1",), START_US, 100)
        assert made.made == 1

    def rest(self) -> None:
        assert not processing.is_resting(self.tx, "ep_1", self.message.id, START_US)


@pytest.mark.parametrize("what", [Endpoint.add, Endpoint.end, Endpoint.release, Endpoint.rest], ids=["add", "end", "release", "rest"])
def test_one_delivery_of_a_message_is_found_without_a_look_at_the_others(what: Callable[[Endpoint], None]) -> None:
    few, many = Endpoint(10), Endpoint(5_000)
    assert instructions(lambda: what(many), many.connection) <= instructions(lambda: what(few), few.connection) + 500
