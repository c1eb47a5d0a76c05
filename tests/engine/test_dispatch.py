from __future__ import annotations

import asyncio

import pytest

from ringback.engine import backlog
from ringback.engine.flights import UNREADABLE
from ringback.model.endpoints import EndpointSecret
from tests.engine.world import FAILED, OK, SECRET, TIMEOUT, Sent, World, answer, in_world
from tests.waiting import passed, until, until_async

OLD_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def test_a_message_is_delivered_recorded_and_gone_from_the_live_rows():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        (sent,) = world.transport.sent
        assert sent.message_id == message.id
        assert sent.request.body == b'{"a":1}'
        assert sent.sequence == 1
        assert await world.rows("SELECT status, code, number, message_id FROM attempt") == [(0, 200, 1, message.id)]
        assert world.metrics.backlog == 0

    in_world(story)


def test_failures_are_retried_on_schedule_never_early_and_then_become_a_dead_letter():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        await world.publish("a")
        await world.settled()
        times = [sent.at_us for sent in world.transport.sent]
        assert len(times) == 4
        for before, after, delay_s in zip(times[:-1], times[1:], world.schedule_s, strict=True):
            assert after - before >= delay_s * 1_000_000
        assert await world.rows("SELECT number, status FROM attempt ORDER BY number") == [(1, 2), (2, 2), (3, 2), (4, 2)]
        assert await world.rows("SELECT cause, attempts, org_id FROM dead_letter") == [("http_500", 4, "org_1")]
        assert world.metrics.backlog == 0

    in_world(story)


def test_a_clock_that_is_set_forward_makes_nothing_twice():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(20):
            await world.publish("a")
        world.clock.step_s = 86_400.0
        for _ in range(20):
            await world.publish("a")
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        ids = [sent.message_id for sent in world.transport.sent]
        assert len(ids) == len(set(ids)) == 40

    in_world(story)


def test_retry_after_holds_back_the_other_deliveries_of_its_endpoint_and_no_other_endpoint():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.endpoint("b")
        first = await world.publish("a")
        world.transport.decide = lambda sent: answer(429, retry_after="0.3") if sent.host == "a" else OK
        refused = await world.publish("a")
        await until(lambda: len(world.transport.to("a")) == 2)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE code = 429"))
        world.transport.decide = lambda sent: OK
        waiting = [await world.publish("a") for _ in range(3)]
        other = await world.publish("b")
        await world.settled()
        by_id = {sent.message_id: sent.at_us for sent in world.transport.sent}
        refused_at = world.transport.to("a")[1].at_us
        for message in (refused, *waiting):
            assert by_id[message.id] - refused_at >= 300_000
        assert by_id[other.id] - refused_at < 300_000
        assert first.id in by_id

    in_world(story)


def test_an_endpoint_never_has_more_requests_at_once_than_are_allowed():
    async def story(world: World) -> None:
        world.transport.decide = lambda sent: None
        await world.endpoint("a")
        for _ in range(10):
            await world.publish("a")
        await until(lambda: len(world.transport.flying) == 2)
        for round_ in range(1, 5):
            assert len(world.transport.flying) == 2
            world.transport.land(OK)
            await until(lambda landed=round_: len(world.transport.sent) == 2 * landed + 2)
        world.transport.land(OK)
        await world.settled()

    in_world(story, per_endpoint=2)


def test_a_gone_endpoint_is_disabled_at_once_and_its_deliveries_end():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: None
        messages = [await world.publish("a") for _ in range(12)]
        await world.sent(8)
        world.transport.flying.pop(0).answers(answer(410))
        await until_async(lambda: world.count("SELECT COUNT(*) FROM endpoint WHERE disabled = 1"))
        world.transport.land(FAILED)
        await world.settled()
        assert await world.rows("SELECT message_id, cause FROM dead_letter") == [(messages[0].id, "http_410")]
        assert len(world.transport.sent) == 8
        await world.publish("a")
        await world.change("a", disabled=False)
        world.transport.decide = lambda sent: OK
        later = await world.publish("a")
        await world.settled()
        assert [sent.message_id for sent in world.transport.sent[8:]] == [later.id]

    in_world(story)


def test_abort_message_ends_the_retries_of_this_message_alone():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: answer(500, webhook_delivery="abort-message") if sent.sequence == 1 else FAILED
        for _ in range(2):
            await world.publish("a")
        await world.settled()
        assert sorted(sent.sequence for sent in world.transport.sent) == [1, 2, 2, 2, 2]
        assert await world.count("SELECT COUNT(*) FROM endpoint WHERE disabled = 1") == 0

    in_world(story)


def test_disabling_ends_what_waits_what_is_on_the_wire_and_what_is_parked_and_enabling_delivers_only_what_comes_later():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        for _ in range(3):
            await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) / 3 FROM delivery WHERE state = 'retrying'"))
        world.transport.decide = lambda sent: None
        for _ in range(40):
            await world.publish("a")
        await until(lambda: world.transport.flying)
        before = len(world.transport.sent)
        await world.change("a", disabled=True)
        await until_async(_no_live_rows(world))
        world.transport.land(FAILED)
        await world.publish("a")
        await world.change("a", disabled=False)
        world.transport.decide = lambda sent: OK
        later = [await world.publish("a") for _ in range(2)]
        await world.settled()
        assert [sent.message_id for sent in world.transport.sent[before:]] == [message.id for message in later]
        assert await world.count("SELECT COUNT(*) FROM dead_letter") == 0

    in_world(story, schedule_s=(30.0, 30.0))


def _no_live_rows(world: World):
    async def none() -> bool:
        return await world.count("SELECT COUNT(*) FROM delivery") == 0

    return none


def test_disabling_clears_at_once_also_when_ids_run_ahead_of_the_clock():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        world.clock.step_s = -3_600.0
        await world.change("a", disabled=True)
        await until_async(_no_live_rows(world))

    in_world(story, schedule_s=(30.0,))


def test_deleting_the_application_ends_its_deliveries():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        for _ in range(5):
            await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) / 5 FROM delivery WHERE state = 'retrying'"))
        await world.store.write(lambda tx: tx.run("UPDATE application SET deleted_at = 1"))
        world.directory.changed(world.app_id)
        await until_async(_no_live_rows(world))

    in_world(story, schedule_s=(30.0,))


def test_a_manual_success_ends_a_retry_that_waits_in_memory():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: answer(503, retry_after="0.5")
        message = await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        # The lane rests, and its retry is in memory or will be; what is sent by hand succeeds, and the retry is not made after it.
        world.transport.decide = lambda sent: OK
        await world.resend("a", message)
        await world.settled()
        assert await world.rows("SELECT trigger, status FROM attempt ORDER BY id") == [(0, 2), (1, 0)]
        assert await world.count("SELECT COUNT(*) FROM delivery") == 0

    in_world(story, schedule_s=(0.6,))


def test_a_manual_attempt_stands_beside_the_schedule_and_its_failure_changes_nothing():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        message = await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        scheduled = await world.rows("SELECT due_at, attempts FROM delivery")
        await world.resend("a", message)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE trigger = 1"))
        assert await world.rows("SELECT due_at, attempts FROM delivery") == scheduled
        assert [sent.sequence for sent in world.transport.sent] == [1, 1]

    in_world(story, schedule_s=(30.0,))


def test_rotation_takes_effect_at_the_next_attempt_and_an_expired_secret_signs_no_more():
    async def story(world: World) -> None:
        await world.endpoint("a")
        await world.publish("a")
        (first,) = await world.sent(1)
        assert len(first.header("webhook-signature").split()) == 1
        ends_at = world.clock.now_us() + 60_000_000
        await world.change("a", secrets=(EndpointSecret(OLD_SECRET), EndpointSecret(SECRET, ends_at)))
        await world.publish("a")
        second = (await world.sent(2))[1]
        assert len(second.header("webhook-signature").split()) == 2
        world.clock.step_s = 61.0
        await world.publish("a")
        third = (await world.sent(3))[2]
        assert len(third.header("webhook-signature").split()) == 1

    in_world(story)


def test_a_lane_that_hangs_delays_no_other():
    async def story(world: World) -> None:
        await world.endpoint("hung")
        await world.endpoint("a")
        world.transport.decide = lambda sent: None if sent.host == "hung" else OK
        await world.ready()
        await asyncio.gather(*(world.post("all") for _ in range(500)))
        await until(lambda: len(world.transport.to("a")) == 500)
        assert len(world.transport.to("hung")) < 100
        assert [sent.sequence for sent in world.transport.to("a")] == list(range(1, 501))

    in_world(story)


def test_lanes_take_turns():
    async def story(world: World) -> None:
        for name in ("a", "b", "c"):
            await world.endpoint(name)
        world.transport.decide = lambda sent: None
        await world.ready()
        await asyncio.gather(*(world.post(name) for name in ("a", "b", "c") for _ in range(50)))
        for upto in range(3, 150):
            world.transport.flying.pop(0).answers(OK)
            await until(lambda upto=upto: len(world.transport.sent) >= upto)
            hosts = [sent.host for sent in world.transport.sent]
            assert max(hosts.count(h) for h in "abc") - min(hosts.count(h) for h in "abc") <= 3
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)

    # So few places that no lane may have two.
    in_world(story, total=16)


def test_four_first_attempts_leave_for_each_retry():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        await world.ready()
        old = await asyncio.gather(*(world.post("a") for _ in range(20)))
        await until_async(lambda: world.count("SELECT COUNT(*) / 20 FROM delivery WHERE state = 'retrying'"))
        # All places are taken until both kinds wait.
        world.transport.decide = lambda sent: None
        new = await asyncio.gather(*(world.post("a") for _ in range(60)))
        ids = {message.id for message in old}
        await passed(0.35)
        world.transport.decide = lambda sent: OK
        start = len(world.transport.sent)
        world.transport.land(OK)
        await world.settled()
        order = ["r" if sent.message_id in ids else "f" for sent in world.transport.sent[start:]]
        assert order.count("r") == 20
        first_fifty = "".join(order[:50])
        assert "rr" not in first_fifty
        assert 8 <= first_fifty.count("r") <= 12
        assert len(new) == 60

    in_world(story, schedule_s=(0.3,))


def test_more_hung_lanes_than_places_leave_room_for_proven_lanes_and_new_ones_get_the_places_that_come_free():
    async def story(world: World) -> None:
        await world.endpoint("good")
        await world.publish("good")
        await world.settled()
        for n in range(40):
            await world.endpoint(f"hung{n}")
        await world.endpoint("new")
        world.transport.decide = lambda sent: None if sent.host.startswith("hung") else OK
        await world.ready()
        await asyncio.gather(*(world.post(f"hung{n}") for n in range(40) for _ in range(3)))
        assert world.dispatcher.flying == 16, "half of all places, for those that have not answered yet"
        await asyncio.gather(*(world.post("good") for _ in range(50)))
        await until(lambda: len(world.transport.to("good")) == 51)
        await world.post("new")
        waited = 0
        while not world.transport.to("new"):
            # Those before it in the queue come first, and those who had a place queue up again behind it.
            world.transport.flying.pop(0).answers(TIMEOUT)
            waited += 1
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert waited <= 40 - 16 + 2
        while world.transport.flying:
            world.transport.flying.pop(0).answers(OK)
            await asyncio.sleep(0)

    in_world(story, total=32, schedule_s=(30.0,))


def test_every_starved_lane_is_called_in_the_end():
    async def story(world: World) -> None:
        for n in range(30):
            await world.endpoint(f"e{n}")
        await world.ready()
        world.transport.decide = lambda sent: None
        await asyncio.gather(*(world.post("all") for _ in range(4)))
        while world.transport.flying:
            world.transport.flying.pop(0).answers(OK)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await world.settled()
        assert len(world.transport.sent) == 120

    in_world(story, total=8)


def test_idle_lanes_are_forgotten_and_come_back():
    async def story(world: World) -> None:
        for n in range(20):
            await world.endpoint(f"e{n}")
        await world.publish("all")
        await world.settled()
        assert world.dispatcher.lanes == 20
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 0
        await world.publish("all")
        await world.settled()
        assert len(world.transport.sent) == 40

    in_world(story)


def test_a_lane_with_anything_to_do_is_not_forgotten():
    async def story(world: World) -> None:
        await world.endpoint("flying")
        await world.endpoint("parked")
        world.transport.decide = lambda sent: None if sent.host == "flying" else FAILED
        await world.publish("all")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        world.dispatcher.tidy()
        assert world.dispatcher.lanes == 2
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()

    in_world(story, schedule_s=(0.2,))


def test_tidying_holds_the_leases_of_what_waits_in_memory():
    async def story(world: World) -> None:
        endpoint_id = await world.endpoint("a")
        world.transport.decide = lambda sent: None
        for _ in range(30):
            await world.publish("a")
        world.dispatcher.tidy()
        from ringback.store.base import Bounds

        found = await world.store.claim(endpoint_id, Bounds(100, 1 << 20), world.clock.now_us(), 1)
        assert found.claims == []

    in_world(story)


def test_a_header_that_cannot_be_sent_stops_no_other_endpoint():
    async def story(world: World) -> None:
        await world.endpoint("broken", headers={"x-a": "b\x01c"})
        await world.endpoint("a")
        await world.ready()
        await asyncio.gather(*(world.post("all") for _ in range(10)))
        await until(lambda: len(world.transport.to("a")) == 10)
        await world.change("broken", headers={})

    in_world(story)


def test_a_request_that_cannot_be_made_is_a_failed_attempt():
    async def story(world: World) -> None:
        await world.endpoint("a")

        def broken(sent: Sent):
            raise ZeroDivisionError

        world.transport.decide = broken
        await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE error = 'internal'"))
        world.transport.decide = lambda sent: OK
        await world.settled()
        assert await world.count("SELECT COUNT(*) FROM attempt WHERE status = 0") == 1

    in_world(story)


def test_a_message_that_cannot_be_read_is_a_dead_letter_and_holds_up_no_other(caplog: pytest.LogCaptureFixture):
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        messages = [await world.publish("a") for _ in range(3)]
        await until_async(lambda: world.count("SELECT COUNT(*) = 3 FROM attempt"))
        await world.store.write(lambda tx: tx.run("UPDATE message SET channels = '{' WHERE id = ?", (messages[0].id,)))
        await world.store.write(lambda tx: tx.run("UPDATE message SET tags = '[1]' WHERE id = ?", (messages[1].id,)))
        world.transport.decide = lambda sent: OK
        await world.settled()
        assert [sent.message_id for sent in world.transport.sent[3:]] == [messages[2].id]
        spoilt = sorted(message.id for message in messages[:2])
        assert await world.rows("SELECT message_id, cause FROM dead_letter ORDER BY message_id") == [
            (message_id, "payload_gone") for message_id in spoilt
        ]
        assert {row[0] for row in await world.rows("SELECT detail FROM dead_letter")} == {UNREADABLE.detail}
        assert caplog.text.count("message.unreadable") == 2

    in_world(story, schedule_s=(0.5,))


def test_a_payload_that_is_gone_is_not_tried_again_and_the_endpoint_goes_on():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        for _ in range(20):
            await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) = 20 FROM attempt"))
        await world.store.write(lambda tx: tx.run("UPDATE message SET payload = NULL"))
        await until_async(lambda: world.count("SELECT COUNT(*) = 20 FROM dead_letter WHERE cause = 'payload_gone'"))
        world.transport.decide = lambda sent: OK
        await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt WHERE status = 0"))

    in_world(story, schedule_s=(0.2, 3600.0))


def test_a_payload_that_is_gone_ends_as_a_failed_attempt_that_says_so():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        await world.publish("a")
        await until_async(lambda: world.count("SELECT COUNT(*) FROM attempt"))
        await world.store.write(lambda tx: tx.run("UPDATE message SET payload = NULL"))
        await world.settled()
        assert len(world.transport.sent) == 1
        assert await world.rows("SELECT error FROM attempt WHERE number = 2") == [("payload_gone",)]
        assert await world.rows("SELECT cause FROM dead_letter") == [("payload_gone",)]

    in_world(story, schedule_s=(0.2,))


def test_memory_that_was_held_is_given_back_on_every_way_out():
    async def story(world: World) -> None:
        for name in ("good", "bad", "gone"):
            await world.endpoint(name)
        world.transport.decide = lambda sent: {"good": OK, "bad": FAILED, "gone": answer(410)}[sent.host]
        await world.ready()
        posts = [world.post("all", event_id=f"e{n % 20}") for n in range(40)]
        await asyncio.gather(*posts, return_exceptions=True)
        await world.settled()
        assert world.dispatcher.held_bytes == 0
        assert world.metrics.backlog == 0

    in_world(story)


def test_the_backlog_is_of_deliveries_and_attempts_by_hand_beside_them_do_not_count():
    async def story(world: World) -> None:
        await world.endpoint("a")
        message = await world.publish("a")
        await world.settled()
        world.transport.decide = lambda sent: None
        await world.publish("a")
        for _ in range(20):
            await world.resend("a", message)
        await world.sent(5)
        await backlog.count(world.store, world.metrics)
        assert world.metrics.backlog == 1
        world.transport.decide = lambda sent: OK
        world.transport.land(OK)
        await world.settled()
        assert world.metrics.backlog == 0

    in_world(story)


def test_attempts_by_hand_that_end_with_their_endpoint_do_not_count_as_deliveries_that_did():
    async def story(world: World) -> None:
        # What is over the rate waits, and nothing is on the wire.
        await world.endpoint("a", throttle_rate=1)
        message = await world.publish("a")
        await world.settled()
        await asyncio.gather(*(world.post("a") for _ in range(30)))
        for _ in range(40):
            await world.resend("a", message)
        await world.change("a", disabled=True)
        await world.settled()
        await until(lambda: not world.dispatcher.held_bytes)
        assert world.metrics.backlog == 0

    in_world(story)


def test_the_backlog_is_counted_right_although_a_success_by_hand_ends_a_schedule_beside_it():
    async def story(world: World) -> None:
        await world.endpoint("a")
        world.transport.decide = lambda sent: FAILED
        message = await world.publish("a")
        await world.sent(1)
        await until_async(lambda: world.count("SELECT COUNT(*) FROM delivery WHERE state = 'retrying'"))
        world.transport.decide = lambda sent: OK
        await world.resend("a", message)
        await world.settled()
        await backlog.count(world.store, world.metrics)
        assert world.metrics.backlog == 0
        # What is accepted while it is counted counts once.
        world.transport.decide = lambda sent: None
        counting = asyncio.ensure_future(backlog.count(world.store, world.metrics))
        await asyncio.gather(*(world.post("a") for _ in range(20)), counting)
        await backlog.count(world.store, world.metrics)
        assert world.metrics.backlog == 20

    in_world(story, schedule_s=(60.0,))
