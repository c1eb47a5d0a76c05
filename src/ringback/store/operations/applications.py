"""Which applications are there?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.model.applications import Application
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction

_COLUMNS = "id, org_id, name, uid, throttle_rate, metadata, created_at, updated_at"
_ENDPOINT = "SELECT 1 FROM endpoint WHERE endpoint.app_id = application.id AND endpoint.deleted_at IS NULL"
# The hosts of endpoints that only look at requests, as `policy.bins.listed_host` writes them; a list may leave out applications that have
# nothing else. This server's own come besides.
_BIN_HOSTS = ("play.svix.com", "play.svix.com/in", "api.play.svix.com", "api.play.svix.com/in")


class Without(msgspec.Struct, frozen=True):
    """Which applications a list leaves out: those with no endpoint, with none enabled, with none but request bins."""

    endpoints: bool = False
    enabled_endpoints: bool = False
    endpoints_beside_bins: bool = False


def insert(tx: Transaction, application: Application, *, hidden: bool = False) -> None:
    """Add an application; its uid must be free. A `hidden` one is in no list."""
    tx.run(
        f"INSERT INTO application ({_COLUMNS}, hidden) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            application.id,
            application.org_id,
            application.name,
            application.uid,
            application.throttle_rate,
            _metadata_text(application),
            application.created_at,
            application.updated_at,
            int(hidden),
        ),
    )


def replace(tx: Transaction, application: Application) -> None:
    """Store what an application is now."""
    tx.run(
        "UPDATE application SET name = ?, uid = ?, throttle_rate = ?, metadata = ?, updated_at = ? WHERE id = ?",
        (
            application.name,
            application.uid,
            application.throttle_rate,
            _metadata_text(application),
            application.updated_at,
            application.id,
        ),
    )


def by_ref(tx: Transaction, org_id: str, ref: str) -> Application | None:
    """The live application of that id or uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM application WHERE id = ? AND org_id = ? AND deleted_at IS NULL", (ref, org_id))
    if row is None:
        row = tx.row(f"SELECT {_COLUMNS} FROM application WHERE org_id = ? AND uid = ? AND deleted_at IS NULL", (org_id, ref))
    return None if row is None else _application(row)


def by_uid(tx: Transaction, org_id: str, uid: str) -> Application | None:
    """The live application of that uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM application WHERE org_id = ? AND uid = ? AND deleted_at IS NULL", (org_id, uid))
    return None if row is None else _application(row)


def page(tx: Transaction, org_id: str, walk: Walk, without: Without, own_bins: Sequence[str] = ()) -> list[Application]:
    """The live applications of an organisation that a walk reads, and one more. `own_bins` are hosts of bins besides the known ones."""
    hosts: tuple[str, ...] = ()
    conditions = ""
    if without.endpoints:
        conditions += f" AND EXISTS ({_ENDPOINT})"
    if without.enabled_endpoints:
        conditions += f" AND (NOT EXISTS ({_ENDPOINT}) OR EXISTS ({_ENDPOINT} AND disabled = 0))"
    if without.endpoints_beside_bins:
        hosts = (*_BIN_HOSTS, *own_bins)
        marks = ", ".join("?" * len(hosts))
        conditions += f" AND (NOT EXISTS ({_ENDPOINT}) OR EXISTS ({_ENDPOINT} AND host NOT IN ({marks})))"
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM application WHERE org_id = ? AND id > ? AND id < ? AND deleted_at IS NULL AND hidden = 0{conditions} "
        f"ORDER BY id {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, *hosts, walk.fetch),
    )
    return [_application(row) for row in rows]


def delete(tx: Transaction, app_id: str, now_us: int) -> None:
    """Hide an application from everything; its rows are purged later, in slices."""
    tx.run("UPDATE application SET deleted_at = ? WHERE id = ?", (now_us, app_id))


def _metadata_text(application: Application) -> str:
    return msgspec.json.encode(application.metadata).decode()


def _application(row: Row) -> Application:
    identifier, org_id, name, uid, throttle_rate, metadata, created_at, updated_at = row
    return Application(
        id=identifier,
        org_id=org_id,
        name=name,
        uid=uid,
        throttle_rate=throttle_rate,
        metadata=msgspec.json.decode(metadata, type=dict[str, str]),
        created_at=created_at,
        updated_at=updated_at,
    )
