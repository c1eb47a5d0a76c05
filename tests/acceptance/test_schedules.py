"""Is a due minute sent once when the server is killed in the middle of it? Sources that were due while nothing ran, and SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import secrets
import signal
import sqlite3
import time

from ringback.ids import IdMaker
from ringback.model.applications import TokenKind
from ringback.services.directory import Directory
from ringback.services.gateway import SourceDirectory
from ringback.services.sources import SourceIn, Sources
from ringback.services.tokens import DEFAULT_ORG_ID, Principal
from ringback.store.opening import open_store
from ringback.store.vault import Vault, key_from_file
from ringback.telemetry.prometheus import Metrics
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# Sources that are due at once: a few commits full, so that a kill falls between them.
SOURCES = 150
WHO = Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "key_test")


class Earlier:
    """The clock of two hours ago."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000 - 7_200_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


async def make_sources(database: pathlib.Path, app_id: str, schedule: str) -> None:
    """Sources that were made two hours ago, in the database of a server that does not run."""
    clock, make_id = Earlier(), IdMaker()
    store = await open_store(f"sqlite:///{database}", clock)
    vault = Vault(key_from_file(pathlib.Path(f"{database}.key")))
    directory = Directory(store, vault)
    known = SourceDirectory(store, vault, clock, directory, Metrics(0))
    sources = Sources(store, vault, clock, make_id, known, directory, secrets.randbits)
    wanted = SourceIn(name="n", type="cron", schedule=schedule, payload='{"run": true}')
    await asyncio.gather(*(sources.create(WHO, app_id, wanted) for _ in range(SOURCES)))
    await store.close()


def sent(database: pathlib.Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        count: int = opened.execute("SELECT COUNT(*) FROM message").fetchone()[0]
        return count


def test_what_was_due_while_nothing_ran_is_sent_once_each_though_the_server_is_killed_meanwhile(
    serve: Serve, receiver: Receiver, tmp_path: pathlib.Path
) -> None:
    running = serve()
    app_id = running.make("/app", {"name": "timed"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    assert running.stop() == 0
    hour_ago = time.gmtime(time.time() - 3_600)
    asyncio.run(make_sources(running.database, app_id, f"{hour_ago.tm_min} {hour_ago.tm_hour} * * *"))

    killed = serve(port=running.port, wait=False)
    wait_until(lambda: sent(running.database) > 0, what="the first is sent")
    killed.process.send_signal(signal.SIGKILL)
    assert killed.process.wait(10) == -signal.SIGKILL
    serve(port=running.port)
    wait_until(lambda: len(receiver.ids()) >= SOURCES, what="all are delivered", within_s=60)
    with contextlib.closing(sqlite3.connect(f"file:{running.database}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT json_extract(origin, '$.source_id'), COUNT(*) FROM message GROUP BY 1").fetchall()
    assert [count for _, count in rows] == [1] * SOURCES
    assert {arrival.body for arrival in receiver.arrivals} == {b'{"run": true}'}
    assert len(receiver.ids()) == SOURCES
