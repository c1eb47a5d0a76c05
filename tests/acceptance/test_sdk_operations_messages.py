"""The official SDK against a running server: messages, attempts, and counts over all of them."""

from __future__ import annotations

import datetime

import pytest
from svix.api import (
    MessageAttemptGetOptions,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByEndpointOptions,
    MessageCreateOptions,
    MessageGetOptions,
    MessageListOptions,
)
from svix.models import (
    ApplicationIn,
    AppUsageStatsIn,
    BulkExpungeContentsIn,
    BulkExpungeStatus,
    EndpointPatch,
    MessageIn,
    MessagePrecheckIn,
    MessageStatus,
)

from tests.acceptance.sdk_shop import Shop, missing
from tests.acceptance.sdk_surface import Sdk
from tests.waiting import wait_until


@pytest.fixture
def shop(sdk: Sdk) -> Shop:
    return Shop(sdk)


def test_messages(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    wanted = MessageIn(event_type="order.paid", event_id="m1", payload={"a": 1}, channels=["eu"], tags=["vip"], payload_retention_hours=24)
    sent = svix.message.create(app, wanted, MessageCreateOptions(with_content=True))
    assert (sent.payload, sent.channels, sent.tags) == ({"a": 1}, ["eu"], ["vip"])
    assert svix.message.get(app, "m1", MessageGetOptions(with_content=True)) == sent
    assert missing(lambda: svix.message.create(app, wanted)) == (409, "conflict")
    svix.message.create(app, MessageIn(event_type="other", payload={}))
    for narrowed in (MessageListOptions(tag="vip"), MessageListOptions(channel="eu"), MessageListOptions(event_types=["order.paid"])):
        assert [message.id for message in svix.message.list(app, narrowed).data] == [sent.id]
    svix.message.expunge_content(app, "m1")
    assert svix.message.get(app, "m1", MessageGetOptions(with_content=True)).payload == {"expired": True}


def test_a_message_brings_its_application(sdk: Sdk) -> None:
    uid = sdk.name("brought")
    wanted = MessageIn(event_type="a", payload={}, application=ApplicationIn(name="New", uid=uid))
    assert sdk.svix.message.create(uid, wanted).id == sdk.svix.message.list(uid).data[0].id
    assert sdk.svix.application.get(uid).name == "New"


def test_a_precheck(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    assert svix.message.precheck(app, MessagePrecheckIn(event_type="anything")).active is True
    svix.endpoint.patch(app, "mine", EndpointPatch(channels=["eu"]))
    assert svix.message.precheck(app, MessagePrecheckIn(event_type="anything")).active is False
    assert svix.message.precheck(app, MessagePrecheckIn(event_type="anything", channels=["eu"])).active is True


def test_payloads_are_forgotten_some_or_all(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    some, rest = shop.send(), shop.send()
    results = svix.message.bulk_expunge_content(app, BulkExpungeContentsIn(ids=[some, "never"])).results
    assert results == {some: BulkExpungeStatus.EXPUNGED, "never": BulkExpungeStatus.NOT_FOUND}
    assert svix.message.get(app, rest, MessageGetOptions(with_content=True)).payload == {"a": 1}
    purge = svix.message.expunge_all_contents(app)
    assert shop.finished(purge.id).data == {"messagesPurged": 1}
    assert svix.message.get(app, rest, MessageGetOptions(with_content=True)).payload == {"expired": True}


def test_attempts(shop: Shop) -> None:
    svix, app = shop.svix, shop.app
    message = shop.send()
    shop.arrived(1)
    wait_until(lambda: svix.message_attempt.list_by_msg(app, message).data, what="the attempt is listed")
    (attempt,) = svix.message_attempt.list_by_msg(app, message).data
    with_message = MessageAttemptListByEndpointOptions(with_msg=True, status=MessageStatus.SUCCESS)
    (same,) = svix.message_attempt.list_by_endpoint(app, "mine", with_message).data
    assert (same.id, same.msg is not None and same.msg.id) == (attempt.id, message)
    got = svix.message_attempt.get(app, message, attempt.id, MessageAttemptGetOptions(expanded_statuses=True))
    assert (got.id, got.response_status_code, got.status) == (attempt.id, 200, MessageStatus.SUCCESS)
    succeeded = MessageAttemptListAttemptedMessagesOptions(status=MessageStatus.SUCCESS)
    assert [row.id for row in svix.message_attempt.list_attempted_messages(app, "mine", succeeded).data] == [message]
    assert [row.id for row in svix.message_attempt.list_attempted_destinations(app, message).data] == [shop.endpoint]
    svix.message_attempt.expunge_content(app, message, attempt.id)
    assert svix.message_attempt.get(app, message, attempt.id).response == "EXPUNGED"
    svix.message_attempt.resend(app, message, "mine")
    assert len(shop.arrived(2)) == 2


def test_usage_is_counted_by_tasks(shop: Shop) -> None:
    svix = shop.svix
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    shop.send()
    shop.arrived(1)
    wait_until(lambda: svix.endpoint.get_stats(shop.app, "mine").success == 1, what="the attempt is recorded")
    wanted = AppUsageStatsIn(since=since, until=since + datetime.timedelta(hours=2), app_ids=[shop.app, "nobody"])
    asked = svix.statistics.aggregate_app_stats(wanted)
    assert asked.unresolved_app_ids == ["nobody"]
    (counted,) = shop.finished(asked.id).data["appStats"]
    assert (counted["appId"], counted["messageDestinations"]) == (shop.app, 1)
    listed = shop.finished(svix.statistics.aggregate_event_types().id).data["event_types"]
    mine = next(item for item in listed if item["appId"] == shop.app)
    assert (mine["explicitlySubscribedEventTypes"], mine["hasCatchAllEndpoint"]) == ([], True)
