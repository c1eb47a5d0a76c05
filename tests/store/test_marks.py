"""Idempotency keys of messages keep their word on their way from one table to the other, and through a crash."""

from __future__ import annotations

import apsw
import pytest

from ringback.store.migrations.steps import migrations
from ringback.store.sqlite.connection import SqliteTransaction
from ringback.store.sqlite.marks import FORGOTTEN, GENERATION, SLICE, Mark, Marks

NOW_US = 1_700_000_000_000_000


@pytest.fixture
def tx() -> SqliteTransaction:
    connection = apsw.Connection(":memory:")
    for step in migrations():
        connection.execute(step.sql)
    return SqliteTransaction(connection)


def a_mark(number: int, *, expires_at: int = NOW_US + 1) -> Mark:
    return (number.to_bytes(16, "little"), expires_at, "app_1", f"msg_{number}")


def find(marks: Marks, tx: SqliteTransaction, key: bytes, now_us: int) -> str | None:
    return marks.find(tx, [(key, now_us)]).get(key)


def keep(marks: Marks, tx: SqliteTransaction, *new: Mark) -> None:
    """One batch that is durable."""
    marks.move(tx)
    marks.add(tx, new)
    marks.confirm()


def test_a_key_is_found_from_the_moment_its_batch_is_durable(tx: SqliteTransaction) -> None:
    marks = Marks(tx)
    marks.add(tx, [a_mark(1)])
    assert find(marks, tx, a_mark(1)[0], NOW_US) is None
    marks.confirm()
    assert find(marks, tx, a_mark(1)[0], NOW_US) == "msg_1"


def test_a_batch_that_failed_leaves_no_key(tx: SqliteTransaction) -> None:
    marks = Marks(tx)
    tx.execute("BEGIN")
    marks.add(tx, [a_mark(1)])
    tx.execute("ROLLBACK")
    marks.revert()
    marks.confirm()
    assert find(marks, tx, a_mark(1)[0], NOW_US) is None


def test_an_expired_key_may_be_used_again(tx: SqliteTransaction) -> None:
    marks = Marks(tx)
    keep(marks, tx, a_mark(1, expires_at=NOW_US))
    assert find(marks, tx, a_mark(1)[0], NOW_US) is None
    later = (a_mark(1)[0], NOW_US + 5, "app_1", "msg_later")
    keep(marks, tx, later)
    assert find(marks, tx, later[0], NOW_US) == "msg_later"


def test_every_key_is_found_at_every_step_of_the_move(tx: SqliteTransaction) -> None:
    marks = Marks(tx)
    number = 0
    for _ in range(2 * GENERATION // SLICE + 8):
        keep(marks, tx, *(a_mark(n) for n in range(number, number + SLICE)))
        number += SLICE
        looked_at = range(0, number, 97)
        assert [find(marks, tx, a_mark(n)[0], NOW_US) for n in looked_at] == [f"msg_{n}" for n in looked_at]
    moved = tx.row("SELECT COUNT(*) FROM idempotency")
    assert moved is not None and moved[0] >= GENERATION


def test_the_first_table_is_emptied_behind_a_move(tx: SqliteTransaction) -> None:
    marks = Marks(tx)
    keep(marks, tx, *(a_mark(n) for n in range(GENERATION)))
    for _ in range(GENERATION // SLICE + GENERATION // FORGOTTEN + 3):
        keep(marks, tx)
    assert tx.row("SELECT COUNT(*) FROM idempotency_recent") == (0,)
    assert tx.row("SELECT COUNT(*) FROM idempotency") == (GENERATION,)


def test_a_crash_in_the_middle_of_a_move_loses_no_key_and_doubles_none(tx: SqliteTransaction) -> None:
    marks = Marks(tx)
    keep(marks, tx, *(a_mark(n) for n in range(GENERATION)))
    for _ in range(3):
        keep(marks, tx)
    restarted = Marks(tx)
    assert all(find(restarted, tx, a_mark(n)[0], NOW_US) == f"msg_{n}" for n in range(0, GENERATION, 61))
    for _ in range(GENERATION // SLICE + GENERATION // FORGOTTEN + 3):
        keep(restarted, tx)
    assert tx.row("SELECT COUNT(*) FROM idempotency") == (GENERATION,)


def test_a_step_of_the_move_that_was_rolled_back_is_taken_again(tx: SqliteTransaction) -> None:
    marks = Marks(tx)
    keep(marks, tx, *(a_mark(n) for n in range(GENERATION)))
    keep(marks, tx)
    tx.execute("BEGIN")
    marks.move(tx)
    tx.execute("ROLLBACK")
    marks.revert()
    for _ in range(GENERATION // SLICE + GENERATION // FORGOTTEN + 3):
        keep(marks, tx)
    assert tx.row("SELECT COUNT(*) FROM idempotency") == (GENERATION,)
