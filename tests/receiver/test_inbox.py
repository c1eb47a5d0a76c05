"""Does an event run once? With the inbox that comes with the library, and with one in a database and a transaction of the user's own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringback.errors import StoreFailure
from ringback.receiver import Claim, Event, EventKey, Receiver, Reply, SqliteInbox
from ringback.receiver.conformance import check
from ringback.receiver.testing import sign
from tests.receiver.clocks import StandingClock
from tests.waiting import until, wait_until

HOUR_S = 3_600


def send(receiver: Receiver, number: int = 1, **more: Any) -> Reply:
    made = sign("stripe", "secret", {"id": f"evt_{number}", "type": "a"} | more)
    return receiver.handle(receiver.request(made.headers, made.body, "POST", ""))


def test_the_sqlite_inbox_keeps_every_promise_of_an_inbox(tmp_path: Path) -> None:
    check(lambda: SqliteInbox(tmp_path / "inbox.db"))


def test_the_conformance_check_finds_an_inbox_that_forgets(tmp_path: Path) -> None:
    class Forgetful(SqliteInbox):
        def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> None:
            self.release(key, claim)

    with pytest.raises(AssertionError, match="an event that ran was new"):
        check(lambda: Forgetful(tmp_path / "inbox.db"))


def test_the_conformance_check_finds_an_inbox_that_looks_before_it_writes(tmp_path: Path) -> None:
    class Racing(SqliteInbox):
        """All may look before one of them writes."""

        def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim:
            with sqlite3.connect(tmp_path / "inbox.db") as connection:
                found = connection.execute("SELECT 1 FROM received_event WHERE event_id = ?", (key.event_id,)).fetchone()
            connection.close()
            if found is None and threading.current_thread() is not test:
                met.wait(20)
                return Claim("new")
            return super().claim(key, now_us, lease_until_us)

    test, met = threading.current_thread(), threading.Barrier(8)
    SqliteInbox(tmp_path / "inbox.db").claim(EventKey("r", "1", b""), 1, 2)
    with pytest.raises(AssertionError, match="of 8 claims at once 8 ran"):
        check(lambda: Racing(tmp_path / "inbox.db"))


class OwnTransaction:
    """An inbox in the database of a shop: the mark is a row in the transaction that the handler writes in as well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS inbox (receiver, event_id, digest, reply, until_us, PRIMARY KEY (receiver, event_id, digest))"
            )
            connection.execute("CREATE TABLE IF NOT EXISTS paid (invoice)")
        connection.close()

    def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim:
        connection = sqlite3.connect(self._path, timeout=20, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM inbox WHERE until_us <= ?", (now_us,))
        row = (key.receiver, key.event_id, key.digest, b"", lease_until_us)
        is_new = connection.execute("INSERT INTO inbox VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row).rowcount == 1
        known = connection.execute("SELECT digest, reply FROM inbox WHERE receiver = ? AND event_id = ?", (key.receiver, key.event_id))
        replies = dict(known.fetchall())
        if not is_new:
            connection.execute("ROLLBACK")
            connection.close()
            return Claim("done", reply=replies[key.digest])
        return Claim("new", conflict=len(replies) > 1, context=connection)

    def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> None:
        done = "UPDATE inbox SET reply = ?, until_us = ? WHERE receiver = ? AND event_id = ? AND digest = ?"
        claim.context.execute(done, (reply, keep_until_us, key.receiver, key.event_id, key.digest))
        claim.context.execute("COMMIT")
        claim.context.close()

    def release(self, key: EventKey, claim: Claim) -> None:
        claim.context.execute("ROLLBACK")
        claim.context.close()


class OwnAsyncTransaction(OwnTransaction):
    """The same behind coroutines, as drivers of asyncio have them."""

    async def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim:  # type: ignore[override]  # an inbox may be of coroutines
        return await asyncio.to_thread(super().claim, key, now_us, lease_until_us)

    async def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> None:  # type: ignore[override]  # as above
        await asyncio.to_thread(super().finish, key, claim, reply, keep_until_us)

    async def release(self, key: EventKey, claim: Claim) -> None:  # type: ignore[override]  # as above
        await asyncio.to_thread(super().release, key, claim)


@pytest.mark.parametrize("kind", [OwnTransaction, OwnAsyncTransaction])
def test_an_inbox_of_ones_own_can_be_checked(tmp_path: Path, kind: type[OwnTransaction]) -> None:
    check(lambda: kind(tmp_path / "shop.db"), transactional=True)


def test_in_ones_own_transaction_mark_and_work_commit_together_or_not_at_all(tmp_path: Path) -> None:
    receiver, fails = Receiver("stripe", "secret", inbox=OwnTransaction(tmp_path / "shop.db")), [True]

    @receiver.on("*")
    def paid(event: Event) -> None:
        event.context.execute("INSERT INTO paid VALUES (?)", (event.id,))
        if fails:
            fails.pop()
            raise RuntimeError("after the write")

    assert [send(receiver).status for _ in range(3)] == [500, 200, 200]
    assert receiver.counts == {"failed": 1, "handled": 1, "duplicate": 1}
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        assert connection.execute("SELECT * FROM paid").fetchall() == [("evt_1",)]
    connection.close()


def test_of_the_same_event_many_times_at_once_one_runs_and_the_others_are_sent_away(tmp_path: Path) -> None:
    receiver, ran, gate = Receiver("stripe", "secret", inbox=SqliteInbox(tmp_path / "inbox.db")), list[str | None](), threading.Event()

    @receiver.on("*")
    def slow(event: Event) -> None:
        ran.append(event.id)
        assert gate.wait(20)

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(send, receiver) for _ in range(6)]
        wait_until(lambda: receiver.counts.get("running") == 5, what="all others were sent away")
        gate.set()
        statuses = sorted(answer.result(20).status for answer in answers)
    assert (statuses, ran) == ([200] + [503] * 5, ["evt_1"])
    assert send(receiver).status == 200 and ran == ["evt_1"]


def test_a_duplicate_gets_the_answer_that_the_first_one_got(tmp_path: Path) -> None:
    receiver, numbers = Receiver("stripe", "secret", inbox=SqliteInbox(tmp_path / "inbox.db")), iter(range(10))
    receiver.on("*")(lambda event: {"number": next(numbers)})
    assert [send(receiver).body for _ in range(2)] == [b'{"number":0}'] * 2


@pytest.mark.parametrize("way", ["handle", "handle_async"])
def test_past_its_deadline_a_handler_runs_on_and_the_next_try_gets_its_answer(tmp_path: Path, way: str) -> None:
    deadline = timedelta(milliseconds=50)
    receiver = Receiver("stripe", "secret", inbox=SqliteInbox(tmp_path / "inbox.db"), deadline=deadline)
    gate, ran = threading.Event(), list[str | None]()

    @receiver.on("*")
    def slow(event: Event) -> str:
        ran.append(event.id)
        assert gate.wait(20)
        return "at last"

    made = sign("stripe", "secret", {"id": "evt_1", "type": "a"})
    request = receiver.request(made.headers, made.body, "POST", "")

    async def ask() -> list[int]:
        asked = [(await receiver.handle_async(request)).status for _ in range(2)]
        gate.set()
        await until(lambda: receiver.counts.get("handled"), what="it ran on")
        return asked

    if way == "handle_async":
        statuses = asyncio.run(ask())
    else:
        statuses = [receiver.handle(request).status for _ in range(2)]
        gate.set()
    wait_until(lambda: receiver.handle(request).body == b"at last", what="the next try gets the answer")
    assert (statuses, ran) == ([503, 503], ["evt_1"])
    assert receiver.counts["late"] >= 1


def test_a_failed_run_lets_the_retry_through(tmp_path: Path) -> None:
    receiver, outcomes = Receiver("stripe", "secret", inbox=SqliteInbox(tmp_path / "inbox.db")), iter([RuntimeError(), None])

    @receiver.on("*")
    async def handler(event: Event) -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    assert [send(receiver).status for _ in range(3)] == [500, 200, 200]


def test_another_body_under_a_known_id_runs_and_is_flagged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    receiver, seen = Receiver("stripe", "secret", inbox=SqliteInbox(tmp_path / "inbox.db")), list[bool]()
    receiver.on("*")(lambda event: seen.append(event.conflict))
    for amount in (1, 2, 2):
        assert send(receiver, amount=amount).status == 200
    assert seen == [False, True]
    assert "another body under the known id evt_1" in caplog.text


def test_events_are_remembered_for_as_long_as_providers_try_again(tmp_path: Path) -> None:
    clock = StandingClock()
    inbox, ran = SqliteInbox(tmp_path / "inbox.db"), list[str | None]()
    receiver = Receiver("stripe", "secret", inbox=inbox, clock=clock, tolerance=None)
    receiver.on("*")(lambda event: ran.append(event.id))
    body = b'{"id":"evt_1","type":"a"}'
    for hours, runs in ((0, 1), (75, 1), (77, 2)):
        clock.now_s = StandingClock().now_s + hours * HOUR_S
        # Sent anew, and signed anew, as providers do.
        made = sign("stripe", "secret", body, at=_moment(clock))
        assert receiver.handle(receiver.request(made.headers, made.body, "POST", "")).status == 200
        assert len(ran) == runs, hours


def _moment(clock: StandingClock) -> Any:
    from ringback.clock import to_datetime

    return to_datetime(clock.now_us())


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    inbox, ran = SqliteInbox(tmp_path / "inbox.db", max_events=50), list[str | None]()
    receiver = Receiver("stripe", "secret", inbox=inbox)
    receiver.on("*")(lambda event: ran.append(event.id))
    for number in range(120):
        send(receiver, number)
    with sqlite3.connect(tmp_path / "inbox.db") as connection:
        assert connection.execute("SELECT count(*) FROM received_event").fetchone()[0] <= 51
    connection.close()
    assert send(receiver, 119).status == 200 and len(ran) == 120


def test_what_is_over_leaves_the_file_with_what_comes(tmp_path: Path) -> None:
    clock = StandingClock()
    inbox = SqliteInbox(tmp_path / "inbox.db")

    def claim(number: int) -> None:
        key = EventKey("r", str(number), b"d")
        inbox.finish(key, inbox.claim(key, clock.now_us(), clock.now_us() + 1), b"", clock.now_us() + 76 * HOUR_S * 1_000_000)

    for number in range(40):
        claim(number)
    clock.now_s += 80 * HOUR_S
    for number in range(100, 103):
        claim(number)
    with sqlite3.connect(tmp_path / "inbox.db") as connection:
        assert connection.execute("SELECT count(*) FROM received_event").fetchone()[0] == 3
    connection.close()


def _claims(path: Path, barrier: Any, results: Any) -> None:
    inbox, won = SqliteInbox(path), 0
    for number in range(15):
        key = EventKey("r", str(number), b"d")
        barrier.wait(20)
        claim = inbox.claim(key, 1, 1_000)
        if claim.state == "new":
            won += 1
            inbox.finish(key, claim, b"", 10_000)
    results.put(won)


def test_processes_share_the_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_claims, args=(tmp_path / "inbox.db", barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert sum(results.get(timeout=30) for _ in processes) == 15
    for process in processes:
        process.join(20)
        assert process.exitcode == 0


def test_a_connection_is_not_carried_into_a_child_process(tmp_path: Path) -> None:
    inbox, key = SqliteInbox(tmp_path / "inbox.db"), EventKey("r", "1", b"d")
    with inbox._database.transaction() as connection:
        # Seen by this connection alone.
        connection.execute("CREATE TEMP TABLE own (a)")
    inbox.claim(key, 1, 10)
    # Servers that fork after loading the program do just this.
    child = os.fork()
    if not child:
        os._exit(_as_child(inbox, key))
    assert os.waitpid(child, 0)[1] == 0
    assert inbox.claim(EventKey("r", "2", b"d"), 3, 10).state == "running"


def _as_child(inbox: SqliteInbox, key: EventKey) -> int:
    states = [inbox.claim(key, 2, 10).state, inbox.claim(EventKey("r", "2", b"d"), 2, 10).state]
    with inbox._database.transaction() as connection:
        carried = connection.execute("SELECT count(*) FROM temp.sqlite_master").fetchone()[0]
    return 0 if states == ["running", "new"] and not carried else 1


def test_a_file_that_cannot_be_written_is_told_as_such_and_answered_503(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inbox = SqliteInbox(tmp_path / "missing" / "inbox.db")
    with pytest.raises(StoreFailure, match="could not be written"):
        inbox.claim(EventKey("r", "1", b""), 1, 2)
    receiver = Receiver("stripe", "secret", inbox=inbox)
    receiver.on("*")(lambda event: None)
    assert send(receiver).status == 503
    (tmp_path / "missing").mkdir()
    assert send(receiver).status == 200


def test_two_receivers_of_one_provider_need_names_of_their_own(tmp_path: Path) -> None:
    inbox, ran = SqliteInbox(tmp_path / "inbox.db"), list[str]()
    receivers = [Receiver("stripe", "secret", inbox=inbox, name=name) for name in ("live", "test")]
    for receiver in receivers:
        name = receiver.name

        def handler(event: Event, name: str = name) -> None:
            ran.append(name)

        receiver.on("*")(handler)
        send(receiver)
    assert ran == ["live", "test"]


def test_a_full_disk_is_told_as_such_and_once_there_is_room_the_event_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db")
    receiver = Receiver("stripe", "secret", inbox=inbox, mode="stored")
    with inbox._database.transaction() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    # Ends with the connection: the next one finds room.
    connection.execute(f"PRAGMA max_page_count = {pages}")
    assert send(receiver, text="x" * 100_000).status == 503
    assert "could not be written: database or disk is full" in caplog.text
    assert inbox.queue.waiting() == 0
    assert send(receiver, text="x" * 100_000).status == 200
    assert inbox.queue.waiting() == 1


def test_a_file_that_was_read_only_is_written_when_that_is_mended(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db")
    receiver, ran = Receiver("stripe", "secret", inbox=inbox), list[str | None]()
    receiver.on("*")(lambda event: ran.append(event.id))
    with inbox._database.transaction():
        pass
    # A connection that can only read, as one is that was opened while the file could only be read.
    inbox._database._connection = sqlite3.connect(
        f"file:{tmp_path}/inbox.db?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    assert [send(receiver).status for _ in range(2)] == [503, 200]
    assert ran == ["evt_1"]


def test_threads_do_not_queue_for_ever_behind_one_that_keeps_the_file(tmp_path: Path) -> None:
    inbox, kept, gate = SqliteInbox(tmp_path / "inbox.db"), threading.Event(), threading.Event()

    def keep() -> None:
        with inbox._database.transaction():
            kept.set()
            assert gate.wait(20)

    keeper = threading.Thread(target=keep)
    keeper.start()
    assert kept.wait(20)
    try:
        with pytest.raises(StoreFailure, match="other threads have kept it"):
            inbox.claim(EventKey("r", "1", b""), 1, 2)
    finally:
        gate.set()
        keeper.join(20)
    assert inbox.claim(EventKey("r", "1", b""), 1, 2).state == "new"


def test_a_fork_waits_for_what_is_written_and_parent_and_child_keep_each_other_out(tmp_path: Path) -> None:
    inbox, kept, forking = SqliteInbox(tmp_path / "inbox.db"), threading.Event(), threading.Event()
    receiver = Receiver("stripe", "secret", inbox=inbox, mode="stored")
    send(receiver, 1)

    def keep() -> None:
        with inbox._database.transaction() as connection:
            connection.execute("UPDATE queued_event SET error = 'kept'")
            kept.set()
            assert forking.wait(20)

    keeper = threading.Thread(target=keep)
    keeper.start()
    assert kept.wait(20)
    threading.Timer(0.1, forking.set).start()
    child = os.fork()
    if not child:
        try:
            # As long as the child has the file open, the parent's end must not take the log away under it.
            send(receiver, 2)
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0 if send(receiver, 3).status == 200 else 1)
        finally:
            os._exit(2)
    keeper.join(20)
    os.waitpid(child, os.WUNTRACED)
    inbox.queue.waiting()
    inbox.close()
    os.kill(child, signal.SIGCONT)
    assert os.waitpid(child, 0)[1] == 0
    assert SqliteInbox(tmp_path / "inbox.db").queue.waiting() == 3


@pytest.mark.parametrize("path", [":memory:", "", "file:inbox.db?mode=memory"])
def test_an_inbox_that_would_not_outlive_its_process_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="needs the path of a file"):
        SqliteInbox(path)
