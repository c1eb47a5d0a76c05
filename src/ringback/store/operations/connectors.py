"""Which templates does an organisation offer?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ringback.model.connectors import Connector
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction

_COLUMNS = (
    "id, org_id, uid, kind, name, logo, description, instructions, allowed_event_types, transformation, feature_flags, product_type, "
    "created_at, updated_at, transformation_updated_at"
)
_names = msgspec.json.Decoder(tuple[str, ...])


def insert(tx: Transaction, connector: Connector) -> None:
    """Add a connector; its uid must be free."""
    tx.run(f"INSERT INTO connector ({_COLUMNS}) VALUES ({', '.join('?' * len(_values(connector)))})", _values(connector))


def replace(tx: Transaction, connector: Connector) -> None:
    """Store what a connector is now."""
    columns = [name for name in _COLUMNS.split(", ") if name != "id"]
    tx.run(f"UPDATE connector SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?", (*_values(connector)[1:], connector.id))


def by_ref(tx: Transaction, org_id: str, ref: str) -> Connector | None:
    """The connector of that id or uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM connector WHERE id = ? AND org_id = ?", (ref, org_id))
    if row is None:
        row = tx.row(f"SELECT {_COLUMNS} FROM connector WHERE org_id = ? AND uid = ?", (org_id, ref))
    return None if row is None else _connector(row)


def identities(tx: Transaction, org_id: str) -> list[tuple[str, str | None, str, str]]:
    """Id, uid, name and kind of every connector of an organisation: those without a uid first, then the oldest first."""
    rows = tx.rows("SELECT id, uid, name, kind FROM connector WHERE org_id = ? ORDER BY uid IS NOT NULL, id", (org_id,))
    return [(identifier, uid, name, kind) for identifier, uid, name, kind in rows]


def page(tx: Transaction, org_id: str, walk: Walk, *, product_type: str | None, flags: Sequence[str] | None) -> list[Connector]:
    """The connectors that a walk reads, and one more. Those behind feature flags only with one of these flags; None = all."""
    conditions, values = "", list[Any]()
    if product_type is not None:
        conditions += " AND product_type = ?"
        values.append(product_type)
    if flags is not None:
        # Flags are stored as JSON text, and hold no quotes: a quoted flag is found in it exactly where it is a member.
        conditions += f" AND (feature_flags IS NULL{' OR instr(feature_flags, ?) > 0' * len(flags)})"
        values += [msgspec.json.encode(flag).decode() for flag in flags]
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM connector WHERE org_id = ? AND id > ? AND id < ?{conditions} ORDER BY id {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, *values, walk.fetch),
    )
    return [_connector(row) for row in rows]


def all_of(tx: Transaction, org_id: str) -> list[Connector]:
    """All connectors of an organisation, the oldest first."""
    return [_connector(row) for row in tx.rows(f"SELECT {_COLUMNS} FROM connector WHERE org_id = ? ORDER BY id", (org_id,))]


def delete(tx: Transaction, connector_id: str) -> None:
    """Remove a connector."""
    tx.run("DELETE FROM connector WHERE id = ?", (connector_id,))


def _values(connector: Connector) -> tuple[Any, ...]:
    c = connector
    return (
        c.id,
        c.org_id,
        c.uid,
        c.kind,
        c.name,
        c.logo,
        c.description,
        c.instructions,
        _text(c.allowed_event_types),
        c.transformation,
        _text(c.feature_flags),
        c.product_type,
        c.created_at,
        c.updated_at,
        c.transformation_updated_at,
    )


def _text(values: tuple[str, ...] | None) -> str | None:
    return None if values is None else msgspec.json.encode(values).decode()


def _connector(row: Row) -> Connector:
    values = list(row)
    for position in (8, 10):
        values[position] = None if row[position] is None else _names.decode(row[position])
    return Connector(*values)
