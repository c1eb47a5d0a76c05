"""Org tokens are made, seen once and revoked; portal tokens of an application end together."""

from __future__ import annotations

import html
import re
import typing

import httpx
import pytest
from playwright.sync_api import expect

from tests.dashboard.conftest import Desk, OpenDesk, Person, Shop, token_of
from tests.dashboard.test_pages import plain


def status_with(shop: Shop, token: str) -> int:
    """What the API answers to a token."""
    return httpx.get(f"{shop.server.url}/api/v1/app", headers={"authorization": f"Bearer {token}"}, trust_env=False).status_code


def made(answer: httpx.Response) -> str:
    """The text of a token on the page that shows it."""
    assert answer.status_code == 200
    found = re.search(r"<pre[^>]*>(sk_\w+)</pre>", answer.text)
    assert found, plain(answer)
    return found[1]


def id_of(person: Person, name: str) -> str:
    """The id of the token of that name."""
    found = re.search(rf'href="/dashboard/tokens/(key_\w+)/revoke"[^>]*aria-label="Revoke {name}"', person.get("/tokens").text)
    assert found
    return found[1]


def test_a_token_is_shown_once_works_and_is_revoked(shop: Shop, person: Person) -> None:
    text = made(person.act("/tokens", name="Night export", expiry="86400"))
    assert status_with(shop, text) == 200
    page = person.get("/tokens")
    assert "Last used" in plain(page)
    assert text not in page.text and "Night export" in page.text and re.search(r"in (1 d|23 h)", plain(page))
    token_id = id_of(person, "Night export")
    assert "answered 401 at once" in plain(person.get(f"/tokens/{token_id}/revoke"))
    assert status_with(shop, text) == 200, "asking revokes nothing"
    assert "Night export was revoked." in person.act(f"/tokens/{token_id}/revoke").text
    assert status_with(shop, text) == 401
    log = person.get(f"/audit?object={token_id}")
    assert "created a token" in log.text and "revoked a token" in log.text and "Night export" in log.text and text not in log.text


@pytest.mark.parametrize(
    ("name", "problem"), [("", "this is needed"), ("x" * 101, "at most 100 characters"), ("a\x01b", "control character")]
)
def test_what_is_wrong_with_a_name_is_said(person: Person, name: str, problem: str) -> None:
    before = plain(person.get("/tokens")).count("works")
    answer = person.act("/tokens", name=name, expiry="")
    assert answer.status_code == 422 and problem in html.unescape(answer.text)
    assert plain(person.get("/tokens")).count("works") == before


def test_a_session_ends_with_its_token_and_says_so_before(shop: Shop, person: Person) -> None:
    text = made(person.act("/tokens", name="Mine", expiry=""))
    mine = Person(shop.url).log_in(text)
    token_id = id_of(mine, "Mine")
    assert "you will be logged out" in plain(mine.get(f"/tokens/{token_id}/revoke"))
    assert "you will be logged out" not in plain(person.get(f"/tokens/{token_id}/revoke"))
    assert "/login" in mine.act(f"/tokens/{token_id}/revoke").headers["location"]
    assert mine.get("/tokens").status_code == 303 and status_with(shop, text) == 401
    mine.close()


def test_an_organisation_neither_sees_nor_revokes_tokens_of_another(shop: Shop, person: Person) -> None:
    text = made(person.act("/tokens", name="Not for others", expiry=""))
    token_id = id_of(person, "Not for others")
    other = Person(shop.url).log_in(token_of(shop.server, "token-thieves"))
    page = plain(other.get("/tokens"))
    assert "Not for others" not in page and page.count("works") == 1
    assert other.get(f"/tokens/{token_id}/revoke").status_code == 404
    assert other.act(f"/tokens/{token_id}/revoke").status_code == 404
    assert status_with(shop, text) == 200
    own = id_of(other, "without a name")
    assert "It is the last one that works" in plain(other.get(f"/tokens/{own}/revoke"))
    theirs = made(other.act("/tokens", name="Theirs", expiry=""))
    assert "It is the last one" not in plain(other.get(f"/tokens/{own}/revoke"))
    assert "Acme" not in httpx.get(f"{shop.server.url}/api/v1/app", headers={"authorization": f"Bearer {theirs}"}, trust_env=False).text
    other.close()


def portal(shop: Shop, app: str) -> str:
    """A portal token of an application."""
    return str(shop.server.make(f"/auth/app-portal-access/{app}", {})["token"])


def test_portal_tokens_of_an_application_end_together(shop: Shop, person: Person) -> None:
    apps = [shop.server.make("/app", {"name": f"Portal {n}"})["id"] for n in range(2)]
    tokens = [portal(shop, apps[0]), portal(shop, apps[0]), portal(shop, apps[1])]

    def works(token: str, app: str) -> bool:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.get(f"{shop.server.url}/api/v1/app/{app}", headers=headers, trust_env=False).status_code == 200

    assert works(tokens[0], apps[0]) and works(tokens[2], apps[1])
    path = f"/apps/{apps[0]}/portal-tokens"
    assert "2 portal tokens of Portal 0 stop working" in plain(person.get(path))
    other = Person(shop.url).log_in(token_of(shop.server, "token-thieves"))
    assert other.act(path).status_code == 404 and works(tokens[0], apps[0])
    other.close()
    assert "2 portal tokens ended." in person.act(path).text
    assert not works(tokens[0], apps[0]) and not works(tokens[1], apps[0]) and works(tokens[2], apps[1])
    assert "0 portal tokens" in plain(person.get(path))
    assert "ended the portal tokens of an application" in person.get(f"/audit?object={apps[0]}").text


def test_a_token_from_the_form_to_its_end_in_the_browser(shop: Shop, open_desk: OpenDesk) -> None:
    desk: Desk = open_desk(permissions=["clipboard-read", "clipboard-write"])
    page = desk.go("/tokens")
    page.get_by_role("link", name="New token").click()
    expect(page.locator("#panel #f-name")).to_be_focused()
    page.locator("#panel #f-name").fill("From the browser")
    page.locator("#panel button.primary").click()
    expect(page.locator("h1")).to_have_text("From the browser was made")
    page.get_by_role("button", name="Copy the token").click()
    text: typing.Any = page.evaluate("navigator.clipboard.readText()")
    assert status_with(shop, str(text)) == 200
    page.get_by_role("link", name="I have it").click()
    page.get_by_role("link", name="Revoke From the browser").click()
    page.locator("#panel").get_by_role("button", name="Revoke token").click()
    expect(page.locator(".notice")).to_have_text("From the browser was revoked.")
    assert status_with(shop, str(text)) == 401
