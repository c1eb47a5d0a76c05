"""What are these called? Endpoints and applications by id, for pages that show things of many of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.store.base import Transaction
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.walks import one_of


class Named(msgspec.Struct, frozen=True):
    """An endpoint as a page names it; `throttle` is its own rate, or that of its application, attempts a second (None: not limited)."""

    id: str
    app_id: str
    app_name: str
    url: str
    description: str
    disabled: bool
    deleted: bool
    throttle: int | None


def endpoints(tx: Transaction, vault: Sealer, org_id: str, endpoint_ids: Sequence[str]) -> dict[str, Named]:
    """Those of these endpoints (at most a few hundred) that belong to the organisation, deleted ones too."""
    if not endpoint_ids:
        return {}
    rows = tx.rows(
        "SELECT e.id, e.app_id, a.name, e.url, e.description, e.disabled, e.deleted_at IS NOT NULL OR a.deleted_at IS NOT NULL, "
        "e.throttle_rate, a.throttle_rate "
        f"FROM endpoint e JOIN application a ON a.id = e.app_id WHERE e.id IN {one_of(endpoint_ids)} AND a.org_id = ?",
        (*endpoint_ids, org_id),
    )
    found = {}
    for endpoint_id, app_id, app_name, url, description, disabled, deleted, own, shared in rows:
        throttle = min((rate for rate in (own, shared) if rate is not None), default=None)
        found[endpoint_id] = Named(
            endpoint_id, app_id, app_name, vault.open(url).decode(), description, bool(disabled), bool(deleted), throttle
        )
    return found


def applications(tx: Transaction, org_id: str, app_ids: Sequence[str]) -> dict[str, str]:
    """The names of those of these applications that belong to the organisation, deleted and hidden ones too."""
    if not app_ids:
        return {}
    rows = tx.rows(f"SELECT id, name FROM application WHERE id IN {one_of(app_ids)} AND org_id = ?", (*app_ids, org_id))
    return {row[0]: row[1] for row in rows}
