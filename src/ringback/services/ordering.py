"""What can be done with the order of an endpoint's deliveries? It is read and set; lanes that are blocked are listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import UNSET, UnsetType

from ringback.clock import Clock
from ringback.errors import FieldProblem, InvalidField
from ringback.model.endpoints import Endpoint
from ringback.model.ordering import Ordered, Ordering, WhenHeadDies
from ringback.policy.ordering import MAX_PATH_CHARS, path_problems, same_lanes, unblocks
from ringback.policy.validation import Problem, Rule
from ringback.services.applications import Directory
from ringback.services.endpoints import Told, find
from ringback.services.ports import Handoff
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import endpoints, lanes
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.lanes import Block

# Blocked lanes in one answer, the longest blocked first.
MOST_BLOCKS: Final = 50
# No schedule of retries is longer.
_MAX_FAILURES: Final = 1_000

_Path = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATH_CHARS)]
_Failures = Annotated[int, msgspec.Meta(ge=1, le=_MAX_FAILURES)]


def _path_rule(value: str) -> Sequence[Problem]:
    return [((), text) for text in path_problems(value)]


class OrderingIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How an endpoint is to order its deliveries. `key_path`: where a payload has the key; `skip_after`: how many failures are enough."""

    mode: Ordered
    key_path: _Path | None = None
    when_head_dies: WhenHeadDies = WhenHeadDies.BLOCK
    skip_after: _Failures | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"key_path": _path_rule}


class OrderingPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of an ordering: what is unset stays, None removes."""

    mode: Ordered | UnsetType = UNSET
    key_path: _Path | UnsetType | None = UNSET
    when_head_dies: WhenHeadDies | UnsetType = UNSET
    skip_after: _Failures | UnsetType | None = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = OrderingIn.RULES


class Standing(msgspec.Struct, frozen=True):
    """The ordering of an endpoint, and what becomes of it: how many lanes are blocked, some of those, and whether all is sorted yet."""

    ordering: Ordering
    blocked: int
    blocks: Sequence[Block]
    changing: bool


_UNORDERED: Final = Ordering(Ordered.NONE)


class Orderings:
    """The orderings of endpoints; each verb sees those of its caller alone. `told` hears of each change, as one of its endpoint."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        directory: Directory,
        handoff: Handoff,
        told: Told = lambda tx, former, now: None,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._directory = directory
        self._handoff = handoff
        self._told = told

    async def get(self, who: Principal, app: str, ref: str) -> Standing:
        """How an endpoint orders its deliveries. Raises NotFound."""
        return await self._store.read(lambda tx: _standing(tx, find(tx, self._vault, who, app, ref)))

    async def put(self, who: Principal, app: str, ref: str, wanted: OrderingIn) -> Standing:
        """Set the ordering of an endpoint as a whole. Raises NotFound, InvalidField."""
        return await self._change(who, app, ref, OrderingPatch(**msgspec.structs.asdict(wanted)))

    async def patch(self, who: Principal, app: str, ref: str, change: OrderingPatch) -> Standing:
        """Change some of the ordering of an endpoint. Raises NotFound, InvalidField."""
        return await self._change(who, app, ref, change)

    async def _change(self, who: Principal, app: str, ref: str, change: OrderingPatch) -> Standing:
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}

        def operation(tx: Transaction) -> tuple[Endpoint, Standing]:
            former = find(tx, self._vault, who, app, ref)
            wanted = msgspec.structs.replace(former.ordering or _UNORDERED, **changes)
            _check(wanted)
            ordering = None if wanted.mode is Ordered.NONE else wanted
            endpoint = former
            if ordering != former.ordering:
                changed_at = max(self._clock.now_us(), former.updated_at + 1)
                endpoint = msgspec.structs.replace(former, ordering=ordering, updated_at=changed_at)
                endpoints.replace(tx, self._vault, endpoint)
                same = same_lanes(former.ordering, ordering)
                if not same or unblocks(former.ordering, ordering):
                    lanes.change(tx, former.id, former.app_id, changed_at, sorted_already=same)
            self._told(tx, former, endpoint)
            return endpoint, _standing(tx, endpoint)

        endpoint, standing = await self._store.write(operation)
        self._directory.changed(endpoint.app_id)
        if standing.changing:
            self._handoff.rearrange(endpoint.id, endpoint.app_id)
        return standing


def _standing(tx: Transaction, endpoint: Endpoint) -> Standing:
    return Standing(
        endpoint.ordering or _UNORDERED,
        lanes.count_blocked(tx, endpoint.id),
        lanes.blocked_of(tx, endpoint.id, MOST_BLOCKS),
        lanes.change_of(tx, endpoint.id) is not None,
    )


def _check(wanted: Ordering) -> None:
    """Does it fit together? Raises InvalidField."""
    problems = []
    if wanted.key_path is not None and wanted.mode is not Ordered.KEY:
        problems.append(FieldProblem(("body", "keyPath"), f"a key is only looked for with mode key, not with {wanted.mode.value}"))
    if wanted.skip_after is not None and wanted.when_head_dies is not WhenHeadDies.SKIP:
        text = "a lane that blocks waits for the whole schedule of retries; set whenHeadDies to skip, or leave skipAfter out"
        problems.append(FieldProblem(("body", "skipAfter"), text))
    if problems:
        raise InvalidField(*problems)
