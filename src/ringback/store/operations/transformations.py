"""What does an endpoint do to its messages, and a sink to its events? Code and variables are sealed at rest: they may hold credentials."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.model.transformations import Transformation
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.walks import one_of


def of_endpoint(tx: Transaction, vault: Sealer, endpoint_id: str) -> Transformation:
    """The transformation of an endpoint; one that does nothing if none was ever written."""
    row = tx.row("SELECT code, enabled, variables, updated_at FROM endpoint_transformation WHERE endpoint_id = ?", (endpoint_id,))
    return Transformation() if row is None else _transformation(vault, row)


def enabled(tx: Transaction, vault: Sealer, app_id: str) -> dict[str, Transformation]:
    """The transformations of an application's live endpoints that are on, by endpoint."""
    rows = tx.rows(
        "SELECT t.code, t.enabled, t.variables, t.updated_at, e.id FROM endpoint e JOIN endpoint_transformation t ON t.endpoint_id = e.id "
        "WHERE e.app_id = ? AND e.deleted_at IS NULL AND t.enabled = 1 AND t.code IS NOT NULL",
        (app_id,),
    )
    return {row[4]: _transformation(vault, row[:4]) for row in rows}


def on_among(tx: Transaction, owner_ids: Sequence[str]) -> frozenset[str]:
    """Those of these endpoints, or sinks, whose code is on."""
    if not owner_ids:
        return frozenset()
    rows = tx.rows(
        f"SELECT endpoint_id FROM endpoint_transformation WHERE endpoint_id IN {one_of(owner_ids)} AND enabled = 1 AND code IS NOT NULL",
        tuple(owner_ids),
    )
    return frozenset(row[0] for row in rows)


def _transformation(vault: Sealer, row: Row) -> Transformation:
    code, enabled, variables, updated_at = row
    return Transformation(
        None if code is None else vault.open(code).decode(),
        bool(enabled),
        None if variables is None else msgspec.json.decode(vault.open(variables), type=dict[str, str]),
        updated_at,
    )


def put(tx: Transaction, vault: Sealer, endpoint_id: str, transformation: Transformation) -> None:
    """Store what the transformation of an endpoint is now."""
    t = transformation
    tx.run(
        "INSERT INTO endpoint_transformation (endpoint_id, code, enabled, variables, updated_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (endpoint_id) DO UPDATE SET code = excluded.code, enabled = excluded.enabled, variables = excluded.variables, "
        "updated_at = excluded.updated_at",
        (
            endpoint_id,
            None if t.code is None else vault.seal(t.code.encode()),
            int(t.enabled),
            None if t.variables is None else vault.seal(msgspec.json.encode(t.variables)),
            t.updated_at,
        ),
    )
