"""What is never lost and never doubled when calls are looked for at the provider: whatever its API answers, and whatever the clock does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from msgspec.structs import replace

from ringback.clock import SECOND_US
from ringback.policy.reconciliation import MAX_PAGES
from ringback.services.reconciliations import ReconciliationIn
from ringback.store.operations import reconciliations
from tests.acceptance.provider_api import CREDENTIAL, Asked, Said
from tests.gateway.comparing import CHANGES, Compare
from tests.gateway.conftest import WHO

DAY_S = 86_400


class Events:
    """A list of one page, as Stripe has it: events by id, with the second in which each was made."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}

    def __call__(self, asked: Asked) -> Said:
        low, high = int(asked.one("created[gte]") or 0), int(asked.one("created[lte]") or 0)
        listed = [{"id": name, "type": "charge.failed", "created": at} for name, at in self.at.items() if low <= at <= high]
        return Said({"has_more": False, "data": sorted(listed, key=lambda event: -int(str(event["created"])))})


def test_a_clock_that_was_a_year_ahead_for_a_while_leaves_no_event_out(compare: Compare) -> None:
    events = Events()
    compared = compare(events)
    began_s = compared.now_s
    compared.put()
    compared.go()
    compared.set(began_s + 365 * DAY_S)
    compared.go()
    assert compared.standing.progress.covered_until > began_s * SECOND_US + 300 * DAY_S * SECOND_US
    compared.set(began_s + 2 * 3_600)
    events.at["evt_1"] = compared.now_s - 3_600
    compared.go()
    compared.set(compared.now_s + 3_601)
    compared.go()
    assert compared.came() == ["evt_1"]
    assert compared.standing.progress.covered_until <= compared.now_s * SECOND_US


def test_a_server_that_starts_after_its_clock_was_set_back_waits_no_longer_than_anyone_may_ask_for(compare: Compare) -> None:
    compared = compare(Events())
    began_s = compared.now_s
    compared.set(began_s + 365 * DAY_S)
    compared.put()
    compared.go()
    compared.set(began_s)
    compared.restart()
    assert compared.due() == [compared.source.id]
    compared.go()
    assert compared.due() == []


def test_what_waits_is_due_as_soon_as_before_when_the_clock_is_set_back_by_an_hour(compare: Compare) -> None:
    compared = compare(Events())
    began_s = compared.now_s
    compared.put(interval_s=60)
    compared.go()
    compared.set(began_s - 3_600)
    assert compared.due() == []
    compared.set(began_s - 3_600 + 61)
    assert compared.due() == [compared.source.id]


def test_a_run_that_began_before_the_clock_was_set_back_begins_anew(compare: Compare) -> None:
    events = Events()

    def pages(asked: Asked) -> Said:
        if asked.one("starting_after") is not None:
            return Said({"has_more": False, "data": []})
        found: Any = events(asked).body
        return Said({**found, "has_more": bool(found["data"])})

    compared = compare(pages)
    began_s = compared.now_s
    compared.set(began_s + 30 * DAY_S)
    events.at = {"evt_1": began_s - 3_600, "evt_2": compared.now_s - 3_600}
    compared.put()
    compared.running.run(compared.reconciler.step(compared.source.id))
    assert compared.standing.progress.run is not None
    compared.set(began_s)
    compared.go()
    assert compared.came() == ["evt_2", "evt_1"]


def test_events_that_are_listed_for_weeks_and_say_no_time_are_taken_once(compare: Compare) -> None:
    listing = {"path": "/all", "base": "https://x", "auth": {"authorization": "Bearer {credential}"}, "items": "data[]"}
    compared = compare(lambda asked: Said({"data": [{"id": "evt_1", "type": "charge.failed"}]}))
    compared.put(listing=listing, interval_s=DAY_S)
    for _ in range(12):
        compared.go()
        compared.set(compared.now_s + DAY_S + 1)
    assert compared.came() == ["evt_1"]


def test_an_answer_that_was_on_its_way_when_all_was_deleted_and_made_anew_moves_nothing(compare: Compare) -> None:
    asked_first, go_on = threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        if not asked_first.is_set():
            asked_first.set()
            go_on.wait(20)
        return Said({"has_more": True, "data": [{"id": "evt_of_the_former", "type": "x", "created": int(asked.one("created[lte]") or 0)}]})

    compared = compare(slow)
    compared.put()
    running = compared.running

    async def meanwhile() -> None:
        step = asyncio.create_task(compared.reconciler.step(compared.source.id))
        await asyncio.to_thread(asked_first.wait, 20)
        await compared.all.delete(WHO, running.app_id, compared.source.id)
        running.clock.at_us += 1
        given = ReconciliationIn(credential=CREDENTIAL, base_url=compared.api.url)
        await compared.all.put(WHO, running.app_id, compared.source.id, given)
        go_on.set()
        await step

    running.run(meanwhile())
    assert compared.standing.progress.run is None


def test_nothing_is_taken_in_for_a_source_that_was_deleted_while_its_page_was_read(compare: Compare) -> None:
    asked_first, go_on = threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        asked_first.set()
        go_on.wait(20)
        return Said({"has_more": False, "data": [{"id": "evt_1", "type": "x", "created": int(asked.one("created[lte]") or 0)}]})

    compared = compare(slow)
    compared.put()
    running = compared.running

    async def meanwhile() -> None:
        step = asyncio.create_task(compared.reconciler.step(compared.source.id))
        await asyncio.to_thread(asked_first.wait, 20)
        await running.sources.delete(WHO, running.app_id, compared.source.id)
        go_on.set()
        await asyncio.wait((step,))
        step.exception()

    running.run(meanwhile())
    assert running.messages() == []
    assert compared.due() == [compared.source.id]
    compared.go()
    assert compared.due() == []


def test_one_event_of_a_page_that_cannot_be_read_keeps_no_other_waiting(compare: Compare) -> None:
    listing = {
        "path": "/all", "base": "https://x", "auth": {"authorization": "Bearer {credential}"}, "items": "data[]", "payload": "sent",
    }  # fmt: skip
    body = b'{"data":[{"sent":"{\\"id\\":\\"evt_1\\",\\"type\\":\\"x\\"}"},{"sent":"\xff"},{"nothing":1}]}'
    compared = compare(lambda asked: Said(body))
    compared.put(listing=listing)
    compared.go()
    last = compared.standing.progress.last
    assert compared.came() == ["evt_1"]
    assert last is not None and (last.looked_at, last.added, last.skipped) == (3, 1, 2)


def test_a_provider_that_knows_no_position_that_it_gave_is_not_asked_again_and_again(compare: Compare) -> None:
    compared = compare(lambda asked: Said({"after": "p1"}) if asked.path == "/latest" else Said({}, 410))
    compared.put(listing=CHANGES)
    compared.go()
    progress = compared.standing.progress
    assert (progress.cause, progress.failures) == ("cursor", 1) and progress.lost_at is not None
    assert len(compared.api.asked) == 4


def test_a_list_of_changes_that_never_ends_is_read_on_after_a_rest_from_where_it_was_cut(compare: Compare) -> None:
    def endless(asked: Asked) -> Said:
        at = int(asked.one("after") or 0)
        return Said({"data": [{"n": at}], "after": str(at + 1), "more": True})

    def read_nearly_all() -> None:
        """Read one page, and have it be the last but one that a run may read."""
        running.run(compared.reconciler.step(compared.source.id))
        standing = compared.standing
        assert standing.progress.run is not None
        progress = replace(standing.progress, run=replace(standing.progress.run, pages=MAX_PAGES - 1))
        running.run(running.store.write(lambda tx: reconciliations.move(tx, standing, progress, running.clock.at_us)))

    compared = compare(endless)
    running = compared.running
    compared.put(listing={name: value for name, value in CHANGES.items() if name != "start"})
    read_nearly_all()
    compared.go()
    last = compared.standing.progress.last
    assert last is not None and last.cut and len(compared.api.asked) == 2
    compared.set(compared.now_s + 61)
    read_nearly_all()
    assert [asked.one("after") for asked in compared.api.asked] == [None, "1", "2"]
    assert len(compared.came()) == 3


def test_a_call_has_the_list_read_once_although_the_clock_was_set_back_since(compare: Compare) -> None:
    compared = compare(lambda asked: Said({"data": [], "after": "p1", "more": False}))
    began_s = compared.now_s
    compared.put(listing=CHANGES, interval_s=DAY_S)
    compared.go()
    compared.set(began_s + 10 * DAY_S)
    compared.called[compared.source.id]()
    # The call is known, and its run is still to come.
    compared.due()
    compared.set(began_s)
    for _ in range(4):
        compared.go()
        compared.set(compared.now_s + 2)
    asked = len(compared.api.asked)
    for _ in range(4):
        compared.go()
        compared.set(compared.now_s + 2)
    assert len(compared.api.asked) == asked <= 6


def test_a_call_does_not_cut_a_rest_short_that_follows_a_failure(compare: Compare) -> None:
    refusing = [False]
    compared = compare(lambda asked: Said({}, 503) if refusing[0] else Said({"data": [], "after": "p1", "more": False}))
    compared.put(listing=CHANGES)
    compared.go()
    refusing[0] = True
    compared.set(compared.now_s + 3_601)
    compared.go()
    asked = len(compared.api.asked)
    for _ in range(5):
        compared.called[compared.source.id]()
        compared.set(compared.now_s + 2)
        compared.go()
    assert len(compared.api.asked) == asked


def test_a_refresh_token_that_changes_is_kept_before_the_list_is_read(compare: Compare) -> None:
    def rotating(asked: Asked) -> Said:
        if asked.path == "/token":
            number = len([one for one in compared.api.asked if one.path == "/token"])
            expected = CREDENTIAL if number == 1 else f"refresh-{number - 1}"
            if asked.body != f"grant_type=refresh_token&refresh_token={expected}".encode():
                return Said({}, 400)
            return Said({"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"})
        assert asked.headers["authorization"].startswith("Bearer access-")
        return Said({"data": [], "after": "p1", "more": False})

    compared = compare(rotating)
    tokens = {"tokenUrl": f"{compared.api.url}/token", "tokenForm": {"grant_type": "refresh_token", "refresh_token": "{credential}"}}
    compared.put(listing={**CHANGES, **tokens, "auth": {"authorization": "Bearer {access_token}"}})
    compared.go()
    assert compared.standing.progress.last is not None, compared.standing.progress
    kept = compared.standing.settings.credential
    assert kept.startswith("refresh-") and kept != "refresh-1"
    compared.restart()
    compared.set(compared.now_s + 3_601)
    compared.go()
    assert compared.standing.progress.failures == 0
