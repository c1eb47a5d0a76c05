"""Do deliveries of a key arrive in their order, whatever happens? Over failures, retries and SIGKILL at random moments, with many keys."""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import os
import random
import signal
import urllib.request

from svix.api import Svix, SvixOptions

from benchmarks.server import Server
from tests.acceptance.publishing import Account, number_in, publish
from tests.acceptance.receiver import FAILED, OK, Answer, Arrival, Receiver
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until

# How often the server is killed. A release is tested with 1,000.
ROUNDS = int(os.environ.get("RINGBACK_ORDER_ROUNDS", "12"))
SEED = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))
LATEST_DEATH_S = 0.5
CONNECTIONS = 16
# One of so many messages fails at its first attempt, and another one at its first three.
FAILS_FIRST = 7
FAILS_OFTEN = 61


class Doubtful:
    """Answers 500 to some first attempts."""

    def __init__(self) -> None:
        self.tries: collections.Counter[str] = collections.Counter()

    def __call__(self, arrival: Arrival) -> Answer:
        self.tries[arrival.id] += 1
        number, tries = number_in(arrival.body), self.tries[arrival.id]
        return FAILED if (number % FAILS_FIRST == 0 and tries < 2) or (number % FAILS_OFTEN == 0 and tries < 4) else OK


def ordered(running: Server, url: str, **ordering: object) -> tuple[str, str]:
    """An application with an endpoint in that order: the ids of both."""
    app_id = running.make("/app", {"name": "ordered"})["id"]
    endpoint_id = running.make(f"/app/{app_id}/endpoint", {"url": url})["id"]
    status, _ = running.call("PUT", f"/app/{app_id}/endpoint/{endpoint_id}/ordering", ordering)
    assert status == 200
    return app_id, endpoint_id


def post(running: Server, app_id: str, number: int, key: str | None = None) -> str:
    message = {"eventType": "order.paid", "payload": {"number": number}} | ({} if key is None else {"orderingKey": key})
    return str(running.make(f"/app/{app_id}/msg", message)["id"])


def sequence(arrival: Arrival) -> int:
    return int(arrival.headers["ringback-sequence"])


def _metrics(running: Server) -> bytes:
    with urllib.request.urlopen(f"{running.url}/metrics") as answer:
        return bytes(answer.read())


def keys_are_in_order(arrivals: list[Arrival], accepted: list[Arrival]) -> None:
    """Of each key nothing came before all that was before it had succeeded, and nothing twice but the last that had."""
    succeeded = {id(arrival) for arrival in accepted}
    last: dict[str, int] = collections.defaultdict(int)
    for arrival in arrivals:
        key = json.loads(arrival.body)["text"]
        if key:
            assert sequence(arrival) >= last[key], f"{sequence(arrival)} came after {last[key]} of its key had succeeded"
            if id(arrival) in succeeded:
                last[key] = sequence(arrival)
    first: dict[str, list[int]] = collections.defaultdict(list)
    for arrival in accepted:
        found = first[json.loads(arrival.body)["text"]]
        if sequence(arrival) not in found:
            found.append(sequence(arrival))
    assert [key for key, found in first.items() if key and found != sorted(found)] == []


def test_each_key_arrives_in_order_however_often_the_server_is_killed(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = Doubtful()
    moments = random.Random(SEED)
    account, numbers = Account(), itertools.count(1)
    running = serve()
    # The text has some 300 values, and is empty now and then: then its message is in no order.
    app_id, _ = ordered(running, f"{receiver.url}/in", mode="key", keyPath="text")

    async def publish_until_killed() -> None:
        asyncio.get_running_loop().call_later(moments.uniform(0.05, LATEST_DEATH_S), running.process.send_signal, signal.SIGKILL)
        again = sorted(account.unknown)
        await publish(running.port, app_id, running.token, itertools.chain(again, numbers), account, connections=CONNECTIONS)

    for _ in range(ROUNDS):
        asyncio.run(publish_until_killed())
        assert running.process.wait(10) == -signal.SIGKILL
        running = serve(port=running.port)
    asyncio.run(publish(running.port, app_id, running.token, iter(sorted(account.unknown)), account, connections=CONNECTIONS))
    assert not account.refused and not account.unknown
    assert len(account.acknowledged) > ROUNDS * 10, "hardly anything was published: the test shows nothing"
    wait_until(
        lambda: not (set(account.acknowledged.values()) - receiver.ids()), what="every acknowledged message is delivered", within_s=120
    )
    keys_are_in_order(list(receiver.arrivals), list(receiver.accepted))
    assert running.stop() == 0


def test_a_blocked_lane_is_shown_and_goes_on_when_its_dead_letter_is_discarded(shared: Shared, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: FAILED if number_in(arrival.body) == 1 else OK
    running = shared({"retry_schedule": "100ms"})
    app_id, endpoint_id = ordered(running, f"{receiver.url}/in", mode="key")
    path = f"/app/{app_id}/endpoint/{endpoint_id}/ordering"
    first = post(running, app_id, 1, "k")
    others = {post(running, app_id, number, key) for number, key in ((2, "k"), (3, "other"), (4, None))}
    wait_until(lambda: running.call("GET", path)[1]["blockedLanes"] == 1, what="the lane is blocked", within_s=20)
    (lane,) = running.call("GET", path)[1]["blocked"]
    assert (lane["orderingKey"], lane["msgId"], lane["sequence"]) == ("k", first, 1)
    wait_until(lambda: len(receiver.ids()) == 2, what="those that wait for nobody", within_s=20)
    assert {number_in(arrival.body) for arrival in receiver.accepted} == {3, 4}
    running.call("POST", "/dead-letter/discard", {"ids": [lane["deadLetterId"]]})
    wait_until(lambda: receiver.ids() == others, what="the lane goes on", within_s=20)
    assert running.call("GET", path)[1]["blockedLanes"] == 0


def test_an_endpoint_that_is_in_order_holds_up_no_other(shared: Shared, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: FAILED if arrival.path == "/in" and number_in(arrival.body) == 1 else OK
    running = shared({"retry_schedule": "20s,20s"})
    app_id, _ = ordered(running, f"{receiver.url}/in", mode="endpoint")
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/beside"})
    for number in range(1, 31):
        post(running, app_id, number)
    wait_until(lambda: len(receiver.at("/beside")) == 30, what="the other endpoint", within_s=20)
    assert [number_in(arrival.body) for arrival in receiver.at("/in")] == [1]


def test_the_ordering_of_an_endpoint_is_set_changed_and_taken_away(shared: Shared, receiver: Receiver) -> None:
    running = shared()
    app_id, endpoint_id = ordered(running, f"{receiver.url}/in", mode="key", keyPath="customer.id", whenHeadDies="skip", skipAfter=3)
    path = f"/app/{app_id}/endpoint/{endpoint_id}/ordering"
    chosen = {"mode": "key", "keyPath": "customer.id", "whenHeadDies": "skip", "skipAfter": 3, "blockedLanes": 0, "blocked": []}
    wait_until(lambda: running.call("GET", path) == (200, chosen | {"changing": False}), what="it is set", within_s=10)
    status, changed = running.call("PATCH", path, {"skipAfter": None, "whenHeadDies": "block"})
    assert (status, changed) == (200, chosen | {"skipAfter": None, "whenHeadDies": "block", "changing": False})
    for wrong, field in (({"skipAfter": 2}, "skipAfter"), ({"mode": "endpoint"}, "keyPath"), ({"keyPath": "a[0]"}, "keyPath")):
        status, problem = running.call("PATCH", path, wrong)
        assert (status, problem["detail"][0]["loc"]) == (422, ["body", field])
    assert running.call("PUT", path, {"mode": "none"})[1]["mode"] == "none"
    assert running.call("GET", f"/app/{app_id}/endpoint/ep_000000000000000000000000000/ordering")[0] == 404
    # An endpoint is what the official client knows, whatever its order.
    found = Svix(running.token, SvixOptions(server_url=running.url)).endpoint.get(app_id, endpoint_id)
    assert found.url == f"{receiver.url}/in"


def test_a_blocked_lane_is_told_and_counted(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: FAILED if arrival.path == "/in" else OK
    running = serve(settings={"retry_schedule": "50ms"})
    running.make("/operational-webhook/endpoint", {"url": f"{receiver.url}/ops", "eventTypes": ["endpoint.lane.blocked"]})
    app_id, endpoint_id = ordered(running, f"{receiver.url}/in", mode="key")
    message_id = post(running, app_id, 1, "k")
    wait_until(lambda: len(receiver.at("/ops")) == 1, what="the event", within_s=20)
    (arrival,) = receiver.at("/ops")
    (lane,) = running.call("GET", f"/app/{app_id}/endpoint/{endpoint_id}/ordering")[1]["blocked"]
    assert json.loads(arrival.body) == {
        "type": "endpoint.lane.blocked",
        "data": {
            "appId": app_id,
            "appUid": None,
            "sourceId": None,
            "endpointId": endpoint_id,
            "orderingKey": "k",
            "msgId": message_id,
            "sequence": 1,
            "deadLetterId": lane["deadLetterId"],
        },
    }
    wait_until(lambda: b"\nringback_blocked_lanes 1.0\n" in _metrics(running), what="the count", within_s=20)


def test_a_key_that_is_too_long_is_refused(shared: Shared, receiver: Receiver) -> None:
    running = shared()
    app_id, _ = ordered(running, f"{receiver.url}/in", mode="key")
    status, problem = running.call("POST", f"/app/{app_id}/msg", {"eventType": "a", "payload": {}, "orderingKey": "k" * 257})
    assert (status, problem["detail"][0]["loc"]) == (422, ["body", "orderingKey"])
