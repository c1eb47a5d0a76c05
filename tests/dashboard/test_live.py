"""The live tail: seen at once, paused, filtered, and calm whatever comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from benchmarks import server as servers
from tests.acceptance.publishing import Account, publish
from tests.dashboard.conftest import BASE, Desk, Person, Shop
from tests.waiting import wait_until


def live(desk: Desk, path: str, query: str = "") -> Page:
    """The page of the tail, connected."""
    page = desk.go(f"{path}/messages/live{query}")
    expect(page.locator("[data-state]")).to_have_text("Live")
    return page


def test_what_happens_is_seen_at_once_and_leads_to_its_page(shop: Shop, desk: Desk) -> None:
    page = live(desk, shop.app())
    sent = shop.server.make("/app/acme/msg", {"eventType": "order.created", "payload": {}})["id"]
    row = page.locator("[data-rows] tr", has_text="accepted")
    expect(row.locator(f"[title={sent}]")).to_be_visible()
    expect(page.locator("[data-rows] tr", has_text="/orders")).to_contain_text("delivered")
    # Not by the mouse: rows that come meanwhile move this one away from under it.
    page.locator("[data-rows] tr", has_text="/orders").locator("a.open").dispatch_event("click")
    expect(page.locator("#panel h1")).to_have_text("order.created")


def test_the_tail_can_be_paused_and_goes_on_without_a_gap(shop: Shop, desk: Desk) -> None:
    page = live(desk, shop.app("lviv-coffee"))
    page.get_by_role("button", name="Pause").click()
    for number in range(3):
        shop.server.make("/app/lviv-coffee/msg", {"eventType": "order.created", "payload": {"n": number}})
    expect(page.locator("[data-state]")).to_have_text("Paused; 3 wait")
    expect(page.locator("[data-rows] tr")).to_have_count(0)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("[data-rows] tr")).to_have_count(3)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("[data-rows] tr")).to_have_count(0)


def test_the_tail_shows_what_was_asked_for_alone(shop: Shop, desk: Desk) -> None:
    page = live(desk, shop.app(), "?kind=trouble&type=payment.captured")
    for event_type in ("order.created", "payment.captured"):
        shop.server.make("/app/acme/msg", {"eventType": event_type, "payload": {}})
    expect(page.locator("[data-rows] tr", has_text="/billing").first).to_contain_text("failed")
    assert set(page.locator("[data-rows] .badge").all_inner_texts()) == {"failed"}
    assert set(page.locator("[data-rows] a.open").all_inner_texts()) == {"payment.captured"}


def test_thousands_of_events_do_not_freeze_the_page(shop: Shop, desk: Desk) -> None:
    app = shop.scene.apps["tokyo-store"]
    page = live(desk, shop.app("tokyo-store"))
    account, number = Account(), 3_000
    thread = threading.Thread(
        target=lambda: asyncio.run(publish(shop.server.port, app, shop.server.token, iter(range(number)), account, connections=16))
    )
    thread.start()
    thread.join(120)
    assert len(account.acknowledged) == number
    seen = re.compile(r"^3,000 seen, [\d,]+ not shown$")
    expect(page.locator("[data-count]")).to_have_text(seen, timeout=20_000)
    assert page.locator("[data-rows] tr").count() <= 200
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-state]")).to_contain_text("Paused")


def test_a_stream_needs_a_session(shop: Shop) -> None:
    person = Person(shop.url).log_in()
    path = f"{shop.url}{shop.app()}/messages/live/events"
    with httpx.stream("GET", path, cookies=dict(person.client.cookies), trust_env=False, timeout=20) as stream:
        assert stream.headers["content-type"] == "text/event-stream" and stream.headers["cache-control"] == "no-store"
        lines = stream.iter_lines()
        shop.server.make("/app/acme/msg", {"eventType": "order.created", "payload": {}})
        assert next(lines).startswith("data: ")
    assert httpx.get(path, trust_env=False).status_code == 303
    person.close()


def answer_of(client: httpx.Client, path: str) -> int:
    """The status of a stream, which is left at once."""
    with client.stream("GET", path) as answer:
        return answer.status_code


def test_who_finds_no_room_is_told_so_and_a_head_takes_none(shop: Shop) -> None:
    person = Person(shop.url).log_in()
    path, cookies = f"{shop.url}{shop.app()}/messages/live/events", dict(person.client.cookies)
    with httpx.Client(cookies=cookies, trust_env=False, timeout=20, limits=httpx.Limits(max_connections=None)) as client:
        for _ in range(30):
            assert client.head(path).status_code == 200
        with contextlib.ExitStack() as streams:
            for _ in range(25):
                assert streams.enter_context(client.stream("GET", path)).status_code == 200
            wait_until(lambda: answer_of(client, path) == 503, what="25 watch")
    person.close()


def test_a_server_that_stops_lets_watchers_go(tmp_path: Path) -> None:
    server = servers.start(tmp_path / "ringback.db", {})
    person = Person(f"{server.url}{BASE}").log_in()
    app = server.make("/app", {"name": "Acme"})["id"]
    with httpx.stream(
        "GET", f"{person.url}/apps/{app}/messages/live/events", cookies=dict(person.client.cookies), trust_env=False
    ) as stream:
        lines = stream.iter_lines()
        server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {}})
        assert next(lines).startswith("data: ")
        assert server.stop() == 0
        # To its end: a stream that is cut raises here.
        assert all(line.startswith(("data: ", ":")) or not line for line in lines)
    assert '"clean": true' in server.log.read_text()
    person.close()
