"""How many dead letters there are is known without counting them."""

from __future__ import annotations

from ringback.policy.paging import Walk
from ringback.store.operations import dead_letter_groups, dead_letters
from ringback.store.operations.dead_letters import Chosen, Scope
from tests.store.conformance.shelf import Shelf

ALL = Walk(100, descending=False)
IN_ORG = Scope("org_id", "org_1")


async def groups(shelf: Shelf) -> dict[tuple[str, str], int]:
    found = await shelf.store.read(lambda tx: dead_letter_groups.of_organisation(tx, "org_1"))
    total = await shelf.store.read(lambda tx: dead_letter_groups.total(tx, "org_1"))
    assert total == sum(group.letters for group in found)
    assert await shelf.store.read(lambda tx: dead_letters.count(tx, IN_ORG, ALL, Chosen())) == total
    return {(group.endpoint_id, group.cause): group.letters for group in found}


def test_letters_are_summed_up_by_endpoint_and_cause_as_they_come_and_go(tell):
    async def story(shelf: Shelf) -> None:
        assert await groups(shelf) == {}
        deliveries = [await shelf.delivery(endpoint) for endpoint in ("ep_1", "ep_1", "ep_2")]
        for delivery in deliveries:
            assert await shelf.record(shelf.death(delivery)) is None
        assert await groups(shelf) == {("ep_1", "http_500"): 2, ("ep_2", "http_500"): 1}

        await shelf.store.write(lambda tx: dead_letters.resolve(tx, "ep_1", deliveries[0].message_id))
        assert await groups(shelf) == {("ep_1", "http_500"): 1, ("ep_2", "http_500"): 1}

        await shelf.store.write(lambda tx: dead_letters.discard(tx, Scope("endpoint_id", "ep_2"), ALL, Chosen()))
        assert await groups(shelf) == {("ep_1", "http_500"): 1}

        def dies_again(endpoint_id: str, message_id: str) -> int:
            dead = "UPDATE dead_letter SET cause = 'timeout', state = 'dead' WHERE endpoint_id = ? AND message_id = ?"
            return shelf.store.write(lambda tx: tx.run(dead, (endpoint_id, message_id)))

        # Discarded, and dead again by a manual attempt: it counts once more, under its new cause.
        await dies_again("ep_2", deliveries[2].message_id)
        await dies_again("ep_1", deliveries[1].message_id)
        assert await groups(shelf) == {("ep_1", "timeout"): 1, ("ep_2", "timeout"): 1}

    tell(story)


def test_a_selection_is_spread_over_its_endpoints(tell):
    async def story(shelf: Shelf) -> None:
        for endpoint in ("ep_1", "ep_2", "ep_1", "ep_1"):
            assert await shelf.record(shelf.death(await shelf.delivery(endpoint))) is None
        found: dict[str, int] = {}
        rest: Walk | None = Walk(2, descending=False)
        while rest is not None:
            shares, rest = await shelf.store.read(lambda tx, at=rest: dead_letters.spread(tx, IN_ORG, at, Chosen(), shelf.now_us))
            for share in shares:
                assert share.replayable == 0, "neither endpoint is there"
                found[share.endpoint_id] = found.get(share.endpoint_id, 0) + share.letters
        assert found == {"ep_1": 3, "ep_2": 1}

    tell(story)
