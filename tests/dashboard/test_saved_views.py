"""What a list shows is saved under a name, found where a person looks for it, and leads nowhere but to that list."""

from __future__ import annotations

import html
import re
import typing
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from ringback.dashboard import lists
from ringback.dashboard.components import Head
from ringback.dashboard.lists import LISTS, address_in, bar_of, list_at
from ringback.model.dashboard import SavedView
from tests.dashboard.conftest import Desk, OpenDesk, Person, Shop, token_of
from tests.dashboard.test_pages import plain
from tests.dashboard.tour import tour

TEMPLATES = Path(lists.__file__).parent / "templates"
# Forms that look like filters, and choose nothing of a list: the palette's page, the overview's span, a step of making a source, settings.
NO_LISTS = {"palette/find.html", "overview/show.html", "sources/pick.html", "server/settings.html"}
# A choice in a form, and those whose values are what there is: applications, sources, event types, and what was ever the cause.
SELECT = r'<select[^>]* name="(\w+)".*?>(.*?)</select>'
FOUND = {"app", "source", "type", "cause", "reason"}


@pytest.fixture
def saved(person: Person) -> typing.Iterator[typing.Callable[..., httpx.Response]]:
    """Saves a view of an address; what was saved goes after the test."""
    yield lambda to, name: person.act("/saved-views", to=f"/dashboard{to}", name=name)
    for path in re.findall(r'href="/dashboard(/saved-views/view_\w+/delete)"', person.get("/saved-views").text):
        assert person.act(path).status_code == 200


def bar(answer: httpx.Response) -> str:
    """The saved views beside the filters of a page, and what can be saved."""
    found = re.search(r'<div class="views">(.*?)</div>', answer.text, re.DOTALL)
    return found[1] if found else ""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/dashboard/tasks?status=finished", "/tasks?status=finished"),
        ("/dashboard/tasks?kind=&status=+finished+", "/tasks?status=finished"),
        ("/dashboard/apps/a%20b/messages?type=b&type=a&type=b&q=%E2%82%AC", "/apps/a%20b/messages?q=%E2%82%AC&type=b&type=a"),
        ("/dashboard/tasks", None),
        ("/dashboard/tasks?status=", None),
        ("/dashboard/tasks?status=finished&next=https://evil.example", None),
        ("/dashboard/tasks?at=qtask_1", None),
        ("/tasks?status=finished", None),
        ("//evil.example/dashboard/tasks?status=finished", None),
        ("https://evil.example/dashboard/tasks?status=finished", None),
        ("/dashboard//evil.example?status=finished", None),
        ("/dashboard/../tasks?status=finished", None),
        ("/dashboard/apps/../messages?status=failed", None),
        ("/dashboard/apps/%2e%2e/messages?status=failed", None),
        ("/dashboard/apps/a%2Fb/messages?status=failed", None),
        ("/dashboard/logout?status=finished", None),
        ("/dashboard/tasks?status=no-such-state", None),
        ("/dashboard/tasks?status=finished&kind=no.such.kind", None),
        ("/dashboard/saved-views?status=finished", None),
        ("javascript:alert(1)?status=finished", None),
        ("/dashboard/tasks?" + "status=a&" * 300, None),
        ("", None),
    ],
)
def test_an_address_is_kept_when_it_leads_to_filters_of_a_list(text: str, address: str | None) -> None:
    assert address_in(text) == address
    assert address is None or address_in(f"/dashboard{address}") == address


def test_what_leads_out_of_a_path_is_written_so_that_it_stays_in_it() -> None:
    assert address_in("/dashboard/apps/a\\b\r\nx: y/messages?tag=%0d%0a") is None
    assert address_in("/dashboard/apps/a%5Cb%0D%0Ax/messages?tag=%3Cb%3E") == "/apps/a%5Cb%0D%0Ax/messages?tag=%3Cb%3E"


def test_a_name_to_begin_with_says_the_list_and_what_was_chosen() -> None:
    found = bar_of([], "/dead-letters/list", {"app": ["app_" + "x" * 27], "since": ["2026-01-01T00:00"]}, Head("Dead letters"), None)
    assert found is not None and found.name == "Dead letters: app_…xxxxxx, since 2026-01-01T00:00"
    long = bar_of([], "/search", {"q": ["word " * 100]}, Head("Search messages"), None)
    assert long is not None and len(long.name) <= 80


def test_a_view_of_a_list_that_this_version_does_not_have_is_shown_on_none() -> None:
    for address in ("/no-list?x=1", "/tasks?gone=1", "/tasks?status=gone", "/tasks?status=finished&kind=gone", "/tasks"):
        view = SavedView("view_1", "org_1", "old", address)
        assert lists.list_of(view) is None, address
        found = bar_of([view], address.partition("?")[0], {}, Head("A list"), None)
        assert found is None or not found.links, address
    assert bar_of([], "/overview", {}, Head("Overview"), None) is None


def test_every_list_with_filters_can_be_saved_and_its_fields_are_those_of_its_form(shop: Shop, person: Person) -> None:
    templates = {str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html") if 'class="filters"' in path.read_text()}
    shown = {str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html") if "saved_views/bar.html" in path.read_text()}
    # The audit log is limited by links alone.
    assert shown == templates - NO_LISTS | {"audit/list.html"}
    visited = set()
    for pattern, path, _ in tour(shop):
        one = list_at(path.partition("?")[0])
        if one is None or one.path == "/audit":
            continue
        assert one.path == pattern
        visited.add(one.path)
        page = person.get(path).text
        form = re.findall(r'<form class="filters".*?</form>', page, re.DOTALL)
        assert len(form) == 1, path
        assert set(re.findall(r'<(?:input|select)[^>]* name="(\w+)"', form[0])) == set(one.fields), path
        chosen = {name: set(re.findall(r'value="([^"]+)"', body)) for name, body in re.findall(SELECT, form[0], re.DOTALL)}
        assert {name: values for name, values in chosen.items() if name not in FOUND} == {k: set(v) for k, v in one.values.items()}, path
    assert visited == {one.path for one in LISTS} - {"/audit"}


def test_a_view_is_saved_found_and_deleted_without_scripts(shop: Shop, person: Person, saved: typing.Callable[..., httpx.Response]) -> None:
    path = f"{shop.app()}/messages"
    assert bar(person.get(path)) == "", "nothing is chosen, and nothing was saved"
    page = person.get(f"{path}?within=24h&status=failed&at=&utm=x")
    offered = bar(page)
    assert 'value="Messages of Acme Logistics: failed, last 24h"' in offered
    assert f'name="to" value="/dashboard{path}?status=failed&amp;within=24h"' in offered

    page = saved(f"{path}?status=failed&within=24h", "  Failed  today ")
    assert str(page.url) == f"{person.url}{path}?status=failed&within=24h"
    assert "“Failed today” was saved." in plain(page)
    assert re.search(r'<a class="view" href="[^"]+" aria-current="page"><bdi>Failed today</bdi></a>', bar(page))
    assert "Save view" not in bar(page) and "Delete view" in bar(page)
    assert "aria-current" not in bar(person.get(path)) and "Failed today" in bar(person.get(path))
    assert "Save view" in bar(person.get(f"{path}?status=retrying"))
    assert "Failed today" not in bar(person.get("/tasks")), "it stands on its own list"

    for query in ("q=failed", "q=TODAY fail", "q="):
        found = person.get(f"/palette?{query}").text
        assert f'href="/dashboard{path}?status=failed&amp;within=24h"' in found and "Saved view" in found, query
    assert "Failed today" not in person.get("/palette?q=nothing-like-it").text
    listed = person.get("/saved-views")
    assert "Failed today" in plain(listed) and "within: 24h" in plain(listed) and "Acme Logistics" in plain(listed)

    delete = re.findall(r'href="/dashboard(/saved-views/view_\w+/delete)"', listed.text)[0]
    assert "for all who log in" in plain(person.get(delete)) and "Failed today" in person.get(path).text
    assert "“Failed today” was deleted." in plain(person.act(delete))
    assert bar(person.get(path)) == "" and person.get(delete).status_code == 404 and person.act(delete).status_code == 404
    log = plain(person.get("/audit"))
    assert log.index("deleted a saved view") < log.index("saved a view") and "Failed today" in log


def test_a_span_counts_from_when_the_view_is_opened(shop: Shop, person: Person, saved: typing.Callable[..., httpx.Response]) -> None:
    page = saved(f"{shop.app()}/messages?within=15m", "Just now")
    sent = shop.server.make("/app/acme/msg", {"eventType": "order.created", "eventId": "after-the-view", "payload": {}})["id"]
    assert sent in person.client.get(str(page.url)).text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "this is needed"),
        ("   ", "this is needed"),
        ("x" * 81, "at most 80 characters"),
        ("a\x01b", "control character"),
        ("\u200b\u202e", "can be seen"),
        ("Taken", "another view is called so"),
    ],
)
def test_what_is_wrong_with_a_name_is_said_and_what_was_typed_stays(
    person: Person, saved: typing.Callable[..., httpx.Response], name: str, problem: str
) -> None:
    saved("/tasks?status=running", "Taken")
    answer = saved("/tasks?status=finished", name)
    assert answer.status_code == 422 and problem in plain(answer)
    assert 'name="to" value="/dashboard/tasks?status=finished"' in answer.text
    assert person.get("/saved-views").text.count("<bdi>") == 1


def test_filters_that_are_too_long_and_views_that_are_too_many_are_refused(
    person: Person, saved: typing.Callable[..., httpx.Response]
) -> None:
    answer = saved(f"/search?q={'x' * 6_000}", "Long")
    assert answer.status_code == 422 and "too long to be kept" in plain(answer)
    for number in range(100):
        assert person.post("/saved-views", at="/audit", to=f"/dashboard/search?q={number}", name=f"View {number}").status_code == 303
    answer = saved("/search?q=100", "View 100")
    assert answer.status_code == 422 and "there are 100 views" in plain(answer).lower()
    page = person.get("/search?q=7")
    assert bar(page).count('class="view"') == 100


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example/", "/dashboard/logout", "/dashboard/tasks?evil=1", "javascript:alert(1)", ""]
)
def test_a_view_leads_nowhere_but_to_a_list(person: Person, to: str) -> None:
    answer = person.act("/saved-views", to=to, name="Elsewhere")
    assert answer.status_code == 400 and "evil" not in answer.text
    assert "Elsewhere" not in person.get("/saved-views").text


def test_a_form_of_another_site_saves_and_deletes_nothing(person: Person, saved: typing.Callable[..., httpx.Response]) -> None:
    saved("/tasks?status=running", "Mine")
    delete = re.findall(r'href="/dashboard(/saved-views/view_\w+/delete)"', person.get("/saved-views").text)[0]
    assert person.post("/saved-views", csrf="x", to="/dashboard/tasks?status=finished", name="Theirs").status_code == 403
    assert person.post(delete, csrf="x").status_code == 403
    assert re.findall(r"<bdi>(\w+)</bdi>", person.get("/saved-views").text) == ["Mine"]


def test_an_organisation_neither_sees_nor_deletes_views_of_another(
    shop: Shop, person: Person, saved: typing.Callable[..., httpx.Response]
) -> None:
    saved("/tasks?status=running", "Not for others")
    delete = re.findall(r'href="/dashboard(/saved-views/view_\w+/delete)"', person.get("/saved-views").text)[0]
    other = Person(shop.url).log_in(token_of(shop.server, "view-thieves"))
    for path in ("/saved-views", "/tasks?status=running", "/palette?q=others"):
        assert "Not for others" not in other.get(path).text
    assert other.get(delete).status_code == 404 and other.act(delete).status_code == 404
    assert other.act("/saved-views", to="/dashboard/tasks?status=running", name="Not for others").status_code == 200, "a name of its own"
    other.close()


def test_a_hostile_name_does_nothing_and_turns_nothing_around(desk: Desk, saved: typing.Callable[..., httpx.Response]) -> None:
    name = '"><img src=x onerror=window.owned=1>\u202eabc'
    saved("/tasks?status=running", name)
    for path in ("/tasks", "/tasks?status=running", "/saved-views", "/palette?q=img"):
        page = desk.go(path)
        assert page.evaluate("window.owned") is None and page.locator("img[onerror]").count() == 0, path
        expect(page.locator("bdi .turning").first).to_have_attribute("data-number", "U+202E")
    page = desk.go("/saved-views")
    page.locator("td.acts a").click()
    expect(page.locator("#panel h1")).to_contain_text("<img src=x")
    assert page.evaluate("window.owned") is None


def test_many_views_leave_the_list_in_sight_and_the_one_that_is_shown_too(
    open_desk: OpenDesk, person: Person, saved: typing.Callable[..., httpx.Response]
) -> None:
    for number in range(60):
        name = f"View {number} of many"
        assert person.post("/saved-views", at="/audit", to=f"/dashboard/event-types?q={number}", name=name).status_code == 303
    saved("/event-types?q=zebra", "Zebras that run")
    for width, height in ((375, 800), (1440, 900)):
        desk = open_desk(viewport={"width": width, "height": height})
        page = desk.go("/event-types?q=zebra")
        assert page.locator(".views").evaluate("bar => bar.getBoundingClientRect().height") < 160
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        expect(page.get_by_role("link", name="Zebras that run")).to_be_in_viewport(ratio=1)
        assert page.evaluate("scrollY") == 0
        page.get_by_role("link", name="View 0 of many").focus()
        expect(page.get_by_role("link", name="View 0 of many")).to_be_in_viewport(ratio=1)


def test_views_stand_in_the_order_of_their_names_whatever_their_case(person: Person, saved: typing.Callable[..., httpx.Response]) -> None:
    for number, name in enumerate(("zebras", "Apples", "\xe4pfel", "bees", "Zoos")):
        saved(f"/event-types?q={number}", name)
    assert re.findall(r"<bdi>(.+?)</bdi>", bar(person.get("/event-types"))) == ["Apples", "bees", "zebras", "Zoos", "\xe4pfel"]


def test_a_view_belongs_to_its_application_whether_the_address_has_its_uid_or_its_id(
    shop: Shop, person: Person, saved: typing.Callable[..., httpx.Response]
) -> None:
    path = f"{shop.app()}/messages"
    assert f'name="to" value="/dashboard{path}?status=failed"' in bar(person.get("/apps/acme/messages?status=failed"))
    saved(f"{path}?status=failed", "By its id")
    for address in (path, "/apps/acme/messages"):
        assert re.search(r'aria-current="page"><bdi>By its id<', bar(person.get(f"{address}?status=failed"))), address


def test_what_has_a_name_already_gets_no_second_one(person: Person, saved: typing.Callable[..., httpx.Response]) -> None:
    saved("/tasks?status=running", "What runs")
    answer = saved("/tasks?status=running", "The same")
    assert answer.status_code == 422 and "“What runs” shows just that" in plain(answer)
    assert bar(person.get("/tasks?status=running")).count("Delete view") == 1


def test_a_view_is_saved_opened_from_the_palette_and_deleted_in_a_browser(shop: Shop, open_desk: OpenDesk) -> None:
    desk = open_desk(viewport={"width": 375, "height": 800})
    page = desk.go(f"{shop.app()}/messages?status=failed")
    name = page.get_by_label("Name of the view")
    expect(name).to_be_hidden()
    page.get_by_text("Save view").click()
    name.fill("What failed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="What failed")).to_have_attribute("aria-current", "page")
    assert desk.path == f"{shop.app()}/messages?status=failed"
    assert page.evaluate("document.documentElement.scrollWidth") <= 375

    desk.go("/tasks")
    page.keyboard.press("Control+k")
    page.keyboard.type("what fai")
    page.wait_for_selector("#palette .results a:first-child:has-text('What failed')")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{shop.app()}/messages?status=failed")
    page.get_by_role("link", name="Delete view…").click()
    page.locator("#panel").get_by_role("button", name="Delete view").click()
    page.wait_for_url("**/saved-views")
    expect(page.get_by_role("status").filter(has_text="was deleted")).to_be_visible()
    assert html.unescape(page.locator("main").inner_text()).count("What failed") == 1, "in the notice alone"
