"""What do malformed, oversized, slow and hostile requests get? A clear 4xx or a closed connection; nobody else notices."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import typing

import pytest

from tests.api.fuzz_client import PATIENCE_S, Answer, Target, assert_error_shape, read_answers, serving

MIB = 1024 * 1024

# The limit of the contract, bytes.
MAX_BODY = 2 * MIB

# How much a server may grow while it refuses a hundred oversized bodies, MB: a few buffers and the allocator's habits, no body.
GROWTH_MB = 40

GOOD = b'{"eventType":"order.paid","payload":{"a":1}}'


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Target]:
    yield from serving(tmp_path_factory.mktemp("bad_input"))


@pytest.fixture(autouse=True)
def unharmed(target: Target) -> typing.Iterator[None]:
    """After each test the server lives and answers others."""
    yield
    assert target.server.process.poll() is None, target.server.log_tail()
    assert target.ask(GOOD).status == 202


def refused(target: Target, *chunks: bytes, half_close: bool = False) -> Answer | None:
    """Send, and check that it is refused: one 4xx in the contract's shape and nothing after it, or a closed connection (None)."""
    talk = target.talk(*chunks, answers=2, half_close=half_close)
    assert talk.closed, f"the connection went on: {talk.answers}"
    assert len(talk.answers) <= 1, f"more than one answer: {talk.answers}"
    if not talk.answers:
        return None
    assert_error_shape(talk.answers[0])
    return talk.answers[0]


INVALID_JSON = {
    "nothing": b"",
    "an open brace": b"{",
    "a missing value": b'{"eventType":}',
    "half a word": b"nul",
    "text behind": GOOD + b" x",
    "a second document": GOOD + GOOD,
    "single quotes": b"{'eventType':'a','payload':{}}",
    "a trailing comma": b'{"eventType":"a","payload":{},}',
    "NaN": b'{"eventType":"a","payload":{"a":NaN}}',
    "Infinity": b'{"eventType":"a","payload":{"a":Infinity}}',
    "a leading zero": b'{"eventType":"a","payload":{"a":01}}',
    "a raw NUL": b'{"eventType":"a","payload":{"a":"\x00"}}',
    "NUL behind": GOOD + b"\x00",
    "a raw line feed in a string": b'{"eventType":"a","payload":{"a":"\n"}}',
    "invalid UTF-8 in the payload": b'{"eventType":"a","payload":{"a":"\xff\xfe"}}',
    "invalid UTF-8 in a key": b'{"eventType":"a","payload":{"\xc3\x28":1}}',
    "overlong UTF-8": b'{"eventType":"a","payload":{"a":"\xc0\xaf"}}',
    "an encoded surrogate": b'{"eventType":"a","payload":{"a":"\xed\xa0\x80"}}',
    "invalid UTF-8 in the event type": b'{"eventType":"a\xff","payload":{}}',
    "UTF-16": GOOD.decode().encode("utf-16"),
    "form data": b"eventType=a&payload=b",
    "deep arrays": b'{"eventType":"a","payload":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "deep objects": b'{"eventType":"a","payload":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "deep and unclosed": b"[" * 1_000_000,
}

WRONG_TYPES = {
    "an array": b"[]",
    "a string": b'"text"',
    "a number": b"1",
    "null": b"null",
    "no event type": b'{"payload":{}}',
    "no payload": b'{"eventType":"a"}',
    "a number as event type": b'{"eventType":1,"payload":{}}',
    "null as event type": b'{"eventType":null,"payload":{}}',
    "an empty event type": b'{"eventType":"","payload":{}}',
    "a blank in the event type": b'{"eventType":"a b","payload":{}}',
    "NUL in the event type": b'{"eventType":"a\\u0000","payload":{}}',
    "a lone surrogate in the event type": b'{"eventType":"\\ud800","payload":{}}',
    "a line feed in the event type": b'{"eventType":"a\\n","payload":{}}',
    "a long event type": b'{"eventType":"' + b"a" * 257 + b'","payload":{}}',
    "an array as payload": b'{"eventType":"a","payload":[]}',
    "a string as payload": b'{"eventType":"a","payload":"{}"}',
    "a number as payload": b'{"eventType":"a","payload":1}',
    "null as payload": b'{"eventType":"a","payload":null}',
    "text as channels": b'{"eventType":"a","payload":{},"channels":"a"}',
    "no channel": b'{"eventType":"a","payload":{},"channels":[]}',
    "eleven channels": json.dumps({"eventType": "a", "payload": {}, "channels": [str(n) for n in range(11)]}).encode(),
    "a bad channel": b'{"eventType":"a","payload":{},"channels":["a b"]}',
    "six tags": b'{"eventType":"a","payload":{},"tags":["1","2","3","4","5","6"]}',
    "a number as event id": b'{"eventType":"a","payload":{},"eventId":1}',
    "a bad event id": b'{"eventType":"a","payload":{},"eventId":"msg_a"}',
    "a retention of zero": b'{"eventType":"a","payload":{},"payloadRetentionPeriod":0}',
    "a huge retention": b'{"eventType":"a","payload":{},"payloadRetentionPeriod":' + b"9" * 400 + b"}",
    "a retention beyond all floats": b'{"eventType":"a","payload":{},"payloadRetentionPeriod":1e400}',
    "two retentions": b'{"eventType":"a","payload":{},"payloadRetentionPeriod":5,"payloadRetentionHours":5}',
    "a past delivery": b'{"eventType":"a","payload":{},"deliverAt":"2020-01-01T00:00:00Z"}',
    "no time as delivery": b'{"eventType":"a","payload":{},"deliverAt":"soon"}',
    "a number as delivery": b'{"eventType":"a","payload":{},"deliverAt":1e9}',
}


@pytest.mark.parametrize("body", [*INVALID_JSON.values(), *WRONG_TYPES.values()], ids=[*INVALID_JSON, *WRONG_TYPES])
def test_a_body_that_is_no_message_gets_a_422_that_names_the_place(target: Target, body: bytes) -> None:
    answer = target.ask(body)
    assert answer.status == 422, answer
    assert_error_shape(answer)
    assert answer.json()["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"name":1}',
        b'{"name":""}',
        b'{"name":"a\xff"}',
        b'{"name":"a","uid":"a b"}',
        b'{"name":"a","metadata":[]}',
        b"[" * 1_000_000,
    ],
)
def test_an_ordinary_route_refuses_a_bad_body_in_the_same_shape(target: Target, body: bytes) -> None:
    answer = target.ask(body, path="/api/v1/app")
    assert answer.status == 422, answer
    assert_error_shape(answer)


def test_all_failing_fields_are_named_at_once(target: Target) -> None:
    answer = target.ask(b'{"eventType":1,"tags":{},"channels":"a"}')
    assert {problem["loc"][1] for problem in answer.json()["detail"]} == {"eventType", "payload", "channels", "tags"}


@pytest.mark.parametrize(
    "payload",
    [
        b'{"n":1' + b"0" * 5000 + b"}",
        b'{"n":1e999999}',
        b'{"n":-0.0,"m":9007199254740993}',
        b'{"n":0.' + b"1" * 5000 + b"}",
        b'{"a":1,"a":2}',
        b'{ "z" : 1 ,\n"a":\t"\\u0000\\ud83d\\ude00" }',
        b'{"":{"":[]}}',
    ],
    ids=["huge integer", "beyond all floats", "exact integer", "long fraction", "duplicate keys", "blanks and escapes", "empty keys"],
)
def test_an_odd_but_valid_payload_is_accepted(target: Target, payload: bytes) -> None:
    assert target.ask(b'{"eventType":"a","payload":%b}' % payload).status == 202


def test_of_duplicate_fields_one_is_taken_or_the_request_refused_but_never_a_mixture(target: Target) -> None:
    answer = target.ask(b'{"eventType":"first","eventType":"second","payload":{"a":1},"payload":{"b":2}}')
    if answer.status == 202:
        assert answer.json()["eventType"] in ("first", "second")
        assert answer.json()["payload"] in ({"a": 1}, {"b": 2})
    else:
        assert_error_shape(answer)


@pytest.mark.parametrize(
    "query", ["limit=abc", "limit=-1", "limit=0", "limit=251", "limit=1e3", "limit=" + "9" * 400, "iterator=%00", "order=up", "limit=%ff"]
)
def test_a_bad_query_is_refused(target: Target, query: str) -> None:
    answer = target.ask(b"", method="GET", path=f"/api/v1/app?{query}")
    assert answer.status in (400, 422), answer
    assert_error_shape(answer)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v2/app",
        "/api/v1/app/x/y/z",
        "//api/v1/app",
        "/api/v1/app/../app",
        "/%00",
        "/api/v1/app/%ff%fe",
        "/api/v1/app/target/msg/msg_x/nothing",
        "/api/v1/app/" + "a" * 5000,
    ],
)
def test_an_unknown_route_is_a_404_in_the_contracts_shape(target: Target, path: str) -> None:
    answer = target.ask(b"", method="GET", path=path)
    if path == "/" and 300 <= answer.status < 400:
        return  # the start page of a later issue
    assert answer.status in (404, 414, 422), answer
    assert_error_shape(answer)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/app", {"GET", "POST"}),
        ("DELETE", "/api/v1/app/target/msg", {"GET", "POST"}),
        ("PATCH", "/api/v1/health", {"GET"}),
        ("POST", "/api/v1/app/target/msg/msg_a", {"GET"}),
        ("BREW", "/api/v1/app", {"GET", "POST"}),
    ],
)
def test_a_known_route_with_another_method_is_a_405_that_names_the_allowed_ones(
    target: Target, method: str, path: str, allowed: set[str]
) -> None:
    talk = target.talk(target.request(b"", method=method, path=path))
    if method == "BREW" and talk.closed:
        return  # no method of HTTP: the parser ends the conversation
    (answer,) = talk.answers
    if method == "BREW" and answer.status == 400:
        return assert_error_shape(answer)
    assert answer.status == 405, answer
    assert_error_shape(answer)
    assert answer.json()["code"] == "method_not_allowed"
    assert {name.strip() for name in (answer.header("allow") or "").split(",")} >= allowed
    return None


@pytest.mark.parametrize("path", ["", "/api/v1/app", "/api/v1/app/target/endpoint"])
def test_a_body_announced_over_the_limit_is_refused_before_it_is_sent(target: Target, path: str) -> None:
    head = target.request(path=path).replace(b"content-length: 0", b"content-length: %d" % (MAX_BODY + 1))
    answer = refused(target, head)
    assert answer is not None and answer.status == 413
    assert answer.json()["code"] == "payload_too_large"


@pytest.mark.parametrize("path", ["", "/api/v1/app"])
def test_a_chunked_body_over_the_limit_is_refused_without_reading_the_rest(target: Target, path: str) -> None:
    head = target.request(path=path).replace(b"content-length: 0", b"transfer-encoding: chunked")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    sent = 0
    with target.connect() as connection:
        connection.sendall(head)
        connection.settimeout(5)
        try:
            while sent < 64 * MAX_BODY:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass  # the server stopped reading, as it should
        assert sent < 8 * MAX_BODY, "the server goes on reading far beyond the limit"
        talk = read_answers(connection, 1, 5)
    if talk.answers:
        assert talk.answers[0].status == 413
        assert_error_shape(talk.answers[0])


def test_a_chunked_body_just_over_the_limit_is_answered_413(target: Target) -> None:
    head = target.request().replace(b"content-length: 0", b"transfer-encoding: chunked")
    answer = refused(target, head + b"%x\r\n" % (MAX_BODY + 1) + b"x" * (MAX_BODY + 1) + b"\r\n")
    assert answer is None or answer.status == 413


def test_a_body_at_the_limit_is_accepted_both_ways(target: Target) -> None:
    start, end = b'{"eventType":"a","payload":{"a":"', b'"}}'
    body = start + b"x" * (MAX_BODY - len(start) - len(end)) + end
    assert target.ask(body).status == 202
    head = target.request().replace(b"content-length: 0", b"transfer-encoding: chunked")
    talk = target.talk(head, b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
    assert [answer.status for answer in talk.answers] == [202]


def test_a_chunked_message_is_accepted(target: Target) -> None:
    head = target.request().replace(b"content-length: 0", b"transfer-encoding: chunked")
    pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (GOOD[:7], GOOD[7:20], GOOD[20:])]
    talk = target.talk(head, *pieces, b"0\r\n\r\n")
    assert [answer.status for answer in talk.answers] == [202]


HEADER_FLOODS = {
    "a hundred thousand headers": b"".join(b"x-%d: y\r\n" % number for number in range(100_000)),
    "one long header": b"x-long: " + b"y" * 5 * MIB + b"\r\n",
    "one long name": b"x" * 5 * MIB + b": y\r\n",
    "a long key": b"idempotency-key: " + b"k" * MIB + b"\r\n",
}


@pytest.mark.parametrize("flood", HEADER_FLOODS.values(), ids=HEADER_FLOODS)
@pytest.mark.parametrize("path", ["", "/api/v1/app"])
def test_a_flood_of_headers_is_refused(target: Target, flood: bytes, path: str) -> None:
    before = target.server.rss_mb()
    answer = refused(target, target.request(path=path)[:-2] + flood + b"\r\n")
    assert answer is None or answer.status in (400, 431)
    assert target.server.rss_mb() - before < GROWTH_MB


def test_an_endless_request_line_is_refused(target: Target) -> None:
    answer = refused(target, b"GET /" + b"a" * 5 * MIB)
    assert answer is None or answer.status in (400, 414, 431)


def test_an_endless_query_is_refused_or_ignored(target: Target) -> None:
    answer = refused(target, b"GET /api/v1/app?" + b"a=b&" * MIB + b" HTTP/1.1\r\nhost: a\r\n\r\n")
    assert answer is None or answer.status in (400, 401, 414, 431)


SMUGGLED = b"GET /api/v1/health HTTP/1.1\r\nhost: a\r\n\r\n"

SMUGGLING = {
    "two hosts": ("host: b",),
    "both lengths": ("content-length: {length}", "transfer-encoding: chunked"),
    "both lengths the other way": ("transfer-encoding: chunked", "content-length: {length}"),
    "two lengths": ("content-length: {length}", "content-length: 4"),
    "a list of lengths": ("content-length: {length}, 4",),
    "a negative length": ("content-length: -1",),
    "a signed length": ("content-length: +{length}",),
    "a hexadecimal length": ("content-length: 0x10",),
    "a length of letters": ("content-length: ten",),
    "a length beyond 64 bits": ("content-length: " + "9" * 40,),
    "an empty length": ("content-length:",),
    "chunked twice": ("transfer-encoding: chunked", "transfer-encoding: chunked"),
    "chunked and more": ("transfer-encoding: chunked, identity",),
    "chunked misspelt": ("transfer-encoding: xchunked",),
    "chunked with a tab": ("transfer-encoding:\x0bchunked",),
    "a blank before the colon": ("transfer-encoding : chunked",),
    "a folded header": ("transfer-encoding:\r\n chunked",),
    "a folded length": ("content-length:\r\n {length}",),
    "no chunks": ("transfer-encoding: gzip",),
    "gzip, chunked": ("transfer-encoding: gzip, chunked",),
    "gzip, then chunked": ("transfer-encoding: gzip", "transfer-encoding: chunked"),
    "a bare line feed": ("content-length: 4\ntransfer-encoding: chunked",),
    "a bare carriage return": ("content-length: 4\rtransfer-encoding: chunked",),
    "NUL in a header": ("content-length: {length}", "x-nul: a\x00b"),
    "NUL in a name": ("content-length: {length}", "x\x00nul: a"),
    "no colon": ("content-length: {length}", "nonsense"),
    "no name": ("content-length: {length}", ": value"),
    "a blank in a name": ("content-length: {length}", "x nul: a"),
}


@pytest.mark.parametrize("lines", SMUGGLING.values(), ids=SMUGGLING)
@pytest.mark.parametrize("path", ["/api/v1/app/target/msg", "/api/v1/app"])
def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_answered(
    target: Target, lines: tuple[str, ...], path: str
) -> None:
    """Source: https://www.rfc-editor.org/rfc/rfc9112#section-6.3."""
    body = b"0\r\n\r\n" + SMUGGLED
    head = [f"POST {path} HTTP/1.1", "host: a", f"authorization: Bearer {target.server.token}", *lines]
    raw = "\r\n".join(head).format(length=len(body)).encode("latin-1") + b"\r\n\r\n" + body
    talk = target.talk(raw, answers=3, half_close=True)
    assert talk.closed
    assert all(answer.status != 200 for answer in talk.answers), "the smuggled request was answered"
    assert len(talk.answers) <= 1
    for answer in talk.answers:
        assert_error_shape(answer)


def without_host(target: Target, *lines: str, version: str = "1.1", path: str = "") -> bytes:
    """A request to publish with those lines where its host would be named."""
    raw = target.request(GOOD, path=path).replace(b" HTTP/1.1", f" HTTP/{version}".encode(), 1)
    return raw.replace(b"host: ringback\r\n", "".join(f"{line}\r\n" for line in lines).encode("latin-1"), 1)


@pytest.mark.parametrize("path", ["", "/api/v1/app"])
@pytest.mark.parametrize("extra", [(), ("expect: 100-continue",), ("connection: upgrade", "upgrade: websocket")])
@pytest.mark.parametrize(
    "lines", [(), ("host: a", "host: a"), ("host: a b",), ("host: a@b",), ("host: a/b",), ("host: \xe4",), ("host: a:b",), ("host: [::1",)]
)
def test_a_request_that_names_no_host_or_several_is_refused(
    target: Target, path: str, lines: tuple[str, ...], extra: tuple[str, ...]
) -> None:
    """Source: https://www.rfc-editor.org/rfc/rfc9112#section-3.2."""
    answer = refused(target, without_host(target, *lines, *extra, path=path))
    assert answer is not None and answer.status == 400
    assert "Host" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize("extra", [(), ("expect: 100-continue",)])
@pytest.mark.parametrize("host", ["", "h.example", "h_1.example:8071", "10.0.0.1", "[::1]:8071", "[fe80::1%25eth0]", "x%C3%A4:"])
def test_a_host_may_be_a_name_an_address_or_nothing(target: Target, host: str, extra: tuple[str, ...]) -> None:
    assert [answer.status for answer in target.talk(without_host(target, f"host: {host}", *extra)).answers] == [202]


@pytest.mark.parametrize(
    "lines", [(), ("host: a", "connection: keep-alive"), ("host: a", "connection: keep-alive", "expect: 100-continue")]
)
def test_http_1_0_needs_no_host_and_its_connections_end_after_the_answer(target: Target, lines: tuple[str, ...]) -> None:
    """Such clients wait for the end where the answer does not promise another one: `ab -k` would hang."""
    talk = target.talk(without_host(target, *lines, version="1.0"), answers=2)
    assert [answer.status for answer in talk.answers] == [202]
    assert talk.closed


def test_http_1_0_ends_a_connection_that_has_carried_http_1_1_to_the_same_host(target: Target) -> None:
    lines = ("host: a", "connection: keep-alive")
    with target.connect() as connection:
        for version, closed in (("1.1", False), ("1.0", True)):
            connection.sendall(without_host(target, *lines, version=version))
            talk = read_answers(connection, 1 + closed, PATIENCE_S)
            assert ([answer.status for answer in talk.answers], talk.closed) == ([202], closed)


CODINGS = ["gzip, chunked", "chunked, chunked", "identity, chunked", ", chunked", "gzip", "chunked, gzip", "chunked;a=b", "x"]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", ["", "/api/v1/app"])
def test_a_transfer_coding_that_is_not_known_is_refused(target: Target, coding: str, path: str) -> None:
    """What is coded otherwise than `chunked` would be read as the body. Source: https://www.rfc-editor.org/rfc/rfc9112#section-6.1."""
    head = target.request(path=path).replace(b"content-length: 0", f"transfer-encoding: {coding}".encode())
    answer = refused(target, head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD))
    assert answer is not None and answer.status == 400


@pytest.mark.parametrize(
    "bad", [b"GET /api/v1/health HTTP/1.1\r\n\r\n", b"GET /api/v1/health HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 100 + b"\r\n"]
)
@pytest.mark.parametrize("path", ["", "/api/v1/app/target/msg?x=y"])
def test_a_request_before_one_that_is_refused_keeps_its_answer(target: Target, bad: bytes, path: str) -> None:
    talk = target.talk(target.request(GOOD, path=path) + bad, answers=3)
    assert [answer.status for answer in talk.answers] == [202]
    assert talk.closed


CHUNKS = {
    "a size that is no number": b"zz\r\nabc\r\n0\r\n\r\n",
    "a negative size": b"-1\r\nabc\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "a size that is too small": b"1\r\nabc\r\n0\r\n\r\n",
    "a prefixed size": b"0x3\r\nabc\r\n0\r\n\r\n",
    "bare line feeds": b"3\nabc\n0\n\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "an endless extension": b"3;" + b"x" * 3 * MIB,
    "endless trailers": b"3\r\nabc\r\n0\r\n" + b"x-trailer: y\r\n" * 500_000,
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("path", ["", "/api/v1/app"])
def test_bad_chunks_are_refused(target: Target, chunks: bytes, path: str) -> None:
    before = target.server.rss_mb()
    head = target.request(path=path).replace(b"content-length: 0", b"transfer-encoding: chunked")
    talk = target.talk(head, chunks, SMUGGLED, answers=3, half_close=True)
    assert talk.closed
    assert len(talk.answers) <= 1 and all(400 <= answer.status < 500 for answer in talk.answers), talk
    assert target.server.rss_mb() - before < GROWTH_MB


NO_REQUEST = {
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "zeroes": b"\x00" * 1000,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown version": b"GET /api/v1/health HTTP/9.9\r\nhost: a\r\n\r\n",
    "an answer": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "a blank in the target": b"GET /api/v1/ health HTTP/1.1\r\nhost: a\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nhost: a\r\n\r\n",
    "another protocol": b"EHLO example.com\r\n",
}


@pytest.mark.parametrize("raw", NO_REQUEST.values(), ids=NO_REQUEST)
def test_what_is_no_request_ends_the_conversation(target: Target, raw: bytes) -> None:
    answer = refused(target, raw, half_close=True)
    assert answer is None or answer.status in (400, 404, 405)


@pytest.mark.parametrize(("protocol", "extra"), [("h2c", "HTTP2-Settings"), ("websocket", "Sec-WebSocket-Key")])
@pytest.mark.parametrize(("path", "body", "status"), [("", GOOD, 202), ("/api/v1/app", b'{"name":"upgrade"}', 201)])
def test_an_upgrade_is_ignored_and_the_request_answered(
    target: Target, protocol: str, extra: str, path: str, body: bytes, status: int
) -> None:
    """Source: https://www.rfc-editor.org/rfc/rfc9110#section-7.8 (and what Java's HttpClient sends by default)."""
    headers = [("connection", f"Upgrade, {extra}"), ("upgrade", protocol), (extra, "AAMAAABkAAQAAP__")]
    raw = target.request(body, path=path, headers=headers)
    assert [answer.status for answer in target.talk(raw).answers] == [status]
    assert [answer.status for answer in target.talk(raw[:-5], raw[-5:]).answers] == [status]


def test_pipelined_requests_are_answered_in_order_across_hot_and_ordinary_routes(target: Target) -> None:
    requests, expected = [], []
    for number in range(30):
        key = ("svix-req-id", str(number))
        kind = number % 5
        if kind in (0, 1):
            requests.append(target.request(b'{"eventType":"a","payload":{"n":%d}}' % number, headers=[key]))
            expected.append((202, str(number)))
        elif kind == 2:
            requests.append(target.request(method="GET", path="/api/v1/health", headers=[key]))
            expected.append((200, str(number)))
        elif kind == 3:
            requests.append(target.request(b"{}", headers=[key]))
            expected.append((422, str(number)))
        else:
            requests.append(target.request(method="GET", path="/api/v1/nothing", headers=[key]))
            expected.append((404, str(number)))
    talk = target.talk(b"".join(requests), answers=len(requests))
    assert [(answer.status, answer.header("x-request-id")) for answer in talk.answers] == expected


def test_a_flood_of_pipelined_requests_is_answered_in_order_in_bounded_memory(target: Target) -> None:
    before = target.server.rss_mb()
    count = 3000
    talk = target.talk(target.request(GOOD) * count, answers=count, patience_s=30)
    assert [answer.status for answer in talk.answers] == [202] * len(talk.answers)
    assert len(talk.answers) == count
    assert target.server.rss_mb() - before < GROWTH_MB


def test_a_request_in_single_bytes_is_answered(target: Target) -> None:
    raw = target.request(GOOD)
    with target.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(raw)):
            connection.sendall(raw[position : position + 1])
        talk = read_answers(connection, 1, 10)
    assert [answer.status for answer in talk.answers] == [202]


def test_a_client_that_half_closes_after_its_request_is_answered(target: Target) -> None:
    for path, status in (("", 202), ("/api/v1/app/target/endpoint", 422)):
        body = GOOD if not path else b"{}"
        talk = target.talk(target.request(body, path=path), half_close=True, answers=2)
        assert ([answer.status for answer in talk.answers], talk.closed) == ([status], True), talk


def test_a_client_that_half_closes_after_several_requests_is_answered_each(target: Target) -> None:
    hot, ordinary = target.request(GOOD), target.request(b"{}", path="/api/v1/app/target/endpoint")
    for requests, statuses in (((hot, hot, ordinary), [202, 202, 422]), ((ordinary, hot), [422, 202]), ((hot, ordinary[:40]), [202])):
        talk = target.talk(b"".join(requests), half_close=True, answers=4)
        assert ([answer.status for answer in talk.answers], talk.closed) == (statuses, True), talk


def test_half_a_request_and_a_half_close_ends_the_connection(target: Target) -> None:
    raw = target.request(GOOD)
    for cut in (1, 20, len(raw) - len(GOOD) - 1, len(raw) - 10):
        talk = target.talk(raw[:cut], half_close=True)
        assert all(400 <= answer.status < 500 for answer in talk.answers)


def test_a_client_that_vanishes_in_the_middle_harms_nobody(target: Target) -> None:
    raw = target.request(b'{"eventType":"a","payload":{"a":"' + b"x" * 100_000 + b'"}}')
    for _ in range(200):
        with target.connect() as connection:
            # Close with a reset instead of an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.sendall(raw[:50_000])
    assert target.ask(GOOD).status == 202


def test_a_client_that_never_reads_its_answers_costs_bounded_memory(target: Target) -> None:
    assert target.ask(b"", method="GET", path="/api/v1/openapi.json").status == 200
    before = target.server.rss_mb()
    request = target.request(method="GET", path="/api/v1/openapi.json") * 200
    with target.connect() as connection:
        connection.settimeout(1.0)
        with contextlib.suppress(TimeoutError, OSError):
            for _ in range(200):
                connection.sendall(request)
        assert target.ask(GOOD).status == 202
        assert target.server.rss_mb() - before < GROWTH_MB


@contextlib.contextmanager
def _watched(target: Target, worst_s: float) -> typing.Iterator[None]:
    """Another client publishes all the while; no answer of its may fail or take longer than `worst_s`."""
    over = threading.Event()
    took: list[float] = []
    statuses: set[int] = set()

    def publish() -> None:
        with target.connect() as connection:
            while not over.wait(0.005):
                began = time.monotonic()
                connection.sendall(target.request(GOOD))
                talk = read_answers(connection, 1, 10)
                took.append(time.monotonic() - began)
                statuses.update(answer.status for answer in talk.answers)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
    assert statuses == {202}
    assert max(took) < worst_s, f"another client waited {max(took):.2f} s"


def test_a_hundred_oversized_bodies_cost_bounded_memory_and_disturb_nobody(target: Target) -> None:
    before = target.server.rss_mb()
    announced = target.request().replace(b"content-length: 0", b"content-length: %d" % (50 * MIB))
    chunked = target.request().replace(b"content-length: 0", b"transfer-encoding: chunked")
    with _watched(target, 1.0):
        for number in range(100):
            raw = announced if number % 2 else chunked + b"%x\r\n" % (4 * MIB)
            talk = target.talk(raw, b"x" * 3 * MIB, answers=1)
            assert all(answer.status == 413 for answer in talk.answers), talk
    assert target.server.rss_mb() - before < GROWTH_MB


def test_deep_and_broken_documents_disturb_nobody(target: Target) -> None:
    before = target.server.rss_mb()
    with _watched(target, 1.0):
        for body in (
            b"[" * (MAX_BODY - 1),
            b'{"a":' * (MAX_BODY // 6),
            b'{"eventType":"a","payload":{' + b'"a":1,' * 300_000 + b'"b":1}}',
            b"1" * MAX_BODY,
        ):
            target.ask(body)
            target.ask(body, path="/api/v1/app")
    assert target.server.rss_mb() - before < 2 * GROWTH_MB


def test_many_slow_clients_cost_bounded_memory_and_disturb_nobody(target: Target) -> None:
    before = target.server.rss_mb()
    raw = target.request(b'{"eventType":"a","payload":{"a":"' + b"x" * 60_000 + b'"}}')
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(target.connect()) for _ in range(300)]
        for number, connection in enumerate(slow):
            connection.sendall(raw[: 30 if number % 2 else 50_000])
        with _watched(target, 1.0):
            threading.Event().wait(1.0)
    assert target.server.rss_mb() - before < GROWTH_MB + 300 * 0.06


def test_an_unauthorised_request_is_a_401_whatever_its_body(target: Target) -> None:
    for body in (GOOD, b"{", b"[" * 1000):
        for token in ("", "wrong", "sk_" + "a" * 40, "\xff", "a" * 5000):
            answer = target.ask(body, token=token)
            assert answer.status == 401, answer
            assert_error_shape(answer)
            assert answer.json() == {"code": "authentication_failed", "detail": answer.json()["detail"]}


def test_a_head_request_has_no_body(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(target.request(method="HEAD", path="/api/v1/health", token=""))
        connection.sendall(target.request(GOOD))
        received = b""
        while received.count(b"HTTP/1.1") < 2:
            data = connection.recv(65536)
            assert data
            received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"HTTP/1.1 202")
