"""Keys that providers publish: fetched over TLS through the address guard, remembered for a while, and so is that they could not be had."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from ringback.delivery.resolver import Resolver
from ringback.delivery.tls import client_context
from ringback.gateway.keys import FetchedKeys
from ringback.services.published import Published
from ringback.signing.fetched import KeyRef, KeyUnavailable
from ringback.store.opening import open_store
from ringback.store.operations.published import key_of
from ringback.store.vault import Vault
from tests.delivery.hostile import Authority, Peer, Script, serving
from tests.delivery.sending import transport
from tests.gateway.conftest import Hand

# Seconds for one test: a hang is a failure, not a stuck suite.
LIMIT_S = 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def run(story: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await story

    asyncio.run(limited())


def at_loopback(host: str, port: int) -> list[tuple[object, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


class Publisher:
    """A provider's web server: what it publishes now, and with which status."""

    def __init__(self) -> None:
        self.body = b'{"keys":[{"kid":"one"}]}'
        self.status = 200

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\n\r\n%b" % (self.status, len(self.body), self.body))


def ref(port: int, key_id: str = "one", path: str = "/jwks") -> KeyRef:
    return KeyRef(f"https://keys.example:{port}{path}", "jwks", key_id)


class World:
    """A publisher, and what fetches from it."""

    def __init__(self, authority: Authority, script: Script, allowed: str = "127.0.0.0/8") -> None:
        self._authority = authority
        self._script = script
        self._allowed = allowed
        self.clock = Hand()

    async def __aenter__(self) -> World:
        self._serving = serving(self._script, tls=self._authority.server_context("keys.example"))
        self.server = await self._serving.__aenter__()
        ca = client_context(self._authority.file)
        self._opened = transport(allowed=self._allowed, resolver=Resolver(lookup=at_loopback), ca=ca)
        self._transport = await self._opened.__aenter__()
        self.store = await open_store("sqlite:///:memory:", self.clock)
        self._vault = Vault(secrets.token_bytes(32))
        self.start()
        return self

    def start(self) -> None:
        """As after a restart: what was in memory is gone."""
        self.keys = FetchedKeys(self._transport, self.clock, Published(self.store, self._vault, self.clock))

    async def __aexit__(self, *exc: object) -> None:
        await self._opened.__aexit__(None, None, None)
        await self.store.close()
        await self._serving.__aexit__(None, None, None)

    def later(self, seconds: float) -> None:
        self.clock.set(self.clock.monotonic_s() + seconds)

    async def has(self, wanted: KeyRef) -> bytes | None:
        """The key, fetched first where that is needed; None when it cannot be had."""
        try:
            return self.keys.key(wanted)
        except KeyUnavailable:
            try:
                await self.keys.fetch(wanted)
                return self.keys.key(wanted)
            except KeyUnavailable:
                return None


def test_a_key_is_fetched_once_and_believed_for_ten_minutes(authority: Authority) -> None:
    async def story() -> None:
        publisher = Publisher()
        async with World(authority, publisher) as world:
            wanted = ref(world.server.port)
            for _ in range(3):
                assert await world.has(wanted) == publisher.body
            assert len(world.server.requests) == 1
            assert world.server.requests[0].startswith(b"GET /jwks HTTP/1.1\r\n")
            world.later(599)
            assert await world.has(wanted) == publisher.body
            assert len(world.server.requests) == 1
            publisher.body = b'{"keys":[{"kid":"one","n":"changed"}]}'
            world.later(2)
            assert await world.has(wanted) == publisher.body
            assert len(world.server.requests) == 2

    run(story())


def test_a_set_that_lacks_a_key_is_fetched_again_but_not_for_everybody_who_names_one(authority: Authority) -> None:
    async def story() -> None:
        publisher = Publisher()
        async with World(authority, publisher) as world:
            port = world.server.port
            assert await world.has(ref(port)) == publisher.body
            publisher.body = b'{"keys":[{"kid":"one"},{"kid":"two"}]}'
            # Just fetched: whoever names a key that is not there makes us fetch nothing.
            for number in range(20):
                assert await world.has(ref(port, f"made-up-{number}")) == b'{"keys":[{"kid":"one"}]}'
            assert len(world.server.requests) == 1
            world.later(31)
            assert await world.has(ref(port)) is not None
            assert len(world.server.requests) == 1
            assert await world.has(ref(port, "two")) == publisher.body
            assert len(world.server.requests) == 2

    run(story())


@pytest.mark.parametrize("status", [301, 404, 500])
def test_what_could_not_be_had_is_not_asked_for_with_each_request(authority: Authority, status: int) -> None:
    async def story() -> None:
        publisher = Publisher()
        publisher.status = status
        async with World(authority, publisher) as world:
            wanted = ref(world.server.port)
            for _ in range(5):
                assert await world.has(wanted) is None
            assert len(world.server.requests) == 1
            publisher.status = 200
            world.later(11)
            assert await world.has(wanted) == publisher.body

    run(story())


def test_a_hundred_that_ask_at_once_wait_for_one_fetch(authority: Authority) -> None:
    async def story() -> None:
        publisher = Publisher()
        async with World(authority, publisher) as world:
            wanted = ref(world.server.port)
            found = await asyncio.gather(*(world.has(wanted) for _ in range(100)))
            assert set(found) == {publisher.body} and len(world.server.requests) == 1

    run(story())


def test_strangers_cannot_make_us_fetch_a_thousand_things_at_once(authority: Authority) -> None:
    async def story() -> None:
        async def hangs(peer: Peer) -> None:
            await peer.request()
            await peer.closed()

        async with World(authority, hangs) as world:
            found = await asyncio.gather(*(world.has(ref(world.server.port, path=f"/{number}")) for number in range(200)))
            assert set(found) == {None} and len(world.server.requests) <= 16

    run(story())


def test_a_body_that_is_too_large_or_never_ends_is_no_key(authority: Authority) -> None:
    async def story() -> None:
        async def floods(peer: Peer) -> None:
            await peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await peer.flood(b"x" * 65_536)

        async with World(authority, floods) as world:
            assert await world.has(ref(world.server.port)) is None

    run(story())


@pytest.mark.parametrize(
    "url", ["http://keys.example/jwks", "https://[", "https://keys.example:99999/", "https://a b/", "file:///etc/passwd"]
)
def test_nothing_but_https_is_fetched(authority: Authority, url: str) -> None:
    async def story() -> None:
        async with World(authority, Publisher()) as world:
            assert await world.has(KeyRef(url, "jwks", "one")) is None
            assert world.server.requests == []

    run(story())


def test_a_name_that_leads_to_a_private_address_is_not_called(authority: Authority) -> None:
    async def story() -> None:
        async with World(authority, Publisher(), allowed="") as world:
            assert await world.has(ref(world.server.port)) is None
            assert world.server.connections == 0
            assert not await world.keys.visit(f"https://keys.example:{world.server.port}/?Action=ConfirmSubscription")

    run(story())


def test_a_certificate_for_another_name_is_not_believed(authority: Authority) -> None:
    async def story() -> None:
        async with World(authority, Publisher()) as world:
            assert await world.has(KeyRef(f"https://other.example:{world.server.port}/", "x509_pem")) is None
            assert world.server.requests == []

    run(story())


def test_a_url_that_was_asked_for_is_visited_and_its_answer_told(authority: Authority) -> None:
    async def story() -> None:
        publisher = Publisher()
        async with World(authority, publisher) as world:
            url = f"https://keys.example:{world.server.port}/?Action=ConfirmSubscription&Token=t"
            assert await world.keys.visit(url)
            publisher.status = 403
            assert not await world.keys.visit(url)
            assert [request.split(b" ")[1] for request in world.server.requests] == [b"/?Action=ConfirmSubscription&Token=t"] * 2
            assert json.loads(publisher.body)

    run(story())


def test_a_key_outlives_a_restart_but_is_believed_no_longer_for_it(authority: Authority) -> None:
    async def story() -> None:
        publisher = Publisher()
        async with World(authority, publisher) as world:
            wanted = ref(world.server.port)
            kept = publisher.body
            assert await world.has(wanted) == kept
            publisher.status = 500
            world.later(590)
            world.start()
            assert await world.has(wanted) == kept, "the provider is not needed for a restart"
            assert len(world.server.requests) == 1
            world.later(11)
            assert await world.has(wanted) is None, "ten minutes are ten minutes"
            world.start()
            assert await world.has(wanted) is None

    run(story())


def test_a_kept_set_that_lacks_a_key_is_fetched_anew_after_a_restart(authority: Authority) -> None:
    async def story() -> None:
        publisher = Publisher()
        async with World(authority, publisher) as world:
            port = world.server.port
            assert await world.has(ref(port)) is not None
            publisher.body = b'{"keys":[{"kid":"one"},{"kid":"two"}]}'
            world.later(60)
            world.start()
            assert await world.has(ref(port)) == b'{"keys":[{"kid":"one"}]}'
            assert await world.has(ref(port, "two")) == publisher.body

    run(story())


def test_what_somebody_put_in_place_of_another_key_in_the_database_is_not_believed(authority: Authority) -> None:
    async def story() -> None:
        publisher = Publisher()
        async with World(authority, publisher) as world:
            good, other = ref(world.server.port), ref(world.server.port, path="/other")
            assert await world.has(good) == publisher.body
            publisher.body = b'{"keys":[{"kid":"one","n":"of another"}]}'
            assert await world.has(other) == publisher.body
            stored = key_of("key", other.url), key_of("key", good.url)
            swap = "UPDATE published SET content = (SELECT content FROM published WHERE key = ?) WHERE key = ?"
            await world.store.write(lambda tx: tx.run(swap, stored))
            publisher.status = 500
            world.start()
            assert await world.has(other) == publisher.body
            assert await world.has(good) is None

    run(story())
