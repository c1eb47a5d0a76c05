"""What is on each page, and what each form does: a real server, and somebody whose browser runs no scripts."""

from __future__ import annotations

import gzip
import html
import re
import typing

import httpx
import pytest

from ringback.dashboard.components import ROWS
from ringback.dashboard.contents import routes_of
from tests.dashboard.conftest import BASE, Person, Shop, token_of
from tests.dashboard.tour import tour
from tests.waiting import wait_until

# GETs that show no page: files, streams.
NO_PAGES = {
    "/login/link",
    "/apps/{app_id}/messages/live/events",
    "/apps/{app_id}/messages/{message_id}/payload",
    "/apps/{app_id}/messages/{message_id}/attempts/{attempt_id}/body",
    "/apps/{app_id}/messages/{message_id}/attempts/{attempt_id}/response",
    "/sources/{source_id}/quarantine/{item_id}/body",
}


# An id or name in an address, of whatever belongs to one organisation.
OURS = re.compile(r"(app|ep|msg|src|quar|qtask|key|sink|view)_\w{10}|/event-types/\w")


class Anything:
    """Stands for services: declaring routes calls none."""

    def __getattr__(self, name: str) -> Anything:
        return self

    def __call__(self, *arguments: typing.Any) -> Anything:
        return self


def plain(answer: httpx.Response) -> str:
    """The text of a page without its markup."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", answer.text)))


def test_the_tour_goes_to_every_page(shop: Shop) -> None:
    declared = {route.path for route in routes_of(Anything()) if route.method == "GET"}  # type: ignore[arg-type]  # never called
    assert declared - {stop[0] for stop in tour(shop)} == NO_PAGES


def test_every_page_shows_its_facts(shop: Shop, person: Person) -> None:
    for _, path, facts in tour(shop):
        answer = person.get(path)
        assert answer.status_code == 200, path
        shown = answer.text + plain(answer)
        assert [fact for fact in facts if fact not in shown and html.escape(fact) not in shown] == [], path


def test_every_page_is_also_a_part_of_another(shop: Shop, person: Person) -> None:
    for _, path, _ in tour(shop):
        part = person.get(path, headers={"hx-request": "true"})
        assert part.status_code == 200 and "<html" not in part.text, path


def test_every_answer_keeps_others_out(shop: Shop, person: Person, stranger: Person) -> None:
    answers = [person.get(path) for _, path, _ in tour(shop)]
    answers += [stranger.get("/login"), stranger.get("/audit"), person.get("/no/such/page"), stranger.post("/login", token="wrong")]
    answers += [person.get(re.search(r"/static/dashboard\.\w+\.css", answers[0].text)[0])]  # type: ignore[index]  # it is there
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
    for answer in answers[:-1]:
        assert answer.headers["cache-control"] == "no-store", answer.url


def test_files_are_kept_for_good_and_are_small(person: Person) -> None:
    page = person.get("/").text
    names = re.findall(rf'"{BASE}(/static/[^"]+)"', page)
    assert len(names) >= 4
    for name in names:
        answer = person.get(name)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-encoding"] == "gzip"
        assert person.client.head(person.url + name).headers["content-length"] == answer.headers["content-length"]
        uncompressed = person.get(name, headers={"accept-encoding": "identity"})
        assert uncompressed.content == answer.content and "content-encoding" not in uncompressed.headers
    assert person.get("/static/dashboard.0000000000.css").status_code == 404
    assert person.get("/static/../app.py").status_code == 404


def test_no_page_weighs_more_than_150_kb_with_all_that_it_loads(shop: Shop, person: Person) -> None:
    sizes = {}
    for _, path, _ in tour(shop):
        page = person.get(path).text
        total = len(gzip.compress(page.encode(), 5))
        for name in set(re.findall(rf'"{BASE}(/static/[^"]+)"', page)):
            total += int(person.client.head(person.url + name, headers={"accept-encoding": "gzip"}).headers["content-length"])
        sizes[path] = total
    assert max(sizes.values()) < 150_000, sizes


def test_pages_are_compressed_for_who_can_read_that(person: Person) -> None:
    assert person.get("/apps").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in person.get("/apps", headers={"accept-encoding": "identity"}).headers


def test_what_is_not_there_says_what_to_do(person: Person, shop: Shop) -> None:
    for path in ("/no/such/page", "/apps/app_nobody", f"{shop.app()}/endpoints/ep_nobody", f"{shop.app()}/messages/msg_nobody"):
        answer = person.get(path)
        assert answer.status_code == 404 and "Not found" in answer.text and "Ctrl-K" in answer.text, path
        assert "Entity" not in answer.text and 'href="/dashboard/dead-letters"' in answer.text, "the way on is in the rail"


def test_a_form_that_is_too_large_is_refused(person: Person) -> None:
    assert person.act("/apps", name="x" * 2_000_000).status_code == 413


def test_a_browser_that_comes_to_the_root_is_led_to_the_dashboard_and_a_program_is_not(shop: Shop) -> None:
    browser = httpx.get(shop.server.url, headers={"accept": "text/html,*/*"}, trust_env=False)
    assert (browser.status_code, browser.headers["location"]) == (307, f"{BASE}/")
    assert httpx.get(shop.server.url, trust_env=False).headers.get("location") != f"{BASE}/"


def test_an_application_is_made_changed_and_deleted(shop: Shop, person: Person) -> None:
    page = person.act("/apps", name="Kiosk", uid="kiosk", throttleRate="20", metadata="plan: gold")
    assert "Kiosk was created." in plain(page) and "20 attempts a second" in plain(page) and "gold" in page.text
    path = str(page.url).removeprefix(person.url)

    page = person.act(f"{path}/edit", name="Kiosk & Sons", uid="kiosk", throttleRate="", metadata="")
    assert "Kiosk &amp; Sons was saved." in page.text and "unlimited" in page.text
    assert "Nothing was changed." in person.act(f"{path}/edit", name="Kiosk & Sons", uid="kiosk", throttleRate="", metadata="").text

    refused = person.act(f"{path}/delete", name="Kiosk")
    assert refused.status_code == 422 and "nothing was deleted" in refused.text
    assert "was deleted" in person.act(f"{path}/delete", name="Kiosk & Sons").text
    assert person.get(path).status_code == 404
    log = plain(person.get("/audit"))
    assert log.index("deleted an application") < log.index("changed an application") < log.index("created an application")
    assert "name, throttleRate and metadata" in log


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": ""}, "this is needed"),
        ({"name": "x", "uid": "app_x"}, "begins with"),
        ({"name": "x", "uid": "acme"}, "exists already"),
        ({"name": "x", "throttleRate": "0"}, "a number of at least 1"),
        ({"name": "x", "throttleRate": "many"}, "write a whole number"),
        ({"name": "x", "metadata": "no mark"}, "write one name: value on each line"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_form_is_said_beside_it_and_nothing_is_lost(person: Person, fields: dict[str, str], problem: str) -> None:
    answer = person.act("/apps", **fields)
    assert answer.status_code == 422 and problem in html.unescape(answer.text) and 'aria-invalid="true"' in answer.text
    for value in filter(None, fields.values()):
        assert html.escape(value) in answer.text


def test_an_endpoint_is_made_changed_switched_and_deleted(shop: Shop, person: Person) -> None:
    app = shop.app("zoe-mueller")
    page = person.act(
        f"{app}/endpoints",
        url="https://example.com/hook",
        description="Orders",
        eventTypes=["order.created", "ticket.updated"],
        headers="X-Team: a\nAuthorization: Bearer s3cret",
        metadata="owner: me",
    )
    assert "The endpoint was created." in page.text and "order.created, ticket.updated" in page.text and "s3cret" not in page.text
    path = str(page.url).removeprefix(person.url)

    # What is secret stays although it is not in the form; what is not in the form any more goes.
    page = person.act(f"{path}/edit", url="https://example.com/hook", description="Orders", eventTypes="order.created", headers="X-New: b")
    assert "Saved." in page.text and "X-New" in page.text and "X-Team" not in page.text and "Authorization" in page.text
    assert "Authorization" not in plain(person.act(f"{path}/edit", url="https://example.com/hook", remove="Authorization"))

    page = person.act(f"{path}/disable")
    assert "The endpoint was disabled." in page.text and "It is disabled and gets nothing" in page.text
    assert "The endpoint was enabled." in person.act(f"{path}/enable").text
    assert "was deleted" in person.act(f"{path}/delete").text
    assert person.get(path).status_code == 404
    log = plain(person.get(f"/audit?object={path.rsplit('/', 1)[1]}"))
    for what in ("created", "changed", "disabled", "enabled", "deleted"):
        assert f"{what} an endpoint" in log


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"url": "ftp://example.com"}, "http"),
        ({"url": "https://example.com", "eventTypes": "no.such.type"}, "no live event type is named"),
        ({"url": "https://example.com", "headers": "content-length: 3"}, "belongs to the delivery itself"),
        ({"url": "https://example.com", "secret": "whsec_short"}, "whsec_"),
        ({"url": "https://example.com", "channels": "a b"}, "is not allowed"),
    ],
    ids=str,
)
def test_what_is_wrong_with_an_endpoint_is_said(shop: Shop, person: Person, fields: dict[str, str], problem: str) -> None:
    answer = person.act(f"{shop.app('zoe-mueller')}/endpoints", **fields)
    assert answer.status_code == 422 and problem in html.unescape(answer.text)


def test_a_secret_is_shown_when_asked_for_and_never_without_a_trace(shop: Shop, person: Person) -> None:
    path = shop.endpoint("orders")
    key = shop.server.call("GET", f"/app/acme/endpoint/{shop.scene.endpoints['orders']}/secret")[1]["key"]
    assert key not in person.get(path).text
    assert key in person.act(f"{path}/secret").text
    assert key not in person.get(path).text
    assert "looked at a secret" in person.get(f"/audit?object={shop.scene.endpoints['orders']}").text


def test_a_rotation_keeps_the_former_secret_for_a_while(shop: Shop, person: Person) -> None:
    path, secret = shop.endpoint("crm"), f"/app/acme/endpoint/{shop.scene.endpoints['crm']}/secret"
    former = shop.server.call("GET", secret)[1]["key"]
    page = person.act(f"{path}/rotate", grace="3600", key="")
    assert "A new secret signs; the former one signs too for 1 h." in page.text and "1 former one until" in page.text
    assert shop.server.call("GET", secret)[1]["key"] != former
    assert person.act(f"{path}/rotate", grace="0", key="whsec_no").status_code == 422
    assert "rotated a secret" in person.get(f"/audit?object={shop.scene.endpoints['crm']}").text


def test_messages_are_filtered_by_what_stands_in_the_address(shop: Shop, person: Person) -> None:
    app = shop.app()
    for query, inside, outside in (
        ("type=order.created", "order.created</a>", "ticket.updated</a>"),
        ("tag=batch-1", "evt-0012", "evt-0024"),
        ("within=1h", "evt-0024", "nothing"),
        ("channel=none", "No such message", "evt-0024"),
    ):
        page = person.get(f"{app}/messages?{query}").text
        assert inside in page and outside not in page, query


def test_a_message_is_found_by_its_id_and_by_its_event_id(shop: Shop, person: Person) -> None:
    app, message = shop.app(), shop.scene.messages[3]
    for typed in (message, "evt-0004"):
        assert person.get(f"{app}/messages?q={typed}").headers["location"] == f"{BASE}{app}/messages/{message}"
    assert "Nothing of that name" in person.get(f"{app}/messages?q=evt-9999").text


def test_pages_of_a_list_lead_to_each_other_without_a_gap(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "Pages", "uid": "pages"})["id"]
    made = [shop.server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {"n": n}})["id"] for n in range(120)]
    seen: list[str] = []
    path = f"/apps/{app}/messages"
    back = ""
    while path:
        page = person.get(path).text
        seen += re.findall(rf'<a class="open break" href="{BASE}/apps/{app}/messages/([^"]+)"', page)
        older = re.search(rf'rel="next" href="{BASE}([^"]+)"', page)
        newer = re.search(rf'rel="prev" href="{BASE}([^"]+)"', page)
        back = html.unescape(newer[1]) if newer else back
        path = html.unescape(older[1]) if older else ""
    assert seen == made[::-1]
    page = person.get(back).text
    assert re.findall(rf'<a class="open break" href="{BASE}/apps/{app}/messages/([^"]+)"', page) == made[::-1][50:100]


def listed(person: Person, path: str) -> list[str]:
    """The ids of all messages of a list, page by page."""
    seen: list[str] = []
    while path:
        page = person.get(path).text
        seen += re.findall(rf'<a class="open break" href="{BASE}/apps/[^/]+/messages/([^"]+)"', page)
        older = re.search(rf'rel="next" href="{BASE}([^"]+)"', page)
        path = html.unescape(older[1]) if older else ""
    return seen


def test_messages_are_listed_by_how_they_stand_with_any_endpoint(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "Standings"})["id"]
    paths = ("ok", "legacy", "recovering")
    endpoints = [shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/{path}"})["id"] for path in paths]
    for number in range(120):
        shop.server.make(f"/app/{app}/msg", {"eventType": "order.created" if number % 3 else "ticket.updated", "payload": {"n": number}})

    def standing(status: int, *of: str) -> set[str]:
        found: set[str] = set()
        for endpoint in of or endpoints:
            rest, more = "", True
            while more:
                path = f"/app/{app}/endpoint/{endpoint}/msg?status={status}&expanded_statuses=true&limit=250{rest}"
                answer = shop.server.call("GET", path)[1]
                found |= {row["id"] for row in answer["data"]}
                more, rest = not answer["done"], f"&iterator={answer['iterator']}"
        return found

    def at_rest() -> bool:
        well, failing, recovered = (standing(status, endpoint) for status, endpoint in zip((0, 3, 0), endpoints, strict=True))
        return len(well) == len(failing) == len(recovered) == 120

    # The last wait of the schedule outlasts the test: then nothing moves any more.
    wait_until(at_rest, what="three attempts of each")
    for word, status in (("retrying", 3), ("delivered", 0), ("failed", 2), ("waiting", 1), ("cancelled", 4)):
        path = f"/apps/{app}/messages?status={word}"
        assert listed(person, path) == sorted(standing(status), reverse=True), word
        of_type = listed(person, f"{path}&type=ticket.updated")
        assert len(of_type) == len(standing(status)) // 3 and set(of_type) <= standing(status), word
    shop.server.call("PATCH", f"/app/{app}/endpoint/{endpoints[1]}", {"disabled": True})
    wait_until(lambda: not standing(3), what="what waited for it has ended")
    assert listed(person, f"/apps/{app}/messages?status=failed") == sorted(standing(2), reverse=True) != []
    assert listed(person, f"/apps/{app}/messages?status=retrying") == []


def test_a_payload_is_saved_byte_for_byte(shop: Shop, person: Person) -> None:
    app = shop.scene.apps["tokyo-store"]
    raw = '{"b": 1.10,  "a": 9007199254740993, "ü": "☕"}'
    answer = httpx.post(
        f"{shop.server.url}/api/v1/app/{app}/msg",
        content=f'{{"eventType": "order.created", "payload": {raw}}}'.encode(),
        headers={"authorization": f"Bearer {shop.server.token}"},
        trust_env=False,
    )
    path = f"/apps/{app}/messages/{answer.json()['id']}"
    saved = person.get(f"{path}/payload")
    assert saved.content == raw.encode()
    assert saved.headers["content-type"] == "application/octet-stream" and "attachment" in saved.headers["content-disposition"]
    assert "9007199254740993" in person.get(f"{path}?tab=payload").text
    assert raw in html.unescape(person.get(f"{path}?tab=payload&view=raw").text)
    assert "the application has no endpoint" in person.get(path).text


def test_resending_makes_one_more_attempt_and_is_in_the_audit_log(shop: Shop, person: Person) -> None:
    message = shop.message_to("orders")
    before = len(shop.attempts("orders"))
    page = person.act(f"{shop.app()}/messages/{message}/resend", endpoint=shop.scene.endpoints["orders"])
    assert "One more attempt was asked for." in page.text
    wait_until(lambda: len(shop.attempts("orders")) == before + 1)
    assert "manual attempt" in person.get(f"{shop.app()}/messages/{message}").text
    assert "resent a message" in person.get(f"/audit?object={message}").text


def test_resending_to_a_disabled_endpoint_says_why_not(shop: Shop, person: Person) -> None:
    page = person.act(f"{shop.app()}/messages/{shop.scene.messages[0]}/resend", endpoint=shop.scene.endpoints["off"])
    assert "Not resent: endpoint" in page.text and "is disabled" in page.text


def test_a_failed_message_says_what_happened_and_why(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "One endpoint"})["id"]
    shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/legacy"})
    message = shop.server.make(f"/app/{app}/msg", {"eventType": "ticket.updated", "payload": {}})["id"]
    path = f"/apps/{app}/messages/{message}"
    wait_until(lambda: re.search(r"Failed 3 of 4 times; the endpoint answered 401; next try in 5\d min|1 h", person.get(path).text))
    page = person.get(path)
    assert "raw bytes of the body" in page.text and "signature does not match" in page.text


def test_two_attempts_are_compared(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "Compared"})["id"]
    # Its first answer is 500, and 200 whatever comes then.
    shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/recovering"})
    message = shop.server.make(f"/app/{app}/msg", {"eventType": "ticket.updated", "payload": {}})["id"]
    made = wait_until(lambda: _several(shop, f"/app/{app}/attempt/msg/{message}"), what="two attempts")
    first, second = sorted(attempt["id"] for attempt in made)[:2]
    path = f"/apps/{app}/messages/{message}/attempts"
    page = plain(person.get(f"{path}/{second}?tab=compare"))
    assert "What differs from Attempt 1" in page and "Name Attempt 1 Attempt 2 answer 500 200" in page
    assert "Request bodies: both have the same body." in page and "− connection pool exhausted" in page and '+ "received": true' in page
    # One that is not of this message is as good as none.
    assert "What differs from Attempt 1" in plain(person.get(f"{path}/{second}?tab=compare&with=atmpt_x"))
    assert "What differs from Attempt 2" in plain(person.get(f"{path}/{first}?tab=compare"))


def _several(shop: Shop, path: str) -> list[dict[str, typing.Any]]:
    attempts = shop.server.call("GET", path)[1]["data"]
    return attempts if len(attempts) > 1 else []


def test_what_was_attempted_once_is_compared_with_nothing(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "Attempted once"})["id"]
    shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/fine"})
    message = shop.server.make(f"/app/{app}/msg", {"eventType": "ticket.updated", "payload": {}})["id"]
    path = f"/apps/{app}/messages/{message}"
    wait_until(lambda: "tab=response" in person.get(path).text, what="its attempt is shown")
    assert "?tab=compare" not in person.get(f"{path}?tab=request").text


def test_explain_tells_of_every_endpoint_why(shop: Shop, person: Person) -> None:
    page = plain(person.get(f"{shop.app()}/messages/{shop.message_to('billing')}?tab=explain"))
    assert "It wanted this message when it came." in page and "It is disabled." in page
    assert "It wants ticket.updated, and this is payment.captured." in page


def test_the_palette_finds_ids_names_pages_and_actions(shop: Shop, person: Person) -> None:
    person.get(shop.app())
    message, attempt = shop.message_to("billing"), shop.attempts("billing")[-1]["id"]
    for typed, href in (
        (message, f"{shop.app()}/messages/{message}"),
        ("evt-0002", f"{shop.app()}/messages/{shop.scene.messages[1]}"),
        (attempt, f"{shop.app()}/messages/{message}/attempts/{attempt}"),
        (shop.scene.endpoints["crm"], shop.endpoint("crm")),
        (shop.scene.apps["tokyo-store"], shop.app("tokyo-store")),
        ("ストア", shop.app("tokyo-store")),
        ("kundenbetr", shop.endpoint("crm")),
        ("audit", "/audit"),
        ("new endp", f"{shop.app()}/endpoints/new"),
    ):
        assert f'href="{BASE}{href}"' in person.get(f"/palette?q={typed}").text, typed
    assert "Nothing here is called" in person.get("/palette?q=zzzzz").text


def test_an_event_id_is_found_from_anywhere_unless_several_customers_have_it(shop: Shop, person: Person) -> None:
    person.get(shop.app("zoe-mueller"))
    assert f'href="{BASE}{shop.app()}/messages/{shop.scene.messages[2]}"' in person.get("/palette?q=evt-0003").text
    for uid in ("zoe-mueller", "tokyo-store"):
        shop.server.make(f"/app/{uid}/msg", {"eventType": "order.created", "eventId": "evt-shared", "payload": {}})
    person.get(shop.app())
    assert "/messages/msg_" not in person.get("/palette?q=evt-shared").text


def test_the_look_is_remembered(person: Person) -> None:
    assert 'data-theme="' not in person.get("/audit").text
    answer = person.post("/theme", at="/audit", theme="dark", back=f"{BASE}/audit")
    assert answer.headers["location"] == f"{BASE}/audit" and 'data-theme="dark"' in person.get("/audit").text
    person.act("/theme", theme="")
    assert 'data-theme="' not in person.get("/audit").text


def test_an_organisation_sees_nothing_of_another(shop: Shop) -> None:
    other = Person(shop.url).log_in(token_of(shop.server, "other"))
    try:
        assert "Nothing here yet" in other.get("/").text and "No application yet" in other.get("/apps").text
        for _, path, _ in tour(shop):
            answer = other.get(path)
            assert answer.status_code == (404 if OURS.search(path) else 200), path
            assert "Acme" not in answer.text, path
        assert "Nothing here is called" in other.get(f"/palette?q={shop.scene.messages[0]}").text
        assert other.act(f"{shop.endpoint('orders')}/disable").status_code == 404
        assert other.act(f"{shop.endpoint('orders')}/secret").status_code == 404
    finally:
        other.close()


def test_a_fragment_without_a_session_has_the_whole_page_loaded_anew(stranger: Person) -> None:
    answer = stranger.get("/palette?q=x", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-refresh"]) == (401, "true")


def test_a_test_event_goes_to_one_endpoint_whatever_it_wants(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "Tests"})["id"]
    made = [
        shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/test-{n}", "eventTypes": ["order.created"]})["id"]
        for n in range(2)
    ]
    path = f"/apps/{app}/endpoints/{made[1]}/test"
    payload = '{"b": 1.10,  "a": 9007199254740993}'
    page = person.act(path, eventType="svix.ping", payload=payload)
    assert "It was sent." in page.text and "svix.ping" in page.text
    wait_until(lambda: shop.receiver.at("/test-1"))
    assert shop.receiver.at("/test-1")[0].body == payload.encode() and not shop.receiver.at("/test-0")
    assert "sent a message" in person.get(f"/audit?object={str(page.url).rsplit('/', 1)[1]}").text


def test_a_message_by_hand_goes_to_all_that_want_it(shop: Shop, person: Person) -> None:
    page = person.act(f"{shop.app()}/send", eventType="payment.captured", payload='{"by": "hand"}')
    message = str(page.url).rsplit("/", 1)[1]
    wait_until(lambda: {a.path for a in list(shop.receiver.arrivals) if a.id == message} >= {"/orders", "/archive"})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"eventType": "a", "payload": "{broken"}, "this is no JSON"),
        ({"eventType": "a", "payload": "[1]"}, "a payload is a JSON object"),
        ({"eventType": "a b", "payload": "{}"}, "is not allowed"),
        ({"eventType": "a", "payload": '{"a":' * 70 + "1" + "}" * 70}, "nested deeper"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_with_a_message_is_said(shop: Shop, person: Person, fields: dict[str, str], problem: str) -> None:
    answer = person.act(f"{shop.app()}/send", **fields)
    assert answer.status_code == 422 and problem in html.unescape(answer.text)
    assert fields["payload"] in html.unescape(answer.text)


def test_a_disabled_endpoint_gets_no_test(shop: Shop, person: Person) -> None:
    answer = person.act(f"{shop.endpoint('off')}/test", eventType="svix.ping", payload="{}")
    assert answer.status_code == 422 and "enable it first" in answer.text


def test_changes_through_the_api_are_in_the_audit_log_too_and_messages_are_not(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "Logged"})["id"]
    endpoint = shop.server.make(f"/app/{app}/endpoint", {"url": "https://example.com/"})["id"]
    shop.server.call("GET", f"/app/{app}/endpoint/{endpoint}/secret")
    shop.server.call("PATCH", f"/app/{app}/endpoint/{endpoint}", {"disabled": True})
    message = shop.server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {}})["id"]
    shop.server.call("PATCH", f"/app/{app}", {"name": ""})
    shop.server.call("DELETE", f"/app/{app}/endpoint/{endpoint}")
    log = plain(person.get(f"/audit?object={endpoint}"))
    for what in ("created an endpoint", "looked at a secret", "changed an endpoint", "deleted an endpoint"):
        assert what in log
    assert " API " in log and "127.0.0.1" in log
    assert plain(person.get(f"/audit?object={app}")).count(" an application ") == 1, "what was refused changed nothing"
    assert "Nothing yet" in person.get(f"/audit?object={message}").text
    key = {"idempotency-key": "twice"}
    made = [shop.server.call("POST", "/app", {"name": "Once"}, key)[1]["id"] for _ in range(2)]
    assert made[0] == made[1] and plain(person.get(f"/audit?object={made[0]}")).count("created an application") == 1


def test_the_order_of_an_endpoint_is_set_on_its_page(shop: Shop, person: Person) -> None:
    path = shop.endpoint("crm")
    assert "In no order" in person.get(path).text
    wrong = person.act(f"{path}/ordering", mode="key", keyPath="a..b", whenHeadDies="block", skipAfter="")
    assert wrong.status_code == 422 and "names of fields with dots between" in wrong.text
    page = person.act(f"{path}/ordering", mode="key", keyPath="customer.id", whenHeadDies="skip", skipAfter="4")
    assert "One at a time and in order for each key, which is the message&#39;s own or its customer.id." in page.text
    assert "One that has failed 4 times is skipped." in page.text
    assert 'value="customer.id"' in person.get(f"{path}/ordering").text
    assert "In no order" in person.act(f"{path}/ordering", mode="none", keyPath="", whenHeadDies="block", skipAfter="").text


def test_a_transformation_is_tried_and_switched_on_on_the_endpoints_page(shop: Shop, person: Person) -> None:
    path = shop.endpoint("crm")
    assert "None: messages are sent as they came." in person.get(path).text
    fields = {"variables": "team = support", "msgId": ""}
    message = shop.server.make("/app/acme/msg", {"eventType": "ticket.updated", "payload": {"n": 1}})["id"]
    broken = "function handler(webhook) {\r\n  const n = webhook.payload.n;\r\n  return n.no.such;\r\n}"
    tried = person.act(f"{path}/transformation", act="try", code=broken, **fields)
    assert tried.status_code == 200 and "TypeError: cannot read property &#39;such&#39; of undefined (line 3, column 10)" in tried.text
    assert re.search(r'<span class="wrong">→   3</span>    return n.no.such;', tried.text)
    code = "function handler(webhook) { console.log('<b>hi</b>'); webhook.payload = {text: webhook.variables.team}; return webhook; }"
    tried = person.act(f"{path}/transformation", act="try", code=code, **fields)
    assert "would be sent" in tried.text and "{&#34;text&#34;:&#34;support&#34;}" in tried.text and message in tried.text
    assert "&lt;b&gt;hi&lt;/b&gt;" in tried.text
    assert "None: messages are sent as they came." in person.get(path).text
    for wrong, said in ({"code": "short", **fields}, "f-code-wrong"), ({"code": code, **fields, "variables": "a"}, "f-variables-wrong"):
        page = person.act(f"{path}/transformation", act="save", **wrong)
        assert page.status_code == 422 and said in page.text
    nobody = person.act(f"{path}/transformation", act="try", code=code, variables="", msgId="nobody")
    assert nobody.status_code == 422 and "the application has no message" in nobody.text
    assert "Its code is off" in person.act(f"{path}/transformation", act="save", code=code, **fields).text
    assert "Its code changes what is sent." in person.act(f"{path}/transformation", act="enable", code=code, **fields).text
    sent = shop.server.make("/app/acme/msg", {"eventType": "ticket.updated", "payload": {"n": 2}})["id"]
    made = f"/app/acme/attempt/msg/{sent}?endpoint_id=crm"
    wait_until(lambda: shop.server.call("GET", made)[1]["data"], what="the message is sent")
    attempt = shop.server.call("GET", made)[1]["data"][0]["id"]
    assert "has changed the payload to this" in person.get(f"{shop.app()}/messages/{sent}/attempts/{attempt}?tab=request").text
    saved = person.get(f"{shop.app()}/messages/{sent}/attempts/{attempt}/body")
    assert (saved.content, saved.headers["content-type"]) == (b'{"text":"support"}', "application/octet-stream")
    assert "Its code is off" in person.act(f"{path}/transformation", act="disable", code=code, **fields).text
    assert "None: messages are sent" in person.act(f"{path}/transformation", act="remove", code=code, **fields).text


def test_the_code_of_a_sink_is_tried_on_past_events_and_switched_on(shop: Shop, person: Person) -> None:
    stream = shop.server.make("/stream", {"name": "Parcels that are weighed twice"})["id"]
    wanted = {"type": "http", "uid": "scale", "config": {"url": f"{shop.receiver.url}/inbound"}, "eventTypes": ["parcel.weighed"]}
    sink = shop.server.make(f"/stream/{stream}/sink", wanted)["id"]
    path = f"/streams/{stream}/sinks/{sink}/transformation"
    assert f'href="/dashboard{path}">Transform</a>' in person.get("/streams").text
    broken = "function handler(input) {\r\n  const n = input.n;\r\n  return n.no;\r\n}"
    nothing = person.act(path, act="try", code=broken, payload="")
    assert nothing.status_code == 422 and "no event that the sink wants has come yet" in nothing.text
    tried = person.act(path, act="try", code=broken, payload="5")
    assert tried.status_code == 200 and "cannot read property &#39;no&#39; of undefined (line 3, column 10)" in tried.text
    assert re.search(r'<span class="wrong">→   3</span>    return n.no;', tried.text)
    events = [{"eventType": "parcel.weighed", "payload": f'{{"grams": {grams}}}'} for grams in (1, 2)]
    assert shop.server.call("POST", f"/stream/{stream}/events", {"events": events})[0] == 202
    code = "function handler(input) { return {data: input.events.map((event) => event.payload.grams)}; }"
    tried = person.act(path, act="try", code=code, payload="")
    assert "Tried on 2 events." in tried.text and "would be sent" in tried.text and re.search(r">\[1, ?2\]<", tried.text)
    assert shop.server.call("GET", f"/stream/{stream}/sink/{sink}/transformation")[1] == {"code": None, "enabled": False}
    short = person.act(path, act="save", code="short", payload="")
    assert short.status_code == 422 and "f-code-wrong" in short.text
    assert "Saved. It makes what is sent from now on." in person.act(path, act="save", code=code, payload="").text
    assert shop.server.call("GET", f"/stream/{stream}/sink/{sink}/transformation")[1] == {"code": code, "enabled": True}
    assert "Transformed by its code" in person.get("/streams").text
    assert "changed a sink" in person.get("/audit").text
    assert "It is gone: events are sent as they are." in person.act(path, act="remove").text
    assert shop.server.call("GET", f"/stream/{stream}/sink/{sink}/transformation")[1] == {"code": None, "enabled": False}


def test_a_filter_is_tried_saved_and_removed_on_the_endpoints_page(shop: Shop, person: Person) -> None:
    path = shop.endpoint("crm")
    assert "None: it gets messages whatever their payloads are." in person.get(path).text
    for text, said in (
        ("{", "this is not JSON"),
        ("[1]", "write a JSON object"),
        ('{"a": {"b": {"$like": 1}}}', "a › b › $like: there is no operator $like"),
    ):
        wrong = person.act(f"{path}/filter", act="save", filter=text)
        assert wrong.status_code == 422 and said in wrong.text and "f-filter-wrong" in wrong.text
    rule = '{"no.such.field": {"$exist": true}}'
    tried = person.act(f"{path}/filter", act="try", filter=rule)
    assert re.search(r"Of the last \d+ messages that the endpoint wants by event type and channels, 0 would pass", tried.text)
    assert "{&#34;no.such.field&#34;:{&#34;$exist&#34;:true}}" in tried.text and "does not pass" in tried.text
    assert "None: it gets" in person.get(path).text
    assert "no.such.field" in person.act(f"{path}/filter", act="save", filter=rule).text
    message = shop.server.make("/app/acme/msg", {"eventType": "ticket.updated", "payload": {"a": 1}})["id"]
    journey = person.get(f"{shop.app()}/messages/{message}?tab=explain").text
    assert "Its filter does not let it through: the payload does not fit {&#34;no.such.field&#34;:{&#34;$exist&#34;:true}}." in journey
    assert "None: it gets" in person.act(f"{path}/filter", act="remove", filter="").text


def test_more_streams_than_fit_on_a_page_are_on_the_next_one(shop: Shop, person: Person) -> None:
    made = [shop.server.make("/stream", {"name": f"Stream {number}"})["id"] for number in range(ROWS)]
    following = re.search(r'rel="next" href="/dashboard(/streams\?at=[^"]+)"', person.get("/streams").text)
    assert following is not None
    older = person.get(following[1])
    assert older.status_code == 200
    assert "Parcels, all depots" in older.text
    for stream in made:
        assert shop.server.call("DELETE", f"/stream/{stream}")[0] == 204
