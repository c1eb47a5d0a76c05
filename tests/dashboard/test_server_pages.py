"""What the server says of itself: the queue, the process, the settings in force; and who is told when something goes wrong."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from benchmarks import server as servers
from tests.acceptance.receiver import Answer, Receiver
from tests.dashboard.conftest import BASE, Desk, Person, Shop, token_of
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until


def test_who_waits_and_why(shop: Shop, person: Person) -> None:
    app = shop.server.make("/app", {"name": "Throttled & Co"})["id"]
    endpoint = shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/orders?slowly", "throttleRate": 1})["id"]
    shared = shop.server.make("/app", {"name": "Shared rate", "throttleRate": 1})["id"]
    shop.server.make(f"/app/{shared}/endpoint", {"url": f"{shop.receiver.url}/orders?shared"})
    for number in range(40):
        for one in (app, shared):
            shop.server.make(f"/app/{one}/msg", {"eventType": "order.created", "payload": {"n": number}})

    def waiting() -> str:
        return plain(person.get("/queue"))

    wait_until(lambda: re.search(r"/orders\?slowly Throttled & Co its rate is used up; the next attempt within 1 s \d+", waiting()))
    wait_until(lambda: re.search(r"/orders\?shared Shared rate the rate of its application is used up \d+", waiting()))
    assert re.search(r"\d+ endpoints have deliveries that are due and wait", waiting())
    assert f"{BASE}/apps/{app}/endpoints/{endpoint}" in person.get("/queue").text

    other = Person(shop.url).log_in(token_of(shop.server, "queueing"))
    theirs = plain(other.get("/queue"))
    assert "Throttled" not in theirs and "Shared rate" not in theirs and "Nothing that is due waits." in theirs
    other.close()
    for one in (app, shared):
        shop.server.call("DELETE", f"/app/{one}")
    wait_until(lambda: "Throttled" not in waiting(), what="what was deleted waits no more")


def test_the_process_tells_its_numbers(shop: Shop, person: Person) -> None:
    page = plain(person.get("/queue"))
    for words in (r"Memory \d+ MB", r"Loop lag \d+ ms", r"Commit, p99 [\d.]+ ms p50 [\d.]+ ms, [\d,]+ commits", r"Database [\d.]+ .?B"):
        assert re.search(words, page), words
    assert re.search(r"Its log [\d.]+ .?B", page) and re.search(r"Free on the disk [\d.]+ [GTk]?B?", page)
    assert re.search(r"Version \d+\.\d+", page) and re.search(r"Up for .*\d+ s", page)
    wait_until(lambda: "Not indexed 0 all is searched" in plain(person.get("/queue")), what="all is indexed")


def test_the_settings_are_those_in_force_with_where_they_came_from(tmp_path: Path) -> None:
    config = tmp_path / "ringback.toml"
    config.write_text("max_body_bytes = '1MiB'\nheader_style = 'both'\nproxy_addr = 'http://me:hidden-password@192.0.2.1:3128'\n")
    settings = {
        "RINGBACK_CONFIG": str(config),
        "SVIX_WORKER_REQUEST_TIMEOUT": "7",
        "SVIX_WHITELABEL_HEADERS": "true",
        "retry_schedule": "1s,2s",
        "main_secret": "a-main-secret-of-many-characters",
        "jwt_secret": "a-jwt-secret-of-many-characters",
    }
    server = servers.start(tmp_path / "ringback.db", settings)
    try:
        person = Person(f"{server.url}{BASE}").log_in()
        answer = person.get("/settings")
        page = plain(answer)
        assert re.search(r"max_body_bytes .*? 1MiB default: 2MiB file \S+ringback.toml line 1: max_body_bytes", page)
        assert re.search(r"header_style .*? standard environment SVIX_WHITELABEL_HEADERS", page), "another name, another spelling"
        assert re.search(r"request_timeout .*? 7 default: 30s environment SVIX_WORKER_REQUEST_TIMEOUT", page)
        assert re.search(r"retry_schedule .*? 1s,2s default: 5,300\S* environment RINGBACK_RETRY_SCHEDULE", page)
        assert re.search(r"listen_address .*? 127\.0\.0\.1:\d+ default: 127\.0\.0\.1:8071 flag --listen", page)
        assert re.search(r"drain_timeout .*? 8s default", page)
        assert page.count("set, never shown") == 4
        for secret in ("hidden-password", "a-main-secret", "a-jwt-secret", server.token):
            assert secret not in answer.text
        some = plain(person.get("/settings?which=set"))
        assert "max_body_bytes" in some and "drain_timeout" not in some
        assert "drain_timeout" in plain(person.get("/settings?q=sigterm"))
        assert "No such setting" in person.get("/settings?q=nonsense").text

        other = Person(f"{server.url}{BASE}").log_in(token_of(server, "tenant"))
        for path in ("/settings", "/queue"):
            theirs = other.get(path)
            assert "It belongs to whoever runs this server" in theirs.text and theirs.status_code == 200
            assert "retry_schedule" not in theirs.text and "Loop lag" not in theirs.text and str(tmp_path) not in theirs.text
        other.close()
        person.close()
    finally:
        server.stop()


def test_an_operational_endpoint_is_made_told_switched_and_deleted(shop: Shop, person: Person) -> None:
    page = person.act(
        "/operational",
        url=f"{shop.receiver.url}/ops",
        description="On call",
        eventTypes=["endpoint.deleted", "endpoint.disabled"],
        throttleRate="5",
    )
    assert "was created" in page.text and "endpoint.deleted, endpoint.disabled" in page.text and "5 attempts a second" in page.text
    path = str(page.url).removeprefix(person.url)
    assert "Nothing was told yet" in page.text
    app = shop.server.make("/app", {"name": "Watched"})["id"]
    endpoint = shop.server.make(f"/app/{app}/endpoint", {"url": f"{shop.receiver.url}/watched"})["id"]
    shop.server.call("DELETE", f"/app/{app}/endpoint/{endpoint}")
    wait_until(lambda: shop.receiver.at("/ops"), what="it is told")
    assert b"endpoint.deleted" in shop.receiver.at("/ops")[0].body
    wait_until(lambda: "It took the last attempt" in person.get(path).text)
    attempt = re.search(rf'href="{BASE}(/apps/app_\w+/messages/msg_\w+/attempts/atmpt_\w+)"', person.get(path).text)
    assert attempt and "endpoint.deleted" in person.get(f"{attempt[1]}?tab=payload").text

    secret = re.search(r"whsec_[\w+/=]+", person.act(f"{path}/secret").text)
    assert secret and secret[0] not in person.get(path).text
    assert "looked at a secret" in person.get(f"/audit?object={path.rsplit('/', 1)[1]}").text
    changed = person.act(f"{path}/edit", url=f"{shop.receiver.url}/ops", description="Night shift", eventTypes="endpoint.created")
    assert "Saved." in changed.text and "Night shift" in changed.text and "unlimited" in changed.text
    assert "5 attempts" not in changed.text and 'value="Night shift"' in person.get(f"{path}/edit").text
    refused = person.act(f"{path}/edit", url="https://example.com", eventTypes="no.such.event")
    assert refused.status_code == 422 and "no.such.event" in refused.text and "Save</button>" in refused.text
    assert "was disabled" in person.act(f"{path}/disable").text
    assert "was enabled" in person.act(f"{path}/enable").text
    assert "was deleted" in person.act(f"{path}/delete").text
    assert person.get(path).status_code == 404


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"url": "ftp://example.com"}, "http"),
        ({"url": "https://example.com", "eventTypes": "no.such.event"}, "no.such.event"),
        ({"url": "https://example.com", "secret": "whsec_short"}, "whsec_"),
        ({"url": "https://example.com", "throttleRate": "0"}, "at least 1"),
    ],
    ids=str,
)
def test_what_is_wrong_with_an_operational_endpoint_is_said(person: Person, fields: dict[str, str], problem: str) -> None:
    answer = person.act("/operational", **fields)
    assert answer.status_code == 422 and problem in html.unescape(answer.text)


def test_an_organisation_sees_and_changes_no_operational_endpoint_of_another(shop: Shop, person: Person) -> None:
    other = Person(shop.url).log_in(token_of(shop.server, "listeners"))
    path = f"/operational/{shop.equipment.operational}"
    # Once without and once with operational endpoints of its own.
    for _ in range(2):
        assert "The people on call" not in other.get("/operational").text
        assert other.get(path).status_code == 404
        for act in ("secret", "disable", "enable", "delete"):
            assert other.act(f"{path}/{act}").status_code == 404
        assert "was created" in other.act("/operational", url="https://example.com/theirs", description="Theirs").text
    assert "Theirs" in other.get("/operational").text and "Theirs" not in person.get("/operational").text
    assert person.get(path).status_code == 200
    other.close()


def test_operational_endpoints_and_settings_in_the_browser(shop: Shop, desk: Desk) -> None:
    page = desk.go("/operational")
    page.get_by_role("link", name="New operational endpoint").click()
    page.locator("#f-url").fill(f"{shop.receiver.url}/browser-ops")
    page.get_by_label("background_task.finished").check()
    page.get_by_role("button", name="Create operational endpoint").click()
    expect(page.locator(".notice")).to_contain_text("was created")
    shop.server.make("/stats/usage/app", {"since": "2026-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"})
    wait_until(lambda: shop.receiver.at("/browser-ops"), what="it is told")

    def shown() -> bool:
        # What was told is recorded a moment later.
        page.reload()
        return page.locator("a.open").count() > 0

    wait_until(shown, what="what it was told is shown")
    page.locator("a.open").first.click(force=True)
    expect(page.locator("#panel h1")).to_have_text("background_task.finished")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete endpoint").click()
    expect(page.locator(".notice")).to_contain_text("was deleted")

    page.keyboard.press("Control+k")
    page.locator("#palette input").fill("settings")
    expect(page.locator("#palette .results .name").first).to_have_text("Settings")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Settings")
    page.get_by_label("Show").select_option("set")
    page.wait_for_url("**/settings?which=set")
    expect(page.locator("#retry_schedule")).to_be_visible()
    expect(page.locator("#drain_timeout")).to_have_count(0)


def test_an_endpoint_that_hangs_is_told_by_its_places(tmp_path: Path) -> None:
    receiver = Receiver(lambda arrival: Answer(0))
    server = servers.start(tmp_path / "ringback.db", {"drain_timeout": "0s"})
    try:
        app = server.make("/app", {"name": "Hanging"})["id"]
        server.make(f"/app/{app}/endpoint", {"url": f"{receiver.url}/hangs"})
        for number in range(12):
            server.make(f"/app/{app}/msg", {"eventType": "a", "payload": {"n": number}})
        person = Person(f"{server.url}{BASE}").log_in()
        told = "it may get 8 at once now, and these are on the wire"
        wait_until(lambda: told in plain(person.get("/queue")), what="it waits for its place")
        assert re.search(rf"/hangs Hanging {told} 12 8 ", plain(person.get("/queue")))
        person.close()
    finally:
        receiver.close()
        server.stop()
