"""Does anything get lost when the server is killed? Clients publish at full speed, SIGKILL comes at random moments, again and again."""

from __future__ import annotations

import asyncio
import itertools
import os
import pathlib
import random
import signal
import sqlite3

from benchmarks.server import Server
from tests.acceptance.publishing import Account, number_in, publish
from tests.acceptance.receiver import FAILED, OK, Answer, Arrival, Receiver, verify
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# How often the server is killed. A release is tested with 1,000.
ROUNDS = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "50"))

# The seed of the moments of death: the same for every run, so that a failure comes again; another one explores.
SEED = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))

# Latest moment of death after the clients have begun, seconds: the median round then dies in full flight.
LATEST_DEATH_S = 0.35

# Messages that are tried again: every so many fail at their first attempt.
FAILS_FIRST = 7

CONNECTIONS = 16


class Doubtful:
    """Answers 500 to the first attempt of one message in seven, 200 to all else."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, arrival: Arrival) -> Answer:
        first = arrival.id not in self.seen
        self.seen.add(arrival.id)
        return FAILED if first and number_in(arrival.body) % FAILS_FIRST == 0 else OK


async def _publish_until_killed(running: Server, app_id: str, account: Account, numbers: itertools.count[int], death_s: float) -> None:
    """Repeat what the last crash left unknown, as a client does, then publish on; the server dies `death_s` seconds from now."""
    asyncio.get_running_loop().call_later(death_s, running.process.send_signal, signal.SIGKILL)
    again = sorted(account.unknown)
    await publish(running.port, app_id, running.token, itertools.chain(again, numbers), account, connections=CONNECTIONS)


def test_every_acknowledged_message_is_delivered_however_often_the_server_is_killed(
    serve: Serve, receiver: Receiver, tmp_path: pathlib.Path
) -> None:
    receiver.decide = Doubtful()
    moments = random.Random(SEED)
    account, numbers = Account(), itertools.count(1)
    running = serve()
    app_id = running.make("/app", {"name": "crash"})["id"]
    endpoint_id = running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})["id"]
    secret = running.call("GET", f"/app/{app_id}/endpoint/{endpoint_id}/secret")[1]["key"]

    verified = 0
    for _ in range(ROUNDS):
        asyncio.run(_publish_until_killed(running, app_id, account, numbers, moments.uniform(0.0, LATEST_DEATH_S)))
        # Round by round: a signature is good for five minutes, and a thousand rounds take longer.
        verified = _verified(receiver, secret, verified)
        assert running.process.wait(10) == -signal.SIGKILL
        running = serve(port=running.port)
    asyncio.run(publish(running.port, app_id, running.token, iter(sorted(account.unknown)), account, connections=CONNECTIONS))

    assert not account.refused and not account.unknown
    assert len(account.acknowledged) > ROUNDS, "hardly anything was published: the test shows nothing"
    wait_until(
        lambda: not (set(account.acknowledged.values()) - receiver.ids()), what="every acknowledged message is delivered", within_s=60
    )
    _verified(receiver, secret, verified)
    _arrivals_are_sound(receiver, account)
    assert running.stop() == 0
    with sqlite3.connect(tmp_path / "ringback.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


def _verified(receiver: Receiver, secret: str, already: int) -> int:
    """Every signature of what has come since verifies; how many have come by now."""
    fresh = receiver.arrivals[already:]
    for arrival in fresh:
        verify(arrival, secret)
    return already + len(fresh)


def _arrivals_are_sound(receiver: Receiver, account: Account) -> None:
    """Each number has one id and one place in the sequence however often it came."""
    ids: dict[int, set[str]] = {}
    sequences: dict[str, set[str]] = {}
    for arrival in receiver.arrivals:
        ids.setdefault(number_in(arrival.body), set()).add(arrival.id)
        sequences.setdefault(arrival.id, set()).add(arrival.headers["ringback-sequence"])
    assert {number: found for number, found in ids.items() if found != {account.acknowledged[number]}} == {}
    assert {message_id: found for message_id, found in sequences.items() if len(found) != 1} == {}
    assert len({next(iter(found)) for found in sequences.values()}) == len(sequences), "two messages share a place in the sequence"
