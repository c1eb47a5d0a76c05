"""What came from a source, and was believed? Messages that carry their source, found along the messages of their application."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.model.messages import Origin, Received
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction
from ringback.store.operations.walks import bounded

_COLUMNS: Final = "m.id, m.event_type, m.created_at, m.content_type, LENGTH(m.payload), m.origin, m.headers"
_MINE: Final = "m.app_id = ? AND m.origin IS NOT NULL AND json_extract(m.origin, '$.source_id') = ?"
_origins: Final = msgspec.json.Decoder(Origin)


def listed(tx: Transaction, app_id: str, source_id: str, walk: Walk, flag: str | None) -> Page[Received]:
    """One page of a source's events; those with a flag, if one is given."""
    near, stopped_at = bounded(tx, walk, "message", "app_id", app_id)
    # Flags hold no quotes; of one that has a reason, only the beginning is asked for.
    condition, parameters = ("", []) if flag is None else (" AND instr(json_extract(m.origin, '$.flags'), ?) > 0", [f'"{flag}'])
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM message m WHERE {_MINE} AND m.id > ? AND m.id < ?{condition} ORDER BY m.id {walk.direction} LIMIT ?",
        (app_id, source_id, near.above, near.below, *parameters, walk.fetch),
    )
    return cut([_received(row) for row in rows], walk, stopped_at)


def get(tx: Transaction, app_id: str, source_id: str, message_id: str) -> Received | None:
    """One event of a source."""
    row = tx.row(f"SELECT {_COLUMNS} FROM message m WHERE {_MINE} AND m.id = ?", (app_id, source_id, message_id))
    return None if row is None else _received(row)


def of_message(tx: Transaction, app_id: str, message_id: str) -> Received | None:
    """The event that a message came as; None of one that no source took in."""
    row = tx.row(f"SELECT {_COLUMNS} FROM message m WHERE m.app_id = ? AND m.id = ? AND m.origin IS NOT NULL", (app_id, message_id))
    return None if row is None else _received(row)


def _received(row: Row) -> Received:
    message_id, event_type, created_at, content_type, size_bytes, origin, headers = row
    return Received(message_id, event_type, created_at, content_type, size_bytes, _origins.decode(origin), headers or b"")
