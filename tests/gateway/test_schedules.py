"""Sources that send by themselves: once for each due minute, whatever happens in between."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from secrets import randbits
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.api.bodies import Body
from ringback.errors import InvalidField, Refused
from ringback.ids import IdMaker
from ringback.model.sources import Source
from ringback.policy.cron import parse
from ringback.services.schedules import Schedules
from ringback.services.source_wishes import SourceIn
from ringback.services.sources import SecretRotateIn, Sources
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.test_ordering_keys import keys

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


class Timed:
    """The gateway with what sends by itself, and a clock in words."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.at(NOON)
        self.start()

    def start(self) -> None:
        """As after a restart: what was in memory is gone."""
        running = self.running
        running.forget_sources()
        running.sources = Sources(running.store, running.vault, running.clock, IdMaker(), running.known, running.directory, randbits)
        self.schedules = Schedules(running.store, running.vault, running.clock, running.known, running.directory, running.intake)

    def at(self, when: datetime) -> None:
        self.now = when
        self.running.clock.set(when.timestamp())

    def step(self, when: datetime | None = None) -> float:
        if when is not None:
            self.at(when)
        wait_s: float = self.running.run(self.schedules.step())
        return wait_s

    def made(self, schedule: str = "* * * * *", **wanted: Any) -> Source:
        given = {"name": "nightly", "type": "cron", "schedule": schedule, "payload": '{"run": true}', **wanted}
        source: Source = self.running.run(
            self.running.sources.create(WHO, self.running.app_id, Body(SourceIn).parse(msgspec.json.encode(given)))
        )
        return source

    def change(self, source: Source, **wanted: Any) -> Source:
        assert source.cron is not None
        given = {"type": "cron", "schedule": source.cron.schedule, "payload": source.cron.payload, **wanted}
        changed: Source = self.running.run(
            self.running.sources.upsert(WHO, self.running.app_id, source.id, SourceIn(name="nightly", **given))
        ).source
        return changed

    def sent(self) -> list[str]:
        """The minutes that were sent, in order."""
        return [message.origin.event_id or "" for message in self.running.messages() if message.origin is not None]


@pytest.fixture
def timed(running: Running) -> Timed:
    return Timed(running)


def after(**span: float) -> datetime:
    return NOON + timedelta(**span)


def test_a_due_minute_is_an_event_with_the_bytes_and_the_type_that_were_asked_for(timed: Timed) -> None:
    timed.made("5 12 * * *", payload="<run/>", contentType="application/xml")
    assert timed.step(after(minutes=4, seconds=59)) == 1.0
    assert timed.sent() == []
    timed.step(after(minutes=5))
    (message,) = timed.running.messages()
    assert (message.payload, message.content_type, message.event_type) == (b"<run/>", "application/xml", "cron.webhook")
    assert timed.sent() == ["2026-11-26T12:05Z"]
    timed.step(after(minutes=5, seconds=30))
    assert len(timed.sent()) == 1


def test_the_minute_in_which_a_source_was_made_is_none_of_its_own(timed: Timed) -> None:
    timed.at(after(seconds=30))
    timed.made()
    timed.step()
    assert timed.sent() == []
    timed.step(after(minutes=1))
    assert timed.sent() == ["2026-11-26T12:01Z"]


def test_what_was_missed_while_the_server_was_down_is_made_up_for_by_one_event(timed: Timed) -> None:
    timed.made("*/10 * * * *")
    timed.step(after(minutes=10))
    timed.at(after(hours=5, minutes=7))
    timed.start()
    timed.step()
    assert timed.sent() == ["2026-11-26T12:10Z", "2026-11-26T17:00Z"]
    timed.step(after(hours=5, minutes=10))
    assert timed.sent()[2:] == ["2026-11-26T17:10Z"]


def test_a_restart_within_the_minute_sends_nothing_twice_even_months_later(timed: Timed) -> None:
    timed.made("0 0 1 1 *")
    timed.step(datetime(2027, 1, 1, tzinfo=UTC))
    for later in (timedelta(seconds=1), timedelta(minutes=5), timedelta(days=5), timedelta(days=364, hours=23)):
        timed.at(datetime(2027, 1, 1, tzinfo=UTC) + later)
        # What is past its time is forgotten; that this was sent must not be.
        while timed.running.run(timed.running.known.forget()):
            pass
        timed.start()
        timed.step()
    assert timed.sent() == ["2027-01-01T00:00Z"]


def test_a_machine_that_slept_for_hours_sends_one_event_for_all_that_it_missed(timed: Timed) -> None:
    timed.made()
    timed.step(after(minutes=1))
    timed.step(after(hours=3))
    assert timed.sent() == ["2026-11-26T12:01Z", "2026-11-26T15:00Z"]


def test_another_payload_in_the_same_minute_is_not_sent_before_the_next_one(timed: Timed) -> None:
    source = timed.made()
    timed.step(after(minutes=1))
    timed.at(after(minutes=1, seconds=20))
    timed.change(source, payload="new")
    timed.step()
    timed.start()
    timed.step(after(minutes=1, seconds=40))
    assert len(timed.sent()) == 1
    timed.step(after(minutes=2))
    assert [message.payload for message in timed.running.messages()] == [b'{"run": true}', b"new"]


def test_a_change_between_the_due_minute_and_its_event_loses_nothing(timed: Timed) -> None:
    source = timed.made()
    timed.step()
    timed.at(after(minutes=1, seconds=0.5))
    timed.change(source, metadata={"a": "b"})
    timed.step()
    assert timed.sent() == ["2026-11-26T12:01Z"]


def test_another_schedule_holds_from_the_moment_in_which_it_was_written(timed: Timed) -> None:
    source = timed.made("0 * * * *")
    timed.step()
    timed.at(after(minutes=30, seconds=10))
    timed.change(source, schedule="*/15 * * * *")
    timed.step()
    assert timed.sent() == []
    timed.step(after(minutes=45))
    assert timed.sent() == ["2026-11-26T12:45Z"]


def test_what_is_disabled_sends_nothing_and_makes_up_for_nothing_when_it_is_enabled(timed: Timed) -> None:
    source = timed.made()
    timed.step(after(minutes=1))
    off = timed.change(source, disabled=True)
    for minute in (2, 3):
        timed.step(after(minutes=minute))
    timed.at(after(minutes=3, seconds=30))
    timed.change(off, disabled=False)
    timed.step()
    assert timed.sent() == ["2026-11-26T12:01Z"]
    timed.step(after(minutes=4))
    assert timed.sent()[1:] == ["2026-11-26T12:04Z"]


def test_what_is_deleted_sends_nothing_and_neither_does_what_lost_its_application(timed: Timed) -> None:
    source = timed.made()
    timed.made()
    timed.step()
    timed.running.run(timed.running.sources.delete(WHO, timed.running.app_id, source.id))
    timed.step(after(minutes=1))
    assert len(timed.sent()) == 1
    timed.running.run(timed.running.applications.delete(WHO, timed.running.app_id))
    timed.step(after(minutes=2))
    assert len(timed.sent()) == 1


def test_a_clock_that_is_set_back_sends_no_minute_twice_and_goes_on(timed: Timed) -> None:
    timed.made()
    for minute in (1, 2, 3):
        timed.step(after(minutes=minute))
    timed.step(after(minutes=1, seconds=30))
    for minute in (2, 3, 4):
        timed.step(after(minutes=minute))
    assert timed.sent() == [f"2026-11-26T12:0{minute}Z" for minute in (1, 2, 3, 4)]


def test_another_payload_is_no_other_event_of_a_minute_that_comes_again(timed: Timed) -> None:
    source = timed.made()
    timed.step(after(minutes=1))
    timed.change(source, payload="new")
    timed.step(after(seconds=30))
    timed.step(after(minutes=1))
    assert timed.sent() == ["2026-11-26T12:01Z"]
    timed.step(after(minutes=2))
    assert timed.sent() == ["2026-11-26T12:01Z", "2026-11-26T12:02Z"]


def test_a_clock_that_was_a_year_ahead_holds_nothing_up_once_it_is_right(timed: Timed) -> None:
    timed.made()
    timed.step(after(days=365))
    timed.step(after(minutes=1))
    timed.step(after(minutes=2))
    assert timed.sent() == ["2027-11-26T12:00Z", "2026-11-26T12:02Z"]


def test_what_could_not_be_stored_is_sent_when_it_can_be(timed: Timed) -> None:
    timed.made()
    timed.running.intake.closed = True
    assert timed.step(after(minutes=1)) == 1.0
    assert timed.step(after(minutes=1, seconds=1)) == 1.0
    timed.running.intake.closed = False
    assert timed.step(after(minutes=1, seconds=2)) == 30.0
    assert timed.sent() == ["2026-11-26T12:01Z"]


def test_whoever_waits_hears_of_a_new_source_at_once(timed: Timed) -> None:
    timed.step()

    async def waited() -> None:
        waiting = asyncio.ensure_future(timed.schedules.wait(600.0))
        await asyncio.sleep(0)
        given = SourceIn(name="n", type="cron", schedule="* * * * *", payload="p")
        await timed.running.sources.create(WHO, timed.running.app_id, given)
        await asyncio.wait_for(waiting, 10.0)

    timed.running.run(waited())
    timed.step(after(minutes=1))
    assert timed.sent() == ["2026-11-26T12:01Z"]


def test_what_was_sent_is_counted_and_a_source_that_is_seldom_due_is_not_called_silent(timed: Timed) -> None:
    source = timed.made("0 0 1 * *", silenceS=60)
    timed.step(datetime(2026, 12, 1, tzinfo=UTC))
    timed.running.run(timed.running.known.note())
    assert timed.running.run(timed.running.sources.activity(source.id)).accepted == 1
    timed.at(datetime(2026, 12, 30, tzinfo=UTC))
    assert timed.running.run(timed.running.known.silent()) == []


def test_what_a_payload_names_as_its_key_its_events_are_in_order_with(timed: Timed) -> None:
    source = timed.made(payload='{"job": {"name": "backup"}}', orderingKeyAt=["json:job.id", "json:job.name"])
    timed.step(after(minutes=1))
    source = timed.change(source, payload='{"job": {"id": 7}}', ordering_key_at=("json:job.id",))
    timed.step(after(minutes=2))
    timed.change(source)
    timed.step(after(minutes=3))
    assert keys(timed.running) == ["backup", "7", None]


def test_nobody_can_call_a_source_that_sends_by_itself(timed: Timed) -> None:
    source = timed.made()
    assert timed.running.ask(path_of(source), b"{}").status == 404
    with pytest.raises(Refused, match="has no URL"):
        timed.running.run(timed.running.sources.rotate_token(WHO, timed.running.app_id, source.id))
    with pytest.raises(InvalidField, match="verifies nothing"):
        timed.running.run(timed.running.sources.rotate_secret(WHO, timed.running.app_id, source.id, SecretRotateIn(secret="s")))


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"schedule": None}, "body.schedule: a source of type cron needs a schedule"),
        ({"payload": None}, "body.payload: a source of type cron needs a payload"),
        ({"schedule": "60 * * * *"}, "body.schedule: minute: 60 is out of bounds"),
        ({"route": "webhooks/nightly"}, "body.route: a source of type cron has no URL"),
        ({"secrets": ["s"]}, "body.secrets: a source of type cron verifies nothing"),
        ({"payload": "x" * (2 * 1024 * 1024 + 1)}, "body.payload: the payload has 2097153 bytes; at most 2097152"),
        ({"orderingKeyAt": ["header:x", "json:job"]}, "body.orderingKeyAt: none of these places holds a text in the payload"),
        (
            {"orderingKeyAt": ["json:run"], "orderingVersionAt": ["json:run"]},
            "body.orderingVersionAt: a source of type cron sends",
        ),
        ({"type": "generic-webhook"}, "body.schedule: a source of type generic-webhook sends nothing by itself"),
        ({"type": "stripe", "secrets": ["s"], "schedule": None}, "body.payload: a source of type stripe sends nothing"),
    ],
)
def test_what_contradicts_itself_is_refused_by_field(timed: Timed, given: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidField) as error:
        timed.made(**given)
    assert where in str(error.value)


# Minutes that pass, and whether the server is killed and started again before the next look.
moves = st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["* * * * *", "*/7 * * * *", "30 12-14 * * *", "0 13 * * *"]), moves)
def test_each_look_sends_the_last_due_minute_unless_it_was_sent(schedule: str, passing: list[tuple[int, bool]]) -> None:
    with asyncio.Runner() as runner:
        timed = Timed(Running(runner))
        timed.made(schedule)
        timed.step()
        wanted: list[str] = []
        for minutes, killed in passing:
            timed.at(timed.now + timedelta(minutes=minutes))
            if killed:
                timed.start()
            timed.step()
            last = parse(schedule).until(int(timed.now.timestamp()) // 60)
            name = datetime.fromtimestamp((last or 0) * 60, UTC).strftime("%Y-%m-%dT%H:%MZ")
            if name > f"{NOON:%Y-%m-%dT%H:%MZ}" and name not in wanted:
                wanted.append(name)
        assert timed.sent() == wanted
        timed.running.close()
