"""Which events does somebody wait for, which came, and which did not?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.model.expectations import Expectation, Match, State
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction

_COLUMNS: Final = "id, source_id, org_id, uid, state, wanted, since, deadline, created_at, ended_at, message_id"
_match: Final = msgspec.json.Decoder(Match)


def insert(tx: Transaction, item: Expectation) -> None:
    """Add an expectation; its uid must be free."""
    tx.run(
        f"INSERT INTO expectation ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            item.id,
            item.source_id,
            item.org_id,
            item.uid,
            item.state,
            msgspec.json.encode(item.wanted).decode(),
            item.since,
            item.deadline,
            item.created_at,
            item.ended_at,
            item.message_id,
        ),
    )


def by_ref(tx: Transaction, source_id: str, ref: str) -> Expectation | None:
    """The expectation of that id or uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM expectation WHERE id = ? AND source_id = ?", (ref, source_id))
    if row is None:
        row = tx.row(f"SELECT {_COLUMNS} FROM expectation WHERE source_id = ? AND uid = ?", (source_id, ref))
    return None if row is None else _expectation(row)


def page(tx: Transaction, source_id: str, walk: Walk, state: State | None) -> list[Expectation]:
    """The expectations of a source that a walk reads, those in a state if one is given; and one more."""
    also, parameters = ("", []) if state is None else (" AND state = ?", [state])
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM expectation WHERE source_id = ? AND id > ? AND id < ?{also} ORDER BY id {walk.direction} LIMIT ?",
        (source_id, walk.above, walk.below, *parameters, walk.fetch),
    )
    return [_expectation(row) for row in rows]


def open_ones(tx: Transaction, after: str, limit: int) -> list[Expectation]:
    """Open expectations of everybody, in order of their ids."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM expectation WHERE state = 'open' AND id > ? ORDER BY id LIMIT ?", (after, limit))
    return [_expectation(row) for row in rows]


def count(tx: Transaction, source_id: str, state: State) -> int:
    """How many expectations of a source are in a state."""
    row = tx.row("SELECT COUNT(*) FROM expectation WHERE source_id = ? AND state = ?", (source_id, state))
    return 0 if row is None else int(row[0])


def end(tx: Transaction, expectation_id: str, state: State, ended_at: int, message_id: str | None) -> bool:
    """An open expectation is met, or missed; False when it is not open any more."""
    changed = tx.run(
        "UPDATE expectation SET state = ?, ended_at = ?, message_id = ? WHERE id = ? AND state = 'open'",
        (state, ended_at, message_id, expectation_id),
    )
    return bool(changed)


def scans(tx: Transaction) -> dict[str, tuple[str, str]]:
    """How far each source was looked at: the last message, and the last expectation that it was for."""
    return {row[0]: (row[1], row[2]) for row in tx.rows("SELECT source_id, reached, last_id FROM expectation_scan")}


def scanned(tx: Transaction, source_id: str, reached: str, last_id: str) -> None:
    """A source was looked at up to that message, for its expectations up to that one."""
    tx.run("INSERT OR REPLACE INTO expectation_scan (source_id, reached, last_id) VALUES (?, ?, ?)", (source_id, reached, last_id))


def delete(tx: Transaction, source_id: str, expectation_id: str) -> bool:
    """Forget an expectation; was there one?"""
    return bool(tx.run("DELETE FROM expectation WHERE id = ? AND source_id = ?", (expectation_id, source_id)))


def purge(tx: Transaction, before_us: int, most: int, limit: int) -> int:
    """Forget some that ended before a time, and the oldest ended ones of sources that have more than so many; how many."""
    rows = tx.rows("SELECT id FROM expectation WHERE ended_at < ? LIMIT ?", (before_us, limit))
    if not rows:
        crowded = tx.row("SELECT source_id FROM expectation WHERE state <> 'open' GROUP BY source_id HAVING COUNT(*) > ? LIMIT 1", (most,))
        if crowded is not None:
            old = "SELECT id FROM expectation WHERE source_id = ? AND state <> 'open' ORDER BY id DESC LIMIT ? OFFSET ?"
            rows = tx.rows(old, (crowded[0], limit, most))
    tx.run_many("DELETE FROM expectation WHERE id = ?", rows)
    return len(rows)


def purge_source(tx: Transaction, source_id: str, limit: int) -> int:
    """Forget some of a source that is gone; how many."""
    rows: Sequence[Row] = tx.rows("SELECT id FROM expectation WHERE source_id = ? LIMIT ?", (source_id, limit))
    tx.run_many("DELETE FROM expectation WHERE id = ?", rows)
    if not rows:
        tx.run("DELETE FROM expectation_scan WHERE source_id = ?", (source_id,))
    return len(rows)


def arrivals(tx: Transaction, app_id: str, after: str, limit: int) -> list[Row]:
    """Messages of an application behind one: id, event type, time, and where they came from (JSON, None = from no source)."""
    return tx.rows(
        "SELECT id, event_type, created_at, origin FROM message WHERE app_id = ? AND id > ? ORDER BY id LIMIT ?", (app_id, after, limit)
    )


def content(tx: Transaction, app_id: str, message_id: str) -> Row | None:
    """Payload and headers of a message."""
    return tx.row("SELECT payload, headers FROM message WHERE app_id = ? AND id = ?", (app_id, message_id))


def _expectation(row: Row) -> Expectation:
    identifier, source_id, org_id, uid, state, wanted, since, deadline, created_at, ended_at, message_id = row
    return Expectation(
        id=identifier,
        source_id=source_id,
        org_id=org_id,
        uid=uid,
        state=state,
        wanted=_match.decode(wanted),
        since=since,
        deadline=deadline,
        created_at=created_at,
        ended_at=ended_at,
        message_id=message_id,
    )
