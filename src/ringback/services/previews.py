"""What would this do? Counts for the question that is asked before something cannot be taken back."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.services.applications import find
from ringback.services.endpoints import find as find_endpoint
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import endpoints, previews
from ringback.store.operations.endpoints import Sealer

# Nobody decides differently for more than this.
MOST: Final = 10_000


class Extent(msgspec.Struct, frozen=True):
    """What hangs on an application or an endpoint. Counts end at `MOST`."""

    endpoints: int
    unfinished: int
    dead: int
    messages: int = 0


class Previews:
    """Counts what the caller may reach."""

    def __init__(self, store: Store, vault: Sealer) -> None:
        self._store = store
        self._vault = vault

    async def application(self, who: Principal, app: str) -> Extent:
        """What hangs on an application. Raises NotFound."""

        def query(tx: Transaction) -> Extent:
            app_id = find(tx, who, app).id
            of = [endpoint.id for endpoint in endpoints.all_of(tx, self._vault, app_id)]
            return Extent(len(of), previews.unfinished(tx, of, MOST), previews.dead(tx, of, MOST), previews.messages(tx, app_id, MOST))

        return await self._store.read(query)

    async def endpoint(self, who: Principal, app: str, endpoint: str) -> Extent:
        """What hangs on an endpoint. Raises NotFound."""

        def query(tx: Transaction) -> Extent:
            of = [find_endpoint(tx, self._vault, who, app, endpoint).id]
            return Extent(1, previews.unfinished(tx, of, MOST), previews.dead(tx, of, MOST))

        return await self._store.read(query)
