"""What only a file can do: be locked, copied, too new, full, read-only, and grow."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from ringback.clock import SystemClock
from ringback.errors import OperatorError, StoreFailure, Unavailable
from ringback.store import opening
from ringback.store.migrations.steps import migrations
from ringback.store.opening import database_path, open_store
from ringback.store.sqlite import connection
from ringback.store.sqlite.checkpoints import START_PAGES
from ringback.store.sqlite.readers import Readers
from ringback.store.sqlite.store import SqliteStore
from tests.store.conformance.shelf import Shelf
from tests.waiting import until


def url(path: Path) -> str:
    return f"sqlite:////{path}/ringback.db"


def tell(path: Path, story: Callable[[Shelf], Any], **settings: Any) -> Any:
    async def run() -> Any:
        clock = SystemClock()
        store = await open_store(url(path), clock, **settings)
        try:
            return await story(Shelf(store, clock))
        finally:
            await store.close()

    return asyncio.run(run())


async def nothing(shelf: Shelf) -> None:
    pass


def mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.mark.parametrize(
    ("text", "path"),
    [("sqlite:///ringback.db", "ringback.db"), ("sqlite:////var/a%20b.db", "/var/a b.db"), ("sqlite:///:memory:", ":memory:")],
)
def test_the_path_in_a_database_url(text, path):
    assert database_path(text) == path


@pytest.mark.parametrize("text", ["postgres://x/y", "sqlite:///", "ringback.db", "sqlite://x", ""])
def test_another_database_url_is_refused_with_what_is_allowed(text):
    with pytest.raises(OperatorError, match="sqlite:///"):
        database_path(text)


def test_a_second_server_on_one_file_is_refused_and_told_who_has_it(tmp_path):
    async def story(shelf: Shelf) -> None:
        with pytest.raises(OperatorError, match=f"in use by another ringback server .process {os.getpid()}."):
            await open_store(url(tmp_path), shelf.clock)
        await shelf.accept("ep_1")

    tell(tmp_path, story)
    tell(tmp_path, nothing)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_has_one_server_by_whatever_name_it_is_opened(tmp_path, link):
    other = tmp_path / "elsewhere"
    other.mkdir()

    async def story(shelf: Shelf) -> None:
        link(tmp_path / "ringback.db", other / "ringback.db")
        with pytest.raises(OperatorError, match="in use by another ringback server"):
            await open_store(url(other), shelf.clock)

    tell(tmp_path, story)


def test_what_lies_beside_a_database_lies_beside_the_file_that_a_link_leads_to(tmp_path):
    (tmp_path / "link.db").symlink_to("real/ringback.db")
    assert database_path(f"sqlite:////{tmp_path}/link.db") == str(tmp_path / "real/ringback.db")


def _hold(path: str, ready: Any) -> None:
    async def hold() -> None:
        store = await open_store(path, SystemClock())
        ready.set()
        await asyncio.Event().wait()
        await store.close()

    asyncio.run(hold())


def test_a_server_that_was_killed_leaves_its_file_to_the_next(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(url(tmp_path), ready))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(OperatorError, match=f"process {holder.pid}"):
        tell(tmp_path, nothing)
    holder.kill()
    holder.join(30)
    tell(tmp_path, nothing)


def test_everything_that_is_made_is_for_its_owner_alone(tmp_path):
    before = os.umask(0)
    try:

        async def story(shelf: Shelf) -> None:
            await shelf.accept("ep_1")
            assert {mode(path) for path in tmp_path.iterdir()} == {0o600}
            assert len(list(tmp_path.iterdir())) == 4, "database, lock, log and its index"

        tell(tmp_path, story)
    finally:
        os.umask(before)


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    tell(tmp_path, nothing)
    connection = sqlite3.connect(tmp_path / "ringback.db")
    connection.execute("PRAGMA user_version = 999")
    connection.commit()
    connection.close()
    for _ in range(2):
        with pytest.raises(OperatorError, match=r"schema 999.*use a newer ringback"):
            tell(tmp_path, nothing)


def older(path: Path) -> None:
    """A database as the first version left it, with something in it."""
    connection = sqlite3.connect(path / "ringback.db")
    connection.executescript(migrations()[0].sql)
    connection.execute("PRAGMA user_version = 1")
    connection.execute("INSERT INTO organisation VALUES ('org_1', 'First', 5)")
    connection.commit()
    connection.close()


def test_an_older_database_is_copied_first_and_then_migrated(tmp_path):
    older(tmp_path)

    async def story(shelf: Shelf) -> None:
        assert await shelf.rows("SELECT name FROM organisation") == [("First",)]
        assert await shelf.rows("PRAGMA user_version") == [(migrations()[-1].version,)]
        assert (await shelf.accept("ep_1")).word == "accepted"

    tell(tmp_path, story)
    (copy,) = tmp_path.glob("*.before-*")
    assert mode(copy) == 0o600
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT name FROM organisation").fetchone() == ("First",)
    connection.close()


def test_a_new_database_and_one_that_is_up_to_date_are_not_copied(tmp_path):
    tell(tmp_path, nothing)
    tell(tmp_path, nothing)
    assert list(tmp_path.glob("*.before-*")) == []


def test_a_file_that_is_no_database_is_refused_and_let_go(tmp_path):
    (tmp_path / "ringback.db").write_bytes(b"not a database, " * 500)
    for _ in range(2):
        with pytest.raises(OperatorError, match=r"ringback\.db"):
            tell(tmp_path, nothing)


def test_a_directory_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(OperatorError, match="must exist and be writable"):
        tell(tmp_path / "nowhere", nothing)


async def fill(store: SqliteStore, shelf: Shelf) -> None:
    """Let the database grow no further."""

    def stop(tx: Any) -> None:
        pages = tx.row("PRAGMA page_count")[0]
        tx.rows(f"PRAGMA max_page_count = {pages}")

    await store.write(stop)
    # What is free inside the file goes too.
    while (await shelf.accept("ep_fill", payload=b"x" * 20_000)).word == "accepted":
        pass


def test_a_full_database_refuses_what_comes_keeps_nothing_of_it_and_works_again_when_there_is_room(tmp_path):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        await fill(shelf.store, shelf)
        counts = [await shelf.count(table) for table in ("message", "delivery", "endpoint_sequence")]
        offered = [shelf.offer("ep_1", claim=True, event_id=f"e{n}", key=bytes([n]) * 16, payload=b"x" * 20_000) for n in range(5)]
        recorded = shelf.offer_records(shelf.retry(delivery, delivery.due_at + 5))
        wrote = shelf.store.write(lambda tx: tx.run("INSERT INTO endpoint_sequence VALUES ('ep_9', 1)"))
        assert isinstance(await recorded, StoreFailure)
        with pytest.raises(StoreFailure, match="full"):
            await wrote
        for heard in offered:
            await heard.done
            assert heard.word == "refused"
            assert isinstance(heard.what, StoreFailure)
        assert [await shelf.count(table) for table in ("message", "delivery", "endpoint_sequence")] == counts
        assert await shelf.count("message_event_id") == await shelf.count("idempotency") == 0
        await shelf.store.write(lambda tx: tx.rows("PRAGMA max_page_count = 1000000"))
        again = [shelf.offer("ep_1", event_id=f"e{n}", key=bytes([n]) * 16) for n in range(5)]
        await asyncio.gather(*(heard.done for heard in again))
        assert {heard.word for heard in again} == {"accepted"}
        assert await shelf.record(shelf.retry(delivery, delivery.due_at + 5)) is None
        numbers = await shelf.rows("SELECT sequence FROM delivery WHERE endpoint_id = 'ep_1' ORDER BY sequence")
        assert numbers == [(n,) for n in range(1, 7)]

    tell(tmp_path, story)


def test_a_failing_store_tells_so_once_whatever_commits_that_change_nothing_do(tmp_path, caplog):
    told = lambda: [record.message for record in caplog.records if record.message.startswith("store.")]  # noqa: E731 - asked again and again

    async def story(shelf: Shelf) -> None:
        store = shelf.store
        await fill(store, shelf)
        for _ in range(3):
            assert await store.write(lambda tx: tx.row("SELECT 1")) == (1,)
            assert (await shelf.accept("ep_fill", payload=b"x" * 20_000)).word == "refused"
        assert told() == ["store.failed"]
        await store.write(lambda tx: tx.rows("PRAGMA max_page_count = 1000000"))
        assert (await shelf.accept("ep_fill", payload=b"x" * 20_000)).word == "accepted"
        assert told() == ["store.failed", "store.recovered"]

    with caplog.at_level("INFO"):
        tell(tmp_path, story)


def test_a_lock_of_another_program_fails_commits_and_does_not_hang_them(tmp_path):
    async def story(shelf: Shelf) -> None:
        other = apsw.Connection(str(tmp_path / "ringback.db"))
        other.execute("BEGIN IMMEDIATE")
        heard = await shelf.accept("ep_1")
        assert isinstance(heard.what, StoreFailure)
        other.execute("ROLLBACK")
        other.close()
        assert (await shelf.accept("ep_1")).word == "accepted"

    tell(tmp_path, story)


def test_too_little_free_disk_refuses_messages_and_nothing_else(tmp_path):
    async def story(shelf: Shelf) -> None:
        heard = await shelf.accept("ep_1")
        assert isinstance(heard.what, StoreFailure)
        assert "min_free_disk" in str(heard.what)
        await shelf.store.write(lambda tx: tx.run("INSERT INTO endpoint_sequence VALUES ('ep_9', 1)"))

    tell(tmp_path, story, min_free_disk=1 << 60)


@pytest.mark.parametrize("name", ["ringback.db", "ringback.db-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_while_the_file_is_not_where_the_next_start_looks_for_it_messages_are_refused_and_nothing_else(tmp_path, caplog, name, replaced):
    path, aside = tmp_path / name, tmp_path / "aside"

    async def story(shelf: Shelf) -> None:
        assert (await shelf.accept("ep_1")).word == "accepted"
        path.rename(aside)
        if replaced:
            path.write_bytes(aside.read_bytes())
        await until(lambda: "database.gone" in caplog.messages)
        heard = await shelf.accept("ep_1")
        assert isinstance(heard.what, StoreFailure)
        assert "moved, removed or replaced" in str(heard.what)
        await shelf.store.write(lambda tx: tx.run("INSERT INTO endpoint_sequence VALUES ('ep_9', 1)"))
        aside.rename(path)
        await until(lambda: "database.back" in caplog.messages)
        assert (await shelf.accept("ep_1")).word == "accepted"

    with caplog.at_level("INFO"):
        tell(tmp_path, story)


def test_the_log_stays_bounded_while_writes_never_pause(tmp_path):
    async def story(shelf: Shelf) -> None:
        log = tmp_path / "ringback.db-wal"
        largest = written = 0
        payload = b"x" * 60_000
        while written < 8 * START_PAGES * 4096:
            offered = [shelf.offer("ep_1", payload=payload) for _ in range(40)]
            await asyncio.gather(*(heard.done for heard in offered))
            written += 40 * len(payload)
            largest = max(largest, log.stat().st_size)
        assert largest < 4 * START_PAGES * 4096

    tell(tmp_path, story)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"


def test_what_is_asked_of_a_connection_is_in_force(tmp_path):
    path = str(tmp_path / "ringback.db")
    writer = connection.open_writer(path)
    reader = connection.open_reader(path)
    # Full syncs, temporary tables in memory, no checkpoint by itself, and what is deleted overwritten (2 = FAST).
    wanted = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "temp_store": 2, "foreign_keys": 0, "secure_delete": 2}
    assert {name: writer.pragma(name) for name in wanted} == wanted
    assert writer.pragma("cache_size") == -connection.WRITER_CACHE_KIB
    assert (reader.pragma("query_only"), reader.pragma("cache_size"), reader.pragma("temp_store")) == (1, -connection.READER_CACHE_KIB, 2)
    reader.close()
    writer.close()


def test_a_query_past_its_deadline_is_stopped_and_its_reader_goes_on(tmp_path):
    async def story(shelf: Shelf) -> None:
        reading = Readers(str(tmp_path / "ringback.db"), deadline_s=0.05)
        stopped = await asyncio.gather(*(reading.read(lambda tx: tx.rows(ENDLESS)) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(error, Unavailable) and "deadline" in str(error) for error in stopped)
        assert await reading.read(lambda tx: tx.rows("SELECT 1")) == [(1,)]
        # None of them holds the log: all of it can be copied.
        await shelf.accept("ep_1")
        copy = apsw.Connection(str(tmp_path / "ringback.db"))
        pages, copied = copy.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        copy.close()
        await reading.close()
        assert pages == copied

    tell(tmp_path, story)


def test_more_queries_than_may_wait_are_refused_at_once(tmp_path):
    async def story(shelf: Shelf) -> None:
        reading = Readers(str(tmp_path / "ringback.db"), deadline_s=0.05, queue=2)
        running = [reading.read(lambda tx: tx.rows(ENDLESS)) for _ in range(2)]
        with pytest.raises(Unavailable, match="2 queries are waiting already"):
            while len(running) < 9:
                running += [reading.read(lambda tx: tx.rows(ENDLESS))]
        await asyncio.gather(*running, return_exceptions=True)
        assert await reading.read(lambda tx: tx.rows("SELECT 1")) == [(1,)]
        await reading.close()

    tell(tmp_path, story)


def test_a_store_can_be_opened_again_once_it_is_closed(tmp_path):
    for _ in range(3):
        tell(tmp_path, nothing)
    assert opening.database_path(url(tmp_path)).endswith("ringback.db")


def test_the_log_is_gone_after_closing(tmp_path):
    async def story(shelf: Shelf) -> None:
        await shelf.accept("ep_1")

    tell(tmp_path, story)
    assert not (tmp_path / "ringback.db-wal").exists()


def test_commits_are_observed_but_not_the_upkeep_between_them(tmp_path):
    seen: list[tuple[float, int]] = []

    async def story(shelf: Shelf) -> None:
        await shelf.accept("ep_1")
        await until(lambda: len(seen) == 1)

    tell(tmp_path, story, observe=lambda seconds, rows: seen.append((seconds, rows)))
    ((seconds, rows),) = seen
    assert seconds > 0
    assert rows == 1
