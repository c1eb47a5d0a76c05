"""Logs of events: what is appended, what stands where, what goes when it is old, and how far those are who are fed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringback.model.endpoints import EndpointSecret
from ringback.model.streams import Batch, Progress, Sink, SinkStatus, SinkType, Stream, StreamEventType, Target
from ringback.policy.paging import Walk
from ringback.store.base import Transaction
from ringback.store.operations import sinks, stream_event_types, streams
from ringback.store.operations.streams import NewEvent, Wanted
from ringback.store.vault import Vault
from tests.store.conformance.shelf import SECOND_US, Shelf

ORG = "org_1"
VAULT = Vault(b"k" * 32)
ANY = Wanted(None, None, 100, 1_000)
NOW_US = 1_800_000_000_000_000
TARGET = Target("https://user:secret@a.example/", {"x-key": "value"}, (EndpointSecret("whsec_new"), EndpointSecret("whsec_old", NOW_US)))


async def stream(shelf: Shelf, stream_id: str = "strm_1", uid: str | None = None) -> str:
    await shelf.store.write(lambda tx: streams.insert(tx, Stream(stream_id, ORG, uid, "Orders", "", {"a": "b"}, NOW_US, NOW_US)))
    return stream_id


async def append(shelf: Shelf, stream_id: str, *events: NewEvent | str, at_us: int = NOW_US) -> None:
    given = [NewEvent("t", event.encode()) if isinstance(event, str) else event for event in events]
    await shelf.store.write(lambda tx: streams.append(tx, stream_id, given, at_us))


async def texts(shelf: Shelf, stream_id: str, after: int, wanted: Wanted = ANY) -> tuple[list[str], int, bool]:
    """What stands behind a place, up to where, and whether that is all."""

    def query(tx: Transaction) -> tuple[list[str], int, bool]:
        stretch = streams.ahead(tx, stream_id, after, wanted)
        some = msgspec.structs.replace(wanted, limit=stretch.count)
        found = streams.between(tx, stream_id, after, stretch.position, some) if stretch.count else []
        assert len(found) == stretch.count and (not found or found[0].seq == stretch.first_seq)
        return [event.payload for event in found], stretch.position, stretch.done

    return await shelf.store.read(query)


def sink(sink_id: str = "sink_1", **fields: Any) -> Sink:
    parts: dict[str, Any] = {
        "id": sink_id, "stream_id": "strm_1", "uid": None, "type": SinkType.HTTP, "target": TARGET, "status": SinkStatus.ENABLED,
        "event_types": ("a", "b"), "channels": None, "metadata": {"a": "b"}, "batch_size": 5, "max_wait_s": 1, "progress": Progress(3),
        "created_at": NOW_US, "updated_at": NOW_US,
    }  # fmt: skip
    return Sink(**(parts | fields))


def test_events_stand_in_the_order_in_which_they_were_appended(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        first, other = await stream(shelf), await stream(shelf, "strm_2")
        await append(shelf, first, "1", "2")
        await append(shelf, other, "elsewhere")
        await append(shelf, first, "3")
        assert await texts(shelf, first, 0) == (["1", "2", "3"], 3, True)
        assert await texts(shelf, first, 1, msgspec.structs.replace(ANY, limit=1)) == (["2"], 2, False)
        assert await texts(shelf, other, 0) == (["elsewhere"], 1, True)
        assert await texts(shelf, first, 3) == ([], 3, True)
        assert await texts(shelf, first, 99) == ([], 3, True)

    tell(story)


def test_a_batch_has_a_bound_in_bytes_that_one_event_alone_may_exceed(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        here = await stream(shelf)
        await append(shelf, here, "x" * 600, "y" * 500, "z" * 2_000, "")
        assert await texts(shelf, here, 0) == (["x" * 600], 1, False)
        assert await texts(shelf, here, 1) == (["y" * 500], 2, False)
        assert await texts(shelf, here, 2) == (["z" * 2_000], 3, False)
        assert await texts(shelf, here, 3) == ([""], 4, True)

    tell(story)


def test_types_and_channels_narrow_what_is_handed_out(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        here = await stream(shelf)
        events = [NewEvent("a", b"1"), NewEvent("b", b"2", ("eu", "us")), NewEvent("b", b"3", ("eur",)), NewEvent("c", b"4", ("us",))]
        await append(shelf, here, *events)
        assert await texts(shelf, here, 0, Wanted(("b",), None, 9, 999)) == (["2", "3"], 4, True)
        assert await texts(shelf, here, 0, Wanted(None, ("eu", "asia"), 9, 999)) == (["2"], 4, True)
        assert await texts(shelf, here, 0, Wanted(("a", "c"), ("us",), 9, 999)) == (["4"], 4, True)
        assert await texts(shelf, here, 0, Wanted(("z",), None, 9, 999)) == ([], 4, True)

    tell(story)


def test_a_look_at_what_nobody_wants_has_an_end(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        here = await stream(shelf)
        for _ in range(21):
            await append(shelf, here, *["0"] * 1_000)
        await append(shelf, here, NewEvent("rare", b"!"))
        rare = Wanted(("rare",), None, 9, 999)
        found, position, done = await texts(shelf, here, 0, rare)
        assert (found, 0 < position < 21_000, done) == ([], True, False)
        assert await texts(shelf, here, position, rare) == (["!"], 21_001, True)

    tell(story)


def test_numbers_are_never_given_again_whatever_was_removed(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        here = await stream(shelf)
        await append(shelf, here, "1", "2")
        assert await shelf.store.write(lambda tx: streams.purge_events(tx, here, NOW_US + 1, 100)) == 2
        await append(shelf, here, "3")
        assert await texts(shelf, here, 2) == (["3"], 3, True)
        assert await texts(shelf, here, 0) == (["3"], 3, True)
        # Somebody who was away while more than one look's worth came and went finds what is there at once.
        await shelf.store.write(lambda tx: streams.purge_events(tx, here, NOW_US + 1, 100))
        await shelf.store.write(lambda tx: tx.run("UPDATE stream SET last_seq = 100000"))
        await append(shelf, here, "4")
        assert await texts(shelf, here, 0) == (["4"], 100_001, True)

    tell(story)


def test_what_is_old_goes_in_slices_and_what_is_not_stays(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        old, fresh = await stream(shelf), await stream(shelf, "strm_2")
        await append(shelf, old, "1", "2", "3", at_us=NOW_US)
        await append(shelf, old, "4", at_us=NOW_US + 2)
        await append(shelf, fresh, "5", at_us=NOW_US + 2)
        assert await shelf.store.read(lambda tx: streams.next_old(tx, NOW_US + 1, "")) == old
        assert await shelf.store.read(lambda tx: streams.next_old(tx, NOW_US + 1, old)) is None
        removed = [await shelf.store.write(lambda tx: streams.purge_events(tx, old, NOW_US + 1, 2)) for _ in range(3)]
        assert removed == [2, 1, 0]
        assert (await texts(shelf, old, 0))[0] == ["4"]
        assert await shelf.store.read(lambda tx: streams.next_old(tx, NOW_US + 1, "")) is None

    tell(story)


def test_times_never_go_backwards_in_a_stream_and_lead_to_its_events(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        here = await stream(shelf)
        for second in (10, 20, 15, 30):
            await append(shelf, here, str(second), at_us=NOW_US + second * SECOND_US)

        async def behind(second: float) -> list[str]:
            at_us = NOW_US + int(second * SECOND_US)
            return (await texts(shelf, here, await shelf.store.read(lambda tx: streams.position_at(tx, here, at_us))))[0]

        assert await behind(0) == ["10", "20", "15", "30"]
        assert await behind(10.5) == ["20", "15", "30"]
        assert await behind(20) == ["20", "15", "30"], "what came while the clock was set back has the time before"
        assert await behind(30) == ["30"]
        assert await behind(31) == []

    tell(story)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.integers(0, 3), min_size=1, max_size=40), purged=st.integers(0, 20), at=st.integers(0, 60))
def test_a_time_leads_to_the_first_event_of_that_time_or_later(tell: Callable[..., Any], gaps: list[int], purged: int, at: int) -> None:
    times = [sum(gaps[: n + 1]) for n in range(len(gaps))]

    async def story(shelf: Shelf) -> None:
        # Files are the same from one example to the next.
        here = await stream(shelf, shelf.make_id.make("strm_", shelf.now_us))
        for time in times:
            await append(shelf, here, str(time), at_us=NOW_US + time)
        await shelf.store.write(lambda tx: streams.purge_events(tx, here, NOW_US + 10**9, purged) if purged else 0)
        kept: Sequence[int] = times[purged:]
        place = await shelf.store.read(lambda tx: streams.position_at(tx, here, NOW_US + at))
        found, _, _ = await texts(shelf, here, place)
        assert found == [str(time) for time in kept if time >= at]

    tell(story)


def test_streams_are_found_by_id_and_uid_until_they_are_deleted(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        here = await stream(shelf, uid="mine")
        found = await shelf.store.read(lambda tx: streams.by_ref(tx, ORG, "mine"))
        assert found is not None and found == await shelf.store.read(lambda tx: streams.by_ref(tx, ORG, here))
        assert await shelf.store.read(lambda tx: streams.by_ref(tx, "org_2", "mine")) is None
        renamed = msgspec.structs.replace(found, name="Bills", description="of all", metadata={}, uid=None, updated_at=NOW_US + 1)
        await append(shelf, here, "1")
        await shelf.store.write(lambda tx: streams.replace(tx, renamed))
        assert await shelf.store.read(lambda tx: streams.page(tx, ORG, Walk(5, False))) == [msgspec.structs.replace(renamed, last_seq=1)]
        await shelf.store.write(lambda tx: streams.delete(tx, here, NOW_US))
        assert await shelf.store.read(lambda tx: streams.by_ref(tx, ORG, here)) is None
        assert await shelf.store.read(lambda tx: streams.page(tx, ORG, Walk(5, False))) == []

    tell(story)


def test_all_that_belongs_to_a_deleted_stream_goes_in_slices(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        gone, stays = await stream(shelf), await stream(shelf, "strm_2")
        for here in (gone, stays):
            await append(shelf, here, "1", "2", "3")
            await shelf.store.write(lambda tx, here=here: sinks.insert(tx, VAULT, sink(f"sink_{here}", stream_id=here)))
        await shelf.store.write(lambda tx: streams.delete(tx, gone, NOW_US))
        slices = []
        while removed := await shelf.store.write(lambda tx: streams.purge(tx, 2)):
            slices.append(removed)
        assert slices == [2, 1, 1, 1]

        def counts(tx: Transaction) -> list[int]:
            return [int(tx.rows(f"SELECT COUNT(*) FROM {table}")[0][0]) for table in ("stream", "stream_event", "stream_sink")]

        assert await shelf.store.read(counts) == [1, 3, 1]
        assert (await texts(shelf, stays, 0))[0] == ["1", "2", "3"]

    tell(story)


def test_a_sink_is_kept_as_it_is_and_how_far_it_is_apart_from_that(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        await stream(shelf)
        made = sink(uid="mine")
        await shelf.store.write(lambda tx: sinks.insert(tx, VAULT, made))
        assert await shelf.store.read(lambda tx: sinks.by_ref(tx, VAULT, "strm_1", "mine")) == made
        on_its_way = Progress(3, Batch("batch_1", 9, 4, ("a",), ("eu",)), 2, NOW_US + 5, NOW_US, "no")
        await shelf.store.write(lambda tx: sinks.go_on(tx, made.id, on_its_way))
        # Whoever changes the settings has read them before.
        changed = msgspec.structs.replace(made, event_types=None, channels=("x",), batch_size=9, uid=None, updated_at=NOW_US + 1)
        await shelf.store.write(lambda tx: sinks.replace(tx, VAULT, changed))
        found = await shelf.store.read(lambda tx: sinks.by_id(tx, VAULT, made.id))
        assert found == msgspec.structs.replace(changed, progress=on_its_way)
        assert await shelf.store.read(lambda tx: sinks.page(tx, VAULT, "strm_1", Walk(5, True))) == [found]

    tell(story)


def test_where_a_sink_is_and_its_secrets_are_sealed(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        await stream(shelf)
        await shelf.store.write(lambda tx: sinks.insert(tx, VAULT, sink()))
        row = b"".join(
            value if isinstance(value, bytes) else str(value).encode()
            for value in (await shelf.store.read(lambda tx: tx.rows("SELECT * FROM stream_sink")))[0]
        )
        assert not any(secret in row for secret in (b"user:secret", b"whsec_new", b"whsec_old", b"value"))

    tell(story)


def test_only_enabled_sinks_of_live_streams_that_are_called_are_fed(tell: Callable[..., Any]) -> None:
    async def story(shelf: Shelf) -> None:
        await stream(shelf)
        for one in (
            sink("sink_on", progress=Progress(0, next_at=7)),
            sink("sink_off", status=SinkStatus.DISABLED),
            sink("sink_held", status=SinkStatus.PAUSED),
            sink("sink_asks", type=SinkType.POLLER, target=None),
            sink("sink_gone"),
        ):
            await shelf.store.write(lambda tx, one=one: sinks.insert(tx, VAULT, one))
        await shelf.store.write(lambda tx: sinks.delete(tx, "sink_gone", NOW_US))
        assert await shelf.store.read(sinks.all_fed) == [("sink_on", "strm_1", 7)]

        async def fed(name: str) -> bool:
            return await shelf.store.read(lambda tx: sinks.fed(tx, VAULT, name)) is not None

        assert [name for name in ("sink_on", "sink_off", "sink_held", "sink_asks", "sink_gone") if await fed(name)] == ["sink_on"]
        assert await shelf.store.write(lambda tx: sinks.disable(tx, "sink_on", NOW_US))
        assert not await shelf.store.write(lambda tx: sinks.disable(tx, "sink_held", NOW_US)), "what is held stays held"
        assert not await fed("sink_on")
        await shelf.store.write(lambda tx: streams.delete(tx, "strm_1", NOW_US))
        assert not await fed("sink_on")
        assert await shelf.store.write(lambda tx: sinks.purge(tx, 10)) == 1

    tell(story)


@pytest.mark.parametrize("flags", [None, ["beta"], []])
def test_event_types_behind_flags_are_seen_by_who_holds_one(tell: Callable[..., Any], flags: list[str] | None) -> None:
    async def story(shelf: Shelf) -> None:
        for name, behind, archived in (("a", None, False), ("b", ("alpha", "beta"), False), ("c", None, True)):
            kind = StreamEventType(ORG, name, None, behind, False, archived, NOW_US, NOW_US)
            await shelf.store.write(lambda tx, kind=kind: stream_event_types.put(tx, kind))
            assert await shelf.store.read(lambda tx, name=name: stream_event_types.by_name(tx, ORG, name)) == kind

        async def names(archived: bool) -> list[str]:
            found = await shelf.store.read(lambda tx: stream_event_types.page(tx, ORG, Walk(5, False), archived=archived, flags=flags))
            return [kind.name for kind in found]

        seen = ["a"] if flags == [] else ["a", "b"]
        assert (await names(False), await names(True)) == (seen, [*seen, "c"])
        await shelf.store.write(lambda tx: stream_event_types.delete(tx, ORG, "a"))
        assert "a" not in await names(True)

    tell(story)
