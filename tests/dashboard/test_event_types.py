"""The catalogue of event types: written by hand, taken from an OpenAPI document, archived and brought back."""

from __future__ import annotations

import html
import json
import re
import typing
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.dashboard.conftest import Desk, Person, Shop, token_of
from tests.dashboard.test_pages import plain

Document = dict[str, typing.Any]


def document(*names: str, extra: Document | None = None) -> Document:
    """An OpenAPI document with a webhook of each name."""
    schema = {"type": "object", "properties": {"id": {"type": "string"}}} | (extra or {})
    hook = {"post": {"summary": "It happened", "requestBody": {"content": {"application/json": {"schema": schema}}}}}
    return {"openapi": "3.1.0", "info": {"title": "Shop", "version": "1"}, "webhooks": {name: hook for name in names}}


def stored(shop: Shop, name: str) -> Document:
    """An event type as the API gives it."""
    found: Document = shop.server.call("GET", f"/event-type/{name}")[1]
    return found


def test_an_event_type_is_made_changed_archived_and_restored(shop: Shop, person: Person) -> None:
    schema = '{"type": "object", "properties": {"id": {"type": "string", "examples": ["shp_1"]}}}'
    page = person.act(
        "/event-types",
        name="shipment.sent",
        description="A parcel left",
        groupName="shipment",
        featureFlags="beta, early",
        payloadValidation="warn",
        version="1",
        schema=schema,
    )
    assert "shipment.sent was created." in page.text and "shp_1" in page.text and "Made up from the schema" in page.text
    made = stored(shop, "shipment.sent")
    assert made["schemas"] == {"1": json.loads(schema)} and made["featureFlags"] == ["beta", "early"] and made["groupName"] == "shipment"

    same = {"description": "A parcel left", "groupName": "shipment", "featureFlags": "beta, early", "payloadValidation": "warn"}
    assert "Nothing was changed." in person.act("/event-types/shipment.sent/edit", **same, version="1", schema=schema).text
    page = person.act("/event-types/shipment.sent/edit", **same | {"featureFlags": ""}, version="2", schema='{"examples": [{"n": 1}]}')
    assert "Saved." in page.text and "From the schema" in page.text
    changed = stored(shop, "shipment.sent")
    assert sorted(changed["schemas"]) == ["1", "2"] and changed["featureFlags"] is None
    page = person.act("/event-types/shipment.sent/edit", **same, deprecated="yes", version="2", schema="")
    assert sorted(stored(shop, "shipment.sent")["schemas"]) == ["1"] and "It is deprecated" in page.text

    assert "was archived" in person.act("/event-types/shipment.sent/archive").text
    assert stored(shop, "shipment.sent")["archived"] is True
    assert "shipment.sent" not in person.get("/event-types?q=ship").text
    assert "shipment.sent" in person.get("/event-types?q=ship&show=all").text
    assert "was restored" in person.act("/event-types/shipment.sent/restore").text
    assert stored(shop, "shipment.sent")["archived"] is False
    audit = person.get("/audit?object=shipment.sent")
    assert 'href="/dashboard/event-types/shipment.sent"' in audit.text
    log = plain(audit)
    for what in ("created", "changed", "archived", "restored"):
        assert f"{what} an event type" in log


@pytest.mark.parametrize(
    ("fields", "problem", "beside"),
    [
        ({"name": ""}, "this is needed", "name"),
        ({"name": "a b"}, "is not allowed", "name"),
        ({"name": "order.created"}, "exists already", "name"),
        ({"name": "x", "schema": "{broken"}, "this is no JSON", "schema"),
        ({"name": "x", "schema": '{"type": 7}'}, "must be", "schema"),
        ({"name": "x", "schema": '{"type": "object", "pattern": "("}', "payloadValidation": "reject"}, "correct it", "schema"),
        ({"name": "x", "featureFlags": "a b"}, "is not allowed", "featureFlags"),
        ({"name": "x", "groupName": "no way!"}, "is not allowed", "groupName"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_wrong_is_said_beside_it_and_nothing_is_lost(person: Person, fields: dict[str, str], problem: str, beside: str) -> None:
    answer = person.act("/event-types", **{"description": "Kept", "version": "1"} | fields)
    assert answer.status_code == 422 and problem in html.unescape(answer.text) and "Kept" in answer.text
    assert re.search(rf'id="f-{beside}"[^>]*aria-invalid="true"', answer.text)


def test_names_are_found_by_their_beginning_page_by_page(shop: Shop, person: Person) -> None:
    for number in range(60):
        shop.server.make("/event-type", {"name": f"paged.{number:02}", "description": ""})
    shop.server.make("/event-type", {"name": "pagee", "description": "After all of them"})
    seen: list[str] = []
    path = "/event-types?q=paged"
    while path:
        page = person.get(path).text
        seen += re.findall(r'href="/dashboard/event-types/(page[\w.]+)"', page)
        older = re.search(r'rel="next" href="/dashboard([^"]+)"', page)
        path = html.unescape(older[1]) if older else ""
    assert seen == [f"paged.{number:02}" for number in range(60)]
    assert "No such event type" in person.get("/event-types?q=pagez").text
    assert 'href="/dashboard/event-types/pagee"' in person.get("/palette?q=pagee").text


def test_an_import_shows_first_what_would_change(shop: Shop, person: Person) -> None:
    shop.server.make("/event-type", {"name": "imported.changed", "description": "Before"})
    shop.server.make("/event-type", {"name": "imported.archived", "description": "It happened", "archived": True})
    text = json.dumps(document("imported.new", "imported.changed", "imported.archived"))
    asked = person.act("/import-event-types", document=text, do="preview")
    words = plain(asked)
    assert "In the document 3 event types" in words and "Written 3" in words and "Archived 0" in words
    assert re.search(r"imported\.new new It happened", words) and "imported.changed changed description and schema" in words
    assert "imported.archived brought back" in words
    assert shop.server.call("GET", "/event-type/imported.new")[0] == 404, "asking changes nothing"

    done = person.act("/import-event-types", document=text, do="import")
    assert "3 event types were written." in done.text and stored(shop, "imported.changed")["description"] == "It happened"
    assert "imported event types" in plain(person.get("/audit?object=openapi"))
    assert "there is nothing to import" in plain(person.act("/import-event-types", document=text, do="preview"))
    assert "nothing was changed" in plain(person.act("/import-event-types", document=text, do="import"))


def test_an_import_archives_the_others_only_when_asked(shop: Shop) -> None:
    other = Person(shop.url).log_in(token_of(shop.server, "importing"))
    for name in ("kept", "dropped"):
        other.act("/event-types", name=name, description="", version="1", schema="")
    text = "openapi: 3.1.0\r\ninfo: {title: x, version: '1'}\r\nwebhooks:\r\n  kept: {post: {summary: Kept}}\r\n"
    assert "Archived 0" in plain(other.act("/import-event-types", document=text, do="preview"))
    asked = plain(other.act("/import-event-types", document=text, replaceAll="yes", do="preview"))
    assert "Archived 1" in asked and "dropped archived the document does not have it" in asked
    assert "1 was archived" in other.act("/import-event-types", document=text, replaceAll="yes", do="import").text
    assert "It is archived" in other.get("/event-types/dropped").text
    # Those of other organisations are as they were.
    assert stored(shop, "order.created")["archived"] is False
    other.close()


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "paste a document"), ("[1, 2]", "an OpenAPI document is an object"), ("a: [", "cannot be imported"), ("{", "cannot be imported")],
)
def test_a_document_that_cannot_be_read_is_explained_and_kept(person: Person, text: str, problem: str) -> None:
    answer = person.act("/import-event-types", document=text, do="preview")
    assert answer.status_code == 422 and problem in html.unescape(answer.text) and html.escape(text) in answer.text


def test_an_organisation_changes_nothing_of_another(shop: Shop) -> None:
    other = Person(shop.url).log_in(token_of(shop.server, "catalogue"))
    assert "No event type yet" in other.get("/event-types?show=").text
    for act in ("edit", "archive", "restore"):
        assert other.act(f"/event-types/{shop.equipment.event_type}/{act}", description="mine", version="1").status_code == 404
    assert "invoice.issued" not in other.get("/palette?q=invoice").text
    # The same name is another event type there.
    assert "was created" in other.act("/event-types", name="invoice.issued", description="mine", version="1", schema="").text
    assert stored(shop, "invoice.issued")["description"] == "An invoice was sent to a customer"
    other.close()


def test_an_event_type_from_a_file_to_a_message(shop: Shop, desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    example = {"examples": [{"id": "from-the-file"}]}
    file.write_text(json.dumps(document("browser.imported", extra=example)))
    desk.go(shop.app())
    page = desk.go("/event-types")
    page.get_by_role("link", name="Import", exact=True).click()
    page.get_by_label("Or from a file").set_input_files(str(file))
    expect(page.locator("#f-document")).to_have_value(re.compile("browser.imported"))
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator("tbody .badge")).to_have_text("new")
    page.get_by_role("button", name="Import 1 change").click()
    expect(page.locator(".notice")).to_contain_text("1 event type was written.")
    page.get_by_label("Name begins with").fill("browser.")
    page.keyboard.press("Enter")
    page.wait_for_url("**/event-types?q=browser.")
    page.keyboard.press("j")
    page.locator("a.open").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("browser.imported")
    expect(page.locator("figure pre")).to_contain_text("from-the-file")
    page.get_by_role("link", name="Raw").click()
    expect(page.locator(".viewer pre")).to_contain_text('"examples"')
    page.get_by_role("link", name="Send one").click()
    expect(page.locator("#panel [name=payload], #panel textarea, textarea").first).to_have_value(re.compile("from-the-file"))
    page.locator("button.primary", has_text="Send message").click()
    expect(page.locator(".notice")).to_contain_text("It was sent.")

    page = desk.go("/event-types/browser.imported")
    page.get_by_role("link", name="Archive").click()
    page.get_by_role("button", name="Archive event type").click()
    expect(page.locator(".head .badge")).to_have_text("archived")
    page.get_by_role("button", name="Restore").click()
    expect(page.locator(".head .badge")).to_have_text("live")


def test_what_a_page_promises_about_payloads_holds(shop: Shop, person: Person) -> None:
    schema = '{"type": "object", "required": ["id"]}'
    person.act("/event-types", name="strict.type", description="", payloadValidation="reject", version="1", schema=schema)
    assert "what does not fit is refused" in plain(person.get("/event-types/strict.type"))
    answer = httpx.post(
        f"{shop.server.url}/api/v1/app/acme/msg",
        json={"eventType": "strict.type", "payload": {"no": "id"}},
        headers={"authorization": f"Bearer {shop.server.token}"},
        trust_env=False,
    )
    assert answer.status_code == 422
