from __future__ import annotations

import asyncio

from ringback.errors import StoreFailure
from ringback.model.deliveries import Delivery, Trigger
from ringback.model.endpoints import DisableCause, DisabledBy, Disabling
from ringback.store.base import Record
from ringback.store.operations import deliveries, trends
from ringback.store.operations.trends import Scope
from tests.store.conformance.shelf import SECOND_US, Shelf

LIVE = "SELECT due_at, attempts, state, trigger FROM delivery ORDER BY trigger, due_at"


async def manual(shelf: Shelf, delivery: Delivery) -> Delivery:
    """A manual delivery beside a scheduled one."""
    message = shelf.message(id=delivery.message_id)
    added = await shelf.store.write(lambda tx: deliveries.add_manual(tx, delivery.endpoint_id, message, shelf.now_us))
    (claim,) = [c for c in (await shelf.claim(delivery.endpoint_id)).claims if c.delivery.trigger is Trigger.MANUAL]
    assert claim.delivery == added
    return claim.delivery


def test_a_success_ends_the_delivery_and_leaves_its_attempt(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        assert await shelf.record(shelf.success(delivery)) is None
        assert await shelf.count("delivery") == 0
        assert await shelf.rows("SELECT endpoint_id, message_id, status, number, sequence FROM attempt") == [
            ("ep_1", delivery.message_id, 0, 1, 1)
        ]

    tell(story)


def test_a_failure_moves_the_delivery_to_its_next_time(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        assert await shelf.record(shelf.retry(delivery, delivery.due_at + 5)) is None
        assert await shelf.rows(LIVE) == [(delivery.due_at + 5, 1, "retrying", 0)]
        (claim,) = (await shelf.claim(now_us=delivery.due_at + 5)).claims
        assert (claim.delivery.attempts, claim.delivery.sequence) == (1, delivery.sequence)
        assert await shelf.record(shelf.retry(claim.delivery, delivery.due_at + 9)) is None
        assert await shelf.rows(LIVE) == [(delivery.due_at + 9, 2, "retrying", 0)]

    tell(story)


def test_the_last_failure_leaves_a_dead_letter(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        assert await shelf.record(shelf.death(delivery)) is None
        assert await shelf.count("delivery") == 0
        assert await shelf.rows("SELECT endpoint_id, message_id, cause, attempts, state FROM dead_letter") == [
            ("ep_1", delivery.message_id, "http_500", 1, "dead")
        ]

    tell(story)


def test_a_manual_success_ends_the_schedule_and_the_dead_letter(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        await shelf.record(shelf.retry(delivery, delivery.due_at + 1_000_000_000))
        resend = await manual(shelf, delivery)
        assert await shelf.record(shelf.success(resend)) is None
        assert await shelf.rows(LIVE) == []
        other = await shelf.delivery()
        await shelf.record(shelf.death(other))
        await shelf.record(shelf.success(await manual(shelf, other)))
        assert await shelf.count("dead_letter") == await shelf.count("delivery") == 0

    tell(story)


def test_a_manual_failure_leaves_the_schedule_alone(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        due_at = delivery.due_at + 1_000_000_000
        await shelf.record(shelf.retry(delivery, due_at))
        resend = await manual(shelf, delivery)
        assert await shelf.record(Record(resend, shelf.attempt(resend, 2, code=500))) is None
        assert await shelf.rows(LIVE) == [(due_at, 1, "retrying", 0)]

    tell(story)


def test_a_delivery_that_was_ended_while_it_was_attempted_stays_ended(tell):
    async def story(shelf: Shelf) -> None:
        retried, died = await shelf.delivery(), await shelf.delivery("ep_2")
        for endpoint_id in ("ep_1", "ep_2"):
            await shelf.store.write(lambda tx, endpoint_id=endpoint_id: deliveries.drop(tx, endpoint_id, 10))
        assert await shelf.record(shelf.retry(retried, retried.due_at + 5)) is None
        assert await shelf.record(shelf.death(died)) is None
        assert await shelf.count("delivery") == await shelf.count("dead_letter") == 0
        assert await shelf.count("attempt") == 2

    tell(story)


def test_attempts_are_counted_by_endpoint_and_minute(tell):
    async def story(shelf: Shelf) -> None:
        at_us = 90 * 60_000_000
        found = [await shelf.delivery() for _ in range(3)] + [await shelf.delivery("ep_2")]
        records = [
            Record(delivery, shelf.attempt(delivery, status, started_at=at_us + late_us))
            for delivery, status, late_us in zip(found, (0, 2, 0, 4), (0, 59_999_999, 60_000_000, 0), strict=True)
        ]
        await shelf.record(*records)
        await shelf.record(Record(found[0], shelf.attempt(found[0], 0, started_at=at_us)))
        found = {}
        for endpoint_id in ("ep_1", "ep_2"):
            scope = Scope("", "app_1", endpoint_id)
            sums = await shelf.store.read(lambda tx, scope=scope: trends.series(tx, scope, 0, 1_000, 1))
            cells = {at: by_minute.cell(0) for at, by_minute in sums.items()}
            found |= {(endpoint_id, at): (c.success, c.fail, c.canceled) for at, c in cells.items()}
        assert found == {("ep_1", 90): (2, 1, 0), ("ep_1", 91): (1, 0, 0), ("ep_2", 90): (0, 0, 1)}

    tell(story)


def test_records_given_together_are_kept_together_or_not_at_all(tell):
    async def story(shelf: Shelf) -> None:
        first, second, third = [await shelf.delivery() for _ in range(3)]
        bad = Record(second, shelf.attempt(second, 2, detail="\ud800"))
        together = shelf.offer_records(shelf.success(first), bad)
        alone = shelf.offer_records(shelf.success(third))
        accepted = shelf.offer("ep_2")
        await asyncio.gather(together, alone, accepted.done)
        cause = together.result()
        assert cause is not None
        assert not isinstance(cause, StoreFailure), "trying again would not help"
        assert alone.result() is None
        assert accepted.word == "accepted"
        assert await shelf.rows("SELECT message_id FROM attempt") == [(third.message_id,)]
        assert await shelf.rows("SELECT message_id FROM delivery WHERE endpoint_id = 'ep_1' ORDER BY message_id") == sorted(
            [(first.message_id,), (second.message_id,)]
        )

    tell(story)


_ENDPOINT = (
    "INSERT INTO endpoint (id, app_id, url, host, description, disabled, metadata, version, headers, secrets, created_at, updated_at) "
    "VALUES ('ep_1', 'app_1', x'', '', '', 0, '{}', 1, x'', x'', 1, 1)"
)
_DISABLING = "SELECT disabled_at, disabled_by, disable_cause, disable_detail, fail_since FROM endpoint_disabling"


def test_a_record_may_disable_its_endpoint_and_says_why(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        await shelf.store.write(lambda tx: tx.run(_ENDPOINT))
        record = shelf.death(delivery)
        why = Disabling(7, DisabledBy.AUTOMATIC, DisableCause.GONE, "it is gone", 5)
        await shelf.record(Record(record.delivery, record.attempt, dead=record.dead, disables=why))
        assert await shelf.rows("SELECT disabled, updated_at FROM endpoint") == [(1, 7)]
        assert await shelf.rows(_DISABLING) == [(7, "automatic", "http_410", "it is gone", 5)]

    tell(story)


def test_an_endpoint_that_is_disabled_keeps_its_first_reason(tell):
    async def story(shelf: Shelf) -> None:
        await shelf.store.write(lambda tx: tx.run(_ENDPOINT))
        for at in (7, 8):
            record = shelf.death(await shelf.delivery())
            why = Disabling(at, DisabledBy.AUTOMATIC, DisableCause.GONE)
            await shelf.record(Record(record.delivery, record.attempt, dead=record.dead, disables=why))
        assert await shelf.rows("SELECT disabled, updated_at FROM endpoint") == [(1, 7)]
        assert await shelf.rows(_DISABLING) == [(7, "automatic", "http_410", "", None)]

    tell(story)


def test_records_tell_together_what_was_written_before_they_end_or_disable_anything(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        await shelf.record(shelf.death(delivery))
        seen = []

        def look(tx, records):
            known = sum(tx.rows("SELECT 1 FROM attempt WHERE id = ?", (r.attempt.id,)) == [(1,)] for r in records)
            seen.append((len(records), known, tx.row("SELECT COUNT(*) FROM dead_letter")))

        won = shelf.success(await manual(shelf, delivery))
        lost = shelf.death(await shelf.delivery("ep_2"))
        records = (
            Record(won.delivery, won.attempt, ends_pair=True, tell=look),
            shelf.success(await shelf.delivery("ep_3")),
            Record(lost.delivery, lost.attempt, dead=lost.dead, tell=look),
        )
        assert await shelf.record(*records) is None
        assert seen == [(2, 2, (2,))]
        assert await shelf.rows("SELECT endpoint_id FROM dead_letter") == [("ep_2",)]

    tell(story)


def test_what_an_attempt_waited_for_and_what_comes_next_is_kept(tell):
    async def story(shelf: Shelf) -> None:
        delivery = await shelf.delivery()
        attempt = shelf.attempt(delivery, 2, wait="throttle", next_due_at=9, next_cause="retry_after")
        await shelf.record(Record(delivery, attempt, next_due_at=9))
        assert await shelf.rows("SELECT wait, next_due_at, next_cause FROM attempt") == [("throttle", 9, "retry_after")]

    tell(story)


def test_a_first_failure_is_remembered_until_it_is_to_be_forgotten(tell_again):
    async def first(shelf: Shelf) -> None:
        for at in (5, 6):
            record = shelf.death(await shelf.delivery())
            await shelf.record(Record(record.delivery, record.attempt, dead=record.dead, first_failure_at=at))
            assert await shelf.rows("SELECT endpoint_id, first_failure_at FROM endpoint_failure") == [("ep_1", at)]

    async def second(shelf: Shelf) -> None:
        assert await shelf.rows("SELECT endpoint_id, first_failure_at FROM endpoint_failure") == [("ep_1", 6)]
        success = shelf.success(await shelf.delivery())
        await shelf.record(success)
        assert await shelf.count("endpoint_failure") == 1
        success = shelf.success(await shelf.delivery())
        await shelf.record(Record(success.delivery, success.attempt, first_failure_at=0))
        assert await shelf.count("endpoint_failure") == 0

    tell_again(first)
    tell_again(second)


def test_the_death_of_an_attempt_by_hand_is_that_of_the_schedule_beside_it(tell):
    async def story(shelf: Shelf) -> None:
        heard = await shelf.accept("ep_1", claim=True)
        (scheduled,) = heard.acceptance.claimed
        await shelf.record(shelf.retry(scheduled, shelf.now_us + 60 * SECOND_US))
        message = heard.acceptance.message
        for letters in (1, 1):
            by_hand = await shelf.store.write(lambda tx: deliveries.add_manual(tx, "ep_1", message, shelf.now_us))
            await shelf.record(shelf.death(by_hand))
            # The second one finds no schedule: it leaves the letter of the first as it is.
            assert await shelf.rows("SELECT message_id, attempts FROM dead_letter") == [(message.id, 1)] * letters
            assert await shelf.count("delivery") == 0

    tell(story)


def test_the_death_of_an_attempt_by_hand_without_a_schedule_is_none(tell):
    async def story(shelf: Shelf) -> None:
        heard = await shelf.accept("ep_1", claim=True)
        (delivery,) = heard.acceptance.claimed
        await shelf.record(shelf.success(delivery))
        message = heard.acceptance.message
        by_hand = await shelf.store.write(lambda tx: deliveries.add_manual(tx, "ep_1", message, shelf.now_us))
        await shelf.record(shelf.death(by_hand))
        assert await shelf.count("dead_letter") == 0
        assert await shelf.count("delivery") == 0

    tell(story)
