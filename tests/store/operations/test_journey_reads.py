"""How far a message has come is found out by looking at it, however much waits or is retried around it."""

from __future__ import annotations

from collections.abc import Iterator

import apsw
import pytest

from ringback.model.messages import Message
from ringback.store.migrations.steps import migrations
from ringback.store.operations import journeys
from ringback.store.operations.journeys import Live, Tally
from ringback.store.sqlite.connection import SqliteTransaction, open_writer
from tests.store.counting import instructions

# Deliveries of an endpoint that have nothing to do with the message, and instructions of SQLite that a look at one may take.
AROUND, INSTRUCTIONS = 20_000, 2_000


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    opened = open_writer(":memory:")
    for step in migrations():
        opened.execute(step.sql)
    opened.execute("INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES ('app_1', 'org_1', '', '{}', 1, 1)")
    for endpoint in ("ep_1", "ep_2"):
        opened.execute(
            "INSERT INTO endpoint (id, app_id, url, host, description, disabled, metadata, version, headers, secrets, created_at, "
            "updated_at) VALUES (?, 'app_1', x'', '', '', 0, '{}', 1, x'', x'', 1, 1)",
            (endpoint,),
        )
    rows = [("ep_1", number, f"msg_{number:05}", "waiting" if number % 2 else "retrying", number % 3 == 0) for number in range(AROUND)]
    opened.executemany(
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state, deferred) "
        "VALUES (?, ?, ?, 0, 'app_1', 1, 0, ?, ?)",
        rows,
    )
    yield opened
    opened.close()


def message(number: int, created_at: int) -> Message:
    return Message(f"msg_{number:05}", "app_1", "a", b"", created_at, 0)


# Of AROUND, those whose number is a multiple of three are out of the order of messages: their due time is not the message's.
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (message(1_001, 1_001), [Live("ep_1", 1_001, False, True)]),
        (message(1_005, 7), [Live("ep_1", 1_005, False, True)]),
        (message(1_002, 7), [Live("ep_1", 1_002, False, False)]),
        (message(1_001, 7), []),
        (message(99_999, 7), []),
    ],
    ids=["waits in order", "waits out of order", "is retried", "waits at another time", "is not there"],
)
def test_the_live_deliveries_of_a_message_cost_no_walk_through_those_of_others(
    connection: apsw.Connection, asked: Message, found: list[Live]
) -> None:
    tx = SqliteTransaction(connection)
    assert journeys.live(tx, asked, ["ep_1", "ep_2"]) == found
    assert instructions(lambda: journeys.live(tx, asked, ["ep_1", "ep_2"]), connection) <= INSTRUCTIONS


def test_how_a_page_of_messages_stands_costs_no_walk_through_what_is_retried(connection: apsw.Connection) -> None:
    tx = SqliteTransaction(connection)
    ids = [f"msg_{number:05}" for number in range(1_000, 1_050)]
    assert journeys.tallies(tx, "app_1", ids) == {}
    columns = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(attempt)")}
    given = {"endpoint_id": "ep_1", "message_id": ids[2], "app_id": "app_1", "id": "atmpt_1", "status": 2}
    for number, (message_id, status) in enumerate(((ids[2], 2), (ids[3], 2), (ids[4], 0))):
        row = given | {"message_id": message_id, "status": status, "id": f"atmpt_{number}"}
        values = [row.get(name, b"" if kind == "BLOB" else "" if kind == "TEXT" else 1) for name, kind in columns.items() if name != "seq"]
        names = [name for name in columns if name != "seq"]
        connection.execute(f"INSERT INTO attempt ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values)
    wanted = {ids[2]: Tally(retrying=1), ids[3]: Tally(failed=1), ids[4]: Tally(delivered=1)}
    assert journeys.tallies(tx, "app_1", ids) == wanted
    assert instructions(lambda: journeys.tallies(tx, "app_1", ids), connection) <= 5 * INSTRUCTIONS
