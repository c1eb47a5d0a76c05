"""Is anything lost that was acknowledged, when the disk fills up under load and the server is killed on it? Both doors, again and again."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
import threading
import typing

import pytest

from benchmarks.server import Server
from tests.acceptance.disk import Disk
from tests.acceptance.provider import Provider, event_id, make_source
from tests.acceptance.publishing import Account, publish
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# How often the disk fills up and the server is killed.
ROUNDS = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "20")) // 4
# The seed of the moments: the same for every run, so that a failure comes again; another one explores.
SEED = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))
# Latest moments after the clients have begun, seconds: of the full disk, and of the death.
LATEST_FULL_S = 0.4
LATEST_DEATH_S = 1.2
# Connections of each kind of client.
CONNECTIONS = 8
# Room that a round begins with: so little that the log may reach it, so much that the server starts.
LEFT_MIB = 6
SETTINGS = {"min_free_disk": "0B"}
# Size of the disk: what all rounds leave fits several times.
DISK_MIB = 64 + 2 * ROUNDS


@pytest.fixture
def disk_mib() -> int:
    return DISK_MIB


class Clients:
    """Publishers and a provider that go on until the server is killed, and keep account of what it has said."""

    def __init__(self, app_id: str, path: str) -> None:
        self.app_id = app_id
        self.account, self.provider = Account(), Provider(path)
        self._published, self._sent = itertools.count(1), itertools.count(1)

    async def go(self, running: Server, published: typing.Iterator[int], sent: typing.Iterator[int]) -> None:
        self.account.refused.clear()
        await asyncio.gather(
            publish(running.port, self.app_id, running.token, published, self.account, connections=CONNECTIONS),
            self.provider.send(running.port, sent, CONNECTIONS),
        )

    async def until_killed(self, running: Server, death_s: float) -> None:
        """As fast as they are answered; what was refused or cut off comes first."""
        asyncio.get_running_loop().call_later(death_s, running.process.send_signal, signal.SIGKILL)
        await self.go(running, itertools.chain(self.open, self._published), self._sent)

    @property
    def open(self) -> list[int]:
        """What was published and not acknowledged."""
        return sorted(self.account.unknown | set(self.account.refused))

    async def finish(self, running: Server) -> None:
        """Have all of it acknowledged."""
        again = sorted({number for number, _ in self.provider.refused} - self.provider.acknowledged)
        self.provider.refused.clear()
        await self.go(running, iter(self.open), iter(again))


def test_what_was_acknowledged_is_there_after_full_disks_and_kills(disk: Disk, serve_there: Serve, receiver: Receiver) -> None:
    moments = random.Random(SEED)
    running = serve_there(disk.database, settings=SETTINGS)
    app_id = running.make("/app", {"name": "crash"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})
    _, path = make_source(running, app_id)
    clients, refused = Clients(app_id, path), 0
    for _ in range(ROUNDS):
        disk.leave(LEFT_MIB)
        filling = threading.Timer(moments.uniform(0.0, LATEST_FULL_S), disk.fill)
        filling.start()
        asyncio.run(clients.until_killed(running, moments.uniform(0.0, LATEST_DEATH_S)))
        filling.join(60)
        refused += len(clients.account.refused) + len(clients.provider.refused)
        assert running.process.wait(10) == -signal.SIGKILL
        disk.free()
        running = serve_there(disk.database, settings=SETTINGS, port=running.port)
    asyncio.run(clients.finish(running))

    account, provider = clients.account, clients.provider
    print(f"{ROUNDS} kills, {len(account.acknowledged)} messages, {len(provider.acknowledged)} events, {refused} times refused")
    assert refused, "the disk was never full: the test shows nothing"
    assert not account.refused and not account.unknown and not provider.refused and not provider.unknown
    wait_until(lambda: set(account.acknowledged.values()) <= receiver.ids(), what="every message is delivered", within_s=60)
    assert running.stop() == 0
    with sqlite3.connect(disk.database) as database:
        stored = {row[0] for row in database.execute("SELECT id FROM message")}
        events = [row[0] for row in database.execute("SELECT origin ->> 'event_id' FROM message WHERE origin IS NOT NULL")]
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    assert set(account.acknowledged.values()) <= stored
    assert {event_id(number) for number in provider.acknowledged} == set(events)
    assert len(events) == len(set(events)), "an event became two messages"
