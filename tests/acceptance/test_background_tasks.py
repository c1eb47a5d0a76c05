"""Does a background task end what it began, once and whole, whatever happens to the server meanwhile?"""

from __future__ import annotations

import asyncio
import collections
import datetime
import os
import random
import signal
import threading
import typing

from svix.models import ApplicationIn, AppUsageStatsIn, BackgroundTaskStatus, BulkReplayIn, EndpointIn, RecoverIn, ReplayIn

from benchmarks import server
from tests.acceptance.publishing import Account, publish
from tests.acceptance.receiver import FAILED, OK, Receiver
from tests.acceptance.sdk_surface import client
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# Enough for ten steps of each task, which take turns, few enough for seconds.
MESSAGES: typing.Final = 400
# How often the server is killed, the seed of the moments, and the latest of them, seconds: a few steps of every task fit in before.
ROUNDS: typing.Final = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "50")) // 10
SEED: typing.Final = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))
LATEST_DEATH_S: typing.Final = 0.15
# Attempts of one endpoint on the wire at once, at the most.
ON_THE_WIRE: typing.Final = 64
# What fails is not tried again by itself.
SETTINGS: typing.Final = {"retry_schedule": "[]"}


class Work:
    """An application with a long history, and every kind of task begun on it. Each has an endpoint of its own to send to."""

    def __init__(self, running: server.Server, receiver: Receiver) -> None:
        self.running = running
        self.receiver = receiver
        self.svix = client(running)
        self.since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
        self.app = self.svix.application.create(ApplicationIn(name="Shop")).id
        self.other = self.svix.application.create(ApplicationIn(name="Other")).id
        receiver.decide = lambda arrival: FAILED if arrival.path == "/failed" else OK
        self.endpoints = {name: self._endpoint(name) for name in ("failed", "well")}
        self._publish(self.app)
        self._publish(self.other)
        wait_until(lambda: all(self._ended(name) == MESSAGES for name in self.endpoints), what="all were attempted")
        self.endpoints["late"] = self._endpoint("late")
        receiver.decide = lambda arrival: OK
        receiver.arrivals.clear()

    def _endpoint(self, name: str) -> str:
        return self.svix.endpoint.create(self.app, EndpointIn(url=f"{self.receiver.url}/{name}")).id

    def _publish(self, app: str) -> None:
        account = Account()
        asyncio.run(publish(self.running.port, app, self.running.token, iter(range(MESSAGES)), account, connections=16))
        assert len(account.acknowledged) == MESSAGES

    def stats(self, name: str) -> dict[str, int]:
        """What became of the attempts to an endpoint."""
        return self.svix.endpoint.get_stats(self.app, self.endpoints[name]).model_dump()

    def _ended(self, name: str) -> int:
        stats = self.stats(name)
        return stats["success"] + stats["fail"]

    def begin(self) -> dict[str, str]:
        """Begin one task of each kind that the API has; their ids."""
        at, app = self.endpoints, self.app
        until = datetime.datetime.now(datetime.UTC)
        begun = {
            "recover": self.svix.endpoint.recover(app, at["failed"], RecoverIn(since=self.since)),
            "missing": self.svix.endpoint.replay_missing(app, at["late"], ReplayIn(since=self.since)),
            "bulk": self.svix.endpoint.bulk_replay(app, at["well"], BulkReplayIn(since=self.since)),
            "purge": self.svix.message.expunge_all_contents(self.other),
            "stats": self.svix.statistics.aggregate_app_stats(AppUsageStatsIn(since=self.since, until=until)),
            "types": self.svix.statistics.aggregate_event_types(),
        }
        return {name: task.id for name, task in begun.items()}

    def results(self, tasks: dict[str, str]) -> dict[str, typing.Any]:
        """What each task says that it did; None while it runs."""
        found = {name: self.svix.background_task.get(task) for name, task in tasks.items()}
        assert BackgroundTaskStatus.FAILED not in {task.status for task in found.values()}, found
        return {name: task.data if task.status is BackgroundTaskStatus.FINISHED else None for name, task in found.items()}


def test_every_kind_of_task_of_the_api_goes_on_where_it_was_however_often_the_server_is_killed(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings=SETTINGS)
    work = Work(running, receiver)
    tasks = work.begin()
    moments, interrupted = random.Random(SEED), 0
    for _ in range(ROUNDS):
        threading.Timer(moments.uniform(0.0, LATEST_DEATH_S), running.process.send_signal, [signal.SIGKILL]).start()
        running.process.wait(10)
        running = serve(settings=SETTINGS, port=running.port)
        interrupted += None in work.results(tasks).values()
    assert interrupted > 1, "the tasks were over too soon: the test shows nothing"
    results = wait_until(lambda: (found := work.results(tasks)) and None not in found.values() and found, what="every task ends")

    assert [results[name] for name in ("recover", "missing", "bulk")] == [{"messagesSent": MESSAGES}] * 3
    assert results["purge"] == {"messagesPurged": MESSAGES}
    for name, former in (("failed", 0), ("late", 0), ("well", MESSAGES)):
        wait_until(lambda name=name, former=former: work.stats(name)["success"] == former + MESSAGES, what=f"{name}: each once more")
        assert work.stats(name) | {"fail": 0} == {"success": former + MESSAGES, "fail": 0, "pending": 0, "sending": 0, "canceled": 0}
        arrived = collections.Counter(arrival.id for arrival in receiver.at(f"/{name}"))
        assert len(arrived) == MESSAGES
        # What was on the wire when the server was killed comes again, and nothing else: never because a task repeats itself.
        assert sum(arrived.values()) <= MESSAGES + ROUNDS * ON_THE_WIRE
        assert max(arrived.values()) <= 1 + ROUNDS
