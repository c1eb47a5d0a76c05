"""What can be done with transformations? They are read and written; nothing here runs them, so they cannot be switched on yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec
from msgspec import UNSET, UnsetType

from ringback.clock import Clock
from ringback.errors import FieldProblem, InvalidField, NotBuilt
from ringback.model.transformations import Transformation
from ringback.policy.validation import Problem, Rule
from ringback.services.connectors import Code
from ringback.services.endpoints import Told, find
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import transformations
from ringback.store.operations.endpoints import Sealer

# As much as the code itself may have: variables are keys and addresses, not data.
MAX_VARIABLES_BYTES: Final = 51_200
_NO_ENGINE: Final = (
    "a transformation runs in a JavaScript engine, and this version has none: code and variables are kept, and messages are sent "
    "unchanged; leave `enabled` out, or set it to false"
)


def variables_rule(value: Mapping[str, str]) -> Sequence[Problem]:
    """The rule for the variables of a transformation."""
    size = len(msgspec.json.encode(value))
    if size > MAX_VARIABLES_BYTES:
        return [((), f"the variables have {size} bytes as compact JSON; at most {MAX_VARIABLES_BYTES} are allowed")]
    return ()


class TransformationPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of a transformation: what is unset stays, None removes. New code does not enable it by itself."""

    code: Code | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    variables: dict[str, str] | UnsetType | None = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = {"variables": variables_rule}


class Transformations:
    """The transformations of endpoints; each verb sees those of its caller alone. `told` hears of each change, as one of its endpoint."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, told: Told = lambda tx, former, now: None) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._told = told

    async def get(self, who: Principal, app: str, endpoint: str) -> Transformation:
        """The transformation of an endpoint. Raises NotFound."""

        def query(tx: Transaction) -> Transformation:
            return transformations.of_endpoint(tx, self._vault, find(tx, self._vault, who, app, endpoint).id)

        return await self._store.read(query)

    async def patch(self, who: Principal, app: str, endpoint: str, change: TransformationPatch) -> Transformation:
        """Change some of it. Raises NotFound, InvalidField (enabled without code) and NotBuilt (enabled with code)."""
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}

        def operation(tx: Transaction) -> Transformation:
            found = find(tx, self._vault, who, app, endpoint)
            former = transformations.of_endpoint(tx, self._vault, found.id)
            wanted = msgspec.structs.replace(former, **changes)
            if change.enabled is True:
                if wanted.code is None:
                    message = "there is no code to enable; give `code` as well, or set it before"
                    raise InvalidField(FieldProblem(("body", "enabled"), message))
                raise NotBuilt(_NO_ENGINE)
            self._told(tx, found, found)
            if wanted == former:
                return former
            stored = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), (former.updated_at or 0) + 1))
            transformations.put(tx, self._vault, found.id, stored)
            return stored

        return await self._store.write(operation)
