"""An event that is older than what was accepted under its key overwrites nothing: whichever way it comes, and whatever comes beside it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from ringback.errors import InvalidField
from ringback.model.arrivals import DUPLICATE, SUPERSEDED
from ringback.model.sources import Source
from ringback.store.base import Transaction
from tests.gateway.comparing import Compare
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.signing import signed

GUARD: dict[str, Any] = {"orderingKeyAt": ["json:customer"], "orderingVersionAt": ["header:X-Version", "json:version"]}
OPEN: dict[str, Any] = {"type": "custom", "verify": "none", "secrets": [], **GUARD}
DAY_S = 86_400


def told(running: Running, source: Source, version: object, customer: str = "c1", **more: object) -> int:
    body = json.dumps({"customer": customer, "version": version, **more}).encode()
    return running.ask(path_of(source), body).status


def versions(running: Running) -> list[object]:
    """Those of all messages, the oldest first."""
    return [json.loads(message.payload or b"").get("version") for message in running.messages()]


def rows(running: Running) -> int:
    def query(tx: Transaction) -> Any:
        return tx.rows("SELECT COUNT(*) FROM newest_version")[0][0]

    found: int = running.run(running.store.read(query))
    return found


def test_an_event_that_is_older_is_acknowledged_noted_and_makes_no_message(running: Running) -> None:
    source = running.made(**OPEN)
    for version in (3, 2, 3, 10, 9, 11):
        assert told(running, source, version) == 200
    assert versions(running) == [3, 3, 10, 11]
    last, first = running.arrived(source)
    messages = running.messages()
    assert [(entry.outcome, entry.status, entry.message_id) for entry in (first, last)] == [
        (SUPERSEDED, 200, messages[0].id),
        (SUPERSEDED, 200, messages[2].id),
    ]
    running.run(running.known.note())
    activity = running.run(running.sources.activity(source.id))
    assert (activity.accepted, activity.superseded, activity.duplicates) == (4, 2, 0)
    assert running.metrics.source_requests["superseded"] == 2
    assert all(not message.origin.flags or "unversioned" not in message.origin.flags for message in messages if message.origin)


def test_keys_and_sources_do_not_know_of_each_other(running: Running) -> None:
    one, other = running.made(**OPEN), running.made(**OPEN)
    for source in (one, other):
        for customer in ("c1", "c2"):
            assert told(running, source, 5, customer) == 200
            assert told(running, source, 4, customer) == 200
    assert versions(running) == [5, 5, 5, 5]


def test_what_cannot_be_compared_passes_and_is_marked(running: Running) -> None:
    source = running.made(**OPEN)
    told(running, source, 5)
    for version in (None, "", "v4", True, [4], {"a": 4}):
        assert told(running, source, version) == 200
    assert running.ask(path_of(source), b'{"version":4}').status == 200
    assert running.ask(path_of(source), b"no json").status == 200
    marked = [message.origin is not None and "unversioned" in message.origin.flags for message in running.messages()]
    assert marked == [False] + [True] * 8
    assert told(running, source, 4) == 200
    assert len(running.messages()) == 9


def test_kinds_that_are_mixed_are_never_compared(running: Running) -> None:
    source = running.made(**OPEN)
    sent = [
        5,
        "2026-11-26T10:00:00Z",
        "2026-11-26T10:00:00",
        "2026-11-26",
        4,
        "2026-11-26T11:30:00+02:00",
        "2026-11-26T09:00:00",
        "2026-11-25",
        6,
    ]
    for version in sent:
        told(running, source, version)
    assert versions(running) == [*sent[:4], 6]


def test_numbers_are_compared_as_they_are_written_and_not_as_floats(running: Running) -> None:
    source = running.made(**OPEN)
    for version in ("1.00000000000000000002", "1.00000000000000000001", "123456789012345678901234567891", "123456789012345678901234567890"):
        assert running.ask(path_of(source), b'{"customer":"c","version":%b}' % version.encode()).status == 200
    assert [message.payload for message in running.messages()] == [
        b'{"customer":"c","version":1.00000000000000000002}',
        b'{"customer":"c","version":123456789012345678901234567891}',
    ]


def test_a_dropped_event_that_comes_again_is_dropped_again_and_requeues_nothing(running: Running) -> None:
    source = running.made(**GUARD)
    newer, older = (b'{"id":"evt_%d","type":"a","customer":"c1","version":%d}' % (number, number) for number in (2, 1))
    for body in (newer, older, older, newer):
        assert running.ask(path_of(source), body, signed(body)).status == 200
    (message,) = running.messages()
    assert [(entry.outcome, entry.event_id, entry.message_id) for entry in running.arrived(source)] == [
        (DUPLICATE, "evt_2", message.id),
        (SUPERSEDED, "evt_1", message.id),
        (SUPERSEDED, "evt_1", message.id),
    ]


def test_each_event_of_a_batch_is_compared_with_its_own_key(running: Running) -> None:
    rules = {"orderingKeyAt": ["json:subject"], "orderingVersionAt": ["json:eventTime"]}
    source = running.made(type="azure-event-grid", secrets=["s"], **rules)

    def batch(*events: tuple[str, str, str]) -> None:
        items = [{"id": name, "eventType": "x", "subject": subject, "eventTime": at} for name, subject, at in events]
        answered = running.ask(path_of(source), json.dumps(items).encode(), {"content-type": "application/json"}, query=b"secret=s")
        assert answered.status == 200

    batch(("a", "1", "2026-01-01T00:00:02.5Z"), ("b", "1", "2026-01-01T00:00:02.4Z"), ("c", "2", "2026-01-01T00:00:01Z"))
    batch(("d", "1", "2026-01-01T00:00:02.50Z"), ("e", "2", "2026-01-01T00:00:00Z"))
    assert [message.origin.event_id for message in running.messages() if message.origin] == ["a", "c", "d"]
    assert sorted(entry.event_id or "" for entry in running.arrived(source, SUPERSEDED)) == ["b", "e"]


def test_of_many_that_come_at_once_the_newest_stays_the_newest(running: Running) -> None:
    source = running.made(**OPEN)
    order = [(number * 7919) % 200 for number in range(200)]

    async def race() -> None:
        bodies = [json.dumps({"customer": "c1", "version": number}).encode() for number in order]
        answers = await asyncio.gather(*(running.asked(path_of(source), body) for body in bodies))
        assert {answer.status for answer in answers} == {200}

    running.run(race())
    accepted = [int(str(version)) for version in versions(running)]
    assert accepted == sorted(accepted)
    assert accepted[-1] == 199
    assert len(accepted) < 200


def test_what_a_quarantine_lets_out_overwrites_nothing_newer(running: Running) -> None:
    source = running.made(**GUARD)
    older = b'{"id":"evt_1","type":"a","customer":"c1","version":1}'
    newer = b'{"id":"evt_2","type":"a","customer":"c1","version":2}'
    running.ask(path_of(source), older, {})
    running.ask(path_of(source), newer, signed(newer))
    (item,) = running.quarantined(source)
    (message,) = running.messages()
    assert running.run(running.releases.one(WHO, running.app_id, source.id, item.id, believe=True)) == [message.id]
    assert len(running.messages()) == 1
    assert running.quarantined(source) == []
    (entry,) = running.arrived(source, SUPERSEDED)
    assert (entry.message_id, entry.event_id, entry.status) == (message.id, "evt_1", 0)


def test_an_old_event_that_the_provider_lists_overwrites_nothing_newer_and_is_known_from_then_on(compare: Compare) -> None:
    from tests.acceptance.provider_api import Asked, Said

    listed: list[dict[str, Any]] = []

    def answer(asked: Asked) -> Said:
        return Said({"has_more": False, "data": listed})

    compared = compare(answer)
    running = compared.running
    compared.source = source = running.made(**GUARD)
    newer = b'{"id":"evt_2","type":"a","customer":"c1","version":2}'
    running.ask(path_of(source), newer, signed(newer))
    (message,) = running.messages()
    made_at = compared.now_s - 3_600
    for number, version, customer in ((1, 1, "c1"), (3, 1, "c2")):
        listed.append({"id": f"evt_{number}", "type": "a", "created": made_at, "customer": customer, "version": version})
    compared.put()
    compared.go()
    assert compared.came() == ["evt_2", "evt_3"]
    (entry,) = running.arrived(source, SUPERSEDED)
    assert (entry.message_id, entry.event_id, entry.status) == (message.id, "evt_1", 0)
    run = compared.standing.progress.last
    assert run is not None and (run.missing, run.added) == (2, 1)
    compared.set(compared.now_s + 3_600)
    compared.go()
    run = compared.standing.progress.last
    assert run is not None and (run.looked_at, run.missing) == (2, 0)


def test_the_newest_is_remembered_through_a_restart_for_thirty_days_and_then_forgotten(running: Running) -> None:
    source = running.made(**OPEN)
    told(running, source, 5)
    running.forget_sources()
    running.clock.set(running.clock.at_us / 1e6 + 29 * DAY_S)
    while running.run(running.known.forget()):
        pass
    told(running, source, 4)
    assert versions(running) == [5]
    running.clock.set(running.clock.at_us / 1e6 + 2 * DAY_S)
    while running.run(running.known.forget()):
        pass
    assert rows(running) == 0
    told(running, source, 4)
    assert versions(running) == [5, 4]


def test_the_newest_of_a_deleted_source_goes_with_it(running: Running) -> None:
    source = running.made(**OPEN)
    for number in range(250):
        told(running, source, 1, f"c{number}")
    assert rows(running) == 250
    running.run(running.sources.delete(WHO, running.app_id, source.id))
    while running.run(running.known.forget()):
        pass
    assert rows(running) == 0


def test_versions_under_other_settings_are_not_compared_with_those_before(running: Running) -> None:
    source = running.made(**OPEN)
    told(running, source, 5)
    running.changed(source, verify="none", ordering_key_at=("json:customer",), ordering_version_at=("json:revision",))
    assert told(running, source, 0, revision=1) == 200
    assert told(running, source, 0, revision=0) == 200
    assert versions(running) == [5, 0]


def test_a_version_without_a_key_is_refused_and_so_is_a_place_that_holds_no_text(running: Running) -> None:
    with pytest.raises(InvalidField) as refused:
        running.made(type="custom", verify="none", secrets=[], orderingVersionAt=["json:version"])
    assert [problem.loc for problem in refused.value.problems] == [("body", "orderingVersionAt")]
    with pytest.raises(InvalidField) as refused:
        running.made(**OPEN | {"orderingVersionAt": ["body"]})
    assert [problem.loc for problem in refused.value.problems] == [("body", "orderingVersionAt")]


def test_a_source_that_compares_no_versions_writes_none(running: Running) -> None:
    source = running.made(**OPEN | {"orderingVersionAt": []})
    for version in (2, 1):
        told(running, source, version)
    assert versions(running) == [2, 1]
    assert rows(running) == 0
