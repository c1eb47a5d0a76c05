"""Has every POST with an idempotency-key its effect once, whatever happens? Over real sockets; HTTP contract, section 1.9."""

from __future__ import annotations

import collections
import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import threading
import typing

import pytest

from benchmarks import server
from ringback.config.running import find
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve
from tests.api.everything import POSTS, SETTINGS, Everything
from tests.api.fuzz_client import Answer, read_answers
from tests.api.live import Live, opened
from tests.api.operations import operation_of, operations

# Requests at the same time.
TOGETHER: typing.Final = 50
# Longest time for an answer, seconds: fifty requests on a busy machine.
PATIENCE_S: typing.Final = 20.0
# How often the server is killed at random moments, the seed of these, and the latest of them, seconds.
ROUNDS: typing.Final = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "50")) // 12
SEED: typing.Final = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))
LATEST_DEATH_S: typing.Final = 0.3
MESSAGES: typing.Final = "/api/v1/app/{app_id}/msg"
# What has no key to repeat, or nothing to repeat it for.
WITHOUT: typing.Final = {
    "/api/v1/auth/logout": "its token is no token any more when it comes again",
    "/api/v1/auth/stream-logout": "its token is no token any more when it comes again",
    "/api/v1/operator/token": "takes the operator's token, for whom no key is kept",
    "/api/v1/privacy/export": "changes nothing, and its answer is as long as what is found",
    "/api/v1/app/{app_id}/destination/{destination_id}/secret/rotate": "no type that is built has a secret, so it never succeeds",
}
# What happens to a thing that is gone afterwards: a second key finds nothing to do it to.
ONCE: typing.Final = frozenset(template for template in POSTS if template.endswith("/{quarantine_id}/release"))
# What is not written into the audit log, and the list that shows its effect instead; "" = it has none.
UNLOGGED: typing.Final = {
    MESSAGES: MESSAGES,
    "/api/v1/app/{app_id}/msg/precheck/active": "",
    "/api/v1/stream/{stream_id}/events": "/api/v1/stream/{stream_id}/sink/{sink_id}/events",
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example": MESSAGES,
    "/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}/seek": "",
    "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}/commit": "",
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/filter/try": "",
    "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation/try": "",
    "/api/v1/app/{app_id}/destination/{destination_id}/filter/try": "",
    "/api/v1/stream/{stream_id}/sink/{sink_id}/transformation/try": "",
    "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter/try": "",
    "/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation/try": "",
}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Everything]:
    receiver = Receiver()
    for live in opened(tmp_path_factory.mktemp("idempotency"), SETTINGS):
        yield Everything(live, receiver)
    receiver.close()


@pytest.fixture(scope="module")
def other_token(there: Everything) -> str:
    """Another token of the same organisation."""
    return _operator_made(there.live)


def _operator_made(live: Live) -> str:
    running = find(str(live.server.database))
    assert running is not None
    return str(live.made("/operator/token", {}, token=running.token)["token"])


def effects(there: Everything, template: str) -> int:
    """How often requests of this kind have been carried out."""
    if template in UNLOGGED:
        listed = UNLOGGED[template]
        return len(there.live.get(f"{there.path(listed)}?limit=250").json()["data"]) if listed else 0
    with contextlib.closing(sqlite3.connect(f"file:{there.live.server.database}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM audit_entry WHERE action <> 'secret.revealed'").fetchone()[0])


def effect_of_one(template: str) -> int:
    """How many effects one request has."""
    return 1 if UNLOGGED.get(template, "a log") else 0


def written(live: Live, path: str, body: typing.Any, key: str, token: str = "") -> bytes:
    """A POST as it goes over the wire."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path if '/api/' in path else '/api/v1' + path} HTTP/1.1\r\nhost: {live.server.host}:{live.server.port}\r\n"
        f"authorization: Bearer {token or live.server.token}\r\nidempotency-key: {key}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def connected(live: Live) -> socket.socket:
    """A connection of its own."""
    return socket.create_connection((live.server.host, live.server.port), timeout=PATIENCE_S)


def answered(connection: socket.socket) -> Answer:
    """The one answer on a connection."""
    (answer,) = read_answers(connection, 1, PATIENCE_S).answers
    return answer


def asked(live: Live, request: bytes) -> Answer:
    """The answer to a request on a connection of its own."""
    with connected(live) as connection:
        connection.sendall(request)
        return answered(connection)


def same(answer: Answer) -> tuple[int, str | None, bytes]:
    """What a repeated answer has in common with the first one."""
    return answer.status, answer.header("content-type"), answer.body


def test_every_post_of_the_api_is_here() -> None:
    posts = {operation.path for operation in operations() if operation.method == "POST"}
    assert posts == {*POSTS, *WITHOUT}
    assert POSTS.keys().isdisjoint(WITHOUT)


@pytest.mark.parametrize("template", POSTS)
def test_fifty_identical_requests_at_once_have_one_effect_and_one_answer(there: Everything, other_token: str, template: str) -> None:
    live = there.live
    path, body = there.post(template)
    key = live.name("key")
    before = effects(there, template)
    request = written(live, path, body, key)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(live)) for _ in range(TOGETHER)]
        for connection in connections:
            connection.sendall(request[:-1])
        for connection in connections:
            connection.sendall(request[-1:])
        answers = {same(answered(connection)) for connection in connections}
    assert len(answers) == 1, answers
    ((status, _, content),) = answers
    assert 200 <= status < 300, content
    once = effect_of_one(template)
    assert effects(there, template) - before == once
    assert same(asked(live, request)) in answers
    if template in ONCE:
        return
    # The key is that of its token, path and query alone.
    for again in (written(live, path, body, key, other_token), written(live, f"{path}?x=1", body, key)):
        before = effects(there, template)
        answer = asked(live, again)
        # A name that is taken shows as well as a second effect does that the request was carried out anew.
        assert effects(there, template) - before == once or answer.status == 409, answer


@pytest.mark.parametrize("template", [template for template in POSTS if operation_of(template).body is not None])
def test_what_was_refused_is_not_kept(there: Everything, template: str) -> None:
    live = there.live
    path, body = there.post(template)
    key = live.name("key")
    refused = asked(live, written(live, path, b"[]", key))
    assert refused.status == 422, refused
    accepted = asked(live, written(live, path, body, key))
    assert 200 <= accepted.status < 300, accepted
    assert same(asked(live, written(live, path, body, key))) == same(accepted)


@pytest.mark.parametrize("template", POSTS)
def test_a_client_that_went_away_finds_its_request_carried_out_once(there: Everything, template: str) -> None:
    live = there.live
    path, body = there.post(template)
    request = written(live, path, body, live.name("key"))
    before = effects(there, template)
    # In the middle of the head, before the last byte, and before the answer: after that it may have been carried out, or not.
    for length in (len(request) // 2, len(request) - 1, len(request)):
        with connected(live) as connection:
            connection.sendall(request[:length])
    answer = asked(live, request)
    assert 200 <= answer.status < 300, answer
    assert effects(there, template) - before == effect_of_one(template)
    assert same(asked(live, request)) == same(answer)


def test_a_message_has_its_effect_once_through_whichever_door_it_comes(there: Everything) -> None:
    live = there.live
    for order in ((False, True), (True, False)):
        path, body = there.post(MESSAGES)
        fast = written(live, path, body, live.name("key"))
        # A client that asks before it sends is answered by the ordinary route.
        slow = fast.replace(b"content-length", b"expect: 100-continue\r\ncontent-length")
        before = effects(there, MESSAGES)
        first, second = (asked(live, slow if is_slow else fast) for is_slow in order)
        assert first.status == 202, first
        assert same(first) == same(second)
        assert effects(there, MESSAGES) - before == 1


def test_every_answer_outlives_a_server_that_is_killed_right_after_it(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings=SETTINGS)
    there = Everything(Live(running), receiver)
    requests = {template: written(there.live, *there.post(template), f"key-{number}") for number, template in enumerate(POSTS)}
    with contextlib.ExitStack() as stack:
        connections = {template: stack.enter_context(connected(there.live)) for template in POSTS}
        for template, connection in connections.items():
            connection.sendall(requests[template])
        answers = {template: same(answered(connection)) for template, connection in connections.items()}
        running.process.send_signal(signal.SIGKILL)
    assert {template: status for template, (status, _, _) in answers.items() if status >= 300} == {}
    running.process.wait(10)
    again = Live(serve(settings=SETTINGS, port=running.port))
    assert {template: same(asked(again, request)) for template, request in requests.items()} == answers


def test_what_is_made_while_the_server_is_killed_again_and_again_is_made_once(serve: Serve) -> None:
    moments, numbers = random.Random(SEED), itertools.count(1)
    running = serve(settings=SETTINGS)
    app = running.make("/app", {"name": "Shop"})["id"]
    lists = {
        "/app": ("name", lambda name: {"name": name}),
        f"/app/{app}/endpoint": ("description", lambda name: {"url": "https://a.example/", "description": name}),
        f"/app/{app}/integration": ("name", lambda name: {"name": name}),
        f"/app/{app}/msg": ("eventType", lambda name: {"eventType": name, "payload": {}}),
    }
    asked_for: dict[str, set[str]] = {path: set() for path in lists}
    left: list[tuple[str, str]] = []
    for _ in range(ROUNDS):
        threading.Timer(moments.uniform(0.0, LATEST_DEATH_S), running.process.send_signal, [signal.SIGKILL]).start()
        while running.process.poll() is None:
            name, path = left[0] if left else (f"number-{next(numbers)}", moments.choice(sorted(lists)))
            left = [(name, path)]
            asked_for[path].add(name)
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, answer = running.call("POST", path, lists[path][1](name), {"idempotency-key": name})
                assert status in (201, 202), answer
                left = []
        running = serve(settings=SETTINGS, port=running.port)
    for name, path in left:
        assert running.call("POST", path, lists[path][1](name), {"idempotency-key": name})[0] in (201, 202)
    assert sum(map(len, asked_for.values())) > ROUNDS, "hardly anything was made: the test shows nothing"
    for path, (field, _) in lists.items():
        made = [item[field] for item in listed(running, path) if item[field].startswith("number-")]
        assert collections.Counter(made) == dict.fromkeys(asked_for[path], 1)


def listed(running: server.Server, path: str) -> list[typing.Any]:
    """All items of a list."""
    found, at = [], ""
    while True:
        _, page = running.call("GET", f"{path}?limit=250{at}")
        found += page["data"]
        if page["done"]:
            return found
        at = f"&iterator={page['iterator']}"
