"""What becomes of attempts whose request a script makes, when its turn comes late?"""

from __future__ import annotations

from collections.abc import Callable

from ringback.delivery.scripting_turns import Ran, Script
from ringback.engine.supply import LEASE_US
from ringback.store.base import Bounds
from tests.engine.world import FAILED, OK, SECOND_US, World, in_world
from tests.waiting import until

CODE = "function handler(webhook) { return webhook; }"
UNCHANGED = Ran("returned", b"{}", payload_kind="same")
CANCELLED = Ran("returned", b'{"cancel":true}', payload_kind="same")


class Queue:
    """Scripts whose turn comes when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[Ran], None]] = []

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
