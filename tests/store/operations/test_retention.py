from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringback import ids
from ringback.model.auto_configs import AutoConfig
from ringback.model.integrations import Integration
from ringback.model.transformations import Transformation
from ringback.services.tokens import DEFAULT_ORG_ID
from ringback.store.operations import auto_configs, deliveries, integrations, messages, retention, transformations, trends
from ringback.store.operations.directory import START
from ringback.store.operations.retention import Spared, sparing
from ringback.store.operations.slices import MAX_BYTES
from tests.api.conftest import Api
from tests.api.history import DAY_US, HOUR_US, SECOND_US, History

# A minute past all others.
LATER = 1 << 40


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with asyncio.Runner() as runner:
        api = Api(runner, tmp_path / "ringback.db")
        yield History(api)
        api.close()


def purged(history: History, purge: Callable[[Any], Any]) -> Any:
    async def write() -> Any:
        return await history.api.store.write(purge)

    return history.api.run(write())


def until_nothing(history: History, purge: Callable[[Any], int]) -> int:
    total = 0
    while removed := purged(history, purge):
        total += removed
    return total


def left(history: History, table: str) -> int:
    return int(history.rows(f"SELECT COUNT(*) FROM {table}")[0][0])


def test_a_payload_goes_at_its_time_and_its_message_stays(history):
    soon = [history.message(expires_at=history.now_us + n) for n in range(1, 4)]
    later = history.message(expires_at=history.now_us + DAY_US)
    assert purged(history, lambda tx: retention.expire_payloads(tx, history.now_us, 2)) == 0
    assert purged(history, lambda tx: retention.expire_payloads(tx, history.now_us + 3, 2)) == 2
    assert purged(history, lambda tx: retention.expire_payloads(tx, history.now_us + 3, 2)) == 1
    kept = {row[0] for row in history.rows("SELECT id FROM message WHERE payload IS NOT NULL")}
    assert kept == {later.id}
    assert left(history, "message") == len(soon) + 1


def test_payloads_go_in_smaller_steps_where_attempts_of_many_endpoints_are_looked_for(history):
    copied = [row for row in history.rows("SELECT name FROM pragma_table_info('endpoint')") if row[0] not in ("id", "uid")]
    columns = ", ".join(name for (name,) in copied)

    def add(tx):
        for number in range(MAX_BYTES // messages.SOUGHT_BYTES // 3):
            tx.run(f"INSERT INTO endpoint (id, {columns}) SELECT ?, {columns} FROM endpoint LIMIT 1", (f"ep_{number}",))

    purged(history, add)
    for _ in range(5):
        history.message(expires_at=history.now_us)
    assert [purged(history, lambda tx: retention.expire_payloads(tx, history.now_us + 1, 100)) for _ in range(3)] == [2, 2, 1]


def test_old_messages_go_in_steps_and_free_their_event_ids(history):
    for age in (5, 4, 3):
        history.message(age_us=age * DAY_US, event_id=f"e{age}")
    young = history.message(event_id="young")
    removed, place = purged(history, lambda tx: retention.purge_messages(tx, history.now_us - 2 * DAY_US, 2))
    assert removed == 2
    assert purged(history, lambda tx: retention.purge_messages(tx, history.now_us - 2 * DAY_US, 2, place)) == (1, None)
    assert history.rows("SELECT id FROM message") == [(young.id,)]
    assert history.rows("SELECT event_id FROM message_event_id") == [("young",)]


@pytest.mark.parametrize("goes", ["payloads", "messages", "application"])
def test_large_payloads_go_in_smaller_steps(history, goes):
    for _ in range(5):
        history.message(payload=b'"%b"' % (b"x" * (MAX_BYTES // 2 - 10_000)), age_us=3 * DAY_US, expires_at=history.now_us)
    if goes == "application":
        purged(history, lambda tx: tx.run("UPDATE application SET deleted_at = 1 WHERE id = ?", (history.app_id,)))
    purge = {
        "payloads": lambda tx: retention.expire_payloads(tx, history.now_us + 1, 100),
        "messages": lambda tx: retention.purge_messages(tx, history.now_us - 2 * DAY_US, 100)[0],
        "application": lambda tx: retention.purge_application(tx, 100),
    }[goes]
    assert [purged(history, purge) for _ in range(3)] == [2, 2, 1]
    assert history.rows("SELECT COUNT(*) FROM message WHERE payload IS NOT NULL") == [(0,)]


def test_old_attempts_counts_and_dead_letters_go(history):
    for age in (5, 4):
        history.attempt(history.message(age_us=age * DAY_US), code=500, dead="http_500")
    history.attempt(history.message(age_us=SECOND_US), code=500, dead="http_500")
    before = history.now_us - 2 * DAY_US
    assert until_nothing(history, lambda tx: retention.purge_attempts(tx, before, 1)[0]) == 2
    assert until_nothing(history, lambda tx: retention.purge_dead_letters(tx, before, 1)) == 2
    assert left(history, "attempt") == left(history, "dead_letter") == 1


def test_what_is_spared_stays_and_what_lies_behind_it_goes(history):
    made = [history.message(age_us=days * DAY_US) for days in (7, 6, 5, 4, 3)]
    for message in made:
        history.attempt(message)
    spared = Spared(frozenset((made[0].id, made[2].id)), beyond=made[4].id)
    before = history.now_us - 2 * DAY_US
    for table, purge in (("message", retention.purge_messages), ("attempt", retention.purge_attempts)):
        place: int | None = 0
        while place is not None:
            at = place
            _, place = purged(history, lambda tx, at=at, purge=purge: purge(tx, before, 2, at, spared))
        column = "id" if table == "message" else "message_id"
        assert [row[0] for row in history.rows(f"SELECT {column} FROM {table} ORDER BY seq")] == [made[0].id, made[2].id, made[4].id]


@pytest.mark.parametrize("step", [1, 2, 100])
def test_messages_with_unfinished_deliveries_are_spared_one_by_one_or_from_an_id_on(history, step):
    made = [history.message(age_us=days * DAY_US).id for days in (8, 7, 6, 5, 4, 3)]
    young = history.message().id
    insert = (
        "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state) "
        "VALUES (?, ?, ?, 0, 'a', 1, 0, 'retrying')"
    )
    rows = [(f"ep_{number % 3}", 9 - number, message_id) for number, message_id in enumerate((*made[1:], made[3], young))]
    purged(history, lambda tx: tx.run("DELETE FROM delivery"))
    purged(history, lambda tx: tx.run_many(insert, rows))

    def found(most: int) -> Spared:
        spared, place = retention.up_to(history.now_us - 2 * DAY_US), START
        while place is not None:
            at, known = place, spared
            look = lambda tx, at=at, known=known: sparing(tx, known, at, step, most)  # noqa: E731 - given its place
            spared, place = purged(history, look)
        return spared

    assert found(5) == Spared(frozenset(made[1:]), ids.start_id(ids.MESSAGE, history.now_us - 2 * DAY_US))
    assert found(2) == Spared(frozenset(made[1:3]), made[3])
    assert [found(2).holds(message_id) for message_id in made] == [False, True, True, True, True, True]


def test_old_sums_go_scope_by_scope(history):
    # Ten seconds into an hour: the attempt, a second later, is of the same minute.
    into_us = history.now_us % HOUR_US + HOUR_US - 10 * SECOND_US
    for days in (5, 4, 0):
        history.attempt(history.message(age_us=days * DAY_US + into_us))
    assert purged(history, lambda tx: trends.move(tx, LATER, 1_000)) > 0
    before = history.now_us - 2 * DAY_US
    scopes = sorted((history.app_id, history.endpoint_id, DEFAULT_ORG_ID))
    walk: list[Any] = []
    after: str | None = ""
    while after is not None:
        at = after
        removed, after = purged(history, lambda tx, at=at: trends.purge(tx, before, 3, at))
        walk.append((removed, after))
    # Two old minutes and two old hours of each.
    assert walk == [step for scope, last in zip(scopes, ("", *scopes), strict=False) for step in ((3, last), (1, scope))] + [(0, None)]
    assert left(history, "trend_minute") == left(history, "trend_hour") == 3


def test_expired_idempotency_keys_go_in_a_walk_round_all(history):
    for n in range(5):
        key, expires_at = bytes([n]) * 16, history.now_us + (1 if n % 2 else -1)
        purged(
            history, lambda tx, key=key, at=expires_at: tx.run("INSERT INTO idempotency VALUES (?, ?, 202, NULL, NULL, NULL)", (key, at))
        )
    walk: list[Any] = []
    after: bytes | None = b""
    while after is not None:
        at = after
        removed, after = purged(history, lambda tx, at=at: retention.purge_idempotency(tx, history.now_us, 2, at))
        walk.append(removed)
    assert walk == [1, 1, 1]
    assert left(history, "idempotency") == 2


def test_deliveries_that_nobody_will_make_are_found_and_dropped(history):
    second = history.endpoint("second")
    for _ in range(3):
        history.message(history.endpoint_id, second)
    history.api.patch("/app/shop/endpoint/second", {"disabled": True})
    found = purged(history, lambda tx: retention.next_abandoned(tx, ""))
    assert found == (history.endpoint_id, False)
    assert purged(history, lambda tx: retention.next_abandoned(tx, found[0])) == (second, True)
    assert purged(history, lambda tx: retention.next_abandoned(tx, second)) is None
    assert until_nothing(history, lambda tx: deliveries.drop(tx, second, 2)) == 3
    assert left(history, "delivery") == 3
    history.api.delete("/app/shop")
    assert purged(history, lambda tx: retention.next_abandoned(tx, "")) == (history.endpoint_id, True)


def test_a_deleted_application_leaves_nothing(history):
    other = history.api.made("/app", {"name": "Other", "uid": "other"})["id"]
    kept = history.message(history.endpoint("x", "other"), app_id=other)
    history.message(event_id="e1")
    for code in (200, 500):
        history.attempt(history.message(), code=code, dead="http_500" if code == 500 else None)
    assert purged(history, lambda tx: trends.move(tx, LATER, 1_000)) > 0
    history.api.delete("/app/shop")
    assert until_nothing(history, lambda tx: retention.purge_application(tx, 2)) > 0
    assert history.rows("SELECT id FROM message") == [(kept.id,)]
    assert history.rows("SELECT id FROM application") == [(other,)]
    for table in ("attempt", "dead_letter", "message_event_id"):
        assert left(history, table) == 0, table
    for table in ("trend_minute", "trend_hour"):
        assert {scope for (scope,) in history.rows(f"SELECT scope FROM {table}")} == {DEFAULT_ORG_ID, other}
    assert left(history, "endpoint") == left(history, "endpoint_sequence") == left(history, "delivery") == 1


def test_a_deleted_endpoint_stays_as_long_as_its_history(history):
    message = history.message()
    history.attempt(message)
    history.api.delete("/app/shop/endpoint/first")
    assert purged(history, lambda tx: retention.purge_deleted_endpoints(tx, history.now_us - DAY_US, 10)) == 0
    assert history.get(f"/msg/{message.id}/endpoint")["data"][0]["id"] == history.endpoint_id
    assert until_nothing(history, lambda tx: retention.purge_deleted_endpoints(tx, history.now_us + DAY_US, 2)) > 0
    assert left(history, "endpoint") == left(history, "attempt") == 0


def test_what_an_application_has_besides_goes_with_it_and_what_an_endpoint_has_with_the_endpoint(history):
    app_id, endpoint_id, vault = history.app_id, history.endpoint_id, history.api.vault

    def write(tx: Any) -> None:
        integrations.insert(tx, Integration("integ_1", app_id, "Zapier", ("beta",), 1, 1))
        auto_configs.insert(tx, vault, AutoConfig("autocfg_1", app_id, "ep_1", "whsec_x", 1, 1))
        transformations.put(tx, vault, endpoint_id, Transformation("code", False, {"a": "b"}, 1))

    purged(history, write)
    tables = ("integration", "auto_config", "endpoint_transformation")
    assert [left(history, table) for table in tables] == [1, 1, 1]
    history.api.delete("/app/shop")
    until_nothing(history, lambda tx: retention.purge_application(tx, 10))
    assert [left(history, table) for table in tables] == [0, 0, 0]
