"""What becomes of attempts whose request a script makes, when its turn comes late?"""

from __future__ import annotations

from collections.abc import Callable

from ringback.delivery.scripting_turns import Ran, Script
from ringback.engine.supply import LEASE_US
from ringback.model.applications import TokenKind
from ringback.model.ordering import Ordered, Ordering
from ringback.services.dead_letters import DeadLetters, Picked
from ringback.services.tokens import Principal
from ringback.store.base import Bounds
from tests.engine.world import FAILED, OK, SECOND_US, World, in_world
from tests.waiting import until, until_async

CODE = "function handler(webhook) { return webhook; }"
UNCHANGED = Ran("returned", b"{}", payload_kind="same")
CANCELLED = Ran("returned", b'{"cancel":true}', payload_kind="same")


OWNER = Principal(TokenKind.ORG, "org_1", None, "tok_1")


class Queue:
    """Scripts whose turn comes when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[Ran], None]] = []
        self.full = False
        self.asked = 0

    def crowded(self, script: Script) -> bool:
        self.asked += 1
        return self.full

    def run(self, script: Script, document: bytes, done: Callable[[Ran], None]) -> None:
        self.waiting.append(done)


def test_nothing_is_sent_twice_because_its_script_has_waited_longer_than_a_lease() -> None:
    scripts = Queue()

    async def story(world: World) -> None:
        endpoint_id = await world.endpoint("a")
        await world.transform("a", CODE)
        await world.publish("a")
        await until(lambda: len(scripts.waiting) == 1)
        for _ in range(6):
            # As the server does, three times in a lease.
            world.clock.later_s += LEASE_US / SECOND_US / 3
            world.dispatcher.tidy()
        found = await world.store.claim(endpoint_id, Bounds(100, 1 << 20), world.clock.now_us(), 1)
        assert found.claims == []
        scripts.waiting.pop()(UNCHANGED)
        await world.settled()
        assert len(world.transport.sent) == 1
        world.dispatcher.tidy()
        # A lease that somebody held for ever would keep what was given back from being sent.
        world.transport.decide = lambda sent: FAILED if len(world.transport.sent) == 2 else OK
        await world.publish("a")
        await until(lambda: len(scripts.waiting) == 1)
        scripts.waiting.pop()(UNCHANGED)
        await until(lambda: len(scripts.waiting) == 1)
        scripts.waiting.pop()(UNCHANGED)
        await world.settled()
        assert len(world.transport.sent) == 3

    in_world(story, scripts=scripts)


def test_a_dead_letter_whose_replay_is_cancelled_is_gone_and_its_lane_goes_on() -> None:
    scripts = Queue()

    async def story(world: World) -> None:
        await world.endpoint("a", ordering=Ordering(Ordered.ENDPOINT))
        await world.transform("a", CODE)
        for _ in range(2):
            await world.publish("a")
        await until(lambda: len(scripts.waiting) == 1)
        scripts.waiting.pop()(Ran("threw", words="Error: no"))

        async def blocked() -> bool:
            return await world.count("SELECT COUNT(*) FROM lane_block") == 1

        await until_async(blocked, 20, "a blocked lane")
        await DeadLetters(world.store, world.clock, world.dispatcher).replay(OWNER, None, Picked(), dry_run=False)
        await until(lambda: len(scripts.waiting) == 1)
        scripts.waiting.pop()(CANCELLED)
        await until(lambda: len(scripts.waiting) == 1)
        scripts.waiting.pop()(UNCHANGED)
        await world.settled()
        assert [sent.sequence for sent in world.transport.sent] == [2]
        assert await world.rows("SELECT status FROM attempt ORDER BY seq") == [(2,), (4,), (0,)]
        assert await world.count("SELECT COUNT(*) FROM dead_letter") == 0

    in_world(story, scripts=scripts, schedule_s=())


def test_an_attempt_whose_script_would_wait_for_long_takes_no_place_from_others() -> None:
    scripts = Queue()
    scripts.full = True

    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        await world.transform("a", CODE)
        await world.publish("a")
        await until(lambda: scripts.asked == 1)
        assert world.dispatcher.flying == 0 and not scripts.waiting
        await world.publish("b")
        await world.sent(1)
        scripts.full = False
        await until(lambda: len(scripts.waiting) == 1)
        scripts.waiting.pop()(UNCHANGED)
        await world.settled()
        assert [sent.host for sent in world.transport.sent] == ["b", "a"]

    in_world(story, scripts=scripts, total=2)
