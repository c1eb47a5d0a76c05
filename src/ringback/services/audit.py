"""Who changed what, on which object, when, and from where? Entries are written after the change, and kept longer than other history."""

from __future__ import annotations

from typing import Final

from ringback import ids
from ringback.clock import Clock
from ringback.ids import IdMaker
from ringback.model.dashboard import AuditEntry
from ringback.model.dashboard import Door as Door
from ringback.policy.paging import Page, Walk
from ringback.services.tokens import LINK, Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import audit

# Entries are kept for 400 days: a year, and the time in which somebody asks about its first day.
RETENTION_US: Final = 400 * 86_400 * 1_000_000
# Characters of a detail: a sentence, not a document.
_DETAIL_MAX: Final = 500


class Audit:
    """The audit log of every organisation."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id

    async def record(
        self, who: Principal, door: Door, action: str, object_id: str, *, app_id: str | None = None, detail: str = "", address: str = ""
    ) -> None:
        """Write that `who` did `action` (`endpoint.deleted`) to an object. Raises StoreFailure."""

        def operation(tx: Transaction) -> None:
            now_us = self._clock.now_us()
            entry = AuditEntry(
                id=self._ids.make(ids.AUDIT_ENTRY, now_us),
                org_id=who.org_id,
                token_id=None if who.token_id == LINK else who.token_id,
                token_name=None,
                door=door,
                action=action,
                object=object_id,
                app_id=app_id,
                detail=detail[:_DETAIL_MAX],
                address=address,
            )
            audit.insert(tx, entry, now_us - RETENTION_US)

        await self._store.write(operation)

    async def page(self, who: Principal, walk: Walk, object_id: str | None = None) -> Page[AuditEntry]:
        """One page of the caller's organisation, the newest first; of all objects, or of one."""
        return await self._store.read(lambda tx: audit.page(tx, who.org_id, walk, object_id))
