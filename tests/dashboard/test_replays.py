"""What failed to an endpoint, or was never sent to it, is counted, and sent once more from the endpoint's own page."""

from __future__ import annotations

import dataclasses
import html
from concurrent.futures import ThreadPoolExecutor

import pytest

from ringback.dashboard.pages.endpoint_replays import amount_of, effects_of
from ringback.services.tasks import Foreseen
from tests.dashboard.conftest import Person, Shop
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until


@dataclasses.dataclass
class Customer:
    """An application with one endpoint, which gives up on everything until `/given-up/<name>` is mended."""

    shop: Shop
    name: str
    app: str
    endpoint: str

    @property
    def page(self) -> str:
        """The endpoint's page."""
        return f"/apps/{self.app}/endpoints/{self.endpoint}"

    def send(self, number: int) -> None:
        """Send so many messages."""
        for n in range(number):
            self.shop.server.make(f"/app/{self.app}/msg", {"eventType": "order.created", "payload": {"n": n}})

    def statuses(self) -> list[int]:
        """The statuses of the attempts to the endpoint, the newest first."""
        found = self.shop.server.call("GET", f"/app/{self.app}/attempt/endpoint/{self.endpoint}")[1]["data"]
        return [attempt["status"] for attempt in found]

    def mend(self) -> None:
        """The endpoint takes everything from now on."""
        self.shop.behaviour.mended.add(f"/given-up/{self.name}")


def customer(shop: Shop, name: str) -> Customer:
    app = shop.server.make("/app", {"name": f"Customer {name}"})["id"]
    endpoint = shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/given-up/{name}"})["id"]
    return Customer(shop, name, app, endpoint)


@pytest.mark.parametrize(
    ("foreseen", "amount", "effect"),
    [
        (Foreseen(0, whole=True), "", "Nothing fits: choose another time, or something else to send."),
        (Foreseen(1, whole=True), "1 message", "1 message gets one more attempt."),
        (Foreseen(1_200, whole=True), "1,200 messages", "1,200 messages get one more attempt each, the oldest first."),
        (Foreseen(1, whole=False), "1 or more messages", "1 or more messages get one more attempt each, the oldest first."),
        (
            Foreseen(0, whole=False),
            "what fits",
            "There is too much to look through to count what fits. What does gets one more attempt each, the oldest first.",
        ),
    ],
    ids=str,
)
def test_what_was_not_looked_through_to_its_end_is_never_said_to_be_nothing(foreseen: Foreseen, amount: str, effect: str) -> None:
    assert (amount_of(foreseen), effects_of(foreseen, None)[0]) == (amount, effect)


def test_the_rate_of_an_endpoint_says_how_long_it_takes() -> None:
    assert effects_of(Foreseen(1_200, whole=True), 10)[1] == "That takes about 2 min at 10/s."
    assert effects_of(Foreseen(1_000, whole=False), 10)[1] == "That takes at least about 1 min 40 s at 10/s."


def test_what_failed_is_counted_and_sent_once_more(shop: Shop, person: Person) -> None:
    of = customer(shop, "failed")
    of.send(3)
    wait_until(lambda: of.statuses() == [2, 2, 2], what="all three have failed")
    asked = person.get(f"{of.page}/replay")
    assert "3 messages get one more attempt each, the oldest first." in plain(asked) and "Replay 3 messages" in asked.text
    of.mend()
    task = person.act(f"{of.page}/replay", what="failed", since=since_of(person, of))
    assert "Recover failed messages" in task.text
    wait_until(lambda: of.statuses().count(0) == 3, what="all three have arrived")
    assert "Nothing fits" in person.get(f"{of.page}/replay").text
    assert "replayed messages to an endpoint" in person.get(f"/audit?object={of.endpoint}").text


def test_what_was_sent_while_it_was_disabled_is_sent_later(shop: Shop, person: Person) -> None:
    of = customer(shop, "missed")
    of.mend()
    shop.server.call("PATCH", f"/app/{of.app}/endpoint/{of.endpoint}", {"disabled": True})
    of.send(1)
    refused = person.get(f"{of.page}/replay?what=missing")
    assert "Enable it first" in refused.text and "button primary" not in refused.text
    person.act(f"{of.page}/enable")
    assert "1 message gets one more attempt." in plain(person.get(f"{of.page}/replay?what=missing"))
    person.act(f"{of.page}/replay", what="missing", since=since_of(person, of))
    wait_until(lambda: of.statuses() == [0], what="the message has arrived")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "'yesterday' is no time; write it like 2026-11-25T16:44, in UTC."),
        ("since=2020-01-01T00:00", "must lie at most 14 days before until."),
        ("since=2020-01-02T00:00&until=2020-01-01T00:00", "must lie before until."),
        ("what=all&since=2020-01-01T00:00", "must lie at most 90 days before until."),
    ],
)
def test_a_time_that_cannot_be_is_told(shop: Shop, person: Person, query: str, said: str) -> None:
    page = person.get(f"{shop.endpoint('orders')}/replay?{query}")
    assert said in html.unescape(page.text) and "button primary" not in page.text


def test_what_is_not_on_the_list_sends_nothing(shop: Shop, person: Person) -> None:
    of = customer(shop, "unknown")
    answer = person.post(f"{of.page}/replay", at="/audit", what="everything", since="2026-01-01T00:00")
    assert answer.status_code == 422 and "'everything' is nothing that can be sent again" in html.unescape(answer.text)


def test_an_endpoint_that_fails_is_told_wherever_it_stands(shop: Shop, person: Person) -> None:
    for path in (shop.app(), f"{shop.app()}/endpoints", shop.endpoint("billing")):
        assert "badge dead" in person.get(path).text.split("</h1>")[1], path
    assert "enabled" in person.get(shop.endpoint("orders")).text


def test_an_endpoint_that_works_again_is_not_said_to_fail(shop: Shop, person: Person) -> None:
    of = customer(shop, "healed")
    of.send(3)
    wait_until(lambda: of.statuses() == [2, 2, 2], what="all three have failed")
    assert "badge dead" in person.get(of.page).text.split("</h1>")[1]
    of.mend()
    of.send(1)
    wait_until(lambda: of.statuses() == [0, 2, 2, 2], what="the fourth has arrived")
    for path in (of.page, f"/apps/{of.app}", f"/apps/{of.app}/endpoints"):
        assert "failing now and then" in person.get(path).text.split("</h1>")[1], path


def since_of(person: Person, of: Customer) -> str:
    """Where the page of a replay begins by itself."""
    return person.get(f"{of.page}/replay").text.split('name="since" value="')[1].split('"')[0]


def test_a_button_that_is_pressed_twice_acts_once(shop: Shop, person: Person) -> None:
    of = customer(shop, "twice")
    of.mend()
    of.send(1)
    wait_until(lambda: of.statuses() == [0], what="the message has arrived")
    form = {"what": "all", "since": since_of(person, of), "csrf": person.token("/audit")}
    with ThreadPoolExecutor(8) as hands:
        answers = list(hands.map(lambda _: person.post(f"{of.page}/replay", **form), range(8)))
    assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {(303, answers[0].headers["location"])}
    assert person.get(f"/audit?object={of.endpoint}").text.count("replayed messages to an endpoint") == 1


def test_the_same_wish_from_a_page_that_was_opened_anew_is_a_second_one(shop: Shop, person: Person) -> None:
    of = customer(shop, "again")
    of.mend()
    of.send(1)
    wait_until(lambda: of.statuses() == [0], what="the message has arrived")
    since = since_of(person, of)
    one, two = (person.post(f"{of.page}/replay", at="/audit", what="all", since=since) for _ in range(2))
    assert one.status_code == two.status_code == 303 and one.headers["location"] != two.headers["location"]
