"""Reading the lists of providers: whatever they answer is a page or a refusal in words, and the credential goes to one place."""

from __future__ import annotations

import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.clock import SECOND_US
from ringback.model.reconciliation import Listing, Reconciliation
from ringback.policy.reconciliation import (
    PageRead,
    Unreadable,
    Window,
    digest,
    head_of,
    item_target,
    listing_problems,
    page_target,
    parameters_of,
    payload_of,
    read_page,
    rest_s,
    was_seen,
)
from ringback.policy.reconciliation_rows import LISTINGS
from ringback.policy.sources import provider_of

NOW_US = 1_700_000_000 * SECOND_US
WINDOW = Window(NOW_US - 3_600 * SECOND_US, NOW_US)
ROWS = sorted(LISTINGS)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


def settings_of(listing: Listing, **more: typing.Any) -> Reconciliation:
    parameters = dict.fromkeys(parameters_of(listing), "some")
    return Reconciliation(listing=listing, credential="secret", interval_s=60, lookback_s=3_600, settle_s=0, parameters=parameters, **more)


def read(name: str, body: bytes, head: bytes = HEAD, cursor: str = "") -> PageRead:
    listing = LISTINGS[name]
    return read_page(settings_of(listing), listing, WINDOW, head, body, cursor)


def linked(url: str) -> bytes:
    return b'HTTP/1.1 200 OK\r\nLink: <https://x/first>; rel="first", <%b>; rel="prev next"\r\n\r\n' % url.encode()


_KEYS = st.sampled_from(
    ["data", "id", "created", "has_more", "events", "meta", "cursors", "after", "pagination", "next", "list", "event", "guid", "some"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)
_BODIES = st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode())
_HEADS = st.binary(max_size=100).map(lambda line: b"HTTP/1.1 200 OK\r\nlink: " + line + b"\r\n\r\n") | st.just(
    linked("https://api.github.com/a")
)


@given(st.sampled_from(ROWS), _BODIES, _HEADS, st.sampled_from(["", "abc"]))
def test_any_answer_is_a_page_or_a_refusal_in_words(name: str, body: bytes, head: bytes, cursor: str) -> None:
    try:
        page = read(name, body, head, cursor)
    except Unreadable as refusal:
        assert str(refusal) and "secret" not in str(refusal)
    else:
        assert len(page.items) <= page.listed and page.cursor != ""


@given(_BODIES)
def test_any_details_are_a_payload_or_a_refusal_in_words(body: bytes) -> None:
    try:
        assert isinstance(payload_of(LISTINGS["github"], body), bytes)
    except Unreadable as refusal:
        assert str(refusal)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_makes_requests_that_hold_its_parameters_and_no_placeholder(name: str) -> None:
    listing = LISTINGS[name]
    settings = settings_of(listing)
    target = page_target(settings, listing, WINDOW, "")
    assert target.startswith("/") and not set("{} ") & set(target)
    head = head_of(settings, listing, "GET", target)
    assert b"secret" in head or b"c2VjcmV0Og==" in head
    assert b"{" not in head and head.endswith(b"\r\n\r\n")
    assert not listing_problems(listing)
    assert set(listing.parameters) == parameters_of(listing)
    assert listing.source and listing.note and listing.confidence in ("high", "medium", "low")


def test_every_row_belongs_to_a_provider_of_the_catalogue() -> None:
    assert [name for name in ROWS if provider_of(name.removesuffix("-organization")) is None] == []


def test_the_next_page_is_found_in_each_of_the_ways() -> None:
    event = {"id": "evt_2", "created": NOW_US // SECOND_US, "type": "x"}
    assert read("stripe", json.dumps({"data": [event], "has_more": True}).encode()).cursor == "evt_2"
    assert read("stripe", json.dumps({"data": [event], "has_more": False}).encode()).cursor is None
    assert read("gocardless", b'{"events":[],"meta":{"cursors":{"after":"EV1"}}}').cursor == "EV1"
    assert read("gocardless", b'{"events":[],"meta":{"cursors":{"after":null}}}').cursor is None
    paddle = {"data": [], "meta": {"pagination": {"next": "https://api.paddle.com/events?after=evt_1", "has_more": True}}}
    assert read("paddle", json.dumps(paddle).encode()).cursor == "/events?after=evt_1"
    assert read("github", b"[]", linked("https://api.github.com/x?cursor=v1")).cursor == "/x?cursor=v1"
    assert read("github", b"[]").cursor is None


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x",
        "http://api.github.com/x",
        "https://api.github.com:444/x",
        "//evil.example/x",
        "https://api.github.com@evil.example/",
    ],
)
def test_a_page_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(Unreadable):
        read("github", b"[]", linked(url))


def test_a_page_that_names_itself_is_refused() -> None:
    with pytest.raises(Unreadable, match="same page"):
        read("gocardless", b'{"events":[],"meta":{"cursors":{"after":"EV1"}}}', cursor="EV1")


def test_a_list_with_the_newest_first_ends_where_it_becomes_too_old() -> None:
    def events(*ages: int) -> bytes:
        items = [{"id": f"evt_{age}", "created": NOW_US // SECOND_US - age, "type": "x"} for age in ages]
        return json.dumps({"data": items, "has_more": True}).encode()

    inside = read("stripe", events(10, 20))
    assert (len(inside.items), inside.cursor) == (2, "evt_20")
    edge = read("stripe", events(10, 3_601))
    assert (len(edge.items), edge.listed, edge.cursor) == (1, 2, None)


def test_times_are_read_as_text_seconds_and_milliseconds() -> None:
    def at(value: object) -> int | None:
        page = read("stripe", json.dumps({"data": [{"id": "e", "created": value}], "has_more": False}).encode())
        return page.items[0].at if page.items else -1

    assert at(NOW_US // SECOND_US) == at(NOW_US // 1_000) == at("2023-11-14T22:13:20Z") == at("2023-11-14T23:13:20+01:00") == NOW_US
    assert at("yesterday") is None and at(None) is None and at(1e300) == -1


def test_items_keep_their_bytes_and_bring_the_headers_of_their_event() -> None:
    item = b'{"guid": "g-1",  "event":"push", "id": 5, "delivered_at": "2023-11-14T22:13:20Z"}'
    read_item = read("github", b"[" + item + b"]").items[0]
    assert (read_item.payload, read_item.id) == (None, "5")
    assert dict(read_item.headers) == {b"x-github-delivery": b"g-1", b"x-github-event": b"push", b"content-type": b"application/json"}
    stripe = b'{"id":"evt_1",  "type":"a"}'
    assert read("stripe", b'{"data":[' + stripe + b'],"has_more":false}').items[0].payload == stripe
    gitlab = {"id": 1, "request_headers": {"X-Gitlab-Event-UUID": "u", "bad name": "x", "X-Two": "a\nb"}, "request_data": '{"a":1}'}
    found = read("gitlab", json.dumps([gitlab]).encode()).items[0]
    assert found.payload == b'{"a":1}'
    assert dict(found.headers) == {b"x-gitlab-event-uuid": b"u", b"content-type": b"application/json"}


def test_what_names_one_event_stays_one_step_of_the_path() -> None:
    listing = LISTINGS["github"]
    target = item_target(settings_of(listing), listing, listing.redeliver, "../../x?y#z")
    assert target == "/repos/some/some/hooks/some/deliveries/..%2F..%2Fx%3Fy%23z/attempts"


def test_cursors_that_were_seen_are_known_and_others_are_not() -> None:
    seen = digest("a") + digest("b")
    assert was_seen(seen, "a") and was_seen(seen, "b") and not was_seen(seen, "c") and not was_seen(b"", "a")


def test_rests_grow_to_an_hour_and_are_never_shorter_than_the_provider_asks_for() -> None:
    assert [rest_s(failures, None) for failures in (1, 2, 3, 50)] == [30.0, 60.0, 120.0, 3_600.0]
    assert rest_s(1, 90.0) == 90.0 and rest_s(50, 1.0) == 3_600.0
    assert rest_s(1, 1e9) == 86_400.0


OWN: dict[str, typing.Any] = {"base": "https://api.example.com", "path": "/events", "auth": {"authorization": "Bearer {credential}"}}


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"path": "events"}, "path"),
        ({"path": "/events?x=1"}, "path"),
        ({"path": "/events/{credential}"}, "path"),
        ({"query": {"key": "{credential}"}}, "query"),
        ({"headers": {"x-key": "{basic}"}}, "headers"),
        ({"headers": {"Content-Length": "5"}}, "headers"),
        ({"auth": {"transfer-encoding": "{credential}"}}, "auth"),
        ({"auth": {"authorization": "Bearer"}}, "auth"),
        ({"auth": {"a b": "{credential}"}}, "auth"),
        ({"headers": {"x-a": "a\r\nx-b: c"}}, "headers"),
        ({"items": "data"}, "items"),
        ({"next": "cursor:after"}, "next"),
        ({"next": "anywhere"}, "next"),
        ({"detail": "/events/{id}"}, "detail"),
        ({"item_id": "id", "detail": "/events/one", "detail_payload": "a"}, "detail"),
        ({"redeliver": "/events/{id}/again"}, "redeliver"),
    ],
)
def test_a_listing_that_cannot_work_is_told_where(wrong: dict[str, typing.Any], where: str) -> None:
    assert not listing_problems(Listing(**OWN))
    assert where in {place[0] for place, _ in listing_problems(Listing(**(OWN | wrong))) if place}


@pytest.mark.parametrize(
    "name, body",
    [
        ("stripe", b'{"data":[{"id":{"a":1},"type":"x"}],"has_more":true}'),
        ("stripe", b'{"data":[{"id":"\xff","type":"x"}],"has_more":true}'),
        ("stripe", b'{"data":[],"has_more":true}'),
        ("stripe", b'{"data":[{"id":"evt_1","type":"x"}],"has_more":1}'),
        ("paddle", b'{"data":[],"meta":{"pagination":{"has_more":true,"next":null}}}'),
        ("gocardless", b'{"events":[],"meta":{"cursors":{"after":["EV1"]}}}'),
        ("gocardless", b'{"events":[],"meta":{"cursors":{"after":"' + b"x" * 70_000 + b'"}}}'),
    ],
)
def test_a_next_page_that_cannot_be_found_is_no_end_of_the_list(name: str, body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(name, body)


def test_one_wrong_time_does_not_end_a_list_with_the_newest_first() -> None:
    def events(*ages: int) -> bytes:
        items = [{"id": f"evt_{age}", "created": NOW_US // SECOND_US - age, "type": "x"} for age in ages]
        return json.dumps({"data": items, "has_more": True}).encode()

    assert read("stripe", events(10, 1_000_000, 20)).cursor == "evt_20"
    # Not newest first at all.
    assert read("stripe", events(9_000, 8_000)).cursor == "evt_8000"


def test_texts_that_are_no_utf_8_are_refused_in_words() -> None:
    with pytest.raises(Unreadable, match="UTF-8"):
        read("gitlab", b'[{"id":1,"request_data":"\xff"}]')
    with pytest.raises(Unreadable, match="UTF-8"):
        payload_of(LISTINGS["github"], b'{"request":{"payload":"\xff"}}')


def test_items_that_cannot_be_read_are_counted_beside_those_that_can() -> None:
    page = read("gitlab", b'[{"id":1,"request_data":{}},{"request_data":{}},{"id":3,"request_data":"\xff"}]')
    assert ([item.id for item in page.items], page.listed, page.unreadable) == (["1"], 3, 2)
