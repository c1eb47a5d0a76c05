from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.clock import SystemClock
from ringback.errors import Conflict, RingbackError
from ringback.model.messages import Origin
from ringback.store.base import EventClaim
from ringback.store.opening import open_store
from tests.store.conformance.shelf import SECOND_US, Heard, Shelf


def test_what_was_accepted_is_there_after_reopening(tell_again):
    async def first(shelf: Shelf) -> str:
        return (await shelf.accept("ep_1", "ep_2", payload=b"\x00\xff", event_id="e", tags=("a", "b"))).what

    async def second(shelf: Shelf) -> None:
        assert await shelf.rows("SELECT id, payload, event_id, tags FROM message") == [(message_id, b"\x00\xff", "e", '["a","b"]')]
        assert await shelf.claimed_ids("ep_1") == await shelf.claimed_ids("ep_2") == [message_id]
        again = await shelf.accept("ep_1", event_id="e")
        assert again.word == "refused"
        assert (await shelf.delivery("ep_1")).sequence == 2

    message_id = tell_again(first)
    tell_again(second)


def test_acceptances_are_answered_in_the_order_of_the_calls_each_once(tell):
    async def story(shelf: Shelf) -> None:
        offered = [shelf.offer("ep_1") for _ in range(700)]
        await asyncio.gather(*(heard.done for heard in offered))
        assert shelf.heard == offered
        assert {heard.word for heard in offered} == {"accepted"}

    tell(story)


def test_sequence_numbers_of_an_endpoint_have_no_gap_and_no_double_across_batches_and_refusals(tell):
    async def story(shelf: Shelf) -> None:
        offered = []
        for n in range(900):
            names = [f"ep_{n % 3}", "ep_all"] if n % 4 else ["ep_all"]
            # Every seventh asks for an event id that is taken.
            offered.append(shelf.offer(*names, claim=n % 2 == 0, event_id="same" if n % 7 == 0 else None))
            if n % 100 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*(heard.done for heard in offered))
        accepted = [heard for heard in offered if heard.word == "accepted"]
        assert len(accepted) == 900 - len(range(0, 900, 7)) + 1
        for endpoint_id in ("ep_0", "ep_1", "ep_2", "ep_all"):
            numbers = await shelf.rows("SELECT sequence FROM delivery WHERE endpoint_id = ? ORDER BY message_id", (endpoint_id,))
            assert numbers == [(n + 1,) for n in range(len(numbers))]
        handed = {(d.endpoint_id, d.message_id): d.sequence for heard in accepted for d in heard.acceptance.claimed}
        stored = await shelf.rows("SELECT endpoint_id, message_id, sequence FROM delivery")
        assert all(sequence == handed.get((endpoint_id, message_id), sequence) for endpoint_id, message_id, sequence in stored)

    tell(story)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sets(st.sampled_from(["a", "b", "c"])), st.sampled_from([None, "x", "y"]), st.booleans()), max_size=30))
def test_any_batch_of_good_and_bad_acceptances_numbers_the_good_ones_alone(wanted):
    async def story() -> None:
        clock = SystemClock()
        store = await open_store("sqlite:///:memory:", clock)
        shelf = Shelf(store, clock)
        doubled = shelf.message()
        offered = []
        for endpoint_ids, event_id, bad in wanted:
            # A second message of one id breaks the constraint of its table, in the middle of the batch.
            offered.append(shelf.offer(*sorted(endpoint_ids), event_id=event_id, message=doubled if bad else None))
        await asyncio.gather(*(heard.done for heard in offered))
        assert all(len(heard.answers) == 1 for heard in offered)
        accepted = [heard for heard in offered if heard.word == "accepted"]
        names = [event_id for (_, event_id, bad) in wanted if event_id is not None and not bad]
        assert len(accepted) == len([1 for _, event_id, bad in wanted if event_id is None and not bad]) + len(set(names)) + any(
            bad for _, _, bad in wanted
        )
        for endpoint_id in "abc":
            numbers = await shelf.rows("SELECT sequence FROM delivery WHERE endpoint_id = ? ORDER BY sequence", (endpoint_id,))
            assert numbers == [(n + 1,) for n in range(len(numbers))]
            assert len(numbers) == sum(any(t.endpoint_id == endpoint_id for t in heard.acceptance.targets) for heard in accepted)
        await store.close()

    asyncio.run(story())


def test_an_event_id_that_is_taken_refuses_its_message_alone(tell):
    async def story(shelf: Shelf) -> None:
        offered = [shelf.offer("ep_1", event_id=name) for name in ("a", "b", "a", "c", "b")]
        await asyncio.gather(*(heard.done for heard in offered))
        assert [heard.word for heard in offered] == ["accepted", "accepted", "refused", "accepted", "refused"]
        assert isinstance(offered[2].what, Conflict)
        assert (await shelf.accept("ep_1", event_id="a", app_id="app_2")).word == "accepted"
        assert await shelf.count("message") == 4

    tell(story)


def test_a_repeated_idempotency_key_names_the_first_message_until_it_expires(tell):
    async def story(shelf: Shelf) -> None:
        first, same = shelf.offer("ep_1", key=b"k" * 16), shelf.offer("ep_1", key=b"k" * 16)
        await same.done
        later = await shelf.accept("ep_1", key=b"k" * 16)
        assert first.word == "accepted"
        assert (same.word, same.what) == (later.word, later.what) == ("repeated", first.what)
        assert await shelf.count("message") == await shelf.count("delivery") == 1
        expired = shelf.message(created_at=shelf.now_us + 11 * SECOND_US)
        assert (await shelf.accept("ep_1", key=b"k" * 16, message=expired)).word == "accepted"
        assert await shelf.count("message") == 2

    tell(story)


def test_a_refused_message_does_not_use_up_its_idempotency_key(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.accept("ep_1", event_id="e")
        assert (await shelf.accept("ep_1", event_id="e", key=b"k" * 16)).word == "refused"
        assert (await shelf.accept("ep_1", event_id="f", key=b"k" * 16)).word == "accepted"

    tell(story)


def test_a_row_that_violates_a_constraint_fails_alone_and_not_its_batch(tell):
    async def story(shelf: Shelf) -> None:
        first = await shelf.accept("ep_1")
        delivery = await shelf.delivery("ep_1")
        before, bad, after = shelf.offer("ep_1"), shelf.offer("ep_1", message=first.acceptance.message), shelf.offer("ep_1", claim=True)
        recorded = shelf.offer_records(shelf.success(delivery))
        wrote = shelf.store.write(lambda tx: tx.run("INSERT INTO endpoint_sequence VALUES ('ep_9', 5)"))
        await asyncio.gather(before.done, bad.done, after.done, recorded, wrote)
        assert (before.word, bad.word, after.word) == ("accepted", "refused", "accepted")
        assert recorded.result() is None
        assert await shelf.rows("SELECT sequence FROM delivery ORDER BY sequence") == [(1,), (3,), (4,)]
        assert [d.sequence for d in after.acceptance.claimed] == [4]
        assert bad.acceptance.claimed == []

    tell(story)


def test_a_value_that_no_database_holds_fails_alone_and_the_store_goes_on(tell):
    async def story(shelf: Shelf) -> None:
        before, bad, after = shelf.offer("ep_1"), shelf.offer("ep_1", content_type="\ud800"), shelf.offer("ep_1")
        too_large = shelf.offer("ep_1", expires_at=1 << 70)
        await asyncio.gather(*(heard.done for heard in (before, bad, after, too_large)))
        assert [heard.word for heard in (before, bad, after, too_large)] == ["accepted", "refused", "accepted", "refused"]
        assert isinstance(bad.what, RingbackError)
        assert (await shelf.accept("ep_1")).word == "accepted"

    tell(story)


def test_an_event_is_kept_once_while_its_claim_lasts(tell):
    async def story(shelf: Shelf) -> None:
        first = await shelf.accept("ep_1", event=EventClaim("src_1", b"nevt_1", b"body", SECOND_US))
        twin = await shelf.accept("ep_1", event=EventClaim("src_1", b"nevt_1", b"body", SECOND_US))
        assert (first.word, twin.word, twin.what) == ("accepted", "repeated", first.acceptance.message.id)
        others = [EventClaim("src_2", b"nevt_1", b"body", SECOND_US), EventClaim("src_1", b"nevt_2", b"body", SECOND_US)]
        assert [(await shelf.accept("ep_1", event=other)).word for other in others] == ["accepted", "accepted"]
        late = await shelf.accept("ep_1", event=others[1], created_at=shelf.now_us + 2 * SECOND_US)
        assert late.word == "accepted"
        assert await shelf.count("message") == 4

    tell(story)


def test_of_twins_in_one_batch_the_first_is_kept(tell):
    async def story(shelf: Shelf) -> None:
        heard = [shelf.offer("ep_1", event=EventClaim("src_1", b"nevt_1", b"body", SECOND_US)) for _ in range(5)]
        await asyncio.gather(*(one.done for one in heard))
        assert [one.word for one in heard] == ["accepted", *["repeated"] * 4]
        assert {one.what for one in heard[1:]} == {heard[0].acceptance.message.id}
        assert await shelf.count("delivery") == 1

    tell(story)


def test_another_body_under_the_name_of_an_event_is_kept_once_and_marked(tell):
    async def story(shelf: Shelf) -> None:
        def offer(body: bytes) -> Heard:
            return shelf.offer("ep_1", origin=Origin("src_1", "evt_1"), event=EventClaim("src_1", b"nevt_1", body, SECOND_US))

        first, other, again = offer(b"one"), offer(b"two"), offer(b"two")
        await asyncio.gather(*(one.done for one in (first, other, again)))
        assert [one.word for one in (first, other, again)] == ["accepted", "accepted", "repeated"]
        assert again.what == other.acceptance.message.id
        rows = await shelf.rows("SELECT id, origin FROM message ORDER BY seq")
        assert [(row[0], "conflict" in row[1]) for row in rows] == [
            (first.acceptance.message.id, False), (other.acceptance.message.id, True),
        ]  # fmt: skip

    tell(story)


def test_an_event_whose_bytes_nobody_knows_is_the_same_as_any_of_its_name(tell):
    """One that was found in a list of its provider: neither it nor the call that comes before or after it is a conflict."""

    async def story(shelf: Shelf) -> None:
        for key, bodies in ((b"nevt_1", (b"", b"body", b"")), (b"nevt_2", (b"body", b"", b"body"))):
            first, *others = [await shelf.accept("ep_1", event=EventClaim("src_1", key, body, SECOND_US)) for body in bodies]
            assert [(other.word, other.what) for other in others] == [("repeated", first.acceptance.message.id)] * 2

    tell(story)


def test_the_event_of_a_message_that_was_refused_is_free_again(tell):
    async def story(shelf: Shelf) -> None:
        claim = EventClaim("src_1", b"nevt_1", b"body", SECOND_US)
        bad = await shelf.accept("ep_1", event=claim, content_type="\ud800")
        assert bad.word == "refused"
        assert (await shelf.accept("ep_1", event=claim)).word == "accepted"

    tell(story)


def test_a_refusal_keeps_nothing_but_a_key_that_made_a_message_before_hears_of_that_one(tell):
    async def story(shelf: Shelf) -> None:
        first = await shelf.accept("ep_1", key=b"k" * 16)
        known = shelf.offer("ep_1", key=b"k" * 16, refusal=Conflict("no"))
        fresh = shelf.offer("ep_1", key=b"f" * 16, event_id="e", refusal=Conflict("no"))
        later = shelf.offer("ep_1", key=b"f" * 16, event_id="e")
        await asyncio.gather(*(heard.done for heard in (known, fresh, later)))
        assert (known.word, known.what) == ("repeated", first.what)
        assert (fresh.word, str(fresh.what)) == ("refused", "no")
        assert later.word == "accepted", "what was refused has taken neither the key nor the event id"
        assert len(await shelf.rows("SELECT id FROM message")) == 2

    tell(story)


def test_a_callback_that_breaks_costs_the_others_nothing(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        first = shelf.offer("ep_1")

        def broken(*arguments: object) -> None:
            raise ZeroDivisionError

        first.acceptance.accepted = broken
        second = shelf.offer("ep_1")
        shelf.store.record([shelf.retry(delivery, 5)], broken)
        third = shelf.offer_records(shelf.success(await shelf.delivery()))
        assert (await second.done).word == "accepted"
        assert await third is None
        assert (await shelf.accept("ep_1")).word == "accepted"

    tell(story)


def test_a_message_for_nobody_is_kept(tell):
    async def story(shelf: Shelf) -> None:
        assert (await shelf.accept()).word == "accepted"
        assert (await shelf.count("message"), await shelf.count("delivery")) == (1, 0)

    tell(story)


def test_a_message_that_waits_for_its_time_is_one_row_and_no_delivery(tell_again):
    async def first(shelf: Shelf) -> str:
        return (await shelf.accept(deliver_at=7, channels=("a", "b"), event_type="x.y")).what

    async def second(shelf: Shelf) -> None:
        rows = await shelf.rows("SELECT app_id, deliver_at, message_id, event_type, channels FROM deferred_message")
        assert rows == [("app_1", 7, message_id, "x.y", '["a","b"]')]
        assert await shelf.count("delivery") == 0

    message_id = tell_again(first)
    tell_again(second)


def test_a_message_that_is_refused_waits_for_nothing(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.accept(event_id="e")
        refused = await shelf.accept(deliver_at=7, event_id="e")
        assert refused.word == "refused"
        assert await shelf.count("deferred_message") == 0

    tell(story)
