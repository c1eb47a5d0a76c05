"""What is said of blocks goes when all their rows are past their time, and not before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from ringback import ids
from ringback.store.operations import blocks, messages, retention
from ringback.store.operations.blocks import Blocks, Place
from tests.store.operations.test_filtered_lists import APPS, ENDPOINTS, FILTERS, NOW_US, World, pages


@pytest.fixture
def world() -> Iterator[World]:
    made = World(5)
    made.happen(250)
    yield made
    made.connection.close()


def purged(world: World, kind: Blocks, before: str, limit: int = 7) -> int:
    """Purge all in small steps; how many rows."""
    removed, after = 0, blocks.START
    for _ in itertools.count():
        step: Place | None
        number, step = blocks.purge(world.tx, kind, before, limit, after)
        removed += number
        if step is None:
            return removed
        after = step
    raise AssertionError("unreachable")


def rows(world: World, table: str) -> set[tuple[str, str, str]]:
    return set(world.tx.rows(f"SELECT scope, label, start FROM {table}"))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 1.0])
def test_blocks_of_the_past_go_and_lists_of_what_is_left_are_whole(world, share):
    known = sorted(world.messages)
    before = known[int(share * (len(known) - 1))]
    was = rows(world, "message_block")
    assert purged(world, blocks.MESSAGES, before) == len(was) - len(rows(world, "message_block")) > 0
    world.tx.run("DELETE FROM message WHERE id < ?", (before,))
    for app_id, chosen in itertools.product(APPS, FILTERS):
        expected = [m.id for m in world.messages.values() if m.app_id == app_id and m.id >= before and world.fits(m.id, chosen)]
        found = pages(
            lambda walk, a=app_id, c=chosen: messages.listed(world.tx, a, walk, c, NOW_US, content=False), lambda m: m.id, 20, up=False
        )
        assert list(found) == sorted(expected, reverse=True)
    # What is left begins with the block that the oldest message may lie in.
    for app_id in APPS:
        starts = sorted(start for scope, label, start in rows(world, "message_block") if scope == app_id and label == "")
        assert len([start for start in starts if start < before]) <= 1


def test_nothing_goes_while_nothing_is_past_its_time(world):
    for kind, prefix in ((blocks.MESSAGES, ids.MESSAGE), (blocks.ATTEMPTS, ids.ATTEMPT), (blocks.PAIRS, ids.MESSAGE)):
        was = rows(world, kind.table)
        assert purged(world, kind, ids.start_id(prefix, 0)) == 0
        assert rows(world, kind.table) == was


def test_every_kind_of_block_goes(world):
    for kind in (blocks.MESSAGES, blocks.ATTEMPTS, blocks.PAIRS, blocks.DEAD_LETTERS["org_id"]):
        was = rows(world, kind.table)
        purged(world, kind, "~")
        left = rows(world, kind.table)
        scopes = {scope for scope, _, _ in was}
        # The last block of each is still being filled.
        assert {scope for scope, label, _ in left if label == ""} == scopes
        assert len([row for row in left if row[1] == ""]) == len(scopes)
        assert len(left) < len(was)


def test_what_is_said_of_an_application_or_endpoint_goes_with_it(world):
    for scope in (*APPS, *ENDPOINTS):
        while blocks.purge_scope(world.tx, scope, 10):
            continue
    for table in ("message_block", "attempt_block", "pair_block", "dead_letter_block"):
        assert {scope for scope, _, _ in rows(world, table)} <= {"org_1"}


def test_what_was_given_up_goes_with_its_messages(world):
    given_up = set(world.tx.rows("SELECT endpoint_id, message_id FROM given_up"))
    assert len(given_up) > 20
    before_us = ids.created_us(sorted(message_id for _, message_id in given_up)[len(given_up) // 2])
    after: str | None = ""
    while after is not None:
        _, after = retention.purge_given_up(world.tx, before_us, 3, after)
    left = set(world.tx.rows("SELECT endpoint_id, message_id FROM given_up"))
    assert left == {row for row in given_up if row[1] >= ids.start_id(ids.MESSAGE, before_us)}
