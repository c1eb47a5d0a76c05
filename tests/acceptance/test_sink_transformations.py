"""Does a sink get what its code makes of a batch, the same however often it comes, and does no code hold up other streams?"""

from __future__ import annotations

import itertools
import json
import typing

import pytest

from tests.acceptance.receiver import FAILED, OK, Answer, Receiver, verify
from tests.acceptance.serving import QUICK_RETRIES, Serve, Shared
from tests.acceptance.streaming import Desk, all_of
from tests.waiting import wait_until

CHANGING: typing.Final = """
function handler(input) {
  return {
    config: {
      method: "PATCH",
      url: input.url + "?batch=" + input.batchId,
      headers: {"X-Kind": input.events[0].eventType, "x-team": "books", "webhook-id": "forged", "content-length": "1"},
    },
    data: {events: input.events},
  };
}
"""
LINES: typing.Final = """
function handler(input) {
  const data = input.events.map((event) => JSON.stringify(event.payload)).join("\\n");
  return {config: {format: "raw", headers: {"Content-Type": "application/x-ndjson"}}, data};
}
"""
BOMB: typing.Final = 'function handler() { return new Array(5e8).join(""); }'
LOOP: typing.Final = "function handler() { while (true) {} }"
SPANS: typing.Final = """
function handler(input) {
  return {
    config: {serviceName: "shop", scope: {name: "orders", version: "2.0"}},
    spans: input.events.map(({eventType, payload}) => ({
      name: eventType,
      kind: payload.parent ? "INTERNAL" : "SERVER",
      startTime: payload.start,
      endTime: payload.end,
      traceIdKey: payload.order,
      spanIdKey: payload.step,
      parentSpanIdKey: payload.parent,
      status: payload.error ? "ERROR" : undefined,
      statusMessage: payload.error,
      attributes: {order: payload.order, total: 1.5, paid: true, tags: ["a", 1], shop: {city: "Ulm"}, nothing: null},
    })),
  };
}
"""


@pytest.fixture
def desk(shared: Shared) -> Desk:
    return Desk(shared(QUICK_RETRIES))


def transformed(desk: Desk, url: str, code: str, **wanted: typing.Any) -> str:
    """The id of a new sink that is called with what code makes of its batches."""
    sink = desk.called(url, **wanted)
    desk.transform(sink, code)
    return sink


def failing(desk: Desk, sink: str) -> dict[str, typing.Any]:
    """What is told of a sink, once its batch has failed."""
    return wait_until(lambda: (shown := desk.shown(sink))["status"] == "retrying" and shown, what="a failure")


def test_the_request_is_what_the_code_makes_of_the_whole_batch_and_its_signature_covers_it(desk: Desk, receiver: Receiver) -> None:
    config = {"url": f"{receiver.url}/in", "headers": {"X-Team": "ledger", "authorization": "s3cret"}}
    sink = desk.sink(type="http", config=config)
    desk.transform(sink, CHANGING)
    desk.append('{"number": 1}', "no JSON", "[1", '"text"', "7", kind="order.paid")
    (arrival,) = wait_until(lambda: list(receiver.accepted), what="the batch")
    assert (arrival.method, arrival.path) == ("PATCH", f"/in?batch={arrival.id}") and arrival.id.startswith("batch_")
    read = [event["payload"] for event in json.loads(arrival.body)["events"]]
    assert read == [{"number": 1}, "no JSON", "[1", "text", 7]
    headers = arrival.headers
    assert (headers["x-kind"], headers["x-team"], headers["authorization"]) == ("order.paid", "books", "s3cret")
    assert headers["content-type"] == "application/json"
    verify(arrival, desk.running.call("GET", f"/stream/{desk.stream}/sink/{sink}/secret")[1]["key"])


def test_a_body_may_be_any_text_with_its_type(desk: Desk, receiver: Receiver) -> None:
    sink = transformed(desk, receiver.url, LINES)
    desk.append('{"n": 1}', '{"n": "\u00e9"}')
    (arrival,) = wait_until(lambda: list(receiver.accepted), what="the batch")
    assert (arrival.body.decode(), arrival.headers["content-type"]) == ('{"n":1}\n{"n":"\u00e9"}', "application/x-ndjson")
    desk.transform(sink, 'function handler() { return {config: {format: "raw"}, data: "plain"}; }')
    desk.append("2")
    wait_until(lambda: len(receiver.accepted) == 2, what="the next batch")
    assert (receiver.accepted[1].body, receiver.accepted[1].headers["content-type"]) == (b"plain", "text/plain; charset=utf-8")
    desk.transform(sink, 'function handler() { return {data: "a text"}; }')
    desk.append("3")
    wait_until(lambda: len(receiver.accepted) == 3, what="the last batch")
    assert receiver.accepted[2].body == b'"a text"'


def test_code_that_fails_holds_up_its_batch_and_what_is_saved_later_sends_it_under_its_id(desk: Desk, receiver: Receiver) -> None:
    sink = transformed(desk, receiver.url, "function handler(input) {\n  return input.a.b;\n}", batchSize=2)
    desk.append("0", "1")
    shown = failing(desk, sink)
    assert shown["failureReason"] == "the transformation failed: TypeError: cannot read property 'b' of undefined (line 2, column 10)"
    assert shown["nextRetryAt"] is not None
    desk.append("2")
    assert receiver.arrivals == []
    desk.transform(sink, "function handler(input) { return {data: [input.batchId, ...input.events]}; }")
    wait_until(lambda: len(receiver.accepted) == 2, what="both batches")
    first, second = (json.loads(arrival.body) for arrival in receiver.accepted)
    assert [event["payload"] for event in (*first[1:], *second[1:])] == [0, 1, 2]
    assert [first[0], second[0]] == [arrival.id for arrival in receiver.accepted]
    healed = wait_until(lambda: (shown := desk.shown(sink))["status"] == "enabled" and shown, what="it works again")
    assert healed["failureReason"] is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('function handler() { return {config: {url: "http://10.0.0.1/"}, data: 1}; }', "blocked"),
        ('function handler() { return {config: {url: "http://[::ffff:169.254.169.254]/"}, data: 1}; }', "blocked"),
        ('function handler() { return {config: {url: "file:///etc/passwd"}, data: 1}; }', "must start with http:// or https://"),
        ('function handler() { return {config: {method: "DELETE"}, data: 1}; }', "it must be POST, PUT or PATCH"),
        ('function handler() { return {config: {headers: {a: "1\\r\\nb: 2"}}, data: 1}; }', "line break"),
        ('function handler() { return {config: {headers: {"Content-Type": "a\\r\\nb: 2"}}, data: 1}; }', "line break"),
        ('function handler() { return {config: {format: "xml"}, data: 1}; }', "it must be 'json' or 'raw'"),
        ('function handler() { return {config: {format: "raw"}, data: [1]}; }', "`data` is no text"),
        ("function handler() { return {config: 5, data: 1}; }", "Expected `object | null`, got `int` - at `$.config`"),
        ("function handler(input) { return {events: input.events}; }", "`data` is missing; it is what is sent"),
        ('function handler() { return {data: "x".repeat(3e6)}; }', "at most 2097152 are allowed"),
        ("function handler() { return 5; }", "handler returned number; it must return an object"),
    ],
)
def test_what_cannot_be_sent_is_said(desk: Desk, receiver: Receiver, code: str, said: str) -> None:
    sink = transformed(desk, receiver.url, code)
    desk.append("0")
    assert said in failing(desk, sink)["failureReason"]
    assert receiver.arrivals == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("let handler = 5;", "it cannot be used: the code defines no function handler(input)"),
        (
            "function handler(input) {\n  return {data: };\n}",
            "it cannot be used: SyntaxError: unexpected token in expression: '}' (line 2, column 17)",
        ),
        ("while (true) {}", "it cannot be used: it was stopped after 1 s of CPU time"),
    ],
)
def test_code_that_can_never_be_called_is_refused_and_what_was_there_stays(desk: Desk, receiver: Receiver, code: str, said: str) -> None:
    sink = transformed(desk, receiver.url, "function handler() { return {data: 1}; }")
    status, answer = desk.running.call("PATCH", f"/stream/{desk.stream}/sink/{sink}/transformation", {"code": code})
    assert (status, answer["detail"]) == (422, [{"loc": ["body", "code"], "msg": said, "type": "value_error"}])
    desk.append("0")
    (arrival,) = wait_until(lambda: list(receiver.accepted), what="the batch")
    assert arrival.body == b"1"


def test_a_batch_that_comes_again_has_the_same_content_whatever_its_code_asks_for(desk: Desk, receiver: Receiver) -> None:
    failures = itertools.repeat(FAILED, 2)
    receiver.decide = lambda arrival: next(failures, OK)
    code = """
    let calls = 0;
    const begun = Math.random();
    function handler(input) { calls++; return {data: [calls, begun, Math.random(), Date.now(), new Date(), performance.now()]}; }
    """
    transformed(desk, receiver.url, code, batchSize=1)
    desk.append("0", "1")
    wait_until(lambda: len(receiver.accepted) == 2, what="both batches")
    *again, other = receiver.arrivals
    assert len(again) == 3 and len({(arrival.id, arrival.body) for arrival in again}) == 1
    assert other.body != again[0].body and json.loads(other.body)[0] == 1


def test_a_batch_that_its_code_does_not_want_is_done_with(desk: Desk, receiver: Receiver) -> None:
    code = "function handler(input) { return {data: input.events, cancel: input.events[0].payload === 1}; }"
    sink = transformed(desk, receiver.url, code, batchSize=1)
    desk.append("0", "1", "2")
    wait_until(lambda: len(receiver.accepted) == 2, what="two batches")
    assert [event["payload"] for arrival in receiver.arrivals for event in json.loads(arrival.body)] == [0, 2]
    assert desk.shown(sink)["failureReason"] is None


def test_who_asks_for_events_gets_them_as_they_are(desk: Desk) -> None:
    poller = desk.sink(type="poller")
    desk.transform(poller, "function handler(input) { return {data: []}; }")
    desk.append("0")
    assert [event["payload"] for event in desk.read(poller)["data"]] == ["0"]


def test_code_of_other_streams_that_comes_to_no_end_holds_up_nobody(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"log_level": "warning"})
    hostile, healthy = Desk(running), Desk(running)
    for number in range(40):
        transformed(hostile, f"{receiver.url}/bomb", (BOMB, LOOP)[number % 2])
    changed = "function handler(input) { return {data: input.events}; }"
    transformed(healthy, f"{receiver.url}/changed", changed)
    healthy.called(f"{receiver.url}/plain")
    hostile.append("0")
    for number in range(10):
        healthy.append(number)
        wait_until(lambda: all_of(receiver.at("/plain"))[-1:] == [str(number)], what="the plain one")  # noqa: B023 - it is waited for within the turn
    wait_until(lambda: all_of(receiver.at("/changed"))[-1:] == [9], what="the changed one", within_s=60)
    assert not receiver.at("/bomb")


def test_a_server_that_runs_no_code_says_so_and_sends_nothing_unchanged(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    desk = Desk(running)
    sink = transformed(desk, receiver.url, "function handler(input) { return {data: 1}; }")
    running.stop()
    desk.running = serve(port=running.port, settings={"transformation_workers": "0"})
    desk.append("0")
    why = "the server is set to run no transformations (transformation_workers)"
    assert failing(desk, sink)["failureReason"] == f"the transformation could not be run: {why}"
    path = f"/stream/{desk.stream}/sink/{sink}/transformation"
    status, answer = desk.running.call("PATCH", path, {"code": "function handler() { return {}; }"})
    assert (status, answer["code"]) == (501, "not_implemented") and why in answer["detail"]
    assert desk.running.call("POST", f"{path}/try", {})[0] == 501
    assert desk.running.call("GET", path)[1]["code"] == "function handler(input) { return {data: 1}; }", "nothing was kept of it"
    assert receiver.arrivals == []
    desk.transform(sink, None)
    assert all_of(wait_until(lambda: list(receiver.accepted), what="the batch as it is")) == ["0"]


def test_code_is_tried_on_past_events_and_says_which_line_is_wrong(desk: Desk) -> None:
    config = {"url": "https://user:pass@a.example/in", "headers": {"Authorization": "s3cret"}}
    sink = desk.sink(type="http", config=config, eventTypes=["a"], batchSize=2)
    path = f"/stream/{desk.stream}/sink/{sink}/transformation/try"
    call = desk.running.call
    code = 'function handler(input) {\n  console.log("here");\n  return {config: {method: "PUT"}, data: input.events};\n}'
    assert call("POST", path, {"code": code})[1]["code"] == "no_event"
    desk.append("0", '{"n": 1}', "2", kind="a")
    desk.append("3", kind="b")
    status, trial = call("POST", path, {"code": code})
    assert trial.pop("cpuMs") >= 0
    assert (status, trial) == (
        200,
        {
            "outcome": "sent",
            "events": 2,
            "request": {
                "method": "PUT",
                "url": "https://a.example/in",
                "headers": {"Authorization": "***"},
                "contentType": "application/json",
                "payload": '[{"eventType":"a","payload":{"n":1}},{"eventType":"a","payload":2}]',
            },
            "error": None,
            "console": ["here"],
        },
    )
    wrong = call(
        "POST", path, {"code": "function handler(input) {\n  return input.a.b;\n}", "events": [{"eventType": "x", "payload": "5"}]}
    )[1]
    assert (wrong["outcome"], wrong["events"], wrong["error"]["line"], wrong["error"]["column"]) == ("failed", 1, 2, 10)
    assert call("POST", path, {})[1]["detail"][0]["loc"] == ["body", "code"]
    assert call("GET", path.removesuffix("/try"))[1] == {"code": None, "enabled": False}, "nothing of it is kept"
    poller = desk.sink(type="poller")
    assert call("POST", f"/stream/{desk.stream}/sink/{poller}/transformation/try", {"code": code})[1]["code"] == "not_http_sink"


class Spans:
    """A sink that sends spans, and the receiver's end of OTLP/HTTP."""

    def __init__(self, desk: Desk, receiver: Receiver) -> None:
        self.desk, self.receiver = desk, receiver
        self.sink = desk.sink(type="otelTracing", config={"url": f"{receiver.url}/v1/traces", "headers": {"api-key": "s3cret"}})

    def step(self, order: str, step: str, parent: str | None = None, **more: typing.Any) -> str:
        """The payload of an event about a step of an order."""
        times = {"start": "2024-01-02T03:04:05.123456Z", "end": "2024-01-02T04:04:06+01:00"}
        return json.dumps({"order": order, "step": step, **times} | ({"parent": parent} if parent else {}) | more)

    def received(self, count: int) -> list[dict[str, typing.Any]]:
        """The spans of so many requests, each read as a collector does."""
        arrivals = wait_until(lambda: len(self.receiver.at("/v1/traces")) >= count and self.receiver.at("/v1/traces"), what="the spans")
        return [span for arrival in arrivals for span in self._decoded(arrival.body)]

    def _decoded(self, body: bytes) -> typing.Iterator[dict[str, typing.Any]]:
        """The spans in a request, judged by https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding."""
        for resource_spans in json.loads(body)["resourceSpans"]:
            (service,) = resource_spans["resource"]["attributes"]
            for scope_spans in resource_spans["scopeSpans"]:
                for span in scope_spans["spans"]:
                    assert len(bytes.fromhex(span["traceId"])) == 16 and len(bytes.fromhex(span["spanId"])) == 8
                    assert len(bytes.fromhex(span.get("parentSpanId", "00" * 8))) == 8
                    assert isinstance(span["kind"], int)
                    assert int(str(span["startTimeUnixNano"])) <= int(str(span["endTimeUnixNano"]))
                    yield span | {"service": service["value"]["stringValue"], "scope": scope_spans["scope"]}


@pytest.fixture
def spans(desk: Desk, receiver: Receiver) -> Spans:
    return Spans(desk, receiver)


def test_spans_are_sent_once_there_is_code_that_makes_them_and_until_then_the_sink_says_so(spans: Spans) -> None:
    desk = spans.desk
    desk.append(spans.step("o1", "pay"))
    waits = wait_until(lambda: (shown := desk.shown(spans.sink))["failureReason"] and shown, what="it says what it needs")
    assert (waits["status"], waits["nextRetryAt"]) == ("enabled", None) and "it has no transformation" in waits["failureReason"]
    assert spans.receiver.arrivals == []
    desk.transform(spans.sink, SPANS)
    (span,) = spans.received(1)
    assert (span["name"], span["kind"], span["service"], span["scope"]) == ("order.paid", 2, "shop", {"name": "orders", "version": "2.0"})
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("1704164645123456000", "1704164646000000000")
    assert span["attributes"] == [
        {"key": "order", "value": {"stringValue": "o1"}},
        {"key": "total", "value": {"doubleValue": 1.5}},
        {"key": "paid", "value": {"boolValue": True}},
        {"key": "tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}},
        {"key": "shop", "value": {"kvlistValue": {"values": [{"key": "city", "value": {"stringValue": "Ulm"}}]}}},
    ]
    (arrival,) = spans.receiver.arrivals
    assert (arrival.method, arrival.headers["content-type"], arrival.headers["api-key"]) == ("POST", "application/json", "s3cret")
    assert "webhook-signature" not in arrival.headers, "nobody could verify it: such a sink has no secret to read"
    healed = wait_until(lambda: not (shown := desk.shown(spans.sink))["failureReason"] and shown, what="it works")
    assert healed["status"] == "enabled"
    desk.transform(spans.sink, None)
    desk.append(spans.step("o2", "pay"))
    wait_until(lambda: desk.shown(spans.sink)["failureReason"], what="it says what it needs again")
    assert len(spans.receiver.arrivals) == 1


def test_equal_keys_join_spans_across_batches_and_a_batch_that_comes_again_has_the_same_ids(spans: Spans) -> None:
    failures = itertools.repeat(Answer(503), 1)
    spans.receiver.decide = lambda arrival: next(failures, OK)
    desk = spans.desk
    desk.transform(spans.sink, SPANS)
    desk.append(spans.step("o1", "order"), spans.step("o2", "order"))
    first, other, again, other_again = spans.received(2)
    assert (first, other) == (again, other_again)
    assert first["traceId"] != other["traceId"] and first["spanId"] != other["spanId"]
    desk.append(spans.step("o1", "pay", "order", error="no cover"))
    child = spans.received(3)[-1]
    assert (child["traceId"], child["parentSpanId"], child["kind"]) == (first["traceId"], first["spanId"], 1)
    assert child["status"] == {"code": 2, "message": "no cover"}
    desk.transform(spans.sink, SPANS.replace("traceIdKey: payload.order,", "").replace("spanIdKey: payload.step,", ""))
    desk.append(spans.step("o1", "a"), spans.step("o1", "b"))
    *_, third, fourth = spans.received(4)
    assert len({span["traceId"] for span in (first, third, fourth)}) == 3, "without a key each is a trace of its own"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            '{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}',
            "the receiver rejected 2 spans of the last batch: too old",
        ),
        ('{"partialSuccess": {"rejectedSpans": 1}}', "the receiver rejected 1 span of the last batch"),
        ('{"partialSuccess": {"errorMessage": "use gzip"}}', "the receiver took the last batch with a warning: use gzip"),
    ],
)
def test_spans_that_are_rejected_are_told_and_not_sent_again(spans: Spans, said: str, words: str) -> None:
    spans.receiver.decide = lambda arrival: Answer(200, body=said.encode(), body_after_s=0.05)
    spans.desk.transform(spans.sink, SPANS)
    spans.desk.append(spans.step("o1", "pay"))
    shown = wait_until(lambda: (shown := spans.desk.shown(spans.sink))["failureReason"] == words and shown, what="it is told")
    assert (shown["status"], shown["nextRetryAt"]) == ("enabled", None)
    spans.receiver.decide = lambda arrival: Answer(200, body=b'{"partialSuccess": {}}')
    spans.desk.append(spans.step("o2", "pay"))
    wait_until(lambda: spans.desk.shown(spans.sink)["failureReason"] is None, what="the next batch is whole")
    assert len(spans.receiver.arrivals) == 2


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ("5", "`spans[0]` cannot be used: Expected `object`, got `int`"),
        ("{}", "`spans[0]` cannot be used: Object missing required field `name`"),
        ('{name: "a", startTime: "soon", endTime: "2024-01-02"}', '`spans[0].startTime` is "soon"; it must be a time as 2024'),
        ('{name: "a", startTime: "2024-01-02", endTime: "2024-01-02", kind: "OTHER"}', '`spans[0].kind` is "OTHER"; it must be one of'),
        ('{name: "a", startTime: "2024-01-02", endTime: "2024-01-02", attributes: "x"}', "Expected `object | null`, got `str`"),
    ],
)
def test_what_is_no_span_is_said(spans: Spans, span: str, said: str) -> None:
    spans.desk.transform(spans.sink, f"function handler() {{ return {{spans: [{span}]}}; }}")
    spans.desk.append("0")
    assert said in failing(spans.desk, spans.sink)["failureReason"]
    assert spans.receiver.arrivals == []


def test_a_receiver_of_spans_that_is_gone_disables_its_sink(spans: Spans) -> None:
    spans.receiver.decide = lambda arrival: Answer(410)
    spans.desk.transform(spans.sink, SPANS)
    spans.desk.append(spans.step("o1", "pay"))
    shown = wait_until(lambda: (shown := spans.desk.shown(spans.sink))["status"] == "disabled" and shown, what="it is disabled")
    assert "410" in shown["failureReason"]
    assert spans.desk.running.call("GET", f"/stream/{spans.desk.stream}/sink/{spans.sink}/secret")[1]["code"] == "not_http_sink"
