"""Can somebody without a public URL rely on polling? The official SDK reads from real servers: killed ones, and busy ones."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import itertools
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import typing

import pytest
from svix.api import Svix
from svix.api.message_poller import MessagePollerConsumerPollOptions, MessagePollerPollOptions
from svix.api_internal.message_pollerv2 import MessagePollerv2, MessagePollerv2ConsumerPollOptions
from svix.autoconfig import AutoConfigConsumer
from svix.models import (
    ApplicationIn,
    CreateAutoConfigSubscriptionIn,
    DestinationIn,
    MessageIn,
    PollerV2CommitIn,
    PollingEndpointConsumerSeekIn,
    PollingEndpointMessageOut,
    SinkInCommon,
)

from benchmarks.server import Server
from tests.acceptance.publishing import Account, publish
from tests.acceptance.sdk_shop import missing
from tests.acceptance.sdk_surface import Sdk, client
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until

CONNECTIONS: typing.Final = 8
GUIDE: typing.Final = pathlib.Path(__file__).parents[2] / "docs/how-to/poll-for-messages.md"


class Desk:
    """An application with a polling endpoint."""

    def __init__(self, svix: Svix) -> None:
        self.svix = svix
        self.app = svix.application.create(ApplicationIn(name="Shop")).id
        self.sink = svix.destination.create(self.app, DestinationIn(type="pollingEndpoint", config={})).id

    def send(self, **more: typing.Any) -> str:
        """The id of a new message."""
        return self.svix.message.create(self.app, MessageIn(event_type="order.paid", payload={"a": 1}, **more)).id

    def poll(self, **options: typing.Any) -> typing.Any:
        """One answer."""
        return self.svix.message.poller.poll(self.app, self.sink, MessagePollerPollOptions(**options))

    def consume(self, name: str = "c", **options: typing.Any) -> typing.Any:
        """One answer to a consumer."""
        return self.svix.message.poller.consumer_poll(self.app, self.sink, name, MessagePollerConsumerPollOptions(**options))

    def leasing(self) -> MessagePollerv2:
        """What the SDK has for leases."""
        poller = self.svix.message.poller
        return MessagePollerv2(poller._client, poller._httpx_client)


@pytest.fixture
def desk(sdk: Sdk) -> Desk:
    return Desk(sdk.svix)


def ids(answer: typing.Any) -> list[str]:
    return [item.id for item in answer.data]


def test_the_sdk_polls_by_iterator(desk: Desk) -> None:
    sent = [desk.send() for _ in range(3)] + [desk.send(channels=["eu"], tags=["vip"])]
    first = desk.poll(limit=3)
    assert (ids(first), first.done) == (sent[:3], False)
    assert isinstance(first.data[0], PollingEndpointMessageOut) and first.data[0].payload == {"a": 1}
    last = desk.poll(limit=3, iterator=first.iterator)
    assert (ids(last), last.done, last.data[0].channels, last.data[0].tags) == (sent[3:], True, ["eu"], ["vip"])
    assert ids(desk.poll(event_type="order.paid", channel="eu", after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))) == sent[3:]
    assert missing(lambda: desk.poll(iterator="nonsense")) == (400, "invalid_iterator")


def test_the_sdk_polls_as_a_consumer(desk: Desk) -> None:
    sent = [desk.send() for _ in range(3)]
    first = desk.consume(limit=2)
    assert ids(first) == ids(desk.consume(limit=2)) == sent[:2]
    assert ids(desk.consume(limit=2, iterator=first.iterator)) == sent[2:]
    seek = PollingEndpointConsumerSeekIn(after=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    back = desk.svix.message.poller.consumer_seek(desk.app, desk.sink, "c", seek)
    assert ids(desk.consume(iterator=back.iterator)) == sent


def test_the_sdk_leases_and_commits(desk: Desk) -> None:
    sent, leasing = [desk.send() for _ in range(3)], desk.leasing()
    first = leasing.consumer_poll(desk.app, desk.sink, "c", MessagePollerv2ConsumerPollOptions(limit=2, lease_duration_ms=60_000))
    second = leasing.consumer_poll(desk.app, desk.sink, "c")
    assert (ids(first), first.done, ids(second), second.done) == (sent[:2], False, sent[2:], True)
    for answer in (first, second):
        leasing.consumer_commit(desk.app, desk.sink, "c", PollerV2CommitIn(offset=answer.data[-1].offset))
    assert leasing.consumer_poll(desk.app, desk.sink, "c").data == []


def test_the_text_of_a_subscription_is_all_that_a_polling_customer_needs(desk: Desk) -> None:
    offer = desk.svix.autoconfig_subscription.create(desk.app, CreateAutoConfigSubscriptionIn())
    poller = AutoConfigConsumer(offer.token, SinkInCommon(channels=["eu"]))
    made = poller.subscribe()
    assert (made.type, made.status, made.channels) == ("pollingEndpoint", "enabled", ["eu"])
    desk.send()
    sent = desk.send(channels=["eu"])
    answer = poller.receive("worker")
    assert ids(answer) == [sent]
    poller.commit("worker", answer.data[-1].offset)
    assert poller.receive("worker").data == []


def test_a_key_of_the_polling_endpoint_is_all_that_a_receiver_needs(desk: Desk, sdk: Sdk) -> None:
    sent = desk.send()
    status, key = sdk.server.call("GET", f"/auth/app/{desk.app}/poller/{desk.sink}/token")
    assert status == 200
    receiver = client(sdk.server, key["token"])
    assert ids(receiver.message.poller.poll(desk.app, desk.sink)) == [sent]
    assert missing(lambda: receiver.application.get(desk.app)) == (403, "insufficient access")


def test_a_message_that_waits_for_its_time_stands_where_it_becomes_due(serve: Serve) -> None:
    running = serve()
    desk = Desk(client(running))
    before = desk.send()
    waits = desk.send(deliver_at=datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5))
    after = desk.send()
    seen = desk.poll()
    assert (ids(seen), seen.done) == ([before, after], True)
    running.stop(signal.SIGKILL)
    # The least that may be asked for, a minute, is more than a test waits: it becomes due while the server is dead.
    with sqlite3.connect(running.database) as connection:
        connection.execute("UPDATE deferred_message SET deliver_at = ?", (time.time_ns() // 1_000,))
    connection.close()
    running = serve(port=running.port)
    came = wait_until(lambda: ids(desk.poll(iterator=seen.iterator)), what="it is due")
    assert came == [waits]
    last = desk.send()
    assert ids(desk.poll(iterator=seen.iterator)) == [waits, last]
    assert ids(desk.poll()) == [before, after, waits, last]
    assert ids(desk.consume()) == [before, after, waits, last]
    running.stop(signal.SIGKILL)
    serve(port=running.port)
    assert ids(desk.poll(iterator=seen.iterator)) == [waits, last]


def _numbers(answer: dict[str, typing.Any]) -> list[int]:
    return [item["payload"]["number"] for item in answer["data"]]


class Following(threading.Thread):
    """Reads on by iterator while others publish, until told to stop and nothing more comes."""

    def __init__(self, running: Server, path: str) -> None:
        super().__init__()
        self.running, self.path = running, path
        self.got: list[int] = []
        self.ids: list[str] = []
        self.stopping = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:
            self.failed = error

    def _read(self) -> None:
        iterator = ""
        while True:
            stopping = self.stopping.is_set()
            status, answer = self.running.call("GET", f"{self.path}?limit=50{iterator}")
            assert status == 200, answer
            self.got += _numbers(answer)
            self.ids += [item["id"] for item in answer["data"]]
            iterator = f"&iterator={answer['iterator']}"
            if stopping and answer["done"] and not answer["data"]:
                return


def test_every_message_is_read_once_and_in_order_while_many_publish(shared: Shared) -> None:
    running = shared()
    app = running.make("/app", {"name": "busy"})["id"]
    sinks = [running.make(f"/app/{app}/destination", {"type": "pollingEndpoint"})["id"] for _ in range(2)]
    readers = [
        Following(running, f"/app/{app}/poller/{sinks[0]}"),
        Following(running, f"/app/{app}/poller/{sinks[1]}/consumer/c"),
    ]
    for reader in readers:
        reader.start()
    account = Account()
    asyncio.run(publish(running.port, app, running.token, iter(range(1, 3_001)), account, connections=CONNECTIONS))
    assert len(account.acknowledged) == 3_000
    for reader in readers:
        reader.stopping.set()
        reader.join(60)
        assert reader.failed is None and not reader.is_alive()
        assert sorted(reader.got) == list(range(1, 3_001))
        assert reader.ids == sorted(reader.ids)


def test_two_processes_of_one_consumer_share_the_work(shared: Shared) -> None:
    running = shared()
    app = running.make("/app", {"name": "shared"})["id"]
    sink = running.make(f"/app/{app}/destination", {"type": "pollingEndpoint"})["id"]
    asyncio.run(publish(running.port, app, running.token, iter(range(1, 401)), Account(), connections=CONNECTIONS))
    leasing = f"/app/{app}/polling-endpoint/{sink}/consumer/c"

    def work(_: int) -> list[int]:
        got: list[int] = []
        while True:
            status, answer = running.call("GET", f"{leasing}?limit=10&lease_duration_ms=86400000")
            if status == 503:
                continue
            assert status == 200, answer
            if not answer["data"]:
                return got
            got += _numbers(answer)
            assert running.call("POST", f"{leasing}/commit", {"offset": answer["data"][-1]["offset"]})[0] == 204

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(work, range(4)))
    assert sorted(itertools.chain(*shares)) == list(range(1, 401))


def test_nothing_is_skipped_when_the_server_is_killed_between_answers(serve: Serve) -> None:
    running = serve()
    app = running.make("/app", {"name": "killed"})["id"]
    sink = running.make(f"/app/{app}/destination", {"type": "pollingEndpoint"})["id"]
    consumer, leasing = f"/app/{app}/poller/{sink}/consumer/c", f"/app/{app}/polling-endpoint/{sink}/consumer/c"
    account, numbers = Account(), itertools.count(1)
    by_iterator: list[int] = []
    by_lease: list[int] = []
    iterator = ""
    for _ in range(4):
        again = sorted(account.unknown)
        wanted = itertools.chain(again, numbers)

        async def until_killed(wanted: typing.Iterator[int] = wanted, running: Server = running) -> None:
            asyncio.get_running_loop().call_later(0.15, running.process.send_signal, signal.SIGKILL)
            await publish(running.port, app, running.token, wanted, account, connections=CONNECTIONS)

        asyncio.run(until_killed())
        wait_until(lambda running=running: running.process.poll() is not None, what="the server is dead")
        running = serve()
        for _ in range(3):
            answer = running.call("GET", f"{consumer}?limit=20{iterator}")[1]
            by_iterator += _numbers(answer)
            iterator = f"&iterator={answer['iterator']}"
            leased = running.call("GET", f"{leasing}?limit=20&lease_duration_ms=1")[1]
            if leased["data"]:
                # The lease may be over: whoever commits has done it all the same.
                assert running.call("POST", f"{leasing}/commit", {"offset": leased["data"][-1]["offset"]})[0] == 204
                by_lease += _numbers(leased)
    asyncio.run(publish(running.port, app, running.token, iter(sorted(account.unknown)), account, connections=CONNECTIONS))
    while True:
        answer = running.call("GET", f"{consumer}?limit=250{iterator}")[1]
        by_iterator += _numbers(answer)
        iterator = f"&iterator={answer['iterator']}"
        if answer["done"] and not answer["data"]:
            break
    while leased := running.call("GET", f"{leasing}?limit=250&lease_duration_ms=60000")[1]["data"]:
        by_lease += [item["payload"]["number"] for item in leased]
    assert sorted(by_iterator) == sorted(account.acknowledged)
    assert sorted(set(by_lease)) == sorted(account.acknowledged)


def test_the_programs_of_the_guide_read_every_message(shared: Shared, tmp_path: pathlib.Path) -> None:
    running = shared()
    app = running.make("/app", {"name": "guide"})["id"]
    known = {"SERVER_URL": running.url, "APP": app, "TOKEN": running.token}
    languages = dict[str, list[str]]()
    for language, piece in re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        languages.setdefault(language, []).append(piece)

    def run(*command: str) -> str:
        done = subprocess.run(command, env=os.environ | known, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    make, key = (run("bash", "-euc", piece) for piece in languages["bash"])
    assert json.loads(make)["uid"] == "ledger"
    known["POLLER_KEY"] = json.loads(key)["token"]
    for number in range(25):
        running.make(f"/app/{app}/msg", {"eventType": "order.paid", "payload": {"number": number}})
    consumer, workers = languages["python"]
    assert [line.split(maxsplit=2)[2] for line in run(sys.executable, "-c", consumer).splitlines()] == [
        f"{{'number': {number}}}" for number in range(25)
    ]
    assert run(sys.executable, "-c", consumer) == ""
    assert run(sys.executable, "-c", workers).splitlines() == [f"{number + 1} {{'number': {number}}}" for number in range(25)]
    assert run(sys.executable, "-c", workers) == ""
