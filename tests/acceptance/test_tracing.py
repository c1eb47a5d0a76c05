"""One trace from the publisher to the receiver, whatever fails or is restarted in between; and no collector can disturb a delivery."""

from __future__ import annotations

import datetime
import itertools
import json
import pathlib
import re
import signal
import socket
import subprocess
import time
import typing

import pytest
from svix.api import MessagePollerPollOptions
from svix.models import DestinationIn, MessageIn

from benchmarks import server
from benchmarks.server import Server
from tests.acceptance.collector import Collector, Seen
from tests.acceptance.provider import make_source, request
from tests.acceptance.provider_api import CREDENTIAL, ProviderApi, Said
from tests.acceptance.receiver import FAILED, OK, Answer, Arrival, Receiver
from tests.acceptance.sdk_surface import client
from tests.acceptance.serving import QUICK_RETRIES, Serve, Shared
from tests.api.fuzz_client import read_answers
from tests.waiting import wait_until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=opaque,other=1"}
PUBLISHED = "POST /api/v1/app/{app_id}/msg"
RECEIVED = "POST /ingest/api/v1/source/{source_id}/in/{token}"


@pytest.fixture(scope="module")
def collector() -> typing.Iterator[Collector]:
    opened = Collector()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> typing.Iterator[Server]:
    """A server whose spans go to the collector."""
    directory = tmp_path_factory.mktemp("traced")
    settings = QUICK_RETRIES | {
        "retry_schedule": "200ms,200ms",
        "otel_endpoint": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a%20b",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "log_format": "json",
    }
    running = server.start(directory / "ringback.db", settings, log=directory / "server.log")
    yield running
    running.stop()


class Shop:
    """An application with one endpoint."""

    def __init__(self, running: Server, receiver: Receiver, path: str = "/hook", **wanted: typing.Any) -> None:
        self.running = running
        self.app_id = running.make("/app", {"name": "shop"})["id"]
        url = wanted.pop("url", f"{receiver.url}{path}")
        self.endpoint_id = running.make(f"/app/{self.app_id}/endpoint", {"url": url, **wanted})["id"]

    def publish(self, headers: dict[str, str] | None = None, payload: object = None) -> str:
        body = {"eventType": "order.paid", "payload": payload or {}}
        status, answer = self.running.call("POST", f"/app/{self.app_id}/msg", body, headers)
        assert status == 202, answer
        message_id: str = answer["id"]
        return message_id


def call(running: Server, raw: bytes) -> int:
    with socket.create_connection((running.host, running.port), timeout=20) as connection:
        connection.sendall(raw)
        (answer,) = read_answers(connection, 1, 20.0).answers
    return answer.status


def one(spans: list[Seen]) -> Seen:
    assert len(spans) == 1, spans
    return spans[0]


def failing(count: int) -> typing.Callable[[Arrival], Answer]:
    """Fails so many requests, then takes all."""
    answers = itertools.repeat(FAILED, count)
    return lambda arrival: next(answers, OK)


def sent_context(receiver: Receiver, at: int = 0) -> tuple[str, str, str]:
    match = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])", receiver.arrivals[at].headers["traceparent"])
    assert match is not None
    return match[1], match[2], match[3]


def test_a_trace_leads_from_the_caller_of_the_sdk_over_a_failure_to_the_receiver(
    traced: Server, collector: Collector, receiver: Receiver
) -> None:
    receiver.decide = failing(1)
    shop = Shop(traced, receiver, "/secret-path?key=hidden")
    svix = client(traced)
    svix._client = svix._client.with_headers(GIVEN)
    message_id = svix.message.create(shop.app_id, MessageIn(event_type="order.paid", payload={"order": 1})).id

    first, second = collector.wait("POST", 2, messaging__message__id=message_id)
    accepted = one(collector.named(PUBLISHED, messaging__message__id=message_id))
    published = one(collector.named("publish", messaging__message__id=message_id))
    assert {span.trace_id for span in (accepted, published, first, second)} == {TRACE}
    assert {span.state for span in (accepted, published, first, second)} == {GIVEN["tracestate"]}
    assert (accepted.kind, published.kind, first.kind) == ("SERVER", "PRODUCER", "CLIENT")
    assert (accepted.parent_id, published.parent_id) == (CALLER, accepted.span_id)
    assert (first.parent_id, second.parent_id) == (published.span_id, published.span_id)
    # What the receiver hears is the attempt that it was called by.
    assert [sent_context(receiver, at) for at in (0, 1)] == [(TRACE, first.span_id, "01"), (TRACE, second.span_id, "01")]
    assert receiver.arrivals[0].headers["tracestate"] == GIVEN["tracestate"]

    assert accepted.attributes["http.response.status_code"] == 202 and not accepted.failed
    assert first.failed and first.attributes["error.type"] == "500" and first.attributes["http.response.status_code"] == 500
    assert not second.failed and second.attributes["http.request.resend_count"] == 1
    assert first.attributes["server.address"] == "127.0.0.1" and first.attributes["server.port"] == receiver.port
    assert first.attributes["ringback.attempt.number"] == 1 and first.attributes["messaging.destination.name"] == shop.endpoint_id
    assert first.events[0] == "connect" and {"send", "wait"} <= set(first.events)
    assert collector.paths == {"/v1/traces"} and collector.headers[0]["x-tenant"] == "a b"
    assert collector.resource["service.name"] == "ringback" and collector.resource["deployment.environment.name"] == "test"


def test_without_a_context_each_message_has_a_trace_of_its_own(traced: Server, collector: Collector, receiver: Receiver) -> None:
    shop = Shop(traced, receiver)
    ids = [shop.publish(), shop.publish({"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-01", "tracestate": "a=1"})]
    attempts = [one(collector.wait("POST", messaging__message__id=message_id)) for message_id in ids]
    for message_id, attempt in zip(ids, attempts, strict=True):
        accepted = one(collector.named(PUBLISHED, messaging__message__id=message_id))
        assert accepted.parent_id == "" and accepted.trace_id == attempt.trace_id and accepted.state == ""
    assert attempts[0].trace_id != attempts[1].trace_id
    assert not [arrival for arrival in receiver.arrivals if "tracestate" in arrival.headers]


def test_requests_that_go_the_ordinary_way_have_the_same_spans(traced: Server, collector: Collector, receiver: Receiver) -> None:
    shop = Shop(traced, receiver)
    body = b'{"eventType":"a.b","payload":{}}'
    line = f"POST /api/v1/app/{shop.app_id}/msg HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {traced.token}\r\n"
    hot = f"{line}traceparent: {GIVEN['traceparent']}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    slow = f"{line}traceparent: {GIVEN['traceparent']}\r\ntransfer-encoding: chunked\r\n\r\n".encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    assert [call(traced, raw) for raw in (hot, slow)] == [202, 202]
    wait_until(lambda: len(receiver.arrivals) == 2)
    trees = []
    for arrival in receiver.arrivals:
        attempt = one(collector.wait("POST", messaging__message__id=arrival.id))
        (published,) = collector.named("publish", messaging__message__id=arrival.id)
        (accepted,) = collector.wait(PUBLISHED, messaging__message__id=arrival.id)
        assert (attempt.parent_id, published.parent_id, accepted.parent_id) == (published.span_id, accepted.span_id, CALLER)
        trees.append((set(accepted.attributes), set(published.attributes), accepted.attributes["http.response.status_code"]))
    assert trees[0] == trees[1]


def test_what_is_refused_is_a_span_too_and_no_failure_of_the_server(traced: Server, collector: Collector, receiver: Receiver) -> None:
    shop = Shop(traced, receiver)
    assert traced.call("POST", f"/app/{shop.app_id}/msg", {"eventType": "a b"}, GIVEN)[0] == 422
    refused = one(collector.wait(PUBLISHED, http__response__status_code=422))
    assert (refused.trace_id, refused.parent_id, refused.failed) == (TRACE, CALLER, False)


def test_an_event_is_verified_and_delivered_in_the_trace_of_its_provider(traced: Server, collector: Collector, receiver: Receiver) -> None:
    shop = Shop(traced, receiver)
    source_id, path = make_source(traced, shop.app_id)
    more = f"traceparent: {GIVEN['traceparent']}\r\ntracestate: {GIVEN['tracestate']}\r\n"
    assert call(traced, request(path, 1, more=more)) == 200
    wait_until(lambda: receiver.arrivals)
    attempt = one(collector.wait("POST", messaging__message__id=receiver.arrivals[0].id))
    received = one(collector.wait(RECEIVED, messaging__message__id=receiver.arrivals[0].id))
    published = one(collector.named("publish", messaging__message__id=receiver.arrivals[0].id))
    verified = one(collector.wait("verify", ringback__verification__reason="verified"))
    assert {span.trace_id for span in (attempt, received, published, verified)} == {TRACE}
    assert (received.parent_id, verified.parent_id, published.parent_id) == (CALLER, received.span_id, received.span_id)
    assert attempt.parent_id == published.span_id and sent_context(receiver) == (TRACE, attempt.span_id, "01")
    assert receiver.arrivals[0].headers["tracestate"] == GIVEN["tracestate"]
    assert received.attributes["ringback.source.id"] == source_id == published.attributes["ringback.source.id"]

    forged = request(path, 2).replace(b",v1=", b",v1=0")
    assert call(traced, forged) == 401
    refused = one(collector.wait("verify", ringback__verification__reason="signature_mismatch"))
    assert refused.failed and refused.attributes["error.type"] == "signature_mismatch"
    answered = [span for span in collector.named(RECEIVED, http__response__status_code=401) if span.span_id == refused.parent_id]
    assert one(answered).attributes["ringback.source.id"] == source_id
    # Events of a provider that repeats itself are told from new ones.
    assert call(traced, request(path, 1)) == 200
    assert one(collector.wait(RECEIVED, ringback__duplicate=True)).attributes["messaging.message.id"] == receiver.arrivals[0].id


def test_a_delivery_without_attempts_left_ends_its_trace(traced: Server, collector: Collector, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: FAILED
    shop = Shop(traced, receiver)
    message_id = shop.publish()
    dead = one(collector.wait("dead-letter", messaging__message__id=message_id))
    attempts = collector.named("POST", messaging__message__id=message_id)
    assert dead.attributes["error.type"] == "http_500" and dead.attributes["ringback.attempts"] == len(attempts) == 3
    assert {span.trace_id for span in attempts} == {dead.trace_id} and dead.parent_id == attempts[0].parent_id

    # And a task that replays it is a trace of its own.
    receiver.decide = lambda arrival: OK
    path = f"/app/{shop.app_id}/endpoint/{shop.endpoint_id}/recover"
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    task_id = traced.make(path, {"since": since.isoformat()})["id"]
    step = collector.wait("task", ringback__task__id=task_id)[0]
    assert step.attributes["ringback.task.kind"] == "endpoint.recover" and step.trace_id != dead.trace_id
    # Hours may lie between both, and the attempt is a child of the same acceptance.
    again = collector.wait("POST", 4, messaging__message__id=message_id)[-1]
    assert (again.trace_id, again.parent_id) == (dead.trace_id, dead.parent_id)


def test_a_transformation_is_a_part_of_its_attempt(traced: Server, collector: Collector, receiver: Receiver) -> None:
    shop = Shop(traced, receiver)
    code = "function handler(webhook) { webhook.method = 'PUT'; return webhook; }"
    path = f"/app/{shop.app_id}/endpoint/{shop.endpoint_id}/transformation"
    assert traced.call("PATCH", path, {"code": code, "enabled": True})[0] in (200, 204)
    message_id = shop.publish(GIVEN)
    attempt = one(collector.wait("PUT", messaging__message__id=message_id))
    transformed = [span for span in collector.wait("transform") if span.parent_id == attempt.span_id]
    assert one(transformed).trace_id == TRACE and transformed[0].attributes["ringback.transformation.outcome"] == "returned"
    assert sent_context(receiver) == (TRACE, attempt.span_id, "01")


def test_whoever_polls_gets_the_context_that_was_published_with_the_message(traced: Server, receiver: Receiver) -> None:
    shop = Shop(traced, receiver)
    svix = client(traced)
    sink_id = svix.destination.create(shop.app_id, DestinationIn(type="pollingEndpoint", config={})).id
    message_id = shop.publish(GIVEN)
    (polled,) = svix.message.poller.poll(shop.app_id, sink_id, MessagePollerPollOptions(limit=10)).data
    assert polled.id == message_id and polled.headers is not None
    assert {name: polled.headers[name] for name in GIVEN} == GIVEN


def test_a_header_of_the_endpoint_itself_wins(traced: Server, collector: Collector, receiver: Receiver) -> None:
    shop = Shop(traced, receiver, headers={"TraceParent": "mine"})
    message_id = shop.publish(GIVEN)
    assert one(collector.wait("POST", messaging__message__id=message_id)).trace_id == TRACE
    assert receiver.arrivals[0].headers["traceparent"] == "mine"


def test_whoever_publishes_may_say_that_a_trace_is_not_recorded(traced: Server, collector: Collector, receiver: Receiver) -> None:
    shop = Shop(traced, receiver)
    unseen = shop.publish({"traceparent": f"00-{TRACE}-{CALLER}-00"})
    seen = shop.publish()
    wait_until(lambda: len(receiver.arrivals) == 2)
    collector.wait("POST", messaging__message__id=seen)
    assert collector.of(unseen) == []
    at = next(at for at, arrival in enumerate(receiver.arrivals) if arrival.id == unseen)
    assert (sent_context(receiver, at)[0], sent_context(receiver, at)[2]) == (TRACE, "00")


def test_a_look_at_a_providers_list_is_a_span_that_what_it_finds_leads_back_to(
    traced: Server, collector: Collector, receiver: Receiver
) -> None:
    event = {"id": "evt_listed", "type": "charge.succeeded", "created": int(time.time()) - 3600, "object": "event"}
    api = ProviderApi(lambda asked: Said({"object": "list", "data": [event], "has_more": False}))
    shop = Shop(traced, receiver)
    source_id, _ = make_source(traced, shop.app_id)
    path = f"/app/{shop.app_id}/source/{source_id}/reconciliation"
    assert traced.call("PUT", path, {"credential": CREDENTIAL, "baseUrl": api.url, "settleS": 0})[0] in (200, 201)
    step = collector.wait("reconciliation", ringback__reconciliation__added=1)[0]
    api.close()
    assert step.attributes["ringback.source.id"] == source_id and not step.failed
    wait_until(lambda: receiver.arrivals)
    published = one(collector.wait("publish", messaging__message__id=receiver.arrivals[0].id))
    assert published.links == [(step.trace_id, step.span_id)]


def test_no_span_holds_what_is_secret(traced: Server, collector: Collector, receiver: Receiver) -> None:
    secrets = ["in-the-payload", "in-the-path", "in-the-query", "in-the-user", "in-the-password", "in-a-header", "in-the-answer"]
    receiver.decide = lambda arrival: Answer(500, headers=(("x-said", "in-the-answer"),), body=b"in-the-answer")
    url = f"http://in-the-user:in-the-password@127.0.0.1:{receiver.port}/in-the-path?q=in-the-query"
    shop = Shop(traced, receiver, url=url, headers={"x-key": "in-a-header"})
    message_id = shop.publish(payload={"secret": "in-the-payload"})
    collector.wait("dead-letter", messaging__message__id=message_id)
    exported = b"".join(collector.bodies)
    assert message_id.encode() in exported
    assert [text for text in [*secrets, traced.token] if text.encode() in exported] == []


def test_log_lines_name_the_trace_that_they_are_about(traced: Server, collector: Collector, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: Answer(410)
    shop = Shop(traced, receiver)
    message_id = shop.publish(GIVEN)
    attempt = one(collector.wait("POST", messaging__message__id=message_id))

    def line() -> dict[str, typing.Any] | None:
        lines = (json.loads(text) for text in traced.log.read_text().splitlines() if text.startswith("{"))
        return next((line for line in lines if line.get("endpoint_id") == shop.endpoint_id), None)

    found = wait_until(line)
    assert found is not None and found["event"] == "endpoint.disabled"
    assert (found["trace_id"], found["span_id"]) == (TRACE, attempt.span_id)


def test_a_retry_after_a_crash_is_in_the_trace_of_its_message_and_what_waits_at_the_end_is_exported(
    serve: Serve, receiver: Receiver, collector: Collector
) -> None:
    receiver.decide = lambda arrival: FAILED
    settings = {"otel_endpoint": collector.url, "retry_schedule": ",".join(["500ms"] * 50), "otel_service_name": "second"}
    running = serve(settings=settings)
    shop = Shop(running, receiver)
    ids = [shop.publish(GIVEN), shop.publish()]
    published = [one(collector.wait("publish", messaging__message__id=message_id)) for message_id in ids]
    wait_until(lambda: len(receiver.arrivals) >= 2)
    running.stop(signal.SIGKILL)
    receiver.decide = lambda arrival: OK
    running = serve(running.database, settings=settings)
    for message_id, accepted in zip(ids, published, strict=True):
        attempt = collector.wait("POST", messaging__message__id=message_id, http__response__status_code=200)[0]
        assert (attempt.trace_id, attempt.parent_id) == (accepted.trace_id, accepted.span_id)
    assert published[0].trace_id == TRACE
    assert collector.resource["service.name"] == "second"
    shop.running = running
    last = shop.publish()
    wait_until(lambda: last in receiver.ids())
    assert running.stop() == 0
    assert {span.name for span in collector.of(last)} >= {PUBLISHED, "publish", "POST"}


def test_deliveries_and_shutdown_wait_for_no_collector(serve: Serve, receiver: Receiver) -> None:
    """Of one that takes requests and never answers, both are as without it."""
    hanging = Collector(status=0)
    running = serve(settings={"otel_endpoint": hanging.url, "drain_timeout": "2s"})
    shop = Shop(running, receiver)
    ids = {shop.publish() for _ in range(5)}
    wait_until(lambda: receiver.ids() == ids)
    wait_until(lambda: hanging.bodies, what="the collector was asked")
    ids.add(shop.publish())
    wait_until(lambda: receiver.ids() == ids, what="deliveries go on while it hangs")
    assert running.stop() == 0
    assert '"clean": true' in running.log_tail()
    hanging.close()


def test_without_tracing_what_a_provider_gives_is_passed_on_and_what_a_publisher_gives_is_not(shared: Shared, receiver: Receiver) -> None:
    running = shared()
    shop = Shop(running, receiver)
    _, path = make_source(running, shop.app_id)
    assert call(running, request(path, 1, more=f"traceparent: {GIVEN['traceparent']}\r\n")) == 200
    wait_until(lambda: receiver.arrivals)
    assert receiver.arrivals[0].headers["traceparent"] == GIVEN["traceparent"]
    shop.publish(GIVEN)
    wait_until(lambda: len(receiver.arrivals) == 2)
    assert "traceparent" not in receiver.arrivals[1].headers


def test_a_server_that_cannot_export_says_what_is_missing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('it is not installed')\n", "utf-8")
    settings = {"otel_endpoint": "http://127.0.0.1:4318", "PYTHONPATH": f"{tmp_path}:{server.ROOT / 'src'}"}
    command = [*server.command(), "serve", "--listen", "127.0.0.1:0", "--database", str(tmp_path / "ringback.db")]
    done = subprocess.run(command, env=server.environment(settings), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "pip install 'ringback[opentelemetry]'" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.db")), "nothing was begun"
