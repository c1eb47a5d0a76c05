from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from ringback import ids
from ringback.clock import rfc3339
from ringback.model.messages import Origin
from ringback.model.tasks import PurgeContent
from ringback.store.operations import retention, task_picks
from tests.api.history import DAY_US, SECOND_US, History, ids_of, walked

# What was sent with a payload that came from somebody.
HEAD = b"POST / HTTP/1.1\r\nx-customer: jane\r\n"


@pytest.fixture
def history(api: Any) -> History:
    return History(api)


def test_a_payload_is_shown_byte_for_byte(history):
    payload = '{"b": 1.50,\t"a" : [1e2, "é\\u00e9"],  "a": 12345678901234567890}'.encode()
    message = history.message(payload=payload)
    response = history.api.get(f"/app/shop/msg/{message.id}")
    assert b'"payload":' + payload + b"," in response.content


def test_a_message_is_shown_whole(history):
    message = history.message(event_id="order-1", channels=("eu", "b2b"), tags=("a\\b", "c#d"), deliver_at=history.now_us)
    assert history.get(f"/msg/{message.id}") == {
        "id": message.id,
        "eventType": "order.created",
        "payload": {"a": 1},
        "timestamp": rfc3339(message.created_at),
        "eventId": "order-1",
        "channels": ["eu", "b2b"],
        "tags": ["a\\b", "c#d"],
        "deliverAt": rfc3339(message.deliver_at),
    }
    assert history.get("/msg/order-1") == history.get(f"/msg/{message.id}")


def test_without_content_the_payload_is_empty(history):
    message = history.message()
    assert history.get(f"/msg/{message.id}", with_content="false")["payload"] == {}
    assert history.get("/msg", with_content="false")["data"][0]["payload"] == {}
    assert history.get("/msg")["data"][0]["payload"] == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b' {"x": 1}', {"x": 1}),
        (b"[1, 2]", {"rawPayload": "[1, 2]"}),
        ("größer\n".encode(), {"rawPayload": "größer\n"}),
        (b"{broken", {"rawPayload": "{broken"}),
        (b"\xff\x00", {"rawPayload": "/wA="}),
        (b'{"x": "\xff"}', {"rawPayload": "eyJ4IjogIv8ifQ=="}),
    ],
)
def test_a_raw_payload_is_shown_as_an_object(history, raw, shown):
    message = history.message(payload=raw, raw=True, content_type="text/plain")
    assert history.get(f"/msg/{message.id}")["payload"] == shown


def test_who_asks_gets_a_message_byte_for_byte_with_its_headers_and_its_source(history):
    plain = history.message(payload=b'{"a" : 1}')
    came = Origin("src_1", sensitive=("mail",))
    received = history.message(
        payload=b'{"mail":"j@example.com"}', raw=True, content_type="text/json", headers=b"x-github-event: push\r\n", origin=came
    )
    gone = history.message(expires_at=history.now_us - 1)
    assert "body" not in history.get(f"/msg/{plain.id}")
    exact = history.get(f"/msg/{plain.id}", exact="true")
    assert exact == history.get(f"/msg/{plain.id}") | {"headers": None, "body": "eyJhIiA6IDF9", "sourceId": None}
    exact = history.get(f"/msg/{received.id}", exact="true", with_content="false")
    assert exact["payload"] == {}
    assert exact["headers"] == {"x-github-event": "push", "content-type": "text/json"}
    assert (base64.b64decode(exact["body"]), exact["sourceId"]) == (b'{"mail":"j@example.com"}', "src_1")
    assert history.get(f"/msg/{gone.id}", exact="true")["body"] is None
    _, token = history.api.run(history.api.tokens.create(app_id=history.app_id))
    masked = history.api.get(f"/app/shop/msg/{received.id}", params={"exact": "true"}, token=token).json()
    assert base64.b64decode(masked["body"]) == b'{"mail":"***"}'


@pytest.mark.parametrize("way", ["expunged", "many expunged", "all expunged", "expired", "purged"])
def test_the_headers_that_a_payload_came_with_are_gone_with_it(history, way):
    until = history.now_us + (0 if way in ("expired", "purged") else 1_000_000)
    message = history.message(
        payload=b"{}", content_type="text/json", headers=b"x-customer: jane\r\n", origin=Origin("src_1"), expires_at=until
    )
    attempt = history.attempt(message, request_head=HEAD, code=500, retry_in_us=1)
    history.attempt(message, request_head=HEAD)
    history.attempt(history.message(), request_head=HEAD)
    messages = "/app/shop/msg"
    if way == "expunged":
        assert history.api.delete(f"{messages}/{message.id}/content").status_code == 204
    elif way == "many expunged":
        assert history.api.post(f"{messages}/bulk-expunge", json={"ids": [message.id]}).status_code == 200
    elif way == "all expunged":
        wanted = PurgeContent(history.app_id, "msg_~")
        history.api.run(history.api.store.write(lambda tx: task_picks.purge(tx, wanted, [message.id])))
    elif way == "purged":
        history.api.run(history.api.store.write(lambda tx: retention.expire_payloads(tx, history.now_us, 10)))
    exact = history.get(f"/msg/{message.id}", exact="true")
    assert (exact["body"], exact["headers"], exact["sourceId"]) == (None, None, "src_1")
    if way != "expired":
        assert history.rows("SELECT payload, headers FROM message WHERE id = ?", (message.id,)) == [(None, b"")]
        assert history.rows("SELECT request_head FROM attempt ORDER BY seq") == [(b"",), (b"",), (HEAD,)]
        assert history.get(f"/msg/{message.id}/attempt/{attempt.id}")["requestHeaders"] == []


def test_an_expunged_payload_is_gone_and_the_message_stays(history):
    message = history.message()
    assert history.api.delete(f"/app/shop/msg/{message.id}/content").status_code == 204
    assert history.api.delete(f"/app/shop/msg/{message.id}/content").status_code == 204
    assert history.get(f"/msg/{message.id}")["payload"] == {"expired": True}
    assert history.get(f"/msg/{message.id}", with_content="false")["payload"] == {}


def test_a_payload_past_its_time_is_never_shown(history):
    message = history.message(expires_at=history.now_us - 1)
    assert history.get(f"/msg/{message.id}")["payload"] == {"expired": True}


def test_messages_of_another_application_are_not_found(history):
    message = history.message()
    history.api.made("/app", {"name": "Other", "uid": "other"})
    assert history.api.get(f"/app/other/msg/{message.id}").status_code == 404
    assert history.api.delete(f"/app/other/msg/{message.id}/content").status_code == 404
    assert history.api.get("/app/other/msg").json()["data"] == []


def test_a_list_shows_the_newest_first_and_pages_both_ways(history):
    made = [history.message().id for _ in range(7)][::-1]
    first = history.get("/msg", limit=3)
    assert (ids_of(first), first["iterator"], first["prevIterator"], first["done"]) == (made[:3], made[2], "-" + made[0], False)
    second = history.get("/msg", limit=3, iterator=first["iterator"])
    assert (ids_of(second), second["done"]) == (made[3:6], False)
    last = history.get("/msg", limit=3, iterator=second["iterator"])
    assert (ids_of(last), last["done"]) == (made[6:], True)
    back = history.get("/msg", limit=3, iterator=last["prevIterator"])
    assert (ids_of(back), back["done"]) == (made[3:6], False)
    top = history.get("/msg", limit=3, iterator=back["prevIterator"])
    assert (ids_of(top), top["done"]) == (made[:3], True)
    assert history.get("/msg", iterator=f"-{made[0]}") == {"data": [], "iterator": None, "prevIterator": None, "done": True}


def test_a_foreign_cursor_is_refused(history):
    for cursor in ("nonsense", "msg_" + "z" * 27, "msg_" + "é" * 27, ids.start_id(ids.ATTEMPT, 0), "--" + ids.start_id(ids.MESSAGE, 0)):
        assert history.api.get("/app/shop/msg", params={"iterator": cursor}).status_code == 422


def test_lists_are_narrowed_by_channel_tag_and_event_type(history):
    plain = history.message().id
    eu = history.message(channels=("eu", "eu-west"), event_type="order.paid").id
    west = history.message(channels=("eu-west",)).id
    tagged = history.message(tags=("a\\b", "100%")).id
    assert walked(history, "/msg", 1, channel="eu") == [eu]
    assert walked(history, "/msg", 1, channel="eu-west") == [west, eu]
    assert walked(history, "/msg", 1, channel='eu","eu-west') == []
    assert walked(history, "/msg", 1, tag="a\\b") == [tagged]
    assert walked(history, "/msg", 1, tag="b") == []
    assert walked(history, "/msg", 2, event_types="order.created,none") == [tagged, west, plain]
    assert walked(history, "/msg", 2, **{"event_types[]": "order.paid"}) == [eu]


def test_before_is_strict_and_after_includes_its_instant(history):
    old, middle, new = (history.message(age_us=age * 60 * SECOND_US).id for age in (3, 2, 1))
    at_middle = rfc3339(ids.created_us(middle))
    assert ids_of(history.get("/msg", before=at_middle)) == [old]
    assert ids_of(history.get("/msg", after=at_middle)) == [new, middle]


def test_after_alone_reads_from_the_old_end(history):
    made = [history.message(age_us=age * 60 * SECOND_US).id for age in range(6, 0, -1)]
    after = rfc3339(ids.created_us(made[1]))
    page = history.get("/msg", after=after, limit=2)
    assert (ids_of(page), page["done"]) == ([made[2], made[1]], False)
    page = history.get("/msg", after=after, limit=2, iterator=page["prevIterator"])
    assert (ids_of(page), page["done"]) == ([made[4], made[3]], False)
    page = history.get("/msg", after=after, limit=2, iterator=page["prevIterator"])
    assert (ids_of(page), page["done"]) == ([made[5]], True)


def test_lists_look_back_ninety_days(history):
    ancient = history.message(age_us=91 * DAY_US).id
    recent = history.message(age_us=89 * DAY_US).id
    assert ids_of(history.get("/msg")) == [recent]
    assert ids_of(history.get("/msg", before=rfc3339(history.now_us - 80 * DAY_US))) == [recent, ancient]
    assert ids_of(history.get("/msg", after=rfc3339(history.now_us - 92 * DAY_US))) == [recent, ancient]
    assert ids_of(history.get("/msg", iterator=recent)) == [ancient]


def test_an_app_token_reads_and_may_not_expunge(history):
    message = history.message()
    _, token = history.api.run(history.api.tokens.create(app_id=history.app_id))
    assert history.api.get(f"/app/shop/msg/{message.id}", token=token).status_code == 200
    assert history.api.delete(f"/app/shop/msg/{message.id}/content", token=token).status_code == 403


def test_unknown_things_are_not_found_in_the_contract_s_shape(history):
    response = history.api.get("/app/shop/msg/msg_nothing")
    assert (response.status_code, json.loads(response.content)) == (404, {"code": "not_found", "detail": "Entity not found"})
    assert history.api.get("/app/nothing/msg").status_code == 404


def test_large_payloads_make_a_page_shorter_and_lose_nothing(history):
    payload = b'{"a": "' + b"x" * 1_900_000 + b'"}'
    made = [history.message(payload=payload).id for _ in range(11)][::-1]
    page = history.get("/msg", limit=20)
    assert (ids_of(page), page["done"]) == (made[:8], False)
    rest = history.get("/msg", limit=20, iterator=page["iterator"])
    assert (ids_of(rest), rest["done"]) == (made[8:], True)
    back = history.get("/msg", limit=20, iterator=f"-{made[-1]}")
    assert (ids_of(back), back["done"]) == (made[2:10], False)
    assert len(history.get("/msg", limit=20, with_content="false")["data"]) == 11


def test_messages_that_arrive_during_a_walk_make_no_gap_and_no_duplicate(history):
    made = [history.message().id for _ in range(6)][::-1]
    found, more = [], {}
    while True:
        page = history.get("/msg", limit=2, **more)
        found += ids_of(page)
        history.message()
        if page["done"]:
            break
        more = {"iterator": page["iterator"]}
    assert found == made
