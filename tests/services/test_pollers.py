"""Leases over time, and clients of one consumer that come at once: what is handed out to whom, and when again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ringback.clock import SystemClock
from ringback.errors import InvalidField, Refused
from ringback.ids import IdMaker
from ringback.model.applications import TokenKind
from ringback.services.applications import ApplicationIn, Applications
from ringback.services.directory import Directory
from ringback.services.pollers import MAX_CONSUMERS, Asked, LeaseAsked, Leased, Pollers
from ringback.services.polling import Polling, PollingEndpointIn
from ringback.services.tokens import DEFAULT_ORG_ID, Principal, Tokens
from ringback.store.opening import open_store
from ringback.store.vault import Vault
from tests.fresh import laid
from tests.store.conformance.shelf import Shelf

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
WHO = Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "key_test")


class Hand(SystemClock):
    """A clock that a hand sets."""

    def __init__(self) -> None:
        self.at_us = 1_750_000_000 * SECOND_US

    def now_us(self) -> int:
        return self.at_us


class World:
    """Pollers over a store, with an application and a polling endpoint."""

    def __init__(self, shelf: Shelf, clock: Hand, app: str, sink: str) -> None:
        self.shelf, self.clock, self.app, self.sink = shelf, clock, app, sink
        self.pollers = Pollers(shelf.store, clock)

    async def send(self, count: int) -> list[str]:
        return [(await self.shelf.accept(app_id=self.app)).what for _ in range(count)]

    async def lease(self, limit: int, lease_s: int = 60, name: str = "c") -> Leased:
        return await self.pollers.lease(WHO, self.app, self.sink, name, LeaseAsked(limit, lease_s * 1_000))

    async def offsets(self, limit: int, lease_s: int = 60) -> list[int]:
        return [offset for offset, _ in (await self.lease(limit, lease_s)).items]

    async def commit(self, offset: int) -> None:
        await self.pollers.commit(WHO, self.app, self.sink, "c", offset)

    def later(self, seconds: int) -> None:
        self.clock.at_us += seconds * SECOND_US


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    def told(story: Callable[[World], Awaitable[None]]) -> None:
        async def run() -> None:
            clock = Hand()
            store = await open_store(f"sqlite:///{laid(tmp_path / 'ringback.db')}", clock)
            try:
                shelf = Shelf(store, clock)
                vault, make_id = Vault(secrets.token_bytes(32)), IdMaker()
                directory = Directory(store, vault)
                tokens = Tokens(store, clock, make_id, secrets.randbits)
                await tokens.ensure_first(None)
                applications = Applications(store, clock, make_id, directory, tokens)
                app = (await applications.create(WHO, ApplicationIn(name="Shop"))).application.id
                polling = Polling(store, vault, clock, make_id, directory, tokens)
                sink = (await polling.create(WHO, app, PollingEndpointIn())).endpoint.id
                await story(World(shelf, clock, app, sink))
            finally:
                await store.close()

        asyncio.run(run())

    return told


Tell = Callable[[Callable[[World], Awaitable[None]]], None]


def test_a_lease_keeps_messages_from_others_until_it_is_over(tell: Tell) -> None:
    async def story(world: World) -> None:
        await world.send(3)
        assert await world.offsets(2, lease_s=10) == [1, 2]
        assert await world.offsets(2, lease_s=30) == [3]
        world.later(9)
        assert await world.offsets(5) == []
        world.later(1)
        assert await world.offsets(5) == [1, 2]
        assert await world.offsets(5) == []
        world.later(20)
        assert await world.offsets(5) == [3]

    tell(story)


def test_a_commit_ends_what_was_handed_out_together_up_to_it_and_nothing_else(tell: Tell) -> None:
    async def story(world: World) -> None:
        await world.send(6)
        assert await world.offsets(2, lease_s=10) == [1, 2]
        assert await world.offsets(3, lease_s=10) == [3, 4, 5]
        await world.commit(4)
        world.later(10)
        # Whoever got the first two may have died with them.
        assert await world.offsets(10) == [1, 2, 5, 6]
        await world.commit(6)
        world.later(60)
        assert await world.offsets(10) == []

    tell(story)


def test_who_was_too_slow_may_commit_all_the_same(tell: Tell) -> None:
    async def story(world: World) -> None:
        await world.send(2)
        assert await world.offsets(2, lease_s=10) == [1, 2]
        world.later(10)
        assert await world.offsets(1, lease_s=10) == [1]
        await world.commit(2)
        world.later(10)
        assert await world.offsets(2) == [1]
        await world.commit(1)
        await world.commit(1)
        with pytest.raises(InvalidField):
            await world.commit(3)

    tell(story)


def test_many_clients_that_come_at_once_share_what_there_is(tell: Tell) -> None:
    async def story(world: World) -> None:
        sent = await world.send(40)
        answers = await asyncio.gather(*(world.lease(8) for _ in range(5)))
        assert sorted(offset for answer in answers for offset, _ in answer.items) == list(range(1, 41))
        assert {message.id for answer in answers for _, message in answer.items} == set(sent)

    tell(story)


def test_clients_of_one_consumer_that_come_at_once_get_the_same(tell: Tell) -> None:
    async def story(world: World) -> None:
        await world.send(5)
        ask = Asked(3)
        answers = await asyncio.gather(*(world.pollers.consume(WHO, world.app, world.sink, "c", ask) for _ in range(5)))
        assert len({tuple(message.id for message in answer.messages) for answer in answers}) == 1
        again = [Asked(3, answer.iterator) for answer in answers]
        after = await asyncio.gather(*(world.pollers.consume(WHO, world.app, world.sink, "c", ask) for ask in again))
        assert {len(answer.messages) for answer in after} == {2}

    tell(story)


def test_an_answer_that_says_nothing_new_writes_nothing(tell: Tell) -> None:
    async def story(world: World) -> None:
        async def seen() -> list[tuple[int, int]]:
            return [(row[0], row[1]) for row in await world.shelf.rows("SELECT version, seen_at FROM poll_consumer ORDER BY leased")]

        ask = Asked(3)
        await world.pollers.consume(WHO, world.app, world.sink, "c", ask)
        await world.lease(3)
        before = await seen()
        for _ in range(3):
            world.later(60)
            await world.pollers.consume(WHO, world.app, world.sink, "c", ask)
            await world.lease(3)
        assert await seen() == before
        world.clock.at_us += DAY_US
        await world.pollers.consume(WHO, world.app, world.sink, "c", ask)
        await world.lease(3)
        assert [at for _, at in await seen()] == [world.clock.at_us] * 2

    tell(story)


def test_consumers_that_were_not_seen_for_a_season_make_room(tell: Tell) -> None:
    async def story(world: World) -> None:
        async def ask(name: str) -> None:
            await world.pollers.consume(WHO, world.app, world.sink, name, Asked(1))

        for number in range(MAX_CONSUMERS):
            await ask(f"c{number}")
        with pytest.raises(Refused):
            await ask("one more")
        world.clock.at_us += 91 * DAY_US
        await ask("c0")
        await ask("one more")
        assert await world.shelf.rows("SELECT name FROM poll_consumer ORDER BY name") == [("c0",), ("one more",)]

    tell(story)


def test_messages_that_history_has_lost_leave_their_leases(tell: Tell) -> None:
    async def story(world: World) -> None:
        await world.send(3)
        assert await world.offsets(3, lease_s=10) == [1, 2, 3]
        await world.shelf.store.write(lambda tx: tx.run("DELETE FROM message WHERE seq = (SELECT MIN(seq) FROM message)"))
        world.later(10)
        assert await world.offsets(3) == [2, 3]
        assert await world.shelf.rows("SELECT first_offset, last_offset FROM poll_lease") == [(2, 3)]

    tell(story)


def test_large_payloads_are_leased_in_parts(tell: Tell) -> None:
    async def story(world: World) -> None:
        for _ in range(4):
            await world.shelf.accept(app_id=world.app, payload=b'"' + b"x" * (6 << 20) + b'"')
        assert await world.offsets(4, lease_s=10) == [1, 2]
        assert await world.offsets(4, lease_s=10) == [3, 4]
        world.later(10)
        assert await world.offsets(4) == [1, 2]
        assert await world.offsets(4) == [3, 4]
        assert (await world.lease(4)).done

    tell(story)


def test_how_far_behind_a_consumer_is(tell: Tell) -> None:
    async def story(world: World) -> None:
        sent = await world.send(5)
        first = await world.pollers.consume(WHO, world.app, world.sink, "c", Asked(2))
        await world.pollers.consume(WHO, world.app, world.sink, "c", Asked(2, first.iterator))
        await world.lease(4, name="w")
        (overview,) = await world.pollers.overview(WHO, world.app, 10)
        by_name = {standing.consumer.name: standing for standing in overview.consumers}
        assert (by_name["c"].behind, by_name["w"].behind, by_name["w"].in_hand) == (3, 1, 1)
        assert abs(by_name["c"].since - world.clock.at_us) <= SECOND_US and len(sent) == 5

    tell(story)
