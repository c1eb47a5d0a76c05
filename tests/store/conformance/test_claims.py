from __future__ import annotations

import asyncio
from functools import partial

from ringback.store.base import Bounds
from ringback.store.operations import directory
from tests.store.conformance.shelf import LEASE_US, SECOND_US, Shelf


async def stored(shelf: Shelf, number: int, endpoint_id: str = "ep_1") -> list[str]:
    """The ids of messages that wait in the database, the oldest first."""
    offered = [shelf.offer(endpoint_id) for _ in range(number)]
    await asyncio.gather(*(heard.done for heard in offered))
    return [heard.what for heard in offered]


def test_claims_take_the_oldest_due_first_and_never_one_twice(tell):
    async def story(shelf: Shelf) -> None:
        wanted = await stored(shelf, 25)
        await stored(shelf, 3, "ep_2")
        claims = await asyncio.gather(*(shelf.claim(bounds=Bounds(10, 1 << 20)) for _ in range(4)))
        found = [c.delivery.message_id for claim in claims for c in claim.claims]
        assert found == wanted
        assert [len(claim.claims) for claim in claims] == [10, 10, 5, 0]

    tell(story)


def test_a_claim_carries_what_is_sent(tell):
    async def story(shelf: Shelf) -> None:
        heard = await shelf.accept("ep_1", payload=b"\x00\xfe", content_type="text/plain", raw=True, headers=b"a: b\r\n", event_id="e")
        (claim,) = (await shelf.claim()).claims
        message = heard.acceptance.message
        for field in ("id", "app_id", "event_type", "payload", "created_at", "expires_at", "content_type", "raw", "event_id", "headers"):
            assert getattr(claim.message, field) == getattr(message, field)
        assert (claim.delivery.sequence, claim.delivery.attempts, claim.delivery.due_at) == (1, 0, message.created_at)

    tell(story)


def test_a_claim_tells_when_the_next_one_is_due(tell):
    async def story(shelf: Shelf) -> None:
        assert (await shelf.claim()).next_due_at is None
        later = shelf.now_us + 60 * SECOND_US
        first = await shelf.accept("ep_1")
        second = await shelf.accept("ep_1")
        await shelf.accept("ep_1", deliver_at=later)
        claims = await shelf.claim(bounds=Bounds(1, 1 << 20))
        assert claims.next_due_at == second.acceptance.message.created_at
        claims = await shelf.claim()
        assert claims.next_due_at == later
        assert first.what != claims.claims[0].delivery.message_id
        assert (await shelf.claim(now_us=later)).next_due_at is None

    tell(story)


def test_a_claim_ends_when_its_payloads_are_many_bytes(tell):
    async def story(shelf: Shelf) -> None:
        for _ in range(4):
            await shelf.accept("ep_1", payload=b"x" * 1_000)
        claims = await shelf.claim(bounds=Bounds(10, 1_500))
        assert len(claims.claims) == 2
        assert claims.next_due_at is not None
        assert len((await shelf.claim(bounds=Bounds(10, 1))).claims) == 1, "at least one, however large"
        assert len((await shelf.claim(bounds=Bounds(10, 1_500))).claims) == 1

    tell(story)


def test_what_was_handed_over_in_memory_is_never_claimed(tell):
    async def story(shelf: Shelf) -> None:
        # Both in one commit, and in two.
        handed, claimed = shelf.offer("ep_1", claim=True), asyncio.ensure_future(shelf.claimed_ids())
        other = shelf.offer("ep_1")
        await asyncio.gather(handed.done, other.done)
        assert handed.what not in await claimed + await shelf.claimed_ids()

    tell(story)


def test_a_lease_runs_out_unless_it_is_renewed(tell):
    async def story(shelf: Shelf) -> None:
        (wanted,) = await stored(shelf, 1)
        (claim,) = (await shelf.claim(lease_us=0)).claims
        (claim,) = (await shelf.claim(lease_us=0)).claims
        shelf.store.renew([claim.delivery], shelf.now_us + LEASE_US)
        assert await shelf.claimed_ids() == []
        shelf.store.renew([claim.delivery], shelf.now_us - 1)
        assert await shelf.claimed_ids() == [wanted]

    tell(story)


def test_setting_the_clock_forward_ends_no_lease(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.delivery()
        assert await shelf.claimed_ids(now_us=shelf.now_us + 1_000 * LEASE_US) == []

    tell(story)


def test_what_is_released_is_anybodys(tell):
    async def story(shelf: Shelf) -> None:
        wanted = await stored(shelf, 3)
        claims = (await shelf.claim()).claims
        shelf.store.release([c.delivery for c in claims[:2]])
        assert await shelf.claimed_ids() == wanted[:2]

    tell(story)


def test_what_was_recorded_is_free_for_its_next_time(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        await shelf.record(shelf.retry(delivery, delivery.due_at + 1))
        assert await shelf.claimed_ids(now_us=delivery.due_at + 1) == [delivery.message_id]

    tell(story)


def test_a_claim_that_nobody_waits_for_any_more_leases_nothing(tell):
    async def story(shelf: Shelf) -> None:
        wanted = await stored(shelf, 2)
        claim = asyncio.ensure_future(shelf.claim())
        await asyncio.sleep(0)
        claim.cancel()
        await asyncio.gather(claim, return_exceptions=True)
        assert await shelf.claimed_ids() == wanted

    tell(story)


def test_a_payload_past_its_time_is_claimed_without_it(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.accept("ep_1", expires_at=shelf.now_us + SECOND_US)
        (claim,) = (await shelf.claim(now_us=shelf.now_us + 2 * SECOND_US)).claims
        assert claim.message.payload is None
        assert claim.message.event_type == "t"

    tell(story)


def test_a_delivery_whose_message_is_gone_is_claimed_without_payload(tell):
    async def story(shelf: Shelf) -> None:
        (wanted,) = await stored(shelf, 1)
        await shelf.store.write(lambda tx: tx.run("DELETE FROM message"))
        (claim,) = (await shelf.claim()).claims
        assert (claim.delivery.message_id, claim.message.payload) == (wanted, None)

    tell(story)


def test_leases_end_with_the_store(tell_again):
    async def first(shelf: Shelf) -> str:
        return (await shelf.delivery()).message_id

    async def second(shelf: Shelf) -> list[str]:
        return await shelf.claimed_ids()

    wanted = tell_again(first)
    assert tell_again(second) == [wanted]


def test_unfinished_deliveries_are_counted_in_steps(tell):
    async def story(shelf: Shelf) -> None:
        await stored(shelf, 15)
        await stored(shelf, 10, "ep_2")
        steps = []
        place: directory.Key | None = directory.START
        while place is not None:
            found, place = await shelf.store.read(partial(directory.count_unfinished, after=place, step=10))
            steps.append(found)
        assert steps == [10, 10, 5]
        assert await shelf.store.read(directory.count_unfinished) == (25, None)

    tell(story)


def test_one_delivery_is_claimed_wherever_it_stands_and_by_nobody_twice(tell):
    async def story(shelf: Shelf) -> None:
        wanted = await stored(shelf, 5)
        (third,) = (c.delivery for c in (await shelf.claim()).claims if c.delivery.message_id == wanted[2])
        assert await shelf.store.claim_one(third, shelf.now_us, LEASE_US) is None
        shelf.store.release([third])
        claim = await shelf.store.claim_one(third, shelf.now_us, LEASE_US)
        assert claim is not None
        assert (claim.delivery, claim.message.id) == (third, wanted[2])
        assert await shelf.store.claim_one(third, shelf.now_us, LEASE_US) is None
        assert await shelf.claimed_ids() == []
        await shelf.record(shelf.success(third))
        assert await shelf.store.claim_one(third, shelf.now_us, LEASE_US) is None
        assert shelf.store.leased("ep_1") == 4

    tell(story)
