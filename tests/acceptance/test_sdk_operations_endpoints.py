"""The official SDK against a running server: endpoints and all that belongs to one."""

from __future__ import annotations

import datetime

import pytest
import standardwebhooks
from svix.api import EndpointGetAttemptStatsOptions, EndpointGetStatsOptions, EndpointListOptions
from svix.autoconfig import AutoConfig
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import (
    BackgroundTaskType,
    BulkReplayIn,
    CreateAutoConfigSubscriptionIn,
    DestinationIn,
    DestinationPatch,
    DestinationTransformIn,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EndpointTransformationIn,
    EndpointTransformationPatch,
    EndpointUpsertIn,
    EventExampleIn,
    IntegrationIn,
    IntegrationUpdate,
    Ordering,
    RecoverIn,
    ReplayIn,
    RotateSubscriptionIn2,
)
from svix.webhooks import WebhookVerificationError

from tests.acceptance.sdk_shop import CODE, Shop, missing
from tests.acceptance.sdk_surface import Sdk, client
from tests.waiting import wait_until


@pytest.fixture
def shop(sdk: Sdk) -> Shop:
    return Shop(sdk)


def test_endpoints(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    url = "https://a.example/"
    assert svix.endpoint.get(app, "mine").id == shop.endpoint
    assert svix.endpoint.upsert(app, "mine", EndpointUpsertIn(url=url, channels=["eu"])).channels == ["eu"]
    assert svix.endpoint.patch(app, "mine", EndpointPatch(disabled=True)).disabled is True
    second = svix.endpoint.create(app, EndpointIn(url=url))
    listed = svix.endpoint.list(app, EndpointListOptions(limit=10, order=Ordering.ASCENDING))
    assert [endpoint.id for endpoint in listed.data] == [shop.endpoint, second.id]
    svix.endpoint.delete(app, "mine")
    assert missing(lambda: svix.endpoint.get(app, "mine")) == (404, "not_found")


def test_secrets_and_headers(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    first = svix.endpoint.get_secret(app, "mine").key
    rotated = svix.endpoint.rotate_secret(app, "mine", EndpointSecretRotateIn(grace_period_seconds=0))
    assert svix.endpoint.get_secret(app, "mine").key == (rotated.key if rotated is not None else "") != first
    svix.endpoint.set_headers(app, "mine", EndpointHeadersIn(headers={"x-a": "1", "authorization": "secret"}))
    svix.endpoint.patch_headers(app, "mine", EndpointHeadersPatchIn(headers={"x-b": "2"}, delete_headers=["X-A"]))
    shown = svix.endpoint.get_headers(app, "mine")
    assert (shown.headers, shown.sensitive) == ({"x-b": "2"}, ["authorization"])


def test_transformations(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    assert svix.endpoint.transformation.get(app, "mine").code is None
    svix.endpoint.transformation.patch(app, "mine", EndpointTransformationPatch(code=CODE, variables={"a": "b"}))
    kept = svix.endpoint.transformation.get(app, "mine")
    assert (kept.code, kept.enabled, kept.variables, kept.updated_at is not None) == (CODE, False, {"a": "b"}, True)
    svix.endpoint.transformation_partial_update(app, "mine", EndpointTransformationIn(code=CODE + "//"))
    assert svix.endpoint.transformation.get(app, "mine").code == CODE + "//"
    enable = EndpointTransformationPatch(enabled=True)
    svix.endpoint.transformation.patch(app, "mine", enable)
    assert svix.endpoint.transformation.get(app, "mine").enabled is True
    svix.endpoint.transformation.patch(app, "mine", EndpointTransformationPatch(code=None))
    with pytest.raises(HTTPValidationError):
        svix.endpoint.transformation.patch(app, "mine", enable)


def test_an_example_is_sent_and_its_attempt_is_counted(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    sent = svix.endpoint.send_example(app, "mine", EventExampleIn(event_type="svix.ping"))
    assert (sent.event_type, sent.payload) == ("svix.ping", {"success": True})
    (arrival,) = shop.arrived(1)
    assert arrival.id == sent.id
    wait_until(lambda: svix.endpoint.get_attempt_stats(app, "mine").success == 1, what="the attempt is counted")
    now = datetime.datetime.now(datetime.UTC)
    window = EndpointGetAttemptStatsOptions(since=now - datetime.timedelta(days=1), until=now - datetime.timedelta(hours=1))
    before = svix.endpoint.get_attempt_stats(app, "mine", window)
    assert (before.success, before.fail, before.canceled) == (0, 0, 0)
    stats = svix.endpoint.get_stats(app, "mine", EndpointGetStatsOptions(since=now - datetime.timedelta(days=1)))
    assert (stats.success, stats.pending, stats.sending) == (1, 0, 0)


def test_what_was_sent_is_sent_again_by_tasks(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)
    message = shop.send()
    shop.arrived(1)
    wait_until(lambda: svix.endpoint.get_stats(app, "mine").success == 1, what="the attempt is recorded")
    replay = svix.endpoint.bulk_replay(app, "mine", BulkReplayIn(since=since))
    assert shop.finished(replay.id).data == {"messagesSent": 1}
    assert [arrival.id for arrival in shop.arrived(2)] == [message, message]
    recover = svix.endpoint.recover(app, "mine", RecoverIn(since=since))
    missed = svix.endpoint.replay_missing(app, "mine", ReplayIn(since=since))
    assert (shop.finished(recover.id).task, shop.finished(recover.id).data) == (BackgroundTaskType.ENDPOINT_RECOVER, {"messagesSent": 0})
    assert shop.finished(missed.id).data == {"messagesSent": 0}
    assert {replay.id, recover.id, missed.id} <= {task.id for task in svix.background_task.list().data}


def test_integrations(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    made = svix.integration.create(app, IntegrationIn(name="Zapier", feature_flags=["beta"]))
    assert svix.integration.get(app, made.id) == made
    assert svix.integration.update(app, made.id, IntegrationUpdate(name="Make")).feature_flags == []
    assert [item.id for item in svix.integration.list(app).data] == [made.id]
    first = client(shop.sdk.server, svix.integration.rotate_key(app, made.id).key)
    assert first.endpoint.get(app, "mine").id == shop.endpoint
    second = client(shop.sdk.server, svix.integration.rotate_key(app, made.id).key)
    assert missing(lambda: first.endpoint.get(app, "mine")) == (401, "authentication_failed")
    assert missing(lambda: second.integration.delete(app, made.id)) == (403, "insufficient access")
    svix.integration.delete(app, made.id)
    assert missing(lambda: second.endpoint.get(app, "mine")) == (401, "authentication_failed")


def test_a_customer_completes_a_subscription_with_its_text_alone(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    path = "/" + shop.sdk.name("auto")
    offer = svix.autoconfig_subscription.create(app, CreateAutoConfigSubscriptionIn())
    mine = AutoConfig(offer.token, EndpointIn(url=shop.sdk.receiver.url + path))
    endpoint = mine.subscribe()
    assert svix.endpoint.get(app, endpoint.id).url == shop.sdk.receiver.url + path
    message = shop.send()
    wait_until(lambda: shop.sdk.receiver.at(path), what="the message arrives at the new endpoint")
    (arrival,) = shop.sdk.receiver.at(path)
    assert arrival.id == message
    mine.verify(arrival.body, arrival.headers)
    with pytest.raises(WebhookVerificationError):
        mine.verify(arrival.body + b" ", arrival.headers)
    renewed = svix.autoconfig_subscription.rotate(app, offer.id, RotateSubscriptionIn2())
    assert (renewed.id, renewed.token != offer.token) == (offer.id, True)
    with pytest.raises(HttpError):
        mine.subscribe()
    AutoConfig(renewed.token, EndpointIn(url=shop.sdk.receiver.url + path, description="again")).subscribe()
    assert svix.endpoint.get(app, endpoint.id).description == "again"
    standardwebhooks.Webhook(svix.endpoint.get_secret(app, endpoint.id).key)
    svix.autoconfig_subscription.delete(app, offer.id)
    with pytest.raises(HttpError):
        AutoConfig(renewed.token, EndpointIn(url="https://a.example")).subscribe()


def test_destinations(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    made = svix.destination.create(app, DestinationIn(type="pollingEndpoint", config={}, uid="mine", channels=["eu"], metadata={"a": "b"}))
    assert (made.id[:5], made.status, made.type, made.config, made.channels) == ("poll_", "enabled", "pollingEndpoint", {}, ["eu"])
    assert svix.destination.get(app, "mine") == made
    assert svix.destination.list(app).data == [made]
    replaced = svix.destination.upsert(app, "mine", DestinationIn(type="pollingEndpoint", config={}, batch_size=5, max_wait_secs=1))
    assert (replaced.id, replaced.channels, replaced.batch_size, replaced.max_wait_secs) == (made.id, None, 5, 1)
    changed = svix.destination.patch(app, made.id, DestinationPatch(type="pollingEndpoint", config={}, status="disabled"))
    assert (changed.status, changed.batch_size) == ("disabled", 5)
    assert svix.destination.transformation.get(app, made.id).enabled is False
    for refused in (
        lambda: svix.destination.rotate_secret(app, made.id, EndpointSecretRotateIn()),
        lambda: svix.destination.transformation.patch(app, made.id, DestinationTransformIn(code=CODE)),
    ):
        assert missing(refused) == (400, "not_http_sink")
    svix.destination.delete(app, made.id)
    for call in (
        lambda: svix.destination.get(app, "mine"),
        lambda: svix.destination.patch(app, "mine", DestinationPatch(type="pollingEndpoint", config={})),
        lambda: svix.destination.delete(app, "mine"),
        lambda: svix.destination.rotate_secret(app, "mine", EndpointSecretRotateIn()),
        lambda: svix.destination.transformation.get(app, "mine"),
        lambda: svix.destination.transformation.patch(app, "mine", DestinationTransformIn(code=CODE)),
    ):
        assert missing(call) == (404, "not_found")
    with pytest.raises(HTTPValidationError) as unbuilt:
        svix.destination.upsert(app, "x", DestinationIn(type="fifoEndpoint", config={"url": "https://a.example"}))
    assert "are not built" in str(unbuilt.value.detail)
