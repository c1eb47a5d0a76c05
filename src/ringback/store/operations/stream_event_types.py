"""Which kinds of events of streams does an organisation know?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.model.streams import StreamEventType
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations.event_types import visible

_COLUMNS: Final = "org_id, name, description, feature_flags, deprecated, archived, created_at, updated_at"
_names: Final = msgspec.json.Decoder(tuple[str, ...])


def put(tx: Transaction, kind: StreamEventType) -> None:
    """Store what an event type is now, whether it existed or not."""
    flags = None if kind.feature_flags is None else msgspec.json.encode(kind.feature_flags).decode()
    tx.run(
        f"INSERT INTO stream_event_type ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org_id, name) DO UPDATE SET "
        "description = excluded.description, feature_flags = excluded.feature_flags, deprecated = excluded.deprecated, "
        "archived = excluded.archived, created_at = excluded.created_at, updated_at = excluded.updated_at",
        (kind.org_id, kind.name, kind.description, flags, int(kind.deprecated), int(kind.archived), kind.created_at, kind.updated_at),
    )


def by_name(tx: Transaction, org_id: str, name: str) -> StreamEventType | None:
    """The event type of that name, archived or not."""
    row = tx.row(f"SELECT {_COLUMNS} FROM stream_event_type WHERE org_id = ? AND name = ?", (org_id, name))
    return None if row is None else _kind(row)


def page(tx: Transaction, org_id: str, walk: Walk, *, archived: bool, flags: Sequence[str] | None) -> list[StreamEventType]:
    """The event types that a walk reads, and one more; archived ones only when asked for.

    Those behind feature flags only with one of these flags; None = all.
    """
    condition, held = visible(flags)
    conditions = ("" if archived else " AND archived = 0") + condition
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM stream_event_type WHERE org_id = ? AND name > ? AND name < ?{conditions} "
        f"ORDER BY name {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, *held, walk.fetch),
    )
    return [_kind(row) for row in rows]


def delete(tx: Transaction, org_id: str, name: str) -> None:
    """Remove the row of an event type."""
    tx.run("DELETE FROM stream_event_type WHERE org_id = ? AND name = ?", (org_id, name))


def _kind(row: Row) -> StreamEventType:
    org_id, name, description, flags, deprecated, archived, created_at, updated_at = row
    held = None if flags is None else _names.decode(flags)
    return StreamEventType(org_id, name, description, held, bool(deprecated), bool(archived), created_at, updated_at)
