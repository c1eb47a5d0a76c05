"""Sources, quarantine and the signature doctor: who sends, what was refused and why, and how it gets in after all."""

from __future__ import annotations

import base64
import dataclasses
import html
import re
import time
import typing

import httpx
import pytest
import standardwebhooks
from playwright.sync_api import expect

from tests.acceptance.provider_api import ProviderApi, Said
from tests.acceptance.receiver import Arrival
from tests.dashboard.conftest import BASE, Desk, Person, Shop, operator, token_of
from tests.dashboard.equipment import STRIPE_SECRET, call_source, noted, quarantined, stripe_event, stripe_signature
from tests.dashboard.test_dead_letters import hidden
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until


@dataclasses.dataclass
class Made:
    """A source of the payments service."""

    shop: Shop
    id: str
    url: str

    @property
    def path(self) -> str:
        """Its page."""
        return f"/sources/{self.id}"

    def kept(self) -> list[dict[str, typing.Any]]:
        """What it has in quarantine, the newest first."""
        return quarantined(self.shop.server, self.shop.equipment.service, self.id)

    def send(self, number: int, secret: str = STRIPE_SECRET, at_s: float | None = None) -> int:
        """An event, signed with a secret."""
        body = stripe_event(number)
        return call_source(self.url, body, stripe_signature(body, secret, at_s))


def made_of(shop: Shop, **wanted: typing.Any) -> Made:
    body = {"name": "Stripe, test", "type": "stripe", "secrets": [STRIPE_SECRET]} | wanted
    made = shop.server.make(f"/app/{shop.equipment.service}/source", body)
    return Made(shop, made["id"], made["ingestUrl"])


@pytest.fixture
def source(shop: Shop) -> Made:
    return made_of(shop)


def test_a_source_is_made_changed_switched_and_deleted(shop: Shop, person: Person) -> None:
    page = person.act(
        "/sources", type="stripe", name="By hand", app=shop.equipment.service, secret=STRIPE_SECRET, verify="signature", uid="by-hand"
    )
    words = plain(page)
    assert "The source was created." in words and "Nothing has come yet." in words and STRIPE_SECRET not in page.text
    path = str(page.url).removeprefix(person.url)
    url = re.search(r"http://[^<\s]+/in/\w+", page.text)
    assert url is not None
    body = stripe_event(1)
    assert call_source(url[0], body, stripe_signature(body)) == 200
    assert "evt_1" in person.get(path).text

    # What is not in the form stays; so do the secrets.
    edit = person.get(f"{path}/edit").text
    values = dict(re.findall(r'name="(\w+)"[^>]* value="([^"]*)"', edit)) | {"rateLimit": "50", "silenceMin": "90", "verify": "signature"}
    values.pop("csrf")
    page = person.act(f"{path}/edit", **values)
    assert "Saved." in page.text and "50 a second" in page.text and "1 h 30 min" in page.text
    assert call_source(url[0], stripe_event(2), stripe_signature(stripe_event(2))) == 200
    assert "Nothing was changed." in person.act(f"{path}/edit", **values).text

    assert "Its URL answers 404." in person.act(f"{path}/disable").text
    assert call_source(url[0], body, stripe_signature(body)) == 404
    assert "takes requests again" in person.act(f"{path}/enable").text
    assert "was deleted" in person.act(f"{path}/delete").text
    assert person.get(path).status_code == 404 and call_source(url[0], body, stripe_signature(body)) == 404
    log = plain(person.get(f"/audit?object={path.rsplit('/', 1)[1]}"))
    for what in ("created", "changed", "disabled", "enabled", "deleted"):
        assert f"{what} a source" in log


def test_the_journal_of_a_source_and_the_page_of_a_message_tell_what_came_again(shop: Shop, person: Person, source: Made) -> None:
    app = shop.equipment.service
    for _ in range(3):
        assert source.send(7) == 200
    wait_until(lambda: len(noted(shop.server, app, source.id)) == 2, what="the journal is written")
    first = noted(shop.server, app, source.id)[0]["duplicateOf"]
    assert "Duplicates and handshakes" in plain(person.get(source.path))
    journal = plain(person.get(f"{source.path}/arrivals?outcome=duplicate"))
    assert journal.count("evt_7") == 2 and "127.0.0.1" in journal
    assert "Nothing fits the filter." in plain(person.get(f"{source.path}/arrivals?outcome=handshake"))
    page = person.get(f"/apps/{app}/messages/{first}")
    words = plain(page)
    assert "Received" in words and "Came again 2 times" in words and "127.0.0.1" in words and "Stripe, test" in words
    link = re.search(r'href="/dashboard(/sources/[^"]+/arrivals\?message=[^"]+)"', page.text)
    assert link is not None and plain(person.get(link[1])).count("evt_7") == 2
    assert person.get(f"/sources/{source.id}x/arrivals").status_code == 404


def test_the_page_of_a_source_tells_how_its_subscription_stands(shop: Shop, person: Person, source: Made) -> None:
    assert "Nothing is renewed." in plain(person.get(source.path))
    api = ProviderApi(lambda asked: Said({}))
    own = {"base": api.url, "path": "/renew", "auth": {"x-key": "{credential}"}}
    path = f"/app/{shop.equipment.service}/source/{source.id}/subscription"
    assert shop.server.call("PUT", path, {"renewal": own, "credential": "hidden-credential"})[0] == 201
    wait_until(lambda: "Renewals ever 1" in plain(person.get(source.path)), what="it is renewed")
    words = plain(person.get(source.path))
    assert "Subscription at the provider" in words and "renewed when a third of its life is left" in words
    assert "hidden-credential" not in words
    page = person.post(f"{source.path}/subscription/renew", at=source.path)
    assert page.status_code == 303
    wait_until(lambda: "Renewals ever 2" in plain(person.get(source.path)), what="it is renewed again")
    blocked = {**own, "base": "https://192.0.2.1"}
    shop.server.call("PUT", path, {"renewal": blocked, "credential": "x", "expiresAt": "2024-01-01T00:00:00Z"})
    wait_until(lambda: "the provider calls no more" in plain(person.get(source.path)), what="its end is told")
    api.close()


def test_a_subscription_is_made_changed_and_deleted_on_the_page_of_its_source(person: Person, source: Made) -> None:
    says = Said({"expirationTime": "2030-01-01T00:00:00Z"})
    api = ProviderApi(lambda asked: says)
    path = f"{source.path}/subscription"
    names = ("credential", "clientSecret", "parameters", "periodH", "expiresAt", "baseUrl", "tokenUrl", "paused")
    empty = dict.fromkeys(names, "")
    assert "choose one" in plain(person.act(path, **empty, renewal=""))
    given = {
        **empty,
        "renewal": "airtable",
        "baseUrl": api.url,
        "parameters": "base: app1\nwebhook: ach1",
        "credential": "hidden-credential",
    }
    page = person.act(path, **{**given, "periodH": "soon"})
    assert page.status_code == 422 and "write a number of hours" in plain(page) and "hidden-credential" not in page.text
    page = person.act(path, **{**given, "periodH": "0.01"})
    assert page.status_code == 422 and "300" in plain(page)
    page = person.act(path, **{**given, "parameters": "base: app1"})
    assert page.status_code == 422 and "the id of the webhook" in plain(page)
    page = person.act(path, **{**given, "expiresAt": "tomorrow"})
    assert page.status_code == 422 and "RFC3339" in plain(page)
    assert "Saved; it is renewed at once." in plain(person.act(path, **given))
    wait_until(lambda: "Renewals ever 1" in plain(person.get(source.path)), what="it is renewed")
    words = plain(person.get(source.path))
    assert "Next renewal" in words and "a webhook lives for seven days" in words
    form = person.get(path).text
    assert "hidden-credential" not in form and api.url in form and "webhook: ach1" in form
    says = Said({}, 403)
    # Without the credential the one that is kept stays.
    person.act(path, **{**given, "credential": "", "periodH": "48"})
    wait_until(lambda: "Renewing it failed" in plain(person.get(source.path)), what="it fails")
    words = plain(person.get(source.path))
    assert "it does not take the credential" in words and "Next try" in words
    assert api.asked[-1].headers["authorization"] == "Bearer hidden-credential"
    person.act(path, **{**given, "credential": "", "paused": "1"})
    assert "It is paused: nobody renews it." in plain(person.get(source.path)) and "Renew now" not in plain(person.get(source.path))
    assert "Renew this subscription no more?" in plain(person.get(f"{path}/delete"))
    person.act(f"{path}/delete")
    assert "Nothing is renewed." in plain(person.get(source.path))
    audit = plain(person.get("/audit"))
    assert "had the subscription of a source renewed" in audit and "ended the renewal of a source's subscription" in audit
    api.close()


def test_each_topic_of_a_hub_is_told_on_the_page_of_its_source(shop: Shop, person: Person) -> None:
    api = ProviderApi(lambda asked: Said({}, 202 if b"feed-a" in asked.body else 403))
    topics = ["https://example.com/feed-a", "https://example.com/feed-b"]
    made = made_of(shop, type="websub", secrets=["hub-secret"], topics=topics)
    path = f"{made.path}/subscription"
    form = person.get(path).text
    assert all(topic in form for topic in topics), "its topics are proposed"
    names = ("clientSecret", "parameters", "periodH", "expiresAt", "tokenUrl", "paused")
    given = {**dict.fromkeys(names, ""), "renewal": "websub", "credential": "hub-secret", "baseUrl": f"{api.url}/hub"}
    page = person.act(path, **given, topics="https://example.com/other")
    assert page.status_code == 422 and "none of the topics of the source" in plain(page)
    person.act(path, **given, topics="\n".join(topics))
    wait_until(lambda: "failing" in plain(person.get(made.path)) and "asked" in plain(person.get(made.path)), what="both were asked for")
    words = plain(person.get(made.path))
    assert (
        "asked https://example.com/feed-a The hub was asked" in words and "failing https://example.com/feed-b Renewing it failed" in words
    )
    assert all(topic in person.get(path).text for topic in topics)
    api.close()


def test_the_page_of_a_source_tells_how_the_lists_of_addresses_stand_that_it_follows(shop: Shop, person: Person) -> None:
    made = made_of(shop, allowedIpsFrom=["https://lists.example/all?key=hidden#hooks"])
    words = plain(person.get(made.path))
    assert "https://lists.example/all#hooks: not read yet" in words and "hidden" not in words


def test_the_page_of_a_source_tells_that_its_organisation_took_in_as_much_as_it_may(shop: Shop) -> None:
    person = Person(shop.url).log_in(token_of(shop.server, "flooded"))
    made = person.act("/apps", name="Flooded")
    app = str(made.url).rsplit("/", 1)[1]
    page = person.act("/sources", type="generic-webhook", name="Loud", app=app, verify="none")
    path = str(page.url).removeprefix(person.url)
    url = re.search(r"http://[^<\s]+/in/\w+", page.text)
    assert url is not None
    limit = {"org": "flooded", "receiveRate": 1}
    assert shop.server.call("PUT", "/operator/organisation/limit", limit, operator(shop.server))[0] == 200
    answers = [call_source(url[0], b"{}", "") for _ in range(30)]
    assert set(answers) == {200, 429}
    wait_until(lambda: "answered 429 in the last 24 hours" in plain(person.get(path)), what="it is told")
    words = plain(person.get(path))
    assert "took in as much as they may (1 a second)" in words and "1 a second, together" in words
    assert "the organisation's rate is used up" in html.unescape(words)
    person.close()


def test_a_source_that_sends_by_itself_is_made_shown_changed_and_switched_off(shop: Shop, person: Person) -> None:
    assert "Schedule (cron)" in person.get("/sources/new?q=cron").text
    app = shop.equipment.service
    wrong = person.act("/sources", type="cron", name="Nightly", app=app, schedule="60 * * * *", payload="{}")
    assert (wrong.status_code, "minute: 60 is out of bounds" in html.unescape(wrong.text)) == (422, True)
    page = person.act(
        "/sources", type="cron", name="Nightly", app=app, schedule="0 0 1 1 *", payload='{"a":\r\n1}', contentType="text/x-run"
    )
    words = plain(page)
    assert "The source was created. It sends when it is due." in words and "0 0 1 1 * (UTC)" in words and "text/x-run" in words
    assert "URL for the provider" not in words and "whoever knows the URL" not in words.lower()
    path = str(page.url).removeprefix(person.url)
    edit = html.unescape(person.get(f"{path}/edit").text)
    assert '{"a":\n1}' in edit and "0 0 1 1 *" in edit
    changed = person.act(f"{path}/edit", type="cron", name="Nightly", app=app, schedule="0 6 * * mon", payload="new", contentType="")
    assert "Saved." in changed.text and "0 6 * * mon (UTC)" in plain(changed) and "application/json" in changed.text
    assert "It sends nothing until it is enabled" in plain(person.get(f"{path}/disable"))
    assert "It is disabled: it sends nothing." in plain(person.act(f"{path}/disable"))
    assert "It sends when it is due next." in plain(person.act(f"{path}/enable"))
    assert "It sends nothing any more." in plain(person.get(f"{path}/delete"))


def test_what_was_older_than_what_had_come_is_told_by_the_source_the_journal_and_the_message(shop: Shop, person: Person) -> None:
    source = made_of(shop, orderingKeyAt=["json:type"], orderingVersionAt=["header:x-version"])
    for number, version in ((1, "2026-11-26T10:00:00Z"), (2, "2026-11-26T09:59:59Z"), (3, "soon")):
        body = stripe_event(number)
        assert call_source(source.url, body, stripe_signature(body), **{"x-version": version}) == 200
    wait_until(lambda: noted(shop.server, shop.equipment.service, source.id), what="the journal is written")
    wait_until(lambda: "Superseded 1 older than what had come" in plain(person.get(source.path)), what="it is counted")
    journal = person.get(f"{source.path}/arrivals?outcome=superseded")
    assert "superseded evt_2" in plain(journal)
    assert "no version to compare" in plain(person.get(f"{source.path}/events?flag=unversioned"))
    message = re.search(rf'href="{BASE}(/apps/[^"]+/messages/msg_\w+)"', journal.text)
    assert message is not None
    assert "Superseded 1 older event that came later" in plain(person.get(message[1]))


def test_a_source_of_its_own_has_endpoints_of_its_own(person: Person) -> None:
    places = "header:x-room\r\njson:room.id"
    given = {"orderingKeyAt": places, "orderingVersionAt": "json:at"}
    page = person.act("/sources", type="generic-webhook", name="Sensors", app="", verify="none", **given)
    words = plain(page)
    assert "Nothing is verified: whoever knows the URL can send events." in words and "In order by header:x-room, json:room.id" in words
    assert "Drops what is older by json:at" in words
    path = str(page.url).removeprefix(person.url)
    assert "header:x-room\njson:room.id" in person.get(f"{path}/edit").text
    endpoints = re.search(rf'href="{BASE}(/apps/[^"]+/endpoints)"', page.text)
    assert endpoints is not None
    made = person.act(endpoints[1], url="https://example.com/sensors")
    assert "The endpoint was created." in made.text
    assert "1 endpoint of its own" in plain(person.get(f"{path}/delete"))
    assert "was deleted" in person.act(f"{path}/delete").text


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"type": "stripe", "secret": "", "verify": "signature"}, "secret"),
        ({"type": "stripe", "secret": "x", "allowedIps": "nonsense"}, "nonsense"),
        ({"type": "stripe", "secret": "x", "orderingKeyAt": "customer"}, "'customer' is no place of a text"),
        ({"type": "stripe", "secret": "x", "orderingVersionAt": "json:at"}, "versions are compared of what has the same key"),
        ({"type": "stripe", "secret": "x", "rateLimit": "many"}, "write a whole number"),
        ({"type": "stripe", "secret": "x", "silenceMin": "soon"}, "write a number of minutes"),
        ({"type": "stripe", "secret": "x", "route": "api/v1"}, "is no route for a source"),
        ({"type": "custom", "secret": "x", "scheme": "{"}, "this is no JSON"),
        ({"type": "custom", "secret": "x", "scheme": '{"type": "nothing"}'}, "'nothing' is no type of scheme"),
        ({"type": "airtable", "secret": "no base64!"}, "cannot be read as"),
        ({"type": "stripe", "secret": "x", "uid": "stripe-live"}, "exists already"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_source_is_said_and_no_secret_comes_back(
    shop: Shop, person: Person, fields: dict[str, str], problem: str
) -> None:
    answer = person.act("/sources", **({"name": "Wrong", "app": shop.equipment.service} | fields))
    assert answer.status_code == 422 and problem in html.unescape(answer.text)
    assert "no base64!" not in answer.text


def test_providers_are_found_by_any_part_of_their_name(person: Person) -> None:
    found = plain(person.get("/sources/new?q=git"))
    assert "GitHub" in found and "GitLab" in found and "Stripe" not in found
    assert "No such provider" in person.get("/sources/new?q=nobody-at-all").text
    assert "Verify token" in person.get("/sources/new?type=meta").text
    assert "Wait for the secret" in person.get("/sources/new?type=asana").text
    assert "URL as registered there" in person.get("/sources/new?type=square").text


def test_sources_are_found_by_their_names(shop: Shop, person: Person) -> None:
    made_of(shop, name="Needle in a haystack")
    page = person.get("/sources?q=needle").text
    assert "Needle in a haystack" in page and "Stripe, live" not in page
    assert "No such source" in person.get("/sources?q=nowhere").text


def test_what_came_in_the_last_day_is_counted(shop: Shop, person: Person, source: Made) -> None:
    for number in (1, 2, 2):
        assert source.send(number) == 200
    assert source.send(3, "whsec_wrong") == 401

    # Counts are written down every few seconds.
    def counted() -> bool:
        return "2 events in the last 24 hours, 1 duplicate, 1 refused" in plain(person.get(source.path))

    wait_until(counted, what="the counts")
    row = plain(person.get("/sources?q=Stripe, test"))
    assert re.search(r"Stripe, test to Payments service Stripe enabled 2 1 1 ", row)


def test_the_url_is_rotated_and_the_former_one_works_on(shop: Shop, person: Person, source: Made) -> None:
    page = person.act(f"{source.path}/rotate")
    assert "The source has a new URL." in page.text and "A former URL works until" in page.text and source.url not in page.text
    assert source.send(1) == 200
    for _ in range(2):
        person.act(f"{source.path}/rotate")
    assert "Not rotated:" in person.act(f"{source.path}/rotate").text
    assert "rotated the URL of a source" in person.get(f"/audit?object={source.id}").text


def test_a_new_secret_is_believed_beside_the_former_and_its_use_is_told(shop: Shop, person: Person, source: Made) -> None:
    page = person.act(f"{source.path}/secret", secret="whsec_the_new_one", grace="3600", encoding="")
    assert "The new secret is believed; former ones are believed for 1 h." in page.text
    assert "2 secrets are believed, one of them until" in plain(page) and "whsec_the_new_one" not in page.text
    assert source.send(1, "whsec_the_new_one") == 200 and source.send(2) == 200
    wait_until(lambda: "The provider still signs with an old secret" in plain(person.get(source.path)), what="it is told")
    assert "old secret" in plain(person.get(f"{source.path}/events?flag=old_secret"))
    assert person.act(f"{source.path}/secret", secret="", grace="0").status_code == 422


def test_a_refused_request_says_why_and_gets_in_once_the_secret_is_mended(shop: Shop, person: Person, source: Made) -> None:
    assert source.send(7, "whsec_the_right_one") == 401
    (item,) = source.kept()
    path = f"{source.path}/quarantine/{item['id']}"
    page = person.get(path)
    words = plain(page)
    assert "Refused: wrong signature" in words and "stops here" in words and "1 secret tried." in words
    assert "evt_7" in page.text and "stripe-signature" in page.text and "bytes that must be signed" in words
    assert STRIPE_SECRET not in page.text, "a secret that is kept is shown nowhere"
    # The signature that the kept secret would make would let anybody sign.
    assert "The signature that this secret makes" not in words

    assert "Not released: signature_mismatch" in person.act(f"{path}/release").text
    person.act(f"{source.path}/secret", secret="whsec_the_right_one", grace="3600")
    released = person.act(f"{path}/release")
    assert "Released: it is a message now" in released.text and "charge.succeeded" in released.text
    assert source.kept() == []
    assert person.get(path).status_code == 404
    assert "released requests from quarantine" in person.get(f"/audit?object={source.id}").text
    assert "released" in plain(person.get(f"{source.path}/events?flag=released"))


def test_a_request_is_released_without_a_check_only_when_somebody_says_so_twice(shop: Shop, person: Person, source: Made) -> None:
    source.send(8, "whsec_unknown")
    (item,) = source.kept()
    path = f"{source.path}/quarantine/{item['id']}"
    assert "Anybody could have sent it" in person.get(f"{path}/believe").text and len(source.kept()) == 1
    assert "Released: it is a message now" in person.act(f"{path}/believe").text
    assert "without a check" in person.get(f"/audit?object={source.id}").text


def test_many_are_verified_again_and_released_as_was_previewed(shop: Shop, person: Person, source: Made) -> None:
    for number in (1, 2, 3):
        source.send(number, "whsec_second")
    source.send(4, "whsec_never")
    assert "4 requests stay refused" in plain(person.get(f"/quarantine/release?source={source.id}"))
    person.act(f"{source.path}/secret", secret="whsec_second", grace="3600")
    asked = person.get(f"/quarantine/release?source={source.id}&reason=signature_mismatch")
    words = plain(asked)
    assert "3 requests are believed now" in words and "1 request stays refused" in words and "Release 3 requests" in words
    assert len(source.kept()) == 4, "asking releases nothing"
    done = person.act("/quarantine/release", **hidden(asked.text))
    assert "3 requests were released. 1 is still refused." in plain(done)
    assert len(source.kept()) == 1
    dropped = person.act("/quarantine/drop", **hidden(person.get(f"/quarantine/drop?source={source.id}").text))
    assert "1 request was dropped." in plain(dropped) and source.kept() == []


def test_the_secret_of_another_source_is_recognised(shop: Shop, person: Person, source: Made) -> None:
    other = made_of(shop, name="Stripe, sandbox", secrets=["whsec_of_the_sandbox"])
    source.send(9, "whsec_of_the_sandbox")
    (item,) = source.kept()
    page = person.get(f"{source.path}/quarantine/{item['id']}").text
    assert "It was made with the secret of another source" in page and f'href="{BASE}{other.path}"' in page


def test_a_body_is_shown_in_all_its_forms_and_saved_byte_for_byte(shop: Shop, person: Person, source: Made) -> None:
    body = b"\x00\x01<script>\xff" * 3
    call_source(source.url, body, "t=1,v1=00", authorization="Basic hidden-credential")
    (item,) = source.kept()
    path = f"{source.path}/quarantine/{item['id']}"
    assert "00 01 3c 73" in person.get(f"{path}?tab=hex").text and "<script>\xff" not in person.get(path).text
    headers = person.get(f"{path}?tab=headers").text
    assert "stripe-signature" in headers and "hidden-credential" not in headers and "***" in headers
    saved = person.get(f"{path}/body")
    assert saved.content == body and "attachment" in saved.headers["content-disposition"]
    text = stripe_event(3)
    call_source(source.url, text, "t=1,v1=00")
    second = f"{source.path}/quarantine/{source.kept()[0]['id']}"
    assert "7b 22 69 64" in person.get(f"{second}?tab=hex").text
    assert text.decode() in html.unescape(person.get(f"{second}?view=raw").text)


def test_the_quarantine_is_filtered_by_what_stands_in_the_address(shop: Shop, person: Person, source: Made) -> None:
    source.send(1, "whsec_wrong")
    source.send(2, at_s=time.time() - 4_000)
    call_source(source.url, stripe_event(3), None)
    for reason, words in (("timestamp_too_old", "too old"), ("missing_header", "no signature"), ("signature_mismatch", "wrong signature")):
        page = person.get(f"/quarantine/list?source={source.id}&reason={reason}").text
        assert page.count('<td class="fit"><a class="open"') == 1 and words in page
    assert "No such request" in person.get(f"/quarantine/list?source={source.id}&reason=ip_denied").text
    assert person.get("/quarantine/list?source=src_nobody").status_code == 404


# -- the signature doctor


def ask(person: Person, **fields: str) -> str:
    """What the doctor says, without markup."""
    return plain(person.act("/doctor", **({"form": "text"} | fields)))


def test_a_good_request_is_said_to_be_valid(person: Person) -> None:
    body = stripe_event(1)
    said = ask(person, signer="stripe", secrets=STRIPE_SECRET, headers=f"Stripe-Signature: {stripe_signature(body)}", body=body.decode())
    assert "The signature holds: Stripe signed these bytes, at" in said and "stops here" not in said


SIGNED = b'{"a": 1, "b": "\xc3\xbc", "c": "x/y"}'


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"body": SIGNED.decode() + "\n"}, "A newline was added at the end of the body on its way."),
        ({"body": '{"a":1,"b":"ü","c":"x/y"}'}, "written again on its way (whitespace was taken out)"),
        ({"body": '{"a": 1, "b": "\\u00fc", "c": "x/y"}'}, "whitespace was taken out"),
        ({"body": base64.b64encode(SIGNED).decode()}, "The body is base64 of what was sent"),
        ({"secrets": f" '{STRIPE_SECRET}' "}, "pasted with blanks or quotes around it"),
        ({"secrets": f"whsec_other\n{STRIPE_SECRET}"}, "with secret 2 of 2"),
        ({"secrets": "whsec_other"}, "The signature was not made with one of the secrets over these bytes."),
        ({"headers": "x-other: 1"}, "Header stripe-signature is missing."),
        ({"headers": "stripe-signature: nonsense"}, "stops here"),
        ({"when": "2026-01-01T00:00"}, "The signature itself holds; only its time does not"),
        ({"body": SIGNED.hex(), "form": "hex"}, "The signature holds"),
        ({"body": base64.b64encode(SIGNED).decode(), "form": "base64"}, "The signature holds"),
    ],
    ids=str,
)
def test_what_differs_is_named(person: Person, change: dict[str, str], told: str) -> None:
    usual = {
        "signer": "stripe",
        "secrets": STRIPE_SECRET,
        "headers": f"stripe-signature: {stripe_signature(SIGNED)}",
        "body": SIGNED.decode(),
    }
    assert told in ask(person, **(usual | change))


def test_the_url_is_taken_from_the_head_of_a_request_and_its_other_forms_are_tried(person: Person) -> None:
    import hmac

    body = b'{"a":1}'
    for called, told in (
        (b"https://hooks.example.com/square", "The signature holds"),
        (b"https://hooks.example.com/square/", "The sender called the URL with a slash at its end."),
        (b"http://hooks.example.com/square", "The sender called the http URL"),
        (b"https://hooks.example.com:443/square", "The sender called the URL with its port."),
    ):
        signature = base64.b64encode(hmac.digest(b"s", called + body, "sha256")).decode()
        head = f"POST /square HTTP/1.1\nHost: hooks.example.com\nx-square-hmacsha256-signature: {signature}"
        assert told in ask(person, signer="square", secrets="s", headers=head, body=body.decode()), called


def test_a_delivery_of_ours_is_checked_with_the_secrets_of_its_endpoint(shop: Shop, person: Person) -> None:
    arrivals: list[Arrival] = wait_until(lambda: shop.receiver.at("/orders"), what="a delivery")
    arrival = arrivals[-1]
    head = "\n".join(f"{name}: {value}" for name, value in arrival.headers.items() if name.startswith("webhook-"))
    app, endpoint = shop.scene.apps["acme"], shop.scene.endpoints["orders"]
    usual = {"app": app, "endpoint": endpoint, "headers": head, "body": arrival.body.decode()}
    assert "The signature holds" in ask(person, **usual)
    assert "no item of the signature header was made with one of the keys".lower() in ask(person, **(usual | {"body": "[0]"})).lower()
    compact = ask(person, **(usual | {"endpoint": shop.scene.endpoints["archive"]}))
    assert "It was made with the secret of another endpoint" in compact
    page = person.get(f"/doctor?app={app}&endpoint={endpoint}").text
    key = shop.server.call("GET", f"/app/{app}/endpoint/{endpoint}/secret")[1]["key"]
    assert "The secrets of" in page and "/orders" in page and key not in page


def test_our_own_scheme_is_checked_with_a_pasted_secret_and_the_right_signature_is_shown(person: Person) -> None:
    import datetime

    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    now = datetime.datetime.now(datetime.UTC)
    signature = standardwebhooks.Webhook(secret).sign("msg_1", now, '{"a":1}')
    head = f"webhook-id: msg_1\nwebhook-timestamp: {int(now.timestamp())}\nwebhook-signature: v1,wrong"
    said = ask(person, signer="standard-webhooks", secrets=secret, headers=head, body='{"a":1}')
    assert "not valid" in said and signature in html.unescape(said)


def test_a_pasted_secret_is_kept_nowhere(shop: Shop, person: Person) -> None:
    secret = "whsec_pasted_by_somebody_4711"
    page = person.act("/doctor", signer="stripe", secrets=secret, headers="stripe-signature: t=1,v1=ab", body="{}", form="text")
    assert page.status_code == 200 and secret not in page.text and page.headers["cache-control"] == "no-store"
    assert secret not in shop.server.log.read_text()
    assert secret.encode() not in shop.server.database.read_bytes()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"signer": "stripe", "headers": "no colon"}, "write one Name: value on each line"),
        ({"signer": "", "headers": "a: b"}, "choose who should have signed it"),
        ({"signer": "stripe", "body": "%%", "form": "base64"}, "this is no base64"),
        ({"signer": "stripe", "when": "yesterday"}, "is no time"),
        ({"signer": "stripe", "tolerance": "-1"}, "write a number of seconds"),
    ],
    ids=str,
)
def test_what_the_doctor_cannot_read_is_said(person: Person, fields: dict[str, str], problem: str) -> None:
    answer = person.act("/doctor", **({"form": "text", "secrets": "s"} | fields))
    assert answer.status_code == 422 and problem in html.unescape(answer.text)


def test_a_request_of_the_quarantine_is_examined_with_what_its_form_does_not_show(shop: Shop, person: Person) -> None:
    made = shop.server.make(f"/app/{shop.equipment.service}/source", {"name": "GitLab", "type": "gitlab", "secrets": ["the-token"]})
    httpx.post(
        made["ingestUrl"], content=b"{}", headers={"x-gitlab-token": "another-token", "x-gitlab-event": "Push Hook"}, trust_env=False
    )
    (item,) = quarantined(shop.server, shop.equipment.service, made["id"])
    form = person.get(f"/doctor?source={made['id']}&item={item['id']}")
    assert "another-token" not in form.text and "***" in form.text
    fields = {name: values[0] for name, values in hidden(form.text).items()}
    headers = html.unescape(re.search(r'name="headers"[^>]*>\n?([^<]*)</textarea>', form.text)[1])  # type: ignore[index]  # it is there
    said = ask(person, **fields, headers=headers, body="{}", secrets="another-token")
    assert "with secret 2 of 2" in said


def test_from_a_source_to_a_release_in_the_browser(shop: Shop, desk: Desk) -> None:
    page = desk.go("/sources")
    page.get_by_role("link", name="New source").click()
    expect(page.get_by_label("Provider")).to_be_focused()
    page.keyboard.type("strip")
    expect(page.locator(".offers li")).to_have_count(1)
    page.locator(".offers a").click()
    expect(page.locator("h1")).to_have_text("New source: Stripe")
    page.get_by_label("Name").fill("Stripe of the browser")
    page.get_by_label("Delivers to").select_option(label="Payments service")
    page.get_by_label("Secret").fill("whsec_typed_wrong")
    page.get_by_role("button", name="Create source").click()
    expect(page.locator(".notice").first).to_contain_text("The source was created.")
    path = desk.path
    url = page.locator(".code pre").first.inner_text()
    body = stripe_event(41)
    assert call_source(url, body, stripe_signature(body)) == 401
    page.reload()
    page.locator("tr", has_text="wrong signature").locator("a.open").click()
    page.locator("a.open").first.click()
    expect(page.locator("h1")).to_have_text("Refused: wrong signature")
    page.get_by_role("button", name="Verify and release").click()
    expect(page.locator(".notice").first).to_contain_text("Not released")
    page.get_by_role("link", name="add the right secret").click()
    page.locator("#panel").get_by_label("New secret").fill(STRIPE_SECRET)
    page.locator("#panel").get_by_role("button", name="Add secret").click()
    expect(page.locator(".notice").first).to_contain_text("The new secret is believed")
    page.get_by_role("link", name="All of them").click()
    page.get_by_role("link", name="Verify and release all…").click()
    page.locator("#panel").get_by_role("button", name="Release 1 request").click()
    expect(page.locator(".notice").first).to_contain_text("1 request was released.")
    assert desk.path == f"{path}/events"


def test_the_doctor_answers_without_losing_what_was_pasted(shop: Shop, desk: Desk) -> None:
    page = desk.go("/doctor")
    page.get_by_label("Who signed it").select_option("stripe")
    page.get_by_label("Secrets", exact=True).fill("whsec_wrong")
    body = stripe_event(5).decode()
    page.get_by_label("Headers").fill(f"stripe-signature: {stripe_signature(body.encode())}")
    page.get_by_label("Body", exact=True).fill(body)
    page.get_by_role("button", name="Examine").click()
    expect(page.locator("#found .badge").first).to_have_text("not valid")
    expect(page.get_by_label("Secrets", exact=True)).to_have_value("whsec_wrong")
    page.get_by_label("Secrets", exact=True).fill(STRIPE_SECRET)
    page.get_by_role("button", name="Examine").click()
    expect(page.locator("#found .badge").first).to_have_text("valid")
    page.get_by_label("Who signed it").select_option("")
    page.get_by_role("button", name="Examine").click()
    expect(page.locator("#found")).to_contain_text("choose who should have signed it")
    # The browser itself writes down each answer that is no success.
    assert [what for what in desk.trouble.found if "422" not in what] == []
    desk.trouble.found.clear()
