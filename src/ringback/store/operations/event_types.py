"""Which kinds of events does an organisation know?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ringback.model.event_types import EventType, PayloadValidation
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction

# Far below the number of parameters that any database allows in a statement (SQLite: 32,766).
_NAMES_A_QUERY = 500
_COLUMNS = "org_id, name, description, archived, deprecated, schemas, group_name, feature_flags, created_at, updated_at, payload_validation"


def put(tx: Transaction, event_type: EventType) -> None:
    """Store what an event type is now, whether it existed or not."""
    tx.run(
        f"INSERT INTO event_type ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org_id, name) DO UPDATE SET "
        "description = excluded.description, archived = excluded.archived, deprecated = excluded.deprecated, schemas = excluded.schemas, "
        "group_name = excluded.group_name, feature_flags = excluded.feature_flags, created_at = excluded.created_at, "
        "updated_at = excluded.updated_at, payload_validation = excluded.payload_validation",
        (
            event_type.org_id,
            event_type.name,
            event_type.description,
            int(event_type.archived),
            int(event_type.deprecated),
            _text(event_type.schemas),
            event_type.group_name,
            _text(event_type.feature_flags),
            event_type.created_at,
            event_type.updated_at,
            event_type.payload_validation,
        ),
    )


def by_name(tx: Transaction, org_id: str, name: str) -> EventType | None:
    """The event type of that name, archived or not."""
    row = tx.row(f"SELECT {_COLUMNS} FROM event_type WHERE org_id = ? AND name = ?", (org_id, name))
    return None if row is None else _event_type(row)


def page(tx: Transaction, org_id: str, walk: Walk, *, archived: bool, flags: Sequence[str] | None) -> list[EventType]:
    """The event types that a walk reads, and one more; archived ones only when asked for.

    Those behind feature flags only with one of these flags; None = all.
    """
    condition, held = visible(flags)
    conditions = ("" if archived else " AND archived = 0") + condition
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM event_type WHERE org_id = ? AND name > ? AND name < ?{conditions} ORDER BY name {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, *held, walk.fetch),
    )
    return [_event_type(row) for row in rows]


def unknown_of(tx: Transaction, org_id: str, names: Sequence[str], flags: Sequence[str] | None = None) -> list[str]:
    """Those of the names that no live event type has, in the order given. Types behind feature flags as for `page`."""
    condition, held = visible(flags)
    known: set[str] = set()
    for start in range(0, len(names), _NAMES_A_QUERY):
        some = names[start : start + _NAMES_A_QUERY]
        marks = ", ".join("?" * len(some))
        known.update(
            row[0]
            for row in tx.rows(
                f"SELECT name FROM event_type WHERE org_id = ? AND archived = 0 AND name IN ({marks}){condition}", (org_id, *some, *held)
            )
        )
    return [name for name in names if name not in known]


def with_schemas(tx: Transaction) -> list[tuple[str, str, PayloadValidation | None]]:
    """Organisation, name and wanted validation of every event type that has a schema."""
    rows = tx.rows("SELECT org_id, name, payload_validation FROM event_type WHERE schemas IS NOT NULL AND schemas <> '{}'")
    return [(org_id, name, wanted) for org_id, name, wanted in rows]


def all_of(tx: Transaction, org_id: str) -> list[EventType]:
    """All event types of an organisation, archived ones too, by name."""
    return [_event_type(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM event_type WHERE org_id = ? ORDER BY name", (org_id,))]


def live_names(tx: Transaction, org_id: str) -> list[str]:
    """The names of all event types that are not archived."""
    return [row[0] for row in tx.rows("SELECT name FROM event_type WHERE org_id = ? AND archived = 0 ORDER BY name", (org_id,))]


def delete(tx: Transaction, org_id: str, name: str) -> None:
    """Remove the row of an event type."""
    tx.run("DELETE FROM event_type WHERE org_id = ? AND name = ?", (org_id, name))


def visible(flags: Sequence[str] | None) -> tuple[str, list[str]]:
    """The condition that leaves out what is behind other feature flags, with its parameters; None = all are seen."""
    if flags is None:
        return "", []
    # Flags are stored as JSON text, and hold no quotes: a quoted flag is found in it exactly where it is a member.
    held = [msgspec.json.encode(flag).decode() for flag in flags]
    return f" AND (feature_flags IS NULL{' OR instr(feature_flags, ?) > 0' * len(held)})", held


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _event_type(row: Row) -> EventType:
    org_id, name, description, archived, deprecated, schemas, group_name, feature_flags, created_at, updated_at, validation = row
    return EventType(
        org_id=org_id,
        name=name,
        description=description,
        archived=bool(archived),
        deprecated=bool(deprecated),
        schemas=None if schemas is None else msgspec.json.decode(schemas, type=dict[str, Any]),
        group_name=group_name,
        feature_flags=None if feature_flags is None else msgspec.json.decode(feature_flags, type=tuple[str, ...]),
        created_at=created_at,
        updated_at=updated_at,
        payload_validation=validation,
    )
