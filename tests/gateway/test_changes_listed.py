"""What holds up no list of changes, loses none of them, and never has a provider asked again and again."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from ringback.clock import SECOND_US
from ringback.gateway.reconciling import ProviderRunner
from ringback.services.gateway import Ready
from ringback.services.judging import Taken, reconciled
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest
from tests.acceptance.provider_api import Asked, Said
from tests.gateway.comparing import CHANGES, Compare, Compared
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.test_schemas import ENDLESS

DAY_S = 86_400
# Changes from the beginning of the list.
WHOLE: dict[str, Any] = {name: value for name, value in CHANGES.items() if name != "start"}
# The same changes, of which calls tell too: they are compared by id and have times.
CALLED: dict[str, Any] = {**{name: value for name, value in WHOLE.items() if name != "thin"}, "time": "at"}
ROTATING: dict[str, Any] = {
    **CHANGES,
    "auth": {"authorization": "Bearer {access_token}"},
    "tokenForm": {"grant_type": "refresh_token", "refresh_token": "{credential}"},
}


def numbered(compared: Compared, *ages_s: int) -> list[dict[str, Any]]:
    """Events of these ages."""
    return [{"id": f"evt_{number}", "type": "x", "at": compared.now_s - age_s} for number, age_s in enumerate(ages_s)]


def test_a_provider_that_never_knows_its_own_positions_is_asked_ever_less_often(compare: Compare) -> None:
    compared = compare(lambda asked: Said({"after": "p1"}) if asked.path == "/latest" else Said({}, 410))
    compared.put(listing=CHANGES)
    began_s = compared.now_s
    while compared.now_s < began_s + 2 * 3_600:
        compared.go()
        compared.set(compared.now_s + 10)
    assert len(compared.api.asked) < 50
    assert compared.standing.progress.failures > 5


def test_a_position_that_is_lost_after_a_clock_was_set_back_is_no_reason_to_stand_still(compare: Compare) -> None:
    forgets = [False]

    def answer(asked: Asked) -> Said:
        if asked.path == "/latest":
            forgets[0] = False
            return Said({"after": "p1"})
        return Said({}, 410) if forgets[0] else Said({"data": [], "after": "p2", "more": False})

    compared = compare(answer)
    began_s = compared.now_s
    compared.put(listing=CHANGES)
    compared.go()
    for at_s in (began_s + 365 * DAY_S, began_s + DAY_S):
        compared.set(at_s)
        compared.due()
        compared.set(at_s + 3_601)
        forgets[0] = True
        compared.go()
        progress = compared.standing.progress
        assert (progress.failures, progress.position) == (0, "p2"), progress


def test_a_change_whose_time_lies_far_ahead_holds_up_no_list(compare: Compare) -> None:
    pages: dict[str, Any] = {}
    compared = compare(lambda asked: Said(pages.get(asked.one("after") or "", {"data": [], "after": asked.one("after"), "more": False})))
    (wrong,) = numbered(compared, -70 * 365 * DAY_S)
    (right,) = numbered(compared, 3_600)
    pages[""] = {"data": [wrong], "after": "p1", "more": False}
    pages["p1"] = {"data": [{**right, "id": "evt_1"}], "after": "p2", "more": False}
    compared.put(listing=CALLED)
    for _ in range(3):
        compared.go()
        compared.set(compared.now_s + 3_601)
    assert compared.came() == ["evt_0", "evt_1"]


def test_a_list_that_always_has_something_young_is_read_past_it_before_its_position_ends(compare: Compare) -> None:
    listed: list[dict[str, Any]] = []

    def answer(asked: Asked) -> Said:
        at = int(asked.one("after") or 0)
        return Said({"data": listed[at:], "after": str(len(listed)), "more": False})

    compared = compare(answer)
    compared.put(listing=CALLED, settle_s=600, interval_s=300)
    longest = 0
    for number in range(100):
        listed.append({"id": f"evt_{number}", "type": "x", "at": compared.now_s})
        compared.go()
        longest = max(longest, number - int(compared.standing.progress.position or 0))
        compared.set(compared.now_s + 301)
    assert longest < 20
    assert compared.came() == [f"evt_{number}" for number in range(len(compared.came()))] and len(compared.came()) > 90


def test_a_change_is_taken_in_although_a_call_had_the_same_id(compare: Compare) -> None:
    compared = compare(lambda asked: Said({"data": [{"id": "evt_1", "type": "changed"}], "after": "p1", "more": False}))
    running = compared.running

    now_us = running.clock.now_us()
    ready = Ready(compared.source, now_us)
    taken = reconciled(ready, InboundRequest(Headers(()), b'{"id":"evt_1","type":"pinged"}', b"POST", b""), now_us)
    assert isinstance(taken, Taken)
    running.run(running.receiver.add(ready, taken.events))
    compared.put(listing={**WHOLE, "itemId": "id"})
    compared.go()
    assert [message.event_type for message in running.messages()] == ["pinged", "changed"]


def test_a_call_has_the_list_read_although_the_clock_was_set_back_while_it_was_read(compare: Compare) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        if asked.path == "/changes" and not reading.is_set():
            reading.set()
            go_on.wait(20)
        return Said({"data": [], "after": "p1", "more": False})

    compared = compare(slow)
    running = compared.running
    compared.put(listing=CHANGES, interval_s=DAY_S)
    compared.due()

    async def meanwhile() -> None:
        # The first step finds the position.
        await compared.reconciler.step(compared.source.id)
        step = asyncio.create_task(compared.reconciler.step(compared.source.id))
        await asyncio.to_thread(reading.wait, 20)
        running.clock.at_us -= 3_600 * SECOND_US
        compared.called[compared.source.id]()
        await compared.reconciler.due(8)
        running.clock.at_us += 2 * SECOND_US
        go_on.set()
        await step

    running.run(meanwhile())
    asked = len(compared.api.asked)
    compared.set(compared.now_s + 2)
    compared.go()
    assert len(compared.api.asked) == asked + 1


def test_two_that_need_a_token_at_once_ask_for_one_with_a_refresh_token_that_holds_once(compare: Compare) -> None:
    spent: list[bytes] = []
    lock = threading.Lock()

    def rotating(asked: Asked) -> Said:
        if asked.path != "/token":
            return Said({"data": [], "after": "p1", "more": False})
        with lock:
            given = asked.body.rpartition(b"=")[2]
            if given in spent:
                return Said({"error": "invalid_grant"}, 400)
            spent.append(given)
        return Said({"access_token": f"access-{len(spent)}", "refresh_token": f"refresh-{len(spent)}"})

    compared = compare(rotating)
    compared.put(listing={**ROTATING, "tokenUrl": f"{compared.api.url}/token"})

    async def at_once() -> None:
        look = compared.all.look(WHO, compared.running.app_id, compared.source.id)
        await asyncio.gather(compared.reconciler.step(compared.source.id), look)

    compared.running.run(at_once())
    compared.go()
    assert compared.standing.progress.failures == 0, compared.standing.progress
    assert compared.standing.settings.credential == f"refresh-{len(spent)}"


def test_a_provider_is_asked_ever_less_often_while_nothing_can_be_kept(compare: Compare) -> None:
    compared = compare(lambda asked: Said({"data": [{"n": 1}], "after": "p1", "more": True}))

    async def run_for(seconds: float) -> None:
        runner = ProviderRunner(compared.reconciler, "reconciliation", compared.running.clock)
        try:
            async with asyncio.timeout(seconds):
                await runner.run()
        except TimeoutError:
            pass

    compared.running.intake.closed = True
    compared.put(listing=WHOLE)
    compared.running.run(run_for(8))
    assert len(compared.api.asked) <= 4


def test_a_change_whose_payload_cannot_be_read_is_taken_as_it_is_listed_and_holds_up_nothing(compare: Compare) -> None:
    def answer(asked: Asked) -> Said:
        at = int(asked.one("after") or 0)
        return Said(b'{"data":[%b],"after":"%d","more":%b}' % (items[at], at + 1, b"true" if at < 2 else b"false"))

    items = (b'{"sent":{"n":0}}', b'{"sent":"\xff"}', b'{"sent":{"n":2}}')
    compared = compare(answer)
    compared.put(listing={**WHOLE, "payload": "sent"})
    compared.go()
    assert [message.payload for message in compared.running.messages()] == [b'{"n":0}', items[1], b'{"n":2}']


def test_a_page_of_two_thousand_changes_is_read(compare: Compare) -> None:
    compared = compare(
        lambda asked: Said({"data": [{"n": n} for n in range(2_000)] if not asked.one("after") else [], "after": "p1", "more": False})
    )
    compared.put(listing=WHOLE)
    compared.go()
    assert len(compared.came()) == 2_000


def test_a_change_that_nobody_can_compare_with_the_schema_now_is_not_left_out_for_that(compare: Compare) -> None:
    compared = compare(lambda asked: Said({"data": [] if asked.one("after") else [{"n": 1}], "after": "p1", "more": False}))
    running = compared.running
    compared.source = running.made(schema=ENDLESS, schemaMode="reject")
    compared.put(listing=WHOLE)
    running.run(compared.reconciler.step(compared.source.id))
    progress = compared.standing.progress
    assert (progress.failures, progress.cause, progress.position) == (1, "source", "")
    # It is no reason to stand still for ever.
    for _ in range(6):
        compared.set(compared.now_s + 3_601)
        compared.go()
    last = compared.standing.progress.last
    assert last is not None and compared.standing.progress.failures == 0


def test_a_call_that_says_the_same_as_another_one_has_the_list_read_too(running: Running) -> None:
    source = running.made(verify="none", secrets=[], type="custom", deduplication={"by": ["body"]})
    called = list[str]()
    running.called[source.id] = lambda: called.append(source.id)
    for _ in range(2):
        assert running.ask(path_of(source), b'{"changed":true}').status < 300
    assert (len(called), len(running.messages())) == (2, 1)


def test_a_list_that_is_read_from_its_beginning_is_taken_in_as_far_back_as_one_may_look_on_every_page(compare: Compare) -> None:
    knows = [False]

    def answer(asked: Asked) -> Said:
        given = asked.one("after")
        if given == "9" and not knows[0]:
            return Said({}, 410)
        at = int(given or 0)
        return Said({"data": listed[at : at + 1], "after": str(at + 1) if at < 3 else "9", "more": at < 3})

    compared = compare(answer)
    listed = [{"id": f"evt_{number}", "at": compared.now_s - age_s} for number, age_s in enumerate((9 * DAY_S, 9 * DAY_S, 8 * DAY_S, 60))]
    compared.put(listing={**WHOLE, "time": "at"}, lookback_s=3_600)
    compared.go()
    assert [json.loads(message.payload) for message in compared.running.messages()] == listed[3:]
    # The position is lost, and the list is read from its beginning again: up to an hour before the last reading.
    compared.set(compared.now_s + 3_601)
    compared.go()
    assert compared.standing.progress.lost_at is not None
    assert [json.loads(message.payload) for message in compared.running.messages()] == listed[3:]


def test_a_source_that_is_enabled_again_has_its_list_read_soon(compare: Compare) -> None:
    compared = compare(lambda asked: Said({"data": [], "after": "p1", "more": False}))
    compared.put(listing=WHOLE, interval_s=7 * DAY_S)
    compared.running.changed(compared.source, secrets=["whsec_test"], disabled=True)
    compared.go()
    assert compared.api.asked == []
    compared.running.changed(compared.source, secrets=["whsec_test"], disabled=False)
    compared.set(compared.now_s + 301)
    compared.go()
    assert len(compared.api.asked) == 1


def test_a_call_that_does_not_fit_the_schema_of_the_changes_has_them_read_all_the_same(running: Running) -> None:
    source = running.made(verify="none", secrets=[], type="custom", schema={"required": ["changed"]}, schemaMode="quarantine")
    called = list[str]()
    running.called[source.id] = lambda: called.append(source.id)
    assert running.ask(path_of(source), b'{"ping":true}').status < 300
    assert (len(called), len(running.quarantined(source))) == (1, 1)
