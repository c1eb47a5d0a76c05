"""Who changed what? Writing and listing the audit log."""

from __future__ import annotations

from typing import Final

from ringback import ids
from ringback.model.dashboard import AuditEntry, Door
from ringback.policy.paging import Page, Walk, cut
from ringback.store.base import Row, Transaction

# Old entries that one new entry takes with it: twice as many go as come, so that a shorter retention is caught up with.
_PURGED_AT_ONCE: Final = 2


def insert(tx: Transaction, entry: AuditEntry, keep_from_us: int) -> None:
    """Add an entry; a few of those made before `keep_from_us` go."""
    tx.run(
        "INSERT INTO audit_entry (id, org_id, token_id, door, action, object, app_id, detail, address) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.id,
            entry.org_id,
            entry.token_id,
            entry.door.value,
            entry.action,
            entry.object,
            entry.app_id,
            entry.detail,
            entry.address,
        ),
    )
    tx.run(
        "DELETE FROM audit_entry WHERE id IN (SELECT id FROM audit_entry WHERE id < ? ORDER BY id LIMIT ?)",
        (ids.start_id(ids.AUDIT_ENTRY, keep_from_us), _PURGED_AT_ONCE),
    )


def page(tx: Transaction, org_id: str, walk: Walk, object_id: str | None) -> Page[AuditEntry]:
    """One page of an organisation's entries, of all objects or of one."""
    condition, values = ("", ()) if object_id is None else (" AND a.object = ?", (object_id,))
    rows = tx.rows(
        "SELECT a.id, a.org_id, a.token_id, t.name, a.door, a.action, a.object, a.app_id, a.detail, a.address "
        f"FROM audit_entry a LEFT JOIN token t ON t.id = a.token_id WHERE a.org_id = ? AND a.id > ? AND a.id < ?{condition} "
        f"ORDER BY a.id {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, *values, walk.fetch),
    )
    return cut([_entry(row) for row in rows], walk)


def _entry(row: Row) -> AuditEntry:
    identifier, org_id, token_id, token_name, door, action, about, app_id, detail, address = row
    return AuditEntry(identifier, org_id, token_id, token_name, Door(door), action, about, app_id, detail, address)
