"""An operator says what customers see of whose portal it is, and they see that, and nothing that could not be read or trusted."""

from __future__ import annotations

import base64
import typing
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.conftest import OpenDesk, Person, Shop, token_of
from tests.dashboard.test_browser import complaints
from tests.dashboard.test_hostile_text import in_order
from tests.dashboard.test_pages import plain
from tests.dashboard.test_portal_endpoints import wrong_with
from tests.unit.policy.test_looks import png

PATH = "/settings/portal"


class Operator(typing.NamedTuple):
    """An organisation of its own, somebody who is logged in to it, and a link to the portal of its customer."""

    token: str
    person: Person
    link: str
    shop: Shop

    def call(self, method: str, path: str, body: typing.Any = None) -> tuple[int, typing.Any]:
        """A request with its org token."""
        found = self.shop.server.call(method, path, body, {"authorization": f"Bearer {self.token}"})
        return found[0], found[1]


@pytest.fixture
def operator(shop: Shop, request: pytest.FixtureRequest) -> Iterator[Operator]:
    """The operator of an organisation that no other test knows."""
    token = token_of(shop.server, f"look-{request.node.name}"[:60])
    person = Person(shop.url).log_in(token)
    made = Operator(token, person, "", shop)
    app = made.call("POST", "/app", {"name": "Customer"})[1]["id"]
    made.call("POST", f"/app/{app}/endpoint", {"url": "https://customer.example/hooks", "disabled": True})
    yield made._replace(link=made.call("POST", f"/auth/app-portal-access/{app}", {})[1]["url"])
    person.close()


def portal(open_desk: OpenDesk, link: str, **options: typing.Any) -> Page:
    """The portal, once it has come to rest."""
    page = open_desk(**options).page
    page.goto(link)
    expect(page.get_by_role("heading", name="Endpoints")).to_be_visible()
    return page


def colour_of(page: Page, selector: str, what: str) -> str:
    """A colour as it is drawn."""
    return str(page.locator(selector).first.evaluate("(element, what) => getComputedStyle(element)[what]", what))


def test_a_look_is_chosen_in_the_dashboard_and_seen_in_the_portal(open_desk: OpenDesk, operator: Operator) -> None:
    desk = open_desk(color_scheme="light")
    held = operator.person.client.cookies["ringback_session"]
    desk.context.add_cookies([{"name": "ringback_session", "value": held, "url": operator.shop.url}])
    page = desk.go("/settings")
    page.get_by_role("link", name="Customers' portal").click()
    page.get_by_label("Name").fill("Acme & Söhne")
    page.get_by_label("Link back").fill("https://app.acme.example/hooks")
    page.get_by_label("Colour").fill("#FFD400")
    logo = base64.b64decode(png(120, 30).partition(",")[2])
    page.get_by_label("Or from a file").set_input_files({"name": "logo.png", "mimeType": "image/png", "buffer": logo})
    expect(page.get_by_label("Logo", exact=True)).to_have_value(png(120, 30))
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved")).to_be_visible()
    assert page.get_by_role("img", name="The logo").evaluate("image => image.naturalWidth") == 120
    assert complaints(page) == []

    page = portal(open_desk, operator.link, color_scheme="light")
    expect(page).to_have_title("Acme & Söhne · Webhooks")
    expect(page.get_by_role("heading", level=1)).to_have_text("Acme & Söhne")
    back = page.get_by_role("link", name="Back to Acme & Söhne")
    expect(back).to_have_attribute("href", "https://app.acme.example/hooks")
    assert page.locator("#whose img").evaluate("image => image.naturalWidth") == 120
    assert colour_of(page, "button.primary", "backgroundColor") == "rgb(255, 212, 0)"
    assert colour_of(page, "button.primary", "color") == "rgb(0, 0, 0)"
    assert wrong_with(page) == []
    page.get_by_role("button", name="customer.example").click()
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    assert wrong_with(page) == []


@pytest.mark.parametrize("colour", ["#000000", "#ffffff", "#ff0000", "#777777", "#00ffff"])
def test_texts_in_any_colour_can_be_read(open_desk: OpenDesk, operator: Operator, colour: str) -> None:
    operator.person.act(PATH, name="Colourful", link="https://app.example/", colour=colour)
    page = portal(open_desk, operator.link, color_scheme="light")
    assert wrong_with(page) == []
    page.get_by_role("button", name="Add an endpoint").click()
    expect(page.get_by_label("URL")).to_be_visible()
    assert wrong_with(page) == []


def test_a_look_is_changed_and_taken_away_without_scripts(operator: Operator) -> None:
    person = operator.person
    page = person.act(PATH, name=" Acme ", link="https://app.example/", colour="#FFD400", logo=png())
    assert "Saved" in plain(page) and 'value="Acme"' in page.text and f'src="{png()}"' in page.text.replace("&#43;", "+")
    page = person.act(PATH, name="Acme 2", link="", colour="#ffd400", logo="")
    assert 'alt="The logo"' in page.text, "it stays until it is taken away"
    page = person.act(PATH, name="", link="", colour="", logo="", remove="on")
    assert 'alt="The logo"' not in page.text
    assert operator.call("POST", "/environment/export", {})[1]["settings"] == {}
    log = plain(person.get("/audit"))
    assert log.count("changed what the portal looks like") == 3 and "name, link back, colour, logo" in log
    person.act(PATH, name="", link="", colour="", logo="")
    assert plain(person.get("/audit")).count("changed what the portal looks like") == 3, "nothing changed"


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("name", "x" * 81, "at most 80 characters"),
        ("name", "a\x01b", "control character"),
        ("link", "javascript:alert(1)", "http"),
        ("link", "https://me:secret@app.example/", "a name or a password"),
        ("colour", "red; background: url(//evil.example)", "write it as #rrggbb"),
        ("logo", "https://cdn.example/logo.png", "this is no PNG"),
        ("logo", "data:image/svg+xml,<svg onload=alert(1)>", "this is no PNG"),
    ],
)
def test_what_is_wrong_with_a_look_is_said_and_changes_nothing(operator: Operator, field: str, value: str, problem: str) -> None:
    given = {"name": "Kept", "link": "", "colour": "", "logo": ""}
    assert operator.person.act(PATH, **given).status_code == 200
    answer = operator.person.act(PATH, **given | {field: value})
    assert answer.status_code == 422 and problem in plain(answer)
    assert operator.call("GET", "/portal/look")[1] == {"displayName": "Kept", "homeUrl": None, "logoUrl": None, "colors": None}
    assert operator.person.post(PATH, csrf="x", name="Theirs").status_code == 403


def test_imported_settings_are_believed_no_more_than_a_form(open_desk: OpenDesk, operator: Operator) -> None:
    settings = {
        "displayName": "<img src=x onerror=window.owned=1>\u202eabc",
        "homeUrl": "javascript:window.owned=1",
        "customColor": "#4b48c8;} * {display:none",
        "customLogoUrl": "https://evil.example/track.png",
        "theirs": [1, 2],
    }
    assert operator.call("POST", "/environment/import", {"settings": settings})[0] == 204
    page = portal(open_desk, operator.link)
    expect(page.get_by_role("heading", level=1)).to_contain_text("<img src=x")
    expect(page.locator("h1 .turning")).to_have_attribute("data-number", "U+202E")
    assert in_order(page.locator("h1"))
    assert page.evaluate("window.owned") is None and page.locator("#whose img, #whose a").count() == 0
    assert operator.person.act(PATH, name="Acme", link="", colour="", logo="").status_code == 200
    kept = {"displayName": "Acme", "customLogoUrl": settings["customLogoUrl"], "theirs": [1, 2]}
    assert operator.call("POST", "/environment/export", {})[1]["settings"] == kept, "nobody touched the logo"


def test_a_look_is_that_of_one_organisation_and_moves_with_its_settings(
    shop: Shop, open_desk: OpenDesk, person: Person, operator: Operator
) -> None:
    operator.person.act(PATH, name="Ours alone", link="", colour="#123456", logo=png())
    exported = operator.call("POST", "/environment/export", {})[1]
    assert "Ours alone" not in person.get(PATH).text
    assert shop.server.call("GET", "/portal/look")[1]["displayName"] is None
    other = {"authorization": f"Bearer {token_of(shop.server, 'look-imports')}"}
    assert shop.server.call("POST", "/environment/import", {"settings": exported["settings"]}, other)[0] == 204
    look = shop.server.call("GET", "/portal/look", None, other)[1]
    assert (look["displayName"], look["logoUrl"], look["colors"]["fill"]) == ("Ours alone", png(), "#123456")

    stream = shop.server.call("POST", "/stream", {"name": "Parcels"}, other)[1]["id"]
    link = shop.server.call("POST", f"/auth/stream-portal-access/{stream}", {}, other)[1]["url"]
    page = open_desk().page
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Ours alone")
    expect(page.get_by_role("heading", level=2)).to_have_text("Parcels")


def test_without_a_look_or_without_its_answer_the_portal_is_as_it_was(open_desk: OpenDesk, operator: Operator) -> None:
    page = portal(open_desk, operator.link)
    expect(page).to_have_title("Webhooks")
    expect(page.get_by_role("heading", level=1)).to_have_text("Webhooks")
    operator.person.act(PATH, name="Late", link="", colour="", logo="")
    desk = open_desk()
    desk.page.route("**/portal/look", lambda route: route.abort())
    desk.page.goto(operator.link)
    expect(desk.page.get_by_role("heading", name="Endpoints")).to_be_visible()
    expect(desk.page.get_by_role("alert")).to_be_hidden()
    desk.trouble.found[:] = [what for what in desk.trouble.found if "ERR_FAILED" not in what]
