"""Do the hot door for providers and the ordinary route answer alike? Every request goes through both, in both orders.

The hot door leaves a request with `Expect: 100-continue` to the ordinary route: that header is the only difference between the two.
"""

from __future__ import annotations

import json
import threading
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.config.running import find
from tests.api.fuzz_client import Answer, read_answers
from tests.gateway.door import ORDINARY, SECRET, SIGNERS, Door, opened, stripe
from tests.waiting import wait_until

# Requests tried: each goes out twice, a few milliseconds together.
EXAMPLES = 400
# All that may be answered to requests with an exact frame, whatever is in them.
STATUSES = {200, 201, 202, 204, 205, 400, 401, 403, 404, 405, 413, 415, 422}
# Larger bodies than this are refused by one of the sources below.
SMALL = 300

SOURCES: dict[str, tuple[str, dict[str, typing.Any]]] = {
    "plain": ("stripe", {}),
    "no content": ("stripe", {"answer": {"status": 204}}),
    "own answer": ("stripe", {"answer": {"status": 202, "body": "[accepted]", "contentType": "text/plain", "headers": {"X-Own": "1"}}}),
    "empty answer": ("stripe", {"answer": {"status": 205, "body": "", "contentType": ""}}),
    "some types": ("stripe", {"eventTypes": ["a", "b"]}),
    "rejects": ("stripe", {"schema": {"required": ["must"]}, "schemaMode": "reject"}),
    "quarantines": ("stripe", {"schema": {"required": ["must"]}, "schemaMode": "quarantine"}),
    "observes": ("stripe", {"verify": "observe"}),
    "small": ("stripe", {"maxBodyBytes": SMALL}),
    "by body": ("stripe", {"deduplication": {"by": ["body"]}}),
    "two methods": ("github", {"methods": ["POST", "PUT"]}),
    "github": ("github", {"route": "webhooks/github"}),
    "slack": ("slack", {}),
    "shopify": ("shopify", {}),
    "standard": ("standard-webhooks", {}),
    "twilio": ("twilio", {}),
    "open": ("generic-webhook", {}),
    "off": ("stripe", {"disabled": True}),
    "templated": ("stripe", {"answer": {"template": True, "body": '{"id":"{{json:id}}"}', "headers": {"X-E": "{{json:type}}"}}}),
    "signed answer": ("github", {"answer": {"signature": {"header": "X-Signature", "content": "{{body}}{{json:x}}"}}}),
    "stable": ("stripe", {"deduplication": {"without": ["x"]}}),
    "senders": ("stripe", {"secretBy": "json:x", "secrets": [{"text": SECRET, "sender": "1"}]}),
    "certified": ("stripe", {"clientCertificate": {"accept-encoding": "gzip"}}),
    "refers": ("stripe", {"schema": {"$ref": "#/definitions/a", "definitions": {"a": {"required": ["must"]}}}, "schemaMode": "reject"}),
    "sendgrid": ("custom", {"verify": "none", "handshakes": ["ms-graph", "monday"], "secrets": []}),
    "fetches": ("paypal", {"secrets": ["WH-1"]}),
    "in the query": ("cloudevents", {"secrets": ["s"]}),
    "in the query, own answer": ("cloudevents", {"secrets": ["s"], "answer": {"status": 202, "headers": {"Cache-Control": "no-store"}}}),
}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Door]:
    yield from opened(tmp_path_factory.mktemp("doors"))


@pytest.fixture(scope="module")
def paths(door: Door) -> dict[str, str]:
    found = {name: door.source(kind, **wanted)["path"] for name, (kind, wanted) in SOURCES.items()}
    # Each is known in memory before the first comparison: an unknown one goes the ordinary way.
    for path in found.values():
        door.send(path)
    return found


def comparable(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What must be equal: status, headers without the date, body."""
    return answer.status, sorted((name, value) for name, value in answer.headers if name != "date"), answer.body


documents = st.dictionaries(
    st.sampled_from(["id", "type", "challenge", "event", "must", "payload", "x"]),
    st.text(max_size=8) | st.integers() | st.none() | st.booleans() | st.lists(st.integers(), max_size=3),
    max_size=4,
)
bodies = (
    documents.map(lambda document: json.dumps(document).encode())
    | st.just(b'{"type":"url_verification","challenge":"c"}')
    | st.just(b'{"challenge":"3eZbrw1a"}')
    | st.just(b"ssl_check=1&token=t")
    | st.sampled_from([b"", b"a=1&b=2&a=1", b"a=%27&b=+", b"[]", b'[{"id":1},{"id":2}]', b"x" * SMALL, b"x" * (SMALL + 1)])
    | st.binary(max_size=60)
)
tamperings = st.sampled_from(["", "", "", "body", "twice", "none", "empty", "garbage", "folded name"])
queries = st.sampled_from(
    ["", "", "", "?", "?a=1", "?a='b'", "?validationToken=v", "?%ff=%00", "?a#b", "?challenge=1&challenge=2", "?access_token=s"]
)
extras = st.lists(
    st.sampled_from(
        [
            ("content-type", "application/json"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-encoding", "gzip"),
            ("content-encoding", "identity"),
            ("content-encoding", "br"),
            ("connection", "close"),
            ("connection", "keep-alive, x-hop"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=10.0.0.1;proto=https"),
            ("accept-encoding", "gzip"),
            ("idempotency-key", "k"),
            ("authorization", "Bearer b"),
            ("origin", "https://example.com"),
            ("x-odd_name.1", "\xe9"),
            ("x-long", "x" * 2_000),
        ]
    ),
    max_size=3,
    unique_by=lambda header: header[0],
)


def tampered(headers: list[tuple[str, str]], how: str) -> list[tuple[str, str]]:
    if how == "twice":
        return [*headers, *headers]
    if how == "none":
        return []
    if how == "empty":
        return [(name, "") for name, _ in headers]
    if how == "garbage":
        return [(name, "\xff,;= \t=v1=") for name, _ in headers]
    if how == "folded name":
        return [(name.title().replace("-", "_"), value) for name, value in headers]
    return headers


@settings(max_examples=EXAMPLES)
@given(
    name=st.sampled_from(sorted(SOURCES)),
    body=bodies,
    tampering=tamperings,
    query=queries,
    extra=extras,
    slash=st.sampled_from(["", "", "", "/", "//", "%2f", "x"]),
    method=st.sampled_from(["POST", "POST", "POST", "POST", "PUT", "GET", "HEAD", "OPTIONS", "DELETE"]),
    first=st.booleans(),
)
def test_both_doors_answer_alike(
    door: Door,
    paths: dict[str, str],
    name: str,
    body: bytes,
    tampering: str,
    query: str,
    extra: list[tuple[str, str]],
    slash: str,
    method: str,
    first: bool,
) -> None:
    path = paths[name] + slash
    sign = SIGNERS.get(SOURCES[name][0], SIGNERS["generic-webhook"])
    headers = tampered(sign(body, door.url(path + query).partition("#")[0], sign.__defaults__[-1]), tampering)  # type: ignore[attr-defined]  # every signer has its secret as a default
    sent = body + b"!" * (tampering == "body")
    present = {given for given, _ in headers}
    headers += [header for header in extra if header[0] not in present]
    if method in ("GET", "HEAD", "OPTIONS"):
        sent = b""
    requests = [door.request(path + query, sent, headers, method), door.request(path + query, sent, [*headers, ORDINARY], method)]
    answers = [one(door, request, method) for request in (requests if first else reversed(requests))]
    assert comparable(answers[0]) == comparable(answers[1])
    assert answers[0].header("set-cookie") is None
    assert answers[0].status in STATUSES | ({503} if name == "fetches" else set())


def one(door: Door, request: bytes, method: str) -> Answer:
    """The answer to a request; a second request on the connection shows that it ends where it says."""
    with door.target.connect() as connection:
        connection.sendall(request + door.request("/nothing", b"", [("connection", "close")]))
        received = b""
        while data := connection.recv(65_536):
            received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100 "):
        head, _, rest = rest.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    answer = Answer(int(lines[0].split(" ")[1]), tuple(fields), b"")
    length = 0 if method == "HEAD" else int(answer.header("content-length") or 0)
    assert answer.status == 204 or answer.header("content-length") is not None, received
    assert not rest[length:] or rest[length:].startswith(b"HTTP/1.1 404 "), received
    return Answer(answer.status, answer.headers, rest[:length])


def test_the_ordinary_route_is_really_another_way_in(door: Door, paths: dict[str, str]) -> None:
    with door.target.connect() as connection:
        connection.sendall(door.request(paths["plain"], b"{}", [*stripe(b"{}"), ORDINARY]))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 "), "the header that chooses the ordinary route was ignored"


def test_a_source_that_was_just_made_or_changed_answers_alike_at_once(door: Door) -> None:
    made = door.source("stripe", secrets=["old"])
    body = b'{"id":"evt_1","type":"a"}'
    for extra in ([], [ORDINARY]):
        assert door.send(made["path"], body, [*stripe(body, secret="old"), *extra]).status == 200
    changed = {"name": "s", "type": "stripe", "secrets": ["new"]}
    assert door.server.call("PUT", f"/app/{door.app_id}/source/{made['id']}", changed)[0] == 200
    for extra in ([], [ORDINARY]):
        assert door.send(made["path"], body, [*stripe(body, secret="old"), *extra]).status == 401
        assert door.send(made["path"], body, [*stripe(body, secret="new"), *extra]).status == 200
    assert door.server.call("DELETE", f"/app/{door.app_id}/source/{made['id']}")[0] == 204
    for extra in ([], [ORDINARY]):
        assert door.send(made["path"], body, [*stripe(body, secret="new"), *extra]).status == 404


def test_fifty_twins_at_once_through_both_doors_are_one_event(door: Door) -> None:
    rounds = [door.source("stripe") for _ in range(5)]
    for number, made in enumerate(rounds):
        assert twins(door, made["path"], b'{"id":"evt_%d","type":"twins"}' % number) == [200] * 50
        assert len(door.events(made["id"])) == 1
    for made in rounds:
        wait_until(lambda made=made: door.activity(made["id"])["duplicates"] == 49, what="the twins are counted")


def twins(door: Door, path: str, body: bytes) -> list[int]:
    """What fifty equal requests, sent at once, are answered."""
    headers = stripe(body)
    # From here on it is known in memory.
    assert door.send(path, b"", []).status == 401
    start = threading.Barrier(50)
    statuses: list[int] = []

    def send(extra: list[tuple[str, str]]) -> None:
        request = door.request(path, body, [*headers, *extra])
        with door.target.connect() as connection:
            start.wait(30)
            connection.sendall(request)
            statuses.append(read_answers(connection, 1, 20.0).answers[0].status)

    threads = [threading.Thread(target=send, args=([ORDINARY] if index % 2 else [],)) for index in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return statuses


@pytest.mark.parametrize("way", [[], [ORDINARY]], ids=["hot", "ordinary"])
@pytest.mark.parametrize("change", ["deleted", "rotated", "disabled"])
def test_a_change_counts_for_requests_whose_body_is_still_on_its_way(door: Door, change: str, way: list[tuple[str, str]]) -> None:
    made = door.source("stripe")
    body = b'{"id":"evt_1","type":"late"}'
    assert door.send(made["path"], b"", []).status == 401
    request = door.request(made["path"], body, [*stripe(body), *way])
    where = f"/app/{door.app_id}/source/{made['id']}"
    with door.target.connect() as connection:
        connection.sendall(request[:-1])
        # Whatever is read first: the answer of this call comes before the last byte of the other request.
        if change == "deleted":
            assert door.server.call("DELETE", where)[0] == 204
        elif change == "rotated":
            assert door.server.call("POST", f"{where}/secret/rotate", {"secret": "other", "gracePeriodSeconds": 0})[0] == 200
        else:
            assert door.server.call("PUT", where, {"name": "s", "type": "stripe", "disabled": True})[0] == 200
        connection.sendall(request[-1:])
        talk = read_answers(connection, 1, 20.0)
    assert talk.answers[-1].status == (401 if change == "rotated" else 404)


def test_the_rate_of_an_organisation_holds_at_both_doors_alike(door: Door) -> None:
    source, body = door.source(), b'{"id":"evt_1","type":"a"}'
    operator = find(str(door.server.database))
    assert operator is not None

    def limit(rate: int | None) -> None:
        headers = {"authorization": f"Bearer {operator.token}"}
        answer = door.server.call("PUT", "/operator/organisation/limit", {"org": "default", "receiveRate": rate}, headers)
        assert (answer[0], answer[1]["receiveRate"]) == (200, rate)

    limit(1)
    try:
        for extra in ([], [ORDINARY]):
            # One after the other, so that the hot door answers; and more than one a second, however slow the machine is.
            answers = [door.send(source["path"], body, [*stripe(body), *extra]) for _ in range(40)]
            refused = [answer for answer in answers if answer.status == 429]
            assert len(refused) > 10
            assert {(answer.body, answer.header("retry-after")) for answer in refused} == {
                (b'{"code":"rate_limited","detail":"Too many requests"}', "1")
            }
    finally:
        limit(None)
    assert door.send(source["path"], body, stripe(body)).status == 200
    wait_until(lambda: door.activity(source["id"])["rejectedByReason"].get("organisation_rate_limited", 0) > 20, what="they are counted")
