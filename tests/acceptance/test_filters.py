"""Does an endpoint get what fits its filter, and nothing else, on every way that a message can take to it?"""

from __future__ import annotations

import datetime
import hmac
import json
import typing
import urllib.error
import urllib.request

import pytest

from benchmarks.server import Server
from tests.acceptance.provider import SECRET, make_source, send
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Shared
from tests.waiting import wait_until

LARGE = {"data": {"amount": 100, "currency": "EUR", "text": "x" * 100_000}}
# Rules that are to hurt, and what is said to each.
HOSTILE: tuple[tuple[bytes, str], ...] = (
    (b'{"filter": {"a": {"$regex": "(a+)+"}}}', "there is no operator $regex"),
    (b'{"filter": ' + b'{"a":' * 250_000 + b"1" + b"}" * 250_001, "nested deeper than 64 levels"),
    (b'{"filter": ' + b'{"a":' * 9 + b"1" + b"}" * 10, "at most 8 documents may stand within one another"),
    (b'{"filter": ' + b'{"$not":' * 40 + b'{"a":1}' + b"}" * 41, "at most 8 documents may stand within one another"),
    (json.dumps({"filter": {"a": ["x"] * 2_500}}).encode(), "at most 8192 are allowed"),
    (json.dumps({"filter": {f"a{number}": 1 for number in range(65)}}).encode(), "the filter has 65 conditions; at most 64 are allowed"),
)


class Shop:
    """An application whose endpoints lead to one receiver, each to the path that is its name."""

    def __init__(self, running: Server, receiver: Receiver) -> None:
        self.running, self.receiver = running, receiver
        self.app = running.make("/app", {"name": "Shop"})["id"]
        self.began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)

    def endpoint(self, name: str, filter: typing.Any = None, **more: typing.Any) -> str:
        """An endpoint, with its filter where it has one: its path in the API."""
        made = self.running.make(f"/app/{self.app}/endpoint", {"url": f"{self.receiver.url}/{name}", **more})["id"]
        path = f"/app/{self.app}/endpoint/{made}"
        if filter is not None:
            assert self.running.call("PUT", f"{path}/filter", {"filter": filter}) == (200, {"filter": filter})
        return path

    def post(self, payload: typing.Any, **more: typing.Any) -> str:
        return str(self.running.make(f"/app/{self.app}/msg", {"eventType": "order.paid", "payload": payload, **more})["id"])

    def came(self, name: str) -> list[str]:
        """The messages that came to an endpoint, in order."""
        return [arrival.id for arrival in self.receiver.at(f"/{name}")]

    def not_sent(self, message: str) -> list[typing.Any]:
        """Which endpoints a message was not sent to, and why."""
        found: list[typing.Any] = self.running.call("GET", f"/app/{self.app}/msg/{message}/not-sent")[1]["data"]
        return found


@pytest.fixture
def shop(shared: Shared, receiver: Receiver) -> Shop:
    return Shop(shared(), receiver)


def amount(number: int, currency: str = "EUR") -> dict[str, typing.Any]:
    return {"data": {"amount": number, "currency": currency}}


def test_each_endpoint_gets_what_its_own_filter_lets_through(shop: Shop) -> None:
    large = shop.endpoint("large", {"data.amount": {"$gte": 100}, "data.currency": "EUR"})
    shop.endpoint("swiss", {"data.currency": ["CHF"]})
    shop.endpoint("all")
    sent = [shop.post(amount(99)), shop.post(amount(100)), shop.post(amount(500, "CHF")), shop.post(LARGE)]

    wait_until(lambda: len(shop.came("all")) == 4 and len(shop.came("large")) == 2 and shop.came("swiss"), what="what fits has come")
    assert sorted(shop.came("all")) == sorted(sent)
    assert sorted(shop.came("large")) == sorted([sent[1], sent[3]])
    assert shop.came("swiss") == [sent[2]]
    wanted, swiss = ({reason["endpointId"]: reason for reason in shop.not_sent(message)} for message in (sent[0], sent[3]))
    assert wanted.pop(large.rsplit("/", 1)[1]) == {
        "endpointId": large.rsplit("/", 1)[1],
        "reason": "filter",
        "failing": {"data.amount": {"$gte": 100}},
    }
    assert [reason["failing"] for reason in (*wanted.values(), *swiss.values())] == [{"data.currency": ["CHF"]}] * 2

    # What somebody asks for by hand is sent whatever the filter says.
    assert shop.running.call("POST", f"/app/{shop.app}/msg/{sent[0]}/endpoint/{large.rsplit('/', 1)[1]}/resend")[0] == 202
    assert shop.running.call("POST", f"{large}/send-example", {"eventType": "svix.ping"})[0] == 202
    wait_until(lambda: len(shop.came("large")) == 4, what="what was asked for by hand has come")

    assert shop.running.call("DELETE", f"{large}/filter")[0] == 204
    assert shop.running.call("GET", f"{large}/filter") == (200, {"filter": None})
    last = shop.post(amount(1))
    wait_until(lambda: last in shop.came("large"), what="an endpoint without its filter gets everything")


def test_what_was_missed_and_does_not_fit_is_not_sent_later(shop: Shop) -> None:
    sent = [shop.post(amount(number)) for number in range(6)]
    endpoint = shop.endpoint("late", {"data.amount": {"$gte": 4}})
    status, task = shop.running.call("POST", f"{endpoint}/replay-missing", {"since": shop.began.isoformat()})
    assert status == 202

    def ended() -> typing.Any:
        found = shop.running.call("GET", f"/background-task/{task['id']}")[1]
        return found if found["status"] == "finished" else None

    assert wait_until(ended, what="the replay has ended")["data"] == {"messagesSent": 2}
    wait_until(lambda: len(shop.came("late")) == 2, what="what fits has come")
    assert sorted(shop.came("late")) == sorted(sent[4:])


def test_a_poller_gets_what_fits_and_passes_the_rest(shop: Shop) -> None:
    path = f"/app/{shop.app}/destination"
    sink = shop.running.make(path, {"type": "pollingEndpoint"})["id"]
    wanted = {"filter": {"data.amount": {"$lt": 2}}}
    assert shop.running.call("PUT", f"{path}/{sink}/filter", wanted) == (200, wanted)
    # One that is replaced keeps it.
    assert shop.running.call("PUT", f"{path}/{sink}", {"type": "pollingEndpoint"})[0] == 200
    sent = [shop.post(amount(number % 4)) for number in range(8)]
    answer = shop.running.call("GET", f"/app/{shop.app}/poller/{sink}?limit=3")[1]
    rest = shop.running.call("GET", f"/app/{shop.app}/poller/{sink}?limit=3&iterator={answer['iterator']}")[1]
    assert [message["id"] for message in answer["data"]] == [sent[0], sent[1], sent[4]]
    assert [message["id"] for message in rest["data"]] == [sent[5]] and rest["done"]


def test_a_filter_is_tried_on_what_came_before_it_is_saved(shop: Shop) -> None:
    endpoint = shop.endpoint("tried", eventTypes=None, channels=["eu"])
    shop.post(amount(1000))
    sent = [shop.post(amount(number), channels=["eu"]) for number in (1, 50, 100)]
    wanted = {"filter": {"data.amount": {"$gte": 50}, "data.currency": "EUR"}}
    status, trial = shop.running.call("POST", f"{endpoint}/filter/try", wanted)
    assert status == 200
    assert [trial.pop(name) for name in ("passed", "failed", "gone")] == [2, 1, 0]
    assert [example["msgId"] for example in trial["passedExamples"]] == [sent[2], sent[1]]
    (failed,) = trial["failedExamples"]
    assert (failed["msgId"], failed["failing"]) == (sent[0], {"data.amount": {"$gte": 50}})
    assert shop.running.call("GET", f"{endpoint}/filter") == (200, {"filter": None})
    assert shop.running.call("POST", f"{endpoint}/filter/try", wanted | {"limit": 1})[1]["passed"] == 1
    assert shop.running.call("DELETE", f"/app/{shop.app}/msg/{sent[2]}/content")[0] == 204
    assert shop.running.call("POST", f"{endpoint}/filter/try", wanted)[1]["gone"] == 1


def test_what_a_source_took_in_is_filtered_by_its_headers(shop: Shop) -> None:
    source = shop.running.make(f"/app/{shop.app}/source", {"name": "hub", "type": "github", "secrets": [SECRET]})
    shop.endpoint("pushes", {"$headers": {"X-GitHub-Event": "push"}})
    for number, kind in enumerate(("issues", "push")):
        body = json.dumps({"kind": kind}).encode()
        signature = "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex()
        headers = {"x-hub-signature-256": signature, "x-github-delivery": f"guid-{number}", "x-github-event": kind}
        request = urllib.request.Request(source["ingestUrl"], body, headers, method="POST")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
    wait_until(lambda: shop.receiver.at("/pushes"), what="the push has come")
    assert [arrival.body for arrival in shop.receiver.at("/pushes")] == [b'{"kind": "push"}']


def test_a_hostile_rule_is_refused_and_holds_nobody_up(shop: Shop) -> None:
    endpoint = shop.endpoint("any")
    for body, said in HOSTILE:
        request = urllib.request.Request(f"{shop.running.url}/api/v1{endpoint}/filter", body, method="PUT")
        request.add_header("authorization", f"Bearer {shop.running.token}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        with refused.value:
            assert refused.value.code == 422 and said in refused.value.read().decode()
    message = shop.post(amount(1))
    wait_until(lambda: shop.came("any") == [message], what="it has no filter")


def test_a_provider_does_not_wait_for_an_endpoint_that_does_not_want_the_event(shop: Shop) -> None:
    shop.endpoint("answers", {"number": {"$gte": 2}}, uid="answers")
    _, door = make_source(shop.running, shop.app, processedBy="answers", deadlineS=20)
    assert [send(shop.running, door, number) for number in (1, 2)] == [200, 200]
    assert [json.loads(arrival.body)["number"] for arrival in shop.receiver.at("/answers")] == [2]
