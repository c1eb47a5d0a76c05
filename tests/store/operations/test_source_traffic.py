"""What came from sources is summed up by quarters of an hour, and no longer kept than it is shown."""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from ringback.model.sources import Activity, Traffic
from ringback.store.opening import migrate
from ringback.store.operations import source_traffic
from ringback.store.operations.source_traffic import QUARTER_US
from ringback.store.sqlite.connection import SqliteTransaction, open_writer

NOW_US = 2_000_000 * QUARTER_US


@pytest.fixture
def tx(tmp_path: Any) -> Any:
    connection: apsw.Connection = open_writer(str(tmp_path / "ringback.db"))
    migrate(connection, ":memory:")
    yield SqliteTransaction(connection)
    connection.close()


def test_counts_of_one_quarter_are_added_up_and_those_of_others_are_apart(tx):
    source_traffic.add(tx, "src_1", Activity(accepted=2, rejected=1), NOW_US)
    source_traffic.add(tx, "src_1", Activity(accepted=1, duplicates=3), NOW_US + QUARTER_US - 1)
    source_traffic.add(tx, "src_1", Activity(ignored=4, asked=5), NOW_US + QUARTER_US)
    source_traffic.add(tx, "src_2", Activity(accepted=9), NOW_US)
    first = NOW_US // QUARTER_US
    assert source_traffic.cells(tx, "src_1", first - 1, 3) == [Traffic(), Traffic(3, 3, 1), Traffic(0, 0, 0, 4, 5)]
    assert source_traffic.sums(tx, ["src_1", "src_2", "src_3"], first) == {"src_1": Traffic(3, 3, 1, 4, 5), "src_2": Traffic(9)}
    assert source_traffic.sums(tx, ["src_1"], first + 1) == {"src_1": Traffic(0, 0, 0, 4, 5)}
    assert source_traffic.whole(source_traffic.cells(tx, "src_1", first, 2)) == Traffic(3, 3, 1, 4, 5)


def test_what_is_older_than_eight_days_goes(tx):
    source_traffic.add(tx, "src_1", Activity(accepted=1), NOW_US)
    source_traffic.add(tx, "src_1", Activity(accepted=1), NOW_US + 9 * 96 * QUARTER_US)
    assert tx.row("SELECT COUNT(*) FROM source_traffic") == (1,)
    source_traffic.purge(tx, "src_1")
    assert tx.row("SELECT COUNT(*) FROM source_traffic") == (0,)
