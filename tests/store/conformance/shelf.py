"""What a store is asked to keep: short makers of acceptances and records, and callers that wait for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ringback import ids
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import DeadLetter, Delivery, Trigger
from ringback.model.messages import Message
from ringback.store.base import Acceptance, Bounds, Claims, EventClaim, IdempotencyMark, Record, Store, Target

SECOND_US = 1_000_000
LIFE_US = 90 * 86_400 * SECOND_US
LEASE_US = 70 * SECOND_US
MANY = Bounds(1_000, 1 << 30)


class Heard:
    """What an acceptance was answered: exactly one of the three."""

    def __init__(self, order: list[Heard]) -> None:
        self.acceptance: Acceptance
        self.answers: list[tuple[str, Any]] = []
        self.done: asyncio.Future[Heard] = asyncio.get_running_loop().create_future()
        self._order = order

    def _hear(self, word: str, what: Any) -> None:
        self.answers.append((word, what))
        self._order.append(self)
        if not self.done.done():
            self.done.set_result(self)

    def accepted(self, acceptance: Acceptance) -> None:
        self._hear("accepted", acceptance.message.id)

    def refused(self, acceptance: Acceptance, error: Exception) -> None:
        self._hear("refused", error)

    def repeated(self, acceptance: Acceptance, message_id: str) -> None:
        self._hear("repeated", message_id)

    @property
    def word(self) -> str:
        ((word, _),) = self.answers
        return word

    @property
    def what(self) -> Any:
        ((_, what),) = self.answers
        return what


class Shelf:
    """A store with a clock and ids of its own."""

    def __init__(self, store: Store, clock: SystemClock) -> None:
        self.store = store
        self.clock = clock
        self.make_id = IdMaker()
        # Everything that was answered, in the order of the answers.
        self.heard: list[Heard] = []

    @property
    def now_us(self) -> int:
        return self.clock.now_us()

    def message(self, **fields: Any) -> Message:
        now_us = self.now_us
        parts: dict[str, Any] = {
            "id": self.make_id.make(ids.MESSAGE, now_us), "app_id": "app_1", "event_type": "t", "payload": b"{}",
            "created_at": now_us, "expires_at": now_us + LIFE_US,
        }  # fmt: skip
        return Message(**(parts | fields))

    def offer(
        self,
        *endpoint_ids: str,
        claim: bool = False,
        message: Message | None = None,
        key: bytes | None = None,
        event: EventClaim | None = None,
        refusal: Exception | None = None,
        lane: str | None = None,
        **fields: Any,
    ) -> Heard:
        """Hand an acceptance to the store, and do not wait."""
        heard = Heard(self.heard)
        message = message or self.message(**fields)
        mark = None if key is None else IdempotencyMark(key, message.created_at + 10 * SECOND_US)
        targets = [Target(endpoint_id, claim) for endpoint_id in endpoint_ids]
        heard.acceptance = Acceptance(message, targets, heard.accepted, heard.refused, heard.repeated, mark, event)
        heard.acceptance.refusal = refusal
        if lane is not None:
            heard.acceptance.lanes = dict.fromkeys(endpoint_ids, lane)
        self.store.accept(heard.acceptance)
        return heard

    async def accept(self, *endpoint_ids: str, **more: Any) -> Heard:
        return await self.offer(*endpoint_ids, **more).done

    async def delivery(self, endpoint_id: str = "ep_1", **more: Any) -> Delivery:
        """A delivery that was just accepted and handed over."""
        heard = await self.accept(endpoint_id, claim=True, **more)
        (delivery,) = heard.acceptance.claimed
        return delivery

    def attempt(self, delivery: Delivery, status: int = 0, **fields: Any) -> Attempt:
        now_us = self.now_us
        parts: dict[str, Any] = {
            "id": self.make_id.make(ids.ATTEMPT, now_us), "app_id": delivery.app_id, "endpoint_id": delivery.endpoint_id,
            "message_id": delivery.message_id, "url": "http://x/", "number": delivery.attempts + 1, "status": status,
            "trigger": delivery.trigger, "code": 200, "started_at": now_us, "duration_us": 5, "error": None, "detail": "", "address": "",
            "phases": Phases(), "response": b"", "response_head": b"", "request_head": b"", "sequence": delivery.sequence,
        }  # fmt: skip
        return Attempt(**(parts | fields))

    def success(self, delivery: Delivery) -> Record:
        return Record(delivery, self.attempt(delivery), ends_pair=delivery.trigger is Trigger.MANUAL)

    def retry(self, delivery: Delivery, due_at: int) -> Record:
        return Record(delivery, self.attempt(delivery, 2, code=500), next_due_at=due_at)

    def death(self, delivery: Delivery) -> Record:
        now_us = self.now_us
        letter = DeadLetter(
            self.make_id.make(ids.DEAD_LETTER, now_us), "org_1", delivery.app_id, delivery.endpoint_id, delivery.message_id, "t",
            "http_500", "no", delivery.attempts + 1, delivery.sequence, now_us,
        )  # fmt: skip
        return Record(delivery, self.attempt(delivery, 2, code=500), dead=letter)

    def offer_records(self, *records: Record) -> asyncio.Future[Exception | None]:
        done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.store.record(records, done.set_result)
        return done

    async def record(self, *records: Record) -> Exception | None:
        return await self.offer_records(*records)

    async def claim(self, endpoint_id: str = "ep_1", bounds: Bounds = MANY, lease_us: int = LEASE_US, now_us: int | None = None) -> Claims:
        return await self.store.claim(endpoint_id, bounds, self.now_us if now_us is None else now_us, lease_us)

    async def claimed_ids(self, endpoint_id: str = "ep_1", **more: Any) -> list[str]:
        return [c.delivery.message_id for c in (await self.claim(endpoint_id, **more)).claims]

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return await self.store.read(lambda tx: tx.rows(sql, parameters))

    async def count(self, table: str) -> int:
        return int((await self.rows(f"SELECT COUNT(*) FROM {table}"))[0][0])
