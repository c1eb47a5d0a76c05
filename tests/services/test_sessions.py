"""How long is somebody logged in? Sessions and the audit log over a real store, with a clock that a test moves."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ringback.clock import SECOND_US, SystemClock
from ringback.errors import Unauthenticated
from ringback.ids import IdMaker
from ringback.policy.paging import Walk
from ringback.services.audit import RETENTION_US, Audit, Door
from ringback.services.jwts import Jwts
from ringback.services.sessions import IDLE_S, LIFE_S, LINK_LIFE_S, Sessions
from ringback.services.tokens import DEFAULT_ORG_ID, Tokens
from ringback.store.opening import open_store
from ringback.store.vault import Vault
from tests.api.test_authentication import jwt
from tests.fresh import laid

TOKEN = "sk_test_token_of_the_default_organisation"
MINUTE_S = 60


class Clock(SystemClock):
    """The time of this machine, and what a test adds to it."""

    ahead_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.ahead_s * SECOND_US)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class World:
    """The services of one store."""

    def __init__(self, store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.tokens = Tokens(store, clock, IdMaker(), secrets.randbits)
        self.sessions = Sessions(store, clock, self.tokens, secrets.token_bytes)
        self.audit = Audit(store, clock, IdMaker())


Scenario = Callable[[World], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario in a world where TOKEN is an org token."""

    def run(scenario: Scenario) -> None:
        async def opened() -> None:
            clock = Clock()
            store = await open_store(f"sqlite:///{laid(tmp_path / 'ringback.db')}", clock)
            try:
                world = World(store, clock)
                await world.tokens.ensure_first(TOKEN)
                await scenario(world)
            finally:
                await store.close()

        asyncio.run(opened())

    return run


def test_a_session_that_nobody_uses_ends(play):
    async def scenario(world):
        held = await world.sessions.log_in(TOKEN, "127.0.0.1")
        world.clock.ahead_s = IDLE_S - MINUTE_S
        assert await world.sessions.believe(held) is not None
        world.clock.ahead_s += IDLE_S - MINUTE_S
        assert await world.sessions.believe(held) is not None, "it was used in between"
        world.clock.ahead_s += IDLE_S + MINUTE_S
        assert await world.sessions.believe(held) is None

    play(scenario)


def test_a_page_that_refreshes_itself_keeps_no_session_alive(play):
    async def scenario(world):
        held = await world.sessions.log_in(TOKEN, "127.0.0.1")
        for _ in range(8):
            world.clock.ahead_s += IDLE_S / 8 - 1
            assert await world.sessions.believe(held, active=False) is not None
        world.clock.ahead_s += MINUTE_S
        assert await world.sessions.believe(held, active=False) is None

    play(scenario)


def test_a_session_ends_after_a_week_however_busy(play):
    async def scenario(world):
        held = await world.sessions.log_in(TOKEN, "127.0.0.1")
        while world.clock.ahead_s < LIFE_S - MINUTE_S:
            assert await world.sessions.believe(held) is not None
            world.clock.ahead_s += IDLE_S / 2
        world.clock.ahead_s = LIFE_S + 1
        assert await world.sessions.believe(held) is None

    play(scenario)


def test_a_session_is_marked_as_seen_at_most_once_a_minute(play):
    async def scenario(world):
        held = await world.sessions.log_in(TOKEN, "127.0.0.1")
        first = (await world.sessions.believe(held)).session.seen_at
        assert (await world.sessions.believe(held)).session.seen_at == first
        world.clock.ahead_s = MINUTE_S + 1
        await world.sessions.believe(held)
        assert (await world.sessions.believe(held)).session.seen_at > first

    play(scenario)


def test_a_session_ends_at_once_with_its_token_and_with_its_expiry(play):
    async def scenario(world):
        token, text = await world.tokens.create(expires_at=world.clock.now_us() + MINUTE_S * SECOND_US)
        held = await world.sessions.log_in(text, "127.0.0.1")
        assert (await world.sessions.believe(held)).session.expires_at == token.expires_at
        world.clock.ahead_s = MINUTE_S + 1
        assert await world.sessions.believe(held) is None

        other, text = await world.tokens.create()
        held = await world.sessions.log_in(text, "127.0.0.1")
        await world.tokens.revoke(other.id)
        assert await world.sessions.believe(held) is None

    play(scenario)


def test_a_session_that_a_signed_token_opened_ends_when_another_key_signs(play):
    async def scenario(world):
        def believing(secret: str | None, algorithm: str = "HS256", key: bytes = bytes(32)) -> Sessions:
            jwts = None if secret is None else Jwts(secret, algorithm, Vault(key).fingerprint)
            tokens = Tokens(world.store, world.clock, IdMaker(), secrets.randbits, jwts)
            return Sessions(world.store, world.clock, tokens, secrets.token_bytes)

        held = await believing("the first secret").log_in(jwt({"sub": DEFAULT_ORG_ID}, secret="the first secret"), "127.0.0.1")
        stored = await believing("the first secret").log_in(TOKEN, "127.0.0.1")
        assert await believing("the first secret").believe(held) is not None, "a restart ends nothing"
        for changed in (believing("another secret"), believing(None), believing("the first secret", "HS512")):
            assert await changed.believe(held) is None
            assert await changed.believe(stored) is not None, "one that an org token opened does not depend on it"
        rows = await world.store.read(lambda tx: tx.rows("SELECT signed_with FROM dashboard_session WHERE signed_with IS NOT NULL"))
        assert len(rows) == 1 and rows[0][0] != hashlib.sha256(b"HS256 the first secret").digest()

    play(scenario)


def test_what_the_browser_holds_is_nowhere_in_the_store(play):
    async def scenario(world):
        held = await world.sessions.log_in(TOKEN, "127.0.0.1")
        rows = await world.store.read(lambda tx: tx.rows("SELECT * FROM dashboard_session"))
        assert len(rows) == 1 and held not in repr(rows) and bytes.fromhex(held) not in rows[0]

    play(scenario)


def test_sessions_of_one_organisation_are_bounded_and_the_oldest_give_way(play):
    async def scenario(world):
        first = await world.sessions.log_in(TOKEN, "127.0.0.1")
        for _ in range(200):
            world.clock.ahead_s += 1
            last = await world.sessions.log_in(TOKEN, "127.0.0.1")
        assert await world.sessions.believe(first) is None
        assert await world.sessions.believe(last) is not None
        assert await world.store.read(lambda tx: tx.row("SELECT COUNT(*) FROM dashboard_session")) == (200,)

    play(scenario)


def test_the_link_works_once_even_for_two_at_the_same_time(play):
    async def scenario(world):
        secret = world.sessions.offer_link()
        results = await asyncio.gather(*(world.sessions.follow_link(secret, "127.0.0.1") for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(result, str) for result in results) == 1
        assert all(isinstance(result, str | Unauthenticated) for result in results)

    play(scenario)


def test_the_link_ends_after_a_quarter_of_an_hour_and_with_the_next(play):
    async def scenario(world):
        late = world.sessions.offer_link()
        world.clock.ahead_s = LINK_LIFE_S + 1
        with pytest.raises(Unauthenticated):
            await world.sessions.follow_link(late, "127.0.0.1")
        former, current = world.sessions.offer_link(), world.sessions.offer_link()
        for secret in (former, "", "é", "0" * 64):
            with pytest.raises(Unauthenticated):
                await world.sessions.follow_link(secret, "127.0.0.1")
        visitor = await world.sessions.believe(await world.sessions.follow_link(current, "127.0.0.1"))
        assert visitor.session.token_id is None

    play(scenario)


def test_the_audit_log_tells_who_did_what_and_forgets_after_its_time(play):
    async def scenario(world):
        held = await world.sessions.log_in(TOKEN, "127.0.0.1")
        who = (await world.sessions.believe(held)).who
        await world.audit.record(who, Door.DASHBOARD, "endpoint.deleted", "ep_1", app_id="app_1", detail="x" * 900, address="203.0.113.9")
        await world.audit.record(who, Door.API, "endpoint.updated", "ep_2", address="203.0.113.9")
        page = await world.audit.page(who, Walk(10, descending=True))
        assert [(entry.action, entry.object, entry.token_name) for entry in page.items] == [
            ("endpoint.updated", "ep_2", "from the settings"),
            ("endpoint.deleted", "ep_1", "from the settings"),
        ]
        assert len(page.items[1].detail) == 500
        assert [entry.object for entry in (await world.audit.page(who, Walk(10, descending=True), "ep_1")).items] == ["ep_1"]
        world.clock.ahead_s = RETENTION_US / SECOND_US + MINUTE_S
        await world.audit.record(who, Door.API, "endpoint.created", "ep_3")
        assert [entry.object for entry in (await world.audit.page(who, Walk(10, descending=True))).items] == ["ep_3"]

    play(scenario)


def test_nobody_sees_the_audit_log_of_another_organisation(play):
    async def scenario(world):
        _, text = await world.tokens.create("other")
        here = (await world.sessions.believe(await world.sessions.log_in(TOKEN, "a"))).who
        there = (await world.sessions.believe(await world.sessions.log_in(text, "b"))).who
        await world.audit.record(here, Door.API, "endpoint.created", "ep_1")
        assert (await world.audit.page(there, Walk(10, descending=True))).items == []

    play(scenario)
