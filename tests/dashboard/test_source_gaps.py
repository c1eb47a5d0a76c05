"""Calls that never came, and events that are awaited: set up, looked at, and told on the page of a source."""

from __future__ import annotations

import datetime
import typing

import pytest

from tests.acceptance.provider_api import CREDENTIAL, ProviderApi, StripeList, refused
from tests.acceptance.provider_changes import DropboxEntries
from tests.dashboard.conftest import Person, Shop
from tests.dashboard.test_pages import plain
from tests.dashboard.test_receiving import Made, made_of
from tests.waiting import wait_until

FORM: dict[str, str] = {"listing": "stripe", "parameters": "", "missing": "take", "lookbackH": "72", "settleMin": "10", "paused": ""}


@pytest.fixture
def source(shop: Shop) -> Made:
    return made_of(shop)


@pytest.fixture
def api() -> typing.Iterator[ProviderApi]:
    made = ProviderApi(StripeList(4))
    yield made
    made.close()


def test_a_source_is_compared_with_its_provider_from_its_page(source: Made, person: Person, api: ProviderApi) -> None:
    assert "It is not compared with its provider" in plain(person.get(source.path))
    page = person.act(f"{source.path}/reconciliation", **FORM, credential="", intervalMin="60", baseUrl=api.url)
    assert page.status_code == 422 and "it is missing: with what the provider's API is asked" in plain(page)
    page = person.act(f"{source.path}/reconciliation", **FORM, credential=CREDENTIAL, intervalMin="soon", baseUrl="http://api.example.com")
    assert page.status_code == 422 and "write a number" in plain(page) and CREDENTIAL not in page.text
    person.act(f"{source.path}/reconciliation", **FORM, credential=CREDENTIAL, intervalMin="60", baseUrl=api.url)
    found = "4 calls that never came: 4 taken in from the list"
    wait_until(lambda: found in plain(person.get(source.path)), what="the run has found what never came")
    assert "found at the provider" in plain(person.get(f"{source.path}/events?flag=reconciled"))
    page = person.act(f"{source.path}/reconciliation/run")
    wait_until(lambda: "nothing missing" in plain(person.get(source.path)), what="the next run has found nothing")
    form = person.get(f"{source.path}/reconciliation").text
    assert CREDENTIAL not in form and api.url in form
    # Without the credential the one that is kept stays.
    person.act(f"{source.path}/reconciliation", **FORM, credential="", intervalMin="120", baseUrl=api.url)
    assert "2 h" in plain(person.get(source.path))
    person.act(f"{source.path}/reconciliation/delete")
    assert "It is not compared with its provider" in plain(person.get(source.path))


def test_why_it_cannot_be_compared_is_told_at_the_top(source: Made, person: Person, api: ProviderApi) -> None:
    api.answer = lambda asked: refused(401)
    person.act(f"{source.path}/reconciliation", **FORM, credential=CREDENTIAL, intervalMin="60", baseUrl=api.url)
    told = "It cannot be compared with its provider: the provider's API answered 401"
    wait_until(lambda: told in plain(person.get(source.path)), what="the failure is told")
    assert "The next try is in" in plain(person.get(source.path))


def test_a_list_of_changes_is_set_up_and_told_as_one_and_a_position_that_was_lost_is_a_warning(
    shop: Shop, person: Person, api: ProviderApi
) -> None:
    listed = DropboxEntries()
    api.answer = listed
    source = made_of(shop, type="dropbox", name="Files")
    wanted = FORM | {"listing": "dropbox", "parameters": "client_id: key-of-the-app\n", "intervalMin": "60", "baseUrl": api.url}
    wanted |= {"credential": CREDENTIAL, "clientSecret": "secret-of-the-app", "tokenUrl": f"{api.url}/token"}
    page = person.act(f"{source.path}/reconciliation", **(wanted | {"clientSecret": ""}))
    assert page.status_code == 422 and "it is missing" in plain(page)
    person.act(f"{source.path}/reconciliation", **wanted)
    wait_until(lambda: "Of 0 changes that the provider lists" in plain(person.get(source.path)), what="the first run has ended")
    listed.change("/a")
    person.act(f"{source.path}/reconciliation/run")
    told = "Of 1 change that the provider lists, the last run took in 1."
    wait_until(lambda: told in plain(person.get(source.path)), what="the change is taken in")
    page = plain(person.get(source.path))
    assert "Changes that no call brings" in page and "Taken in ever" in page and "Calls that never came" not in page
    form = person.get(f"{source.path}/reconciliation").text
    assert "secret-of-the-app" not in form and CREDENTIAL not in form and f"{api.url}/token" in form
    listed.reset()
    person.act(f"{source.path}/reconciliation/run")
    wait_until(lambda: "The provider knew no more" in plain(person.get(source.path)), what="it is told")
    person.act(f"{source.path}/reconciliation/delete")


def test_what_is_awaited_and_what_did_not_come_is_shown(shop: Shop, source: Made, person: Person) -> None:
    now = datetime.datetime.now(datetime.UTC)
    for uid, seconds in (("order-7", 0.3), ("order-8", 3_600)):
        deadline = (now + datetime.timedelta(seconds=seconds)).isoformat()
        wanted = {"match": {"eventType": "invoice.paid", "at": "json:data.order", "equals": uid}, "deadline": deadline, "uid": uid}
        shop.server.make(f"/app/{shop.equipment.service}/source/{source.id}/expectation", wanted)
    told = "1 event did not come by the deadline: invoice.paid, data.order = order-7."
    wait_until(lambda: told in plain(person.get(source.path)), what="the missed event is told")
    page = plain(person.get(f"{source.path}/expectations?state=open"))
    assert "order-8" in page and "order-7" not in page
