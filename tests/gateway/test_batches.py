"""Batches become one event for each of their items: slices of the bytes that came, acknowledged as one."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest

from ringback.dashboard.sensitive import shown_request
from ringback.services.masking import shown
from tests.gateway.conftest import Running, path_of

BATCHES: list[tuple[str, bytes, list[bytes], list[str]]] = [
    ("hubspot", b'[ {"eventId":1,"subscriptionType":"contact.creation"},{"eventId": 2,"subscriptionType":"deal.deletion"} ]',
     [b'{"eventId":1,"subscriptionType":"contact.creation"}', b'{"eventId": 2,"subscriptionType":"deal.deletion"}'],
     ["contact.creation", "deal.deletion"]),
    ("sendgrid", b'[{"sg_event_id":"a","event":"open"},{"sg_event_id":"b","event":"click"}]\r\n',
     [b'{"sg_event_id":"a","event":"open"}', b'{"sg_event_id":"b","event":"click"}'], ["open", "click"]),
    ("okta", b'{"data":{"events":[{"uuid":"1","eventType":"user.a"},{"uuid":"2","eventType":"user.b"}]}}',
     [b'{"uuid":"1","eventType":"user.a"}', b'{"uuid":"2","eventType":"user.b"}'], ["user.a", "user.b"]),
    ("adyen", b'{"live":"false","notificationItems":[{"NotificationRequestItem":{"pspReference":"1","eventCode":"AUTHORISATION"}},'
     b'{"NotificationRequestItem":{"pspReference":"2","eventCode":"CAPTURE"}}]}',
     [b'{"pspReference":"1","eventCode":"AUTHORISATION"}', b'{"pspReference":"2","eventCode":"CAPTURE"}'], ["AUTHORISATION", "CAPTURE"]),
    ("gocardless", b'{"events":[{"id":"E1","action":"paid"},{"id":"E2","action":"failed"}]}',
     [b'{"id":"E1","action":"paid"}', b'{"id":"E2","action":"failed"}'], []),
    ("ms-graph", b'{"value":[{"id":"1","changeType":"updated"},{"id":"2","changeType":"created"}]}',
     [b'{"id":"1","changeType":"updated"}', b'{"id":"2","changeType":"created"}'], []),
    ("xero", b'{"events":[{"resourceId":"a","eventType":"CREATE"},{"resourceId":"b","eventType":"UPDATE"}],"firstEventSequence":1}',
     [b'{"resourceId":"a","eventType":"CREATE"}', b'{"resourceId":"b","eventType":"UPDATE"}'], ["CREATE", "UPDATE"]),
    ("mandrill", b"mandrill_events=" + quote('[{"event":"send","_id":"1"},{"event":"open","_id":"2"}]').encode(),
     [b'{"event":"send","_id":"1"}', b'{"event":"open","_id":"2"}'], ["send", "open"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "children", "names"), BATCHES, ids=[batch[0] for batch in BATCHES])
def test_each_item_is_an_event_of_its_own(running: Running, kind: str, body: bytes, children: list[bytes], names: list[str]) -> None:
    source = running.made(type=kind, verify="none", secrets=[])
    for _ in range(2):
        assert running.ask(path_of(source), body, {"content-type": "application/json"}).status in (200, 202, 204)
    stored = running.messages()
    assert [message.payload for message in stored][: len(children)] == children
    if names:
        assert [message.event_type for message in stored][: len(children)] == names


def test_items_with_ids_of_their_own_are_deduplicated_one_by_one(running: Running) -> None:
    source = running.made(type="hubspot", verify="none", secrets=[])

    def batch(*numbers: int) -> bytes:
        return json.dumps([{"eventId": number, "subscriptionType": "x"} for number in numbers]).encode()

    for body in (batch(1, 2), batch(2, 3)):
        assert running.ask(path_of(source), body).status == 200
    origins: list[Any] = [message.origin for message in running.messages()]
    assert [origin.event_id for origin in origins] == ["1", "2", "3"]


@pytest.mark.parametrize("path", ["email", "events[].email", "events.email"])
def test_sensitive_fields_are_masked_in_the_item_and_in_the_batch_whichever_their_paths_begin_at(running: Running, path: str) -> None:
    batch = b'{"events":[{"id":"E1","email":"jo@example.com"}],"n":1}'
    many = b'{"events":[%b]}' % b",".join([b'{"email":"jo@example.com"}'] * 2_001)
    source = running.made(type="gocardless", verify="none", secrets=[], sensitiveFields=[path])
    for body in (batch, many):
        assert running.ask(path_of(source), body).status in (200, 204)
    child, whole = (shown(message).payload or b"" for message in running.messages())
    assert (child, whole[:26]) == (b'{"id":"E1","email":"***"}', b'{"events":[{"email":"***"}'), "one with too many items is one event"
    assert b"jo@" not in whole
    strict = running.made(type="gocardless", secrets=["s"], sensitiveFields=[path])
    assert running.ask(path_of(strict), batch).status >= 400
    (item,) = running.quarantined(strict)
    assert running.run(shown_request(strict, item.request)).body == b'{"events":[{"id":"E1","email":"***"}],"n":1}'


def test_a_secret_that_stands_in_the_body_is_shown_to_nobody_who_could_send_events_with_it(running: Running) -> None:
    body = b'{"value":[{"clientState":"graph-secret","resource":"users/1"}]}'
    graph = running.made(type="ms-graph", secrets=["graph-secret"])
    own = running.made(type="custom", secrets=["own-secret"], scheme={"type": "token", "places": ["json:auth.key"]})
    assert running.ask(path_of(graph), body).status in (200, 202)
    assert running.ask(path_of(own), b'{"auth":{"key":"own-secret"}}').status == 200
    assert [shown(message).payload for message in running.messages()] == [
        b'{"clientState":"***","resource":"users/1"}',
        b'{"auth":{"key":"***"}}',
    ]
    assert [b"secret" in (message.payload or b"") for message in running.messages()] == [True, True], "it is delivered as it came"
    assert running.ask(path_of(graph), body.replace(b"graph-", b"former-")).status == 401
    (item,) = running.quarantined(graph)
    assert running.run(shown_request(graph, item.request)).body == b'{"value":[{"clientState":"***","resource":"users/1"}]}'


@pytest.mark.parametrize("body", [b"[]", b"{}", b"not json", b"", b"[1,2", b'["a", 7]', json.dumps([{}] * 2_001).encode()])
def test_what_is_no_batch_is_one_event(running: Running, body: bytes) -> None:
    source = running.made(type="hubspot", verify="none", secrets=[])
    assert running.ask(path_of(source), body).status == 200
    assert len(running.messages()) == (2 if body == b'["a", 7]' else 1)


def test_splitting_can_be_switched_off(running: Running) -> None:
    source = running.made(type="hubspot", verify="none", secrets=[], splitBatches=False)
    assert running.ask(path_of(source), b'[{"eventId":1},{"eventId":2}]').status == 200
    assert len(running.messages()) == 1


CLOUD_EVENTS = [
    b'{"specversion":"1.0","id":"1","source":"/a","type":"com.example.made","data": 1}',
    b'{"specversion":"1.0","id":"1","source":"/b","type":"com.example.sold"}',
]


def test_a_batch_of_cloud_events_is_one_event_for_each_known_by_its_source_and_id(running: Running) -> None:
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format ."""
    source = running.made(type="cloudevents", secrets=["s3cret"])
    headers = {"content-type": "application/CloudEvents-batch+json; charset=utf-8", "authorization": "Bearer s3cret"}
    for _ in range(2):
        assert running.ask(path_of(source), b"[%b, %b]" % (*CLOUD_EVENTS,), headers).status == 200
    stored = running.messages()
    assert [message.payload for message in stored] == CLOUD_EVENTS
    assert [message.event_type for message in stored] == ["com.example.made", "com.example.sold"]
    assert {message.content_type for message in stored} == {"application/cloudevents+json"}
    origins: list[Any] = [message.origin for message in stored]
    assert [origin.event_id for origin in origins] == ["1\0\0/a", "1\0\0/b"]


def test_a_list_that_is_the_data_of_one_cloud_event_stays_whole(running: Running) -> None:
    source = running.made(type="cloudevents", secrets=["s3cret"])
    names = {"ce-id": "7", "ce-source": "/a", "ce-type": "com.example.made"}
    headers = {"content-type": "application/json", "authorization": "Bearer s3cret", **names}
    assert running.ask(path_of(source), b'[{"id":"1"},{"id":"2"}]', headers).status == 200
    (stored,) = running.messages()
    assert (stored.payload, stored.content_type, stored.event_type) == (b'[{"id":"1"},{"id":"2"}]', "application/json", "com.example.made")


def test_an_item_of_a_form_is_json_and_one_of_a_compressed_batch_is_not_compressed(running: Running) -> None:
    form = b"mandrill_events=" + quote('[{"event":"send","_id":"1"},{"event":"open","_id":"2"}]').encode()
    mandrill = path_of(running.made(type="mandrill", verify="none", secrets=[]))
    assert running.ask(mandrill, form, {"content-type": "application/x-www-form-urlencoded"}).status == 200
    packed = gzip.compress(b'[{"eventId":1,"subscriptionType":"x"},{"eventId":2,"subscriptionType":"y"}]')
    hubspot = path_of(running.made(type="hubspot", verify="none", secrets=[]))
    assert running.ask(hubspot, packed, {"content-type": "application/json", "content-encoding": "gzip"}).status == 200
    stored = running.messages()
    assert [message.content_type for message in stored] == ["application/json"] * 4
    assert not any(b"content-encoding" in (message.headers or b"") for message in stored)


CLOUD_BATCH = {"content-type": "application/cloudevents-batch+json", "authorization": "Bearer s3cret"}


def test_headers_of_a_batch_of_cloud_events_name_none_of_its_items(running: Running) -> None:
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md ."""
    source = running.made(type="cloudevents", secrets=["s3cret"])
    named = {"ce-id": "9", "ce-source": "/elsewhere", "ce-type": "other"}
    for headers in (CLOUD_BATCH, CLOUD_BATCH | named):
        assert running.ask(path_of(source), b"[%b, %b]" % (*CLOUD_EVENTS,), headers).status == 200
    stored = running.messages()
    assert [message.event_type for message in stored] == ["com.example.made", "com.example.sold"], "the second time they are known"
    assert not any(message.origin.flags for message in stored if message.origin)


@pytest.mark.parametrize("items", [(b'{"n":1}', b'{"n":2}', b'{"n":3}'), (b'{"n":1}', b'{"n":1}')])
def test_items_that_are_known_by_what_the_whole_request_says_are_told_apart(running: Running, items: tuple[bytes, ...]) -> None:
    rule = {"by": ["header:x-request"], "windowS": 300_000}
    source = running.made(type="hubspot", verify="none", secrets=[], deduplication=rule)
    for number in (b"1", b"1", b"2"):
        body, headers = b"[%b]" % b",".join(items), {"content-type": "application/json", "x-request": number.decode()}
        assert running.ask(path_of(source), body, headers).status == 200
    stored = running.messages()
    assert [message.payload for message in stored] == [*items, *items]
    assert {message.origin.flags for message in stored if message.origin} == {("unverified",)}, "nothing is a conflict"


@pytest.mark.parametrize("body", [b"[]", b" [ \n ] ", b"\xef\xbb\xbf[]"])
def test_a_batch_of_no_cloud_events_is_acknowledged_and_noted_and_makes_no_message(running: Running, body: bytes) -> None:
    source = running.made(type="cloudevents", secrets=["s3cret"])
    assert running.ask(path_of(source), body, CLOUD_BATCH).status == 200
    assert running.messages() == []
    (entry,) = running.arrived(source)
    assert (entry.outcome, entry.what, entry.status) == ("ignored", "empty_batch", 200)
    assert running.ask(path_of(source), body, CLOUD_BATCH | {"authorization": "Bearer other"}).status == 401


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'[{"id":"1"}', b"7"])
def test_what_is_called_a_batch_of_cloud_events_and_is_none_is_kept_as_one_event(running: Running, body: bytes) -> None:
    source = running.made(type="cloudevents", secrets=["s3cret"])
    assert running.ask(path_of(source), body, CLOUD_BATCH).status == 200
    assert [message.payload for message in running.messages()] == [body]
