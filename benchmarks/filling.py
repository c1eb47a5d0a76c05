"""How does a database come to hold a million messages and three million attempts, within minutes? Through the store's own writer.

A server makes applications, endpoints and event types; it is stopped, and messages and attempts are written into its file by the same verbs
that a server uses, only without waiting for the disk. So whatever the store keeps beside its rows is there too.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import random
import time

import apsw

from benchmarks import server
from ringback import clock, ids
from ringback.model.attempts import Attempt, ErrorClass, Phases
from ringback.model.deliveries import AttemptStatus, DeadLetter, Delivery, Trigger
from ringback.model.messages import Message
from ringback.services.tokens import DEFAULT_ORG_ID
from ringback.store.base import Acceptance, Record, Target
from ringback.store.sqlite.connection import SqliteTransaction
from ringback.store.sqlite.writing import Writing

# The span that the messages of the history are spread over, microseconds: two days, so that the last one is a part of it.
SPAN_US = 2 * 86_400 * clock.SECOND_US
# Messages in one transaction, and how often what moves on beside them gets a step in it: a server gives it one for each of its batches.
AT_ONCE, STEPS = 2_000, 20
LIFE_US = 90 * 86_400 * clock.SECOND_US

# Event types by weight. `legacy` stops in the middle of the history; `rare` is on three messages, `absent` on none.
TYPES = {"order.paid": 500, "order.created": 300, "user.updated": 120, **{f"thing.n{n}": 80 / (n + 1) ** 1.2 for n in range(30)}}
LEGACY, RARE, ABSENT = "legacy.event", "rare.event", "absent.event"
LEGACY_SHARE = 0.01
# Channels and tags by the share of messages that have them; `canary` and `special` are on three messages, `none` on none.
CHANNELS = {"eu": 0.2, "us": 0.02, "lab": 0.001}
TAGS = {"vip": 0.001, "batch": 0.05}
# Messages with a tag of one of so many customers.
CUSTOMERS, CUSTOMER_SHARE = 10_000, 0.1

REQUEST_HEAD = b"POST /hook HTTP/1.1\r\nhost: sink\r\ncontent-type: application/json\r\nwebhook-id: x\r\nuser-agent: Ringback\r\n\r\n"
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nserver: sink\r\ncontent-length: 2\r\n\r\n"


@dataclasses.dataclass
class Place:
    """An endpoint: the share of its messages that fail at first, that never succeed, that still wait, and that wait for a retry."""

    name: str
    first_fails: float = 0.0
    dead: float = 0.0
    waiting: float = 0.0
    retrying: float = 0.0
    event_type: str | None = None
    id: str = ""


@dataclasses.dataclass
class Shop:
    """An application, the share of all messages that it has, and its endpoints."""

    name: str
    share: float
    places: list[Place]
    id: str = ""


def shops() -> list[Shop]:
    """Who is in the history. Six of ten messages are the big one's."""
    return [
        Shop(
            "big",
            0.6,
            [
                Place("steady", first_fails=0.05, dead=0.001),
                Place("flaky", first_fails=0.3),
                Place("down", retrying=1.0),
                Place("asleep", waiting=0.65),
            ],
        ),
        Shop("middle", 0.25, [Place("good"), Place("gone", dead=0.9), Place("picky", event_type="order.paid")]),
        *(Shop(f"small{n}", 0.15 / 8, [Place("one", first_fails=0.02), Place("two")]) for n in range(8)),
    ]


@dataclasses.dataclass
class Filled:
    """A filled database: who is in it, how much, and how long it took."""

    database: pathlib.Path
    shops: dict[str, Shop]
    messages: int = 0
    attempts: int = 0
    live: int = 0
    dead: int = 0
    seconds: float = 0.0


def fill(database: pathlib.Path, messages: int, sink_url: str) -> Filled:
    """Make a database with so many messages and three times as many attempts; the server that made its applications is stopped again."""
    who = shops()
    running = server.start(database)
    try:
        for name in (*TYPES, LEGACY, RARE, ABSENT):
            running.make("/event-type", {"name": name, "description": ""})
        for shop in who:
            shop.id = running.make("/app", {"name": shop.name, "uid": shop.name})["id"]
            for place in shop.places:
                body = {"url": f"{sink_url}/{place.name}", "uid": place.name} | (
                    {"eventTypes": [place.event_type]} if place.event_type else {}
                )
                place.id = running.make(f"/app/{shop.id}/endpoint", body)["id"]
    finally:
        running.stop()
    filled = Filled(database, {shop.name: shop for shop in who})
    began = time.monotonic()
    _Filling(filled, messages).run()
    filled.seconds = time.monotonic() - began
    return filled


class _Filling:
    def __init__(self, filled: Filled, messages: int) -> None:
        self._filled = filled
        self._wanted = messages
        # The same history each time.
        self._random = random.Random(7)
        # One for each kind, or the ids of messages would follow the times of attempts.
        self._ids, self._attempt_ids = (ids.IdMaker(self._random.getrandbits, self._random.getrandbits) for _ in range(2))
        self._now_us = clock.SystemClock().now_us()
        self._durations = [int(self._random.lognormvariate(10.5, 0.8)) for _ in range(1_000)]
        self._types = list(TYPES), list(itertools.accumulate(TYPES.values()))
        self._payload = b'{"order": "ord_%d", "customer": {"email": "c%d@example.com"}, "total": %d, "note": "' + b"x" * 60 + b'"}'

    def run(self) -> None:
        connection = apsw.Connection(str(self._filled.database))
        # Nothing is lost by a crash of this tool but its own work.
        connection.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY")
        tx = SqliteTransaction(connection)
        writing = Writing(tx)
        try:
            for start in range(0, self._wanted, AT_ONCE):
                connection.execute("BEGIN IMMEDIATE")
                for _ in range(STEPS):
                    writing.begin(tx)
                self._some(tx, writing, range(start, min(start + AT_ONCE, self._wanted)))
                connection.execute("COMMIT")
                writing.confirm()
        finally:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()

    def _some(self, tx: SqliteTransaction, writing: Writing, numbers: range) -> None:
        """Write some messages, then what became of them."""
        batch, whose = [], []
        for number in numbers:
            shop = self._shop()
            message = self._message(number, shop)
            targets = [Target(place.id, True) for place in shop.places if place.event_type in (None, message.event_type)]
            batch.append(Acceptance(message, targets, _nothing, _nothing, _nothing))
            whose.append(shop)
        writing.accept(tx, batch)
        places = {shop.id: {place.id: place for place in shop.places} for shop in self._filled.shops.values()}
        records: list[Record] = []
        for shop, acceptance in zip(whose, batch, strict=True):
            for delivery in acceptance.claimed:
                records += self._records(places[shop.id][delivery.endpoint_id], acceptance.message, delivery)
        # One attempt of a delivery after the other.
        for number in (1, 2):
            writing.record(tx, [record for record in records if record.attempt.number == number])
        self._filled.messages += len(batch)
        self._filled.attempts += len(records)

    def _shop(self) -> Shop:
        left = self._random.random()
        for shop in self._filled.shops.values():
            left -= shop.share
            if left < 0:
                return shop
        return next(iter(self._filled.shops.values()))

    def _message(self, number: int, shop: Shop) -> Message:
        draw = self._random
        at_us = self._now_us - SPAN_US + SPAN_US * number // self._wanted
        event_type = draw.choices(self._types[0], cum_weights=self._types[1])[0]
        if number < self._wanted // 2 and draw.random() < LEGACY_SHARE:
            event_type = LEGACY
        channels = [name for name, share in CHANNELS.items() if draw.random() < share]
        tags = [name for name, share in TAGS.items() if draw.random() < share]
        if draw.random() < CUSTOMER_SHARE:
            tags.append(f"customer-{draw.randrange(CUSTOMERS)}")
        # The rare ones lie far apart, in the big application.
        if shop.name == "big" and number * 4 // self._wanted != (number - 2) * 4 // self._wanted and number > 2:
            event_type, channels, tags = RARE, ["canary"], ["special"]
        payload = self._payload % (number, number % 50_000, number % 977)
        return Message(
            self._ids.make(ids.MESSAGE, at_us),
            shop.id,
            event_type,
            payload,
            at_us,
            at_us + LIFE_US,
            channels=tuple(channels) or None,
            tags=tuple(tags) or None,
            matched=len(shop.places),
        )

    def _records(self, place: Place, message: Message, delivery: Delivery) -> list[Record]:
        """The attempts of a delivery, and what they leave."""
        share = self._random.random()
        filled = self._filled
        if share < place.waiting:
            filled.live += 1
            return []
        if share < place.retrying:
            filled.live += 1
            due_at = self._now_us + 20 * 86_400 * clock.SECOND_US
            return [Record(delivery, self._attempt(delivery, message, 1, failed=True), next_due_at=due_at, message=message)]
        if share < place.dead:
            attempt = self._attempt(delivery, message, 1, failed=True)
            filled.dead += 1
            return [Record(delivery, attempt, dead=self._letter(delivery, message, attempt), message=message)]
        if self._random.random() >= place.first_fails:
            return [Record(delivery, self._attempt(delivery, message, 1), message=message)]
        due_at = message.created_at + 5 * clock.SECOND_US
        again = Delivery(delivery.endpoint_id, delivery.message_id, delivery.app_id, due_at, delivery.sequence, 1)
        return [
            Record(delivery, self._attempt(delivery, message, 1, failed=True), next_due_at=due_at, message=message),
            Record(again, self._attempt(again, message, 2), message=message),
        ]

    def _attempt(self, delivery: Delivery, message: Message, number: int, *, failed: bool = False) -> Attempt:
        draw = self._random
        at_us = message.created_at + (number - 1) * 5 * clock.SECOND_US
        code = 200
        if failed:
            # Mostly 500; a redirect once in a hundred thousand failures.
            share = draw.random()
            code = 500 if share < 0.9 else 429 if share < 0.95 else 0 if share < 0.999_99 else 302
        return Attempt(
            self._attempt_ids.make(ids.ATTEMPT, message.created_at),
            delivery.app_id,
            delivery.endpoint_id,
            delivery.message_id,
            "http://sink/hook",
            number,
            AttemptStatus.FAIL if failed else AttemptStatus.SUCCESS,
            Trigger.SCHEDULED,
            code,
            at_us,
            self._durations[draw.randrange(len(self._durations))],
            None if code else ErrorClass.TIMEOUT,
            f"the endpoint answered {code}" if failed else "",
            "127.0.0.1:80",
            Phases(-1, -1, -1, 30, 20_000, 10),
            b"ok",
            RESPONSE_HEAD,
            REQUEST_HEAD,
            delivery.sequence,
        )

    def _letter(self, delivery: Delivery, message: Message, attempt: Attempt) -> DeadLetter:
        return DeadLetter(
            self._attempt_ids.make(ids.DEAD_LETTER, attempt.started_at),
            DEFAULT_ORG_ID,
            delivery.app_id,
            delivery.endpoint_id,
            delivery.message_id,
            message.event_type,
            f"http_{attempt.code}" if attempt.code else "timeout",
            attempt.detail,
            1,
            delivery.sequence,
            attempt.started_at,
        )


def _nothing(*heard: object) -> None:
    """Nobody waits for an answer."""
