"""What an older database holds is there after the upgrade, in the new shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest

from ringback.store.migrations.steps import migrations
from ringback.store.opening import migrate
from ringback.store.operations import trends
from ringback.store.operations.trends import Scope
from ringback.store.sqlite.connection import SqliteTransaction, open_writer

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
