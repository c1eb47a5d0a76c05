"""What makes two requests of a provider one event? Some give an id to each event; others share ids, or give none that can be trusted."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from ringback.errors import InvalidField
from tests.gateway.conftest import Running, path_of
from tests.gateway.signing import signed

FORM = {"content-type": "application/x-www-form-urlencoded"}
# (type, requests as headers and body, how many events they are); the last request repeats the first one, as a retry does.
CASES: list[tuple[str, list[tuple[dict[str, str], bytes]], int]] = [
    ("mollie", [(FORM, b"id=tr_1"), (FORM, b"id=tr_1")], 2),
    (
        "adyen",
        [
            ({}, b'{"notificationItems":[{"NotificationRequestItem":{"pspReference":"1","eventCode":"%b","success":"true"}}]}' % code)
            for code in (b"AUTHORISATION", b"CANCELLATION", b"AUTHORISATION")
        ],
        2,
    ),
    (
        "shopify",
        [
            ({"x-shopify-event-id": "e", "x-shopify-topic": topic}, b'{"id":1}')
            for topic in ("orders/create", "orders/paid", "orders/create")
        ],
        2,
    ),
    ("twilio", [(FORM, b"MessageSid=SM1&MessageStatus=" + status) for status in (b"queued", b"sent", b"delivered", b"queued")], 3),
    ("twilio", [({**FORM, "i-twilio-idempotency-token": token}, b"CallSid=CA1") for token in ("a", "b", "a")], 2),
    (
        "zoom",
        [({}, b'{"event":"meeting.started","event_ts":1,"payload":{"object":{"uuid":"%b"}}}' % uuid) for uuid in (b"u", b"v", b"u")],
        2,
    ),
    (
        "paystack",
        [({}, b'{"event":"%b","data":{"id":7}}' % event) for event in (b"charge.success", b"refund.processed", b"charge.success")],
        2,
    ),
    (
        "xero",
        [
            ({}, b'{"events":[{"resourceId":"r","eventType":"%b","eventDateUtc":"2026-01-01T00:00:00"}]}' % kind)
            for kind in (b"CREATE", b"UPDATE", b"CREATE")
        ],
        2,
    ),
    ("cloudevents", [({"ce-id": "1", "ce-source": source}, b"{}") for source in ("/a", "/b", "/a")], 2),
    (
        "docusign",
        [({}, b'{"event":"%b","generatedDateTime":"t","data":{"envelopeId":"e"}}' % kind) for kind in (b"sent", b"completed", b"sent")],
        2,
    ),
    (
        "calendly",
        [({}, b'{"event":"%b","payload":{"uri":"u"}}' % kind) for kind in (b"invitee.created", b"invitee.canceled", b"invitee.created")],
        2,
    ),
    (
        "mandrill",
        [
            (FORM, b"mandrill_events=%%5B%%7B%%22_id%%22%%3A%%221%%22%%2C%%22event%%22%%3A%%22%b%%22%%7D%%5D" % kind)
            for kind in (b"send", b"open", b"send")
        ],
        2,
    ),
    ("github", [({"x-github-delivery": guid}, b"{}") for guid in ("a", "b", "a")], 2),
    ("slack", [({}, b'{"type":"event_callback","event_id":"%b"}' % event_id) for event_id in (b"Ev1", b"Ev2", b"Ev1")], 2),
]


@pytest.mark.parametrize(("kind", "requests", "events"), CASES, ids=[case[0] for case in CASES])
def test_what_the_provider_calls_different_is_different_and_a_retry_is_not(
    running: Running, kind: str, requests: list[tuple[dict[str, str], bytes]], events: int
) -> None:
    source = running.made(type=kind, verify="none", secrets=[])
    for headers, body in requests:
        assert running.ask(path_of(source), body, headers).status == 200
    origins: list[Any] = [message.origin for message in running.messages()]
    assert len(origins) == events
    assert all("conflict" not in origin.flags for origin in origins)


def test_names_of_headers_are_found_in_any_case(running: Running) -> None:
    source = running.made(
        verify="none", secrets=[], type="custom", deduplication={"by": ["header:X-Event-Id"]}, eventTypeAt=["header:X-Type"]
    )
    for body in (b"1", b"1"):
        assert running.ask(path_of(source), body, {"x-EVENT-id": "7", "X-type": "made"}).status == 200
    assert [(message.event_type, message.origin and message.origin.event_id) for message in running.messages()] == [("made", "7")]


VOLATILE = {"by": ["body"], "without": ["sent_at", "meta.attempt", "items[].seen", "items[].tags[].n"]}


def test_fields_that_change_with_each_sending_do_not_count(running: Running) -> None:
    source = running.made(verify="none", secrets=[], type="custom", deduplication=VOLATILE)
    bodies = [
        b'{"a":1,"sent_at":1,"meta":{"attempt":1,"k":2},"items":[{"id":1,"seen":1,"tags":[{"n":1,"t":2}]}]}',
        b'{"meta":{"k":2,"attempt":2},"sent_at":"x", "a":1,"items":[{"seen":null,"tags":[{"t":2,"n":5}],"id":1}]}',
        b'{"a":2,"sent_at":1,"meta":{"attempt":1,"k":2},"items":[{"id":1,"seen":1,"tags":[{"n":1,"t":2}]}]}',
    ]
    for body in bodies:
        assert running.ask(path_of(source), body).status == 200
    assert [message.payload for message in running.messages()] == [bodies[0], bodies[2]], "the bytes are kept as they came first"


def test_a_retry_with_another_time_in_it_is_a_duplicate_and_no_conflict(running: Running) -> None:
    source = running.made(deduplication={"without": ["created"]})
    for created in (b"1", b"2", b"3"):
        body = b'{"id":"evt_1","type":"a","created":%b}' % created
        assert running.ask(path_of(source), body, signed(body)).status == 200
    other = b'{"id":"evt_1","type":"b","created":4}'
    assert running.ask(path_of(source), other, signed(other)).status == 200
    assert [message.origin and message.origin.flags for message in running.messages()] == [(), ("conflict",)]


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[1]", b"7", b"[" * 3_000, b'{"sent_at":1', b'{"n":' + b"1" * 300 + b"}", b'{"meta":[1],"items":{}}']
)
def test_bodies_without_such_fields_are_told_apart_by_all_their_bytes(running: Running, body: bytes) -> None:
    source = running.made(verify="none", secrets=[], type="custom", deduplication=VOLATILE)
    for sent in (body, body, body + b" x"):
        assert running.ask(path_of(source), sent).status == 200
    assert [message.payload for message in running.messages()] == [body, body + b" x"]


@pytest.mark.parametrize(
    "settings",
    [
        {"orderingKeyAt": ["header:X-Key", "json:data.person.email"]},
        {"deduplication": {"by": ["json:data.person"]}},
        {"eventTypeAt": ["json:data[].person.kind"]},
    ],
)
def test_what_names_or_orders_events_is_no_sensitive_field_since_it_is_shown(running: Running, settings: dict[str, Any]) -> None:
    fields = ["data.other", "data[].person", "dat"]
    with pytest.raises(InvalidField, match="is shown") as refused:
        running.made(type="custom", verify="none", secrets=[], sensitiveFields=fields, **settings)
    assert [problem.loc for problem in refused.value.problems] == [("body", "sensitiveFields", "[1]")]
    running.made(type="custom", verify="none", secrets=[], sensitiveFields=["data.person.name.old", "personal"], **settings)


KEY = b"k" * 32
AT_S = 1_700_000_000


def standard(family: str, message_id: str, body: bytes) -> dict[str, str]:
    mac = hmac.digest(KEY, b"%b.%d.%b" % (message_id.encode(), AT_S, body), "sha256")
    return {
        f"{family}-id": message_id,
        f"{family}-timestamp": str(AT_S),
        f"{family}-signature": "v1," + base64.b64encode(mac).decode(),
    }


@pytest.mark.parametrize("kind", ["standard-webhooks", "svix", "openai", "resend", "custom"])
def test_the_id_that_was_signed_counts_whichever_unsigned_one_stands_beside_it(running: Running, kind: str) -> None:
    own = {"scheme": {"type": "standard", "name": "own"}} if kind == "custom" else {}
    path = path_of(running.made(type=kind, secrets=["whsec_" + base64.b64encode(KEY).decode()], **own))
    running.clock.set(AT_S)
    body = b'{"type":"a"}'
    for family, other in (("svix", "webhook"), ("webhook", "svix")):
        headers = standard(family, f"msg_{family}", body)
        for beside in ({}, {}, {f"{other}-id": "evil_1"}, {f"{other}-id": "evil_2"}):
            assert running.ask(path, body, {**beside, **headers}).status == 200
    assert [message.origin.event_id for message in running.messages() if message.origin] == ["msg_svix", "msg_webhook"]


def mailgun(sending: str) -> tuple[dict[str, str], bytes]:
    mac = hmac.digest(KEY, f"{AT_S}{sending}".encode(), "sha256").hex()
    signature = {"timestamp": str(AT_S), "token": sending, "signature": mac}
    return {}, json.dumps({"signature": signature, "event-data": {"id": "e", "event": "opened"}}).encode()


def monday(sending: str) -> tuple[dict[str, str], bytes]:
    def text(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    claims = {"jti": sending, "iat": AT_S, "exp": AT_S + 300}
    content = ".".join(text(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    token = f"{content}.{text(hmac.digest(KEY, content.encode(), 'sha256'))}"
    return {"authorization": token}, b'{"event":{"triggerUuid":"e","type":"update"}}'


@pytest.mark.parametrize("sent", [mailgun, monday])
def test_an_event_is_known_by_its_own_id_and_not_by_what_is_signed_of_one_sending(
    running: Running, sent: Callable[[str], tuple[dict[str, str], bytes]]
) -> None:
    path = path_of(running.made(type=sent.__name__, secrets=[KEY.decode()]))
    running.clock.set(AT_S)
    for sending in ("1", "2", "1"):
        headers, body = sent(sending)
        assert running.ask(path, body, headers).status == 200
    origins = [message.origin for message in running.messages() if message.origin]
    assert {origin.event_id for origin in origins} == {"e"}
    # The body of Mailgun holds the signature, and so is another one.
    assert [origin.event_id for origin in origins if "conflict" not in origin.flags] == ["e"]


def test_what_is_signed_of_one_sending_tells_captured_requests_that_have_no_other_id(running: Running) -> None:
    path = path_of(running.made(type="monday", secrets=[KEY.decode()]))
    running.clock.set(AT_S)
    for sending in ("1", "2", "1"):
        assert running.ask(path, b'{"event":{}}', monday(sending)[0]).status == 200
    assert [message.origin.event_id for message in running.messages() if message.origin] == ["1", "2"]
