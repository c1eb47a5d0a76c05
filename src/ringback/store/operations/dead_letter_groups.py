"""How many dead letters are there, of which endpoint and why? Sums that the database keeps by itself (migration 0011)."""

from __future__ import annotations

import msgspec

from ringback.store.base import Transaction

# Groups in one answer: endpoints times causes. More is nobody's list.
_GROUPS_MAX = 1_000


class Group(msgspec.Struct, frozen=True):
    """The dead letters of one endpoint with one cause. `last_at`: when the newest of them died, microseconds since 1970."""

    endpoint_id: str
    app_id: str
    cause: str
    letters: int
    last_at: int


def of_organisation(tx: Transaction, org_id: str, app_id: str | None = None) -> list[Group]:
    """The groups of an organisation, or of one of its applications: the largest first, a thousand at the most."""
    condition, values = ("", (org_id,)) if app_id is None else (" AND app_id = ?", (org_id, app_id))
    rows = tx.rows(
        f"SELECT endpoint_id, app_id, cause, letters, last_at FROM dead_letter_group WHERE org_id = ?{condition} "
        "ORDER BY letters DESC, last_at DESC LIMIT ?",
        (*values, _GROUPS_MAX),
    )
    return [Group(*row) for row in rows]


def total(tx: Transaction, org_id: str) -> int:
    """How many dead letters an organisation has."""
    row = tx.row("SELECT SUM(letters) FROM dead_letter_group WHERE org_id = ?", (org_id,))
    return 0 if row is None or row[0] is None else int(row[0])
