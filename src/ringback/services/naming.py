"""What are these called? Names of what pages show by id, within what the caller may reach."""

from __future__ import annotations

from collections.abc import Iterable

from ringback.services.tokens import Principal
from ringback.store.base import Store
from ringback.store.operations import naming
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.naming import Named as Named


class Naming:
    """Names of the things of every organisation."""

    def __init__(self, store: Store, vault: Sealer) -> None:
        self._store = store
        self._vault = vault

    async def endpoints(self, who: Principal, endpoint_ids: Iterable[str]) -> dict[str, Named]:
        """Those of these endpoints (at most a few hundred) that the caller may see, deleted ones too."""
        wanted = list(dict.fromkeys(endpoint_ids))
        return await self._store.read(lambda tx: naming.endpoints(tx, self._vault, who.org_id, wanted)) if wanted else {}

    async def applications(self, who: Principal, app_ids: Iterable[str]) -> dict[str, str]:
        """The names of those of these applications (at most a few hundred) that the caller may see, deleted and hidden ones too."""
        wanted = list(dict.fromkeys(app_ids))
        return await self._store.read(lambda tx: naming.applications(tx, who.org_id, wanted)) if wanted else {}
