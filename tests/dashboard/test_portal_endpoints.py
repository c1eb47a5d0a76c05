"""What a customer does with one endpoint of the portal in a real browser: its secret and its headers, as far as the link allows."""

from __future__ import annotations

import typing

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import Desk, OpenDesk, Person, Shop
from tests.dashboard.test_browser import SIZES, complaints
from tests.waiting import wait_until


class Customer(typing.NamedTuple):
    """An application with one endpoint, and the link to its portal."""

    app: str
    endpoint: str
    at: str
    link: str


def customer(shop: Shop, name: str, *capabilities: str) -> Customer:
    """A new customer; with capabilities, the link allows those alone."""
    app = shop.server.make("/app", {"name": name})["id"]
    endpoint = shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/{app}"})["id"]
    wanted = {"capabilities": list(capabilities)} if capabilities else {}
    return Customer(app, endpoint, f"/app/{app}/endpoint/{endpoint}", shop.server.make(f"/auth/app-portal-access/{app}", wanted)["url"])


def opened(desk: Desk, who: Customer) -> Page:
    """The page of the endpoint."""
    page = desk.page
    page.goto(who.link)
    page.get_by_role("button", name=f"/{who.app}").click()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    return page


def refused(desk: Desk) -> None:
    """Forget what the browser says of what was refused on purpose."""
    desk.trouble.found[:] = [what for what in desk.trouble.found if "422" not in what]


def answering(page: Page, yes: bool) -> None:
    """From now on whoever is asked says yes or no; the question is kept in `asked`."""
    page.evaluate("yes => { window.asked = []; window.confirm = (text) => { asked.push(text); return yes; }; }", yes)


def wrong_with(page: Page) -> list[str]:
    """What axe finds in light and dark, and what is wider than a screen."""
    found = complaints(page)
    page.emulate_media(color_scheme="dark")
    found += complaints(page, "color-contrast", styles=False)
    for width, height in SIZES.values():
        page.set_viewport_size({"width": width, "height": height})
        found += [f"{width}: too wide"] if page.evaluate("document.documentElement.scrollWidth") > width else []
        found += complaints(page, "label", "button-name", styles=False)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.emulate_media(color_scheme="light")
    return found


def trail(shop: Shop, thing: str) -> str:
    """What the audit log says of something."""
    person = Person(shop.url).log_in()
    said = person.get(f"/audit?object={thing}").text
    person.close()
    return said


def test_the_secret_is_shown_on_demand_and_rotated_with_the_overlap_in_words(shop: Shop, open_desk: OpenDesk) -> None:
    who = customer(shop, "Customer with a secret")
    desk = open_desk(color_scheme="light")
    page = opened(desk, who)
    first = shop.server.call("GET", f"{who.at}/secret")[1]["key"]
    page.get_by_role("button", name="Secret").click()
    expect(page.get_by_role("heading", name="Signing secret")).to_be_visible()
    assert first not in page.content()
    page.get_by_role("button", name="Show the secret").click()
    expect(page.locator("pre")).to_have_text(first)
    assert wrong_with(page) == []
    page.get_by_role("button", name="Hide the secret").click()
    expect(page.locator("pre")).to_be_hidden()
    assert first not in page.content()

    answering(page, yes=False)
    page.get_by_role("button", name="Rotate the secret").click()
    assert "signs beside it for a day: give your receiver the new one" in page.evaluate("asked[0]")
    assert shop.server.call("GET", f"{who.at}/secret")[1]["key"] == first
    answering(page, yes=True)
    page.get_by_role("button", name="Rotate the secret").click()
    expect(page.get_by_role("status")).to_contain_text("the former one signs beside it: give your receiver the new one by then")
    second = shop.server.call("GET", f"{who.at}/secret")[1]["key"]
    expect(page.locator("pre")).to_have_text(second)
    shop.server.make(f"/app/{who.app}/msg", {"eventType": "order.created", "payload": {}})
    wait_until(lambda: shop.receiver.at(f"/{who.app}"), what="it came")
    assert second != first and len(shop.receiver.at(f"/{who.app}")[0].headers["webhook-signature"].split()) == 2, "both sign"

    page.get_by_label("The former secret signs on beside it").select_option("not at all")
    page.get_by_label("New secret").fill("whsec_" + "Q" * 32)
    answering(page, yes=True)
    page.get_by_role("button", name="Rotate the secret").click()
    expect(page.get_by_role("status")).to_contain_text("The former one signs no more.")
    expect(page.locator("pre")).to_have_text("whsec_" + "Q" * 32)
    page.get_by_label("New secret").fill("no secret")
    answering(page, yes=True)
    page.get_by_role("button", name="Rotate the secret").click()
    expect(page.get_by_role("alert")).to_contain_text("key: ")
    refused(desk)
    page.go_back()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    log = trail(shop, who.endpoint)
    assert "looked at a secret" in log and "rotated a secret" in log


def test_headers_are_set_and_removed_and_values_of_secret_ones_are_not_shown(shop: Shop, open_desk: OpenDesk) -> None:
    who = customer(shop, "Customer with headers")
    desk = open_desk(color_scheme="light")
    page = opened(desk, who)
    page.get_by_role("button", name="Headers").click()
    expect(page.locator("main")).to_contain_text("No header is added to what is sent.")

    def put(name: str, value: str) -> None:
        page.get_by_label("Name").fill(name)
        page.get_by_label("Value").fill(value)
        page.get_by_role("button", name="Set the header").click()

    put("x-tenant", "<b>\u202eacme</b>")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("tr", has_text="x-tenant")).to_contain_text("<b>")
    put("Authorization", "Bearer very-secret")
    expect(page.get_by_role("status")).to_have_text("Authorization is sent from now on.")
    expect(page.locator("tr", has_text="Authorization")).to_contain_text("kept, and shown to nobody")
    assert "very-secret" not in page.content()
    put("X-Tenant", "north")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tr", has_text="X-Tenant")).to_contain_text("north")
    put("webhook-id", "mine")
    expect(page.get_by_role("alert")).to_contain_text("belongs to the delivery itself")
    refused(desk)
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(2)
    assert wrong_with(page) == []
    shop.server.make(f"/app/{who.app}/msg", {"eventType": "order.created", "payload": {}})
    wait_until(lambda: shop.receiver.at(f"/{who.app}"), what="it came")
    assert (shop.receiver.at(f"/{who.app}")[0].headers["x-tenant"], shop.receiver.at(f"/{who.app}")[0].headers["authorization"]) == (
        "north",
        "Bearer very-secret",
    )

    answering(page, yes=False)
    page.locator("tr", has_text="Authorization").get_by_role("button", name="Remove").click()
    assert shop.server.call("GET", f"{who.at}/headers")[1]["sensitive"] == ["Authorization"]
    answering(page, yes=True)
    page.locator("tr", has_text="Authorization").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status")).to_have_text("Authorization is sent no more.")
    assert shop.server.call("GET", f"{who.at}/headers")[1] == {"headers": {"X-Tenant": "north"}, "sensitive": []}
    refused(desk)
    assert "changed an endpoint" in trail(shop, who.endpoint)


@pytest.mark.parametrize(
    ("capability", "secret", "rotates", "changes"),
    [("ViewBase", 0, 0, 0), ("ViewEndpointSecret", 1, 0, 0), ("ManageEndpointSecret", 1, 1, 0), ("ManageEndpoint", 1, 1, 1)],
)
def test_what_a_link_does_not_allow_there_is_no_way_to(
    shop: Shop, open_desk: OpenDesk, capability: str, secret: int, rotates: int, changes: int
) -> None:
    who = customer(shop, f"Customer with {capability}", capability)
    assert shop.server.call("PATCH", f"{who.at}/headers", {"headers": {"x-team": "blue", "cookie": "kept=1"}})[0] == 204
    page = opened(open_desk(), who)

    def named(name: str) -> int:
        return page.get_by_role("button", name=name).count()

    assert (named("Secret"), named("Change")) == (secret, changes)
    page.get_by_role("button", name="Headers").click()
    expect(page.locator("tr", has_text="x-team")).to_contain_text("blue")
    assert (named("Remove"), named("Set the header")) == (2 * changes, changes)
    assert "kept=1" not in page.content()
    if secret:
        page.get_by_role("button", name="The endpoint").click()
        page.get_by_role("button", name="Secret").click()
        expect(page.get_by_role("button", name="Show the secret")).to_be_visible()
        assert named("Rotate the secret") == rotates
