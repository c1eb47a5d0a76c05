"""Does a running server send what an endpoint's code makes of a message, and does no code keep it from serving others?"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import typing
import urllib.request

import pytest
import standardwebhooks
from svix.models import ConnectorIn, EndpointIn, EndpointTransformationPatch, MessageIn, MessageStatus

from benchmarks.server import Server
from tests.acceptance.provider import make_source, send
from tests.acceptance.receiver import Answer, Arrival, Receiver
from tests.acceptance.sdk_surface import Sdk, client
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until

# What the engine cannot stop by itself, and so must be killed for.
BOMB = 'function handler() { return new Array(5e8).join(""); }'
LOOP = "function handler() { while (true) {} }"
CHANGING = """
function handler(webhook) {
  webhook.method = "PUT";
  webhook.url = webhook.url + "?team=" + webhook.variables.team;
  webhook.headers["X-Kind"] = webhook.eventType;
  webhook.headers["webhook-id"] = "forged";
  webhook.payload = {text: "Order " + webhook.payload.order, channels: webhook.channels};
  return webhook;
}
"""


class Shop:
    """An application whose endpoints lead to one receiver, each to the path that is its name."""

    def __init__(self, running: Server, receiver: Receiver) -> None:
        self.running, self.receiver = running, receiver
        self.svix = client(running)
        self.app = running.make("/app", {"name": "Shop"})["id"]

    def endpoint(self, name: str, code: str | None = None, variables: dict[str, str] | None = None, **more: typing.Any) -> str:
        """An endpoint, with its transformation switched on where it has one: its id."""
        made = self.svix.endpoint.create(self.app, EndpointIn(url=f"{self.receiver.url}/{name}", **more)).id
        if code is not None:
            self.svix.endpoint.transformation.patch(
                self.app, made, EndpointTransformationPatch(code=code, enabled=True, variables=variables)
            )
        return made

    def post(self, payload: typing.Any = None, **more: typing.Any) -> str:
        """The id of a new message."""
        return self.svix.message.create(self.app, MessageIn(event_type="order.paid", payload=payload or {"order": 1}, **more)).id

    def came(self, name: str, count: int = 1) -> list[Arrival]:
        """What came to an endpoint, once so much has."""
        wait_until(lambda: len(self.at(name)) >= count, what=f"{count} requests at {name}", within_s=60)
        return self.at(name)

    def at(self, name: str) -> list[Arrival]:
        return [arrival for arrival in list(self.receiver.arrivals) if arrival.path.partition("?")[0] == f"/{name}"]

    def attempts(self, message: str, count: int = 1) -> list[typing.Any]:
        """The attempts of a message, the oldest first, once there are so many."""
        path = f"/app/{self.app}/attempt/msg/{message}?expanded_statuses=true"
        wait_until(lambda: len(self.running.call("GET", path)[1]["data"]) >= count, what=f"{count} attempts", within_s=60)
        return list(reversed(self.running.call("GET", path)[1]["data"]))


@pytest.fixture
def shop(shared: Shared, receiver: Receiver) -> Shop:
    return Shop(shared(), receiver)


def workers(server: Server) -> list[int]:
    """Processes of a server that run scripts."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{server.process.pid}\n" in status.read_text() and b"scripting_worker" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    """Is there such a process, and not merely what is left of one?"""
    try:
        return "State:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_request_is_what_the_code_returns_and_its_signature_covers_it(shop: Shop) -> None:
    endpoint = shop.endpoint("hook", CHANGING, {"team": "shipping"}, headers={"X-Own": "1", "Authorization": "Bearer s3cret"})
    shop.endpoint("plain")
    message = shop.post({"order": 7}, channels=["eu"])
    (arrival,) = shop.came("hook")
    assert (arrival.method, arrival.path) == ("PUT", "/hook?team=shipping")
    assert json.loads(arrival.body) == {"text": "Order 7", "channels": ["eu"]}
    assert (arrival.headers["x-kind"], arrival.headers["x-own"], arrival.headers["authorization"]) == ("order.paid", "1", "Bearer s3cret")
    assert arrival.id == message
    secret = shop.svix.endpoint.get_secret(shop.app, endpoint).key
    standardwebhooks.Webhook(secret).verify(arrival.body, arrival.headers)
    # The message is what it was, for everybody else and for those who read it.
    assert json.loads(shop.came("plain")[0].body) == {"order": 7}
    assert shop.running.call("GET", f"/app/{shop.app}/msg/{message}")[1]["payload"] == {"order": 7}
    attempt = next(a for a in shop.attempts(message, 2) if a["endpointId"] == endpoint)
    assert attempt["url"] == f"{shop.receiver.url}/hook?team=shipping"
    status, kept = shop.running.call("GET", f"/app/{shop.app}/msg/{message}/attempt/{attempt['id']}")
    assert status == 200 and kept["requestBody"].encode() == arrival.body
    assert ["authorization", "***"] in [[name.lower(), value] for name, value in kept["requestHeaders"]]


def test_what_was_sent_goes_with_the_payload(shop: Shop) -> None:
    shop.endpoint("hook", CHANGING, {"team": "a"})
    message = shop.post()
    shop.came("hook")
    (attempt,) = shop.attempts(message)
    path = f"/app/{shop.app}/msg/{message}/attempt/{attempt['id']}"
    assert shop.running.call("GET", path)[1]["requestBody"]
    shop.svix.message.expunge_content(shop.app, message)
    assert shop.running.call("GET", path)[1]["requestBody"] is None


def test_a_payload_that_is_not_touched_arrives_byte_for_byte(shop: Shop) -> None:
    shop.endpoint("hook", 'function handler(webhook) { webhook.headers["x-a"] = "1"; return webhook; }')
    payload = b'{ "id": 12345678901234567890, "price": 1.50 }'
    body = b'{"eventType": "order.paid", "payload": ' + payload + b"}"
    headers = {"authorization": f"Bearer {shop.running.token}", "content-type": "application/json"}
    request = urllib.request.Request(f"{shop.running.url}/api/v1/app/{shop.app}/msg", body, headers)
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202
    (arrival,) = shop.came("hook")
    assert (arrival.body, arrival.headers["x-a"]) == (payload, "1")


def test_a_cancelled_message_is_not_sent_and_not_tried_again(shop: Shop) -> None:
    code = "function handler(webhook) { webhook.cancel = webhook.payload.order > 1; return webhook; }"
    endpoint = shop.endpoint("hook", code)
    cancelled, sent = shop.post({"order": 2}), shop.post({"order": 1})
    assert [arrival.id for arrival in shop.came("hook")] == [sent]
    (attempt,) = shop.attempts(cancelled)
    assert (attempt["status"], attempt["responseStatusCode"], attempt["nextDueAt"]) == (4, 0, None)
    assert attempt["response"] == "the transformation cancelled it: nothing was sent"
    # To clients that do not ask for more, it looks like a success.
    listed = shop.running.call("GET", f"/app/{shop.app}/attempt/msg/{cancelled}")[1]["data"]
    assert [item["status"] for item in listed] == [0]
    expanded = shop.svix.message_attempt.list_by_msg(shop.app, cancelled).data
    assert [item.status for item in expanded] == [MessageStatus.CANCELED]
    stats = shop.svix.endpoint.get_stats(shop.app, endpoint)
    assert (stats.success, stats.fail) == (1, 0)


def test_code_that_fails_is_a_failed_attempt_with_its_error_and_retries_run_what_is_saved_then(shop: Shop) -> None:
    endpoint = shop.endpoint("hook", "function handler(webhook) {\n  return webhook.a.b;\n}")
    message = shop.post()
    first, *_ = shop.attempts(message, 2)
    words = "the transformation failed: TypeError: cannot read property 'b' of undefined (line 2, column 10)"
    assert (first["status"], first["responseStatusCode"], first["response"]) == (2, 0, words)
    assert first["errorClass"] == "transformation" and first["nextDueAt"] is not None
    shop.svix.endpoint.transformation.patch(
        shop.app, endpoint, EndpointTransformationPatch(code="function handler(webhook) { return webhook; }")
    )
    assert [arrival.id for arrival in shop.came("hook")] == [message]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('function handler(w) { w.url = "http://10.0.0.1/"; return w; }', "blocked"),
        ('function handler(w) { w.url = "http://2130706433:1/"; w.url = "http://[::ffff:169.254.169.254]/"; return w; }', "blocked"),
        ('function handler(w) { w.url = "file:///etc/passwd"; return w; }', "must start with http:// or https://"),
        ('function handler(w) { w.method = "DELETE"; return w; }', "it must be POST or PUT"),
        ('function handler(w) { w.headers = {"a": "1\\r\\nb: 2"}; return w; }', "line break"),
        ('function handler(w) { w.payload = "x".repeat(3e6); return w; }', "at most 2097152 are allowed"),
        ("function handler(w) { return 5; }", "handler returned number; it must return an object"),
        ("this is not JavaScript", "SyntaxError"),
    ],
)
def test_what_cannot_be_sent_is_said(shop: Shop, code: str, said: str) -> None:
    shop.endpoint("hook", code)
    (first, *_) = shop.attempts(shop.post())
    assert (first["status"], first["responseStatusCode"]) == (2, 0) and said in first["response"]
    assert not shop.at("hook")


def test_the_code_of_a_connector_serves_an_endpoint(sdk: Sdk) -> None:
    shop = Shop(sdk.server, sdk.receiver)
    name = sdk.name("hook")
    template = "function handler(webhook) { webhook.payload = {text: 'From a template'}; return webhook; }"
    connector = sdk.svix.connector.create(ConnectorIn(name="Slack", transformation=template))
    shop.endpoint(name, sdk.svix.connector.get(connector.id).transformation)
    shop.post()
    assert json.loads(shop.came(name)[0].body) == {"text": "From a template"}


def test_what_a_source_took_in_is_transformed_on_its_way(shop: Shop) -> None:
    code = "function handler(w) { w.cancel = w.payload.number === 1; w.payload = {text: `Number ${w.payload.number}`}; return w; }"
    shop.endpoint("hook", code, uid="hook")
    # Whoever waits for the endpoint is told that there is nothing to wait for when its code wants nothing sent.
    _, door = make_source(shop.running, shop.app, processedBy="hook", deadlineS=20)
    assert [send(shop.running, door, number) for number in (1, 2)] == [200, 200]
    assert [json.loads(arrival.body) for arrival in shop.at("hook")] == [{"text": "Number 2"}]


def test_hostile_code_delays_nobody_else(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"log_level": "warning"})
    hostile, healthy = Shop(running, receiver), Shop(running, receiver)
    for number, code in enumerate((BOMB, LOOP, BOMB, LOOP)):
        hostile.endpoint(f"bomb-{number}", code)
    hostile.endpoint("neighbour")
    healthy.endpoint("plain")
    healthy.endpoint("changed", CHANGING, {"team": "a"})
    healthy.post()
    healthy.came("changed")
    bombs = [hostile.post() for _ in range(10)]
    # Forty bombs of a second each wait now, with their retries behind them.
    sent = [healthy.post({"order": number}) for number in range(50)]
    assert {arrival.id for arrival in healthy.came("plain", 51)} >= set(sent)
    assert {arrival.id for arrival in healthy.came("changed", 51)} >= set(sent)
    assert len(hostile.came("neighbour", 10)) == 10
    # The neighbour's, and that of one bomb at least.
    ended = hostile.attempts(bombs[0], 2)
    assert {attempt["errorClass"] for attempt in ended} == {None, "transformation_limit"}
    stopped = next(attempt for attempt in ended if attempt["errorClass"])
    assert stopped["response"] == "the transformation failed: it was stopped after 1 s of CPU time"
    assert not [arrival for arrival in receiver.arrivals if arrival.path.startswith("/bomb")]
    # What holds the loop for long shows here: nothing that the bombs do may.
    with urllib.request.urlopen(f"{running.url}/metrics") as answer:
        numbers = dict(line.split(" ") for line in answer.read().decode().splitlines() if not line.startswith("#"))
    assert float(numbers["ringback_transformation_workers"]) <= 2


def test_processes_are_started_when_needed_and_end_with_the_server(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    shop = Shop(running, receiver)
    shop.endpoint("plain")
    shop.post()
    shop.came("plain")
    assert workers(running) == []
    shop.endpoint("changed", CHANGING, {"team": "a"})
    shop.post()
    shop.came("changed")
    started = workers(running)
    assert started
    assert running.stop() == 0
    wait_until(lambda: not any(alive(pid) for pid in started), what="the processes end")


@pytest.mark.parametrize("code", [LOOP, BOMB])
def test_processes_end_with_a_server_that_is_killed_whatever_they_are_at(serve: Serve, receiver: Receiver, code: str) -> None:
    running = serve()
    shop = Shop(running, receiver)
    shop.endpoint("bomb", code)
    shop.post()
    wait_until(lambda: workers(running), what="a process is started")
    started = workers(running)
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait(20)
    wait_until(lambda: not any(alive(pid) for pid in started), what="the processes end", within_s=30)


def test_an_attempt_that_the_end_of_the_server_cuts_is_made_by_the_next(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"drain_timeout": "1s", "transformation_timeout": "30s"})
    shop = Shop(running, receiver)
    endpoint = shop.endpoint("hook", LOOP)
    message = shop.post()
    wait_until(lambda: workers(running), what="a process is started")
    assert running.stop() == 0
    again = serve(running.database)
    plain = EndpointTransformationPatch(code="function handler(webhook) { return webhook; }")
    client(again).endpoint.transformation.patch(shop.app, endpoint, plain)
    assert shop.came("hook")[0].id == message


def test_a_failing_transformation_holds_its_lane_as_any_failure_does(shop: Shop) -> None:
    code = "function handler(webhook) { if (webhook.payload.order === 1) throw new Error('not yet'); return webhook; }"
    endpoint = shop.endpoint("hook", code)
    assert shop.running.call("PUT", f"/app/{shop.app}/endpoint/{endpoint}/ordering", {"mode": "endpoint"})[0] == 200
    first, second = shop.post({"order": 1}), shop.post({"order": 2})
    shop.attempts(first, 2)
    assert not shop.at("hook")
    shop.svix.endpoint.transformation.patch(
        shop.app, endpoint, EndpointTransformationPatch(code="function handler(webhook) { return webhook; }")
    )
    assert [arrival.id for arrival in shop.came("hook", 2)] == [first, second]


def test_the_answer_of_an_endpoint_is_judged_as_ever(shop: Shop) -> None:
    shop.receiver.decide = lambda arrival: Answer(200 if shop.at("hook") else 500)
    shop.endpoint("hook", CHANGING, {"team": "a"})
    message = shop.post()
    assert [attempt["responseStatusCode"] for attempt in shop.attempts(message, 2)] == [500, 200]
