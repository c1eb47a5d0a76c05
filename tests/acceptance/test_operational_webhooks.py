"""Does the platform tell its owner what happens, with the official SDK, exactly once, in the published form?"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import sqlite3
import typing
import urllib.request

import pytest
from svix.api import Svix, SvixOptions
from svix.models import (
    ApplicationIn,
    AppUsageStatsIn,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EndpointTransformationIn,
    EndpointUpsertIn,
    EventTypeIn,
    IngestEndpointIn,
    IngestEndpointUpsertIn,
    IngestSourceIn,
    MessageIn,
    OperationalWebhookEndpointHeadersIn,
    OperationalWebhookEndpointIn,
    OperationalWebhookEndpointSecretIn,
    OperationalWebhookEndpointUpsertIn,
    RecoverIn,
)

from benchmarks.server import Server
from tests.acceptance.news import News
from tests.acceptance.receiver import FAILED, OK, Answer, Receiver
from tests.acceptance.serving import Serve, Shared
from tests.acceptance.watching import stays_true
from tests.waiting import wait_until

# Five retries within a moment: an exhausted delivery has six attempts.
QUICK: typing.Final = {"retry_schedule": "20ms,20ms,20ms,20ms,20ms"}
# Long enough for an event that must not come to come.
A_WHILE_S: typing.Final = 0.5


class Shop:
    """A customer with one endpoint, at `/hooks` of the receiver; `news` is what the owner of the platform hears."""

    def __init__(self, server: Server, receiver: Receiver, events: list[str] | None = None) -> None:
        self.server = server
        self.receiver = receiver
        self.svix = Svix(server.token, SvixOptions(server_url=server.url))
        self.news = News(self.svix, receiver, events=events)
        self.app = self.svix.application.create(ApplicationIn(name="Shop", uid="shop"))
        self.endpoint = self.svix.endpoint.create(self.app.id, EndpointIn(url=f"{receiver.url}/hooks", uid="till"))

    @property
    def about(self) -> dict[str, typing.Any]:
        """What every event of the endpoint says."""
        return {"appId": self.app.id, "appUid": "shop", "endpointId": self.endpoint.id, "endpointUid": "till"}

    def answers(self, hooks: typing.Callable[[int], Answer]) -> None:
        """Have the endpoint answer its nth request (from 1) so; the operational one takes everything."""
        self.receiver.decide = lambda arrival: hooks(len(self.receiver.at("/hooks")) + 1) if arrival.path == "/hooks" else OK

    def send(self, event_id: str | None = None) -> str:
        """Send one message; returns its id."""
        return self.svix.message.create(self.app.id, MessageIn(event_type="order.paid", payload={"n": 1}, event_id=event_id)).id

    def attempts(self, message_id: str) -> list[typing.Any]:
        """The attempts of a message, the oldest first."""
        return list(reversed(self.svix.message_attempt.list_by_msg(self.app.id, message_id).data))

    def attempted(self, message_id: str, count: int) -> list[typing.Any]:
        """The attempts, once there are so many."""
        wait_until(lambda: len(self.attempts(message_id)) >= count, what=f"{count} attempts")
        return self.attempts(message_id)


@pytest.fixture
def shop(shared: Shared, receiver: Receiver) -> Shop:
    return Shop(shared(QUICK), receiver)


def last(attempt: typing.Any) -> dict[str, typing.Any]:
    """What an event says of the attempt that made it news."""
    return {
        "id": attempt.id,
        "responseStatusCode": attempt.response_status_code,
        "timestamp": attempt.timestamp.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def test_what_is_done_to_an_endpoint_is_told_in_order(shop: Shop) -> None:
    endpoint = shop.svix.endpoint
    refs = shop.app.id, shop.endpoint.id
    endpoint.patch(*refs, EndpointPatch(description="the till"))
    endpoint.upsert(*refs, EndpointUpsertIn(url=f"{shop.receiver.url}/hooks", uid="till"))
    endpoint.set_headers(*refs, EndpointHeadersIn(headers={"X-Till": "1"}))
    endpoint.patch_headers(*refs, EndpointHeadersPatchIn(headers={"X-Till": "2"}))
    endpoint.rotate_secret(*refs, EndpointSecretRotateIn())
    endpoint.transformation_partial_update(*refs, EndpointTransformationIn(code="export function handler(w) { return w }"))
    endpoint.patch(*refs, EndpointPatch(disabled=True))
    endpoint.patch(*refs, EndpointPatch(disabled=False))
    endpoint.delete(*refs)
    shop.news.told("endpoint.deleted")
    assert shop.news.types() == [
        "endpoint.created",
        *["endpoint.updated"] * 6,
        "endpoint.updated",
        "endpoint.disabled",
        "endpoint.updated",
        "endpoint.enabled",
        "endpoint.deleted",
    ]
    for body in shop.news.bodies():
        more = {"failSince": None, "trigger": "manual"} if body["type"] == "endpoint.disabled" else {}
        assert body["data"] == shop.about | more


def test_a_delivery_that_goes_on_failing_is_told_at_the_fourth_failure_and_at_the_last(shop: Shop) -> None:
    shop.answers(lambda number: FAILED)
    message_id = shop.send("order-1")
    (exhausted,) = shop.news.told("message.attempt.exhausted")
    (failing,) = shop.news.told("message.attempt.failing")
    attempts = shop.attempted(message_id, 6)
    about = {"appId": shop.app.id, "appUid": "shop", "msgId": message_id, "msgEventId": "order-1", "endpointId": shop.endpoint.id}
    assert failing == about | {"lastAttempt": last(attempts[3])}
    assert exhausted == about | {"lastAttempt": last(attempts[5])}
    shop.answers(lambda number: OK)
    shop.svix.message_attempt.resend(shop.app.id, message_id, shop.endpoint.id)
    (recovered,) = shop.news.told("message.attempt.recovered")
    assert recovered == about | {"lastAttempt": last(shop.attempted(message_id, 7)[6])}
    shop.svix.message_attempt.resend(shop.app.id, message_id, shop.endpoint.id)
    shop.attempted(message_id, 8)
    shop.svix.endpoint.delete(shop.app.id, shop.endpoint.id)
    shop.news.told("endpoint.deleted")
    assert shop.news.types() == [
        "endpoint.created",
        "message.attempt.failing",
        "message.attempt.exhausted",
        "message.attempt.recovered",
        "endpoint.deleted",
    ]


def test_a_delivery_that_succeeds_at_the_fifth_attempt_has_recovered(shop: Shop) -> None:
    shop.answers(lambda number: FAILED if number < 5 else OK)
    message_id = shop.send()
    (recovered,) = shop.news.told("message.attempt.recovered")
    assert recovered["msgEventId"] is None
    assert recovered["lastAttempt"] == last(shop.attempted(message_id, 5)[4])
    assert shop.news.types() == ["endpoint.created", "message.attempt.failing", "message.attempt.recovered"]


def test_a_delivery_that_succeeds_before_is_no_news(shop: Shop) -> None:
    shop.answers(lambda number: FAILED if number < 4 else OK)
    shop.attempted(shop.send(), 4)
    shop.svix.endpoint.patch(shop.app.id, shop.endpoint.id, EndpointPatch(description="a marker"))
    shop.news.told("endpoint.updated")
    assert shop.news.types() == ["endpoint.created", "endpoint.updated"]


def test_where_the_fourth_attempt_is_the_last_it_is_told_as_such_alone(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared({"retry_schedule": "20ms,20ms,20ms"}), receiver)
    shop.answers(lambda number: FAILED if number < 5 else OK)
    message_id = shop.send()
    shop.news.told("message.attempt.exhausted")
    shop.svix.message_attempt.resend(shop.app.id, message_id, shop.endpoint.id)
    shop.attempted(message_id, 5)
    shop.svix.endpoint.delete(shop.app.id, shop.endpoint.id)
    shop.news.told("endpoint.deleted")
    assert shop.news.types() == ["endpoint.created", "message.attempt.exhausted", "endpoint.deleted"]


def test_a_success_by_hand_while_the_schedule_goes_on_has_recovered_once(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared({"retry_schedule": "20ms,20ms,20ms,1h"}), receiver)
    shop.answers(lambda number: FAILED if number < 6 else OK)
    message_id = shop.send()
    shop.news.told("message.attempt.failing")
    shop.svix.message_attempt.resend(shop.app.id, message_id, shop.endpoint.id)
    shop.attempted(message_id, 5)
    shop.svix.message_attempt.resend(shop.app.id, message_id, shop.endpoint.id)
    (recovered,) = shop.news.told("message.attempt.recovered")
    assert recovered["lastAttempt"] == last(shop.attempted(message_id, 6)[5])
    assert shop.news.types() == ["endpoint.created", "message.attempt.failing", "message.attempt.recovered"]


def test_an_endpoint_that_says_it_is_gone_is_disabled_and_that_is_told(shop: Shop) -> None:
    shop.answers(lambda number: Answer(410))
    shop.send()
    (disabled,) = shop.news.told("endpoint.disabled")
    assert disabled == shop.about | {"failSince": None, "trigger": "automatic"}
    assert shop.news.types() == ["endpoint.created", "message.attempt.exhausted", "endpoint.disabled"]


def test_an_endpoint_that_has_failed_for_too_long_is_disabled_and_it_is_told_since_when(serve: Serve, receiver: Receiver) -> None:
    settings = {"retry_schedule": "[]"}
    shop = Shop(serve(settings=settings), receiver)
    shop.answers(lambda number: FAILED)
    shop.send()
    shop.news.told("message.attempt.exhausted")
    shop.server.stop()
    with sqlite3.connect(shop.server.database) as connection:
        # As if that had been six days ago; five are allowed.
        connection.execute("UPDATE endpoint_failure SET first_failure_at = first_failure_at - ?", (6 * 86_400_000_000,))
        ((since_us,),) = connection.execute("SELECT first_failure_at FROM endpoint_failure").fetchall()
    serve(settings=settings, port=shop.server.port)
    shop.send()
    (told,) = shop.news.told("endpoint.disabled")
    assert told == shop.about | {"failSince": told["failSince"], "trigger": "automatic"}
    since = datetime.datetime.fromisoformat(told["failSince"]) - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert since == datetime.timedelta(microseconds=since_us)
    assert shop.news.types() == ["endpoint.created", *["message.attempt.exhausted"] * 2, "endpoint.disabled"]


def test_an_endpoint_that_asks_for_it_is_disabled_also_by_a_success(shop: Shop) -> None:
    shop.answers(lambda number: Answer(200, headers=(("webhook-delivery", "disable"),)))
    shop.send()
    (disabled,) = shop.news.told("endpoint.disabled")
    assert disabled == shop.about | {"failSince": None, "trigger": "automatic"}
    assert shop.news.types() == ["endpoint.created", "endpoint.disabled"]


def test_a_message_that_its_receiver_aborts_is_exhausted_by_schedule_and_by_hand(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared({"retry_schedule": "1h"}), receiver)
    abort = Answer(500, headers=(("webhook-delivery", "abort-message"),))
    shop.answers(lambda number: FAILED if number == 2 else abort)
    shop.attempted(shop.send("at-once"), 1)
    by_hand = shop.send("by-hand")
    shop.attempted(by_hand, 1)
    shop.svix.message_attempt.resend(shop.app.id, by_hand, shop.endpoint.id)
    assert [data["msgEventId"] for data in shop.news.told("message.attempt.exhausted", 2)] == ["at-once", "by-hand"]


def test_the_end_of_a_background_task_is_told_with_its_result(shop: Shop) -> None:
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    shop.answers(lambda number: FAILED if number <= 6 else OK)
    message_id = shop.send()
    shop.attempted(message_id, 6)
    recovery = shop.svix.endpoint.recover(shop.app.id, shop.endpoint.id, RecoverIn(since=began))
    (finished,) = shop.news.told("background_task.finished")
    data = {"messages_sent": 1, "messagesSent": 1}
    assert finished == {"taskId": recovery.id, "task": "endpoint.recover", "status": "finished", "data": data}
    purge = shop.svix.message.expunge_all_contents(shop.app.id)
    assert shop.news.told("background_task.finished", 2)[1] == {
        "taskId": purge.id,
        "task": "application.purge_content",
        "status": "finished",
        "data": {"messages_purged": 1, "messagesPurged": 1},
    }
    usage = shop.svix.statistics.aggregate_app_stats(AppUsageStatsIn(since=began, until=datetime.datetime.now(datetime.UTC)))
    stats = [{"appId": shop.app.id, "appUid": "shop", "messageDestinations": 7}]
    assert shop.news.told("background_task.finished", 3)[2] == {
        "taskId": usage.id,
        "task": "application.stats",
        "status": "finished",
        "data": {"appStats": stats, "app_stats": stats},
    }
    types = shop.svix.statistics.aggregate_event_types()
    assert shop.news.told("background_task.finished", 4)[3] == {
        "taskId": types.id,
        "task": "event-type.aggregate",
        "status": "finished",
        "data": {"event_types": [{"appId": shop.app.id, "explicitlySubscribedEventTypes": [], "hasCatchAllEndpoint": True}]},
    }


def test_endpoints_of_an_ingest_source_are_told_by_their_source(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared(QUICK), receiver)
    ingest = shop.svix.ingest
    source = ingest.source.create(IngestSourceIn.model_validate({"name": "anybody", "type": "generic-webhook"}))
    refs = source.id, ingest.endpoint.create(source.id, IngestEndpointIn(url=f"{receiver.url}/hooks", uid="in")).id
    shop.answers(lambda number: FAILED if number <= 6 else OK if number < 12 else Answer(410))
    assert source.ingest_url is not None
    _post(source.ingest_url)
    (exhausted,) = shop.news.told("ingest.message.attempt.exhausted")
    (failing,) = shop.news.told("ingest.message.attempt.failing")
    assert exhausted["lastAttempt"] != failing["lastAttempt"]
    for data in (failing, exhausted):
        assert (data["sourceId"], data["endpointId"], data["lastAttempt"]["responseStatusCode"]) == (*refs, 500)
    ingest.endpoint.upsert(*refs, IngestEndpointUpsertIn(url=f"{receiver.url}/hooks", uid="in", disabled=True))
    about = {"sourceId": source.id, "endpointId": refs[1], "endpointUid": "in"}
    assert shop.news.told("ingest.endpoint.disabled") == [about | {"failSince": None, "trigger": "manual"}]
    assert shop.news.types() == [
        "endpoint.created",
        "ingest.message.attempt.failing",
        "ingest.message.attempt.exhausted",
        "ingest.endpoint.disabled",
    ]


def test_an_ingested_message_that_recovers_is_told_by_its_source(shop: Shop) -> None:
    source = shop.svix.ingest.source.create(IngestSourceIn.model_validate({"name": "anybody", "type": "generic-webhook"}))
    endpoint = shop.svix.ingest.endpoint.create(source.id, IngestEndpointIn(url=f"{shop.receiver.url}/hooks"))
    shop.answers(lambda number: FAILED if number < 5 else OK)
    assert source.ingest_url is not None
    _post(source.ingest_url)
    (recovered,) = shop.news.told("ingest.message.attempt.recovered")
    assert (recovered["sourceId"], recovered["endpointId"], recovered["lastAttempt"]["responseStatusCode"]) == (source.id, endpoint.id, 200)


def _post(url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, b'{"a":1}', {"content-type": "application/json"}), timeout=10) as answer:
        assert answer.status == 200


def test_attempts_are_told_one_by_one_to_those_who_ask_for_them_by_name(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared(QUICK), receiver)
    shop.answers(lambda number: FAILED if number == 2 else OK)
    shop.attempted(shop.send(), 1)
    log = News(shop.svix, receiver, path="/log", events=["message.attempt.log"])
    message_id = shop.send("order-1")
    attempts = shop.attempted(message_id, 2)

    def logged() -> list[typing.Any]:
        return [item for body in log.bodies() for item in body["data"]]

    wait_until(lambda: len(logged()) >= 2, what="two attempts are told")
    organisation = logged()[0]["orgId"]
    assert organisation.startswith("org_")
    for told, attempt in zip(logged(), attempts, strict=True):
        times = {name: told.pop(name) for name in ("msgCreated", "attemptStart", "attemptEnd", "httpTimes")}
        assert told == {
            "orgId": organisation,
            "appId": shop.app.id,
            "appUid": "shop",
            "endpointId": shop.endpoint.id,
            "msgId": message_id,
            "msgEventId": "order-1",
            "attemptId": attempt.id,
            "responseStatusCode": attempt.response_status_code,
            "attemptCount": 1 + attempts.index(attempt),
            "status": attempt.status,
            "eventType": "order.paid",
        }
        assert times["attemptStart"] == last(attempt)["timestamp"]
        assert (
            times["msgCreated"] <= times["attemptStart"] <= times["httpTimes"]["start"] <= times["httpTimes"]["end"] <= times["attemptEnd"]
        )
    # What was told, the attempts at the operational endpoints among it, makes nothing else to tell.
    stays_true(lambda: len(logged()) == 2, "nothing more is told", 2.5)
    assert "message.attempt.log" not in shop.news.types()


def test_the_log_of_attempts_begins_anew_for_who_comes_back(serve: Serve, receiver: Receiver) -> None:
    shop = Shop(serve(settings=QUICK), receiver)
    log = News(shop.svix, receiver, path="/log", events=["message.attempt.log"])
    shop.attempted(shop.send("first"), 1)
    log.told("message.attempt.log")
    database = shop.server.database

    def following() -> int:
        with sqlite3.connect(database) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM attempt_log").fetchone()[0])

    shop.svix.operational_webhook.endpoint.delete(log.endpoint.id)
    shop.attempted(shop.send("unheard"), 1)
    wait_until(lambda: not following(), what="the log is not kept for nobody")
    again = News(shop.svix, receiver, path="/again", events=["message.attempt.log"])
    shop.attempted(shop.send("last"), 1)
    assert [item["msgEventId"] for item in again.told("message.attempt.log")[0]] == ["last"]


def test_only_the_events_that_an_endpoint_names_reach_it(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared(QUICK), receiver, ["endpoint.deleted"])
    every = News(shop.svix, receiver, path="/every")
    shop.svix.endpoint.patch(shop.app.id, shop.endpoint.id, EndpointPatch(description="x"))
    shop.svix.endpoint.delete(shop.app.id, shop.endpoint.id)
    shop.news.told("endpoint.deleted")
    every.told("endpoint.deleted")
    assert shop.news.types() == ["endpoint.deleted"]
    assert every.types() == ["endpoint.updated", "endpoint.deleted"]


def test_an_operational_endpoint_that_fails_holds_up_nobody_and_is_no_news(shared: Shared, receiver: Receiver) -> None:
    shop = Shop(shared(QUICK), receiver)
    down = News(shop.svix, receiver, path="/down")
    receiver.decide = lambda arrival: FAILED if arrival.path == "/down" else OK
    shop.svix.endpoint.patch(shop.app.id, shop.endpoint.id, EndpointPatch(description="x"))
    shop.news.told("endpoint.updated")
    wait_until(lambda: len(receiver.at("/down")) >= 6, what="all its attempts")
    (letter,) = wait_until(lambda: shop.server.call("GET", "/dead-letter")[1]["data"], what="it is a dead letter")
    assert (letter["endpointId"], letter["eventType"]) == (down.endpoint.id, "endpoint.updated")
    stays_true(lambda: shop.news.types() == ["endpoint.created", "endpoint.updated"], "nothing is told of it", A_WHILE_S)
    receiver.decide = lambda arrival: OK
    assert shop.server.call("POST", "/dead-letter/replay", {})[1]["count"] == 1
    wait_until(lambda: "endpoint.updated" in [json.loads(a.body)["type"] for a in receiver.accepted if a.path == "/down"], what="replayed")


def test_an_organisation_without_operational_endpoints_stores_nothing(serve: Serve, receiver: Receiver) -> None:
    server = serve(settings=QUICK)
    client = Svix(server.token, SvixOptions(server_url=server.url))
    app = client.application.create(ApplicationIn(name="Shop"))
    endpoint = client.endpoint.create(app.id, EndpointIn(url=f"{receiver.url}/hooks"))
    receiver.decide = lambda arrival: FAILED
    message_id = client.message.create(app.id, MessageIn(event_type="order.paid", payload={"n": 1})).id
    wait_until(lambda: len(client.message_attempt.list_by_msg(app.id, message_id).data) == 6, what="all attempts")
    client.endpoint.patch(app.id, endpoint.id, EndpointPatch(disabled=True))
    server.stop()
    with sqlite3.connect(server.database) as connection:
        assert connection.execute("SELECT id FROM message").fetchall() == [(message_id,)]
        assert connection.execute("SELECT COUNT(*) FROM application").fetchone() == (1,)


def test_the_sdk_manages_operational_endpoints(shared: Shared, receiver: Receiver) -> None:
    server = shared()
    svix = Svix(server.token, SvixOptions(server_url=server.url))
    assert svix.operational_webhook.endpoint.list().data == []
    made = svix.operational_webhook.endpoint.create(
        OperationalWebhookEndpointIn(url="https://ops.example/in", uid="ops", event_types=["endpoint.disabled"])
    )
    assert svix.operational_webhook.endpoint.get("ops") == made
    assert [found.id for found in svix.operational_webhook.endpoint.list().data] == [made.id]
    replaced = svix.operational_webhook.endpoint.upsert("ops", OperationalWebhookEndpointUpsertIn(url="https://ops.example/other"))
    assert (replaced.id, replaced.uid, replaced.event_types, replaced.url) == (made.id, "ops", None, "https://ops.example/other")
    other = svix.operational_webhook.endpoint.upsert("other", OperationalWebhookEndpointUpsertIn(url="https://ops.example/"))
    assert (other.uid, svix.operational_webhook.endpoint.get("other").id) == ("other", other.id)
    svix.operational_webhook.endpoint.set_headers(
        "ops", OperationalWebhookEndpointHeadersIn(headers={"X-Ops": "1", "Authorization": "Basic b3Bz"})
    )
    headers = svix.operational_webhook.endpoint.get_headers("ops")
    assert (headers.headers, headers.sensitive) == ({"X-Ops": "1"}, ["Authorization"])
    before = svix.operational_webhook.endpoint.get_secret("ops").key
    svix.operational_webhook.endpoint.rotate_secret("ops", OperationalWebhookEndpointSecretIn())
    assert svix.operational_webhook.endpoint.get_secret("ops").key != before
    svix.operational_webhook.endpoint.delete("ops")
    assert [found.id for found in svix.operational_webhook.endpoint.list().data] == [other.id]
    assert svix.application.list().data == []


def test_the_reference_servers_way_works_too(serve: Serve, receiver: Receiver) -> None:
    server = serve(settings=QUICK | {"jwt_secret": "a-secret-that-both-servers-know"})
    client = Svix(server.token, SvixOptions(server_url=server.url))
    organisation = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
    manager = Svix(_jwt("a-secret-that-both-servers-know", "org_00000000000SvixManagement00"), SvixOptions(server_url=server.url))
    heard = manager.application.create(ApplicationIn(name="Operations", uid=organisation))
    manager.event_type.create(EventTypeIn(name="message.attempt.exhausted", description=""))
    manager.event_type.create(EventTypeIn(name="message.attempt.log", description=""))
    types = ["message.attempt.exhausted", "message.attempt.log"]
    listener = manager.endpoint.create(heard.id, EndpointIn(url=f"{receiver.url}/news", event_types=types))
    receiver.decide = lambda arrival: OK if arrival.path == "/news" else FAILED
    app = client.application.create(ApplicationIn(name="Shop"))
    client.endpoint.create(app.id, EndpointIn(url=f"{receiver.url}/hooks"))
    message_id = client.message.create(app.id, MessageIn(event_type="order.paid", payload={"n": 1})).id

    def told() -> list[typing.Any]:
        return [json.loads(arrival.body) for arrival in receiver.at("/news")]

    wait_until(lambda: any(body["type"] == "message.attempt.exhausted" for body in told()), what="it is told")
    (exhausted,) = (body for body in told() if body["type"] == "message.attempt.exhausted")
    assert exhausted["data"]["msgId"] == message_id
    wait_until(lambda: sum(len(b["data"]) for b in told() if b["type"] == "message.attempt.log") == 6, what="and each attempt")
    shown = manager.message.list(heard.id).data
    assert "message.attempt.exhausted" in [message.event_type for message in shown]
    assert manager.endpoint.get(heard.id, listener.id).id == listener.id


def _jwt(secret: str, organisation: str) -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = part(b'{"alg":"HS256","typ":"JWT"}') + "." + part(json.dumps({"sub": organisation}).encode())
    return f"{claims}.{part(hmac.digest(secret.encode(), claims.encode(), hashlib.sha256))}"
