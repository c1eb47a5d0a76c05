from __future__ import annotations

import asyncio

from ringback.engine.sweeper import Sweeper
from ringback.model.streams import Progress, Sink, SinkStatus, SinkType, Stream
from ringback.store.base import Transaction
from ringback.store.operations import sinks, streams
from ringback.store.operations.streams import NewEvent
from tests.engine.world import FAILED, OK, SECOND_US, World, in_world
from tests.waiting import until, until_async

HISTORY_US = 90 * 86_400_000_000


def test_deliveries_of_an_endpoint_that_is_off_are_dropped_and_those_of_others_are_not():
    async def story(world: World) -> None:
        await world.endpoint("off")
        await world.endpoint("on")
        world.transport.decide = lambda sent: None
        await world.ready()
        await asyncio.gather(*(world.post("all") for _ in range(250)))
        # As a crash between the disabling and the dropping leaves it.
        await world.store.write(lambda tx: tx.run("UPDATE endpoint SET disabled = 1 WHERE uid = 'off'"))
        assert await Sweeper(world.store, world.clock, HISTORY_US).sweep() == 250
        assert await world.rows("SELECT endpoint_id, COUNT(*) FROM delivery GROUP BY endpoint_id") == [(world.endpoint_ids["on"], 250)]

    in_world(story)


def test_what_is_not_finished_stays_although_it_is_older_than_history_is_kept():
    async def story(world: World) -> None:
        await world.endpoint("fails")
        await world.endpoint("works")
        world.transport.decide = lambda sent: FAILED if sent.host == "fails" and len(world.transport.to("fails")) == 1 else OK
        await world.ready()
        await world.post("works")
        failed = await world.post("all")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE status <> 0"))
        assert await Sweeper(world.store, world.clock, 0).sweep() > 0
        assert await world.rows("SELECT id FROM message") == [(failed.id,)]
        assert await world.count("SELECT COUNT(*) FROM attempt") == 2
        await world.settled()
        assert [sent.request.body for sent in world.transport.to("fails")] == [b'{"a":1}'] * 2
        await Sweeper(world.store, world.clock, 0).sweep()
        assert await world.count("SELECT COUNT(*) FROM message") == await world.count("SELECT COUNT(*) FROM attempt") == 0

    in_world(story, schedule_s=(1.0,))


def test_what_is_not_finished_stays_however_little_older_it_is_than_history_is_kept():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        await world.ready()
        made = [await world.post("a") for _ in range(20)]
        # Ids tell the time to four milliseconds: the end of history lies between two that were made within as many.
        for message in made:
            await Sweeper(world.store, world.clock, world.clock.now_us() - message.created_at - 1).sweep()
        assert await world.count("SELECT COUNT(*) FROM message") == 20

    in_world(story)


def test_messages_that_wait_for_their_time_hold_up_the_sweep_of_no_other():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.ready()
        far_us = world.clock.now_us() + 3_600 * SECOND_US
        await asyncio.gather(*(world.post("a", deliver_at=far_us) for _ in range(250)))
        await world.post("a")
        await until(lambda: len(world.transport.sent) == 1)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt"))
        await Sweeper(world.store, world.clock, 0).sweep()
        assert await world.rows("SELECT COUNT(*), MIN(deliver_at) FROM message") == [(250, far_us)]

    in_world(story)


def test_an_endpoint_that_is_enabled_again_while_it_is_swept_loses_nothing_more():
    async def story(world: World) -> None:
        await world.endpoint("off")
        world.transport.decide = lambda sent: None
        await world.ready()
        await asyncio.gather(*(world.post("off") for _ in range(1_000)))
        await world.store.write(lambda tx: tx.run("UPDATE endpoint SET disabled = 1"))
        sweeping = asyncio.ensure_future(Sweeper(world.store, world.clock, HISTORY_US).sweep())
        while await world.count("SELECT COUNT(*) FROM delivery") == 1_000:
            pass
        await world.store.write(lambda tx: tx.run("UPDATE endpoint SET disabled = 0"))
        left = await world.count("SELECT COUNT(*) FROM delivery")
        await sweeping
        assert await world.count("SELECT COUNT(*) FROM delivery") == left > 0

    in_world(story)


def test_tokens_of_applications_go_when_they_ended_long_ago_and_those_of_organisations_never_do():
    async def story(world: World) -> None:
        now_us = world.clock.now_us()
        long_ago, lately = now_us - HISTORY_US - 1, now_us - HISTORY_US + SECOND_US
        # Kind, expiry, revocation.
        tokens = {
            "expired long ago": ("app", long_ago, None),
            "expired lately": ("app", lately, None),
            "revoked long ago": ("app", now_us + SECOND_US, long_ago),
            "for ever": ("app", None, None),
            "of an organisation": ("org", None, long_ago),
        }
        # More than fit into one slice lie before, between and behind them.
        rows = [(f"key_{number:04}", "app", long_ago, None) for number in range(500)]
        rows += [(f"key_{100 * number:04} {name}", *token) for number, (name, token) in enumerate(tokens.items())]
        insert = (
            "INSERT INTO token (id, kind, expires_at, revoked_at, org_id, hash, name, created_at) VALUES (?, ?, ?, ?, 'org_1', ?, '', 0)"
        )
        await world.store.write(lambda tx: tx.run_many(insert, [(*row, row[0].encode()) for row in rows]))
        assert await Sweeper(world.store, world.clock, HISTORY_US).sweep_beside() == 502
        assert {row[0][9:] for row in await world.rows("SELECT id FROM token")} == {"expired lately", "for ever", "of an organisation"}

    in_world(story)


def test_old_events_and_all_of_deleted_streams_and_sinks_are_swept_and_what_is_alive_stays():
    async def story(world: World) -> None:
        now_us = world.clock.now_us()

        def make(tx: Transaction) -> None:
            for name in ("strm_alive", "strm_gone"):
                streams.insert(tx, Stream(name, "org_1", None, "S", "", {}, 1, 1))
                streams.append(tx, name, [NewEvent("t", b"old")] * 250, now_us - HISTORY_US - 1)
                streams.append(tx, name, [NewEvent("t", b"new")] * 3, now_us)
                for number in range(2):
                    asks = Sink(
                        f"sink_{number}_{name}",
                        name,
                        None,
                        SinkType.POLLER,
                        None,
                        SinkStatus.ENABLED,
                        None,
                        None,
                        {},
                        1,
                        0,
                        Progress(0),
                        1,
                        1,
                    )
                    sinks.insert(tx, world.vault, asks)
            streams.delete(tx, "strm_gone", now_us)
            sinks.delete(tx, "sink_1_strm_alive", now_us)

        await world.store.write(make)
        assert await Sweeper(world.store, world.clock, HISTORY_US).sweep_streams() == 253 + 2 + 1 + 250 + 1
        assert await world.rows("SELECT id FROM stream") == [("strm_alive",)]
        assert await world.rows("SELECT id FROM stream_sink") == [("sink_0_strm_alive",)]
        assert await world.rows("SELECT DISTINCT payload, COUNT(*) FROM stream_event") == [(b"new", 3)]

    in_world(story)


def test_a_large_stream_that_was_deleted_holds_up_no_other_sweep():
    async def story(world: World) -> None:
        await world.endpoint("off")
        world.transport.decide = lambda sent: None
        await world.ready()
        await world.post("off")

        def make(tx: Transaction) -> None:
            tx.run("UPDATE endpoint SET disabled = 1")
            streams.insert(tx, Stream("strm_gone", "org_1", None, "S", "", {}, 1, 1))
            streams.append(tx, "strm_gone", [NewEvent("t", b"x")] * 40_000, 1)
            streams.delete(tx, "strm_gone", 1)

        await world.store.write(make)
        sweeping = asyncio.ensure_future(Sweeper(world.store, world.clock, HISTORY_US).run())
        while await world.count("SELECT COUNT(*) FROM delivery"):
            pass
        assert await world.count("SELECT COUNT(*) FROM stream_event") > 0
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)

    in_world(story)
