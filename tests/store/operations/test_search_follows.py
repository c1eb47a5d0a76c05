"""Following what was committed, for searches, costs what is new, however much is there already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from ringback.store.migrations.steps import migrations
from ringback.store.operations import messages
from ringback.store.sqlite.connection import SqliteTransaction, open_writer
from ringback.store.sqlite.search_file import SearchFile
from tests.store.counting import instructions

# Messages that are there, and instructions of SQLite that a step without anything new may take.
THERE, INSTRUCTIONS = 5_000, 2_000


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[tuple[list[apsw.Connection], SearchFile]]:
    """All connections, the writer's first, and an index over a database with many messages."""
    opened: list[apsw.Connection] = []
    apsw.connection_hooks.append(opened.append)
    try:
        writer = open_writer(str(tmp_path / "r.db"))
        for step in migrations():
            writer.execute(step.sql)
        writer.execute("INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES ('app_1', 'o', '', '{}', 1, 1)")
        with writer:
            writer.executemany(
                "INSERT INTO message (id, app_id, event_type, created_at, expires_at, content_type, raw, matched, payload) "
                "VALUES (?, 'app_1', 'a', ?, 0, '', 0, 0, x'7b7d')",
                [(f"msg_{number:05}", number) for number in range(THERE)],
            )
        index = SearchFile(str(tmp_path / "r.db.search"), str(tmp_path / "r.db"), "key")
    finally:
        apsw.connection_hooks.remove(opened.append)
    yield opened, index
    index.close()
    writer.close()


def test_a_step_of_the_index_walks_through_nothing_that_it_has_seen(connections: tuple[list[apsw.Connection], SearchFile]) -> None:
    opened, index = connections
    assert len(opened) == 3
    while index.step().lag:
        pass
    assert instructions(index.step, *opened) <= INSTRUCTIONS


def test_the_place_of_a_time_is_found_without_a_walk(connections: tuple[list[apsw.Connection], SearchFile]) -> None:
    writer = connections[0][0]
    tx = SqliteTransaction(writer)
    assert messages.seq_at(tx, THERE // 2) == THERE // 2 + 1
    assert instructions(lambda: messages.seq_at(tx, THERE // 2), writer) <= INSTRUCTIONS
