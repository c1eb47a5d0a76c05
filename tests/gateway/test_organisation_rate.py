"""What may all sources of one organisation take in together? One that is flooded is answered 429; others notice nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringback.api.bodies import Body
from ringback.errors import NotFound
from ringback.model.applications import TokenKind
from ringback.model.sources import Source
from ringback.services.applications import ApplicationIn
from ringback.services.gateway import SourceDirectory
from ringback.services.organisations import Organisations
from ringback.services.source_views import SourceViews
from ringback.services.source_wishes import SourceIn
from ringback.services.tokens import DEFAULT_ORG_ID, DEFAULT_ORG_NAME, Principal, Tokens
from ringback.store.operations import organisations as rows
from tests.gateway.conftest import WHO, Answer, Running, path_of
from tests.gateway.signing import event, signed


class Shared:
    """Two sources of one organisation, and one of another."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.one, self.two = running.made(), running.made()
        self.organisations = Organisations(running.store, running.known)
        self.other = running.run(self._of_another())

    async def _of_another(self) -> Source:
        running = self.running
        token, _ = await Tokens(running.store, running.clock, running.applications._ids, lambda bits: 7).create("other")
        who = Principal(TokenKind.ORG, token.org_id, None, token.id)
        app = (await running.applications.create(who, ApplicationIn(name="b"))).application
        given = {"name": "s", "type": "stripe", "secrets": ["whsec_test"]}
        return await running.sources.create(who, app.id, Body(SourceIn).parse(msgspec.json.encode(given)))

    def limit(self, rate: int | None, name: str = DEFAULT_ORG_NAME) -> None:
        self.running.run(self.organisations.limit(name, rate))

    def call(self, source: Source, times: int = 1) -> list[int]:
        return [self.answer(source).status for _ in range(times)]

    def answer(self, source: Source) -> Answer:
        return self.running.ask(path_of(source), event(), signed(event()))


@pytest.fixture
def shared(running: Running) -> Shared:
    return Shared(running)


def test_all_sources_of_an_organisation_share_its_rate_and_another_one_has_its_own(shared: Shared) -> None:
    shared.limit(4)
    assert shared.call(shared.one, 3) == [200] * 3
    assert shared.call(shared.two, 2) == [200, 429]
    refused = shared.answer(shared.one)
    assert (refused.status, refused.headers["retry-after"], refused.json["code"]) == (429, "1", "rate_limited")
    assert shared.call(shared.other, 20) == [200] * 20
    shared.running.clock.at_us += 250_000
    assert shared.call(shared.two, 2) == [200, 429]


def test_without_a_limit_there_is_none(shared: Shared) -> None:
    assert shared.call(shared.one, 50) == [200] * 50


def test_a_limit_holds_from_the_next_request_on_and_so_does_its_end(shared: Shared) -> None:
    assert shared.call(shared.one, 5) == [200] * 5
    shared.limit(1)
    assert shared.call(shared.one, 2) == [200, 429]
    shared.limit(3)
    assert shared.call(shared.one, 4) == [200, 200, 200, 429]
    shared.limit(0)
    assert shared.call(shared.one, 9) == [200] * 9


def test_what_the_settings_say_holds_for_organisations_without_a_limit_of_their_own(shared: Shared) -> None:
    running = shared.running
    running.known = SourceDirectory(running.store, running.vault, running.clock, running.directory, running.metrics, 2)
    running.gateway._sources = running.known
    shared.organisations = Organisations(running.store, running.known)
    shared.limit(5, "other")
    assert shared.call(shared.one, 3) == [200, 200, 429]
    assert shared.call(shared.other, 6) == [200] * 5 + [429]
    shared.limit(0, "other")
    assert shared.call(shared.other, 9) == [200] * 9
    shared.limit(None, "other")
    assert shared.call(shared.other, 3) == [200, 200, 429]


def test_what_a_source_refuses_by_its_own_rate_takes_nothing_from_the_others(shared: Shared) -> None:
    shared.running.changed(shared.one, secrets=("whsec_test",), rate_limit=1)
    shared.limit(4)
    assert shared.call(shared.one, 9) == [200] + [429] * 8
    assert shared.call(shared.two, 4) == [200, 200, 200, 429]


def test_providers_that_ask_are_granted_no_more_than_the_organisation_may_take_in(shared: Shared) -> None:
    running = shared.running
    asking = {"type": "cloudevents", "secrets": ["s"], "allowedOrigins": ["events.example"]}
    plain, limited = running.made(**asking), running.made(**asking, rateLimit=5)
    question = {"webhook-request-origin": "events.example", "webhook-request-rate": "6000"}

    def granted(source: Source) -> str:
        return running.ask(path_of(source), b"", question, method="OPTIONS").headers["webhook-allowed-rate"]

    before = granted(plain)
    assert granted(limited) == "300"
    shared.limit(3)
    assert (granted(plain), granted(limited)) == ("180", "180")
    shared.limit(9)
    assert (granted(plain), granted(limited)) == ("540", "300")
    shared.limit(0)
    assert granted(plain) == before


def test_refusals_are_counted_by_reason_for_a_day_and_forgotten_with_the_source(shared: Shared) -> None:
    running = shared.running
    running.changed(shared.one, secrets=("whsec_test",), rate_limit=2)
    shared.limit(3)
    assert shared.call(shared.one, 4) == [200, 200, 429, 429]
    assert shared.call(shared.two, 3) == [200, 429, 429]
    running.ask(path_of(shared.two), event(), method="PUT")
    running.run(running.known.note())
    views = SourceViews(running.store, running.vault, running.clock, receive_rate=9)

    def seen(source: Source) -> Any:
        return running.run(views.watch(WHO, source.id))

    assert (seen(shared.one).refusals, seen(shared.one).shared_rate) == ({"rate_limited": 2}, 3)
    assert seen(shared.two).refusals == {"organisation_rate_limited": 2, "method_not_allowed": 1}
    assert running.metrics.source_rejections == {"rate_limited": 2, "organisation_rate_limited": 2, "method_not_allowed": 1}
    assert shared.call(shared.two) == [429]
    running.run(running.known.note())
    assert seen(shared.two).refusals["organisation_rate_limited"] == 3
    running.clock.at_us += 86_400 * 1_000_000
    assert seen(shared.two).refusals == {}
    shared.limit(None)
    assert seen(shared.two).shared_rate == 9
    running.run(running.sources.delete(WHO, running.app_id, shared.two.id))
    while running.run(running.known.forget()):
        pass
    assert [row[0] for row in running.run(running.store.read(lambda tx: tx.rows("SELECT source_id FROM source_refusal")))] == [
        shared.one.id
    ]


def test_counts_that_could_not_be_kept_are_told_with_the_next_ones(shared: Shared) -> None:
    running = shared.running
    shared.limit(1)
    assert shared.call(shared.one, 3) == [200, 429, 429]
    running.run(running.store.write(lambda tx: tx.run("ALTER TABLE source_refusal RENAME TO aside")))
    running.run(running.known.note())
    running.run(running.store.write(lambda tx: tx.run("ALTER TABLE aside RENAME TO source_refusal")))
    assert shared.call(shared.one) == [429]
    running.run(running.known.note())
    assert running.run(running.sources.refusals(shared.one.id)) == {"organisation_rate_limited": 3}
    assert running.run(running.sources.activity(shared.one.id)).rejected == 3
    assert running.metrics.source_rejections == {"organisation_rate_limited": 3}


def test_an_unknown_organisation_has_no_limit(shared: Shared) -> None:
    with pytest.raises(NotFound, match="no organisation is named 'nobody'"):
        shared.limit(1, "nobody")
    assert running_rate(shared) is None


def running_rate(shared: Shared) -> int | None:
    rate: int | None = shared.running.run(shared.running.store.read(lambda tx: rows.receive_rate(tx, DEFAULT_ORG_ID)))
    return rate
