"""Requests whose key must be fetched first: our trouble is answered 503, theirs 401; and what a provider asks us to visit."""

from __future__ import annotations

import json
import zlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ringback.model.sources import Source
from ringback.services.releasing import Chosen
from tests.gateway.conftest import WHO, Running, path_of
from tests.unit.signing.test_fetched_keys import certificate, rsa_signature, sns_message

CERTIFICATE_URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem"
NOW_S = 1_700_000_000
CONFIRM = {
    "Type": "SubscriptionConfirmation",
    "Token": "t",
    "SubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:topic&Token=t",
}


@pytest.fixture
def sns(running: Running) -> Source:
    running.clock.set(NOW_S)
    running.published.bodies[CERTIFICATE_URL] = certificate()
    return running.made(type="aws-sns", secrets=["arn:topic"])


def ask(running: Running, source: Source, message: dict[str, Any]) -> int:
    return running.ask(path_of(source), json.dumps(message).encode(), {"content-type": "text/plain; charset=UTF-8"}).status


def test_a_notification_is_taken_once_its_certificate_was_fetched(running: Running, sns: Source) -> None:
    message = sns_message()
    assert [ask(running, sns, message), ask(running, sns, sns_message(MessageId="n"))] == [200, 200]
    assert running.published.fetched == [CERTIFICATE_URL]
    assert running.messages()[0].payload == json.dumps(message).encode()
    assert [stored.origin.event_id for stored in running.messages() if stored.origin is not None] == ["m", "n"]


def test_a_certificate_that_cannot_be_had_is_our_trouble_and_nothing_is_quarantined(running: Running, sns: Source) -> None:
    message = sns_message()
    del running.published.bodies[CERTIFICATE_URL]
    answer = running.ask(path_of(sns), json.dumps(message).encode())
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert running.quarantined(sns) == [] and running.messages() == []
    running.published.bodies[CERTIFICATE_URL] = certificate()
    assert ask(running, sns, message) == 200


def test_a_certificate_that_is_none_and_a_tampered_message_are_theirs(running: Running, sns: Source) -> None:
    assert ask(running, sns, sns_message() | {"Message": "other"}) == 401
    running.published.bodies[CERTIFICATE_URL] = b"<html>not a certificate</html>"
    assert ask(running, sns, sns_message()) == 401
    assert ask(running, sns, sns_message() | {"SigningCertURL": "https://evil.example/SimpleNotificationService-0a.pem"}) == 401
    assert running.published.fetched == [CERTIFICATE_URL]
    assert [item.reason for item in running.quarantined(sns)] == ["malformed_header", "signature_mismatch", "signature_mismatch"]


def test_a_subscription_is_confirmed_after_verification_and_is_no_event(running: Running, sns: Source) -> None:
    assert ask(running, sns, sns_message(**CONFIRM)) == 200
    assert [parse_qs(urlsplit(url).query)["Token"] for url in running.published.visited] == [["t"]]
    assert running.messages() == []
    running.run(running.known.note())
    assert running.run(running.sources.activity(sns.id)).asked == 1


def test_a_subscription_that_is_not_signed_or_not_at_amazon_is_not_visited(running: Running, sns: Source) -> None:
    assert ask(running, sns, sns_message(**CONFIRM) | {"Token": "other"}) == 401
    assert ask(running, sns, sns_message(**(CONFIRM | {"TopicArn": "arn:theirs"}))) == 401
    # Signed by Amazon, and yet elsewhere: taken as an event, for a person to look at.
    assert ask(running, sns, sns_message(**(CONFIRM | {"SubscribeURL": "https://evil.example/?Action=ConfirmSubscription"}))) == 200
    assert running.published.visited == []


def test_a_subscription_that_could_not_be_confirmed_is_asked_for_again(running: Running, sns: Source) -> None:
    running.published.answers = False
    assert ask(running, sns, sns_message(**CONFIRM)) == 503
    running.published.answers = True
    assert ask(running, sns, sns_message(**CONFIRM)) == 200
    assert len(running.published.visited) == 2


def test_a_request_in_quarantine_has_its_key_fetched_when_it_is_let_in(running: Running) -> None:
    body, url = b'{"id":"WH-1","event_type":"a"}', "https://api.paypal.com/v1/notifications/certs/CERT-1"
    content = b"i|2023-11-14T22:13:20Z|WH-ID|%d" % zlib.crc32(body)
    headers = {
        "PAYPAL-TRANSMISSION-SIG": rsa_signature(content),
        "PAYPAL-TRANSMISSION-ID": "i",
        "PAYPAL-TRANSMISSION-TIME": "2023-11-14T22:13:20Z",
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
        "PAYPAL-CERT-URL": url,
    }
    running.clock.set(NOW_S)
    running.published.bodies[url] = certificate()
    source = running.made(type="paypal", secrets=["WH-OTHER"])
    assert running.ask(path_of(source), body, headers).status == 401
    running.changed(source, secrets=("WH-ID",))
    running.published.fetched.clear()

    left = running.run(running.releases.many(WHO, running.app_id, source.id, Chosen(), believe=False))
    assert left.released == 1 and running.published.fetched == [url]
