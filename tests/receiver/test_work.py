"""What becomes of events that were acknowledged before they ran? A worker runs them until they ran or are dead letters."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringback.errors import NotFound
from ringback.receiver import Event, Receiver, Reply, SqliteInbox, Unavailable, Worker, asgi
from ringback.receiver.queue import CANNOT_READ, VANISHED
from ringback.receiver.testing import sign
from tests.receiver.serving import serve_asgi
from tests.waiting import wait_until


class Shop:
    """A receiver that stores, with an inbox of its own."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.inbox = SqliteInbox(directory / "inbox.db", **options)
        self.queue = self.inbox.queue
        self.receiver = Receiver("stripe", "secret", inbox=self.inbox, mode="stored")
        self.ran: list[tuple[str | None, int]] = []
        self.failures: list[Exception] = []

        @self.receiver.on("sync")
        def on_thread(event: Event) -> None:
            self.run(event)

        @self.receiver.on("async")
        async def on_loop(event: Event) -> None:
            await asyncio.sleep(0)
            self.run(event)

    def run(self, event: Event) -> None:
        self.ran.append((event.id, event.attempt))
        if self.failures:
            raise self.failures.pop()

    def send(self, number: int = 1, kind: str = "sync", **more: Any) -> Reply:
        made = sign("stripe", "secret", {"id": f"evt_{number}", "type": kind} | more)
        return self.receiver.handle(self.receiver.request(made.headers, made.body, "POST", ""))

    def worker(self, **options: Any) -> Worker:
        return Worker(self.receiver, **{"schedule": (0, 0), "look_every_s": 0.02} | options)

    def waiting(self) -> int:
        return self.queue.waiting()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_an_event_is_acknowledged_when_it_is_on_disk_and_run_by_a_worker(shop: Shop) -> None:
    assert [shop.send(1), shop.send(2, "async")] == [Reply(200, b"{}", "application/json")] * 2
    assert (shop.ran, shop.waiting()) == ([], 2)
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="both ran")
    assert sorted(shop.ran) == [("evt_1", 1), ("evt_2", 1)]
    assert shop.receiver.counts == {"stored": 2, "handled": 2}


@pytest.mark.parametrize("spoilt", [b"", b"\xc1", b"\x93\x01\x02\x03", "text"], ids=str)
def test_what_cannot_be_read_is_set_aside_at_once_and_holds_up_no_other(
    shop: Shop, tmp_path: Path, spoilt: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        shop.send(number)
    with sqlite3.connect(tmp_path / "inbox.db") as connection:
        connection.execute("UPDATE queued_event SET event = ? WHERE event_id IN ('evt_1', 'evt_2')", (spoilt,))
    connection.close()
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="the third ran, and the others are set aside")
    assert shop.ran == [("evt_3", 1)]
    letters = shop.queue.dead_letters()
    assert [(letter.event.id, letter.event.type, letter.attempts) for letter in letters] == [("evt_1", "", 1), ("evt_2", "", 1)]
    assert all(letter.error.startswith(CANNOT_READ) for letter in letters) and b"evt_1" in letters[0].event.raw
    assert caplog.text.count(CANNOT_READ) == 2
    # Brought back, it is set aside again; discarded, it is gone.
    shop.queue.requeue(letters[0].id)
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="it is set aside again")
    assert shop.queue.discard(*[letter.id for letter in letters]) == 2


def test_a_worker_that_sleeps_is_woken_by_what_its_process_stores(shop: Shop) -> None:
    # It looks by itself long after the test has given up.
    with shop.worker(look_every_s=300):
        wait_until(lambda: shop.send(1).status == 200)
        wait_until(lambda: not shop.waiting(), what="it ran")


def test_the_event_of_a_worker_is_the_one_that_came(shop: Shop) -> None:
    seen = list[Event]()
    shop.receiver.on("exact")(seen.append)
    body = b'{ "id":"evt_1", "type" : "exact", "big": 9007199254740993 }'
    made = sign("stripe", "secret", body, headers={"X-Odd": "\u00e9"})
    came = shop.receiver.verify(made.headers, made.body)
    shop.receiver.handle(shop.receiver.request(made.headers, made.body, "POST", ""))
    with shop.worker():
        wait_until(lambda: seen, what="it ran")
    (event,) = seen
    assert (event.raw, event.type, event.signed_at, event.secret_index) == (body, "exact", came.signed_at, 0)
    assert (event.header("x-odd"), event.verified, event.data["big"]) == ("\u00e9", True, 9007199254740993)


def test_a_duplicate_is_stored_once(shop: Shop) -> None:
    assert [shop.send(1).status for _ in range(3)] == [200] * 3
    assert shop.waiting() == 1
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="it ran")
    assert shop.send(1).status == 200
    assert (shop.waiting(), shop.ran) == (0, [("evt_1", 1)])
    assert shop.receiver.counts == {"stored": 1, "duplicate": 3, "handled": 1}


def test_another_body_under_a_known_id_is_stored_and_flagged(shop: Shop) -> None:
    seen = list[bool]()
    shop.receiver.on("flagged")(lambda event: seen.append(event.conflict))
    for amount in (1, 2):
        shop.send(1, "flagged", amount=amount)
    with shop.worker(concurrency=1):
        wait_until(lambda: len(seen) == 2, what="both ran")
    assert seen == [False, True]


def test_a_failure_is_tried_again_and_the_handler_sees_which_attempt_it_is(shop: Shop) -> None:
    shop.failures = [RuntimeError("second"), RuntimeError("first")]
    shop.send(1, "async")
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="the third attempt ran")
    assert shop.ran == [("evt_1", 1), ("evt_1", 2), ("evt_1", 3)]
    assert shop.receiver.counts == {"stored": 1, "failed": 2, "handled": 1}
    assert shop.queue.dead_letters() == []


def test_what_has_used_up_its_attempts_is_a_dead_letter_that_can_be_queued_again(shop: Shop) -> None:
    shop.failures = [RuntimeError(f"no {number}") for number in range(4)]
    shop.send(1)
    shop.send(2, kind="sync")
    with shop.worker(schedule=(0,)) as worker:
        wait_until(lambda: len(shop.queue.dead_letters()) == 2, what="both are dead")
        letters = shop.queue.dead_letters()
        assert {letter.event.id for letter in letters} == {"evt_1", "evt_2"}
        assert [letter.attempts for letter in letters] == [2, 2]
        assert all(letter.error.startswith("RuntimeError: no ") for letter in letters)
        assert [letter.id for letter in shop.queue.dead_letters(after=letters[0].id)] == [letters[1].id]
        with pytest.raises(NotFound, match="999 is no dead letter"):
            shop.queue.requeue(letters[0].id, 999)
        assert len(shop.queue.dead_letters()) == 2
        assert shop.queue.requeue(letters[0].id) == 1
        wait_until(lambda: len(shop.queue.dead_letters()) == 1 and not shop.waiting(), what="one ran after all")
        assert shop.queue.requeue() == 1
        wait_until(lambda: not shop.queue.dead_letters() and not shop.waiting(), what="the other one too")
        assert isinstance(worker, Worker)


def test_a_dead_letter_can_be_discarded(shop: Shop) -> None:
    shop.failures = [RuntimeError()]
    shop.send(1)
    with shop.worker(schedule=()):
        (letter,) = wait_until(shop.queue.dead_letters, what="it is dead")
    with pytest.raises(ValueError, match="name the dead letters"):
        shop.queue.discard()
    assert shop.queue.discard(letter.id) == 1
    assert shop.queue.dead_letters() == []


def test_a_provider_s_retry_brings_a_dead_letter_back(shop: Shop) -> None:
    shop.failures = [RuntimeError()]
    shop.send(1)
    with shop.worker(schedule=()):
        wait_until(shop.queue.dead_letters, what="it is dead")
        assert shop.send(1).status == 200
        wait_until(lambda: len(shop.ran) == 2 and not shop.waiting(), what="it ran")
    assert shop.queue.dead_letters() == []


def test_one_event_that_always_fails_holds_up_no_other(shop: Shop) -> None:
    shop.receiver.on("poison")(lambda event: 1 / 0)
    shop.send(0, "poison")
    for number in range(1, 6):
        shop.send(number)
    with shop.worker(concurrency=1, schedule=(3_600,)):
        wait_until(lambda: len(shop.ran) == 5, what="all others ran")
    assert shop.waiting() == 1


def test_a_handler_says_when_to_try_again(shop: Shop) -> None:
    shop.failures = [Unavailable("closed", retry_after_s=3_600)]
    shop.send(1)
    with shop.worker():
        wait_until(lambda: shop.receiver.counts.get("failed") == 1, what="it failed")
    assert shop.queue.next_due_us() is not None
    due_in_s = (shop.queue.next_due_us() or 0) / 1_000_000 - shop.receiver.clock.now_us() / 1_000_000
    assert 3_500 < due_in_s <= 3_600


def test_a_worker_that_lives_keeps_its_lease_and_one_that_is_gone_loses_it(shop: Shop) -> None:
    shop.send(1)
    now_us = shop.receiver.clock.now_us()
    taken = shop.queue.take(("stripe",), now_us, now_us + 1_000)
    assert taken is not None and taken.attempts == 1
    assert shop.queue.take(("stripe",), now_us, now_us + 1_000) is None
    shop.queue.renew([taken], now_us + 5_000)
    assert shop.queue.take(("stripe",), now_us + 4_999, now_us + 9_000) is None
    again = shop.queue.take(("stripe",), now_us + 5_000, now_us + 9_000)
    assert again is not None and again.attempts == 2
    # The first one comes back late: what it says counts no more.
    shop.queue.bury(taken, now_us, "late")
    shop.queue.done(taken)
    shop.queue.retry(taken, 0, "late")
    assert (shop.waiting(), shop.queue.dead_letters()) == (1, [])
    shop.queue.done(again)
    assert shop.waiting() == 0


def test_a_handler_that_takes_longer_than_the_lease_runs_once(shop: Shop) -> None:
    gate, other = threading.Event(), Shop(shop.queue._database.path.parent)

    @shop.receiver.on("long")
    def long(event: Event) -> None:
        shop.run(event)
        assert gate.wait(20)

    other.receiver.on("long")(other.run)
    shop.send(1, "long")
    # Long enough that a slow disk does not lose it between two renewals.
    lease = timedelta(seconds=3)
    with shop.worker(lease=lease):
        wait_until(lambda: shop.ran, what="it runs")
        first_us = shop.queue.next_due_us()
        with other.worker(lease=lease):
            wait_until(lambda: (shop.queue.next_due_us() or 0) > (first_us or 0) + 1_500_000, what="the lease was renewed twice")
            gate.set()
            wait_until(lambda: not shop.waiting(), what="it ended")
    assert (shop.ran, other.ran) == ([("evt_1", 1)], [])


def test_an_event_that_kills_its_process_each_time_becomes_a_dead_letter(shop: Shop) -> None:
    shop.send(1)
    for _ in range(3):
        assert shop.queue.take(("stripe",), 1 << 60, 1) is not None
    with shop.worker(schedule=(0, 0)):
        (letter,) = wait_until(shop.queue.dead_letters, what="it is dead")
    assert (letter.error, shop.ran) == (VANISHED, [])


def test_what_waits_holds_no_credentials_and_the_file_is_for_its_owner(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db")
    receiver = Receiver("telegram", "bot-secret", inbox=inbox, mode="stored")
    seen = list[Event]()
    receiver.on("*")(seen.append)
    made = sign("telegram", "bot-secret", {"update_id": 1}, headers={"Cookie": "a=bot-secret", "X-Kept": "yes"})
    assert receiver.handle(receiver.request(made.headers, made.body, "POST", "")).status == 200
    files = list(tmp_path.iterdir())
    assert not [file for file in files if b"bot-secret" in file.read_bytes()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    with Worker(receiver):
        wait_until(lambda: seen, what="it ran")
    assert seen[0].header("x-kept") == "yes"


def test_a_full_queue_sends_the_provider_away(tmp_path: Path) -> None:
    shop = Shop(tmp_path, max_queued=2)
    assert [shop.send(number).status for number in range(3)] == [200, 200, 503]
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="they ran")
    assert shop.send(2).status == 200


def test_a_batch_is_stored_as_a_whole(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db", max_queued=2)
    receiver = Receiver("hubspot", "secret", inbox=inbox, mode="stored")
    receiver.on("contact.*")(lambda event: None)
    items = [{"eventId": number, "subscriptionType": "contact.creation"} for number in range(3)]
    for batch, status, stored in ((items, 503, 0), (items[:2], 200, 2)):
        made = sign("hubspot", "secret", batch)
        assert receiver.handle(receiver.request(made.headers, made.body, "POST", made.url)).status == status
        assert inbox.queue.waiting() == stored


def test_what_has_no_handler_is_not_stored(shop: Shop) -> None:
    assert shop.send(1, "unknown").status == 200
    assert (shop.waiting(), shop.receiver.counts) == (0, {"unknown": 1})


def test_a_process_without_handlers_stores_everything_for_the_one_that_has_them(shop: Shop) -> None:
    door = Receiver("stripe", "secret", inbox=SqliteInbox(shop.queue._database.path), mode="stored")
    for number, kind in enumerate(("sync", "unknown")):
        made = sign("stripe", "secret", {"id": f"evt_{number}", "type": kind})
        assert door.handle(door.request(made.headers, made.body, "POST", "")).status == 200
    assert (door.counts, shop.waiting()) == ({"stored": 2}, 2)
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="both were taken")
    assert (shop.ran, shop.receiver.counts) == ([("evt_0", 1)], {"handled": 1, "unknown": 1})


def test_a_worker_needs_receivers_that_store_in_one_inbox(tmp_path: Path) -> None:
    shop, other = Shop(tmp_path), Shop(tmp_path)
    with pytest.raises(ValueError, match="mode='stored'"):
        Worker(Receiver("stripe", "secret"))
    with pytest.raises(ValueError, match="share one SqliteInbox"):
        Worker(shop.receiver, other.receiver)
    twin = Receiver("stripe", "secret", inbox=shop.inbox, mode="stored")
    with pytest.raises(ValueError, match="same name"):
        Worker(shop.receiver, twin)


def test_a_worker_leaves_events_of_other_receivers_alone(shop: Shop) -> None:
    github = Receiver("github", "secret", inbox=shop.inbox, mode="stored")
    github.on("*")(lambda event: None)
    made = sign("github", "secret", b"{}", event_id="d-1", event_type="push")
    github.handle(github.request(made.headers, made.body, "POST", ""))
    shop.send(1)
    with shop.worker():
        wait_until(lambda: shop.ran, what="its own ran")
    assert shop.waiting() == 1
    with Worker(shop.receiver, github, look_every_s=0.02):
        wait_until(lambda: not shop.waiting(), what="the other one ran")


def test_a_worker_waits_for_what_runs_when_it_is_stopped(shop: Shop) -> None:
    started, gate = threading.Event(), threading.Event()

    @shop.receiver.on("slow")
    def slow(event: Event) -> None:
        started.set()
        assert gate.wait(20)
        shop.run(event)

    shop.send(1, "slow")
    worker = shop.worker()
    worker.start()
    with pytest.raises(RuntimeError, match="runs already"):
        worker.start()
    assert started.wait(20)
    worker.stop()
    gate.set()
    worker.join(20)
    assert (shop.ran, shop.waiting()) == ([("evt_1", 1)], 0)


def test_a_worker_lives_with_an_asgi_server(shop: Shop) -> None:
    running = serve_asgi(asgi.ReceiverApp({"/in": shop.receiver}, worker=shop.worker()))
    try:
        made = sign("stripe", "secret", {"id": "evt_1", "type": "async"})
        assert running.call("POST", "/in", made.headers, made.body).status == 200
        wait_until(lambda: shop.ran, what="it ran")
    finally:
        running.close()
    shop.send(2)
    assert shop.waiting() == 1


def test_a_worker_runs_inside_a_coroutine_too(shop: Shop) -> None:
    shop.send(1, "async")

    async def main() -> None:
        async with shop.worker():
            while await asyncio.to_thread(shop.waiting):
                await asyncio.sleep(0)

    asyncio.run(main())
    assert shop.ran == [("evt_1", 1)]


def test_a_worker_whose_file_cannot_be_read_for_a_while_goes_on(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.send(1)
    with sqlite3.connect(shop.queue._database.path) as connection:
        connection.execute("ALTER TABLE queued_event RENAME TO hidden")
    with shop.worker():
        wait_until(lambda: "could not read its queue" in caplog.text, what="it was told")
        with connection:
            connection.execute("ALTER TABLE hidden RENAME TO queued_event")
        wait_until(lambda: shop.ran, what="it ran")
    connection.close()


def test_a_worker_can_be_run_again_when_it_was_stopped(shop: Shop) -> None:
    worker = shop.worker()
    for number in (1, 2):
        shop.send(number, "async")
        running = serve_asgi(asgi.ReceiverApp(shop.receiver, worker=worker))
        try:
            wait_until(lambda number=number: (f"evt_{number}", 1) in shop.ran, what="it ran")
        finally:
            running.close()


def test_an_answer_that_is_not_2xx_is_tried_again(shop: Shop) -> None:
    answers = iter([Reply(503), None])

    @shop.receiver.on("refused")
    def refused(event: Event) -> Reply | None:
        shop.run(event)
        return next(answers)

    shop.send(1, "refused")
    with shop.worker():
        wait_until(lambda: not shop.waiting(), what="it ran")
    assert shop.ran == [("evt_1", 1), ("evt_1", 2)]


def test_a_process_that_forgot_its_handlers_throws_no_event_away(shop: Shop) -> None:
    shop.send()
    forgetful = Receiver("stripe", "secret", inbox=shop.inbox, mode="stored")
    with Worker(forgetful, schedule=(), look_every_s=0.02):
        wait_until(lambda: shop.queue.dead_letters(), what="it is a dead letter")
    assert "has no handlers in this process" in shop.queue.dead_letters()[0].error
    shop.queue.requeue()
    with shop.worker():
        wait_until(lambda: shop.ran, what="it ran where there are handlers")


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"lease": timedelta(0)}])
def test_a_worker_that_would_take_nothing_or_everything_at_once_is_not_made(shop: Shop, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a worker needs"):
        shop.worker(**options)
