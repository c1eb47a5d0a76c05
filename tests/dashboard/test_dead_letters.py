"""Dead letters and background tasks: what was given up is seen, replayed and discarded, and long work is watched and stopped."""

from __future__ import annotations

import collections
import dataclasses
import html
import re
import signal
import typing
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from benchmarks import server as servers
from tests.acceptance.receiver import Receiver
from tests.dashboard.conftest import BASE, Desk, Person, Shop
from tests.dashboard.scenery import Behaviour
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until


@dataclasses.dataclass
class Yard:
    """An application whose endpoint wants no second attempt of anything."""

    shop: Shop
    app: str
    endpoint: str
    path: str

    def letters(self, **query: str) -> list[dict[str, typing.Any]]:
        """Its dead letters."""
        found: list[dict[str, typing.Any]] = self.shop.server.call("GET", f"/app/{self.app}/dead-letter?limit=250")[1]["data"]
        return [letter for letter in found if all(letter[name] == value for name, value in query.items())]

    def bury(self, number: int, event_type: str = "order.created") -> None:
        """So many more dead letters."""
        there = self.count()
        send(self.shop.server, self.app, number, event_type)
        wait_until(lambda: self.count() == there + number, what="the letters are dead")

    def count(self) -> int:
        """How many there are, by a replay that only counts."""
        found = self.shop.server.call("POST", f"/app/{self.app}/dead-letter/discard", {"dryRun": True})[1]["count"]
        return int(found)


def send(server: servers.Server, app: str, number: int, event_type: str = "order.created") -> None:
    """Send so many messages."""
    with httpx.Client(headers={"authorization": f"Bearer {server.token}"}, trust_env=False) as client:
        for n in range(number):
            made = client.post(f"{server.url}/api/v1/app/{app}/msg", json={"eventType": event_type, "payload": {"n": n}})
            assert made.status_code == 202


def yard_of(shop: Shop, name: str) -> Yard:
    app = shop.server.make("/app", {"name": f"Yard {name}"})["id"]
    path = f"/given-up/{name}"
    endpoint = shop.server.make(f"/app/{app}/endpoint", {"url": shop.receiver.url + path, "throttleRate": 500})["id"]
    return Yard(shop, app, endpoint, path)


@pytest.fixture
def yard(shop: Shop, request: pytest.FixtureRequest) -> Yard:
    return yard_of(shop, re.sub(r"\W+", "-", request.node.name)[:60])


def test_what_was_given_up_is_summed_up_by_endpoint_and_cause(shop: Shop, person: Person, yard: Yard) -> None:
    yard.bury(3)
    page = plain(person.get(f"/dead-letters?app={yard.app}"))
    assert "3 deliveries to 1 endpoint have no attempts left; all of them failed with “given up as asked”." in page
    assert yard.path in page and "abort-message" in page
    everything = plain(person.get("/dead-letters"))
    assert yard.path in everything and "Dead letters" in everything


def test_the_list_is_filtered_by_what_stands_in_the_address(shop: Shop, person: Person, yard: Yard) -> None:
    yard.bury(2)
    yard.bury(1, "ticket.updated")
    (other,) = yard.letters(eventType="ticket.updated")
    for query, inside, outside in (
        ("type=ticket.updated", 1, 0),
        ("type=order.created,ticket.updated", 1, 2),
        ("cause=aborted", 1, 2),
        ("cause=http_500", 0, 0),
        (f"endpoint={yard.endpoint}", 1, 2),
        ("since=2099-01-01T00:00", 0, 0),
        ("until=2099-01-01T00:00", 1, 2),
    ):
        page = person.get(f"/dead-letters/list?app={yard.app}&{query}").text
        assert (page.count(other["id"]) > 0, page.count(">order.created</a>")) == (inside > 0, outside), query
    assert "No such dead letter" in person.get(f"/dead-letters/list?app={yard.app}&cause=http_500").text
    wrong = person.get("/dead-letters/list?since=yesterday")
    assert wrong.status_code == 422 and "write it like 2026-11-25T16:44" in wrong.text
    mistyped = person.get("/dead-letters/list?endpoint=ep_mistyped&type=order.created")
    assert mistyped.status_code == 422 and "No endpoint here has this id" in mistyped.text
    assert 'value="ep_mistyped"' in mistyped.text and 'value="order.created"' in mistyped.text, "what was typed is kept"
    assert person.get("/dead-letters?app=app_nobody").status_code == 404


def test_a_letter_leads_to_its_message(shop: Shop, person: Person, yard: Yard) -> None:
    yard.bury(1)
    (letter,) = yard.letters()
    page = person.get(f"/dead-letters/list?app={yard.app}").text
    assert f'href="{BASE}/apps/{yard.app}/messages/{letter["msgId"]}"' in page


def hidden(page: str) -> dict[str, list[str]]:
    """The hidden fields of the form on a page, but for its token."""
    found = collections.defaultdict(list)
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page):
        if name != "csrf":
            found[name].append(html.unescape(value))
    return dict(found)


def test_a_replay_says_before_what_it_does_and_does_just_that(shop: Shop, person: Person, yard: Yard) -> None:
    yard.bury(4)
    asked = person.get(f"/dead-letters/replay?app={yard.app}&cause=aborted")
    words = plain(asked)
    assert "4 deliveries to 1 endpoint get one more attempt each" in words and "Replay 4 deliveries" in words
    assert "at 500/s" in words
    fields = hidden(asked.text)
    # Dies after it was counted, so it is not meant.
    yard.bury(1)
    shop.behaviour.mended.add(yard.path)
    done = person.act("/dead-letters/replay", **fields)
    assert "4 deliveries get one more attempt now." in plain(done)
    wait_until(lambda: yard.count() == 1, what="what succeeds is no dead letter any more")
    assert "replayed dead letters" in person.get(f"/audit?object={yard.app}").text


def test_letters_are_chosen_one_by_one(shop: Shop, person: Person, yard: Yard) -> None:
    yard.bury(3)
    chosen = [letter["id"] for letter in yard.letters()][:2]
    asked = person.get(f"/dead-letters/discard?app={yard.app}&id={chosen[0]}&id={chosen[1]}")
    assert "2 deliveries to 1 endpoint will never be made" in plain(asked)
    assert yard.count() == 3, "asking discards nothing"
    done = person.act("/dead-letters/discard", **hidden(asked.text))
    assert "2 dead letters were discarded." in plain(done)
    assert yard.count() == 1 and yard.letters()[0]["id"] not in chosen
    assert "discarded dead letters" in person.get(f"/audit?object={yard.app}").text


def test_letters_of_a_disabled_endpoint_are_passed_over_and_it_is_said_before(shop: Shop, person: Person, yard: Yard) -> None:
    yard.bury(2)
    shop.server.call("PATCH", f"/app/{yard.app}/endpoint/{yard.endpoint}", {"disabled": True})
    asked = plain(person.get(f"/dead-letters/replay?app={yard.app}"))
    assert "2 dead letters are passed over: the endpoint is disabled" in asked and "one more attempt" not in asked


def test_nothing_to_do_is_said_and_does_nothing(person: Person, yard: Yard) -> None:
    assert "Nothing fits" in plain(person.get(f"/dead-letters/replay?app={yard.app}"))
    assert "nothing was done" in plain(person.act("/dead-letters/discard", app=yard.app))


def test_many_are_replayed_by_a_task_that_is_watched_to_its_end(shop: Shop, person: Person, desk: Desk) -> None:
    yard = yard_of(shop, "many")
    yard.bury(230)
    page = desk.go(f"/dead-letters?app={yard.app}")

    def told() -> bool:
        page.reload()
        return int(page.locator(".rail a[aria-current] .waiting").inner_text().split()[0].replace(",", "")) >= 230

    # The rail remembers its counts for some seconds.
    wait_until(told, what="the rail counts them")
    page.get_by_role("link", name="Replay all…").click()
    shop.behaviour.mended.add(yard.path)
    page.locator("#panel").get_by_role("button", name="Replay 230 deliveries").click()
    page.wait_for_url("**/tasks/qtask_*")
    expect(page.locator("h1")).to_have_text("Replay dead letters")
    # The page looks again by itself.
    expect(page.locator(".lead .badge")).to_have_text("finished")
    expect(page.locator(".lead")).to_contain_text("230 of 230 dead letters replayed")
    wait_until(lambda: yard.count() == 0, what="all have arrived")
    tasks = plain(person.get("/tasks"))
    assert "Replay dead letters" in tasks and "Yard many" in tasks
    # Clients of the contract know no such kind.
    listed = shop.server.call("GET", "/background-task")[1]["data"]
    assert "dead-letter.replay" not in {task["task"] for task in listed}


def test_boxes_are_ticked_all_at_once(desk: Desk, yard: Yard) -> None:
    yard.bury(3)
    page = desk.go(f"/dead-letters/list?app={yard.app}")
    page.get_by_label("All on this page").check()
    expect(page.locator("[data-picked]")).to_have_text("3 chosen")
    page.locator("tbody input[type=checkbox]").first.uncheck()
    expect(page.locator("[data-picked]")).to_have_text("2 chosen")
    page.get_by_role("button", name="Discard chosen…").click()
    expect(page.locator("h1")).to_have_text("Discard these dead letters?")
    page.get_by_role("button", name="Discard 2 deliveries").click()
    expect(page.locator(".notice")).to_contain_text("2 dead letters were discarded.")


def test_a_task_is_stopped_and_says_what_it_did(shop: Shop, person: Person) -> None:
    # It waits at its endpoint's rate for longer than this test takes: what is left can be stopped.
    app, endpoint = shop.scene.apps["acme"], shop.scene.endpoints["orders"]
    begun = shop.server.make(
        f"/app/{app}/endpoint/{endpoint}/bulk-replay", {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    )
    page = person.get(f"/tasks/{begun['id']}")
    assert "Bulk replay" in page.text and "/orders" in page.text and "2026-01-01 00:00:00" in page.text
    wait_until(lambda: "Finished after" in plain(person.get(f"/tasks/{begun['id']}")))
    assert "It had ended before." in person.act(f"/tasks/{begun['id']}/cancel").text
    assert person.get("/tasks/qtask_nobody").status_code == 404


def test_results_of_tasks_are_shown(shop: Shop, person: Person) -> None:
    task = shop.server.make("/stats/usage/app", {"since": "2026-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"})
    wait_until(lambda: "Finished after" in plain(person.get(f"/tasks/{task['id']}")))
    page = plain(person.get(f"/tasks/{task['id']}"))
    assert "Usage of applications" in page and "Acme Logistics" in page and "Attempts" in page
    assert "Usage of applications" in plain(person.get("/tasks?status=finished&kind=application.stats"))
    assert "No such task" in plain(person.get("/tasks?status=running&kind=application.stats"))


def test_a_replay_that_is_killed_goes_on_where_it_was_and_can_be_stopped(tmp_path: Path) -> None:
    behaviour, letters = Behaviour(), 900
    receiver = Receiver(behaviour)
    server = servers.start(tmp_path / "ringback.db", {})
    try:
        app = server.make("/app", {"name": "Yard"})["id"]
        server.make(f"/app/{app}/endpoint", {"url": f"{receiver.url}/given-up/x"})
        send(server, app, letters)

        def left() -> int:
            return int(server.call("POST", "/dead-letter/discard", {"dryRun": True})[1]["count"])

        wait_until(lambda: left() == letters, what="all are dead")
        behaviour.mended.add("/given-up/x")
        receiver.arrivals.clear()
        person = Person(f"{server.url}{BASE}").log_in()
        begun = person.post("/dead-letters/replay", at="/audit", app=app).headers["location"]
        wait_until(lambda: receiver.arrivals, what="it has begun")
        server.stop(signal.SIGKILL)
        server = servers.start(tmp_path / "ringback.db", {})
        person = Person(f"{server.url}{BASE}").log_in()
        task = begun.removeprefix(BASE)
        wait_until(lambda: "Finished after" in plain(person.get(task)), what="the task ends")
        assert f"{letters} of {letters} dead letters replayed" in plain(person.get(task))
        wait_until(lambda: left() == 0, what="all have arrived")
        arrived = collections.Counter(arrival.id for arrival in receiver.arrivals)
        # What was on the wire when the server was killed may come again: no more than that.
        assert len(arrived) == letters and max(arrived.values()) <= 2

        behaviour.mended.clear()
        send(server, app, 250)
        wait_until(lambda: left() == 250, what="some are dead again")
        stopped = person.act("/dead-letters/discard", app=app)
        path = str(stopped.url).removeprefix(person.url)
        page = plain(person.act(f"{path}/cancel"))
        assert ("It was cancelled." in page and "dead letters discarded until then" in page) or "It had ended before." in page
        person.close()
    finally:
        server.stop()
        receiver.close()
