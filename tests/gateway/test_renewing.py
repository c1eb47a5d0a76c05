"""Which subscription is renewed when, whatever the clock does and whatever becomes of it while its provider is asked?"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
import typing
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest

from ringback.clock import SECOND_US, SystemClock
from ringback.delivery.pool import HttpTransport
from ringback.errors import InvalidField, StoreFailure
from ringback.model.sources import Source
from ringback.model.subscriptions import SubscriptionStanding
from ringback.policy.addresses import AddressPolicy, parse_networks
from ringback.services.operational import Operational
from ringback.services.provider_api import ProviderApi as Asking
from ringback.services.renewer import CONFIRM_S, Renewer
from ringback.services.subscriptions import SubscriptionIn, Subscriptions
from ringback.store.base import Store, Transaction
from tests.acceptance.provider_api import CREDENTIAL, Asked, ProviderApi, Said
from tests.gateway.conftest import WHO, Running, path_of

DAY_S = 86_400


class Renewed:
    """A source with a subscription, the API of its provider, and what renews it, a step at a time and with a clock that a test sets."""

    def __init__(self, running: Running, answer: Callable[[Asked], Said]) -> None:
        self.running, self.api = running, ProviderApi(answer)
        running.run(self._made())
        self.source: Source = running.made()

    async def _made(self) -> None:
        running = self.running
        self.transport = HttpTransport(policy=AddressPolicy(parse_networks("127.0.0.0/8")), clock=SystemClock())
        self.all = Subscriptions(running.store, running.vault, running.clock, running.sources)
        self.all.watch(lambda: None, running.known.changed)
        self.renewer = self.renewer_over(running.store)

    def renewer_over(self, store: Store) -> Renewer:
        """What renews, over this store."""
        running = self.running
        return Renewer(
            store,
            running.vault,
            running.clock,
            Asking(self.transport, running.clock),
            Operational(running.clock, running.make_id, running.metrics),
            running.metrics,
            lambda source: None,
            secrets.randbits,
            running.known.changed,
        )

    @property
    def wanted(self) -> SubscriptionIn:
        return SubscriptionIn(
            renewal="airtable", credential=CREDENTIAL, base_url=self.api.url, parameters={"base": "app1", "webhook": "ach1"}
        )

    async def put(self) -> SubscriptionStanding:
        (standing,), _ = await self.all.put(WHO, self.running.app_id, self.source.id, self.wanted)
        return standing

    @property
    def standing(self) -> SubscriptionStanding:
        (standing,) = self.standings
        return standing

    @property
    def standings(self) -> list[SubscriptionStanding]:
        return list(self.running.run(self.all.get(WHO, self.running.app_id, self.source.id)))

    def due(self) -> list[str]:
        found: list[str] = self.running.run(self.renewer.due(8))[0]
        return found

    def close(self) -> None:
        self.running.run(self.transport.close())
        self.api.close()


Renew = Callable[[Callable[[Asked], Said]], Renewed]


@pytest.fixture
def renew(running: Running) -> Iterator[Renew]:
    made: list[Renewed] = []

    def start(answer: Callable[[Asked], Said]) -> Renewed:
        made.append(Renewed(running, answer))
        return made[-1]

    yield start
    for renewed in made:
        renewed.close()


def lives_until(at_us: int) -> Said:
    """Airtable's answer: the webhook lives until then."""
    return Said({"expirationTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_us / SECOND_US))})


def test_an_answer_that_was_on_its_way_when_all_was_deleted_and_made_anew_moves_nothing(renew: Renew) -> None:
    asked_first, go_on = threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        asked_first.set()
        go_on.wait(20)
        return lives_until(renewed.running.clock.at_us + 7 * DAY_S * SECOND_US)

    renewed = renew(slow)
    running = renewed.running
    running.run(renewed.put())

    async def meanwhile() -> None:
        step = asyncio.create_task(renewed.renewer.step(renewed.source.id))
        await asyncio.to_thread(asked_first.wait, 20)
        await renewed.all.delete(WHO, running.app_id, renewed.source.id)
        running.clock.at_us += 1
        await renewed.put()
        go_on.set()
        await step

    running.run(meanwhile())
    assert asked_first.is_set()
    assert (renewed.standing.progress.renewals, renewed.standing.progress.expires_at) == (0, 0)
    assert renewed.due() == [renewed.source.id]


def test_a_renewal_that_waits_is_due_as_soon_as_before_when_the_clock_is_set_back(renew: Renew) -> None:
    renewed: Any = renew(lambda asked: lives_until(renewed.running.clock.at_us + 6 * DAY_S * SECOND_US))
    running = renewed.running
    running.run(renewed.put())
    running.run(renewed.renewer.step(renewed.source.id))
    assert renewed.standing.progress.renewals == 1
    assert renewed.due() == []
    # A third of six days is left after four.
    began_us = running.clock.at_us
    running.clock.at_us = began_us - 30 * DAY_S * SECOND_US
    assert renewed.due() == []
    running.clock.at_us += 4 * DAY_S * SECOND_US + SECOND_US
    assert renewed.due() == [renewed.source.id]


class Rotating:
    """A provider whose refresh tokens are good for one use: each answer brings the next one."""

    def __init__(self) -> None:
        self.current = CREDENTIAL
        self.refused: list[str] = []
        self.hold: Callable[[], None] = lambda: None

    def __call__(self, asked: Asked) -> Said:
        if asked.path != "/token":
            return (
                Said({"data": {"expires_at": "2030-01-01T00:00:00Z"}}) if "Bearer a-" in asked.headers["authorization"] else Said({}, 401)
            )
        given = urllib.parse.parse_qs(asked.body.decode())["refresh_token"][0]
        if given != self.current:
            self.refused.append(given)
            return Said({"error": "invalid_grant"}, 400)
        self.current = secrets.token_hex(16)
        self.hold()
        return Said({"access_token": f"a-{self.current}", "refresh_token": self.current})


def rotating(renewed: Renewed, **more: Any) -> SubscriptionIn:
    given = {"credential": CREDENTIAL, "client_secret": "s", "token_url": f"{renewed.api.url}/token", "base_url": renewed.api.url}
    return SubscriptionIn(**{"renewal": "clio", "parameters": {"webhook": "7", "client_id": "c"}, **given, **more})


def test_each_refresh_token_is_used_once_and_the_next_one_kept_though_the_owner_changes_something_meanwhile(renew: Renew) -> None:
    asked_first, go_on, provider = threading.Event(), threading.Event(), Rotating()
    renewed = renew(provider)
    running, source_id = renewed.running, renewed.source.id
    put = renewed.all.put

    def hold() -> None:
        asked_first.set()
        go_on.wait(20)

    provider.hold = hold

    async def meanwhile() -> None:
        await put(WHO, running.app_id, source_id, rotating(renewed))
        step = asyncio.create_task(renewed.renewer.step(source_id))
        await asyncio.to_thread(asked_first.wait, 20)
        # The credential is left out: it stays what it is, and what that is changes now.
        await put(WHO, running.app_id, source_id, rotating(renewed, credential=msgspec.UNSET, period_s=7_200))
        go_on.set()
        await step
        await renewed.renewer.step(source_id)

    running.run(meanwhile())
    standing = renewed.standing
    assert (standing.settings.credential, standing.settings.period_s) == (provider.current, 7_200)
    assert (standing.progress.renewals, standing.progress.failures, provider.refused) == (1, 0, [])


def test_a_credential_that_the_owner_gives_meanwhile_is_not_replaced(renew: Renew) -> None:
    asked_first, go_on, provider = threading.Event(), threading.Event(), Rotating()
    renewed = renew(provider)
    running, source_id = renewed.running, renewed.source.id

    def hold() -> None:
        asked_first.set()
        go_on.wait(20)

    provider.hold = hold

    async def meanwhile() -> None:
        await renewed.all.put(WHO, running.app_id, source_id, rotating(renewed))
        step = asyncio.create_task(renewed.renewer.step(source_id))
        await asyncio.to_thread(asked_first.wait, 20)
        await renewed.all.put(WHO, running.app_id, source_id, rotating(renewed, credential="of-the-owner"))
        go_on.set()
        await step

    running.run(meanwhile())
    assert renewed.standing.settings.credential == "of-the-owner"


TOPIC = "https://example.com/feed?a=1"


class Subscribed(Renewed):
    """A WebSub source, and the hub that its subscription is at."""

    def __init__(self, running: Running, answer: Callable[[Asked], Said]) -> None:
        super().__init__(running, answer)
        self.source = running.made(type="websub", secrets=["hub-secret"], topics=[TOPIC])
        given = SubscriptionIn(credential="hub-secret", base_url=f"{self.api.url}/hub", parameters={"topic": TOPIC})
        running.run(self.all.put(WHO, running.app_id, self.source.id, given))

    def step(self) -> SubscriptionStanding:
        self.running.run(self.renewer.step(self.source.id))
        return self.standing

    def says(self, mode: str, topic: str = TOPIC, **more: str) -> int:
        """What the hub says at the URL of the source, and what it is answered."""
        query = urllib.parse.urlencode({"hub.mode": mode, "hub.topic": topic, **{f"hub.{name}": text for name, text in more.items()}})
        answer = self.running.ask(path_of(self.source), method="GET", query=query.encode())
        assert answer.status != 200 or answer.body == more.get("challenge", "").encode()
        return answer.status


@pytest.fixture
def hub(running: Running) -> Iterator[Subscribed]:
    made = Subscribed(running, lambda asked: Said(b"", 202))
    yield made
    made.close()


def test_a_lease_is_what_the_hub_says_when_it_confirms_and_not_what_was_asked_for(hub: Subscribed) -> None:
    """www.w3.org/TR/websub, 5.3."""
    began_us = hub.running.clock.at_us
    asked = hub.step()
    assert (asked.progress.renewals, asked.progress.expires_at, asked.next_at) == (0, 0, began_us + CONFIRM_S * SECOND_US)
    assert hub.says("subscribe", challenge="c1", lease_seconds="3600") == 200
    confirmed = hub.standing
    assert (confirmed.progress.renewals, confirmed.progress.expires_at) == (1, began_us + 3_600 * SECOND_US)
    assert confirmed.next_at == began_us + 2_400 * SECOND_US
    # What nobody asked for is answered, and changes nothing.
    assert hub.says("subscribe", challenge="c2", lease_seconds="999999999") == 200
    assert hub.standing == confirmed


def test_a_hub_that_confirms_nothing_is_asked_again_and_one_that_does_so_late_is_heard(hub: Subscribed) -> None:
    hub.step()
    hub.running.clock.at_us += CONFIRM_S * SECOND_US
    unconfirmed = hub.step()
    assert (unconfirmed.progress.failures, unconfirmed.progress.cause, len(hub.api.asked)) == (1, "unconfirmed", 1)
    assert unconfirmed.next_at is not None
    hub.running.clock.at_us = unconfirmed.next_at
    hub.step()
    assert len(hub.api.asked) == 2
    hub.running.clock.at_us += CONFIRM_S * SECOND_US
    assert hub.step().progress.failures == 2
    assert hub.says("subscribe", challenge="c", lease_seconds="600") == 200
    assert (hub.standing.progress.renewals, hub.standing.progress.failures) == (1, 0)


def test_a_hub_may_say_no_at_once_or_later_and_its_reason_is_shown(hub: Subscribed) -> None:
    """www.w3.org/TR/websub, 5.2: the hub may deny a subscription at any point, even once it was accepted."""
    hub.step()
    assert hub.says("subscribe", challenge="c", lease_seconds="3600") == 200
    assert hub.says("denied", reason="no\r\nmore <b>" + "x" * 300) == 200
    progress = hub.standing.progress
    assert (progress.failures, progress.cause, progress.told_failing) == (1, "denied", True)
    assert progress.detail == "the hub denied the subscription: nomore <b>" + "x" * 190
    assert hub.standing.next_at == hub.running.clock.at_us + 30 * SECOND_US


@pytest.mark.parametrize("lease", ["", "0", "-5", "1e9", "soon", "99999999999"])
def test_a_lease_that_is_none_is_taken_as_what_was_asked_for(hub: Subscribed, lease: str) -> None:
    hub.step()
    assert hub.says("subscribe", challenge="c", lease_seconds=lease) == 200
    assert hub.standing.progress.expires_at == hub.running.clock.at_us + 864_000 * SECOND_US


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"credential": "another"}, "credential"),
        ({"parameters": {"topic": "https://example.com/other"}}, "topic"),
        ({"base_url": None, "parameters": {"topic": "http://example.com/feed"}}, "topic"),
        ({"base_url": None, "parameters": {"topic": "feed"}}, "topic"),
        ({"base_url": "http://hub.example.com"}, "baseUrl"),
        ({"parameters": {}}, "topic"),
    ],
)
def test_a_subscription_that_the_hub_could_not_confirm_is_refused(hub: Subscribed, given: dict[str, Any], where: str) -> None:
    whole: dict[str, Any] = {"credential": "hub-secret", "base_url": f"{hub.api.url}/hub", "parameters": {"topic": TOPIC}}
    with pytest.raises(InvalidField) as refused:
        hub.running.run(hub.all.put(WHO, hub.running.app_id, hub.source.id, SubscriptionIn(**{**whole, **given})))
    assert [problem.loc[-1] for problem in refused.value.problems] == [where]


class Found(Subscribed):
    """A WebSub source whose hub is found by asking its topic, which is at `/feed` of the same server. `says` is what that answers."""

    def __init__(self, running: Running, feed: Said) -> None:
        self.feed = feed
        Renewed.__init__(self, running, self.answer)
        self.topic = f"{self.api.url}/feed"
        self.source = running.made(type="websub", secrets=["hub-secret"], topics=[self.topic])
        given = SubscriptionIn(credential="hub-secret", parameters={"topic": self.topic})
        running.run(self.all.put(WHO, running.app_id, self.source.id, given))

    def answer(self, asked: Asked) -> Said:
        if asked.path == "/moved":
            return Said(b"", 302, (("location", "/moved"),))
        return Said(b"", 202) if asked.method == "POST" else self.feed

    def form(self) -> tuple[str, str]:
        """Where the hub was asked last, and for what."""
        asked = self.api.asked[-1]
        return asked.path, urllib.parse.parse_qs(asked.body.decode())["hub.topic"][0]


@pytest.fixture
def found(running: Running) -> Iterator[Callable[[Said], Found]]:
    made: list[Found] = []

    def start(feed: Said) -> Found:
        made.append(Found(running, feed))
        return made[-1]

    yield start
    for one in made:
        one.close()


Find = Callable[[Said], Found]
FEED = Said(b"<feed/>", 200, (("link", '</hub?a=1>; rel="hub"'), ("link", "<https://example.com/feed?a=1>; rel=self")))


def test_a_topic_is_asked_for_its_hub_and_subscribed_to_under_the_url_that_it_gives_itself(found: Find) -> None:
    """www.w3.org/TR/websub, 4 and 5.1: hub.topic MUST be the self URL, which may be another than the one that was asked."""
    it = found(FEED)
    # Before it was asked for, nobody subscribed to it.
    assert it.says("subscribe", challenge="c", lease_seconds="3600") == 404
    asked = it.step()
    assert [(one.method, one.path) for one in it.api.asked] == [("GET", "/feed"), ("POST", "/hub")]
    assert b"hub-secret" not in repr(it.api.asked[0]).encode() and it.form() == ("/hub", TOPIC)
    assert (asked.progress.hub, asked.progress.asked_for) == (f"{it.api.url}/hub?a=1", TOPIC)
    assert it.says("subscribe", challenge="c", lease_seconds="3600") == 200
    progress = it.standing.progress
    assert (progress.renewals, progress.hub) == (1, f"{it.api.url}/hub?a=1")
    # It is asked again before each renewal: the topic may have moved to another hub.
    it.feed = Said(b'<link rel="hub" href="/other">', 200, ())
    assert it.standing.next_at is not None
    it.running.clock.at_us = it.standing.next_at
    it.step()
    assert it.form() == ("/other", it.topic)
    assert it.says("subscribe", challenge="c", lease_seconds="3600") == 404


def test_a_subscription_that_is_deleted_is_confirmed_to_nobody(found: Find) -> None:
    it = found(FEED)
    it.step()
    assert it.says("subscribe", challenge="c", lease_seconds="3600") == 200
    it.running.run(it.all.delete(WHO, it.running.app_id, it.source.id))
    assert it.says("subscribe", challenge="c", lease_seconds="3600") == 404


@pytest.mark.parametrize(
    ("feed", "cause", "words"),
    [
        (Said(b"<feed/>", 200, ()), "no_hub", "names no hub"),
        (Said(b"", 200, (("link", "<http://hub.example.com/>; rel=hub"),)), "no_hub", "is not https://"),
        (Said(b"", 200, (("link", "<mailto:me@example.com>; rel=hub"),)), "unreadable", "give the hub as baseUrl"),
        (Said(b"", 404, ()), "refused", "answered 404"),
        (Said(b"", 503, ()), "provider", "answered 503"),
        (Said(b"", 301, (("location", "/moved"),)), "redirected", "more than 3 times"),
        (Said(b"", 301, (("location", "http://example.com/feed"),)), "redirected", "is not https://"),
        (Said(b"", 301, ()), "redirected", "cannot be followed"),
        (Said(b"", 302, (("location", "https://10.0.0.1/"),)), "blocked", "not reached"),
    ],
)
def test_a_topic_without_a_hub_that_can_be_asked_is_a_failure_that_says_why(found: Find, feed: Said, cause: str, words: str) -> None:
    it = found(feed)
    progress = it.step().progress
    assert (progress.failures, progress.cause, progress.asked_at) == (1, cause, None), progress.detail
    assert words in progress.detail
    assert not [one for one in it.api.asked if one.method == "POST"]


class Several(Subscribed):
    """A WebSub source with several topics at one hub, whose settings name that."""

    TOPICS: typing.ClassVar[list[str]] = [f"https://example.com/{name}" for name in ("a", "b", "c")]

    def __init__(self, running: Running) -> None:
        Renewed.__init__(self, running, lambda asked: Said(b"", 202))
        self.source = running.made(type="websub", secrets=["hub-secret"], topics=self.TOPICS)

    def want(self, *topics: str, **more: Any) -> None:
        """These topics, and no others."""
        given = {"credential": "hub-secret", "base_url": f"{self.api.url}/hub", "topics": topics, **more}
        self.running.run(self.all.put(WHO, self.running.app_id, self.source.id, SubscriptionIn(**given)))

    def steps(self) -> list[str]:
        """All that is due; the topics that the hub was asked for."""
        before = len(self.api.asked)
        while self.due():
            assert self.due() == [self.source.id], "it is there once, whatever of it is due"
            self.running.run(self.renewer.step(self.source.id))
        return [urllib.parse.parse_qs(asked.body.decode())["hub.topic"][0] for asked in self.api.asked[before:]]

    def how(self) -> dict[str, tuple[int, int, str]]:
        """How often each topic was renewed, how many days are left, and why it fails."""
        return {
            one.topic.rpartition("/")[2]: (
                one.progress.renewals,
                max(one.progress.expires_at - self.running.clock.at_us, 0) // SECOND_US // DAY_S,
                one.progress.cause,
            )
            for one in self.standings
        }


@pytest.fixture
def several(running: Running) -> Iterator[Several]:
    made = Several(running)
    yield made
    made.close()


def test_each_topic_of_a_source_has_a_lease_of_its_own(several: Several) -> None:
    a, b, c = several.TOPICS
    several.want(a, b, c)
    assert sorted(several.steps()) == [a, b, c]
    for topic, days in ((a, 3), (b, 9)):
        assert several.says("subscribe", topic, challenge="c", lease_seconds=str(days * DAY_S)) == 200
    assert several.says("denied", c, reason="no") == 200
    assert several.how() == {"a": (1, 3, ""), "b": (1, 9, ""), "c": (0, 0, "denied")}
    several.running.clock.at_us += 2 * DAY_S * SECOND_US
    # A third of three days is left; of nine days there is more.
    assert sorted(several.steps()) == [a, c]
    assert several.says("subscribe", a, challenge="c", lease_seconds=str(3 * DAY_S)) == 200
    assert several.how() == {"a": (2, 3, ""), "b": (1, 7, ""), "c": (0, 0, "denied")}


def test_a_topic_that_is_added_or_left_out_changes_no_other_lease(several: Several) -> None:
    a, b, c = several.TOPICS
    several.want(a, b)
    several.steps()
    for topic in (a, b):
        several.says("subscribe", topic, challenge="c", lease_seconds=str(9 * DAY_S))
    several.want(b, c, period_s=86_400)
    assert several.how() == {"b": (1, 9, ""), "c": (0, 0, "")}
    # The parameter is another way to write one topic.
    several.want(parameters={"topic": b}, credential=msgspec.UNSET)
    (one,) = several.standings
    assert (one.topic, one.progress.renewals, one.settings.credential) == ("", 1, "hub-secret")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"topics": ["https://example.com/a", "https://example.com/other"]}, ("body", "topics", "https://example.com/other")),
        ({"topics": ["https://example.com/a"], "parameters": {"topic": "https://example.com/a"}}, ("body", "topics")),
        ({"topics": ["https://example.com/a"], "renewal": "airtable", "parameters": {"base": "b", "webhook": "w"}}, ("body", "topics")),
        ({"topics": ["https://example.com/b"], "credential": msgspec.UNSET}, ("body", "credential")),
    ],
)
def test_topics_that_no_hub_could_confirm_are_refused(several: Several, given: dict[str, Any], where: tuple[str, ...]) -> None:
    several.want(several.TOPICS[0])
    topics = given.pop("topics")
    with pytest.raises(InvalidField) as refused:
        several.want(*topics, **given)
    assert [problem.loc for problem in refused.value.problems] == [where]
    assert [one.topic for one in several.standings] == several.TOPICS[:1]


class Faulty:
    """The store, whose next write fails when a test says so: the disk is full."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails_next = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, operation: Callable[[Transaction], Any]) -> Any:
        if self.fails_next:
            self.fails_next = False
            raise StoreFailure("the disk is full")
        return self._store.write(operation)


def test_a_refresh_token_that_could_not_be_stored_is_stored_before_the_provider_is_asked_again(renew: Renew) -> None:
    provider = Rotating()
    renewed = renew(provider)
    running, source_id = renewed.running, renewed.source.id
    running.run(renewed.all.put(WHO, running.app_id, source_id, rotating(renewed)))
    faulty = Faulty(running.store)
    renewer = renewed.renewer_over(cast(Store, faulty))

    def full() -> None:
        faulty.fails_next = len(renewed.api.asked) == 1

    provider.hold = full
    with pytest.raises(StoreFailure):
        running.run(renewer.step(source_id))
    assert renewed.standing.settings.credential == CREDENTIAL
    running.run(renewer.step(source_id))
    assert (renewed.standing.progress.renewals, renewed.standing.settings.credential) == (1, provider.current)
    assert (provider.refused, [asked.path for asked in renewed.api.asked][:2]) == ([], ["/token", "/token"])
