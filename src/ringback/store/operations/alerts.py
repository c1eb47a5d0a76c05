"""What is in trouble? Read from what is kept of trouble anyway: short tables, each walked up to a bound, whoever's it is."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from ringback.model.deliveries import AttemptStatus
from ringback.model.reconciliation import Progress as Comparing
from ringback.model.subscriptions import Progress as Renewing
from ringback.store.base import Row, Transaction

# Rows of trouble of all organisations that one look walks through: 10,000 with their endpoints take some 50 ms of a reader.
LOOKED: Final = 10_000
# Attempts to an endpoint that are looked at: for fifty endpoints some 10 ms.
_ATTEMPTS: Final = 100
# The newest sources, and streams, of an organisation that are looked at: a look at two rows for each.
_NEWEST: Final = 1_000

_renewing: Final = msgspec.json.Decoder(Renewing)
_comparing: Final = msgspec.json.Decoder(Comparing)
_OF_ORG: Final = (
    "CROSS JOIN endpoint e ON e.id = t.endpoint_id AND e.deleted_at IS NULL "
    "CROSS JOIN application a ON a.id = e.app_id AND a.org_id = ? AND a.deleted_at IS NULL"
)


class Trouble(msgspec.Struct, frozen=True):
    """An endpoint in trouble since `since_us` (microseconds since 1970). `told`: it is one of operational webhooks."""

    endpoint_id: str
    since_us: int
    told: bool
    cause: str = ""
    number: int = 0


class Failures(msgspec.Struct, frozen=True):
    """The newest attempts to an endpoint, all of which failed: since when, and why the newest did (as causes of dead letters are named).

    `whole` is False where only so many were looked at, and the ones before may have failed too.
    """

    since_us: int
    whole: bool
    cause: str


class SinkTrouble(msgspec.Struct, frozen=True):
    """A sink whose last batch failed, the first one in a row at `since_us`; `name` is its uid or id."""

    stream: str
    name: str
    status: str
    since_us: int
    failure: str


class Renewal(msgspec.Struct, frozen=True):
    """A subscription of a source that cannot be renewed."""

    source_id: str
    source: str
    topic: str
    progress: Renewing


class Comparison(msgspec.Struct, frozen=True):
    """A source that cannot be compared with the list of its provider."""

    source_id: str
    source: str
    progress: Comparing


class Missed(msgspec.Struct, frozen=True):
    """Events of a source that did not come by their deadlines; the last of those ended at `last_at`."""

    source_id: str
    source: str
    events: int
    last_at: int


def disabled(tx: Transaction, org_id: str, most: int, looked: int = LOOKED) -> list[Trouble]:
    """The endpoints that were disabled by themselves, the last one first; `cause` is that of `model.endpoints.DisableCause`."""
    return _endpoints(
        tx,
        "SELECT t.endpoint_id, t.disabled_at, a.operational, t.disable_cause, 0 FROM (SELECT endpoint_id, disabled_at, disabled_by, "
        f"disable_cause FROM endpoint_disabling LIMIT ?) t {_OF_ORG} "
        "WHERE t.disabled_by = 'automatic' AND e.disabled = 1 ORDER BY t.disabled_at DESC LIMIT ?",
        (looked, org_id, most),
    )


def spent(tx: Transaction, org_id: str, most: int, looked: int = LOOKED) -> list[Trouble]:
    """The endpoints whose messages run out of attempts, with no success since the first one, the longest first."""
    return _endpoints(
        tx,
        "SELECT t.endpoint_id, t.first_failure_at, a.operational, '', 0 FROM (SELECT endpoint_id, first_failure_at FROM endpoint_failure "
        f"LIMIT ?) t {_OF_ORG} WHERE e.disabled = 0 ORDER BY t.first_failure_at LIMIT ?",
        (looked, org_id, most),
    )


def blocked(tx: Transaction, org_id: str, most: int, looked: int = LOOKED) -> list[Trouble]:
    """The endpoints with lanes behind a dead letter, with the number of those, the most first."""
    return _endpoints(
        tx,
        "SELECT t.endpoint_id, (SELECT MIN(b.blocked_at) FROM lane_block b WHERE b.endpoint_id = t.endpoint_id), "
        "a.operational, '', t.lanes "
        f"FROM (SELECT endpoint_id, lanes FROM lane_block_count LIMIT ?) t {_OF_ORG} ORDER BY t.lanes DESC LIMIT ?",
        (looked, org_id, most),
    )


def overlooked(tx: Transaction, looked: int = LOOKED) -> bool:
    """Are more endpoints in one kind of trouble than are looked at?"""
    tables = ("endpoint_disabling", "endpoint_failure", "lane_block_count")
    return any(tx.row(f"SELECT 1 FROM {table} LIMIT 1 OFFSET ?", (looked,)) is not None for table in tables)


def failures(tx: Transaction, endpoint_id: str) -> Failures | None:
    """Since when an endpoint has taken nothing; None when it took the newest attempt, or had none."""
    found: Failures | None = None
    rows = tx.rows(
        "SELECT status, started_at, code, error FROM attempt WHERE endpoint_id = ? ORDER BY id DESC LIMIT ?", (endpoint_id, _ATTEMPTS)
    )
    for status, started_at, code, error in rows:
        if status == AttemptStatus.SUCCESS:
            return None if found is None else replace(found, whole=True)
        if status == AttemptStatus.FAIL:
            cause = found.cause if found is not None else f"http_{code}" if code else error or ""
            found = Failures(started_at, len(rows) < _ATTEMPTS, cause)
    return found


def _endpoints(tx: Transaction, query: str, values: tuple[object, ...]) -> list[Trouble]:
    return [Trouble(row[0], row[1], bool(row[2]), *row[3:]) for row in tx.rows(query, values)]


def sinks(tx: Transaction, org_id: str, most: int) -> list[SinkTrouble]:
    """The sinks of an organisation's newest streams that fail, or were disabled while they did, the longest first."""
    rows = tx.rows(
        "SELECT s.name, COALESCE(k.uid, k.id), k.status, k.failing_since, k.failure FROM "
        "(SELECT id, name FROM stream WHERE org_id = ? AND deleted_at IS NULL ORDER BY id DESC LIMIT ?) s "
        "CROSS JOIN stream_sink k ON k.stream_id = s.id WHERE k.deleted_at IS NULL AND k.failing_since IS NOT NULL "
        "ORDER BY k.failing_since LIMIT ?",
        (org_id, _NEWEST, most),
    )
    return [SinkTrouble(stream, name, status, since_us, failure or "") for stream, name, status, since_us, failure in rows]


def renewals(tx: Transaction, org_id: str, most: int) -> list[Renewal]:
    """The subscriptions that cannot be renewed, of an organisation's newest sources."""
    rows = _of_sources(tx, "subscription", "t.topic, t.progress", org_id, most)
    return [Renewal(row[0], row[1], row[2], _renewing.decode(row[3])) for row in rows]


def comparisons(tx: Transaction, org_id: str, most: int) -> list[Comparison]:
    """The newest sources of an organisation that cannot be compared with their providers' lists."""
    rows = _of_sources(tx, "reconciliation", "t.progress", org_id, most)
    return [Comparison(row[0], row[1], _comparing.decode(row[2])) for row in rows]


def _of_sources(tx: Transaction, table: str, columns: str, org_id: str, most: int) -> list[Row]:
    return tx.rows(
        f"SELECT s.id, s.name, {columns} FROM "
        "(SELECT id, name FROM source WHERE org_id = ? AND deleted_at IS NULL ORDER BY id DESC LIMIT ?) s "
        f"CROSS JOIN {table} t ON t.source_id = s.id WHERE t.failures > 0 AND t.next_at IS NOT NULL LIMIT ?",
        (org_id, _NEWEST, most),
    )


def missed(tx: Transaction, org_id: str, since_us: int, most: int) -> list[Missed]:
    """The sources of an organisation from which an event did not come by a deadline after `since_us`."""
    rows = tx.rows(
        "SELECT x.source_id, s.name, COUNT(*), MAX(x.ended_at) FROM (SELECT source_id, org_id, state, ended_at FROM expectation "
        "WHERE ended_at > ? ORDER BY ended_at DESC LIMIT ?) x CROSS JOIN source s ON s.id = x.source_id AND s.deleted_at IS NULL "
        "WHERE x.org_id = ? AND x.state = 'missed' GROUP BY 1, 2 ORDER BY 4 DESC LIMIT ?",
        (since_us, LOOKED, org_id, most),
    )
    return [Missed(*row) for row in rows]
