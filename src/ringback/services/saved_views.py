"""Which views of lists have people saved? Those of an organisation are shared by all who log in for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Conflict, NotFound, Refused
from ringback.ids import IdMaker
from ringback.model.dashboard import SavedView
from ringback.policy import validation
from ringback.policy.validation import Problem, Rule
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import saved_views

# Views of an organisation: each page of a list reads them all, and nobody looks through more.
MOST: Final = 100
# Characters of a name: what fits on a line.
NAME_CHARS: Final = 80
# Characters of an address: a search of 500 letters in any script, and filters beside it.
_ADDRESS_CHARS: Final = 6_000


def _name(value: str) -> Sequence[Problem]:
    """The rule for names: as for other texts, and something of it is seen."""
    seen = any(character.isprintable() and not character.isspace() for character in value)
    return validation.text(value) if seen or not value else [((), "write something that can be seen")]


class SavedViewIn(msgspec.Struct, frozen=True, kw_only=True):
    """A name, and the address (path and query) that it stands for."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARS)]
    address: Annotated[str, msgspec.Meta(max_length=_ADDRESS_CHARS)]

    RULES: ClassVar[Mapping[str, Rule]] = {"name": _name}


class SavedViews:
    """The saved views of every organisation; each verb sees those of its caller alone."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id

    async def all(self, who: Principal) -> list[SavedView]:
        """All of them, by name, whatever the case of its letters."""
        return sorted(await self._store.read(lambda tx: saved_views.all_of(tx, who.org_id)), key=lambda view: view.name.casefold())

    async def create(self, who: Principal, wanted: SavedViewIn) -> SavedView:
        """Save a view. Raises Conflict when the name is taken or the address has one, Refused when there are too many."""

        def operation(tx: Transaction) -> SavedView:
            others = saved_views.all_of(tx, who.org_id)
            if any(other.name == wanted.name for other in others):
                raise Conflict("another view is called so; choose another name, or delete that one")
            same = next((other.name for other in others if other.address == wanted.address), None)
            if same is not None:
                raise Conflict(f"“{same}” shows just that; open it, or delete it to give it another name")
            if len(others) >= MOST:
                raise Refused("limit_reached", f"there are {MOST} views, and no more are kept; delete one that nobody needs")
            view = SavedView(self._ids.make(ids.SAVED_VIEW, self._clock.now_us()), who.org_id, wanted.name, wanted.address)
            saved_views.insert(tx, view)
            return view

        return await self._store.write(operation)

    async def get(self, who: Principal, view_id: str) -> SavedView:
        """One of them. Raises NotFound."""
        return await self._store.read(lambda tx: _find(tx, who, view_id))

    async def delete(self, who: Principal, view_id: str) -> SavedView:
        """Forget a view; what it was. Raises NotFound."""

        def operation(tx: Transaction) -> SavedView:
            view = _find(tx, who, view_id)
            saved_views.delete(tx, view.id)
            return view

        return await self._store.write(operation)


def _find(tx: Transaction, who: Principal, view_id: str) -> SavedView:
    view = saved_views.by_id(tx, who.org_id, view_id)
    if view is None:
        raise NotFound("no such view: somebody deleted it, or it belongs to another organisation")
    return view
