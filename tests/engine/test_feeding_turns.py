"""Do streams take turns, and does what takes long hold up nobody and stay within its memory?"""

from __future__ import annotations

import asyncio

from ringback.engine.feeding_turns import Places, Slow, Turn
from tests.waiting import until

MIB = 1024 * 1024


def given(places: Places, count: int = 1_000) -> list[str]:
    """The sinks that get a place now, in their order."""
    found = []
    while len(found) < count and (next_one := places.next()) is not None:
        found.append(next_one[1])
    return found


def test_streams_take_turns_and_within_one_its_sinks_do() -> None:
    places = Places(8, share=False)
    for sink in ("a1", "a2", "a3", "b1", "c1", "c2"):
        places.line.add(sink[0], sink)
    assert given(places) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_stream_has_as_many_places_as_it_leaves_to_others() -> None:
    places = Places(8, share=True)
    for number in range(20):
        places.line.add("a", f"a{number}")
    assert len(given(places)) == 4
    places.line.add("b", "b0")
    places.line.add("b", "b1")
    places.line.add("b", "b2")
    assert given(places) == ["b0", "b1"]
    places.line.add("c", "c0")
    assert given(places) == ["c0"]
    # Whose places come back may have more again; nobody else is passed over.
    for _ in range(4):
        places.leave("a")
    assert given(places, 1) == ["a4"]
    assert "b2" in given(places)


def test_without_shares_one_stream_may_have_all_places() -> None:
    places = Places(8, share=False)
    for number in range(20):
        places.line.add("a", f"a{number}")
    assert len(given(places)) == 8


def test_what_takes_long_is_bounded_in_bytes_and_a_stream_leaves_as_much_as_it_has() -> None:
    slow = Slow()
    while slow.room("a", 2 * MIB):
        slow.add("a", 2 * MIB)
    held = slow._of_stream["a"]
    assert held == 32 * MIB
    assert slow.room("b", 16 * MIB) and not slow.room("b", 33 * MIB)
    slow.remove("a", 2 * MIB)
    assert slow.room("a", 2 * MIB)


def test_a_turn_that_takes_long_gives_its_place_back_and_counts_its_bytes_until_it_ends() -> None:
    async def story() -> None:
        left: list[str] = []
        slow = Slow()
        loop = asyncio.get_running_loop()

        def turn(name: str, *, patient: bool = False) -> Turn:
            return Turn(name, lambda: left.append(name), slow, patient=patient)

        running, script, request = turn("a"), loop.create_future(), loop.create_future()
        waiting = loop.create_task(_both(running, script, request))
        await until(lambda: left == ["a"], what="the place is given back")
        assert slow._bytes == 3 * MIB
        script.set_result(None)
        await until(lambda: slow._bytes == MIB, what="what the script may give is no longer held back")
        request.set_result(None)
        await waiting
        running.end()
        running.end()
        assert (slow._bytes, slow._count, left) == (0, 0, ["a"])
        # One that fails keeps its place, however long it takes; so does one that would be too much.
        large, failing, other = turn("b"), turn("c", patient=True), turn("d")
        never: asyncio.Future[None] = loop.create_future()
        waits = [loop.create_task(one.wait(never, size)) for one, size in ((large, 65 * MIB), (failing, 1), (other, 31 * MIB))]
        # They had their chance before this one.
        await until(lambda: "d" in left, what="the last one has given its place back")
        assert left == ["a", "d"] and slow._bytes == 31 * MIB
        assert other.may_have(33 * MIB) and not other.may_have(34 * MIB) and large.may_have(65 * MIB)
        never.set_result(None)
        await asyncio.gather(*waits)
        for one in (large, failing, other):
            one.end()
        assert sorted(left) == ["a", "b", "c", "d"] and slow._bytes == 0

    asyncio.run(story())


async def _both(turn: Turn, script: asyncio.Future[None], request: asyncio.Future[None]) -> None:
    await turn.wait(script, 3 * MIB)
    await turn.wait(request, MIB)


def test_a_turn_that_is_short_keeps_its_place_until_its_end() -> None:
    async def story() -> None:
        left: list[int] = []
        turn = Turn("a", lambda: left.append(1), Slow(), patient=False)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        await turn.wait(done, 1)
        assert left == []
        turn.end()
        assert left == [1]

    asyncio.run(story())
