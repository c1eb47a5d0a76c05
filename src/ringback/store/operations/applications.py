"""Which applications are there?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.model.applications import Application
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations.walks import one_of

_COLUMNS = "id, org_id, name, uid, throttle_rate, metadata, created_at, updated_at"

# What an application has, as bits of its `reach`, which the database keeps: a live endpoint, an enabled one, one that is no request bin.
# All three make the highest.
_HAS_ENDPOINT, _HAS_ENABLED, _HAS_OTHER = 1, 2, 4
_REACHES = range(8)
_BESIDE_BINS = (
    "SELECT 1 FROM endpoint e WHERE e.app_id = application.id AND e.deleted_at IS NULL AND e.host NOT IN (SELECT host FROM bin_host)"
)


class Without(msgspec.Struct, frozen=True):
    """Which applications a list leaves out: those with no endpoint, with none enabled, with none but request bins."""

    endpoints: bool = False
    enabled_endpoints: bool = False
    endpoints_beside_bins: bool = False

    def kinds(self) -> list[int]:
        """The values of `reach` that are left."""
        return [
            reach
            for reach in _REACHES
            if not (
                (self.endpoints and not reach & _HAS_ENDPOINT)
                or (self.enabled_endpoints and reach & _HAS_ENDPOINT and not reach & _HAS_ENABLED)
                or (self.endpoints_beside_bins and reach & _HAS_ENDPOINT and not reach & _HAS_OTHER)
            )
        ]


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
    """The live applications of an organisation that a walk reads, and one more.

    `own_bins` are hosts of bins besides the known ones: `know_bins` should have learnt them, or each application is looked at.
    """
    condition, parameters = "org_id = ? AND deleted_at IS NULL AND hidden = 0", [org_id]
    if without == Without():
        rows = tx.rows(
            f"SELECT {_COLUMNS} FROM application WHERE {condition} AND id > ? AND id < ? ORDER BY id {walk.direction} LIMIT ?",
            (*parameters, walk.above, walk.below, walk.fetch),
        )
        return [_application(row) for row in rows]
    if without.endpoints_beside_bins and (unknown := _unknown_bins(tx, own_bins)):
        condition += f" AND (reach & {_HAS_OTHER} = 0 OR EXISTS ({_BESIDE_BINS} AND e.host NOT IN {one_of(unknown)}))"
        parameters += unknown
    # Each kind lies in the index in the order of ids; so a page costs some rows of each, however rare those are that it shows.
    rows = []
    for kind in without.kinds():
        rows += tx.rows(
            f"SELECT {_COLUMNS} FROM application WHERE {condition} AND (reach, id) > (?, ?) AND (reach, id) < (?, ?) "
            f"ORDER BY reach {walk.direction}, id {walk.direction} LIMIT ?",
            (*parameters, kind, walk.above, kind, walk.below, walk.fetch),
        )
    rows = sorted(rows, reverse=walk.direction == "DESC")[: walk.fetch]
    return [_application(row) for row in rows]


def know_bins(tx: Transaction, hosts: Sequence[str]) -> None:
    """Learn hosts (as `policy.bins.listed_host` writes them) of endpoints that only look at requests.

    Looks at all endpoints when one is new.
    """
    unknown = _unknown_bins(tx, hosts)
    if not unknown:
        return
    tx.run_many("INSERT INTO bin_host (host) VALUES (?)", [(host,) for host in unknown])
    tx.run(
        f"UPDATE application SET reach = reach & ~{_HAS_OTHER} WHERE id IN "
        f"(SELECT app_id FROM endpoint WHERE deleted_at IS NULL AND host IN {one_of(unknown)}) AND NOT EXISTS ({_BESIDE_BINS})",
        unknown,
    )


def _unknown_bins(tx: Transaction, hosts: Sequence[str]) -> list[str]:
    known = {row[0] for row in tx.rows(f"SELECT host FROM bin_host WHERE host IN {one_of(hosts)}", hosts)} if hosts else set()
    return [host for host in hosts if host not in known]


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
