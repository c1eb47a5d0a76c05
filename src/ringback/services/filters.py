"""What can be done with the payload filters of endpoints? They are read, set and removed, and tried on past messages before that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar

import msgspec

from ringback.clock import Clock
from ringback.model.endpoints import Endpoint
from ringback.model.polling import PollingEndpoint
from ringback.policy.filters import compiled, filter_rule
from ringback.policy.validation import Rule
from ringback.services import endpoints as webhook_endpoints
from ringback.services import polling as polling_endpoints
from ringback.services.applications import Directory
from ringback.services.endpoints import Told
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import endpoints, filtering, polling, recent
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.polls import Wanted
from ringback.store.operations.recent import Head

# Messages that a filter is tried on, unless somebody says how many, and at the most.
DEFAULT_TRIED: Final = 100
MOST_TRIED: Final = 1_000
# Payloads that one trial reads: a third of a second of a reader. It ends with the message that exceeds that.
_MOST_BYTES: Final = 32 * 1024 * 1024
# Messages of either kind that are shown as examples, the newest.
EXAMPLES: Final = 10
_EXAMPLE: Final = {"data.amount": {"$gte": 100}, "data.currency": ["EUR", "CHF"], "$not": {"data.test": True}}

Document = Annotated[
    dict[str, Any], msgspec.Meta(examples=[_EXAMPLE, {"$headers": {"x-github-event": "push"}}], description="A payload filter")
]


class PayloadFilterIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The filter that an endpoint is to have."""

    filter: Document

    RULES: ClassVar[Mapping[str, Rule]] = {"filter": filter_rule}


class PayloadFilterTryIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A filter to try, which is not kept, and on how many of the last messages."""

    filter: Document
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_TRIED)] = DEFAULT_TRIED

    RULES: ClassVar[Mapping[str, Rule]] = {"filter": filter_rule}


class Example(msgspec.Struct, frozen=True):
    """A message that a filter was tried on, and the member of the filter that it does not fit, as a JSON object; None when it fits."""

    message: Head
    failing: str | None


class Trial(msgspec.Struct, frozen=True):
    """What a filter would have done to the last messages that an endpoint wants by type and channels.

    `gone` counts those whose payload is not there any more. `passing` and `failing` are the newest of those that pass and that do not.
    """

    passed: int
    failed: int
    gone: int
    passing: Sequence[Example]
    failing: Sequence[Example]


T = TypeVar("T", bound=Endpoint | PollingEndpoint)
# The endpoint of that id or uid in that application, which its caller may reach. Raises NotFound.
Find = Callable[[Transaction, Principal, str, str], T]
# Gives an endpoint another filter, or none: the endpoint as it is then.
Keep = Callable[[Transaction, T, dict[str, Any] | None], T]


class PayloadFilters(Generic[T]):
    """The filters of one kind of endpoints; each verb sees those of its caller alone."""

    def __init__(self, store: Store, clock: Clock, directory: Directory, find: Find[T], keep: Keep[T]) -> None:
        self._store = store
        self._clock = clock
        self._directory = directory
        self._find = find
        self._keep = keep

    async def get(self, who: Principal, app: str, ref: str) -> dict[str, Any] | None:
        """The filter of an endpoint, None when it has none. Raises NotFound."""
        return (await self._store.read(lambda tx: self._find(tx, who, app, ref))).payload_filter

    async def set(self, who: Principal, app: str, ref: str, wanted: dict[str, Any] | None) -> None:
        """Give an endpoint a filter that was checked (`filter_rule`), or none. Raises NotFound."""

        def operation(tx: Transaction) -> T:
            return self._keep(tx, self._find(tx, who, app, ref), wanted)

        self._directory.changed((await self._store.write(operation)).app_id)

    async def tried(self, who: Principal, app: str, ref: str, wanted: PayloadFilterTryIn) -> Trial:
        """What a filter would have done to the last messages. Raises NotFound."""
        now_us = self._clock.now_us()
        return await self._store.read(lambda tx: _tried(tx, self._find(tx, who, app, ref), wanted, now_us))


def _tried(tx: Transaction, endpoint: Endpoint | PollingEndpoint, wanted: PayloadFilterTryIn, now_us: int) -> Trial:
    asked = compiled(wanted.filter)
    passed = failed = gone = size = 0
    passing: list[Example] = []
    failing: list[Example] = []
    for head in recent.newest(tx, endpoint.app_id, Wanted(endpoint.event_types, endpoint.channels), wanted.limit):
        looked = filtering.look(tx, endpoint.app_id, head.id, now_us)
        size += looked.size
        if looked.subject is None:
            gone += 1
            continue
        example = Example(head, asked.failing(looked.subject))
        if example.failing is None:
            passed += 1
        else:
            failed += 1
        (passing if example.failing is None else failing).append(example)
        if size > _MOST_BYTES:
            break
    return Trial(passed, failed, gone, passing[:EXAMPLES], failing[:EXAMPLES])


def of_endpoints(store: Store, vault: Sealer, clock: Clock, directory: Directory, told: Told) -> PayloadFilters[Endpoint]:
    """The filters of endpoints that are called. `told` hears of each change, as one of the endpoint."""

    def find(tx: Transaction, who: Principal, app: str, ref: str) -> Endpoint:
        return webhook_endpoints.find(tx, vault, who, app, ref)

    def keep(tx: Transaction, former: Endpoint, wanted: dict[str, Any] | None) -> Endpoint:
        endpoint = former
        if wanted != former.payload_filter:
            changed_at = max(clock.now_us(), former.updated_at + 1)
            endpoint = msgspec.structs.replace(former, payload_filter=wanted, updated_at=changed_at)
            endpoints.replace(tx, vault, endpoint)
        told(tx, former, endpoint)
        return endpoint

    return PayloadFilters(store, clock, directory, find, keep)


def of_pollers(store: Store, clock: Clock, directory: Directory) -> PayloadFilters[PollingEndpoint]:
    """The filters of endpoints that are polled."""

    def keep(tx: Transaction, former: PollingEndpoint, wanted: dict[str, Any] | None) -> PollingEndpoint:
        if wanted == former.payload_filter:
            return former
        endpoint = msgspec.structs.replace(former, payload_filter=wanted, updated_at=max(clock.now_us(), former.updated_at + 1))
        polling.replace(tx, endpoint)
        return endpoint

    return PayloadFilters(store, clock, directory, polling_endpoints.find, keep)
