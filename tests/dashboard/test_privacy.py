"""Personal data, for a person at the dashboard: it is looked for, exported and erased by who types the text twice; and what is masked."""

from __future__ import annotations

import hashlib
import json

from tests.dashboard.conftest import Person, Shop
from tests.dashboard.equipment import STRIPE_SECRET, call_source, stripe_signature
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until

MAIL = "ann.other@example.com"


def looked_for(person: Person, **fields: str) -> str:
    """The page of a search, once it is over."""
    answer = person.post("/privacy", at="/privacy", **fields)
    assert answer.status_code == 303
    path = answer.headers["location"].removeprefix("/dashboard")
    wait_until(lambda: "Finished after" in plain(person.get(path)), what="the search is over")
    return str(path)


def test_somebodys_data_is_found_exported_and_erased_by_who_types_the_text_again(shop: Shop, person: Person) -> None:
    person.log_in()
    made = shop.server.make("/app/acme/msg", {"eventType": "a.b", "payload": {"mail": MAIL}})
    path = looked_for(person, subject=MAIL, app="acme")
    page = person.get(path).text
    assert MAIL not in page and MAIL not in person.get("/privacy").text, "nowhere is the text kept"
    assert "nothing was erased" in plain(person.act(f"{path}/erase", subject="somebody else"))
    exported = person.post(f"{path}/export", at=path, subject=MAIL)
    assert "attachment" in exported.headers["content-disposition"]
    kinds = [json.loads(line) for line in exported.text.splitlines()]
    assert kinds[0]["id"] == made["id"] and kinds[-1]["kind"] == "end"
    assert "nothing was exported" in plain(person.post(f"{path}/export", at=path, subject="somebody"))

    erased = person.act(f"{path}/erase", subject=MAIL)
    there = str(erased.url).removeprefix(person.url)
    wait_until(lambda: "Finished after" in plain(person.get(there)), what="the erasure is over")
    assert shop.server.call("GET", f"/app/acme/msg/{made['id']}")[1]["payload"] == {"expired": True}
    log = plain(person.get("/audit"))
    assert "erased a person's data" in log and "exported a person's data" in log and MAIL not in log
    assert "Erase a person's data" in plain(person.get("/tasks"))
    assert shop.server.call("GET", f"/background-task/{there.rpartition('/')[2]}")[1]["status"] == "finished"


def test_what_cannot_be_looked_for_is_said_at_the_field(shop: Shop, person: Person) -> None:
    person.log_in()
    for fields, words in (
        ({"subject": "jo"}, "at least 3"),
        ({"subject": ""}, "this is needed"),
        ({"subject": MAIL, "where": "a..b"}, "names of fields"),
        ({"subject": MAIL, "app": "nobody"}, "There is no such application"),
    ):
        answer = person.post("/privacy", at="/privacy", **fields)
        assert answer.status_code == 422 and words in plain(answer), fields
    assert person.get("/privacy/qtask_nobody").status_code == 404
    assert person.get(f"/privacy/{shop.equipment.task}").status_code == 404


def test_sensitive_fields_are_set_in_the_form_and_masked_on_every_page(shop: Shop, person: Person) -> None:
    person.log_in()
    app = shop.equipment.service
    body = {"name": "Hush", "type": "stripe", "secrets": [STRIPE_SECRET], "sensitiveFields": ["who"], "retentionHours": 48}
    made = shop.server.make(f"/app/{app}/source", body)
    form = person.get(f"/sources/{made['id']}/edit").text
    assert ">who</textarea>" in form.replace("\n", "") and 'value="48"' in form
    assert "Shown to nobody" in plain(person.get(f"/sources/{made['id']}"))

    event = json.dumps({"id": "evt_hush", "type": "a", "who": "wilhelmina", "seen": "in public"}).encode()
    assert call_source(made["ingestUrl"], event, stripe_signature(event)) == 200
    assert call_source(made["ingestUrl"], event, "t=1,v1=00") == 401
    message = shop.server.call("GET", f"/app/{app}/msg?limit=1")[1]["data"][0]["id"]
    (refused,) = shop.server.call("GET", f"/app/{app}/source/{made['id']}/quarantine")[1]["data"]
    one, kept = f"/apps/{app}/messages/{message}", f"/sources/{made['id']}/quarantine/{refused['id']}"
    asked = f"/doctor?source={made['id']}&item={refused['id']}"
    for path in (one, f"{one}/payload", kept, f"{kept}?tab=hex", f"{kept}/body", "/search?q=evt_hush", asked):
        page = person.get(path)
        assert page.status_code == 200 and "wilhelmina" not in page.text, path
    assert "in public" in person.get(f"{one}/payload").text and "***" in person.get(f"{one}/payload").text

    form = {
        "source": made["id"],
        "item": refused["id"],
        "headers": "stripe-signature: t=1,v1=00",
        "form": "text",
        "method": "POST",
        "when": "",
    }
    shown = json.dumps({"id": "evt_hush", "type": "a", "who": "***", "seen": "in public"})
    found = person.act("/doctor", **form, body=shown)
    assert "wilhelmina" not in found.text
    assert hashlib.sha256(b"1." + event).hexdigest() in found.text, "what is examined is what came"
