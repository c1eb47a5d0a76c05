"""Messages are found by what their payloads say, from the box above the list and over all applications."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from benchmarks import server as servers
from tests.dashboard.conftest import BASE, Desk, Person, Shop, token_of
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def shelf(shop: Shop) -> Iterator[str]:
    """The path of the messages of an application that others have none of these words in."""
    app = shop.server.make("/app", {"name": "Shelf & Sons", "uid": "shelf"})["id"]
    shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/orders"})
    for number in range(60):
        kind = "order.created" if number % 2 else "ticket.updated"
        payload = {"note": "Quetzal für Zürich", "number": f"ord_{number:04}"}
        body = {"eventType": kind, "payload": payload, "tags": ["rare" if number == 7 else "shelf"], "eventId": f"shelf-{number}"}
        shop.server.make(f"/app/{app}/msg", body)
    wait_until(lambda: len(shop.server.call("GET", "/app/shelf/search?q=quetzal&limit=100")[1]["data"]) == 60, what="all are indexed")
    yield f"/apps/{app}/messages"
    shop.server.call("DELETE", f"/app/{app}")


def hits(page: str) -> list[str]:
    """The event ids on a page of hits."""
    return re.findall(r'<code class="break">([^<]+)</code>', page)


def test_words_of_payloads_are_found_and_marked(person: Person, shelf: str) -> None:
    page = person.get(f"{shelf}?q=zurich ord_0009").text
    assert hits(page) == ["shelf-9"]
    assert "<mark>Zürich</mark>" in page and "<mark>ord_0009</mark>" in page


def test_what_is_typed_and_what_is_chosen_must_both_hold(shop: Shop, person: Person, shelf: str) -> None:
    for query, found in (
        ("q=quetzal&tag=rare", 1),
        ("q=quetzal&type=order.created&tag=rare", 1),
        ("q=quetzal&type=ticket.updated&tag=rare", 0),
        ("q=quetzal -tag:shelf", 1),
        ("q=ord_0007&within=1h", 1),
        ("q=ord_0007&status=failed", 0),
        ("q=ord_0007&channel=none", 0),
        ("q=nothingatall", 0),
    ):
        assert len(hits(person.get(f"{shelf}?{query}").text)) == found, query
    wait_until(lambda: hits(person.get(f"{shelf}?q=ord_0007&status=delivered").text) == ["shelf-7"], what="it was delivered")


def test_pages_of_hits_lead_on_without_a_gap(person: Person, shelf: str) -> None:
    seen: list[str] = []
    path = f"{shelf}?q=quetzal&tag="
    while path:
        page = person.get(path).text
        seen += hits(page)
        older = re.search(rf'rel="next" href="{BASE}([^"]+)"', page)
        path = html.unescape(older[1]) if older else ""
    assert seen == [f"shelf-{number}" for number in reversed(range(60))]


def test_what_cannot_be_read_is_explained_beside_the_box_and_not_lost(person: Person, shelf: str) -> None:
    for typed, problem in (
        ("foo:bar", "foo: is no operator"),
        ("status:gone", "'gone' is no status"),
        ('"open', "is not closed"),
        ("app:acme x", "is not the application that is searched"),
    ):
        answer = person.get(f"{shelf}", params={"q": typed})
        assert answer.status_code == 422 and problem in html.unescape(answer.text), typed
        assert f'value="{html.escape(typed)}"' in answer.text.replace("&#34;", "&quot;"), typed
    assert "Nothing of that name or text" in person.get(f"{shelf}?q=nothingatall").text
    strange = person.get(f"{shelf}?q=quetzal&more=nonsense")
    assert strange.status_code == 422 and "is no cursor of a search" in html.unescape(strange.text)


def test_all_applications_are_searched_at_once(shop: Shop, person: Person, shelf: str) -> None:
    page = person.get("/search?q=quetzal tag:rare").text
    assert hits(page) == ["shelf-7"] and "Shelf &amp; Sons" in page
    assert len(hits(person.get("/search?q=app:shelf ord_0003").text)) == 1
    assert "Entity not found" in person.get("/search?q=app:nobody ord_0003").text
    assert "What do you look for?" in person.get("/search").text


def test_an_organisation_finds_nothing_of_another(shop: Shop, shelf: str) -> None:
    other = Person(shop.url).log_in(token_of(shop.server, "searching"))
    assert "Nothing of that name or text" in other.get("/search?q=quetzal").text
    assert other.get(f"{shelf}?q=quetzal").status_code == 404
    assert "Entity not found" in other.get("/search?q=app:shelf quetzal").text
    other.close()


def test_the_palette_leads_to_a_search(person: Person, shelf: str) -> None:
    page = person.get("/palette?q=quetzal rare").text
    assert f'href="{BASE}/search?q=quetzal+rare"' in page and "Nothing here is called" in page


def test_somebody_searches_by_keyboard(desk: Desk, shelf: str) -> None:
    page = desk.go(shelf)
    page.keyboard.press("/")
    page.keyboard.type("ord_0011")
    page.keyboard.press("Enter")
    page.wait_for_url("**/messages?q=ord_0011")
    expect(page.locator(".excerpt mark")).to_have_text("ord_0011")
    page.locator(".help > summary").click()
    expect(page.get_by_text("words that begin so")).to_be_visible()
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/messages/msg_*")


def test_without_an_index_only_ids_are_found_and_that_is_said(tmp_path: Path) -> None:
    server = servers.start(tmp_path / "ringback.db", {"search": "false"})
    try:
        app = server.make("/app", {"name": "Shop"})["id"]
        message = server.make(f"/app/{app}/msg", {"eventType": "a", "payload": {"word": "quetzal"}, "eventId": "evt-1"})["id"]
        person = Person(f"{server.url}{BASE}").log_in()
        assert person.get(f"/apps/{app}/messages?q=evt-1").headers["location"] == f"{BASE}/apps/{app}/messages/{message}"
        for path in (f"/apps/{app}/messages?q=quetzal", "/search", "/search?q=quetzal"):
            page = plain(person.get(path))
            assert "This server keeps no index of payloads (search = false)" in page, path
        assert "Id or event id" in person.get(f"/apps/{app}/messages").text
        assert "How to search" not in person.get(f"/apps/{app}/messages").text
        assert "/dashboard/search" not in person.get("/palette?q=quetzal").text
        assert "search is switched off" in plain(person.get("/queue"))
        person.close()
    finally:
        server.stop()
