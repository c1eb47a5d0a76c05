from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest

from ringback.clock import SystemClock
from ringback.errors import Conflict, NotFound, RingbackError, Unauthenticated
from ringback.ids import IdMaker
from ringback.model.applications import Application, TokenKind
from ringback.services.tokens import DEFAULT_ORG_ID, Tokens
from ringback.store.opening import open_store
from ringback.store.operations import applications
from tests.fresh import laid


class Clock(SystemClock):
    """The time of this machine, and what a test adds to it."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


def bearer(text: str) -> bytes:
    return f"Bearer {text}".encode()


@pytest.fixture
def with_tokens(tmp_path):
    """Runs a scenario over tokens in a real store."""

    def run(scenario: Any) -> Any:
        async def opened() -> Any:
            clock = Clock()
            store = await open_store(f"sqlite:///{laid(tmp_path / 'ringback.db')}", clock)
            try:
                return await scenario(Tokens(store, clock, IdMaker(), secrets.randbits), clock, store)
            finally:
                await store.close()

        return asyncio.run(opened())

    return run


def test_the_first_start_makes_one_token_and_the_next_none(with_tokens):
    async def scenario(tokens, clock, store):
        text = await tokens.ensure_first(None)
        assert text.startswith("sk_")
        assert len(text) >= 35
        assert text.isascii()
        who = await tokens.authenticate(bearer(text))
        assert (who.kind, who.org_id, who.app_id) == (TokenKind.ORG, DEFAULT_ORG_ID, None)
        assert await tokens.ensure_first(None) is None

    with_tokens(scenario)


def test_a_given_token_is_accepted_and_never_returned(with_tokens):
    async def scenario(tokens, clock, store):
        for _ in range(2):
            assert await tokens.ensure_first("my own secret token") is None
        assert (await tokens.authenticate(bearer("my own secret token"))).org_id == DEFAULT_ORG_ID
        [token] = await tokens.list()
        await tokens.revoke(token.id)
        with pytest.raises(Conflict):
            await tokens.ensure_first("my own secret token")

    with_tokens(scenario)


def test_only_the_hash_is_stored(with_tokens, tmp_path):
    async def scenario(tokens, clock, store):
        _, text = await tokens.create()
        rows = await store.read(lambda tx: tx.rows("SELECT * FROM token"))
        assert text not in str(rows)
        assert text[3:] not in str(rows)

    with_tokens(scenario)


def test_a_token_is_known_without_waiting_once_it_was_believed(with_tokens):
    async def scenario(tokens, clock, store):
        _, text = await tokens.create()
        assert tokens.known(bearer(text)) is None
        who = await tokens.authenticate(bearer(text))
        assert tokens.known(bearer(text)) == who
        assert tokens.known(b"Bearer other") is None
        assert tokens.known(b"Basic: " + text.encode()) is None
        assert tokens.known(b"") is None

    with_tokens(scenario)


def test_a_revoked_token_is_dead_at_once(with_tokens):
    async def scenario(tokens, clock, store):
        token, text = await tokens.create()
        await tokens.authenticate(bearer(text))
        await tokens.revoke(token.id)
        assert tokens.known(bearer(text)) is None
        with pytest.raises(Unauthenticated):
            await tokens.authenticate(bearer(text))
        with pytest.raises(NotFound):
            await tokens.revoke("key_nope")

    with_tokens(scenario)


def test_a_revocation_beats_a_look_up_that_began_before(with_tokens):
    async def scenario(tokens, clock, store):
        token, text = await tokens.create()
        for _ in range(20):
            await asyncio.gather(tokens.authenticate(bearer(text)), tokens.revoke(token.id), return_exceptions=True)
            assert tokens.known(bearer(text)) is None

    with_tokens(scenario)


def test_an_expired_token_is_dead_remembered_or_not(with_tokens):
    async def scenario(tokens, clock, store):
        _, text = await tokens.create(expires_at=clock.now_us() + 1_000_000_000)
        await tokens.authenticate(bearer(text))
        clock.ahead_us = 1_000_000_001
        assert tokens.known(bearer(text)) is None
        with pytest.raises(Unauthenticated):
            await tokens.authenticate(bearer(text))

    with_tokens(scenario)


def test_tokens_are_listed_by_organisation(with_tokens):
    async def scenario(tokens, clock, store):
        first, _ = await tokens.create("one", name="a")
        second, _ = await tokens.create("one", name="b")
        other, _ = await tokens.create("two")
        assert [token.id for token in await tokens.list("one")] == [first.id, second.id]
        assert len(await tokens.list()) == 3
        assert first.org_id == second.org_id != other.org_id
        with pytest.raises(NotFound):
            await tokens.list("three")

    with_tokens(scenario)


def test_when_a_token_was_used_last_is_written_down_in_one_batch_and_only_if_it_was_used(with_tokens):
    async def scenario(tokens, clock, store):
        made = [await tokens.create(name=str(number)) for number in range(250)]
        first = clock.now_us()
        for _, text in made[:200]:
            await tokens.authenticate(bearer(text))

        async def last():
            return {token.name: token.last_used_at for token in await tokens.list()}

        assert set((await last()).values()) == {None}, "not on the way of the request"
        await tokens.note()
        noted = await last()
        assert all(noted[str(number)] >= first for number in range(200))
        assert all(noted[str(number)] is None for number in range(200, 250))
        await tokens.note()
        assert await last() == noted

        clock.ahead_us = 60_000_000
        assert tokens.known(bearer(made[3][1])) is not None
        await tokens.note()
        later = await last()
        assert later["3"] >= noted["3"] + 60_000_000
        assert {name for name, at in later.items() if at != noted[name]} == {"3"}

    with_tokens(scenario)


def test_a_use_is_written_down_although_the_token_was_revoked_or_its_application_went_meanwhile(with_tokens):
    async def scenario(tokens, clock, store):
        token, text = await tokens.create()
        await tokens.authenticate(bearer(text))
        await tokens.revoke(token.id)
        shop = Application("app_1", DEFAULT_ORG_ID, "a", None, None, {}, 1, 1)
        await store.write(lambda tx: applications.insert(tx, shop))
        app, app_text = await tokens.create(app_id="app_1")
        await tokens.authenticate(bearer(app_text))
        tokens.forget_application("app_1")
        await tokens.note()
        listed = {each.id: each.last_used_at for each in await tokens.list()}
        assert listed[token.id] is not None and listed[app.id] is not None

    with_tokens(scenario)


def test_a_use_that_could_not_be_written_down_is_told_again(with_tokens):
    async def scenario(tokens, clock, store):
        _, text = await tokens.create()
        await tokens.authenticate(bearer(text))
        await store.write(lambda tx: tx.run("ALTER TABLE token RENAME TO aside"))
        with pytest.raises(RingbackError):
            await tokens.note()
        await store.write(lambda tx: tx.run("ALTER TABLE aside RENAME TO token"))
        await tokens.note()
        assert (await tokens.list())[0].last_used_at is not None

    with_tokens(scenario)


def test_a_connection_that_remembers_who_calls_asks_anew_once_uses_were_written_down(with_tokens):
    async def scenario(tokens, clock, store):
        before = tokens.epoch
        await tokens.note()
        assert tokens.epoch != before

    with_tokens(scenario)
