"""What somebody gets who asks for messages instead of being called: by iterator, as a consumer, and for a time.

Source: HTTP contract, sections 3.9, 10 and 15.
"""

from __future__ import annotations

import base64
import datetime
import typing
import urllib.parse

import httpx
import pytest

from tests.api.live import Live, opened
from tests.waiting import wait_until

NOT_FOUND = (404, {"code": "not_found", "detail": "Entity not found"})


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("pollers"))


class Reader:
    """An application with a polling endpoint, and what is asked of it."""

    def __init__(self, live: Live, **wanted: typing.Any) -> None:
        self.live = live
        self.app = live.app()
        self.sink = self.another(**wanted)
        self.numbers = 0

    def another(self, **wanted: typing.Any) -> str:
        """The id of a new polling endpoint."""
        return str(self.live.made(f"/app/{self.app}/destination", {"type": "pollingEndpoint", **wanted})["id"])

    def send(self, event_type: str = "order.paid", **more: typing.Any) -> str:
        """The id of a new message."""
        self.numbers += 1
        body = {"eventType": event_type, "payload": {"number": self.numbers}, **more}
        return str(self.live.made(f"/app/{self.app}/msg", body)["id"])

    def poll(self, query: str = "", sink: str | None = None) -> typing.Any:
        """One answer."""
        response = self.live.get(f"/app/{self.app}/poller/{sink or self.sink}?{query}")
        assert response.status_code == 200, response.text
        return response.json()

    def consume(self, name: str = "c", query: str = "") -> typing.Any:
        """One answer to a consumer: its whole response."""
        return self.live.get(f"/app/{self.app}/poller/{self.sink}/consumer/{name}?{query}")

    def lease(self, name: str = "c", query: str = "") -> typing.Any:
        """What a consumer is handed for a time."""
        response = self.live.get(f"/app/{self.app}/polling-endpoint/{self.sink}/consumer/{name}?{query}")
        assert response.status_code == 200, response.text
        return response.json()

    def commit(self, offset: int, name: str = "c") -> typing.Any:
        """The response to a commit."""
        return self.live.post(f"/app/{self.app}/polling-endpoint/{self.sink}/consumer/{name}/commit", {"offset": offset})


def ids(answer: typing.Any) -> list[str]:
    return [item["id"] for item in answer["data"]]


def told(response: typing.Any) -> tuple[int, typing.Any]:
    return response.status_code, response.json()


@pytest.fixture
def reader(live: Live) -> Reader:
    return Reader(live)


def test_messages_since_the_endpoint_was_made_come_oldest_first(live: Live) -> None:
    app = live.app()
    before = live.made(f"/app/{app}/msg", {"eventType": "a", "payload": {}})["id"]
    sink = live.made(f"/app/{app}/destination", {"type": "pollingEndpoint"})["id"]
    sent = [live.made(f"/app/{app}/msg", {"eventType": "a", "payload": {}})["id"] for _ in range(3)]
    answer = live.get(f"/app/{app}/poller/{sink}").json()
    assert (ids(answer), answer["done"]) == (sent, True)
    assert before not in ids(answer)


def test_an_item_is_the_message_with_its_headers(reader: Reader) -> None:
    sent = reader.send(eventId="e-1", channels=["eu"], tags=["vip"])
    (item,) = reader.poll()["data"]
    assert item == {**reader.live.get(f"/app/{reader.app}/msg/{sent}").json(), "headers": None}
    typed = {"rawPayload": "a=1", "headers": {"content-type": "application/x-www-form-urlencoded"}}
    reader.send(transformationsParams=typed)
    assert reader.poll()["data"][1]["headers"] == {"content-type": "application/x-www-form-urlencoded"}


def test_an_iterator_goes_on_and_can_be_used_again(reader: Reader) -> None:
    sent = [reader.send() for _ in range(5)]
    first = reader.poll("limit=2")
    assert (ids(first), first["done"]) == (sent[:2], False)
    second = reader.poll(f"limit=2&iterator={first['iterator']}")
    assert (ids(second), second["done"]) == (sent[2:4], False)
    last = reader.poll(f"limit=2&iterator={second['iterator']}")
    assert (ids(last), last["done"]) == (sent[4:], True)
    assert reader.poll(f"limit=2&iterator={first['iterator']}") == second
    nothing = reader.poll(f"iterator={last['iterator']}")
    assert (nothing["data"], nothing["done"]) == ([], True)
    late = reader.send()
    assert ids(reader.poll(f"iterator={nothing['iterator']}")) == [late]
    assert ids(reader.poll(f"iterator={last['iterator']}")) == [late]


def test_the_first_iterator_of_a_destination_is_its_beginning(reader: Reader) -> None:
    sent = reader.send()
    destination = reader.live.get(f"/app/{reader.app}/destination/{reader.sink}").json()
    assert ids(reader.poll(f"iterator={destination['currentIterator']}")) == [sent]


def test_nothing_at_all_is_an_answer_too(reader: Reader) -> None:
    answer = reader.poll()
    assert (answer["data"], answer["done"]) == ([], True)
    sent = reader.send()
    assert ids(reader.poll(f"iterator={answer['iterator']}")) == [sent]


def test_filters_of_the_endpoint_and_of_the_call_both_narrow(live: Live) -> None:
    paid, made = live.name("paid"), live.name("made")
    for name in (paid, made):
        live.made("/event-type", {"name": name, "description": ""})
    reader = Reader(live, eventTypes=[paid, made], channels=["eu", "us"])
    wanted = [reader.send(paid, channels=["eu"]), reader.send(made, channels=["us", "asia"]), reader.send(paid, channels=["us"])]
    for unwanted in (("other", ["eu"]), (paid, ["asia"])):
        reader.send(unwanted[0], channels=unwanted[1])
    reader.send(paid)
    assert ids(reader.poll()) == wanted
    assert ids(reader.poll(f"event_type={paid}")) == [wanted[0], wanted[2]]
    assert ids(reader.poll("channel=us")) == wanted[1:]
    assert ids(reader.poll(f"event_type={paid}&channel=us")) == [wanted[2]]
    assert ids(reader.poll("channel=asia")) == [wanted[1]]
    nothing = reader.poll("event_type=other")
    assert (nothing["data"], nothing["done"]) == ([], True)
    first = reader.poll(f"limit=1&event_type={paid}")
    assert ids(reader.poll(f"limit=1&event_type={paid}&iterator={first['iterator']}")) == [wanted[2]]


def test_reading_may_begin_at_a_time(reader: Reader) -> None:
    reader.send()
    answer = reader.poll("after=2099-01-01T00:00:00Z")
    assert (answer["data"], answer["done"]) == ([], True)
    sent = [reader.send(), reader.send()]
    when = reader.live.get(f"/app/{reader.app}/msg/{sent[0]}").json()["timestamp"]
    found = ids(reader.poll(f"after={when}"))
    assert found[-2:] == sent
    everything = ids(reader.poll("after=2000-01-01T00:00:00Z"))
    assert len(everything) == 3
    # With an iterator, the time says nothing.
    begin = reader.poll("limit=1")["iterator"]
    assert ids(reader.poll(f"iterator={begin}&after=2099-01-01T00:00:00Z")) == sent


def test_an_iterator_of_something_else_is_refused(reader: Reader) -> None:
    reader.send()
    other = reader.poll(sink=reader.another())["iterator"]
    own = reader.poll()["iterator"]
    changed = base64.urlsafe_b64decode(own + "=")
    forged = base64.urlsafe_b64encode(changed[:-1] + bytes([changed[-1] ^ 1])).decode().rstrip("=")
    for wrong in (other, "x", reader.send(), own[:-2], forged, "%C3%A9", own + "AA", "-" + own):
        response = reader.live.get(f"/app/{reader.app}/poller/{reader.sink}?iterator={wrong}")
        shown = wrong if wrong != "%C3%A9" else "é"
        detail = f"{shown!r} is no iterator of this polling endpoint; use the `iterator` of its last answer, or none to begin anew"
        assert told(response) == (400, {"code": "invalid_iterator", "detail": detail})
        assert told(reader.consume(query=f"iterator={wrong}")) == (400, {"code": "invalid_iterator", "detail": detail})


def test_wrong_parameters_are_told(reader: Reader) -> None:
    base = f"/app/{reader.app}/poller/{reader.sink}"

    def query(text: str, path: str = base) -> tuple[int, typing.Any]:
        return told(reader.live.get(f"{path}?{text}"))

    def broken(name: str, msg: str) -> tuple[int, typing.Any]:
        return 422, {"detail": [{"loc": ["query", name], "msg": msg, "type": "value_error"}]}

    assert query("limit=0") == broken("limit", "0 is too low; at least 1")
    assert query("limit=251") == broken("limit", "251 must not exceed 250")
    assert query("event_type=a%20b") == broken("event_type", "'a b' is not allowed; use letters, digits, '-', '_' and '.'")
    assert query("channel=a%2Fb") == broken("channel", "'a/b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'")
    unreadable = "query parameter after: 'soon' is not an RFC 3339 time; write 2024-01-02T03:04:05Z"
    assert query("after=soon") == (400, {"code": "generic_error", "detail": unreadable})
    leasing = f"/app/{reader.app}/polling-endpoint/{reader.sink}/consumer/c"
    out = "is out of range; a lease lasts 1 to 86400000 milliseconds"
    assert query("lease_duration_ms=0", leasing) == broken("lease_duration_ms", f"0 {out}")
    assert query("lease_duration_ms=86400001", leasing) == broken("lease_duration_ms", f"86400001 {out}")
    position = "query parameter starting_position: 'middle' is not one of earliest, latest"
    assert query("starting_position=middle", leasing) == (400, {"code": "generic_error", "detail": position})


def test_a_forgotten_payload_shows_as_expired(reader: Reader) -> None:
    sent = reader.send()
    assert reader.live.delete(f"/app/{reader.app}/msg/{sent}/content").status_code == 204
    (item,) = reader.poll()["data"]
    assert (item["id"], item["payload"]) == (sent, {"expired": True})


def test_an_example_for_one_endpoint_is_for_nobody_else(reader: Reader) -> None:
    endpoint = reader.live.made(f"/app/{reader.app}/endpoint", {"url": "http://127.0.0.1:1/"})["id"]
    example = reader.live.made(f"/app/{reader.app}/endpoint/{endpoint}/send-example", {"eventType": "svix.ping"})["id"]
    sent = reader.send()
    assert ids(reader.poll()) == [sent]
    assert example in ids(reader.live.get(f"/app/{reader.app}/msg").json())


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_one_that_is_off_hands_out_nothing_and_loses_nothing(reader: Reader, status: str) -> None:
    first = reader.send()
    begun = reader.consume().json()
    assert ids(begun) == [first]
    path = f"/app/{reader.app}/destination/{reader.sink}"
    reader.live.patch(path, {"status": status})
    second = reader.send()
    answer = reader.poll()
    assert (answer["data"], answer["done"]) == ([], True)
    assert ids(reader.consume().json()) == []
    assert reader.lease() == {"data": [], "done": True}
    reader.live.patch(path, {"status": "enabled"})
    assert ids(reader.poll(f"iterator={answer['iterator']}")) == [first, second]
    # What was handed out before may still be confirmed.
    assert ids(reader.consume(query=f"iterator={begun['iterator']}").json()) == [second]


def test_precheck_counts_those_who_poll(live: Live) -> None:
    reader = Reader(live, channels=["eu"])

    def active(channels: list[str]) -> bool:
        return bool(live.made(f"/app/{reader.app}/msg/precheck/active", {"eventType": "a", "channels": channels})["active"])

    assert (active(["eu"]), active(["us"])) == (True, False)
    live.patch(f"/app/{reader.app}/destination/{reader.sink}", {"status": "disabled"})
    assert not active(["eu"])


# -- consumers


def test_a_consumer_gets_its_batch_again_until_it_confirms(reader: Reader) -> None:
    sent = [reader.send() for _ in range(4)]
    first = reader.consume(query="limit=2").json()
    assert ids(first) == sent[:2]
    assert reader.consume(query="limit=2").json() == first
    second = reader.consume(query=f"limit=2&iterator={first['iterator']}").json()
    assert (ids(second), second["done"]) == (sent[2:], True)
    # The answer was lost: the same again, by the iterator that is confirmed by now, or by none.
    assert reader.consume(query=f"limit=2&iterator={first['iterator']}").json() == second
    assert reader.consume(query="limit=2").json() == second
    done = reader.consume(query=f"iterator={second['iterator']}").json()
    assert (done["data"], done["done"]) == ([], True)


def test_an_iterator_that_a_consumer_does_not_expect_is_refused(reader: Reader) -> None:
    sent = [reader.send() for _ in range(3)]
    first = reader.consume(query="limit=1").json()
    second = reader.consume(query=f"limit=1&iterator={first['iterator']}").json()
    third = reader.consume(query=f"limit=1&iterator={second['iterator']}").json()
    detail = (
        "this iterator is neither where the consumer stands nor the last one it was handed; ask without an iterator, and what follows its "
        "place comes again"
    )
    refused = (400, {"code": "invalid_iterator", "detail": detail})
    assert told(reader.consume(query=f"iterator={first['iterator']}")) == refused
    assert told(reader.consume("new", query=f"iterator={third['iterator']}")) == refused
    assert ids(reader.consume(query="limit=1").json()) == sent[2:]


def test_consumers_are_independent_and_clients_of_one_share_its_place(reader: Reader) -> None:
    sent = [reader.send() for _ in range(2)]
    one = reader.consume("one", "limit=1").json()
    reader.consume("one", f"limit=1&iterator={one['iterator']}")
    assert ids(reader.consume("two", "limit=1").json()) == sent[:1]
    assert ids(reader.consume("one", "limit=1").json()) == sent[1:]


def test_a_consumer_can_be_set_to_a_time(reader: Reader) -> None:
    sent = [reader.send() for _ in range(3)]
    last = reader.consume().json()
    reader.consume(query=f"iterator={last['iterator']}")
    assert ids(reader.consume().json()) == []
    seek = f"/app/{reader.app}/poller/{reader.sink}/consumer/c/seek"
    back = reader.live.post(seek, {"after": "2000-01-01T00:00:00Z"})
    assert back.status_code == 200
    assert ids(reader.consume(query=f"iterator={back.json()['iterator']}").json()) == sent
    reader.live.post(seek, {"after": "2000-01-01T00:00:00Z"})
    assert ids(reader.consume().json()) == sent
    ahead = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat()
    reader.live.made(seek, {"after": ahead})
    assert ids(reader.consume().json()) == []
    said = "this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z"
    refused = (422, {"detail": [{"loc": ["body", "after"], "msg": said, "type": "value_error"}]})
    assert told(reader.live.post(seek, {"after": "soon"})) == refused


@pytest.mark.parametrize("name", ["team/worker", "/", "a/b%2Fc%", "ü?#/ ;"])
def test_the_id_of_a_consumer_is_any_text(reader: Reader, name: str) -> None:
    sent = [reader.send() for _ in range(2)]
    written = urllib.parse.quote(name, safe="")
    first = reader.consume(written, "limit=1").json()
    assert ids(first) == sent[:1]
    assert ids(reader.consume(written, f"iterator={first['iterator']}").json()) == sent[1:]
    leased = reader.live.get(f"/app/{reader.app}/polling-endpoint/{reader.sink}/consumer/{written}?starting_position=earliest")
    assert leased.status_code == 200
    seek = f"/app/{reader.app}/poller/{reader.sink}/consumer/{written}/seek"
    assert reader.live.post(seek, {"after": "2000-01-01T00:00:00Z"}).status_code == 200
    assert ids(reader.consume(written).json()) == sent


def test_there_are_so_many_consumers_with_names_so_long(reader: Reader) -> None:
    assert reader.consume("c" * 256).status_code == 200
    long = reader.consume("c" * 257)
    message = f"'{'c' * 40}'… has 257 characters; a consumer id has 1 to 256"
    assert told(long) == (422, {"detail": [{"loc": ["path", "consumer_id"], "msg": message, "type": "value_error"}]})
    for number in range(99):
        assert reader.consume(f"c-{number}").status_code == 200
    detail = "this polling endpoint has 100 consumers, the most there may be; use the id of one of them, or make another polling endpoint"
    refused = (400, {"code": "limit_reached", "detail": detail})
    assert told(reader.consume("one-more")) == refused
    leasing = f"/app/{reader.app}/polling-endpoint/{reader.sink}/consumer/one-more"
    assert told(reader.live.get(leasing)) == refused
    assert (
        told(reader.live.post(f"/app/{reader.app}/poller/{reader.sink}/consumer/one-more/seek", {"after": "2024-01-01T00:00:00Z"}))
        == refused
    )
    assert reader.consume("c-1").status_code == 200


# -- leases


def test_two_clients_of_one_consumer_get_different_messages(reader: Reader) -> None:
    sent = [reader.send() for _ in range(5)]
    one, two, three = (reader.lease(query="limit=2") for _ in range(3))
    assert ids(one) + ids(two) + ids(three) == sent
    assert [item["offset"] for answer in (one, two, three) for item in answer["data"]] == [1, 2, 3, 4, 5]
    assert (one["done"], two["done"], three["done"]) == (False, False, True)
    assert reader.lease() == {"data": [], "done": True}
    assert ids(reader.lease("other")) == sent


def test_what_is_not_committed_comes_again_when_its_lease_is_over(reader: Reader) -> None:
    sent = [reader.send() for _ in range(4)]
    held = reader.lease(query="limit=2&lease_duration_ms=60000")
    short = reader.lease(query="limit=2&lease_duration_ms=1")
    assert reader.commit(short["data"][0]["offset"]).status_code == 204
    again = wait_until(lambda: reader.lease()["data"], what="the lease is over")
    assert [(item["id"], item["offset"]) for item in again] == [(sent[3], 4)]
    assert reader.commit(4).status_code == 204
    assert reader.commit(held["data"][1]["offset"]).status_code == 204
    assert reader.lease() == {"data": [], "done": True}


def test_a_lease_that_is_over_is_handed_out_in_parts(reader: Reader) -> None:
    sent = [reader.send() for _ in range(5)]
    reader.lease(query="limit=5&lease_duration_ms=1")

    def again(count: int) -> list[typing.Any]:
        return wait_until(lambda: reader.lease(query=f"limit={count}")["data"], what="the lease is over")

    parts = [again(2), again(2), again(2)]
    assert [[item["id"] for item in part] for part in parts] == [sent[:2], sent[2:4], sent[4:]]
    assert [item["offset"] for part in parts for item in part] == [1, 2, 3, 4, 5]


def test_a_commit_repeats_and_names_what_was_handed_out(reader: Reader) -> None:
    nothing = "no message was handed out as 1 to this consumer: nothing was handed out; commit the `offset` of a message"
    assert told(reader.commit(1)) == (422, {"detail": [{"loc": ["body", "offset"], "msg": nothing, "type": "value_error"}]})
    reader.send()
    reader.lease()
    assert [reader.commit(1).status_code for _ in range(2)] == [204, 204]
    for offset in (0, 2):
        message = f"no message was handed out as {offset} to this consumer: 1 to 1 were; commit the `offset` of a message"
        assert told(reader.commit(offset)) == (422, {"detail": [{"loc": ["body", "offset"], "msg": message, "type": "value_error"}]})


def test_a_new_consumer_begins_at_either_end(reader: Reader) -> None:
    old = reader.send()
    assert reader.lease("late", "starting_position=latest") == {"data": [], "done": True}
    new = reader.send()
    assert ids(reader.lease("late", "starting_position=earliest")) == [new]
    assert ids(reader.lease("early", "starting_position=earliest")) == [old, new]


def test_leases_keep_the_filters(live: Live) -> None:
    reader = Reader(live, channels=["eu"])
    reader.send(channels=["us"])
    wanted = reader.send(channels=["eu"])
    assert ids(reader.lease()) == [wanted]


# -- keys


def test_a_key_reads_its_polling_endpoint_and_nothing_else(reader: Reader) -> None:
    live, sent = reader.live, reader.send()
    shown = live.get(f"/auth/app/{reader.app}/poller/{reader.sink}/token").json()
    assert shown["name"] == f"poller {reader.sink}" and shown["expiresAt"] is None and shown["scopes"] == ["poller"]
    assert live.get(f"/auth/app/{reader.app}/poller/{reader.sink}/token").json() == shown
    key, base = shown["token"], f"/app/{reader.app}/poller"
    assert ids(live.get(f"{base}/{reader.sink}", token=key).json()) == [sent]
    assert live.get(f"{base}/{reader.sink}/consumer/c", token=key).status_code == 200
    assert live.post(f"{base}/{reader.sink}/consumer/c/seek", {"after": "2024-01-01T00:00:00Z"}, token=key).status_code == 200
    leasing = f"/app/{reader.app}/polling-endpoint/{reader.sink}/consumer/c"
    assert live.get(leasing, token=key).status_code == 200
    assert live.post(f"{leasing}/commit", {"offset": 1}, token=key).status_code == 204
    alone = {"code": "insufficient access", "detail": "This key reads a polling endpoint, and is good for nothing else"}
    for path in (f"/app/{reader.app}", f"/app/{reader.app}/destination", f"/app/{reader.app}/msg", "/app", "/auth/whoami"):
        assert told(live.get(path, token=key)) == (403, alone)
    assert told(live.post(f"/app/{reader.app}/msg", {"eventType": "a", "payload": {}}, token=key)) == (403, alone)
    assert told(live.post("/auth/logout", token=key)) == (403, alone)
    assert told(live.get(f"{base}/{reader.another()}", token=key)) == NOT_FOUND
    assert told(live.get(f"/app/{live.app()}/poller/{reader.sink}", token=key)) == NOT_FOUND


def test_a_rotated_key_lives_on_for_its_grace(reader: Reader) -> None:
    live, path = reader.live, f"/auth/app/{reader.app}/poller/{reader.sink}/token"

    def works(key: str) -> bool:
        return live.get(f"/app/{reader.app}/poller/{reader.sink}", token=key).status_code == 200

    first = live.get(path).json()["token"]
    rotated = live.post(f"{path}/rotate", {})
    assert rotated.status_code == 201
    second = rotated.json()
    assert second["token"] != first and works(first) and works(second["token"])
    third = live.made(f"{path}/rotate", {"oldTokenExpiry": 0, "expiry": 3600})
    assert third["expiresAt"] > third["createdAt"]
    assert (works(first), works(second["token"]), works(third["token"])) == (False, False, True)
    assert live.get(path).json() == third
    assert live.post("/auth/app/" + f"{reader.app}/expire-all", {}).status_code == 204
    assert works(third["token"])


def test_keys_are_for_the_organisation_to_give(reader: Reader) -> None:
    live, path = reader.live, f"/auth/app/{reader.app}/poller/{reader.sink}/token"
    token = live.portal_token(reader.app)
    assert live.get(path, token=token).status_code == live.post(f"{path}/rotate", {}, token=token).status_code == 403
    assert live.get(f"/app/{reader.app}/poller/{reader.sink}", token=token).status_code == 200
    assert told(live.get(f"/auth/app/{reader.app}/poller/nobody/token")) == NOT_FOUND
    stranger = live.portal_token(live.app())
    assert told(live.get(f"/app/{reader.app}/poller/{reader.sink}", token=stranger)) == NOT_FOUND
    only_looks = live.portal_token(reader.app, capabilities=["ViewBase"])
    seek = live.post(f"/app/{reader.app}/poller/{reader.sink}/consumer/c/seek", {"after": "2024-01-01T00:00:00Z"}, token=only_looks)
    assert seek.status_code == 403


def test_the_keys_of_a_deleted_application_are_dead(reader: Reader) -> None:
    live = reader.live
    key = live.get(f"/auth/app/{reader.app}/poller/{reader.sink}/token").json()["token"]
    assert live.get(f"/app/{reader.app}/poller/{reader.sink}", token=key).status_code == 200
    live.delete(f"/app/{reader.app}")
    assert live.get(f"/app/{reader.app}/poller/{reader.sink}", token=key).status_code == 401


def test_who_asks_for_it_gets_payloads_byte_for_byte_and_the_source_that_they_came_from(reader: Reader) -> None:
    exactly = b'{ "a" : 1.0 }'
    published = reader.live.call("POST", f"/app/{reader.app}/msg", b'{"eventType":"a","payload":' + exactly + b"}")
    assert published.status_code == 202
    reader.send(transformationsParams={"rawPayload": "a=1", "headers": {"content-type": "text/plain"}})
    for answer in (reader.poll("exact=true"), reader.consume(query="exact=true").json()):
        assert [base64.b64decode(item["body"]) for item in answer["data"]] == [exactly, b"a=1"]
        assert [item["sourceId"] for item in answer["data"]] == [None, None]
    source = reader.live.made(f"/app/{reader.app}/source", {"name": "any", "type": "github", "verify": "none"})
    called = httpx.post(source["ingestUrl"], content=b"\xff\x00", headers={"content-type": "application/octet-stream"})
    assert called.status_code == 200
    large = bytes(range(256)) * 2_000
    assert httpx.post(source["ingestUrl"], content=large, headers={"content-type": "application/octet-stream"}).status_code == 200
    *_, item, longer = reader.poll("exact=true")["data"]
    assert base64.b64decode(longer["body"], validate=True) == large
    assert (base64.b64decode(item["body"]), item["sourceId"]) == (b"\xff\x00", source["id"])
    assert {"body", "sourceId"}.isdisjoint(reader.poll()["data"][-1])
    assert told(reader.live.get(f"/app/{reader.app}/poller/{reader.sink}?exact=1"))[0] == 400


def test_an_exact_payload_that_was_forgotten_is_null(reader: Reader) -> None:
    sent = reader.send()
    assert reader.live.delete(f"/app/{reader.app}/msg/{sent}/content").status_code == 204
    assert [item["body"] for item in reader.poll("exact=true")["data"]] == [None]
