"""States of history, made as the server makes them: messages accepted, attempts recorded, through the verbs of the real store."""

from __future__ import annotations

import asyncio
from typing import Any

from ringback import ids
from ringback.api import attempts, dead_letters, messages
from ringback.api.app import Settings, build
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import DeadLetter, Delivery, Trigger
from ringback.model.messages import Message
from ringback.services.attempts import Attempts
from ringback.services.dead_letters import DeadLetters
from ringback.services.messages import Messages
from ringback.services.tokens import DEFAULT_ORG_ID
from ringback.store.base import Acceptance, Record, Target

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
SECOND_US = 1_000_000


class Wakes:
    """A dispatcher that only notes whom it was told to wake; `flying` is what it claims to have on the wire."""

    def __init__(self) -> None:
        self.woken: list[tuple[str, str]] = []
        self.flying = 0

    def wake(self, endpoint_id: str, app_id: str, due_at: int) -> None:
        self.woken.append((endpoint_id, app_id))

    def hurry(self, delivery: Delivery) -> None:
        self.woken.append((delivery.endpoint_id, delivery.app_id))

    def in_flight(self, endpoint_id: str) -> int:
        return self.flying


class History:
    """An application `shop` with an endpoint `first`, and what happens to its messages. Times are microseconds since 1970."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.handoff = Wakes()
        clock = self.clock = SystemClock()
        self.now_us = clock.now_us()
        self._ids = IdMaker()
        more = [
            *messages.routes(Messages(api.store, clock)),
            *attempts.routes(Attempts(api.store, clock, api.vault, self.handoff)),
            *dead_letters.routes(DeadLetters(api.store, clock, self.handoff)),
        ]
        api.app = build(api.services, api.reader, Settings(), more=more)
        self.app_id = api.made("/app", {"name": "Shop", "uid": "shop"})["id"]
        self.endpoint_id = self.endpoint("first")

    def endpoint(self, uid: str, app: str = "shop") -> str:
        return str(self.api.made(f"/app/{app}/endpoint", {"url": f"https://{uid}.example/hook", "uid": uid})["id"])

    def message(self, *endpoint_ids: str, payload: bytes = b'{"a": 1}', app_id: str | None = None, age_us: int = 0, **more: Any) -> Message:
        """Accept a message, for the first endpoint unless others are given."""
        at_us = self.now_us - age_us
        # Old messages need ids of their own time: a maker never goes back.
        make = IdMaker().make if age_us else self._ids.make
        message = Message(
            make(ids.MESSAGE, at_us),
            app_id or self.app_id,
            more.pop("event_type", "order.created"),
            payload,
            at_us,
            more.pop("expires_at", at_us + 90 * DAY_US),
            matched=len(endpoint_ids),
            **more,
        )
        return self.accepted(message, *(endpoint_ids or (self.endpoint_id,)))

    def accepted(self, message: Message, *endpoint_ids: str) -> Message:
        async def accept() -> Message:
            done = asyncio.get_running_loop().create_future()
            self.api.store.accept(
                Acceptance(
                    message,
                    [Target(endpoint_id, False) for endpoint_id in endpoint_ids],
                    lambda acceptance: done.set_result(message),
                    lambda acceptance, error: done.set_exception(error),
                    lambda acceptance, message_id: done.set_exception(AssertionError("repeated")),
                )
            )
            return await done

        return self.api.run(accept())

    def delivery(self, message: Message, endpoint_id: str | None = None, *, manual: bool = False) -> Delivery:
        """The live delivery of a message, as the dispatcher would claim it."""
        rows = self.rows(
            "SELECT due_at, sequence, attempts, trigger FROM delivery WHERE endpoint_id = ? AND message_id = ? AND trigger = ?",
            (endpoint_id or self.endpoint_id, message.id, int(manual)),
        )
        due_at, sequence, made, trigger = rows[0]
        return Delivery(endpoint_id or self.endpoint_id, message.id, message.app_id, due_at, sequence, made, Trigger(trigger))

    def attempt(
        self,
        message: Message,
        endpoint_id: str | None = None,
        *,
        code: int = 200,
        status: int | None = None,
        retry_in_us: int | None = None,
        dead: str | None = None,
        manual: bool = False,
        ended_at: int | None = None,
        sent: bytes | None = None,
        **facts: Any,
    ) -> Attempt:
        """Make and record the next attempt of a delivery: it succeeds, is to be retried, or leaves a dead letter of that cause.

        `sent` is what a transformation made of the payload.
        """
        delivery = self.delivery(message, endpoint_id, manual=manual)
        at_us = ended_at or message.created_at + (delivery.attempts + 1) * SECOND_US
        make = self._ids.make if at_us >= self.now_us else IdMaker().make
        outcome = status if status is not None else 0 if 200 <= code < 300 else 2
        shape: dict[str, Any] = {
            "url": "https://first.example/hook",
            "error": None,
            "detail": f"the endpoint answered {code}",
            "address": "203.0.113.7:443",
            "duration_us": 256_789,
            "phases": Phases(1200, 3400, -1, 50, 250_000, 10),
            "response": b"ok",
            "response_head": b"HTTP/1.1 200 OK\r\nServer: shop\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
            "request_head": b"POST /hook HTTP/1.1\r\nwebhook-id: x\r\n\r\n",
        }
        attempt = Attempt(
            id=make(ids.ATTEMPT, at_us),
            app_id=message.app_id,
            endpoint_id=delivery.endpoint_id,
            message_id=message.id,
            number=delivery.attempts + 1,
            status=outcome,
            trigger=int(manual),
            code=code,
            started_at=at_us,
            sequence=delivery.sequence,
            **{**shape, **facts},
        )
        letter = None
        if dead is not None:
            letter = DeadLetter(
                make(ids.DEAD_LETTER, at_us),
                DEFAULT_ORG_ID,
                message.app_id,
                delivery.endpoint_id,
                message.id,
                message.event_type,
                dead,
                attempt.detail,
                attempt.number,
                delivery.sequence,
                at_us,
            )
        due_at = None if retry_in_us is None else self.now_us + retry_in_us
        self.record(Record(delivery, attempt, due_at, letter, ends_pair=manual and outcome == 0, sent=sent))
        return attempt

    def record(self, *records: Record) -> None:
        async def record() -> None:
            done = asyncio.get_running_loop().create_future()
            self.api.store.record(records, lambda error: done.set_exception(error) if error else done.set_result(None))
            await done

        self.api.run(record())

    def rows(self, sql: str, parameters: Any = ()) -> list[Any]:
        async def read() -> list[Any]:
            return await self.api.store.read(lambda tx: tx.rows(sql, parameters))

        return self.api.run(read())

    def get(self, path: str, **query: Any) -> Any:
        """What a read of the application answers."""
        response = self.api.get(f"/app/shop{path}", params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any = None) -> Any:
        return self.api.post(f"/app/shop{path}", body)


def ids_of(page: Any) -> list[str]:
    return [item["id"] for item in page["data"]]


def walked(history: History, path: str, limit: int, **query: Any) -> list[str]:
    """All ids of a list, read forwards page by page."""
    found: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = history.get(path, limit=limit, **query, **more)
        found += ids_of(page)
        if page["done"]:
            return found
        more = {"iterator": page["iterator"]}
