"""Does the official Svix SDK work with nothing changed but the server URL? And the official packages that verify?"""

from __future__ import annotations

import datetime
import json
import typing

import pytest
import standardwebhooks
import svix.webhooks
from svix.api import MessageAttemptListByEndpointOptions, MessageAttemptListByMsgOptions, MessageListOptions, Svix, SvixOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import (
    ApplicationIn,
    ApplicationOut,
    EndpointHeadersIn,
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventTypeIn,
    MessageAttemptTriggerType,
    MessageIn,
    MessageStatus,
)

from benchmarks.server import Server
from tests.acceptance.receiver import FAILED, OK, Answer, Arrival, Receiver
from tests.acceptance.serving import Shared
from tests.waiting import wait_until

# What is sent: order of keys, blanks, number spelling and non-ASCII text must reach the receiver unchanged in meaning.
PAYLOAD: typing.Final = {"type": "order.paid", "amount": 12.50, "big": 2**53 + 1, "text": "žluťoučký 馬 😀", "nested": {"z": 1, "a": None}}

# The SDK leaves the contents out unless it is asked for them.
WITH_CONTENT: typing.Final = MessageAttemptListByMsgOptions(with_content=True)


class Shop:
    """A customer of a platform: an application with one endpoint, made through the SDK."""

    def __init__(self, running: Server, receiver: Receiver) -> None:
        self.server = running
        self.receiver = receiver
        self.svix = Svix(running.token, SvixOptions(server_url=running.url))
        self.app: ApplicationOut = self.svix.application.create(ApplicationIn(name="Shop", uid="shop"))
        self.svix.event_type.create(EventTypeIn(name="order.paid", description="An order was paid"))
        self.endpoint: EndpointOut = self.svix.endpoint.create(
            self.app.id, EndpointIn(url=f"{receiver.url}/hooks", event_types=["order.paid"], description="the shop")
        )

    def secret(self) -> str:
        """The endpoint's current secret."""
        return self.svix.endpoint.get_secret(self.app.id, self.endpoint.id).key

    def send(self, payload: dict[str, typing.Any] = PAYLOAD) -> str:
        """Send one message; returns its id."""
        return self.svix.message.create(self.app.id, MessageIn(event_type="order.paid", payload=payload)).id

    def attempts(self, message_id: str) -> list[typing.Any]:
        """The attempts of a message, the oldest first."""
        return list(reversed(self.svix.message_attempt.list_by_msg(self.app.id, message_id, WITH_CONTENT).data))

    def listed(self, message_id: str, count: int) -> list[typing.Any]:
        """The attempts of a message, once `count` are listed; the oldest first."""
        wait_until(lambda: len(self.attempts(message_id)) >= count, what=f"{count} attempts are listed")
        return self.attempts(message_id)

    def arrived(self, count: int) -> list[Arrival]:
        """The arrivals, once there are `count`."""
        wait_until(lambda: len(self.receiver.arrivals) >= count, what=f"{count} requests arrive")
        return self.receiver.arrivals


@pytest.fixture
def shop(shared: Shared, receiver: Receiver) -> Shop:
    return Shop(shared(), receiver)


def test_a_message_arrives_signed_so_that_both_official_packages_verify_it(shop: Shop) -> None:
    message_id = shop.send()
    (arrival,) = shop.arrived(1)
    assert arrival.method == "POST"
    assert arrival.path == "/hooks"
    assert arrival.id == message_id
    assert arrival.headers["content-type"] == "application/json"
    assert json.loads(arrival.body) == PAYLOAD
    standardwebhooks.Webhook(shop.secret()).verify(arrival.body, arrival.headers)
    svix.webhooks.Webhook(shop.secret()).verify(arrival.body, arrival.headers)
    with pytest.raises(svix.webhooks.WebhookVerificationError):
        svix.webhooks.Webhook(shop.secret()).verify(arrival.body + b" ", arrival.headers)


def test_the_attempt_is_listed_with_what_the_endpoint_answered(shop: Shop) -> None:
    shop.receiver.decide = lambda arrival: Answer(201, body="přijato".encode())
    message_id = shop.send()
    (attempt,) = wait_until(lambda: shop.attempts(message_id), what="the attempt is listed")
    assert attempt.status == MessageStatus.SUCCESS
    assert attempt.response_status_code == 201
    assert attempt.response == "přijato"
    assert attempt.endpoint_id == shop.endpoint.id
    assert attempt.msg_id == message_id
    assert attempt.trigger_type == MessageAttemptTriggerType.SCHEDULED
    (same,) = shop.svix.message_attempt.list_by_endpoint(
        shop.app.id, shop.endpoint.id, MessageAttemptListByEndpointOptions(with_msg=True)
    ).data
    assert same.id == attempt.id
    (row,) = shop.svix.message_attempt.list_attempted_messages(shop.app.id, shop.endpoint.id).data
    assert (row.id, row.status, row.next_attempt) == (message_id, MessageStatus.SUCCESS, None)
    (destination,) = shop.svix.message_attempt.list_attempted_destinations(shop.app.id, message_id).data
    assert (destination.id, destination.status) == (shop.endpoint.id, MessageStatus.SUCCESS)


def test_a_failing_endpoint_is_tried_again_on_schedule_until_it_succeeds(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared({"retry_schedule": "300ms,700ms,5m"}), receiver)
    answers = iter([FAILED, Answer(503), OK])
    receiver.decide = lambda arrival: next(answers)
    message_id = shop.send()
    first, second, third = shop.arrived(3)
    assert {first.id, second.id, third.id} == {message_id}
    assert first.body == second.body == third.body
    assert 0.3 <= second.at_s - first.at_s <= 0.3 * 1.2 + 1.0
    assert 0.7 <= third.at_s - second.at_s <= 0.7 * 1.2 + 1.0
    for arrival in (first, second, third):
        standardwebhooks.Webhook(shop.secret()).verify(arrival.body, arrival.headers)
    attempts = shop.listed(message_id, 3)
    assert [attempt.response_status_code for attempt in attempts] == [500, 503, 200]
    assert [attempt.status for attempt in attempts] == [MessageStatus.FAIL, MessageStatus.FAIL, MessageStatus.SUCCESS]


def test_a_resend_by_hand_is_one_attempt_beside_the_schedule(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared({"retry_schedule": "5m"}), receiver)
    receiver.decide = lambda arrival: FAILED
    message_id = shop.send()
    shop.arrived(1)
    wait_until(lambda: shop.attempts(message_id), what="the failed attempt is listed")
    before = shop.svix.message_attempt.list_attempted_messages(shop.app.id, shop.endpoint.id).data[0]
    assert before.status == MessageStatus.SENDING and before.next_attempt is not None

    shop.svix.message_attempt.resend(shop.app.id, message_id, shop.endpoint.id)
    shop.arrived(2)
    attempts = shop.listed(message_id, 2)
    assert attempts[1].trigger_type == MessageAttemptTriggerType.MANUAL
    still = shop.svix.message_attempt.list_attempted_messages(shop.app.id, shop.endpoint.id).data[0]
    assert still.next_attempt == before.next_attempt, "a failed resend must not touch the schedule"

    receiver.decide = lambda arrival: OK
    shop.svix.message_attempt.resend(shop.app.id, message_id, shop.endpoint.id)
    ended = wait_until(
        lambda: [
            row
            for row in shop.svix.message_attempt.list_attempted_messages(shop.app.id, shop.endpoint.id).data
            if row.status == MessageStatus.SUCCESS
        ],
        what="a successful resend ends the schedule",
    )
    assert ended[0].next_attempt is None


def test_after_a_rotation_both_secrets_sign_the_new_one_first(shop: Shop) -> None:
    old = shop.secret()
    shop.svix.endpoint.rotate_secret(shop.app.id, shop.endpoint.id, EndpointSecretRotateIn())
    new = shop.secret()
    assert new != old
    shop.send()
    (arrival,) = shop.arrived(1)
    signatures = arrival.headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    for secret, signature in zip((new, old), signatures, strict=True):
        standardwebhooks.Webhook(secret).verify(arrival.body, arrival.headers | {"webhook-signature": signature})


def test_a_rotation_without_grace_leaves_the_new_secret_alone(shop: Shop) -> None:
    old = shop.secret()
    shop.svix.endpoint.rotate_secret(shop.app.id, shop.endpoint.id, EndpointSecretRotateIn(grace_period_seconds=0))
    shop.send()
    (arrival,) = shop.arrived(1)
    standardwebhooks.Webhook(shop.secret()).verify(arrival.body, arrival.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(old).verify(arrival.body, arrival.headers)


def test_headers_of_the_endpoint_are_sent_and_sensitive_ones_are_never_shown(shop: Shop) -> None:
    headers = {"X-Shop": "1", "Authorization": "Basic c2hvcDpzZWNyZXQ="}
    shop.svix.endpoint.set_headers(shop.app.id, shop.endpoint.id, EndpointHeadersIn(headers=headers))
    shop.send()
    (arrival,) = shop.arrived(1)
    assert (arrival.headers["x-shop"], arrival.headers["authorization"]) == ("1", "Basic c2hvcDpzZWNyZXQ=")
    shown = shop.svix.endpoint.get_headers(shop.app.id, shop.endpoint.id)
    assert (shown.headers, [name.lower() for name in shown.sensitive]) == ({"X-Shop": "1"}, ["authorization"])


def test_a_disabled_endpoint_gets_nothing_and_a_re_enabled_one_gets_what_is_sent_then(shop: Shop) -> None:
    shop.svix.endpoint.patch(shop.app.id, shop.endpoint.id, EndpointPatch(disabled=True))
    shop.send()
    shop.svix.endpoint.patch(shop.app.id, shop.endpoint.id, EndpointPatch(disabled=False))
    later = shop.send()
    assert [arrival.id for arrival in shop.arrived(1)] == [later]


def test_deleting_an_endpoint_ends_its_retries(shop: Shop) -> None:
    shop.receiver.decide = lambda arrival: FAILED
    message_id = shop.send()
    shop.arrived(1)
    shop.svix.endpoint.delete(shop.app.id, shop.endpoint.id)
    with pytest.raises(HttpError) as missing:
        shop.svix.endpoint.get(shop.app.id, shop.endpoint.id)
    assert missing.value.status_code == 404
    count = len(shop.receiver.arrivals)
    marker = shop.svix.endpoint.create(shop.app.id, EndpointIn(url=f"{shop.receiver.url}/marker"))
    shop.receiver.decide = lambda arrival: OK
    shop.send()
    wait_until(lambda: shop.receiver.at("/marker"), what="the new endpoint is served")
    assert marker.id
    assert len([arrival for arrival in shop.receiver.arrivals if arrival.id == message_id]) <= count + 1
    shop.svix.application.delete(shop.app.id)
    with pytest.raises(HttpError):
        shop.svix.application.get("shop")


def test_an_idempotency_key_makes_one_message_of_two_requests(shop: Shop) -> None:
    answers = [
        shop.server.call(
            "POST",
            f"/app/{shop.app.id}/msg",
            {"eventType": "order.paid", "payload": {"a": 1}},
            {"idempotency-key": "the-same"},
        )
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 202
    assert len(shop.svix.message.list(shop.app.id, MessageListOptions(limit=10)).data) == 1


def test_the_sdk_understands_the_errors(shop: Shop) -> None:
    with pytest.raises(HTTPValidationError) as invalid:
        shop.svix.endpoint.create(shop.app.id, EndpointIn(url="not a url"))
    assert invalid.value.status_code == 422
    with pytest.raises(HttpError) as clash:
        shop.svix.application.create(ApplicationIn(name="again", uid="shop"))
    assert (clash.value.status_code, clash.value.code) == (409, "conflict")
    with pytest.raises(HttpError) as unknown:
        Svix("sk_wrong", SvixOptions(server_url=shop.server.url)).application.list()
    assert (unknown.value.status_code, unknown.value.code) == (401, "authentication_failed")


def test_times_are_aware(shop: Shop) -> None:
    sent = shop.svix.message.get(shop.app.id, shop.send())
    assert sent.timestamp.tzinfo is not None
    assert abs(datetime.datetime.now(datetime.UTC) - sent.timestamp) < datetime.timedelta(minutes=1)
    shop.svix.health.get()
