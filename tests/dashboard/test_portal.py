"""The portal in a real browser: what a customer sees and does behind the link that their provider gave them."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.dashboard.conftest import OpenDesk, Shop
from tests.dashboard.test_browser import SIZES, complaints
from tests.dashboard.test_hostile_text import in_order
from tests.waiting import wait_until


def test_a_customer_looks_after_their_endpoints(shop: Shop, open_desk: OpenDesk) -> None:
    app = shop.server.make("/app", {"name": "Portal customer"})["id"]
    link = shop.server.make(f"/auth/app-portal-access/{app}", {})["url"]
    page = open_desk(color_scheme="light").page
    page.goto(link)
    expect(page.locator("main")).to_contain_text("There are no endpoints yet")

    page.get_by_role("button", name="Add an endpoint").click()
    page.get_by_label("URL").fill(f"{shop.receiver.url}/given-up/portal")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("main")).to_contain_text("Nothing was sent yet.")
    shop.server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {"html": "<b>no</b>"}})
    endpoint = shop.server.call("GET", f"/app/{app}/endpoint")[1]["data"][0]["id"]
    wait_until(lambda: shop.server.call("GET", f"/app/{app}/attempt/endpoint/{endpoint}")[1]["data"], what="the attempt is recorded")

    page.get_by_role("button", name="Refresh").click()
    expect(page.locator("table .badge.bad")).to_have_text("failed")
    expect(page.locator("main")).to_contain_text("0 succeeded, 1 failed; 0 not tried yet.")
    page.get_by_role("button", name="order.created").click()
    expect(page.locator("main")).to_contain_text("unknown currency")
    expect(page.locator("main")).to_contain_text("<b>no</b>")
    shop.behaviour.mended.add("/given-up/portal")
    page.get_by_role("button", name="Send again").click()

    wait_until(lambda: len(shop.server.call("GET", f"/app/{app}/attempt/endpoint/{endpoint}")[1]["data"]) == 2, what="it was sent again")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator(".badge.ok", has_text="delivered")).to_be_visible()
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("What a payload must be, as JSON").fill('{"html": {"$contains": "yes"}}')
    page.get_by_role("button", name="Try on the last 100 messages").click()
    expect(page.locator("main")).to_contain_text("0 would pass and 1 would not.")
    expect(page.locator("main")).to_contain_text('{"html":{"$contains":"yes"}}')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Saved. The filter decides from now on.")
    assert shop.server.call("GET", f"/app/{app}/endpoint/{endpoint}/filter")[1] == {"filter": {"html": {"$contains": "yes"}}}
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("What a payload must be, as JSON").fill('{"html"}')
    page.get_by_role("button", name="Try on the last 100 messages").click()
    expect(page.get_by_role("alert")).to_contain_text("This is not JSON")
    page.get_by_label("What a payload must be, as JSON").fill('{"html": {"$contains": "no"}}')
    page.get_by_role("button", name="Try on the last 100 messages").click()
    expect(page.locator(".badge.ok", has_text="passes")).to_be_visible()
    found = complaints(page)
    page.emulate_media(color_scheme="dark")
    found += complaints(page, "color-contrast", styles=False)
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        found += [f"{width}: too wide"] if page.evaluate("document.documentElement.scrollWidth") > width else []
    assert found == []


def test_back_and_reload_stay_in_the_portal_and_a_second_click_is_no_second_act(shop: Shop, open_desk: OpenDesk) -> None:
    app = shop.server.make("/app", {"name": "Portal customer, in a hurry"})["id"]
    kept = ["hurry.archived", "order.created"]
    shop.server.make("/event-type", {"name": "hurry.archived", "description": "Was once"})
    wanted = {"url": f"{shop.receiver.url}/hurry", "eventTypes": kept, "uid": "hurry"}
    endpoint = shop.server.make(f"/app/{app}/endpoint", wanted)["id"]
    assert shop.server.call("DELETE", "/event-type/hurry.archived")[0] == 204
    sent = {"eventType": "order.created", "payload": {}, "transformationsParams": {"rawPayload": '{"n": 9007199254740993}'}}
    shop.server.make(f"/app/{app}/msg", sent)
    tries = f"/app/{app}/attempt/endpoint/{endpoint}"
    wait_until(lambda: shop.server.call("GET", tries)[1]["data"], what="the attempt is recorded")
    desk = open_desk()
    page = desk.page
    page.goto(shop.server.make(f"/auth/app-portal-access/{app}", {})["url"])

    page.get_by_role("button", name="/hurry").click()
    expect(page.locator("#view")).to_be_focused()
    page.get_by_role("button", name="order.created").click()
    send_again = page.get_by_role("button", name="Send again")
    expect(page.locator("pre").first).to_contain_text("9007199254740993")
    page.reload()
    send_again.dblclick()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    wait_until(lambda: len(shop.server.call("GET", tries)[1]["data"]) > 1, what="it was sent again")
    page.get_by_role("button", name="Change").click()
    page.get_by_label("Description").fill("Mine")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    changed = shop.server.call("GET", f"/app/{app}/endpoint/{endpoint}")[1]
    assert (changed["description"], sorted(changed["eventTypes"])) == ("Mine", kept), "no type is lost that no catalogue has"
    page.go_back()
    expect(page.get_by_label("Description")).to_have_value("Mine")
    page.go_back()
    page.go_back()
    expect(send_again).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", name="Endpoints")).to_be_visible()
    assert len(shop.server.call("GET", tries)[1]["data"]) == 2

    page.get_by_role("button", name="/hurry").click()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    page.get_by_role("button", name="Secret").click()
    page.once("dialog", lambda dialog: dialog.dismiss())
    before = shop.server.call("GET", f"/app/{app}/endpoint/{endpoint}/secret")[1]
    page.get_by_role("button", name="Rotate the secret").click()
    assert shop.server.call("GET", f"/app/{app}/endpoint/{endpoint}/secret")[1] == before, "it was asked first"
    desk.trouble.found.clear()


def test_older_attempts_can_be_looked_at(shop: Shop, open_desk: OpenDesk) -> None:
    app = shop.server.make("/app", {"name": "Portal customer with a past"})["id"]
    endpoint = shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/past"})["id"]
    for number in range(51):
        shop.server.make(f"/app/{app}/msg", {"eventType": "ticket.updated" if number else "order.created", "payload": {}})
    tries = f"/app/{app}/attempt/endpoint/{endpoint}?limit=250"
    wait_until(lambda: len(shop.server.call("GET", tries)[1]["data"]) == 51, what="all attempts are recorded")
    page = open_desk().page
    page.goto(shop.server.make(f"/auth/app-portal-access/{app}", {})["url"])
    page.get_by_role("button", name="/past").click()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(1)
    expect(page.get_by_role("button", name="Older")).to_have_count(0)
    page.get_by_role("button", name="Newest").click()
    expect(rows).to_have_count(50)
    page.go_back()
    expect(rows).to_have_count(1)
    # What is clicked while something else goes on has its turn after that.
    page.evaluate(
        "for (const text of ['Refresh', 'Filter']) [...document.querySelectorAll('button')].find(b => b.textContent === text).click()"
    )
    expect(page.get_by_role("heading", name="Filter")).to_be_visible()


def test_a_portal_without_its_server_says_so_and_a_new_link_in_the_same_window_counts(shop: Shop, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{shop.server.url}/portal/#key=appsk_gone")
    expect(page.get_by_role("alert")).to_contain_text("This link has expired")
    app = shop.server.make("/app", {"name": "Portal customer, again"})["id"]
    page.goto(shop.server.make(f"/auth/app-portal-access/{app}", {})["url"])
    expect(page.get_by_role("heading", name="Endpoints")).to_be_visible()
    page.context.set_offline(True)
    page.get_by_role("button", name="Add an endpoint").click()
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached. Look whether you are online, and try again.")
    page.context.set_offline(False)
    page.get_by_role("button", name="Add an endpoint").click()
    expect(page.get_by_label("URL")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.close()


def test_a_customer_looks_after_the_sinks_of_their_stream(shop: Shop, open_desk: OpenDesk) -> None:
    stream = shop.server.make("/stream", {"name": "Customer's parcels"})["id"]
    page = open_desk(color_scheme="light").page
    page.goto(shop.server.make(f"/auth/stream-portal-access/{stream}", {})["url"])
    expect(page.locator("main")).to_contain_text("Nobody gets the events of this stream yet")

    page.get_by_label("URL that gets the events").fill(f"{shop.receiver.url}/given-up/sink")
    page.get_by_role("button", name="Add a sink").click()
    expect(page.locator(".badge.ok")).to_have_text("enabled")
    events = {"events": [{"eventType": "parcel.lost", "payload": "1"}]}
    assert shop.server.call("POST", f"/stream/{stream}/events", events)[0] == 202
    at = f"/stream/{stream}/sink"
    wait_until(lambda: shop.server.call("GET", at)[1]["data"][0]["status"] == "retrying", what="it fails")

    page.get_by_role("button", name="Refresh").click()
    expect(page.locator(".badge.wait")).to_have_text("retrying")
    expect(page.locator("main")).to_contain_text("the endpoint answered")
    page.get_by_role("button", name="Show the secret").click()
    expect(page.get_by_role("status")).to_contain_text("Signed with whsec_")
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".badge.off")).to_have_text("disabled")
    assert shop.server.call("GET", at)[1]["data"][0]["status"] == "disabled"
    found = complaints(page)
    page.emulate_media(color_scheme="dark")
    found += complaints(page, "color-contrast", styles=False)
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        found += [f"{width}: too wide"] if page.evaluate("document.documentElement.scrollWidth") > width else []
    assert found == []


def test_a_link_that_has_ended_says_where_to_get_another(shop: Shop, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{shop.server.url}/portal/#key=appsk_gone")
    expect(page.get_by_role("alert")).to_have_text("This link has expired, or was ended. Ask for a new one where you got it.")
    expect(page.get_by_text("Loading")).to_have_count(0)
    page.close()


def test_the_portal_says_which_endpoints_fail_in_the_words_of_the_dashboard(shop: Shop, open_desk: OpenDesk) -> None:
    app = shop.server.make("/app", {"name": "Portal customer, in trouble"})["id"]
    named = {"given-up": "failing", "healthy": "enabled", "off": "disabled"}
    for name in named:
        shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/{name}/health", "uid": name, "disabled": name == "off"})
    shop.server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {}})
    for name in ("given-up", "healthy"):
        path = f"/app/{app}/attempt/endpoint/{name}"
        wait_until(lambda path=path: shop.server.call("GET", path)[1]["data"], what="the attempt is recorded")  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
    page = open_desk().page
    page.goto(shop.server.make(f"/auth/app-portal-access/{app}", {})["url"])
    for name, state in named.items():
        expect(page.locator("tr", has_text=f"/{name}/health").locator(".badge")).to_have_text(state)
    expect(page.locator(".badge.bad")).to_have_text("failing")
    assert shop.server.call("POST", f"/app/{app}/msg", {"eventType": "order.created", "payload": {}})[0] == 202
    page.get_by_role("button", name="/given-up/health").click()
    expect(page.locator(".head .badge.bad")).to_have_text("failing")
    shop.behaviour.mended.add("/given-up/health")
    shop.server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {}})
    tried = f"/app/{app}/attempt/endpoint/given-up?limit=1"
    wait_until(lambda: shop.server.call("GET", tried)[1]["data"][0]["status"] == 0, what="one arrived")
    page.get_by_role("button", name="All endpoints").click()
    expect(page.locator(".badge.retry")).to_have_text("failing now and then")
    found = complaints(page)
    page.emulate_media(color_scheme="dark")
    assert found + complaints(page, "color-contrast", styles=False) == []


def test_a_text_that_turns_around_what_follows_is_marked_and_turns_nothing_around(shop: Shop, open_desk: OpenDesk) -> None:
    app = shop.server.make("/app", {"name": "Portal customer, \u202ereversed"})["id"]
    shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/turned", "description": "abc\u202edefgh", "disabled": True})
    page = open_desk().page
    page.goto(shop.server.make(f"/auth/app-portal-access/{app}", {})["url"])
    expect(page.locator(".turning")).to_have_attribute("data-number", "U+202E")
    assert in_order(page.locator("td", has_text="defgh"))
