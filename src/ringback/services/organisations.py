"""Which organisations share this server, and how much may each of them take in? For the operator, who owns all of it."""

from __future__ import annotations

from typing import Protocol

from ringback.errors import NotFound
from ringback.model.applications import Organisation
from ringback.store.base import Store, Transaction
from ringback.store.operations import organisations

# Far more requests a second than one server takes in.
MAX_RECEIVE_RATE = 1_000_000
# Organisations in one answer to a person: far more than a server has that somebody looks after by hand.
MOST = 1_000


class Watcher(Protocol):
    """Who must know when the limits of an organisation change."""

    def organisation_changed(self, org_id: str) -> None:
        """The rate of an organisation was changed, durably."""
        ...


class Organisations:
    """The organisations of one server. `watcher` may be left out where no server runs."""

    def __init__(self, store: Store, watcher: Watcher | None = None) -> None:
        self._store = store
        self._watcher = watcher

    async def list(self) -> list[Organisation]:
        """All of them, the oldest first, up to a thousand."""
        return await self._store.read(lambda tx: organisations.page(tx, "", MOST))

    async def limit(self, name: str, receive_rate: int | None) -> Organisation:
        """Let the sources of an organisation take in so many requests a second; see `Organisation`. Raises NotFound."""

        def operation(tx: Transaction) -> Organisation:
            found = organisations.by_name(tx, name)
            if found is None:
                raise NotFound(f"no organisation is named {name!r}")
            organisations.set_receive_rate(tx, found.id, receive_rate)
            return organisations.by_id(tx, found.id) or found

        changed = await self._store.write(operation)
        if self._watcher is not None:
            self._watcher.organisation_changed(changed.id)
        return changed
