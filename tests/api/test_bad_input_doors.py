"""Do the hot door and the ordinary route of a message answer alike? Every request goes through both.

The hot door hands a request with `Expect: 100-continue` on to the ordinary route: that header is the only difference between the two.
"""

from __future__ import annotations

import json
import re
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.fuzz_client import Answer, Target, serving

# Requests tried: each goes out twice, a few milliseconds together.
EXAMPLES = 300

ORDINARY = ("expect", "100-continue")

GOOD = b'{"eventType":"order.paid","payload":{"a":1}}'

# What differs between two answers to equal requests: ids and times of the messages made, and the date.
VOLATILE = re.compile(rb"msg_[0-9A-Za-z]{27}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Target]:
    yield from serving(tmp_path_factory.mktemp("doors"))


def comparable(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What must be equal: status, headers without the date, and the body without what is new in each message."""
    headers = sorted((name, value) for name, value in answer.headers if name != "date")
    return answer.status, headers, VOLATILE.sub(b"*", answer.body)


def both(target: Target, body: bytes, **options: typing.Any) -> tuple[Answer, Answer]:
    """The answers of both doors to one request; the request id is given, so that it is no difference."""
    headers = [("svix-req-id", "1234567890"), *options.pop("headers", ())]
    hot = target.ask(body, headers=headers, **options)
    ordinary = target.ask(body, headers=[*headers, ORDINARY], **options)
    return hot, ordinary


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=12)
times = st.sampled_from(["2020-01-01T00:00:00Z", "2099-01-01T00:00:00+02:00", "soon", "", "2024-13-01T00:00:00Z"])

# One field of a message: mostly as it should be, sometimes anything at all.
messages = st.fixed_dictionaries(
    {},
    optional={
        "eventType": names | anything,
        "payload": st.dictionaries(st.text(max_size=8), anything, max_size=4) | anything,
        "data": st.dictionaries(st.text(max_size=8), anything, max_size=2),
        "channels": st.lists(names, max_size=12) | anything,
        "tags": st.lists(names, max_size=7) | anything,
        "eventId": st.just("msg_no") | st.text(alphabet="a b", min_size=1, max_size=3) | st.integers(),
        "payloadRetentionPeriod": st.integers(-5, 100) | anything,
        "payloadRetentionHours": st.integers(-5, 3000) | anything,
        "deliverAt": times | anything,
        "transformationsParams": st.fixed_dictionaries({"rawPayload": st.text(max_size=20) | anything}) | anything,
        "orderingKey": st.text(max_size=3) | st.just("k" * 257) | anything,
        "unknown": anything,
    },
)


def _encoded(message: object, ascii_only: bool, indent: int | None) -> bytes:
    return json.dumps(message, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")


bodies = (
    st.builds(_encoded, messages, st.booleans(), st.sampled_from([None, 1]))
    | st.binary(max_size=60)
    | st.builds(lambda start, cut: start[:cut], st.just(GOOD), st.integers(0, len(GOOD)))
    | st.builds(lambda noise: GOOD.replace(b"paid", noise), st.binary(max_size=6))
)
paths = st.sampled_from(
    [
        "",
        "",
        "",
        "/api/v1/app/target/msg",
        "/api/v1/app/target/msg/",
        "/api/v1/app/missing/msg",
        "/api/v1/app/app_" + "0" * 27 + "/msg",
        "/api/v1/app/t%61rget/msg",
        "/api/v1/app/%ff/msg",
        "/api/v1/app/%00/msg",
        "/api/v1/app//msg",
        "/api/v1/app/a%2Fb/msg",
    ]
)
queries = st.sampled_from(
    ["", "", "", "?with_content=true", "?with_content=false", "?with_content=1", "?with_content=", "?with_content", "?x=%ff", "?&&", "?"]
)
tokens = st.sampled_from([None, None, None, None, "", "wrong", "sk_x", "a b"])
header_sets = st.lists(
    st.sampled_from(
        [
            ("content-type", "application/json"),
            ("content-type", "text/plain; charset=latin-1"),
            ("accept", "text/html"),
            ("accept-encoding", "gzip"),
            ("user-agent", "svix-libs/1.0"),
            ("origin", "https://example.com"),
            ("access-control-request-headers", "authorization"),
            ("connection", "close"),
            ("connection", "keep-alive"),
            ("x-forwarded-for", "10.0.0.1"),
            ("cookie", "a=b"),
        ]
    ),
    max_size=3,
    unique_by=lambda header: header[0],
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(body=bodies, path=paths, query=queries, token=tokens, headers=header_sets)
def test_both_doors_answer_alike(
    target: Target, body: bytes, path: str, query: str, token: str | None, headers: list[tuple[str, str]]
) -> None:
    hot, ordinary = both(target, body, path=(path or target.path) + query, token=token, headers=headers)
    assert comparable(hot) == comparable(ordinary)
    assert hot.status in (202, 400, 401, 404, 422)


def test_the_ordinary_route_is_really_another_way_in(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(target.request(GOOD, headers=[ORDINARY]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 "), "the header that chooses the ordinary route was ignored"


def test_an_idempotency_key_used_at_one_door_is_known_at_the_other(target: Target) -> None:
    for first, second in (((), (ORDINARY,)), ((ORDINARY,), ())):
        key = ("idempotency-key", f"doors-{len(first)}")
        one = target.ask(GOOD, headers=[key, *first])
        other = target.ask(GOOD, headers=[key, *second])
        assert one.status == other.status == 202
        assert one.body == other.body
        assert one.header("content-type") == other.header("content-type")


def test_an_event_id_taken_at_one_door_is_a_conflict_at_the_other(target: Target) -> None:
    body = b'{"eventType":"a","payload":{},"eventId":"once"}'
    assert target.ask(body).status == 202
    hot, ordinary = both(target, body)
    assert hot.status == 409
    assert comparable(hot) == comparable(ordinary)


def test_an_application_made_on_the_way_answers_alike(target: Target) -> None:
    def body(uid: str | None) -> bytes:
        return json.dumps({"eventType": "a", "payload": {}, "application": {"name": "new"} | ({"uid": uid} if uid else {})}).encode()

    for uid, status in ((None, 422), ("other", 422)):
        hot, ordinary = both(target, body(uid), path="/api/v1/app/not-there/msg")
        assert hot.status == status
        assert comparable(hot) == comparable(ordinary)
    made = [target.ask(body(f"new-{number}"), path=f"/api/v1/app/new-{number}/msg", headers=[ORDINARY] * number) for number in (0, 1)]
    assert [answer.status for answer in made] == [202, 202]


def test_content_left_out_is_left_out_at_both(target: Target) -> None:
    hot, ordinary = both(target, GOOD, path=f"{target.path}?with_content=false")
    assert hot.json()["payload"] == ordinary.json()["payload"] == {}
    hot, ordinary = both(target, GOOD)
    assert hot.json()["payload"] == ordinary.json()["payload"] == {"a": 1}


@pytest.fixture(scope="module")
def watched(target: Target) -> str:
    """An event type whose payloads must fit its schema."""
    schema = {"required": ["id"], "properties": {"id": {"type": "string"}}}
    target.server.make("/event-type", {"name": "watched", "description": "", "schemas": {"1": schema}, "payloadValidation": "reject"})
    return "watched"


@settings(max_examples=60, deadline=None)
@given(payload=st.dictionaries(st.sampled_from(["id", "a"]), anything, max_size=2), key=st.sampled_from([None, "k1", "k2"]))
def test_both_doors_compare_payloads_alike(target: Target, watched: str, payload: dict[str, typing.Any], key: str | None) -> None:
    body = json.dumps({"eventType": watched, "payload": payload}).encode()
    headers = [] if key is None else [("idempotency-key", key)]
    hot, ordinary = both(target, body, headers=headers)
    assert comparable(hot) == comparable(ordinary)
    if key is None:
        assert hot.status == (202 if isinstance(payload.get("id"), str) else 422)
