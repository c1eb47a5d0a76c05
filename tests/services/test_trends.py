from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringback.errors import NotFound, Refused
from ringback.model.applications import TokenKind
from ringback.services.tokens import DEFAULT_ORG_ID, Principal
from ringback.services.trends import EndpointTrend, Overview, Trends
from ringback.store.operations import trends
from ringback.telemetry.prometheus import Metrics
from tests.api.conftest import Api
from tests.api.history import DAY_US, SECOND_US, History

MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
ORG = Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "key_1")


class Watched(History):
    """Some history, and what the trends of it say."""

    def __init__(self, api: Any) -> None:
        super().__init__(api)
        self.metrics = Metrics(self.now_us)
        self.trends = Trends(api.store, self.clock, self.handoff, self.metrics)

    def overview(self, who: Principal = ORG, **span: Any) -> Overview:
        return self.api.run(self.trends.overview(who, **span))

    def endpoint_trend(self, endpoint: str = "first", who: Principal = ORG, **span: Any) -> EndpointTrend:
        return self.api.run(self.trends.endpoint(who, "shop", endpoint, **span))

    def delivered(self, *codes: int, age_us: int = HOUR_US, endpoint_id: str | None = None, **facts: Any) -> None:
        """One message and attempt for each code, begun `age_us` ago."""
        target = endpoint_id or self.endpoint_id
        for code in codes:
            message = self.message(target, age_us=age_us)
            self.attempt(message, target, code=code, ended_at=self.now_us - age_us, **facts)

    def move(self) -> None:
        self.api.run(self.api.store.write(lambda tx: trends.move(tx, 1 << 40, 1_000)))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Watched]:
    with asyncio.Runner() as runner:
        api = Api(runner, tmp_path / "ringback.db")
        yield Watched(api)
        api.close()


def test_a_day_without_anything_has_its_cells_all_the_same(history):
    seen = history.overview()
    assert seen.step_us == 15 * MINUTE_US
    assert len(seen.cells) in (96, 97)
    assert [cell.at_us for cell in seen.cells] == list(range(seen.since_us, seen.until_us, seen.step_us))
    assert seen.since_us <= history.now_us - DAY_US
    assert seen.until_us >= history.now_us
    assert (seen.total.accepted, seen.total.attempts, seen.total.latency, seen.total.success_rate) == (0, 0, None, None)
    assert seen.most_failures == seen.least_success == []


def test_an_overview_shows_when_things_happened(history):
    history.delivered(200, 200, 200, 500, age_us=2 * HOUR_US, duration_us=20_000)
    history.delivered(200, age_us=MINUTE_US, duration_us=2_000_000)
    for _ in range(2):
        seen = history.overview(step_us=5 * MINUTE_US)
        busy = {cell.at_us: cell for cell in seen.cells if cell.accepted}
        then, now = ((history.now_us - age_us) // (5 * MINUTE_US) * 5 * MINUTE_US for age_us in (2 * HOUR_US, MINUTE_US))
        assert list(busy) == [then, now]
        assert (busy[then].accepted, busy[then].deliveries, busy[then].success, busy[then].fail) == (4, 4, 3, 1)
        assert busy[then].success_rate == 0.75
        assert busy[then].codes.server_error == 1
        assert 1_700_000 < busy[now].latency.p50_us < 2_320_000
        assert (seen.total.accepted, seen.total.success, seen.total.fail) == (5, 4, 1)
        assert 17_000 < seen.total.latency.p50_us < 23_200
        assert 1_700_000 < seen.total.latency.p99_us < 2_320_000
        history.move()


def test_messages_that_nobody_wanted_are_told_apart(history):
    quiet = history.api.made("/app", {"name": "Quiet", "uid": "quiet"})["id"]
    history.message()
    message = history.message(app_id=quiet)
    assert message.matched == 0
    total = history.overview().total
    assert (total.accepted, total.deliveries) == (2, 2)
    assert history.overview(app="quiet").total.accepted == 1


def test_the_worst_endpoints_are_named_with_their_application(history):
    flaky, dead, fine, gone = (history.endpoint(uid) for uid in ("flaky", "dead", "fine", "gone"))
    for _ in range(2):
        history.delivered(*[200] * 20, *[500] * 6, endpoint_id=flaky)
        history.delivered(*[500] * 2, endpoint_id=dead)
        history.delivered(*[200] * 5, endpoint_id=fine)
        history.delivered(*[500] * 20, endpoint_id=gone)
        history.move()
    # Its hours without a failure count for it.
    history.delivered(*[200] * 60, endpoint_id=flaky, age_us=5 * HOUR_US)
    history.api.delete("/app/shop/endpoint/gone")
    seen = history.overview()
    assert [(w.endpoint_id, w.fail) for w in seen.most_failures] == [(flaky, 12), (dead, 4)]
    assert [(w.endpoint_id, w.success) for w in seen.least_success] == [(dead, 0), (flaky, 100)]
    worst = seen.least_success[0]
    assert (worst.app_id, worst.app_name, worst.endpoint_uid, worst.disabled) == (history.app_id, "Shop", "dead", False)
    assert seen.least_success[1].success_rate == 100 / 112


def test_the_least_reliable_is_found_however_many_fail_more_often(history):
    shaky = history.endpoint("shaky")
    many = [history.endpoint(f"e{n}") for n in range(120)]

    def insert(tx: Any) -> None:
        hour = (history.now_us - 5 * HOUR_US) // HOUR_US
        # All look worse than it does in their bad hour, and are better on the whole.
        rows = [(scope, at, *counts) for scope in many for at, counts in ((hour, (8, 9)), (hour - 1, (500, 0)))]
        rows.append((shaky, hour, 1, 1))
        tx.run_many(
            "INSERT INTO trend_recent (endpoint_id, at, org_id, app_id, success, fail) VALUES (?, ?, ?, ?, ?, ?)",
            [(scope, at * 60, DEFAULT_ORG_ID, history.app_id, success, fail) for scope, at, success, fail in rows],
        )

    history.api.run(history.api.store.write(insert))
    for _ in range(2):
        assert history.overview().least_success[0].endpoint_id == shaky
        history.move()


def test_short_spans_rank_by_the_minute(history):
    old, young = history.endpoint("old"), history.endpoint("young")
    history.delivered(500, endpoint_id=old, age_us=50 * MINUTE_US)
    history.delivered(500, endpoint_id=young, age_us=5 * MINUTE_US)
    for _ in range(2):
        seen = history.overview(since_us=history.now_us - 10 * MINUTE_US)
        assert [w.endpoint_id for w in seen.most_failures] == [young]
        history.move()


def test_nobody_sees_the_sums_of_others(history):
    history.delivered(200, 500)
    history.api.made("/app", {"name": "Other", "uid": "other"})
    stranger = Principal(TokenKind.ORG, "org_other", None, "key_2")
    seen = history.overview(stranger)
    assert (seen.total.attempts, seen.total.accepted, seen.most_failures) == (0, 0, [])
    with pytest.raises(NotFound):
        history.overview(stranger, app="shop")
    with pytest.raises(NotFound):
        history.endpoint_trend(who=stranger)
    other = history.api.get("/app/other").json()["id"]
    customer, neighbour = (Principal(TokenKind.APP, DEFAULT_ORG_ID, app_id, "key_3") for app_id in (history.app_id, other))
    assert history.overview(customer).total.attempts == 2
    assert [w.endpoint_id for w in history.overview(customer).most_failures] == [history.endpoint_id]
    assert history.overview(neighbour).total.attempts == 0
    assert history.overview(neighbour).most_failures == []
    with pytest.raises(NotFound):
        history.overview(neighbour, app="shop")


def test_the_backlog_is_told_where_it_is_nobody_elses(history):
    history.metrics.backlog, history.metrics.oldest_due_us = 7, history.now_us - SECOND_US
    seen = history.overview()
    assert (seen.backlog, seen.oldest_due_us) == (7, history.now_us - SECOND_US)
    assert history.overview(app="shop").backlog is None
    history.api.run(history.api.tokens.create("another"))
    assert (history.overview().backlog, history.overview().oldest_due_us) == (None, None)


def test_an_endpoint_shows_its_strip_and_its_queue(history):
    history.delivered(200, 200, 429, age_us=3 * HOUR_US, duration_us=50_000)
    history.attempt(history.message(age_us=HOUR_US), code=500, retry_in_us=HOUR_US)
    waiting = history.message(age_us=MINUTE_US)
    history.handoff.flying = 2
    seen = history.endpoint_trend(step_us=15 * MINUTE_US)
    assert seen.endpoint_id == history.endpoint_id
    assert [(c.success, c.fail) for c in seen.cells if c.attempts] == [(2, 1), (0, 1)]
    assert (seen.total.codes.too_many, seen.total.codes.client_error, seen.total.codes.success) == (1, 1, 2)
    assert (seen.in_flight, seen.backlog, seen.oldest_due_us) == (2, 2, waiting.created_at)
    assert seen.total.accepted == 0


def test_four_weeks_are_read_by_the_hour(history):
    for days in (1, 13, 27):
        history.delivered(200, 500, age_us=days * DAY_US)
    for _ in range(2):
        seen = history.endpoint_trend(since_us=history.now_us - 28 * DAY_US)
        assert seen.step_us == 6 * HOUR_US
        assert [(c.success, c.fail) for c in seen.cells if c.attempts] == [(1, 1)] * 3
        history.move()


@pytest.mark.parametrize(
    "span",
    [
        {"since_us": 5, "until_us": 5},
        {"since_us": -1, "until_us": 5},
        {"step_us": 0},
        {"step_us": 90 * SECOND_US},
        {"since_us": 0, "until_us": 2 * DAY_US, "step_us": MINUTE_US},
        {"since_us": 0, "until_us": 8 * DAY_US, "step_us": 30 * MINUTE_US},
    ],
)
def test_spans_that_are_none_or_too_long_are_refused(history, span):
    with pytest.raises(Refused) as refused:
        history.overview(**span)
    assert refused.value.code == "invalid_range"


def test_statistics_of_the_contract_read_the_same_sums(history):
    history.delivered(200, 500, age_us=3 * DAY_US)
    for _ in range(2):
        assert history.get("/endpoint/first/stats")["success"] == 1
        assert history.get("/endpoint/first/stats")["fail"] == 1
        history.move()
