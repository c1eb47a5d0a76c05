"""The dashboard in a real Chromium against a real server: what people see, click and type."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, Response, expect

from benchmarks import server as servers
from tests.dashboard.conftest import BASE, Desk, OpenDesk, Shop
from tests.dashboard.tour import tour
from tests.waiting import wait_until

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text("utf-8")
# Parts of other pages, which are looked at where they are shown.
PARTS = ("/palette", "/switcher", "/login")
# The rules whose breach is moderate or minor, switched off: in axe each rule has one impact, and those are not complained about.
LESSER = """Object.fromEntries(
    axe._audit.rules.filter(rule => ["moderate", "minor"].includes(rule.impact)).map(rule => [rule.id, {enabled: false}])
)"""


def complaints(page: Page, *rules: str, styles: bool = True) -> list[str]:
    """What axe-core finds serious or critical on a page, by all of its rules or by some. `styles`: it reads the style sheets too."""
    if not page.evaluate("'axe' in window"):
        # Not by a script element, which the page's policy refuses.
        page.evaluate(AXE)
    chosen = {"resultTypes": ["violations"], "preload": styles} | ({"runOnly": list(rules)} if rules else {"rules": page.evaluate(LESSER)})
    found = page.evaluate("async chosen => (await axe.run(document, chosen)).violations", chosen)
    return [
        f"{one['id']}: {one['help']}: {node['html'][:160]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


# What is looked at in each size besides the ordinary one: how wide a page may be.
SIZES = {"phone": (390, 844), "zoom of 200%": (720, 450)}


def test_every_page_is_free_of_errors_fits_the_screen_and_can_be_used_by_all(shop: Shop, open_desk: OpenDesk) -> None:
    desk = open_desk(color_scheme="light", has_touch=True)
    page = desk.page
    found: dict[str, list[str]] = {}
    for pattern, path, _ in tour(shop):
        if pattern in PARTS:
            continue
        # Each page is loaded once, and looked at in every way: what differs is told by style sheets alone.
        page.set_viewport_size({"width": 1440, "height": 900})
        page.emulate_media(color_scheme="light")
        # All pages have the style sheets of the first.
        found[path] = complaints(desk.go(path), styles=not found)
        page.emulate_media(color_scheme="dark")
        # In the dark only the colours differ.
        found[path] += [f"in the dark, {what}" for what in complaints(page, "color-contrast", "link-in-text-block", styles=False)]
        for name, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            wide = page.evaluate("document.documentElement.scrollWidth")
            found[path] += [f"{name}: {wide} pixels wide"] if wide > width else []
            # What a narrow screen leaves out of sight must not have been the only name of something.
            found[path] += [f"{name}: {what}" for what in complaints(page, "link-name", "button-name", "label", styles=False)]
    assert {path: what for path, what in found.items() if what} == {}


def test_the_login_can_be_used_by_all(shop: Shop, open_desk: OpenDesk) -> None:
    for scheme in ("light", "dark"):
        desk = open_desk(color_scheme=scheme)
        desk.context.clear_cookies()
        page = desk.go("/login")
        assert complaints(page) == []
        expect(page.locator("[name=token]")).to_be_focused()
        page.keyboard.type(servers.TOKEN)
        page.keyboard.press("Enter")
        expect(page).to_have_title("Overview · Ringback")


def test_the_palette_goes_anywhere_by_keyboard(shop: Shop, desk: Desk) -> None:
    page = desk.go(shop.app())
    page.keyboard.press("Control+k")
    expect(page.locator("#palette input")).to_be_focused()
    page.keyboard.type(shop.scene.messages[0])
    expect(page.locator("#palette .results .kind").first).to_have_text("Message")
    assert complaints(page) == []
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text(re.compile("created|captured|updated"))
    assert desk.path == f"{shop.app()}/messages/{shop.scene.messages[0]}"

    page.keyboard.press("Control+k")
    page.keyboard.type("audit")
    expect(page.locator("#palette .results a .name")).to_have_text(["Audit log", "Search messages for “audit”"])
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()
    page.keyboard.press("Control+k")
    page.locator("#palette input").fill("o")
    expect(page.locator("#palette .results a").nth(2)).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#palette .results a").nth(2)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    href = page.locator("#palette .results a").nth(1).get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{href}")


def test_tab_begins_with_the_way_to_the_content_and_enter_opens_a_row(shop: Shop, desk: Desk) -> None:
    page = desk.go(f"{shop.app()}/messages")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.locator("h1").click()
    page.keyboard.press("j")
    page.keyboard.press("j")
    rows = page.locator("a.open")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    href = rows.nth(1).get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{href}")


def test_a_whole_row_is_a_link(shop: Shop, desk: Desk) -> None:
    page = desk.go(f"{shop.app()}/endpoints")
    page.get_by_text("payment.captured").first.click(force=True)
    page.wait_for_url(f"**{shop.app()}/endpoints/ep_*")
    assert desk.path != f"{shop.app()}/endpoints"


def test_an_attempt_opens_beside_the_page_and_as_a_page(shop: Shop, desk: Desk) -> None:
    page = desk.go(shop.endpoint("billing"))
    row = page.locator("a.open").first
    href = row.get_attribute("href")
    row.focus()
    page.keyboard.press("Enter")
    panel = page.locator("#panel")
    expect(panel.locator("h1")).to_have_text("payment.captured")
    assert page.url.endswith(str(href)), "its address can be shared"
    assert complaints(page) == []
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(row).to_be_focused()
    page.wait_for_url(f"**{shop.endpoint('billing')}")
    row.click(force=True)
    expect(panel.locator("h1")).to_be_visible()
    page.reload()
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("main h1")).to_have_text("payment.captured")


def test_going_back_closes_what_is_beside_the_page(shop: Shop, desk: Desk) -> None:
    page = desk.go(shop.endpoint("billing"))
    page.locator("a.open").first.click(force=True)
    expect(page.locator("#panel h1")).to_be_visible()
    page.go_back()
    expect(page.locator("#panel")).to_be_hidden()
    assert desk.path == shop.endpoint("billing")


def test_going_forward_again_shows_what_the_address_says(shop: Shop, desk: Desk) -> None:
    page = desk.go(shop.endpoint("billing"))
    page.get_by_role("link", name="Delete", exact=True).click()
    expect(page.locator("#panel h1")).to_be_visible()
    page.go_back()
    expect(page.locator("#panel")).to_be_hidden()
    page.go_forward()
    expect(page.locator("main h1")).to_have_text("Delete this endpoint?")
    assert desk.path == f"{shop.endpoint('billing')}/delete"
    page.go_back()
    expect(page.locator("main h1")).to_contain_text("/billing")


def test_a_server_that_is_away_is_told_on_the_page_until_it_is_back(shop: Shop, desk: Desk) -> None:
    page = desk.go(shop.endpoint("billing"))
    for where in ("**/delete", "**/palette?*"):
        page.route(where, lambda route: route.abort())
    page.get_by_role("link", name="Delete", exact=True).click()
    expect(page.locator("main .trouble")).to_contain_text("The server does not answer")
    assert desk.path == shop.endpoint("billing")
    page.keyboard.press("Control+k")
    page.keyboard.type("bill")
    expect(page.locator("#palette .trouble")).to_contain_text("what is shown may be old")
    page.unroute_all()
    page.keyboard.type("i")
    expect(page.locator("#palette .results a").first).to_be_visible()
    expect(page.locator(".trouble")).to_have_count(0)
    desk.trouble.found[:] = [what for what in desk.trouble.found if not any(sign in what for sign in ("ERR_FAILED", "htmx:"))]


def test_a_form_that_was_refused_goes_on_at_what_is_wrong(shop: Shop, desk: Desk) -> None:
    page = desk.go("/apps/new")
    page.get_by_label("Name").fill("Somebody")
    page.get_by_label("Uid").fill("no uid!")
    page.get_by_role("button", name="Create application").click()
    expect(page.locator("#f-uid")).to_be_focused()
    desk.trouble.found[:] = [what for what in desk.trouble.found if "422" not in what]


def test_on_a_tablet_no_column_is_out_of_sight(shop: Shop, open_desk: OpenDesk) -> None:
    desk = open_desk(viewport={"width": 768, "height": 1024})
    # Names in the audit log are as long as people make them.
    long = f"tablet.{'w' * 120}"
    shop.server.make("/event-type", {"name": long, "description": "Long"})
    assert shop.server.call("DELETE", f"/event-type/{long}?expunge=true")[0] == 204
    dead = ("/dead-letters", "/dead-letters/list", "/quarantine")
    wider = "tables => tables.filter(one => one.scrollWidth > one.clientWidth).length"
    for path in (shop.app(), f"{shop.app()}/messages", "/alerts", "/sources", "/streams", "/audit", *dead):
        assert desk.go(path).locator(".table").evaluate_all(wider) == 0, path


def test_an_application_and_an_endpoint_from_beginning_to_end(shop: Shop, desk: Desk) -> None:
    page = desk.go("/apps")
    page.get_by_role("link", name="New application").click()
    expect(page.locator("#panel #f-name")).to_be_focused()
    page.locator("#panel #f-name").fill("Browser & Co")
    page.locator("#panel button.primary").click()
    expect(page.locator(".notice")).to_contain_text("Browser & Co was created.")

    page.get_by_role("link", name="New endpoint").first.click()
    page.locator("#f-url").fill(f"{shop.receiver.url}/orders")
    page.get_by_label("order.created").check()
    page.get_by_role("button", name="Create endpoint").click()
    expect(page.locator(".notice")).to_contain_text("The endpoint was created.")
    endpoint = desk.path

    page.get_by_role("button", name="Show secret").click()
    expect(page.locator("#secret pre")).to_contain_text("whsec_")
    page.get_by_role("link", name="Rotate").click()
    page.locator("#panel select").select_option("3600")
    page.get_by_role("button", name="Rotate secret").click()
    expect(page.locator(".notice")).to_contain_text("signs too for 1 h")

    page.get_by_role("link", name="Edit").click()
    page.locator("#f-description").fill("By hand")
    page.locator("#f-url").fill("nonsense://")
    page.locator("form.form").evaluate("form => form.noValidate = true")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#f-url-wrong")).to_be_visible()
    # The browser itself writes down each answer that is no success.
    assert [what for what in desk.trouble.found if "422" not in what] == []
    desk.trouble.found.clear()
    expect(page.locator("#f-description")).to_have_value("By hand")
    page.locator("#f-url").fill(f"{shop.receiver.url}/orders")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".sentence")).to_contain_text("By hand")

    page.get_by_role("link", name="Disable").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("#panel")).to_be_hidden()
    page.get_by_role("link", name="Disable").click()
    page.get_by_role("button", name="Disable endpoint").click()
    expect(page.locator(".head .badge")).to_have_text("disabled")
    page.get_by_role("button", name="Enable").click()
    expect(page.locator(".head .badge")).to_have_text("enabled")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete endpoint").click()
    expect(page.locator(".notice")).to_contain_text("was deleted")

    page.goto(desk.url + endpoint.partition("/endpoints")[0])
    page.get_by_role("link", name="Delete").click()
    expect(page.locator("#panel #f-name")).to_be_focused()
    page.locator("#panel #f-name").fill("Browser & Co")
    page.get_by_role("button", name="Delete application").click()
    expect(page.locator(".notice")).to_contain_text("was deleted")


def test_a_message_is_looked_at_copied_and_resent(shop: Shop, open_desk: OpenDesk) -> None:
    desk = open_desk(permissions=["clipboard-read", "clipboard-write"])
    page = desk.go(f"{shop.app()}/messages/{shop.message_to('orders')}")
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("#said")).to_have_text("Copied")
    command = page.evaluate("navigator.clipboard.readText()")
    assert "curl -X POST http://127.0.0.1:" in command and "webhook-id" in command and "--data-binary" in command

    page.get_by_role("link", name="Payload").click()
    search = page.get_by_label("Search in the payload")
    search.fill("pay_")
    expect(page.locator(".viewer .found")).to_have_text("1 found")
    expect(page.locator(".json mark")).to_have_text("pay_")
    search.fill("")
    expect(page.locator(".json mark")).to_have_count(0)
    page.get_by_role("button", name="Fold", exact=True).click()
    expect(page.locator(".json .in").first).to_be_hidden()
    search.fill("currency")
    expect(page.locator(".json mark").first).to_be_visible()
    page.get_by_role("link", name="Raw").click()
    expect(page.locator(".viewer pre")).to_contain_text('"paymentId":')

    before = len(shop.attempts("orders"))
    page.locator(".leg", has_text="/orders").get_by_role("button", name="Resend").click()
    expect(page.locator(".notice")).to_contain_text("One more attempt was asked for.")
    wait_until(lambda: len(shop.attempts("orders")) > before)


def test_a_page_that_came_without_tls_copies_too(shop: Shop, open_desk: OpenDesk) -> None:
    desk = open_desk(permissions=["clipboard-read"])
    # As browsers have it on pages from other machines without TLS: no clipboard. What reads it here is kept aside.
    desk.context.add_init_script("window.held = navigator.clipboard; Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page = desk.go(shop.endpoint("billing"))
    page.get_by_role("button", name="Copy Id").click()
    expect(page.locator("#said")).to_have_text("Copied")
    assert page.evaluate("window.held.readText()") == shop.scene.endpoints["billing"]
    page.locator("a.open").first.click(force=True)
    button = page.locator("#panel").get_by_role("button", name="Copy as curl")
    button.click()
    wait_until(lambda: "curl -X POST" in page.evaluate("window.held.readText()"), what="copied from the panel")
    expect(button).to_be_focused()


def test_on_a_phone_what_was_asked_for_stands_before_the_way_of_the_message(shop: Shop, open_desk: OpenDesk) -> None:
    attempt = shop.attempts("billing")[-1]
    one = f"{shop.app()}/messages/{attempt['msgId']}"
    desk = open_desk(viewport={"width": 390, "height": 844})
    higher = "document.querySelector('#detail').getBoundingClientRect().top < document.querySelector('.leg').getBoundingClientRect().top"
    for path, first in ((one, False), (f"{one}?tab=payload", True), (f"{one}/attempts/{attempt['id']}", True)):
        assert desk.go(path).evaluate(higher) is first, path


def test_the_menus_open_and_close_by_keyboard_and_lead_to_the_same_page_elsewhere(shop: Shop, desk: Desk) -> None:
    page = desk.go(f"{shop.app()}/endpoints")
    summary = page.locator(".switcher > summary")
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".switcher .menu a", has_text="東京ストア")).to_be_visible()
    assert complaints(page) == []
    page.keyboard.press("Escape")
    expect(page.locator(".switcher .menu")).to_be_hidden()
    expect(summary).to_be_focused()
    page.keyboard.press("Enter")
    page.locator(".switcher .menu a", has_text="東京ストア").click()
    page.wait_for_url(f"**{shop.app('tokyo-store')}/endpoints")
    expect(page.locator(".empty h2")).to_have_text("No endpoint yet")


def test_the_look_changes_at_once_and_stays(shop: Shop, open_desk: OpenDesk) -> None:
    desk = open_desk(color_scheme="light")
    page = desk.go("/audit")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.locator(".me > summary").click()
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    page.locator(".me > summary").click()
    page.get_by_role("button", name="As the system").click()
    assert page.evaluate(background) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) == dark


def test_filters_apply_at_once_and_stand_in_the_address(shop: Shop, desk: Desk) -> None:
    page = desk.go(f"{shop.app()}/messages")
    page.get_by_label("Event type").select_option("order.created")
    page.wait_for_url("**/messages?type=order.created")
    expect(page.locator("a.open").first).to_have_text("order.created")
    page.get_by_label("Tag").fill("batch-1")
    page.keyboard.press("Enter")
    page.wait_for_url("**type=order.created&tag=batch-1")
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url("**/messages")
    page.keyboard.press("/")
    expect(page.locator("input[type=search]").first).to_be_focused()


def test_times_are_also_told_where_one_is(shop: Shop, desk: Desk) -> None:
    title = desk.go(f"{shop.app()}/messages").locator("tbody time").first.get_attribute("title")
    assert title is not None and " UTC" in title and "(here)" in title and "CE" in title


def test_paper_gets_the_content_alone(shop: Shop, desk: Desk) -> None:
    page = desk.go(f"{shop.app()}/messages/{shop.message_to('billing')}")
    page.emulate_media(media="print")
    expect(page.locator(".rail")).to_be_hidden()
    expect(page.locator(".head .sentence")).to_be_visible()


def test_who_wants_no_motion_sees_none(shop: Shop, open_desk: OpenDesk) -> None:
    page = open_desk(reduced_motion="reduce").go(f"{shop.app()}/messages/live")
    page.evaluate("document.querySelector('[data-rows]').innerHTML = '<tr class=\"linked new\"><td>x</td></tr>'")
    assert page.evaluate("getComputedStyle(document.querySelector('[data-rows] td')).animationName") == "none"


def test_a_session_that_ended_leads_to_the_login_from_an_open_page(shop: Shop, desk: Desk) -> None:
    page = desk.go("/audit")
    desk.context.clear_cookies()
    with page.expect_navigation():
        page.keyboard.press("Control+k")
    expect(page).to_have_title("Log in to Ringback · Ringback")
    # The browser itself writes down each answer that is no success.
    desk.trouble.found.clear()


def test_without_scripts_everything_can_be_done(shop: Shop, open_desk: OpenDesk) -> None:
    desk = open_desk(java_script_enabled=False)
    page = desk.go("/")
    page.locator(".switcher > summary").click()
    page.locator(".menu a", has_text="All applications").click()
    page.get_by_role("link", name="Acme Logistics").click()
    page.locator(".find").click()
    page.locator("main input[name=q]").fill("evt-0001")
    page.get_by_role("button", name="Search").click()
    page.locator(".results a").first.click()
    assert desk.path == f"{shop.app()}/messages/{shop.scene.messages[0]}"
    page.get_by_role("link", name="Payload").click()
    fold = page.locator(".json details").first
    assert fold.get_attribute("open") is not None
    fold.locator("> summary").click()
    assert fold.get_attribute("open") is None
    page.get_by_role("link", name="Endpoints", exact=True).first.click()
    page.locator("a.open").first.click()
    page.get_by_role("link", name="Delete").click()
    expect(page.locator("h1")).to_have_text("Delete this endpoint?")
    page.get_by_role("link", name="Cancel").click()
    page.locator(".me > summary").click()
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_page_asks_nobody_else(shop: Shop, desk: Desk) -> None:
    page = desk.go(f"{shop.app()}/messages/live")
    assert page.evaluate("fetch('https://example.com/').then(() => 'went', () => 'refused')") == "refused"
    assert any("Content Security Policy" in what or "asked" in what for what in desk.trouble.found)
    desk.trouble.found.clear()
    assert page.url.startswith(f"{shop.server.url}{BASE}")


def test_what_a_page_asks_for_by_itself_says_so_and_what_a_person_comes_back_to_does_not(shop: Shop, open_desk: OpenDesk) -> None:
    page = open_desk().page
    # Before any script: the timers of pages are then those of this clock.
    page.clock.install()
    page.goto(f"{shop.url}/sources")
    asked: list[str | None] = []

    def answered(response: Response) -> None:
        if "hx-request" in response.request.headers:
            asked.append(response.request.headers.get("ringback-timer"))

    def heard(timer: str | None) -> bool:
        # The browser is heard while it is asked something.
        page.evaluate("0")
        return timer in asked

    page.on("response", answered)
    page.clock.run_for(11_000)
    wait_until(lambda: heard("1"), what="the page has refreshed itself")
    assert None not in asked
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    wait_until(lambda: heard(None), what="it has refreshed itself for who came back")
