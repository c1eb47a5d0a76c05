from __future__ import annotations

import asyncio
import gc
import resource
from collections import Counter
from pathlib import Path

from ringback import ids
from ringback.model.deliveries import AttemptStatus
from ringback.policy.paging import Walk
from ringback.store.operations import deliveries, messages, retention, standings
from ringback.store.operations.messages import MessageFilter
from ringback.store.operations.standings import Reading
from tests.engine.world import FAILED, OK, SECOND_US, World, in_world
from tests.waiting import passed, until, until_async

DEFERRED = "SELECT COUNT(*) FROM deferred_message"


def in_s(world: World, seconds: float) -> int:
    return world.clock.now_us() + int(seconds * SECOND_US)


async def listed(world: World, name: str, status: AttemptStatus = AttemptStatus.PENDING) -> list[tuple[str, int | None]]:
    """The messages that an endpoint's list of this status shows, the newest first, and their next attempt."""
    reading = Reading(world.clock.now_us(), content=False, live=True)

    def query(tx):
        return standings.unfinished(tx, world.app_id, world.endpoint_ids[name], Walk(50, descending=True), status, MessageFilter(), reading)

    return [(message.id, pair.next_at) for message, pair in (await world.store.read(query)).items]


async def pending(world: World, name: str) -> int:
    return await world.store.read(lambda tx: deliveries.pending(tx, world.app_id, world.endpoint_ids[name]))


def test_a_message_leaves_at_its_time_never_before_and_soon_after():
    async def story(world: World) -> None:
        await world.endpoint("a")
        due_at = in_s(world, 0.8)
        message = await world.publish("a", deliver_at=due_at)
        assert await world.rows("SELECT matched, deliver_at FROM message") == [(0, due_at)]
        await world.settled_with_deferred()
        (sent,) = world.transport.sent
        assert sent.message_id == message.id
        assert due_at <= sent.at_us <= due_at + SECOND_US
        assert await world.rows("SELECT matched FROM message") == [(1,)]
        assert await world.rows("SELECT number, status, wait FROM attempt") == [(1, 0, "deliver_at")]
        assert world.metrics.backlog == 0

    in_world(story)


def test_endpoints_are_matched_when_it_is_due_and_not_when_it_was_accepted():
    async def story(world: World) -> None:
        for name in ("deleted", "disabled", "refilters", "was_off"):
            await world.endpoint(name)
        await world.change("was_off", disabled=True)
        message = await world.publish("all", deliver_at=in_s(world, 1.5))
        await world.change("disabled", disabled=True)
        await world.change("was_off", disabled=False)
        await world.change("refilters", event_types=("something else",))
        await world.store.write(lambda tx: tx.run("UPDATE endpoint SET deleted_at = 1 WHERE id = ?", (world.endpoint_ids["deleted"],)))
        await world.endpoint("new")
        await world.settled_with_deferred()
        assert Counter(sent.host for sent in world.transport.sent) == {"new": 1, "was_off": 1}
        assert {sent.message_id for sent in world.transport.sent} == {message.id}

    in_world(story)


def test_a_row_that_cannot_be_read_is_told_and_tried_again(caplog):
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.publish("a", deliver_at=in_s(world, 0.3), channels=("eu",))
        await world.store.write(lambda tx: tx.run("UPDATE deferred_message SET channels = '['"))
        await until(lambda: "task.failed" in caplog.messages)
        await world.store.write(lambda tx: tx.run("UPDATE deferred_message SET channels = NULL"))
        await world.settled_with_deferred()
        assert len(world.transport.sent) == 1

    in_world(story)


def test_channels_are_matched_when_it_is_due():
    async def story(world: World) -> None:
        await world.endpoint("eu", channels=("eu",))
        await world.endpoint("us", channels=("us",))
        await world.endpoint("any")
        await world.publish("all", deliver_at=in_s(world, 0.2), channels=("eu", "x"))
        await world.settled_with_deferred()
        assert Counter(sent.host for sent in world.transport.sent) == {"eu": 1, "any": 1}

    in_world(story)


def test_a_message_that_matches_nobody_when_it_is_due_stays_stored_and_is_done():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.publish("b", deliver_at=in_s(world, 0.1))
        await world.settled_with_deferred()
        assert await world.rows("SELECT matched FROM message") == [(0,)]
        assert not world.transport.sent

    in_world(story)


def test_messages_wait_across_restarts_and_what_came_due_meanwhile_leaves_at_once(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        missed = await world.publish("a", deliver_at=in_s(world, 0.2))
        later = await world.publish("a", deliver_at=in_s(world, 2.5))
        due_at = later.deliver_at
        assert due_at is not None
        await world.end()
        await passed(0.3)
        await world.begin()
        await until(lambda: world.transport.sent)
        assert [sent.message_id for sent in world.transport.sent] == [missed.id]
        await world.settled_with_deferred()
        assert [sent.message_id for sent in world.transport.sent] == [missed.id, later.id]
        assert world.transport.sent[1].at_us >= due_at
        assert await world.rows("SELECT wait FROM attempt ORDER BY id") == [("restart",), ("deliver_at",)]
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_a_crash_between_any_two_steps_neither_loses_nor_repeats_one(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        await world.ready()
        due_at = in_s(world, 3.0)
        sent = await asyncio.gather(*(world.post("a", deliver_at=due_at) for _ in range(700)))
        arrived: Counter[str] = Counter()
        # Each run is cut while it makes deliveries of what is due, or while it sends.
        for turns in (0, 1, 3, 10, 40, 150):
            await world.end()
            arrived.update(one.message_id for one in world.transport.sent)
            await world.begin(decide=lambda sent: None)
            await until(lambda: world.clock.now_us() > due_at)
            for _ in range(turns):
                await asyncio.sleep(0)
        await world.end()
        await world.begin()
        await world.settled_with_deferred()
        assert {one.message_id for one in world.transport.sent} == {message.id for message in sent}
        assert len(world.transport.sent) == 700
        assert await world.count("SELECT COUNT(*) FROM attempt") == 700
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_of_many_that_are_due_together_those_of_another_application_do_not_wait_for_all():
    async def story(world: World) -> None:
        await world.endpoint("a")
        due_at = in_s(world, 3.0)
        await world.ready()
        first = await world.publish("a", deliver_at=due_at)
        row = "INSERT INTO deferred_message VALUES (?, ?, ?, 'a', NULL)"
        made = [world.make_id.make(ids.MESSAGE, world.clock.now_us()) for _ in range(20_000)]
        for start in range(0, len(made), 2_000):
            await world.store.write(
                lambda tx, start=start: tx.run_many(row, [("app_0", due_at, one) for one in made[start : start + 2_000]])
            )
        world.dispatcher.defer("app_0", due_at)
        await until(lambda: world.transport.sent)
        assert world.transport.sent[0].message_id == first.id
        # The application is unknown, so its messages are only dropped: many are left when the other's is sent.
        assert await world.count(DEFERRED) > 10_000
        assert world.transport.sent[0].at_us <= due_at + SECOND_US

    in_world(story)


def test_a_hundred_thousand_that_wait_cost_no_memory_and_no_time_at_the_start(tmp_path: Path):
    async def story(world: World) -> None:
        await world.begin()
        await world.make_app()
        await world.endpoint("a")
        await world.ready()
        due_at = in_s(world, 3_600)
        row = "INSERT INTO deferred_message VALUES (?, ?, ?, 'a', NULL)"
        for start in range(0, 100_000, 2_000):
            await world.store.write(
                lambda tx, start=start: tx.run_many(row, [(world.app_id, due_at + n, f"msg_{n:027}") for n in range(start, start + 2_000)])
            )
        await world.end()
        gc.collect()
        objects = len(gc.get_objects())
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started_s = world.clock.monotonic_s()
        await world.begin()
        assert world.clock.monotonic_s() - started_s < 2.0
        gc.collect()
        assert len(gc.get_objects()) - objects < 5_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 16 * 1024
        assert await pending(world, "a") == 100_000
        soon = await world.publish("a", deliver_at=in_s(world, 0.3))
        await until(lambda: world.transport.sent)
        assert [sent.message_id for sent in world.transport.sent] == [soon.id]
        await world.end()

    in_world(story, url=f"sqlite:////{tmp_path}/ringback.db", begin=False)


def test_it_is_listed_as_waiting_for_the_endpoints_that_would_get_it_now():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        await world.endpoint("eu", channels=("eu",))
        world.transport.decide = lambda sent: None
        first = await world.publish("all", deliver_at=in_s(world, 3_600))
        second = await world.publish("a", deliver_at=in_s(world, 1_800), channels=("eu",))
        flying = await world.publish("a")
        assert await listed(world, "a") == [(flying.id, None), (second.id, None), (first.id, None)]
        assert await listed(world, "b") == [(first.id, None)]
        assert await listed(world, "eu") == []
        assert (await pending(world, "a"), await pending(world, "b"), await pending(world, "eu")) == (3, 1, 0)
        await world.change("eu", event_types=None)
        assert await listed(world, "eu") == [(second.id, None)]
        await world.change("b", event_types=("x",))
        assert await listed(world, "b") == []
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)

    in_world(story)


def test_one_that_is_sent_by_hand_before_its_time_is_not_sent_again_when_that_succeeds():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        message = await world.publish("all", deliver_at=in_s(world, 1.2))
        await world.resend("a", message)
        await until(lambda: world.transport.to("a"))
        await world.settled_with_deferred()
        assert Counter(sent.host for sent in world.transport.sent) == {"a": 1, "b": 1}
        assert await world.rows("SELECT trigger, sequence FROM attempt ORDER BY id") == [(1, 1), (0, 1)]

    in_world(story)


def test_one_that_is_sent_by_hand_in_vain_before_its_time_is_sent_when_it_is_due():
    async def story(world: World) -> None:
        await world.endpoint("a")
        due_at = in_s(world, 1.2)
        world.transport.decide = lambda sent: FAILED
        message = await world.publish("a", deliver_at=due_at)
        await world.resend("a", message)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt"))
        # It stands like any that failed and has an attempt to come.
        assert await listed(world, "a") == []
        assert await listed(world, "a", AttemptStatus.SENDING) == [(message.id, due_at)]
        world.transport.decide = lambda sent: OK
        await world.settled_with_deferred()
        assert [sent.sequence for sent in world.transport.sent] == [1, 1]
        assert world.transport.sent[1].at_us >= due_at
        assert await world.rows("SELECT trigger, status FROM attempt ORDER BY id") == [(1, 2), (0, 0)]

    in_world(story)


def test_one_that_was_sent_by_hand_in_vain_to_an_endpoint_that_wants_it_only_later_is_sent_to_it():
    async def story(world: World) -> None:
        await world.endpoint("a", event_types=("other",))
        world.transport.decide = lambda sent: FAILED
        message = await world.publish("all", deliver_at=in_s(world, 1.2))
        await world.resend("a", message)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt"))
        assert await world.count("SELECT COUNT(*) FROM given_up") == 1
        assert await world.count("SELECT COUNT(*) FROM delivery") == 0
        await world.change("a", event_types=None)
        world.transport.decide = lambda sent: OK
        await world.settled_with_deferred()
        assert await world.rows("SELECT trigger, status, sequence FROM attempt ORDER BY id") == [(1, 2, 1), (0, 0, 1)]
        assert await world.count("SELECT COUNT(*) FROM given_up") == 0

    in_world(story)


def test_one_that_an_endpoint_asks_not_to_get_before_its_time_is_not_sent_to_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: sent_aborted
        message = await world.publish("a", deliver_at=in_s(world, 1.2))
        await world.resend("a", message)
        await world.settled_with_deferred()
        assert len(world.transport.sent) == 1
        assert await world.rows("SELECT cause FROM dead_letter") == [("aborted",)]

    from tests.engine.world import answer

    sent_aborted = answer(500, webhook_delivery="abort-message")
    in_world(story)


def test_a_payload_is_kept_for_its_time_from_when_it_is_due():
    async def story(world: World) -> None:
        await world.endpoint("a")
        due_at = in_s(world, 3_600)
        message = await world.publish("a", deliver_at=due_at)
        assert message.expires_at - due_at == message.expires_at - message.created_at - (due_at - message.created_at)
        ((expires_at,),) = await world.rows("SELECT expires_at FROM message")
        assert expires_at >= due_at + 89 * 86_400 * SECOND_US

    in_world(story)


def test_retention_leaves_one_that_waits_alone():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.publish("a", deliver_at=in_s(world, 3_600))
        await world.publish("b")
        before_us = in_s(world, 60)
        assert await world.store.write(lambda tx: retention.purge_messages(tx, before_us, 100)) == (1, None)
        assert await world.rows("SELECT event_type FROM message") == [("a",)]

    in_world(story)


def test_those_of_a_deleted_application_are_forgotten():
    async def story(world: World) -> None:
        await world.endpoint("a")
        for _ in range(5):
            await world.publish("a", deliver_at=in_s(world, 1.2))
        await world.publish("a", deliver_at=in_s(world, 3_600))
        await world.store.write(lambda tx: tx.run("UPDATE application SET deleted_at = 1"))
        world.directory.changed(world.app_id)
        await until_async(lambda: world.count(f"SELECT ({DEFERRED}) = 0"))
        assert not world.transport.sent

    in_world(story)


def test_one_whose_payload_was_expunged_meanwhile_is_a_failed_attempt_that_says_so():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a", deliver_at=in_s(world, 1.2))
        await world.store.write(lambda tx: messages.expunge(tx, world.app_id, message.id))
        await world.settled_with_deferred()
        assert await world.rows("SELECT error FROM attempt") == [("payload_gone",)]

    in_world(story)


def test_they_are_numbered_among_the_messages_of_their_endpoint_when_they_are_due():
    async def story(world: World) -> None:
        await world.endpoint("a")
        deferred = [await world.publish("a", deliver_at=in_s(world, 1.2 + n / 100)) for n in range(3)]
        now = await world.publish("a")
        await world.settled_with_deferred()
        assert [(sent.message_id, sent.sequence) for sent in world.transport.sent] == [
            (message.id, number) for number, message in enumerate((now, *deferred), 1)
        ]

    in_world(story)


def test_deliveries_and_messages_without_any_are_counted_when_it_is_due():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        await world.publish("all", deliver_at=in_s(world, 2.5))
        await world.publish("nobody's", deliver_at=in_s(world, 2.5))
        # The last minutes are in one table, those before them in another.
        sums = "SELECT accepted, deliveries, unmatched FROM trend_{}"
        both = f"{sums.format('recent')} UNION ALL {sums.format('minute')} WHERE scope = '{world.app_id}'"
        counted = f"SELECT SUM(accepted), SUM(deliveries), SUM(unmatched) FROM ({both})"
        assert await world.rows(counted) == [(2, 0, 0)]
        await world.settled_with_deferred()
        assert await world.rows(counted) == [(2, 2, 1)]

    in_world(story)


def test_a_store_that_fails_is_asked_again():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.publish("a", deliver_at=in_s(world, 1.2))
        await world.store.write(lambda tx: tx.run("ALTER TABLE deferred_message RENAME TO elsewhere"))
        await passed(1.6)
        await world.store.write(lambda tx: tx.run("ALTER TABLE elsewhere RENAME TO deferred_message"))
        await world.settled_with_deferred()
        assert len(world.transport.sent) == 1

    in_world(story)


def test_filters_are_asked_when_it_is_due_and_before_that_for_lists_and_counts():
    async def story(world: World) -> None:
        await world.endpoint("large", payload_filter={"n": {"$gte": 2}})
        await world.endpoint("later")
        await world.endpoint("any")
        due_at = in_s(world, 1.5)
        messages = [await world.publish("all", b'{"n": %d}' % n, deliver_at=due_at) for n in range(4)]
        assert [message_id for message_id, _ in await listed(world, "large")] == [messages[3].id, messages[2].id]
        assert [await pending(world, name) for name in ("large", "any")] == [2, 4]
        # By hand it is sent all the same; what the filter lets through counts as its retry, and the rest does not.
        world.transport.decide = lambda sealed: FAILED
        for message in messages[1:3]:
            await world.resend("large", message)
        await until(lambda: len(world.transport.sent) == 2, what="both are sent by hand")
        assert await world.rows("SELECT message_id FROM delivery WHERE trigger = 0") == [(messages[2].id,)]
        world.transport.decide = lambda sealed: OK
        await world.change("later", payload_filter={"n": 0})
        await world.settled_with_deferred()
        sent = {(one.host, one.message_id) for one in world.transport.sent[2:]}
        assert sent == {
            *(("large", message.id) for message in messages[2:]),
            ("later", messages[0].id),
            *(("any", message.id) for message in messages),
        }
        assert await world.rows("SELECT matched FROM message ORDER BY id") == [(2,), (1,), (2,), (2,)]

    in_world(story)
