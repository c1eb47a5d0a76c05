"""Whatever happened and in whatever order: a list with a filter is the whole list without what does not fit.

Histories are made by the writer's own verbs, with what real ones have: late rows, retries of old messages, restarts, batches that were
undone, attempts by hand, endpoints that are off. Each list is then walked, page by page in both directions, and compared with what a look
at every row says.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import apsw
import msgspec
import pytest

from ringback import ids
from ringback.ids import IdMaker
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import AttemptStatus, DeadLetter, Delivery, Trigger
from ringback.model.messages import Message
from ringback.policy.paging import Page, Walk
from ringback.store.base import Acceptance, Record, Target
from ringback.store.migrations.steps import migrations
from ringback.store.operations import attempts, dead_letters, deliveries, messages, standings
from ringback.store.operations.attempts import AttemptFilter
from ringback.store.operations.dead_letters import Chosen, Scope
from ringback.store.operations.messages import MessageFilter
from ringback.store.operations.standings import Reading
from ringback.store.sqlite.connection import SqliteTransaction, open_writer
from ringback.store.sqlite.writing import Writing

SECOND_US = 1_000_000
START_US = 1_750_000_000 * SECOND_US
NOW_US = START_US + 86_400 * SECOND_US
APPS = ("app_1", "app_2")
ENDPOINTS = {"ep_1": "app_1", "ep_2": "app_1", "ep_3": "app_2"}
TYPES, CHANNELS, TAGS = ("paid", "made", "seldom", "once"), ("eu", "us"), ("vip", "rare")
CODES = (200, 204, 302, 404, 429, 500, 0)


class World:
    """A database and everything that is in it, known to the test."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.connection = open_writer(":memory:")
        for step in migrations():
            self.connection.execute(step.sql)
        self.tx = SqliteTransaction(self.connection)
        self.writing = Writing(self.tx)
        self.ids = IdMaker()
        self.now_us = START_US
        self.messages: dict[str, Message] = {}
        self.attempts: list[Attempt] = []
        # Filled once all has happened.
        self.by_pair: dict[tuple[str, str], list[Attempt]] = {}
        self.letters: dict[tuple[str, str], DeadLetter] = {}
        self.deferred: set[str] = set()
        self.live: dict[tuple[str, str, int], tuple[Delivery, str]] = {}
        self.tx.run(
            "INSERT INTO application (id, org_id, name, metadata, created_at, updated_at) VALUES ('app_1', 'org_1', '', '{}', 1, 1)"
        )
        for endpoint_id, app_id in ENDPOINTS.items():
            self.tx.run(
                "INSERT INTO endpoint (id, app_id, url, host, description, disabled, metadata, version, headers, secrets, created_at, "
                "updated_at) VALUES (?, ?, x'', '', '', 0, '{}', 1, x'', x'', 1, 1)",
                (endpoint_id, app_id),
            )

    def happen(self, steps: int) -> None:
        kinds = [(self.accept, 10), (self.attempt, 16), (self.by_hand, 1), (self.undone, 0.2), (self.restart, 0.1), (self.drop, 0.02)]
        for _ in range(steps):
            self.now_us += self.draw.randrange(100_000)
            step = self.draw.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
            step()

    def one_of(self, values: Any, weight: float = 0.25) -> Any:
        """The first mostly, each further one a quarter as often."""
        return self.draw.choices(values, [weight**n for n in range(len(values))])[0]

    def message(self, late: bool = False) -> Message:
        at_us = self.now_us
        make = self.ids.make
        if late:
            # Of an older time: nothing keeps a store from being handed such.
            at_us, make = self.draw.randrange(START_US, self.now_us + 1), IdMaker().make
        some: Callable[[tuple[str, ...]], Any] = lambda names: tuple(n for n in names if self.draw.random() < 0.03) or None  # noqa: E731 - a name for one expression
        return Message(
            make(ids.MESSAGE, at_us), self.draw.choice(APPS), self.one_of(TYPES), b"{}", at_us, at_us + 90 * 86_400 * SECOND_US,
            channels=some(CHANNELS), tags=some(TAGS),
        )  # fmt: skip

    def accept(self) -> None:
        batch = []
        for _ in range(self.draw.randrange(1, 30)):
            message = self.message(late=self.draw.random() < 0.02)
            targets = [Target(e, True) for e, app_id in ENDPOINTS.items() if app_id == message.app_id and self.draw.random() < 0.8]
            if self.draw.random() < 0.03:
                message = msgspec.structs.replace(message, deliver_at=message.created_at + 60 * SECOND_US)
            batch.append(Acceptance(message, targets, lambda a: None, lambda a, e: None, lambda a, m: None))
        accepted, others = self.writing.accept(self.tx, batch)
        assert not others
        for acceptance in accepted:
            self.messages[acceptance.message.id] = acceptance.message
            if acceptance.message.deliver_at is not None and not acceptance.targets:
                self.deferred.add(acceptance.message.id)
            for delivery in acceptance.claimed:
                self.live[delivery.endpoint_id, delivery.message_id, 0] = delivery, "waiting"

    def attempt(self) -> None:
        some = self.draw.sample(sorted(self.live), min(self.draw.randrange(1, 20), len(self.live)))
        # Of one pair one attempt at a time.
        records = [self.record(*self.live[key]) for key in {key[:2]: key for key in some}.values()]
        self.writing.record(self.tx, records)
        for record in records:
            self.remember(record)

    def record(self, delivery: Delivery, state: str) -> Record:
        manual = delivery.trigger is Trigger.MANUAL
        code = 200 if self.draw.random() < 0.6 else self.draw.choice(CODES)
        status = AttemptStatus.SUCCESS if 200 <= code < 300 else AttemptStatus.FAIL
        if self.draw.random() < 0.01:
            status = AttemptStatus.CANCELED
        attempt = Attempt(
            self.ids.make(ids.ATTEMPT, self.now_us), delivery.app_id, delivery.endpoint_id, delivery.message_id, "http://x",
            delivery.attempts + 1, status, delivery.trigger, code, self.now_us, 1, None, "", "", Phases(), b"", b"", b"", delivery.sequence,
        )  # fmt: skip
        message = self.messages[delivery.message_id] if self.draw.random() < 0.5 else None
        if status is AttemptStatus.FAIL and not manual:
            if self.draw.random() < 0.6:
                return Record(delivery, attempt, next_due_at=self.now_us + self.draw.randrange(SECOND_US * 1000), message=message)
            letter = DeadLetter(
                self.ids.make(ids.DEAD_LETTER, self.now_us), "org_1", delivery.app_id, delivery.endpoint_id, delivery.message_id,
                self.messages[delivery.message_id].event_type, f"http_{code}", "", 1, 1, self.now_us,
            )  # fmt: skip
            return Record(delivery, attempt, dead=letter, message=message)
        return Record(delivery, attempt, ends_pair=manual and status is AttemptStatus.SUCCESS, message=message)

    def remember(self, record: Record) -> None:
        delivery, pair = record.delivery, (record.delivery.endpoint_id, record.delivery.message_id)
        self.attempts.append(record.attempt)
        self.live.pop((*pair, int(delivery.trigger)))
        if record.next_due_at is not None:
            moved = msgspec.structs.replace(delivery, due_at=record.next_due_at, attempts=delivery.attempts + 1)
            self.live[*pair, 0] = moved, "retrying"
        if record.dead is not None:
            before = self.letters.get(pair)
            self.letters[pair] = record.dead if before is None else msgspec.structs.replace(record.dead, id=before.id)
        if record.ends_pair:
            if self.live.get((*pair, 0), (None, ""))[1] == "retrying":
                del self.live[*pair, 0]
            self.letters.pop(pair, None)

    def by_hand(self) -> None:
        message = self.draw.choice(sorted(self.messages.values(), key=lambda m: m.id)) if self.messages else None
        endpoint_id = self.draw.choice([e for e, app_id in ENDPOINTS.items() if message is not None and app_id == message.app_id] or [""])
        if message is None or (endpoint_id, message.id, 1) in self.live or message.id in self.deferred:
            return
        delivery = deliveries.add_manual(self.tx, endpoint_id, message, self.now_us)
        self.live[endpoint_id, message.id, 1] = delivery, "retrying"
        if (endpoint_id, message.id, 0) in self.live:
            self.live[endpoint_id, message.id, 0] = self.live[endpoint_id, message.id, 0][0], "retrying"

    def undone(self) -> None:
        """A batch that the disk refused in the end."""
        self.connection.execute("SAVEPOINT whole")
        before = self.messages.copy(), self.attempts.copy(), self.letters.copy(), self.live.copy(), self.deferred.copy()
        self.accept()
        self.attempt()
        self.connection.execute("ROLLBACK TO whole; RELEASE whole")
        self.messages, self.attempts, self.letters, self.live, self.deferred = before
        self.writing.revert()

    def restart(self) -> None:
        self.writing = Writing(self.tx)

    def drop(self) -> None:
        """An endpoint was off for a while: what it was to get is gone."""
        endpoint_id = self.draw.choice(sorted(ENDPOINTS))
        while deliveries.drop(self.tx, endpoint_id, 7):
            continue
        self.live = {key: value for key, value in self.live.items() if key[0] != endpoint_id}

    # -- what a look at every row says

    def fits(self, message_id: str, chosen: MessageFilter) -> bool:
        message = self.messages[message_id]
        return (
            (not chosen.event_types or message.event_type in chosen.event_types)
            and (chosen.channel is None or chosen.channel in (message.channels or ()))
            and (chosen.tag is None or chosen.tag in (message.tags or ()))
        )

    def made(self, endpoint_id: str, message_id: str) -> list[Attempt]:
        if not self.by_pair:
            for attempt in self.attempts:
                self.by_pair.setdefault((attempt.endpoint_id, attempt.message_id), []).append(attempt)
        return self.by_pair.get((endpoint_id, message_id), [])

    def status_of(self, endpoint_id: str, message_id: str, live: bool) -> int | None:
        made = self.made(endpoint_id, message_id)
        scheduled = self.live.get((endpoint_id, message_id, 0))
        if not made:
            waits = message_id in self.deferred or (scheduled is not None and scheduled[1] == "waiting")
            return 1 if waits and live else None
        if any(a.status == 0 for a in made):
            return 0
        if scheduled is not None and scheduled[1] == "retrying" and live:
            return 3
        return 4 if made[-1].status == 4 else 2


def pages(read: Callable[[Walk], Page[Any]], key: Callable[[Any], str], limit: int, *, up: bool) -> Iterator[str]:
    """All keys of a list, page by page: down from its top, or up from its end."""
    walk = Walk(limit, True, up)
    for _ in itertools.count():
        page = read(walk)
        found = [key(item) for item in page.items]
        assert found == sorted(found, reverse=True)
        assert len(found) == limit or page.done or page.stopped_at is not None
        yield from reversed(found) if up else found
        if page.done:
            return
        last = (page.stopped_at if not found else found[0] if up else found[-1]) or ""
        walk = Walk(limit, True, up, above=last) if up else Walk(limit, True, up, below=last)


def check(read: Callable[[Walk], Page[Any]], expected: list[str], what: Any, key: Callable[[Any], str] = lambda item: item.id) -> None:
    for limit, up in ((7, False), (50, True), (1_000, False)):
        assert list(pages(read, key, limit, up=up)) == sorted(expected, reverse=not up), (what, limit, up)


FILTERS = [
    MessageFilter(),
    *(MessageFilter((name,)) for name in (*TYPES, "never")),
    MessageFilter(("seldom", "once")),
    *(MessageFilter(channel=name) for name in (*CHANNELS, "never")),
    *(MessageFilter(tag=name) for name in (*TAGS, "never")),
    MessageFilter(("made",), "eu", None),
    MessageFilter(("paid", "made"), "us", "vip"),
]


@pytest.fixture(scope="module", params=[1, 2, 3])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(request.param)
    made.happen(400)
    assert len(made.messages) > 1_000
    assert len(made.attempts) > 1_000
    yield made
    made.connection.close()


def test_messages(world):
    for app_id, chosen in itertools.product(APPS, FILTERS):
        expected = [m.id for m in world.messages.values() if m.app_id == app_id and world.fits(m.id, chosen)]
        check(lambda walk, a=app_id, c=chosen: messages.listed(world.tx, a, walk, c, NOW_US, content=False), expected, (app_id, chosen))


@pytest.mark.parametrize("chosen", FILTERS, ids=str)
def test_attempts_of_messages_that_fit(world, chosen):
    for endpoint_id in ENDPOINTS:
        expected = [a.id for a in world.attempts if a.endpoint_id == endpoint_id and world.fits(a.message_id, chosen)]
        check(
            lambda walk, e=endpoint_id: attempts.by_endpoint(world.tx, e, walk, AttemptFilter(message=chosen), content=False),
            expected,
            (endpoint_id, chosen),
        )


def test_attempts_by_outcome(world):
    for endpoint_id, statuses, code_class in itertools.product(
        ENDPOINTS, (None, (0,), (2,), (4,), (0, 4)), (None, 0, 100, 200, 300, 400, 500)
    ):
        expected = [
            a.id
            for a in world.attempts
            if a.endpoint_id == endpoint_id
            and (statuses is None or a.status in statuses)
            and (code_class is None or a.code // 100 * 100 == code_class)
        ]
        chosen = AttemptFilter(statuses, code_class)
        check(
            lambda walk, e=endpoint_id, c=chosen: attempts.by_endpoint(world.tx, e, walk, c, content=False),
            expected,
            (endpoint_id, chosen),
        )


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("chosen", [FILTERS[0], FILTERS[3], FILTERS[7], FILTERS[-1]], ids=str)
def test_messages_by_how_they_stand_with_an_endpoint(world, chosen, live):
    for endpoint_id, app_id in ENDPOINTS.items():
        keys = [m.id for m in world.messages.values() if m.app_id == app_id and world.fits(m.id, chosen)]
        standing = {key: world.status_of(endpoint_id, key, live) for key in keys}
        reading = Reading(NOW_US, False, live)
        for statuses in (None, (0,), (2,), (4,), (0, 4)):
            expected = [key for key, status in standing.items() if status not in (None, 1) and (statuses is None or status in statuses)]
            check(
                lambda walk, e=endpoint_id, a=app_id, s=statuses, r=reading: standings.attempted(world.tx, a, e, walk, s, chosen, r),
                expected,
                (endpoint_id, statuses, chosen),
                lambda item: item[0].id,
            )
        for status in (AttemptStatus.PENDING, AttemptStatus.SENDING) if live else ():
            # One that is sent by hand before its first attempt counts as a retry already.
            expected = [
                key
                for key in keys
                if standing[key] == status
                or (
                    status is AttemptStatus.SENDING
                    and standing[key] is None
                    and world.live.get((endpoint_id, key, 0), (None, ""))[1] == "retrying"
                )
            ]
            check(
                lambda walk, e=endpoint_id, a=app_id, s=status, r=reading: standings.unfinished(world.tx, a, e, walk, s, chosen, r),
                expected,
                (endpoint_id, status, chosen),
                lambda item: item[0].id,
            )


def test_dead_letters(world):
    scopes = [Scope("org_id", "org_1"), *(Scope("app_id", a) for a in APPS), *(Scope("endpoint_id", e) for e in ENDPOINTS)]
    causes = [Chosen(cause=f"http_{code}") for code in (*CODES, 418)]
    for scope, chosen in itertools.product(scopes, [Chosen(), *causes, Chosen(("once",)), Chosen(("made", "seldom"), "http_500")]):
        expected = [
            letter.id
            for letter in world.letters.values()
            if getattr(letter, scope.column) == scope.value
            and (chosen.cause is None or letter.cause == chosen.cause)
            and (not chosen.event_types or letter.event_type in chosen.event_types)
        ]
        check(lambda walk, s=scope, c=chosen: dead_letters.listed(world.tx, s, walk, c), expected, (scope, chosen))


def test_blocks_are_made_at_all(world):
    # Else every list would be walked row by row, and be right all the same.
    for table in ("message_block", "attempt_block", "pair_block", "dead_letter_block"):
        begun = world.tx.rows(f"SELECT COUNT(*) FROM {table} WHERE label = ''")[0][0]
        assert begun > 5, table
    assert isinstance(world.connection, apsw.Connection)
