"""Who gets in, how, and for how long? A real server, and people with browsers that run no scripts."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks import server as servers
from ringback.services.tokens import DEFAULT_ORG_ID
from tests.api.test_authentication import jwt
from tests.dashboard.conftest import BASE, Person, Shop, operator

REFUSED = "That was not accepted"


def cookie_of(answer: httpx.Response, name: str = "ringback_session") -> str:
    """The Set-Cookie line of a cookie."""
    return next(line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{name}="))


def without_token(text: str) -> str:
    """A page without what differs from one to the next."""
    return re.sub(r'name="csrf" value="[^"]+"', "", text)


def test_a_stranger_is_led_to_the_login_and_then_to_where_they_wanted(stranger: Person) -> None:
    answer = stranger.get("/audit")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/login?next=/dashboard/audit")
    answer = stranger.post("/login", token=servers.TOKEN, next=f"{BASE}/audit")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/audit")
    assert "Who changed what" in stranger.get("/audit").text


def test_the_page_that_was_wanted_keeps_its_filters(stranger: Person) -> None:
    answer = stranger.get("/audit?object=app_1&page=2")
    assert answer.headers["location"] == f"{BASE}/login?next=/dashboard/audit%3Fobject%3Dapp_1%26page%3D2"


def test_a_query_of_endless_fields_is_no_fault_of_ours(stranger: Person) -> None:
    answer = stranger.get("/login?" + "&".join(["a=1"] * 300))
    assert answer.status_code == 404
    assert "no page sends so many" in answer.text and "content-security-policy" in answer.headers


def test_a_stranger_learns_nothing_of_which_pages_there_are(stranger: Person) -> None:
    assert stranger.get("/apps/app_unknown").status_code == stranger.get("/no/such/page").status_code == 303


def test_the_session_is_kept_from_scripts_and_from_other_sites(stranger: Person) -> None:
    line = cookie_of(stranger.post("/login", token=servers.TOKEN))
    assert "HttpOnly" in line and "SameSite=Lax" in line and f"Path={BASE}" in line
    assert "Secure" not in line, "over plain HTTP a secure cookie would never come back"


def test_the_database_does_not_hold_what_the_browser_holds(shop: Shop, stranger: Person) -> None:
    held = cookie_of(stranger.post("/login", token=servers.TOKEN)).partition("=")[2].partition(";")[0]
    files = [shop.server.database, *shop.server.database.parent.glob("ringback.db-wal")]
    assert all(held.encode() not in file.read_bytes() for file in files)


def test_every_failure_gets_the_same_answer(tmp_path: Path) -> None:
    server = servers.start(tmp_path / "ringback.db", {})
    try:
        app = server.make("/app", {"name": "Acme"})["id"]
        of_an_app = server.make(f"/auth/app-portal-access/{app}", {})["token"]
        stranger = Person(f"{server.url}{BASE}")
        answers = [stranger.post("/login", token=secret) for secret in ("sk_wrong", of_an_app, "", "é", "a b", "x" * 4000)]
        assert [answer.status_code for answer in answers] == [401] * len(answers)
        assert len({without_token(answer.text) for answer in answers}) == 1 and REFUSED in answers[0].text
        assert "ringback_session" not in stranger.client.cookies
        stranger.close()
    finally:
        server.stop()


def test_too_many_failures_make_an_address_wait_even_with_the_right_token(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = servers.start(tmp_path / "ringback.db", {}, log=log)
    try:
        stranger = Person(f"{server.url}{BASE}")
        for _ in range(10):
            assert stranger.post("/login", token="sk_guess").status_code == 401
        answer = stranger.post("/login", token=servers.TOKEN)
        assert answer.status_code == 429 and "Wait" in answer.text
        assert stranger.get("/").status_code == 303
        assert "login.limited" in log.read_text()
        stranger.close()
    finally:
        server.stop()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
def test_a_form_from_another_site_is_refused(stranger: Person, headers: dict[str, str]) -> None:
    answer = stranger.post("/login", token=servers.TOKEN, sending=headers)
    assert answer.status_code == 403 and "ringback_session" not in stranger.client.cookies


def test_a_form_without_an_origin_is_refused(shop: Shop, stranger: Person) -> None:
    fields = {"token": servers.TOKEN, "csrf": stranger.token()}
    assert stranger.client.post(f"{shop.url}/login", data=fields).status_code == 403


@pytest.mark.parametrize("token", ["", "x", "é", "AAAA" * 20])
def test_a_form_without_its_token_is_refused(person: Person, token: str) -> None:
    answer = person.post("/apps", at="/apps/new", name="Mallory", csrf=token)
    assert answer.status_code == 403 and "nothing was changed" in answer.text
    assert "Mallory" not in person.get("/apps").text


def test_the_token_of_another_session_is_refused(shop: Shop, person: Person) -> None:
    other = Person(shop.url).log_in()
    stolen = other.token("/apps/new")
    other.close()
    assert person.post("/apps", at="/apps/new", name="Mallory", csrf=stolen).status_code == 403


def test_each_page_has_another_token_and_all_of_them_work(person: Person) -> None:
    first, second = person.token("/apps/new"), person.token("/apps/new")
    assert first != second
    for token in (first, second):
        assert person.post("/theme", theme="dark", csrf=token).status_code == 303


def test_logging_out_ends_the_session_also_for_who_kept_the_cookie(shop: Shop, person: Person) -> None:
    held = dict(person.client.cookies)
    assert person.post("/logout", at="/audit").headers["location"] == f"{BASE}/login"
    assert httpx.get(f"{shop.url}/audit", cookies=held, trust_env=False).status_code == 303


def test_a_form_that_is_sent_after_the_end_of_the_session_leads_back_to_its_page(shop: Shop, person: Person) -> None:
    csrf = person.token("/apps/new")
    kept = dict(person.client.cookies)
    assert person.post("/logout", at="/audit").status_code == 303
    person.client.cookies.update(kept)

    sent = {"referer": f"{shop.url}/apps/new?name=x"}
    answer = person.post("/apps", sending=sent, name="Typed for an hour", csrf=csrf)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{BASE}/login?next=/dashboard/apps/new%3Fname%3Dx&ended=1"
    login = person.client.get(shop.server.url + answer.headers["location"])
    assert "Your session has ended, so nothing was changed." in login.text
    assert 'name="next" value="/dashboard/apps/new?name=x"' in login.text
    assert "Typed for an hour" not in Person(shop.url).log_in().get("/apps").text

    for elsewhere in ("https://evil.example/dashboard/apps/new", f"{shop.url}/nothing/here", "", "http://[::"):
        assert person.post("/apps", sending={"referer": elsewhere}, csrf=csrf).headers["location"] == f"{BASE}/login?ended=1", elsewhere
    assert person.post("/logout", csrf=csrf).headers["location"] == f"{BASE}/login", "who wanted to leave is told nothing"


def test_logging_out_everywhere_ends_the_sessions_of_others(tmp_path: Path) -> None:
    server = servers.start(tmp_path / "ringback.db", {})
    try:
        here, there = (Person(f"{server.url}{BASE}").log_in() for _ in range(2))
        assert here.post("/logout/everywhere", at="/audit").status_code == 303
        assert there.get("/audit").status_code == 303
        here.close()
        there.close()
    finally:
        server.stop()


def test_a_session_ends_with_the_token_it_was_opened_with(tmp_path: Path) -> None:
    server = servers.start(tmp_path / "ringback.db", {})
    try:
        made = server.call("POST", "/operator/token", {"org": "default"}, operator(server))[1]
        person = Person(f"{server.url}{BASE}").log_in(made["token"])
        assert person.get("/audit").status_code == 200
        server.call("DELETE", f"/operator/token/{made['id']}", None, operator(server))
        assert person.get("/audit").status_code == 303
        person.close()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """A server whose link nobody has used."""
    server = servers.start(tmp_path_factory.mktemp("fresh") / "ringback.db", {})
    yield server
    server.stop()


def link_of(server: servers.Server) -> str:
    """The link that a server printed."""
    found = re.search(r"https?://\S+/login/link\?key=\w+", server.log.read_text())
    assert found
    return found[0]


def test_the_link_of_the_start_logs_in_once_and_only_by_its_button(fresh: servers.Server) -> None:
    link, person = link_of(fresh), Person(f"{fresh.url}{BASE}")
    key = link.partition("key=")[2]
    # What mail scanners and chat previews do.
    for _ in range(3):
        answer = httpx.get(link, trust_env=False)
        assert answer.status_code == 200 and "set-cookie" in answer.headers and "ringback_session" not in answer.headers["set-cookie"]
    path = f"/login/link?key={key}"
    assert person.post("/login/link", at=path, key="0" * 64).status_code == 401
    answer = person.post("/login/link", at=path, key=key)
    assert answer.status_code == 303 and person.get("/audit").status_code == 200
    other = Person(f"{fresh.url}{BASE}")
    assert other.post("/login/link", at=path, key=key).status_code == 401
    assert "the server&#39;s link" in person.get("/audit").text
    person.close()
    other.close()


def test_the_link_is_in_no_line_of_the_log(fresh: servers.Server) -> None:
    key = link_of(fresh).partition("key=")[2]
    httpx.get(f"{fresh.url}{BASE}/login/link/no/such/page?key={key}", trust_env=False)
    lines = [line for line in fresh.log.read_text().splitlines() if key in line]
    assert len(lines) == 1 and lines[0].startswith("dashboard (logs in once")


def test_the_link_dies_with_its_process(tmp_path: Path) -> None:
    database = tmp_path / "ringback.db"
    first = servers.start(database, {}, log=tmp_path / "first.log")
    key = link_of(first).partition("key=")[2]
    first.stop()
    second = servers.start(database, {}, log=tmp_path / "second.log")
    try:
        person = Person(f"{second.url}{BASE}")
        assert person.post("/login/link", key=key).status_code == 401
        person.close()
    finally:
        second.stop()


def test_sessions_outlast_a_restart(tmp_path: Path) -> None:
    database = tmp_path / "ringback.db"
    first = servers.start(database, {})
    person = Person(f"{first.url}{BASE}").log_in()
    first.stop()
    second = servers.start(database, {}, port=first.port)
    try:
        assert person.get("/audit").status_code == 200
        person.close()
    finally:
        second.stop()


def test_behind_a_proxy_with_tls_the_cookie_is_secure_and_the_address_is_the_browsers(tmp_path: Path) -> None:
    settings = {"trusted_proxies": "127.0.0.1/32", "public_url": "https://hooks.example.com"}
    server = servers.start(tmp_path / "ringback.db", settings)
    try:
        person = Person(
            f"{server.url}{BASE}",
            **{"x-forwarded-proto": "https", "x-forwarded-host": "hooks.example.com", "x-forwarded-for": "203.0.113.9"},
        )
        fields = {"token": servers.TOKEN, "csrf": person.token()}
        # httpx keeps a secure cookie to itself on plain HTTP, as a browser would: it is sent by hand.
        visitor = cookie_of(person.get("/login"), "ringback_visitor")
        assert "Secure" in visitor
        held = visitor.partition(";")[0]
        page = person.get("/login", headers={"cookie": held}).text
        fields["csrf"] = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        answer = person.client.post(
            f"{server.url}{BASE}/login", data=fields, headers={"origin": "https://hooks.example.com", "cookie": held}
        )
        assert answer.status_code == 303 and "Secure" in cookie_of(answer)
        session = cookie_of(answer).partition(";")[0]
        assert "203.0.113.9" in person.get("/audit", headers={"cookie": session}).text
        person.close()
    finally:
        server.stop()


def test_logins_and_logouts_are_in_the_audit_log(shop: Shop) -> None:
    person = Person(shop.url).log_in()
    person.post("/logout", at="/audit")
    person.log_in()
    text = person.get("/audit").text
    person.close()
    assert "logged in" in text and "logged out" in text and "127.0.0.1" in text


class Back:
    """A server that was started again, with another `jwt_secret`, hours after two people had logged in: one of them with a signed token."""

    def __init__(self, server: servers.Server, person: Person, signed: Person, hours_ago: int) -> None:
        self.server = server
        self.person = person
        self.signed = signed
        self.hours_ago = hours_ago

    def seen(self) -> int:
        """When the first of them was seen last."""
        return newest(self.server.database)


def newest(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        at: int = opened.execute("SELECT seen_at FROM dashboard_session WHERE token_id LIKE 'key%'").fetchone()[0]
        return at


@pytest.fixture(scope="module")
def back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Back]:
    database = tmp_path_factory.mktemp("back") / "ringback.db"
    first = servers.start(database, {"jwt_secret": "the-first-secret"})
    person, signed = Person(f"{first.url}{BASE}"), Person(f"{first.url}{BASE}")
    try:
        person.log_in()
        signed.log_in(jwt({"sub": DEFAULT_ORG_ID}, secret="the-first-secret"))
        assert signed.get("/audit").status_code == 200
    finally:
        assert first.stop() == 0
    hours_ago = newest(database) - 3 * 3_600_000_000
    with contextlib.closing(sqlite3.connect(database)) as opened:
        opened.execute("UPDATE dashboard_session SET seen_at = ?", (hours_ago,))
        opened.commit()
    second = servers.start(database, {"jwt_secret": "another-secret"}, port=first.port)
    yield Back(second, person, signed, hours_ago)
    person.close()
    signed.close()
    second.stop()


def test_a_page_that_refreshes_itself_keeps_no_session_alive_and_a_look_does(back: Back) -> None:
    assert back.person.get("", headers={"hx-request": "true", "ringback-timer": "1"}).status_code == 200
    assert back.seen() == back.hours_ago
    assert back.person.get("").status_code == 200
    assert back.seen() > back.hours_ago


def test_a_session_of_a_signed_token_ends_with_the_secret_that_signed_it(back: Back) -> None:
    assert back.person.get("/audit").status_code == 200
    assert back.signed.get("/audit").status_code == 303
