"""Reading the lists of providers: whatever they answer is a page or a refusal in words, and the credential goes to one place."""

from __future__ import annotations

import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.clock import SECOND_US, rfc3339
from ringback.model.reconciliation import Listing, Reconciliation, Start
from ringback.policy.access_tokens import usable_s
from ringback.policy.asking import Unreadable, rest_s
from ringback.policy.listings import listing_problems, parameters_of
from ringback.policy.reconciliation import (
    PageRead,
    Window,
    digest,
    item_request,
    page_request,
    payload_of,
    read_page,
    start_request,
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


_LISTS = ["value", "@odata.nextLink", "@odata.deltaLink", "payloads", "cursor", "mightHaveMore", "entries", "has_more", "sync"]
_KEYS = st.sampled_from(_LISTS) | st.sampled_from(
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
    asked = [page_request(settings, listing, WINDOW, cursor, "the-token") for cursor in ("", "/c-1")]
    asked += [] if listing.start is None else [start_request(settings, listing, listing.start, "the-token")]
    for request in asked:
        method, target, version = request.head.split(b"\r\n", 1)[0].split(b" ")
        assert (method.decode(), version) == (listing.method, b"HTTP/1.1") and target.startswith(b"/")
        assert any(secret in request.head for secret in ((b"the-token",) if listing.token_url else (b"secret", b"c2VjcmV0Og==")))
        assert b"{" not in request.head and request.head.endswith(b"\r\n\r\n")
        assert b"content-length: %d\r\n" % len(request.body) in request.head
        assert not request.body or (b"{" not in request.body[1:-1] and isinstance(json.loads(request.body), dict))
    assert not listing_problems(listing)
    assert set(listing.parameters) == parameters_of(listing)
    assert listing.source and listing.note and listing.confidence in ("high", "medium", "low")


def test_every_row_belongs_to_a_provider_of_the_catalogue() -> None:
    variants = ("-organization", "-drive", "-messages")
    assert [name for name in ROWS if all(provider_of(name.removesuffix(variant)) is None for variant in variants)] == []


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
    request = item_request(settings_of(listing), listing, listing.redeliver, "../../x?y#z", method="POST")
    assert request.head.startswith(b"POST /repos/some/some/hooks/some/deliveries/..%2F..%2Fx%3Fy%23z/attempts HTTP/1.1\r\n")


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
        ({"items": ".".join(["a"] * 21) + "[]"}, "items"),
        ({"event_headers": {"x-a": "json:" + ".".join(["a"] * 21)}}, "eventHeaders"),
        ({"event_headers": {f"x-{number}": "a" for number in range(21)}}, "eventHeaders"),
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


CHANGES: dict[str, typing.Any] = {**OWN, "next": "cursor:after:next", "more": "more", "position": "next"}


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"more": ""}, "more"),
        ({"next": "link"}, "next"),
        ({"next": "last:after:id"}, "next"),
        ({"newest_first": True}, "newestFirst"),
        ({"lost": (200,)}, "lost"),
        ({"lost": (410, 429)}, "lost"),
        ({"position": "", "thin": True}, "thin"),
        ({"position": "", "lost": (410,)}, "lost"),
        ({"position": "", "start": Start(path="/now")}, "start"),
        ({"start": Start(path="now")}, "start"),
        ({"start": Start(path="/now", query={"key": "{credential}"})}, "start"),
        ({"body": {"a": 1}}, "body"),
        ({"method": "POST", "body": {"keys": [{"key": "{access_token}"}]}}, "body"),
        ({"method": "POST", "next": "url:next"}, "method"),
        ({"item_id": "id", "detail": "/one/{id}", "detail_payload": "a"}, "position"),
        ({"token_url": "https://api.example.com/token", "token_form": {"secret": "{credential}"}}, "auth"),
        ({"token_url": "https://api.example.com/token", "auth": {"authorization": "{access_token}"}}, "tokenForm"),
    ],
)
def test_a_list_of_changes_that_cannot_work_is_told_where(wrong: dict[str, typing.Any], where: str) -> None:
    assert not listing_problems(Listing(**CHANGES))
    assert where in {place[0] for place, _ in listing_problems(Listing(**(CHANGES | wrong))) if place}


def test_a_list_of_changes_ends_with_the_position_from_which_it_goes_on() -> None:
    def page(more: bool, cursor: object = "c2") -> PageRead:
        return read("dropbox", json.dumps({"entries": [{".tag": "file"}], "cursor": cursor, "has_more": more}).encode(), cursor="c1")

    assert (page(True).cursor, page(True).position) == ("c2", "")
    assert (page(False).cursor, page(False).position) == (None, "c2")
    # Nothing changed: it goes on from where it was.
    assert page(False, "c1").position == "c1"
    with pytest.raises(Unreadable, match="go on from"):
        page(False, None)
    base = "https://graph.microsoft.com/v1.0/users/delta"
    assert read("ms-graph", json.dumps({"value": [], "@odata.nextLink": f"{base}?$skiptoken=a"}).encode()).cursor == (
        "/v1.0/users/delta?$skiptoken=a"
    )
    assert read("ms-graph", json.dumps({"value": [], "@odata.deltaLink": f"{base}?$deltatoken=b"}).encode()).position == (
        "/v1.0/users/delta?$deltatoken=b"
    )
    with pytest.raises(Unreadable, match="another host"):
        read("ms-graph", b'{"value":[],"@odata.deltaLink":"https://evil.example/v1.0/users/delta"}')


def test_a_change_without_an_id_is_known_by_its_place_and_its_content() -> None:
    def ids(cursor: str, *entries: str) -> list[str]:
        listed = json.dumps({"entries": [{".tag": "deleted", "path_lower": entry} for entry in entries], "cursor": "c9", "has_more": False})
        return [item.id for item in read("dropbox", listed.encode(), cursor=cursor).items]

    assert ids("c1", "/a", "/b") == ids("c1", "/a", "/b") and len(set(ids("c1", "/a", "/b"))) == 2
    assert ids("c1", "/a") != ids("c2", "/a")


def test_a_change_that_lacks_the_id_of_others_holds_up_no_list() -> None:
    page = read("airtable", b'{"payloads":[{"error":true}],"cursor":5,"mightHaveMore":false}', cursor="4")
    assert (len(page.items), page.unreadable, page.position) == (1, 0, "5") and len(page.items[0].id) == 64


def test_what_may_be_on_its_way_is_read_again_with_its_page() -> None:
    def page(*ages: int) -> PageRead:
        events = [{"created_at": rfc3339(NOW_US - age * SECOND_US), "action": "added"} for age in ages]
        return read("asana", json.dumps({"data": events, "sync": "s2", "has_more": False}).encode(), cursor="s1")

    assert (page(20, 10).too_young, page(20, 10).position) == (False, "s2")
    young = page(20, -10)
    assert (young.too_young, young.position, len(young.items)) == (True, "", 1)


def test_a_page_that_is_asked_for_with_a_body_has_the_cursor_in_it() -> None:
    listing = LISTINGS["dropbox"]
    assert json.loads(page_request(settings_of(listing), listing, WINDOW, 'a"b', "t").body) == {"cursor": 'a"b'}
    assert listing.start is not None
    request = start_request(settings_of(listing), listing, listing.start, "t")
    assert json.loads(request.body) == {"path": "", "recursive": True, "include_deleted": True, "limit": 500}
    assert b"content-type: application/json\r\n" in request.head and b"authorization: Bearer t\r\n" in request.head


@pytest.mark.parametrize(
    ("body", "seconds"),
    [(b'{"expires_in": 3599}', 3_539), (b'{"expires_in": "120"}', 60), (b'{"expires_in": 30}', 0), (b'{"expires_in": 1e99}', 0), (b"{}", 0),
     (b'{"expires_in": 999999}', 3_540), (b'{"expires_in": -5}', 0), (b"[", 0)],
)  # fmt: skip
def test_an_access_token_is_used_again_for_as_long_as_it_surely_lives(body: bytes, seconds: int) -> None:
    assert usable_s(body) == seconds
