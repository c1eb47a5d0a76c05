"""What an older database holds is there after the upgrade, in the new shape."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import apsw
import pytest

from ringback.store.migrations.steps import migrations
from ringback.store.opening import migrate
from ringback.store.operations import applications, messages, standings, subscriptions, trends
from ringback.store.operations.messages import MessageFilter
from ringback.store.operations.standings import Reading
from ringback.store.operations.trends import Scope
from ringback.store.sqlite.connection import SqliteTransaction, open_writer
from tests.store.operations.test_filtered_lists import APPS, ENDPOINTS, FILTERS, NOW_US, World, check

HOUR = 500_000
FIRST = HOUR * 60


@pytest.fixture
def older(tmp_path: Path) -> Any:
    """Opens a database as the version before this schema made it; calling the result brings it up to date."""
    path = tmp_path / "ringback.db"

    def made(version: int) -> apsw.Connection:
        connection = open_writer(str(path))
        for step in migrations():
            if step.version < version:
                connection.execute(step.sql)
                connection.pragma("user_version", step.version)
        return connection

    return made


def test_counts_by_minute_become_sums_of_minutes_hours_applications_and_organisations(older):
    connection = older(8)
    connection.execute(
        "INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES ('app_1', 'org_1', 'Shop', '{}', 1, 1)"
    )
    for number in (1, 2):
        connection.execute(
            "INSERT INTO endpoint (id, app_id, url, host, description, disabled, metadata, version, headers, secrets, created_at, "
            "updated_at) VALUES (?, 'app_1', x'', '', '', 0, '{}', 1, x'', x'', 1, 1)",
            (f"ep_{number}",),
        )
    for row in (("ep_1", 0, 5, 1, 0), ("ep_1", 59, 7, 0, 0), ("ep_1", 60, 1, 0, 2), ("ep_2", 0, 10, 0, 0)):
        connection.execute("INSERT INTO attempt_count VALUES (?, ? + ?, ?, ?, ?)", (row[0], FIRST, *row[1:]))
    migrate(connection, ":memory:")
    tx = SqliteTransaction(connection)
    for scope, step, expected in (
        (Scope("org_1", "app_1", "ep_1"), 1, {0: (5, 1, 0), 59: (7, 0, 0), 60: (1, 0, 2)}),
        (Scope("org_1", "app_1", "ep_1"), 60, {0: (12, 1, 0), 60: (1, 0, 2)}),
        (Scope("org_1", "app_1"), 60, {0: (22, 1, 0), 60: (1, 0, 2)}),
        (Scope("org_1"), 120, {0: (23, 1, 2)}),
    ):
        found = {at - FIRST: sums.cell(0) for at, sums in trends.series(tx, scope, FIRST, FIRST + 120, step).items()}
        assert {at: (cell.success, cell.fail, cell.canceled) for at, cell in found.items()} == expected
    (worst,), _ = trends.worst(tx, Scope("org_1"), FIRST, FIRST + 120, 10)
    assert (worst.endpoint_id, worst.success, worst.fail) == ("ep_1", 13, 1)
    connection.close()


def test_a_history_without_blocks_is_listed_as_before_and_goes_on_with_them():
    """Rows of before have none; those that come later begin theirs behind them."""
    world = World(11)
    world.happen(60)
    # As a server of before has left it: the rows alone.
    for table in ("message_block", "attempt_block", "pair_block", "dead_letter_block", "given_up"):
        world.tx.run(f"DELETE FROM {table}")
    world.tx.run("UPDATE delivery SET deferred = 1")
    world.tx.run(
        "INSERT INTO given_up SELECT a.endpoint_id, a.message_id FROM attempt a GROUP BY 1, 2 HAVING MIN(a.status) > 0 AND NOT EXISTS ("
        "SELECT 1 FROM delivery d WHERE d.message_id = a.message_id AND d.endpoint_id = a.endpoint_id AND d.state = 'retrying')"
    )
    world.restart()
    world.happen(60)
    for app_id, chosen in itertools.product(APPS, FILTERS):
        expected = [m.id for m in world.messages.values() if m.app_id == app_id and world.fits(m.id, chosen)]
        check(lambda walk, a=app_id, c=chosen: messages.listed(world.tx, a, walk, c, NOW_US, content=False), expected, (app_id, chosen))
    for endpoint_id, app_id in ENDPOINTS.items():
        for statuses in ((0,), (2,), (4,)):
            expected = [
                key for key, m in world.messages.items() if m.app_id == app_id and world.status_of(endpoint_id, key, True) in statuses
            ]
            check(
                lambda walk, e=endpoint_id, a=app_id, s=statuses: standings.attempted(
                    world.tx, a, e, walk, s, MessageFilter(), Reading(NOW_US, False, True)
                ),
                expected,
                (endpoint_id, statuses),
                lambda item: item[0].id,
            )
    world.connection.close()


def test_failures_and_what_applications_reach_are_found_in_older_rows(older):
    connection = older(18)
    insert = (
        "INSERT INTO endpoint (id, app_id, url, host, description, disabled, metadata, version, headers, secrets, created_at, updated_at) "
        "VALUES (?, ?, x'', ?, '', ?, '{}', 1, x'', x'', 1, 1)"
    )
    for number in range(4):
        connection.execute(
            "INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES (?, 'org_1', '', '{}', 1, 1)",
            (f"app_{number}",),
        )
    connection.execute(insert, ("ep_1", "app_1", "play.svix.com", 0))
    connection.execute(insert, ("ep_2", "app_2", "example.com", 1))
    connection.execute(insert, ("ep_3", "app_3", "example.com", 0))
    columns = (
        "seq, id, app_id, endpoint_id, message_id, url, number, status, trigger, code, started_at, duration_us, detail, address, phases"
    )
    for seq, (message_id, status) in enumerate((("m1", 2), ("m1", 0), ("m2", 2), ("m3", 2)), 1):
        connection.execute(
            f"INSERT INTO attempt ({columns}, response_head, request_head, sequence) "
            "VALUES (?, ?, 'app_3', 'ep_3', ?, '', 1, ?, 0, 500, 1, 1, '', '', '', x'', x'', 1)",
            (seq, f"a{seq}", message_id, status),
        )
    connection.execute("INSERT INTO delivery VALUES ('ep_3', 9, 'm3', 0, 'app_3', 1, 1, 'retrying')")
    migrate(connection, ":memory:")
    assert list(connection.execute("SELECT endpoint_id, message_id FROM given_up")) == [("ep_3", "m2")]
    assert list(connection.execute("SELECT reach FROM application ORDER BY id")) == [(0,), (3,), (5,), (7,)]
    # And as endpoints come, change and go.
    connection.execute("UPDATE endpoint SET disabled = 0, host = 'play.svix.com' WHERE id = 'ep_2'")
    connection.execute("UPDATE endpoint SET deleted_at = 5 WHERE id = 'ep_3'")
    connection.execute(insert, ("ep_4", "app_1", "example.com", 1))
    assert list(connection.execute("SELECT reach FROM application ORDER BY id")) == [(0,), (7,), (3,), (0,)]
    tx = SqliteTransaction(connection)
    applications.know_bins(tx, ["example.com"])
    assert tx.rows("SELECT reach FROM application ORDER BY id") == [(0,), (3,), (3,), (0,)]
    connection.close()


def test_subscriptions_become_those_of_one_topic(older):
    connection = older(29)
    connection.execute("INSERT INTO subscription VALUES ('src_1', x'01', '{\"renewals\":3}', 5, 0, 7, 9)")
    migrate(connection, ":memory:")
    (standing,) = subscriptions.unsealed(SqliteTransaction(connection), "src_1")
    assert (standing.topic, standing.progress.renewals, standing.next_at, standing.version, standing.updated_at) == ("", 3, 5, 7, 9)
    assert connection.execute("SELECT settings FROM subscription").fetchone() == (b"\x01",)
